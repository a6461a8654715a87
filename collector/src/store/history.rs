//! The recent samples of one container, bounded by age and by count, in a compact form.
//!
//! Samples lie in chunks. A chunk starts with a whole sample, the keyframe; each further one is kept as the numbers
//! that changed since the one before it: how many, and for each how far along the walk it is and by how much it
//! changed, all as variable-length integers. An idle container's sample then takes about a dozen bytes, a busy one's
//! about a hundred, where the plain structs would take well over a kilobyte. Whatever does not fit the keyframe's
//! shape, such as a new network interface, starts a new chunk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::deltas::{Collect, Fill, read_delta, write_delta, write_same};
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

/// Samples of one history that lie one behind the other, few enough to be in memory together. It names the same samples
/// for as long as they are kept, whatever comes after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The number of the first: samples are numbered one after the other, each history from a number of its own.
    first: u64,
    /// How many.
    len: usize,
}

impl Stretch {
    /// So many samples from this one on.
    pub const fn new(first: u64, len: usize) -> Self {
        Self { first, len }
    }

    /// The number of the first sample.
    pub const fn first(self) -> u64 {
        self.first
    }

    /// How many samples there are at most. There are fewer when the oldest are no longer kept.
    pub const fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// Numbers that one history has for its samples. What is asked of a container that was made anew meanwhile must not find
/// those of the new one.
const NUMBERS: u64 = 1 << 40;
static HISTORIES: AtomicU64 = AtomicU64::new(0);

/// One container's recent samples.
#[derive(Debug)]
pub struct History {
    chunks: VecDeque<Chunk>,
    /// The number of the first sample of the first chunk.
    first: u64,
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
    /// Bytes of the keyframe.
    keyframe_bytes: usize,
}

/// A sample beside its numbers: the text of a device's name and the like, by the number of its numbers.
const BYTES_PER_NUMBER: usize = 16;
impl Default for History {
    fn default() -> Self {
        Self {
            chunks: VecDeque::new(),
            first: HISTORIES.fetch_add(1, Ordering::Relaxed).wrapping_mul(NUMBERS),
            latest: None,
            numbers: Vec::new(),
            len: 0,
            regressed_in_a_row: 0,
        }
    }
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
            _ => self.begin_chunk(&sample, numbers.len()),
        }
        self.numbers = numbers;
        self.appended(sample, limits);
        pushed
    }

    /// Appends the newest sample once more, as of this time. Not where its counters were corrected, and not where there is
    /// none.
    pub fn repeat(&mut self, at: WallTime, limits: Limits) -> bool {
        let Some(mut sample) = self.latest.take_if(|_| self.regressed_in_a_row == 0) else { return false };
        let before = sample.at;
        Arc::make_mut(&mut sample).at = at;
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len < CHUNK_SAMPLES => {
                write_same(&mut chunk.deltas, before.0, at.0);
                chunk.newest = at;
                chunk.len += 1;
            }
            _ => self.begin_chunk(&sample, self.numbers.len()),
        }
        self.appended(sample, limits);
        true
    }

    fn begin_chunk(&mut self, sample: &Arc<Sample>, numbers: usize) {
        if let Some(full) = self.chunks.back_mut() {
            full.deltas.shrink_to_fit();
        }
        self.chunks.push_back(Chunk {
            keyframe: Arc::clone(sample),
            newest: sample.at,
            deltas: Vec::new(),
            len: 1,
            keyframe_bytes: size_of::<Sample>() + numbers * BYTES_PER_NUMBER,
        });
    }

    /// The newest sample is this one, and what is over the limits is dropped.
    fn appended(&mut self, sample: Arc<Sample>, limits: Limits) {
        self.len += 1;
        let oldest = sample.at.back(limits.age);
        self.latest = Some(sample);
        while let Some(front) = self.chunks.front() {
            let over_count = self.len - front.len >= limits.count;
            if self.chunks.len() == 1 || !(over_count || front.newest <= oldest) {
                break;
            }
            self.len -= front.len;
            self.first = self.first.wrapping_add(front.len as u64);
            self.chunks.pop_front();
        }
    }

    /// The newest sample.
    pub fn latest(&self) -> Option<&Arc<Sample>> {
        self.latest.as_ref()
    }

    /// When the oldest sample was taken that [`Self::select`] may give.
    pub fn oldest(&self, limits: Limits) -> Option<WallTime> {
        let oldest = self.latest()?.at.back(limits.age);
        let first = self.chunks.front().map_or(self.latest()?.at, |chunk| chunk.keyframe.at);
        Some(first.max(WallTime(oldest.0.saturating_add(1))))
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

    /// The samples that [`Self::select`] would give, as stretches of a chunk at most, oldest first.
    pub fn stretches(&self, selection: Selection, limits: Limits) -> Vec<Stretch> {
        let Some(latest) = &self.latest else { return Vec::new() };
        let mut wanted = selection.count.unwrap_or(usize::MAX).min(limits.count);
        let oldest = latest.at.back(limits.age);
        let inside = |at: WallTime| {
            (at > oldest || at == latest.at)
                && selection.start.is_none_or(|start| at >= start)
                && selection.end.is_none_or(|end| at <= end)
        };
        let mut newest_first = Vec::new();
        let mut end = self.first.wrapping_add(self.len as u64);
        for chunk in self.chunks.iter().rev() {
            let first = end.wrapping_sub(chunk.len as u64);
            end = first;
            if wanted == 0 {
                break;
            }
            // Decoded where a bound lies within it, at most twice for a selection.
            let (skipped, found) = if inside(chunk.keyframe.at) && inside(chunk.newest) {
                (0, chunk.len)
            } else {
                let samples = chunk.decode();
                let skipped = samples.iter().take_while(|sample| !inside(sample.at)).count();
                (skipped, samples[skipped..].iter().take_while(|sample| inside(sample.at)).count())
            };
            let taken = found.min(wanted);
            if taken > 0 {
                newest_first.push(Stretch { first: first.wrapping_add((skipped + found - taken) as u64), len: taken });
            }
            wanted -= taken;
            if chunk.keyframe.at <= oldest {
                break;
            }
        }
        newest_first.reverse();
        newest_first
    }

    /// The samples of a stretch that are still kept, oldest first.
    pub fn stretch(&self, Stretch { first, len }: Stretch) -> Vec<Arc<Sample>> {
        let mut samples = Vec::with_capacity(len.min(CHUNK_SAMPLES));
        let mut number = self.first;
        for chunk in &self.chunks {
            // How far behind the beginning of the stretch the chunk begins, or before it.
            let skipped = first.saturating_sub(number);
            if number >= first.saturating_add(len as u64) {
                break;
            }
            if skipped < chunk.len as u64 {
                let numbered = (number..).zip(chunk.decode());
                let wanted = first..first.saturating_add(len as u64);
                samples.extend(numbered.filter(|(number, _)| wanted.contains(number)).map(|(_, sample)| sample));
            }
            number += chunk.len as u64;
        }
        samples
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
        let numbers = std::mem::take(&mut self.numbers);
        *self = Self { latest: self.latest.take(), numbers, ..Self::default() };
    }

    /// Bytes this history holds, without the allocator's overhead and without strings shared between samples.
    pub fn memory(&self) -> usize {
        let chunks =
            self.chunks.iter().map(|chunk| chunk.deltas.capacity() + size_of::<Chunk>() + chunk.keyframe_bytes);
        // The newest is a sample of its own, unless it is the last keyframe.
        let latest = match (&self.latest, self.chunks.back()) {
            (Some(_), Some(chunk)) if chunk.len > 1 => chunk.keyframe_bytes,
            (Some(_), None) => self.latest_memory(),
            _ => 0,
        };
        chunks.sum::<usize>() + latest + self.numbers.capacity() * 8 + size_of::<Self>()
    }

    /// Bytes of the newest sample.
    pub fn latest_memory(&self) -> usize {
        self.latest.as_ref().map_or(0, |_| size_of::<Sample>() + self.numbers.len() * BYTES_PER_NUMBER)
    }

    /// Drops the oldest samples until it takes no more than this, but for the newest ones; how many were dropped.
    pub fn shrink_to(&mut self, bytes: usize) -> u64 {
        let before = self.len;
        while self.chunks.len() > 1 && self.memory() > bytes {
            self.len -= self.chunks.pop_front().map_or(0, |chunk| chunk.len);
        }
        (before - self.len) as u64
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
        let mut numbers = Collect::default();
        template.walk(&mut numbers);
        let mut numbers = numbers.0;
        let mut at = self.keyframe.at.0;
        let mut deltas = self.deltas.as_slice();
        while !deltas.is_empty() && read_delta(&mut deltas, &mut at, &mut numbers).is_some() {
            let mut sample = template.clone();
            sample.walk(&mut Fill::new(&numbers));
            sample.at = WallTime(at);
            samples.push(Arc::new(sample));
        }
        samples
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
mod tests;
