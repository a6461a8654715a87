//! The object of `/containers/{id}/stats`, in the engine's key order.
//!
//! Keys that the engine always has are always here; where such a key's value is not known it is 0. Keys that the engine
//! leaves out when they are 0 are left out when they are not known.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::api::backend::docker::CgroupVersion;
use crate::api::cadvisor::v1::is_zero;
use crate::api::wire::json;
use crate::api::wire::time::GoTime;
use crate::sample::container::{Cfs, Cpu, IoStat, Memory, Network, Sample};
use crate::sample::live::Live;
use crate::sample::memory_stat::MemoryStat;
use crate::sample::spec::{MemoryLimit, Spec};
use crate::units::{Bytes, Limit};

/// Values of v1's `memory.stat` in the order of their names; each is also there with `total_` before it.
const V1_KEYS: [&str; 15] = [
    "active_anon",
    "active_file",
    "cache",
    "dirty",
    "inactive_anon",
    "inactive_file",
    "mapped_file",
    "pgfault",
    "pgmajfault",
    "pgpgin",
    "pgpgout",
    "rss",
    "rss_huge",
    "unevictable",
    "writeback",
];
const V1_LIMITS: [&str; 2] = ["hierarchical_memory_limit", "hierarchical_memsw_limit"];
/// Values of v2's `memory.stat`; all are there whatever the kernel has.
const V2_KEYS: [&str; 31] = [
    "active_anon",
    "active_file",
    "anon",
    "anon_thp",
    "file",
    "file_dirty",
    "file_mapped",
    "file_writeback",
    "inactive_anon",
    "inactive_file",
    "kernel_stack",
    "pgactivate",
    "pgdeactivate",
    "pgfault",
    "pglazyfree",
    "pglazyfreed",
    "pgmajfault",
    "pgrefill",
    "pgscan",
    "pgsteal",
    "shmem",
    "slab",
    "slab_reclaimable",
    "slab_unreclaimable",
    "sock",
    "thp_collapse_alloc",
    "thp_fault_alloc",
    "unevictable",
    "workingset_activate",
    "workingset_nodereclaim",
    "workingset_refault",
];

/// A container at one moment, with all that one object has about it.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) sample: Arc<Sample>,
    pub(super) live: Live,
    pub(super) spec: Spec,
}

/// What does not change between two objects of a stream.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: CgroupVersion,
    pub(super) machine_memory: Bytes,
}

/// Appends the object and the end of its line. `previous` is what `precpu_stats` reports; none is zero.
pub(super) fn append(out: &mut Vec<u8>, subject: &Subject, previous: Option<&Frame>, now: &Frame) {
    json::append(out, &Stats::new(subject, previous, now));
    out.push(b'\n');
}

#[derive(Serialize)]
struct Stats<'a> {
    read: GoTime,
    preread: GoTime,
    pids_stats: Pids,
    blkio_stats: Blkio,
    num_procs: u32,
    storage_stats: Empty,
    cpu_stats: CpuStats<'a>,
    precpu_stats: CpuStats<'a>,
    memory_stats: MemoryStats<'a>,
    name: String,
    id: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    networks: BTreeMap<&'a str, Interface>,
}

impl<'a> Stats<'a> {
    fn new(subject: &'a Subject, previous: Option<&'a Frame>, now: &'a Frame) -> Self {
        let Frame { sample, live, spec } = now;
        Self {
            read: GoTime(Some(sample.at)),
            preread: GoTime(previous.map(|previous| previous.sample.at)),
            pids_stats: Pids::new(live.tasks, spec.processes, subject.version),
            blkio_stats: Blkio::new(sample, subject.version),
            num_procs: 0,
            storage_stats: Empty {},
            cpu_stats: CpuStats::from(now),
            precpu_stats: previous.map(CpuStats::from).unwrap_or_default(),
            memory_stats: sample
                .memory
                .as_ref()
                .map(|memory| MemoryStats::new(memory, spec, subject))
                .unwrap_or_default(),
            name: format!("/{}", subject.name),
            id: &subject.id,
            networks: networks(sample.network.as_ref()),
        }
    }
}

#[derive(Default, Serialize)]
struct Empty {}

