//! How long a cgroup's requests to block devices waited and took (kind `blocklatency`).

use std::sync::Arc;

use super::doubling::Counts;
use crate::units::Nanos;

/// The first bucket of a histogram holds what takes up to 2 to the power of this, in seconds.
pub const FIRST_EXPONENT: i32 = -18;

/// What the requests of one very cgroup took since the collector's programs were loaded; those of cgroups below are not
/// included. Sorted by device and operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockLatency(pub Vec<DeviceLatency>);

/// The same of one device and one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceLatency {
    /// `/dev/...` of the whole device; empty where the machine has no name for it.
    pub device: Arc<str>,
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
    /// What the requests did.
    pub operation: Operation,
    /// How many were counted for the cgroup of the task that made them: they had no bio, or one of a cgroup above.
    pub by_task: u64,
    /// From the making of a request until the device got it. Requests that the kernel does not note the beginning of are
    /// not included.
    pub queued: Latencies,
    /// From then until it was done.
    pub served: Latencies,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// It gives space back.
    Discard,
    /// It reads.
    Read,
    /// It writes.
    Write,
}

impl Operation {
    /// As cAdvisor and the kernel's files for cgroup v1 write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discard => "Discard",
            Self::Read => "Read",
            Self::Write => "Write",
        }
    }
}

/// How long requests took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// All together.
    pub total: Nanos,
    /// How many there were by length; the first bucket ends at [`FIRST_EXPONENT`].
    pub buckets: Counts,
}

impl Latencies {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}
