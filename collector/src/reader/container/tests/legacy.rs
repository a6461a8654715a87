//! cgroup v1, with and without cgroup2 beside it.

use super::fixture::{Host, NOW, kinds};
use crate::sample::container::{
    Cfs, Cpu, DeviceIo, Faults, Hugetlb, Io, IoStat, Memory, Numa, NumaPages, Pressure, PressureRow, Sample,
};
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::memory_stat::MemoryStat;
use crate::sample::spec::{CpuSpec, MemoryLimit, MemorySpec, Spec};
use crate::units::{Bytes, Limit, Micros, Nanos, WallTime};

/// As recorded on 6.18.
const MEMORY_STAT: &str = "\
cache 221184
rss 8192
rss_huge 0
shmem 0
mapped_file 4096
dirty 20480
writeback 0
workingset_refault_anon 0
workingset_refault_file 21
swap 0
swapcached 0
pgpgin 526
pgpgout 472
pgfault 420
pgmajfault 1
inactive_anon 0
active_anon 0
inactive_file 65536
active_file 155648
unevictable 0
hierarchical_memory_limit 9223372036854771712
hierarchical_memsw_limit 9223372036854771712
total_cache 321184
total_rss 18192
total_rss_huge 0
total_shmem 0
total_mapped_file 14096
total_dirty 20480
total_writeback 0
total_workingset_refault_anon 0
total_workingset_refault_file 21
total_swap 12288
total_swapcached 0
total_pgpgin 626
total_pgpgout 572
total_pgfault 520
total_pgmajfault 11
total_inactive_anon 0
total_active_anon 0
total_inactive_file 165536
total_active_file 255648
total_unevictable 0
";

const NUMA_STAT: &str = "\
total=54 N0=50 N1=4
file=54 N0=50 N1=4
anon=0 N0=0 N1=0
unevictable=0 N0=0 N1=0
hierarchical_total=61 N0=54 N1=7
hierarchical_file=54 N0=50 N1=4
hierarchical_anon=7 N0=4 N1=3
hierarchical_unevictable=0 N0=0 N1=0
";

fn write_cpu(host: &Host, cpu: &str, cpuacct: &str) {
    host.write_all(
        cpu,
        &[
            ("cpu.stat", "nr_periods 7\nnr_throttled 2\nthrottled_time 170000000\nnr_bursts 1\nburst_time 9\n"),
            ("cpu.shares", "1024\n"),
            ("cpu.cfs_quota_us", "50000\n"),
            ("cpu.cfs_period_us", "100000\n"),
            ("cgroup.procs", ""),
        ],
    );
    host.write_all(
        cpuacct,
        &[
            ("cpuacct.usage", "440259975\n"),
            ("cpuacct.usage_percpu", "7533579 432726396 \n"),
            ("cpuacct.stat", "user 44\nsystem 3\n"),
            ("cgroup.procs", ""),
        ],
    );
}

fn write_memory(host: &Host, directory: &str) {
    host.write_all(
        directory,
        &[
            ("memory.usage_in_bytes", "345760\n"),
            ("memory.max_usage_in_bytes", "5160960\n"),
            ("memory.failcnt", "3\n"),
            ("memory.kmem.usage_in_bytes", "8192\n"),
            ("memory.stat", MEMORY_STAT),
            ("memory.use_hierarchy", "1\n"),
            ("memory.numa_stat", NUMA_STAT),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.soft_limit_in_bytes", "1048576\n"),
            ("memory.memsw.limit_in_bytes", "2097152\n"),
            ("cgroup.procs", ""),
        ],
    );
}

pub(super) fn write_v1(host: &Host, name: &str) {
    write_cpu(host, &format!("cgroup/cpu,cpuacct{name}"), &format!("cgroup/cpu,cpuacct{name}"));
    write_memory(host, &format!("cgroup/memory{name}"));
    let device = "254:0 Read 4096\n254:0 Write 8192\n254:0 Total 12288\n9:9 Read 1\nTotal 12289\n";
    host.write_all(
        &format!("cgroup/blkio{name}"),
        &[
            ("blkio.throttle.io_serviced_recursive", "254:0 Read 1\n254:0 Write 2\n254:0 Total 3\nTotal 3\n"),
            ("blkio.throttle.io_service_bytes_recursive", device),
            // Not used: a group before it is complete.
            ("blkio.throttle.io_serviced", "8:0 Read 999\n"),
            // No device uses BFQ, so its files say nothing.
            ("blkio.bfq.io_serviced_recursive", "Total 0\n"),
        ],
    );
    host.write_all(&format!("cgroup/pids{name}"), &[("pids.current", "5\n"), ("pids.max", "max\n")]);
    host.write_all(&format!("cgroup/cpuset{name}"), &[("cpuset.memory_migrate", "1\n"), ("cpuset.cpus", "\n")]);
    host.write_all(
        &format!("cgroup/hugetlb{name}"),
        &[
            ("hugetlb.2MB.rsvd.usage_in_bytes", "2097152\n"),
            ("hugetlb.2MB.rsvd.max_usage_in_bytes", "4194304\n"),
            ("hugetlb.2MB.rsvd.failcnt", "6\n"),
            ("hugetlb.2MB.usage_in_bytes", "1\n"),
        ],
    );
    let block = host.path("sys/dev/block");
    std::fs::create_dir_all(&block).unwrap();
    let _ = std::os::unix::fs::symlink("../../devices/virtio1/block/vda", block.join("254:0"));
}

