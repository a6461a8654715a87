//! What clients make of the answers: the rules by which the metrics server and heapster read them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::fixture::{Layout, node};
use crate::api::kubelet::{Depth, NodeCgroup, Snapshot, render, render_resource_metrics};
use crate::api::prometheus::Format;

/// CPU time in nanoseconds, memory in bytes, milliseconds since 1970.
type Point = (u64, u64, u64);
/// The points of containers by namespace and pod.
type Pods = BTreeMap<(String, String), BTreeMap<String, Point>>;

fn is_read(name: &str) -> bool {
    let read = ["cpu_usage_seconds_total", "memory_working_set_bytes", "start_time_seconds"];
    name.strip_prefix("container_").is_some_and(|name| read.contains(&name))
}

/// What the metrics server takes from a page: the node's point, and those of containers by namespace and pod. It looks for
/// five names and three labels, without regard to types and escapes.
fn metrics_server(page: &str) -> (Option<Point>, Pods) {
    let mut node = Point::default();
    let mut pods = Pods::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).expect("a name");
        let (name, rest) = line.split_at(end);
        let label = |label: &str| {
            let start = rest.find(&format!("{label}=\"")).map(|at| at + label.len() + 2).expect("the label");
            let length = rest[start..].find('"').expect("its end");
            rest[start..start + length].to_owned()
        };
        let numbers: Vec<&str> = rest.rsplit('}').next().unwrap_or_default().split_whitespace().collect();
        let value: f64 = numbers[0].parse().expect("a value");
        let time = || numbers.get(1).expect("a time").parse::<u64>().expect("milliseconds");
        if name.starts_with("container_") && !is_read(name) || name.starts_with("pod_") {
            continue;
        }
        let mut none = Point::default();
        let container: &mut Point = if name.starts_with("container_") {
            let containers = pods.entry((label("namespace"), label("pod"))).or_default();
            containers.entry(label("container")).or_default()
        } else {
            &mut none
        };
        match name {
            "node_cpu_usage_seconds_total" => (node.0, node.2) = ((value * 1e9) as u64, time()),
            "node_memory_working_set_bytes" => (node.1, node.2) = (value as u64, time()),
            "container_cpu_usage_seconds_total" => {
                (container.0, container.2) = ((value * 1e9) as u64, time());
            }
            "container_memory_working_set_bytes" => {
                (container.1, container.2) = (value as u64, time());
            }
            _ => {}
        }
    }
    let is_whole = |point: &Point| point.0 > 0 && point.1 > 0 && point.2 > 0;
    pods.retain(|_, containers| containers.values().all(is_whole));
    (Some(node).filter(is_whole), pods)
}

fn page(snapshot: &Snapshot) -> String {
    String::from_utf8(render_resource_metrics(snapshot, Format::Text)).unwrap()
}

#[test]
fn the_metrics_server_gets_every_named_pod() {
    for layout in [Layout::V1, Layout::V2] {
        let (node, pods) = metrics_server(&page(&node(layout)));
        let at = 1_704_164_645_120;
        // As it reckons, digits lost included.
        let nanos = |seconds: f64| (seconds * 1e9) as u64;
        assert_eq!(node, Some((nanos(900.05), 900 << 19, at)));
        let of = |namespace: &str, pod: &str| pods[&(namespace.to_owned(), pod.to_owned())].clone();
        assert_eq!(of("shop", "web-0"), [("app".to_owned(), (nanos(40.05), 40 << 19, at))].into());
        // By its id where nobody reported its name.
        assert_eq!(of("kube-system", "etcd").keys().collect::<Vec<_>>(), ["f00d"]);
        assert_eq!(pods.len(), 2, "{pods:?}");
    }
}

#[test]
fn one_container_without_figures_does_not_cost_the_pod() {
    let mut snapshot = node(Layout::V1);
    let mut side = NodeCgroup::clone(&snapshot.entries[5]);
    let mut identity = side.identity.as_deref().unwrap().clone();
    identity.labels.insert("io.kubernetes.container.name".to_owned(), "side".to_owned());
    side.identity = Some(std::sync::Arc::new(identity));
    let mut sample = side.newest.as_deref().unwrap().clone();
    sample.cpu = None;
    side.newest = Some(std::sync::Arc::new(sample));
    snapshot.entries.push(Arc::new(side));
    let (_, pods) = metrics_server(&page(&snapshot));
    assert_eq!(pods[&("shop".to_owned(), "web-0".to_owned())].keys().collect::<Vec<_>>(), ["app"]);
}

#[test]
fn without_a_node_the_metrics_server_sees_none() {
    let (node, pods) = metrics_server(&page(&Snapshot::default()));
    assert_eq!((node, pods.len()), (None, 0));
}

/// What heapster reads of a summary. It looks at what it finds without asking whether it is there: where that ends it,
/// this panics.
fn heapster(summary: &Value) -> Vec<String> {
    let mut keys = vec![format!("node:{}", summary["node"]["nodeName"].as_str().unwrap())];
    let node = &summary["node"];
    for part in ["cpu", "memory", "network"] {
        assert!(node[part]["time"].is_string(), "{part} has no time");
    }
    let used_bytes = |container: &Value| {
        if container["rootfs"].is_object() && container["logs"].is_object() {
            let _ =
                container["rootfs"]["usedBytes"].as_u64().unwrap() + container["logs"]["usedBytes"].as_u64().unwrap();
        }
    };
    for container in node["systemContainers"].as_array().unwrap() {
        used_bytes(container);
        let name = match container["name"].as_str().unwrap() {
            "runtime" => "docker-daemon",
            "misc" => "system",
            name => name,
        };
        keys.push(format!("system:{name}"));
    }
    for pod in summary["pods"].as_array().unwrap() {
        let reference = &pod["podRef"];
        let pod_key = format!("{}/{}", reference["namespace"].as_str().unwrap(), reference["name"].as_str().unwrap());
        assert!(pod["startTime"].is_string() && reference["uid"].is_string());
        if pod["ephemeral-storage"].is_object() {
            pod["ephemeral-storage"]["usedBytes"].as_u64().unwrap();
        }
        for container in pod["containers"].as_array().unwrap() {
            used_bytes(container);
            assert!(container["startTime"].is_string() && container["cpu"]["time"].is_string());
            keys.push(format!("{pod_key}/{}", container["name"].as_str().unwrap()));
        }
        // Its rates go by this time.
        if pod_key == "shop/web-0" {
            assert!(pod["network"]["time"].is_string() && pod["network"]["rxBytes"].is_u64(), "{pod}");
        }
    }
    keys
}

#[test]
fn heapster_reads_the_summary() {
    for layout in [Layout::V1, Layout::V2] {
        let summary = render(&node(layout), Depth::Full).unwrap();
        let keys = heapster(&serde_json::from_slice(&summary).unwrap());
        let expected =
            ["node:node-1", "system:kubelet", "system:pods", "//d1ce", "kube-system/etcd/f00d", "shop/web-0/app"];
        assert_eq!(keys, expected);
    }
}

/// Times are the same however often they are asked for, and have whole seconds: a rate needs two answers with one start.
#[test]
fn start_times_stand_still() {
    let first = render(&node(Layout::V2), Depth::Full).unwrap();
    assert_eq!(first, render(&node(Layout::V2), Depth::Full).unwrap());
    let summary: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(summary["pods"][2]["startTime"], "2024-01-02T02:55:00Z");
    assert_eq!(summary["node"]["cpu"]["time"], "2024-01-02T03:04:05Z");
}
