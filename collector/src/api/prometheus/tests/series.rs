//! Which series there are of what, and that none is there twice.

use std::sync::Arc;

use proptest::prelude::*;

use super::fixture::{SECOND, everything, name, running, snapshot, text, v1_sample, v2_sample};
use super::parsed::Parsed;
use crate::api::prometheus::labels::sanitised;
use crate::api::prometheus::{
    ContainerLabels, Endpoint, Entry, ExpositionOptions, Format, LabelSet, Life, Profile, Scrape, Snapshot,
};
use crate::sample::container::{Cpu, Memory, Sample};
use crate::sample::identity::{Identity, Runtime};
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::spec::Spec;
use crate::units::{Bytes, Nanos, WallTime};

fn render(snapshot: &Snapshot, options: &ExpositionOptions) -> Parsed {
    Parsed::new(&text(snapshot, options, Scrape::default()))
}

fn of(entries: Vec<Entry>) -> Snapshot {
    Snapshot { containers: entries, ..Snapshot::default() }
}

#[test]
fn cadvisors_known_faults_are_right() {
    let parsed = render(&snapshot(v1_sample()), &everything());
    let root = |family, labels: &[(&str, &str)]| {
        let labels = [&[("id", "/")], labels].concat();
        parsed.value(family, &labels).map(str::to_owned)
    };
    // Milliseconds of /proc/diskstats as seconds; cAdvisor says 2.7e-08.
    let read = "container_fs_read_seconds_total";
    assert_eq!(root(read, &[("device", "/dev/vda1")]).as_deref(), Some("0.027"));
    // A file system on a whole disk: the cgroup's own count, in nanoseconds.
    assert_eq!(root(read, &[("device", "/dev/vda")]).as_deref(), Some("0.027"));
    assert_eq!(
        root("container_fs_io_time_weighted_seconds_total", &[("device", "/dev/vda")]).as_deref(),
        Some("1.527")
    );
    // Queues the right way round.
    let udp = "container_network_udp_usage_total";
    assert_eq!(root(udp, &[("udp_state", "rxqueued")]).as_deref(), Some("512"));
    assert_eq!(root(udp, &[("udp_state", "txqueued")]).as_deref(), Some("64"));
    // Devices without a name stay apart.
    let bytes = "container_fs_reads_bytes_total";
    assert_eq!(root(bytes, &[("device", "254:16")]).as_deref(), Some("4096"));
    assert_eq!(root(bytes, &[("device", "254:32")]).as_deref(), Some("1"));
    // What was killed counts for its own container.
    assert_eq!(parsed.value("container_oom_events_total", &[("id", "/docker/d0c")]), Some("2"));
}

#[test]
fn a_limit_of_the_containers_own_goes_before_the_size_of_its_file_system() {
    let mut snapshot = snapshot(v2_sample());
    let limit = |snapshot: &Snapshot| {
        let parsed = render(snapshot, &ExpositionOptions::default());
        parsed.value("container_fs_limit_bytes", &[("id", "/docker/d0c")]).map(str::to_owned)
    };
    assert_eq!(limit(&snapshot).as_deref(), Some("5e+10"));
    for storage in snapshot.containers.iter_mut().filter_map(|entry| entry.storage.as_mut()) {
        Arc::make_mut(storage).limit = Some(Bytes(1 << 20));
    }
    assert_eq!(limit(&snapshot).as_deref(), Some("1.048576e+06"));
}

