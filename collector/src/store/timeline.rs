//! Values that are measured seldom, each with the time from which it holds, to be shown beside the samples of that
//! time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::units::WallTime;

/// Values by time, bounded by age. The newest is kept however old it is.
#[derive(Debug)]
pub struct Timeline<T>(VecDeque<(WallTime, Arc<T>)>);

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: PartialEq> Timeline<T> {
    /// Adds a value that holds from now on. Values that are no longer needed for any time within `age` are dropped, and
    /// so are those of a future that a clock set back has undone.
    pub fn push(&mut self, now: WallTime, value: Arc<T>, age: Duration) {
        while self.0.back().is_some_and(|(at, _)| *at > now) {
            self.0.pop_back();
        }
        let oldest = now.back(age);
        // The one before the oldest time is the value that held then.
        while self.0.get(1).is_some_and(|(at, _)| *at <= oldest) {
            self.0.pop_front();
        }
        if self.0.back().is_none_or(|(_, last)| **last != *value) {
            self.0.push_back((now, value));
        }
    }

    /// The newest value.
    pub fn latest(&self) -> Option<&Arc<T>> {
        self.0.back().map(|(_, value)| value)
    }

    /// The value that held at this time; `None` before the first.
    pub fn at(&self, time: WallTime) -> Option<&Arc<T>> {
        let later = self.0.partition_point(|(at, _)| *at <= time);
        self.0.get(later.checked_sub(1)?).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_nanos(10);

    #[test]
    fn each_time_has_the_value_that_held_then() {
        let mut line = Timeline::default();
        assert_eq!((line.latest(), line.at(WallTime(5))), (None, None));
        line.push(WallTime(10), Arc::new('a'), AGE);
        line.push(WallTime(15), Arc::new('b'), AGE);
        line.push(WallTime(16), Arc::new('b'), AGE);
        let held: Vec<_> = [9, 10, 14, 15, 99].map(|at| line.at(WallTime(at)).map(|value| **value)).into();
        assert_eq!(held, [None, Some('a'), Some('a'), Some('b'), Some('b')]);
        assert_eq!(line.0.len(), 2, "what did not change is kept once");
    }

    #[test]
    fn old_values_go_when_a_younger_one_covers_the_time() {
        let mut line = Timeline::default();
        for at in [10, 20, 30, 31] {
            line.push(WallTime(at), Arc::new(at), AGE);
        }
        assert_eq!(line.at(WallTime(21)).map(|value| **value), Some(20));
        assert_eq!(line.at(WallTime(19)), None);
        line.push(WallTime(1000), Arc::new(1000), AGE);
        assert_eq!(line.0.len(), 2);
    }

    #[test]
    fn a_clock_set_back_leaves_no_future() {
        let mut line = Timeline::default();
        line.push(WallTime(50), Arc::new('a'), AGE);
        line.push(WallTime(20), Arc::new('b'), AGE);
        assert_eq!(line.latest().map(|value| **value), Some('b'));
        assert_eq!(line.at(WallTime(60)).map(|value| **value), Some('b'));
    }
}
