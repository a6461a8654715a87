//! When within the interval a container is sampled.
//!
//! Samples of one container always fall on the same phase, so that rates over equal spans are comparable. There are a few
//! phases, each a wake-up of a thread, and a thread that wakes up finds its caches cold: so one is filled before the next
//! is begun, and many containers share what a wake-up costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Phases of an interval.
const PHASES: usize = 4;
/// Containers of a phase before the next is begun. When all have as many, they share the rest evenly.
const FULL: usize = 250;

/// The phases of an interval, with how many containers have each.
#[derive(Debug)]
pub(super) struct Phases {
    interval: Duration,
    /// Zero of the phases.
    epoch: Instant,
    taken: [AtomicUsize; PHASES],
}

impl Phases {
    /// Phases that nobody has.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, epoch: Instant::now(), taken: Default::default() }
    }

    /// A phase for one more container.
    pub(super) fn take(self: &Arc<Self>) -> Phase {
        let counts: [usize; PHASES] = std::array::from_fn(|number| self.taken[number].load(Ordering::Relaxed));
        let with_room = counts.iter().position(|count| *count < FULL);
        let emptiest = || (0..PHASES).min_by_key(|number| counts[*number]).unwrap_or_default();
        let number = with_room.unwrap_or_else(emptiest);
        self.taken[number].fetch_add(1, Ordering::Relaxed);
        Phase { phases: Arc::clone(self), number }
    }
}

/// The phase of one container; free again when dropped.
#[derive(Debug)]
pub(super) struct Phase {
    phases: Arc<Phases>,
    number: usize,
}

impl Phase {
    /// The next moment after `after` that has this phase.
    pub(super) fn next(&self, after: Instant) -> Instant {
        let Phases { interval, epoch, .. } = *self.phases;
        let phase = interval * self.number as u32 / PHASES as u32;
        let since = after.saturating_duration_since(epoch).saturating_sub(phase).as_nanos();
        let periods = since / interval.as_nanos().max(1) + 1;
        let nanos = periods.saturating_mul(interval.as_nanos());
        epoch + phase + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.phases.taken[self.number].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_filled_before_the_next_is_begun_and_then_all_get_more() {
        let phases = Arc::new(Phases::new(Duration::from_secs(1)));
        let mut taken: Vec<_> = (0..PHASES * FULL).map(|_| phases.take()).collect();
        let numbers: Vec<_> = taken.iter().map(|phase| phase.number).collect();
        let expected: Vec<_> = (0..PHASES * FULL).map(|number| number / FULL).collect();
        assert_eq!(numbers, expected);
        let more: Vec<_> = (0..PHASES).map(|_| phases.take()).collect();
        assert_eq!(more.iter().map(|phase| phase.number).collect::<Vec<_>>(), [0, 1, 2, 3]);
        // Those that end make room.
        taken.drain(..FULL);
        drop(more);
        assert_eq!(phases.take().number, 0);
    }

    #[test]
    fn a_phase_comes_once_per_interval() {
        let interval = Duration::from_secs(2);
        let phases = Arc::new(Phases::new(interval));
        let held: Vec<_> = (0..=FULL).map(|_| phases.take()).collect();
        for (phase, offset) in [(&held[0], 0), (&held[FULL], 500)] {
            let offset = Duration::from_millis(offset);
            let first = phase.next(phases.epoch + Duration::from_millis(600));
            assert_eq!(first, phases.epoch + interval + offset);
            assert_eq!(phase.next(first), first + interval);
            assert_eq!(phase.next(first + interval / 2), first + interval);
        }
    }
}
