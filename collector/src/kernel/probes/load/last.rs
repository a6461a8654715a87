//! What cgroups used, read by a program while they are being removed: loading it, and what it is given to know.

use aya::Ebpf;
use aya::maps::{Array, MapData, MapError};
use collector_ebpf::plan::COUNTED_CPUS;
use collector_ebpf::{ABSENT, LastCpus, Offset};

use super::{attach_program, load_program, take_map};
use crate::kernel::HostRoots;
use crate::kernel::machine::possible_cpus;
use crate::kernel::probes::support::{KernelFacts, WithoutLast};

/// The program.
pub(in crate::kernel::probes) const LAST_PROGRAM: &str = "cgroup_last";
/// The tracepoint, which is that of another program too: this one is attached before, so that its record comes first.
pub(in crate::kernel::probes) const LAST_TRACEPOINT: &str = "cgroup_rmdir";

/// CPUs that there may ever be, if the program can add up what each counted; else 0.
pub(in crate::kernel::probes) fn countable_cpus(roots: &HostRoots) -> u32 {
    let count = possible_cpus(roots).unwrap_or_default();
    if count <= COUNTED_CPUS { count as u32 } else { 0 }
}

/// The program that reads what cgroups used. Until it knows where each CPU has its data, it reads no CPU time.
pub struct LastReadings {
    cpus: Array<MapData, LastCpus>,
    /// What was found out before it was loaded.
    pub(in crate::kernel::probes) facts: KernelFacts,
}

impl LastReadings {
    /// Loads and attaches the program.
    pub(super) fn load(ebpf: &mut Ebpf, facts: &KernelFacts) -> Result<Self, WithoutLast> {
        let cpus = take_map(ebpf, "LAST_CPUS").map_err(WithoutLast)?;
        load_program(ebpf, LAST_PROGRAM, facts).map_err(WithoutLast)?;
        attach_program(ebpf, LAST_PROGRAM, LAST_TRACEPOINT, facts).map_err(WithoutLast)?;
        Ok(Self { cpus, facts: facts.clone() })
    }

    /// Where `bpf_array.pptrs` is.
    pub(in crate::kernel::probes) fn array_pointers(&self) -> Option<u32> {
        let offset = self.facts.types.as_ref().ok()?.offsets[Offset::ArrayPointers as usize];
        (offset != ABSENT).then_some(offset)
    }

    /// From now on CPU time is read.
    pub(in crate::kernel::probes) fn set_cpus(&mut self, areas: &[u64; COUNTED_CPUS]) -> Result<(), MapError> {
        let mut value: LastCpus = [0; 1 + COUNTED_CPUS];
        value[1..].copy_from_slice(areas);
        // The program looks at none before it finds them known.
        self.cpus.set(0, value, 0)?;
        value[0] = 1;
        self.cpus.set(0, value, 0)
    }
}
