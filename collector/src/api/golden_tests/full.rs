//! Values of which every part is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::FilesystemUse;
use crate::sample::application::{Format, MetricSpec, Number, Round, Value};
use crate::sample::block_latency::{BlockLatency, DeviceLatency, Latencies, Operation};
use crate::sample::container::*;
use crate::sample::filesystem::{DiskUsage, LayerFilesystem, Measured, Method, Storage};
use crate::sample::hardware::{PerfCount, PerfEvent, Resctrl, ResctrlDomain, UncorePerfEvent};
use crate::sample::identity::Runtime;
use crate::sample::machine::{
    Cache, Cloud, CloudProvider, Core, CpuCounts, Disk, DiskCounters, Filesystem, FilesystemRole, Filesystems,
    HugePages, Machine, MemoryModules, NetworkDevice, Node, OsRelease, PersistentMemory,
};
use crate::sample::memory_stat::MemoryStat;
use crate::sample::network_cgroup::{NetworkCgroup, NetworkNamespace, Passed};
use crate::sample::run_queue::RunQueue;
use crate::sample::sockets::{MAX_CONN, TcpAdvanced, TcpSockets, UdpSockets};
use crate::sample::spec::{CpuSpec, MemoryLimit, MemorySpec, Spec};
use crate::store::application::Application;
use crate::units::{Bytes, Limit, Micros, Nanos, WallTime};

/// 2024-01-02 03:04:05.12 UTC.
pub(super) const AT: WallTime = WallTime(1_704_164_645_120_000_000);
pub(super) fn later(seconds: u64) -> WallTime {
    WallTime(AT.0 + seconds * 1_000_000_000)
}

fn pressure() -> Pressure {
    let row = |total| PressureRow { total: Micros(total), avg10: 1234, avg60: 56, avg300: 7 };
    Pressure { some: Some(row(9000)), full: Some(row(8000)) }
}

fn numa(pages: u64) -> NumaPages {
    NumaPages { file: vec![(0, pages)], anon: vec![(0, pages + 1)], unevictable: vec![(0, 0)] }
}

/// Waits for a CPU of every length.
pub(super) fn full_run_queue() -> RunQueue {
    RunQueue {
        waited: Nanos(9_000_000_000),
        throttled: Nanos(3_000_000_000),
        own: Nanos(2_000_000_000),
        buckets: std::array::from_fn(|bucket| bucket as u64),
        behind: vec![(b"/".as_slice().into(), Nanos(40)), (b"/docker/<b>".as_slice().into(), Nanos(5_000_000_000))],
    }
}

/// Packets in both directions.
pub(super) fn full_network_cgroup() -> NetworkCgroup {
    NetworkCgroup {
        receive: Passed { bytes: Bytes(1_028_000), packets: 1_000 },
        transmit: Passed { bytes: Bytes(3_084_000), packets: 3_000 },
        namespace: Some(NetworkNamespace::Host),
    }
}

/// Requests of every length, to a device with a name and to one without.
pub(super) fn full_block_latency() -> BlockLatency {
    let times = |total| Latencies { total: Nanos(total), buckets: std::array::from_fn(|bucket| bucket as u64) };
    let device = |device: &str, minor, operation| DeviceLatency {
        device: device.into(),
        major: 254,
        minor,
        operation,
        by_task: 3,
        queued: times(4_000_000),
        served: Latencies { total: Nanos(5_000), buckets: std::array::from_fn(|bucket| u64::from(bucket == 1)) },
    };
    BlockLatency(vec![device("", 9, Operation::Discard), device("/dev/vda", 0, Operation::Read)])
}

