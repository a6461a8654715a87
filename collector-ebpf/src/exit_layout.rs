//! The end of a process, and the signals that may have brought it about: the layout of what the programs keep and send.

use core::mem::{offset_of, size_of};

use crate::COMM_LEN;

/// Which process was sent which signal.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalKey {
    /// The process the signal was for: its thread group id in the initial pid namespace.
    pub tgid: u32,
    /// The signal's number.
    pub signal: u32,
}

/// A signal that can end a process, and who sent it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SentSignal {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub boot_ns: u64,
    /// The task that was running: the sender, unless the kernel sent it by itself. Thread group id.
    pub tgid: u32,
    /// Its real user id in the initial user namespace.
    pub uid: u32,
    /// Its command name, zero padded.
    pub comm: [u8; COMM_LEN],
    /// kernfs id of its cgroup in the default hierarchy.
    pub default_cgroup: u64,
    /// kernfs id of its cgroup in the memory controller's hierarchy, 0 where there is no such controller.
    pub memory_cgroup: u64,
    /// The signal's number.
    pub signal: u32,
    /// `si_code`; what the kernel sends without one has `SI_KERNEL`.
    pub code: i32,
    /// `SIGNAL_*` bits.
    pub flags: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
}

/// There is such a signal: without this bit nothing else of a [`SentSignal`] means anything.
pub const SIGNAL_SENT: u32 = 1;
/// The kernel sent it by itself: a fault, a limit, the OOM killer, the end of a pid namespace.
pub const SIGNAL_BY_KERNEL: u32 = 1 << 1;
/// The OOM killer sent it.
pub const SIGNAL_OF_OOM: u32 = 1 << 2;

/// A process ended: its last thread exits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ExitRecord {
    /// [`crate::RecordKind::Exit`].
    pub kind: u32,
    /// Hierarchy the memory controller is attached to; 0 is the default (v2) one.
    pub memory_hierarchy_id: u32,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub boot_ns: u64,
    /// `task_struct.start_boottime` of its first thread.
    pub start_ns: u64,
    /// Thread group id in the initial pid namespace.
    pub tgid: u32,
    /// The same of the parent, who is told.
    pub parent_tgid: u32,
    /// What `wait(2)` returns: exit code, signal, and whether there was a core dump.
    pub status: u32,
    /// Its thread group id in its own pid namespace.
    pub namespace_tgid: u32,
    /// How many pid namespaces are above its own.
    pub namespace_level: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
    /// Command name, zero padded.
    pub comm: [u8; COMM_LEN],
    /// kernfs id of its cgroup in the default hierarchy.
    pub default_cgroup: u64,
    /// kernfs id of its cgroup in the memory controller's hierarchy, 0 where there is no such controller.
    pub memory_cgroup: u64,
    /// As `default_cgroup`, of the parent.
    pub parent_default_cgroup: u64,
    /// As `memory_cgroup`, of the parent.
    pub parent_memory_cgroup: u64,
    /// The signal that ended it; of one that ended by itself the last one that had asked it to.
    pub sent: SentSignal,
}

const _: () = {
    assert!(size_of::<SignalKey>() == 8);
    assert!(size_of::<SentSignal>() == 64);
    assert!(offset_of!(SentSignal, comm) == 16);
    assert!(offset_of!(SentSignal, default_cgroup) == 32);
    assert!(offset_of!(SentSignal, signal) == 48);
    assert!(offset_of!(SentSignal, flags) == 56);
    assert!(size_of::<ExitRecord>() == 160);
    assert!(offset_of!(ExitRecord, start_ns) == 16);
    assert!(offset_of!(ExitRecord, status) == 32);
    assert!(offset_of!(ExitRecord, comm) == 48);
    assert!(offset_of!(ExitRecord, default_cgroup) == 64);
    assert!(offset_of!(ExitRecord, sent) == 96);
};
