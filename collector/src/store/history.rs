//! The recent samples of one container, bounded by age and by count, in a compact form.
//!
//! Samples lie in chunks. A chunk starts with a whole sample, the keyframe; each further one is kept as the numbers
//! that changed since the one before it: how many, and for each how far along the walk it is and by how much it
//! changed, all as variable-length integers. An idle container's sample then takes about a dozen bytes, a busy one's
//! about a hundred, where the plain structs would take well over a kilobyte. Whatever does not fit the keyframe's
//! shape, such as a new network interface, starts a new chunk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::sample::container::Sample;
use crate::sample::walk::Visitor;
use crate::units::WallTime;

/// Samples in a chunk: enough that the keyframe's cost is spread, few enough that a short query decodes little.
const CHUNK_SAMPLES: usize = 32;
/// A counter that stays behind for this many samples was reset on purpose (such as by writing to `cpuacct.usage`)
/// and is followed down; fewer are torn readings and are corrected.
const RESET_AFTER: u32 = 3;

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Samples this much older than the newest are dropped.
    pub age: Duration,
    /// At most this many samples are kept, whatever their age.
    pub count: usize,
}

/// What became of a sample handed to [`History::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Counters that were smaller than in the sample before; they were stored with the earlier value.
    pub regressions: u32,
    /// Nothing but the time changed since the sample before.
    pub unchanged: bool,
}

/// Which samples a query wants: a range first, of it the newest `count`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Earliest time, inclusive.
    pub start: Option<WallTime>,
    /// Latest time, inclusive.
    pub end: Option<WallTime>,
    /// At most so many; `None` for all.
    pub count: Option<usize>,
}

/// One container's recent samples.
#[derive(Debug, Default)]
pub struct History {
    chunks: VecDeque<Chunk>,
    latest: Option<Arc<Sample>>,
    /// The numbers of `latest` in walk order.
    numbers: Vec<u64>,
    len: usize,
    regressed_in_a_row: u32,
}

#[derive(Debug)]
struct Chunk {
    keyframe: Arc<Sample>,
    newest: WallTime,
    deltas: Vec<u8>,
    len: usize,
}

impl History {
    /// Appends a sample and drops what is over the limits.
    pub fn push(&mut self, mut sample: Sample, limits: Limits) -> Pushed {
        let continues = self.latest.as_ref().is_some_and(|latest| latest.same_shape(&sample));
        let mut pushed = Pushed { regressions: 0, unchanged: false };
        if continues {
            pushed.regressions = self.correct_counters(&mut sample);
        }
        let mut numbers = Collect(Vec::with_capacity(self.numbers.len()));
        sample.walk(&mut numbers);
        let numbers = numbers.0;
        pushed.unchanged = continues && numbers == self.numbers;

        let sample = Arc::new(sample);
        match (self.chunks.back_mut(), &self.latest) {
            (Some(chunk), Some(latest)) if continues && chunk.len < CHUNK_SAMPLES => {
                write_delta(&mut chunk.deltas, latest.at.0, &self.numbers, sample.at.0, &numbers);
                chunk.newest = sample.at;
                chunk.len += 1;
            }
            _ => {
                if let Some(full) = self.chunks.back_mut() {
                    full.deltas.shrink_to_fit();
                }
                self.chunks.push_back(Chunk {
                    keyframe: Arc::clone(&sample),
                    newest: sample.at,
                    deltas: Vec::new(),
                    len: 1,
                });
            }
        }
        self.len += 1;
        self.numbers = numbers;
        let oldest = sample.at.back(limits.age);
        self.latest = Some(sample);
        while let Some(front) = self.chunks.front() {
            let over_count = self.len - front.len >= limits.count;
            if self.chunks.len() == 1 || !(over_count || front.newest <= oldest) {
                break;
            }
            self.len -= front.len;
            self.chunks.pop_front();
        }
        pushed
    }

    /// The newest sample.
    pub fn latest(&self) -> Option<&Arc<Sample>> {
        self.latest.as_ref()
    }

