//! `/metrics/resource`: what the metrics server reads, CPU, memory and swap of the node, its pods and their containers.
//!
//! Times are always reported, whatever the collector's own metrics do: clients of this path reckon with them.

use std::sync::Arc;

use super::pods::{self, Pod};
use super::wire::{CpuStats, FsStats, MemoryStats, SwapStats};
use super::{NodeCgroup, Snapshot, figures, summary};
use crate::api::http::responses;
use crate::api::http::responses::More;
use crate::api::prometheus::{Format, Kind, append_escaped, append_head, append_scaled, append_timestamp, close};
use crate::units::WallTime;

/// A family.
struct ResourceFamily {
    name: &'static str,
    help: &'static str,
    kind: Kind,
}

const fn counter(name: &'static str, help: &'static str) -> ResourceFamily {
    ResourceFamily { name, help, kind: Kind::Counter }
}

const fn gauge(name: &'static str, help: &'static str) -> ResourceFamily {
    ResourceFamily { name, help, kind: Kind::Gauge }
}

/// A number of so many decimals, and its time if it has one.
#[derive(Clone, Copy)]
struct ResourceValue {
    number: u64,
    decimals: u8,
    at: Option<WallTime>,
}

/// Nanoseconds as seconds.
const fn seconds(nanos: u64, at: Option<WallTime>) -> ResourceValue {
    ResourceValue { number: nanos, decimals: 9, at }
}

const fn whole(number: u64, at: Option<WallTime>) -> ResourceValue {
    ResourceValue { number, decimals: 0, at }
}

/// What is reported about the node, a pod or a container.
#[derive(Default)]
struct ResourceSubject {
    /// Rendered, with its braces; empty for the node.
    labels: String,
    cpu: Option<CpuStats>,
    memory: Option<MemoryStats>,
    swap: Option<SwapStats>,
    started: Option<WallTime>,
    storage: Option<FsStats>,
}

impl ResourceSubject {
    fn cpu(&self) -> Option<ResourceValue> {
        let cpu = self.cpu.as_ref()?;
        Some(seconds(cpu.usage_core_nano_seconds?, cpu.time.0))
    }

    fn memory(&self) -> Option<ResourceValue> {
        let memory = self.memory.as_ref()?;
        Some(whole(memory.working_set_bytes?, memory.time.0))
    }

    fn swap(&self) -> Option<ResourceValue> {
        let swap = self.swap.as_ref()?;
        Some(whole(swap.swap_usage_bytes?, swap.time.0))
    }

    fn swap_limit(&self) -> Option<ResourceValue> {
        let swap = self.swap.as_ref()?;
        let limit = swap.swap_available_bytes?.saturating_add(swap.swap_usage_bytes.unwrap_or(0));
        Some(whole(limit, swap.time.0))
    }

    fn storage(&self) -> Option<ResourceValue> {
        let storage = self.storage.as_ref()?;
        Some(whole(storage.used_bytes?, storage.time.0))
    }

    fn started(&self) -> Option<ResourceValue> {
        self.started.filter(|at| at.0 > 0).map(|at| seconds(at.0, None))
    }

    /// Whether the metrics server can do with it: a zero of one container makes it drop the whole pod.
    fn is_whole(&self) -> bool {
        let above_zero = |value: Option<ResourceValue>| value.is_some_and(|value| value.number > 0);
        above_zero(self.cpu()) && above_zero(self.memory())
    }
}

/// Whose values a family has.
#[derive(Clone, Copy)]
enum Of {
    Containers,
    Node,
    Pods,
}

/// A family, whose it is, and how its value is found.
type Row = (ResourceFamily, Of, fn(&ResourceSubject) -> Option<ResourceValue>);

const FAMILIES: [Row; 12] = [
    (
        counter("container_cpu_usage_seconds_total", "[STABLE] CPU time that the container has used, in core-seconds"),
        Of::Containers,
        ResourceSubject::cpu,
    ),
    (
        gauge("container_memory_working_set_bytes", "[STABLE] Working set of the container in bytes"),
        Of::Containers,
        ResourceSubject::memory,
    ),
    (
        gauge("container_start_time_seconds", "[STABLE] When the container was started, in seconds since 1970"),
        Of::Containers,
        ResourceSubject::started,
    ),
    (
        gauge("container_swap_limit_bytes", "[ALPHA] The most swap that the container may use, in bytes"),
        Of::Containers,
        ResourceSubject::swap_limit,
    ),
    (
        gauge("container_swap_usage_bytes", "[ALPHA] Swap that the container uses, in bytes"),
        Of::Containers,
        ResourceSubject::swap,
    ),
    (
        counter("node_cpu_usage_seconds_total", "[STABLE] CPU time that the node has used, in core-seconds"),
        Of::Node,
        ResourceSubject::cpu,
    ),
    (
        gauge("node_memory_working_set_bytes", "[STABLE] Working set of the node in bytes"),
        Of::Node,
        ResourceSubject::memory,
    ),
    (gauge("node_swap_usage_bytes", "[ALPHA] Swap that the node uses, in bytes"), Of::Node, ResourceSubject::swap),
    (
        counter("pod_cpu_usage_seconds_total", "[STABLE] CPU time that the pod has used, in core-seconds"),
        Of::Pods,
        ResourceSubject::cpu,
    ),
    (
        gauge(
            "pod_ephemeral_storage_usage_bytes",
            "[ALPHA] What the pod takes of the node's own disk, in bytes: layers, logs, emptyDir and the like",
        ),
        Of::Pods,
        ResourceSubject::storage,
    ),
    (
        gauge("pod_memory_working_set_bytes", "[STABLE] Working set of the pod in bytes"),
        Of::Pods,
        ResourceSubject::memory,
    ),
    (gauge("pod_swap_usage_bytes", "[ALPHA] Swap that the pod uses, in bytes"), Of::Pods, ResourceSubject::swap),
];

