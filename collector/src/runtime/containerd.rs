//! containerd's own API: the containers of its namespaces, whoever made them.

mod snapshots;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;
use tonic::metadata::{Ascii, MetadataValue};

use self::snapshots::Snapshots;
use super::answer::Answer;
use super::endpoint::Endpoint;
use super::error::RuntimeError;
use super::grpc::{AnyMessage, Connection, Empty, Timestamp};
use super::owners::Life;
use super::places;
use crate::sample::identity::{Identity, NetworkOwner, Runtime};
use crate::sample::images::RuntimeStorage;
use crate::units::WallTime;

const GET: &str = "/containerd.services.containers.v1.Containers/Get";
const VERSION: &str = "/containerd.services.version.v1.Version/Version";
const GET_TASK: &str = "/containerd.services.tasks.v1.Tasks/Get";
/// Distinguishes a pod's sandbox from its containers.
const KIND: &str = "io.cri-containerd.kind";

/// `containerd.services.containers.v1.GetContainerRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct GetRequest {
    #[prost(string, tag = "1")]
    id: String,
}

/// `GetContainerResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct GetResponse {
    #[prost(message, optional, tag = "1")]
    container: Option<ContainerdContainer>,
}

/// `containerd.services.containers.v1.Container`.
#[derive(Clone, PartialEq, prost::Message)]
struct ContainerdContainer {
    #[prost(map = "string, string", tag = "2")]
    labels: HashMap<String, String>,
    #[prost(string, tag = "3")]
    image: String,
    /// The runtime's specification, as JSON.
    #[prost(message, optional, tag = "5")]
    spec: Option<AnyMessage>,
    #[prost(string, tag = "6")]
    snapshotter: String,
    #[prost(string, tag = "7")]
    snapshot_key: String,
    #[prost(message, optional, tag = "8")]
    created_at: Option<Timestamp>,
    #[prost(map = "string, message", tag = "10")]
    extensions: HashMap<String, AnyMessage>,
}

/// `containerd.services.tasks.v1.GetRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct TaskRequest {
    #[prost(string, tag = "1")]
    container_id: String,
}

/// `containerd.services.tasks.v1.GetResponse`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct TaskResponse {
    #[prost(message, optional, tag = "1")]
    process: Option<Task>,
}

/// `containerd.v1.types.Process`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Task {
    #[prost(uint32, tag = "3")]
    pid: u32,
    /// Unknown 0, created 1, running 2, stopped 3, paused 4, pausing 5.
    #[prost(int32, tag = "4")]
    status: i32,
}

/// `Status.STOPPED`.
const STOPPED: i32 = 3;

/// The part of a runtime specification that is looked at.
#[derive(Default, Deserialize)]
struct Specification {
    process: Option<ContainerdProcess>,
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(default, rename = "cgroupsPath")]
    cgroups_path: String,
}

#[derive(Deserialize)]
struct ContainerdProcess {
    #[serde(default)]
    env: Vec<String>,
}

/// A containerd that has answered.
#[derive(Clone, Debug)]
pub(super) struct ContainerdClient {
    connection: Connection,
    /// Namespaces to look in, one after the other.
    namespaces: Arc<[MetadataValue<Ascii>]>,
    environment: Arc<[String]>,
    snapshots: Snapshots,
}

impl ContainerdClient {
    /// Finds out whether anybody listens, and whether it is containerd.
    pub(super) async fn connect(
        endpoint: &Endpoint,
        namespaces: &[String],
        environment: &Arc<[String]>,
    ) -> Result<Self, RuntimeError> {
        let connection = Connection::open(endpoint).await?;
        connection.call::<Empty, Empty>(VERSION, Empty {}, None).await?;
        // One that no header can hold is the name of no namespace either.
        let namespaces = namespaces.iter().filter_map(|name| name.parse().ok()).collect();
        let snapshots = Snapshots::default();
        Ok(Self { connection, namespaces, environment: Arc::clone(environment), snapshots })
    }

    /// What it knows about a container.
    pub(super) async fn inspect(&self, id: &str) -> Result<Answer, RuntimeError> {
        for namespace in &*self.namespaces {
            let request = GetRequest { id: id.to_owned() };
            match self.connection.call::<_, GetResponse>(GET, request, Some(namespace)).await {
                Ok(GetResponse { container: Some(container) }) => {
                    let files = self.snapshots.files(&self.connection, namespace, id, &container).await;
                    let (process, life) = self.task(namespace, id).await;
                    let (identity, expected) = identity(id, container, &self.environment);
                    return Ok(Answer { identity: Identity { process, files, ..identity }, expected, life });
                }
                Ok(GetResponse { container: None }) | Err(RuntimeError::NoSuchContainer) => {}
                Err(error) => return Err(error),
            }
        }
        Err(RuntimeError::NoSuchContainer)
    }

    /// What it reports about disks.
    pub(super) async fn storage(&self) -> RuntimeStorage {
        self.snapshots.storage(&self.connection).await
    }

