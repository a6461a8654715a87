//! One sample of one cgroup: cumulative values, gauges, and the moment they were read.
//!
//! `None` means the kernel or the configuration does not offer the value; a zero was read as zero.
//! [`Sample::walk`] is the single list of every number in a sample; the history's compact form and the check that no
//! counter goes backwards are both built on it, so a new field is added to its struct and to `walk`, and nowhere else
//! in the store.

use std::sync::Arc;

use crate::units::{Bytes, Micros, Nanos, WallTime};

/// Visits every number of a sample in a fixed order.
pub trait Visitor {
    /// A value that only grows while the cgroup lives.
    fn counter(&mut self, value: &mut u64);
    /// A value that goes up and down.
    fn gauge(&mut self, value: &mut u64);
}

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
    /// Tasks of this very cgroup by state (`--enable_load_reader`, cgroup v1).
    pub tasks: Option<TaskStates>,
    /// OOM kills of this cgroup's processes since the collector knows the cgroup.
    pub oom_kills: u64,
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
    /// Sum over the processes of the subtree (kind `sched`).
    pub schedstat: Option<Schedstat>,
    /// Smoothed load (`--enable_load_reader`, cgroup v1).
    pub load: Option<Load>,
    /// v2 `cpu.pressure`.
    pub pressure: Option<Pressure>,
}

/// CFS bandwidth control.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cfs {
    /// `nr_periods`.
    pub periods: u64,
    /// `nr_throttled`.
    pub throttled_periods: u64,
    /// v1 `throttled_time`; v2 `throttled_usec`.
    pub throttled_time: Nanos,
    /// `nr_bursts`; v2 since 5.15, and v1 since the same.
    pub burst_periods: Option<u64>,
    /// v1 `burst_time`; v2 `burst_usec`.
    pub burst_time: Option<Nanos>,
}

/// Scheduler statistics of processes: `/proc/<pid>/schedstat`.
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
    /// At least one task stalled.
    pub some: PressureRow,
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
    /// Page faults of the cgroup's own tasks.
    pub own_faults: Faults,
    /// Page faults of the subtree.
    pub hierarchical_faults: Faults,
    /// v2 `memory.events`.
    pub events: Option<MemoryEvents>,
    /// v2 `memory.pressure`.
    pub pressure: Option<Pressure>,
    /// Pages per NUMA node (kind `memory_numa`, cgroup v1).
    pub numa: Option<Numa>,
    /// The whole of `memory.stat`, in the kernel's order and units.
    pub stat: MemoryStat,
}

/// Page faults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// All faults.
    pub pgfault: u64,
    /// Faults that needed I/O.
    pub pgmajfault: u64,
}

/// v2 `memory.events`, counts over the subtree.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryEvents {
    /// Reclaimed although below `memory.low`.
    pub low: u64,
    /// Throttled above `memory.high`.
    pub high: u64,
    /// Hit `memory.max`.
    pub max: u64,
    /// Ran out of memory.
    pub oom: u64,
    /// Processes killed.
    pub oom_kill: u64,
    /// Group kills, since 5.17.
    pub oom_group_kill: Option<u64>,
}

/// Memory per NUMA node.
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

/// `memory.stat` whole. The keys are the same for every cgroup of a hierarchy and are shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryStat {
    /// The kernel's keys, in its order.
    pub keys: Arc<[Box<str>]>,
    /// One value per key.
    pub values: Vec<u64>,
}

impl MemoryStat {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<u64> {
        let position = self.keys.iter().position(|candidate| &**candidate == key)?;
        self.values.get(position).copied()
    }
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
    /// Processes of this very cgroup: lines of `cgroup.procs`.
    pub count: u64,
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
    /// v1 `usage_in_bytes`, v2 `current`; the reservation's where the kernel has it.
    pub usage: Bytes,
    /// v1 `max_usage_in_bytes`.
    pub max_usage: Option<Bytes>,
    /// v1 `failcnt`, v2 `events` key `max`.
    pub failcnt: u64,
}

/// A network namespace's counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// In the file's order, without `lo`, `veth`, `docker` and `nerdctl` interfaces.
    pub interfaces: Vec<Interface>,
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

