//! The processes of a container, as a process listing shows them.

use super::event::Name;
use crate::units::{Bytes, Nanos, WallTime};

/// Processes at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessList {
    /// When they were looked at.
    pub at: WallTime,
    /// By process id.
    pub processes: Vec<Process>,
}

/// One process, its threads included.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Name of the effective user in the host's `/etc/passwd`, or its number.
    pub user: String,
    /// Process id.
    pub pid: u32,
    /// Its parent's; 0 for what the kernel started.
    pub parent: u32,
    /// When it started.
    pub started: WallTime,
    /// CPU time over the time since it started, in thousandths of one CPU.
    pub cpu_permille: u64,
    /// Resident memory in thousandths of the machine's; absent where that is not known.
    pub memory_permille: Option<u64>,
    /// `VmRSS`; 0 for kernel threads and zombies, which have no memory.
    pub resident: Bytes,
    /// `VmSize`; 0 for kernel threads and zombies.
    pub virtual_size: Bytes,
    /// As `ps` shows it: the kernel's letter, then `<` or `N` for a raised or lowered priority, `L` for locked memory,
    /// `s` for a session leader, `l` for several threads, `+` for the terminal's foreground.
    pub status: String,
    /// CPU time used.
    pub cpu_time: Nanos,
    /// Its cgroup: that of the memory controller where there is one.
    pub cgroup: Name,
    /// Command name, any bytes.
    pub command: Box<[u8]>,
    /// Open descriptors; absent where they may not be listed.
    pub descriptors: Option<u64>,
    /// The CPU it last ran on.
    pub processor: u32,
}
