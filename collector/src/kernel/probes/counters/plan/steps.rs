//! The steps of a program, and where in its records they leave the numbers.

use collector_ebpf::plan::{COPY, FOLLOW, KEEP, NO_PLAN, PLAN_STEPS, Plan, RECORD_HEADER};

use super::WORD;

/// Where a number is in a record, and whether it has 64 bits or 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    word: usize,
    width: Width,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Half,
    Whole,
}

impl Slot {
    /// The number in a record.
    pub fn of(self, words: &[u64]) -> Option<u64> {
        let word = *words.get(self.word)?;
        Some(match self.width {
            Width::Half => {
                let [a, b, c, d, ..] = word.to_ne_bytes();
                u64::from(u32::from_ne_bytes([a, b, c, d]))
            }
            Width::Whole => word,
        })
    }
}

/// What a program is given: its steps, and how long its records are.
#[derive(Clone, Debug)]
pub struct Steps {
    pub(in crate::kernel::probes::counters) plan: Plan,
    pub(in crate::kernel::probes::counters) bytes: u32,
    used: usize,
}

impl Default for Steps {
    fn default() -> Self {
        Self { plan: NO_PLAN, bytes: RECORD_HEADER as u32, used: 0 }
    }
}

impl Steps {
    pub(super) fn add(&mut self, step: [u32; 4]) -> Option<()> {
        // One is left, which ends the plan.
        let slot = self.plan.get_mut(self.used).filter(|_| self.used + 1 < PLAN_STEPS)?;
        *slot = step;
        self.used += 1;
        Some(())
    }

    /// Room in the record; the number of its first word after the header.
    pub(super) fn room(&mut self, bytes: u32) -> (u32, usize) {
        let to = self.bytes;
        self.bytes += bytes.next_multiple_of(WORD as u32);
        (to, (to as usize - RECORD_HEADER) / WORD)
    }

    pub(super) fn copy(&mut self, base: u32, offset: u32, bytes: u32) -> Option<usize> {
        let (to, word) = self.room(bytes);
        self.add([COPY | base << 8, offset, bytes, to])?;
        Some(word)
    }

    pub(super) fn word(&mut self, base: u32, offset: u32) -> Option<Slot> {
        Some(Slot { word: self.copy(base, offset, WORD as u32)?, width: Width::Whole })
    }

    pub(super) fn half(&mut self, base: u32, offset: u32) -> Option<Slot> {
        Some(Slot { word: self.copy(base, offset, WORD as u32 / 2)?, width: Width::Half })
    }

    pub(super) fn follow(&mut self, base: u32, offset: u32, into: u32) -> Option<()> {
        self.add([FOLLOW | base << 8, offset, into, 0])
    }

    pub(super) fn keep(&mut self, base: u32) -> Option<Slot> {
        let (to, word) = self.room(WORD as u32);
        self.add([KEEP | base << 8, 0, 0, to])?;
        Some(Slot { word, width: Width::Whole })
    }
}

impl Steps {
    /// No steps, and records of this length: of a program that needs none.
    pub(super) fn of_length(bytes: u32) -> Self {
        Self { bytes, ..Self::default() }
    }
}