#[derive(Default, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

impl Pids {
    fn new(tasks: Option<u64>, limit: Option<Limit>, version: CgroupVersion) -> Self {
        let limit = match (limit, version) {
            (Some(Limit::Value(limit)), _) => limit,
            (Some(Limit::Max), CgroupVersion::V2) => u64::MAX,
            (Some(Limit::Max), CgroupVersion::V1) | (None, _) => 0,
        };
        Self { current: tasks.unwrap_or_default(), limit }
    }
}

#[derive(Default, Serialize)]
struct CpuStats<'a> {
    cpu_usage: CpuUsage<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    system_cpu_usage: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    online_cpus: Option<u32>,
    throttling_data: Throttling,
}

#[derive(Default, Serialize)]
struct CpuUsage<'a> {
    total_usage: u64,
    #[serde(skip_serializing_if = "PerCpu::is_empty")]
    percpu_usage: PerCpu<'a>,
    usage_in_kernelmode: u64,
    usage_in_usermode: u64,
}

#[derive(Default)]
struct PerCpu<'a>(&'a [crate::units::Nanos]);

impl PerCpu<'_> {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for PerCpu<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|time| time.0))
    }
}

#[derive(Default, Serialize)]
struct Throttling {
    periods: u64,
    throttled_periods: u64,
    throttled_time: u64,
}

impl<'a> From<&'a Frame> for CpuStats<'a> {
    fn from(frame: &'a Frame) -> Self {
        let cpu = frame.sample.cpu.as_ref();
        Self {
            cpu_usage: cpu.map(CpuUsage::from).unwrap_or_default(),
            system_cpu_usage: frame.live.machine.and_then(|machine| machine.total).unwrap_or_default().0,
            online_cpus: frame.live.machine.map(|machine| machine.online).filter(|online| *online > 0),
            throttling_data: cpu.and_then(|cpu| cpu.cfs.as_ref()).map(Throttling::from).unwrap_or_default(),
        }
    }
}

impl<'a> From<&'a Cpu> for CpuUsage<'a> {
    fn from(cpu: &'a Cpu) -> Self {
        Self {
            total_usage: cpu.total.0,
            percpu_usage: PerCpu(cpu.per_cpu.as_deref().unwrap_or_default()),
            usage_in_kernelmode: cpu.system.unwrap_or_default().0,
            usage_in_usermode: cpu.user.unwrap_or_default().0,
        }
    }
}

impl From<&Cfs> for Throttling {
    fn from(cfs: &Cfs) -> Self {
        Self {
            periods: cfs.periods.unwrap_or(0),
            throttled_periods: cfs.throttled_periods.unwrap_or(0),
            throttled_time: cfs.throttled_time.unwrap_or_default().0,
        }
    }
}

#[derive(Default, Serialize)]
struct MemoryStats<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max_usage: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<NamedStats<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    failcnt: u64,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

impl<'a> MemoryStats<'a> {
    fn new(memory: &'a Memory, spec: &Spec, subject: &Subject) -> Self {
        let limit = spec.memory.as_ref().and_then(|memory| memory.limit);
        let limit = limit.map_or(0, |limit| match limit {
            MemoryLimit::Max => u64::MAX,
            MemoryLimit::Bytes(limit) => limit.0,
        });
        let (max_usage, failcnt) = match subject.version {
            CgroupVersion::V1 => (memory.max_usage.map(|max| max.0), memory.failcnt),
            CgroupVersion::V2 => (None, memory.events.and_then(|events| events.oom)),
        };
        Self {
            usage: memory.usage.0,
            max_usage: max_usage.unwrap_or_default(),
            stats: Some(NamedStats { stat: &memory.stat, version: subject.version }),
            failcnt: failcnt.unwrap_or_default(),
            // No more than there is.
            limit: if subject.machine_memory.0 == 0 { limit } else { limit.min(subject.machine_memory.0) },
        }
    }
}

/// `memory.stat` by the engine's choice of names.
struct NamedStats<'a> {
    stat: &'a MemoryStat,
    version: CgroupVersion,
}

impl NamedStats<'_> {
    fn value(&self, key: &str) -> u64 {
        self.stat.get(key).unwrap_or_default()
    }
}

