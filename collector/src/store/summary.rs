//! How much CPU and memory a container used lately: the newest sample, the last minute, hour and day, in constant memory.
//!
//! The definitions are cAdvisor's. A minute's percentiles are taken over its samples; an hour's and a day's over the
//! 90th percentiles of what they are made of, with the mean of the means and the greatest of the maxima. An hour is made
//! of 60 minutes. A day is made of the same minutes as long as there are no more, and then of 48 half hours with the
//! minutes since the last full one as one more: where cAdvisor's day ends after an hour, this one has all of it.
//!
//! A container holds about 1 KiB in its first minutes, 4 KiB after an hour, and at most [`MAX_BYTES`].

use std::collections::VecDeque;

use crate::sample::container::Sample;
use crate::sample::unread::Part;
use crate::units::{Bytes, Nanos, WallTime};

/// More than any container's summary holds.
pub const MAX_BYTES: usize = 9 * 1024;

/// Samples over more than this make a minute.
const MINUTE: Nanos = Nanos(60_000_000_000);
/// Samples that follow another one sooner are left out of the minute (the newest usage has them), which bounds its
/// memory whatever the interval.
const SPACING: Nanos = Nanos(500_000_000);
/// A rate over less than this says nothing.
const LEAST_SPAN: Nanos = Nanos(10_000_000);
const MINUTES_PER_HOUR: usize = 60;
const MINUTES_PER_DAY: usize = 24 * MINUTES_PER_HOUR;
const MINUTES_PER_HALF_HOUR: usize = 30;
const HALF_HOURS_PER_DAY: usize = MINUTES_PER_DAY / MINUTES_PER_HALF_HOUR;

/// What a container used lately.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Time of the newest sample.
    pub at: WallTime,
    /// CPU use between the newest samples in thousandths of a core; absent after one sample or without CPU time.
    pub cpu: Option<u64>,
    /// Working set of the newest sample.
    pub memory: Option<Bytes>,
    /// The last whole minute; absent before there was one.
    pub minute: Option<Usage>,
    /// The last hour, as far as it is known.
    pub hour: Option<Usage>,
    /// The last day, as far as it is known.
    pub day: Option<Usage>,
}

/// A span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// How much of the span is known.
    pub percent_complete: u32,
    /// CPU in thousandths of a core; absent where no rate is known.
    pub cpu: Option<Percentiles>,
    /// Working set in bytes; absent where it is not known.
    pub memory: Option<Percentiles>,
}

/// What a value was over a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Mean.
    pub mean: u64,
    /// Standard deviation of the sample.
    pub std: u64,
    /// Greatest value.
    pub max: u64,
    /// Median.
    pub fifty: u64,
    /// 90th percentile.
    pub ninety: u64,
    /// 95th percentile.
    pub ninety_five: u64,
    /// Of how many values.
    pub count: u64,
}

/// Takes samples as they come.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    /// Time of the newest sample.
    at: WallTime,
    /// The newest sample that a rate can begin with.
    newest: Option<SummaryPoint>,
    /// CPU use up to it.
    rate: Option<u64>,
    minute: Option<Minute>,
    last_minute: Option<Usage>,
    minutes: VecDeque<MinuteRecord>,
    half_hours: VecDeque<MinuteRecord>,
    /// Minutes since the last full half hour.
    since_half_hour: usize,
}

/// What is looked at of a sample.
#[derive(Clone, Copy, Debug)]
struct SummaryPoint {
    at: WallTime,
    cpu: Option<Nanos>,
    memory: Option<Bytes>,
}

/// The minute that is being filled.
#[derive(Debug)]
struct Minute {
    began: WallTime,
    last: SummaryPoint,
    cpu: Vec<u32>,
    memory: Vec<u64>,
}