#[test]
fn values_that_the_kernel_lacks() {
    let sample = Sample { cpu: Some(Cpu { total: Nanos(1), ..Cpu::default() }), ..Sample::default() };
    let with_memory = Sample { memory: Some(Memory::default()), ..sample.clone() };
    let entry = |sample| Entry { spec: Spec::default(), ..running("/x", sample) };
    let compatible = render(&of(vec![entry(with_memory)]), &everything());
    for zero in [
        "container_cpu_user_seconds_total",
        "container_memory_usage_bytes",
        "container_memory_failcnt",
        "container_pressure_cpu_waiting_seconds_total",
        "container_cpu_load_average_10s",
        "container_oom_events_total",
    ] {
        assert_eq!(compatible.value(zero, &[]), Some("0"), "{zero}");
    }
    assert_eq!(compatible.of("container_tasks_state").count(), 5);
    for absent in [
        "container_pressure_io_waiting_seconds_total",
        "container_processes",
        "container_network_receive_bytes_total",
        "container_spec_cpu_period",
        "container_creation_time_seconds",
        "container_cpu_cfs_periods_total",
    ] {
        assert!(!compatible.has_family(absent), "{absent}");
    }
    let without_memory = render(&of(vec![entry(sample.clone())]), &everything());
    assert!(!without_memory.has_family("container_memory_usage_bytes"), "no memory is not 0");
    let recommended =
        render(&of(vec![entry(sample)]), &ExpositionOptions { profile: Profile::Recommended, ..everything() });
    let names: Vec<_> = recommended.series.iter().map(|series| series.name.as_str()).collect();
    let reported: Vec<_> = names.into_iter().filter(|name| name.starts_with("container_")).collect();
    assert_eq!(reported, ["container_cpu_usage_seconds_total", "container_oom_events_total", "container_scrape_error"]);
}

#[test]
fn cpu_time_per_cpu_or_in_all() {
    let usage = |options: &ExpositionOptions, scrape: Scrape| {
        let parsed = Parsed::new(&text(&snapshot(v1_sample()), options, scrape));
        let mut cpus: Vec<_> = parsed
            .of("container_cpu_usage_seconds_total")
            .filter(|series| series.label("id") == "/")
            .map(|series| (series.label("cpu").to_owned(), series.value.clone()))
            .collect();
        cpus.sort();
        cpus
    };
    let pair = |cpu: &str, value: &str| (cpu.to_owned(), value.to_owned());
    let total = vec![pair("total", "43.210987654")];
    assert_eq!(usage(&everything(), Scrape::default()), [pair("cpu00", "40"), pair("cpu02", "3.210987654")]);
    let kubelet = Scrape { endpoint: Endpoint::Kubelet, ..Scrape::default() };
    assert_eq!(usage(&everything(), kubelet), total);
    let off = ExpositionOptions { kinds: KindSet::all().without([MetricKind::PerCpu]), ..ExpositionOptions::default() };
    assert_eq!(usage(&off, Scrape::default()), total);
    assert_eq!(usage(&ExpositionOptions { profile: Profile::Recommended, ..everything() }, Scrape::default()), total);
}

#[test]
fn of_ended_containers_counters_stay() {
    let parsed = render(&snapshot(v2_sample()), &everything());
    let mut counted = 0;
    for series in parsed.series.iter().filter(|series| series.label("id") == "/docker/gone") {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.name.strip_suffix(suffix));
        let family = of_histogram.filter(|name| parsed.has_family(name)).unwrap_or(&series.name);
        let (_, kind) = parsed.families.iter().find(|(name, _)| name == family).unwrap();
        let is_kept = ["counter", "histogram"].contains(&kind.as_str()) || series.name == "container_last_seen";
        assert!(is_kept, "{}", series.name);
        assert_eq!(series.label("name"), "web-1");
        counted += 1;
    }
    assert!(counted > 30, "{counted}");
    assert_eq!(
        parsed.value("container_cpu_usage_seconds_total", &[("id", "/docker/gone")]),
        parsed.value("container_cpu_usage_seconds_total", &[("id", "/docker/d0c")])
    );
    // One that was killed before it was ever read.
    let killed: Vec<_> = parsed.series.iter().filter(|series| series.label("id") == "/unsampled/killed").collect();
    assert_eq!((killed.len(), killed[0].name.as_str()), (1, "container_oom_events_total"));
    assert!(parsed.series.iter().all(|series| series.label("id") != "/unsampled"));
}

