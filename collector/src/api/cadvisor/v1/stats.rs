//! `ContainerStats`: one sample.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::application::CustomMetrics;
use super::diskio::DiskIoStats;
use super::filesystem::FsStats;
use super::hardware::{PerfStat, PerfUncoreStat, Resctrl, core_events, uncore_events};
use super::is_zero;
use super::network::NetworkStats;
use super::pressure::Psi;
use crate::api::FilesystemUse;
use crate::api::wire::time::GoTime;
use crate::sample::container::{
    Cfs, Cpu, Faults, Hugetlb, Load, Memory, Network, Numa, NumaPages, Processes, Sample, Schedstat, TaskStates,
};
use crate::sample::hardware::{PerfEvent, UncorePerfEvent};
use crate::units::Nanos;

/// One sample as cAdvisor's v1 `ContainerStats`.
#[derive(JsonSchema, Serialize)]
pub struct ContainerStats<'a> {
    timestamp: GoTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<CpuStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diskio: Option<DiskIoStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryStats<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "page_sizes")]
    #[schemars(with = "BTreeMap<String, HugetlbStats>")]
    hugetlb: &'a [Hugetlb],
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkStats<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filesystem: Vec<FsStats<'a>>,
    task_stats: LoadStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<ProcessStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_metrics: Option<CustomMetrics<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "core_events")]
    #[schemars(with = "Vec<PerfStat<'a>>")]
    perf_stats: &'a [PerfEvent],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "uncore_events")]
    #[schemars(with = "Vec<PerfUncoreStat<'a>>")]
    perf_uncore_stats: &'a [UncorePerfEvent],
    #[serde(skip_serializing_if = "is_zero")]
    referenced_memory: u64,
    resctrl: Resctrl,
    cpuset: Cpuset,
    #[serde(skip_serializing_if = "is_zero")]
    oom_events: u64,
    health: Health<'a>,
}

impl<'a> ContainerStats<'a> {
    /// The same with what its application reported.
    pub(super) fn with_custom_metrics(self, custom_metrics: Option<CustomMetrics<'a>>) -> Self {
        Self { custom_metrics, ..self }
    }

    /// The same with this network.
    pub(super) fn with_network(self, network: Option<&'a Network>) -> Self {
        Self { network: network.map(NetworkStats::from), ..self }
    }

    /// The same with what the runtime's health check says now.
    pub(super) fn with_health(self, status: &'a str) -> Self {
        Self { health: Health { status }, ..self }
    }

    /// The same with what was known of file systems at its time.
    pub(super) fn with_filesystems(self, known: &'a FilesystemUse) -> Self {
        Self { filesystem: FsStats::list(known), ..self }
    }
}

impl<'a> From<&'a Sample> for ContainerStats<'a> {
    fn from(sample: &'a Sample) -> Self {
        Self {
            timestamp: GoTime(Some(sample.at)),
            cpu: sample.cpu.as_ref().map(CpuStats::from),
            diskio: sample.io.as_ref().map(DiskIoStats::from),
            memory: sample.memory.as_ref().map(MemoryStats::from),
            hugetlb: sample.hugetlb.as_deref().unwrap_or_default(),
            network: sample.network.as_ref().map(NetworkStats::from),
            filesystem: Vec::new(),
            task_stats: sample.tasks.unwrap_or_default().into(),
            processes: sample.processes.as_ref().map(ProcessStats::from),
            custom_metrics: None,
            perf_stats: sample.perf.as_deref().unwrap_or_default(),
            perf_uncore_stats: sample.perf_uncore.as_deref().unwrap_or_default(),
            referenced_memory: sample.referenced.unwrap_or_default().0,
            resctrl: sample.resctrl.as_ref().into(),
            cpuset: Cpuset { memory_migrate: sample.cpuset_memory_migrate.unwrap_or(0) },
            oom_events: sample.oom_kills,
            health: Health { status: "" },
        }
    }
}

/// CPU time and what belongs to it. The load averages are thousandths of tasks.
#[derive(Default, JsonSchema, Serialize)]
pub(crate) struct CpuStats<'a> {
    usage: CpuUsage<'a>,
    cfs: CpuCfs,
    schedstat: CpuSchedstat,
    load_average: i32,
    load_d_average: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

/// CPU time in nanoseconds, cumulative.
#[derive(Default, JsonSchema, Serialize)]
struct CpuUsage<'a> {
    total: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "nanoseconds")]
    #[schemars(with = "Vec<u64>")]
    per_cpu_usage: &'a [Nanos],
    user: u64,
    system: u64,
}

