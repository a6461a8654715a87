//! Golden objects. Their keys, types and the order of the keys are those of Docker 20.10 on the same kind of container.

use std::sync::Arc;

use expect_test::{Expect, expect};

use super::stats::{self, Frame, Subject};
use crate::api::backend::docker::CgroupVersion;
use crate::sample::container::*;
use crate::sample::live::{Live, MachineCpu};
use crate::sample::memory_stat::MemoryStat;
use crate::sample::spec::{MemoryLimit, MemorySpec, Spec};
use crate::units::{Bytes, Limit, Nanos, WallTime};

const AT: u64 = 1_704_164_645_120_000_000;

fn subject(version: CgroupVersion) -> Subject {
    Subject { id: "0123abcd".to_owned(), name: "web".to_owned(), version, machine_memory: Bytes(8 << 30) }
}

fn rendered(version: CgroupVersion, previous: Option<&Frame>, now: &Frame) -> String {
    let mut line = Vec::new();
    stats::append(&mut line, &subject(version), previous, now);
    assert_eq!(line.pop(), Some(b'\n'));
    let text = String::from_utf8(line).unwrap();
    assert!(!text.contains('\n'));
    text
}

fn check(version: CgroupVersion, previous: Option<&Frame>, now: &Frame, expected: &Expect) {
    expected.assert_eq(&rendered(version, previous, now));
}

fn live(seconds: u64) -> Live {
    Live { machine: Some(MachineCpu { total: Some(Nanos(seconds * 2_000_000_000)), online: 2 }), tasks: Some(7) }
}

fn stat(pairs: &[(&str, u64)]) -> MemoryStat {
    let keys = pairs.iter().map(|(key, _)| Box::from(*key)).collect::<Vec<_>>();
    MemoryStat { keys: keys.into(), values: pairs.iter().map(|(_, value)| *value).collect() }
}

fn network() -> Network {
    let traffic = |bytes| Traffic { bytes, packets: 2, errors: 1, dropped: 3 };
    Network {
        interfaces: vec![Interface { name: "eth0".into(), receive: traffic(1000), transmit: traffic(2000) }],
        ..Network::default()
    }
}

