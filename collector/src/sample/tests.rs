//! Every number of a sample is visited, whatever is absent.

use super::container::{
    Cfs, Cpu, DeviceIo, Hugetlb, Interface, Io, IoStat, Load, Memory, MemoryEvents, Misc, Network, Numa, NumaPages,
    Pressure, PressureRow, Processes, Sample, Schedstat, TaskStates, Traffic, Zswap,
};
use super::hardware::{PerfEvent, Resctrl, ResctrlDomain, UncorePerfEvent};
use super::memory_stat::MemoryStat;
use super::sockets::{TcpAdvanced, TcpSockets, UdpSockets};
use super::unread::Unread;
use super::walk::Visitor;
use crate::units::{Bytes, Nanos};

/// A sample in which everything is present, in lists of two, and every number is a different one.
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
        stat: IoStat::ServiceBytes,
        major: 8,
        minor,
        device: "/dev/sda".into(),
        operations: vec![("Read", 0), ("Write", 0)],
    };
    let hugetlb = |size: &str| Hugetlb { page_size: size.into(), usage: bytes(), max_usage: bytes(), failcnt: Some(0) };
    let misc = |resource: &str| Misc {
        resource: resource.into(),
        current: 0,
        max: Some(0),
        peak: Some(0),
        limit_hits: Some(0),
    };
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
            zswap: Some(Zswap {
                usage: bytes(),
                stored: bytes(),
                pages_in: Some(0),
                pages_out: Some(0),
                pages_written_back: Some(0),
            }),
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
        misc: Some(vec![misc("sev"), misc("tdx")]),
        tasks: Some(TaskStates::default()),
        referenced: bytes(),
        resctrl: Some(Resctrl {
            domains: vec![ResctrlDomain { id: 0, total: bytes(), local: bytes(), occupancy: bytes() }],
        }),
        perf: Some(vec![PerfEvent::default(), PerfEvent { cpu: 1, ..PerfEvent::default() }]),
        perf_uncore: Some(vec![UncorePerfEvent::default()]),
        oom_kills: 0,
        unread: Unread::default(),
    };
    sample.walk(&mut Numbered(first));
    sample
}

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

#[test]
fn a_described_sample_comes_back_whole() {
    let sample = complete(1 << 40);
    let described = serde_json::to_string(&sample.describe()).unwrap();
    assert_eq!(Sample::restore(&serde_json::from_str(&described).unwrap()), Some(sample));
    let empty = Sample::default();
    assert_eq!(Sample::restore(&empty.describe()), Some(empty));
}

#[test]
fn a_sample_of_a_collector_with_other_fields_is_read_as_far_as_it_goes() {
    let mut value = complete(1).describe();
    value["memory"]["of_tomorrow"] = serde_json::json!({ "x": [1, 2] });
    value["memory"].as_object_mut().unwrap().remove("swap");
    value.as_object_mut().unwrap().remove("io");
    let restored = Sample::restore(&value).unwrap();
    let expected = complete(1);
    assert_eq!((restored.io, restored.memory.as_ref().unwrap().swap), (None, None));
    assert_eq!(restored.cpu, expected.cpu);
    for no_sample in [serde_json::json!(null), serde_json::json!(7), serde_json::json!({ "cpu": { "total": "x" } })] {
        assert_eq!(Sample::restore(&no_sample), None, "{no_sample}");
    }
}
