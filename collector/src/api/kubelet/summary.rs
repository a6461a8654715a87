//! `/stats/summary`.

use super::figures::{self, cpu, io, memory, network, swap};
use super::pods::{self, Pod};
use super::wire::{
    ContainerStats, CpuStats, FsStats, MemoryStats, NetworkStats, NodeStats, PodStats, ProcessStats, RlimitStats,
    RuntimeStats, SwapStats, Time, VolumeStats,
};
use super::{Depth, NodeCgroup, Snapshot};
use crate::api::http::responses;
use crate::api::http::responses::More;
use crate::api::wire::json;
use crate::sample::filesystem::Measured;
use crate::sample::identity::Runtime;
use crate::sample::images::{Holds, ImageStore};
use crate::sample::machine::{Filesystem, FilesystemRole, Filesystems, Tasks};
use crate::sample::pods::{self as files, Volume};

/// There is nothing to be said about the node yet.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the root cgroup has no sample yet")]
pub struct Incomplete;

/// What appends the summary: the node at the first call, then a pod at each.
///
/// # Errors
/// When the root cgroup has no sample.
pub(super) fn pieces(
    snapshot: Snapshot,
    depth: Depth,
) -> Result<impl FnMut(&mut Vec<u8>) -> More + Send + 'static, Incomplete> {
    let root = snapshot.entries.iter().find(|entry| figures::is_root(entry)).ok_or(Incomplete)?;
    if root.newest.is_none() {
        return Err(Incomplete);
    }
    let pods = pods::running(&snapshot);
    let node = node(&snapshot, root, depth, runtime_of(&pods));
    let head = move |out: &mut Vec<u8>| {
        out.extend_from_slice(br#"{"node":"#);
        json::append(out, &node);
        out.extend_from_slice(br#","pods":"#);
    };
    let append = move |out: &mut Vec<u8>, found: Pod| json::append(out, &pod(&found, &snapshot, depth));
    Ok(responses::enclosed(head, responses::array(pods, append), b"}"))
}

/// The whole summary at once, for programs that embed the collector.
///
/// # Errors
/// When the root cgroup has no sample.
pub fn render(snapshot: &Snapshot, depth: Depth) -> Result<Vec<u8>, Incomplete> {
    Ok(responses::whole(pieces(snapshot.clone(), depth)?))
}

fn node(snapshot: &Snapshot, root: &NodeCgroup, depth: Depth, runtime: Option<Runtime>) -> NodeStats {
    let system = snapshot.system.iter().filter_map(|(part, name)| {
        let entry = snapshot.entries.iter().find(|entry| entry.name == *name)?;
        Some(container(part.name().to_owned(), entry, snapshot, depth))
    });
    let started = match depth {
        Depth::Full => snapshot.booted.or(root.spec.created),
        Depth::CpuAndMemory => root.spec.created.or(snapshot.booted),
    };
    let at = root.newest.as_ref().map(|sample| sample.at);
    let full = depth == Depth::Full;
    NodeStats {
        node_name: snapshot.node.clone(),
        system_containers: system.collect(),
        start_time: Time(started),
        cpu: cpu(root),
        memory: memory(root, snapshot),
        io: io(root).filter(|_| full),
        network: root.newest.as_deref().and_then(network).filter(|_| full),
        fs: snapshot.node_filesystem.as_ref().map(|fs| figures::fullness(fs, at)).filter(|_| full),
        runtime: snapshot.filesystems.as_deref().and_then(|all| runtime_stats(all, runtime)).filter(|_| full),
        rlimit: snapshot.tasks.map(rlimit).filter(|_| full),
        swap: swap(root, snapshot),
    }
}

fn rlimit(Tasks { at, max, current }: Tasks) -> RlimitStats {
    RlimitStats { time: Time(Some(at)), maxpid: max, curproc: current }
}

/// The runtime that most pods are of: where there are several, one is Kubernetes'.
fn runtime_of(pods: &[Pod]) -> Option<Runtime> {
    let runtimes = pods.iter().flat_map(Pod::members).filter_map(|entry| entry.identity.as_ref());
    let mut counts = std::collections::BTreeMap::<Runtime, usize>::new();
    for runtime in runtimes.filter_map(|identity| identity.runtime.runtime()) {
        *counts.entry(runtime).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(runtime, _)| runtime)
}

fn runtime_stats(all: &Filesystems, runtime: Option<Runtime>) -> Option<RuntimeStats> {
    let mut preferred =
        runtime.into_iter().chain([Runtime::CriO, Runtime::Containerd, Runtime::Docker, Runtime::Podman]);
    let store = |runtime: Runtime, holds: Holds| {
        let store = all.image_stores.iter().find(|store| store.runtime == runtime && store.holds == holds)?;
        Some(image_store(all, store))
    };
    preferred.find_map(|runtime| {
        let image_fs = store(runtime, Holds::Images)?;
        let container_fs = store(runtime, Holds::Containers).unwrap_or(image_fs);
        Some(RuntimeStats { image_fs: Some(image_fs), container_fs: Some(container_fs) })
    })
}

fn image_store(all: &Filesystems, store: &ImageStore) -> FsStats {
    let role = match store.holds {
        Holds::Images => FilesystemRole::Images(store.runtime),
        Holds::Containers => FilesystemRole::Containers(store.runtime),
    };
    let filesystem = all.list.iter().find(|filesystem| filesystem.roles.contains(&role));
    let room = filesystem.map(|filesystem| figures::room(filesystem, None)).unwrap_or_default();
    let of_store = store.used.and_then(|used| used.usage.inodes);
    FsStats {
        time: Time(Some(store.used.map_or(all.at, |used| used.at))),
        used_bytes: store.used.map(|used| used.usage.bytes.0),
        inodes_used: of_store.or_else(|| figures::inodes_used(filesystem?)),
        ..room
    }
}

/// A container, or a part of the system, which has no files of its own.
fn container(name: String, entry: &NodeCgroup, snapshot: &Snapshot, depth: Depth) -> ContainerStats {
    ContainerStats {
        name,
        start_time: Time(entry.created()),
        cpu: cpu(entry),
        memory: memory(entry, snapshot),
        io: io(entry).filter(|_| depth == Depth::Full),
        rootfs: None,
        logs: None,
        swap: swap(entry, snapshot),
    }
}

fn pod(pod: &Pod, snapshot: &Snapshot, depth: Depth) -> PodStats {
    let full = depth == Depth::Full;
    let containers = pod.containers.iter().map(|(name, entry)| {
        let found = container(name.clone(), entry, snapshot, depth);
        if !full {
            return found;
        }
        let rootfs = layer(entry).map(|layer| figures::used(layer, layer_filesystem(entry, snapshot)));
        let logs = files::logs(pod.files.as_deref(), name, entry.storage.as_deref())
            .map(|logs| figures::used(logs, snapshot.node_filesystem.as_ref()));
        ContainerStats { rootfs, logs, ..found }
    });
    PodStats {
        pod_ref: pod.reference(),
        start_time: Time(pod.started()),
        containers: containers.collect(),
        cpu: pod_cpu(pod),
        memory: pod_memory(pod, snapshot),
        io: pod.cgroup.as_deref().and_then(io).filter(|_| full),
        network: pod_network(pod).filter(|_| full),
        volume: if full { volumes(pod) } else { Vec::new() },
        ephemeral_storage: ephemeral_storage(pod, snapshot).filter(|_| full),
        process_stats: processes(pod).filter(|_| full),
        swap: pod_swap(pod, snapshot),
    }
}

fn layer(entry: &NodeCgroup) -> Option<Measured> {
    entry.storage.as_ref()?.layer
}

fn layer_filesystem<'a>(entry: &NodeCgroup, snapshot: &'a Snapshot) -> Option<&'a Filesystem> {
    let device = &entry.storage.as_ref()?.filesystem.as_ref()?.device;
    snapshot.filesystems.as_ref()?.list.iter().find(|filesystem| filesystem.device == *device)
}

