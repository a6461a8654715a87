//! One list of every number in a sample.
//!
//! The history's compact form and the check that no counter goes backwards are both built on it. Each struct says for
//! each of its fields what it is; one that is forgotten does not compile.

use super::container::{
    Cfs, Cpu, DeviceIo, Faults, Hugetlb, Interface, Io, Load, Memory, MemoryEvents, MemoryStat, Network, Numa,
    NumaPages, Pressure, PressureRow, Processes, Sample, Schedstat, TaskStates, Traffic,
};
use super::hardware::{PerfCount, PerfEvent, Resctrl, ResctrlDomain, UncorePerfEvent};
use super::sockets::{TcpAdvanced, TcpSockets, UdpSockets};
use crate::units::{Bytes, Micros, Nanos};

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
        Part::walk(self, visitor);
    }

    /// Whether both samples have the same values present, so that [`Sample::walk`] pairs their numbers up.
    pub fn same_shape(&self, other: &Self) -> bool {
        Part::same_shape(self, other)
    }
}

/// A part of a sample that consists of parts.
trait Part {
    fn walk(&mut self, visitor: &mut impl Visitor);
    fn same_shape(&self, other: &Self) -> bool;
}

/// A part of a sample that consists of numbers alone, all of them counters or all of them gauges.
trait Numbers {
    fn each(&mut self, visit: &mut impl FnMut(&mut u64));
    fn same_shape(&self, other: &Self) -> bool;
}

/// Declares each field of a struct as one of these:
///
/// | kind | what it is |
/// | --- | --- |
/// | `counter` | only grows while the cgroup lives |
/// | `gauge` | goes up and down, or may start anew |
/// | `part` | a struct that is declared itself |
/// | `shape` | no number: must be equal for two samples to be of one shape |
/// | `moment` | when it was read; not visited |
macro_rules! parts {
    ($($name:ident { $($kind:ident $field:ident),+ $(,)? })+) => {$(
        impl Part for $name {
            fn walk(&mut self, visitor: &mut impl Visitor) {
                let Self { $($field),+ } = self;
                $(parts!(@walk $kind $field visitor);)+
            }

            fn same_shape(&self, other: &Self) -> bool {
                let Self { $($field),+ } = self;
                $(parts!(@same $kind $field other))&&+
            }
        }
    )+};
    (@walk counter $field:ident $visitor:ident) => { Numbers::each($field, &mut |value| $visitor.counter(value)) };
    (@walk gauge $field:ident $visitor:ident) => { Numbers::each($field, &mut |value| $visitor.gauge(value)) };
    (@walk part $field:ident $visitor:ident) => { Part::walk($field, $visitor) };
    (@walk shape $field:ident $visitor:ident) => { let _ = $field; };
    (@walk moment $field:ident $visitor:ident) => { let _ = $field; };
    (@same counter $field:ident $other:ident) => { Numbers::same_shape($field, &$other.$field) };
    (@same gauge $field:ident $other:ident) => { Numbers::same_shape($field, &$other.$field) };
    (@same part $field:ident $other:ident) => { Part::same_shape($field, &$other.$field) };
    (@same shape $field:ident $other:ident) => { *$field == $other.$field };
    (@same moment $field:ident $other:ident) => {{ let _ = $field; true }};
}

parts! {
    Sample {
        moment at, counter oom_kills, part cpu, part memory, part io, part processes, part hugetlb, part network,
        gauge cpuset_memory_migrate, part tasks, gauge referenced, part resctrl, part perf, part perf_uncore,
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
        gauge active_file, gauge inactive_file, gauge failcnt, gauge kernel, part own_faults, part hierarchical_faults,
        part events, part pressure, part numa, part stat,
    }
    Faults { counter pgfault, counter pgmajfault }
    MemoryEvents { counter low, counter high, counter max, counter oom, counter oom_kill, counter oom_group_kill }
    Numa { part own, part hierarchical }
    NumaPages { gauge file, gauge anon, gauge unevictable }
    MemoryStat { shape keys, gauge values }
    Io { part devices, part pressure }
    // A device that left and came back starts anew, and the queue length is a gauge.
    DeviceIo { shape stat, shape major, shape minor, shape device, gauge operations }
    Processes {
        gauge count, gauge descriptors, gauge sockets, gauge threads, gauge threads_max, gauge max_open_files,
    }
    Hugetlb { shape page_size, gauge usage, gauge max_usage, gauge failcnt }
    // Gauges: an interface or a namespace may be replaced by another one of the same name.
    Network { part interfaces, part tcp, part tcp6, part udp, part udp6, part tcp_advanced }
    Interface { shape name, part receive, part transmit }
    Traffic { gauge bytes, gauge packets, gauge errors, gauge dropped }
    TcpSockets {
        gauge established, gauge syn_sent, gauge syn_recv, gauge fin_wait1, gauge fin_wait2, gauge time_wait,
        gauge close, gauge close_wait, gauge last_ack, gauge listen, gauge closing,
    }
    UdpSockets { gauge sockets, gauge dropped, gauge receive_queue, gauge transmit_queue }
    TcpAdvanced { shape keys, gauge values }
    TaskStates { gauge sleeping, gauge running, gauge stopped, gauge uninterruptible, gauge io_wait }
    Resctrl { part domains }
    // Gauges: a group that is made anew starts anew.
    ResctrlDomain { shape id, gauge total, gauge local, gauge occupancy }
    PerfEvent { shape name, shape cpu, part count }
    UncorePerfEvent { shape name, shape pmu, shape socket, part count }
    // Gauges: an event that is opened anew, as when a CPU comes back, starts anew.
    PerfCount { gauge counted, gauge enabled, gauge running }
}