/// A sample in which everything is there; `step` moves the counters.
pub(super) fn full_sample(step: u64) -> Sample {
    let stat = [
        ("file_dirty", 11),
        ("file_writeback", 12),
        ("pgscan", 13),
        ("pgsteal", 14),
        ("workingset_refault_file", 15),
        ("workingset_refault_anon", 16),
    ];
    let device = |stat| DeviceIo {
        stat,
        major: 254,
        minor: 0,
        device: "/dev/vda".into(),
        operations: match stat {
            IoStat::ServiceBytes | IoStat::Serviced => vec![("Read", 4096 + step), ("Write", 8192)],
            _ => vec![("Count", 17)],
        },
    };
    let shared = |counted| PerfCount { counted, enabled: Nanos(40), running: Nanos(30) };
    let traffic = |bytes| Traffic { bytes: bytes + step, packets: 10, errors: 1, dropped: 2 };
    Sample {
        at: later(step),
        cpu: Some(Cpu {
            total: Nanos(40_000_000 + step * 500_000_000),
            user: Some(Nanos(30_000_000 + step * 300_000_000)),
            system: Some(Nanos(10_000_000 + step * 200_000_000)),
            per_cpu: Some(vec![Nanos(25_000_000 + step * 100_000_000), Nanos(15_000_000 + step * 400_000_000)]),
            cfs: Some(Cfs {
                periods: Some(90),
                throttled_periods: Some(5),
                throttled_time: Some(Nanos(77_000)),
                burst_periods: Some(2),
                burst_time: Some(Nanos(8000)),
            }),
            schedstat: Some(Schedstat { run_time: Nanos(50), runqueue_time: Nanos(60), run_periods: 7 }),
            load: Some(Load { running_milli: 1500, uninterruptible_milli: 20 }),
            pressure: Some(pressure()),
        }),
        memory: Some(Memory {
            usage: Bytes(5_000_000),
            max_usage: Some(Bytes(6_000_000)),
            cache: Bytes(300_000),
            rss: Bytes(400_000),
            swap: Some(Bytes(8192)),
            mapped_file: Bytes(100_000),
            working_set: Bytes(4_900_000),
            active_file: Some(Bytes(50_000)),
            inactive_file: Some(Bytes(100_000)),
            failcnt: Some(3),
            kernel: Some(Bytes(4096)),
            zswap: Some(Zswap {
                usage: Some(Bytes(4096 * step)),
                stored: Some(Bytes(12_288 * step)),
                pages_in: Some(step),
                pages_out: Some(4 * step),
                pages_written_back: Some(2 * step),
            }),
            own_faults: Faults { pgfault: 11, pgmajfault: 1 },
            hierarchical_faults: Faults { pgfault: 22, pgmajfault: 2 },
            events: Some(MemoryEvents {
                low: Some(1),
                high: Some(2),
                max: Some(3),
                oom: Some(4),
                oom_kill: Some(5),
                oom_group_kill: Some(0),
            }),
            pressure: Some(pressure()),
            numa: Some(Numa { own: numa(100), hierarchical: numa(200) }),
            stat: MemoryStat {
                keys: stat.iter().map(|(key, _)| Box::from(*key)).collect(),
                values: stat.iter().map(|(_, value)| *value).collect(),
            },
        }),
        io: Some(Io {
            devices: vec![
                device(IoStat::ServiceBytes),
                device(IoStat::Serviced),
                device(IoStat::Queued),
                device(IoStat::Sectors),
                device(IoStat::ServiceTime),
                device(IoStat::WaitTime),
                device(IoStat::Merged),
                device(IoStat::Time),
                device(IoStat::CostUsage),
                device(IoStat::CostWait),
                device(IoStat::CostIndebt),
                device(IoStat::CostIndelay),
            ],
            pressure: Some(pressure()),
        }),
        processes: Some(Processes {
            count: Some(2),
            descriptors: Some(9),
            sockets: Some(4),
            threads: Some(5),
            threads_max: Some(100),
            max_open_files: Some((1024, u64::MAX)),
        }),
        hugetlb: Some(vec![Hugetlb {
            page_size: "2MB".into(),
            usage: Some(Bytes(2_097_152)),
            max_usage: Some(Bytes(4_194_304)),
            failcnt: Some(1),
        }]),
        network: Some(Network {
            interfaces: vec![Interface { name: "eth0".into(), receive: traffic(1000), transmit: traffic(2000) }],
            tcp: Some(TcpSockets { established: 1, listen: 2, ..TcpSockets::default() }),
            tcp6: Some(TcpSockets { time_wait: 3, ..TcpSockets::default() }),
            udp: Some(UdpSockets { sockets: 4, dropped: 5, receive_queue: Bytes(6), transmit_queue: Bytes(7) }),
            udp6: Some(UdpSockets { sockets: 8, ..UdpSockets::default() }),
            tcp_advanced: Some(TcpAdvanced { keys: [MAX_CONN, "TW"].into(), values: vec![u64::MAX, 3] }),
        }),
        referenced: Some(Bytes(8192)),
        resctrl: Some(Resctrl {
            domains: vec![ResctrlDomain {
                id: 0,
                total: Some(Bytes(10)),
                local: Some(Bytes(20)),
                occupancy: Some(Bytes(30)),
            }],
        }),
        perf: Some(vec![PerfEvent { name: "instructions".into(), cpu: 1, count: shared(100) }]),
        perf_uncore: Some(vec![UncorePerfEvent {
            name: "cas_count_read".into(),
            pmu: "uncore_imc_0".into(),
            socket: 0,
            count: shared(50),
        }]),
        cpuset_memory_migrate: Some(1),
        misc: Some(vec![Misc {
            resource: "sev".into(),
            current: 2,
            max: Some(4),
            peak: Some(3),
            limit_hits: Some(step),
        }]),
        tasks: Some(TaskStates { sleeping: 1, running: 2, stopped: 3, uninterruptible: 4, io_wait: 5 }),
        oom_kills: 6,
        unread: crate::sample::unread::Unread::default(),
    }
}

