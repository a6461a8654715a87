//! cgroup v2.

use super::fixture::{Host, NOW, kinds};
use crate::sample::container::{
    Cfs, Cpu, DeviceIo, Faults, Hugetlb, IoStat, Memory, MemoryEvents, Pressure, PressureRow, Processes, Sample,
};
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::spec::{CpuSpec, MemoryLimit, MemorySpec, Spec};
use crate::units::{Bytes, Limit, Micros, Nanos};

/// The keys of 6.12 without zswap, in its order.
const MEMORY_STAT: &str = "\
anon 1048576
file 2097152
kernel 524288
kernel_stack 49152
pagetables 131072
sec_pagetables 0
percpu 1440
sock 4096
vmalloc 0
shmem 0
file_mapped 65536
file_dirty 4096
file_writeback 8192
swapcached 0
anon_thp 0
file_thp 0
shmem_thp 0
inactive_anon 1044480
active_anon 4096
inactive_file 1572864
active_file 524288
unevictable 0
slab_reclaimable 212992
slab_unreclaimable 98304
slab 311296
workingset_refault_anon 5
workingset_refault_file 6
workingset_activate_anon 0
workingset_activate_file 0
workingset_restore_anon 0
workingset_restore_file 0
workingset_nodereclaim 0
pgdemote_kswapd 0
pgdemote_direct 0
pgdemote_khugepaged 0
pgpromote_success 0
pgscan 77
pgsteal 66
pgscan_kswapd 0
pgscan_direct 77
pgscan_khugepaged 0
pgsteal_kswapd 0
pgsteal_direct 66
pgsteal_khugepaged 0
pgfault 3300
pgmajfault 12
pgrefill 0
pgactivate 0
pgdeactivate 0
pglazyfree 0
pglazyfreed 0
swpin_zero 0
swpout_zero 0
thp_fault_alloc 0
thp_collapse_alloc 0
thp_swpout 0
thp_swpout_fallback 0
numa_pages_migrated 0
numa_pte_updates 0
numa_hint_faults 0
";

const PRESSURE: &str =
    "some avg10=1.00 avg60=0.50 avg300=0.25 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.01 total=3\n";

fn pressure() -> Pressure {
    Pressure {
        some: Some(PressureRow { total: Micros(7), avg10: 100, avg60: 50, avg300: 25 }),
        full: Some(PressureRow { total: Micros(3), avg10: 0, avg60: 0, avg300: 1 }),
    }
}

pub(super) fn write_v2(host: &Host, directory: &str) {
    host.write_all(
        directory,
        &[
            (
                "cpu.stat",
                "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnice_usec 0\ncore_sched.force_idle_usec 0\n\
                 nr_periods 10\nnr_throttled 4\nthrottled_usec 123\nnr_bursts 2\nburst_usec 45\n",
            ),
            ("cpu.pressure", PRESSURE),
            ("cpu.weight", "100\n"),
            ("cpu.max", "50000 100000\n"),
            ("cpuset.cpus.effective", "0-1\n"),
            ("memory.current", "4194304\n"),
            ("memory.peak", "8388608\n"),
            ("memory.swap.current", "4096\n"),
            ("memory.stat", MEMORY_STAT),
            ("memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n"),
            ("memory.events.local", "low 0\nhigh 0\nmax 0\noom 1\noom_kill 2\noom_group_kill 0\n"),
            ("memory.pressure", PRESSURE),
            ("memory.max", "max\n"),
            ("memory.min", "0\n"),
            ("memory.swap.max", "1048576\n"),
            ("io.stat", "8:0 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0 cost.usage=11\n8:16 \n"),
            ("io.pressure", PRESSURE),
            ("pids.current", "3\n"),
            ("pids.max", "100\n"),
            ("hugetlb.2MB.current", "4194304\n"),
            ("hugetlb.2MB.events", "max 9\n"),
            ("cgroup.procs", ""),
            ("cgroup.threads", ""),
        ],
    );
}

