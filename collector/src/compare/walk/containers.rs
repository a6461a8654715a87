//! Answers about one container: limits, samples, processes, use over time.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::super::rules::Structure;
use super::super::values::Depth;
use super::{BLUR, CompareWalk, encoded, json};
use crate::client::{Answer, Client, ClientError};

/// How many containers are walked through together.
const BATCH: usize = 32;
/// Of how many containers of each runtime every version of the API is asked, not only the newest.
const THOROUGHLY: usize = 2;
/// What cAdvisor is asked for, and the collector, among whose samples are those around cAdvisor's.
const ONE_SAMPLE: &str = r#"{"num_stats":1}"#;
const SAMPLES: &str = r#"{"num_stats":64}"#;

/// How often a sample of cAdvisor's is asked for before it counts that the collector has none from around it: on a busy
/// machine either may just have been late.
const ATTEMPTS: usize = 3;

/// So old may the file systems of the machine be in the collector's samples, save in the newest: reading them may block.
const DISKS_AGE: Duration = Duration::from_secs(12);

/// Where a resource has its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// v1: an object with `stats` and everything else beside them.
    Info,
    /// v1's `docker`: the same in an object with one member, of the container's full name.
    NamedInfo,
    /// v2.0: an object with one member, a list of samples.
    NamedSamples,
    /// v2.1: an object with one member, which has `spec` and `stats`.
    NamedSpecAndSamples,
    /// v2.1's `machinestats`: a list of samples.
    Samples,
}

/// A question about a container.
struct Question {
    /// The container.
    container: String,
    /// The resource without its name.
    resource: String,
    /// What to ask cAdvisor for, and the collector.
    targets: [String; 2],
    shape: Shape,
    /// What cAdvisor answered.
    theirs: Option<Answer>,
}

/// Which one of several attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    OneOfMore,
    Last,
}

impl Shape {
    /// Whether the samples are all that there is.
    fn is_list(self) -> bool {
        matches!(self, Self::NamedSamples | Self::Samples)
    }
}

impl Question {
    /// What an answer says of the container.
    fn member(&self, answer: &Value) -> Option<Value> {
        match self.shape {
            Shape::Info | Shape::Samples => Some(answer.clone()),
            _ => answer.as_object()?.values().next().cloned(),
        }
    }

    /// The container's samples.
    fn stats(&self, container: &Value) -> Vec<Value> {
        let list = if self.shape.is_list() { Some(container) } else { container.get("stats") };
        list.and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// Whether both have samples, but the collector none from around cAdvisor's newest.
    fn lacks_samples(&self, theirs: &Answer, ours: &Answer) -> bool {
        let stats = |answer: &Answer| json(answer).and_then(|answer| self.member(&answer)).map(|it| self.stats(&it));
        let (Some(theirs), Some(ours)) = (stats(theirs), stats(ours)) else { return false };
        theirs.last().is_some_and(|sample| !ours.is_empty() && around(sample, &ours).is_none())
    }
}

impl CompareWalk {
    /// Everything about each container that both have.
    pub(super) async fn each_container(&mut self) -> Result<(), ClientError> {
        let all: Vec<String> = self.containers.iter().cloned().collect();
        let mut of_kind = std::collections::BTreeMap::new();
        for (number, batch) in all.chunks(BATCH).enumerate() {
            let first = number * BATCH;
            self.begin(format!("containers {} to {} of {}", first + 1, first + batch.len(), all.len()));
            let mut questions = Vec::new();
            let mut batch_thoroughly = Vec::new();
            for name in batch {
                let seen: &mut usize = of_kind.entry(kind_of(name)).or_default();
                *seen += 1;
                let thoroughly = *seen <= THOROUGHLY;
                questions.extend(self.questions(name, thoroughly));
                batch_thoroughly.push((name, thoroughly));
            }
            self.samples(questions).await?;
            for (name, thoroughly) in batch_thoroughly {
                self.without_samples(name, thoroughly).await?;
            }
        }
        Ok(())
    }

