//! What a cgroup is allowed and configured to do, as opposed to what it did.

// They stand beside the numbers they limit.
pub use super::container::{CpuSpec, MemoryLimit, MemorySpec};
use super::unread::Unread;
use crate::units::{Limit, WallTime};

/// Limits and identity of a cgroup, read from its files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// When the cgroup was made: exact when the collector saw it happen, else by cAdvisor's rule from file times.
    /// `None` when nothing reported.
    pub created: Option<WallTime>,
    /// The cpu (or cpuset) controller covers this cgroup.
    pub cpu: Option<CpuSpec>,
    /// The memory controller covers this cgroup.
    pub memory: Option<MemorySpec>,
    /// The pids controller's limit. `Some` when the controller covers this cgroup.
    pub processes: Option<Limit>,
    /// The hugetlb controller covers this cgroup.
    pub has_hugetlb: bool,
    /// The cgroup's samples carry network counters.
    pub has_network: bool,
    /// The cgroup's samples carry block device counters.
    pub has_diskio: bool,
    /// Limits that the kernel has although they are absent: they could not be read.
    pub unread: Unread,
}
