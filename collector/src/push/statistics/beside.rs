//! What is known of a container beside its samples, and how rows are read from it.

use std::borrow::Cow;
use std::sync::Arc;

use super::Number::{self, Count, Nanos, Signed, Thousandths};
use super::read::filesystem_of_layer;
use super::{Label, Points, Seen};
use crate::sample::block_latency::BlockLatency;
use crate::sample::exit::{Exit, Reason, SignalName};
use crate::sample::identity::Identity;
use crate::sample::identity::kubernetes::{POD_NAME, POD_NAMESPACE};
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::machine::Filesystems;
use crate::sample::network_cgroup::{NetworkCgroup, NetworkNamespace};
use crate::sample::pods::{PodFiles, VolumeKind};
use crate::sample::run_queue::RunQueue;
use crate::store::Container;
use crate::store::peaks::Peaks;
use crate::units::{Bytes, WallTime};

/// How many containers' first processes ended, by reason in the order of [`Reason::ALL`].
pub(in crate::push) type Exits = [u64; Reason::ALL.len()];

/// What is known of a container beside its samples, as last read.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// How long its tasks waited for a CPU.
    pub run_queue: Option<Arc<RunQueue>>,
    /// How long its requests to block devices took.
    pub block_latency: Option<Arc<BlockLatency>>,
    /// What passed its sockets.
    pub network_cgroup: Option<NetworkCgroup>,
    /// The greatest values of the last minute, where that kind is reported.
    pub peaks: Peaks,
    /// How its first process ended.
    pub exit: Option<Arc<Exit>>,
    /// How often the container of its name was started again.
    pub restarts: Option<u64>,
    /// Whether its sample is its runtime's word.
    pub is_from_runtime: bool,
    /// Of the cgroup of a pod: what the pod takes of the node's disk.
    pub pod: Option<PodStorage>,
    /// Of the root: what only the machine has.
    pub machine: Option<OfMachine>,
}

/// What a pod takes of the node's own disk.
#[derive(Clone, Debug, Default)]
pub struct PodStorage {
    /// Its volumes.
    pub files: Option<Arc<PodFiles>>,
    /// All of it; absent unless all is known.
    pub used: Option<Bytes>,
}

/// What the root has for the machine.
#[derive(Clone, Debug, Default)]
pub struct OfMachine {
    /// Its file systems, where that kind is reported.
    pub filesystems: Option<Arc<Filesystems>>,
    /// Containers whose first process ended.
    pub exits: Exits,
}

impl Beside {
    /// What is known of a container now; not what others have to say of it.
    pub fn of(container: &Container, now: WallTime, kinds: KindSet) -> Self {
        let peaks = if kinds.has(MetricKind::Peak) { container.peaks(now) } else { Peaks::default() };
        let is_from_runtime = container.is_from_runtime();
        Self { peaks, is_from_runtime, ..Self::counted(container) }
    }

    /// Counters alone, which stay true of a container that ended.
    pub fn counted(container: &Container) -> Self {
        Self {
            run_queue: container.run_queue(),
            block_latency: container.block_latency(),
            network_cgroup: container.network_cgroup(),
            exit: container.exit(),
            ..Self::default()
        }
    }
}

/// A time that tasks waited.
macro_rules! waited {
    ($field:ident) => {
        |seen, out| {
            out.add(waits(seen)?.$field.into());
            Some(())
        }
    };
}

/// What passed the sockets.
macro_rules! passed {
    ($direction:ident, $field:ident) => {
        |seen, out| through(seen, out, |network| network.$direction.$field.into())
    };
}

/// A greatest value of the last minute.
macro_rules! peak {
    ($field:ident) => {
        |seen, out| {
            out.add(peaks(seen)?.$field?.into());
            Some(())
        }
    };
}

pub(super) use {passed, peak, waited};

pub(super) fn waits<'a>(seen: &Seen<'a>) -> Option<&'a RunQueue> {
    seen.beside?.run_queue.as_deref()
}

/// The cgroups that were waited for longest.
pub(super) fn aggressors<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    for (name, time) in &waits(seen)?.behind {
        out.with((*time).into(), [(Label::Runner, String::from_utf8_lossy(name))]);
    }
    Some(())
}

pub(super) fn through(seen: &Seen<'_>, out: &mut Points<'_>, get: fn(NetworkCgroup) -> Number) -> Option<()> {
    let network = seen.beside?.network_cgroup?;
    let whose = network.namespace.map(|whose| (Label::NetworkNamespace, NetworkNamespace::name(whose).into()));
    out.with(get(network), whose.into_iter().collect::<Vec<_>>());
    Some(())
}

pub(super) fn peaks(seen: &Seen<'_>) -> Option<Peaks> {
    Some(seen.beside?.peaks)
}

pub(super) fn peak_cpu<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    out.add(Thousandths(peaks(seen)?.cpu?));
    Some(())
}

