//! Bytes that containers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes for all; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    used: Arc<AtomicUsize>,
    most: usize,
}

/// Bytes of it that somebody has, until this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    of: Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Self {
        Self { used: Arc::default(), most }
    }

    /// Takes as many; `None` when there are not so many left.
    pub(super) fn take(&self, bytes: usize) -> Option<Taken> {
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Taken { of: self.clone(), bytes })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = Budget::new(10);
        let most = budget.clone().take(10).unwrap();
        assert!(budget.take(1).is_none() && budget.take(usize::MAX).is_none());
        drop(most);
        let _some = budget.take(9).unwrap();
        assert!(budget.take(2).is_none() && budget.take(1).is_some());
    }
}
