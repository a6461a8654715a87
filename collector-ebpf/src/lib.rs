//! The record layout shared by the eBPF programs and the daemon.
//!
//! Plain `repr(C)` types without padding bytes, so that a record is the same sequence of bytes on both sides. For the daemon
//! no logic and no dependencies live here; it decodes these bytes in `collector::kernel::probes::events`, the programs write
//! them from the other files of this package, and share `program`.
#![no_std]
#![cfg_attr(feature = "programs", feature(asm_experimental_arch))]

pub mod block_latency;
pub mod doubling;
mod exit_layout;
mod last_layout;
pub mod network_cgroup;
mod offsets;
pub mod plan;
#[cfg(feature = "programs")]
pub mod program;
pub mod run_queue;

use core::mem::{offset_of, size_of};

pub use exit_layout::{ExitRecord, SIGNAL_BY_KERNEL, SIGNAL_OF_OOM, SIGNAL_SENT, SentSignal, SignalKey};
pub use last_layout::{LAST_HEADER, LAST_MEMORY_PEAK, LAST_TIME, LastCpus, LastRecord};
pub use offsets::{ABSENT, NO_OFFSETS, Offset, Offsets};

/// Longest cgroup path a record carries, in bytes, without the terminating zero (`PATH_MAX` less one).
pub const PATH_MAX_LEN: usize = 4095;
/// Size of the kernel's own path buffer for cgroup tracepoints (`TRACE_CGROUP_PATH_LEN`, since 4.19): a longer path
/// arrives cut there, and the program then walks the kernfs nodes itself.
pub const TRACEPOINT_PATH_BUFFER: usize = 1024;
/// Length of `task_struct.comm` (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;
/// How many memory cgroups, counted from the victim's upwards, an OOM record describes.
pub const MEMCG_LEVELS: usize = 32;

/// What a record reports. The number is also the index into the programs' counters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// `cgroup:cgroup_mkdir`, before the directory becomes visible.
    Mkdir = 0,
    /// `cgroup:cgroup_rmdir`.
    Rmdir = 1,
    /// `cgroup:cgroup_release`: the kernel object is gone.
    Release = 2,
    /// `cgroup:cgroup_rename` (cgroup v1 only); the path is the new one.
    Rename = 3,
    /// `cgroup:cgroup_notify_populated`, since 5.2.
    Populated = 4,
    /// `cgroup:cgroup_attach_task` of a cgroup's first process.
    Attach = 5,
    /// `oom:mark_victim`.
    Oom = 6,
    /// `sched:sched_process_exit` of a process whose parent is in another cgroup.
    Exit = 7,
    /// `cgroup:cgroup_rmdir` too: what the cgroup used in all.
    Last = 8,
}

impl RecordKind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::Mkdir,
        Self::Rmdir,
        Self::Release,
        Self::Rename,
        Self::Populated,
        Self::Attach,
        Self::Oom,
        Self::Exit,
        Self::Last,
    ];

    /// The kind with this number.
    pub const fn from_u32(number: u32) -> Option<Self> {
        if number < Self::ALL.len() as u32 { Some(Self::ALL[number as usize]) } else { None }
    }

    /// A short name, used as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mkdir => "mkdir",
            Self::Rmdir => "rmdir",
            Self::Release => "release",
            Self::Rename => "rename",
            Self::Populated => "populated",
            Self::Attach => "attach",
            Self::Oom => "oom",
            Self::Exit => "exit",
            Self::Last => "last",
        }
    }
}

/// Entries of the counter map: per kind the records produced, then per kind the records lost because the ring buffer
/// had no room.
pub const COUNTERS: u32 = 2 * RecordKind::ALL.len() as u32;

/// A cgroup was made, removed, released, renamed, or changed between populated and empty. `path_len` bytes of path
/// follow, without a terminating zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CgroupRecord {
    /// A [`RecordKind`].
    pub kind: u32,
    /// `cgroup_root.hierarchy_id`; 0 is the default (v2) hierarchy.
    pub hierarchy_id: u32,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub boot_ns: u64,
    /// 64-bit kernfs id, which is also the directory's inode number.
    pub id: u64,
    /// The parent's kernfs id, 0 for a root.
    pub parent_id: u64,
    /// Depth below the hierarchy's root.
    pub level: u32,
    /// 1 or 0 for [`RecordKind::Populated`], else [`NOT_APPLICABLE`].
    pub populated: u32,
    /// Bytes of path after this header.
    pub path_len: u32,
    /// [`PATH_TRUNCATED`] or 0.
    pub flags: u32,
}

/// The value of [`CgroupRecord::populated`] when the kind has none.
pub const NOT_APPLICABLE: u32 = u32::MAX;
/// Set when the path did not fit in [`PATH_MAX_LEN`] bytes or could not be walked to its end; the bytes that follow
/// are then not the whole path.
pub const PATH_TRUNCATED: u32 = 1;

/// The first process of a cgroup was attached.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AttachRecord {
    /// [`RecordKind::Attach`].
    pub kind: u32,
    /// As in [`CgroupRecord`].
    pub hierarchy_id: u32,
    /// As in [`CgroupRecord`].
    pub boot_ns: u64,
    /// As in [`CgroupRecord`].
    pub id: u64,
    /// Thread group id (what user space calls pid), in the initial pid namespace.
    pub tgid: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
    /// Command name, zero padded.
    pub comm: [u8; COMM_LEN],
}