/// What is kept of a minute or a half hour.
#[derive(Clone, Copy, Debug)]
struct MinuteRecord {
    cpu: Option<KeptSummary<u32>>,
    memory: Option<KeptSummary<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct KeptSummary<T> {
    mean: T,
    max: T,
    ninety: T,
}

impl Recorder {
    /// Takes note of a sample.
    pub(super) fn add(&mut self, sample: &Sample) {
        let point = SummaryPoint {
            at: sample.at,
            cpu: sample.cpu.as_ref().map(|cpu| cpu.total).filter(|_| !sample.unread.has(Part::CpuTotal)),
            memory: sample
                .memory
                .as_ref()
                .map(|memory| memory.working_set)
                .filter(|_| !sample.unread.has(Part::WorkingSet)),
        };
        self.at = point.at;
        match &mut self.newest {
            // Too close for a rate: the one before still stands.
            Some(newest) if point.at >= newest.at && point.at.since(newest.at) < LEAST_SPAN => {
                newest.memory = point.memory;
            }
            newest => {
                self.rate = newest.and_then(|newest| millicores(newest, point));
                *newest = Some(point);
            }
        }
        match &mut self.minute {
            // A clock that was set back begins a new minute too.
            Some(minute) if minute.last.at <= point.at => {
                minute.add(point);
                if point.at.since(minute.began) > MINUTE {
                    let usage = minute.end();
                    self.minute_ended(usage);
                }
            }
            minute => *minute = Some(Minute::beginning(point)),
        }
    }

    fn minute_ended(&mut self, usage: Usage) {
        self.last_minute = Some(usage);
        push_bounded(&mut self.minutes, MinuteRecord::of(&usage), MINUTES_PER_HOUR);
        self.since_half_hour += 1;
        if self.since_half_hour == MINUTES_PER_HALF_HOUR {
            let half_hour = MinuteRecord::of(&over(self.newest_minutes(MINUTES_PER_HALF_HOUR)));
            push_bounded(&mut self.half_hours, half_hour, HALF_HOURS_PER_DAY);
            self.since_half_hour = 0;
        }
    }

    fn newest_minutes(&self, count: usize) -> impl Iterator<Item = MinuteRecord> + Clone {
        self.minutes.iter().skip(self.minutes.len().saturating_sub(count)).copied()
    }

    /// The summary; `None` before the first sample.
    pub(super) fn summary(&self) -> Option<Summary> {
        let newest = self.newest?;
        let hour = || {
            let percent_complete = percent(self.minutes.len(), MINUTES_PER_HOUR);
            Usage { percent_complete, ..over(self.minutes.iter().copied()) }
        };
        Some(Summary {
            at: self.at,
            cpu: self.rate,
            memory: newest.memory,
            minute: self.last_minute,
            hour: self.last_minute.map(|_| hour()),
            day: self.last_minute.map(|_| self.day()),
        })
    }

    fn day(&self) -> Usage {
        let minutes = self.half_hours.len() * MINUTES_PER_HALF_HOUR + self.since_half_hour;
        let percent_complete = percent(minutes, MINUTES_PER_DAY);
        if minutes <= MINUTES_PER_HOUR {
            return Usage { percent_complete, ..over(self.minutes.iter().copied()) };
        }
        let begun =
            (self.since_half_hour > 0).then(|| MinuteRecord::of(&over(self.newest_minutes(self.since_half_hour))));
        Usage { percent_complete, ..over(self.half_hours.iter().copied().chain(begun)) }
    }

    /// Bytes this holds, without the allocator's overhead.
    pub(super) fn memory(&self) -> usize {
        let minute = self.minute.as_ref().map_or(0, |minute| minute.cpu.capacity() * 4 + minute.memory.capacity() * 8);
        size_of::<Self>() + minute + (self.minutes.capacity() + self.half_hours.capacity()) * size_of::<MinuteRecord>()
    }
}

impl Minute {
    fn beginning(point: SummaryPoint) -> Self {
        let memory = point.memory.iter().map(|memory| memory.0).collect();
        Self { began: point.at, last: point, cpu: Vec::new(), memory }
    }

    fn add(&mut self, point: SummaryPoint) {
        if point.at.since(self.last.at) < SPACING {
            return;
        }
        // After a counter that was reset only the next rate is known again.
        self.cpu.extend(millicores(self.last, point).map(|rate| u32::try_from(rate).unwrap_or(u32::MAX)));
        self.memory.extend(point.memory.map(|memory| memory.0));
        self.last = point;
    }

