//! One sample of one cgroup: cumulative values, gauges, and the moment they were read. Beside them its limits by family.
//!
//! `None` means the kernel or the configuration does not offer the value; a zero was read as zero.
//! A new field is added to its struct and to the list at the end of this file, and nowhere else in the store.

mod described;

use std::sync::Arc;

use super::hardware::{PerfEvent, Resctrl, UncorePerfEvent};
use super::memory_stat::MemoryStat;
use super::sockets::{TcpAdvanced, TcpSockets, UdpSockets};
use super::unread::Unread;
use super::walk::{Part, Visitor, parts};
use crate::units::{Bytes, Micros, Nanos, WallTime};

/// What one cgroup looked like at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Wall-clock time right after the cgroup files were read.
    pub at: WallTime,
    /// CPU time and everything beside it.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Block devices.
    pub io: Option<Io>,
    /// Processes, threads, descriptors (kind `process`).
    pub processes: Option<Processes>,
    /// Huge pages, one entry per page size (kind `hugetlb`).
    pub hugetlb: Option<Vec<Hugetlb>>,
    /// Network of the cgroup's processes: only where they live in another network namespace than the host; the root
    /// cgroup has the host's.
    pub network: Option<Network>,
    /// The cpuset controller's `cpuset.memory_migrate` (cgroup v1, kind `cpuset`).
    pub cpuset_memory_migrate: Option<u64>,
    /// Resources that the controller `misc` counts, one entry each; empty where the machine has none. Since 5.13.
    pub misc: Option<Vec<Misc>>,
    /// Tasks of this very cgroup by state (`--enable_load_reader`, cgroup v1).
    pub tasks: Option<TaskStates>,
    /// Memory that this very cgroup's processes touched since their marks were last cleared: `Referenced` of
    /// `/proc/<pid>/smaps_rollup`, since 4.14, or else of `smaps`, summed (kind `referenced_memory`).
    pub referenced: Option<Bytes>,
    /// Use of last-level caches and memory bandwidth (kind `resctrl`).
    pub resctrl: Option<Resctrl>,
    /// Core perf events by event and CPU (kind `perf_event`, `--perf_events_config`).
    pub perf: Option<Vec<PerfEvent>>,
    /// Uncore perf events; the root cgroup's only.
    pub perf_uncore: Option<Vec<UncorePerfEvent>>,
    /// OOM kills of this cgroup's processes, as the kernel counts them; where it does not, since the collector knows the
    /// cgroup.
    pub oom_kills: u64,
    /// What of all this the kernel has although it is absent, or 0 where it cannot be absent: it could not be read.
    pub unread: Unread,
}

impl Sample {
    /// Bytes that it takes, with those lists of it that an outsider makes long.
    pub fn memory(&self) -> usize {
        let per_cpu = self.cpu.iter().filter_map(|cpu| cpu.per_cpu.as_ref()).map(Vec::len).sum::<usize>();
        let stat = self.memory.iter().map(|memory| memory.stat.values.len()).sum::<usize>();
        let devices = self.io.iter().flat_map(|io| &io.devices);
        let devices = devices.map(|device| size_of::<DeviceIo>() + size_of_val(device.operations.as_slice()));
        let interfaces = self.network.iter().flat_map(|network| &network.interfaces);
        let interfaces = interfaces.map(|interface| size_of::<Interface>() + interface.name.len());
        let hardware = self.perf.iter().flatten().map(size_of_val).sum::<usize>();
        let misc = self.misc.as_deref().map_or(0, size_of_val);
        let lists = devices.sum::<usize>() + interfaces.sum::<usize>() + hardware + misc;
        size_of::<Self>() + size_of::<u64>() * (per_cpu + stat) + lists
    }
}

