//! Asks both servers for everything, in an order in which the answers can be compared.
//!
//! A sample of cAdvisor's is asked for first. The collector, asked a little later and to look once more, then has
//! samples from before and after it. Containers are walked through in batches, so that neither memory nor the time
//! between two questions grows with their number.

mod containers;
mod lists;

use std::collections::BTreeSet;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;
use tokio::time::Instant;

use super::CompareOptions;
use super::progress::Progress;
use super::report::{Difference, Finding, Report};
use super::rules::Structure;
use super::values::{Comparison, Depth};
use crate::client::{Answer, Client, ClientError, Patience};

/// How far from the time it says a sample's values may be: neither server reads everything at once.
const BLUR: Duration = Duration::from_millis(500);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The letters of a container's name that a path cannot have as they are.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'\\');

/// Versions of the API and the resources that cAdvisor has in each, oldest first.
type Resources = Vec<(String, Vec<String>)>;

/// Two servers and what was found about them.
struct CompareWalk {
    theirs: Client,
    ours: Client,
    report: Report,
    resources: Resources,
    /// Containers that both have.
    containers: BTreeSet<String>,
    progress: Progress,
    /// What cAdvisor says about the network of the root, which is the host's.
    host_network: Option<Value>,
}

/// Compares everything.
pub(super) async fn compare(options: &CompareOptions) -> Result<Report, ClientError> {
    let end = Instant::now() + options.timeout;
    let patience = Patience { each: PATIENCE, end: Some(end) };
    let theirs = Client::new(&options.theirs, "--with-header", patience)?;
    let ours = Client::new(&options.ours, "--url-header", patience)?;
    let mut report = Report::new(theirs.url(""), ours.url(""), options.verbosity);
    let resources = discover(&theirs, "a cAdvisor").await?;
    // Something else on the collector's port would differ in everything.
    discover(&ours, "a collector").await?;
    if let Some(Value::String(version)) = json(&theirs.get("/api/v2.0/version").await?) {
        report.their_version = version;
    }
    let progress = Progress::until(end);
    let containers = BTreeSet::new();
    let mut walk = CompareWalk { theirs, ours, report, resources, containers, progress, host_network: None };
    match walk.everything().await {
        Err(error) if walk.report.answers == 0 => return Err(error),
        // What was found until then is worth as much.
        Err(error) => walk.report.incomplete = Some(format!("{}: {error}", walk.progress.step())),
        Ok(()) => {}
    }
    Ok(walk.report)
}

/// What a server says that it has, by version.
async fn discover(client: &Client, expected: &'static str) -> Result<Resources, ClientError> {
    let listing = client.get("/api/").await?;
    let not_a = |client: &Client, answer: &Answer| ClientError::NotA {
        url: client.url("/api/"),
        expected,
        got: answer.excerpt(),
    };
    let text = String::from_utf8_lossy(&listing.body).into_owned();
    let Some(versions) = text.trim().strip_prefix("Supported API versions: ") else {
        return Err(not_a(client, &listing));
    };
    let mut resources = Vec::new();
    for version in versions.split(',') {
        let answer = client.get(&format!("/api/{version}/")).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let Some(types) = text.trim().strip_prefix("Supported request types: ") else {
            return Err(not_a(client, &answer));
        };
        let types = types.trim_matches('"').split(',').map(str::to_owned).collect();
        resources.push((version.to_owned(), types));
    }
    Ok(resources)
}

impl CompareWalk {
    async fn everything(&mut self) -> Result<(), ClientError> {
        self.begin("the list of containers".to_owned());
        self.find_containers().await?;
        self.each_container().await?;
        self.begin("answers about all containers and the machine".to_owned());
        self.whole_answers().await?;
        self.begin("/metrics".to_owned());
        self.metrics().await
    }

    fn begin(&mut self, step: String) {
        self.progress.begin(step, &self.report);
    }