    /// What the minute was; the next one begins with its last point.
    fn end(&mut self) -> Usage {
        let usage = Usage {
            percent_complete: 100,
            cpu: percentiles(&mut self.cpu, |rate| u64::from(*rate)),
            memory: percentiles(&mut self.memory, |memory| *memory),
        };
        self.began = self.last.at;
        self.cpu.clear();
        self.memory.clear();
        self.memory.extend(self.last.memory.map(|memory| memory.0));
        usage
    }
}

impl MinuteRecord {
    fn of(usage: &Usage) -> Self {
        let narrow = |value| u32::try_from(value).unwrap_or(u32::MAX);
        Self {
            cpu: usage.cpu.map(|cpu| KeptSummary {
                mean: narrow(cpu.mean),
                max: narrow(cpu.max),
                ninety: narrow(cpu.ninety),
            }),
            memory: usage.memory.map(|memory| KeptSummary {
                mean: memory.mean,
                max: memory.max,
                ninety: memory.ninety,
            }),
        }
    }
}

fn push_bounded(records: &mut VecDeque<MinuteRecord>, record: MinuteRecord, limit: usize) {
    if records.len() == limit {
        records.pop_front();
    }
    records.push_back(record);
}

fn percent(known: usize, of: usize) -> u32 {
    (known.min(of) * 100 / of) as u32
}

/// CPU use in thousandths of a core. `None` when it is not known or the counter fell.
fn millicores(before: SummaryPoint, after: SummaryPoint) -> Option<u64> {
    let elapsed = after.at.since(before.at);
    let used = after.cpu?.0.checked_sub(before.cpu?.0)?;
    if elapsed < LEAST_SPAN {
        return None;
    }
    u64::try_from(u128::from(used) * 1000 / u128::from(elapsed.0)).ok()
}

/// A span made of shorter ones; how complete it is is left at 0.
fn over(records: impl Iterator<Item = MinuteRecord> + Clone) -> Usage {
    let cpu: Vec<_> = records.clone().filter_map(|record| record.cpu).collect();
    let memory: Vec<_> = records.filter_map(|record| record.memory).collect();
    Usage { percent_complete: 0, cpu: of_kept(&cpu), memory: of_kept(&memory) }
}

fn of_kept<T: Copy + Into<u64>>(kept: &[KeptSummary<T>]) -> Option<Percentiles> {
    let means = Mean::of(kept.iter().map(|kept| kept.mean.into()))?;
    let max = kept.iter().map(|kept| kept.max.into()).max()?;
    let mut ninety: Vec<u64> = kept.iter().map(|kept| kept.ninety.into()).collect();
    Some(Percentiles { max, ..of_values(&mut ninety, means, |value| *value) })
}

/// Percentiles of values, which are sorted; `None` of none.
fn percentiles<T: Ord>(values: &mut [T], number: impl Fn(&T) -> u64) -> Option<Percentiles> {
    let mean = Mean::of(values.iter().map(&number))?;
    Some(of_values(values, mean, number))
}

fn of_values<T: Ord>(values: &mut [T], mean: Mean, number: impl Fn(&T) -> u64) -> Percentiles {
    values.sort_unstable();
    let at = |share| percentile(values, share, &number);
    Percentiles {
        mean: mean.whole,
        std: deviation(values.iter().map(&number), values.len(), mean.exact) as u64,
        max: values.last().map_or(0, &number),
        fifty: at(0.5),
        ninety: at(0.9),
        ninety_five: at(0.95),
        count: values.len() as u64,
    }
}

/// A mean: its whole part, and as near as a float comes.
#[derive(Clone, Copy)]
struct Mean {
    whole: u64,
    exact: f64,
}

impl Mean {
    fn of(values: impl Iterator<Item = u64>) -> Option<Self> {
        let (mut sum, mut count) = (0u128, 0u128);
        for value in values {
            sum += u128::from(value);
            count += 1;
        }
        Some(Self { whole: u64::try_from(sum.checked_div(count)?).ok()?, exact: sum as f64 / count as f64 })
    }
}

/// With Bessel's correction; 0 of fewer than two values.
fn deviation(values: impl Iterator<Item = u64>, count: usize, mean: f64) -> f64 {
    if count < 2 {
        return 0.0;
    }
    let squares: f64 = values.map(|value| (value as f64 - mean).powi(2)).sum();
    (squares / (count - 1) as f64).sqrt()
}

/// The value at the place `share * (n + 1)`, counted from 1, of n sorted ones, interpolated between its neighbours
/// except at either end; cut to a whole number.
fn percentile<T>(sorted: &[T], share: f64, number: impl Fn(&T) -> u64) -> u64 {
    let place = share * (sorted.len() + 1) as f64;
    let (index, fraction) = (place as usize, place.fract());
    let at = |place: usize| sorted.get(place.saturating_sub(1)).map_or(0, &number);
    let below = at(index);
    if index > 1 && index < sorted.len() {
        (below as f64 + fraction * (at(index + 1) - below) as f64) as u64
    } else {
        below
    }
}

#[cfg(test)]
mod tests;