impl<T: Part> Part for Option<T> {
    fn walk(&mut self, visitor: &mut impl Visitor) {
        if let Some(part) = self {
            part.walk(visitor);
        }
    }

    fn same_shape(&self, other: &Self) -> bool {
        match (self, other) {
            (None, None) => true,
            (Some(a), Some(b)) => a.same_shape(b),
            _ => false,
        }
    }
}

impl<T: Part> Part for Vec<T> {
    fn walk(&mut self, visitor: &mut impl Visitor) {
        for part in self {
            part.walk(visitor);
        }
    }

    fn same_shape(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other).all(|(a, b)| a.same_shape(b))
    }
}

impl Numbers for u64 {
    fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
        visit(self);
    }

    fn same_shape(&self, _: &Self) -> bool {
        true
    }
}

macro_rules! units {
    ($($unit:ident),+) => {$(
        impl Numbers for $unit {
            fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
                visit(&mut self.0);
            }

            fn same_shape(&self, _: &Self) -> bool {
                true
            }
        }
    )+};
}

units!(Bytes, Micros, Nanos);

impl<T: Numbers> Numbers for Option<T> {
    fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
        if let Some(numbers) = self {
            numbers.each(visit);
        }
    }

    fn same_shape(&self, other: &Self) -> bool {
        match (self, other) {
            (None, None) => true,
            (Some(a), Some(b)) => a.same_shape(b),
            _ => false,
        }
    }
}

impl<T: Numbers> Numbers for Vec<T> {
    fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
        for numbers in self {
            numbers.each(visit);
        }
    }

    fn same_shape(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other).all(|(a, b)| a.same_shape(b))
    }
}

impl Numbers for (u64, u64) {
    fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
        visit(&mut self.0);
        visit(&mut self.1);
    }

    fn same_shape(&self, _: &Self) -> bool {
        true
    }
}

/// A name and its number.
macro_rules! named {
    ($($name:ty),+) => {$(
        impl Numbers for ($name, u64) {
            fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
                visit(&mut self.1);
            }

            fn same_shape(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }
    )+};
}

