//! What could not be read is not reported; what the kernel does not have is 0, as in cAdvisor.

use std::sync::Arc;

use super::fixture::{everything, running, snapshot, text, v1_sample, v2_sample};
use super::parsed::Parsed;
use crate::api::prometheus::{ExpositionOptions, Profile, Scrape, Snapshot};
use crate::sample::container::{Processes, Sample};
use crate::sample::machine::{Cache, Core, Machine, Node};
use crate::sample::unread::Part;
use crate::units::Bytes;

fn render(sample: Sample) -> Parsed {
    let snapshot = Snapshot { containers: vec![running("/a", sample)], ..Snapshot::default() };
    Parsed::new(&text(&snapshot, &everything(), Scrape::default()))
}

fn has(parsed: &Parsed, family: &str) -> bool {
    parsed.series.iter().any(|series| series.name == family)
}

fn without(parts: &[Part]) -> Sample {
    let mut sample = v2_sample();
    for part in parts {
        sample.unread.add(*part);
    }
    sample
}

#[test]
fn a_family_whose_controller_is_off_or_not_read_yet_has_no_series() {
    let all = render(v2_sample());
    let parsed = render(Sample { memory: None, cpu: None, io: None, processes: None, hugetlb: None, ..v2_sample() });
    for prefix in ["container_memory_", "container_cpu_", "container_pressure_"] {
        let named = |parsed: &Parsed| parsed.series.iter().filter(|series| series.name.starts_with(prefix)).count();
        let kept = ["container_memory_migrate"];
        let left =
            parsed.series.iter().filter(|series| series.name.starts_with(prefix) && !kept.contains(&&*series.name));
        assert!(named(&all) > 0, "{prefix}");
        assert_eq!(left.map(|series| &series.name).collect::<Vec<_>>(), [""; 0]);
    }
}

/// A part, what takes its value away where it may be absent, and the families that report it.
type Lacking = (Part, Option<fn(&mut Sample)>, &'static [&'static str]);

#[test]
fn a_number_that_could_not_be_read_is_absent_and_all_others_stay() {
    let cases: [Lacking; 11] = [
        (Part::MemoryUsage, None, &["container_memory_usage_bytes"]),
        (Part::WorkingSet, None, &["container_memory_working_set_bytes"]),
        (Part::Rss, None, &["container_memory_rss"]),
        (Part::Cache, None, &["container_memory_cache"]),
        (Part::MappedFile, None, &["container_memory_mapped_file"]),
        (Part::CpuTotal, None, &["container_cpu_usage_seconds_total"]),
        (
            Part::MemoryPeak,
            Some(|sample| sample.memory.as_mut().unwrap().max_usage = None),
            &["container_memory_max_usage_bytes"],
        ),
        (
            Part::MemoryEvents,
            Some(|sample| sample.memory.as_mut().unwrap().events = None),
            &["container_memory_events_high_total", "container_memory_events_max_total"],
        ),
        (Part::CpuStat, Some(|sample| sample.cpu.as_mut().unwrap().user = None), &["container_cpu_user_seconds_total"]),
        (
            Part::PidsMax,
            Some(|sample| sample.processes = Some(Processes { count: Some(1), ..Processes::default() })),
            &["container_threads_max"],
        ),
        (Part::Failcnt, Some(|sample| sample.memory.as_mut().unwrap().failcnt = None), &["container_memory_failcnt"]),
    ];
    for (part, clear, families) in cases {
        let mut sample = without(&[part]);
        if let Some(clear) = clear {
            clear(&mut sample);
        }
        let mut known = sample.clone();
        known.unread.remove(part);
        let (parsed, known) = (render(sample), render(known));
        for family in families {
            assert!(!has(&parsed, family), "{part:?}: {family}");
            // As far as the kernel has none it is 0.
            assert!(has(&known, family), "{part:?}: {family}");
        }
        let others = |parsed: &Parsed| {
            let mut names: Vec<_> = parsed.series.iter().map(|series| series.name.clone()).collect();
            names.retain(|name| !families.contains(&&**name));
            names
        };
        assert_eq!(others(&parsed), others(&known), "{part:?}");
    }
}

