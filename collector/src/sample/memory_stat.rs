//! `memory.stat` whole, and what of it is reported by name.

use std::sync::Arc;

use super::walk::parts;

/// `memory.stat` whole. The keys are the same for every cgroup of a hierarchy and are shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryStat {
    /// The kernel's keys, in its order.
    pub keys: Arc<[Box<str>]>,
    /// One value per key.
    pub values: Vec<u64>,
}

impl MemoryStat {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<u64> {
        let position = self.keys.iter().position(|candidate| &**candidate == key)?;
        self.values.get(position).copied()
    }

    /// What is reported about it by name.
    pub fn reported(&self) -> ReportedStat {
        ReportedKeys::of(self).pick(self)
    }
}

/// Where the reported values are in `memory.stat`: looked for once, they are found in every one with the same keys. v1
/// has some of them under other names; of its two counts the subtree's is taken.
#[derive(Clone, Debug)]
pub struct ReportedKeys {
    keys: Arc<[Box<str>]>,
    positions: [Option<usize>; 6],
}

impl ReportedKeys {
    /// Looks for them.
    pub fn of(stat: &MemoryStat) -> Self {
        let find = |key: &str| stat.keys.iter().position(|candidate| &**candidate == key);
        let either = |v2, v1| find(v1).or_else(|| find(v2));
        let positions = [
            either("file_dirty", "total_dirty"),
            either("file_writeback", "total_writeback"),
            find("pgscan"),
            find("pgsteal"),
            either("workingset_refault_file", "total_workingset_refault_file"),
            either("workingset_refault_anon", "total_workingset_refault_anon"),
        ];
        Self { keys: Arc::clone(&stat.keys), positions }
    }

    /// Whether they are in the same places there.
    pub fn fit(&self, stat: &MemoryStat) -> bool {
        Arc::ptr_eq(&self.keys, &stat.keys) || self.keys == stat.keys
    }

    /// The values, of one whose keys fit.
    pub fn pick(&self, stat: &MemoryStat) -> ReportedStat {
        let value = |position: Option<usize>| stat.values.get(position?).copied();
        let [file_dirty, file_writeback, pgscan, pgsteal, workingset_refault_file, workingset_refault_anon] =
            self.positions.map(value);
        ReportedStat { file_dirty, file_writeback, pgscan, pgsteal, workingset_refault_file, workingset_refault_anon }
    }
}

/// Values of `memory.stat` that are reported by name and mean nothing to the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedStat {
    /// Bytes to be written back: v1 `total_dirty`; v2 `file_dirty`.
    pub file_dirty: Option<u64>,
    /// Bytes being written back: v1 `total_writeback`; v2 `file_writeback`.
    pub file_writeback: Option<u64>,
    /// Pages looked at for reclaim: v2 `pgscan`.
    pub pgscan: Option<u64>,
    /// Pages reclaimed: v2 `pgsteal`.
    pub pgsteal: Option<u64>,
    /// File pages that came back soon after eviction: v1 `total_workingset_refault_file`, v2 the same without `total_`;
    /// since 5.9.
    pub workingset_refault_file: Option<u64>,
    /// Anonymous pages that did: `workingset_refault_anon`, in the same way.
    pub workingset_refault_anon: Option<u64>,
}

parts! {
    MemoryStat { shape keys, gauge values }
}