    fn questions(&self, name: &str, thoroughly: bool) -> Vec<Question> {
        let mut questions = Vec::new();
        let mut add = |resource: String, path: &str, queries: [&str; 2], shape| {
            let targets = queries.map(|query| format!("{resource}{path}{query}"));
            questions.push(Question { container: name.to_owned(), resource, targets, shape, theirs: None });
        };
        let path = encoded(name);
        let look = ["?count=2", "?count=64&max_age=0s"];
        let recent = |versions: Vec<String>| {
            let skipped = if thoroughly { 0 } else { versions.len().saturating_sub(1) };
            versions.into_iter().skip(skipped)
        };
        // Both versions each time: v2.0 and v2.1 have different structures.
        for version in self.versions_with("stats") {
            let resource = format!("/api/{version}/stats");
            if version == "v2.0" {
                add(resource, &path, look, Shape::NamedSamples);
            } else if name != "/" {
                add(resource, &path, look, Shape::NamedSpecAndSamples);
            }
        }
        for version in recent(self.versions_with("containers")) {
            add(format!("/api/{version}/containers"), &path, [""; 2], Shape::Info);
        }
        if let Some(id) = docker_id(name) {
            for version in recent(self.versions_with("docker")) {
                add(format!("/api/{version}/docker"), &format!("/{id}"), [""; 2], Shape::NamedInfo);
            }
            let by_id = ["?type=docker&count=2", "?type=docker&count=64&max_age=0s"];
            if let Some(version) = self.newest_with("v2", "stats").filter(|_| thoroughly) {
                add(format!("/api/{version}/stats"), &format!("/{id}"), by_id, Shape::NamedSpecAndSamples);
            }
        }
        if name == "/" {
            for version in self.versions_with("machinestats") {
                add(format!("/api/{version}/machinestats"), "", look, Shape::Samples);
            }
        }
        questions
    }

