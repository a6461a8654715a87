//! The feed as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::api::backend::Validation;
use crate::api::backend::feed::{self, FeedRow, FeedSubject, Tick};
use crate::api::http::responses::More;
use crate::api::wire::json;
use crate::api::wire::json::Lossy;
use crate::units::WallTime;

/// Rows whose figures are in one group of columns.
const COLUMN: usize = 256;

/// What the collector says of itself.
pub(super) struct Collector {
    pub(super) version: String,
    pub(super) validation: Validation,
}

/// An answer to the first request, and to those that follow.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "FeedTick")]
struct Head<'a> {
    /// What to ask with the next time, as `since`.
    cursor: String,
    /// Whether these are all rows: what the client knows of others is over.
    full: bool,
    /// Milliseconds since 1970, by the collector's clock.
    at: u64,
    node: Node<'a>,
    /// Rows that are no more.
    gone: &'a [u64],
    /// Rows that came, and those of which something changed that changes seldom.
    who: Vec<Who<'a>>,
    /// Figures that changed.
    now: Vec<Columns>,
}

/// The machine and its collector.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "FeedNode")]
struct Node<'a> {
    host: &'a str,
    kernel: &'a str,
    version: &'a str,
    cpus: u32,
    /// Bytes.
    memory: Option<u64>,
    /// Where news of containers come from: `ebpf` or `scan`.
    events: &'static str,
    /// Kernel events that could not be delivered since the collector's start; `null` without kernel events.
    lost_events: Option<u64>,
    /// Which cgroup hierarchies there are.
    hierarchies: &'static str,
    /// What the collector has to do without, each with its fix.
    degraded: &'a [String],
    disks: Vec<Disk<'a>>,
    /// Milliseconds since 1970: since when `at` can be asked. Absent without `--history_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    history_from: Option<u64>,
}

/// A file system of the machine.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "FeedDisk")]
struct Disk<'a> {
    device: &'a str,
    mount: &'a str,
    /// Bytes.
    capacity: u64,
    /// Bytes.
    usage: u64,
}

/// A container.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "FeedRow")]
struct Who<'a> {
    id: u64,
    /// The cgroup's name.
    name: Lossy<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'static str>,
    /// The runtime's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
    /// The name a person gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    called: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a BTreeMap<String, String>>,
    /// The pod's uid, as the cgroup's path shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'a str>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<u64>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<u64>,
    /// Thousandths of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_limit: Option<u64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_limit: Option<u64>,
    /// How its first process ended, for people: `exit 3`, `killed by SIGKILL from docker`, `OOM-killed at its limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<&'a str>,
    /// Milliseconds since 1970: the last sample of a container that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
}

/// Figures of some rows, a list for each, in the order of `id`; `null` where one is not known.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "FeedColumns")]
struct Columns {
    id: Vec<u64>,
    /// Thousandths of a core.
    cpu: Vec<Option<u64>>,
    /// Percent of the periods of the quota.
    throttled: Vec<Option<u64>>,
    /// Working set, KiB.
    memory: Vec<Option<u64>>,
    /// The most memory used, KiB.
    peak: Vec<Option<u64>>,
    /// Time in which something waited, over ten seconds: tenths of a percent.
    cpu_pressure: Vec<Option<u64>>,
    memory_pressure: Vec<Option<u64>>,
    io_pressure: Vec<Option<u64>>,
    /// Bytes per second, with three digits.
    received: Vec<Option<u64>>,
    sent: Vec<Option<u64>>,
    read: Vec<Option<u64>>,
    written: Vec<Option<u64>>,
    tasks: Vec<Option<u64>>,
    oom_kills: Vec<u64>,
}

/// The last two minutes of a row.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "FeedTrend")]
pub(super) struct Trend<'a> {
    id: u64,
    /// Thousandths of a core.
    cpu: &'a [Option<u64>],
    /// KiB.
    memory: &'a [Option<u64>],
    /// Milliseconds since 1970.
    at: Vec<u64>,
}