/// CPU statistics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cpu {
    /// v1 `cpuacct.usage`; v2 `cpu.stat` `usage_usec`.
    pub total: Nanos,
    /// v1 `cpuacct.stat` `user`; v2 `cpu.stat` `user_usec`.
    pub user: Option<Nanos>,
    /// v1 `cpuacct.stat` `system`; v2 `cpu.stat` `system_usec`.
    pub system: Option<Nanos>,
    /// v1 `cpuacct.usage_percpu`; absent on v2.
    pub per_cpu: Option<Vec<Nanos>>,
    /// CFS bandwidth: `cpu.stat`.
    pub cfs: Option<Cfs>,
    /// Sum over the threads of the subtree (kind `sched`), those that ended with what they had last.
    pub schedstat: Option<Schedstat>,
    /// Smoothed load (`--enable_load_reader`, cgroup v1).
    pub load: Option<Load>,
    /// v2 `cpu.pressure`.
    pub pressure: Option<Pressure>,
}

/// CFS bandwidth control. A counter is absent where its line could not be read; those of bursts also before 5.15.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cfs {
    /// `nr_periods`.
    pub periods: Option<u64>,
    /// `nr_throttled`.
    pub throttled_periods: Option<u64>,
    /// v1 `throttled_time`; v2 `throttled_usec`.
    pub throttled_time: Option<Nanos>,
    /// `nr_bursts`; v2 since 5.15, and v1 since the same.
    pub burst_periods: Option<u64>,
    /// v1 `burst_time`; v2 `burst_usec`.
    pub burst_time: Option<Nanos>,
}

/// Scheduler statistics of threads: `/proc/<pid>/task/<tid>/schedstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Schedstat {
    /// Time on a CPU.
    pub run_time: Nanos,
    /// Time waiting for a CPU.
    pub runqueue_time: Nanos,
    /// Times put on a CPU.
    pub run_periods: u64,
}

/// Load averages as cAdvisor defines them: tasks times 1000, smoothed over about ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Running tasks times 1000.
    pub running_milli: u64,
    /// Uninterruptible tasks times 1000.
    pub uninterruptible_milli: u64,
}

/// Tasks of one cgroup, without its descendants, by state (`CGROUPSTATS_CMD_GET`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TaskStates {
    /// Interruptible sleep.
    pub sleeping: u64,
    /// Running or runnable.
    pub running: u64,
    /// Stopped or traced.
    pub stopped: u64,
    /// Uninterruptible sleep.
    pub uninterruptible: u64,
    /// Waiting for I/O.
    pub io_wait: u64,
}

/// One pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one task stalled; absent where the row could not be read.
    pub some: Option<PressureRow>,
    /// All tasks stalled; absent for the CPU before 5.13.
    pub full: Option<PressureRow>,
}

/// One row of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureRow {
    /// Stall time.
    pub total: Micros,
    /// Share of the last 10 s, in hundredths of a percent (the kernel prints exactly two decimals).
    pub avg10: u64,
    /// Share of the last 60 s.
    pub avg60: u64,
    /// Share of the last 300 s.
    pub avg300: u64,
}

/// Memory statistics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// v1 `memory.usage_in_bytes`; v2 `memory.current`.
    pub usage: Bytes,
    /// v1 `memory.max_usage_in_bytes`; v2 `memory.peak`, since 5.19.
    pub max_usage: Option<Bytes>,
    /// Page cache: v1 `total_cache`; v2 `file`.
    pub cache: Bytes,
    /// v1 `total_rss`; v2 `anon`.
    pub rss: Bytes,
    /// v1 `total_swap`; v2 `memory.swap.current`.
    pub swap: Option<Bytes>,
    /// v1 `total_mapped_file`; v2 `file_mapped`.
    pub mapped_file: Bytes,
    /// Usage less inactive file pages, not below zero.
    pub working_set: Bytes,
    /// `total_active_file` / `active_file`.
    pub active_file: Option<Bytes>,
    /// `total_inactive_file` / `inactive_file`.
    pub inactive_file: Option<Bytes>,
    /// v1 `memory.failcnt`; absent on v2.
    pub failcnt: Option<u64>,
    /// v1 `memory.kmem.usage_in_bytes`; v2 `memory.stat` `kernel`, since 5.18.
    pub kernel: Option<Bytes>,
    /// Compressed swap in memory (cgroup v2, since 5.19, with `CONFIG_ZSWAP`).
    pub zswap: Option<Zswap>,
    /// Page faults of the cgroup's own tasks.
    pub own_faults: Faults,
    /// Page faults of the subtree.
    pub hierarchical_faults: Faults,
    /// v2 `memory.events`.
    pub events: Option<MemoryEvents>,
    /// v2 `memory.pressure`.
    pub pressure: Option<Pressure>,
    /// Pages per NUMA node (kind `memory_numa`): `memory.numa_stat`; on v2 since 5.10 and of the subtree only.
    pub numa: Option<Numa>,
    /// The whole of `memory.stat`, in the kernel's order and units.
    pub stat: MemoryStat,
}