/// What the bandwidth limit did, cumulative; times in nanoseconds.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "CpuCFS")]
struct CpuCfs {
    periods: u64,
    throttled_periods: u64,
    throttled_time: u64,
    bursts_periods: u64,
    burst_time: u64,
}

/// What the scheduler reports about the processes, cumulative; times in nanoseconds.
#[derive(Default, JsonSchema, Serialize)]
struct CpuSchedstat {
    run_time: u64,
    runqueue_time: u64,
    run_periods: u64,
}

impl<'a> From<&'a Cpu> for CpuStats<'a> {
    fn from(cpu: &'a Cpu) -> Self {
        let Cfs { periods, throttled_periods, throttled_time, burst_periods, burst_time } = cpu.cfs.unwrap_or_default();
        let Schedstat { run_time, runqueue_time, run_periods } = cpu.schedstat.unwrap_or_default();
        let Load { running_milli, uninterruptible_milli } = cpu.load.unwrap_or_default();
        Self {
            usage: CpuUsage {
                total: cpu.total.0,
                per_cpu_usage: cpu.per_cpu.as_deref().unwrap_or_default(),
                user: cpu.user.unwrap_or_default().0,
                system: cpu.system.unwrap_or_default().0,
            },
            cfs: CpuCfs {
                periods: periods.unwrap_or(0),
                throttled_periods: throttled_periods.unwrap_or(0),
                throttled_time: throttled_time.unwrap_or_default().0,
                bursts_periods: burst_periods.unwrap_or(0),
                burst_time: burst_time.unwrap_or_default().0,
            },
            schedstat: CpuSchedstat { run_time: run_time.0, runqueue_time: runqueue_time.0, run_periods },
            load_average: i32::try_from(running_milli).unwrap_or(i32::MAX),
            load_d_average: i32::try_from(uninterruptible_milli).unwrap_or(i32::MAX),
            psi: cpu.pressure.map(Psi::from),
        }
    }
}

fn nanoseconds<S: Serializer>(list: &[Nanos], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|nanos| nanos.0))
}

/// Memory in bytes; pages where the kernel counts pages.
#[derive(Default, JsonSchema, Serialize)]
pub(crate) struct MemoryStats<'a> {
    usage: u64,
    max_usage: u64,
    cache: u64,
    rss: u64,
    swap: u64,
    mapped_file: u64,
    working_set: u64,
    total_active_file: u64,
    total_inactive_file: u64,
    file_dirty: u64,
    file_writeback: u64,
    pgscan: u64,
    pgsteal: u64,
    workingset_refault_file: u64,
    workingset_refault_anon: u64,
    failcnt: u64,
    kernel: u64,
    container_data: MemoryData<'a>,
    hierarchical_data: MemoryData<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
    events: MemoryEvents,
}

/// Page faults, cumulative, and pages by NUMA node.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "MemoryStatsMemoryData")]
struct MemoryData<'a> {
    pgfault: u64,
    pgmajfault: u64,
    numa_stats: NumaStats<'a>,
}

/// Pages by NUMA node.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "MemoryNumaStats")]
struct NumaStats<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "nodes")]
    #[schemars(with = "BTreeMap<String, u64>")]
    file: &'a [(u32, u64)],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "nodes")]
    #[schemars(with = "BTreeMap<String, u64>")]
    anon: &'a [(u32, u64)],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "nodes")]
    #[schemars(with = "BTreeMap<String, u64>")]
    unevictable: &'a [(u32, u64)],
}