fn cpu() -> Cpu {
    Cpu {
        total: Nanos(440_259_975),
        user: Some(Nanos(440_000_000)),
        system: Some(Nanos(30_000_000)),
        per_cpu: Some(vec![Nanos(7_533_579), Nanos(432_726_396)]),
        cfs: Some(Cfs {
            periods: Some(7),
            throttled_periods: Some(2),
            throttled_time: Some(Nanos(170_000_000)),
            burst_periods: Some(1),
            burst_time: Some(Nanos(9)),
        }),
        ..Cpu::default()
    }
}

fn memory() -> Memory {
    let pairs = || MEMORY_STAT.lines().map(|line| line.split_once(' ').unwrap());
    Memory {
        usage: Bytes(345_760),
        max_usage: Some(Bytes(5_160_960)),
        cache: Bytes(321_184),
        rss: Bytes(18_192),
        swap: Some(Bytes(12_288)),
        mapped_file: Bytes(14_096),
        working_set: Bytes(345_760 - 165_536),
        active_file: Some(Bytes(255_648)),
        inactive_file: Some(Bytes(165_536)),
        failcnt: Some(3),
        kernel: Some(Bytes(8192)),
        own_faults: Faults { pgfault: 420, pgmajfault: 1 },
        hierarchical_faults: Faults { pgfault: 520, pgmajfault: 11 },
        stat: MemoryStat {
            keys: pairs().map(|(key, _)| key.into()).collect(),
            values: pairs().map(|(_, value)| value.parse().unwrap()).collect(),
        },
        ..Memory::default()
    }
}

fn device(stat: IoStat, minor: (u32, u32), device: &str, operations: &[(&'static str, u64)]) -> DeviceIo {
    DeviceIo { stat, major: minor.0, minor: minor.1, device: device.into(), operations: operations.to_vec() }
}

fn io() -> Io {
    let devices = vec![
        device(IoStat::Serviced, (254, 0), "/dev/vda", &[("Read", 1), ("Write", 2), ("Total", 3)]),
        device(IoStat::ServiceBytes, (254, 0), "/dev/vda", &[("Read", 4096), ("Write", 8192), ("Total", 12_288)]),
        device(IoStat::ServiceBytes, (9, 9), "", &[("Read", 1)]),
    ];
    Io { devices, pressure: None }
}

#[test]
fn a_whole_sample_with_the_default_kinds() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    let expected = Sample { at: NOW, cpu: Some(cpu()), memory: Some(memory()), io: Some(io()), ..Sample::default() };
    for _ in 0..3 {
        assert_eq!(reader.sample(&ctx, &mut host.scratch), Ok(expected.clone()));
    }
    assert_eq!(reader.kept(), 10);
    assert_eq!(host.budget.kept(), 10);
    assert!(host.error_counts().is_empty(), "{:?}", host.error_counts());
    drop(reader);
    assert_eq!(host.budget.kept(), 0);
}

#[test]
fn every_kind() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    let ctx = host.context(KindSet::all());
    let sample = Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap();
    let huge = Hugetlb {
        page_size: "2MB".into(),
        usage: Some(Bytes(2_097_152)),
        max_usage: Some(Bytes(4_194_304)),
        failcnt: Some(6),
    };
    assert_eq!(sample.hugetlb, Some(vec![huge]));
    assert_eq!(sample.cpuset_memory_migrate, Some(1));
    let numa = Numa {
        own: NumaPages { file: vec![(0, 50), (1, 4)], anon: vec![(0, 0), (1, 0)], unevictable: vec![(0, 0), (1, 0)] },
        hierarchical: NumaPages {
            file: vec![(0, 50), (1, 4)],
            anon: vec![(0, 4), (1, 3)],
            unevictable: vec![(0, 0), (1, 0)],
        },
    };
    assert_eq!(sample.memory, Some(Memory { numa: Some(numa), ..memory() }));
    assert_eq!(sample.processes.unwrap().threads, Some(5));
    assert_eq!(sample.processes.unwrap().threads_max, None);
}

