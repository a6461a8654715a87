//! Docker's API, and podman's, which is the same.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::answer::Answer;
use super::docker_answer::{Health, Inspected, NetworkSettings};
use super::docker_files;
use super::endpoint::Endpoint;
use super::error::RuntimeError;
use super::http::{HttpClient, Lines};
use super::listeners::DockerTls;
use super::owners::Life;
use super::places::{self, Driver};
use crate::sample::identity::{Address, Identity, NetworkOwner, Runtime};
use crate::sample::images::{Holds, ImageStore, RuntimeStorage};
use crate::units::WallTime;

/// The newest version of the API whose answers are known.
const NEWEST_VERSION: (usize, usize) = (1, 53);

/// The changes of containers, as they happen.
const EVENTS: &str = r#"{"type":["container"]}"#;

/// Bytes of an id: its digits are 64.
const LONGEST_ID: usize = 128;

/// `GET /version`, as far as it is looked at.
#[derive(Deserialize)]
struct DockerVersion {
    #[serde(rename = "ApiVersion")]
    api: Option<String>,
}

/// `GET /info`, as far as it is looked at.
#[derive(Deserialize)]
struct DockerInfo {
    #[serde(rename = "DockerRootDir")]
    root: Option<String>,
    #[serde(rename = "CgroupDriver")]
    driver: Option<String>,
}

/// An event, as far as it is looked at.
#[derive(Deserialize)]
struct DockerEvent {
    #[serde(rename = "Action")]
    action: Option<String>,
    #[serde(rename = "Actor")]
    actor: Option<Actor>,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: Option<String>,
}

/// A runtime that has answered.
#[derive(Clone, Debug)]
pub(super) struct DockerClient {
    http: HttpClient,
    /// The beginning of every path: the version of the API that both sides speak.
    version: Arc<str>,
    runtime: Runtime,
    /// Beginnings of the names of the environment variables that are reported.
    environment: Arc<[String]>,
    /// What does not change while it runs, once it was reported.
    host: Arc<OnceCell<DockerHost>>,
}

/// What Docker reports about the machine it runs on.
#[derive(Debug)]
struct DockerHost {
    /// The directory with all that it keeps.
    root: Option<PathBuf>,
    /// How it makes cgroups.
    driver: Option<Driver>,
}

impl DockerClient {
    /// Finds out whether anybody listens, and which version of the API they speak.
    pub(super) async fn connect(
        endpoint: &Endpoint,
        runtime: Runtime,
        tls: Option<&DockerTls>,
        environment: &Arc<[String]>,
    ) -> Result<Self, RuntimeError> {
        endpoint.probe().await?;
        let http = HttpClient::new(endpoint, tls)?;
        let version = match http.get("/version").await {
            Ok(DockerVersion { api }) => version(api.as_deref()),
            Err(RuntimeError::NoSuchContainer) => None,
            Err(error) => return Err(error),
        };
        let version =
            version.ok_or_else(|| RuntimeError::Unspoken("it does not report its version".to_owned()))?.into();
        Ok(Self { http, version, runtime, environment: Arc::clone(environment), host: Arc::default() })
    }

    /// What it knows about a container.
    pub(super) async fn inspect(&self, id: &str) -> Result<Answer, RuntimeError> {
        // Both at once: a daemon that is slow to answer is waited for once.
        let target = format!("{}/containers/{}/json", self.version, utf8_percent_encode(id, NON_ALPHANUMERIC));
        let (answer, host) = tokio::join!(self.http.get(&target), self.host());
        let answer = answer?;
        let (expected, life) = place(self.runtime, id, &answer, host.and_then(|host| host.driver));
        let root = host.and_then(|host| host.root.as_deref());
        let identity = identity(self.runtime, id, answer, root, &self.environment);
        Ok(Answer { identity, expected, life })
    }

    /// Whether it answers.
    pub(super) async fn ping(&self) -> Result<(), RuntimeError> {
        self.http.ping("/_ping").await
    }

    /// What it reports about the machine, if it does.
    async fn host(&self) -> Option<&DockerHost> {
        let ask = || async {
            let DockerInfo { root, driver } = self.http.get(&format!("{}/info", self.version)).await?;
            let root = root.filter(|root| root.starts_with('/')).map(PathBuf::from);
            Ok::<_, RuntimeError>(DockerHost { root, driver: driver.as_deref().and_then(driver_called) })
        };
        self.host.get_or_try_init(ask).await.ok()
    }

    /// Where its images are. What they take it would have to find out by looking at every file.
    pub(super) async fn storage(&self) -> RuntimeStorage {
        let store = |root: &Path| ImageStore {
            runtime: self.runtime,
            directory: root.to_path_buf(),
            holds: Holds::Images,
            used: None,
        };
        let stores = self.host().await.and_then(|host| host.root.as_deref()).map(store).into_iter().collect();
        RuntimeStorage { runtime: self.runtime, stores, layers: BTreeMap::new() }
    }

