//! One cgroup's figures, as the summary has them.

use super::wire::{
    CpuStats, FsStats, InterfaceStats, IoStats, MemoryStats, NetworkStats, PsiData, PsiStats, SwapStats, Time,
};
use super::{NodeCgroup, Snapshot, SwapLimit};
use crate::rates;
use crate::sample::container::{Interface, Network, Pressure, PressureRow, Sample};
use crate::sample::filesystem::Measured;
use crate::sample::machine::Filesystem;
use crate::sample::spec::{MemoryLimit, MemorySpec};
use crate::sample::unread::Part;
use crate::units::{Bytes, WallTime};

/// A limit above this is none.
const UNLIMITED: u64 = 1 << 62;
/// The interface whose counters stand for the pod's or the node's.
const DEFAULT_INTERFACE: &str = "eth0";

/// CPU time, and the use of the CPU over the last ten seconds or so.
pub(super) fn cpu(entry: &NodeCgroup) -> Option<CpuStats> {
    let sample = entry.newest.as_deref()?;
    let cpu = sample.cpu.as_ref()?;
    Some(CpuStats {
        time: Time(Some(sample.at)),
        usage_nano_cores: rate(entry),
        usage_core_nano_seconds: (!sample.unread.has(Part::CpuTotal)).then_some(cpu.total.0),
        psi: cpu.pressure.as_ref().map(psi),
    })
}

/// Nanoseconds of CPU time in a second; `None` without two samples that can be compared.
pub(super) fn rate(entry: &NodeCgroup) -> Option<u64> {
    rates::cpu_total(entry.before.as_deref()?, entry.newest.as_deref()?)
}

/// Memory. `capacity` is the limit of what has no other: the machine's memory.
pub(super) fn memory(entry: &NodeCgroup, snapshot: &Snapshot) -> Option<MemoryStats> {
    let sample = entry.newest.as_deref()?;
    let memory = sample.memory.as_ref()?;
    let limit = memory_limit(entry, snapshot);
    let read = |value: u64, part| (!sample.unread.has(part)).then_some(value);
    let working_set = read(memory.working_set.0, Part::WorkingSet);
    Some(MemoryStats {
        time: Time(Some(sample.at)),
        available_bytes: limit.zip(working_set).map(|(limit, used)| limit.saturating_sub(used)),
        usage_bytes: read(memory.usage.0, Part::MemoryUsage),
        working_set_bytes: working_set,
        rss_bytes: read(memory.rss.0, Part::Rss),
        page_faults: read(memory.own_faults.pgfault, Part::OwnFaults),
        major_page_faults: read(memory.own_faults.pgmajfault, Part::OwnMajorFaults),
        psi: memory.pressure.as_ref().map(psi),
    })
}

fn memory_limit(entry: &NodeCgroup, snapshot: &Snapshot) -> Option<u64> {
    let machine = snapshot.machine.memory.map(|memory| memory.0);
    if is_root(entry) {
        return machine;
    }
    match finite(entry.spec.memory.as_ref()?.limit)? {
        0 => machine,
        limit => Some(limit),
    }
}

pub(super) fn is_root(entry: &NodeCgroup) -> bool {
    *entry.name == *b"/"
}

fn finite(limit: Option<MemoryLimit>) -> Option<u64> {
    match limit? {
        MemoryLimit::Bytes(Bytes(bytes)) if bytes <= UNLIMITED => Some(bytes),
        MemoryLimit::Bytes(_) | MemoryLimit::Max => None,
    }
}

/// Swap; `None` where the kernel does not account for it.
pub(super) fn swap(entry: &NodeCgroup, snapshot: &Snapshot) -> Option<SwapStats> {
    let sample = entry.newest.as_deref()?;
    let used = sample.memory.as_ref()?.swap?.0;
    let limit = if is_root(entry) {
        snapshot.machine.swap.map(|swap| swap.0)
    } else {
        entry.spec.memory.as_ref().and_then(|spec| swap_limit(spec, snapshot.swap_limit))
    };
    Some(SwapStats {
        time: Time(Some(sample.at)),
        swap_available_bytes: limit.map(|limit| limit.saturating_sub(used)),
        swap_usage_bytes: Some(used),
    })
}