#[test]
fn a_kind_that_is_off_is_not_read() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    let ctx = host.context(kinds(&[]));
    let mut reader = Host::reader(&ctx, "/a");
    assert_eq!(reader.sample(&ctx, &mut host.scratch), Ok(Sample { at: NOW, ..Sample::default() }));
    assert_eq!(reader.kept(), 0);
    assert_eq!(reader.spec(&ctx, &mut host.scratch), Spec::default());
    let ctx = host.context(kinds(&[MetricKind::Cpu]));
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(sample, Sample { at: NOW, cpu: Some(Cpu { per_cpu: None, ..cpu() }), ..Sample::default() });
}

#[test]
fn without_hierarchy_only_own_values_count() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    host.write("cgroup/memory/a/memory.use_hierarchy", "0\n");
    let ctx = host.context(KindSet::default());
    let memory = Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap().memory.unwrap();
    assert_eq!((memory.cache, memory.rss, memory.swap), (Bytes(221_184), Bytes(8192), Some(Bytes(0))));
    assert_eq!(memory.mapped_file, Bytes(4096));
    assert_eq!(memory.working_set, Bytes(345_760 - 165_536));
}

#[test]
fn the_working_set_is_never_negative() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    host.write("cgroup/memory/a/memory.usage_in_bytes", "5\n");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    assert_eq!(reader.sample(&ctx, &mut host.scratch).unwrap().memory.unwrap().working_set, Bytes(0));
    // And is the usage where inactive pages are not reported.
    host.write("cgroup/memory/a/memory.stat", "cache 1\n");
    assert_eq!(reader.sample(&ctx, &mut host.scratch).unwrap().memory.unwrap().working_set, Bytes(5));
}

#[test]
fn missing_hierarchies_leave_their_parts_out() {
    let mut host = Host::v1();
    write_memory(&host, "cgroup/memory/only");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/only");
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(sample, Sample { at: NOW, memory: Some(memory()), ..Sample::default() });
    let spec = reader.spec(&ctx, &mut host.scratch);
    assert!(spec.cpu.is_none() && spec.memory.is_some() && !spec.has_diskio);
}

#[test]
fn an_unreadable_file_costs_only_its_own_value() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    // A directory in a file's place fails to be read even for root.
    host.remove("cgroup/memory/a/memory.failcnt");
    std::fs::create_dir(host.path("cgroup/memory/a/memory.failcnt")).unwrap();
    host.write("cgroup/cpu,cpuacct/a/cpu.stat", "nr_periods many\n");
    host.write("cgroup/blkio/a/blkio.throttle.io_serviced_recursive", "254:0 Read 1\n254:0 Write\n");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(sample.cpu, Some(Cpu { cfs: None, ..cpu() }));
    assert_eq!(sample.memory, Some(Memory { failcnt: None, ..memory() }));
    let first = DeviceIo { operations: vec![("Read", 1)], ..io().devices[0].clone() };
    assert_eq!(sample.io.unwrap().devices, [&[first], &io().devices[1..]].concat());
    reader.sample(&ctx, &mut host.scratch).unwrap();
    let counts = host.error_counts();
    assert_eq!(counts, [("cpu.stat", 2), ("memory.failcnt", 2), ("blkio.throttle.io_serviced_recursive", 2)]);
}

#[test]
fn cpuacct_usage_stands_in_for_an_unreadable_list() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    host.write("cgroup/cpu,cpuacct/a/cpuacct.usage_percpu", "1 x\n");
    let ctx = host.context(KindSet::default());
    let sample = Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(sample.cpu, Some(Cpu { per_cpu: None, ..cpu() }));
}

#[test]
fn hybrid_takes_counters_from_v1_and_pressure_from_cgroup2() {
    let mut host = Host::hybrid();
    write_cpu(&host, "cgroup/cpu/a", "cgroup/cpuacct/a");
    write_memory(&host, "cgroup/memory/a");
    let row = "avg10=5.87 avg60=3.26 avg300=1.03 total=12876437\n";
    host.write_all(
        "cgroup/unified/a",
        &[
            ("cpu.stat", "usage_usec 999\nuser_usec 999\nsystem_usec 0\n"),
            ("cpu.pressure", &format!("some {row}full {row}")),
            ("io.pressure", &format!("some {row}")),
            ("cgroup.procs", ""),
        ],
    );
    let some = PressureRow { total: Micros(12_876_437), avg10: 587, avg60: 326, avg300: 103 };
    let ctx = host.context(KindSet::default());
    let sample = Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(sample.cpu, Some(Cpu { pressure: Some(Pressure { some: Some(some), full: Some(some) }), ..cpu() }));
    assert_eq!(sample.memory, Some(memory()));
    assert_eq!(sample.io, Some(Io { devices: vec![], pressure: Some(Pressure { some: Some(some), full: None }) }));
    // Switched off, only counters remain.
    let ctx = host.context(KindSet::default().without([MetricKind::Pressure]));
    let sample = Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!((sample.cpu, sample.io), (Some(cpu()), None));
}

