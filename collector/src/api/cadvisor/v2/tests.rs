//! Golden output of every structure.

use std::sync::Arc;

use expect_test::{Expect, expect};

use super::*;
use crate::api::http::responses::whole;
use crate::api::{ContainerView, IdentityView};
use crate::sample::container::*;
use crate::sample::identity::{NetworkOwner, Runtime};
use crate::sample::machine::*;
use crate::sample::process::{Process, ProcessList};
use crate::sample::sockets::TCP_ADVANCED;
use crate::sample::spec::{CpuSpec, MemoryLimit, MemorySpec, Spec};
use crate::store::summary::{Percentiles, Summary, Usage};
use crate::units::{Bytes, Limit, Micros, Nanos, WallTime};

/// 2024-01-02T03:04:05.12Z.
const AT: WallTime = WallTime(1_704_164_645_120_000_000);

fn check(bytes: &[u8], expected: &Expect) {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let text = text.replace(&zeros(&TCP_ADVANCED), "{ADVANCED}").replace(&zeros(&TCP), "{TCP}");
    expected.assert_eq(&text);
}

/// TCP sockets by state.
#[rustfmt::skip]
const TCP: [&str; 11] = [
    "Established", "SynSent", "SynRecv", "FinWait1", "FinWait2", "TimeWait", "Close", "CloseWait", "LastAck", "Listen",
    "Closing",
];

fn zeros(keys: &[&str]) -> String {
    let all: Vec<_> = keys.iter().map(|key| format!("\"{key}\":0")).collect();
    format!("{{{}}}", all.join(","))
}

fn spec() -> Spec {
    Spec {
        created: Some(AT),
        cpu: Some(CpuSpec {
            shares: Some(1024),
            quota: Some(Micros(50_000)),
            period: Some(Micros(100_000)),
            mask: Some("0-1".to_owned()),
        }),
        memory: Some(MemorySpec {
            limit: Some(MemoryLimit::Bytes(Bytes(0))),
            reservation: Some(MemoryLimit::Bytes(Bytes(7))),
            swap_limit: Some(MemoryLimit::Max),
            zswap_limit: None,
        }),
        processes: Some(Limit::Value(100)),
        has_hugetlb: true,
        has_network: true,
        has_diskio: true,
        unread: crate::sample::unread::Unread::default(),
    }
}

/// A sample so many seconds after [`AT`] with everything that v2 shows.
fn sample(second: u64) -> Sample {
    let one = Traffic { bytes: 1, packets: 1, errors: 0, dropped: 0 };
    Sample {
        at: WallTime(AT.0 + second * 1_000_000_000),
        cpu: Some(Cpu {
            total: Nanos(second * 1_500_000_000),
            user: Some(Nanos(second * 1_000_000_000)),
            per_cpu: Some(vec![Nanos(second * 500_000_000), Nanos(second * 1_000_000_000)]),
            ..Cpu::default()
        }),
        memory: Some(Memory { usage: Bytes(4096), working_set: Bytes(2048), ..Memory::default() }),
        io: Some(Io::default()),
        processes: Some(Processes { count: Some(2), descriptors: Some(9), sockets: Some(1), ..Processes::default() }),
        hugetlb: Some(vec![Hugetlb {
            page_size: "2MB".into(),
            usage: Some(Bytes(2 << 20)),
            max_usage: None,
            failcnt: Some(0),
        }]),
        network: Some(Network {
            interfaces: vec![Interface { name: "eth0".into(), receive: one, transmit: one }],
            ..Network::default()
        }),
        ..Sample::default()
    }
}

fn view(name: &str, spec: Spec, samples: impl IntoIterator<Item = Sample>) -> ContainerView {
    let samples = samples.into_iter().map(Arc::new).collect();
    ContainerView { name: name.as_bytes().into(), spec, samples, ..ContainerView::default() }
}

fn appended(append: lists::element::Append, view: &ContainerView) -> Vec<u8> {
    let mut out = Vec::new();
    append(&mut out, view, Bytes(25_000_000_000));
    out
}

