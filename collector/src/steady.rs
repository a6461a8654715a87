//! Points in time that stay where they are when somebody sets the clock on the wall.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::units::WallTime;

/// The clock on the wall was set when it moves this much against the one since boot. Less is the daily correction.
const SET: u128 = 1_000_000_000;

/// A point in time: nanoseconds since boot, suspended time included; below zero for what was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Steady(i128);

impl Steady {
    /// The point this long before.
    #[must_use]
    pub fn back(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i128::try_from(by.as_nanos()).unwrap_or(i128::MAX)))
    }
}

/// Converts points on the wall, as it is set now, to steady ones: those of one order stay in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Of the wall against the boot clock, nanoseconds.
    offset: Option<i128>,
}

impl Clock {
    /// The steady point of a time that was read from the clock just now, or given by something that has the same.
    pub fn steady(&mut self, wall: WallTime) -> Steady {
        let boot = clock_gettime(ClockId::Boottime);
        let boot = i128::from(boot.tv_sec) * 1_000_000_000 + i128::from(boot.tv_nsec);
        self.with_offset(wall, i128::from(WallTime::from(SystemTime::now()).0) - boot)
    }

    fn with_offset(&mut self, wall: WallTime, now: i128) -> Steady {
        let was_set = self.offset.is_none_or(|known| known.abs_diff(now) > SET);
        let offset = if was_set { *self.offset.insert(now) } else { self.offset.unwrap_or(now) };
        Steady(i128::from(wall.0) - offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_clock_moves_nothing() {
        const HOUR: u64 = 3_600_000_000_000;
        let mut clock = Clock::default();
        let offset = 1_000_000 * i128::from(HOUR);
        let at = |hours: u64| WallTime((1_000_000 + hours) * HOUR);
        let first = clock.with_offset(at(5), offset);
        assert_eq!(clock.with_offset(at(5), offset + 400_000_000), first, "no more than a correction");
        // An hour later, and set back by an hour: the same time on the wall.
        let later = clock.with_offset(at(5), offset - i128::from(HOUR));
        assert_eq!(later.back(Duration::from_secs(3600)), first);
        // Set forward by a year.
        let again = clock.with_offset(at(5 + 8760), offset + 8760 * i128::from(HOUR));
        assert_eq!(again, first);
        assert!(Clock::default().steady(WallTime::from(SystemTime::now())).0 > 0);
    }
}
