//! What the programs read of some cgroups.

use std::time::Instant;

use super::{CounterFamily, FAMILIES};

/// What was read of some cgroups, each with its families.
#[derive(Debug)]
pub struct Records {
    words: Vec<u64>,
    /// For each cgroup and family where its numbers begin and end.
    places: Vec<[(u32, u32); FAMILIES]>,
    /// When they were read: not before this.
    pub taken: Instant,
}

impl Records {
    /// Room for so many cgroups of so many words each.
    pub(super) fn new(cgroups: usize, words: usize) -> Self {
        Self {
            words: Vec::with_capacity(cgroups * words),
            places: vec![[(0, 0); FAMILIES]; cgroups],
            taken: Instant::now(),
        }
    }

    pub(super) fn add(&mut self, cgroup: usize, family: CounterFamily, words: impl Iterator<Item = u64>) {
        let start = self.words.len() as u32;
        self.words.extend(words);
        self.places[cgroup][family as usize] = (start, self.words.len() as u32);
    }

    /// What there is of this cgroup and family.
    pub fn get(&self, cgroup: usize, family: CounterFamily) -> Option<&[u64]> {
        let (start, end) = self.places.get(cgroup)?[family as usize];
        let words = self.words.get(start as usize..end as usize)?;
        (!words.is_empty()).then_some(words)
    }
}
