//! What the sampling threads have to do, and when.

use std::cmp::Ordering as Order;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Tracked;
use crate::reader::container::Counted;
use crate::sampler::metrics::Purpose;
use crate::units::WallTime;

/// What waits to be done.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) urgent: VecDeque<Job>,
    /// Periodic samples.
    pub(super) ticks: BinaryHeap<Due>,
    /// Everything else that has its time.
    pub(super) soon: BinaryHeap<Due>,
    /// Samples whose numbers in kernel memory are read, and that wait for their files.
    pub(super) fetched: VecDeque<Fetched>,
    /// What requests wait for. Never goes before the first and the last samples.
    pub(super) demanded: VecDeque<Demand>,
    is_demands_turn: bool,
    /// A thread waits for the next periodic sample.
    pub(super) is_awaited: bool,
    /// Threads that wait for that one to need help.
    pub(super) helpers: u32,
    pub(super) stopping: bool,
}

/// What a thread of the engine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// First and last samples only.
    Urgent,
    /// Periodic samples, and urgent ones that wait.
    All,
}

/// Work for a thread.
#[derive(Debug)]
pub(super) enum Job {
    Sample(Arc<Tracked>, Purpose),
    Demand(Demand),
    /// Read what these have in kernel memory, and put them into the queue again with that.
    Fetch(Vec<WantedCounters>),
    Fetched(Fetched),
    Close(Arc<Tracked>, WallTime),
    CountOom(Arc<Tracked>),
}

/// A sample that is taken along with others.
#[derive(Debug)]
pub(super) enum WantedCounters {
    Tick(Arc<Tracked>),
    Demand(Demand),
}

impl WantedCounters {
    pub(super) fn tracked(&self) -> &Arc<Tracked> {
        match self {
            Self::Tick(tracked) => tracked,
            Self::Demand(demand) => &demand.what,
        }
    }
}

/// A sample with what was read of it from kernel memory, if that was.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) wanted: WantedCounters,
    pub(super) counted: Option<Counted>,
}

/// Whether what is due is first read from kernel memory, many at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FetchSource {
    Files,
    KernelMemory,
}

/// Samples that are read from kernel memory at a time: few enough that what was read of them, about 2 KiB each, is still in the
/// processor's cache when they are made, and that its memory is used again rather than returned to the kernel each time.
const FETCH: usize = 48;

/// A sample that a request waits for.
#[derive(Debug)]
pub(super) struct Demand {
    pub(super) what: Arc<Tracked>,
    /// When it was demanded.
    pub(super) since: Instant,
    /// A sample that was at most so old then will do.
    pub(super) max_age: Duration,
    /// Its receiver learns that all of a request's demands are done when the last of them is dropped.
    pub(super) _done: Arc<oneshot::Sender<()>>,
}

/// Work that has its time.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) at: Instant,
    pub(super) what: Weak<Tracked>,
    pub(super) purpose: Purpose,
}

// Earliest first, which is the greatest for a heap.
impl Ord for Due {
    fn cmp(&self, other: &Self) -> Order {
        other.at.cmp(&self.at)
    }
}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl Eq for Due {}

/// Takes the first that is due. What ended meanwhile is dropped, and so is the closing sample of a container that has
/// processes again.
fn take_due(heap: &mut BinaryHeap<Due>, now: Instant) -> Option<Job> {
    while heap.peek().is_some_and(|due| due.at <= now) {
        let due = heap.pop()?;
        let Some(tracked) = due.what.upgrade() else { continue };
        if due.purpose == Purpose::Final && tracked.populated.load(Ordering::Relaxed) {
            continue;
        }
        if due.purpose != Purpose::Tick {
            tracked.urgent.fetch_add(1, Ordering::AcqRel);
        }
        return Some(Job::Sample(tracked, due.purpose));
    }
    None
}

impl Queue {
    /// The next job of a thread, if there is one now.
    pub(super) fn take(&mut self, duty: Duty, now: Instant, source: FetchSource) -> Option<Job> {
        if let Some(job) = self.urgent.pop_front() {
            return Some(job);
        }
        if self.stopping {
            return None;
        }
        if let Some(job) = take_due(&mut self.soon, now) {
            return Some(job);
        }
        if duty == Duty::Urgent {
            return None;
        }
        if let Some(fetched) = self.fetched.pop_front() {
            return Some(Job::Fetched(fetched));
        }
        if source == FetchSource::KernelMemory {
            return self.take_many(now);
        }
        // By turns: however many requests there are, what is due is read.
        self.is_demands_turn = !self.is_demands_turn;
        if self.is_demands_turn {
            let demanded = self.demanded.pop_front().map(Job::Demand);
            return demanded.or_else(|| take_due(&mut self.ticks, now));
        }
        take_due(&mut self.ticks, now).or_else(|| self.demanded.pop_front().map(Job::Demand))
    }

    /// As many as are read at a time; half of them at most are what requests wait for while others are due.
    fn take_many(&mut self, now: Instant) -> Option<Job> {
        let mut wanted = Vec::new();
        while wanted.len() < FETCH {
            self.is_demands_turn = !self.is_demands_turn;
            let demanded = |queue: &mut Self| queue.demanded.pop_front().map(WantedCounters::Demand);
            let due = |queue: &mut Self| match take_due(&mut queue.ticks, now) {
                Some(Job::Sample(tracked, _)) => Some(WantedCounters::Tick(tracked)),
                _ => None,
            };
            let next = if self.is_demands_turn {
                demanded(self).or_else(|| due(self))
            } else {
                due(self).or_else(|| demanded(self))
            };
            let Some(next) = next else { break };
            wanted.push(next);
        }
        (!wanted.is_empty()).then_some(Job::Fetch(wanted))
    }

    /// Whether there is work for another thread that does all.
    pub(super) fn has_more(&self, now: Instant) -> bool {
        let is_due = |heap: &BinaryHeap<Due>| heap.peek().is_some_and(|due| due.at <= now);
        !self.urgent.is_empty()
            || !self.fetched.is_empty()
            || !self.demanded.is_empty()
            || is_due(&self.soon)
            || is_due(&self.ticks)
    }
}