    /// Reports the ids of containers that changed, until the runtime goes away.
    pub(super) async fn changes(&self) -> Result<Changes, RuntimeError> {
        let filters = utf8_percent_encode(EVENTS, NON_ALPHANUMERIC);
        Ok(Changes(self.http.lines(&format!("{}/events?filters={filters}", self.version)).await?))
    }
}

/// The ids of containers that changed.
#[derive(Debug)]
pub(super) struct Changes(Lines);

impl Changes {
    /// The next one; an error when the runtime went away. A line that is not understood is passed over.
    pub(super) async fn next(&mut self) -> Result<String, RuntimeError> {
        loop {
            let line = self.0.next().await?;
            if let Some(id) = serde_json::from_slice(&line).ok().and_then(changed) {
                return Ok(id);
            }
        }
    }
}

/// How it makes cgroups, by the name of that; rootless without cgroup v2 it makes none.
fn driver_called(name: &str) -> Option<Driver> {
    match name {
        "cgroupfs" => Some(Driver::Cgroupfs),
        "systemd" => Some(Driver::Systemd),
        _ => None,
    }
}

/// The beginning of the paths, for the lower of the two versions of the API; none where the runtime does not say its own.
fn version(theirs: Option<&str>) -> Option<String> {
    let (major, minor) = theirs?.split_once('.')?;
    let theirs = (major.parse::<usize>().ok()?, minor.parse::<usize>().ok()?);
    let (major, minor) = theirs.min(NEWEST_VERSION);
    Some(format!("/v{major}.{minor}"))
}

/// The container an event is about, if what it reports may have changed by it.
fn changed(event: DockerEvent) -> Option<String> {
    let action = event.action?;
    // `health_status: healthy`; `exec_create: command` comes with every health check and changes nothing.
    let verb = action.split(':').next().unwrap_or_default();
    let changes = matches!(verb, "start" | "restart" | "rename" | "update" | "health_status");
    changes.then(|| event.actor?.id).flatten().filter(|id| id.len() <= LONGEST_ID)
}

/// The cgroups that Docker makes for the container, and whether it runs. Podman names its own in other ways.
fn place(runtime: Runtime, id: &str, answer: &Inspected, driver: Option<Driver>) -> (Vec<String>, Life) {
    let parent = answer.host_config.as_ref().and_then(|host| host.cgroup_parent.as_deref());
    let expected = if runtime == Runtime::Docker { places::of_docker(parent, driver, id) } else { Vec::new() };
    let life = match answer.state.as_ref().and_then(|state| state.pid) {
        Some(0) => Life::Stopped,
        Some(_) => Life::Running,
        None => Life::Unknown,
    };
    (expected, life)
}

fn identity(runtime: Runtime, id: &str, answer: Inspected, root: Option<&Path>, asked_for: &[String]) -> Identity {
    let files = docker_files::files(runtime, id, &answer, root);
    let config = answer.config.unwrap_or_default();
    let state = answer.state.unwrap_or_default();
    let host = answer.host_config.unwrap_or_default();
    let address = address(host.network_mode.as_deref(), answer.network_settings.unwrap_or_default());
    let borrows = host.network_mode.is_some_and(|mode| mode.starts_with("container:"));
    Identity {
        runtime: runtime.into(),
        id: id.to_owned(),
        name: text(answer.name.map(|name| name.trim_start_matches('/').to_owned())),
        labels: labels(config.labels.unwrap_or_default(), answer.restart_count),
        environment: environment(&config.env.unwrap_or_default(), asked_for),
        image: text(config.image),
        created: answer.created.as_deref().and_then(time),
        started: state.started_at.as_deref().and_then(time),
        pod: None,
        process: state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
        network: if borrows { NetworkOwner::AnotherContainer } else { NetworkOwner::Itself },
        address,
        health: state.health.as_ref().and_then(health),
        files,
    }
}

/// The labels, with how often the runtime started the container again among them, as cAdvisor has it.
fn labels(labels: HashMap<String, String>, restarts: Option<i64>) -> BTreeMap<String, String> {
    let restarts =
        restarts.filter(|restarts| *restarts > 0).map(|count| ("restartcount".to_owned(), count.to_string()));
    labels.into_iter().chain(restarts).collect()
}

/// The host's for a container that uses its network; else the first of the container's addresses, by the network's name.
fn address(mode: Option<&str>, settings: NetworkSettings) -> Address {
    if mode == Some("host") {
        return Address::Host;
    }
    let networks: BTreeMap<_, _> = settings.networks.unwrap_or_default().into_iter().collect();
    let given = |text: Option<String>| text.and_then(|text| text.parse().ok());
    let mut addresses = networks
        .into_values()
        .flat_map(|network| [given(network.ip_address), given(network.global_ipv6_address)])
        .flatten();
    addresses.next().map_or(Address::Unknown, Address::Own)
}

fn health(health: &Health) -> Option<String> {
    text(health.status.clone())
}