    /// The selected samples, oldest first.
    pub fn select(&self, selection: Selection, limits: Limits) -> Vec<Arc<Sample>> {
        let Some(latest) = &self.latest else { return Vec::new() };
        let wanted = selection.count.unwrap_or(usize::MAX).min(limits.count);
        if wanted == 0 {
            return Vec::new();
        }
        let oldest = latest.at.back(limits.age);
        let inside = |at: WallTime| {
            (at > oldest || at == latest.at)
                && selection.start.is_none_or(|start| at >= start)
                && selection.end.is_none_or(|end| at <= end)
        };
        if wanted == 1 && inside(latest.at) {
            return vec![Arc::clone(latest)];
        }
        // Chunk by chunk from the newest, so that a short query does not decode the whole history.
        let mut newest_first = Vec::new();
        for chunk in self.chunks.iter().rev() {
            let mut samples = chunk.decode();
            samples.retain(|sample| inside(sample.at));
            newest_first.extend(samples.into_iter().rev().take(wanted - newest_first.len()));
            if newest_first.len() == wanted || chunk.keyframe.at <= oldest {
                break;
            }
        }
        newest_first.reverse();
        newest_first
    }

    /// The newest sample and the one to compare it with for a rate: the newest that is at least so much older, or the
    /// oldest there is. `None` unless there are two.
    pub fn span(&self, at_least: Duration, limits: Limits) -> Option<[Arc<Sample>; 2]> {
        let latest = Arc::clone(self.latest()?);
        let before = Selection { end: Some(latest.at.back(at_least)), count: Some(1), start: None };
        let old_enough = self.select(before, limits).pop();
        let before = old_enough.or_else(|| self.select(Selection::default(), limits).into_iter().next())?;
        (before.at < latest.at).then_some([before, latest])
    }

    /// Drops everything but the newest sample.
    pub fn keep_latest_only(&mut self) {
        *self = Self { latest: self.latest.take(), ..Self::default() };
    }

    /// Bytes this history holds, without the allocator's overhead and without strings shared between samples.
    pub fn memory(&self) -> usize {
        let stat_values = |sample: &Sample| sample.memory.as_ref().map_or(0, |memory| memory.stat.values.len() * 8);
        let chunks = self.chunks.iter().map(|chunk| {
            chunk.deltas.capacity() + size_of::<Chunk>() + size_of::<Sample>() + stat_values(&chunk.keyframe)
        });
        chunks.sum::<usize>() + self.numbers.capacity() * 8 + size_of::<Self>()
    }

    fn correct_counters(&mut self, sample: &mut Sample) -> u32 {
        let mut check = Correct { before: &self.numbers, position: 0, regressions: 0, mode: CorrectMode::Count };
        sample.walk(&mut check);
        let regressions = check.regressions;
        if regressions == 0 {
            self.regressed_in_a_row = 0;
            return 0;
        }
        self.regressed_in_a_row += 1;
        if self.regressed_in_a_row > RESET_AFTER {
            self.regressed_in_a_row = 0;
        } else {
            sample.walk(&mut Correct {
                before: &self.numbers,
                position: 0,
                regressions: 0,
                mode: CorrectMode::Replace,
            });
        }
        regressions
    }
}

impl Chunk {
    fn decode(&self) -> Vec<Arc<Sample>> {
        let mut samples = Vec::with_capacity(self.len);
        samples.push(Arc::clone(&self.keyframe));
        let mut template = Sample::clone(&self.keyframe);
        let mut numbers = Collect(Vec::new());
        template.walk(&mut numbers);
        let mut numbers = numbers.0;
        let mut at = self.keyframe.at.0;
        let mut deltas = self.deltas.as_slice();
        while !deltas.is_empty() && read_delta(&mut deltas, &mut at, &mut numbers).is_some() {
            let mut sample = template.clone();
            sample.walk(&mut Fill { numbers: &numbers, position: 0 });
            sample.at = WallTime(at);
            samples.push(Arc::new(sample));
        }
        samples
    }
}

fn write_delta(out: &mut Vec<u8>, at_before: u64, before: &[u64], at: u64, numbers: &[u64]) {
    write_signed(out, at.wrapping_sub(at_before));
    let changed = || before.iter().zip(numbers).enumerate().filter(|(_, (before, now))| before != now);
    write_varint(out, changed().count() as u64);
    let mut expected = 0;
    for (position, (before, now)) in changed() {
        write_varint(out, (position - expected) as u64);
        write_signed(out, now.wrapping_sub(*before));
        expected = position + 1;
    }
}

