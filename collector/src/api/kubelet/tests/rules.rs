//! What is absent, and what is chosen among several.

use std::sync::Arc;

use serde_json::Value;

use super::fixture::{Layout, SAMPLED, UID, identity, member, name, node, pod_cgroup, sample};
use crate::api::http::responses::More;
use crate::api::kubelet::{Depth, NodeCgroup, Snapshot, render, render_resource_metrics};
use crate::api::prometheus::Format;
use crate::sample::container::{Memory, Sample};
use crate::sample::filesystem::Storage;
use crate::units::{Bytes, WallTime};

fn summary(snapshot: &Snapshot) -> Value {
    serde_json::from_slice(&render(snapshot, Depth::Full).unwrap()).unwrap()
}

fn change(snapshot: &mut Snapshot, id: &str, change: impl FnOnce(&mut NodeCgroup)) {
    let is_it = |entry: &&mut NodeCgroup| entry.identity.as_ref().is_some_and(|identity| identity.id == id);
    change(snapshot.entries.iter_mut().map(Arc::make_mut).find(is_it).unwrap());
}

fn pod<'a>(summary: &'a Value, pod: &str) -> &'a Value {
    summary["pods"].as_array().unwrap().iter().find(|candidate| candidate["podRef"]["name"] == pod).unwrap()
}

#[test]
fn a_rate_takes_two_samples_that_can_be_compared() {
    let mut snapshot = node(Layout::V2);
    let rate = |snapshot: &Snapshot| summary(snapshot)["pods"][2]["containers"][0]["cpu"]["usageNanoCores"].clone();
    assert_eq!(rate(&snapshot), 50_000_000);
    change(&mut snapshot, "c0de", |entry| entry.before = None);
    assert!(rate(&snapshot).is_null());
    change(&mut snapshot, "c0de", |entry| {
        entry.before = Some(Arc::new(sample(Layout::V2, WallTime(SAMPLED.0 - 1), u64::from(u32::MAX), 1)));
    });
    assert!(rate(&snapshot).is_null(), "the counter fell");
}

#[test]
fn a_pods_processes_are_its_containers() {
    let mut snapshot = node(Layout::V2);
    for (id, count) in [("5a5a", 1), ("c0de", 3)] {
        change(&mut snapshot, id, |entry| entry.processes = Some(count));
    }
    let count = |snapshot: &Snapshot| {
        let reported = summary(snapshot);
        pod(&reported, "web-0")["process_stats"].clone()
    };
    assert_eq!(count(&snapshot)["process_count"], 3, "without the sandbox's");
    change(&mut snapshot, "c0de", |entry| entry.processes = None);
    assert!(count(&snapshot).is_null(), "not 0 where they could not be counted");
}

#[test]
fn without_the_roots_sample_there_is_no_summary() {
    let mut snapshot = node(Layout::V1);
    Arc::make_mut(&mut snapshot.entries[0]).newest = None;
    assert!(render(&snapshot, Depth::Full).is_err());
    assert!(render(&Snapshot::default(), Depth::CpuAndMemory).is_err());
}

#[test]
fn without_its_cgroup_a_pod_is_the_sum_of_its_containers() {
    let mut snapshot = node(Layout::V2);
    snapshot.entries.retain(|entry| *entry.name != *pod_cgroup(Layout::V2, UID).as_bytes());
    let summary = summary(&snapshot);
    let pod = pod(&summary, "web-0");
    // The sandbox's and the container's.
    assert_eq!(pod["cpu"]["usageCoreNanoSeconds"], 41_100_000_000_u64);
    assert_eq!(pod["cpu"]["usageNanoCores"], 100_000_000);
    assert_eq!(pod["memory"]["workingSetBytes"], 41 << 19);
    assert!(pod["cpu"]["psi"].is_null() && pod["io"].is_null());
}

#[test]
fn the_newest_run_that_is_alive_counts() {
    let mut snapshot = node(Layout::V1);
    let labels = [("pod.name", "web-0"), ("pod.namespace", "shop"), ("pod.uid", UID), ("container.name", "app")];
    let mut again = member(Layout::V1, UID, "a9a1", 7);
    let mut newer = identity("a9a1", &labels);
    newer.created = Some(WallTime(SAMPLED.0 - 5));
    again.identity = Some(Arc::new(newer));
    snapshot.entries.push(Arc::new(again));
    let usage = |snapshot: &Snapshot| summary(snapshot)["pods"][2]["containers"][0]["memory"]["usageBytes"].clone();
    assert_eq!(usage(&snapshot), 7 << 20);
    change(&mut snapshot, "a9a1", |entry| entry.newest = None);
    assert_eq!(usage(&snapshot), 40 << 20);
    // Two runs are one container all the same.
    assert_eq!(summary(&snapshot)["pods"][2]["containers"].as_array().unwrap().len(), 1);
}

