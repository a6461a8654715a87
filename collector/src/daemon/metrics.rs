//! Answers `/metrics` on a thread of its own.
//!
//! Requests that read files of the kernel share a pool of threads, and reads that hang may take all of them. This one
//! reads nothing: it takes what the store has, renders it, and is back for the next request.
//!
//! Equal scrapes at one moment get one rendering, compressed once: as many clients as there are cost no more than one. A
//! rendering stays in memory until the slowest of its clients has read it. When there is no room for a new one, those who
//! still read the oldest are cut off.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use crate::api::backend::{MetricsUnavailable, Sharing, Status as _};
use crate::api::budget::{Budget, Busy};
use crate::api::prometheus;
use crate::api::prometheus::{Encoder, Endpoint, Entry, Format, Kill, Life, Options, Scrape, Snapshot};
use crate::api::rendering::Rendering;
use crate::daemon::backend::{Answers, VERSION};
use crate::sample::container::Processes;
use crate::sample::event::{Event, EventData, EventKind, Name};
use crate::sampler::engine::Engine;
use crate::store::Container;
use crate::units::WallTime;

/// Requests that may wait.
const WAITING: usize = 1024;
/// For so long after its moment a rendering answers equal scrapes. Nobody scrapes that often, and of those who ask all at
/// once each is answered with data that is no older than this.
const SAME_MOMENT: Duration = Duration::from_millis(100);
/// A rendering is left to its readers for so long at least.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// OOM kills looked through for exemplars.
const KILLS: usize = 1000;

/// Processes of containers that were counted for a request.
pub(crate) type ProcessCounts = BTreeMap<Name, Processes>;

type Answer = Result<Arc<Rendering>, MetricsUnavailable>;
type Waiting = oneshot::Sender<Answer>;

/// Where requests go.
pub(crate) struct Requests(Arc<Shared>);

impl Drop for Requests {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.more.notify_all();
    }
}

/// Where they come from.
pub(crate) struct Jobs(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is a request, or there will be no more.
    more: Condvar,
}

#[derive(Default)]
struct State {
    /// What is still to be rendered, each scrape once.
    queued: VecDeque<(Scrape, Vec<Waiting>)>,
    /// What is being rendered, of which moment, and who joined it since.
    current: Option<(Scrape, Instant, Vec<Waiting>)>,
    /// What was rendered within [`SAME_MOMENT`].
    recent: Vec<(Scrape, Instant, Arc<Rendering>)>,
    /// Every rendering that somebody may still read, the oldest first.
    alive: VecDeque<(Instant, Weak<Rendering>)>,
    /// Which containers there were when somebody asked last: see [`Store::generation`](crate::store::Store::generation).
    generation: u64,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waiting(&self) -> usize {
        let queued = self.queued.iter().map(|(_, waiting)| waiting.len()).sum::<usize>();
        queued + self.current.as_ref().map_or(0, |(.., waiting)| waiting.len())
    }

    /// Forgets what is no longer of the same moment as anything asked for now.
    fn expire(&mut self, now: Instant) -> Vec<Arc<Rendering>> {
        let (kept, expired) =
            std::mem::take(&mut self.recent).into_iter().partition(|(_, at, _)| now.duration_since(*at) <= SAME_MOMENT);
        self.recent = kept;
        expired.into_iter().map(|(.., rendering)| rendering).collect()
    }
}

/// Where requests go and where they come from.
pub(crate) fn channel() -> (Requests, Jobs) {
    let shared = Arc::new(Shared::default());
    (Requests(Arc::clone(&shared)), Jobs(shared))
}

/// Has a request answered.
pub(crate) async fn answer(
    requests: &Requests,
    budget: &Budget,
    scrape: Scrape,
    sharing: Sharing,
    generation: u64,
) -> Answer {
    let answered = match ask(&requests.0, budget, scrape, sharing, generation)? {
        Asked::Answered(rendering) => return Ok(rendering),
        Asked::Waits(answered) => answered,
    };
    answered.await.map_err(|_| MetricsUnavailable::Stopping)?
}

enum Asked {
    Answered(Arc<Rendering>),
    Waits(oneshot::Receiver<Answer>),
}

fn ask(
    shared: &Shared,
    budget: &Budget,
    scrape: Scrape,
    sharing: Sharing,
    generation: u64,
) -> Result<Asked, MetricsUnavailable> {
    let now = Instant::now();
    let mut state = shared.lock();
    if state.closed {
        return Err(MetricsUnavailable::Stopping);
    }
    // Whoever has seen a container come or go does not get an answer from before.
    let mut outdated = Vec::new();
    if state.generation != generation {
        state.generation = generation;
        outdated = std::mem::take(&mut state.recent);
        if let Some((_, at, _)) = &mut state.current {
            *at = at.checked_sub(2 * SAME_MOMENT).unwrap_or(*at);
        }
    }
    let same_moment = |at: Instant| sharing == Sharing::SameMoment && now.duration_since(at) <= SAME_MOMENT;
    if let Some((.., rendering)) = state.recent.iter().find(|(of, at, _)| *of == scrape && same_moment(*at)) {
        budget.count_shared();
        return Ok(Asked::Answered(Arc::clone(rendering)));
    }
    if state.waiting() >= WAITING {
        return Err(budget.refuse(Busy::Queue).into());
    }
    let (answer, answered) = oneshot::channel();
    if let Some((of, at, waiting)) = &mut state.current
        && *of == scrape
        && same_moment(*at)
    {
        budget.count_shared();
        waiting.push(answer);
    } else if let Some((_, waiting)) = state.queued.iter_mut().find(|(of, _)| *of == scrape) {
        budget.count_shared();
        waiting.push(answer);
    } else {
        state.queued.push_back((scrape, vec![answer]));
        shared.more.notify_one();
    }
    drop(state);
    drop(outdated);
    Ok(Asked::Waits(answered))
}