/// zswap over the subtree: v2 `memory.stat`. A value whose line the kernel does not have, or that could not be read, is
/// absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Zswap {
    /// What the compressed pages take: `zswap`, the number that `memory.zswap.current` has too.
    pub usage: Option<Bytes>,
    /// What they were before: `zswapped`.
    pub stored: Option<Bytes>,
    /// Pages that came back into memory: `zswpin`.
    pub pages_in: Option<u64>,
    /// Pages that were compressed: `zswpout`.
    pub pages_out: Option<u64>,
    /// Pages that moved on to the swap device: `zswpwb`, since 6.8.
    pub pages_written_back: Option<u64>,
}

/// Page faults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// All faults.
    pub pgfault: u64,
    /// Faults that needed I/O.
    pub pgmajfault: u64,
}

/// v2 `memory.events`, counts over the subtree. One whose line could not be read is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryEvents {
    /// Reclaimed although below `memory.low`.
    pub low: Option<u64>,
    /// Throttled above `memory.high`.
    pub high: Option<u64>,
    /// Hit `memory.max`.
    pub max: Option<u64>,
    /// Ran out of memory.
    pub oom: Option<u64>,
    /// Processes killed.
    pub oom_kill: Option<u64>,
    /// Group kills, since 5.17.
    pub oom_group_kill: Option<u64>,
}

/// Memory per NUMA node: `memory.numa_stat`. That of cgroup v2, since 5.9, counts over the subtree only: both are that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numa {
    /// The cgroup's own pages.
    pub own: NumaPages,
    /// The subtree's pages.
    pub hierarchical: NumaPages,
}

/// Pages per node: index in the list is the position in the file, beside it the node's number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NumaPages {
    /// Page cache pages as (node, pages).
    pub file: Vec<(u32, u64)>,
    /// Anonymous pages.
    pub anon: Vec<(u32, u64)>,
    /// Pages that cannot be evicted.
    pub unevictable: Vec<(u32, u64)>,
}

/// Block device traffic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Io {
    /// One entry per device and statistic, in the kernel's order.
    pub devices: Vec<DeviceIo>,
    /// v2 `io.pressure`.
    pub pressure: Option<Pressure>,
}

/// One device's value of one statistic.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceIo {
    /// Which statistic.
    pub stat: IoStat,
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// `/dev/...`, or empty when no device of the machine has this number.
    pub device: Arc<str>,
    /// Operation and value: `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`, or `Count` where the file has no
    /// operations.
    pub operations: Vec<(&'static str, u64)>,
}

/// Which block device statistic; cAdvisor's lists in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IoStat {
    /// Bytes transferred.
    ServiceBytes,
    /// Operations done.
    Serviced,
    /// Operations waiting.
    Queued,
    /// Sectors transferred.
    Sectors,
    /// Nanoseconds between dispatch and completion.
    ServiceTime,
    /// Nanoseconds in the queues.
    WaitTime,
    /// Merged operations.
    Merged,
    /// Milliseconds of device time.
    Time,
    /// `cost.usage`, microseconds.
    CostUsage,
    /// `cost.wait`, microseconds.
    CostWait,
    /// `cost.indebt`, microseconds.
    CostIndebt,
    /// `cost.indelay`, microseconds.
    CostIndelay,
}