pub(super) fn full_spec() -> Spec {
    Spec {
        created: Some(AT),
        cpu: Some(CpuSpec {
            shares: Some(1024),
            quota: Some(Micros(50_000)),
            period: Some(Micros(100_000)),
            mask: Some("0-1".to_owned()),
        }),
        memory: Some(MemorySpec {
            limit: Some(MemoryLimit::Bytes(Bytes(67_108_864))),
            reservation: Some(MemoryLimit::Bytes(Bytes(33_554_432))),
            swap_limit: Some(MemoryLimit::Max),
            zswap_limit: Some(MemoryLimit::Bytes(Bytes(65_536))),
        }),
        processes: Some(Limit::Value(100)),
        has_hugetlb: true,
        has_network: true,
        has_diskio: true,
        unread: crate::sample::unread::Unread::default(),
    }
}

pub(super) fn application() -> Application {
    let labels = [("code".to_owned(), "200".to_owned()), ("path".to_owned(), "/a&b".to_owned())];
    let value = |number, labels| Value { at: later(1), number, labels };
    let spec = |name: &str, kind: &str, format, units: &str| MetricSpec {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format,
        units: units.to_owned(),
    };
    let specs = Arc::from([
        spec("activeConnections", "gauge", Format::Integer, "number of active connections"),
        spec("http_requests_total", "COUNTER", Format::Float, ""),
    ]);
    let values = BTreeMap::from([
        ("activeConnections".to_owned(), vec![value(Number::Integer(17), None)]),
        ("http_requests_total".to_owned(), vec![value(Number::Float(2.5), Some(labels.into()))]),
    ]);
    let round = Arc::new(Round { specs: Arc::clone(&specs), values });
    let mut application = Application::default();
    application.rounds.push_back((later(1), round));
    application.specs = specs;
    application
}

