//! Takes the samples: a few threads of its own, one queue of what is due.
//!
//! Urgent work (the first and the last sample of a container) goes before periodic work, and one thread does nothing
//! else: it has not used up its share of the CPU when a container ends, so the scheduler lets it run at once. Periodic
//! samples of one container always fall on the same phase of the interval. A read that hangs holds up one thread and the
//! one container it belongs to; the other threads go on.

mod fetch;
mod last;
mod limits;
mod oom;
mod oom_tally;
mod options;
mod origin;
mod owners;
mod phases;
mod queue;
mod tracked;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::metrics::{Metrics, Purpose};
use crate::reader::container::{Counted, Member, ReaderContext, SampleError, Scratch};
use crate::runtime::owners::Owners;
use crate::sample::event::{Event, EventData, EventKind, Name};
use crate::store::{Listed, Store};
use crate::supervisor::Supervisor;
use crate::units::WallTime;
use oom_tally::Baseline;
pub use options::{EngineConfig, OomSource, Pace};
pub use origin::Origin;
use phases::Phases;
use queue::{Demand, Due, Duty, Job, Queue};
pub use tracked::Tracked;

/// More urgent jobs than this are not left to the one thread alone that is for them.
const MANY_URGENT: usize = 32;
/// First samples that wait at most.
const MOST_URGENT: usize = 8_192;
/// How long a thread works before another one helps: one whose caches are warm is done with a few containers sooner, and
/// cheaper, than two.
const HELP_AFTER: Duration = Duration::from_millis(20);
/// How late a sample may be before another thread looks after it: the one it is left to may hang in a read.
const HELP_LATE: Duration = Duration::from_millis(250);
/// How long after the last process's end more closing samples are taken: a process is charged for its last moments only
/// when the scheduler has let go of it, which may be after its cgroup reported empty, and longer after where the CPUs are
/// busy or the machine is a virtual one that has to wait for its turn.
const CLOSING_DELAYS: [Duration; 4] =
    [Duration::from_millis(2), Duration::from_millis(8), Duration::from_millis(32), Duration::from_millis(128)];
/// When a container nobody lives in yet is first read: after its directory is complete, and not at all if it is gone
/// again by then.
const FIRST_DELAY: Duration = Duration::from_millis(20);
/// Nice value of the thread that takes closing samples.
const HIGHEST_PRIORITY: i32 = -20;
/// A cgroup whose processes come and go all the time is not read at each coming if it was read this recently.
const FRESH: Duration = Duration::from_millis(50);
/// A directory is reported before it becomes visible; reading it is tried again so often.
const RETRIES: u8 = 5;

/// What a thread does between two waits.
#[derive(Debug, Default)]
struct Stretch {
    began: Option<Instant>,
    is_periodic: bool,
}

/// The sampler's shared part: the tracked containers, the queue, and what reading needs.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    context: ReaderContext,
    store: Arc<Store>,
    metrics: Metrics,
    tracked: RwLock<HashMap<Name, Arc<Tracked>>>,
    queue: Mutex<Queue>,
    urgent_wake: Condvar,
    /// For the thread that waits for the next periodic sample.
    tick_wake: Condvar,
    /// For those that wait until it needs help.
    help_wake: Condvar,
    phases: Arc<Phases>,
    /// Held while what it decides is passed on to the containers.
    owners: Mutex<Owners>,
}

impl Engine {
    /// An engine without containers and without threads.
    pub fn new(config: EngineConfig, context: ReaderContext, store: Arc<Store>, metrics: Metrics) -> Self {
        Self {
            phases: Arc::new(Phases::new(config.interval)),
            config,
            context,
            store,
            metrics,
            tracked: RwLock::default(),
            queue: Mutex::default(),
            urgent_wake: Condvar::new(),
            tick_wake: Condvar::new(),
            help_wake: Condvar::new(),
            owners: Mutex::default(),
        }
    }

