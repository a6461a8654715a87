//! Counters of cgroups straight from kernel memory: programs that are never attached but run for some cgroups at a time.
//!
//! `plan` finds where the numbers are on this kernel, [`Counters`] loads and runs the programs, `records` has what came
//! back, `stat` learns which number of the kernel's arrays is which line of `memory.stat`, and `cpu_time` shares CPU time
//! out between user and system as the kernel does.

pub mod cpu_time;
mod cpus;
mod load;
pub mod plan;
pub mod records;
pub mod stat;

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::Ebpf;
use aya::maps::{Array, MapData, RingBuf};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use collector_ebpf::plan::{FOUND_WORDS, NO_CONTROLLER, RECORD_HEADER, RUN_TARGETS, RunDescriptors, RunTargets};

pub use cpus::have_last_time_read;
pub use load::CountersUnavailable;
use plan::Plans;
use records::Records;

macro_rules! families {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $program:literal, $controller:expr;)*) => {
        /// Numbers that are read by one program.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CounterFamily { $($(#[$doc])* $variant,)* }

        impl CounterFamily {
            /// Every family, in the order of its number.
            pub const ALL: [Self; [$(Self::$variant),*].len()] = [$(Self::$variant),*];

            /// Its name, as a label.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its program in the object.
            const fn program(self) -> &'static str {
                match self { $(Self::$variant => $program,)* }
            }

            /// The enumerator of `cgroup_subsys_id` for its controller; `None` for the cgroup itself.
            const fn controller(self) -> Option<&'static str> {
                match self { $(Self::$variant => $controller,)* }
            }
        }
    };
}

families! {
    /// `struct mem_cgroup`.
    Memory = "memory", "read_memory", Some("memory_cgrp_id");
    /// `struct cpuacct`: cgroup v1.
    CpuTime = "cpuacct", "read_cpu_time", Some("cpuacct_cgrp_id");
    /// `struct task_group`.
    Bandwidth = "cpu", "read_bandwidth", Some("cpu_cgrp_id");
    /// `struct pids_cgroup`.
    Pids = "pids", "read_pids", Some("pids_cgrp_id");
    /// `struct blkcg`: whether a device was ever used.
    Blkio = "blkio", "read_blkio", Some("io_cgrp_id");
    /// `struct cgroup`: CPU time and pressure of cgroup v2.
    Cgroup = "cgroup", "read_cgroup", None;
}

/// How many families there are.
pub const FAMILIES: usize = CounterFamily::ALL.len();

/// A cgroup's state of one controller in kernel memory. Its serial number is never used twice: what is read there is of this
/// cgroup or is not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    address: u64,
    serial: u64,
}

/// Where a cgroup's families are, those that are read of it.
pub type Targets = [Option<Target>; FAMILIES];

/// The programs and their maps.
struct Programs {
    ebpf: Ebpf,
    targets: Array<MapData, RunTargets>,
    descriptors: Array<MapData, RunDescriptors>,
    records: RingBuf<MapData>,
}

/// The loaded programs, and what is known of the numbers they read.
pub struct Counters {
    programs: Mutex<Programs>,
    /// Where the numbers are.
    pub plans: Plans,
    /// Numbers of the controllers, by family.
    controllers: [u32; FAMILIES],
    /// Families whose program was loaded.
    loaded: [bool; FAMILIES],
    /// Families that have none, and why.
    refused: Vec<(CounterFamily, String)>,
    /// Kernel memory of the maps.
    map_bytes: u64,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters").field("loaded", &self.loaded).finish_non_exhaustive()
    }
}

impl Counters {
    /// Whether the family's program is there.
    pub fn has(&self, family: CounterFamily) -> bool {
        self.loaded[family as usize]
    }

    /// Families that are wanted and cannot be had, each with the reason.
    pub fn refused(&self) -> &[(CounterFamily, String)] {
        &self.refused
    }

    /// Kernel memory of all maps, as the kernel counts it.
    pub fn map_bytes(&self) -> u64 {
        self.map_bytes
    }

    fn programs(&self) -> MutexGuard<'_, Programs> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the families of these cgroups are: each with the open directory of the cgroup in the family's hierarchy. With
    /// it comes the kernfs id of that directory. At most as many as one run takes are looked for.
    pub fn find(&self, directories: &[(CounterFamily, BorrowedFd<'_>)]) -> Vec<Option<(Target, u64)>> {
        let mut found = vec![None; directories.len()];
        let mut wanted: RunDescriptors = [0; RUN_TARGETS];
        for (slot, (family, directory)) in wanted.iter_mut().zip(directories) {
            *slot =
                u64::from(directory.as_raw_fd().cast_unsigned()) | u64::from(self.controllers[*family as usize]) << 32;
        }
        let mut programs = self.programs();
        let Programs { ebpf, descriptors, records, .. } = &mut *programs;
        let count = directories.len().min(RUN_TARGETS);
        if descriptors.set(0, wanted, 0).is_ok() && run(ebpf, "find", count) {
            while let Some(record) = records.next() {
                let mut words = words_of(&record);
                let mut word = || words.next().unwrap_or_default();
                let [index, address, serial, id]: [u64; FOUND_WORDS] = std::array::from_fn(|_| word());
                if let Some(slot) = found.get_mut(index as usize) {
                    *slot = Some((Target { address, serial }, id));
                }
            }
        }
        found
    }

    /// Reads what these cgroups have. What a cgroup that ended had is not among it.
    pub fn read(&self, wanted: &[Targets]) -> Records {
        let words = CounterFamily::ALL.into_iter().filter(|family| self.has(*family));
        let words = words.map(|family| self.plans.words(family)).sum::<usize>();
        let mut read = Records::new(wanted.len(), words);
        for family in CounterFamily::ALL {
            if !self.has(family) {
                continue;
            }
            let with_one =
                wanted.iter().enumerate().filter_map(|(index, targets)| Some((index, targets[family as usize]?)));
            let with_one: Vec<_> = with_one.collect();
            for part in with_one.chunks(self.plans.run_length(family)) {
                self.read_part(family, part, &mut read);
            }
        }
        read
    }

    fn read_part(&self, family: CounterFamily, part: &[(usize, Target)], read: &mut Records) {
        let mut targets: RunTargets = [0; 2 * RUN_TARGETS];
        for (pair, (_, target)) in targets.chunks_exact_mut(2).zip(part) {
            pair.copy_from_slice(&[target.address, target.serial]);
        }
        let mut programs = self.programs();
        let Programs { ebpf, targets: map, records, .. } = &mut *programs;
        if map.set(0, targets, 0).is_err() || !run(ebpf, family.program(), part.len()) {
            return;
        }
        while let Some(record) = records.next() {
            let mut words = words_of(&record);
            let index = words.next().unwrap_or(u64::MAX);
            if let Some((of, _)) = part.get(index as usize) {
                read.add(*of, family, words);
            }
        }
    }
}

/// Runs a program for so many cgroups.
fn run(ebpf: &Ebpf, program: &str, count: usize) -> bool {
    let program: Option<&RawTracePoint> = ebpf.program(program).and_then(|program| program.try_into().ok());
    let mut options = RawTracePointRunOptions::new();
    options.args[0] = count as u64;
    program.is_some_and(|program| program.test_run(options).is_ok())
}

fn words_of(record: &[u8]) -> impl Iterator<Item = u64> {
    record.as_chunks::<{ size_of::<u64>() }>().0.iter().map(|word| u64::from_ne_bytes(*word))
}

const _: () = assert!(RECORD_HEADER == size_of::<u64>());
const _: () = assert!(NO_CONTROLLER == u32::MAX);
