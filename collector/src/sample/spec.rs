//! What a cgroup is allowed and configured to do, as opposed to what it did.

use super::unread::Unread;
use crate::units::{Bytes, Limit, Micros, WallTime};

/// Limits and identity of a cgroup, read from its files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// When the cgroup was made: exact when the collector saw it happen, else by cAdvisor's rule from file times.
    /// `None` when nothing told.
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

/// CPU limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuSpec {
    /// v1 `cpu.shares`; v2 `cpu.weight` converted to shares.
    pub shares: Option<u64>,
    /// v1 `cpu.cfs_quota_us`; v2 first field of `cpu.max`. Absent when unlimited.
    pub quota: Option<Micros>,
    /// v1 `cpu.cfs_period_us`; v2 second field of `cpu.max`.
    pub period: Option<Micros>,
    /// v1 `cpuset.cpus`; v2 `cpuset.cpus.effective`. A list such as `0-3,8`.
    pub mask: Option<String>,
}

/// Memory limits. A file's `0` or sentinel is kept as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemorySpec {
    /// v1 `memory.limit_in_bytes`; v2 `memory.max`.
    pub limit: Option<MemoryLimit>,
    /// v1 `memory.soft_limit_in_bytes`; v2 `memory.min`.
    pub reservation: Option<MemoryLimit>,
    /// v1 `memory.memsw.limit_in_bytes` (memory and swap); v2 `memory.swap.max` (swap only).
    pub swap_limit: Option<MemoryLimit>,
}

/// A memory limit: `max` on v2, else bytes (on v1 "unlimited" is 9223372036854771712).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// `max`.
    Max,
    /// Bytes.
    Bytes(Bytes),
}
