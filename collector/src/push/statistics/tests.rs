//! The table is complete, and its names are those that others have.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use expect_test::expect_file;

use super::*;
use crate::sample::container::{Cpu, Memory};
use crate::sample::exit::{Exit, Rank, Status};
use crate::sample::filesystem::DiskUsage;
use crate::sample::identity::Runtime;
use crate::sample::machine::{Filesystem, Filesystems};
use crate::sample::network_cgroup::{NetworkCgroup, NetworkNamespace, Passed};
use crate::sample::pods::{PodFiles, Volume, VolumeFilesystem, VolumeKind};
use crate::sample::run_queue::RunQueue;
use crate::store::peaks::Peaks;
use crate::units::{Bytes, Nanos, WallTime};

/// Families of `/metrics` about containers that have no row, and where their meaning is.
const ELSEWHERE: &[(&str, &str)] = &[
    ("container_blkio_device_usage_total", "in the row `io.service_bytes`"),
    ("container_fs_sector_writes_total", "in the row `io.sectors`, by operation"),
    ("container_fs_write_seconds_total", "in the row `io.service_time`, by operation"),
    ("container_fs_writes_bytes_total", "in the row `io.service_bytes`, by operation"),
    ("container_fs_writes_merged_total", "in the row `io.merged`, by operation"),
    ("container_fs_writes_total", "in the row `io.serviced`, by operation"),
    ("container_info", "OTLP: the attributes of each resource; InfluxDB: the tags of each point"),
    ("container_last_seen", "the time of each point"),
];

/// Rows of `collector statistics`, as the end-to-end tests hold the page against every kernel.
fn listed() -> BTreeSet<&'static str> {
    let page = include_str!("../../../../docs/statistics.md");
    let (_, table) = page.split_once("<!-- table:statistics -->").unwrap();
    let (table, _) = table.split_once("<!-- /table:statistics -->").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.filter(|name| *name != "statistic" && !name.starts_with('-')).collect()
}

#[test]
fn every_statistic_is_pushed() {
    let pushed: BTreeSet<_> = ROWS.iter().map(|row| row.statistic).filter(|name| !name.is_empty()).collect();
    assert_eq!(pushed, listed());
    for statistic in &pushed {
        let rows = || ROWS.iter().filter(|row| row.statistic == *statistic);
        assert!(rows().any(|row| !row.otlp.is_empty()), "{statistic} has no metric of OTLP");
        assert!(rows().any(|row| !row.influx.is_empty()), "{statistic} has no measurement of InfluxDB");
    }
}

#[test]
fn names_are_those_that_others_have() {
    // What /metrics and the API answer with everything on.
    let metrics = [
        include_str!("../../api/prometheus/tests/golden/v1_everything.txt"),
        include_str!("../../api/prometheus/tests/golden/v2.txt"),
        include_str!("../../api/prometheus/tests/golden/v2_recommended.txt"),
        include_str!("../../../../docs/metrics.md"),
    ];
    for row in ROWS.iter().filter(|row| !row.prometheus.is_empty()) {
        assert!(metrics.iter().any(|page| page.contains(row.prometheus)), "{}", row.prometheus);
    }
    for (family, _) in ELSEWHERE {
        assert!(ROWS.iter().all(|row| row.prometheus != *family), "{family} has a row");
    }
    for Histogram { prometheus, .. } in HISTOGRAMS {
        assert!(metrics[3].contains(prometheus), "{prometheus}");
    }
    let api = [
        include_str!("../../api/golden/v1_container_full.json"),
        include_str!("../../api/golden/v2_1_stats_full.json"),
        include_str!("../../../../docs/api.md"),
        include_str!("../../../../docs/statistics.md"),
    ];
    for row in ROWS.iter().filter(|row| !row.json.is_empty()) {
        let key = row.json.rsplit('.').next().unwrap();
        assert!(api.iter().any(|page| page.contains(&format!("\"{key}\""))), "{}", row.json);
    }
    for Histogram { json, .. } in HISTOGRAMS {
        let key = json.rsplit('.').next().unwrap();
        assert!(api[1].contains(&format!("\"{key}\"")), "{json}");
    }
}

#[test]
fn a_metric_is_one() {
    for (position, row) in ROWS.iter().enumerate().filter(|(_, row)| !row.otlp.is_empty()) {
        let others = ROWS[position + 1..].iter().filter(|other| other.otlp == row.otlp);
        for other in others {
            assert_eq!((row.kind, row.unit, row.detail), (other.kind, other.unit, other.detail), "{}", row.otlp);
            assert_ne!((row.attributes, row.statistic), (other.attributes, other.statistic), "{}", row.otlp);
        }
        let last = ROWS[position..].iter().rposition(|other| other.otlp == row.otlp).unwrap();
        assert!(
            ROWS[position..=position + last].iter().all(|other| other.otlp == row.otlp),
            "{} is torn apart",
            row.otlp
        );
    }
}

