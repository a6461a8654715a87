//! The cgroups of pods themselves: whose they are, and what their pods take of the node's disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::push::statistics::PodStorage;
use crate::sample::event::Name;
use crate::sample::filesystem::Storage;
use crate::sample::identity::Identity;
use crate::sample::identity::kubernetes::{CONTAINER_NAME, POD_NAME, POD_UID};
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::pods::ephemeral_storage;
use crate::store::{Container, Store};
use crate::units::Bytes;

/// The name that Docker's and CRI-O's sandboxes have as containers.
const SANDBOX: &str = "POD";

/// A pod whose own cgroup is known.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    /// Who a container of it is.
    pub(super) identity: Arc<Identity>,
    /// What it takes of the node's disk.
    pub(super) storage: PodStorage,
}

/// A cgroup of a runtime in a pod.
type Member = (Arc<Identity>, Option<Arc<Storage>>);

/// The pods of these containers by their own cgroups.
pub(super) fn pods(containers: &[Arc<Container>], store: &Store, kinds: KindSet) -> HashMap<Name, Pod> {
    let mut members: HashMap<Name, Vec<Member>> = HashMap::new();
    for container in containers {
        let Some(identity) = container.identity() else { continue };
        if let Some(above) = own_cgroup(container.name(), &identity) {
            members.entry(above.into()).or_default().push((identity, container.storage()));
        }
    }
    let files = if kinds.has(MetricKind::Disk) { store.pods().all() } else { BTreeMap::new() };
    let pod = |(cgroup, members): (Name, Vec<Member>)| {
        let (identity, _) = members.last()?;
        let identity = Arc::clone(identity);
        let files = uid(&identity).and_then(|uid| files.get(uid)).cloned();
        let named = members.iter().map(|(identity, storage)| match role(identity) {
            Role::Container(name) => Some(Some((name, storage.as_deref()))),
            Role::Sandbox => Some(None),
            Role::Unknown => None,
        });
        let used = named.collect::<Option<Vec<_>>>().and_then(|named| {
            let (usage, _) = ephemeral_storage(named.into_iter().flatten(), files.as_deref())?;
            Some(Bytes(usage.bytes.0))
        });
        let storage = PodStorage { files, used: used.filter(|_| kinds.has(MetricKind::Disk)) };
        Some((cgroup, Pod { identity, storage }))
    };
    members.into_iter().filter_map(pod).collect()
}

/// What a cgroup of a runtime is to its pod.
enum Role<'a> {
    Container(&'a str),
    /// It holds the pod's namespaces: the kubelet counts none of its files.
    Sandbox,
    Unknown,
}

fn role(identity: &Identity) -> Role<'_> {
    match identity.labels.get(CONTAINER_NAME).map(String::as_str) {
        Some("" | SANDBOX) => Role::Sandbox,
        Some(name) => Role::Container(name),
        None if identity.labels.contains_key(POD_NAME) => Role::Sandbox,
        None => Role::Unknown,
    }
}

fn uid(identity: &Identity) -> Option<&str> {
    let by_path = || identity.pod.as_ref().map(|pod| pod.uid.as_str());
    identity.labels.get(POD_UID).map(String::as_str).or_else(by_path)
}

/// The cgroup of the pod itself, right above one of its containers.
fn own_cgroup<'a>(container: &'a [u8], identity: &Identity) -> Option<&'a [u8]> {
    let uid = &identity.pod.as_ref()?.uid;
    let slash = container.iter().rposition(|byte| *byte == b'/')?;
    let above = &container[..slash];
    let last = String::from_utf8_lossy(above.rsplit(|byte| *byte == b'/').next()?);
    // systemd's slices have `_` for `-`.
    (last.contains(uid.as_str()) || last.contains(&uid.replace('-', "_"))).then_some(above)
}
