//! The node as a kubelet reports it, from what the store has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::fresh::MAX_AGE;
use super::node_facts::{CountProcesses, ProcessCounts};
use crate::api::backend::{Containers as _, Host as _, Kubelet};
use crate::api::kubelet::{Depth, NodeCgroup, Role, Snapshot, SwapLimit, SystemContainer};
use crate::config::SystemCgroups;
use crate::daemon::backend::Backend;
use crate::discovery::filter::Standing;
use crate::disk_usage::{PodLogs, pod_logs};
use crate::kernel::cgroup::{Hierarchies, Version};
use crate::reader::container::{Scratch, processes_now};
use crate::reader::{machine, processes};
use crate::runtime::cgroup_names;
use crate::sample::event::Name;
use crate::sample::identity::{Identity, PodOfPath, kubernetes};
use crate::sample::kinds::MetricKind;
use crate::sample::machine::{Filesystem, FilesystemRole, Filesystems};
use crate::sample::pods::PodFiles;
use crate::sampler::engine::Engine;
use crate::store::Container;
use crate::units::WallTime;

/// Logs looked at this recently are not looked at again, and so long an answer waits for them.
const LOGS_AGE: Duration = Duration::from_secs(1);
const LOGS_PATIENCE: Duration = Duration::from_secs(1);
/// The same of processes: a kubelet counts them every 10 to 15 seconds.
const COUNTS_AGE: Duration = Duration::from_secs(10);
const COUNTS_PATIENCE: Duration = Duration::from_secs(2);
/// Rates are over so much at least, as a kubelet's are over its 10 to 15 s between two samples: work in bursts would
/// otherwise read as none, or as all of a CPU.
const RATE_OVER: Duration = Duration::from_secs(10);
/// Slices in which distributions start the kubelet and the runtime.
const SLICES: [&str; 4] = ["/system.slice", "/podruntime.slice", "/runtime.slice", "/kubelet.slice"];
/// Their units.
const KUBELETS: [&str; 1] = ["kubelet.service"];
const RUNTIMES: [&str; 4] = ["crio.service", "cri-o.service", "containerd.service", "docker.service"];

impl Kubelet for Backend {
    async fn freshen(&self, names: &[Name]) {
        let stale = self.node_facts().fresh.asked(self.engine(), names);
        if !stale.is_empty() {
            self.refresh(&stale, MAX_AGE).await;
        }
    }

    async fn node(&self, depth: Depth) -> Snapshot {
        let wanted = wanted(self.engine(), &self.node_facts().cgroups);
        let names: Vec<Name> = wanted.containers.iter().map(|(container, _)| Name::clone(container.name())).collect();
        self.freshen(&names).await;
        let store = self.engine().store();
        let filesystems = match store.filesystems() {
            _ if depth == Depth::CpuAndMemory => None,
            // As of a few seconds ago, or where nobody looks at them regularly as they are now.
            None => Some(self.filesystems().await),
            known => known,
        };
        let snapshot = Snapshot {
            node: self.node_facts().name.clone(),
            booted: self.node_facts().booted,
            system: wanted.system,
            files: self.pod_files(depth).await,
            machine: self.current_machine(),
            swap_limit: swap_limit(self.engine().context().hierarchies()),
            filesystems,
            ..Snapshot::default()
        };
        let node_filesystem = match &snapshot.filesystems {
            None => None,
            Some(all) => {
                let found = self.filesystem_of(&self.node_facts().places.kubelet, all).await;
                found.or_else(|| root_filesystem(all).cloned())
            }
        };
        let engine = Arc::clone(self.engine());
        let complete = move || {
            let mut scratch = Scratch::default();
            let entry = |(container, role): (Arc<Container>, Role)| {
                Arc::new(entry(&engine, &container, role, depth, &mut scratch))
            };
            let entries = wanted.containers.into_iter().map(entry).collect();
            let roots = engine.context().roots();
            let full = depth == Depth::Full;
            let at = WallTime::from(SystemTime::now());
            Snapshot { entries, node_filesystem, tasks: full.then(|| machine::tasks(roots, at)), ..snapshot }
        };
        // Files of cgroups and of procfs, which the kernel answers from memory.
        tokio::task::spawn_blocking(complete).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the statistics of the node could not be gathered");
            Snapshot::default()
        })
    }
}