pub(super) fn exit_code<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    let exit = seen.beside?.exit.as_deref()?;
    let mut labels = vec![(Label::Reason, Cow::Borrowed(exit.reason().name()))];
    labels.extend(exit.deadly_signal().map(|number| (Label::Signal, SignalName(number).to_string().into())));
    out.with(Signed(exit.code().into()), labels);
    Some(())
}

pub(super) fn exits<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    for (reason, count) in Reason::ALL.into_iter().zip(seen.beside?.machine.as_ref()?.exits) {
        out.with(Count(count), [(Label::Reason, reason.name().into())]);
    }
    Some(())
}

/// Whether a container is one of a pod that is known by name.
fn is_in_pod(identity: &Identity) -> bool {
    [POD_NAME, POD_NAMESPACE].iter().all(|label| identity.labels.contains_key(*label))
}

pub(super) fn restarts_in_pod<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    seen.identity.filter(|identity| is_in_pod(identity))?;
    out.add(Count(seen.beside?.restarts?));
    Some(())
}

pub(super) fn restarts<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    seen.identity.filter(|identity| !is_in_pod(identity))?;
    out.add(Count(seen.beside?.restarts?));
    Some(())
}

/// By the runtime's health check, where there is one.
pub(super) fn health<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    let health = seen.identity?.health.as_deref().filter(|health| !["", "none"].contains(health))?;
    out.add(Count(u64::from(health == "healthy")));
    Some(())
}

pub(super) fn from_runtime<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    seen.beside.filter(|beside| beside.is_from_runtime)?;
    out.add(Count(1));
    Some(())
}

pub(super) fn storage<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    let storage = seen.storage?;
    for (part, measured) in [("layer", storage.layer), ("logs", storage.logs)] {
        if let Some(measured) = measured {
            out.with(measured.usage.bytes.into(), [(Label::Part, part.into())]);
        }
    }
    Some(())
}

/// Volumes on the node's disk that count as their pod's.
pub(super) fn volumes<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    let files = seen.beside?.pod.as_ref()?.files.as_deref()?;
    for volume in files.volumes.iter().filter(|volume| volume.kind == VolumeKind::LocalEphemeral) {
        if let Some(used) = volume.used {
            out.with(used.bytes.into(), [(Label::Volume, Cow::Borrowed(volume.name.as_str()))]);
        }
    }
    Some(())
}

pub(super) fn pod_storage<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    out.add(seen.beside?.pod.as_ref()?.used?.into());
    Some(())
}

/// The machine's file systems, each device once.
fn machine<'a>(seen: &Seen<'a>, out: &mut Points<'a>, get: impl Fn(Sizes) -> u64) -> Option<()> {
    let list = &seen.beside?.machine.as_ref()?.filesystems.as_deref()?.list;
    for (position, filesystem) in list.iter().enumerate() {
        if list[..position].iter().all(|other| other.device != filesystem.device) {
            let sizes = Sizes {
                used: filesystem.usage,
                capacity: filesystem.capacity,
                inodes: filesystem.inodes,
                inodes_free: filesystem.inodes_free,
            };
            out.with(Count(get(sizes)), [(Label::Device, Cow::Borrowed(filesystem.device.as_str()))]);
        }
    }
    Some(())
}

/// Of a file system of the machine.
struct Sizes {
    used: Bytes,
    capacity: Bytes,
    inodes: u64,
    inodes_free: u64,
}

pub(super) fn filesystem_usage<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    if let Some(storage) = seen.storage {
        let device = filesystem_of_layer(storage)?;
        out.with(storage.total()?.bytes.into(), [(Label::Device, device)]);
        return Some(());
    }
    machine(seen, out, |sizes| sizes.used.0)
}

/// A limit of its own goes before the size of the file system.
pub(super) fn filesystem_capacity<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    if let Some(storage) = seen.storage {
        let filesystem = storage.filesystem.as_ref()?;
        let capacity = storage.limit.unwrap_or(filesystem.capacity);
        out.with(capacity.into(), [(Label::Device, filesystem_of_layer(storage)?)]);
        return Some(());
    }
    machine(seen, out, |sizes| sizes.capacity.0)
}

/// Of a container those of its own files.
pub(super) fn inodes_used<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    if let Some(storage) = seen.storage {
        out.with(Count(storage.total()?.inodes?), [(Label::Device, filesystem_of_layer(storage)?)]);
        return Some(());
    }
    machine(seen, out, |sizes| sizes.inodes.saturating_sub(sizes.inodes_free))
}

pub(super) fn inodes<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    machine(seen, out, |sizes| sizes.inodes)
}

pub(super) fn inodes_free<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    machine(seen, out, |sizes| sizes.inodes_free)
}

/// When it was last started, by its runtime's word.
pub(super) fn started<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    let started = seen.identity.and_then(|identity| identity.started).or(seen.spec.created);
    out.add(Nanos(started.filter(|started| *started > WallTime::default())?.0));
    Some(())
}
