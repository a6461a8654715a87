//! The metric kinds users switch on and off, with cAdvisor's names and defaults.

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $default:literal;)*) => {
        /// A group of statistics that is read, or not read, together.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MetricKind { $($(#[$doc])* $variant,)* }

        impl MetricKind {
            /// Every kind, sorted by name as cAdvisor lists them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in `--disable_metrics` and `--enable_metrics`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            const fn on_by_default(self) -> bool {
                match self { $(Self::$variant => $default,)* }
            }
        }
    };
}

kinds! {
    /// Advanced TCP counters of a network namespace.
    AdvTcp = "advtcp", false;
    /// Application metrics.
    App = "app", true;
    /// How long requests to block devices wait and take.
    BlockLatency = "blocklatency", false;
    /// CPU time, periods, pressure.
    Cpu = "cpu", true;
    /// Load average.
    CpuLoad = "cpuLoad", true;
    /// Topology of the machine's CPUs, in the text format.
    CpuTopology = "cpu_topology", false;
    /// The cpuset controller.
    Cpuset = "cpuset", false;
    /// File system usage.
    Disk = "disk", true;
    /// Block device traffic.
    DiskIo = "diskIO", true;
    /// Huge pages.
    Hugetlb = "hugetlb", false;
    /// Memory.
    Memory = "memory", true;
    /// Memory per NUMA node.
    MemoryNuma = "memory_numa", false;
    /// Network interfaces.
    Network = "network", true;
    /// What passes the sockets of each cgroup.
    NetworkCgroup = "network_cgroup", false;
    /// OOM kills.
    OomEvent = "oom_event", true;
    /// CPU time per CPU.
    PerCpu = "percpu", true;
    /// The greatest values of the last minute.
    Peak = "peak", false;
    /// Hardware counters.
    PerfEvent = "perf_event", true;
    /// Pressure stall information.
    Pressure = "pressure", true;
    /// Processes, threads, descriptors.
    Process = "process", false;
    /// Recently referenced memory.
    ReferencedMemory = "referenced_memory", false;
    /// Cache and memory bandwidth.
    Resctrl = "resctrl", false;
    /// Waits for a CPU, and for whom.
    RunQueue = "runqueue", false;
    /// Scheduler statistics of each process.
    Sched = "sched", false;
    /// TCP socket states.
    Tcp = "tcp", false;
    /// UDP socket states.
    Udp = "udp", false;
}

/// No kind has this name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown metric kind {0:?}; the kinds are {names}", names = KindSet::all())]
pub struct UnknownKind(String);

impl FromStr for MetricKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KindSet(u32);

impl KindSet {
    /// No kind.
    pub const fn none() -> Self {
        Self(0)
    }

    /// Every kind.
    pub fn all() -> Self {
        Self::none().union(MetricKind::ALL.iter().copied())
    }

    /// Whether the kind is in the set.
    pub const fn has(self, kind: MetricKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// The kinds that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The kinds that are not in the other set.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The set with these kinds added.
    #[must_use]
    pub fn union(self, kinds: impl IntoIterator<Item = MetricKind>) -> Self {
        Self(kinds.into_iter().fold(self.0, |bits, kind| bits | (1 << kind as u32)))
    }

    /// The set with these kinds removed.
    #[must_use]
    pub fn without(self, kinds: impl IntoIterator<Item = MetricKind>) -> Self {
        Self(kinds.into_iter().fold(self.0, |bits, kind| bits & !(1 << kind as u32)))
    }
}

impl Default for KindSet {
    /// cAdvisor's default: everything but what its `--disable_metrics` names by default.
    fn default() -> Self {
        Self::none().union(MetricKind::ALL.iter().copied().filter(|kind| kind.on_by_default()))
    }
}

impl fmt::Display for KindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for kind in MetricKind::ALL.iter().filter(|kind| self.has(**kind)) {
            write!(f, "{separator}{}", kind.name())?;
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for KindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KindSet({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_cadvisors() {
        let off = KindSet::all().without(MetricKind::ALL.iter().copied().filter(|kind| KindSet::default().has(*kind)));
        assert_eq!(
            off.to_string(),
            "advtcp,blocklatency,cpu_topology,cpuset,hugetlb,memory_numa,network_cgroup,peak,process,referenced_memory,resctrl,runqueue,\
             sched,tcp,udp"
        );
    }

    #[test]
    fn names_round_trip_and_unknown_ones_are_named() {
        for kind in MetricKind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
        }
        let error = "cpux".parse::<MetricKind>().unwrap_err().to_string();
        assert!(
            error.starts_with("unknown metric kind \"cpux\"; the kinds are advtcp,app,blocklatency,cpu,"),
            "{error}"
        );
    }
}