impl Sample {
    /// Shows every number but the time to the visitor, always in the same order for samples of the same shape.
    pub fn walk(&mut self, visitor: &mut impl Visitor) {
        visitor.counter(&mut self.oom_kills);
        if let Some(cpu) = &mut self.cpu {
            cpu.walk(visitor);
        }
        if let Some(memory) = &mut self.memory {
            memory.walk(visitor);
        }
        if let Some(io) = &mut self.io {
            for device in &mut io.devices {
                // A device that left and came back starts anew, and the queue length is a gauge.
                for (_, value) in &mut device.operations {
                    visitor.gauge(value);
                }
            }
            walk_pressure(io.pressure.as_mut(), visitor);
        }
        if let Some(processes) = &mut self.processes {
            visitor.gauge(&mut processes.count);
            let Processes { descriptors, sockets, threads, threads_max, max_open_files, .. } = processes;
            [descriptors, sockets, threads, threads_max].into_iter().flatten().for_each(|value| visitor.gauge(value));
            if let Some((soft, hard)) = max_open_files {
                visitor.gauge(soft);
                visitor.gauge(hard);
            }
        }
        for page_size in self.hugetlb.iter_mut().flatten() {
            visitor.gauge(&mut page_size.usage.0);
            if let Some(max) = &mut page_size.max_usage {
                visitor.gauge(&mut max.0);
            }
            visitor.gauge(&mut page_size.failcnt);
        }
        if let Some(network) = &mut self.network {
            // Gauges: an interface or a namespace may be replaced by another one of the same name.
            for interface in &mut network.interfaces {
                for traffic in [&mut interface.receive, &mut interface.transmit] {
                    let Traffic { bytes, packets, errors, dropped } = traffic;
                    for value in [bytes, packets, errors, dropped] {
                        visitor.gauge(value);
                    }
                }
            }
        }
        if let Some(migrate) = &mut self.cpuset_memory_migrate {
            visitor.gauge(migrate);
        }
        if let Some(TaskStates { sleeping, running, stopped, uninterruptible, io_wait }) = &mut self.tasks {
            for value in [sleeping, running, stopped, uninterruptible, io_wait] {
                visitor.gauge(value);
            }
        }
    }

    /// Whether both samples have the same values present, so that [`Sample::walk`] pairs their numbers up.
    pub fn same_shape(&self, other: &Self) -> bool {
        fn both<T>(a: Option<&T>, b: Option<&T>, same: impl FnOnce(&T, &T) -> bool) -> bool {
            match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => same(a, b),
                _ => false,
            }
        }
        both(self.cpu.as_ref(), other.cpu.as_ref(), Cpu::same_shape)
            && both(self.memory.as_ref(), other.memory.as_ref(), Memory::same_shape)
            && both(self.io.as_ref(), other.io.as_ref(), Io::same_shape)
            && both(self.processes.as_ref(), other.processes.as_ref(), |a, b| {
                a.descriptors.is_some() == b.descriptors.is_some()
                    && a.sockets.is_some() == b.sockets.is_some()
                    && a.threads.is_some() == b.threads.is_some()
                    && a.threads_max.is_some() == b.threads_max.is_some()
                    && a.max_open_files.is_some() == b.max_open_files.is_some()
            })
            && both(self.hugetlb.as_ref(), other.hugetlb.as_ref(), |a, b| {
                same_list(a, b, |a, b| a.page_size == b.page_size && a.max_usage.is_some() == b.max_usage.is_some())
            })
            && both(self.network.as_ref(), other.network.as_ref(), |a, b| {
                same_list(&a.interfaces, &b.interfaces, |a, b| a.name == b.name)
            })
            && self.cpuset_memory_migrate.is_some() == other.cpuset_memory_migrate.is_some()
            && self.tasks.is_some() == other.tasks.is_some()
    }
}

fn same_list<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

fn same_pressure(a: Option<&Pressure>, b: Option<&Pressure>) -> bool {
    a.map(|pressure| pressure.full.is_some()) == b.map(|pressure| pressure.full.is_some())
}

fn walk_pressure(pressure: Option<&mut Pressure>, visitor: &mut impl Visitor) {
    let Some(pressure) = pressure else { return };
    for row in std::iter::once(&mut pressure.some).chain(&mut pressure.full) {
        visitor.counter(&mut row.total.0);
        visitor.gauge(&mut row.avg10);
        visitor.gauge(&mut row.avg60);
        visitor.gauge(&mut row.avg300);
    }
}

impl Cpu {
    fn walk(&mut self, visitor: &mut impl Visitor) {
        visitor.counter(&mut self.total.0);
        // The kernel scales user and system so that their sum is the total; either may step back by a tick.
        for part in [&mut self.user, &mut self.system].into_iter().flatten() {
            visitor.gauge(&mut part.0);
        }
        for cpu in self.per_cpu.iter_mut().flatten() {
            visitor.counter(&mut cpu.0);
        }
        if let Some(cfs) = &mut self.cfs {
            visitor.counter(&mut cfs.periods);
            visitor.counter(&mut cfs.throttled_periods);
            visitor.counter(&mut cfs.throttled_time.0);
            if let Some(periods) = &mut cfs.burst_periods {
                visitor.counter(periods);
            }
            if let Some(time) = &mut cfs.burst_time {
                visitor.counter(&mut time.0);
            }
        }
        if let Some(schedstat) = &mut self.schedstat {
            visitor.counter(&mut schedstat.run_time.0);
            visitor.counter(&mut schedstat.runqueue_time.0);
            visitor.counter(&mut schedstat.run_periods);
        }
        if let Some(load) = &mut self.load {
            visitor.gauge(&mut load.running_milli);
            visitor.gauge(&mut load.uninterruptible_milli);
        }
        walk_pressure(self.pressure.as_mut(), visitor);
    }