/// Processes and threads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Processes {
    /// Processes of this very cgroup: lines of `cgroup.procs`. Absent on cgroup v1 where the collector sees neither the
    /// host's processes nor its procfs.
    pub count: Option<u64>,
    /// Their open descriptors; absent when `/proc/<pid>/fd` could not be listed.
    pub descriptors: Option<u64>,
    /// Those of the descriptors that are sockets.
    pub sockets: Option<u64>,
    /// `pids.current`.
    pub threads: Option<u64>,
    /// `pids.max`; absent when unlimited.
    pub threads_max: Option<u64>,
    /// `Max open files` of the first process: soft and hard, `u64::MAX` when unlimited.
    pub max_open_files: Option<(u64, u64)>,
}

/// One huge page size.
#[derive(Clone, Debug, PartialEq)]
pub struct Hugetlb {
    /// As in the file names: `2MB`, `1GB`.
    pub page_size: Arc<str>,
    /// v1 `usage_in_bytes`, v2 `current`; the reservation's where the kernel has it. Absent where it could not be read.
    pub usage: Option<Bytes>,
    /// v1 `max_usage_in_bytes`.
    pub max_usage: Option<Bytes>,
    /// v1 `failcnt`, v2 `events` key `max`. Absent where it could not be read.
    pub failcnt: Option<u64>,
}

/// One resource of the controller `misc`, such as the encryption ids of virtual machines, over the subtree.
#[derive(Clone, Debug, PartialEq)]
pub struct Misc {
    /// The kernel's name of it: `sev`, `sev_es`, `tdx`.
    pub resource: Arc<str>,
    /// In use: `misc.current`.
    pub current: u64,
    /// Most that may be: `misc.max`; `u64::MAX` when unlimited. Absent where it could not be read, and at the root.
    pub max: Option<u64>,
    /// Most that ever was: `misc.peak`, since 6.11.
    pub peak: Option<u64>,
    /// How often the limit was about to be exceeded: `misc.events`, since 5.16.
    pub limit_hits: Option<u64>,
}

/// A network namespace's counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// In the file's order, without `lo`, `veth`, `docker` and `nerdctl` interfaces. Empty where kind `network` is off.
    pub interfaces: Vec<Interface>,
    /// IPv4 TCP sockets (kind `tcp`).
    pub tcp: Option<TcpSockets>,
    /// IPv6 TCP sockets (kind `tcp`); absent where the kernel has no IPv6.
    pub tcp6: Option<TcpSockets>,
    /// IPv4 UDP sockets (kind `udp`).
    pub udp: Option<UdpSockets>,
    /// IPv6 UDP sockets (kind `udp`); absent where the kernel has no IPv6.
    pub udp6: Option<UdpSockets>,
    /// What TCP counted (kind `advtcp`).
    pub tcp_advanced: Option<TcpAdvanced>,
}

/// One line of `/proc/<pid>/net/dev`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interface {
    /// Interface name.
    pub name: Arc<str>,
    /// Received.
    pub receive: Traffic,
    /// Sent.
    pub transmit: Traffic,
}

/// One direction of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Errors.
    pub errors: u64,
    /// Drops.
    pub dropped: u64,
}

/// CPU limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuSpec {
    /// v1 `cpu.shares`; v2 `cpu.weight` converted to shares.
    pub shares: Option<u64>,
    /// v1 `cpu.cfs_quota_us`; v2 first field of `cpu.max`. Absent when unlimited.
    pub quota: Option<Micros>,
    /// v1 `cpu.cfs_period_us`; v2 second field of `cpu.max`.
    pub period: Option<Micros>,
    /// v1 `cpuset.cpus`; v2 `cpuset.cpus.effective`. A list such as `0-3,8`.
    pub mask: Option<String>,
}

