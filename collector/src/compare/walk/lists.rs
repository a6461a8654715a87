//! Answers about everything at once: the machine, lists of containers, file systems, events, mistakes, metrics.

use serde_json::{Map, Value};

use super::super::metrics;
use super::super::report::Difference;
use super::super::rules::Structure;
use super::super::values::Depth;
use super::{BLUR, CompareWalk, NO_SAMPLES, json};
use crate::client::{Answer, ClientError};

/// The most containers whose samples are asked for all at once.
const MANY: usize = 200;
/// Requests that are mistakes, each with what a client sees of it.
const MISTAKES: [&str; 10] = [
    "/api/",
    "/api/v9/machine",
    "/api/v1.3/",
    "/api/v2.1/",
    "/api/v1.3/no-such-type",
    "/api/v1.3/containers/no/such/container",
    "/api/v1.3/subcontainers/no/such/container",
    "/api/v2.0/stats/no/such/container",
    "/api/v2.0/stats/?type=no-such-type",
    "/api/v2.0/storage?label=no-such-label",
];
/// A sample of every container that is fresh.
const LOOK: &str = "/api/v2.0/stats/?recursive=true&count=0&max_age=0s";
/// The same for cAdvisor, whose `stats` may break down.
const LOOK_THERE: &str = "/api/v2.0/spec/?recursive=true&max_age=0s";
/// How often cAdvisor is asked for its metrics, until it has them.
const SCRAPES: usize = 5;

impl CompareWalk {
    /// Everything that is not about one container.
    pub(super) async fn whole_answers(&mut self) -> Result<(), ClientError> {
        for (resource, structure) in [
            ("machine", Structure::Machine),
            ("attributes", Structure::Machine),
            ("version", Structure::Other),
            ("storage", Structure::Storage),
        ] {
            for version in self.versions_with(resource) {
                self.one(&format!("/api/{version}/{resource}"), structure).await?;
            }
        }
        for version in self.versions_with("subcontainers") {
            self.listing(&version).await?;
        }
        for version in self.versions_with("docker") {
            self.by_name(&format!("/api/{version}/docker"), "/", Structure::Spec).await?;
        }
        for version in self.versions_with("spec") {
            self.by_name(&format!("/api/{version}/spec"), "/?recursive=true", Structure::Spec).await?;
        }
        let count = usize::from(self.containers.len() <= MANY);
        for resource in ["stats", "summary", "appmetrics"] {
            for version in self.versions_with(resource) {
                let query = format!("/?recursive=true&count={count}");
                self.by_name(&format!("/api/{version}/{resource}"), &query, Structure::Sample).await?;
            }
        }
        for version in self.versions_with("events") {
            self.events(&version).await?;
        }
        for mistake in MISTAKES {
            self.mistake(mistake).await?;
        }
        Ok(())
    }

    /// A resource that is one object or list, asked for before and after.
    async fn one(&mut self, target: &str, structure: Structure) -> Result<(), ClientError> {
        let before = self.ours.get(target).await?;
        let theirs = self.theirs.get(target).await?;
        let after = self.ours.get(target).await?;
        if let Some((theirs, after)) = self.both_fine(target, None, &theirs, &after) {
            let before = json(&before);
            let ours: Vec<&Value> = before.iter().chain([&after]).collect();
            self.comparison(target, None, structure, Depth::Values).compare("", &theirs, &ours);
        }
        Ok(())
    }

