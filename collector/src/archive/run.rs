//! Samples of one container one after the other, all of one shape: first as the steps bring them, then by columns.
//!
//! While it grows it is the first sample's numbers and the differences from one sample to the next, as in the history in
//! memory. Once it is long enough it becomes a block: column by column, because what one number does from step to step
//! resembles itself more than its neighbours, and columns that say the same twice compress to nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sample::container::Sample;
use crate::sample::walk::Visitor;
use crate::store::deltas::{
    Collect, Fill, read_delta, read_signed, read_varint, write_delta, write_same, write_signed, write_varint,
};
use crate::units::WallTime;

/// Samples in a block: a quarter of an hour of ten seconds each, for some containers a few more than for others, so that
/// not all of them end at once.
const BLOCK: usize = 90;
const STAGGER: usize = 32;
/// Samples in one block at most, whatever its bytes say.
const MOST_SAMPLES: usize = 4096;
/// Numbers of one sample at most.
const MOST_NUMBERS: usize = 1 << 20;

/// A run that grows.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The shape of all its samples.
    pub(super) shape: u32,
    /// When the first was taken, in milliseconds.
    pub(super) first: u64,
    /// When the last was.
    pub(super) last: u64,
    /// How many there are.
    pub(super) len: usize,
    /// The step that brought the first.
    pub(super) step: u64,
    start: Vec<u64>,
    numbers: Vec<u64>,
    deltas: Vec<u8>,
}

impl Run {
    /// With a first sample.
    pub(super) fn new(shape: u32, step: u64, at: u64, numbers: Vec<u64>) -> Self {
        Self { shape, first: at, last: at, len: 1, step, start: numbers.clone(), numbers, deltas: Vec::new() }
    }

    /// A later sample of the same shape; the bytes by which it differs are appended to `row` too.
    pub(super) fn push(&mut self, at: u64, numbers: Vec<u64>, row: &mut Vec<u8>) {
        let before = self.deltas.len();
        write_delta(&mut self.deltas, self.last, &self.numbers, at, &numbers);
        row.extend_from_slice(&self.deltas[before..]);
        (self.last, self.numbers) = (at, numbers);
        self.len += 1;
    }

    /// Whether a sample of this time still belongs to it.
    pub(super) const fn has_room(&self, life: u32, at: u64) -> bool {
        self.last < at && self.len < BLOCK + life as usize % STAGGER
    }

    /// A later sample that has the numbers of the last; the bytes by which it differs.
    pub(super) fn repeat(&mut self, at: u64) -> &[u8] {
        let before = self.deltas.len();
        write_same(&mut self.deltas, self.last, at);
        self.last = at;
        self.len += 1;
        &self.deltas[before..]
    }

    /// The same from these bytes; `None` if they are none.
    pub(super) fn replay(&mut self, delta: &[u8]) -> Option<()> {
        let (mut at, mut numbers, mut rest) = (self.last, self.numbers.clone(), delta);
        read_delta(&mut rest, &mut at, &mut numbers)?;
        (rest.is_empty() && at > self.last).then_some(())?;
        self.deltas.extend_from_slice(delta);
        (self.last, self.numbers) = (at, numbers);
        self.len += 1;
        Some(())
    }

    /// Bytes in memory.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + (self.start.capacity() + self.numbers.capacity()) * 8 + self.deltas.capacity()
    }

    /// Shows each sample's time and numbers, oldest first.
    fn each(&self, mut show: impl FnMut(u64, &[u64])) {
        let (mut at, mut numbers) = (self.first, self.start.clone());
        show(at, &numbers);
        let mut deltas = self.deltas.as_slice();
        while !deltas.is_empty() && read_delta(&mut deltas, &mut at, &mut numbers).is_some() {
            show(at, &numbers);
        }
    }

    /// Of the samples of these milliseconds the newest, oldest first.
    pub(super) fn samples(&self, range: Range, shape: &Shape) -> Vec<Arc<Sample>> {
        let mut rows = VecDeque::new();
        self.each(|at, numbers| {
            if (range.from..=range.to).contains(&at) && range.newest > 0 {
                if rows.len() >= range.newest {
                    rows.pop_front();
                }
                rows.push_back((at, numbers.to_vec()));
            }
        });
        let sample = |(at, numbers): &(u64, Vec<u64>)| {
            let value = |column: usize| numbers.get(column).copied().unwrap_or_default();
            Arc::new(shape.sample(*at, value))
        };
        rows.iter().map(sample).collect()
    }

    /// By columns.
    pub(super) fn columns(&self) -> SampleColumns {
        let mut times = Vec::with_capacity(self.len);
        let mut columns: Vec<_> = self.start.iter().map(|first| NumberColumn::Constant(*first)).collect();
        let mut before = self.start.clone();
        self.each(|at, numbers| {
            let len = times.len();
            times.push(at);
            for ((column, before), now) in columns.iter_mut().zip(&mut before).zip(numbers) {
                match column {
                    NumberColumn::Constant(_) if before == now => {}
                    NumberColumn::Constant(value) => {
                        let mut values = Vec::with_capacity(self.len);
                        values.resize(len, *value);
                        values.push(*now);
                        *column = NumberColumn::Values(values);
                    }
                    NumberColumn::Values(values) => values.push(*now),
                }
                *before = *now;
            }
        });
        SampleColumns { shape: self.shape, times, columns }
    }
}

