//! Which number of the kernel's arrays is which line of `memory.stat`, learnt from the files themselves.
//!
//! Since 6.10 the kernel keeps a table of its own for that, which no type information has. So nothing is assumed: at first
//! every number may be every line, in any unit. Each time that a file and the numbers around it are read, what does not
//! agree is crossed out. A line's value is known where all that are left agree about it, whichever of them it is; where they
//! do not, the file is read, which crosses out more. When none is left for a line, the numbers are not what they were taken
//! for, and memory stays with its files.

use std::sync::Arc;

use super::plan::{Arrays, HierarchicalLimits, MemoryLayout};
use crate::kernel::cgroup::memory_stat::StatLayout;

/// So many comparisons in a row cross nothing out before values are taken from memory.
const SETTLED_AFTER: u32 = 3;
/// What a number may be counted in: single, kibibytes, pages, huge pages.
const UNITS: usize = 4;
const ALL_UNITS: u8 = (1 << UNITS) - 1;

/// A number of the arrays that may be a line, and the units in which it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    index: u16,
    units: u8,
}

/// Where a line's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// A number of the arrays, the subtree's or the cgroup's own.
    Number { group: usize, counted: Counted },
    /// `hierarchical_memory_limit`.
    MemoryLimit,
    /// `hierarchical_memsw_limit`.
    BothLimit,
    /// The sum of other lines.
    Sum(Vec<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Own,
    Subtree,
}

/// What is known of one file's lines so far. A copy is shared by those who read; whoever learns makes another.
#[derive(Clone, Debug)]
pub struct StatMap {
    layout: Arc<StatLayout>,
    origins: Vec<Origin>,
    /// What is left for each name, which v1 has twice: with `total_` and without.
    groups: Vec<Vec<Candidate>>,
    /// For each of them the first with the same left: what was always 0 is alike.
    alike: Vec<usize>,
    /// Comparisons since something was crossed out.
    settled: u32,
    page: u64,
}

/// A line whose value is none of the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoCandidate(pub Box<str>);

/// One reading of a file with the numbers read before and after it.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// The file's values.
    pub file: &'a [u64],
    /// The record before.
    pub before: &'a [u64],
    /// The record after.
    pub after: &'a [u64],
}

