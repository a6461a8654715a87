//! Whole answers. `UPDATE_EXPECT=1` writes them anew.

use expect_test::{ExpectFile, expect_file};
use serde_json::Value;

use super::fixture::{Layout, node};
use crate::api::kubelet::{Depth, Snapshot, render, render_resource_metrics};
use crate::api::prometheus::Format;

fn check(snapshot: &Snapshot, depth: Depth, expected: &ExpectFile) {
    let body = render(snapshot, depth).unwrap();
    let value: Value = serde_json::from_slice(&body).unwrap();
    expected.assert_eq(&format!("{value:#}\n"));
}

#[test]
fn the_summary_on_v1() {
    check(&node(Layout::V1), Depth::Full, &expect_file!["golden/v1_summary.json"]);
}

#[test]
fn the_summary_on_v2() {
    check(&node(Layout::V2), Depth::Full, &expect_file!["golden/v2_summary.json"]);
}

#[test]
fn cpu_and_memory_alone() {
    check(&node(Layout::V2), Depth::CpuAndMemory, &expect_file!["golden/v2_summary_cpu_and_memory.json"]);
}

#[test]
fn metrics_of_resources() {
    let text = |format| String::from_utf8(render_resource_metrics(&node(Layout::V2), format)).unwrap();
    expect_file!["golden/v2_resource.txt"].assert_eq(&text(Format::Text));
    expect_file!["golden/v2_resource_openmetrics.txt"].assert_eq(&text(Format::OpenMetrics));
    let nothing = render_resource_metrics(&Snapshot::default(), Format::Text);
    expect_file!["golden/resource_failed.txt"].assert_eq(&String::from_utf8(nothing).unwrap());
}
