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

/// Loads every program that is used with this version of cgroups, and lets go of them again.
pub(super) fn gather(roots: &HostRoots, version: Version) -> Result<CounterFacts, CountersUnavailable> {
    use CounterFamily::{Bandwidth, Blkio, CpuTime, Memory, Pids};
    let families: &[CounterFamily] = match version {
        Version::V1 => &[Memory, CpuTime, Bandwidth, Pids, Blkio],
        Version::V2 => {
            let (why, fix) = ("their controllers are on cgroup v2".to_owned(), "none is needed");
            return Err(CountersUnavailable { why, fix });
        }
    };
    let surroundings = Surroundings { memory: version, cpus: possible_cpus(roots).unwrap_or_default() };
    let counters = Counters::load(roots, surroundings, families)?;
    let read = families.iter().copied().filter(|family| counters.has(*family)).collect();
    Ok(CounterFacts { read, refused: counters.refused().to_vec() })
}
