//! When a network namespace is looked for.

use std::time::{Duration, Instant};

/// Samples from the first at which the namespace is looked for each time.
const SETTLING: u32 = 10;
/// How often it is looked for later, in samples.
const LOOK_EVERY: u32 = 10;
/// How often at least, where samples are rare.
const LOOK_AFTER: Duration = Duration::from_secs(10);
/// How often it is looked for in a cgroup without any process, where the kernel's events report the first.
const LOOK_IN_VACANT_AFTER: Duration = Duration::from_secs(60);

/// Counts samples since the container became populated.
#[derive(Debug, Default)]
pub(super) struct Looks {
    samples: u32,
    last: Option<Instant>,
    /// There was no process, and one that comes is reported.
    pub(super) is_vacant: bool,
}

impl Looks {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let is_ago = |wait| self.last.is_none_or(|last| now.saturating_duration_since(last) >= wait);
        if self.is_vacant {
            return is_ago(LOOK_IN_VACANT_AFTER);
        }
        self.samples < SETTLING || self.samples.is_multiple_of(LOOK_EVERY) || is_ago(LOOK_AFTER)
    }

    pub(super) fn count(&mut self) {
        self.samples = self.samples.saturating_add(1);
    }

    pub(super) fn due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.is_due(now);
        self.count();
        if due {
            self.last = Some(now);
        }
        due
    }

    pub(super) fn is_settling(&self) -> bool {
        self.samples <= SETTLING
    }

    pub(super) fn is_first(&self) -> bool {
        self.samples <= 1
    }
}