    async fn listing(&mut self, version: &str) -> Result<(), ClientError> {
        let body = if self.containers.len() <= MANY { r#"{"num_stats":1}"# } else { NO_SAMPLES };
        let resource = format!("/api/{version}/subcontainers");
        let target = format!("{resource}/");
        let theirs = self.theirs.post(&target, body).await?;
        let ours = self.ours.post(&target, body).await?;
        if let Some((theirs, ours)) = self.both_fine(&resource, None, &theirs, &ours) {
            let named = |list: Value| -> Map<String, Value> {
                let Value::Array(list) = list else { return Map::new() };
                let name = |container: &Value| container.get("name")?.as_str().map(str::to_owned);
                list.into_iter().filter_map(|container| Some((name(&container)?, container))).collect()
            };
            self.maps(&resource, &named(theirs), &named(ours), Structure::Spec);
        }
        Ok(())
    }

    /// A resource whose answer is an object with a member per container.
    async fn by_name(&mut self, resource: &str, query: &str, structure: Structure) -> Result<(), ClientError> {
        let target = format!("{resource}{query}");
        let post = resource.ends_with("/docker");
        let ask = if post { Some(r#"{"num_stats":1}"#) } else { None };
        let (theirs, ours) = match ask {
            Some(body) => (self.theirs.post(&target, body).await?, self.ours.post(&target, body).await?),
            None => (self.theirs.get(&target).await?, self.ours.get(&target).await?),
        };
        if let Some((Value::Object(theirs), Value::Object(ours))) = self.both_fine(resource, None, &theirs, &ours) {
            self.maps(resource, &theirs, &ours, structure);
        }
        Ok(())
    }

    /// Keys alone: the values are compared container by container, where they can be.
    fn maps(&mut self, resource: &str, theirs: &Map<String, Value>, ours: &Map<String, Value>, structure: Structure) {
        for (name, value) in theirs {
            // One that only one of them has was reported already, or has just come or gone.
            let Some(counterpart) = ours.get(name) else {
                if self.containers.contains(name) {
                    let mut comparison = self.comparison(resource, Some(name), structure, Depth::Keys);
                    comparison.put("", Difference::Missing, Some(value), String::new(), String::new());
                }
                continue;
            };
            let mut comparison = self.comparison(resource, Some(name), structure, Depth::Keys);
            // One so young that it has no sample yet is not compared.
            if let (Some(value), Some(counterpart)) = (newest(value), newest(counterpart)) {
                comparison.compare("", &value, &[&counterpart]);
            }
        }
    }

    /// The newest event of each kind: which there are depends on when each of the two was started.
    async fn events(&mut self, version: &str) -> Result<(), ClientError> {
        let resource = format!("/api/{version}/events");
        let target = format!("{resource}/?all_events=true&subcontainers=true&max_events=1000");
        let (theirs, ours) = (self.theirs.get(&target).await?, self.ours.get(&target).await?);
        let Some((Value::Array(theirs), Value::Array(ours))) = self.both_fine(&resource, None, &theirs, &ours) else {
            return Ok(());
        };
        let kind = |event: &Value| event.get("event_type").and_then(Value::as_str).map(str::to_owned);
        let mut kinds: Vec<String> = theirs.iter().filter_map(kind).collect();
        kinds.sort();
        kinds.dedup();
        for wanted in kinds {
            let of_kind =
                |events: &[Value]| events.iter().rfind(|event| kind(event).as_ref() == Some(&wanted)).cloned();
            let (Some(theirs), Some(ours)) = (of_kind(&theirs), of_kind(&ours)) else { continue };
            let mut comparison = self.comparison(&resource, None, Structure::Event, Depth::Keys);
            comparison.compare(&wanted, &theirs, &[&ours]);
        }
        Ok(())
    }

    /// Status, kind and text of what is said about a mistake.
    async fn mistake(&mut self, target: &str) -> Result<(), ClientError> {
        let (theirs, ours) = (self.theirs.get(target).await?, self.ours.get(target).await?);
        let mut comparison = self.comparison(target, None, Structure::Other, Depth::Values);
        if theirs.status != ours.status || theirs.content_type != ours.content_type {
            let shown = |status: u16, kind: &str| format!("{status} {kind}");
            let words = (shown(theirs.status, &theirs.content_type), shown(ours.status, &ours.content_type));
            comparison.put("status", Difference::Answer, None, words.0, words.1);
        } else if theirs.body != ours.body {
            comparison.put("error", Difference::Value, None, theirs.excerpt(), ours.excerpt());
        }
        Ok(())
    }

    /// `/metrics`, scraped before and after cAdvisor's, each time with fresh samples.
    pub(super) async fn metrics(&mut self) -> Result<(), ClientError> {
        let target = "/metrics";
        let parsed = |answer: &Answer| metrics::parse(&String::from_utf8_lossy(&answer.body));
        let mut tries = 0;
        let [before, theirs, after] = loop {
            let answers = self.scrape(target).await?;
            tries += 1;
            // One container that ends meanwhile, and cAdvisor reports none.
            if tries == SCRAPES || !metrics::broke_off(&parsed(&answers[1])) {
                break answers;
            }
        };
        let [earlier, reported, later] = [&before, &theirs, &after].map(parsed);
        let broke_off = theirs.status == 200 && metrics::broke_off(&reported);
        if theirs.status != 200 || after.status != 200 || broke_off {
            let mut comparison = self.comparison(target, None, Structure::Other, Depth::Keys);
            // It may be configured to serve them elsewhere.
            if theirs.status != 404 {
                let theirs = if broke_off { metrics::BROKE_OFF.to_owned() + " 1" } else { theirs.excerpt() };
                comparison.put("", Difference::Answer, None, theirs, after.excerpt());
            }
            return Ok(());
        }
        let containers = std::mem::take(&mut self.containers);
        let mut comparison = self.comparison(target, None, Structure::Other, Depth::Values);
        metrics::compare(&mut comparison, &reported, &earlier, &later, &containers);
        self.containers = containers;
        Ok(())
    }

    /// The collector's answer, cAdvisor's, and the collector's again.
    async fn scrape(&mut self, target: &str) -> Result<[Answer; 3], ClientError> {
        self.ours.get(LOOK).await?;
        let before = self.ours.get(target).await?;
        tokio::time::sleep(BLUR).await;
        self.theirs.get(LOOK_THERE).await?;
        let theirs = self.theirs.get(target).await?;
        tokio::time::sleep(BLUR).await;
        self.ours.get(LOOK).await?;
        Ok([before, theirs, self.ours.get(target).await?])
    }
}

/// A container with the newest of its samples alone, in place of the list; none when there is none.
fn newest(container: &Value) -> Option<Value> {
    match container {
        Value::Array(samples) => Some(Value::Array(vec![samples.last()?.clone()])),
        Value::Object(entries) => {
            let mut entries = entries.clone();
            if let Some(Value::Array(samples)) = entries.get_mut("stats") {
                let last = samples.pop()?;
                *samples = vec![last];
            }
            Some(Value::Object(entries))
        }
        other => Some(other.clone()),
    }
}
