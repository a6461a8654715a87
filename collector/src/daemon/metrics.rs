//! Answers `/metrics` on a thread of its own.
//!
//! Requests that read files of the kernel share a pool of threads, and reads that hang may take all of them. This one
//! reads nothing: it takes what the store has, renders it, and is back for the next request.
//!
//! Equal scrapes at one moment get one rendering, compressed once: as many clients as there are cost no more than one. A
//! rendering stays in memory until the slowest of its clients has read it. When there is no room for a new one, those who
//! still read the oldest are cut off.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::api::backend::{MetricsUnavailable, Sharing};
use crate::api::budget::{Budget, Busy};
use crate::api::prometheus::Scrape;
use crate::api::rendering::Rendering;

/// Requests that may wait.
const WAITING: usize = 1024;
/// For so long after its moment a rendering answers equal scrapes. Nobody scrapes that often, and of those who ask all at
/// once each is answered with data that is no older than this.
const SAME_MOMENT: Duration = Duration::from_millis(100);
/// A rendering is left to its readers for so long at least.
const LEFT_ALONE: Duration = Duration::from_secs(1);
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
pub(crate) struct Jobs(pub(super) Arc<Shared>);

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<ScrapeState>,
    /// There is a request, or there will be no more.
    more: Condvar,
}

#[derive(Default)]
struct ScrapeState {
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
    fn lock(&self) -> MutexGuard<'_, ScrapeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScrapeState {
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
        AskedScrape::Answered(rendering) => return Ok(rendering),
        AskedScrape::Waits(answered) => answered,
    };
    answered.await.map_err(|_| MetricsUnavailable::Stopping)?
}

enum AskedScrape {
    Answered(Arc<Rendering>),
    Waits(oneshot::Receiver<Answer>),
}

fn ask(
    shared: &Shared,
    budget: &Budget,
    scrape: Scrape,
    sharing: Sharing,
    generation: u64,
) -> Result<AskedScrape, MetricsUnavailable> {
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
        return Ok(AskedScrape::Answered(Arc::clone(rendering)));
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
    Ok(AskedScrape::Waits(answered))
}

/// Waits for the next scrape that somebody still waits for, which is rendered as of the moment that is given with it.
pub(super) fn next(shared: &Shared) -> Option<(Scrape, Instant)> {
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

pub(super) fn finish(shared: &Shared, scrape: Scrape, at: Instant, answer: &Answer) {
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

/// Takes the oldest rendering away from those who still read it.
pub(super) fn make_room(shared: &Shared, budget: &Budget) -> Result<(), Busy> {
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

#[cfg(test)]
mod tests;