    /// The versions that have a resource, oldest first.
    fn versions_with(&self, resource: &str) -> Vec<String> {
        let has = self.resources.iter().filter(|(_, types)| types.iter().any(|name| name == resource));
        has.map(|(version, _)| version.clone()).collect()
    }

    /// The newest version that has a resource and begins like this.
    fn newest_with(&self, beginning: &str, resource: &str) -> Option<String> {
        self.versions_with(resource).into_iter().rfind(|version| version.starts_with(beginning))
    }

    /// Finds the containers that both have, and reports those that one of them lacks.
    async fn find_containers(&mut self) -> Result<(), ClientError> {
        let Some(version) = self.newest_with("v1", "subcontainers") else { return Ok(()) };
        let target = format!("/api/{version}/subcontainers/");
        let first = names(&self.theirs.post(&target, NO_SAMPLES).await?);
        let ours = names(&self.ours.post(&target, NO_SAMPLES).await?);
        // What came or went meanwhile is no difference.
        let second = names(&self.theirs.post(&target, NO_SAMPLES).await?);
        let ours_later = names(&self.ours.post(&target, NO_SAMPLES).await?);
        for name in first.intersection(&second).filter(|name| !ours.contains(*name)) {
            self.report_container(Difference::MissingContainer, name);
        }
        for name in ours.intersection(&ours_later).filter(|name| !first.contains(*name) && !second.contains(*name)) {
            self.report_container(Difference::ExtraContainer, name);
        }
        self.containers = second.intersection(&ours_later).cloned().collect();
        self.report.containers = self.containers.len();
        Ok(())
    }

    fn report_container(&mut self, difference: Difference, name: &str) {
        self.report.add(Finding {
            resource: "/api".to_owned(),
            container: Some(name.to_owned()),
            path: String::new(),
            difference,
            theirs: String::new(),
            ours: String::new(),
            known: None,
        });
    }

    /// A comparison of two answers.
    fn comparison<'a>(
        &'a mut self,
        resource: &'a str,
        container: Option<&'a str>,
        structure: Structure,
        depth: Depth,
    ) -> Comparison<'a> {
        self.report.answers += 1;
        self.progress.show(&self.report);
        Comparison { report: &mut self.report, resource, container, structure, depth }
    }

    /// Compares status and kind of two answers; their values when both are JSON and fine.
    fn both_fine(
        &mut self,
        resource: &str,
        container: Option<&str>,
        theirs: &Answer,
        ours: &Answer,
    ) -> Option<(Value, Value)> {
        let (their_value, our_value) = (json(theirs), json(ours));
        match (their_value, our_value) {
            (Some(theirs), Some(ours)) => Some((theirs, ours)),
            // Neither has it, for example because the container has ended.
            (None, None) if theirs.status == ours.status => None,
            // What cAdvisor cannot answer needs no counterpart.
            (None, Some(_)) => None,
            _ => {
                let (their_excerpt, our_excerpt) = (theirs.excerpt(), ours.excerpt());
                let mut comparison = self.comparison(resource, container, Structure::Other, Depth::Keys);
                comparison.put("", Difference::Answer, None, their_excerpt, our_excerpt);
                None
            }
        }
    }
}

/// A request for containers without their samples.
const NO_SAMPLES: &str = r#"{"num_stats":0}"#;

/// The answer as JSON, if it is an answer and no error.
fn json(answer: &Answer) -> Option<Value> {
    if answer.status == 200 { serde_json::from_slice(&answer.body).ok() } else { None }
}

/// The names of the containers of a listing.
fn names(listing: &Answer) -> BTreeSet<String> {
    let Some(Value::Array(containers)) = json(listing) else { return BTreeSet::new() };
    containers.iter().filter_map(|container| container.get("name")?.as_str()).map(str::to_owned).collect()
}

/// A container's name as the end of a path.
fn encoded(name: &str) -> String {
    utf8_percent_encode(name, UNSAFE).to_string()
}