/// Applies one delta; `None` when the bytes end early, which cannot happen to bytes [`write_delta`] wrote.
fn read_delta(deltas: &mut &[u8], at: &mut u64, numbers: &mut [u64]) -> Option<()> {
    *at = at.wrapping_add(read_signed(deltas)?);
    let changed = read_varint(deltas)?;
    let mut position = 0;
    for _ in 0..changed {
        position += usize::try_from(read_varint(deltas)?).ok()?;
        let number = numbers.get_mut(position)?;
        *number = number.wrapping_add(read_signed(deltas)?);
        position += 1;
    }
    Some(())
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A wrapping difference, small in either direction: zigzag, then a varint.
fn write_signed(out: &mut Vec<u8>, difference: u64) {
    let signed = difference as i64;
    write_varint(out, ((signed << 1) ^ (signed >> 63)) as u64);
}

fn read_signed(bytes: &mut &[u8]) -> Option<u64> {
    let zigzag = read_varint(bytes)?;
    Some((zigzag >> 1) ^ (zigzag & 1).wrapping_neg())
}

struct Collect(Vec<u64>);

impl Visitor for Collect {
    fn counter(&mut self, value: &mut u64) {
        self.0.push(*value);
    }
    fn gauge(&mut self, value: &mut u64) {
        self.0.push(*value);
    }
}

struct Fill<'a> {
    numbers: &'a [u64],
    position: usize,
}

impl Visitor for Fill<'_> {
    fn counter(&mut self, value: &mut u64) {
        self.gauge(value);
    }
    fn gauge(&mut self, value: &mut u64) {
        if let Some(number) = self.numbers.get(self.position) {
            *value = *number;
        }
        self.position += 1;
    }
}

enum CorrectMode {
    Count,
    Replace,
}

struct Correct<'a> {
    before: &'a [u64],
    position: usize,
    regressions: u32,
    mode: CorrectMode,
}