    /// How it is spoken to; its CRI plugin listens at the same socket.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether it answers.
    pub(super) async fn ping(&self) -> Result<(), RuntimeError> {
        self.connection.call::<Empty, Empty>(VERSION, Empty {}, None).await.map(drop)
    }

    /// The container's first process.
    async fn task(&self, namespace: &MetadataValue<Ascii>, id: &str) -> (Option<u32>, Life) {
        let request = TaskRequest { container_id: id.to_owned() };
        match self.connection.call::<_, TaskResponse>(GET_TASK, request, Some(namespace)).await {
            Ok(TaskResponse { process: Some(task) }) if task.pid > 0 && task.status != STOPPED => {
                (Some(task.pid), Life::Running)
            }
            Ok(_) | Err(RuntimeError::NoSuchContainer) => (None, Life::Stopped),
            Err(error) => {
                tracing::debug!(container = id, %error, "containerd does not report the container's first process");
                (None, Life::Unknown)
            }
        }
    }
}

/// Who the container is, and the cgroups that its specification asks for.
fn identity(id: &str, container: ContainerdContainer, asked_for: &[String]) -> (Identity, Vec<String>) {
    let ContainerdContainer { labels, image, spec, created_at, .. } = container;
    // A pod's containers use the sandbox's network; a container without the label is no pod's.
    let network = match labels.get(KIND).map(String::as_str) {
        None => NetworkOwner::Itself,
        Some("sandbox") => NetworkOwner::Pod,
        Some(_) => NetworkOwner::AnotherContainer,
    };
    let created = created_at.and_then(|at| {
        let nanos = u64::try_from(at.seconds).ok()?.checked_mul(1_000_000_000)?;
        nanos.checked_add(u64::try_from(at.nanos).ok()?)
    });
    let specification: Specification =
        spec.and_then(|spec| serde_json::from_slice(&spec.value).ok()).unwrap_or_default();
    let path = specification.linux.map(|linux| linux.cgroups_path).unwrap_or_default();
    let identity = Identity {
        labels: labels.into_iter().collect(),
        environment: environment(specification.process, asked_for),
        image: Some(image).filter(|image| !image.is_empty()),
        created: created.map(WallTime),
        network,
        ..Identity::from_path(Runtime::Containerd, id.to_owned())
    };
    (identity, places::of_specification(&path))
}

/// The chosen variables, with their names as they are.
fn environment(process: Option<ContainerdProcess>, asked_for: &[String]) -> BTreeMap<String, String> {
    let variables = process.map(|process| process.env).unwrap_or_default();
    let pairs = variables.iter().filter_map(|variable| variable.split_once('='));
    let chosen = pairs.filter(|(name, _)| asked_for.iter().any(|prefix| name.starts_with(prefix.as_str())));
    chosen.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// Fields as containerd 1.6 sends them, some of them unknown to us.
    fn answer(kind: &str) -> Vec<u8> {
        let spec = br#"{"ociVersion":"1","process":{"terminal":false,"env":["PATH=/bin","SECRET=1"],"args":[]},"linux":{"cgroupsPath":"/k8s.io/abc"}}"#;
        let container = ContainerdContainer {
            labels: HashMap::from([(KIND.to_owned(), kind.to_owned()), ("a".to_owned(), "b".to_owned())]),
            image: "docker.io/library/web:1".to_owned(),
            spec: Some(AnyMessage { type_url: "spec".to_owned(), value: spec.to_vec() }),
            created_at: Some(Timestamp { seconds: 1_700_000_000, nanos: 5 }),
            ..ContainerdContainer::default()
        };
        let mut bytes = GetResponse { container: Some(container) }.encode_to_vec();
        // Field 6 of the outer message: length-delimited, "overlayfs".
        bytes.extend(b"\x32\x09overlayfs");
        bytes
    }

    fn identified(kind: &str) -> (Identity, Vec<String>) {
        let container = GetResponse::decode(answer(kind).as_slice()).unwrap().container.unwrap();
        identity("abc", container, &["PATH".to_owned()])
    }

    #[test]
    fn a_pods_container_and_its_sandbox() {
        let (found, expected) = identified("container");
        assert_eq!(expected, ["/k8s.io/abc"]);
        assert_eq!((found.runtime, found.network), (Runtime::Containerd.into(), NetworkOwner::AnotherContainer));
        assert_eq!(found.image.as_deref(), Some("docker.io/library/web:1"));
        assert_eq!(found.labels["a"], "b");
        assert_eq!(found.environment.into_iter().collect::<Vec<_>>(), [("PATH".to_owned(), "/bin".to_owned())]);
        assert_eq!(found.created, Some(WallTime(1_700_000_000_000_000_005)));
        assert_eq!(identified("sandbox").0.network, NetworkOwner::Pod);
    }

    #[test]
    fn what_is_not_reported_is_absent() {
        let found = identity("abc", ContainerdContainer::default(), &["PATH".to_owned()]);
        assert_eq!(found, (Identity::from_path(Runtime::Containerd, "abc".to_owned()), Vec::new()));
    }
}
