//! Golden output of every structure.

use std::sync::Arc;

use expect_test::{Expect, expect};

use super::*;
use crate::sample::container::*;
use crate::sample::machine::*;
use crate::sample::process::{Process, ProcessList};
use crate::sample::spec::{CpuSpec, MemoryLimit, MemorySpec, Spec};
use crate::store::summary::{Percentiles, Summary, Usage};
use crate::units::{Bytes, Limit, Micros, Nanos, WallTime};
use crate::views::{ContainerView, Identity};

/// 2024-01-02T03:04:05.12Z.
const AT: WallTime = WallTime(1_704_164_645_120_000_000);

fn check(bytes: &[u8], expected: &Expect) {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let text = text.replace(&zeros(crate::views::cadvisor_v1::network::TCP_ADVANCED), "{ADVANCED}");
    let text = text.replace(&zeros(crate::views::cadvisor_v1::network::TCP), "{TCP}");
    expected.assert_eq(&text);
}

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
        }),
        processes: Some(Limit::Value(100)),
        has_hugetlb: true,
        has_network: true,
        has_diskio: true,
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
        processes: Some(Processes { count: 2, descriptors: Some(9), sockets: Some(1), ..Processes::default() }),
        hugetlb: Some(vec![Hugetlb { page_size: "2MB".into(), usage: Bytes(2 << 20), max_usage: None, failcnt: 0 }]),
        network: Some(Network { interfaces: vec![Interface { name: "eth0".into(), receive: one, transmit: one }] }),
        ..Sample::default()
    }
}

fn view(name: &str, spec: Spec, samples: impl IntoIterator<Item = Sample>) -> ContainerView {
    let samples = samples.into_iter().map(Arc::new).collect();
    ContainerView { name: name.as_bytes().into(), spec, samples, ..ContainerView::default() }
}

fn appended(append: responses::Append, view: &ContainerView) -> Vec<u8> {
    let mut out = Vec::new();
    append(&mut out, view, Bytes(25_000_000_000));
    out
}

#[test]
fn specs() {
    let identity = Identity {
        id: "abc".to_owned(),
        aliases: vec!["web".to_owned(), "abc".to_owned()],
        namespace: "docker".to_owned(),
        labels: [("a".to_owned(), "<b>".to_owned())].into(),
        envs: [("PATH".to_owned(), "/bin".to_owned())].into(),
        image: "nginx:1".to_owned(),
    };
    let whole = ContainerView { identity, ..view("/docker/abc", spec(), []) };
    check(&appended(spec::append, &whole), &expect![[""]]);
    check(&appended(spec::append, &view("/x", Spec::default(), [])), &expect![[""]]);
}

#[test]
fn deprecated_stats() {
    let whole = view("/x", spec(), [sample(0), sample(1)]);
    check(&appended(stats::append_deprecated, &whole), &expect![[""]]);
    let bare = view("/y", Spec::default(), [Sample { at: AT, ..Sample::default() }]);
    check(&appended(stats::append_deprecated, &bare), &expect![[""]]);
    check(&appended(stats::append_deprecated, &view("/z", spec(), [])), &expect![[""]]);
}

#[test]
fn container_stats() {
    let whole = view("/x", spec(), [sample(0), sample(1)]);
    check(&appended(stats::append, &whole), &expect![[""]]);
    // Another container's network is not shown as this one's.
    let shared =
        view("/y", Spec { has_network: false, ..Spec::default() }, [Sample { cpu: None, memory: None, ..sample(0) }]);
    check(&appended(stats::append, &shared), &expect![[""]]);
    check(&appended(stats::append, &view("/z", Spec::default(), [])), &expect![[""]]);
}

#[test]
fn machine_stats() {
    check(&stats::machine(&view("/", spec(), [sample(0), sample(1)])), &expect![[""]]);
    check(&stats::machine(&view("/", spec(), [])), &expect![["null"]]);
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
    let all = [(name("/x"), Some(summary)), (name("/y"), Some(young)), (name("/z"), None)];
    check(&summary::render(all), &expect![[""]]);
    check(&summary::render([]), &expect![["{}"]]);
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
        role: FilesystemRole::Root,
        uuid: Some("12-AB".to_owned()),
        ..Filesystem::default()
    };
    let run = Filesystem { device: "/run".to_owned(), mount_point: "/run".to_owned(), ..Filesystem::default() };
    let all = Filesystems { at: AT, list: vec![root, run] };
    check(&storage::render(&all, &Wanted::All).unwrap(), &expect![[""]]);
    check(&storage::render(&all, &Wanted::WithUuid("12-AB".to_owned())).unwrap(), &expect![[""]]);
    check(&storage::render(&Filesystems::default(), &Wanted::All).unwrap(), &expect![["[]"]]);
    assert_eq!(storage::render(&all, &Wanted::Labelled("root2".into())), Err(StorageError::Label("root2".into())));
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
    check(&processes::render(&list, CgroupPaths::Shown), &expect![[""]]);
    let blank = String::from_utf8(processes::render(&list, CgroupPaths::Blank).to_vec()).unwrap();
    assert_eq!(blank.matches(r#""cgroup_path":"""#).count(), 2);
    check(&processes::render(&ProcessList::default(), CgroupPaths::Shown), &expect![["[]"]]);
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
    check(&attributes::render(&machine, "v1.2.3"), &expect![[""]]);
}