#[test]
fn faults_are_left_out_one_by_one() {
    let parsed = render(without(&[Part::OwnMajorFaults]));
    let faults = parsed.series.iter().filter(|series| series.name == "container_memory_failures_total");
    let reported: Vec<_> = faults.map(|series| (series.label("failure_type"), series.label("scope"))).collect();
    assert_eq!(reported, [("pgfault", "container"), ("pgfault", "hierarchy"), ("pgmajfault", "hierarchy")]);
}

#[test]
fn the_recommended_profile_reports_nothing_unread_either() {
    let mut sample = without(&[Part::CpuTotal, Part::MemoryUsage]);
    sample.cpu.as_mut().unwrap().total = crate::units::Nanos(0);
    let snapshot = Snapshot { containers: vec![running("/a", sample)], ..Snapshot::default() };
    let options = ExpositionOptions { profile: Profile::Recommended, ..everything() };
    let parsed = Parsed::new(&text(&snapshot, &options, Scrape::default()));
    assert!(!has(&parsed, "container_cpu_usage_seconds_total") && !has(&parsed, "container_memory_usage_bytes"));
    assert!(has(&parsed, "container_memory_working_set_bytes"));
}

#[test]
fn a_disk_without_its_line_has_no_counters_and_memory_has_zeros() {
    let mut snapshot = snapshot(v1_sample());
    let mut filesystems = snapshot.filesystems.as_deref().unwrap().clone();
    for filesystem in &mut filesystems.list {
        filesystem.disk = None;
    }
    let disks: Vec<_> =
        filesystems.list.iter().map(|filesystem| (filesystem.device.clone(), filesystem.major)).collect();
    snapshot.filesystems = Some(Arc::new(filesystems));
    let parsed = Parsed::new(&text(&snapshot, &everything(), Scrape::default()));
    for (device, major) in disks {
        let reported = parsed.value("container_fs_io_time_weighted_seconds_total", &[("id", "/"), ("device", &device)]);
        assert_eq!(reported, (major == 0).then_some("0"), "{device}");
    }
}

fn machine(nodes: Vec<Node>) -> Parsed {
    let snapshot = Snapshot { machine: Arc::new(Machine { nodes, ..Machine::default() }), ..Snapshot::default() };
    Parsed::new(&text(&snapshot, &everything(), Scrape::default()))
}

#[test]
fn distances_name_nodes_by_their_ids() {
    let node = |id, distances: [u64; 2]| Node { id, distances: Some(distances.to_vec()), ..Node::default() };
    let parsed = machine(vec![node(0, [10, 21]), node(8, [21, 10])]);
    let distance = |from, to| parsed.value("machine_node_distance", &[("node_id", from), ("target_node_id", to)]);
    assert_eq!((distance("0", "0"), distance("0", "8")), (Some("10"), Some("21")));
    assert_eq!((distance("8", "0"), distance("8", "8")), (Some("21"), Some("10")));
    assert_eq!(distance("0", "1"), None);
}

#[test]
fn two_sockets_in_one_node_have_all_their_caches() {
    let core = |socket, id| Core {
        id,
        socket,
        threads: vec![(socket * 2 + id) as u32],
        caches: vec![Cache { id: None, size: Bytes(32 << 10), kind: "Data".into(), level: 1 }],
        uncore_caches: vec![Cache { id: None, size: Bytes(8 << 20), kind: "Unified".into(), level: 3 }],
        ..Core::default()
    };
    let parsed = machine(vec![Node { cores: vec![core(0, 0), core(0, 1), core(1, 0), core(1, 1)], ..Node::default() }]);
    let caches = parsed.series.iter().filter(|series| series.name == "machine_cpu_cache_capacity_bytes");
    let reported: Vec<_> = caches.map(|series| (series.label("core_id"), series.label("level"))).collect();
    let mut expected = Vec::new();
    for core in ["0", "1", "1:0", "1:1"] {
        expected.extend([(core, "1"), (core, "3")]);
    }
    assert_eq!(reported, expected);
}