    /// Asks until the collector has samples from around cAdvisor's, or often enough.
    async fn samples(&mut self, mut questions: Vec<Question>) -> Result<(), ClientError> {
        for attempt in 1..=ATTEMPTS {
            let attempt = if attempt == ATTEMPTS { Attempt::Last } else { Attempt::OneOfMore };
            questions = self.try_samples(questions, attempt).await?;
            if questions.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Asks cAdvisor first, then the collector, which by then has samples from before and after; the questions for which
    /// it has none, unless this is the last time.
    async fn try_samples(
        &mut self,
        mut questions: Vec<Question>,
        attempt: Attempt,
    ) -> Result<Vec<Question>, ClientError> {
        for question in &mut questions {
            question.theirs = Some(ask(&self.theirs, question, 0).await?);
        }
        for question in questions.iter().filter(|question| question.shape == Shape::Info) {
            self.look_at_network(question);
        }
        tokio::time::sleep(BLUR * 2).await;
        // v1 cannot ask for a fresh sample, but shows the one that v2 asks for.
        let looked_at: BTreeSet<&str> = questions.iter().map(|question| question.container.as_str()).collect();
        for container in looked_at {
            let look = format!("/api/v2.0/stats{}?count=0&max_age=0s", encoded(container));
            self.ours.get(&look).await?;
        }
        let mut unmatched = Vec::new();
        for question in questions {
            let Some(theirs) = &question.theirs else { continue };
            let ours = ask(&self.ours, &question, 1).await?;
            if attempt == Attempt::OneOfMore && question.lacks_samples(theirs, &ours) {
                unmatched.push(question);
                continue;
            }
            let container = Some(question.container.as_str());
            if let Some((theirs, ours)) = self.both_fine(&question.resource, container, theirs, &ours) {
                self.container(&question, &theirs, &ours);
            }
        }
        Ok(unmatched)
    }

    /// Finds out whether a container's network is the host's: the same interfaces with the same counters. The root
    /// comes first.
    fn look_at_network(&mut self, question: &Question) {
        let network = question.theirs.as_ref().and_then(json).and_then(|container| {
            let newest = container.get("stats")?.as_array()?.last()?;
            newest.get("network")?.get("interfaces").cloned()
        });
        if question.container == "/" {
            self.host_network = network;
        } else if let (Some(host), Some(network)) = (&self.host_network, network)
            && is_same_network(host, &network)
        {
            self.report.on_host_network.insert(question.container.clone());
        }
    }

    fn container(&mut self, question: &Question, theirs: &Value, ours: &Value) {
        let name = &question.container;
        let (Some(theirs), Some(ours)) = (question.member(theirs), question.member(ours)) else { return };
        let in_list = question.shape.is_list();
        let (their_samples, our_samples) = (question.stats(&theirs), question.stats(&ours));
        if !in_list {
            let (theirs, ours) = (without("stats", theirs), without("stats", ours));
            let mut comparison = self.comparison(&question.resource, Some(name), Structure::Spec, Depth::Values);
            comparison.compare("", &theirs, &[&ours]);
        }
        // A container without a sample yet.
        let (Some(sample), Some(newest)) = (their_samples.last(), our_samples.last()) else { return };
        let around = around(sample, &our_samples);
        if around.is_none() {
            self.report.unmatched_samples += 1;
            self.report.unmatched_containers.insert(name.clone());
        }
        let depth = if around.is_some() { Depth::Values } else { Depth::Keys };
        let around = around.unwrap_or_else(|| vec![newest]);
        let (path, disks_path) = if in_list { ("", "filesystem") } else { ("stats", "stats.filesystem") };
        let mut comparison = self.comparison(&question.resource, Some(name), Structure::Sample, depth);
        let disks: Vec<&Value> = recent(sample, &our_samples).filter_map(|ours| ours.get("filesystem")).collect();
        match sample.get("filesystem") {
            Some(their_disks) if name == "/" && !disks.is_empty() => {
                let rest: Vec<Value> = around.iter().map(|ours| without("filesystem", (*ours).clone())).collect();
                let rest: Vec<&Value> = rest.iter().collect();
                comparison.compare(path, &without("filesystem", sample.clone()), &rest);
                comparison.compare(disks_path, their_disks, &disks);
            }
            _ => comparison.compare(path, sample, &around),
        }
    }

    /// What is not in samples.
    async fn without_samples(&mut self, name: &str, thoroughly: bool) -> Result<(), ClientError> {
        let path = encoded(name);
        let own = |resource: &str, version: &str| format!("/api/{version}/{resource}");
        for (resource, structure) in [("spec", Structure::Spec), ("summary", Structure::Summary)] {
            let versions = self.versions_with(resource);
            let skipped = if thoroughly { 0 } else { versions.len().saturating_sub(1) };
            for version in versions.into_iter().skip(skipped) {
                let resource = own(resource, &version);
                let target = format!("{resource}{path}");
                let before = self.ours.get(&target).await?;
                let theirs = self.theirs.get(&target).await?;
                let after = self.ours.get(&target).await?;
                let Some((theirs, after)) = self.both_fine(&resource, Some(name), &theirs, &after) else { continue };
                let before = json(&before);
                let member = |answer: &Value| answer.get(name).cloned();
                let Some(theirs) = member(&theirs) else { continue };
                let ours: Vec<Value> = before.iter().chain([&after]).filter_map(member).collect();
                let ours: Vec<&Value> = ours.iter().collect();
                self.comparison(&resource, Some(name), structure, Depth::Values).compare("", &theirs, &ours);
            }
        }
        let versions = self.versions_with("ps");
        let skipped = if thoroughly { 0 } else { versions.len().saturating_sub(1) };
        for version in versions.into_iter().skip(skipped) {
            self.processes(&own("ps", &version), name).await?;
        }
        Ok(())
    }

    /// Processes that were there before and after the collector was asked.
    async fn processes(&mut self, resource: &str, name: &str) -> Result<(), ClientError> {
        let target = format!("{resource}{}", encoded(name));
        let first = self.theirs.get(&target).await?;
        let ours = self.ours.get(&target).await?;
        let second = self.theirs.get(&target).await?;
        let Some((theirs, ours)) = self.both_fine(resource, Some(name), &second, &ours) else { return Ok(()) };
        let (Some(Value::Array(first)), Value::Array(theirs)) = (json(&first), theirs) else { return Ok(()) };
        let pid = |process: &Value| process.get("pid").and_then(Value::as_i64);
        let pids: BTreeSet<_> = first.iter().filter_map(pid).collect();
        let stayed = theirs.into_iter().filter(|process| pid(process).is_some_and(|pid| pids.contains(&pid)));
        let theirs = Value::Array(stayed.collect());
        self.comparison(resource, Some(name), Structure::Processes, Depth::Values).compare("", &theirs, &[&ours]);
        Ok(())
    }
}

async fn ask(client: &Client, question: &Question, who: usize) -> Result<Answer, ClientError> {
    let target = &question.targets[who];
    match question.shape {
        Shape::Info | Shape::NamedInfo => client.post(target, if who == 0 { ONE_SAMPLE } else { SAMPLES }).await,
        _ => client.get(target).await,
    }
}

fn without(member: &str, mut of: Value) -> Value {
    if let Some(members) = of.as_object_mut() {
        members.remove(member);
    }
    of
}

/// The collector's samples since [`DISKS_AGE`] before a sample of cAdvisor's.
fn recent<'a>(sample: &Value, ours: &'a [Value]) -> impl Iterator<Item = &'a Value> {
    let since = time(sample).and_then(|at| at.checked_sub(BLUR + DISKS_AGE).ok());
    ours.iter().filter(move |ours| time(ours) >= since)
}

fn time(sample: &Value) -> Option<Timestamp> {
    sample.get("timestamp")?.as_str()?.parse().ok()
}

/// The samples from the last one before to the first one after, if there are both.
fn around<'a>(sample: &Value, ours: &'a [Value]) -> Option<Vec<&'a Value>> {
    let at = time(sample)?;
    let (earliest, latest) = (at.checked_sub(BLUR).ok()?, at.checked_add(BLUR).ok()?);
    let before = ours.iter().rposition(|ours| time(ours).is_some_and(|time| time <= earliest))?;
    let after = ours.iter().position(|ours| time(ours).is_some_and(|time| time >= latest))?;
    Some(ours.get(before..=after)?.iter().collect())
}