/// Lines that are appended at once.
const LINES: usize = 64;

/// What appends the page, some lines at each call. Without a sample of the node there are only the families that say so.
pub(super) fn pieces(snapshot: &Snapshot, format: Format) -> impl FnMut(&mut Vec<u8>) -> More + Send + use<> {
    let root = snapshot.entries.iter().find(|entry| figures::is_root(entry) && entry.newest.is_some());
    let failed = u64::from(root.is_none());
    let (node, pods, containers) = root.map(|root| subjects(snapshot, root)).unwrap_or_default();
    let node = [node];
    let mut families = FAMILIES.iter();
    let mut family = families.next();
    let (mut at, mut has_head) = (0, false);
    move |out| {
        let Some((head, of, value)) = family else {
            last(out, format, failed);
            return More::Ended;
        };
        let subjects = match of {
            Of::Containers => &containers[..],
            Of::Node => &node[..],
            Of::Pods => &pods[..],
        };
        let until = subjects.len().min(at + LINES);
        for (subject, value) in subjects[at..until].iter().filter_map(|subject| Some((subject, value(subject)?))) {
            // A family without series has no head.
            if !std::mem::replace(&mut has_head, true) {
                append_head(out, format, head.name, head.help, head.kind);
            }
            line(out, format, head.name, &subject.labels, value);
        }
        at = until;
        if at == subjects.len() {
            (family, at, has_head) = (families.next(), 0, false);
        }
        More::Follows
    }
}

/// Whether the page could be made.
fn last(out: &mut Vec<u8>, format: Format, failed: u64) {
    for (name, help) in [
        ("resource_scrape_error", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise"),
        ("scrape_error", "[ALPHA] The same under its older name"),
    ] {
        append_head(out, format, name, help, Kind::Gauge);
        line(out, format, name, "", whole(failed, None));
    }
    if format == Format::OpenMetrics {
        out.extend_from_slice(b"# EOF\n");
    }
}

fn line(out: &mut Vec<u8>, format: Format, name: &str, labels: &str, value: ResourceValue) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(labels.as_bytes());
    out.push(b' ');
    append_scaled(out, value.number, value.decimals);
    if let Some(at) = value.at {
        append_timestamp(out, format, at);
    }
    out.push(b'\n');
}

/// The whole page at once, for programs that embed the collector.
pub fn render(snapshot: &Snapshot, format: Format) -> Vec<u8> {
    responses::whole(pieces(snapshot, format))
}

fn subjects(snapshot: &Snapshot, root: &NodeCgroup) -> (ResourceSubject, Vec<ResourceSubject>, Vec<ResourceSubject>) {
    let node = ResourceSubject {
        cpu: figures::cpu(root),
        memory: figures::memory(root, snapshot),
        swap: figures::swap(root, snapshot),
        ..ResourceSubject::default()
    };
    // Those without a name cannot be distinguished.
    let found = pods::running(snapshot);
    let mut named: Vec<&Pod> = found.iter().filter(|pod| pod.is_named()).collect();
    // Of two pods of one name, an older one that is just ending, the one that was started last counts.
    named.sort_by(|one, other| {
        let of = |pod: &Pod| (pod.namespace.clone(), pod.name.clone(), std::cmp::Reverse(pod.started()));
        of(one).cmp(&of(other))
    });
    named.dedup_by(|later, first| (&later.namespace, &later.name) == (&first.namespace, &first.name));
    let mut pods = Vec::new();
    let mut containers = Vec::new();
    for pod in named {
        let of_pod = [("namespace", pod.namespace.as_str()), ("pod", pod.name.as_str())];
        pods.push(ResourceSubject {
            labels: labels(&of_pod),
            cpu: summary::pod_cpu(pod),
            memory: summary::pod_memory(pod, snapshot),
            swap: summary::pod_swap(pod, snapshot),
            started: None,
            storage: summary::ephemeral_storage(pod, snapshot),
        });
        let subject = |(name, entry): (&String, &Arc<NodeCgroup>)| ResourceSubject {
            labels: labels(&[("container", name.as_str()), of_pod[0], of_pod[1]]),
            cpu: figures::cpu(entry),
            memory: figures::memory(entry, snapshot),
            swap: figures::swap(entry, snapshot),
            started: entry.created(),
            storage: None,
        };
        containers.extend(pod.containers.iter().map(subject).filter(ResourceSubject::is_whole));
    }
    (node, pods, containers)
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = vec![b'{'];
    // One without a value is none.
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b"=\"");
        append_escaped(&mut text, value);
        text.extend_from_slice(b"\",");
    }
    close(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