fn text(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// `NAME=value`; cAdvisor writes Docker's names in lower case.
fn environment(variables: &[String], asked_for: &[String]) -> BTreeMap<String, String> {
    let pairs = variables.iter().filter_map(|variable| variable.split_once('='));
    let pairs = pairs.filter(|(name, _)| asked_for.iter().any(|prefix| name.starts_with(prefix.as_str())));
    pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect()
}

/// A time of the API; one before 1970 (Docker writes the year 1 for "never") is none.
fn time(text: &str) -> Option<WallTime> {
    let nanos = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
    u64::try_from(nanos).ok().map(WallTime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(json: &str) -> Identity {
        let asked_for = ["PA", "Empty"].map(str::to_owned);
        identity(Runtime::Docker, "abc", serde_json::from_str(json).unwrap(), None, &asked_for)
    }

    #[test]
    fn a_running_container() {
        let found = inspected(
            r#"{"Id":"abc","Created":"2026-01-02T03:04:05.000000006Z","Name":"/web","RestartCount":2,
                "State":{"Status":"running","Running":true,"Pid":4242,"StartedAt":"2026-01-02T03:04:06+01:00",
                         "Health":{"Status":"healthy","FailingStreak":0}},
                "Config":{"Image":"nginx:1","Labels":{"a":"b"},"Env":["PATH=/bin","Empty=","odd","PAODD","SECRET=1"]},
                "HostConfig":{"NetworkMode":"container:other"}}"#,
        );
        assert_eq!((found.address, found.process), (Address::Unknown, Some(4242)));
        assert_eq!(found.name.as_deref(), Some("web"));
        assert_eq!(found.aliases().collect::<Vec<_>>(), ["web", "abc"]);
        assert_eq!(found.image.as_deref(), Some("nginx:1"));
        assert_eq!(found.labels["a"], "b");
        assert_eq!(
            found.environment.into_iter().collect::<Vec<_>>(),
            [("empty".to_owned(), String::new()), ("path".to_owned(), "/bin".to_owned())]
        );
        assert_eq!(found.created, Some(WallTime(1_767_323_045_000_000_006)));
        assert_eq!(found.started, Some(WallTime(1_767_319_446_000_000_000)));
        assert_eq!(found.labels["restartcount"], "2");
        assert_eq!(found.network, NetworkOwner::AnotherContainer);
        assert_eq!(found.health.as_deref(), Some("healthy"));
    }

    #[test]
    fn what_is_not_reported_is_absent() {
        let found = inspected(r#"{"Name":"","State":{"StartedAt":"0001-01-01T00:00:00Z"},"Created":"soon"}"#);
        assert_eq!(found, Identity::from_path(Runtime::Docker, "abc".to_owned()));
    }

    #[test]
    fn where_its_cgroup_is() {
        let place = |runtime, json: &str| place(runtime, "abc", &serde_json::from_str(json).unwrap(), None);
        let running = r#"{"State":{"Pid":42},"HostConfig":{"CgroupParent":"/docker/outer"}}"#;
        assert_eq!(place(Runtime::Docker, running), (vec!["/docker/outer/abc".to_owned()], Life::Running));
        assert_eq!(place(Runtime::Podman, running), (Vec::new(), Life::Running));
        assert_eq!(place(Runtime::Docker, r#"{"State":{"Pid":0}}"#).1, Life::Stopped);
        assert_eq!(place(Runtime::Docker, "{}").1, Life::Unknown);
    }

    #[test]
    fn where_a_container_is_reached() {
        let address = |mode: &str, networks: &str| {
            inspected(&format!(
                r#"{{"HostConfig":{{"NetworkMode":"{mode}"}},"NetworkSettings":{{"Networks":{{{networks}}}}}}}"#
            ))
            .address
        };
        assert_eq!(address("host", r#""host":{"IPAddress":""}"#), Address::Host);
        assert_eq!(address("none", r#""none":{"IPAddress":""}"#), Address::Unknown);
        let two = r#""b":{"IPAddress":"10.0.0.2"},"a":{"IPAddress":"","GlobalIPv6Address":"fd00::1"}"#;
        assert_eq!(address("bridge", two), Address::Own("fd00::1".parse().unwrap()));
        assert_eq!(address("bridge", r#""b":{"IPAddress":"10.0.0.2"}"#), Address::Own("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn the_lower_version_is_spoken() {
        assert_eq!(version(Some("1.41")).as_deref(), Some("/v1.41"));
        let ours = format!("/v{}.{}", NEWEST_VERSION.0, NEWEST_VERSION.1);
        assert_eq!(version(Some("1.999")), Some(ours));
        assert_eq!((version(None), version(Some("1")), version(Some("x.y"))), (None, None, None));
    }

    #[test]
    fn events_that_change_something() {
        let event = |action: &str| {
            let text = format!(r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"abc"}}}}"#);
            changed(serde_json::from_str(&text).unwrap())
        };
        assert_eq!(event("rename").as_deref(), Some("abc"));
        assert_eq!(event("health_status: healthy").as_deref(), Some("abc"));
        assert_eq!(event("exec_start: true"), None);
        assert_eq!(event("die"), None);
    }
}
