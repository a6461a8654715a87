//! `/pods` of a kubelet's port: a `v1.PodList` of what the runtime and the cgroups report.
//!
//! The API server is not asked. What only it knows (the description of pods, conditions, annotations) is absent, and so are
//! containers that do not run; what Kubernetes' clients cannot do without is there.

use std::collections::BTreeMap;

use serde::Serialize;

use super::pods::{self, Pod};
use super::wire::Time;
use super::{NodeCgroup, Snapshot};
use crate::api::http::responses;
use crate::api::http::responses::More;
use crate::api::wire::json;
use crate::sample::identity::{Address, Identity, Manager, QosClass, Runtime};

/// Labels of a sandbox that are its runtime's and not the pod's begin so.
const RUNTIMES_LABELS: [&str; 3] = ["io.kubernetes.", "io.cri-containerd.", "annotation."];
/// How often the container was started again, where the runtime reports it.
const RESTARTS: &str = "restartcount";

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct Item<'a> {
    metadata: Metadata<'a>,
    spec: PodSpec<'a>,
    status: Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    /// When the API server took it, which nobody here knows.
    creation_timestamp: Time,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec<'a> {
    containers: Vec<ContainerSpec<'a>>,
    node_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_network: Option<bool>,
}

#[derive(Serialize)]
struct ContainerSpec<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    resources: Nothing,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    #[serde(rename = "podIP", skip_serializing_if = "Option::is_none")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pod_ips: Vec<PodIp>,
    start_time: Time,
    container_statuses: Vec<ContainerStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qos_class: Option<&'static str>,
}

#[derive(Serialize)]
struct PodIp {
    ip: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    state: ContainerState,
    last_state: Nothing,
    ready: bool,
    restart_count: u64,
    image: String,
    #[serde(rename = "imageID")]
    image_id: &'static str,
    #[serde(rename = "containerID", skip_serializing_if = "Option::is_none")]
    container_id: Option<String>,
    started: bool,
}

#[derive(Serialize)]
struct ContainerState {
    running: Running,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    started_at: Time,
}

/// What appends the list, a pod at each call. A pod whose name nobody reported is left out.
pub(super) fn pieces(snapshot: Snapshot) -> impl FnMut(&mut Vec<u8>) -> More + Send + 'static {
    let mut pods = pods::find(&snapshot);
    pods.retain(Pod::is_named);
    let head =
        |out: &mut Vec<u8>| out.extend_from_slice(br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":"#);
    // The pods keep what they are of; the rest of the snapshot is let go.
    let node = snapshot.node;
    responses::enclosed(head, responses::array(pods, move |out, pod| json::append(out, &item(&pod, &node))), b"}")
}

fn item<'a>(pod: &'a Pod, node: &'a str) -> Item<'a> {
    let identities = || pod.members().filter_map(|entry| entry.identity.as_deref());
    let address = identities().map(|identity| identity.address).find(|address| *address != Address::Unknown);
    let pod_ip = match address {
        Some(Address::Own(ip)) => Some(ip.to_string()),
        Some(Address::Host | Address::Unknown) | None => None,
    };
    let containers = pod.containers.iter().map(|(name, entry)| ContainerSpec {
        name,
        image: entry.identity.as_ref().and_then(|identity| identity.image.as_deref()),
        resources: Nothing {},
    });
    Item {
        metadata: Metadata {
            name: &pod.name,
            namespace: &pod.namespace,
            uid: &pod.uid,
            creation_timestamp: Time(None),
            labels: labels(pod),
        },
        spec: PodSpec {
            containers: containers.collect(),
            node_name: node,
            host_network: (address == Some(Address::Host)).then_some(true),
        },
        status: Status {
            // Without a container that runs it may be about to begin as well as about to end.
            phase: (!pod.containers.is_empty()).then_some("Running"),
            pod_ips: pod_ip.iter().map(|ip| PodIp { ip: ip.clone() }).collect(),
            pod_ip,
            start_time: Time(pod.started()),
            container_statuses: pod.containers.iter().map(|(name, entry)| status(name, entry)).collect(),
            qos_class: identities().find_map(|identity| identity.pod.as_ref()).map(|pod| match pod.qos {
                QosClass::Guaranteed => "Guaranteed",
                QosClass::Burstable => "Burstable",
                QosClass::BestEffort => "BestEffort",
            }),
        },
    }
}

