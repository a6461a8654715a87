//! Each number beside its source: the list is complete, and the numbers are those of the files it names.

use std::collections::HashSet;

use super::fixture::{Host, net_dev};
use super::{legacy, unified};
use crate::reader::container::statistics::of_sample;
use crate::sample::container::{
    Cfs, Cpu, DeviceIo, Faults, Hugetlb, Interface, Io, IoStat, Load, Memory, MemoryEvents, Misc, Network, Numa,
    NumaPages, Pressure, PressureRow, Processes, Sample, Schedstat, TaskStates, Traffic, Zswap,
};
use crate::sample::hardware::{PerfCount, PerfEvent, Resctrl, ResctrlDomain, UncorePerfEvent};
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::memory_stat::MemoryStat;
use crate::sample::sockets::{TcpAdvanced, TcpSockets, UdpSockets};
use crate::sample::spec::Spec;
use crate::sample::statistic::{Absence, Statistic, Value};
use crate::sample::walk::Visitor;
use crate::units::{Bytes, Micros, Nanos, WallTime};

/// A sample in which everything is present, without `..`: a new field has to be thought of here too.
fn full() -> Sample {
    let row = PressureRow { total: Micros(0), avg10: 0, avg60: 0, avg300: 0 };
    let pressure = Some(Pressure { some: Some(row), full: Some(row) });
    let faults = Faults { pgfault: 0, pgmajfault: 0 };
    let pages = NumaPages { file: vec![(0, 0), (1, 0)], anon: vec![(0, 0)], unevictable: vec![(0, 0)] };
    let traffic = Traffic { bytes: 0, packets: 0, errors: 0, dropped: 0 };
    let interface = |name: &str| Interface { name: name.into(), receive: traffic, transmit: traffic };
    let device =
        |stat| DeviceIo { stat, major: 8, minor: 0, device: "".into(), operations: vec![("Read", 0), ("Write", 0)] };
    let stats = [
        IoStat::ServiceBytes,
        IoStat::Serviced,
        IoStat::Queued,
        IoStat::Sectors,
        IoStat::ServiceTime,
        IoStat::WaitTime,
        IoStat::Merged,
        IoStat::Time,
        IoStat::CostUsage,
        IoStat::CostWait,
        IoStat::CostIndebt,
        IoStat::CostIndelay,
    ];
    let bytes = Bytes(0);
    let udp = UdpSockets { sockets: 0, dropped: 0, receive_queue: bytes, transmit_queue: bytes };
    let count = PerfCount { counted: 0, enabled: Nanos(0), running: Nanos(0) };
    Sample {
        at: WallTime(0),
        cpu: Some(Cpu {
            total: Nanos(0),
            user: Some(Nanos(0)),
            system: Some(Nanos(0)),
            per_cpu: Some(vec![Nanos(0), Nanos(0)]),
            cfs: Some(Cfs {
                periods: Some(0),
                throttled_periods: Some(0),
                throttled_time: Some(Nanos(0)),
                burst_periods: Some(0),
                burst_time: Some(Nanos(0)),
            }),
            schedstat: Some(Schedstat { run_time: Nanos(0), runqueue_time: Nanos(0), run_periods: 0 }),
            load: Some(Load { running_milli: 0, uninterruptible_milli: 0 }),
            pressure,
        }),
        memory: Some(Memory {
            usage: bytes,
            max_usage: Some(bytes),
            cache: bytes,
            rss: bytes,
            swap: Some(bytes),
            mapped_file: bytes,
            working_set: bytes,
            active_file: Some(bytes),
            inactive_file: Some(bytes),
            failcnt: Some(0),
            kernel: Some(bytes),
            zswap: Some(Zswap {
                usage: Some(bytes),
                stored: Some(bytes),
                pages_in: Some(0),
                pages_out: Some(0),
                pages_written_back: Some(0),
            }),
            own_faults: faults,
            hierarchical_faults: faults,
            events: Some(MemoryEvents {
                low: Some(0),
                high: Some(0),
                max: Some(0),
                oom: Some(0),
                oom_kill: Some(0),
                oom_group_kill: Some(0),
            }),
            pressure,
            numa: Some(Numa { own: pages.clone(), hierarchical: pages }),
            stat: MemoryStat { keys: ["anon", "pgscan"].map(Into::into).into(), values: vec![0, 0] },
        }),
        io: Some(Io { devices: stats.map(device).to_vec(), pressure }),
        processes: Some(Processes {
            count: Some(0),
            descriptors: Some(0),
            sockets: Some(0),
            threads: Some(0),
            threads_max: Some(0),
            max_open_files: Some((0, 0)),
        }),
        hugetlb: Some(vec![Hugetlb {
            page_size: "2MB".into(),
            usage: Some(bytes),
            max_usage: Some(bytes),
            failcnt: Some(0),
        }]),
        network: Some(Network {
            interfaces: vec![interface("eth0"), interface("eth1")],
            tcp: Some(TcpSockets::default()),
            tcp6: Some(TcpSockets::default()),
            udp: Some(udp),
            udp6: Some(udp),
            tcp_advanced: Some(TcpAdvanced { keys: ["TW", "TWKilled"].into(), values: vec![0, 0] }),
        }),
        cpuset_memory_migrate: Some(0),
        misc: Some(vec![Misc { resource: "sev".into(), current: 0, max: Some(0), peak: Some(0), limit_hits: Some(0) }]),
        tasks: Some(TaskStates { sleeping: 0, running: 0, stopped: 0, uninterruptible: 0, io_wait: 0 }),
        referenced: Some(bytes),
        resctrl: Some(Resctrl {
            domains: vec![ResctrlDomain { id: 0, total: Some(bytes), local: Some(bytes), occupancy: Some(bytes) }],
        }),
        perf: Some(vec![PerfEvent { name: "cycles".into(), cpu: 0, count }]),
        perf_uncore: Some(vec![UncorePerfEvent { name: "reads".into(), pmu: "imc_0".into(), socket: 0, count }]),
        oom_kills: 0,
        unread: crate::sample::unread::Unread::default(),
    }
}