    fn same_shape(&self, other: &Self) -> bool {
        let bursts = |cfs: &Cfs| (cfs.burst_periods.is_some(), cfs.burst_time.is_some());
        self.user.is_some() == other.user.is_some()
            && self.system.is_some() == other.system.is_some()
            && self.per_cpu.as_ref().map(Vec::len) == other.per_cpu.as_ref().map(Vec::len)
            && self.cfs.as_ref().map(bursts) == other.cfs.as_ref().map(bursts)
            && self.schedstat.is_some() == other.schedstat.is_some()
            && self.load.is_some() == other.load.is_some()
            && same_pressure(self.pressure.as_ref(), other.pressure.as_ref())
    }
}

impl Memory {
    fn walk(&mut self, visitor: &mut impl Visitor) {
        for gauge in [&mut self.usage, &mut self.cache, &mut self.rss, &mut self.mapped_file, &mut self.working_set] {
            visitor.gauge(&mut gauge.0);
        }
        // The peak can be reset by writing to its file, and so can failcnt.
        let optional =
            [&mut self.max_usage, &mut self.swap, &mut self.active_file, &mut self.inactive_file, &mut self.kernel];
        for gauge in optional.into_iter().flatten() {
            visitor.gauge(&mut gauge.0);
        }
        if let Some(failcnt) = &mut self.failcnt {
            visitor.gauge(failcnt);
        }
        for faults in [&mut self.own_faults, &mut self.hierarchical_faults] {
            visitor.counter(&mut faults.pgfault);
            visitor.counter(&mut faults.pgmajfault);
        }
        if let Some(events) = &mut self.events {
            let MemoryEvents { low, high, max, oom, oom_kill, oom_group_kill } = events;
            [low, high, max, oom, oom_kill].into_iter().chain(oom_group_kill).for_each(|value| visitor.counter(value));
        }
        walk_pressure(self.pressure.as_mut(), visitor);
        if let Some(numa) = &mut self.numa {
            for pages in [&mut numa.own, &mut numa.hierarchical] {
                let NumaPages { file, anon, unevictable } = pages;
                for (_, value) in file.iter_mut().chain(anon).chain(unevictable) {
                    visitor.gauge(value);
                }
            }
        }
        for value in &mut self.stat.values {
            visitor.gauge(value);
        }
    }

    fn same_shape(&self, other: &Self) -> bool {
        fn nodes(numa: &Numa) -> impl Iterator<Item = (usize, u32)> + '_ {
            let lists = [&numa.own, &numa.hierarchical].map(|pages| [&pages.file, &pages.anon, &pages.unevictable]);
            lists
                .into_iter()
                .flatten()
                .enumerate()
                .flat_map(|(list, pages)| pages.iter().map(move |(node, _)| (list, *node)))
        }
        let events = |events: &MemoryEvents| events.oom_group_kill.is_some();
        self.max_usage.is_some() == other.max_usage.is_some()
            && self.swap.is_some() == other.swap.is_some()
            && self.active_file.is_some() == other.active_file.is_some()
            && self.inactive_file.is_some() == other.inactive_file.is_some()
            && self.failcnt.is_some() == other.failcnt.is_some()
            && self.kernel.is_some() == other.kernel.is_some()
            && self.events.as_ref().map(events) == other.events.as_ref().map(events)
            && same_pressure(self.pressure.as_ref(), other.pressure.as_ref())
            && match (&self.numa, &other.numa) {
                (None, None) => true,
                (Some(a), Some(b)) => nodes(a).eq(nodes(b)),
                _ => false,
            }
            && (Arc::ptr_eq(&self.stat.keys, &other.stat.keys) || self.stat.keys == other.stat.keys)
    }
}

impl Io {
    fn same_shape(&self, other: &Self) -> bool {
        same_pressure(self.pressure.as_ref(), other.pressure.as_ref())
            && same_list(&self.devices, &other.devices, |a, b| {
                (a.stat, a.major, a.minor) == (b.stat, b.major, b.minor)
                    && a.device == b.device
                    && same_list(&a.operations, &b.operations, |(a, _), (b, _)| a == b)
            })
    }
}