fn memory(sample: &Sample) -> Memory {
    Memory {
        usage: Bytes(4_194_304),
        max_usage: Some(Bytes(8_388_608)),
        cache: Bytes(2_097_152),
        rss: Bytes(1_048_576),
        swap: Some(Bytes(4096)),
        mapped_file: Bytes(65_536),
        working_set: Bytes(4_194_304 - 1_572_864),
        active_file: Some(Bytes(524_288)),
        inactive_file: Some(Bytes(1_572_864)),
        failcnt: None,
        kernel: Some(Bytes(524_288)),
        zswap: None,
        own_faults: Faults { pgfault: 3300, pgmajfault: 12 },
        hierarchical_faults: Faults { pgfault: 3300, pgmajfault: 12 },
        events: Some(MemoryEvents {
            low: Some(1),
            high: Some(2),
            max: Some(3),
            oom: Some(4),
            oom_kill: Some(5),
            oom_group_kill: Some(6),
        }),
        pressure: Some(pressure()),
        numa: None,
        stat: sample.memory.as_ref().unwrap().stat.clone(),
    }
}

#[test]
fn a_whole_sample() {
    let mut host = Host::v2();
    write_v2(&host, "cgroup/a.slice/b.service");
    let ctx = host.context(KindSet::all().without([MetricKind::Sched]));
    let mut reader = Host::reader(&ctx, "/a.slice/b.service");
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    let cpu = Cpu {
        total: Nanos(5_000_000),
        user: Some(Nanos(3_000_000)),
        system: Some(Nanos(2_000_000)),
        cfs: Some(Cfs {
            periods: Some(10),
            throttled_periods: Some(4),
            throttled_time: Some(Nanos(123_000)),
            burst_periods: Some(2),
            burst_time: Some(Nanos(45_000)),
        }),
        pressure: Some(pressure()),
        ..Cpu::default()
    };
    assert_eq!(sample.cpu, Some(cpu));
    assert_eq!(sample.memory, Some(memory(&sample)));
    let stat = &sample.memory.as_ref().unwrap().stat;
    assert_eq!(stat.keys.len(), MEMORY_STAT.lines().count());
    assert_eq!((stat.get("pgscan"), stat.get("pgdemote_khugepaged")), (Some(77), Some(0)));
    let device = |stat, operations: &[(&'static str, u64)]| DeviceIo {
        stat,
        major: 8,
        minor: 0,
        device: "".into(),
        operations: operations.to_vec(),
    };
    let io = sample.io.unwrap();
    assert_eq!(
        io.devices,
        [
            device(IoStat::ServiceBytes, &[("Read", 1_459_200), ("Write", 314_773_504), ("Discard", 0)]),
            device(IoStat::Serviced, &[("Read", 192), ("Write", 353), ("Discard", 0)]),
            device(IoStat::CostUsage, &[("Count", 11)]),
        ]
    );
    assert_eq!(io.pressure, Some(pressure()));
    let processes = Processes { threads: Some(3), threads_max: Some(100), ..sample.processes.unwrap() };
    assert_eq!(sample.processes, Some(processes));
    let huge = Hugetlb { page_size: "2MB".into(), usage: Some(Bytes(4_194_304)), max_usage: None, failcnt: Some(9) };
    assert_eq!(sample.hugetlb, Some(vec![huge]));
    assert_eq!(sample.cpuset_memory_migrate, None);
    assert_eq!(reader.oom_kill_counter(&ctx, &mut host.scratch).map(|counter| counter.kills), Some(2));
    assert!(host.error_counts().is_empty(), "{:?}", host.error_counts());
}

#[test]
fn cpu_and_memory_cannot_be_switched_off() {
    let mut host = Host::v2();
    write_v2(&host, "cgroup/a");
    let ctx = host.context(kinds(&[]));
    let mut reader = Host::reader(&ctx, "/a");
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(sample.memory, Some(memory(&sample)));
    assert_eq!(sample.cpu.unwrap().pressure, Some(pressure()));
    assert_eq!((sample.io, sample.processes, sample.hugetlb), (None, None, None));
    let spec = reader.spec(&ctx, &mut host.scratch);
    assert!(spec.has_diskio && !spec.has_hugetlb && spec.processes.is_some());
}

#[test]
fn without_controllers_only_what_is_always_there() {
    let mut host = Host::v2();
    host.write_all(
        "cgroup/bare",
        &[("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnice_usec 0\n"), ("cgroup.procs", "")],
    );
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/bare");
    let cpu = Cpu { total: Nanos(5000), user: Some(Nanos(3000)), system: Some(Nanos(2000)), ..Cpu::default() };
    let expected = Sample { at: NOW, cpu: Some(cpu), ..Sample::default() };
    assert_eq!(reader.sample(&ctx, &mut host.scratch), Ok(expected.clone()));
    assert!(!reader.take_news_of_controllers());
}

#[test]
fn the_root_falls_back_to_the_machine() {
    let mut host = Host::v2();
    host.write_all(
        "cgroup",
        &[
            ("cpu.stat", "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\n"),
            ("memory.stat", MEMORY_STAT),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
            ("memory.pressure", PRESSURE),
            ("cpuset.cpus.effective", "0-3\n"),
            ("cgroup.procs", ""),
        ],
    );
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/");
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    let memory = sample.memory.unwrap();
    assert_eq!(memory.usage, Bytes(1_048_576 + 2_097_152));
    assert_eq!(memory.working_set, Bytes(1_048_576 + 2_097_152 - 1_572_864));
    assert_eq!(memory.swap, Some(Bytes(60 * 1024)));
    assert_eq!((memory.max_usage, memory.events), (None, None));
    assert_eq!(memory.pressure, Some(pressure()));
    assert_eq!(sample.cpu.unwrap().total, Nanos(5_000_000));
    assert_eq!(sample.network.unwrap().interfaces.len(), 1);
    let spec = reader.spec(&ctx, &mut host.scratch);
    assert_eq!(spec.memory.unwrap().limit, Some(MemoryLimit::Bytes(Bytes(1_024_000))));
    assert_eq!(spec.processes, Some(Limit::Max));
    // Another cgroup without memory.current has no memory.
    host.write_all("cgroup/a", &[("memory.stat", MEMORY_STAT), ("cpu.stat", "usage_usec 1\n")]);
    assert_eq!(Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap().memory, None);
}

#[test]
fn specs() {
    let mut host = Host::v2();
    write_v2(&host, "cgroup/a");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    let cpu = CpuSpec {
        shares: Some(2597),
        quota: Some(Micros(50_000)),
        period: Some(Micros(100_000)),
        mask: Some("0-1".into()),
    };
    let memory = MemorySpec {
        limit: Some(MemoryLimit::Max),
        reservation: Some(MemoryLimit::Bytes(Bytes(0))),
        swap_limit: Some(MemoryLimit::Bytes(Bytes(1_048_576))),
        zswap_limit: None,
    };
    let expected = Spec {
        cpu: Some(cpu.clone()),
        memory: Some(memory),
        processes: Some(Limit::Value(100)),
        has_diskio: true,
        ..Spec::default()
    };
    assert_eq!(reader.spec(&ctx, &mut host.scratch), expected);
    host.write("cgroup/a/cpu.max", "max 100000\n");
    host.remove("cgroup/a/cpuset.cpus.effective");
    host.remove("cgroup/a/memory.max");
    let spec = reader.spec(&ctx, &mut host.scratch);
    assert_eq!(spec.cpu, Some(CpuSpec { quota: None, mask: Some("0-3".into()), ..cpu }));
    assert_eq!(spec.memory.unwrap().limit, None);
    for file in ["memory.min", "memory.swap.max"] {
        host.remove(&format!("cgroup/a/{file}"));
    }
    assert_eq!(reader.spec(&ctx, &mut host.scratch).memory, None, "the controller is off");
    host.write("cgroup/a/memory.max", "odd\n");
    let spec = reader.spec(&ctx, &mut host.scratch);
    assert_eq!(spec.memory, Some(MemorySpec::default()));
    assert!(spec.unread.has(crate::sample::unread::Part::MemoryLimit));
}