impl Serialize for NamedStats<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut named: BTreeMap<String, u64> = BTreeMap::new();
        match self.version {
            CgroupVersion::V1 => {
                for key in V1_KEYS {
                    let total = format!("total_{key}");
                    named.insert(key.to_owned(), self.value(key));
                    let value = self.value(&total);
                    named.insert(total, value);
                }
                named.extend(V1_LIMITS.map(|key| (key.to_owned(), self.value(key))));
            }
            CgroupVersion::V2 => named.extend(V2_KEYS.map(|key| (key.to_owned(), self.value(key)))),
        }
        serializer.collect_map(named)
    }
}

/// Lists of entries; `None` is written as `null`.
#[derive(Serialize)]
struct Blkio {
    io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
    io_serviced_recursive: Option<Vec<BlkioEntry>>,
    io_queue_recursive: Option<Vec<BlkioEntry>>,
    io_service_time_recursive: Option<Vec<BlkioEntry>>,
    io_wait_time_recursive: Option<Vec<BlkioEntry>>,
    io_merged_recursive: Option<Vec<BlkioEntry>>,
    io_time_recursive: Option<Vec<BlkioEntry>>,
    sectors_recursive: Option<Vec<BlkioEntry>>,
}

#[derive(Serialize)]
struct BlkioEntry {
    major: u32,
    minor: u32,
    op: &'static str,
    value: u64,
}

impl Blkio {
    fn new(sample: &Sample, version: CgroupVersion) -> Self {
        let list = |stat: IoStat| match version {
            CgroupVersion::V1 => Some(entries_v1(sample, stat)),
            CgroupVersion::V2 if stat == IoStat::ServiceBytes => {
                Some(entries_v2(sample)).filter(|entries| !entries.is_empty())
            }
            CgroupVersion::V2 => None,
        };
        Self {
            io_service_bytes_recursive: list(IoStat::ServiceBytes),
            io_serviced_recursive: list(IoStat::Serviced),
            io_queue_recursive: list(IoStat::Queued),
            io_service_time_recursive: list(IoStat::ServiceTime),
            io_wait_time_recursive: list(IoStat::WaitTime),
            io_merged_recursive: list(IoStat::Merged),
            io_time_recursive: list(IoStat::Time),
            sectors_recursive: list(IoStat::Sectors),
        }
    }
}

fn entries_v1(sample: &Sample, stat: IoStat) -> Vec<BlkioEntry> {
    let devices = sample.io.iter().flat_map(|io| &io.devices).filter(|device| device.stat == stat);
    devices
        .flat_map(|device| {
            device.operations.iter().map(|(operation, value)| BlkioEntry {
                major: device.major,
                minor: device.minor,
                // The files without operations.
                op: if *operation == "Count" { "" } else { operation },
                value: *value,
            })
        })
        .collect()
}

fn entries_v2(sample: &Sample) -> Vec<BlkioEntry> {
    let devices = sample.io.iter().flat_map(|io| &io.devices).filter(|device| device.stat == IoStat::ServiceBytes);
    devices
        .flat_map(|device| {
            [("Read", "read"), ("Write", "write")].into_iter().filter_map(|(operation, op)| {
                let (_, value) = device.operations.iter().find(|(name, _)| *name == operation)?;
                Some(BlkioEntry { major: device.major, minor: device.minor, op, value: *value })
            })
        })
        .collect()
}

#[derive(Serialize)]
struct Interface {
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

fn networks(network: Option<&Network>) -> BTreeMap<&str, Interface> {
    let interfaces = network.into_iter().flat_map(|network| &network.interfaces);
    interfaces
        .map(|interface| {
            let (rx, tx) = (interface.receive, interface.transmit);
            let wire = Interface {
                rx_bytes: rx.bytes,
                rx_packets: rx.packets,
                rx_errors: rx.errors,
                rx_dropped: rx.dropped,
                tx_bytes: tx.bytes,
                tx_packets: tx.packets,
                tx_errors: tx.errors,
                tx_dropped: tx.dropped,
            };
            (&*interface.name, wire)
        })
        .collect()
}