pub(super) fn pod_cpu(pod: &Pod) -> Option<CpuStats> {
    pod.cgroup.as_deref().and_then(cpu).or_else(|| {
        let all = pod.members().map(cpu).collect::<Option<Vec<_>>>()?;
        let sum = |part: fn(&CpuStats) -> Option<u64>| all.iter().map(part).sum::<Option<u64>>();
        Some(CpuStats {
            time: Time(all.iter().map(|cpu| cpu.time.0).max()?),
            usage_nano_cores: sum(|cpu| cpu.usage_nano_cores),
            usage_core_nano_seconds: sum(|cpu| cpu.usage_core_nano_seconds),
            psi: None,
        })
    })
}

pub(super) fn pod_memory(pod: &Pod, snapshot: &Snapshot) -> Option<MemoryStats> {
    pod.cgroup.as_deref().and_then(|cgroup| memory(cgroup, snapshot)).or_else(|| {
        let all = pod.members().map(|entry| memory(entry, snapshot)).collect::<Option<Vec<_>>>()?;
        let sum = |part: fn(&MemoryStats) -> Option<u64>| all.iter().map(part).sum::<Option<u64>>();
        Some(MemoryStats {
            time: Time(all.iter().map(|memory| memory.time.0).max()?),
            available_bytes: sum(|memory| memory.available_bytes),
            usage_bytes: sum(|memory| memory.usage_bytes),
            working_set_bytes: sum(|memory| memory.working_set_bytes),
            rss_bytes: sum(|memory| memory.rss_bytes),
            page_faults: sum(|memory| memory.page_faults),
            major_page_faults: sum(|memory| memory.major_page_faults),
            psi: None,
        })
    })
}