/// One memory cgroup on the way from the victim's to the root.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MemcgLevel {
    /// kernfs id in the memory controller's hierarchy.
    pub id: u64,
    /// `mem_cgroup.memory.usage`, pages.
    pub usage_pages: u64,
    /// `mem_cgroup.memory.max`, pages.
    pub max_pages: u64,
    /// `mem_cgroup.memory_events_local[MEMCG_OOM]`: how often this very cgroup ran out of memory.
    pub local_ooms: u64,
    /// `mem_cgroup.oom_lock`: set in the whole subtree of the cgroup that is out of memory while its OOM is handled.
    pub oom_lock: u32,
    /// `mem_cgroup.under_oom`: how many running out-of-memory situations cover this cgroup.
    pub under_oom: u32,
}

/// A task of an [`OomRecord`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OomTask {
    /// Thread group id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Command name, zero padded.
    pub comm: [u8; COMM_LEN],
    /// kernfs id of its cgroup in the default hierarchy.
    pub default_cgroup: u64,
    /// kernfs id of its cgroup in the memory controller's hierarchy.
    pub memory_cgroup: u64,
}

/// The OOM killer chose a victim.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OomRecord {
    /// [`RecordKind::Oom`].
    pub kind: u32,
    /// Hierarchy the memory controller is attached to; 0 is the default (v2) one.
    pub memory_hierarchy_id: u32,
    /// As in [`CgroupRecord`].
    pub boot_ns: u64,
    /// The task being killed. On kernels whose tracepoint carries only a pid it is looked up by that pid.
    pub victim: OomTask,
    /// The task whose allocation set the OOM killer off: the task the tracepoint fires in.
    pub trigger: OomTask,
    /// The victim's user id in the initial user namespace.
    pub uid: u32,
    /// `signal_struct.oom_score_adj`, sign extended.
    pub oom_score_adj: i32,
    /// `mm_struct.total_vm`, pages.
    pub total_vm_pages: u64,
    /// `MM_ANONPAGES` of the victim's memory, pages.
    pub anon_pages: u64,
    /// `MM_FILEPAGES`, pages.
    pub file_pages: u64,
    /// `MM_SHMEMPAGES`, pages.
    pub shmem_pages: u64,
    /// `mm_struct.pgtables_bytes`.
    pub pgtables_bytes: u64,
    /// `OOM_*` bits: which fields were really read.
    pub fields: u32,
    /// Entries used in `levels`.
    pub level_count: u32,
    /// From the victim's memory cgroup upwards.
    pub levels: [MemcgLevel; MEMCG_LEVELS],
}

/// The victim's `comm`, `tid` and `tgid` are known beyond the tracepoint's pid.
pub const OOM_VICTIM: u32 = 1;
/// `uid` was read.
pub const OOM_UID: u32 = 1 << 1;
/// `total_vm_pages` and the three resident sizes were read.
pub const OOM_SIZES: u32 = 1 << 2;
/// `pgtables_bytes` was read.
pub const OOM_PGTABLES: u32 = 1 << 3;
/// `oom_score_adj` was read.
pub const OOM_SCORE_ADJ: u32 = 1 << 4;
/// The victim's cgroups were read.
pub const OOM_CGROUPS: u32 = 1 << 5;
/// `levels[..].oom_lock` and `under_oom` exist on this kernel.
pub const OOM_LOCKS: u32 = 1 << 6;
/// `levels[..].local_ooms` exists on this kernel.
pub const OOM_LOCAL_EVENTS: u32 = 1 << 7;

const _: () = {
    assert!(size_of::<CgroupRecord>() == 48);
    assert!(offset_of!(CgroupRecord, boot_ns) == 8);
    assert!(offset_of!(CgroupRecord, id) == 16);
    assert!(offset_of!(CgroupRecord, parent_id) == 24);
    assert!(offset_of!(CgroupRecord, level) == 32);
    assert!(offset_of!(CgroupRecord, populated) == 36);
    assert!(offset_of!(CgroupRecord, path_len) == 40);
    assert!(offset_of!(CgroupRecord, flags) == 44);
    assert!(size_of::<AttachRecord>() == 48);
    assert!(offset_of!(AttachRecord, id) == 16);
    assert!(offset_of!(AttachRecord, tgid) == 24);
    assert!(offset_of!(AttachRecord, comm) == 32);
    assert!(size_of::<MemcgLevel>() == 40);
    assert!(offset_of!(MemcgLevel, oom_lock) == 32);
    assert!(size_of::<OomTask>() == 40);
    assert!(offset_of!(OomTask, default_cgroup) == 24);
    assert!(size_of::<OomRecord>() == 16 + 2 * 40 + 8 + 5 * 8 + 8 + MEMCG_LEVELS * 40);
    assert!(offset_of!(OomRecord, victim) == 16);
    assert!(offset_of!(OomRecord, trigger) == 56);
    assert!(offset_of!(OomRecord, uid) == 96);
    assert!(offset_of!(OomRecord, total_vm_pages) == 104);
    assert!(offset_of!(OomRecord, fields) == 144);
    assert!(offset_of!(OomRecord, levels) == 152);
};
