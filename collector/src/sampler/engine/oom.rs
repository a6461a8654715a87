//! Reads the kernel's counter of OOM kills, and reports what is new; [`OomTally`](super::oom_tally::OomTally) decides how
//! many that is.

use std::sync::Arc;
use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};

use super::oom_tally::{Baseline, Decides, Reported};
use super::queue::Job;
use super::tracked::Reading;
use super::{Engine, Tracked, lock};
use crate::reader::container::{OomCounter, Scratch};
use crate::sample::event::{Event, EventData, EventKind};
use crate::units::WallTime;

impl Engine {
    /// The kernel reported, at this time of the boot clock, that it killed a process of the container.
    pub fn oom_killed(&self, tracked: &Arc<Tracked>, boot_ns: u64) {
        match lock(&tracked.oom).report(boot_ns) {
            Reported::Read => self.push_urgent(Job::CountOom(Arc::clone(tracked))),
            Reported::Emitted => tracked.container.add_oom_kills(1),
            Reported::Counted | Reported::WillBeRead => {}
        }
    }

    /// Takes over the kernel's count of OOM kills; how many are new since the last time.
    fn count_oom(&self, tracked: &Arc<Tracked>, kernel: Option<(OomCounter, Decides)>, began_ns: u64) -> u64 {
        let mut tally = lock(&tracked.oom);
        let new = match kernel {
            Some((kernel, decides)) => tally.read(began_ns, kernel, decides),
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
        let counter = reading.reader.oom_kills_now(&self.context, scratch);
        // Looked up only then: it takes a file of each cgroup above.
        let exceeds = counter.is_some_and(|counter| lock(&tracked.oom).is_exceeded_by(counter));
        let is_group = exceeds && reading.reader.is_killed_as_group(&self.context, scratch);
        let decides = if is_group { Decides::Events } else { Decides::Counter };
        self.count_oom(tracked, counter.map(|counter| (counter, decides)), began_ns);
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
        let new = self.count_oom(tracked, Some((kernel, Decides::CounterAlone)), began_ns);
        // What was killed before a container was found is not known to be recent.
        if baseline == Baseline::Unread {
            return;
        }
        // The counters name the victim's cgroup and nothing else: whose limit it was is not known, so no `oomKill`.
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