    /// Starts the threads. They end after [`Engine::stop`].
    pub fn start(self: &Arc<Self>, supervisor: &Supervisor) -> std::io::Result<Vec<JoinHandle<()>>> {
        let spawn = |name: String, duty| {
            let engine = Arc::clone(self);
            supervisor.thread(name, move || engine.work(duty))
        };
        let urgent = std::iter::once(spawn("sampler-urgent".into(), Duty::Urgent));
        urgent.chain((0..self.config.threads).map(|number| spawn(format!("sampler-{number}"), Duty::All))).collect()
    }

    /// Ends the threads after what they are doing.
    pub fn stop(&self) {
        lock(&self.queue).stopping = true;
        self.urgent_wake.notify_all();
        self.tick_wake.notify_all();
        self.help_wake.notify_all();
    }

    /// How OOM kills are found.
    pub fn oom_source(&self) -> OomSource {
        self.config.oom
    }

    /// What reading needs.
    pub fn context(&self) -> &ReaderContext {
        &self.context
    }

    /// The store samples go to.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The sampler's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A tracked container.
    pub fn tracked(&self, name: &[u8]) -> Option<Arc<Tracked>> {
        self.tracked.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Begins to sample a container.
    pub fn begin(&self, name: &Name, members: &[Member], origin: Origin, listed: Listed) {
        let phase = (listed == Listed::Yes).then(|| self.phases.take());
        let tracked = Arc::new(Tracked::new(self.store.begin(name, listed), origin, members, phase));
        self.tracked.write().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(name), Arc::clone(&tracked));
        self.settle(name);
        if listed == Listed::Yes {
            // A container found by a scan is sampled at once: it may have been there for long.
            let delay = if matches!(origin, Origin::Made(_)) { FIRST_DELAY } else { Duration::ZERO };
            self.at(Instant::now() + delay, &tracked, Purpose::First);
            self.tick_after(Instant::now() + delay, &tracked);
        } else if listed == Listed::OnlyAsChild && origin == Origin::Found {
            // Never sampled, but its OOM kills are reported.
            self.push_urgent(Job::CountOom(tracked));
        }
    }

    /// The container's first process came.
    pub fn populated(&self, tracked: &Arc<Tracked>) {
        lock(&tracked.news).populated = Some(true);
        tracked.forget_last_network();
        tracked.populated.store(true, Ordering::Relaxed);
        tracked.doublings.store(0, Ordering::Relaxed);
        if tracked.container.latest_age().is_none_or(|age| age >= FRESH) {
            self.urgent(tracked, Purpose::First);
        }
    }

    /// The container's last process ended: its closing samples are taken now and in a moment, for as long as it is there.
    pub fn emptied(&self, tracked: &Arc<Tracked>) {
        lock(&tracked.news).populated = Some(false);
        tracked.populated.store(false, Ordering::Relaxed);
        tracked.closing.store(1 + CLOSING_DELAYS.len() as u8, Ordering::Relaxed);
        self.urgent(tracked, Purpose::Final);
        let now = Instant::now();
        for delay in CLOSING_DELAYS {
            self.at(now + delay, tracked, Purpose::Final);
        }
    }

    /// The container is gone: it is no longer listed, and its end is published with its last sample.
    pub fn end(&self, tracked: &Arc<Tracked>, at: WallTime) {
        tracked.ended.store(true, Ordering::Release);
        self.drop_tracked(tracked);
        tracked.container.add_oom_kills(lock(&tracked.oom).take_unread());
        self.store.end(&tracked.container, at);
        if tracked.container.listed() != Listed::Yes {
            return;
        }
        if tracked.urgent.load(Ordering::Acquire) == 0 {
            self.close(tracked, at);
        } else {
            // A closing sample is being read right now; the account waits for it.
            tracked.urgent.fetch_add(1, Ordering::AcqRel);
            self.push_urgent(Job::Close(Arc::clone(tracked), at));
        }
    }