named!(u32, &'static str);

/// A sample in which everything is present, in lists of two, and every number is a different one.
#[cfg(test)]
pub(crate) fn complete(first: u64) -> Sample {
    fn pressure() -> Pressure {
        Pressure { some: Some(PressureRow::default()), full: Some(PressureRow::default()) }
    }
    fn interface(name: &str) -> Interface {
        Interface { name: name.into(), receive: Traffic::default(), transmit: Traffic::default() }
    }
    fn pages() -> NumaPages {
        NumaPages { file: vec![(0, 0), (1, 0)], anon: vec![(0, 0)], unevictable: vec![(1, 0)] }
    }
    struct Numbered(u64);
    impl Visitor for Numbered {
        fn counter(&mut self, value: &mut u64) {
            *value = self.0;
            self.0 += 1;
        }
        fn gauge(&mut self, value: &mut u64) {
            self.counter(value);
        }
    }
    let nanos = || Some(Nanos::default());
    let bytes = || Some(Bytes::default());
    let device = |minor| DeviceIo {
        stat: super::container::IoStat::ServiceBytes,
        major: 8,
        minor,
        device: "/dev/sda".into(),
        operations: vec![("Read", 0), ("Write", 0)],
    };
    let hugetlb = |size: &str| Hugetlb { page_size: size.into(), usage: bytes(), max_usage: bytes(), failcnt: Some(0) };
    let mut sample = Sample {
        at: crate::units::WallTime::default(),
        cpu: Some(Cpu {
            total: Nanos(0),
            user: nanos(),
            system: nanos(),
            per_cpu: Some(vec![Nanos(0), Nanos(0)]),
            cfs: Some(Cfs {
                periods: Some(0),
                throttled_periods: Some(0),
                throttled_time: nanos(),
                burst_periods: Some(0),
                burst_time: nanos(),
            }),
            schedstat: Some(Schedstat::default()),
            load: Some(Load::default()),
            pressure: Some(pressure()),
        }),
        memory: Some(Memory {
            max_usage: bytes(),
            swap: bytes(),
            active_file: bytes(),
            inactive_file: bytes(),
            failcnt: Some(0),
            kernel: bytes(),
            events: Some(MemoryEvents {
                low: Some(0),
                high: Some(0),
                max: Some(0),
                oom: Some(0),
                oom_kill: Some(0),
                oom_group_kill: Some(0),
            }),
            pressure: Some(pressure()),
            numa: Some(Numa { own: pages(), hierarchical: pages() }),
            stat: MemoryStat { keys: ["cache".into(), "rss".into()].into(), values: vec![0, 0] },
            ..Memory::default()
        }),
        io: Some(Io { devices: vec![device(0), device(16)], pressure: Some(pressure()) }),
        processes: Some(Processes {
            count: Some(0),
            descriptors: Some(0),
            sockets: Some(0),
            threads: Some(0),
            threads_max: Some(0),
            max_open_files: Some((0, 0)),
        }),
        hugetlb: Some(vec![hugetlb("2MB"), hugetlb("1GB")]),
        network: Some(Network {
            interfaces: vec![interface("eth0"), interface("eth1")],
            tcp: Some(TcpSockets::default()),
            tcp6: Some(TcpSockets::default()),
            udp: Some(UdpSockets::default()),
            udp6: Some(UdpSockets::default()),
            tcp_advanced: Some(TcpAdvanced { keys: ["TW", "InSegs"].into(), values: vec![0, 0] }),
        }),
        cpuset_memory_migrate: Some(0),
        tasks: Some(TaskStates::default()),
        referenced: bytes(),
        resctrl: Some(Resctrl {
            domains: vec![ResctrlDomain { id: 0, total: bytes(), local: bytes(), occupancy: bytes() }],
        }),
        perf: Some(vec![PerfEvent::default(), PerfEvent { cpu: 1, ..PerfEvent::default() }]),
        perf_uncore: Some(vec![UncorePerfEvent::default()]),
        oom_kills: 0,
        unread: super::unread::Unread::default(),
    };
    sample.walk(&mut Numbered(first));
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Collect(Vec<u64>);
    impl Visitor for Collect {
        fn counter(&mut self, value: &mut u64) {
            self.0.push(*value);
        }
        fn gauge(&mut self, value: &mut u64) {
            self.0.push(*value);
        }
    }

    /// The debug form shows every number there is, whether it is visited or not.
    #[test]
    fn every_number_is_visited_once() {
        let mut sample = complete(1_000_001);
        let mut collected = Collect::default();
        sample.walk(&mut collected);
        let expected: Vec<u64> = (1_000_001..).take(collected.0.len()).collect();
        assert_eq!(collected.0, expected);
        let shown = format!("{sample:?}");
        let numbers = shown.split(|c: char| !c.is_ascii_digit()).filter(|word| word.len() == 7).count();
        assert_eq!(numbers, expected.len());
        // Other numbers are those of devices, nodes and CPUs, and the time.
        assert_eq!(shown.replace("Unread(0)", "").matches("(0)").count(), 1, "{shown}");
        assert!(!shown.contains("Some(0"), "{shown}");
    }

    #[test]
    fn a_value_that_is_absent_changes_the_shape() {
        let whole = complete(1);
        assert!(whole.same_shape(&complete(1_000)));
        let without: [fn(&mut Sample); 8] = [
            |sample| sample.cpu.as_mut().unwrap().user = None,
            |sample| sample.cpu.as_mut().unwrap().cfs.as_mut().unwrap().burst_time = None,
            |sample| sample.memory.as_mut().unwrap().numa.as_mut().unwrap().own.file[1].0 = 7,
            |sample| sample.memory.as_mut().unwrap().stat.keys = ["cache".into(), "anon".into()].into(),
            |sample| sample.io.as_mut().unwrap().devices[0].operations[0].0 = "Sync",
            |sample| sample.network.as_mut().unwrap().interfaces[1].name = "eth7".into(),
            |sample| drop(sample.perf.as_mut().unwrap().pop()),
            |sample| sample.processes.as_mut().unwrap().max_open_files = None,
        ];
        for (number, remove) in without.into_iter().enumerate() {
            let mut other = whole.clone();
            remove(&mut other);
            assert!(!whole.same_shape(&other), "{number}");
        }
    }
}
