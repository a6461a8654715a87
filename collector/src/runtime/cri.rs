//! The Kubernetes container runtime interface, version 1, as CRI-O serves it.

use std::collections::HashMap;

use super::answer::Answer;
use super::cri_storage::{self, Status};
use super::endpoint::Endpoint;
use super::error::RuntimeError;
use super::grpc::{Connection, Empty};
use super::owners::Life;
use super::places;
use crate::sample::filesystem::ContainerFiles;
use crate::sample::identity::{Identity, NetworkOwner, Runtime};
use crate::sample::images::RuntimeStorage;
use crate::units::WallTime;

const VERSION: &str = "/runtime.v1.RuntimeService/Version";
const LIST_CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
const LIST_SANDBOXES: &str = "/runtime.v1.RuntimeService/ListPodSandbox";
/// How often the kubelet started the container again.
const RESTARTS: &str = "io.kubernetes.container.restartCount";

/// `ListContainersRequest`, `ListPodSandboxRequest` and `ListContainerStatsRequest`: one filter by id.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ListRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) filter: Option<Filter>,
}

/// `ContainerFilter`, `PodSandboxFilter` and `ContainerStatsFilter`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Filter {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

/// `ListContainersResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct CriContainers {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<CriContainer>,
}

/// `Container`.
#[derive(Clone, PartialEq, prost::Message)]
struct CriContainer {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "4")]
    image: Option<ImageSpec>,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "7")]
    created_at: i64,
    #[prost(map = "string, string", tag = "8")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "9")]
    annotations: HashMap<String, String>,
}

/// `ContainerMetadata`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

/// `ImageSpec`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

/// `ListPodSandboxResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Sandboxes {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Sandbox>,
}

/// `PodSandbox`.
#[derive(Clone, PartialEq, prost::Message)]
struct Sandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<SandboxMetadata>,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "4")]
    created_at: i64,
    #[prost(map = "string, string", tag = "5")]
    labels: HashMap<String, String>,
}

/// `PodSandboxMetadata`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct SandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

/// A runtime that speaks this interface and has answered.
#[derive(Clone, Debug)]
pub(super) struct CriClient {
    connection: Connection,
}

impl CriClient {
    /// Finds out whether anybody listens, and whether it speaks this interface.
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, RuntimeError> {
        let connection = Connection::open(endpoint).await?;
        connection.call::<Empty, Empty>(VERSION, Empty {}, None).await?;
        Ok(Self { connection })
    }

    /// What it knows about a container or a pod's sandbox.
    pub(super) async fn inspect(&self, id: &str) -> Result<Answer, RuntimeError> {
        let request = ListRequest { filter: Some(Filter { id: id.to_owned() }) };
        let containers: CriContainers = self.connection.call(LIST_CONTAINERS, request.clone(), None).await?;
        if let Some(container) = containers.containers.into_iter().find(|container| container.id == id) {
            let status = cri_storage::status(&self.connection, cri_storage::CONTAINER, id).await;
            let files = ContainerFiles { log: status.log.clone(), ..ContainerFiles::default() };
            return Ok(answer(Identity { files, ..of_container(id, container) }, &status));
        }
        let sandboxes: Sandboxes = self.connection.call(LIST_SANDBOXES, request, None).await?;
        let sandbox = sandboxes.items.into_iter().find(|sandbox| sandbox.id == id);
        let sandbox = sandbox.ok_or(RuntimeError::NoSuchContainer)?;
        let status = cri_storage::status(&self.connection, cri_storage::SANDBOX, id).await;
        Ok(answer(of_sandbox(id, sandbox), &status))
    }

    /// What it reports about disks.
    pub(super) async fn storage(&self) -> RuntimeStorage {
        cri_storage::ask(&self.connection, Runtime::CriO).await
    }

    /// How it is spoken to.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether it answers.
    pub(super) async fn ping(&self) -> Result<(), RuntimeError> {
        self.connection.call::<Empty, Empty>(VERSION, Empty {}, None).await.map(drop)
    }
}