impl Backend {
    /// What pods keep on the node, with their logs as they are now.
    async fn pod_files(&self, depth: Depth) -> BTreeMap<String, Arc<PodFiles>> {
        let mut files = self.engine().store().pods().all();
        if depth == Depth::CpuAndMemory || !self.engine().context().kinds().has(MetricKind::Disk) {
            return files;
        }
        let (engine, places) = (Arc::clone(self.engine()), self.node_facts().places.clone());
        let read = move || pod_logs(engine.context().roots(), &places);
        let logs = self.node_facts().logs.get(LOGS_AGE, LOGS_PATIENCE, read).await;
        for (uid, logs) in logs.iter().flat_map(|logs| logs.iter()) {
            let known = files.get(uid).map(|known| PodFiles::clone(known)).unwrap_or_default();
            let PodLogs { name, logs, pod_logs } = logs.clone();
            files.insert(uid.clone(), Arc::new(PodFiles { name: Some(name), logs, pod_logs, ..known }));
        }
        files
    }

    /// What [`Self::process_counts`] gave last.
    pub(crate) fn last_process_counts(&self) -> Arc<ProcessCounts> {
        self.node_facts().counts.last().unwrap_or_default()
    }

    /// The processes of all containers, for those who ask in a kubelet's place; nothing where they are sampled anyway,
    /// or are not to be reported.
    pub(crate) async fn process_counts(&self) -> Arc<ProcessCounts> {
        let facts = self.node_facts();
        if facts.processes == CountProcesses::No {
            return Arc::default();
        }
        let engine = Arc::clone(self.engine());
        let count = move || {
            let mut scratch = Scratch::default();
            let all = engine.store().with_prefix(b"/").into_iter();
            let counted = all.filter_map(|container| {
                let name = Name::clone(container.name());
                Some((name, processes_now(engine.context(), container.name(), &mut scratch)?))
            });
            counted.collect()
        };
        facts.counts.get(COUNTS_AGE, COUNTS_PATIENCE, count).await.unwrap_or_default()
    }
}

/// A host without a kubelet has no directory of its: the root directory's file system stands for it.
fn root_filesystem(all: &Filesystems) -> Option<&Filesystem> {
    all.list.iter().find(|filesystem| filesystem.roles.contains(&FilesystemRole::Root))
}

fn swap_limit(hierarchies: &Hierarchies) -> SwapLimit {
    match hierarchies.with_controller("memory").map(|hierarchy| hierarchy.version) {
        Some(Version::V1) => SwapLimit::WithMemory,
        Some(Version::V2) | None => SwapLimit::Alone,
    }
}

/// The cgroups whose statistics are a node's.
struct WantedPods {
    containers: Vec<(Arc<Container>, Role)>,
    system: Vec<(SystemContainer, Name)>,
}

fn wanted(engine: &Engine, given: &SystemCgroups) -> WantedPods {
    let all = engine.store().with_prefix(b"/");
    let names: HashSet<&[u8]> = all.iter().map(|container| &**container.name()).collect();
    let system = system_containers(&names, given);
    let is_wanted = |container: &Arc<Container>, role: &Role| {
        let is_labelled = |identity: &Arc<Identity>| identity.labels.contains_key(kubernetes::POD_NAME);
        *role != Role::Other
            || **container.name() == *b"/"
            || system.iter().any(|(_, name)| name == container.name())
            || container.identity().as_ref().is_some_and(is_labelled)
    };
    let with_roles = all.iter().map(|container| (Arc::clone(container), role(container)));
    let mut containers: Vec<_> = with_roles.filter(|(container, role)| is_wanted(container, role)).collect();
    let mut roles: Vec<_> =
        containers.iter_mut().map(|(container, role)| (Name::clone(container.name()), role)).collect();
    leave_out_copies(&mut roles);
    WantedPods { containers, system }
}

/// A tree of pods with the pods of another one, such as a user may make, adds nothing to them: of several cgroups of
/// one pod the likeliest counts, and the others are cgroups like any.
fn leave_out_copies(roles: &mut [(Name, &mut Role)]) {
    let cgroup = |name: &Name, role: &Role| match role {
        Role::Pod(uid) => Some((uid.clone(), Name::clone(name))),
        Role::Container { pod, pod_cgroup } => Some((pod.clone(), Name::clone(pod_cgroup))),
        Role::Other => None,
    };
    let rank = |cgroup: &Name| (cgroup_names::place_of_pods(cgroup), cgroup.len(), Name::clone(cgroup));
    let mut likeliest: HashMap<String, Name> = HashMap::new();
    for (uid, found) in roles.iter().filter_map(|(name, role)| cgroup(name, role)) {
        let best = likeliest.entry(uid).or_insert_with(|| Name::clone(&found));
        if rank(&found) < rank(best) {
            *best = found;
        }
    }
    for (name, role) in roles {
        if cgroup(name, role).is_some_and(|(uid, found)| likeliest.get(&uid) != Some(&found)) {
            **role = Role::Other;
        }
    }
}

