//! How many OOM kills a container had: the kernel's counter decides, events trigger reading it.
//!
//! The kernel's count outlives the collector, so that a restart does not reset anything, and it includes what was killed
//! before the collector came. The kernel raises it before it reports the kill. An event that happened before the
//! counter was read is therefore in the count already; a later one makes the counter be read again, by the thread that
//! takes first and last samples. Only what could not be read any more, because the cgroup was gone, is added up from
//! the events.
//!
//! Of a group that is killed as one (`memory.oom.group`) the kernel counts the first victim twice: once when it is chosen,
//! once when the group is gone through, and that second time it reports nothing. There the events decide how many
//! processes were killed, so that the count is that of the `oom` events. For what was killed before the collector came,
//! and without events, the groups killed (`oom_group_kill`) are taken off; the kernel counts them at the cgroup whose
//! `memory.oom.group` it was, which need not be the one that had the first victim.

use super::origin::Origin;
use crate::reader::container::OomCounter;

/// What the events reported beyond the kernel's count.
#[derive(Debug, Default)]
pub(super) struct OomTally {
    /// When the kills happened that were reported since the counter was read, on the boot clock.
    reported: Vec<u64>,
    /// When reading the counter last began, on the boot clock.
    read_ns: u64,
    /// The counter as last read.
    kernel: OomCounter,
    /// The kills emitted so far of this counter.
    emitted: u64,
    /// Whether it is known what the counter was before the first event.
    has_base: bool,
    /// Victims that the counter had twice by then.
    doubled: u64,
    /// What would be emitted if the events alone counted.
    by_events: u64,
    /// What the counter had beyond the events when it was last read, and was not emitted.
    held_back: u64,
}

/// What decides how many were killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decides {
    /// The kernel's counter: processes are killed one by one.
    Counter,
    /// The events, where the counter has more: a group was killed as one.
    Events,
    /// The counter without the groups: there are no events.
    CounterAlone,
}

/// Whether the next sample reads the counter, although no kill was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Baseline {
    /// The counter was not read yet: there may have been kills before the collector came.
    Unread,
    /// It was read because of a kill, which may have been followed by others that are not reported yet.
    Unsettled,
    /// It was read, or there were none.
    Known,
}

/// What to do about a kill that was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    /// The kernel's count has it.
    Counted,
    /// The kernel's count has it, and it was not emitted for want of this report.
    Emitted,
    /// Read the counter.
    Read,
    /// It will be read, as was asked for before.
    WillBeRead,
}

impl OomTally {
    /// Of a container that became known so.
    pub(super) fn of(origin: Origin) -> Self {
        Self { has_base: matches!(origin, Origin::Made(_)), ..Self::default() }
    }

    /// The kernel reported a kill at this time.
    pub(super) fn report(&mut self, boot_ns: u64) -> Reported {
        if self.has_base {
            self.by_events += 1;
        }
        if boot_ns <= self.read_ns {
            if self.held_back == 0 {
                return Reported::Counted;
            }
            self.held_back -= 1;
            self.emitted += 1;
            return Reported::Emitted;
        }
        self.reported.push(boot_ns);
        if self.reported.len() == 1 { Reported::Read } else { Reported::WillBeRead }
    }

    /// Whether the counter has more than was reported.
    pub(super) fn is_exceeded_by(&self, kernel: OomCounter) -> bool {
        self.has_base && kernel.kills.saturating_sub(self.doubled) > self.by_events
    }

    /// The kernel's counter was read, beginning at this time: it has every kill of before. Returns how many are new.
    pub(super) fn read(&mut self, began_ns: u64, kernel: OomCounter, decides: Decides) -> u64 {
        // It starts anew when the memory controller is switched off and on again.
        let begins_anew = kernel.kills < self.kernel.kills;
        let emitted = if begins_anew { 0 } else { self.emitted };
        self.reported.retain(|boot_ns| *boot_ns > began_ns);
        if begins_anew || !self.has_base {
            self.doubled = kernel.group_kills.min(kernel.kills);
            // What was reported since is not in the counter yet, or is emitted all the same.
            self.by_events = kernel.kills - self.doubled + self.reported.len() as u64;
            self.has_base = true;
        }
        let counted = kernel.kills.saturating_sub(self.doubled);
        let kills = match decides {
            Decides::Counter => counted,
            Decides::Events => counted.min(self.by_events),
            Decides::CounterAlone => kernel.kills.saturating_sub(kernel.group_kills),
        };
        (self.read_ns, self.kernel, self.emitted) = (began_ns, kernel, emitted.max(kills));
        self.held_back = if decides == Decides::Events { counted.saturating_sub(self.emitted) } else { 0 };
        kills.saturating_sub(emitted)
    }