/// Whether two lists of interfaces are the same ones, looked at within a short time.
fn is_same_network(one: &Value, other: &Value) -> bool {
    let counters = |list: &Value| -> Option<Vec<(String, f64)>> {
        let named = |entry: &Value| Some((entry.get("name")?.as_str()?.to_owned(), entry.get("rx_bytes")?.as_f64()?));
        let mut all: Vec<_> = list.as_array()?.iter().filter_map(named).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        Some(all)
    };
    let (Some(one), Some(other)) = (counters(one), counters(other)) else { return false };
    let near = |one: f64, other: f64| (one - other).abs() <= 1e6 + 0.01 * one.max(other);
    !one.is_empty()
        && one.len() == other.len()
        && one.iter().zip(&other).all(|(one, other)| one.0 == other.0 && near(one.1, other.1))
        // Interfaces that nothing passes through look alike everywhere.
        && one.iter().any(|(_, bytes)| *bytes > 1e7)
}

/// The id in the name of a container of Docker's, by either of its cgroup drivers.
fn docker_id(name: &str) -> Option<&str> {
    let (parent, last) = name.rsplit_once('/')?;
    let of_systemd = last.strip_prefix("docker-").and_then(|last| last.strip_suffix(".scope"));
    of_systemd.or_else(|| (parent.ends_with("/docker") && !last.is_empty()).then_some(last))
}

/// What kind of container a name shows: the root, its parent's name for others.
fn kind_of(name: &str) -> String {
    match name.rsplit_once('/') {
        Some((parent, last)) if !last.is_empty() => parent.to_owned(),
        _ => "the root".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn samples_around_a_moment() {
        let at = |second: u32| json!({"timestamp": format!("2026-01-01T00:00:{second:02}Z")});
        let ours: Vec<Value> = (1..=9).map(at).collect();
        let found = |second| around(&at(second), &ours).map(|samples| (samples.len(), samples[0].clone()));
        assert_eq!(found(5), Some((3, at(4))));
        // None before, none after.
        assert_eq!(found(1), None);
        assert_eq!(found(9), None);
        assert_eq!(around(&json!({}), &ours), None);
        let later: Vec<Value> = (10..=40).map(at).collect();
        assert_eq!(recent(&at(30), &later).next(), Some(&at(18)));
        assert_eq!(recent(&at(15), &later).count(), 31);
    }

    #[test]
    fn what_came_too_late_is_asked_for_once_more() {
        let targets = [String::new(), String::new()];
        let (container, resource) = ("/a".to_owned(), "/x".to_owned());
        let question = Question { container, resource, targets, shape: Shape::Info, theirs: None };
        let answer = |seconds: &[u32]| {
            let at = |second: &u32| json!({"timestamp": format!("2026-01-01T00:00:{second:02}Z")});
            let stats: Vec<Value> = seconds.iter().map(at).collect();
            Answer {
                status: 200,
                content_type: String::new(),
                body: json!({ "stats": stats }).to_string().into_bytes().into(),
            }
        };
        assert!(!question.lacks_samples(&answer(&[5]), &answer(&[4, 6])));
        assert!(question.lacks_samples(&answer(&[5]), &answer(&[3, 4])));
        // Neither has a counterpart that could come later.
        assert!(!question.lacks_samples(&answer(&[]), &answer(&[3])));
        assert!(!question.lacks_samples(&answer(&[5]), &answer(&[])));
    }

    #[test]
    fn the_hosts_network_is_recognized() {
        let interfaces =
            |eth: u64, ifb: u64| json!([{"name": "ifb0", "rx_bytes": ifb}, {"name": "eth0", "rx_bytes": eth}]);
        let host = interfaces(50_000_000, 0);
        assert!(is_same_network(&host, &interfaces(50_020_000, 0)));
        assert!(!is_same_network(&host, &interfaces(1_000_000, 0)));
        assert!(!is_same_network(&host, &json!([{"name": "eth0", "rx_bytes": 50_000_000}])));
        assert!(!is_same_network(&interfaces(0, 0), &interfaces(0, 0)));
        assert!(!is_same_network(&json!([]), &json!([])));
    }

    #[test]
    fn containers_of_docker_have_ids() {
        assert_eq!(docker_id("/docker/a1"), Some("a1"));
        assert_eq!(docker_id("/system.slice/docker-a1.scope"), Some("a1"));
        assert_eq!(docker_id("/docker"), None);
        assert_eq!(docker_id("/docker/a1/nested"), None);
        assert_eq!(docker_id("/"), None);
    }

    #[test]
    fn kinds_of_containers() {
        assert_eq!(kind_of("/"), "the root");
        assert_eq!(kind_of("/docker/a"), "/docker");
        assert_eq!(kind_of("/a"), "");
    }
}