/// Sorted as text, as Go sorts the keys of a map.
fn nodes<S: Serializer>(nodes: &[(u32, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sorted: Vec<_> = nodes.iter().map(|(node, pages)| (node.to_string(), pages)).collect();
    sorted.sort();
    serializer.collect_map(sorted)
}

/// How often a limit was reached.
#[derive(Default, JsonSchema, Serialize)]
struct MemoryEvents {
    high: u64,
    max: u64,
}

impl<'a> From<&'a Memory> for MemoryStats<'a> {
    fn from(memory: &'a Memory) -> Self {
        let stat = memory.stat.reported();
        let events = memory.events.unwrap_or_default();
        let numa = memory.numa.as_ref();
        let data = |Faults { pgfault, pgmajfault }, pages: Option<&'a NumaPages>| MemoryData {
            pgfault,
            pgmajfault,
            numa_stats: pages.map(NumaStats::from).unwrap_or_default(),
        };
        Self {
            usage: memory.usage.0,
            max_usage: memory.max_usage.unwrap_or_default().0,
            cache: memory.cache.0,
            rss: memory.rss.0,
            swap: memory.swap.unwrap_or_default().0,
            mapped_file: memory.mapped_file.0,
            working_set: memory.working_set.0,
            total_active_file: memory.active_file.unwrap_or_default().0,
            total_inactive_file: memory.inactive_file.unwrap_or_default().0,
            file_dirty: stat.file_dirty.unwrap_or(0),
            file_writeback: stat.file_writeback.unwrap_or(0),
            pgscan: stat.pgscan.unwrap_or(0),
            pgsteal: stat.pgsteal.unwrap_or(0),
            workingset_refault_file: stat.workingset_refault_file.unwrap_or(0),
            workingset_refault_anon: stat.workingset_refault_anon.unwrap_or(0),
            failcnt: memory.failcnt.unwrap_or(0),
            kernel: memory.kernel.unwrap_or_default().0,
            container_data: data(memory.own_faults, numa.map(|Numa { own, .. }| own)),
            hierarchical_data: data(memory.hierarchical_faults, numa.map(|Numa { hierarchical, .. }| hierarchical)),
            psi: memory.pressure.map(Psi::from),
            events: MemoryEvents { high: events.high.unwrap_or(0), max: events.max.unwrap_or(0) },
        }
    }
}

impl<'a> From<&'a NumaPages> for NumaStats<'a> {
    fn from(NumaPages { file, anon, unevictable }: &'a NumaPages) -> Self {
        Self { file, anon, unevictable }
    }
}

/// Huge pages of one size, in bytes.
#[derive(JsonSchema, Serialize)]
pub(crate) struct HugetlbStats {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max_usage: u64,
    failcnt: u64,
}

pub(crate) fn page_sizes<S: Serializer>(sizes: &[Hugetlb], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sorted: Vec<(&Arc<str>, HugetlbStats)> = sizes
        .iter()
        .map(|size| {
            let [usage, max_usage] = [size.usage, size.max_usage].map(|bytes| bytes.unwrap_or_default().0);
            (&size.page_size, HugetlbStats { usage, max_usage, failcnt: size.failcnt.unwrap_or(0) })
        })
        .collect();
    sorted.sort_by_key(|(page_size, _)| *page_size);
    serializer.collect_map(sorted.iter().map(|(page_size, stats)| (&***page_size, stats)))
}

/// Tasks by state.
#[derive(Default, JsonSchema, Serialize)]
pub(crate) struct LoadStats {
    nr_sleeping: u64,
    nr_running: u64,
    nr_stopped: u64,
    nr_uninterruptible: u64,
    nr_io_wait: u64,
}

impl From<TaskStates> for LoadStats {
    fn from(TaskStates { sleeping, running, stopped, uninterruptible, io_wait }: TaskStates) -> Self {
        Self {
            nr_sleeping: sleeping,
            nr_running: running,
            nr_stopped: stopped,
            nr_uninterruptible: uninterruptible,
            nr_io_wait: io_wait,
        }
    }
}

/// Processes, threads and descriptors.
#[derive(Default, JsonSchema, Serialize)]
pub(crate) struct ProcessStats {
    #[serde(skip_serializing_if = "Option::is_none")]
    process_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fd_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_count: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    threads_current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    threads_max: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ulimits: Option<[UlimitSpec; 1]>,
}

/// -1 means unlimited.
#[derive(JsonSchema, Serialize)]
struct UlimitSpec {
    name: &'static str,
    soft_limit: i64,
    hard_limit: i64,
}

impl From<&Processes> for ProcessStats {
    fn from(processes: &Processes) -> Self {
        let limit = |limit| i64::try_from(limit).unwrap_or(-1);
        Self {
            process_count: processes.count,
            fd_count: processes.descriptors,
            socket_count: processes.sockets,
            threads_current: processes.threads.unwrap_or(0),
            threads_max: processes.threads_max.unwrap_or(0),
            ulimits: processes.max_open_files.map(|(soft, hard)| {
                [UlimitSpec { name: "max_open_files", soft_limit: limit(soft), hard_limit: limit(hard) }]
            }),
        }
    }
}

/// The cpuset controller.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "CPUSetStats")]
struct Cpuset {
    memory_migrate: u64,
}

/// The runtime's health check; empty without a runtime.
#[derive(JsonSchema, Serialize)]
struct Health<'a> {
    status: &'a str,
}