/// What a container's path says of pods.
fn role(container: &Container) -> Role {
    let who = container.who();
    let pod = who.as_ref().and_then(|who| who.identity.as_ref()).and_then(|identity| identity.pod.clone());
    let standing = if who.is_some() { Standing::Container } else { Standing::Raw };
    role_of(container.name(), standing, pod)
}

/// What a path says of pods, and what is known beside it of the pod that the container is in.
fn role_of(name: &[u8], standing: Standing, known: Option<PodOfPath>) -> Role {
    let Some(pod) = known.or_else(|| cgroup_names::pod(name)) else { return Role::Other };
    match cgroup_names::pod_cgroup(name) {
        Some(cgroup) if standing == Standing::Container => Role::Container { pod: pod.uid, pod_cgroup: cgroup.into() },
        // Without a systemd driver there is no cgroup of the pod, only the beginnings of its containers' names.
        Some(cgroup) if name.get(cgroup.len()) == Some(&b':') => Role::Other,
        _ => {
            let above = name.iter().rposition(|byte| *byte == b'/').map(|at| &name[..at]).unwrap_or_default();
            let is_pods = cgroup_names::pod(above).is_none() && cgroup_names::enclosing(name).is_none();
            if is_pods { Role::Pod(pod.uid) } else { Role::Other }
        }
    }
}

/// The cgroups of the system: as given, or where they usually are.
fn system_containers(names: &HashSet<&[u8]>, given: &SystemCgroups) -> Vec<(SystemContainer, Name)> {
    let unit = |units: &[&str]| {
        let mut paths = units.iter().flat_map(|unit| SLICES.iter().map(move |slice| format!("{slice}/{unit}")));
        paths.find(|path| names.contains(path.as_bytes())).map(|path| path.as_bytes().into())
    };
    let is_root_of_pods = |name: &&&[u8]| {
        let is_shaped = name.ends_with(b"/kubepods") || name.ends_with(b"kubepods.slice");
        is_shaped && cgroup_names::enclosing(name).is_none()
    };
    let pods = names.iter().filter(is_root_of_pods).min_by_key(|name| (name.len(), **name));
    let found = [
        (SystemContainer::Kubelet, given.kubelet.clone().or_else(|| unit(&KUBELETS))),
        (SystemContainer::Misc, given.misc.clone()),
        (SystemContainer::Pods, pods.map(|name| Name::from(*name))),
        (SystemContainer::Runtime, given.runtime.clone().or_else(|| unit(&RUNTIMES))),
    ];
    found.into_iter().filter_map(|(part, name)| Some((part, name?))).collect()
}

