//! Counts that cost too much for every sample, because a container decides how much there is to count. Each container's
//! newest count stands until all of them together may be taken anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What all counts took passes so many times before one of them is taken again: they cost a hundredth of a CPU at most.
const PAUSE_SHARE: u64 = 100;
/// All counts together that take no longer are taken for each sample.
const CHEAP: Duration = Duration::from_millis(10);

/// When counts may be taken anew.
#[derive(Debug)]
pub(super) struct Pace {
    /// The CPU time that the newest counts of all containers took together, in nanoseconds.
    taken: AtomicU64,
    /// That many times.
    pause_share: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { taken: AtomicU64::new(0), pause_share: PAUSE_SHARE }
    }
}

impl Pace {
    /// Has each count be taken for each sample, however long that takes here.
    #[cfg(test)]
    pub(super) fn without_pause() -> Self {
        Self { taken: AtomicU64::new(0), pause_share: 0 }
    }

    fn pause(&self) -> Duration {
        let taken = self.taken.load(Ordering::Relaxed);
        if u128::from(taken) <= CHEAP.as_nanos() {
            return Duration::ZERO;
        }
        Duration::from_nanos(taken.saturating_mul(self.pause_share))
    }
}

/// A container's newest count.
#[derive(Debug)]
pub(super) struct Paced<T> {
    value: T,
    at: Instant,
    nanos: u64,
    pace: Arc<Pace>,
}

impl<T: Copy> Paced<T> {
    /// Keeps a count, which this CPU time was spent on since `began`.
    pub(super) fn new(pace: &Arc<Pace>, value: T, began: ThreadTime) -> Self {
        let nanos = ThreadTime::now().0.saturating_sub(began.0);
        pace.taken.fetch_add(nanos, Ordering::Relaxed);
        Self { value, at: Instant::now(), nanos, pace: Arc::clone(pace) }
    }

    /// The count, if it is not time for another.
    pub(super) fn while_it_stands(&self) -> Option<T> {
        (self.at.elapsed() < self.pace.pause()).then_some(self.value)
    }
}

impl<T> Drop for Paced<T> {
    fn drop(&mut self) {
        self.pace.taken.fetch_sub(self.nanos, Ordering::Relaxed);
    }
}

/// CPU time of the calling thread, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThreadTime(u64);

impl ThreadTime {
    pub(super) fn now() -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_for_as_long_as_all_of_them_are_dear() {
        let pace = Arc::new(Pace::default());
        let ago = |nanos| ThreadTime(ThreadTime::now().0.saturating_sub(nanos));
        let cheap = Paced::new(&pace, 1, ThreadTime::now());
        std::thread::sleep(pace.pause() + Duration::from_millis(1));
        assert_eq!(cheap.while_it_stands(), None, "cheap counts are taken for each sample");
        pace.taken.fetch_add(1_000_000_000, Ordering::Relaxed);
        let dear = Paced::new(&pace, 2, ago(0));
        assert!(pace.pause() >= Duration::from_secs(100));
        assert_eq!((cheap.while_it_stands(), dear.while_it_stands()), (Some(1), Some(2)));
        drop((cheap, dear));
        assert_eq!(pace.taken.load(Ordering::Relaxed), 1_000_000_000, "what is gone costs nothing any more");
    }
}
