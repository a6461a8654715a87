//! Reads what many containers have in kernel memory at once, before their samples are taken one by one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::Instant;

use super::Engine;
use super::oom_tally::Baseline;
use super::options::OomSource;
use super::queue::{Due, FetchSource, Fetched, Job, WantedCounters};
use super::tracked::{Reading, Tracked};
use crate::reader::container::{Counted, KernelMemory, Scratch};
use crate::sampler::metrics::Purpose;

impl Job {
    /// Whether it belongs to the work of every interval.
    pub(super) fn is_periodic(&self) -> bool {
        match self {
            Self::Sample(_, purpose) => *purpose == Purpose::Tick,
            Self::Fetch(wanted) => wanted.iter().any(|wanted| matches!(wanted, WantedCounters::Tick(_))),
            Self::Fetched(fetched) => matches!(fetched.wanted, WantedCounters::Tick(_)),
            Self::Demand(_) | Self::CountOom(_) | Self::Close(..) => false,
        }
    }
}

impl Engine {
    /// Where what is due is read first.
    pub(super) fn source(&self) -> FetchSource {
        match self.context.kernel_memory() {
            Some(_) => FetchSource::KernelMemory,
            None => FetchSource::Files,
        }
    }

    /// Reads kernel memory for all of them, and leaves the rest of each sample to whichever thread has time: a read of a
    /// file may hang. Those that are read here have the kernel add up its counters and wait for nothing else.
    pub(super) fn fetch(&self, wanted: Vec<WantedCounters>, scratch: &mut Scratch) {
        let Some(memory) = self.context.kernel_memory() else { return };
        memory.set_population(self.tracked.read().unwrap_or_else(PoisonError::into_inner).len());
        // Whoever is being read right now is read from its files.
        let targets = |wanted: &WantedCounters| {
            let mut reading = match wanted.tracked().reader.try_lock() {
                Ok(reading) => reading,
                Err(TryLockError::Poisoned(reading)) => reading.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            };
            let targets = reading.reader.targets()?;
            reading.reader.add_up(&self.context, scratch);
            Some(targets)
        };
        let targets: Vec<_> = wanted.iter().map(targets).collect();
        let known: Vec<_> = targets.iter().flatten().copied().collect();
        let records = (!known.is_empty()).then(|| {
            let names = wanted.iter().map(|wanted| wanted.tracked().container.name());
            Arc::new(memory.read(&known, names, scratch.buffer()))
        });
        let mut index = 0;
        let mut fetched = Vec::new();
        let mut repeated = Vec::new();
        for (wanted, target) in wanted.into_iter().zip(&targets) {
            let counted = records.as_ref().filter(|_| target.is_some()).map(|records| {
                index += 1;
                Counted::new(Arc::clone(records), index - 1)
            });
            match (wanted, counted) {
                (WantedCounters::Tick(tracked), Some(counted)) if self.repeat_at_once(&tracked, memory, &counted) => {
                    repeated.push(tracked);
                }
                (wanted, counted) => fetched.push(Fetched { wanted, counted }),
            }
        }
        self.put_back(fetched, &repeated);
    }

    /// Leaves samples to be made, and those of which none had to be made to their next times.
    fn put_back(&self, fetched: Vec<Fetched>, repeated: &[Arc<Tracked>]) {
        let now = Instant::now();
        let due = repeated.iter().filter_map(|tracked| {
            let skip = self.interval(tracked, true).saturating_sub(self.config.interval);
            let at = tracked.phase.as_ref()?.next(now + skip);
            Some(Due { at, what: Arc::downgrade(tracked), purpose: Purpose::Tick })
        });
        let mut queue = super::lock(&self.queue);
        let first = queue.ticks.peek().map(|due| due.at);
        queue.ticks.extend(due);
        queue.fetched.extend(fetched);
        let is_earlier = queue.ticks.peek().is_some_and(|due| first.is_none_or(|first| due.at < first));
        drop(queue);
        if is_earlier {
            self.tick_wake.notify_one();
        }
    }

    /// Stores the last sample once more where that needs no file and nobody to wait for.
    fn repeat_at_once(&self, tracked: &Tracked, memory: &KernelMemory, counted: &Counted) -> bool {
        let Ok(mut reading) = tracked.reader.try_lock() else { return false };
        let may = !tracked.ended.load(Ordering::Acquire)
            && !super::lock(&tracked.news).is_any()
            && !Self::is_due_for_limits(tracked, &reading)
            && !reading.reader.has_limits_to_note()
            && self.repeat(tracked, &mut reading, Some(counted));
        if may && memory.is_turn() {
            reading.reader.compare_soon();
        }
        may
    }

    /// Takes a sample with what was read.
    pub(super) fn finish(&self, fetched: Fetched, scratch: &mut Scratch) {
        let Fetched { wanted, counted } = fetched;
        match wanted {
            WantedCounters::Tick(tracked) => self.run(&tracked, Purpose::Tick, counted, scratch),
            WantedCounters::Demand(demand) => self.meet(&demand, counted, scratch),
        }
    }

    /// Stores the last sample once more where what was read since is the same. Whether it did.
    pub(super) fn repeat(&self, tracked: &Tracked, reading: &mut Reading, counted: Option<&Counted>) -> bool {
        let Some(counted) = counted else { return false };
        // Where OOM kills are found by a file it is read with each sample.
        if self.config.oom == OomSource::Counters || reading.oom_baseline != Baseline::Known {
            return false;
        }
        let at = reading.reader.repeats(&self.context, counted);
        if !at.is_some_and(|at| tracked.container.repeat(at)) {
            return false;
        }
        reading.reader.repeated(&self.context, counted);
        self.metrics.sampled(Purpose::Tick, 0);
        true
    }
}