fn answer(identity: Identity, status: &Status) -> Answer {
    // A pod may do without a process of its sandbox's own.
    let life = if status.process.is_some() { Life::Running } else { Life::Unknown };
    let expected = places::of_specification(&status.cgroups_path);
    Answer { identity: Identity { process: status.process, ..identity }, expected, life }
}

/// The name that the kubelet's containers have with CRI-O, `k8s_container_pod_namespace_uid_attempt`.
fn full_name(container: &str, pod: (&str, &str, &str), attempt: u32) -> String {
    let (name, namespace, uid) = pod;
    format!("k8s_{container}_{name}_{namespace}_{uid}_{attempt}")
}

fn of_container(id: &str, container: CriContainer) -> Identity {
    let CriContainer { metadata, image, created_at, mut labels, annotations, .. } = container;
    let label = |name: &str| labels.get(&format!("io.kubernetes.pod.{name}")).map_or("", String::as_str);
    let pod = (label("name"), label("namespace"), label("uid"));
    let name = metadata.map(|metadata| full_name(&metadata.name, pod, metadata.attempt));
    if let Some(restarts) = annotations.get(RESTARTS).filter(|restarts| *restarts != "0") {
        labels.insert("restartcount".to_owned(), restarts.clone());
    }
    Identity {
        name,
        labels: labels.into_iter().collect(),
        image: image.map(|image| image.image).filter(|image| !image.is_empty()),
        created: u64::try_from(created_at).ok().filter(|at| *at > 0).map(WallTime),
        network: NetworkOwner::AnotherContainer,
        ..Identity::from_path(Runtime::CriO, id.to_owned())
    }
}

fn of_sandbox(id: &str, sandbox: Sandbox) -> Identity {
    let Sandbox { metadata, created_at, labels, .. } = sandbox;
    let name = metadata.map(|pod| full_name("POD", (&pod.name, &pod.namespace, &pod.uid), pod.attempt));
    Identity {
        name,
        network: NetworkOwner::Pod,
        labels: labels.into_iter().collect(),
        created: u64::try_from(created_at).ok().filter(|at| *at > 0).map(WallTime),
        ..Identity::from_path(Runtime::CriO, id.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_pods_container() {
        let pod = [
            ("io.kubernetes.pod.name", "web-0"),
            ("io.kubernetes.pod.namespace", "shop"),
            ("io.kubernetes.pod.uid", "u1"),
        ];
        let container = CriContainer {
            id: "abc".to_owned(),
            metadata: Some(ContainerMetadata { name: "app".to_owned(), attempt: 2 }),
            image: Some(ImageSpec { image: "web:1".to_owned() }),
            created_at: 5,
            labels: map(&pod),
            annotations: map(&[(RESTARTS, "2"), ("other", "x")]),
        };
        let found = of_container("abc", container);
        assert_eq!(found.name.as_deref(), Some("k8s_app_web-0_shop_u1_2"));
        assert_eq!(found.labels["restartcount"], "2");
        assert_eq!((found.image.as_deref(), found.created), (Some("web:1"), Some(WallTime(5))));
        assert_eq!((found.runtime, found.network), (Runtime::CriO.into(), NetworkOwner::AnotherContainer));
    }

    #[test]
    fn a_pods_sandbox() {
        let metadata = SandboxMetadata {
            name: "web-0".to_owned(),
            uid: "u1".to_owned(),
            namespace: "shop".to_owned(),
            attempt: 0,
        };
        let sandbox = Sandbox { id: "abc".to_owned(), metadata: Some(metadata), created_at: 0, labels: map(&[]) };
        let found = of_sandbox("abc", sandbox);
        assert_eq!(found.name.as_deref(), Some("k8s_POD_web-0_shop_u1_0"));
        assert_eq!((found.network, found.created), (NetworkOwner::Pod, None));
    }
}