/// What one number of a container was at each step.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NumberColumn {
    Constant(u64),
    Values(Vec<u64>),
}

/// Samples by columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SampleColumns {
    /// The shape of all samples.
    pub(super) shape: u32,
    /// When each was taken, in milliseconds, oldest first.
    pub(super) times: Vec<u64>,
    columns: Vec<NumberColumn>,
}

impl SampleColumns {
    /// As bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_varint(&mut out, self.shape.into());
        write_varint(&mut out, self.times.len() as u64);
        write_varint(&mut out, self.columns.len() as u64);
        let (mut before, mut span) = (0, 0u64);
        for at in &self.times {
            let now = at.wrapping_sub(before);
            write_signed(&mut out, now.wrapping_sub(span));
            (before, span) = (*at, now);
        }
        let varies = |column: &NumberColumn| matches!(column, NumberColumn::Values(_));
        for eight in self.columns.chunks(8) {
            out.push(eight.iter().enumerate().map(|(bit, column)| u8::from(varies(column)) << bit).sum());
        }
        for column in &self.columns {
            let first = match column {
                NumberColumn::Constant(value) => *value,
                NumberColumn::Values(values) => values.first().copied().unwrap_or_default(),
            };
            write_varint(&mut out, first);
        }
        for column in &self.columns {
            if let NumberColumn::Values(values) = column {
                for [before, now] in values.array_windows() {
                    write_signed(&mut out, now.wrapping_sub(*before));
                }
            }
        }
        out
    }

    /// From bytes; `None` if they are none of these.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let shape = read_varint(bytes)?.try_into().ok()?;
        let len = usize::try_from(read_varint(bytes)?).ok().filter(|len| (1..=MOST_SAMPLES).contains(len))?;
        let width = usize::try_from(read_varint(bytes)?).ok().filter(|width| *width <= MOST_NUMBERS)?;
        let (mut at, mut span) = (0u64, 0u64);
        let mut times = Vec::with_capacity(len);
        for _ in 0..len {
            span = span.wrapping_add(read_signed(bytes)?);
            at = at.wrapping_add(span);
            times.push(at);
        }
        let (bits, rest) = bytes.split_at_checked(width.div_ceil(8))?;
        *bytes = rest;
        let first = (0..width).map(|_| read_varint(bytes)).collect::<Option<Vec<_>>>()?;
        let mut columns = Vec::with_capacity(width);
        for (position, mut value) in first.into_iter().enumerate() {
            if bits[position / 8] >> (position % 8) & 1 == 0 {
                columns.push(NumberColumn::Constant(value));
                continue;
            }
            let mut values = Vec::with_capacity(len);
            values.push(value);
            for _ in 1..len {
                value = value.wrapping_add(read_signed(bytes)?);
                values.push(value);
            }
            columns.push(NumberColumn::Values(values));
        }
        bytes.is_empty().then_some(Self { shape, times, columns })
    }

    /// Of the samples of these milliseconds the newest, oldest first.
    pub(super) fn samples(&self, range: Range, shape: &Shape) -> Vec<Arc<Sample>> {
        let begin = self.times.partition_point(|at| *at < range.from);
        let end = self.times.partition_point(|at| *at <= range.to);
        let sample = |place: usize| {
            let value = |column: usize| match self.columns.get(column) {
                None => 0,
                Some(NumberColumn::Constant(value)) => *value,
                Some(NumberColumn::Values(values)) => values.get(place).copied().unwrap_or_default(),
            };
            Arc::new(shape.sample(self.times.get(place).copied().unwrap_or_default(), value))
        };
        (begin.max(end.saturating_sub(range.newest))..end).map(sample).collect()
    }
}

/// Which samples are wanted: those of these milliseconds, both included, and of them the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) newest: usize,
}

/// Which values samples have, and in which column each of their numbers is.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    template: Sample,
    /// In walk order: the number of the column, counted from 1; 0 for a number that was not kept.
    columns: Vec<u32>,
}