impl StatMap {
    /// Nothing is known but the lines.
    pub fn new(layout: Arc<StatLayout>, memory: &MemoryLayout, page: u64) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let has_own = memory.own.is_some();
        let keys = Arc::clone(layout.keys());
        let position = |key: &str| keys.iter().position(|known| **known == *key);
        let mut origins = Vec::new();
        for key in &*keys {
            let key: &str = key;
            let parts: &[&str] = match key {
                "slab" => &["slab_reclaimable", "slab_unreclaimable"],
                "pgscan" => &["pgscan_kswapd", "pgscan_direct", "pgscan_khugepaged", "pgscan_proactive"],
                "pgsteal" => &["pgsteal_kswapd", "pgsteal_direct", "pgsteal_khugepaged", "pgsteal_proactive"],
                _ => &[],
            };
            let parts: Vec<_> = parts.iter().filter_map(|part| position(part)).collect();
            origins.push(match key {
                "hierarchical_memory_limit" => Origin::MemoryLimit,
                "hierarchical_memsw_limit" => Origin::BothLimit,
                _ if !parts.is_empty() => Origin::Sum(parts),
                _ => {
                    let (name, counted) = match key.strip_prefix("total_") {
                        Some(name) if has_own => (name, Counted::Subtree),
                        _ if has_own => (key, Counted::Own),
                        _ => (key, Counted::Subtree),
                    };
                    let group = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                        names.push(name);
                        names.len() - 1
                    });
                    Origin::Number { group, counted }
                }
            });
        }
        let all: Vec<_> =
            (0..memory.subtree.count() as u16).map(|index| Candidate { index, units: ALL_UNITS }).collect();
        let groups = vec![all; names.len()];
        Self { layout, origins, alike: vec![0; groups.len()], groups, settled: 0, page }
    }

    /// The lines.
    pub fn layout(&self) -> &Arc<StatLayout> {
        &self.layout
    }

    /// Whether enough was compared.
    pub fn is_settled(&self) -> bool {
        self.settled >= SETTLED_AFTER
    }

    fn unit(&self, number: usize) -> u64 {
        [1, 1024, self.page, 2 << 20][number]
    }

    /// The value that all candidates agree about.
    fn agreed(&self, group: &[Candidate], arrays: Arrays, words: &[u64]) -> Option<u64> {
        let mut agreed = None;
        for candidate in group {
            let number = arrays.get(words, usize::from(candidate.index));
            let value = if number == 0 {
                0
            } else if candidate.units.is_power_of_two() {
                number.wrapping_mul(self.unit(candidate.units.trailing_zeros() as usize))
            } else {
                return None;
            };
            if *agreed.get_or_insert(value) != value {
                return None;
            }
        }
        agreed
    }

    /// The file's values by the numbers of a record; `None` where a line is not certain.
    pub fn values(&self, memory: &MemoryLayout, words: &[u64]) -> Option<Vec<u64>> {
        let mut values = Vec::with_capacity(self.origins.len());
        let mut limits = None;
        let mut known: Vec<[Option<u64>; 2]> = vec![[None; 2]; self.groups.len()];
        for origin in &self.origins {
            values.push(match origin {
                Origin::Number { group, counted } => {
                    let first = self.alike[*group];
                    let slot = &mut known[first][usize::from(*counted == Counted::Own)];
                    if slot.is_none() {
                        *slot = self.agreed(&self.groups[first], arrays(memory, *counted)?, words);
                    }
                    (*slot)?
                }
                Origin::MemoryLimit | Origin::BothLimit => {
                    let HierarchicalLimits { memory, memory_and_swap } = match limits {
                        Some(limits) => limits,
                        None => *limits.insert(memory.limits(words)?),
                    };
                    let pages = if *origin == Origin::MemoryLimit { memory } else { memory_and_swap };
                    pages.wrapping_mul(self.page)
                }
                // Filled in when its parts are there.
                Origin::Sum(_) => 0,
            });
        }
        for (index, origin) in self.origins.iter().enumerate() {
            if let Origin::Sum(parts) = origin {
                values[index] = parts.iter().fold(0, |sum: u64, part| sum.wrapping_add(values[*part]));
            }
        }
        Some(values)
    }

    /// Crosses out what does not agree with a file. A number that changed meanwhile is not judged.
    ///
    /// # Errors
    /// Nothing is left for a line; what was known stays.
    pub fn learn(&mut self, memory: &MemoryLayout, compared: Comparison<'_>) -> Result<(), NoCandidate> {
        let Comparison { file, before, after } = compared;
        let mut groups = self.groups.clone();
        let mut crossed_out = false;
        let name = |index: usize| NoCandidate(self.layout.keys().get(index).cloned().unwrap_or_default());
        for (index, (origin, value)) in self.origins.iter().zip(file).enumerate() {
            match origin {
                Origin::Number { group, counted } => {
                    let arrays = arrays(memory, *counted).ok_or_else(|| name(index))?;
                    let left = &mut groups[*group];
                    let had: u32 = left.iter().map(|candidate| candidate.units.count_ones()).sum();
                    left.retain_mut(|candidate| {
                        let at = usize::from(candidate.index);
                        let number = arrays.get(before, at);
                        if number != arrays.get(after, at) {
                            return true;
                        }
                        let agrees = |unit: &usize| number.checked_mul(self.unit(*unit)) == Some(*value);
                        let agreeing = (0..UNITS).filter(agrees).fold(0, |units, unit| units | 1 << unit);
                        candidate.units &= agreeing;
                        candidate.units != 0
                    });
                    if left.is_empty() {
                        return Err(name(index));
                    }
                    crossed_out |= had != left.iter().map(|candidate| candidate.units.count_ones()).sum::<u32>();
                }
                Origin::MemoryLimit | Origin::BothLimit => {
                    let pick = |limits: HierarchicalLimits| match origin {
                        Origin::MemoryLimit => limits.memory,
                        _ => limits.memory_and_swap,
                    };
                    let (before, after) = (memory.limits(before).map(pick), memory.limits(after).map(pick));
                    if before == after && before.is_some_and(|pages| pages.wrapping_mul(self.page) != *value) {
                        return Err(name(index));
                    }
                }
                Origin::Sum(parts) => {
                    let sum: u64 = parts.iter().filter_map(|part| file.get(*part)).sum();
                    let arrays = memory.subtree;
                    let is_still = (0..arrays.count()).all(|at| arrays.get(before, at) == arrays.get(after, at));
                    if is_still && sum != *value {
                        return Err(name(index));
                    }
                }
            }
        }
        let first = |group: &Vec<Candidate>| groups.iter().position(|other| other == group).unwrap_or_default();
        self.alike = groups.iter().map(first).collect();
        self.groups = groups;
        self.settled = if crossed_out { 0 } else { self.settled + 1 };
        Ok(())
    }
}

fn arrays(memory: &MemoryLayout, counted: Counted) -> Option<Arrays> {
    match counted {
        Counted::Own => memory.own,
        Counted::Subtree => Some(memory.subtree),
    }
}
