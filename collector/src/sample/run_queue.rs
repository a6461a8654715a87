//! How long a cgroup's tasks waited for a CPU, and for whom (kind `runqueue`).

use super::event::Name;
use crate::units::Nanos;

/// Buckets of the histogram.
pub const BUCKETS: usize = 24;
/// Cgroups that are named for each one that waits, those waited for longest.
pub const NAMED: usize = 5;

/// What the tasks of one very cgroup waited since the collector's program was loaded; those of cgroups below are not
/// included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunQueue {
    /// Waited for a CPU, without what a quota held back.
    pub waited: Nanos,
    /// Held back by the cgroup's own quota or one above.
    pub throttled: Nanos,
    /// Of `waited` what other tasks of the same cgroup ran meanwhile.
    pub own: Nanos,
    /// How many waits there were by length, without what a quota held back: up to 2^10 ns, and each next bucket up to twice
    /// as much.
    pub buckets: [u64; BUCKETS],
    /// Of `waited` what tasks of other cgroups ran meanwhile: of at most [`NAMED`] of them, sorted by name.
    pub behind: Vec<(Name, Nanos)>,
}

impl RunQueue {
    /// How many waits there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The upper bound of a bucket in nanoseconds; `None` for the last, which has none.
    pub const fn upper_bound(bucket: usize) -> Option<u64> {
        if bucket + 1 < BUCKETS { Some(1 << (10 + bucket)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_buckets() {
        assert_eq!(RunQueue::upper_bound(0), Some(1024));
        assert_eq!(RunQueue::upper_bound(BUCKETS - 2), Some(1 << 32));
        assert_eq!(RunQueue::upper_bound(BUCKETS - 1), None);
    }
}