/// Puts the number of its column in place of each number.
struct NumberColumns(u64);

impl Visitor for NumberColumns {
    fn counter(&mut self, value: &mut u64) {
        self.0 += 1;
        *value = self.0;
    }
    fn gauge(&mut self, value: &mut u64) {
        self.counter(value);
    }
}

impl Shape {
    /// The shape of a sample as text.
    pub(super) fn describe(sample: &Sample) -> String {
        let mut template = sample.clone();
        template.at = WallTime(0);
        template.walk(&mut NumberColumns(0));
        template.describe().to_string()
    }

    /// From such a text.
    pub(super) fn restore(text: &[u8]) -> Option<Self> {
        let mut template = Sample::restore(&serde_json::from_slice(text).ok()?)?;
        let mut columns = Collect::default();
        template.walk(&mut columns);
        let columns = columns.0.into_iter().map(|column| u32::try_from(column).ok()).collect::<Option<_>>()?;
        Some(Self { template, columns })
    }

    /// The sample of this millisecond with these numbers.
    fn sample(&self, at: u64, value: impl Fn(usize) -> u64) -> Sample {
        let number = |column: &u32| column.checked_sub(1).map_or(0, |column| value(column as usize));
        let numbers: Vec<u64> = self.columns.iter().map(number).collect();
        let mut sample = self.template.clone();
        sample.walk(&mut Fill::new(&numbers));
        sample.at = WallTime(at.saturating_mul(1_000_000));
        sample
    }
}

/// The numbers of a sample in walk order.
pub(super) fn numbers(sample: &Sample) -> Vec<u64> {
    let mut numbers = Collect::default();
    sample.clone().walk(&mut numbers);
    numbers.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::tests::complete;

    fn run_of(samples: &[Sample]) -> Run {
        let at = |sample: &Sample| sample.at.millis();
        let mut run = Run::new(3, 0, at(&samples[0]), numbers(&samples[0]));
        for sample in &samples[1..] {
            run.push(at(sample), numbers(sample), &mut Vec::new());
        }
        run
    }

    #[test]
    fn whole_samples_come_back() {
        let second = |second: u64| WallTime((1_000 + second * 10) * 1_000_000_000);
        let samples: Vec<_> = (0..50).map(|step| Sample { at: second(step), ..complete(1 << (step % 40)) }).collect();
        let shape = Shape::restore(Shape::describe(&samples[0]).as_bytes()).unwrap();
        let run = run_of(&samples);
        let columns = SampleColumns::decode(&run.columns().encode()).unwrap();
        assert_eq!(columns.shape, 3);
        let all = Range { from: 0, to: u64::MAX, newest: usize::MAX };
        let plain = |samples: &[Arc<Sample>]| samples.iter().map(|sample| Sample::clone(sample)).collect::<Vec<_>>();
        assert_eq!(plain(&columns.samples(all, &shape)), samples);
        assert_eq!(plain(&run.samples(all, &shape)), samples);
        for (newest, expected) in [(9, 10..13), (2, 11..13), (0, 13..13)] {
            let range = Range { from: second(10).millis(), to: second(12).millis(), newest };
            assert_eq!(plain(&columns.samples(range, &shape)), samples[expected.clone()]);
            assert_eq!(plain(&run.samples(range, &shape)), samples[expected]);
        }
    }

    #[test]
    fn a_number_that_was_not_kept_is_missing_and_moves_no_other() {
        let sample = Sample { at: WallTime(5_000_000), ..complete(7) };
        let mut text: serde_json::Value = serde_json::from_str(&Shape::describe(&sample)).unwrap();
        text["memory"].as_object_mut().unwrap().remove("swap");
        text["memory"]["later"] = 9.into();
        let shape = Shape::restore(text.to_string().as_bytes()).unwrap();
        let all = Range { from: 0, to: u64::MAX, newest: 1 };
        let restored = Sample::clone(&run_of(std::slice::from_ref(&sample)).columns().samples(all, &shape)[0]);
        let mut expected = sample;
        expected.memory.as_mut().unwrap().swap = None;
        assert_eq!(restored, expected);
    }

    proptest! {
        #[test]
        fn any_columns_come_back(rows in prop::collection::vec(prop::collection::vec(any::<u64>(), 5), 1..20)) {
            let mut run = Run::new(1, 0, 10, rows[0].clone());
            for (step, row) in rows.iter().enumerate().skip(1) {
                run.push(10 + step as u64 * 7, row.clone(), &mut Vec::new());
            }
            let columns = run.columns();
            prop_assert_eq!(SampleColumns::decode(&columns.encode()), Some(columns));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = SampleColumns::decode(&bytes);
        }
    }
}