/// What a container used in a span of the past, a list for each figure, in the order of `at`; `null` where one is not
/// known. Of gauges it is the most since the point before.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "FeedSeries")]
pub(super) struct Series {
    /// Milliseconds since 1970.
    at: Vec<u64>,
    /// Thousandths of a core.
    cpu: Vec<Option<u64>>,
    /// Percent of the periods of the quota.
    throttled: Vec<Option<u64>>,
    /// Working set, KiB.
    memory: Vec<Option<u64>>,
    /// KiB.
    rss: Vec<Option<u64>>,
    /// KiB.
    cache: Vec<Option<u64>>,
    /// Tenths of a percent.
    cpu_pressure: Vec<Option<u64>>,
    memory_pressure: Vec<Option<u64>>,
    io_pressure: Vec<Option<u64>>,
    /// Bytes per second.
    received: Vec<Option<u64>>,
    sent: Vec<Option<u64>>,
    read: Vec<Option<u64>>,
    written: Vec<Option<u64>>,
    tasks: Vec<Option<u64>>,
    oom_kills: Vec<u64>,
    /// The quota of then, thousandths of a core.
    cpu_limit: Vec<Option<u64>>,
    /// The limit of then, bytes.
    memory_limit: Vec<Option<u64>>,
    task_limit: Vec<Option<u64>>,
}

impl Series {
    pub(super) fn of(points: &[feed::Point]) -> Self {
        let mut series = Self::default();
        for feed::Point { at, figures, rss, cache, cpu_limit, memory_limit, task_limit } in points {
            series.at.push(at.millis());
            series.cpu.push(figures.cpu);
            series.throttled.push(figures.throttled);
            series.memory.push(figures.memory);
            series.rss.push(*rss);
            series.cache.push(*cache);
            series.cpu_pressure.push(figures.cpu_pressure);
            series.memory_pressure.push(figures.memory_pressure);
            series.io_pressure.push(figures.io_pressure);
            series.received.push(figures.received);
            series.sent.push(figures.sent);
            series.read.push(figures.read);
            series.written.push(figures.written);
            series.tasks.push(figures.tasks);
            series.oom_kills.push(figures.oom_kills);
            series.cpu_limit.push(*cpu_limit);
            series.memory_limit.push(memory_limit.map(|limit| limit.0));
            series.task_limit.push(*task_limit);
        }
        series
    }
}

#[derive(JsonSchema)]
#[schemars(rename = "FeedTrends")]
#[expect(dead_code, reason = "written piece by piece")]
struct Trends<'a> {
    trends: Vec<Trend<'a>>,
}

/// The schema of an answer.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let (tick, trends) = (generator.subschema_for::<Head<'_>>(), generator.subschema_for::<Trends<'_>>());
    json_schema!({ "anyOf": [tick, trends, generator.subschema_for::<Series>()] })
}

impl<'a> From<&'a feed::Trend> for Trend<'a> {
    fn from(trend: &'a feed::Trend) -> Self {
        let at = trend.at.iter().copied().map(WallTime::millis).collect();
        Self { id: trend.id, cpu: &trend.cpu, memory: &trend.memory, at }
    }
}

impl<'a> Who<'a> {
    fn new(id: u64, subject: &'a FeedSubject) -> Self {
        let identity = subject.identity.as_deref();
        let text = |text: &'a Option<String>| text.as_deref();
        Self {
            id,
            name: Lossy(&subject.name),
            runtime: identity.map(|identity| identity.runtime.namespace()),
            container: identity.map(|identity| identity.id.as_str()),
            called: identity.and_then(|identity| text(&identity.name)),
            image: identity.and_then(|identity| text(&identity.image)),
            labels: identity.map(|identity| &identity.labels).filter(|labels| !labels.is_empty()),
            pod: identity.and_then(|identity| identity.pod.as_ref()).map(|pod| pod.uid.as_str()),
            health: identity.and_then(|identity| text(&identity.health)),
            created: identity.and_then(|identity| identity.created).or(subject.created).map(WallTime::millis),
            started: identity.and_then(|identity| identity.started).map(WallTime::millis),
            cpu_limit: subject.cpu_limit,
            memory_limit: subject.memory_limit.map(|limit| limit.0),
            task_limit: subject.task_limit,
            exit: subject.exit.as_deref(),
            ended: subject.ended.map(WallTime::millis),
        }
    }
}

