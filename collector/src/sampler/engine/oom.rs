//! How many OOM kills a container had: the kernel's counter decides, events tell when to read it.
//!
//! The kernel's count outlives the collector, so that a restart does not reset anything, and it includes what was killed
//! before the collector came. The kernel raises it before it reports the kill. An event that happened before the
//! counter was read is therefore in the count already; a later one makes the counter be read again, by the thread that
//! takes first and last samples. Only what could not be read any more, because the cgroup was gone, is added up from
//! the events.

use std::sync::Arc;
use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};

use super::queue::Job;
use super::tracked::Reading;
use super::{Engine, Tracked, lock};
use crate::sample::event::{Event, EventData, EventKind};
use crate::sampler::container::Scratch;
use crate::units::WallTime;

/// What the events told beyond the kernel's count.
#[derive(Debug, Default)]
pub(super) struct OomTally {
    /// When the kills happened that were reported since the counter was read, on the boot clock.
    reported: Vec<u64>,
    /// When reading the counter last began, on the boot clock.
    read_ns: u64,
    /// The counter as last read.
    kernel: u64,
    /// The kills told so far of this counter.
    told: u64,
}

/// Whether the next sample reads the counter, although no kill was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Baseline {
    /// The counter was not read yet: there may have been kills before the collector came.
    Unread,
    /// It was read because of a kill. The kernel takes the first victim of a group kill once more when it goes through
    /// the group, and reports nothing then.
    Unsettled,
    /// It was read, or there were none.
    Known,
}

/// What to do about a kill that was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    /// The kernel's count has it.
    Counted,
    /// Read the counter.
    Read,
    /// It will be read, as was asked for before.
    WillBeRead,
}

impl OomTally {
    /// The kernel reported a kill at this time.
    pub(super) fn report(&mut self, boot_ns: u64) -> Reported {
        if boot_ns <= self.read_ns {
            return Reported::Counted;
        }
        self.reported.push(boot_ns);
        if self.reported.len() == 1 { Reported::Read } else { Reported::WillBeRead }
    }

    /// The kernel's counter was read, beginning at this time: it has every kill of before. Returns how many are new.
    pub(super) fn read(&mut self, began_ns: u64, kernel: u64) -> u64 {
        // It starts anew when the memory controller is switched off and on again.
        let told = if kernel < self.kernel { 0 } else { self.told };
        self.reported.retain(|boot_ns| *boot_ns > began_ns);
        (self.read_ns, self.kernel, self.told) = (began_ns, kernel, told.max(kernel));
        kernel.saturating_sub(told)
    }

    /// Whether a kill was reported that happened while the counter was read.
    pub(super) fn is_behind(&self) -> bool {
        !self.reported.is_empty()
    }

    /// The reported kills that the kernel's counter cannot be asked about.
    pub(super) fn take_unread(&mut self) -> u64 {
        let unread = std::mem::take(&mut self.reported).len() as u64;
        self.told += unread;
        unread
    }
}

impl Engine {
    /// The kernel reported, at this time of the boot clock, that it killed a process of the container.
    pub fn oom_killed(&self, tracked: &Arc<Tracked>, boot_ns: u64) {
        if lock(&tracked.oom).report(boot_ns) == Reported::Read {
            self.push_urgent(Job::CountOom(Arc::clone(tracked)));
        }
    }

    /// Takes over the kernel's count of OOM kills; how many are new since the last time.
    fn count_oom(&self, tracked: &Arc<Tracked>, kernel: Option<u64>, began_ns: u64) -> u64 {
        let mut tally = lock(&tracked.oom);
        let new = match kernel {
            Some(kernel) => tally.read(began_ns, kernel),
            None => tally.take_unread(),
        };
        tracked.container.add_oom_kills(new);
        if tally.is_behind() {
            self.push_urgent(Job::CountOom(Arc::clone(tracked)));
        }
        new
    }

    /// Reads the kernel's counter once.
    pub(super) fn read_oom_counter(&self, tracked: &Arc<Tracked>, reading: &mut Reading, scratch: &mut Scratch) {
        let began_ns = boot_clock_ns();
        let kernel = reading.reader.oom_kills_now(&self.context, scratch);
        self.count_oom(tracked, kernel, began_ns);
    }

    /// Without events: compares the kernel's counter with the last sample's, and reports what is new.
    pub(super) fn compare_oom_counter(
        &self,
        tracked: &Arc<Tracked>,
        reading: &mut Reading,
        baseline: Baseline,
        scratch: &mut Scratch,
    ) {
        let began_ns = boot_clock_ns();
        let Some(kernel) = reading.reader.oom_kill_counter(&self.context, scratch) else {
            reading.oom_baseline = baseline;
            return;
        };
        let new = self.count_oom(tracked, Some(kernel), began_ns);
        // What was killed before a container was found is not known to be recent.
        if baseline == Baseline::Unread {
            return;
        }
        // The counters name the victim's cgroup and nothing else: whose limit it was is not told, so no `oomKill`.
        for _ in 0..new {
            let container = Arc::clone(tracked.container.name());
            let at = WallTime::from(SystemTime::now());
            self.store.events().publish(Event { container, at, kind: EventKind::Oom, data: EventData::None });
        }
    }
}

fn boot_clock_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_counts_once() {
        let mut tally = OomTally::default();
        assert_eq!(tally.report(10), Reported::Read);
        assert_eq!(tally.report(11), Reported::WillBeRead);
        assert_eq!(tally.read(20, 5), 5, "three of them before the collector came");
        assert_eq!(tally.report(15), Reported::Counted, "read after it happened, told after it was read");
        assert_eq!(tally.take_unread(), 0);
        assert_eq!(tally.report(21), Reported::Read);
        assert_eq!(tally.take_unread(), 1, "the cgroup was gone before the counter could be read");
        assert_eq!(tally.take_unread(), 0);
        assert_eq!(tally.read(30, 6), 0, "it could be read after all");
        assert_eq!(tally.report(45), Reported::Read);
        assert_eq!(tally.read(40, 8), 2);
        assert!(tally.is_behind(), "it happened while the counter was read");
        assert_eq!(tally.read(46, 8), 0, "which had it all the same");
        assert!(!tally.is_behind());
        assert_eq!(tally.read(50, 1), 1, "the controller was switched off and on");
    }
}
