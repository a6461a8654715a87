//! Answers `/metrics` on a thread of its own.
//!
//! Requests that read files of the kernel share a pool of threads, and reads that hang may take all of them. This one
//! reads nothing: it takes what the store has, renders it, and is back for the next request.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use tokio::sync::oneshot;

use super::answers::{Answers, VERSION};
use crate::sample::container::Processes;
use crate::sample::event::{Event, EventData, EventKind, Name};
use crate::sampler::engine::Engine;
use crate::store::Container;
use crate::units::WallTime;
use crate::views::prometheus::{self, Encoder, Endpoint, Entry, Format, Kill, Life, Options, Scrape, Snapshot};
use crate::views::source::MetricsUnavailable;

/// Requests that may wait; one takes some hundredths of a second.
const WAITING: usize = 64;
/// OOM kills looked through for exemplars.
const KILLS: usize = 1000;

/// Processes of containers that were counted for a request.
pub(super) type ProcessCounts = BTreeMap<Name, Processes>;

type Answer = Result<Vec<u8>, MetricsUnavailable>;

/// A request that waits.
pub(super) struct Job {
    scrape: Scrape,
    processes: Arc<ProcessCounts>,
    answer: oneshot::Sender<Answer>,
}

/// Where requests go.
pub(super) type Requests = SyncSender<Job>;

/// Where requests go and where they come from.
pub(super) fn channel() -> (Requests, Receiver<Job>) {
    sync_channel(WAITING)
}

/// Has a request answered.
pub(super) async fn answer(requests: &Requests, scrape: Scrape, processes: Arc<ProcessCounts>) -> Answer {
    let (answer, answered) = oneshot::channel();
    requests.try_send(Job { scrape, processes, answer }).map_err(|error| match error {
        TrySendError::Full(_) => MetricsUnavailable::Busy,
        TrySendError::Disconnected(_) => MetricsUnavailable::Stopping,
    })?;
    answered.await.map_err(|_| MetricsUnavailable::Stopping)?
}

/// Starts the thread, which ends with those it answers for.
pub(super) fn start(jobs: Receiver<Job>, answers: Weak<Answers>, options: Options) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("metrics".into()).spawn(move || {
        for job in jobs {
            let Some(answers) = answers.upgrade() else { return };
            // The client may have left meanwhile.
            if !job.answer.is_closed() {
                let began = Instant::now();
                let answer = render(&answers, &options, job.scrape, &job.processes);
                answers.own_metrics().rendered(began.elapsed());
                let _ = job.answer.send(answer);
            }
        }
    })
}

fn render(answers: &Answers, options: &Options, scrape: Scrape, processes: &ProcessCounts) -> Answer {
    let snapshot = snapshot(answers, scrape, processes);
    let mut encoder = Encoder::new(scrape.encoding)?;
    let mut text = Vec::new();
    prometheus::render(&snapshot, options, scrape, &mut text, &mut |piece| encoder.take(piece));
    Ok(encoder.finish(text)?)
}

fn snapshot(answers: &Answers, scrape: Scrape, processes: &ProcessCounts) -> Snapshot {
    let engine = answers.engine();
    let at = WallTime::from(SystemTime::now());
    Snapshot {
        at,
        containers: match scrape.endpoint {
            Endpoint::Collector => entries(engine, at, &BTreeMap::new()),
            Endpoint::Kubelet => entries(engine, at, processes),
            Endpoint::Itself => Vec::new(),
        },
        machine: answers.current_machine(),
        filesystems: engine.store().filesystems(),
        version: VERSION,
        own: match scrape.endpoint {
            Endpoint::Collector | Endpoint::Itself => answers.own_families(),
            Endpoint::Kubelet => Vec::new(),
        },
        kills: match scrape.format {
            Format::OpenMetrics => kills(engine),
            Format::Text | Format::RemoteWrite => BTreeMap::new(),
        },
    }
}

/// The containers that are there, and those that ended and whose name nobody has taken over.
fn entries(engine: &Engine, now: WallTime, processes: &ProcessCounts) -> Vec<Entry> {
    let store = engine.store();
    let oom_kills = store.oom_counts(now);
    let entry = |container: &Container, life| Entry {
        name: Arc::clone(container.name()),
        life,
        sample: container.latest(),
        processes: processes.get(container.name()).cloned(),
        spec: container.spec().0,
        identity: container.identity(),
        storage: container.storage(),
        application: container.newest_of_application(),
        oom_kills: oom_kills.get(container.name()).copied().unwrap_or(0),
    };
    // One that ended after it was listed as running is in both lists, one made anew meanwhile too.
    let running = store.with_prefix(b"/");
    let ended = store.ended(now);
    let mut entries: Vec<Entry> = running.iter().map(|container| entry(container, Life::Running)).collect();
    if !ended.is_empty() {
        // Of several ends under one name the last counts.
        let ended = ended.iter().rev().map(|container| entry(container, Life::Ended));
        entries.extend(ended.filter(|entry| entry.sample.is_some() || entry.oom_kills > 0));
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries.dedup_by(|later, first| later.name == first.name);
    }
    entries
}

/// The newest kill of each victim's container.
fn kills(engine: &Engine) -> BTreeMap<Name, Kill> {
    let recent = engine.store().events().recent(EventKind::Oom, None, None, KILLS);
    let kill = |event: &Arc<Event>| {
        let EventData::Oom(kill) = &event.data else { return None };
        let pid = kill.victim.pid?;
        Some((Arc::clone(&event.container), Kill { at: event.at, pid, command: kill.victim.comm.clone() }))
    };
    recent.iter().filter_map(kill).collect()
}