pub(super) fn full_machine() -> Machine {
    let cache = |id, level, kind: &str| Cache { id: Some(id), size: Bytes(32_768), kind: kind.to_owned(), level };
    let pages = || Some(vec![HugePages { page_size: Bytes(2_097_152), pages: 4 }]);
    Machine {
        at: AT,
        kernel_release: "6.1.0".to_owned(),
        os: Some(OsRelease { pretty_name: Some("Debian GNU/Linux 12".to_owned()) }),
        cpus: CpuCounts { online: 2, cores: Some(2), sockets: Some(1), books: Some(1), drawers: Some(1) },
        cpu_vendor: Some("GenuineIntel".to_owned()),
        cpu_frequency_khz: Some(2_600_000),
        memory: Some(Bytes(25_000_000_000)),
        swap: Some(Bytes(1_000_000)),
        memory_modules: Some([("DDR4".to_owned(), MemoryModules { capacity: Bytes(25_000_000_000), count: 2 })].into()),
        huge_pages: pages(),
        machine_id: Some("machine".to_owned()),
        system_uuid: Some("system".to_owned()),
        boot_id: Some("boot".to_owned()),
        filesystems: filesystems(),
        disks: Some(vec![Disk {
            name: "vda".to_owned(),
            major: 254,
            minor: 0,
            size: Bytes(1 << 40),
            scheduler: Some("mq-deadline".to_owned()),
        }]),
        network_devices: Some(vec![NetworkDevice {
            name: "eth0".to_owned(),
            mac_address: "02:00:00:00:00:01".to_owned(),
            speed_mbit: Some(10_000),
            mtu: 1500,
        }]),
        persistent_memory: Some(PersistentMemory { app_direct: Bytes(4096) }),
        cloud: Some(Cloud {
            provider: CloudProvider::Aws,
            instance_type: Some("m5.large".to_owned()),
            instance_id: Some("i-0123".to_owned()),
        }),
        nodes: vec![Node {
            id: 0,
            memory: Some(Bytes(25_000_000_000)),
            huge_pages: pages(),
            cores: vec![Core {
                id: 0,
                socket: 0,
                book: Some("0".to_owned()),
                drawer: Some("1".to_owned()),
                threads: vec![0, 1],
                caches: vec![cache(0, 1, "Data")],
                uncore_caches: vec![cache(1, 3, "Unified")],
            }],
            caches: vec![cache(2, 3, "Unified")],
            distances: Some(vec![10]),
        }],
    }
}

pub(super) fn filesystems() -> Vec<Filesystem> {
    let disk = DiskCounters {
        reads: 1,
        reads_merged: 2,
        sectors_read: 3,
        read_ms: 4,
        writes: 5,
        writes_merged: 6,
        sectors_written: 7,
        write_ms: 8,
        in_progress: 9,
        io_ms: 10,
        weighted_io_ms: 11,
    };
    let root = Filesystem {
        device: "/dev/vda1".to_owned(),
        major: 254,
        minor: 1,
        capacity: Bytes(1 << 40),
        inodes: 1000,
        mount_point: "/".to_owned(),
        usage: Bytes(1 << 30),
        available: Bytes(1 << 39),
        inodes_free: 900,
        fs_type: "ext4".to_owned(),
        roles: vec![FilesystemRole::Root, FilesystemRole::Images(Runtime::Docker)],
        disk: Some(disk),
        uuid: Some("12-AB".to_owned()),
    };
    let run = Filesystem { device: "/run".to_owned(), mount_point: "/run".to_owned(), ..Filesystem::default() };
    vec![root, run]
}

/// What a container's files take, all of it known.
pub(super) fn files() -> FilesystemUse {
    let measured = |bytes, inodes| Measured {
        usage: DiskUsage { bytes: Bytes(bytes), inodes: Some(inodes) },
        at: AT,
        by: Method::Walk,
    };
    let filesystem = LayerFilesystem {
        device: "/dev/vda1".to_owned(),
        mount_point: "/".to_owned(),
        fs_type: "ext4".to_owned(),
        major: 254,
        minor: 1,
        capacity: Bytes(1 << 40),
    };
    let storage = Storage {
        filesystem: Some(filesystem),
        layer: Some(measured(4096, 7)),
        runtime_files: Some(measured(512, 4)),
        logs: Some(measured(100, 1)),
        ..Storage::default()
    };
    let machine = Filesystems { at: AT, list: filesystems(), image_stores: Vec::new() };
    FilesystemUse::Container { storage: Arc::new(storage), machine: Some(Arc::new(machine)) }
}
