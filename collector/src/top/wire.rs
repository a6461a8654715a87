//! What the API answers, as far as it is shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

/// An answer of `/api/feed`.
#[derive(Debug, Deserialize)]
pub(super) struct Tick {
    pub(super) cursor: String,
    /// Whether what was known before is over.
    pub(super) full: bool,
    /// Milliseconds since 1970, by the collector's clock.
    pub(super) at: u64,
    pub(super) node: Node,
    pub(super) gone: Vec<u64>,
    pub(super) who: Vec<Who>,
    pub(super) now: Vec<Columns>,
}

/// The machine and its collector.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) kernel: String,
    pub(super) version: String,
    pub(super) cpus: u32,
    /// Bytes.
    pub(super) memory: Option<u64>,
    /// `ebpf` or `scan`.
    pub(super) events: String,
    /// Absent without kernel events, and from collectors that do not say.
    #[serde(default)]
    pub(super) lost_events: Option<u64>,
    pub(super) degraded: Vec<String>,
}

/// What changes seldom of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Who {
    pub(super) id: u64,
    /// The cgroup's name.
    pub(super) name: String,
    pub(super) runtime: Option<String>,
    /// The runtime's id.
    pub(super) container: Option<String>,
    /// The name a person gave it.
    pub(super) called: Option<String>,
    pub(super) image: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    /// The pod's uid.
    pub(super) pod: Option<String>,
    pub(super) health: Option<String>,
    /// Milliseconds since 1970.
    pub(super) created: Option<u64>,
    pub(super) started: Option<u64>,
    /// Thousandths of a core.
    pub(super) cpu_limit: Option<u64>,
    /// Bytes.
    pub(super) memory_limit: Option<u64>,
    pub(super) task_limit: Option<u64>,
    /// How its first process ended, for people.
    pub(super) exit: Option<String>,
    /// Milliseconds since 1970.
    pub(super) ended: Option<u64>,
}

/// Figures of some containers, a list for each, in the order of `id`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Columns {
    pub(super) id: Vec<u64>,
    cpu: Vec<Option<u64>>,
    throttled: Vec<Option<u64>>,
    memory: Vec<Option<u64>>,
    peak: Vec<Option<u64>>,
    cpu_pressure: Vec<Option<u64>>,
    memory_pressure: Vec<Option<u64>>,
    io_pressure: Vec<Option<u64>>,
    received: Vec<Option<u64>>,
    sent: Vec<Option<u64>>,
    read: Vec<Option<u64>>,
    written: Vec<Option<u64>>,
    tasks: Vec<Option<u64>>,
    oom_kills: Vec<Option<u64>>,
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowFigures {
    /// Thousandths of a core.
    pub(super) cpu: Option<u64>,
    /// Percent of the periods of its quota.
    pub(super) throttled: Option<u64>,
    /// Working set, KiB.
    pub(super) memory: Option<u64>,
    /// KiB.
    pub(super) peak: Option<u64>,
    /// Of CPU, memory and disks, over ten seconds, in tenths of a percent.
    pub(super) pressure: [Option<u64>; 3],
    /// Bytes per second.
    pub(super) received: Option<u64>,
    pub(super) sent: Option<u64>,
    pub(super) read: Option<u64>,
    pub(super) written: Option<u64>,
    pub(super) tasks: Option<u64>,
    pub(super) oom_kills: u64,
}

impl Columns {
    /// The figures in this place of the lists.
    pub(super) fn figures(&self, at: usize) -> RowFigures {
        let of = |list: &[Option<u64>]| list.get(at).copied().flatten();
        RowFigures {
            cpu: of(&self.cpu),
            throttled: of(&self.throttled),
            memory: of(&self.memory),
            peak: of(&self.peak),
            pressure: [of(&self.cpu_pressure), of(&self.memory_pressure), of(&self.io_pressure)],
            received: of(&self.received),
            sent: of(&self.sent),
            read: of(&self.read),
            written: of(&self.written),
            tasks: of(&self.tasks),
            oom_kills: of(&self.oom_kills).unwrap_or_default(),
        }
    }
}

/// An answer of `/api/feed?trends=`.
#[derive(Debug, Deserialize)]
pub(super) struct Trends {
    pub(super) trends: Vec<Trend>,
}