/// The most swap that a cgroup may use. Where the kernel limits memory and swap together it is what the limit of memory
/// leaves; the kubelet takes the sum for the swap there.
fn swap_limit(spec: &MemorySpec, counts: SwapLimit) -> Option<u64> {
    let limit = finite(spec.swap_limit)?;
    match counts {
        SwapLimit::Alone => Some(limit),
        SwapLimit::WithMemory => Some(limit.saturating_sub(finite(spec.limit)?)),
    }
}

/// Waiting for block devices.
pub(super) fn io(entry: &NodeCgroup) -> Option<IoStats> {
    let sample = entry.newest.as_deref()?;
    let pressure = sample.io.as_ref()?.pressure.as_ref()?;
    Some(IoStats { time: Time(Some(sample.at)), psi: psi(pressure) })
}

fn psi(pressure: &Pressure) -> PsiStats {
    let data = |row: &PressureRow| {
        let percent = |hundredths: u64| hundredths as f64 / 100.0;
        PsiData {
            // Not what the kubelet's own description says, but what every kubelet with cAdvisor sends.
            total: row.total.0,
            avg10: percent(row.avg10),
            avg60: percent(row.avg60),
            avg300: percent(row.avg300),
        }
    };
    PsiStats { full: pressure.full.as_ref().map(data), some: data(&pressure.some.unwrap_or_default()) }
}

/// The counters of a network namespace.
pub(super) fn network(sample: &Sample) -> Option<NetworkStats> {
    let Network { interfaces, .. } = sample.network.as_ref()?;
    if interfaces.is_empty() {
        return None;
    }
    let interfaces: Vec<_> = interfaces.iter().map(interface).collect();
    let default = interfaces.iter().find(|interface| interface.name == DEFAULT_INTERFACE).cloned();
    Some(NetworkStats { time: Time(Some(sample.at)), default: default.unwrap_or_default(), interfaces })
}

fn interface(Interface { name, receive, transmit }: &Interface) -> InterfaceStats {
    InterfaceStats {
        name: name.to_string(),
        rx_bytes: Some(receive.bytes),
        rx_errors: Some(receive.errors),
        tx_bytes: Some(transmit.bytes),
        tx_errors: Some(transmit.errors),
    }
}

/// How big a file system is and how much of it is free, without what is used.
pub(super) fn room(filesystem: &Filesystem, at: Option<WallTime>) -> FsStats {
    // Where inodes are made as needed nobody knows how many are left.
    let counted = filesystem.inodes > 0;
    FsStats {
        time: Time(at),
        available_bytes: Some(filesystem.available.0),
        capacity_bytes: Some(filesystem.capacity.0),
        used_bytes: None,
        inodes_free: counted.then_some(filesystem.inodes_free),
        inodes: counted.then_some(filesystem.inodes),
        inodes_used: None,
    }
}

/// How full a file system is.
pub(super) fn fullness(filesystem: &Filesystem, at: Option<WallTime>) -> FsStats {
    let room = room(filesystem, at);
    FsStats { used_bytes: Some(filesystem.usage.0), inodes_used: inodes_used(filesystem), ..room }
}

/// Inodes in use; `None` where they are made as needed.
pub(super) fn inodes_used(filesystem: &Filesystem) -> Option<u64> {
    (filesystem.inodes > 0).then(|| filesystem.inodes.saturating_sub(filesystem.inodes_free))
}

/// What was measured, beside the room on its file system. Never without what is used: heapster, which reads it without
/// looking, would end.
pub(super) fn used(measured: Measured, filesystem: Option<&Filesystem>) -> FsStats {
    let room = filesystem.map(|filesystem| room(filesystem, None)).unwrap_or_default();
    FsStats {
        time: Time(Some(measured.at)),
        used_bytes: Some(measured.usage.bytes.0),
        inodes_used: measured.usage.inodes,
        ..room
    }
}
