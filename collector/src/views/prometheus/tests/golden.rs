//! Whole answers. `UPDATE_EXPECT=1` writes them anew.

use std::sync::Arc;

use expect_test::{ExpectFile, expect_file};

use super::fixture::{docker, everything, own, pod_container, running, snapshot, text, v1_sample, v2_sample};
use super::parsed::Parsed;
use crate::views::prometheus::{Endpoint, Entry, Format, LabelSet, Options, Profile, Scrape, Snapshot, Timestamps};

fn check(snapshot: &Snapshot, options: &Options, scrape: Scrape, expected: &ExpectFile) {
    let text = text(snapshot, options, scrape);
    Parsed::new(&text);
    expected.assert_eq(&text);
}

/// A machine with a Docker container alone.
fn small(entry: Entry) -> Snapshot {
    let all = snapshot(entry.sample.as_deref().cloned().unwrap_or_default());
    Snapshot { containers: vec![entry], filesystems: None, own: own(), ..all }
}

#[test]
fn a_docker_container_on_v1() {
    let entry = Entry { identity: Some(Arc::new(docker())), ..running("/docker/d0c", v1_sample()) };
    check(&small(entry), &Options::default(), Scrape::default(), &expect_file!["golden/v1.txt"]);
}

#[test]
fn a_container_of_a_pod_on_v2() {
    let entry = Entry { identity: Some(Arc::new(pod_container())), ..running("/kubepods/pod1/c0de", v2_sample()) };
    check(&small(entry), &Options::default(), Scrape::default(), &expect_file!["golden/v2.txt"]);
}

#[test]
fn everything_on_v1_with_times() {
    let options = Options { timestamps: Timestamps::On, ..everything() };
    check(&snapshot(v1_sample()), &options, Scrape::default(), &expect_file!["golden/v1_everything.txt"]);
}

#[test]
fn everything_on_v2_as_openmetrics() {
    let scrape = Scrape { format: Format::OpenMetrics, ..Scrape::default() };
    let options = Options { timestamps: Timestamps::On, ..everything() };
    check(&snapshot(v2_sample()), &options, scrape, &expect_file!["golden/v2_everything_openmetrics.txt"]);
}

#[test]
fn the_kubelets_endpoint() {
    let scrape = Scrape { endpoint: Endpoint::Kubelet, ..Scrape::default() };
    check(&snapshot(v2_sample()), &Options::default(), scrape, &expect_file!["golden/v2_kubelet.txt"]);
    let options = Options { labels: LabelSet::Kubelet, ..Options::default() };
    let here = text(&snapshot(v2_sample()), &options, Scrape::default());
    assert!(here.contains("\ncollector_containers 7\n"), "the collector's own endpoint tells of the collector");
}

#[test]
fn the_recommended_profile() {
    let options = Options { profile: Profile::Recommended, ..Options::default() };
    check(&snapshot(v2_sample()), &options, Scrape::default(), &expect_file!["golden/v2_recommended.txt"]);
}
