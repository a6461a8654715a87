//! Which of the cgroups make up which pods.
//!
//! A runtime's labels name the pod and the container. Where no runtime answers, the path has the pod's uid and the
//! container's id, and the pod's log directory its name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::wire::PodReference;
use super::{NodeCgroup, Role, Snapshot, figures};
use crate::sample::event::Name;
use crate::sample::identity::NetworkOwner;
use crate::sample::identity::kubernetes::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID};
use crate::sample::pods::PodFiles;
use crate::sample::unread::Part;
use crate::units::WallTime;

/// What containerd says of each container of a pod.
const CONTAINERD_KIND: &str = "io.cri-containerd.kind";
/// The name that Docker's and CRI-O's sandboxes have as containers.
const SANDBOX: &str = "POD";

/// A pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// Its own cgroup.
    pub(super) cgroup: Option<Arc<NodeCgroup>>,
    /// What holds its namespaces; among several the newest.
    pub(super) sandbox: Option<Arc<NodeCgroup>>,
    /// Those that run, by name.
    pub(super) containers: BTreeMap<String, Arc<NodeCgroup>>,
    /// Its volumes and logs.
    pub(super) files: Option<Arc<PodFiles>>,
}

impl Pod {
    pub(super) fn reference(&self) -> PodReference {
        PodReference { name: self.name.clone(), namespace: self.namespace.clone(), uid: self.uid.clone() }
    }

    /// Whether clients can distinguish it from other pods by name.
    pub(super) fn is_named(&self) -> bool {
        !self.name.is_empty() && !self.namespace.is_empty()
    }

    /// When it was started: one fixed moment, however often it is asked for.
    pub(super) fn started(&self) -> Option<WallTime> {
        let of = |entry: &Option<Arc<NodeCgroup>>| entry.as_ref().and_then(|entry| entry.created());
        let first = || self.containers.values().filter_map(|entry| entry.created()).min();
        of(&self.sandbox).or_else(|| of(&self.cgroup)).or_else(first)
    }

    /// The sandbox and the containers.
    pub(super) fn members(&self) -> impl Iterator<Item = &NodeCgroup> {
        self.sandbox.iter().chain(self.containers.values()).map(Arc::as_ref)
    }
}

/// What distinguishes a pod from others: namespace, name, uid. Only the uid where nobody has reported the name.
type Key = (String, String, String);

/// The pods of a snapshot, by namespace, name and uid: those that have a container or a sandbox.
pub(super) fn find(snapshot: &Snapshot) -> Vec<Pod> {
    let mut pods: BTreeMap<Key, Pod> = BTreeMap::new();
    // The pods' cgroups whose pod's name is known from one of its containers.
    let mut named: HashMap<&Name, Key> = HashMap::new();
    let own: HashMap<&Name, &Arc<NodeCgroup>> =
        snapshot.entries.iter().filter(|entry| matches!(entry.role, Role::Pod(_))).map(|e| (&e.name, e)).collect();
    for entry in &snapshot.entries {
        let Some(key) = reported(entry) else { continue };
        if let Role::Container { pod_cgroup, .. } = &entry.role {
            named.entry(pod_cgroup).or_insert_with(|| key.clone());
        }
        let pod = pods.entry(key).or_default();
        if is_sandbox(entry) {
            if pod.sandbox.as_ref().is_none_or(|other| other.created() < entry.created()) {
                pod.sandbox = Some(Arc::clone(entry));
            }
        } else if let Some(name) = container_name(entry) {
            add(pod, name, entry);
        }
    }
    for entry in &snapshot.entries {
        let Role::Container { pod: uid, pod_cgroup } = &entry.role else { continue };
        // In a pod that a runtime has reported, what is not known yet will be in a moment.
        if reported(entry).is_some() || named.contains_key(pod_cgroup) {
            continue;
        }
        let key = of_log_directory(snapshot, uid);
        named.insert(pod_cgroup, key.clone());
        unreported(&mut pods, &key, snapshot, pod_cgroup);
    }
    for (cgroup, key) in &named {
        if let Some(pod) = pods.get_mut(key) {
            pod.cgroup = own.get(cgroup).map(|entry| Arc::clone(entry));
            // The runtime's uid of a pod is the kubelet's; a path's may be of an older one.
            let Some(Role::Pod(of_path)) = pod.cgroup.as_ref().map(|entry| &entry.role) else { continue };
            pod.files = snapshot.files.get(of_path).cloned();
        }
    }
    for (key, pod) in &mut pods {
        (pod.namespace, pod.name, pod.uid) = key.clone();
        if let Some(files) = snapshot.files.get(&pod.uid) {
            pod.files = Some(Arc::clone(files));
        }
    }
    pods.into_values()
        .filter(|pod| !pod.containers.is_empty() || pod.sandbox.as_deref().is_some_and(is_alive))
        .collect()
}

