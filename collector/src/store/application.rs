//! The readings of a container's application endpoints, each beside the first sample that was taken after it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::history::Limits;
use crate::sample::application::{MetricSpec, Round};
use crate::units::WallTime;

/// Values kept of one container, whatever their age: an endpoint may offer many, and change them all every second.
const MAX_VALUES: usize = 20_000;

/// The readings kept, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Application {
    /// What the container offers, by its newest reading.
    pub specs: Arc<[MetricSpec]>,
    /// The time of a sample, and the newest reading before it.
    pub rounds: VecDeque<(WallTime, Arc<Round>)>,
    /// Bytes of each.
    sizes: VecDeque<usize>,
    /// A reading that no sample followed yet, and its bytes.
    pending: Option<(Arc<Round>, usize)>,
    /// Bytes that all of them may take, or one alone.
    keep: usize,
}

impl Application {
    /// What was kept elsewhere: readings with the times of their samples, oldest first.
    pub fn of_past(rounds: Vec<(WallTime, Arc<Round>)>) -> Self {
        let specs = rounds.last().map(|(_, round)| Arc::clone(&round.specs)).unwrap_or_default();
        Self { specs, rounds: rounds.into(), ..Self::default() }
    }

    /// The reading that belongs to the sample of this time.
    pub fn at(&self, sample: WallTime) -> Option<&Arc<Round>> {
        let found = self.rounds.binary_search_by_key(&sample, |(at, _)| *at).ok()?;
        self.rounds.get(found).map(|(_, round)| round)
    }

    /// The newest reading that a sample followed.
    pub(super) fn newest(&self) -> Option<Arc<Round>> {
        self.rounds.back().map(|(_, round)| Arc::clone(round))
    }

    /// Takes a reading of so many bytes; one that still waits for its sample is replaced. From now on older ones are kept
    /// as long as all together take no more than `keep` bytes.
    pub(super) fn offer(&mut self, round: Round, bytes: usize, keep: usize) {
        self.specs = Arc::clone(&round.specs);
        self.pending = Some((Arc::new(round), bytes));
        self.keep = keep;
    }

    /// A sample was taken: what waits belongs to it.
    pub(super) fn attach(&mut self, sample: WallTime, limits: Limits) {
        let oldest = sample.back(limits.age);
        let is_newer = self.rounds.back().is_none_or(|(last, _)| *last != sample);
        if let Some((round, bytes)) = self.pending.take_if(|_| is_newer) {
            // After the clock was set back the samples' times come again.
            while self.rounds.back().is_some_and(|(last, _)| *last > sample) {
                self.rounds.pop_back();
                self.sizes.pop_back();
            }
            self.rounds.push_back((sample, round));
            self.sizes.push_back(bytes);
        }
        let mut values: usize = self.rounds.iter().map(|(_, round)| round.len()).sum();
        let mut bytes: usize = self.sizes.iter().sum();
        while let (Some((at, round)), Some(first)) = (self.rounds.front(), self.sizes.front()) {
            let fits = bytes <= self.keep || self.rounds.len() == 1;
            if *at > oldest && self.rounds.len() <= limits.count && values <= MAX_VALUES && fits {
                break;
            }
            values -= round.len();
            bytes -= first;
            self.rounds.pop_front();
            self.sizes.pop_front();
        }
    }

    /// Values kept.
    #[cfg(test)]
    fn values(&self) -> usize {
        self.rounds.iter().map(|(_, round)| round.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample::application::{Number, Value};

    const LIMITS: Limits = Limits { age: Duration::from_secs(10), count: 5 };

    fn second(second: u64) -> WallTime {
        WallTime(second * 1_000_000_000)
    }

    fn round(value: i64, count: usize) -> Round {
        let value = Value { at: second(1), number: Number::Integer(value), labels: None };
        Round { values: [("m".to_owned(), vec![value; count])].into(), ..Round::default() }
    }

    #[test]
    fn a_reading_belongs_to_the_sample_after_it() {
        let mut application = Application::default();
        application.attach(second(1), LIMITS);
        assert_eq!(application.at(second(1)), None);
        application.offer(round(1, 1), 1, 100);
        application.offer(round(2, 1), 1, 100);
        assert_eq!(application.rounds.len(), 0, "no sample yet");
        application.attach(second(2), LIMITS);
        application.attach(second(3), LIMITS);
        assert_eq!(application.at(second(2)), Some(&Arc::new(round(2, 1))));
        assert_eq!(application.at(second(3)), None, "read for one sample only");
        assert_eq!(application.newest().as_deref(), Some(&round(2, 1)));
        application.offer(round(3, 1), 1, 100);
        application.attach(second(2), LIMITS);
        assert_eq!(application.rounds.len(), 1, "a sample that is no newer gets none");
        application.attach(second(4), LIMITS);
        assert_eq!(application.at(second(4)), Some(&Arc::new(round(3, 1))));
    }

    #[test]
    fn age_count_and_values_are_bounded() {
        let mut application = Application::default();
        for at in 1..=20 {
            application.offer(round(0, 1), 1, 100);
            application.attach(second(at), LIMITS);
        }
        assert_eq!(application.rounds.len(), 5);
        application.attach(second(40), LIMITS);
        assert_eq!(application.rounds.len(), 0);
        for at in 41..=44 {
            application.offer(round(0, MAX_VALUES / 2), 1, 100);
            application.attach(second(at), LIMITS);
        }
        assert_eq!((application.rounds.len(), application.values()), (2, MAX_VALUES));
        application.offer(round(0, MAX_VALUES + 1), 1, 100);
        application.attach(second(45), LIMITS);
        assert_eq!(application.values(), 0);
    }

    #[test]
    fn bytes_are_bounded_but_the_newest_stays() {
        let mut application = Application::default();
        let mut next = |at, bytes, keep| {
            application.offer(round(0, 1), bytes, keep);
            application.attach(second(at), LIMITS);
            application.sizes.iter().copied().collect::<Vec<_>>()
        };
        assert_eq!(next(1, 40, 100), [40]);
        assert_eq!(next(2, 60, 100), [40, 60]);
        assert_eq!(next(3, 1, 100), [60, 1]);
        assert_eq!(next(4, 500, 100), [500]);
        assert_eq!(next(5, 1, 100), [1]);
        assert_eq!(next(6, 1, 1), [1]);
        assert_eq!(application.rounds.len(), 1);
    }
}