fn device(stat: IoStat, operations: &[(&'static str, u64)]) -> DeviceIo {
    DeviceIo { stat, major: 254, minor: 0, device: "/dev/vda".into(), operations: operations.to_vec() }
}

fn v1(second: u64) -> Frame {
    let sample = Sample {
        at: WallTime(AT + second * 1_000_000_000),
        cpu: Some(Cpu {
            total: Nanos(1_000 + second),
            user: Some(Nanos(600)),
            system: Some(Nanos(300)),
            per_cpu: Some(vec![Nanos(400), Nanos(600 + second)]),
            cfs: Some(Cfs {
                periods: Some(9),
                throttled_periods: Some(2),
                throttled_time: Some(Nanos(77)),
                ..Cfs::default()
            }),
            ..Cpu::default()
        }),
        memory: Some(Memory {
            usage: Bytes(5_000_000),
            max_usage: Some(Bytes(6_000_000)),
            failcnt: Some(3),
            stat: stat(&[
                ("cache", 1),
                ("rss", 2),
                ("total_cache", 10),
                ("total_rss", 20),
                ("total_swap", 9),
                ("hierarchical_memory_limit", 64),
            ]),
            ..Memory::default()
        }),
        io: Some(Io {
            devices: vec![
                device(IoStat::Serviced, &[("Read", 1), ("Write", 2), ("Sync", 3), ("Total", 3)]),
                device(IoStat::ServiceBytes, &[("Read", 4096), ("Write", 0), ("Total", 4096)]),
                device(IoStat::Sectors, &[("Count", 8)]),
            ],
            pressure: None,
        }),
        network: Some(network()),
        ..Sample::default()
    };
    let limit = Some(MemoryLimit::Bytes(Bytes(64 << 20)));
    let spec = Spec {
        memory: Some(MemorySpec { limit, ..MemorySpec::default() }),
        processes: Some(Limit::Max),
        ..Spec::default()
    };
    Frame { sample: Arc::new(sample), live: live(second), spec }
}

fn v2(second: u64) -> Frame {
    let sample = Sample {
        at: WallTime(AT + second * 1_000_000_000),
        cpu: Some(Cpu {
            total: Nanos(1_000 + second),
            user: Some(Nanos(600)),
            system: Some(Nanos(300)),
            ..Cpu::default()
        }),
        memory: Some(Memory {
            usage: Bytes(5_000_000),
            max_usage: Some(Bytes(6_000_000)),
            events: Some(MemoryEvents { oom: Some(4), ..MemoryEvents::default() }),
            stat: stat(&[("anon", 1), ("file", 2), ("slab", 3), ("inactive_file", 4), ("zswapped", 5)]),
            ..Memory::default()
        }),
        io: Some(Io {
            devices: vec![device(IoStat::ServiceBytes, &[("Read", 4096), ("Write", 512), ("Discard", 1)])],
            pressure: None,
        }),
        ..Sample::default()
    };
    let spec = Spec {
        memory: Some(MemorySpec { limit: Some(MemoryLimit::Max), ..MemorySpec::default() }),
        processes: Some(Limit::Max),
        ..Spec::default()
    };
    Frame { sample: Arc::new(sample), live: live(second), spec }
}

#[test]
fn a_container_on_v1() {
    check(
        CgroupVersion::V1,
        Some(&v1(1)),
        &v1(2),
        &expect![[
            r#"{"read":"2024-01-02T03:04:07.12Z","preread":"2024-01-02T03:04:06.12Z","pids_stats":{"current":7},"blkio_stats":{"io_service_bytes_recursive":[{"major":254,"minor":0,"op":"Read","value":4096},{"major":254,"minor":0,"op":"Write","value":0},{"major":254,"minor":0,"op":"Total","value":4096}],"io_serviced_recursive":[{"major":254,"minor":0,"op":"Read","value":1},{"major":254,"minor":0,"op":"Write","value":2},{"major":254,"minor":0,"op":"Sync","value":3},{"major":254,"minor":0,"op":"Total","value":3}],"io_queue_recursive":[],"io_service_time_recursive":[],"io_wait_time_recursive":[],"io_merged_recursive":[],"io_time_recursive":[],"sectors_recursive":[{"major":254,"minor":0,"op":"","value":8}]},"num_procs":0,"storage_stats":{},"cpu_stats":{"cpu_usage":{"total_usage":1002,"percpu_usage":[400,602],"usage_in_kernelmode":300,"usage_in_usermode":600},"system_cpu_usage":4000000000,"online_cpus":2,"throttling_data":{"periods":9,"throttled_periods":2,"throttled_time":77}},"precpu_stats":{"cpu_usage":{"total_usage":1001,"percpu_usage":[400,601],"usage_in_kernelmode":300,"usage_in_usermode":600},"system_cpu_usage":2000000000,"online_cpus":2,"throttling_data":{"periods":9,"throttled_periods":2,"throttled_time":77}},"memory_stats":{"usage":5000000,"max_usage":6000000,"stats":{"active_anon":0,"active_file":0,"cache":1,"dirty":0,"hierarchical_memory_limit":64,"hierarchical_memsw_limit":0,"inactive_anon":0,"inactive_file":0,"mapped_file":0,"pgfault":0,"pgmajfault":0,"pgpgin":0,"pgpgout":0,"rss":2,"rss_huge":0,"total_active_anon":0,"total_active_file":0,"total_cache":10,"total_dirty":0,"total_inactive_anon":0,"total_inactive_file":0,"total_mapped_file":0,"total_pgfault":0,"total_pgmajfault":0,"total_pgpgin":0,"total_pgpgout":0,"total_rss":20,"total_rss_huge":0,"total_unevictable":0,"total_writeback":0,"unevictable":0,"writeback":0},"failcnt":3,"limit":67108864},"name":"/web","id":"0123abcd","networks":{"eth0":{"rx_bytes":1000,"rx_packets":2,"rx_errors":1,"rx_dropped":3,"tx_bytes":2000,"tx_packets":2,"tx_errors":1,"tx_dropped":3}}}"#
        ]],
    );
}

#[test]
fn a_container_on_v2() {
    check(
        CgroupVersion::V2,
        Some(&v2(1)),
        &v2(2),
        &expect![[
            r#"{"read":"2024-01-02T03:04:07.12Z","preread":"2024-01-02T03:04:06.12Z","pids_stats":{"current":7,"limit":18446744073709551615},"blkio_stats":{"io_service_bytes_recursive":[{"major":254,"minor":0,"op":"read","value":4096},{"major":254,"minor":0,"op":"write","value":512}],"io_serviced_recursive":null,"io_queue_recursive":null,"io_service_time_recursive":null,"io_wait_time_recursive":null,"io_merged_recursive":null,"io_time_recursive":null,"sectors_recursive":null},"num_procs":0,"storage_stats":{},"cpu_stats":{"cpu_usage":{"total_usage":1002,"usage_in_kernelmode":300,"usage_in_usermode":600},"system_cpu_usage":4000000000,"online_cpus":2,"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"precpu_stats":{"cpu_usage":{"total_usage":1001,"usage_in_kernelmode":300,"usage_in_usermode":600},"system_cpu_usage":2000000000,"online_cpus":2,"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"memory_stats":{"usage":5000000,"stats":{"active_anon":0,"active_file":0,"anon":1,"anon_thp":0,"file":2,"file_dirty":0,"file_mapped":0,"file_writeback":0,"inactive_anon":0,"inactive_file":4,"kernel_stack":0,"pgactivate":0,"pgdeactivate":0,"pgfault":0,"pglazyfree":0,"pglazyfreed":0,"pgmajfault":0,"pgrefill":0,"pgscan":0,"pgsteal":0,"shmem":0,"slab":3,"slab_reclaimable":0,"slab_unreclaimable":0,"sock":0,"thp_collapse_alloc":0,"thp_fault_alloc":0,"unevictable":0,"workingset_activate":0,"workingset_nodereclaim":0,"workingset_refault":0},"failcnt":4,"limit":8589934592},"name":"/web","id":"0123abcd"}"#
        ]],
    );
}

#[test]
fn what_is_not_known_is_empty_or_absent() {
    let nothing = Frame { sample: Arc::default(), live: Live::default(), spec: Spec::default() };
    check(
        CgroupVersion::V2,
        None,
        &nothing,
        &expect![[
            r#"{"read":"1970-01-01T00:00:00Z","preread":"0001-01-01T00:00:00Z","pids_stats":{},"blkio_stats":{"io_service_bytes_recursive":null,"io_serviced_recursive":null,"io_queue_recursive":null,"io_service_time_recursive":null,"io_wait_time_recursive":null,"io_merged_recursive":null,"io_time_recursive":null,"sectors_recursive":null},"num_procs":0,"storage_stats":{},"cpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"precpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"memory_stats":{},"name":"/web","id":"0123abcd"}"#
        ]],
    );
}

#[test]
fn a_stream_begins_without_a_past() {
    let first = rendered(CgroupVersion::V1, None, &v1(1));
    assert!(first.contains(r#""preread":"0001-01-01T00:00:00Z""#), "{first}");
    assert!(first.contains(r#""precpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}}"#), "{first}");
}