/// Those of them that have a container that runs: a kubelet reports no others in its statistics.
pub(super) fn running(snapshot: &Snapshot) -> Vec<Pod> {
    find(snapshot).into_iter().filter(|pod| !pod.containers.is_empty()).collect()
}

/// The containers of a pod that no runtime reports, under their ids.
fn unreported(pods: &mut BTreeMap<Key, Pod>, key: &Key, snapshot: &Snapshot, cgroup: &Name) {
    let pod = pods.entry(key.clone()).or_default();
    for entry in &snapshot.entries {
        if let Role::Container { pod_cgroup, .. } = &entry.role
            && pod_cgroup == cgroup
            && reported(entry).is_none()
        {
            let id = entry.identity.as_ref().map(|identity| identity.id.clone());
            add(pod, id.unwrap_or_else(|| last_element(&entry.name)), entry);
        }
    }
}

/// The pod that a runtime's labels name.
fn reported(entry: &NodeCgroup) -> Option<Key> {
    let (name, namespace) = (entry.label(POD_NAME)?, entry.label(POD_NAMESPACE)?);
    let of_path = match &entry.role {
        Role::Container { pod, .. } => Some(pod.as_str()),
        Role::Pod(_) | Role::Other => None,
    };
    let uid = entry.label(POD_UID).or(of_path).unwrap_or_default();
    Some((namespace.to_owned(), name.to_owned(), uid.to_owned()))
}

/// The pod of this uid, by the name that its log directory has.
fn of_log_directory(snapshot: &Snapshot, uid: &str) -> Key {
    let name = snapshot.files.get(uid).and_then(|files| files.name.clone()).unwrap_or_default();
    (name.namespace, name.name, uid.to_owned())
}

/// Whether it holds the namespaces of a pod and nothing else.
fn is_sandbox(entry: &NodeCgroup) -> bool {
    entry.label(CONTAINER_NAME) == Some(SANDBOX)
        || entry.label(CONTAINERD_KIND) == Some("sandbox")
        || entry.identity.as_ref().is_some_and(|identity| identity.network == NetworkOwner::Pod)
}

/// The container's name in the pod's description; its id where the runtime has no label for it.
fn container_name(entry: &NodeCgroup) -> Option<String> {
    let label = entry.label(CONTAINER_NAME).map(str::to_owned);
    label.or_else(|| entry.identity.as_ref().map(|identity| identity.id.clone()))
}

/// Of several runs of one container the newest that is alive counts.
fn add(pod: &mut Pod, name: String, entry: &Arc<NodeCgroup>) {
    if !is_alive(entry) {
        return;
    }
    let place = pod.containers.entry(name).or_insert_with(|| Arc::clone(entry));
    if place.created() < entry.created() {
        *place = Arc::clone(entry);
    }
}

/// Whether anything runs in it, as far as its samples show: without memory and without CPU use it has ended. The kubelet
/// also leaves out a container that has only one sample yet.
fn is_alive(entry: &NodeCgroup) -> bool {
    let Some(sample) = entry.newest.as_deref() else { return false };
    match (&sample.cpu, &sample.memory) {
        (None, None) => false,
        (_, Some(memory)) => {
            let swapped = memory.swap.is_some_and(|swap| swap.0 > 0);
            let unknown = sample.unread.has(Part::Rss);
            unknown || memory.rss.0 > 0 || swapped || figures::rate(entry).unwrap_or(0) > 0
        }
        (Some(_), None) => true,
    }
}

fn last_element(name: &[u8]) -> String {
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    String::from_utf8_lossy(last).into_owned()
}
