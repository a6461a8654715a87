//! How long a cgroup's tasks waited for a CPU, and for whom (kind `runqueue`).

use super::doubling::Counts;
use super::event::Name;
use crate::units::Nanos;

/// The first bucket of the histogram holds what takes up to 2 to the power of this, in seconds.
pub const FIRST_EXPONENT: i32 = -20;
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
    /// How many waits there were by length, without what a quota held back; the first bucket ends at [`FIRST_EXPONENT`].
    pub buckets: Counts,
    /// Of `waited` what tasks of other cgroups ran meanwhile: of at most [`NAMED`] of them, sorted by name.
    pub behind: Vec<(Name, Nanos)>,
}

impl RunQueue {
    /// How many waits there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}
