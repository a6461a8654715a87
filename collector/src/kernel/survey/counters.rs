//! Which counters can be read from kernel memory.

use crate::kernel::HostRoots;
use crate::kernel::cgroup::Version;
use crate::kernel::machine::possible_cpus;
use crate::kernel::probes::counters::plan::Surroundings;
use crate::kernel::probes::counters::{CounterFamily, Counters, CountersUnavailable};

/// What came of loading the programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterFacts {
    /// Families that can be read.
    pub read: Vec<CounterFamily>,
    /// Those that cannot, each with the reason.
    pub refused: Vec<(CounterFamily, String)>,
}

/// The versions of the hierarchies that have the counters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Versions {
    /// Memory.
    pub(super) memory: Version,
    /// CPU time.
    pub(super) time: Version,
    /// Block devices.
    pub(super) devices: Version,
}

/// Loads every program that is used with these versions of cgroups, and lets go of them again.
pub(super) fn gather(roots: &HostRoots, versions: Versions) -> Result<CounterFacts, CountersUnavailable> {
    use CounterFamily::{Bandwidth, Blkio, Cgroup, CpuTime, Memory, Pids};
    let mut families = vec![Memory, Bandwidth, Pids];
    families.push(if versions.time == Version::V1 { CpuTime } else { Cgroup });
    if versions.devices == Version::V1 {
        families.push(Blkio);
    }
    let surroundings = Surroundings { memory: versions.memory, cpus: possible_cpus(roots).unwrap_or_default() };
    let counters = Counters::load(roots, surroundings, &families)?;
    let read = families.iter().copied().filter(|family| counters.has(*family)).collect();
    Ok(CounterFacts { read, refused: counters.refused().to_vec() })
}