/// The last two minutes of a container.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Trend {
    /// Thousandths of a core.
    pub(super) cpu: Vec<Option<u64>>,
    /// KiB.
    pub(super) memory: Vec<Option<u64>>,
    /// Milliseconds since 1970.
    pub(super) at: Vec<u64>,
}

/// A process, as `/api/v2.1/ps` lists it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Process {
    pub(super) user: String,
    pub(super) pid: u64,
    pub(super) percent_cpu: f32,
    pub(super) percent_mem: f32,
    pub(super) rss: u64,
    pub(super) status: String,
    pub(super) running_time: String,
    pub(super) cmd: String,
}

/// An event of `/api/v1.3/events`.
#[derive(Debug, Deserialize)]
pub(super) struct ApiEvent {
    container_name: String,
    timestamp: String,
    event_type: String,
    #[serde(default)]
    event_data: Data,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    oom: Option<Oom>,
    exit: Option<EndedData>,
}

/// How the first process of what ended had ended.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EndedData {
    /// For people.
    text: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Oom {
    pid: u64,
    process_name: String,
    victim_container_name: Option<String>,
    limit_container_name: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopEvent {
    pub(super) at: Timestamp,
    /// The cgroup.
    pub(super) name: String,
    pub(super) kind: TopEventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TopEventKind {
    Start,
    /// How its first process had ended, in words.
    End(Option<String>),
    /// A process was killed for want of memory: which, by name and number, and at whose limit.
    Kill {
        process: String,
        pid: u64,
        limit: Option<String>,
    },
}

impl ApiEvent {
    /// An OOM kill is two events of the API, one named after the victim and one after whose limit was hit; both become
    /// the same here.
    pub(super) fn read(self) -> Option<TopEvent> {
        let Self { container_name, timestamp, event_type, event_data } = self;
        let at = timestamp.parse().ok()?;
        let (name, kind) = match event_type.as_str() {
            "containerCreation" => (container_name, TopEventKind::Start),
            "containerDeletion" => (container_name, TopEventKind::End(event_data.exit.and_then(|exit| exit.text))),
            "oom" | "oomKill" => {
                let Oom { pid, process_name, victim_container_name, limit_container_name } =
                    event_data.oom.unwrap_or_default();
                let kind = TopEventKind::Kill { process: process_name, pid, limit: limit_container_name };
                (victim_container_name.unwrap_or(container_name), kind)
            }
            _ => return None,
        };
        Some(TopEvent { at, name, kind })
    }
}

/// What an answer can be read as.
pub(super) trait Answer: serde::de::DeserializeOwned {}

impl<T: serde::de::DeserializeOwned> Answer for T {}

/// Reads an answer.
///
/// # Errors
/// Saying what of it is not as expected.
pub(super) fn read<T: Answer>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feed_is_read() {
        let tick: Tick = read(include_bytes!("../api/golden/feed.json")).unwrap();
        assert!(tick.full && !tick.who.is_empty() && !tick.node.host.is_empty());
        let figures = tick.now[0].figures(0);
        assert!(figures.cpu.is_some() && figures.memory.is_some(), "{figures:?}");
        assert_eq!(tick.now[0].figures(1_000_000), RowFigures::default());
        let trends: Trends = read(include_bytes!("../api/golden/feed_trends.json")).unwrap();
        assert_eq!(trends.trends[0].cpu, [Some(1), None]);
    }

    #[test]
    fn the_two_events_of_a_kill_are_one() {
        let events: Vec<ApiEvent> = read(include_bytes!("../api/golden/events.json")).unwrap();
        let events: Vec<_> = events.into_iter().filter_map(ApiEvent::read).collect();
        assert!(
            events.iter().any(|event| matches!(&event.kind, TopEventKind::Kill { process, .. } if !process.is_empty()))
        );
        assert!(events.iter().any(|event| event.kind == TopEventKind::Start));
    }

    #[test]
    fn processes_are_read() {
        let processes: Option<Vec<Process>> = read(include_bytes!("../api/golden/v2_ps_container.json")).unwrap();
        assert!(!processes.unwrap()[0].cmd.is_empty());
        assert!(read::<Option<Vec<Process>>>(b"null").unwrap().is_none());
    }
}