/// The pod's own labels, which runtimes give its sandbox.
fn labels(pod: &Pod) -> BTreeMap<&str, &str> {
    let identity = pod.sandbox.as_ref().and_then(|sandbox| sandbox.identity.as_deref());
    let all = identity.into_iter().flat_map(|identity| &identity.labels);
    let is_own = |key: &str| key != RESTARTS && !RUNTIMES_LABELS.iter().any(|prefix| key.starts_with(prefix));
    all.filter(|(key, _)| is_own(key)).map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn status(name: &str, entry: &NodeCgroup) -> ContainerStatus {
    let identity = entry.identity.as_deref();
    let restarts = identity.and_then(|identity| identity.labels.get(RESTARTS)?.parse().ok());
    let health = identity.and_then(|identity| identity.health.as_deref());
    ContainerStatus {
        name: name.to_owned(),
        state: ContainerState { running: Running { started_at: Time(started(entry)) } },
        last_state: Nothing {},
        // As a container without a probe is for the kubelet: probes are known to nobody here.
        ready: !matches!(health, Some("starting" | "unhealthy")),
        restart_count: restarts.unwrap_or(0),
        image: identity.and_then(|identity| identity.image.clone()).unwrap_or_default(),
        image_id: "",
        container_id: identity.map(container_id),
        started: true,
    }
}

fn started(entry: &NodeCgroup) -> Option<crate::units::WallTime> {
    entry.identity.as_ref().and_then(|identity| identity.started).or_else(|| entry.created())
}

fn container_id(Identity { runtime, id, .. }: &Identity) -> String {
    let scheme = match runtime {
        Manager::Runtime(Runtime::CriO) => "cri-o",
        other => other.namespace(),
    };
    format!("{scheme}://{id}")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::fixture::{Layout, node};
    use super::*;

    #[test]
    fn pods_with_what_their_runtime_reports() {
        let list: Value = serde_json::from_slice(&responses::whole(pieces(node(Layout::V2)))).unwrap();
        assert_eq!((&list["kind"], &list["apiVersion"]), (&"PodList".into(), &"v1".into()));
        let items = list["items"].as_array().unwrap();
        let names: Vec<_> = items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["etcd", "web-0"], "the one without a name is left out");
        let web = &items[1];
        assert_eq!(web["metadata"]["namespace"], "shop");
        assert_eq!(web["spec"]["containers"][0]["name"], "app");
        assert_eq!(web["spec"]["nodeName"], "node-1");
        assert_eq!(web["status"]["phase"], "Running");
        let status = &web["status"]["containerStatuses"][0];
        assert_eq!(status["containerID"], "containerd://c0de");
        assert!(status["state"]["running"]["startedAt"].is_string(), "{status}");
        // A client in Python refuses a status without any of these.
        for key in ["name", "image", "imageID", "ready", "restartCount"] {
            assert!(!status[key].is_null(), "{key}");
        }
    }

    #[test]
    fn a_pods_labels_are_its_sandboxs_without_the_runtimes_own() {
        let mut snapshot = node(Layout::V1);
        for entry in &mut snapshot.entries {
            let entry = std::sync::Arc::make_mut(entry);
            let Some(identity) = entry.identity.as_ref().filter(|identity| identity.id == "5a5a") else { continue };
            let mut identity = Identity::clone(identity);
            identity.labels.insert("app".to_owned(), "web".to_owned());
            identity.labels.insert("io.cri-containerd.kind".to_owned(), "sandbox".to_owned());
            identity.address = Address::Own([10, 0, 0, 7].into());
            entry.identity = Some(std::sync::Arc::new(identity));
        }
        let list: Value = serde_json::from_slice(&responses::whole(pieces(snapshot))).unwrap();
        let web = &list["items"][1];
        assert_eq!(web["metadata"]["labels"], serde_json::json!({ "app": "web" }));
        assert_eq!(web["status"]["podIP"], "10.0.0.7");
        assert_eq!(web["status"]["podIPs"], serde_json::json!([{ "ip": "10.0.0.7" }]));
    }
}