#[test]
fn what_has_ended_is_left_out() {
    let mut snapshot = node(Layout::V1);
    let empty = Sample { memory: Some(Memory::default()), ..sample(Layout::V1, SAMPLED, 40_000, 0) };
    change(&mut snapshot, "c0de", |entry| entry.newest = Some(Arc::new(empty)));
    let names = |reported: &Value| -> Vec<_> {
        reported["pods"].as_array().unwrap().iter().map(|pod| pod["podRef"]["name"].clone()).collect()
    };
    assert_eq!(names(&summary(&snapshot)), ["", "etcd"], "although the sandbox is still there");
    let resources = render_resource_metrics(&snapshot, Format::Text);
    assert!(!String::from_utf8(resources).unwrap().contains("web-0"));
    snapshot.entries.retain(|entry| entry.identity.as_ref().is_none_or(|identity| identity.id != "5a5a"));
    assert_eq!(names(&summary(&snapshot)), ["", "etcd"]);
}

#[test]
fn ephemeral_storage_is_reported_when_all_of_it_is_known() {
    let mut snapshot = node(Layout::V2);
    let used = |snapshot: &Snapshot| {
        let reported = summary(snapshot);
        pod(&reported, "web-0")["ephemeral-storage"]["usedBytes"].clone()
    };
    assert_eq!(used(&snapshot), 1_234_944 + 8192 + 40_960 + 4096);
    change(&mut snapshot, "c0de", |entry| entry.storage = Some(Arc::new(Storage::default())));
    assert!(used(&snapshot).is_null());
}

#[test]
fn limits() {
    let available =
        |snapshot: &Snapshot| summary(snapshot)["node"]["systemContainers"][0]["memory"]["availableBytes"].clone();
    let mut snapshot = node(Layout::V1);
    assert_eq!(available(&snapshot), (140 << 20) - (35 << 20));
    let set = |snapshot: &mut Snapshot, bytes| {
        let entry = Arc::make_mut(&mut snapshot.entries[1]);
        let memory = entry.spec.memory.as_mut().unwrap();
        memory.limit = Some(crate::sample::spec::MemoryLimit::Bytes(Bytes(bytes)));
    };
    set(&mut snapshot, 9_223_372_036_854_771_712);
    assert!(available(&snapshot).is_null(), "the kernel's word for none");
    set(&mut snapshot, 0);
    assert_eq!(available(&snapshot), (8_u64 << 30) - (35 << 20), "the machine's memory");
    set(&mut snapshot, 1);
    assert_eq!(available(&snapshot), 0, "more is used than allowed");
}

#[test]
fn a_pod_that_is_partly_known_waits_for_the_rest() {
    let mut snapshot = node(Layout::V2);
    let mut fresh = member(Layout::V2, UID, "beef", 3);
    fresh.identity = Some(Arc::new(identity("beef", &[])));
    snapshot.entries.push(Arc::new(fresh));
    let reported = summary(&snapshot);
    assert_eq!(pod(&reported, "web-0")["containers"].as_array().unwrap().len(), 1);
    assert_eq!(reported["pods"].as_array().unwrap().len(), 3);
    assert!(snapshot.entries.iter().any(|entry| entry.name == name("/")));
}

#[test]
fn a_long_summary_is_rendered_pod_by_pod() {
    let mut snapshot = node(Layout::V2);
    let labels = |name: &str| {
        let pairs = [("pod.name", name), ("pod.namespace", "shop"), ("pod.uid", name), ("container.name", "app")];
        identity(name, &pairs)
    };
    for number in 0..1000 {
        let name = format!("many-{number}");
        let mut entry = member(Layout::V2, UID, &name, 7);
        entry.identity = Some(Arc::new(labels(&name)));
        snapshot.entries.push(Arc::new(entry));
    }
    let whole = render(&snapshot, Depth::Full).unwrap();
    let mut append = super::super::summary::pieces(snapshot, Depth::Full).unwrap();
    let (mut text, mut longest) = (Vec::new(), 0);
    loop {
        let mut piece = Vec::new();
        let more = append(&mut piece);
        longest = longest.max(piece.len());
        text.append(&mut piece);
        if more == More::Ended {
            break;
        }
    }
    assert_eq!(text, whole);
    assert!(whole.len() > 100 * longest, "{} in pieces of up to {longest}", whole.len());
    let summary: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(summary["pods"].as_array().unwrap().len(), 1003);
}
