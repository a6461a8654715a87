//! A machine with one container of every sort.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::proto::MetricFamily;

use crate::api::prometheus::{Entry, ExpositionOptions, Kill, Life, Scrape, Snapshot, own, render};
use crate::sample::block_latency::{BlockLatency, DeviceLatency, Latencies, Operation};
use crate::sample::container::*;
use crate::sample::event::Name;
use crate::sample::filesystem::{DiskUsage, LayerFilesystem, Measured, Method, Storage};
use crate::sample::hardware::{PerfCount, PerfEvent, Resctrl, ResctrlDomain, UncorePerfEvent};
use crate::sample::identity::{Identity, Runtime};
use crate::sample::kinds::KindSet;
use crate::sample::machine::{
    Cache, Core, CpuCounts, DiskCounters, Filesystem, Filesystems, HugePages, Machine, MemoryModules, Node,
};
use crate::sample::memory_stat::MemoryStat;
use crate::sample::sockets::{MAX_CONN, TcpAdvanced, TcpSockets, UdpSockets};
use crate::sample::spec::{CpuSpec, MemoryLimit, MemorySpec, Spec};
use crate::units::{Bytes, Micros, Nanos, WallTime};

pub(super) const SECOND: u64 = 1_000_000_000;
/// When the machine is looked at.
pub(super) const NOW: WallTime = WallTime(1_704_164_650_250_000_000);
/// When the samples were taken.
const SAMPLED: WallTime = WallTime(1_704_164_645_120_000_000);

pub(super) fn name(text: &str) -> Name {
    text.as_bytes().into()
}

pub(super) fn text(snapshot: &Snapshot, options: &ExpositionOptions, scrape: Scrape) -> String {
    let mut out = Vec::new();
    let mut taken = Vec::new();
    render(snapshot, options, scrape, &mut out, &mut |piece| taken.append(piece));
    taken.append(&mut out);
    String::from_utf8(taken).unwrap()
}

/// Everything on.
pub(super) fn everything() -> ExpositionOptions {
    ExpositionOptions { kinds: KindSet::all(), kubelet_kinds: KindSet::all(), ..ExpositionOptions::default() }
}