#[test]
fn what_could_not_be_read_is_absent() {
    let memory = Memory { usage: Bytes(5), ..Memory::default() };
    let cpu = Cpu { total: Nanos(7), ..Cpu::default() };
    let mut sample = Sample { cpu: Some(cpu), memory: Some(memory), ..Sample::default() };
    let spec = Spec::default();
    let values = |sample: &Sample, statistic: &str| {
        let seen = Seen { sample, spec: &spec, identity: None, storage: None, beside: None, machine_memory: None };
        let rows = ROWS.iter().filter(|row| row.statistic == statistic);
        rows.flat_map(|row| row.points(&seen)).map(|point| point.number).collect::<Vec<_>>()
    };
    assert_eq!(values(&sample, "memory.usage"), [Number::Count(5)]);
    assert_eq!(values(&sample, "cpu.usage.total"), [Number::Nanos(7)]);
    assert_eq!(values(&sample, "memory.swap"), []);
    sample.unread.add(Part::MemoryUsage);
    sample.unread.add(Part::CpuTotal);
    assert_eq!(values(&sample, "memory.usage"), []);
    assert_eq!(values(&sample, "cpu.usage.total"), []);
}

#[test]
fn what_is_known_beside_samples_is_pushed() {
    let passed = |bytes, packets| Passed { bytes: Bytes(bytes), packets };
    let exit = Exit {
        at: WallTime(5),
        pid: 7,
        command: b"web".as_slice().into(),
        status: Status::Signal { number: 9, core_dumped: false },
        rank: Rank::First,
        lasted: Nanos(1),
        signal: None,
        oom: None,
    };
    let behind = vec![(b"/other".as_slice().into(), Nanos(4))];
    let volume = |name: &str, kind, bytes| Volume {
        name: name.to_owned(),
        kind,
        filesystem: VolumeFilesystem::default(),
        used: Some(DiskUsage { bytes: Bytes(bytes), inodes: None }),
        at: WallTime(1),
    };
    let volumes = vec![volume("data", VolumeKind::LocalEphemeral, 8), volume("token", VolumeKind::Ephemeral, 9)];
    let machine = Filesystem { device: "/dev/sda".into(), capacity: Bytes(90), inodes: 7, ..Filesystem::default() };
    let filesystems = Filesystems { list: vec![machine.clone(), machine], ..Filesystems::default() };
    let beside = Beside {
        run_queue: Some(Arc::new(RunQueue { throttled: Nanos(3), own: Nanos(2), behind, ..RunQueue::default() })),
        network_cgroup: Some(NetworkCgroup {
            receive: passed(10, 1),
            transmit: passed(20, 2),
            namespace: Some(NetworkNamespace::Host),
        }),
        peaks: Peaks { memory: Some(Bytes(6)), cpu: Some(1500), ..Peaks::default() },
        exit: Some(Arc::new(exit)),
        restarts: Some(4),
        pod: Some(PodStorage {
            files: Some(Arc::new(PodFiles { volumes, ..PodFiles::default() })),
            used: Some(Bytes(11)),
        }),
        machine: Some(OfMachine { filesystems: Some(Arc::new(filesystems)), exits: [1, 2, 3, 4, 5] }),
        ..Beside::default()
    };
    let (sample, spec) = (Sample::default(), Spec::default());
    let mut identity = Identity::from_path(Runtime::Docker, "abc".to_owned());
    identity.health = Some("starting".to_owned());
    let seen = Seen {
        sample: &sample,
        spec: &spec,
        identity: Some(&identity),
        storage: None,
        beside: Some(&beside),
        machine_memory: None,
    };
    let mut lines = Vec::new();
    for row in ROWS.iter().filter(|row| row.statistic.is_empty()) {
        for Point { number, labels } in row.points(&seen) {
            let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{}={value}", label.attribute())).collect();
            lines.push(format!("{} {number:?} {}", row.otlp, labels.join(",")));
        }
    }
    assert_eq!(
        lines,
        [
            "container.filesystem.usage Count(0) system.device=/dev/sda",
            "container.filesystem.capacity Count(90) system.device=/dev/sda",
            "container.filesystem.inode.used Count(7) system.device=/dev/sda",
            "container.filesystem.inode.count Count(7) system.device=/dev/sda",
            "container.filesystem.inode.free Count(0) system.device=/dev/sda",
            "k8s.pod.volume.usage Count(8) k8s.volume.name=data",
            "k8s.pod.filesystem.usage Count(11) ",
            "container.memory.usage.peak Count(6) ",
            "container.cpu.usage.peak Thousandths(1500) ",
            "container.cpu.schedule.throttled.time Nanos(3) ",
            "container.cpu.schedule.own.time Nanos(2) ",
            "container.cpu.schedule.aggressor.time Nanos(4) aggressor.cgroup.path=/other",
            "container.network.cgroup.io Count(10) network.namespace=host",
            "container.network.cgroup.io Count(20) network.namespace=host",
            "container.network.cgroup.packets Count(1) network.namespace=host",
            "container.network.cgroup.packets Count(2) network.namespace=host",
            "container.exit.code Signed(137) container.exit.reason=crash,container.exit.signal=SIGKILL",
            "container.exit.count Count(1) container.exit.reason=completed",
            "container.exit.count Count(2) container.exit.reason=error",
            "container.exit.count Count(3) container.exit.reason=crash",
            "container.exit.count Count(4) container.exit.reason=signal",
            "container.exit.count Count(5) container.exit.reason=oom",
            "container.restart.count Count(4) ",
            "container.health.state Count(0) ",
        ]
    );
}

