//! One list of every number in a sample.
//!
//! The history's compact form and the check that no counter goes backwards are both built on it.

use std::sync::Arc;

use super::container::{
    Cfs, Cpu, Io, Memory, MemoryEvents, Network, Numa, NumaPages, Pressure, Processes, Sample, TaskStates, Traffic,
};
use super::hardware::{PerfCount, Resctrl, ResctrlDomain};
use super::sockets::UdpSockets;

/// Visits every number of a sample in a fixed order.
pub trait Visitor {
    /// A value that only grows while the cgroup lives.
    fn counter(&mut self, value: &mut u64);
    /// A value that goes up and down.
    fn gauge(&mut self, value: &mut u64);
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
            let Processes { count, descriptors, sockets, threads, threads_max, max_open_files } = processes;
            [count, descriptors, sockets, threads, threads_max]
                .into_iter()
                .flatten()
                .for_each(|value| visitor.gauge(value));
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
            network.walk(visitor);
        }
        if let Some(migrate) = &mut self.cpuset_memory_migrate {
            visitor.gauge(migrate);
        }
        if let Some(TaskStates { sleeping, running, stopped, uninterruptible, io_wait }) = &mut self.tasks {
            for value in [sleeping, running, stopped, uninterruptible, io_wait] {
                visitor.gauge(value);
            }
        }
        if let Some(referenced) = &mut self.referenced {
            visitor.gauge(&mut referenced.0);
        }
        for domain in self.resctrl.iter_mut().flat_map(|resctrl| &mut resctrl.domains) {
            // Gauges: a group that is made anew starts anew.
            let ResctrlDomain { id: _, total, local, occupancy } = domain;
            [total, local, occupancy].into_iter().flatten().for_each(|value| visitor.gauge(&mut value.0));
        }
        // Gauges: an event that is opened anew, as when a CPU comes back, starts anew.
        for event in self.perf.iter_mut().flatten() {
            walk_perf(&mut event.count, visitor);
        }
        for event in self.perf_uncore.iter_mut().flatten() {
            walk_perf(&mut event.count, visitor);
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
                a.count.is_some() == b.count.is_some()
                    && a.descriptors.is_some() == b.descriptors.is_some()
                    && a.sockets.is_some() == b.sockets.is_some()
                    && a.threads.is_some() == b.threads.is_some()
                    && a.threads_max.is_some() == b.threads_max.is_some()
                    && a.max_open_files.is_some() == b.max_open_files.is_some()
            })
            && both(self.hugetlb.as_ref(), other.hugetlb.as_ref(), |a, b| {
                same_list(a, b, |a, b| a.page_size == b.page_size && a.max_usage.is_some() == b.max_usage.is_some())
            })
            && both(self.network.as_ref(), other.network.as_ref(), Network::same_shape)
            && self.cpuset_memory_migrate.is_some() == other.cpuset_memory_migrate.is_some()
            && self.tasks.is_some() == other.tasks.is_some()
            && self.referenced.is_some() == other.referenced.is_some()
            && both(self.resctrl.as_ref(), other.resctrl.as_ref(), Resctrl::same_shape)
            && both(self.perf.as_ref(), other.perf.as_ref(), |a, b| {
                same_list(a, b, |a, b| a.cpu == b.cpu && a.name == b.name)
            })
            && both(self.perf_uncore.as_ref(), other.perf_uncore.as_ref(), |a, b| {
                same_list(a, b, |a, b| a.socket == b.socket && a.pmu == b.pmu && a.name == b.name)
            })
    }
}

fn same_list<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

fn same_pressure(a: Option<&Pressure>, b: Option<&Pressure>) -> bool {
    a.map(|pressure| pressure.full.is_some()) == b.map(|pressure| pressure.full.is_some())
}

fn walk_perf(PerfCount { counted, enabled, running }: &mut PerfCount, visitor: &mut impl Visitor) {
    for value in [counted, &mut enabled.0, &mut running.0] {
        visitor.gauge(value);
    }
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

impl Network {
    /// Gauges: an interface or a namespace may be replaced by another one of the same name.
    fn walk(&mut self, visitor: &mut impl Visitor) {
        for interface in &mut self.interfaces {
            for traffic in [&mut interface.receive, &mut interface.transmit] {
                let Traffic { bytes, packets, errors, dropped } = traffic;
                for value in [bytes, packets, errors, dropped] {
                    visitor.gauge(value);
                }
            }
        }
        for sockets in [&mut self.tcp, &mut self.tcp6].into_iter().flatten() {
            sockets.counts_mut().into_iter().for_each(|value| visitor.gauge(value));
        }
        for sockets in [&mut self.udp, &mut self.udp6].into_iter().flatten() {
            let UdpSockets { sockets, dropped, receive_queue, transmit_queue } = sockets;
            for value in [sockets, dropped, &mut receive_queue.0, &mut transmit_queue.0] {
                visitor.gauge(value);
            }
        }
        for value in self.tcp_advanced.iter_mut().flat_map(|counters| &mut counters.values) {
            visitor.gauge(value);
        }
    }

    fn same_shape(&self, other: &Self) -> bool {
        same_list(&self.interfaces, &other.interfaces, |a, b| a.name == b.name)
            && self.tcp.is_some() == other.tcp.is_some()
            && self.tcp6.is_some() == other.tcp6.is_some()
            && self.udp.is_some() == other.udp.is_some()
            && self.udp6.is_some() == other.udp6.is_some()
            && match (&self.tcp_advanced, &other.tcp_advanced) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(&a.keys, &b.keys) || a.keys == b.keys,
                _ => false,
            }
    }
}

impl Resctrl {
    fn same_shape(&self, other: &Self) -> bool {
        same_list(&self.domains, &other.domains, |a, b| {
            a.id == b.id
                && a.total.is_some() == b.total.is_some()
                && a.local.is_some() == b.local.is_some()
                && a.occupancy.is_some() == b.occupancy.is_some()
        })
    }
}