/// Memory limits. A file's `0` or sentinel is kept as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemorySpec {
    /// v1 `memory.limit_in_bytes`; v2 `memory.max`.
    pub limit: Option<MemoryLimit>,
    /// v1 `memory.soft_limit_in_bytes`; v2 `memory.min`.
    pub reservation: Option<MemoryLimit>,
    /// v1 `memory.memsw.limit_in_bytes` (memory and swap); v2 `memory.swap.max` (swap only).
    pub swap_limit: Option<MemoryLimit>,
    /// v2 `memory.zswap.max`, since 5.19.
    pub zswap_limit: Option<MemoryLimit>,
}

/// A memory limit: `max` on v2, else bytes (on v1 "unlimited" is 9223372036854771712).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// `max`.
    Max,
    /// Bytes.
    Bytes(Bytes),
}

impl Sample {
    /// Shows every number but the time to the visitor, always in the same order for samples of the same shape.
    pub fn walk(&mut self, visitor: &mut impl Visitor) {
        Part::walk(self, visitor);
    }

    /// Whether both samples have the same values present, so that [`Sample::walk`] pairs their numbers up.
    pub fn same_shape(&self, other: &Self) -> bool {
        Part::same_shape(self, other)
    }
}

parts! {
    Sample {
        moment at, counter oom_kills, part cpu, part memory, part io, part processes, part hugetlb, part network,
        gauge cpuset_memory_migrate, part misc, part tasks, gauge referenced, part resctrl, part perf, part perf_uncore,
        shape unread,
    }
    // The kernel scales user and system so that their sum is the total; either may step back by a tick.
    Cpu {
        counter total, gauge user, gauge system, counter per_cpu, part cfs, part schedstat, part load, part pressure,
    }
    Cfs { counter periods, counter throttled_periods, counter throttled_time, counter burst_periods, counter burst_time }
    Schedstat { counter run_time, counter runqueue_time, counter run_periods }
    Load { gauge running_milli, gauge uninterruptible_milli }
    Pressure { part some, part full }
    PressureRow { counter total, gauge avg10, gauge avg60, gauge avg300 }
    // The peak can be reset by writing to its file, and so can failcnt.
    Memory {
        gauge usage, gauge max_usage, gauge cache, gauge rss, gauge swap, gauge mapped_file, gauge working_set,
        gauge active_file, gauge inactive_file, gauge failcnt, gauge kernel, part zswap, part own_faults, part hierarchical_faults,
        part events, part pressure, part numa, part stat,
    }
    Zswap {
        gauge usage, gauge stored, counter pages_in, counter pages_out, counter pages_written_back,
    }
    Faults { counter pgfault, counter pgmajfault }
    MemoryEvents { counter low, counter high, counter max, counter oom, counter oom_kill, counter oom_group_kill }
    Numa { part own, part hierarchical }
    NumaPages { gauge file, gauge anon, gauge unevictable }
    Io { part devices, part pressure }
    // A device that left and came back starts anew, and the queue length is a gauge.
    DeviceIo { shape stat, shape major, shape minor, shape device, gauge operations }
    Processes {
        gauge count, gauge descriptors, gauge sockets, gauge threads, gauge threads_max, gauge max_open_files,
    }
    Hugetlb { shape page_size, gauge usage, gauge max_usage, gauge failcnt }
    Misc { shape resource, gauge current, gauge max, gauge peak, counter limit_hits }
    // Gauges: an interface or a namespace may be replaced by another one of the same name.
    Network { part interfaces, part tcp, part tcp6, part udp, part udp6, part tcp_advanced }
    Interface { shape name, part receive, part transmit }
    Traffic { gauge bytes, gauge packets, gauge errors, gauge dropped }
    TaskStates { gauge sleeping, gauge running, gauge stopped, gauge uninterruptible, gauge io_wait }
}
