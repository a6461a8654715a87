//! What is not in blocks on disk yet: the runs that grow, and the blocks that wait for others to be written with.
//!
//! All of it is on disk as rows, one for each step, so that a crash costs nothing of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::run::{Range, Run, SampleColumns, Shape};
use super::segment::{Block, frame, unframe};
use crate::sample::container::Sample;
use crate::store::deltas::{read_varint, write_varint};

/// Blocks that are written together, in bytes: just below a power of two, with room for the database's own.
const BUNDLE: usize = 65_000;
/// How hard blocks are compressed.
const LEVEL: i32 = 9;

const WHOLE: u8 = 0;
const DIFFERENCE: u8 = 1;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tail {
    runs: BTreeMap<u32, Run>,
    pending: VecDeque<Block>,
}

/// A sample as it is pushed.
pub(super) struct Pushed {
    pub(super) life: u32,
    pub(super) step: u64,
    pub(super) shape: u32,
    pub(super) at: u64,
    pub(super) numbers: Vec<u64>,
}

/// Whether rows may say how samples differ from those of the row before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    Holds,
    /// That row was not written.
    Broken,
}

impl Tail {
    /// Takes a sample and appends what a crash would cost to the row.
    pub(super) fn push(&mut self, pushed: Pushed, chain: Chain, row: &mut Vec<u8>) {
        let Pushed { life, step, shape, at, numbers } = pushed;
        let fits = |run: &&mut Run| run.shape == shape && run.has_room(life, at);
        write_varint(row, life.into());
        let Some(run) = self.runs.get_mut(&life).filter(fits) else {
            self.finish(life);
            write_whole(row, shape, at, &numbers);
            self.runs.insert(life, Run::new(shape, step, at, numbers));
            return;
        };
        if chain == Chain::Broken {
            write_whole(row, shape, at, &numbers);
            run.push(at, numbers, &mut Vec::new());
            return;
        }
        let mut delta = Vec::new();
        run.push(at, numbers, &mut delta);
        row.push(DIFFERENCE);
        write_varint(row, delta.len() as u64);
        row.extend_from_slice(&delta);
    }

    /// Takes a sample that differs from the one before it in nothing but its time. Not if it has to begin a run: whether it
    /// was taken.
    pub(super) fn repeat(&mut self, life: u32, at: u64, row: &mut Vec<u8>) -> bool {
        let Some(run) = self.runs.get_mut(&life).filter(|run| run.has_room(life, at)) else { return false };
        let delta = run.repeat(at);
        write_varint(row, life.into());
        row.push(DIFFERENCE);
        write_varint(row, delta.len() as u64);
        row.extend_from_slice(delta);
        true
    }

    /// Makes a block of a life's run.
    pub(super) fn finish(&mut self, life: u32) {
        if let Some(run) = self.runs.remove(&life) {
            self.pending.push_back(Block {
                life,
                first: run.first,
                last: run.last,
                len: run.len as u32,
                step: run.step,
                frame: frame(&run.columns().encode(), LEVEL),
            });
        }
    }

    /// Makes blocks of all runs.
    pub(super) fn finish_all(&mut self) {
        while let Some(life) = self.runs.keys().next().copied() {
            self.finish(life);
        }
    }

    /// What a row said, in a tail that has all before it. Whatever of it is not understood ends it.
    pub(super) fn replay(&mut self, step: u64, mut row: &[u8]) -> Option<()> {
        let row = &mut row;
        while !row.is_empty() {
            let life = read_varint(row)?.try_into().ok()?;
            let (kind, rest) = row.split_first()?;
            *row = rest;
            if *kind == DIFFERENCE {
                let len = read_varint(row)?.try_into().ok()?;
                let (delta, rest) = row.split_at_checked(len)?;
                *row = rest;
                // Without the row before, this one says nothing of this container.
                if self.runs.get_mut(&life).is_some_and(|run| run.replay(delta).is_none()) {
                    self.finish(life);
                }
                continue;
            }
            let shape = read_varint(row)?.try_into().ok()?;
            let at = read_varint(row)?;
            let len = read_varint(row)?;
            // Each number is a byte at least.
            let len = usize::try_from(len).ok().filter(|len| *len <= row.len())?;
            let numbers = (0..len).map(|_| read_varint(row)).collect::<Option<Vec<_>>>()?;
            self.finish(life);
            self.runs.insert(life, Run::new(shape, step, at, numbers));
        }
        Some(())
    }

