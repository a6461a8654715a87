//! What a cgroup used in all, read while it is being removed: the layout of the record, and of what reading it takes.

use core::mem::{offset_of, size_of};

use crate::plan::COUNTED_CPUS;

/// A cgroup is being removed, and this is what it used. Sent before its [`crate::RecordKind::Rmdir`], if anything could be
/// read; the first `cpus` entries of `each` are sent, the rest is not.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LastRecord {
    /// [`crate::RecordKind::Last`].
    pub kind: u32,
    /// As in [`crate::CgroupRecord`].
    pub hierarchy_id: u32,
    /// As in [`crate::CgroupRecord`].
    pub boot_ns: u64,
    /// As in [`crate::CgroupRecord`].
    pub id: u64,
    /// `LAST_*` bits: which of the numbers were read.
    pub fields: u32,
    /// Entries used in `each`.
    pub cpus: u32,
    /// `mem_cgroup.memory.watermark`, pages.
    pub memory_peak_pages: u64,
    /// CPU time in user mode as counted by ticks, nanoseconds: v1 `cpuacct.cpustat`, v2 `cgroup.bstat` and what the CPUs
    /// counted since that was added up.
    pub user: u64,
    /// The same in the kernel.
    pub system: u64,
    /// All CPU time, exactly: v1 `cpuacct.cpuusage`, v2 as above.
    pub total: u64,
    /// `cgroup.prev_cputime.utime`: user time as the kernel last showed it.
    pub shown_user: u64,
    /// `cgroup.prev_cputime.stime`.
    pub shown_system: u64,
    /// v1: CPU time of each CPU.
    pub each: [u64; COUNTED_CPUS],
}

/// `memory_peak_pages` was read.
pub const LAST_MEMORY_PEAK: u32 = 1;
/// The times were read, on v1 those of each CPU too.
pub const LAST_TIME: u32 = 1 << 1;

/// Bytes of a record that has no times of CPUs.
pub const LAST_HEADER: usize = offset_of!(LastRecord, each);

/// Not 0 once the rest is known: for each CPU where it has its own data, as the distance from the address that all share.
pub type LastCpus = [u64; 1 + COUNTED_CPUS];

const _: () = {
    assert!(COUNTED_CPUS.is_power_of_two());
    assert!(LAST_HEADER == 80);
    assert!(size_of::<LastRecord>() == LAST_HEADER + 8 * COUNTED_CPUS);
    assert!(offset_of!(LastRecord, fields) == 24);
    assert!(offset_of!(LastRecord, memory_peak_pages) == 32);
    assert!(offset_of!(LastRecord, total) == 56);
};