#[test]
fn specs() {
    let identity = IdentityView {
        id: "abc".to_owned(),
        aliases: vec!["web".to_owned(), "abc".to_owned()],
        namespace: "docker".to_owned(),
        labels: [("a".to_owned(), "<b>".to_owned())].into(),
        envs: [("PATH".to_owned(), "/bin".to_owned())].into(),
        image: "nginx:1".to_owned(),
        created: Some(WallTime(AT.0 - 60_000_000_000)),
        started: Some(WallTime(AT.0 - 1_000_000_000)),
        network: NetworkOwner::AnotherContainer,
        health: "healthy".to_owned(),
    };
    let whole = ContainerView { identity, ..view("/docker/abc", spec(), []) };
    check(
        &appended(spec::append, &whole),
        &expect![[
            r#""/docker/abc":{"creation_time":"2024-01-02T03:03:05.12Z","start_time":"2024-01-02T03:04:04.12Z","aliases":["web","abc"],"namespace":"docker","labels":{"a":"\u003cb\u003e"},"envs":{"PATH":"/bin"},"has_cpu":true,"cpu":{"limit":1024,"max_limit":0,"mask":"0-1"},"has_memory":true,"memory":{"limit":25000000000,"reservation":7,"swap_limit":18446744073709551615},"has_hugetlb":true,"has_custom_metrics":false,"has_processes":true,"processes":{},"has_network":false,"has_filesystem":false,"has_diskio":true,"image":"nginx:1"}"#
        ]],
    );
    check(
        &appended(spec::append, &view("/x", Spec::default(), [])),
        &expect![[
            r#""/x":{"creation_time":"0001-01-01T00:00:00Z","start_time":"0001-01-01T00:00:00Z","has_cpu":false,"cpu":{"limit":0,"max_limit":0},"has_memory":false,"memory":{},"has_hugetlb":false,"has_custom_metrics":false,"has_processes":false,"processes":{},"has_network":false,"has_filesystem":false,"has_diskio":false}"#
        ]],
    );
}

