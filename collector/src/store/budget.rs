//! The memory that all kept samples may take together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Shared by all containers. While there is too much, whoever adds a sample and has more than an equal share drops old
/// ones of its own, so that none loses samples to another that has more.
#[derive(Debug)]
pub(super) struct HistoryBudget {
    limit: usize,
    used: AtomicUsize,
    containers: AtomicUsize,
}

impl HistoryBudget {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0), containers: AtomicUsize::new(0) }
    }

    /// One more container shares it.
    pub(super) fn join(&self) {
        self.containers.fetch_add(1, Ordering::Relaxed);
    }

    /// One fewer.
    pub(super) fn leave(&self) {
        self.containers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Somebody has now this many bytes instead of those; how many it may keep, `None` for all of them.
    pub(super) fn update(&self, before: usize, now: usize) -> Option<usize> {
        // Both may be done at once by several threads; the sum is right after each.
        self.used.fetch_add(now, Ordering::Relaxed);
        let used = self.used.fetch_sub(before, Ordering::Relaxed).saturating_sub(before);
        if used <= self.limit {
            return None;
        }
        let share = self.limit / self.containers.load(Ordering::Relaxed).max(1);
        (now > share).then_some(share)
    }

    /// What all have.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}