    /// The container is there, but is not listed any more: nothing is published and nothing of it is kept.
    pub fn forget(&self, tracked: &Arc<Tracked>) {
        tracked.ended.store(true, Ordering::Release);
        self.drop_tracked(tracked);
        self.store.forget(&tracked.container);
    }

    fn drop_tracked(&self, tracked: &Arc<Tracked>) {
        let mut all = self.tracked.write().unwrap_or_else(PoisonError::into_inner);
        let name = tracked.container.name();
        if all.get(name).is_some_and(|current| Arc::ptr_eq(current, tracked)) {
            all.remove(name);
        }
    }

    /// A sample now, such as after a file reported a change.
    pub fn sample_soon(&self, tracked: &Arc<Tracked>) {
        self.urgent(tracked, Purpose::OnDemand);
    }

    /// Samples these containers unless they have a sample that is at most so old. The receiver ends, with the error that
    /// there is no sender any more, when all of them are done. The sampling threads get to it in their own time, so
    /// whoever waits sets a limit.
    pub fn demand(&self, containers: Vec<Arc<Tracked>>, max_age: Duration) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        let done = Arc::new(done);
        let since = Instant::now();
        let demands = containers.into_iter().map(|what| Demand { what, since, max_age, _done: Arc::clone(&done) });
        lock(&self.queue).demanded.extend(demands);
        self.tick_wake.notify_all();
        self.help_wake.notify_all();
        receiver
    }

    fn close(&self, tracked: &Tracked, at: WallTime) {
        self.complete(tracked);
        let final_sample = tracked.closing_sample();
        tracked.container.keep_latest_only();
        self.announce(tracked, at);
        self.store.events().publish(Event {
            container: Arc::clone(tracked.container.name()),
            at,
            kind: EventKind::ContainerDeletion,
            data: EventData::Deletion { final_sample, exit: tracked.container.exit() },
        });
    }

    fn urgent(&self, tracked: &Arc<Tracked>, purpose: Purpose) {
        // Whoever starts processes faster than their cgroups can be read gets the first sample with the interval.
        let is_crowded = purpose != Purpose::Final && lock(&self.queue).urgent.len() >= MOST_URGENT;
        if tracked.container.listed() == Listed::Yes && !is_crowded {
            tracked.urgent.fetch_add(1, Ordering::AcqRel);
            self.push_urgent(Job::Sample(Arc::clone(tracked), purpose));
        }
    }

    fn push_urgent(&self, job: Job) {
        let mut queue = lock(&self.queue);
        queue.urgent.push_back(job);
        let help = (queue.urgent.len() > MANY_URGENT).then(|| self.help(&queue)).flatten();
        drop(queue);
        self.urgent_wake.notify_one();
        if let Some(wake) = help {
            wake.notify_one();
        }
    }

    /// What wakes a thread that does all, if one waits.
    fn help(&self, queue: &Queue) -> Option<&Condvar> {
        let waiting = [(queue.helpers > 0, &self.help_wake), (queue.is_awaited, &self.tick_wake)];
        waiting.into_iter().find_map(|(waits, wake)| waits.then_some(wake))
    }

    fn at(&self, at: Instant, tracked: &Arc<Tracked>, purpose: Purpose) {
        let due = Due { at, what: Arc::downgrade(tracked), purpose };
        let mut queue = lock(&self.queue);
        let (heap, wake) = match purpose {
            Purpose::Tick => (&mut queue.ticks, &self.tick_wake),
            Purpose::First | Purpose::Final | Purpose::OnDemand => (&mut queue.soon, &self.urgent_wake),
        };
        let earliest = heap.peek().is_none_or(|first| at < first.at);
        heap.push(due);
        drop(queue);
        if earliest {
            wake.notify_one();
        }
    }

    /// Samples the container when its phase comes next after this.
    fn tick_after(&self, after: Instant, tracked: &Arc<Tracked>) {
        if let Some(phase) = &tracked.phase {
            self.at(phase.next(after), tracked, Purpose::Tick);
        }
    }

    fn work(&self, duty: Duty) {
        // The closing sample has a few milliseconds between the last process's end and the directory's removal, also
        // on a machine that is busy. Without the right to it (CAP_SYS_NICE) the thread runs at normal priority.
        if duty == Duty::Urgent
            && let Err(errno) = rustix::process::setpriority_process(None, HIGHEST_PRIORITY)
        {
            tracing::debug!(error = %errno, "closing samples are taken at normal priority");
        }
        let mut scratch = Scratch::default();
        let mut stretch = Stretch::default();
        while let Some(job) = self.next(duty, &mut stretch) {
            match job {
                Job::Sample(tracked, purpose) => self.run(&tracked, purpose, None, &mut scratch),
                Job::Demand(demand) => self.meet(&demand, None, &mut scratch),
                Job::Fetch(wanted) => self.fetch(wanted, &mut scratch),
                Job::Fetched(fetched) => self.finish(fetched, &mut scratch),
                Job::CountOom(tracked) => {
                    let mut reading = lock(&tracked.reader);
                    tracked.deliver_news(&mut reading);
                    self.read_oom_counter(&tracked, &mut reading, &mut scratch);
                    reading.oom_baseline = Baseline::Unsettled;
                }
                Job::Close(tracked, at) => {
                    // Jobs of one container may run on several threads; the last one out closes.
                    drop(lock(&tracked.reader));
                    tracked.urgent.fetch_sub(1, Ordering::AcqRel);
                    self.close(&tracked, at);
                }
            }
        }
    }

    /// Waits for work; `None` when there will be none.
    fn next(&self, duty: Duty, stretch: &mut Stretch) -> Option<Job> {
        let mut queue = lock(&self.queue);
        loop {
            let now = Instant::now();
            if let Some(job) = queue.take(duty, now, self.source()) {
                let began = *stretch.began.get_or_insert(now);
                stretch.is_periodic |= job.is_periodic();
                let lasted = now.saturating_duration_since(began);
                if lasted >= self.config.interval && stretch.is_periodic {
                    // It does not get to the end of what is due.
                    self.metrics.tick(lasted);
                    stretch.began = Some(now);
                }
                let is_long = lasted >= HELP_AFTER;
                let help = (is_long && queue.has_more(now)).then(|| self.help(&queue)).flatten();
                drop(queue);
                if let Some(wake) = help {
                    wake.notify_one();
                }
                return Some(job);
            }
            if queue.stopping {
                return None;
            }
            if let Stretch { began: Some(began), is_periodic: true } = std::mem::take(stretch) {
                self.metrics.tick(now.saturating_duration_since(began));
            }
            queue = self.wait(queue, duty, now);
        }
    }

    /// Waits until there may be work. Of the threads that do all, one waits for the next periodic sample. The others
    /// wait to be called, and look by themselves when nobody took that sample in time: a read may hang.
    fn wait<'q>(&self, mut queue: MutexGuard<'q, Queue>, duty: Duty, now: Instant) -> MutexGuard<'q, Queue> {
        let wait_for = |wake: &Condvar, queue, at: Option<Instant>| match at {
            Some(at) => {
                let timeout = at.saturating_duration_since(now);
                wake.wait_timeout(queue, timeout).unwrap_or_else(PoisonError::into_inner).0
            }
            None => wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
        };
        if duty == Duty::Urgent {
            let next = queue.soon.peek().map(|due| due.at);
            return wait_for(&self.urgent_wake, queue, next);
        }
        let next = queue.ticks.peek().map(|due| due.at);
        if queue.is_awaited {
            let interval = self.config.interval;
            let expected = next.map_or(now + interval, |at| at.min(now + interval));
            // One after the other, so that they do not all wake up for nothing.
            let late = expected + HELP_LATE.min(interval / 2) + interval * queue.helpers;
            queue.helpers += 1;
            queue = wait_for(&self.help_wake, queue, Some(late));
            queue.helpers -= 1;
        } else {
            queue.is_awaited = true;
            queue = wait_for(&self.tick_wake, queue, next);
            queue.is_awaited = false;
        }
        queue
    }

    fn run(&self, tracked: &Arc<Tracked>, purpose: Purpose, counted: Option<Counted>, scratch: &mut Scratch) {
        if !tracked.ended.load(Ordering::Acquire) {
            let unchanged = self.sample(tracked, purpose, counted, scratch);
            if purpose == Purpose::Tick {
                let interval = self.interval(tracked, unchanged);
                let skip = interval.saturating_sub(self.config.interval);
                self.tick_after(Instant::now() + skip, tracked);
            }
        }
        if purpose != Purpose::Tick {
            tracked.urgent.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn meet(&self, demand: &Demand, counted: Option<Counted>, scratch: &mut Scratch) {
        let tracked = &demand.what;
        let met = tracked.container.latest_age().is_some_and(|age| age <= demand.max_age + demand.since.elapsed());
        if !met && !tracked.ended.load(Ordering::Acquire) {
            self.sample(tracked, Purpose::OnDemand, counted, scratch);
        }
    }

    /// Takes one sample; returns whether nothing had changed.
    fn sample(
        &self,
        tracked: &Arc<Tracked>,
        purpose: Purpose,
        counted: Option<Counted>,
        scratch: &mut Scratch,
    ) -> bool {
        let mut reading = lock(&tracked.reader);
        tracked.deliver_news(&mut reading);
        self.read_limits_if_due(tracked, &mut reading, (purpose, counted.as_ref()), scratch);
        if purpose == Purpose::Tick && self.repeat(tracked, &mut reading, counted.as_ref()) {
            reading.reader.keep_true(&self.context, scratch);
            return true;
        }
        let sampled = reading.reader.sample_with(&self.context, scratch, counted);
        if purpose == Purpose::Tick && sampled.is_ok() {
            reading.reader.keep_true(&self.context, scratch);
        }
        self.read_limits_of_new_controllers(tracked, &mut reading, scratch);
        if purpose == Purpose::Final {
            tracked.closing_sample_taken(&mut reading.reader, sampled.as_ref().ok());
        }
        let sampled_once = sampled.is_ok().then(|| std::mem::replace(&mut reading.oom_baseline, Baseline::Known));
        match (self.config.oom, sampled_once) {
            (OomSource::Counters, Some(baseline)) => self.compare_oom_counter(tracked, &mut reading, baseline, scratch),
            (OomSource::Events, Some(Baseline::Unread | Baseline::Unsettled)) => {
                self.read_oom_counter(tracked, &mut reading, scratch);
            }
            _ => {}
        }
        match sampled {
            Ok(sample) => {
                // Under the reader's lock: samples of one container are stored in the order they were read.
                let pushed = tracked.container.push(sample);
                reading.retries = 0;
                self.metrics.sampled(purpose, pushed.regressions);
                pushed.unchanged
            }
            Err(SampleError::Gone) => {
                if !tracked.ended.load(Ordering::Acquire) && reading.retries < RETRIES {
                    reading.retries += 1;
                    reading.reader.refresh();
                    drop(reading);
                    self.at(Instant::now() + FIRST_DELAY, tracked, Purpose::First);
                }
                false
            }
        }
    }

    fn interval(&self, tracked: &Tracked, unchanged: bool) -> Duration {
        let Pace::Dynamic { max } = self.config.pace else { return self.config.interval };
        if !unchanged {
            tracked.doublings.store(0, Ordering::Relaxed);
            return self.config.interval;
        }
        let doublings = tracked.doublings.load(Ordering::Relaxed);
        let doubled = self.config.interval.saturating_mul(2u32.saturating_pow(u32::from(doublings) + 1));
        if doubled < max {
            tracked.doublings.store(doublings + 1, Ordering::Relaxed);
        }
        doubled.min(max).max(self.config.interval)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