    /// Whether a kill was reported that happened while the counter was read.
    pub(super) fn is_behind(&self) -> bool {
        !self.reported.is_empty()
    }

    /// The reported kills that the kernel's counter cannot be asked about.
    pub(super) fn take_unread(&mut self) -> u64 {
        let unread = std::mem::take(&mut self.reported).len() as u64;
        self.emitted += unread;
        unread
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::WallTime;

    fn made() -> OomTally {
        OomTally::of(Origin::Made(WallTime(1)))
    }

    fn counter(kills: u64, group_kills: u64) -> OomCounter {
        OomCounter { kills, group_kills }
    }

    #[test]
    fn a_kill_counts_once() {
        let mut tally = OomTally::of(Origin::Found);
        let read = |tally: &mut OomTally, at, kills| tally.read(at, counter(kills, 0), Decides::Counter);
        assert_eq!(tally.report(10), Reported::Read);
        assert_eq!(tally.report(11), Reported::WillBeRead);
        assert_eq!(read(&mut tally, 20, 5), 5, "three of them before the collector came");
        assert_eq!(tally.report(15), Reported::Counted, "read after it happened, reported after it was read");
        assert_eq!(tally.take_unread(), 0);
        assert_eq!(tally.report(21), Reported::Read);
        assert_eq!(tally.take_unread(), 1, "the cgroup was gone before the counter could be read");
        assert_eq!(tally.take_unread(), 0);
        assert_eq!(read(&mut tally, 30, 6), 0, "it could be read after all");
        assert_eq!(tally.report(45), Reported::Read);
        assert_eq!(read(&mut tally, 40, 8), 2);
        assert!(tally.is_behind(), "it happened while the counter was read");
        assert_eq!(read(&mut tally, 46, 8), 0, "which had it all the same");
        assert!(!tally.is_behind());
        assert_eq!(read(&mut tally, 50, 1), 1, "the controller was switched off and on");
    }

    #[test]
    fn a_group_of_one_counts_once_and_a_group_of_three_three_times() {
        let mut tally = made();
        tally.report(10);
        assert!(!tally.is_exceeded_by(counter(1, 1)));
        assert_eq!(tally.read(11, counter(1, 1), Decides::Counter), 1);
        assert!(tally.is_exceeded_by(counter(2, 1)), "the first victim was counted again");
        assert_eq!(tally.read(12, counter(2, 1), Decides::Events), 0);
        // A second group, of three: emitted as the events come, whenever the counter is read.
        tally.report(20);
        assert_eq!(tally.read(21, counter(6, 2), Decides::Events), 1);
        assert_eq!((tally.report(20), tally.report(20)), (Reported::Emitted, Reported::Emitted));
        assert_eq!(tally.read(22, counter(6, 2), Decides::Events), 0, "all of them are emitted");
        assert_eq!(tally.read(23, counter(6, 2), Decides::Events), 0);
    }

    #[test]
    fn what_was_reported_of_a_group_whose_cgroup_is_gone_counts_once() {
        let mut tally = made();
        let reports: Vec<_> = (10..13).map(|at| tally.report(at)).collect();
        assert_eq!(reports, [Reported::Read, Reported::WillBeRead, Reported::WillBeRead]);
        assert_eq!(tally.take_unread(), 3);
    }

    #[test]
    fn groups_killed_before_the_collector_came() {
        let mut tally = OomTally::of(Origin::Found);
        assert_eq!(tally.read(5, counter(6, 2), Decides::Counter), 4);
        tally.report(10);
        assert_eq!(tally.read(11, counter(8, 3), Decides::Events), 1);
        assert_eq!(tally.read(12, counter(8, 3), Decides::Events), 0);
    }

    #[test]
    fn a_kill_whose_event_was_lost_is_found_in_the_counter() {
        let mut tally = made();
        tally.report(10);
        assert!(tally.is_exceeded_by(counter(3, 0)));
        assert_eq!(tally.read(11, counter(3, 0), Decides::Counter), 3);
    }

    #[test]
    fn without_events_groups_are_taken_off_and_nothing_goes_back() {
        let mut tally = made();
        let mut read = |kills, groups| tally.read(1, counter(kills, groups), Decides::CounterAlone);
        assert_eq!(read(1, 0), 1);
        assert_eq!(read(1, 1), 0, "the group's kill has begun");
        assert_eq!(read(2, 1), 0, "its first victim again");
        assert_eq!(read(5, 1), 3);
    }
}