impl Columns {
    fn of(rows: &[Arc<FeedRow>]) -> Self {
        let mut columns = Self::default();
        for FeedRow { id, figures, .. } in rows.iter().map(|row| &**row) {
            columns.id.push(*id);
            columns.cpu.push(figures.cpu);
            columns.throttled.push(figures.throttled);
            columns.memory.push(figures.memory);
            columns.peak.push(figures.peak);
            columns.cpu_pressure.push(figures.cpu_pressure);
            columns.memory_pressure.push(figures.memory_pressure);
            columns.io_pressure.push(figures.io_pressure);
            columns.received.push(figures.received);
            columns.sent.push(figures.sent);
            columns.read.push(figures.read);
            columns.written.push(figures.written);
            columns.tasks.push(figures.tasks);
            columns.oom_kills.push(figures.oom_kills);
        }
        columns
    }
}

/// What has still to be written.
enum FeedPart {
    Who(std::vec::IntoIter<Arc<FeedRow>>),
    Now { left: Vec<Arc<FeedRow>>, at: usize },
}

/// Writes a tick piece by piece.
pub(super) fn pieces(tick: &Tick, collector: &Collector) -> impl FnMut(&mut Vec<u8>) -> More + Send + use<> {
    let mut head = Some(head(tick, collector));
    let changed = |since: fn(&FeedRow) -> u64| -> Vec<Arc<FeedRow>> {
        tick.rows.iter().filter(|row| tick.since.is_none_or(|seen| since(row) > seen)).cloned().collect()
    };
    let (who, mut now) = (changed(|row| row.subject_changed), changed(|row| row.figures_changed));
    let mut state = FeedPart::Who(who.into_iter());
    move |out| {
        if let Some(head) = head.take() {
            out.extend_from_slice(&head);
            out.extend_from_slice(b"\"who\":[");
        }
        match &mut state {
            FeedPart::Who(rows) => {
                if let Some(row) = rows.next() {
                    json::append(out, &Who::new(row.id, &row.subject));
                }
                if rows.len() > 0 {
                    out.push(b',');
                } else {
                    out.extend_from_slice(b"],\"now\":[");
                    state = FeedPart::Now { left: std::mem::take(&mut now), at: 0 };
                }
                More::Follows
            }
            FeedPart::Now { left, at } => {
                let end = left.len().min(*at + COLUMN);
                if *at < end {
                    json::append(out, &Columns::of(&left[*at..end]));
                    *at = end;
                }
                if *at < left.len() {
                    out.push(b',');
                    return More::Follows;
                }
                out.extend_from_slice(b"]}");
                More::Ended
            }
        }
    }
}

/// What a tick without rows ends with.
const ROWS: &[u8] = b"\"who\":[],\"now\":[]}";

/// Everything before the rows.
fn head(tick: &Tick, collector: &Collector) -> Vec<u8> {
    let Collector { version, validation } = collector;
    let filesystems = tick.filesystems.iter().flat_map(|filesystems| &filesystems.list);
    let disks = filesystems.map(|disk| Disk {
        device: &disk.device,
        mount: &disk.mount_point,
        capacity: disk.capacity.0,
        usage: disk.usage.0,
    });
    let head = Head {
        cursor: tick.cursor.to_string(),
        full: tick.since.is_none(),
        at: tick.at.millis(),
        node: Node {
            host: &tick.host,
            kernel: &tick.kernel,
            version,
            cpus: tick.cpus,
            memory: tick.memory.map(|memory| memory.0),
            events: validation.kernel_events,
            lost_events: validation.lost_events,
            hierarchies: validation.hierarchies,
            degraded: &validation.shortcomings,
            disks: disks.collect(),
            history_from: tick.history_from.map(WallTime::millis),
        },
        gone: &tick.gone,
        who: Vec::new(),
        now: Vec::new(),
    };
    let mut out = Vec::new();
    json::append(&mut out, &head);
    out.truncate(out.len() - ROWS.len());
    out
}
