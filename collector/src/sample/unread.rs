//! What a sample lacks although the kernel has it.
//!
//! An absent value alone says that the kernel has no such number. Where cAdvisor says 0 for that, so do views that are
//! like it; of what is in this set they say nothing.

macro_rules! parts {
    ($($(#[$doc:meta])* $part:ident $(= $($file:literal)|+)?;)*) => {
        /// A part of a sample: mostly what one kernel file has. A new one goes to the end: the numbers are on disk.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Part { $($(#[$doc])* $part,)* }

        impl Part {
            /// The part that this file has.
            pub fn of_file(file: &str) -> Option<Self> {
                match file {
                    _ if file.starts_with("blkio.") => Some(Self::Io),
                    $($($($file)|+ => Some(Self::$part),)?)*
                    _ => None,
                }
            }

            const ALL: &[Self] = &[$(Self::$part,)*];
        }
    };
}

parts! {
    /// CPU time in all.
    CpuTotal = "cpuacct.usage" | "cpuacct.usage_percpu";
    /// CPU time in user mode and in the kernel.
    CpuSplit = "cpuacct.stat";
    /// v1: bandwidth control. v2: CPU time too.
    CpuStat = "cpu.stat";
    /// CPU pressure.
    CpuPressure = "cpu.pressure";
    /// Scheduler statistics of processes.
    Schedstat = "schedstat";
    /// Tasks by state, and the load made of them.
    Tasks;
    /// Memory in use.
    MemoryUsage = "memory.usage_in_bytes" | "memory.current";
    /// Its peak.
    MemoryPeak = "memory.max_usage_in_bytes" | "memory.peak";
    /// Any line of `memory.stat`.
    MemoryStat = "memory.stat";
    /// Page cache.
    Cache;
    /// Anonymous memory.
    Rss;
    /// Mapped files.
    MappedFile;
    /// Usage less inactive file pages.
    WorkingSet;
    /// Page faults of the cgroup's own tasks.
    OwnFaults;
    /// Those that needed I/O.
    OwnMajorFaults;
    /// Page faults of the subtree.
    AllFaults;
    /// Those that needed I/O.
    AllMajorFaults;
    /// Swap in use, where it has a file of its own.
    Swap = "memory.swap.current" | "meminfo";
    /// Memory of the kernel, where it has a file of its own.
    KernelMemory = "memory.kmem.usage_in_bytes";
    /// How often a limit was hit.
    Failcnt = "memory.failcnt";
    /// v2 events.
    MemoryEvents = "memory.events";
    /// Memory pressure.
    MemoryPressure = "memory.pressure";
    /// Block devices; on v1 of any file of theirs.
    Io = "io.stat";
    /// I/O pressure.
    IoPressure = "io.pressure";
    /// Huge pages of any size.
    Hugetlb = "hugetlb";
    /// Tasks.
    Pids = "pids.current";
    /// How many are allowed.
    PidsMax = "pids.max";
    /// Limits of CPU time: of a spec.
    CpuLimits = "cpu.shares" | "cpu.weight" | "cpu.max" | "cpu.cfs_period_us" | "cpu.cfs_quota_us";
    /// Limit of memory: of a spec.
    MemoryLimit = "memory.limit_in_bytes" | "memory.max";
    /// Memory that is not taken away: of a spec.
    MemoryReservation = "memory.soft_limit_in_bytes" | "memory.min";
    /// Limit of swap: of a spec.
    SwapLimit = "memory.memsw.limit_in_bytes" | "memory.swap.max";
    /// v1 `cpuset.memory_migrate`.
    Migrate = "cpuset.memory_migrate";
    /// Memory touched lately.
    Referenced = "smaps";
    /// TCP sockets, IPv4.
    Tcp = "net/tcp";
    /// TCP sockets, IPv6.
    Tcp6 = "net/tcp6";
    /// UDP sockets, IPv4.
    Udp = "net/udp";
    /// UDP sockets, IPv6.
    Udp6 = "net/udp6";
    /// Counters of TCP.
    TcpAdvanced = "net/snmp" | "net/netstat";
}

/// Parts that the kernel has and that could not be read, or in which a line was not understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread(u64);

impl Unread {
    /// Every part: nothing was read.
    pub const EVERYTHING: Self = Self((1 << Part::ALL.len()) - 1);

    /// Adds a part.
    pub fn add(&mut self, part: Part) {
        self.0 |= 1 << part as u32;
    }

    /// Takes a part away.
    pub fn remove(&mut self, part: Part) {
        self.0 &= !(1 << part as u32);
    }

    /// The set as a number: a bit for each part, in their order.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set that was this number.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether this part is among them.
    pub fn has(self, part: Part) -> bool {
        self.0 & (1 << part as u32) != 0
    }

    /// Whether any of these is.
    pub fn has_any(self, parts: &[Part]) -> bool {
        parts.iter().any(|part| self.has(*part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_distinguished() {
        assert!(Part::ALL.len() < 64);
        for part in Part::ALL {
            let mut unread = Unread::default();
            unread.add(*part);
            assert_eq!(Part::ALL.iter().filter(|other| unread.has(**other)).collect::<Vec<_>>(), [part]);
        }
        assert_eq!(Part::of_file("memory.peak"), Some(Part::MemoryPeak));
        assert_eq!(Part::of_file("cgroup.procs"), None);
    }
}
