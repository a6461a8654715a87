//! Hardware and software counters of cgroups and of the machine's units: `perf_event_open(2)`.
//!
//! The kernel counts an event of a cgroup on one CPU at a time, so that each takes a descriptor per CPU.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use perf_event::events::{Dynamic, Hardware, Raw, Software};
use perf_event::{Builder, Counter};

use crate::kernel::machine::topology::parse_cpu_list;

/// `PERF_TYPE_RAW`: the CPU's own numbering.
pub const RAW: u32 = 4;
/// Where the kernel lists the units that count, below sysfs.
const DEVICES: &str = "bus/event_source/devices";

/// The kernel's own events, by the names that `perf list` and libpfm have for them.
#[rustfmt::skip]
const HARDWARE: [(&str, Hardware); 10] = [
    ("cycles", Hardware::CPU_CYCLES), ("instructions", Hardware::INSTRUCTIONS),
    ("cache-references", Hardware::CACHE_REFERENCES), ("cache-misses", Hardware::CACHE_MISSES),
    ("branches", Hardware::BRANCH_INSTRUCTIONS), ("branch-misses", Hardware::BRANCH_MISSES),
    ("bus-cycles", Hardware::BUS_CYCLES), ("stalled-cycles-frontend", Hardware::STALLED_CYCLES_FRONTEND),
    ("stalled-cycles-backend", Hardware::STALLED_CYCLES_BACKEND), ("ref-cycles", Hardware::REF_CPU_CYCLES),
];
#[rustfmt::skip]
const SOFTWARE: [(&str, Software); 9] = [
    ("cpu-clock", Software::CPU_CLOCK), ("task-clock", Software::TASK_CLOCK), ("page-faults", Software::PAGE_FAULTS),
    ("context-switches", Software::CONTEXT_SWITCHES), ("cpu-migrations", Software::CPU_MIGRATIONS),
    ("minor-faults", Software::PAGE_FAULTS_MIN), ("major-faults", Software::PAGE_FAULTS_MAJ),
    ("alignment-faults", Software::ALIGNMENT_FAULTS), ("emulation-faults", Software::EMULATION_FAULTS),
];

/// What an event is to the kernel.
#[derive(Clone, Debug)]
pub struct EventCode(Code);

#[derive(Clone, Debug)]
enum Code {
    Hardware(Hardware),
    Software(Software),
    /// Of a unit, whose name it is listed under.
    Listed(Dynamic),
    /// Type, and the up to three words of its configuration.
    Numbers(u32, [u64; 3]),
}

impl EventCode {
    /// An event by numbers: `type`, `config`, `config1`, `config2` of `perf_event_attr`.
    pub const fn numbers(kind: u32, config: [u64; 3]) -> Self {
        Self(Code::Numbers(kind, config))
    }

    /// An event of the CPU or of the kernel by its name: the kernel's own in any case and with `_` or `-`, or one that
    /// the CPU's unit lists in sysfs.
    pub fn of_core(sys: &Path, name: &str) -> Option<Self> {
        let plain = name.strip_prefix("perf::").unwrap_or(name).to_ascii_lowercase().replace('_', "-");
        let plain = plain.strip_prefix("perf-count-hw-").or(plain.strip_prefix("perf-count-sw-")).unwrap_or(&plain);
        let plain = match plain {
            "cpu-cycles" => "cycles",
            "branch-instructions" => "branches",
            "faults" => "page-faults",
            "cs" => "context-switches",
            "migrations" => "cpu-migrations",
            other => other,
        };
        if let Some((_, event)) = HARDWARE.iter().find(|(known, _)| *known == plain) {
            return Some(Self(Code::Hardware(*event)));
        }
        if let Some((_, event)) = SOFTWARE.iter().find(|(known, _)| *known == plain) {
            return Some(Self(Code::Software(*event)));
        }
        let of_the_cpu = |unit: &String| !sys.join(DEVICES).join(unit).join("cpumask").exists();
        units(sys, "").into_iter().filter(of_the_cpu).find_map(|unit| Self::listed(sys, &unit, name))
    }

    /// An event that a unit lists in sysfs.
    pub fn listed(sys: &Path, unit: &str, name: &str) -> Option<Self> {
        sys.join(DEVICES).join(unit).join("events").join(name).exists().then_some(())?;
        let mut builder = Dynamic::builder(unit).ok()?;
        builder.event(name).ok()?;
        builder.build().ok().map(|event| Self(Code::Listed(event)))
    }
}