impl Visitor for Correct<'_> {
    fn counter(&mut self, value: &mut u64) {
        if let Some(before) = self.before.get(self.position)
            && *value < *before
        {
            self.regressions += 1;
            if matches!(self.mode, CorrectMode::Replace) {
                *value = *before;
            }
        }
        self.position += 1;
    }
    fn gauge(&mut self, _: &mut u64) {
        self.position += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::container::{Cpu, Interface, Memory, MemoryStat, Network, Traffic};
    use crate::units::{Bytes, Nanos};
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { age: Duration::from_secs(120), count: 1000 };

    /// Well after the epoch, so that an age can be taken off.
    fn at(second: u64) -> WallTime {
        WallTime((10_000 + second) * 1_000_000_000)
    }

    fn sample(second: u64, cpu: u64, usage: u64) -> Sample {
        Sample {
            at: at(second),
            cpu: Some(Cpu { total: Nanos(cpu), user: Some(Nanos(cpu / 2)), ..Cpu::default() }),
            memory: Some(Memory {
                usage: Bytes(usage),
                stat: MemoryStat { keys: ["cache".into(), "rss".into()].into(), values: vec![usage, 7] },
                ..Memory::default()
            }),
            ..Sample::default()
        }
    }

    #[test]
    fn gives_back_what_was_pushed() {
        let mut history = History::default();
        let samples: Vec<_> = (0..100).map(|n| sample(n, n * n * 1000, 5_000 - n % 7)).collect();
        for sample in &samples {
            history.push(sample.clone(), LIMITS);
        }
        let all: Vec<_> =
            history.select(Selection::default(), LIMITS).iter().map(|sample| Sample::clone(sample)).collect();
        assert_eq!(all, samples);
    }

    #[test]
    fn age_and_count_bound_it() {
        let mut history = History::default();
        for n in 0..1000 {
            history.push(sample(n, n, n), LIMITS);
        }
        let kept = history.select(Selection::default(), LIMITS);
        assert_eq!(kept.len(), 120, "strictly newer than the newest less the age");
        assert_eq!(kept[0].at, at(880));
        assert!(history.len <= 120 + CHUNK_SAMPLES);

        let few = Limits { count: 10, ..LIMITS };
        let mut history = History::default();
        for n in 0..1000 {
            history.push(sample(n, n, n), few);
        }
        assert_eq!(history.select(Selection::default(), few).len(), 10);
        assert!(history.len <= 10 + CHUNK_SAMPLES);
    }

    #[test]
    fn selects_range_first_then_newest() {
        let mut history = History::default();
        for n in 0..100 {
            history.push(sample(n, n, n), LIMITS);
        }
        let second = |n: u64| Some(at(n));
        let seconds = |selection| -> Vec<u64> {
            history.select(selection, LIMITS).iter().map(|sample| sample.at.0 / 1_000_000_000 - 10_000).collect()
        };
        let range = Selection { start: second(10), end: second(50), count: Some(3) };
        assert_eq!(seconds(range), [48, 49, 50]);
        assert_eq!(seconds(Selection { count: Some(1), ..Selection::default() }), [99]);
        assert_eq!(seconds(Selection { count: Some(0), ..Selection::default() }), [] as [u64; 0]);
        assert_eq!(seconds(Selection { start: second(98), end: None, count: None }), [98, 99]);
        assert_eq!(seconds(Selection { start: second(60), end: second(50), count: None }), [] as [u64; 0]);
    }

    #[test]
    fn an_idle_container_is_cheap() {
        let mut history = History::default();
        for n in 0..120 {
            let pushed = history.push(sample(n, 5, 5), LIMITS);
            assert_eq!(pushed.unchanged, n > 0);
        }
        let bytes: usize = history.chunks.iter().map(|chunk| chunk.deltas.len()).sum();
        assert!(bytes <= 120 * 8, "{bytes} bytes for 120 unchanged samples");
    }

    #[test]
    fn a_torn_counter_is_corrected_and_a_reset_is_followed() {
        let mut history = History::default();
        history.push(sample(0, 1000, 5), LIMITS);
        assert_eq!(history.push(sample(1, 400, 5), LIMITS).regressions, 1);
        assert_eq!(history.latest().unwrap().cpu.as_ref().unwrap().total, Nanos(1000));
        assert_eq!(history.push(sample(2, 1100, 5), LIMITS).regressions, 0);
        for n in 3..=6 {
            history.push(sample(n, 10 + n, 5), LIMITS);
        }
        assert_eq!(history.latest().unwrap().cpu.as_ref().unwrap().total, Nanos(16), "the counter was really reset");
    }

    #[test]
    fn a_new_shape_starts_a_new_chunk() {
        let mut history = History::default();
        history.push(sample(0, 1, 1), LIMITS);
        let mut with_network = sample(1, 2, 2);
        with_network.network = Some(Network {
            interfaces: vec![Interface {
                name: "eth0".into(),
                receive: Traffic { bytes: 9, ..Traffic::default() },
                ..Interface::default()
            }],
            ..Network::default()
        });
        history.push(with_network.clone(), LIMITS);
        history.push(sample(2, 3, 3), LIMITS);
        let all = history.select(Selection::default(), LIMITS);
        assert_eq!(all.len(), 3);
        assert_eq!(*all[1], with_network);
        assert_eq!(all[2].network, None);
    }

    proptest! {
        #[test]
        fn any_numbers_round_trip(rows in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 1..80)) {
            // User time and memory are gauges, so any sequence is kept as it is.
            let mut history = History::default();
            let limits = Limits { age: Duration::MAX, count: 1000 };
            let samples: Vec<_> = rows.iter().map(|&(at, user, usage)| {
                let mut sample = sample(0, 0, usage);
                sample.at = WallTime(at.max(1));
                sample.cpu.as_mut().unwrap().user = Some(Nanos(user));
                sample
            }).collect();
            for sample in &samples {
                history.push(sample.clone(), limits);
            }
            let all: Vec<_> = history.select(Selection::default(), limits).iter().map(|s| Sample::clone(s)).collect();
            prop_assert_eq!(all, samples);
        }

        #[test]
        fn decoding_is_total(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut numbers = [0; 20];
            let mut at = 0;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() && read_delta(&mut rest, &mut at, &mut numbers).is_some() {}
        }
    }
}