/// Gives every number another value.
#[derive(Default)]
struct Numbering(u64);

impl Visitor for Numbering {
    fn counter(&mut self, value: &mut u64) {
        self.0 += 1;
        *value = self.0;
    }

    fn gauge(&mut self, value: &mut u64) {
        self.counter(value);
    }
}

fn numbers(value: &Value, found: &mut HashSet<u64>) {
    match value {
        Value::Count(number)
        | Value::Bytes(number)
        | Value::Nanoseconds(number)
        | Value::Microseconds(number)
        | Value::Hundredths(number) => {
            found.insert(*number);
        }
        Value::Time(_) | Value::Unlimited | Value::Text(_) => {}
        Value::List(list) => list.iter().for_each(|value| numbers(value, found)),
        Value::Named(named) => named.iter().for_each(|(_, value)| numbers(value, found)),
    }
}

#[test]
fn every_number_of_a_sample_is_listed() {
    let host = Host::v2();
    let ctx = host.context(KindSet::all());
    let mut sample = full();
    let mut numbering = Numbering::default();
    sample.walk(&mut numbering);
    let list = of_sample(&ctx, &sample, &Spec::default(), Some(sample.oom_kills));
    let mut found = HashSet::new();
    list.iter().filter_map(|statistic| statistic.value.as_ref()).for_each(|value| numbers(value, &mut found));
    let missing: Vec<_> = (1..=numbering.0).filter(|number| !found.contains(number)).collect();
    assert!(
        missing.is_empty(),
        "of {} numbers in the order of Sample::walk these are not listed: {missing:?}",
        numbering.0
    );
    let names: HashSet<_> = list.iter().map(|statistic| statistic.name).collect();
    assert_eq!(names.len(), list.len(), "two statistics have one name");
}

fn statistics(host: &mut Host, kinds: KindSet, name: &str) -> Vec<Statistic> {
    let ctx = host.context(kinds);
    Host::reader(&ctx, name).statistics(&ctx, &mut host.scratch).unwrap()
}

