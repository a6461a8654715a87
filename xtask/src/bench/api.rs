//! The parts of the HTTP API that the measurements use.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Answers may list thousands of containers.
const LARGEST_ANSWER: u64 = 1 << 30;

/// A server on this machine.
#[derive(Clone, Debug)]
pub(super) struct Api {
    agent: ureq::Agent,
    base: String,
}

/// A container of a listing. The numbers are not looked at.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "name")]
    _name: serde::de::IgnoredAny,
}

/// An event of the stream.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    /// The container's path.
    pub(super) container_name: String,
    /// cAdvisor's name of the kind.
    pub(super) event_type: String,
}

impl Api {
    /// A client for a server on this port.
    pub(super) fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_mins(1)))
            .build();
        Self { agent: config.into(), base: format!("http://127.0.0.1:{port}") }
    }

    /// Where it answers.
    pub(super) fn url(&self) -> &str {
        &self.base
    }

    /// Whether a GET succeeds.
    pub(super) fn answers(&self, path: &str) -> bool {
        self.agent.get(format!("{}{path}", self.base)).call().is_ok()
    }

    /// How many containers are listed at and below a path.
    pub(super) fn subcontainers(&self, path: &str) -> Result<usize> {
        let url = format!("{}/api/v1.3/subcontainers{path}", self.base);
        let mut answer = self.agent.post(&url).send(r#"{"num_stats":1}"#).with_context(|| format!("POST {url}"))?;
        let body = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        let body = body.with_context(|| format!("cannot read the answer of {url}"))?;
        let listed: Vec<Listed> = serde_json::from_slice(&body).with_context(|| format!("{url} gave no listing"))?;
        Ok(listed.len())
    }

    /// How many containers of Docker are listed.
    pub(super) fn docker_containers(&self) -> Result<usize> {
        let url = format!("{}/api/v1.3/docker/", self.base);
        let mut answer = self.agent.post(&url).send(r#"{"num_stats":1}"#).with_context(|| format!("POST {url}"))?;
        let body = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        let body = body.with_context(|| format!("cannot read the answer of {url}"))?;
        let listed: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&body).with_context(|| format!("{url} gave no listing"))?;
        Ok(listed.len())
    }

    /// `/metrics`, as it comes over the wire.
    pub(super) fn metrics(&self, coding: &str) -> Result<Vec<u8>> {
        let url = format!("{}/metrics", self.base);
        let request = self.agent.get(&url).header("accept-encoding", coding).header("accept", "text/plain");
        let mut answer = request.call().with_context(|| format!("GET {url}"))?;
        let body = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        body.with_context(|| format!("cannot read the answer of {url}"))
    }

    /// The stream of all events from now on, one JSON object a line.
    pub(super) fn events(&self) -> Result<impl BufRead + use<>> {
        let url = format!("{}/api/v1.3/events/?stream=true&all_events=true&subcontainers=true", self.base);
        let answer = self.agent.get(&url).call().with_context(|| format!("GET {url}"))?;
        Ok(BufReader::new(answer.into_body().into_with_config().limit(LARGEST_ANSWER).reader()))
    }
}
