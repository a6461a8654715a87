//! Golden output. The first two cases are cAdvisor's own bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::sample::container::*;
use crate::sample::hardware::{PerfCount, PerfEvent, Resctrl, ResctrlDomain, UncorePerfEvent};
use crate::sample::identity::NetworkOwner;
use crate::sample::memory_stat::MemoryStat;
use crate::sample::sockets::{TcpAdvanced, TcpSockets, UdpSockets};
use crate::sample::spec::{CpuSpec, MemoryLimit, MemorySpec, Spec};
use crate::units::{Limit, Micros, Nanos, WallTime};

const AT: WallTime = WallTime(1_704_164_645_120_000_000);

fn check(view: &ContainerView, expected: &Expect) {
    let text = String::from_utf8(render(view, Bytes(25_000_000_000)).to_vec()).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    expected.assert_eq(&text);
}

fn view(name: &[u8], spec: Spec, samples: impl IntoIterator<Item = Sample>) -> ContainerView {
    let samples = samples.into_iter().map(Arc::new).collect();
    ContainerView { name: name.into(), spec, samples, ..ContainerView::default() }
}

fn v2_spec() -> Spec {
    Spec {
        created: Some(AT),
        cpu: Some(CpuSpec {
            shares: Some(2597),
            quota: None,
            period: Some(Micros(100_000)),
            mask: Some("0-3".to_owned()),
        }),
        memory: Some(MemorySpec {
            limit: Some(MemoryLimit::Max),
            reservation: Some(MemoryLimit::Bytes(Bytes(0))),
            swap_limit: Some(MemoryLimit::Max),
            zswap_limit: None,
        }),
        processes: Some(Limit::Max),
        has_hugetlb: false,
        has_network: false,
        has_diskio: true,
        unread: crate::sample::unread::Unread::default(),
    }
}

#[test]
fn cadvisors_raw_container_on_v2() {
    let sample = Sample {
        at: AT,
        cpu: Some(Cpu::default()),
        memory: Some(Memory::default()),
        io: Some(Io::default()),
        ..Sample::default()
    };
    check(
        &view(b"/x", v2_spec(), [sample]),
        &expect![[
            r#"{"name":"/x","spec":{"creation_time":"2024-01-02T03:04:05.12Z","start_time":"0001-01-01T00:00:00Z","has_cpu":true,"cpu":{"limit":2597,"max_limit":0,"mask":"0-3","period":100000},"has_memory":true,"memory":{"limit":18446744073709551615,"swap_limit":18446744073709551615},"has_hugetlb":false,"has_network":false,"has_processes":true,"processes":{"limit":18446744073709551615},"has_filesystem":false,"has_diskio":true,"has_custom_metrics":false},"stats":[{"timestamp":"2024-01-02T03:04:05.12Z","cpu":{"usage":{"total":0,"user":0,"system":0},"cfs":{"periods":0,"throttled_periods":0,"throttled_time":0,"bursts_periods":0,"burst_time":0},"schedstat":{"run_time":0,"runqueue_time":0,"run_periods":0},"load_average":0,"load_d_average":0},"diskio":{},"memory":{"usage":0,"max_usage":0,"cache":0,"rss":0,"swap":0,"mapped_file":0,"working_set":0,"total_active_file":0,"total_inactive_file":0,"file_dirty":0,"file_writeback":0,"pgscan":0,"pgsteal":0,"workingset_refault_file":0,"workingset_refault_anon":0,"failcnt":0,"kernel":0,"container_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"hierarchical_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"events":{"high":0,"max":0}},"task_stats":{"nr_sleeping":0,"nr_running":0,"nr_stopped":0,"nr_uninterruptible":0,"nr_io_wait":0},"resctrl":{},"cpuset":{"memory_migrate":0},"health":{"status":""}}]}"#
        ]],
    );
}