fn entry(engine: &Engine, container: &Container, role: Role, depth: Depth, scratch: &mut Scratch) -> NodeCgroup {
    let (before, newest) = match container.span(RATE_OVER) {
        Some([before, newest]) => (Some(before), Some(newest)),
        None => (None, container.latest()),
    };
    let is_counted =
        newest.as_ref().and_then(|sample| sample.processes.as_ref()).is_some_and(|all| all.count.is_some());
    let identity = container.identity();
    let is_container = identity.is_some() || matches!(role, Role::Container { .. });
    let count = depth == Depth::Full && is_container && !is_counted;
    NodeCgroup {
        name: Name::clone(container.name()),
        role,
        spec: container.spec(),
        newest,
        before,
        storage: container.storage(),
        processes: if count { processes::count(engine.context(), container.name(), scratch) } else { None },
        identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "3f2a8a52-7c1f-4c58-9a54-0123456789ab";
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn roles_by_both_drivers_of_cgroups() {
        let in_slice = UID.replace('-', "_");
        let pods = [
            format!("/kubepods/burstable/pod{UID}"),
            format!("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{in_slice}.slice"),
        ];
        for (pod, container) in pods.iter().zip([ID.to_owned(), format!("cri-containerd-{ID}.scope")]) {
            assert_eq!(role_of(pod.as_bytes(), Standing::Raw, None), Role::Pod(UID.to_owned()), "{pod}");
            let name = format!("{pod}/{container}");
            let expected = Role::Container { pod: UID.to_owned(), pod_cgroup: pod.as_bytes().into() };
            assert_eq!(role_of(name.as_bytes(), Standing::Container, None), expected, "{name}");
            for other in [format!("{name}/init.scope"), format!("{pod}/other")] {
                assert_eq!(role_of(other.as_bytes(), Standing::Raw, None), Role::Other, "{other}");
            }
        }
        for other in ["/", "/kubepods", "/system.slice/kubelet.service", "/kubepods.slice/kubepods-besteffort.slice"] {
            assert_eq!(role_of(other.as_bytes(), Standing::Raw, None), Role::Other, "{other}");
        }
    }

    #[test]
    fn roles_without_a_systemd_driver() {
        for (class, prefix) in [("-burstable", "cri-containerd"), ("-besteffort", "crio"), ("", "docker")] {
            for parent in ["/system.slice/containerd.service", ""] {
                for uid in [UID.to_owned(), UID.replace('-', "_")] {
                    let pod = format!("{parent}/kubepods{class}-pod{uid}.slice");
                    let name = format!("{pod}:{prefix}:{ID}");
                    let expected = Role::Container { pod: UID.to_owned(), pod_cgroup: pod.as_bytes().into() };
                    assert_eq!(role_of(name.as_bytes(), Standing::Container, None), expected, "{name}");
                    assert_eq!(role_of(name.as_bytes(), Standing::Raw, None), Role::Other, "another is the container");
                    let below = format!("{name}/init");
                    assert_eq!(role_of(below.as_bytes(), Standing::Raw, None), Role::Other, "{below}");
                }
            }
        }
    }

    #[test]
    fn of_two_trees_with_one_pod_the_usual_one_counts() {
        let usual = format!("/kubepods/burstable/pod{UID}");
        let copies = [format!("/a{usual}"), format!("/user.slice{usual}"), usual.clone()];
        let mut roles: Vec<(Name, Role)> = Vec::new();
        for pod in &copies {
            roles.push((pod.as_bytes().into(), role_of(pod.as_bytes(), Standing::Raw, None)));
            let container = format!("{pod}/{ID}");
            let role = role_of(container.as_bytes(), Standing::Container, None);
            roles.push((container.as_bytes().into(), role));
        }
        let mut borrowed: Vec<_> = roles.iter_mut().map(|(name, role)| (Name::clone(name), role)).collect();
        leave_out_copies(&mut borrowed);
        let left: Vec<_> =
            roles.iter().filter(|(_, role)| *role != Role::Other).map(|(name, _)| name.to_vec()).collect();
        assert_eq!(left, [usual.clone().into_bytes(), format!("{usual}/{ID}").into_bytes()]);
    }

    #[test]
    fn parts_of_the_system() {
        let names: HashSet<&[u8]> = [
            "/system.slice/kubelet.service",
            "/podruntime.slice/containerd.service",
            "/system.slice/docker.service",
            "/kubepods.slice",
            "/kubepods.slice/kubepods-burstable.slice",
            "/other",
        ]
        .iter()
        .map(|name| name.as_bytes())
        .collect();
        let found = |given: &SystemCgroups| {
            let found = system_containers(&names, given);
            found
                .into_iter()
                .map(|(part, name)| (part, String::from_utf8_lossy(&name).into_owned()))
                .collect::<Vec<_>>()
        };
        let usual = [
            (SystemContainer::Kubelet, "/system.slice/kubelet.service".to_owned()),
            (SystemContainer::Pods, "/kubepods.slice".to_owned()),
            (SystemContainer::Runtime, "/podruntime.slice/containerd.service".to_owned()),
        ];
        assert_eq!(found(&SystemCgroups::default()), usual);
        let given = SystemCgroups { misc: Some((*b"/other").into()), runtime: Some((*b"/r").into()), kubelet: None };
        let parts = found(&given);
        assert!(parts.contains(&(SystemContainer::Misc, "/other".to_owned())), "{parts:?}");
        assert!(parts.contains(&(SystemContainer::Runtime, "/r".to_owned())), "{parts:?}");
    }
}