/// The units whose names begin so, sorted.
pub fn units(sys: &Path, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(sys.join(DEVICES)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort_unstable();
    names
}

/// The number of a unit's events: the `type` of `perf_event_attr`.
pub fn unit_type(sys: &Path, unit: &str) -> Option<u32> {
    std::fs::read_to_string(sys.join(DEVICES).join(unit).join("type")).ok()?.trim().parse().ok()
}

/// The CPUs by which a unit that is no CPU's is read, one for each socket. `None` for a unit of the CPUs.
pub fn unit_cpus(sys: &Path, unit: &str) -> Option<Vec<u32>> {
    let mask = std::fs::read(sys.join(DEVICES).join(unit).join("cpumask")).ok()?;
    parse_cpu_list(mask.trim_ascii()).ok()
}

/// What is counted.
#[derive(Debug)]
pub enum Counted<'a> {
    /// What runs in a cgroup: a descriptor of its directory.
    Cgroup(&'a File),
    /// Everything.
    Machine,
}

/// An event that is being counted on one CPU.
#[derive(Debug)]
pub struct OpenEvent(Counter);

/// What was read of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The count.
    pub value: u64,
    /// `time_enabled`.
    pub enabled: Duration,
    /// `time_running`.
    pub running: Duration,
}

impl OpenEvent {
    /// Begins to count. Needs `CAP_PERFMON`. An event with a leader is on a counter whenever its leader is.
    ///
    /// # Errors
    /// The kernel or the processor has no such event, the right is missing, or there are no more descriptors.
    pub fn open(code: &EventCode, what: &Counted<'_>, cpu: u32, leader: Option<&mut Self>) -> std::io::Result<Self> {
        let mut builder = match &code.0 {
            Code::Hardware(event) => Builder::new(*event),
            Code::Software(event) => Builder::new(*event),
            Code::Listed(event) => Builder::new(*event),
            Code::Numbers(kind, [config, first, second]) => {
                let mut builder = Builder::new(Raw::new(*config).config1(*first).config2(*second));
                builder.attrs_mut().type_ = *kind;
                builder
            }
        };
        match what {
            Counted::Cgroup(directory) => builder.observe_cgroup(directory),
            Counted::Machine => builder.any_pid(),
        };
        builder.one_cpu(cpu as usize).include_kernel().include_hv().enabled(true);
        match leader {
            None => builder.build(),
            Some(leader) => builder.build_with_group(&mut leader.0),
        }
        .map(Self)
    }

    /// Reads it.
    ///
    /// # Errors
    /// The kernel gives none, as for an event that no counter could be found for.
    pub fn read(&mut self) -> std::io::Result<Count> {
        let data = self.0.read_full()?;
        Ok(Count {
            value: data.count(),
            enabled: data.time_enabled().unwrap_or_default(),
            running: data.time_running().unwrap_or_default(),
        })
    }
}

/// The directory of a cgroup, as [`Counted::Cgroup`] takes it.
pub fn directory(directory: OwnedFd) -> File {
    File::from(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_kernels_own_events() {
        let sys = tempfile::tempdir().unwrap();
        for name in ["cycles", "CYCLES", "PERF_COUNT_HW_CPU_CYCLES", "perf::CPU-CYCLES", "context_switches", "cs"] {
            assert!(EventCode::of_core(sys.path(), name).is_some(), "{name}");
        }
        for name in ["", "INSTRUCTIONS_RETIRED", "cycles:u", "../cycles"] {
            assert!(EventCode::of_core(sys.path(), name).is_none(), "{name}");
        }
    }

    #[test]
    fn units_of_the_machine() {
        let sys = tempfile::tempdir().unwrap();
        for unit in ["cpu", "uncore_imc_1", "uncore_imc_0"] {
            std::fs::create_dir_all(sys.path().join(DEVICES).join(unit)).unwrap();
            std::fs::write(sys.path().join(DEVICES).join(unit).join("type"), "14\n").unwrap();
        }
        std::fs::write(sys.path().join(DEVICES).join("uncore_imc_0/cpumask"), "0,18\n").unwrap();
        assert_eq!(units(sys.path(), "uncore_imc"), ["uncore_imc_0", "uncore_imc_1"]);
        assert_eq!(unit_type(sys.path(), "uncore_imc_0"), Some(14));
        assert_eq!(unit_cpus(sys.path(), "uncore_imc_0"), Some(vec![0, 18]));
        assert_eq!((unit_type(sys.path(), "none"), unit_cpus(sys.path(), "cpu")), (None, None));
    }
}
