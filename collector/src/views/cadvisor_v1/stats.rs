//! `ContainerStats`: one sample.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::filesystem::FsStats;
use super::hardware::{Resctrl, core_events, uncore_events};
use super::is_zero;
use super::network::NetworkStats;
use crate::sample::container::{
    Cfs, Cpu, DeviceIo, Faults, Hugetlb, Io, IoStat, Load, Memory, Network, Numa, NumaPages, Pressure, PressureRow,
    Processes, Sample, Schedstat, TaskStates,
};
use crate::sample::hardware::{PerfEvent, UncorePerfEvent};
use crate::units::Nanos;
use crate::views::FilesystemUse;
use crate::views::time::GoTime;

/// One sample as cAdvisor's v1 `ContainerStats`.
#[derive(Serialize)]
pub struct ContainerStats<'a> {
    timestamp: GoTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<CpuStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diskio: Option<DiskIoStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryStats<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "page_sizes")]
    hugetlb: &'a [Hugetlb],
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkStats<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filesystem: Vec<FsStats<'a>>,
    task_stats: LoadStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<ProcessStats>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "core_events")]
    perf_stats: &'a [PerfEvent],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "uncore_events")]
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

#[derive(Default, Serialize)]
pub(in crate::views) struct CpuStats<'a> {
    usage: CpuUsage<'a>,
    cfs: CpuCfs,
    schedstat: CpuSchedstat,
    load_average: i32,
    load_d_average: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

#[derive(Default, Serialize)]
struct CpuUsage<'a> {
    total: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "nanoseconds")]
    per_cpu_usage: &'a [Nanos],
    user: u64,
    system: u64,
}

#[derive(Default, Serialize)]
struct CpuCfs {
    periods: u64,
    throttled_periods: u64,
    throttled_time: u64,
    bursts_periods: u64,
    burst_time: u64,
}

#[derive(Default, Serialize)]
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
                periods,
                throttled_periods,
                throttled_time: throttled_time.0,
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

/// Pressure; left out where the kernel does not offer it.
#[derive(Serialize)]
struct Psi {
    full: PsiData,
    some: PsiData,
}

/// `total` is in microseconds, as in the kernel's file.
#[derive(Default, Serialize)]
struct PsiData {
    total: u64,
    avg10: f64,
    avg60: f64,
    avg300: f64,
}

impl From<Pressure> for Psi {
    fn from(Pressure { some, full }: Pressure) -> Self {
        Self { full: full.unwrap_or_default().into(), some: some.into() }
    }
}

impl From<PressureRow> for PsiData {
    fn from(row: PressureRow) -> Self {
        // A hundredth of a small integer is the float nearest to the kernel's two decimals, so it prints as those.
        let percent = |hundredths: u64| hundredths as f64 / 100.0;
        Self { total: row.total.0, avg10: percent(row.avg10), avg60: percent(row.avg60), avg300: percent(row.avg300) }
    }
}

#[derive(Default, Serialize)]
pub(in crate::views) struct DiskIoStats<'a> {
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_service_bytes: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_serviced: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_queued: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    sectors: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_service_time: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_wait_time: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_merged: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_time: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_cost_usage: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_cost_wait: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_cost_indebt: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_cost_indelay: Devices<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

impl<'a> From<&'a Io> for DiskIoStats<'a> {
    fn from(io: &'a Io) -> Self {
        let list = |stat| Devices { all: &io.devices, stat };
        Self {
            io_service_bytes: list(IoStat::ServiceBytes),
            io_serviced: list(IoStat::Serviced),
            io_queued: list(IoStat::Queued),
            sectors: list(IoStat::Sectors),
            io_service_time: list(IoStat::ServiceTime),
            io_wait_time: list(IoStat::WaitTime),
            io_merged: list(IoStat::Merged),
            io_time: list(IoStat::Time),
            io_cost_usage: list(IoStat::CostUsage),
            io_cost_wait: list(IoStat::CostWait),
            io_cost_indebt: list(IoStat::CostIndebt),
            io_cost_indelay: list(IoStat::CostIndelay),
            psi: io.pressure.map(Psi::from),
        }
    }
}

/// The entries of one statistic.
struct Devices<'a> {
    all: &'a [DeviceIo],
    stat: IoStat,
}

impl Default for Devices<'_> {
    fn default() -> Self {
        Self { all: &[], stat: IoStat::ServiceBytes }
    }
}

impl<'a> Devices<'a> {
    fn iter(&self) -> impl Iterator<Item = &'a DeviceIo> {
        let stat = self.stat;
        self.all.iter().filter(move |device| device.stat == stat)
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl Serialize for Devices<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|device| PerDiskStats {
            device: &device.device,
            major: device.major,
            minor: device.minor,
            stats: &device.operations,
        }))
    }
}

#[derive(Serialize)]
struct PerDiskStats<'a> {
    device: &'a str,
    major: u32,
    minor: u32,
    #[serde(serialize_with = "operations")]
    stats: &'a [(&'static str, u64)],
}

fn operations<S: Serializer>(operations: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sorted = operations.to_vec();
    sorted.sort_by_key(|(operation, _)| *operation);
    serializer.collect_map(sorted)
}

#[derive(Default, Serialize)]
pub(in crate::views) struct MemoryStats<'a> {
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

#[derive(Default, Serialize)]
struct MemoryData<'a> {
    pgfault: u64,
    pgmajfault: u64,
    numa_stats: NumaStats<'a>,
}

#[derive(Default, Serialize)]
struct NumaStats<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "nodes")]
    file: &'a [(u32, u64)],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "nodes")]
    anon: &'a [(u32, u64)],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "nodes")]
    unevictable: &'a [(u32, u64)],
}

/// Sorted as text, as Go sorts the keys of a map.
fn nodes<S: Serializer>(nodes: &[(u32, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sorted: Vec<_> = nodes.iter().map(|(node, pages)| (node.to_string(), pages)).collect();
    sorted.sort();
    serializer.collect_map(sorted)
}

#[derive(Default, Serialize)]
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
            events: MemoryEvents { high: events.high, max: events.max },
        }
    }
}

impl<'a> From<&'a NumaPages> for NumaStats<'a> {
    fn from(NumaPages { file, anon, unevictable }: &'a NumaPages) -> Self {
        Self { file, anon, unevictable }
    }
}

#[derive(Serialize)]
struct HugetlbStats {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max_usage: u64,
    failcnt: u64,
}

pub(in crate::views) fn page_sizes<S: Serializer>(sizes: &[Hugetlb], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sorted: Vec<(&Arc<str>, HugetlbStats)> = sizes
        .iter()
        .map(|size| {
            let max_usage = size.max_usage.unwrap_or_default().0;
            (&size.page_size, HugetlbStats { usage: size.usage.0, max_usage, failcnt: size.failcnt })
        })
        .collect();
    sorted.sort_by_key(|(page_size, _)| *page_size);
    serializer.collect_map(sorted.iter().map(|(page_size, stats)| (&***page_size, stats)))
}

#[derive(Default, Serialize)]
pub(in crate::views) struct LoadStats {
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

#[derive(Default, Serialize)]
pub(in crate::views) struct ProcessStats {
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
#[derive(Serialize)]
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

#[derive(Serialize)]
struct Cpuset {
    memory_migrate: u64,
}

/// The runtime's health check; empty without a runtime.
#[derive(Serialize)]
struct Health<'a> {
    status: &'a str,
}
