//! The list once, as JSON: for programs. Keys stay; what is not known is left out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::app::App;
use super::arrange::{Arranged, ListItem};
use super::figures::timestamp;
use super::world::{ContainerRow, World};

#[derive(Serialize)]
struct Once<'a> {
    /// RFC 3339.
    at: String,
    /// Where the answers came from; absent when this process read cgroups by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    node: NodeFacts<'a>,
    containers: Vec<ContainerFacts<'a>>,
}

#[derive(Serialize)]
struct NodeFacts<'a> {
    host: &'a str,
    kernel: &'a str,
    version: &'a str,
    kernel_events: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_events: Option<u64>,
    degraded: &'a [String],
    cpus: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    containers: usize,
    #[serde(flatten)]
    used: Used,
}

/// What is used, by the machine or a container.
#[derive(Serialize)]
struct Used {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_cores: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_set_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_pressure_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_pressure_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io_pressure_percent: Option<f64>,
}

#[derive(Serialize)]
struct ContainerFacts<'a> {
    /// The cgroup.
    name: &'a str,
    title: &'a str,
    group: &'a str,
    group_kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    used: Used,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_quota_cores: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttled_percent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_receive_bytes_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_transmit_bytes_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_read_bytes_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_write_bytes_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_limit: Option<u64>,
    oom_kills: u64,
    restarts: u64,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    /// How its first process ended, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<&'a str>,
    /// Where it hurts, the worst first.
    hurts: Vec<&'static str>,
}

/// One object, and a line's end.
pub(super) fn render(app: &App, arranged: &Arranged<'_>) -> String {
    let (world, node) = (&app.world, &app.world.node);
    let rows = arranged.items.iter().filter_map(|item| if let ListItem::Row(row) = item { Some(*row) } else { None });
    let once = Once {
        at: timestamp(world.at).to_string(),
        url: app.within.is_none().then_some(&app.source),
        node: NodeFacts {
            host: &node.host,
            kernel: &node.kernel,
            version: &node.version,
            kernel_events: node.events == "ebpf",
            lost_events: node.lost_events,
            degraded: &node.degraded,
            cpus: node.cpus,
            memory_bytes: node.memory,
            containers: arranged.running,
            used: Used::of(world.root()),
        },
        containers: rows.map(|row| ContainerFacts::of(row, world)).collect(),
    };
    let mut text = serde_json::to_string(&once).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    text.push('\n');
    text
}

fn cores(milli: u64) -> f64 {
    milli as f64 / 1000.0
}

impl Used {
    fn of(row: Option<&ContainerRow>) -> Self {
        let figures = row.map(|row| row.figures).unwrap_or_default();
        let [cpu, memory, io] = figures.pressure.map(|share| share.map(|share| share as f64 / 10.0));
        Self {
            cpu_cores: figures.cpu.map(cores),
            working_set_bytes: figures.memory.map(|kib| kib.saturating_mul(1024)),
            cpu_pressure_percent: cpu,
            memory_pressure_percent: memory,
            io_pressure_percent: io,
        }
    }
}

impl<'a> ContainerFacts<'a> {
    fn of(row: &'a ContainerRow, world: &World) -> Self {
        let (who, figures) = (&row.who, &row.figures);
        Self {
            name: &who.name,
            title: &row.title,
            group: &row.group,
            group_kind: row.kind.name(),
            runtime: who.runtime.as_deref(),
            id: who.container.as_deref(),
            image: who.image.as_deref(),
            health: who.health.as_deref(),
            labels: &who.labels,
            used: Used::of(Some(row)),
            cpu_quota_cores: who.cpu_limit.map(cores),
            throttled_percent: figures.throttled,
            memory_limit_bytes: who.memory_limit,
            memory_peak_bytes: figures.peak.map(|kib| kib.saturating_mul(1024)),
            network_receive_bytes_per_second: figures.received,
            network_transmit_bytes_per_second: figures.sent,
            disk_read_bytes_per_second: figures.read,
            disk_write_bytes_per_second: figures.written,
            tasks: figures.tasks,
            task_limit: who.task_limit,
            oom_kills: figures.oom_kills,
            restarts: world.restarts(row),
            started: who.started.or(who.created).map(|at| timestamp(at).to_string()),
            ended: who.ended.map(|at| timestamp(at).to_string()),
            exit: who.exit.as_deref(),
            hurts: world.pains(row).into_iter().map(super::world::Pain::key).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SortBy;
    use crate::top::arrange::arrange;
    use crate::top::look::{Colours, Look};
    use crate::top::text::Letters;
    use crate::top::world::tests::world;

    #[test]
    fn what_is_not_known_is_left_out() {
        let look = Look { letters: Letters::Ascii, colours: Colours::Off };
        let mut app = App::new(look, SortBy::Cpu, String::new());
        app.source = "http://node:8080".to_owned();
        let who = r#"[{"id":1,"name":"/a","memory_limit":1048576},{"id":2,"name":"/b\u001b[2J","exit":"exit 3"}]"#;
        app.world = world(who, r#"[{"id":[1,2],"cpu":[199,null],"memory":[1000,null],"oom_kills":[0,0]}]"#, Vec::new());
        let text = render(&app, &arrange(&app.world, &app.choice));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let first = &read["containers"][0];
        assert_eq!((&first["cpu_cores"], &first["hurts"][0]), (&0.199.into(), &"memory".into()));
        let second = &read["containers"][1];
        assert_eq!((second.get("cpu_cores"), &second["exit"], first.get("exit")), (None, &"exit 3".into(), None));
        assert_eq!(read["url"], "http://node:8080");
        assert!(!text.contains('\u{1b}') && text.ends_with("}\n"), "{text}");
    }
}