#[test]
fn deprecated_stats() {
    let whole = view("/x", spec(), [sample(0), sample(1)]);
    check(
        &appended(stats::append_deprecated, &whole),
        &expect![[
            r#""/x":[{"timestamp":"2024-01-02T03:04:05.12Z","has_cpu":true,"cpu":{"usage":{"total":0,"per_cpu_usage":[0,0],"user":0,"system":0},"cfs":{"periods":0,"throttled_periods":0,"throttled_time":0,"bursts_periods":0,"burst_time":0},"schedstat":{"run_time":0,"runqueue_time":0,"run_periods":0},"load_average":0,"load_d_average":0},"has_diskio":true,"diskio":{},"has_memory":true,"memory":{"usage":4096,"max_usage":0,"cache":0,"rss":0,"swap":0,"mapped_file":0,"working_set":2048,"total_active_file":0,"total_inactive_file":0,"file_dirty":0,"file_writeback":0,"pgscan":0,"pgsteal":0,"workingset_refault_file":0,"workingset_refault_anon":0,"failcnt":0,"kernel":0,"container_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"hierarchical_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"events":{"high":0,"max":0}},"has_hugetlb":true,"hugetlb":{"2MB":{"usage":2097152,"failcnt":0}},"has_network":true,"network":{"interfaces":[{"name":"eth0","rx_bytes":1,"rx_packets":1,"rx_errors":0,"rx_dropped":0,"tx_bytes":1,"tx_packets":1,"tx_errors":0,"tx_dropped":0}],"tcp":{TCP},"tcp6":{TCP},"udp":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"udp6":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"tcp_advanced":{ADVANCED}},"has_processes":false,"processes":{},"has_filesystem":false,"has_load":false,"load_stats":{"nr_sleeping":0,"nr_running":0,"nr_stopped":0,"nr_uninterruptible":0,"nr_io_wait":0},"has_custom_metrics":false,"resctrl":{}},{"timestamp":"2024-01-02T03:04:06.12Z","has_cpu":true,"cpu":{"usage":{"total":1500000000,"per_cpu_usage":[500000000,1000000000],"user":1000000000,"system":0},"cfs":{"periods":0,"throttled_periods":0,"throttled_time":0,"bursts_periods":0,"burst_time":0},"schedstat":{"run_time":0,"runqueue_time":0,"run_periods":0},"load_average":0,"load_d_average":0},"cpu_inst":{"usage":{"total":1500000000,"per_cpu_usage":[500000000,1000000000],"user":1000000000,"system":0}},"has_diskio":true,"diskio":{},"has_memory":true,"memory":{"usage":4096,"max_usage":0,"cache":0,"rss":0,"swap":0,"mapped_file":0,"working_set":2048,"total_active_file":0,"total_inactive_file":0,"file_dirty":0,"file_writeback":0,"pgscan":0,"pgsteal":0,"workingset_refault_file":0,"workingset_refault_anon":0,"failcnt":0,"kernel":0,"container_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"hierarchical_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"events":{"high":0,"max":0}},"has_hugetlb":true,"hugetlb":{"2MB":{"usage":2097152,"failcnt":0}},"has_network":true,"network":{"interfaces":[{"name":"eth0","rx_bytes":1,"rx_packets":1,"rx_errors":0,"rx_dropped":0,"tx_bytes":1,"tx_packets":1,"tx_errors":0,"tx_dropped":0}],"tcp":{TCP},"tcp6":{TCP},"udp":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"udp6":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"tcp_advanced":{ADVANCED}},"has_processes":false,"processes":{},"has_filesystem":false,"has_load":false,"load_stats":{"nr_sleeping":0,"nr_running":0,"nr_stopped":0,"nr_uninterruptible":0,"nr_io_wait":0},"has_custom_metrics":false,"resctrl":{}}]"#
        ]],
    );
    let bare = view("/y", Spec::default(), [Sample { at: AT, ..Sample::default() }]);
    check(
        &appended(stats::append_deprecated, &bare),
        &expect![[
            r#""/y":[{"timestamp":"2024-01-02T03:04:05.12Z","has_cpu":false,"cpu":{"usage":{"total":0,"user":0,"system":0},"cfs":{"periods":0,"throttled_periods":0,"throttled_time":0,"bursts_periods":0,"burst_time":0},"schedstat":{"run_time":0,"runqueue_time":0,"run_periods":0},"load_average":0,"load_d_average":0},"has_diskio":false,"diskio":{},"has_memory":false,"memory":{"usage":0,"max_usage":0,"cache":0,"rss":0,"swap":0,"mapped_file":0,"working_set":0,"total_active_file":0,"total_inactive_file":0,"file_dirty":0,"file_writeback":0,"pgscan":0,"pgsteal":0,"workingset_refault_file":0,"workingset_refault_anon":0,"failcnt":0,"kernel":0,"container_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"hierarchical_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"events":{"high":0,"max":0}},"has_hugetlb":false,"has_network":false,"network":{"tcp":{TCP},"tcp6":{TCP},"udp":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"udp6":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"tcp_advanced":{ADVANCED}},"has_processes":false,"processes":{},"has_filesystem":false,"has_load":false,"load_stats":{"nr_sleeping":0,"nr_running":0,"nr_stopped":0,"nr_uninterruptible":0,"nr_io_wait":0},"has_custom_metrics":false,"resctrl":{}}]"#
        ]],
    );
    check(&appended(stats::append_deprecated, &view("/z", spec(), [])), &expect![[r#""/z":[]"#]]);
}

#[test]
fn container_stats() {
    let whole = view("/x", spec(), [sample(0), sample(1)]);
    check(
        &appended(stats::append, &whole),
        &expect![[
            r#""/x":{"spec":{"creation_time":"2024-01-02T03:04:05.12Z","start_time":"0001-01-01T00:00:00Z","has_cpu":true,"cpu":{"limit":1024,"max_limit":0,"mask":"0-1"},"has_memory":true,"memory":{"limit":25000000000,"reservation":7,"swap_limit":18446744073709551615},"has_hugetlb":true,"has_custom_metrics":false,"has_processes":true,"processes":{},"has_network":true,"has_filesystem":false,"has_diskio":true},"stats":[{"timestamp":"2024-01-02T03:04:05.12Z","cpu":{"usage":{"total":0,"per_cpu_usage":[0,0],"user":0,"system":0},"cfs":{"periods":0,"throttled_periods":0,"throttled_time":0,"bursts_periods":0,"burst_time":0},"schedstat":{"run_time":0,"runqueue_time":0,"run_periods":0},"load_average":0,"load_d_average":0},"diskio":{},"memory":{"usage":4096,"max_usage":0,"cache":0,"rss":0,"swap":0,"mapped_file":0,"working_set":2048,"total_active_file":0,"total_inactive_file":0,"file_dirty":0,"file_writeback":0,"pgscan":0,"pgsteal":0,"workingset_refault_file":0,"workingset_refault_anon":0,"failcnt":0,"kernel":0,"container_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"hierarchical_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"events":{"high":0,"max":0}},"hugetlb":{"2MB":{"usage":2097152,"failcnt":0}},"network":{"interfaces":[{"name":"eth0","rx_bytes":1,"rx_packets":1,"rx_errors":0,"rx_dropped":0,"tx_bytes":1,"tx_packets":1,"tx_errors":0,"tx_dropped":0}],"tcp":{TCP},"tcp6":{TCP},"udp":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"udp6":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"tcp_advanced":{ADVANCED}},"processes":{"process_count":2,"fd_count":9,"socket_count":1},"resctrl":{}},{"timestamp":"2024-01-02T03:04:06.12Z","cpu":{"usage":{"total":1500000000,"per_cpu_usage":[500000000,1000000000],"user":1000000000,"system":0},"cfs":{"periods":0,"throttled_periods":0,"throttled_time":0,"bursts_periods":0,"burst_time":0},"schedstat":{"run_time":0,"runqueue_time":0,"run_periods":0},"load_average":0,"load_d_average":0},"cpu_inst":{"usage":{"total":1500000000,"per_cpu_usage":[500000000,1000000000],"user":1000000000,"system":0}},"diskio":{},"memory":{"usage":4096,"max_usage":0,"cache":0,"rss":0,"swap":0,"mapped_file":0,"working_set":2048,"total_active_file":0,"total_inactive_file":0,"file_dirty":0,"file_writeback":0,"pgscan":0,"pgsteal":0,"workingset_refault_file":0,"workingset_refault_anon":0,"failcnt":0,"kernel":0,"container_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"hierarchical_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"events":{"high":0,"max":0}},"hugetlb":{"2MB":{"usage":2097152,"failcnt":0}},"network":{"interfaces":[{"name":"eth0","rx_bytes":1,"rx_packets":1,"rx_errors":0,"rx_dropped":0,"tx_bytes":1,"tx_packets":1,"tx_errors":0,"tx_dropped":0}],"tcp":{TCP},"tcp6":{TCP},"udp":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"udp6":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"tcp_advanced":{ADVANCED}},"processes":{"process_count":2,"fd_count":9,"socket_count":1},"resctrl":{}}]}"#
        ]],
    );
    // Another container's network is not shown as this one's.
    let shared =
        view("/y", Spec { has_network: false, ..Spec::default() }, [Sample { cpu: None, memory: None, ..sample(0) }]);
    check(
        &appended(stats::append, &shared),
        &expect![[
            r#""/y":{"spec":{"creation_time":"0001-01-01T00:00:00Z","start_time":"0001-01-01T00:00:00Z","has_cpu":false,"cpu":{"limit":0,"max_limit":0},"has_memory":false,"memory":{},"has_hugetlb":false,"has_custom_metrics":false,"has_processes":false,"processes":{},"has_network":false,"has_filesystem":false,"has_diskio":false},"stats":[{"timestamp":"2024-01-02T03:04:05.12Z","diskio":{},"hugetlb":{"2MB":{"usage":2097152,"failcnt":0}},"processes":{"process_count":2,"fd_count":9,"socket_count":1},"resctrl":{}}]}"#
        ]],
    );
    check(
        &appended(stats::append, &view("/z", Spec::default(), [])),
        &expect![[
            r#""/z":{"spec":{"creation_time":"0001-01-01T00:00:00Z","start_time":"0001-01-01T00:00:00Z","has_cpu":false,"cpu":{"limit":0,"max_limit":0},"has_memory":false,"memory":{},"has_hugetlb":false,"has_custom_metrics":false,"has_processes":false,"processes":{},"has_network":false,"has_filesystem":false,"has_diskio":false}}"#
        ]],
    );
}

#[test]
fn machine_stats() {
    check(
        &appended(stats::append_machine, &view("/", spec(), [sample(0), sample(1)])),
        &expect![[
            r#"[{"timestamp":"2024-01-02T03:04:05.12Z","cpu":{"usage":{"total":0,"per_cpu_usage":[0,0],"user":0,"system":0},"cfs":{"periods":0,"throttled_periods":0,"throttled_time":0,"bursts_periods":0,"burst_time":0},"schedstat":{"run_time":0,"runqueue_time":0,"run_periods":0},"load_average":0,"load_d_average":0},"memory":{"usage":4096,"max_usage":0,"cache":0,"rss":0,"swap":0,"mapped_file":0,"working_set":2048,"total_active_file":0,"total_inactive_file":0,"file_dirty":0,"file_writeback":0,"pgscan":0,"pgsteal":0,"workingset_refault_file":0,"workingset_refault_anon":0,"failcnt":0,"kernel":0,"container_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"hierarchical_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"events":{"high":0,"max":0}},"network":{"interfaces":[{"name":"eth0","rx_bytes":1,"rx_packets":1,"rx_errors":0,"rx_dropped":0,"tx_bytes":1,"tx_packets":1,"tx_errors":0,"tx_dropped":0}],"tcp":{TCP},"tcp6":{TCP},"udp":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"udp6":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"tcp_advanced":{ADVANCED}}},{"timestamp":"2024-01-02T03:04:06.12Z","cpu":{"usage":{"total":1500000000,"per_cpu_usage":[500000000,1000000000],"user":1000000000,"system":0},"cfs":{"periods":0,"throttled_periods":0,"throttled_time":0,"bursts_periods":0,"burst_time":0},"schedstat":{"run_time":0,"runqueue_time":0,"run_periods":0},"load_average":0,"load_d_average":0},"cpu_inst":{"usage":{"total":1500000000,"per_cpu_usage":[500000000,1000000000],"user":1000000000,"system":0}},"memory":{"usage":4096,"max_usage":0,"cache":0,"rss":0,"swap":0,"mapped_file":0,"working_set":2048,"total_active_file":0,"total_inactive_file":0,"file_dirty":0,"file_writeback":0,"pgscan":0,"pgsteal":0,"workingset_refault_file":0,"workingset_refault_anon":0,"failcnt":0,"kernel":0,"container_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"hierarchical_data":{"pgfault":0,"pgmajfault":0,"numa_stats":{}},"events":{"high":0,"max":0}},"network":{"interfaces":[{"name":"eth0","rx_bytes":1,"rx_packets":1,"rx_errors":0,"rx_dropped":0,"tx_bytes":1,"tx_packets":1,"tx_errors":0,"tx_dropped":0}],"tcp":{TCP},"tcp6":{TCP},"udp":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"udp6":{"Listen":0,"Dropped":0,"RxQueued":0,"TxQueued":0},"tcp_advanced":{ADVANCED}}}]"#
        ]],
    );
    check(&appended(stats::append_machine, &view("/", spec(), [])), &expect![["null"]]);
}

#[test]
fn another_containers_network_is_not_shown() {
    let identity = IdentityView { network: NetworkOwner::AnotherContainer, ..IdentityView::default() };
    let borrows = ContainerView { identity, ..view("/x", spec(), [sample(0)]) };
    let shown = |append: lists::element::Append| -> serde_json::Value {
        let text = appended(append, &borrows);
        let (_, json) = std::str::from_utf8(&text).unwrap().split_once(':').unwrap();
        serde_json::from_str(json).unwrap()
    };
    let (v20, v21) = (shown(stats::append_deprecated), shown(stats::append));
    assert_eq!((&v20[0]["has_network"], v20[0]["network"].get("interfaces")), (&false.into(), None));
    assert_eq!((&v21["spec"]["has_network"], v21["stats"][0].get("network")), (&false.into(), None));
}

#[test]
fn cpu_inst_ends_where_a_counter_was_reset() {
    let text = appended(stats::append, &view("/x", spec(), [sample(0), sample(2), sample(1), sample(3)]));
    let (_, json) = std::str::from_utf8(&text).unwrap().split_once(':').unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let totals: Vec<_> = (0..4).map(|at| json["stats"][at]["cpu_inst"]["usage"]["total"].as_u64()).collect();
    assert_eq!(totals, [None, Some(1_500_000_000), None, Some(1_500_000_000)]);
}

#[test]
fn summaries() {
    let percentiles = Percentiles { mean: 10, std: 2, max: 19, fifty: 9, ninety: 17, ninety_five: 18, count: 61 };
    let usage = |percent_complete| Usage { percent_complete, cpu: Some(percentiles), memory: None };
    let summary = Summary {
        at: AT,
        cpu: Some(250),
        memory: Some(Bytes(4096)),
        minute: Some(usage(100)),
        hour: Some(usage(3)),
        day: Some(usage(0)),
    };
    let young = Summary { at: AT, memory: Some(Bytes(1)), ..Summary::default() };
    let name = |text: &str| -> Name { text.as_bytes().into() };
    let object = |all: Vec<(Name, Option<Summary>)>| {
        let mut out = Vec::new();
        let mut append = responses::object(all, |out, (name, summary)| summary::append(out, &name, summary));
        while append(&mut out) == responses::More::Follows {}
        out
    };
    let all = vec![(name("/x"), Some(summary)), (name("/y"), Some(young)), (name("/z"), None)];
    check(
        &object(all),
        &expect![[
            r#"{"/x":{"timestamp":"2024-01-02T03:04:05.12Z","latest_usage":{"cpu":250,"memory":4096},"minute_usage":{"percent_complete":100,"cpu":{"present":true,"mean":10,"std":2,"max":19,"fifty":9,"ninety":17,"ninetyfive":18,"count":61},"memory":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0}},"hour_usage":{"percent_complete":3,"cpu":{"present":true,"mean":10,"std":2,"max":19,"fifty":9,"ninety":17,"ninetyfive":18,"count":61},"memory":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0}},"day_usage":{"percent_complete":0,"cpu":{"present":true,"mean":10,"std":2,"max":19,"fifty":9,"ninety":17,"ninetyfive":18,"count":61},"memory":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0}}},"/y":{"timestamp":"2024-01-02T03:04:05.12Z","latest_usage":{"cpu":0,"memory":1},"minute_usage":{"percent_complete":0,"cpu":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0},"memory":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0}},"hour_usage":{"percent_complete":0,"cpu":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0},"memory":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0}},"day_usage":{"percent_complete":0,"cpu":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0},"memory":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0}}},"/z":{"timestamp":"0001-01-01T00:00:00Z","latest_usage":{"cpu":0,"memory":0},"minute_usage":{"percent_complete":0,"cpu":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0},"memory":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0}},"hour_usage":{"percent_complete":0,"cpu":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0},"memory":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0}},"day_usage":{"percent_complete":0,"cpu":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0},"memory":{"present":false,"mean":0,"std":0,"max":0,"fifty":0,"ninety":0,"ninetyfive":0,"count":0}}}}"#
        ]],
    );
    check(&object(vec![]), &expect![["{}"]]);
}

#[test]
fn storage_lists() {
    let root = Filesystem {
        device: "/dev/sda1".to_owned(),
        capacity: Bytes(1 << 40),
        inodes: 1000,
        mount_point: "/".to_owned(),
        usage: Bytes(1 << 30),
        available: Bytes(1 << 39),
        inodes_free: 900,
        roles: vec![FilesystemRole::Root],
        uuid: Some("12-AB".to_owned()),
        ..Filesystem::default()
    };
    let run = Filesystem { device: "/run".to_owned(), mount_point: "/run".to_owned(), ..Filesystem::default() };
    let all = Filesystems { at: AT, list: vec![root, run], image_stores: Vec::new() };
    check(
        &storage::render(&all, &Wanted::All).unwrap(),
        &expect![[
            r#"[{"timestamp":"2024-01-02T03:04:05.12Z","device":"/dev/sda1","mountpoint":"/","capacity":1099511627776,"available":549755813888,"usage":1073741824,"labels":["root"],"inodes":1000,"inodes_free":900},{"timestamp":"2024-01-02T03:04:05.12Z","device":"/run","mountpoint":"/run","capacity":0,"available":0,"usage":0,"labels":null,"inodes":0,"inodes_free":0}]"#
        ]],
    );
    check(
        &storage::render(&all, &Wanted::WithUuid("12-AB".to_owned())).unwrap(),
        &expect![[
            r#"{"timestamp":"2024-01-02T03:04:05.12Z","device":"/dev/sda1","mountpoint":"/","capacity":1099511627776,"available":549755813888,"usage":1073741824,"labels":["root"],"inodes":1000,"inodes_free":900}"#
        ]],
    );
    check(&storage::render(&Filesystems::default(), &Wanted::All).unwrap(), &expect![["[]"]]);
    assert_eq!(storage::render(&all, &Wanted::Labelled("root2".into())), Err(StorageError::Label("root2".into())));
    let roles = vec![
        FilesystemRole::Root,
        FilesystemRole::Images(Runtime::Docker),
        FilesystemRole::Images(Runtime::CriO),
        FilesystemRole::Containers(Runtime::CriO),
        FilesystemRole::Images(Runtime::Containerd),
    ];
    let shared = Filesystem { device: "/dev/sda1".to_owned(), roles, ..Filesystem::default() };
    let shared = Filesystems { at: AT, list: vec![shared], image_stores: Vec::new() };
    check(
        &storage::render(&shared, &Wanted::Labelled("crio-images".to_owned())).unwrap(),
        &expect![[
            r#"[{"timestamp":"2024-01-02T03:04:05.12Z","device":"/dev/sda1","mountpoint":"","capacity":0,"available":0,"usage":0,"labels":["root","docker-images","crio-images","crio-containers","containerd-images"],"inodes":0,"inodes_free":0}]"#
        ]],
    );
    assert_eq!(Wanted::parse("label=&uuid="), Wanted::All);
    assert_eq!(Wanted::parse("label=a&uuid=b&label=c"), Wanted::WithUuid("b".to_owned()));
    assert_eq!(Wanted::parse("label=a&label=c"), Wanted::Labelled("a".to_owned()));
}

#[test]
fn process_listings() {
    let process = Process {
        user: "www-data".to_owned(),
        pid: 42,
        parent: 1,
        started: WallTime(AT.0 - 3_600_000_000_000),
        cpu_permille: 1234,
        memory_permille: Some(5),
        resident: Bytes(4096),
        virtual_size: Bytes(8192),
        status: "Ssl".to_owned(),
        cpu_time: Nanos(62_000_000_000),
        cgroup: b"/a/\xff".as_slice().into(),
        command: b"a (b) \"c\"".as_slice().into(),
        descriptors: Some(7),
        processor: 1,
    };
    let zombie = Process {
        user: "1000".to_owned(),
        status: "Z".to_owned(),
        memory_permille: None,
        command: b"sh".as_slice().into(),
        descriptors: None,
        ..process.clone()
    };
    let list = ProcessList { at: AT, processes: vec![process, zombie] };
    check(
        &whole(processes::pieces(list.clone(), CgroupPaths::Shown)),
        &expect![[
            r#"[{"user":"www-data","pid":42,"parent_pid":1,"start_time":"02:04","percent_cpu":123.4,"percent_mem":0.5,"rss":4096,"virtual_size":8192,"status":"Ssl","running_time":"00:01:02","cgroup_path":"/a/\ufffd","cmd":"a (b) \"c\"","fd_count":7,"psr":1},{"user":"1000","pid":42,"parent_pid":1,"start_time":"02:04","percent_cpu":123.4,"percent_mem":0,"rss":4096,"virtual_size":8192,"status":"Z","running_time":"00:01:02","cgroup_path":"/a/\ufffd","cmd":"sh \u003cdefunct\u003e","fd_count":0,"psr":1}]"#
        ]],
    );
    let blank = String::from_utf8(whole(processes::pieces(list, CgroupPaths::Blank))).unwrap();
    assert_eq!(blank.matches(r#""cgroup_path":"""#).count(), 2);
    check(&whole(processes::pieces(ProcessList::default(), CgroupPaths::Shown)), &expect![["[]"]]);
}

#[test]
fn machine_attributes() {
    let machine = Machine {
        at: AT,
        kernel_release: "6.1.0-1".to_owned(),
        os: Some(OsRelease { pretty_name: Some("Debian".to_owned()) }),
        cpus: CpuCounts { online: 2, cores: Some(2), sockets: Some(1), ..CpuCounts::default() },
        cpu_frequency_khz: Some(2_000_000),
        memory: Some(Bytes(1 << 30)),
        machine_id: Some("m".to_owned()),
        system_uuid: Some("s".to_owned()),
        boot_id: Some("b".to_owned()),
        network_devices: Some(vec![]),
        ..Machine::default()
    };
    check(
        &attributes::render(&machine, "v1.2.3"),
        &expect![[
            r#"{"kernel_version":"6.1.0-1","container_os_version":"Debian","docker_version":"","docker_api_version":"","cadvisor_version":"v1.2.3","num_cores":2,"cpu_frequency_khz":2000000,"memory_capacity":1073741824,"machine_id":"m","system_uuid":"s","hugepages":null,"filesystems":null,"disk_map":null,"network_devices":[],"topology":null,"cloud_provider":"Unknown","instance_type":"Unknown"}"#
        ]],
    );
}