pub(super) fn pod_swap(pod: &Pod, snapshot: &Snapshot) -> Option<SwapStats> {
    pod.cgroup.as_deref().and_then(|cgroup| swap(cgroup, snapshot)).or_else(|| {
        let all = pod.members().map(|entry| swap(entry, snapshot)).collect::<Option<Vec<_>>>()?;
        let sum = |part: fn(&SwapStats) -> Option<u64>| all.iter().map(part).sum::<Option<u64>>();
        Some(SwapStats {
            time: Time(all.iter().map(|swap| swap.time.0).max()?),
            swap_available_bytes: sum(|swap| swap.swap_available_bytes),
            swap_usage_bytes: sum(|swap| swap.swap_usage_bytes),
        })
    })
}

/// The sandbox's network is the pod's. Without a sandbox that is known any container's is: they are all in it.
fn pod_network(pod: &Pod) -> Option<NetworkStats> {
    pod.members().find_map(|entry| network(entry.newest.as_deref()?))
}

/// Processes of the containers, without the sandbox's; none where one of them could not be counted.
fn processes(pod: &Pod) -> Option<ProcessStats> {
    let count = |entry: &NodeCgroup| {
        let sampled = entry.newest.as_ref().and_then(|sample| sample.processes.as_ref());
        sampled.and_then(|processes| processes.count).or(entry.processes)
    };
    let process_count = pod.containers.values().map(|entry| count(entry)).sum::<Option<u64>>()?;
    Some(ProcessStats { process_count })
}

fn volumes(pod: &Pod) -> Vec<VolumeStats> {
    let volume = |volume: &Volume| {
        let counted = volume.filesystem.inodes > 0;
        VolumeStats {
            fs: FsStats {
                time: Time(Some(volume.at)),
                available_bytes: Some(volume.filesystem.available.0),
                capacity_bytes: Some(volume.filesystem.capacity.0),
                used_bytes: volume.used.map(|used| used.bytes.0),
                inodes_free: counted.then_some(volume.filesystem.inodes_free),
                inodes: counted.then_some(volume.filesystem.inodes),
                inodes_used: volume.used.and_then(|used| used.inodes),
            },
            name: volume.name.clone(),
        }
    };
    pod.files.as_ref().map(|files| files.volumes.iter().map(volume).collect()).unwrap_or_default()
}

/// What the pod takes of the node's own disk. `None` unless all of it is known: layers, logs, volumes.
pub(super) fn ephemeral_storage(pod: &Pod, snapshot: &Snapshot) -> Option<FsStats> {
    let containers = pod.containers.iter().map(|(name, entry)| (name.as_str(), entry.storage.as_deref()));
    let (sum, newest) = files::ephemeral_storage(containers, pod.files.as_deref())?;
    let room = snapshot.node_filesystem.as_ref().map(|filesystem| figures::room(filesystem, None)).unwrap_or_default();
    Some(FsStats { time: Time(Some(newest)), used_bytes: Some(sum.bytes.0), inodes_used: sum.inodes, ..room })
}