#[test]
fn cadvisors_network() {
    let one = Traffic { bytes: 1, packets: 1, errors: 0, dropped: 0 };
    let interfaces = vec![Interface { name: "eth0".into(), receive: one, transmit: one }];
    let network = Network { interfaces, ..Network::default() };
    let text = serde_json::to_string(&network::NetworkStats::from(&network)).unwrap();
    let (start, advanced) = text.split_once(r#""tcp_advanced":{"#).unwrap();
    expect![[r#"{"name":"eth0","rx_bytes":1,"rx_packets":1,"rx_errors":0,"rx_dropped":0,"tx_bytes":1,"tx_packets":1,"tx_errors":0,"tx_dropped":0,"interfaces":[{"name":"eth0","rx_bytes":1,"rx_packets":1,"rx_errors":0,"rx_dropped":0,"tx_bytes":1,"tx_packets":1,"tx_errors":0,"tx_dropped":0}],"tcp":{"Established":0,"SynSent":0,"SynRecv":0,"FinWait1":0,"FinWait2":0,"TimeWait":0,"Close":0,"CloseWait":0,"LastAck":0,"Listen":0,"Closing":0},"tcp6":{"Established":0,"SynSent":0,"SynRecv":0,"FinWait1":0,"FinWait2":0,"TimeWait":0,"Close":0,"CloseWait":0,"LastAck":0,"Listen":0,"Closing":0},"udp":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"udp6":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"#]]
    .assert_eq(start);
    assert!(
        advanced.starts_with(r#""RtoAlgorithm":0,"RtoMin":0,"RtoMax":0,"MaxConn":0,"ActiveOpens":0,"#),
        "{advanced}"
    );
    assert!(advanced.ends_with(r#""TCPOrigDataSent":0,"PAWSActive":0,"PAWSEstab":0}}"#), "{advanced}");

    let none = serde_json::to_string(&network::NetworkStats::from(&Network::default())).unwrap();
    assert!(none.starts_with(r#"{"name":"","rx_bytes":0,"#) && none.contains(r#""tx_dropped":0,"tcp":{"#), "{none}");
}

#[test]
fn sockets_by_cadvisors_keys() {
    let network = Network {
        tcp: Some(TcpSockets { established: 1, syn_sent: 2, listen: 10, closing: 11, ..TcpSockets::default() }),
        udp6: Some(UdpSockets { sockets: 1, dropped: 2, receive_queue: Bytes(3), transmit_queue: Bytes(4) }),
        tcp_advanced: Some(TcpAdvanced { keys: ["MaxConn", "TW", "PAWSEstab"].into(), values: vec![u64::MAX, 5, 6] }),
        ..Network::default()
    };
    let json = serde_json::to_value(network::NetworkStats::from(&network)).unwrap();
    let parts = [("tcp", "Established", 1), ("tcp", "SynSent", 2), ("tcp", "Listen", 10), ("tcp", "Closing", 11)];
    let udp = [("udp6", "Listen", 1), ("udp6", "Dropped", 2), ("udp6", "RxQueued", 3), ("udp6", "TxQueued", 4)];
    let advanced = [("MaxConn", -1), ("TW", 5), ("TWRecycled", 0), ("PAWSActive", 0), ("PAWSEstab", 6)];
    let advanced = advanced.map(|(key, value)| ("tcp_advanced", key, value));
    for (block, key, value) in parts.into_iter().chain(udp).chain(advanced) {
        assert_eq!(json[block][key], value, "{block} {key}");
    }
    let sizes = ["tcp", "tcp6", "udp", "udp6", "tcp_advanced"].map(|block| json[block].as_object().unwrap().len());
    assert_eq!(sizes, [11, 11, 4, 4, 99]);
}

/// One device's rows of one statistic.
fn device(stat: IoStat, operations: &[(&'static str, u64)]) -> DeviceIo {
    DeviceIo { stat, major: 254, minor: 0, device: "/dev/vda".into(), operations: operations.to_vec() }
}

#[test]
fn a_v1_container() {
    let spec = Spec {
        created: Some(WallTime(1_704_164_645_000_000_000)),
        cpu: Some(CpuSpec {
            shares: Some(1024),
            quota: Some(Micros(50_000)),
            period: Some(Micros(100_000)),
            mask: None,
        }),
        memory: Some(MemorySpec {
            limit: Some(MemoryLimit::Bytes(Bytes(67_108_864))),
            reservation: Some(MemoryLimit::Bytes(Bytes(9_223_372_036_854_771_712))),
            swap_limit: None,
            zswap_limit: None,
        }),
        processes: Some(Limit::Value(100)),
        has_hugetlb: true,
        has_network: true,
        has_diskio: true,
        unread: crate::sample::unread::Unread::default(),
    };
    let count = PerfCount { counted: 1000, enabled: Nanos(4), running: Nanos(2) };
    let sample = Sample {
        at: AT,
        referenced: Some(Bytes(8192)),
        resctrl: Some(Resctrl {
            domains: vec![
                ResctrlDomain { id: 0, total: Some(Bytes(30)), local: Some(Bytes(20)), occupancy: Some(Bytes(10)) },
                ResctrlDomain { id: 1, total: Some(Bytes(31)), local: None, occupancy: None },
            ],
        }),
        perf: Some(vec![PerfEvent { name: "cycles".into(), cpu: 1, count }]),
        perf_uncore: Some(vec![UncorePerfEvent { name: "reads".into(), pmu: "uncore_imc_0".into(), socket: 0, count }]),
        cpu: Some(Cpu {
            total: Nanos(43_210_987),
            user: Some(Nanos(30_000_000)),
            system: Some(Nanos(10_000_000)),
            per_cpu: Some(vec![Nanos(40_000_000), Nanos(3_210_987)]),
            cfs: Some(Cfs {
                periods: Some(9),
                throttled_periods: Some(2),
                throttled_time: Some(Nanos(77)),
                ..Cfs::default()
            }),
            schedstat: Some(Schedstat { run_time: Nanos(5), runqueue_time: Nanos(6), run_periods: 7 }),
            load: Some(Load { running_milli: 1500, uninterruptible_milli: u64::MAX }),
            pressure: None,
        }),
        memory: Some(Memory {
            usage: Bytes(1_000_000),
            max_usage: Some(Bytes(2_000_000)),
            cache: Bytes(300),
            rss: Bytes(400),
            swap: Some(Bytes(0)),
            mapped_file: Bytes(100),
            working_set: Bytes(999_000),
            active_file: Some(Bytes(50)),
            inactive_file: Some(Bytes(1000)),
            failcnt: Some(3),
            kernel: Some(Bytes(4096)),
            own_faults: Faults { pgfault: 11, pgmajfault: 1 },
            hierarchical_faults: Faults { pgfault: 22, pgmajfault: 2 },
            numa: Some(Numa {
                own: NumaPages { file: vec![(0, 1), (2, 3), (10, 4)], anon: vec![(0, 5)], unevictable: vec![] },
                hierarchical: NumaPages::default(),
            }),
            ..Memory::default()
        }),
        io: Some(Io {
            devices: vec![
                device(IoStat::Serviced, &[("Read", 1), ("Write", 2), ("Sync", 3), ("Async", 0), ("Total", 3)]),
                device(IoStat::ServiceBytes, &[("Read", 4096), ("Write", 8192), ("Discard", 0), ("Total", 12288)]),
                device(IoStat::Time, &[("Count", 17)]),
            ],
            pressure: None,
        }),
        processes: Some(Processes {
            count: Some(2),
            descriptors: Some(9),
            sockets: None,
            threads: Some(5),
            threads_max: Some(100),
            max_open_files: Some((1024, u64::MAX)),
        }),
        hugetlb: Some(vec![
            Hugetlb {
                page_size: "2MB".into(),
                usage: Some(Bytes(2_097_152)),
                max_usage: Some(Bytes(4_194_304)),
                failcnt: Some(1),
            },
            Hugetlb { page_size: "1GB".into(), usage: Some(Bytes(0)), max_usage: None, failcnt: Some(0) },
        ]),
        network: None,
        cpuset_memory_migrate: Some(1),
        misc: None,
        tasks: Some(TaskStates { sleeping: 1, running: 2, stopped: 3, uninterruptible: 4, io_wait: 5 }),
        oom_kills: 6,
        unread: crate::sample::unread::Unread::default(),
    };
    check(
        &view(b"/docker/abc", spec, [sample]),
        &expect![[
            r#"{"name":"/docker/abc","spec":{"creation_time":"2024-01-02T03:04:05Z","start_time":"0001-01-01T00:00:00Z","has_cpu":true,"cpu":{"limit":1024,"max_limit":0,"quota":50000,"period":100000},"has_memory":true,"memory":{"limit":67108864,"reservation":9223372036854771712},"has_hugetlb":true,"has_network":true,"has_processes":true,"processes":{"limit":100},"has_filesystem":false,"has_diskio":true,"has_custom_metrics":false},"stats":[{"timestamp":"2024-01-02T03:04:05.12Z","cpu":{"usage":{"total":43210987,"per_cpu_usage":[40000000,3210987],"user":30000000,"system":10000000},"cfs":{"periods":9,"throttled_periods":2,"throttled_time":77,"bursts_periods":0,"burst_time":0},"schedstat":{"run_time":5,"runqueue_time":6,"run_periods":7},"load_average":1500,"load_d_average":2147483647},"diskio":{"io_service_bytes":[{"device":"/dev/vda","major":254,"minor":0,"stats":{"Discard":0,"Read":4096,"Total":12288,"Write":8192}}],"io_serviced":[{"device":"/dev/vda","major":254,"minor":0,"stats":{"Async":0,"Read":1,"Sync":3,"Total":3,"Write":2}}],"io_time":[{"device":"/dev/vda","major":254,"minor":0,"stats":{"Count":17}}]},"memory":{"usage":1000000,"max_usage":2000000,"cache":300,"rss":400,"swap":0,"mapped_file":100,"working_set":999000,"total_active_file":50,"total_inactive_file":1000,"file_dirty":0,"file_writeback":0,"pgscan":0,"pgsteal":0,"workingset_refault_file":0,"workingset_refault_anon":0,"failcnt":3,"kernel":4096,"container_data":{"pgfault":11,"pgmajfault":1,"numa_stats":{"file":{"0":1,"10":4,"2":3},"anon":{"0":5}}},"hierarchical_data":{"pgfault":22,"pgmajfault":2,"numa_stats":{}},"events":{"high":0,"max":0}},"hugetlb":{"1GB":{"failcnt":0},"2MB":{"usage":2097152,"max_usage":4194304,"failcnt":1}},"task_stats":{"nr_sleeping":1,"nr_running":2,"nr_stopped":3,"nr_uninterruptible":4,"nr_io_wait":5},"processes":{"process_count":2,"fd_count":9,"threads_current":5,"threads_max":100,"ulimits":[{"name":"max_open_files","soft_limit":1024,"hard_limit":-1}]},"perf_stats":[{"scaling_ratio":0.5,"value":2000,"name":"cycles","cpu":1}],"perf_uncore_stats":[{"scaling_ratio":0.5,"value":2000,"name":"reads","socket":0,"pmu":"uncore_imc_0"}],"referenced_memory":8192,"resctrl":{"memory_bandwidth":[{"mbm_total_bytes":30,"mbm_local_bytes":20},{"mbm_total_bytes":31}],"cache":[{"llc_occupancy":10},{}]},"cpuset":{"memory_migrate":1},"oom_events":6,"health":{"status":""}}]}"#
        ]],
    );
}

#[test]
fn a_v2_container_with_pressure_and_identity() {
    let row = |total, avg10| PressureRow { total: Micros(total), avg10, avg60: 150, avg300: 1 };
    let pressure = Pressure { some: Some(row(123, 10_000)), full: Some(row(45, 25)) };
    let stat = ["file_dirty", "pgscan", "workingset_refault_anon"];
    let sample = Sample {
        at: AT,
        cpu: Some(Cpu {
            total: Nanos(1_000),
            cfs: Some(Cfs { burst_periods: Some(1), burst_time: Some(Nanos(2000)), ..Cfs::default() }),
            pressure: Some(Pressure { some: Some(row(1, 0)), full: None }),
            ..Cpu::default()
        }),
        memory: Some(Memory {
            usage: Bytes(u64::MAX),
            events: Some(MemoryEvents {
                high: Some(3),
                max: Some(4),
                oom: Some(1),
                oom_kill: Some(1),
                ..MemoryEvents::default()
            }),
            pressure: Some(pressure),
            stat: MemoryStat { keys: stat.map(Box::from).into(), values: vec![1, 2, 3] },
            ..Memory::default()
        }),
        io: Some(Io {
            devices: vec![
                device(IoStat::ServiceBytes, &[("Read", 1), ("Write", 2)]),
                device(IoStat::CostUsage, &[("Count", 3)]),
            ],
            pressure: Some(pressure),
        }),
        ..Sample::default()
    };
    let mut view = view(b"/kubepods/pod1/abc", v2_spec(), [sample]);
    view.children = vec![Arc::from(*b"/kubepods/pod1/abc/a"), Arc::from(*b"/kubepods/pod1/abc/b\xff")];
    view.identity = IdentityView {
        id: "abc".to_owned(),
        aliases: vec!["web".to_owned(), "abc".to_owned()],
        namespace: "docker".to_owned(),
        labels: BTreeMap::from([("b".to_owned(), "<2>".to_owned()), ("a".to_owned(), "1".to_owned())]),
        envs: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
        image: "bb:latest".to_owned(),
        created: Some(WallTime(AT.0 - 1_000_000_000)),
        started: Some(AT),
        network: NetworkOwner::AnotherContainer,
        health: "healthy".to_owned(),
    };
    check(
        &view,
        &expect![[
            r#"{"id":"abc","name":"/kubepods/pod1/abc","aliases":["web","abc"],"namespace":"docker","subcontainers":[{"name":"/kubepods/pod1/abc/a"},{"name":"/kubepods/pod1/abc/b\ufffd"}],"spec":{"creation_time":"2024-01-02T03:04:04.12Z","start_time":"2024-01-02T03:04:05.12Z","labels":{"a":"1","b":"\u003c2\u003e"},"envs":{"PATH":"/bin"},"has_cpu":true,"cpu":{"limit":2597,"max_limit":0,"mask":"0-3","period":100000},"has_memory":true,"memory":{"limit":18446744073709551615,"swap_limit":18446744073709551615},"has_hugetlb":false,"has_network":false,"has_processes":true,"processes":{"limit":18446744073709551615},"has_filesystem":false,"has_diskio":true,"has_custom_metrics":false,"image":"bb:latest"},"stats":[{"timestamp":"2024-01-02T03:04:05.12Z","cpu":{"usage":{"total":1000,"user":0,"system":0},"cfs":{"periods":0,"throttled_periods":0,"throttled_time":0,"bursts_periods":1,"burst_time":2000},"schedstat":{"run_time":0,"runqueue_time":0,"run_periods":0},"load_average":0,"load_d_average":0,"psi":{"full":{"total":0,"avg10":0,"avg60":0,"avg300":0},"some":{"total":1,"avg10":0,"avg60":1.5,"avg300":0.01}}},"diskio":{"io_service_bytes":[{"device":"/dev/vda","major":254,"minor":0,"stats":{"Read":1,"Write":2}}],"io_cost_usage":[{"device":"/dev/vda","major":254,"minor":0,"stats":{"Count":3}}],"psi":{"full":{"total":45,"avg10":0.25,"avg60":1.5,"avg300":0.01},"some":{"total":123,"avg10":100,"avg60":1.5,"avg300":0.01}}},"memory":{"usage":18446744073709551615,"max_usage":0,"cache":0,"rss":0,"swap":0,"mapped_file":0,"working_set":0,"total_active_file":0,"total_inactive_file":0,"file_dirty":1,"file_writeback":0,"pgscan":2,"pgsteal":0,"workingset_refault_file":0,"workingset_refault_anon":3,"failcnt":0,"kernel":0,"container_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"hierarchical_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"psi":{"full":{"total":45,"avg10":0.25,"avg60":1.5,"avg300":0.01},"some":{"total":123,"avg10":100,"avg60":1.5,"avg300":0.01}},"events":{"high":3,"max":4}},"task_stats":{"nr_sleeping":0,"nr_running":0,"nr_stopped":0,"nr_uninterruptible":0,"nr_io_wait":0},"resctrl":{},"cpuset":{"memory_migrate":0},"health":{"status":"healthy"}}]}"#
        ]],
    );
}

#[test]
fn nothing_known_and_strange_names() {
    check(
        &view(b"/", Spec::default(), []),
        &expect![[
            r#"{"name":"/","spec":{"creation_time":"0001-01-01T00:00:00Z","start_time":"0001-01-01T00:00:00Z","has_cpu":false,"cpu":{"limit":0,"max_limit":0},"has_memory":false,"memory":{},"has_hugetlb":false,"has_network":false,"has_processes":false,"processes":{},"has_filesystem":false,"has_diskio":false,"has_custom_metrics":false}}"#
        ]],
    );
    check(
        &view("/a \"b\"\\\n<&>\u{2028}é".as_bytes(), Spec::default(), [Sample { at: AT, ..Sample::default() }]),
        &expect![[
            r#"{"name":"/a \"b\"\\\n\u003c\u0026\u003e\u2028é","spec":{"creation_time":"0001-01-01T00:00:00Z","start_time":"0001-01-01T00:00:00Z","has_cpu":false,"cpu":{"limit":0,"max_limit":0},"has_memory":false,"memory":{},"has_hugetlb":false,"has_network":false,"has_processes":false,"processes":{},"has_filesystem":false,"has_diskio":false,"has_custom_metrics":false},"stats":[{"timestamp":"2024-01-02T03:04:05.12Z","task_stats":{"nr_sleeping":0,"nr_running":0,"nr_stopped":0,"nr_uninterruptible":0,"nr_io_wait":0},"resctrl":{},"cpuset":{"memory_migrate":0},"health":{"status":""}}]}"#
        ]],
    );
    let memory = MemorySpec { limit: Some(MemoryLimit::Bytes(Bytes(0))), ..MemorySpec::default() };
    let spec = Spec { memory: Some(memory), processes: Some(Limit::Value(0)), ..Spec::default() };
    check(
        &view(b"/\xff\xfe", spec, []),
        &expect![[
            r#"{"name":"/\ufffd\ufffd","spec":{"creation_time":"0001-01-01T00:00:00Z","start_time":"0001-01-01T00:00:00Z","has_cpu":false,"cpu":{"limit":0,"max_limit":0},"has_memory":true,"memory":{"limit":25000000000},"has_hugetlb":false,"has_network":false,"has_processes":true,"processes":{},"has_filesystem":false,"has_diskio":false,"has_custom_metrics":false}}"#
        ]],
    );
}

proptest! {
    #[test]
    fn any_name_gives_json(name in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut view = view(&name, Spec::default(), [Sample::default()]);
        view.children = vec![view.name.clone()];
        let json: serde_json::Value = serde_json::from_slice(&render(&view, Bytes(0))).unwrap();
        prop_assert_eq!(json["name"].as_str(), Some(&*json::lossy(&name)));
        prop_assert_eq!(&json["subcontainers"][0]["name"], &json["name"]);
    }
}