    /// The blocks that wait, put together for writing: what fills bundles, or all of them.
    pub(super) fn bundles(&self, all: WhichBlocks) -> Vec<Vec<Block>> {
        let mut bundles = Vec::new();
        let (mut bundle, mut bytes) = (Vec::new(), 0);
        for block in &self.pending {
            if bytes + block.frame.len() > BUNDLE && !bundle.is_empty() {
                bundles.push(std::mem::take(&mut bundle));
                bytes = 0;
            }
            bytes += block.frame.len();
            bundle.push(block.clone());
        }
        if all == WhichBlocks::All && !bundle.is_empty() {
            bundles.push(bundle);
        }
        bundles
    }

    /// The first of these many blocks are on disk.
    pub(super) fn written(&mut self, blocks: usize) {
        self.pending.drain(..blocks.min(self.pending.len()));
    }

    /// The oldest step that only rows have, once the first of these many blocks are written; `None` without any.
    pub(super) fn oldest_step(&self, blocks: usize) -> Option<u64> {
        let pending = self.pending.iter().skip(blocks).map(|block| block.step);
        pending.chain(self.runs.values().map(|run| run.step)).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.pending.is_empty()
    }

    /// Bytes in memory.
    pub(super) fn memory(&self) -> usize {
        let blocks = self.pending.iter().map(|block| size_of::<Block>() + block.frame.capacity());
        blocks.sum::<usize>() + self.runs.values().map(Run::memory).sum::<usize>()
    }

    /// Drops the oldest blocks until it takes no more than this; how many samples that were.
    pub(super) fn shrink_to(&mut self, bytes: usize) -> u64 {
        let mut lost = 0;
        while self.memory() > bytes {
            let Some(block) = self.pending.pop_front() else { break };
            lost += u64::from(block.len);
        }
        lost
    }

    /// When the blocks and runs of a life begin and end that have anything of these milliseconds, and their lengths.
    pub(super) fn spans(&self, life: u32, from: u64, to: u64) -> Vec<(u64, u64, usize)> {
        let blocks = self.pending.iter().filter(|block| block.life == life);
        let blocks = blocks.map(|block| (block.first, block.last, block.len as usize));
        let run = self.runs.get(&life).map(|run| (run.first, run.last, run.len));
        blocks.chain(run).filter(|(first, last, _)| *first <= to && *last >= from).collect()
    }

    /// A life's samples, oldest first.
    pub(super) fn samples(
        &self,
        life: u32,
        range: Range,
        shape: impl Fn(u32) -> Option<Arc<Shape>>,
    ) -> Vec<Arc<Sample>> {
        let mut samples = Vec::new();
        let within = |first: u64, last: u64| first <= range.to && last >= range.from;
        for block in self.pending.iter().filter(|block| block.life == life && within(block.first, block.last)) {
            let columns = unframe(&block.frame).and_then(|raw| SampleColumns::decode(&raw));
            if let Some(columns) = columns
                && let Some(shape) = shape(columns.shape)
            {
                samples.extend(columns.samples(range, &shape));
            }
        }
        if let Some(run) = self.runs.get(&life).filter(|run| within(run.first, run.last))
            && let Some(shape) = shape(run.shape)
        {
            samples.extend(run.samples(range, &shape));
        }
        samples.drain(..samples.len().saturating_sub(range.newest));
        samples
    }
}

/// How many of the blocks that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhichBlocks {
    All,
    FullBundles,
}

fn write_whole(row: &mut Vec<u8>, shape: u32, at: u64, numbers: &[u64]) {
    row.push(WHOLE);
    write_varint(row, shape.into());
    write_varint(row, at);
    write_varint(row, numbers.len() as u64);
    for number in numbers {
        write_varint(row, *number);
    }
}
