//! Loading the programs that read counters.

use std::{fmt, fs};

use aya::maps::{Map, MapError};
use aya::programs::RawTracePoint;
use aya::{Ebpf, EbpfLoader};
use rustix::io::Errno;

use super::plan::{Plans, Steps, Surroundings};
use super::{CounterFamily, Counters, FAMILIES, Programs, run};
use crate::kernel::HostRoots;
use crate::kernel::probes::btf::Btf;
use crate::kernel::probes::load::{broken, errno_of, gather_rights, map_bytes, object_failed, program_failed};
use crate::kernel::probes::support::{Facility, KernelFacts, TypesError, Unavailable, no_types};
use collector_ebpf::plan::RUN_TARGETS;

/// The programs, built by `cargo xtask bpf`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../../collector-ebpf/counters.bpf.o");

/// Of each family: its program, and the globals it is given.
const GLOBALS: [Option<(CounterFamily, &str, &str)>; FAMILIES] = [
    Some((CounterFamily::Memory, "MEMORY_PLAN", "MEMORY_BYTES")),
    None,
    Some((CounterFamily::Bandwidth, "BANDWIDTH_PLAN", "BANDWIDTH_BYTES")),
    Some((CounterFamily::Pids, "PIDS_PLAN", "PIDS_BYTES")),
    Some((CounterFamily::Blkio, "BLKIO_PLAN", "BLKIO_BYTES")),
    Some((CounterFamily::Cgroup, "CGROUP_PLAN", "CGROUP_BYTES")),
];

/// Why no counters are read from kernel memory. Its text is one line that says why, what is lost, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "counters are not read from kernel memory: {why}; lost: some of the collector's own CPU time, because the same numbers are read \
         from files; to fix: {fix}"
)]
pub struct CountersUnavailable {
    /// What failed and for what likely reason.
    pub why: String,
    /// What the operator can do.
    pub fix: &'static str,
}

impl From<Unavailable> for CountersUnavailable {
    fn from(unavailable: Unavailable) -> Self {
        Self { why: unavailable.why(), fix: unavailable.fix() }
    }
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Programs")
    }
}

impl Counters {
    /// Finds the numbers in the running kernel's types, and loads the programs of these families.
    ///
    /// # Errors
    /// With the one reason why no family can be read.
    pub fn load(
        roots: &HostRoots,
        surroundings: Surroundings,
        wanted: &[CounterFamily],
    ) -> Result<Self, CountersUnavailable> {
        Self::with_plans(roots, Self::plans(roots, surroundings)?, wanted)
    }

    /// Finds the numbers in the running kernel's types.
    ///
    /// # Errors
    /// With the one reason why no family can be read.
    pub fn plans(roots: &HostRoots, surroundings: Surroundings) -> Result<Plans, CountersUnavailable> {
        let path = roots.sys.join("kernel/btf/vmlinux");
        let unreadable = |error: &std::io::Error| {
            let errno = errno_of(error).unwrap_or(Errno::IO);
            no_types(&path, &TypesError::Unreadable(errno))
        };
        let types = fs::read(&path).map_err(|error| unreadable(&error))?;
        let btf = Btf::parse(&types).map_err(|error| no_types(&path, &TypesError::Malformed(error)))?;
        Plans::from_btf(&btf, surroundings).map_err(|field| CountersUnavailable {
            why: format!("this kernel's types have no {field}"),
            fix: "none is needed; report this line and the kernel's version",
        })
    }

    /// The same with what is known of the kernel.
    ///
    /// # Errors
    /// With the one reason why no family can be read.
    pub fn with_plans(roots: &HostRoots, plans: Plans, wanted: &[CounterFamily]) -> Result<Self, CountersUnavailable> {
        let facts = gather_rights(roots);
        let mut ebpf = load_object(&plans).map_err(|error| object_failed(&error, &facts))?;
        let map_bytes = map_bytes(&ebpf, &roots.proc);
        let targets = take_map(&mut ebpf, "TARGETS")?;
        let descriptors = take_map(&mut ebpf, "DESCRIPTORS")?;
        let records = take_map(&mut ebpf, "RECORDS")?;
        load_program(&mut ebpf, "find", &facts)?;
        let mut loaded = [false; FAMILIES];
        let mut refused = Vec::new();
        for family in wanted.iter().copied() {
            if let Some(lacks) = plans.lacks[family as usize] {
                refused.push((family, format!("this kernel does not have {lacks}")));
                continue;
            }
            let outcome = if family == CounterFamily::CpuTime { find_cpus(&mut ebpf, &facts) } else { Ok(()) };
            match outcome.and_then(|()| load_program(&mut ebpf, family.program(), &facts)) {
                Ok(()) => loaded[family as usize] = true,
                Err(unavailable) => refused.push((family, unavailable.why())),
            }
        }
        if let Some((_, why)) = refused.first().filter(|_| !loaded.contains(&true)) {
            return Err(CountersUnavailable { why: why.clone(), fix: "run a newer kernel" });
        }
        let controllers = plans.controllers;
        let programs = Programs { ebpf, targets, descriptors, records }.into();
        Ok(Self { programs, plans, controllers, loaded, refused, map_bytes })
    }
}

fn load_object(plans: &Plans) -> Result<Ebpf, aya::EbpfError> {
    let mut loader = EbpfLoader::new();
    loader.override_global("FIELDS", &plans.fields, true);
    for (family, plan, bytes) in GLOBALS.iter().flatten() {
        let Steps { plan: steps, bytes: length, .. } = &plans.steps[*family as usize];
        loader.override_global(plan, steps, true).override_global(bytes, length, true);
    }
    let cpus = plans.cpus as u32;
    let cpu_time = plans.steps[CounterFamily::CpuTime as usize].bytes;
    loader.override_global("CPU_COUNT", &cpus, true).override_global("CPU_TIME_BYTES", &cpu_time, true);
    let longest = plans.steps.iter().map(|steps| steps.bytes + size_of::<u64>() as u32).max().unwrap_or_default();
    let page = rustix::param::page_size() as u32;
    loader.map_max_entries("RECORDS", (longest * RUN_TARGETS as u32).next_power_of_two().max(page));
    loader.load(OBJECT)
}

/// Finds where each CPU has its data, which needs 5.19.
pub(super) fn find_cpus(ebpf: &mut Ebpf, facts: &KernelFacts) -> Result<(), Unavailable> {
    load_program(ebpf, "find_cpus", facts)?;
    if run(ebpf, "find_cpus", 0) { Ok(()) } else { Err(broken(&"find_cpus cannot be run")) }
}

fn load_program(ebpf: &mut Ebpf, name: &str, facts: &KernelFacts) -> Result<(), Unavailable> {
    let program = ebpf.program_mut(name).ok_or_else(|| broken(&format!("no program {name}")))?;
    let program: &mut RawTracePoint = program.try_into().map_err(|error| broken(&error))?;
    program.load().map_err(|error| program_failed(Facility::Program, &error, facts))
}

fn take_map<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, Unavailable> {
    let map = ebpf.take_map(name).ok_or_else(|| broken(&format!("no map {name}")))?;
    map.try_into().map_err(|error: MapError| broken(&error))
}