#[test]
fn the_page_of_names_is_current() {
    let mut page = String::from(
        "# Names of what is pushed\n\n\
         Written from the table that the encoders of OTLP, InfluxDB and statsd are loops over \
         (`collector/src/push/statistics/rows.rs`); a test holds it against the rows of \
         [`collector statistics`](statistics.md). Names of OTLP are the semantic conventions' (1.44) where they have one, \
         else in the same style. What is marked with * has many values for each container and is pushed by OTLP with \
         `--otlp_details` alone. Remote write has the families of Prometheus. Times are in seconds, but in nanoseconds in \
         InfluxDB, statsd and JSON; InfluxDB has `peak_cpu` in thousandths of a core, and shares in hundredths of a percent. Measurements that cAdvisor's storage driver has carry its names. – is what that format \
         does not have. Attributes of OTLP's resources (`host.*`, `container.*`, `k8s.*` and others) are not in this table \
         but in `collector/src/push/otlp/encode.rs`.\n\n\
         | statistic | Prometheus | OTLP | InfluxDB | statsd | JSON |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let code = |text: &str| if text.is_empty() { "–".to_owned() } else { format!("`{text}`") };
    for row in ROWS {
        let mut otlp = code(row.otlp);
        if !row.otlp.is_empty() {
            let fixed: Vec<_> = row.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let kind = match row.kind {
                Kind::Counter => "counter",
                Kind::UpDownCounter => "up-down counter",
                Kind::Gauge => "gauge",
            };
            write!(otlp, "{} {kind}, {}", if row.detail == Detail::OnRequest { "*" } else { "" }, row.unit).unwrap();
            if !fixed.is_empty() {
                write!(otlp, ", {}", fixed.join(", ")).unwrap();
            }
        }
        let influx = match row.tags {
            [] => code(row.influx),
            tags => {
                let tags: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("`{}` {}", row.influx, tags.join(", "))
            }
        };
        let statistic = if row.statistic.is_empty() { "–" } else { row.statistic };
        writeln!(
            page,
            "| {statistic} | {} | {otlp} | {influx} | {} | {} |",
            code(row.prometheus),
            code(row.statsd),
            code(row.json)
        )
        .unwrap();
    }
    page.push_str(
        "\n## Histograms\n\n\
         Of the kinds `runqueue` and `blocklatency`, in seconds. OTLP has them with every bucket of the programs (histograms with \
         explicit bounds), remote write as the series of `/metrics`. InfluxDB has as many points for each: `_bucket` with what \
         took no longer than the tag `le` (in seconds), `_count`, and `_sum` in nanoseconds. statsd does not have them.\n\n\
         | Prometheus | OTLP | InfluxDB | JSON |\n| --- | --- | --- | --- |\n",
    );
    for Histogram { otlp, prometheus, influx, json, .. } in HISTOGRAMS {
        let influx = format!("`{influx}_bucket`, `_count`, `_sum`");
        writeln!(page, "| {} | {} histogram, s | {influx} | {} |", code(prometheus), code(otlp), code(json)).unwrap();
    }
    page.push_str(
        "\n## Families without a row\n\n\
         Every other family of `/metrics` that is about containers has a row above; a test holds this page against them.\n\n\
         | Prometheus | where it is |\n| --- | --- |\n",
    );
    for (family, place) in ELSEWHERE {
        writeln!(page, "| {} | {place} |", code(family)).unwrap();
    }
    page.push_str(
        "\nOTLP also has `container.uptime` (gauge, s; in place of a start time) and `container.cpu.usage` (gauge, {cpu}), which are \
         computed. `aggressor.cgroup.path`, `network.namespace`, `container.exit.reason` and other attributes that distinguish \
         values are in `collector/src/push/statistics.rs`, with the tags of InfluxDB.\n",
    );
    expect_file!["../../../../docs/push-names.md"].assert_eq(&page);
}