/// Starts the thread, which ends with those it answers for.
pub(crate) fn start(jobs: Jobs, answers: Weak<Answers>, options: Options) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("metrics".into()).spawn(move || {
        let shared = jobs.0;
        while let Some((scrape, at)) = next(&shared) {
            let Some(answers) = answers.upgrade() else { return };
            let began = Instant::now();
            let answer = render(&shared, &answers, &options, scrape).map(Arc::new);
            answers.own_metrics().rendered(began.elapsed());
            finish(&shared, scrape, at, &answer);
        }
    })
}

/// Waits for the next scrape that somebody still waits for, which is rendered as of the moment that is given with it.
fn next(shared: &Shared) -> Option<(Scrape, Instant)> {
    let mut state = shared.lock();
    loop {
        if state.closed {
            return None;
        }
        while let Some((scrape, mut waiting)) = state.queued.pop_front() {
            // Clients may have left meanwhile.
            waiting.retain(|answer| !answer.is_closed());
            if !waiting.is_empty() {
                let now = Instant::now();
                state.current = Some((scrape, now, waiting));
                return Some((scrape, now));
            }
        }
        let expired = state.expire(Instant::now());
        if !expired.is_empty() {
            drop(state);
            drop(expired);
            state = shared.lock();
        } else if state.recent.is_empty() {
            state = shared.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        } else {
            state = shared.more.wait_timeout(state, SAME_MOMENT).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn finish(shared: &Shared, scrape: Scrape, at: Instant, answer: &Answer) {
    let mut state = shared.lock();
    let (began, waiting) = state.current.take().map(|(_, began, waiting)| (began, waiting)).unzip();
    let waiting: Vec<Waiting> = waiting.unwrap_or_default();
    // The one before would have answered.
    let old = state.expire(Instant::now());
    state.alive.retain(|(_, rendering)| rendering.strong_count() > 0);
    if let Ok(rendering) = answer {
        // Unless a container came or went meanwhile.
        if began == Some(at) {
            state.recent.push((scrape, at, Arc::clone(rendering)));
        }
        state.alive.push_back((at, Arc::downgrade(rendering)));
    }
    drop(state);
    drop(old);
    for client in waiting {
        // One that left meanwhile.
        let _ = client.send(answer.clone());
    }
}

fn render(
    shared: &Shared,
    answers: &Answers,
    options: &Options,
    scrape: Scrape,
) -> Result<Rendering, MetricsUnavailable> {
    let processes = match scrape.endpoint {
        Endpoint::Kubelet => answers.last_process_counts(),
        Endpoint::Collector | Endpoint::Itself => Arc::default(),
    };
    let snapshot = snapshot(answers, scrape, &processes);
    let mut pieces = Vec::new();
    let mut encoder = Encoder::new(scrape.encoding, |mut piece: Vec<u8>| {
        piece.shrink_to_fit();
        let share = loop {
            match answers.budget().of_scrapes(piece.len()) {
                Some(share) => break share,
                None => make_room(shared, answers.budget())?,
            }
        };
        pieces.push(share.hold(piece));
        Ok(())
    })?;
    let mut text = Vec::new();
    prometheus::render(&snapshot, options, scrape, &mut text, &mut |piece| encoder.take(piece));
    encoder.finish(text)?;
    Ok(Rendering::new(pieces))
}

/// Takes the oldest rendering away from those who still read it.
fn make_room(shared: &Shared, budget: &Budget) -> Result<(), Busy> {
    let mut state = shared.lock();
    // Nobody reads these any more but who asks at this moment.
    let recent = std::mem::take(&mut state.recent);
    if !recent.is_empty() {
        drop(state);
        drop(recent);
        return Ok(());
    }
    while let Some((at, rendering)) = state.alive.pop_front() {
        let Some(rendering) = rendering.upgrade() else { continue };
        if at.elapsed() < LEFT_ALONE {
            state.alive.push_front((at, Arc::downgrade(&rendering)));
            return Err(budget.refuse(Busy::Timeout));
        }
        drop(state);
        tracing::warn!("slow readers of /metrics were cut off to make room for a new answer");
        rendering.cut_off();
        budget.count_cut_off();
        return Ok(());
    }
    Err(budget.refuse(Busy::Size(budget.scrape_bytes())))
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
        processes: processes.get(container.name()).copied(),
        spec: container.spec(),
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

#[cfg(test)]
mod tests;
