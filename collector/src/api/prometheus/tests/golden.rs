//! Whole answers. `UPDATE_EXPECT=1` writes them anew.

use std::sync::Arc;

use expect_test::{ExpectFile, expect_file};

use super::fixture::{docker, everything, own, pod_container, running, snapshot, text, v1_sample, v2_sample};
use super::parsed::Parsed;
use crate::api::prometheus::{
    Endpoint, Entry, ExpositionOptions, Format, LabelSet, Profile, Scrape, Snapshot, Timestamps,
};
use crate::sample::kinds::MetricKind;

fn check(snapshot: &Snapshot, options: &ExpositionOptions, scrape: Scrape, expected: &ExpectFile) {
    let text = text(snapshot, options, scrape);
    Parsed::new(&text);
    expected.assert_eq(&text);
}

/// Of a machine only the containers of these names, and without what is long and of one kind.
fn some(snapshot: Snapshot, names: &[&str]) -> Snapshot {
    let chosen = |entry: &Entry| names.iter().any(|name| *entry.name == *name.as_bytes());
    let mut containers: Vec<Entry> = snapshot.containers.into_iter().filter(chosen).collect();
    for entry in &mut containers {
        let mut sample = entry.sample.as_deref().cloned().unwrap_or_default();
        if let Some(network) = &mut sample.network {
            network.tcp_advanced = None;
        }
        entry.sample = Some(Arc::new(sample));
    }
    Snapshot { containers, ..snapshot }
}

/// All kinds but the one with 99 series.
fn nearly_everything() -> ExpositionOptions {
    ExpositionOptions {
        kinds: everything().kinds.without([MetricKind::AdvTcp]),
        timestamps: Timestamps::On,
        ..everything()
    }
}

/// A machine with a Docker container alone.
fn small(entry: Entry) -> Snapshot {
    let all = snapshot(entry.sample.as_deref().cloned().unwrap_or_default());
    Snapshot { containers: vec![entry], filesystems: None, own: own(), ..all }
}

#[test]
fn a_docker_container_on_v1() {
    let entry = Entry { identity: Some(Arc::new(docker())), ..running("/docker/d0c", v1_sample()) };
    check(&small(entry), &ExpositionOptions::default(), Scrape::default(), &expect_file!["golden/v1.txt"]);
}

#[test]
fn a_container_of_a_pod_on_v2() {
    let entry = Entry { identity: Some(Arc::new(pod_container())), ..running("/kubepods/pod1/c0de", v2_sample()) };
    check(&small(entry), &ExpositionOptions::default(), Scrape::default(), &expect_file!["golden/v2.txt"]);
}

#[test]
fn everything_on_v1_with_times() {
    let root = some(snapshot(v1_sample()), &["/"]);
    check(&root, &nearly_everything(), Scrape::default(), &expect_file!["golden/v1_everything.txt"]);
}

#[test]
fn everything_on_v2_as_openmetrics() {
    let scrape = Scrape { format: Format::OpenMetrics, ..Scrape::default() };
    let docker = some(snapshot(v2_sample()), &["/docker/d0c", "/unsampled/killed"]);
    check(&docker, &nearly_everything(), scrape, &expect_file!["golden/v2_everything_openmetrics.txt"]);
}

#[test]
fn the_kubelets_endpoint() {
    let scrape = Scrape { endpoint: Endpoint::Kubelet, ..Scrape::default() };
    let pod = some(snapshot(v2_sample()), &["/kubepods/burstable/pod1234", "/kubepods/burstable/pod1234/c0de"]);
    check(&pod, &ExpositionOptions::default(), scrape, &expect_file!["golden/v2_kubelet.txt"]);
    let options = ExpositionOptions { labels: LabelSet::Kubelet, ..ExpositionOptions::default() };
    let here = text(&snapshot(v2_sample()), &options, Scrape::default());
    assert!(here.contains("\ncollector_containers 7\n"), "the collector's own endpoint reports the collector");
}

#[test]
fn the_recommended_profile() {
    let options = ExpositionOptions { profile: Profile::Recommended, ..ExpositionOptions::default() };
    let ended = some(snapshot(v2_sample()), &["/", "/docker/gone"]);
    check(&ended, &options, Scrape::default(), &expect_file!["golden/v2_recommended.txt"]);
}