fn find<'a>(list: &'a [Statistic], name: &str) -> &'a Statistic {
    list.iter().find(|statistic| statistic.name == name).unwrap_or_else(|| panic!("{name} is not listed"))
}

fn source<'a>(list: &'a [Statistic], name: &str) -> &'a str {
    find(list, name).source.as_ref().map_or("", |source| &source.text)
}

/// The number that a source names, in the statistic's unit. `None` for what is not a single number.
fn in_file(statistic: &Statistic) -> Option<u64> {
    let [file] = statistic.source.as_ref().ok()?.files.as_slice() else { return None };
    let text = std::fs::read_to_string(&file.path).ok()?;
    let number: u64 = match file.key {
        None => text.trim().parse().ok()?,
        Some(key) => text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())?,
    };
    Some(match file.key {
        Some(key) if key.ends_with("_usec") => number * 1000,
        Some("user" | "system") => number * 10_000_000,
        _ => number,
    })
}

/// Every value has a source, and single numbers are those of the file that is named.
fn check(list: &[Statistic], at_least: usize) {
    let mut compared = 0;
    for statistic in list {
        assert!(statistic.value.is_none() || statistic.source.is_ok(), "a value out of nowhere: {statistic:?}");
        // A weight becomes shares.
        if statistic.name == "spec.cpu.shares" {
            continue;
        }
        if let (Some(Value::Count(value) | Value::Bytes(value) | Value::Nanoseconds(value)), Some(number)) =
            (&statistic.value, in_file(statistic))
        {
            assert_eq!(*value, number, "{statistic:?}");
            compared += 1;
        }
    }
    assert!(compared >= at_least, "only {compared} numbers were compared");
}

#[test]
fn on_v1_the_numbers_are_those_of_the_files_named() {
    let mut host = Host::v1();
    legacy::write_v1(&host, "/a");
    let list = statistics(&mut host, KindSet::all(), "/a");
    check(&list, 31);
    assert_eq!(source(&list, "cpu.usage.total"), "cpuacct.usage_percpu: their sum");
    assert_eq!(source(&list, "memory.rss"), "memory.stat: total_rss");
    assert_eq!(source(&list, "memory.working_set"), "memory.usage_in_bytes, memory.stat: total_inactive_file");
    assert_eq!(source(&list, "io.serviced"), "blkio.throttle.io_serviced_recursive");
    assert_eq!(source(&list, "hugetlb.usage"), "hugetlb.<size>.rsvd.usage_in_bytes");
    assert_eq!(find(&list, "io.queued").source, Err(Absence::Scheduler));
    assert_eq!(find(&list, "cpu.pressure.some").source, Err(Absence::NoCgroup2));
    assert_eq!(find(&list, "memory.pgscan").source, Err(Absence::NotInVersion("v1")));
    assert_eq!(find(&list, "spec.processes.limit").value, Some(Value::Unlimited));
    let list = statistics(&mut host, KindSet::none().union([MetricKind::Cpu, MetricKind::Memory]), "/a");
    check(&list, 20);
    assert_eq!(source(&list, "cpu.usage.total"), "cpuacct.usage");
    assert_eq!(find(&list, "cpu.usage.per_cpu").source, Err(Absence::KindOff(MetricKind::PerCpu)));
    assert_eq!(find(&list, "io.serviced").source, Err(Absence::KindOff(MetricKind::DiskIo)));
    // Where descendants are not counted, the own values are.
    host.write("cgroup/memory/a/memory.use_hierarchy", "0\n");
    let list = statistics(&mut host, KindSet::default(), "/a");
    check(&list, 25);
    assert_eq!(source(&list, "memory.rss"), "memory.stat: rss");
}

