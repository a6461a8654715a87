//! Who watches an attack: a well-behaved client, somebody who makes cgroups and counts their events, and the kernel's
//! account of the collector's memory.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::api::Event;
use crate::support::cgroups::{Cgroup, Cgroups};
use crate::support::metrics::Metrics;
use crate::support::stream::EventStream;
use crate::support::{Context as _, Result, bail, bytes, ensure, http, wait};

/// The longest that a client waits.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often cgroups are made.
const EVERY: Duration = Duration::from_millis(40);
const KINDS: &str = "creation_events=true&deletion_events=true";

/// A client as there should be more of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    pub(super) address: SocketAddr,
    pub(super) authorization: Option<&'a str>,
}

impl Client<'_> {
    /// One answer, which must be 200.
    pub(super) fn ask(&self, target: &str) -> Result<String> {
        let asked = Instant::now();
        loop {
            let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let authorization = self.authorization.map(|value| ("Authorization", value));
            let answer = http::request_with(stream, "GET", target, authorization.as_slice(), None)?;
            // As it is asked to, it comes again. That counts as waiting.
            let later = answer.header("retry-after").and_then(|value| value.parse().ok());
            match (answer.status, later) {
                (200, _) => return Ok(answer.text()),
                (429 | 503, Some(seconds)) if asked.elapsed() < PATIENCE => wait::pass(Duration::from_secs(seconds)),
                (status, _) => bail!("{target} answers {status}: {}", answer.text().trim_end()),
            }
        }
    }

    /// Asks again and again.
    pub(super) fn ask_until(&self, over: &AtomicBool, target: &str, pause: Duration) -> Answers {
        let mut answers = Answers::default();
        while !over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let result = self.ask(target);
            answers.count += 1;
            answers.slowest = answers.slowest.max(asked.elapsed());
            if let Err(error) = result {
                *answers.refused.entry(format!("{error:#}")).or_default() += 1;
            }
            wait::pass(pause);
        }
        answers
    }

    /// How many events the kernel had no room for.
    pub(super) fn lost_events(&self) -> Result<f64> {
        Ok(Metrics::parse(&self.ask("/metrics")?).sum("collector_events_lost_total"))
    }
}

/// What a client got.
#[derive(Debug, Default)]
pub(super) struct Answers {
    count: usize,
    slowest: Duration,
    /// What went wrong, and how often.
    refused: BTreeMap<String, usize>,
}

impl Answers {
    /// Whether all came in time.
    pub(super) fn are_good(&self, slowest: Duration) -> bool {
        self.count > 0 && self.refused.is_empty() && self.slowest <= slowest
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ms", self.slowest.as_millis())?;
        let refused: usize = self.refused.values().sum();
        if refused == 0 { Ok(()) } else { write!(formatter, " ({refused} of {} refused)", self.count) }
    }
}

/// Events of cgroups that are made and removed, as they come over a stream.
pub(super) struct Events {
    stream: EventStream,
    made: AtomicUsize,
}

impl Events {
    /// Begins to listen.
    pub(super) fn watch(client: &Client<'_>, cgroups: &Cgroups) -> Result<Self> {
        let target = format!("/api/v1.3/events{}/witness?stream=true&subcontainers=true&{KINDS}", cgroups.name());
        cgroups.make("witness")?;
        let stream = EventStream::open_as(client.address, &target, client.authorization)?;
        Ok(Self { stream, made: AtomicUsize::new(0) })
    }

    /// Makes cgroups and removes them.
    pub(super) fn cause_until(&self, over: &AtomicBool, cgroups: &Cgroups) {
        let mut number = 0;
        while !over.load(Ordering::Relaxed) {
            let cgroup = cgroups.at(format!("witness/{number:05}"));
            if cgroup.make().is_ok() {
                number += 1;
                self.made.store(number, Ordering::Relaxed);
                wait::pass(EVERY / 2);
                let _ = cgroup.remove();
            }
            wait::pass(EVERY / 2);
        }
    }

    /// How many came, of how many.
    pub(super) fn seen(&self) -> Seen {
        let expected = 2 * self.made.load(Ordering::Relaxed);
        let _ = self.stream.wait_for(expected, Duration::from_secs(5));
        Seen { seen: unique(&self.stream.events()), expected }
    }

    /// Whether they all are in the log of events, too.
    pub(super) fn all_logged(&self, client: &Client<'_>, cgroups: &Cgroups) -> Result<()> {
        let expected = 2 * self.made.load(Ordering::Relaxed);
        let target = format!("/api/v1.3/events{}/witness?subcontainers=true&max_events=-1&{KINDS}", cgroups.name());
        let logged: Vec<Event> = serde_json::from_str(&client.ask(&target)?)?;
        let logged = unique(&logged);
        ensure!(logged >= expected, "{logged} of {expected} events are in the log");
        Ok(())
    }
}

/// Distinct events; the witness' own cgroup is none of them.
fn unique(events: &[Event]) -> usize {
    let mut all: Vec<_> = events
        .iter()
        .filter(|event| !event.container_name.ends_with("/witness"))
        .map(|event| (&event.container_name, &event.event_type))
        .collect();
    all.sort_unstable();
    all.dedup();
    all.len()
}

/// How many events came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    seen: usize,
    expected: usize,
}

impl Seen {
    pub(super) fn is_all(self) -> bool {
        self.expected > 0 && self.seen >= self.expected
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.seen, self.expected)
    }
}

/// What the kernel says of the collector's memory.
pub(super) struct Memory {
    /// What its cgroup uses now.
    usage: Option<PathBuf>,
    /// The most that it used; on cgroup2 since 5.19.
    peak: Option<PathBuf>,
    pid: u32,
}

/// The most that was used, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peaks {
    /// By the cgroup, page cache included.
    pub(super) cgroup: u64,
    /// By the process.
    pub(super) rss: u64,
}

impl Memory {
    pub(super) fn of(cgroup: &Cgroup<'_>, pid: u32) -> Self {
        let v1 = |file| cgroup.v1_file("memory", file).ok();
        let v2 = |file| cgroup.v2_file(file).ok();
        Self {
            usage: v1("memory.usage_in_bytes").or_else(|| v2("memory.current")),
            peak: v1("memory.max_usage_in_bytes").or_else(|| v2("memory.peak")),
            pid,
        }
    }

    /// Watches until it is over, or until the process has ended.
    pub(super) fn watch(&self, over: &AtomicBool) -> Peaks {
        let mut peaks = Peaks::default();
        while !over.load(Ordering::Relaxed) {
            for file in [&self.usage, &self.peak].into_iter().flatten() {
                peaks.cgroup = peaks.cgroup.max(bytes::read_number(file).unwrap_or(0));
            }
            match self.rss() {
                // A process that has ended has no memory.
                Err(_) => return peaks,
                Ok(rss) => peaks.rss = peaks.rss.max(rss),
            }
            wait::pass(Duration::from_millis(20));
        }
        peaks
    }

    fn rss(&self) -> Result<u64> {
        let status = bytes::read(format!("/proc/{}/status", self.pid))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        Ok(peak.context("no memory")?.trim().parse::<u64>()? * 1024)
    }
}