#[test]
fn a_container_without_any_statistics_is_still_there() {
    let mut host = Host::hybrid();
    host.write("cgroup/systemd/unit/cgroup.procs", "");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/unit");
    assert_eq!(reader.sample(&ctx, &mut host.scratch), Ok(Sample { at: NOW, ..Sample::default() }));
    assert_eq!(reader.spec(&ctx, &mut host.scratch), Spec::default());
}

#[test]
fn specs() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    let memory = MemorySpec {
        limit: Some(MemoryLimit::Bytes(Bytes(9_223_372_036_854_771_712))),
        reservation: Some(MemoryLimit::Bytes(Bytes(1_048_576))),
        swap_limit: Some(MemoryLimit::Bytes(Bytes(2_097_152))),
        zswap_limit: None,
    };
    let cpu = CpuSpec { shares: Some(1024), quota: Some(Micros(50_000)), period: Some(Micros(100_000)), mask: None };
    let expected = Spec { cpu: Some(cpu.clone()), memory: Some(memory), has_diskio: true, ..Spec::default() };
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    assert_eq!(reader.spec(&ctx, &mut host.scratch), expected);

    // An empty mask means every CPU; an unlimited quota is absent.
    host.write("cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
    let ctx = host.context(KindSet::all());
    let spec = reader.spec(&ctx, &mut host.scratch);
    assert_eq!(spec.cpu, Some(CpuSpec { mask: Some("0-3".into()), quota: None, ..cpu }));
    assert_eq!(spec.processes, Some(Limit::Max));
    assert!(spec.has_hugetlb);
}

#[test]
fn the_root_has_what_the_machine_has() {
    let mut host = Host::v1();
    write_v1(&host, "");
    host.remove("cgroup/pids/pids.current");
    host.remove("cgroup/pids/pids.max");
    let ctx = host.context(KindSet::all());
    let mut reader = Host::reader(&ctx, "/");
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(sample.processes.unwrap().threads, None);
    let network = sample.network.unwrap();
    assert_eq!(network.interfaces.len(), 1);
    assert_eq!((&*network.interfaces[0].name, network.interfaces[0].receive.bytes), ("eth0", 100));
    assert_eq!(network.interfaces[0].transmit.dropped, 111);
    let spec = reader.spec(&ctx, &mut host.scratch);
    let memory = spec.memory.unwrap();
    assert_eq!(memory.limit, Some(MemoryLimit::Bytes(Bytes(1_024_000))));
    assert_eq!(memory.swap_limit, Some(MemoryLimit::Bytes(Bytes(102_400))));
    assert_eq!(memory.reservation, Some(MemoryLimit::Bytes(Bytes(1_048_576))));
    assert_eq!(spec.processes, None);
    assert!(spec.has_network);
    // The limits are the machine's even where the kind is off.
    let ctx = host.context(kinds(&[]));
    assert!(reader.spec(&ctx, &mut host.scratch).memory.is_some());
}

#[test]
fn oom_kills_are_counted_by_the_kernel() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    let ctx = host.context(kinds(&[]));
    let counter = Host::reader(&ctx, "/a").oom_kill_counter(&ctx, &mut host.scratch).unwrap();
    assert_eq!((counter.kills, counter.group_kills), (4, 0));
}

#[test]
fn the_creation_time_is_the_earliest_file_time() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    let set = |relative: &str, seconds: u64| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        std::fs::File::open(host.path(relative)).unwrap().set_modified(time).unwrap();
    };
    host.write("cgroup/memory/a/cgroup.clone_children", "0\n");
    let far = WallTime(u64::MAX);
    set("cgroup/memory/a/cgroup.clone_children", 5_000);
    set("cgroup/blkio/a", 6_000);
    let mut scratch = crate::reader::container::Scratch::default();
    assert_eq!(reader.created_from_files(&ctx, &mut scratch, far), Some(WallTime(5_000_000_000_000)));
    set("cgroup/pids/a", 0);
    // Not before the machine was started.
    assert_eq!(reader.created_from_files(&ctx, &mut scratch, far), Some(WallTime(1_000_000_000)));
    assert_eq!(reader.created_from_files(&ctx, &mut scratch, WallTime(0)), None);
    host.scratch = scratch;
}