#[test]
fn on_v2_the_numbers_are_those_of_the_files_named() {
    let mut host = Host::v2();
    unified::write_v2(&host, "cgroup/a");
    host.write("cgroup/a/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
    let list = statistics(&mut host, KindSet::all(), "/a");
    check(&list, 39);
    assert_eq!(source(&list, "memory.working_set"), "memory.current, memory.stat: inactive_file");
    assert_eq!(source(&list, "io.service_bytes"), "io.stat: rbytes, wbytes, dbytes");
    assert_eq!(source(&list, "hugetlb.usage"), "hugetlb.<size>.current");
    assert_eq!(source(&list, "spec.cpu.quota"), "cpu.max: quota");
    assert_eq!(find(&list, "memory.failcnt").source, Err(Absence::NotInVersion("v2")));
    let path = host.path("cgroup/a/memory.numa_stat");
    let missing = Absence::NoFile { path, since: Some("5.10") };
    assert_eq!(find(&list, "memory.numa.hierarchical.anon").source, Err(missing));
    let path = host.path("cgroup/a/io.stat");
    let missing = Absence::NoKey { path, key: "cost.wait", since: None };
    assert_eq!(find(&list, "io.cost.wait").source, Err(missing));

    let page = rustix::param::page_size() as u64;
    host.write("cgroup/a/memory.numa_stat", &format!("anon N0={} N1=0\nfile N0=0\nunevictable N0=0\n", 3 * page));
    let list = statistics(&mut host, KindSet::all(), "/a");
    let anon = Value::Named(vec![("0".to_owned(), Value::Count(3)), ("1".to_owned(), Value::Count(0))]);
    assert_eq!(find(&list, "memory.numa.hierarchical.anon").value, Some(anon));
    assert_eq!(source(&list, "memory.numa.own.anon"), "memory.numa_stat: anon");
}

#[test]
fn what_is_off_is_reported_from_what_the_kernel_lacks() {
    let mut host = Host::v2();
    host.write_all(
        "cgroup/a",
        &[
            ("cpu.stat", "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\n"),
            ("cgroup.controllers", "memory pids\n"),
            ("memory.current", "1\n"),
            ("memory.stat", "anon 1\nfile 0\n"),
            ("cgroup.procs", "42\n"),
        ],
    );
    host.write("sys/devices/system/cpu/online", "0-3\n");
    host.write("proc/42/net/dev", &net_dev(&[("eth0", 1)]));
    let list = statistics(&mut host, KindSet::all(), "/a");
    assert_eq!(find(&list, "cpu.cfs.periods").source, Err(Absence::ControllerOff("cpu")));
    assert_eq!(find(&list, "io.serviced").source, Err(Absence::ControllerOff("io")));
    let path = host.path("cgroup/a/memory.peak");
    assert_eq!(find(&list, "memory.max_usage").source, Err(Absence::NoFile { path, since: Some("5.19") }));
    assert_eq!(source(&list, "spec.cpu.mask"), "/sys/devices/system/cpu/online");
    // Without a file nothing says that nothing limits.
    assert_eq!(find(&list, "spec.processes.limit").value, None);
    assert_eq!(find(&list, "network.rx_bytes").source, Err(Absence::SharedNetwork));
}

#[test]
fn the_root_has_files_of_its_own() {
    let mut host = Host::v2();
    host.write("cgroup/cpu.stat", "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\n");
    host.write("cgroup/memory.stat", "anon 100\nfile 20\ninactive_file 5\n");
    let list = statistics(&mut host, KindSet::default(), "/");
    assert_eq!(source(&list, "memory.usage"), "memory.stat: anon, file");
    assert_eq!(find(&list, "memory.usage").value, Some(Value::Bytes(120)));
    assert_eq!(source(&list, "memory.swap"), "/proc/meminfo: SwapTotal, SwapFree");
    assert_eq!(source(&list, "spec.memory.limit"), "/proc/meminfo: MemTotal");
    assert_eq!(source(&list, "network.tx_dropped"), "/proc/<pid>/net/dev: transmit drop");
}

#[test]
fn beside_v1_pressure_is_in_cgroup2() {
    let mut host = Host::hybrid();
    for directory in ["cpu", "cpuacct", "memory", "systemd"] {
        host.write(&format!("cgroup/{directory}/a/cgroup.procs"), "");
    }
    host.write("cgroup/unified/a/cpu.pressure", "some avg10=1.00 avg60=0.50 avg300=0.25 total=7\n");
    host.write("cgroup/unified/b/cpu.stat", "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\n");
    host.write("cgroup/cpuacct/a/cpuacct.usage", "3\n");
    let list = statistics(&mut host, KindSet::default(), "/a");
    assert_eq!(source(&list, "cpu.pressure.some"), "cpu.pressure: some");
    let path = host.path("cgroup/unified/a/cpu.pressure");
    let missing = Absence::NoKey { path, key: "full", since: Some("5.13") };
    assert_eq!(find(&list, "cpu.pressure.full").source, Err(missing));
    assert_eq!(source(&list, "cpu.usage.total"), "cpuacct.usage");
    // A kernel without cpuset on v1.
    host.write("cgroup/unified/cgroup.controllers", "cpuset\n");
    host.write("cgroup/unified/a/cpuset.cpus.effective", "1\n");
    let list = statistics(&mut host, KindSet::default(), "/a");
    assert_eq!(source(&list, "spec.cpu.mask"), "cpuset.cpus.effective");
    assert_eq!(find(&list, "spec.cpu.mask").value, Some(Value::Text("1".to_owned())));
    let list = statistics(&mut host, KindSet::default(), "/b");
    assert_eq!(source(&list, "cpu.usage.total"), "cpu.stat: usage_usec");
    assert_eq!(find(&list, "memory.usage").source, Err(Absence::NotMember("memory")));
}

#[test]
fn zswap_and_misc_have_rows_where_the_kernel_has_them() {
    let mut host = Host::v2();
    unified::write_v2(&host, "cgroup/a");
    let missing = Absence::NoKey { path: host.path("cgroup/a/memory.stat"), key: "zswap", since: Some("5.19") };
    let list = statistics(&mut host, KindSet::all(), "/a");
    assert_eq!(find(&list, "memory.zswap.usage").source, Err(missing));
    let missing = Absence::NoFile { path: host.path("cgroup/a/misc.current"), since: Some("5.13") };
    assert_eq!(find(&list, "misc.current").source, Err(missing));

    host.write_all(
        "cgroup/a",
        &[
            ("memory.stat", "anon 1\nfile 2\nzswap 4096\nzswapped 8192\nzswpin 3\nzswpout 5\nzswpwb 1\n"),
            ("memory.zswap.max", "65536\n"),
            ("misc.current", "sev 2\ntdx 0\n"),
            ("misc.max", "sev 4\ntdx max\n"),
            ("misc.peak", "sev 3\ntdx 0\n"),
            ("misc.events", "sev.max 7\ntdx.max 0\n"),
        ],
    );
    let list = statistics(&mut host, KindSet::all(), "/a");
    for (name, number) in [
        ("memory.zswap.pages_in", Value::Count(3)),
        ("memory.zswap.pages_out", Value::Count(5)),
        ("memory.zswap.pages_written_back", Value::Count(1)),
        ("memory.zswap.usage", Value::Bytes(4096)),
        ("memory.zswap.stored", Value::Bytes(8192)),
        ("spec.memory.zswap_limit", Value::Bytes(65536)),
    ] {
        assert_eq!(find(&list, name).value, Some(number), "{name}");
    }
    let named = |sev, tdx| Some(Value::Named(vec![("sev".to_owned(), sev), ("tdx".to_owned(), tdx)]));
    let counts = |sev, tdx| named(Value::Count(sev), Value::Count(tdx));
    assert_eq!(find(&list, "misc.current").value, counts(2, 0));
    assert_eq!(find(&list, "misc.max").value, named(Value::Count(4), Value::Unlimited));
    assert_eq!(find(&list, "misc.peak").value, counts(3, 0));
    assert_eq!(find(&list, "misc.limit_hits").value, counts(7, 0));
    assert_eq!(source(&list, "misc.limit_hits"), "misc.events: max");
}