#[test]
fn labels_of_containers_can_be_chosen() {
    let labels = |labels: ContainerLabels| {
        let options = ExpositionOptions { labels: LabelSet::Cadvisor(labels), ..ExpositionOptions::default() };
        let parsed = render(&snapshot(v2_sample()), &options);
        let found = parsed.of("container_memory_usage_bytes").find(|series| series.label("id") == "/docker/d0c");
        found.unwrap().labels.keys().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(labels(ContainerLabels::Only(vec![])), "container_env_stage id image name");
    let one = ContainerLabels::Only(vec!["com.example/team".to_owned(), "no such".to_owned()]);
    assert_eq!(labels(one), "container_env_stage container_label_com_example_team id image name");
    // A node without runtimes has ids alone.
    let bare = render(&of(vec![running("/a", v1_sample())]), &ExpositionOptions::default());
    assert!(bare.of("container_memory_rss").all(|series| series.labels.keys().eq(["id"])));
}

#[test]
fn labels_with_one_name_are_one() {
    let identity = |id: &str, labels: &[(&str, &str)]| Identity {
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Identity::from_path(Runtime::Docker, id.to_owned())
    };
    let entry =
        |path: &str, labels| Entry { identity: Some(Arc::new(identity("x", labels))), ..running(path, v2_sample()) };
    let entries = vec![
        entry("/1", &[("a.b", ""), ("a_b", "second"), ("a-b", "")]),
        entry("/2", &[("a.b", "dot"), ("a-b", "dash")]),
        entry("/3", &[("a/b", "slash")]),
        entry("/4", &[("ä\u{1F600}b", "two letters")]),
    ];
    let parsed = render(&of(entries), &ExpositionOptions::default());
    let values: Vec<_> =
        parsed.of("container_memory_rss").map(|series| series.label("container_label_a_b").to_owned()).collect();
    assert_eq!(values, ["second", "dash", "slash", ""]);
    assert_eq!(sanitised("container_label_", "ä\u{1F600}b"), "container_label___b");
    assert_eq!(parsed.value("container_memory_rss", &[("container_label___b", "two letters")]), Some("3.1e+07"));
}

/// The kind of fault where one container with many labels makes everybody's series long.
#[test]
fn a_containers_labels_are_on_its_own_series_alone() {
    let labelled = Identity {
        labels: (0..2000).map(|number| (format!("key.{number}"), format!("value {number}"))).collect(),
        ..Identity::from_path(Runtime::Docker, "x".to_owned())
    };
    let with = Entry { identity: Some(Arc::new(labelled)), ..running("/labelled", v2_sample()) };
    let without: Vec<Entry> = (0..50).map(|number| running(&format!("/other-{number}"), v2_sample())).collect();
    let scrape = Scrape::default();
    let alone = text(&of(vec![with.clone()]), &everything(), scrape).len();
    let others = text(&of(without.clone()), &everything(), scrape).len();
    let all = text(&of([vec![with], without].concat()), &everything(), scrape);
    assert!(all.len() < alone + others, "{} bytes for {alone} and {others}", all.len());
    let parsed = Parsed::new(&all);
    let labels =
        |id: &str| parsed.of("container_memory_rss").find(|series| series.label("id") == id).unwrap().labels.len();
    assert_eq!((labels("/labelled"), labels("/other-7")), (2001, 1));
}

#[test]
fn pods_are_reported_by_the_containers_in_them() {
    let scrape = Scrape { endpoint: Endpoint::Kubelet, ..Scrape::default() };
    let parsed = Parsed::new(&text(&snapshot(v2_sample()), &ExpositionOptions::default(), scrape));
    let labels = |id: &str| {
        let found = parsed.of("container_memory_rss").find(|series| series.label("id") == id).unwrap();
        ["container", "image", "name", "namespace", "pod"].map(|label| found.label(label).to_owned())
    };
    assert_eq!(labels("/kubepods/burstable/pod1234/c0de"), ["app", "registry/app:2", "c0de", "shop", "app-7f"]);
    assert_eq!(labels("/kubepods/burstable/pod1234"), ["", "", "", "shop", "app-7f"]);
    assert_eq!(labels("/docker/d0c"), ["", "registry/web:1", "web-1", "", ""]);
    assert_eq!(labels("/"), ["", "", "", "", ""]);
    assert!(!parsed.has_family("collector_containers"));
}

#[test]
fn only_one_runtimes_containers() {
    let ids = |only| {
        let scrape = Scrape { only: Some(only), ..Scrape::default() };
        let parsed = Parsed::new(&text(&snapshot(v2_sample()), &ExpositionOptions::default(), scrape));
        parsed.of("container_memory_rss").map(|series| series.label("id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(Runtime::Docker), ["/docker/d0c"]);
    assert_eq!(ids(Runtime::Podman), [] as [&str; 0]);
}

#[test]
fn openmetrics_has_units_and_exemplars() {
    let scrape = Scrape { format: Format::OpenMetrics, ..Scrape::default() };
    let answer = text(&snapshot(v2_sample()), &everything(), scrape);
    assert!(answer.ends_with("\n# EOF\n"));
    let parsed = Parsed::new(&answer);
    assert_eq!(parsed.units["container_cpu_usage_seconds"], "seconds");
    assert_eq!(parsed.units["container_memory_usage_bytes"], "bytes");
    let kind = |name: &str| parsed.families.iter().find(|(family, _)| family == name).map(|(_, kind)| kind.as_str());
    assert_eq!(kind("container_oom_events"), Some("counter"));
    // Only a name with the suffix can be a counter; the name stays.
    assert_eq!(kind("container_memory_failcnt"), Some("unknown"));
    assert_eq!(kind("container_network_tcp_usage_total"), Some("gauge"));
    let exemplars: Vec<_> = parsed.series.iter().filter_map(|series| series.exemplar.as_deref()).collect();
    assert_eq!(exemplars, ["{command=\"worker \\\"x\\\"\",pid=\"4321\"} 1 1704164645.120"]);
    let same = Parsed::new(&text(&snapshot(v2_sample()), &everything(), Scrape::default()));
    let plain = |parsed: &Parsed| -> Vec<_> {
        parsed.series.iter().map(|series| (series.name.clone(), series.labels.clone(), series.value.clone())).collect()
    };
    assert_eq!(plain(&parsed), plain(&same), "both formats report the same");
}

#[test]
fn names_that_are_not_text_stay_apart() {
    let raw = |bytes: &[u8]| Entry { name: bytes.into(), ..running("", v2_sample()) };
    let entries = vec![raw(b"/a\xef\xbf\xbd"), raw(b"/a\xfe"), raw(b"/a\xff"), raw("/a\u{fffd}#2".as_bytes())];
    let parsed = render(&of(entries), &ExpositionOptions::default());
    let ids: Vec<_> = parsed.of("container_memory_rss").map(|series| series.label("id").to_owned()).collect();
    assert_eq!(ids, ["/a\u{fffd}", "/a\u{fffd}#3", "/a\u{fffd}#4", "/a\u{fffd}#2"]);
}

fn any_identity() -> impl Strategy<Value = Option<Identity>> {
    let runtime = prop::sample::select(vec![Runtime::Docker, Runtime::Podman, Runtime::Containerd, Runtime::CriO]);
    let labels = prop::collection::btree_map("[a-b._/-]{0,3}|.{0,4}", ".{0,3}", 0..4);
    let parts = (runtime, labels.clone(), labels, prop::option::of(".{0,3}"), prop::option::of(".{0,3}"));
    prop::option::of(parts.prop_map(|(runtime, labels, environment, name, image)| {
        let mut identity = Identity::from_path(runtime, "id".to_owned());
        (identity.name, identity.labels, identity.environment, identity.image) = (name, labels, environment, image);
        identity
    }))
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let name = prop::collection::vec(prop::sample::select(b"/ab\"\\\n\xff\xfe".to_vec()), 0..5);
    let sample = prop::sample::select(vec![None, Some(v1_sample()), Some(v2_sample()), Some(Sample::default())]);
    (name, sample, any::<bool>(), any_identity(), 0..3_u64).prop_map(|(name, sample, ended, identity, oom_kills)| {
        Entry {
            name: [b"/", name.as_slice()].concat().as_slice().into(),
            life: if ended { Life::Ended } else { Life::Running },
            sample: sample.map(Arc::new),
            identity: identity.map(Arc::new),
            oom_kills,
            ..Entry::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_series_is_there_twice(
        mut entries in prop::collection::vec(any_entry(), 0..8),
        kubelet: bool,
        recommended: bool,
        open_metrics: bool,
        limit in prop::option::of(200..600_usize),
    ) {
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries.dedup_by(|one, other| one.name == other.name);
        let options = ExpositionOptions {
            labels: if kubelet { LabelSet::Kubelet } else { LabelSet::default() },
            profile: if recommended { Profile::Recommended } else { Profile::Compatible },
            max_series: limit,
            ..everything()
        };
        let scrape = Scrape {
            format: if open_metrics { Format::OpenMetrics } else { Format::Text },
            ..Scrape::default()
        };
        let all = snapshot(v1_sample());
        // The reader fails for a series or a family that is there twice, and for lines that are none.
        let parsed = Parsed::new(&text(&Snapshot { containers: entries, ..all }, &options, scrape));
        if let Some(limit) = limit {
            prop_assert!(parsed.series.len() <= limit, "{} series", parsed.series.len());
        }
    }

    #[test]
    fn numbers_come_through(usage: u64, total: u64, at in 0..u64::MAX / SECOND) {
        let sample = Sample {
            at: WallTime(at),
            cpu: Some(Cpu { total: Nanos(total), ..Cpu::default() }),
            memory: Some(Memory { usage: Bytes(usage), ..Memory::default() }),
            ..Sample::default()
        };
        let parsed = render(&of(vec![running("/x", sample)]), &ExpositionOptions::default());
        let value = |family| parsed.value(family, &[]).map(|value| value.parse::<f64>().unwrap());
        prop_assert_eq!(value("container_memory_usage_bytes"), Some(usage as f64));
        if total > 0 {
            prop_assert_eq!(value("container_cpu_usage_seconds_total"), Some(total as f64 / 1e9));
        }
    }
}

#[test]
fn a_taken_piece_is_not_reported_again() {
    let entries = (0..400).map(|n| Entry { name: name(&format!("/{n:03}")), ..running("", v2_sample()) }).collect();
    let snapshot = of(entries);
    let whole = text(&snapshot, &ExpositionOptions::default(), Scrape::default());
    let mut left = Vec::new();
    crate::api::prometheus::render(&snapshot, &ExpositionOptions::default(), Scrape::default(), &mut left, &mut |_| {});
    assert_eq!(String::from_utf8(left).unwrap(), whole);
    assert!(whole.len() > 1 << 20);
}

#[test]
fn an_ended_container_was_last_seen_with_its_last_sample() {
    let at = |seconds| WallTime(seconds * SECOND);
    let sample = |seconds| Sample { at: at(seconds), ..v2_sample() };
    let ended = Entry { life: Life::Ended, ..running("/ended", sample(100)) };
    let unseen = Entry { life: Life::Ended, sample: None, oom_kills: 1, ..running("/unseen", v2_sample()) };
    let snapshot = Snapshot { at: at(190), ..of(vec![running("/lives", sample(189)), ended, unseen]) };
    let parsed = render(&snapshot, &ExpositionOptions::default());
    let mut seen: Vec<_> =
        parsed.of("container_last_seen").map(|series| (series.label("id"), series.value.as_str())).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("/ended", "100"), ("/lives", "190")]);
}

#[test]
fn histograms_have_labels_beside_those_of_their_buckets() {
    let parsed = Parsed::new(&text(&snapshot(v2_sample()), &everything(), Scrape::default()));
    let family = "container_blkio_device_seconds";
    let read = [("id", "/docker/d0c"), ("device", "/dev/vda"), ("operation", "Read")];
    let below = |bound| {
        let labels = [&read[..], &[("le", bound)]].concat();
        parsed.value(&format!("{family}_bucket"), &labels)
    };
    assert_eq!([below("6.103515625e-05"), below("0.000244140625"), below("+Inf")], [Some("0"), Some("3"), Some("3")]);
    assert_eq!(parsed.value(&format!("{family}_sum"), &read), Some("0.0006"));
    assert_eq!(parsed.value(&format!("{family}_count"), &read), Some("3"));
    let written = [("id", "/docker/d0c"), ("device", "254:16"), ("operation", "Write"), ("le", "3.814697265625e-06")];
    assert_eq!(parsed.value("container_blkio_queue_seconds_bucket", &written), Some("3"));
}