fn device(stat: IoStat, minor: u32, device: &str, operations: &[(&'static str, u64)]) -> DeviceIo {
    DeviceIo { stat, major: 254, minor, device: device.into(), operations: operations.to_vec() }
}

fn disk() -> DiskCounters {
    DiskCounters {
        reads: 1001,
        reads_merged: 12,
        sectors_read: 8008,
        read_ms: 27,
        writes: 500,
        writes_merged: 6,
        sectors_written: 4000,
        write_ms: 1500,
        in_progress: 1,
        io_ms: 1400,
        weighted_io_ms: 1527,
    }
}

fn pressure(total: u64) -> Pressure {
    let row = |total| PressureRow { total: Micros(total), avg10: 12, avg60: 5, avg300: 1 };
    Pressure { some: Some(row(total)), full: Some(row(total / 2)) }
}

fn stat(pairs: &[(&str, u64)]) -> MemoryStat {
    MemoryStat {
        keys: pairs.iter().map(|(key, _)| Box::from(*key)).collect(),
        values: pairs.iter().map(|(_, value)| *value).collect(),
    }
}

/// What cgroup v1 has of a container, with every statistic switched on.
pub(super) fn v1_sample() -> Sample {
    use IoStat::{Merged, Queued, Sectors, ServiceBytes, ServiceTime, Serviced};
    let rw = [("Async", 5), ("Read", 4096), ("Sync", 8187), ("Total", 8192), ("Write", 4096)];
    Sample {
        at: SAMPLED,
        cpu: Some(Cpu {
            total: Nanos(43_210_987_654),
            user: Some(Nanos(30_000_000_000)),
            system: Some(Nanos(13_210_000_000)),
            per_cpu: Some(vec![Nanos(40_000_000_000), Nanos(0), Nanos(3_210_987_654)]),
            cfs: Some(Cfs {
                periods: Some(1_234_567),
                throttled_periods: Some(89),
                throttled_time: Some(Nanos(7_000_000_123)),
                ..Cfs::default()
            }),
            schedstat: Some(Schedstat { run_time: Nanos(5), runqueue_time: Nanos(6_000), run_periods: 7 }),
            load: Some(Load { running_milli: 1500, uninterruptible_milli: 250 }),
            pressure: None,
        }),
        memory: Some(Memory {
            usage: Bytes(8_388_608),
            max_usage: Some(Bytes(16_777_216)),
            cache: Bytes(1_048_576),
            rss: Bytes(7_000_000),
            swap: Some(Bytes(0)),
            mapped_file: Bytes(4096),
            working_set: Bytes(8_000_000),
            active_file: Some(Bytes(100)),
            inactive_file: Some(Bytes(388_608)),
            failcnt: Some(3),
            kernel: Some(Bytes(65_536)),
            own_faults: Faults { pgfault: 10, pgmajfault: 1 },
            hierarchical_faults: Faults { pgfault: 20, pgmajfault: 2 },
            numa: Some(Numa {
                own: NumaPages { file: vec![(0, 10), (1, 11)], anon: vec![(0, 12)], unevictable: vec![(0, 0)] },
                hierarchical: NumaPages { file: vec![(0, 20)], anon: vec![(0, 21)], unevictable: vec![(0, 22)] },
            }),
            stat: stat(&[("total_dirty", 8192), ("total_writeback", 4096), ("total_workingset_refault_file", 9)]),
            ..Memory::default()
        }),
        io: Some(Io {
            devices: vec![
                device(ServiceBytes, 0, "/dev/vda", &rw),
                device(ServiceBytes, 16, "", &rw),
                device(ServiceBytes, 32, "", &[("Read", 1)]),
                device(Serviced, 0, "/dev/vda", &[("Read", 1), ("Write", 2), ("Total", 3)]),
                device(Queued, 0, "/dev/vda", &[("Total", 2)]),
                device(Sectors, 0, "/dev/vda", &[("Count", 16)]),
                device(ServiceTime, 0, "/dev/vda", &[("Read", 27_000_000), ("Write", 1), ("Total", 27_000_001)]),
                device(Merged, 0, "/dev/vda", &[("Read", 0), ("Write", 4)]),
            ],
            pressure: None,
        }),
        processes: Some(Processes {
            count: Some(2),
            descriptors: Some(12),
            sockets: Some(3),
            threads: Some(9),
            threads_max: None,
            max_open_files: Some((1_048_576, u64::MAX)),
        }),
        hugetlb: Some(vec![Hugetlb {
            page_size: "2MB".into(),
            usage: Some(Bytes(4_194_304)),
            max_usage: Some(Bytes(6_291_456)),
            failcnt: Some(1),
        }]),
        network: Some(network()),
        cpuset_memory_migrate: Some(1),
        misc: None,
        tasks: Some(TaskStates { sleeping: 3, running: 1, stopped: 0, uninterruptible: 2, io_wait: 4 }),
        oom_kills: 0,
        unread: crate::sample::unread::Unread::default(),
        referenced: Some(Bytes(12_288)),
        resctrl: Some(Resctrl {
            domains: vec![
                ResctrlDomain { id: 0, total: Some(Bytes(1000)), local: Some(Bytes(900)), occupancy: Some(Bytes(80)) },
                ResctrlDomain { id: 4, total: Some(Bytes(2000)), local: None, occupancy: Some(Bytes(90)) },
            ],
        }),
        perf: Some(
            [(0, 100, 50), (1, 200, 100)]
                .map(|(cpu, counted, running)| PerfEvent {
                    name: "instructions".into(),
                    cpu,
                    count: PerfCount { counted, enabled: Nanos(100), running: Nanos(running) },
                })
                .into(),
        ),
        perf_uncore: None,
    }
}

/// What cgroup v2 has of a container with default kinds on a kernel with pressure.
pub(super) fn v2_sample() -> Sample {
    use IoStat::{CostIndebt, CostIndelay, CostUsage, CostWait, ServiceBytes, Serviced};
    Sample {
        at: SAMPLED,
        cpu: Some(Cpu {
            total: Nanos(5_000_001_000),
            user: Some(Nanos(3_000_000_000)),
            system: Some(Nanos(2_000_001_000)),
            cfs: Some(Cfs {
                periods: Some(100),
                throttled_periods: Some(10),
                throttled_time: Some(Nanos(1_500_000_000)),
                burst_periods: Some(2),
                burst_time: Some(Nanos(30_000)),
            }),
            pressure: Some(pressure(2_000_001)),
            ..Cpu::default()
        }),
        misc: Some(vec![Misc { resource: "sev".into(), current: 2, max: Some(4), peak: Some(3), limit_hits: Some(1) }]),
        memory: Some(Memory {
            zswap: Some(Zswap {
                usage: Some(Bytes(4096)),
                stored: Some(Bytes(12_288)),
                pages_in: Some(1),
                pages_out: Some(4),
                pages_written_back: None,
            }),
            usage: Bytes(67_108_864),
            max_usage: Some(Bytes(68_000_000)),
            cache: Bytes(30_000_000),
            rss: Bytes(31_000_000),
            swap: Some(Bytes(4096)),
            mapped_file: Bytes(8192),
            working_set: Bytes(50_000_000),
            active_file: Some(Bytes(12_000_000)),
            inactive_file: Some(Bytes(17_108_864)),
            own_faults: Faults { pgfault: 1000, pgmajfault: 5 },
            hierarchical_faults: Faults { pgfault: 1000, pgmajfault: 5 },
            events: Some(MemoryEvents {
                low: Some(0),
                high: Some(4),
                max: Some(6),
                oom: Some(1),
                oom_kill: Some(1),
                oom_group_kill: Some(0),
            }),
            pressure: Some(pressure(400)),
            stat: stat(&[
                ("file_dirty", 4096),
                ("file_writeback", 0),
                ("pgscan", 70),
                ("pgsteal", 60),
                ("workingset_refault_anon", 1),
                ("workingset_refault_file", 2),
            ]),
            ..Memory::default()
        }),
        io: Some(Io {
            devices: vec![
                device(ServiceBytes, 0, "/dev/vda", &[("Read", 1_000_000), ("Write", 2_000_000)]),
                device(Serviced, 0, "/dev/vda", &[("Read", 11), ("Write", 22)]),
                device(CostUsage, 0, "/dev/vda", &[("Count", 1_500_000)]),
                device(CostWait, 0, "/dev/vda", &[("Count", 20)]),
                device(CostIndebt, 0, "/dev/vda", &[("Count", 0)]),
                device(CostIndelay, 0, "/dev/vda", &[("Count", 3)]),
            ],
            pressure: Some(pressure(8)),
        }),
        network: Some(network()),
        ..Sample::default()
    }
}

fn network() -> Network {
    let traffic = |bytes| Traffic { bytes, packets: bytes / 100, errors: 1, dropped: 2 };
    let interface = |name: &str, bytes| Interface { name: name.into(), receive: traffic(bytes), transmit: traffic(7) };
    Network {
        interfaces: vec![interface("eth0", 123_456_789), interface("eth1", 0)],
        tcp: Some(TcpSockets { established: 3, listen: 2, ..TcpSockets::default() }),
        tcp6: None,
        udp: Some(UdpSockets { sockets: 2, dropped: 1, receive_queue: Bytes(512), transmit_queue: Bytes(64) }),
        udp6: None,
        tcp_advanced: Some(TcpAdvanced { keys: [MAX_CONN, "InSegs", "TW"].into(), values: vec![u64::MAX, 77, 3] }),
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        created: Some(WallTime(1_704_164_000_900_000_000)),
        cpu: Some(CpuSpec {
            shares: Some(1024),
            quota: Some(Micros(50_000)),
            period: Some(Micros(100_000)),
            mask: None,
        }),
        memory: Some(MemorySpec {
            limit: Some(MemoryLimit::Bytes(Bytes(67_108_864))),
            reservation: Some(MemoryLimit::Bytes(Bytes(9_223_372_036_854_771_712))),
            swap_limit: Some(MemoryLimit::Max),
            zswap_limit: Some(MemoryLimit::Bytes(Bytes(65_536))),
        }),
        ..Spec::default()
    }
}

pub(super) fn docker() -> Identity {
    Identity {
        name: Some("web-1".to_owned()),
        labels: [("com.example/team", "a \"b\"\\\n"), ("restartcount", "2")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        environment: [("stage".to_owned(), "live".to_owned())].into(),
        image: Some("registry/web:1".to_owned()),
        created: Some(WallTime(1_704_163_000 * SECOND)),
        started: Some(WallTime(1_704_164_001 * SECOND)),
        health: Some("healthy".to_owned()),
        ..Identity::from_path(Runtime::Docker, "d0c".to_owned())
    }
}

pub(super) fn pod_container() -> Identity {
    Identity {
        labels: [
            ("io.kubernetes.container.name", "app"),
            ("io.kubernetes.pod.name", "app-7f"),
            ("io.kubernetes.pod.namespace", "shop"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        image: Some("registry/app:2".to_owned()),
        ..Identity::from_path(Runtime::Containerd, "c0de".to_owned())
    }
}

fn storage() -> Storage {
    Storage {
        filesystem: Some(LayerFilesystem {
            device: "/dev/vda1".to_owned(),
            capacity: Bytes(50_000_000_000),
            ..LayerFilesystem::default()
        }),
        layer: Some(Measured {
            usage: DiskUsage { bytes: Bytes(1_234_944), inodes: Some(17) },
            at: SAMPLED,
            by: Method::Walk,
        }),
        ..Storage::default()
    }
}

/// Reads of a device with a name, and writes to one without.
fn block_latency() -> BlockLatency {
    let times = |total, bucket| Latencies {
        total: Nanos(total),
        buckets: std::array::from_fn(|at| if at == bucket { 3 } else { 0 }),
    };
    let row = |device: &str, minor, operation| DeviceLatency {
        device: device.into(),
        major: 254,
        minor,
        operation,
        by_task: 0,
        queued: times(9_000, 0),
        served: times(600_000, 6),
    };
    BlockLatency(vec![row("", 16, Operation::Write), row("/dev/vda", 0, Operation::Read)])
}

pub(super) fn running(path: &str, sample: Sample) -> Entry {
    Entry { name: name(path), sample: Some(Arc::new(sample)), spec: spec(), ..Entry::default() }
}

fn node() -> Node {
    let cache = |level, kind: &str, kib: u64| Cache { id: None, size: Bytes(kib << 10), kind: kind.to_owned(), level };
    let core = |id, threads: &[u32]| Core {
        id,
        threads: threads.to_vec(),
        caches: vec![cache(1, "Data", 32), cache(1, "Instruction", 32), cache(2, "Unified", 1024)],
        ..Core::default()
    };
    Node {
        id: 0,
        memory: Some(Bytes(8 << 30)),
        huge_pages: Some(vec![HugePages { page_size: Bytes(2 << 20), pages: 5 }]),
        // The second core of a second socket has the first one's number.
        cores: vec![core(0, &[0, 1]), core(0, &[2])],
        caches: vec![cache(3, "Unified", 36_608)],
        distances: Some(vec![10, 21]),
    }
}

fn machine() -> Machine {
    Machine {
        at: WallTime(1_704_164_600 * SECOND),
        kernel_release: "6.1.0".to_owned(),
        cpus: CpuCounts { online: 3, cores: Some(2), sockets: Some(2), books: None, drawers: None },
        memory: Some(Bytes(8 << 30)),
        swap: Some(Bytes(0)),
        memory_modules: Some([("DDR4".to_owned(), MemoryModules { capacity: Bytes(8 << 30), count: 2 })].into()),
        machine_id: Some("mid".to_owned()),
        system_uuid: None,
        boot_id: Some("bid".to_owned()),
        nodes: vec![node()],
        ..Machine::default()
    }
}

fn filesystems() -> Filesystems {
    let root = Filesystem {
        device: "/dev/vda1".to_owned(),
        capacity: Bytes(50_000_000_000),
        usage: Bytes(20_000_000_000),
        inodes: 3_000_000,
        inodes_free: 2_500_000,
        disk: Some(disk()),
        ..Filesystem::default()
    };
    let run = Filesystem { device: "/run".to_owned(), capacity: Bytes(1 << 20), ..Filesystem::default() };
    // A file system on a whole disk, which the cgroups count too.
    let whole = Filesystem { device: "/dev/vda".to_owned(), disk: Some(disk()), ..Filesystem::default() };
    Filesystems { at: SAMPLED, list: vec![root.clone(), run, whole, root], ..Filesystems::default() }
}

pub(super) fn own() -> Vec<MetricFamily> {
    vec![own::gauges("collector_containers", "Containers listed now.", &[(None, 7)])]
}

/// A node of the given samples.
pub(super) fn snapshot(sample: Sample) -> Snapshot {
    let pod = "/kubepods/burstable/pod1234";
    let uncore = UncorePerfEvent {
        name: "cas_count_read".into(),
        pmu: "uncore_imc_0".into(),
        socket: 0,
        count: PerfCount { counted: 5, enabled: Nanos(1), running: Nanos(1) },
    };
    let root = Sample { perf_uncore: sample.perf.is_some().then(|| vec![uncore]), ..sample.clone() };
    let docker = Entry {
        identity: Some(Arc::new(docker())),
        storage: Some(Arc::new(storage())),
        block_latency: Some(Arc::new(block_latency())),
        oom_kills: 2,
        ..running("/docker/d0c", sample.clone())
    };
    let gone = Entry { life: Life::Ended, ..docker.clone() };
    Snapshot {
        pods: BTreeMap::new(),
        restarts: Vec::new(),
        at: NOW,
        containers: vec![
            running("/", root),
            docker,
            Entry { name: name("/docker/gone"), oom_kills: 0, ..gone },
            running(pod, sample.clone()),
            Entry {
                identity: Some(Arc::new(pod_container())),
                is_from_runtime: true,
                ..running(&format!("{pod}/c0de"), sample)
            },
            Entry { name: name("/unsampled"), spec: spec(), ..Entry::default() },
            Entry { name: name("/unsampled/killed"), life: Life::Ended, oom_kills: 1, ..Entry::default() },
        ],
        machine: Arc::new(machine()),
        filesystems: Some(Arc::new(filesystems())),
        version: "v9.9.9",
        own: own(),
        kills: [(
            name("/docker/d0c"),
            Kill { at: SAMPLED, pid: 4321, command: Some(b"worker \"x\"".as_slice().into()) },
        )]
        .into(),
    }
}
