//! From the running kernel's types to what the programs read, and to where it is in their records. Pure; never looks at a
//! version.

mod limits;
mod pressure;
mod steps;
mod unified;

use collector_ebpf::plan::{
    CHAIN, COUNTED_CPUS, CPU_TIME_WORDS, FIRST, Field, Fields, NO_CONTROLLER, RECORD_HEADER, RUN_TARGETS, STATE,
};

use super::cpu_time::{RawTimes, ShownTimes, is_order_known};
use super::{CounterFamily, FAMILIES};
use crate::kernel::cgroup::Version;
use crate::kernel::probes::btf::Btf;
use pressure::pressure;
pub use pressure::{PressureLayout, RawPressure, Stalled};
pub use steps::{Slot, Steps};
pub use unified::UnifiedTimeLayout;
use unified::unified_time;

const WORD: usize = size_of::<u64>();
/// Memory cgroups above one whose limits are looked at. Below more than so many `memory.stat` is read.
const PARENTS: usize = 6;
/// The kernel's arrays of one memory cgroup take less than this.
const MOST_BYTES: u32 = 4096;
/// CPUs times cgroups that one run looks at: two lines of memory each.
const RUN_CPUS: usize = 512;

/// Fields that every program needs, with their names; the first that the kernel has counts.
const FIELDS: [(Field, &str, &str); 16] = [
    (Field::CssFlags, "cgroup_subsys_state", "flags"),
    (Field::CssSerial, "cgroup_subsys_state", "serial_nr"),
    (Field::CssCgroup, "cgroup_subsys_state", "cgroup"),
    (Field::CgroupSelf, "cgroup", "self"),
    (Field::CgroupKn, "cgroup", "kn"),
    (Field::CgroupSubsys, "cgroup", "subsys"),
    (Field::CgroupPrevUtime, "cgroup", "prev_cputime.utime"),
    (Field::CgroupPrevStime, "cgroup", "prev_cputime.stime"),
    (Field::KernfsPriv, "kernfs_node", "priv"),
    (Field::KernfsId, "kernfs_node", "id"),
    (Field::TaskFiles, "task_struct", "files"),
    (Field::FilesTable, "files_struct", "fdt"),
    (Field::TableFiles, "fdtable", "fd"),
    (Field::TableLength, "fdtable", "max_fds"),
    (Field::FileInode, "file", "f_inode"),
    (Field::InodePrivate, "inode", "i_private"),
];

/// The arrays behind `memory.stat`: states, and after them events, as numbers of words in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrays {
    states: (usize, usize),
    events: (usize, usize),
}

impl Arrays {
    /// How many numbers there are.
    pub fn count(self) -> usize {
        self.states.1 + self.events.1
    }

    /// The number at this index, states first. The kernel shows one below zero as 0.
    #[inline]
    pub fn get(self, words: &[u64], index: usize) -> u64 {
        let ((states, count), (events, _)) = (self.states, self.events);
        let at = if index < count { states + index } else { events + (index - count) };
        let value = words.get(at).copied().unwrap_or_default();
        if value.cast_signed() < 0 { 0 } else { value }
    }
}

/// Events of `memory.events`, in the order of its first lines.
pub const MEMORY_EVENTS: [&str; 6] =
    ["MEMCG_LOW", "MEMCG_HIGH", "MEMCG_MAX", "MEMCG_OOM", "MEMCG_OOM_KILL", "MEMCG_OOM_GROUP_KILL"];

/// Where memory's numbers are in a record. Those of page counters are in pages.
#[derive(Clone, Debug)]
pub struct MemoryLayout {
    /// `memory.usage`.
    pub usage: Slot,
    /// `memory.watermark`.
    pub peak: Slot,
    /// `memory.failcnt`.
    pub failcnt: Option<Slot>,
    /// v1 `kmem.usage`.
    pub kernel: Option<Slot>,
    /// v2 `swap.usage`.
    pub swap: Option<Slot>,
    /// v2 `memory_events`, by [`MEMORY_EVENTS`].
    pub events: [Option<Slot>; MEMORY_EVENTS.len()],
    /// The cgroup's own counts: v1.
    pub own: Option<Arrays>,
    /// Those of the subtree.
    pub subtree: Arrays,
    /// From this cgroup upwards.
    limits: Vec<Level>,
}

/// The limits of one memory cgroup.
#[derive(Clone, Copy, Debug)]
struct Level {
    memory: Slot,
    both: Slot,
    /// The cgroup above: 0 above the root.
    above: Slot,
}

/// Limits that hold for a cgroup, by its own and those above, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HierarchicalLimits {
    /// `memory.max`.
    pub memory: u64,
    /// `memsw.max`.
    pub memory_and_swap: u64,
}

impl MemoryLayout {
    /// The limits that hold; `None` where they are not all in the record.
    pub fn limits(&self, words: &[u64]) -> Option<HierarchicalLimits> {
        let mut least = HierarchicalLimits { memory: u64::MAX, memory_and_swap: u64::MAX };
        for level in &self.limits {
            least.memory = least.memory.min(level.memory.of(words)?);
            least.memory_and_swap = least.memory_and_swap.min(level.both.of(words)?);
            if level.above.of(words)? == 0 {
                return Some(least);
            }
        }
        // There are more.
        None
    }
}

/// Where the numbers of bandwidth control are.
#[derive(Clone, Copy, Debug)]
pub struct BandwidthLayout {
    /// `nr_periods`.
    pub periods: Slot,
    /// `nr_throttled`.
    pub throttled: Slot,
    /// `throttled_time`, nanoseconds.
    pub throttled_time: Slot,
    /// `nr_burst`, since 5.15.
    pub bursts: Option<Slot>,
    /// `burst_time`, nanoseconds.
    pub burst_time: Option<Slot>,
}

/// Where CPU time of cgroup v1 is.
#[derive(Clone, Copy, Debug)]
pub struct CpuTimeLayout {
    /// CPUs that there may ever be.
    cpus: usize,
}

impl CpuTimeLayout {
    /// Time of each CPU, nanoseconds.
    pub fn each(self, words: &[u64]) -> Option<&[u64]> {
        words.get(CPU_TIME_WORDS..CPU_TIME_WORDS + self.cpus)
    }

    /// The times as they are counted, and as the kernel last showed them.
    pub fn times(self, words: &[u64]) -> Option<(RawTimes, ShownTimes)> {
        let total = self.each(words)?.iter().fold(0, |sum: u64, time| sum.wrapping_add(*time));
        let [user, system, shown_user, shown_system] = *words.first_chunk::<CPU_TIME_WORDS>()?;
        Some((RawTimes { user, system, total }, ShownTimes { user: shown_user, system: shown_system }))
    }
}

/// What every family reads, or the field of the kernel's that it lacks.
#[derive(Clone, Debug)]
pub struct Plans {
    pub(super) fields: Fields,
    pub(super) steps: [Steps; FAMILIES],
    pub(super) lacks: [Option<&'static str>; FAMILIES],
    pub(super) controllers: [u32; FAMILIES],
    /// What is not the same any more when a limit in a file of the family's is changed; empty where that is not all known.
    limits: [Vec<Slot>; FAMILIES],
    /// CPUs that there may ever be.
    pub(super) cpus: usize,
    /// Memory.
    pub memory: Option<MemoryLayout>,
    /// CPU time of v1.
    pub cpu_time: Option<CpuTimeLayout>,
    /// Bandwidth control.
    pub bandwidth: Option<BandwidthLayout>,
    /// Tasks.
    pub pids: Option<Slot>,
    /// v1: not 0 where the cgroup used a device.
    pub blkio: Option<Slot>,
    /// CPU time of v2.
    pub unified_time: Option<UnifiedTimeLayout>,
    /// Pressure.
    pub pressure: Option<PressureLayout>,
}

/// What a plan is made for beside the kernel's types.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// The version of the hierarchy with the memory controller.
    pub memory: Version,
    /// CPUs that there may ever be.
    pub cpus: usize,
}

impl Plans {
    /// Looks everything up.
    ///
    /// # Errors
    /// A field that all families need is not there.
    pub fn from_btf(btf: &Btf<'_>, surroundings: Surroundings) -> Result<Self, &'static str> {
        let mut fields: Fields = [0; Field::ALL.len()];
        for (field, structure, name) in FIELDS {
            fields[field as usize] = btf.field_offset(structure, name).ok_or(name)?;
        }
        let mut controllers = [NO_CONTROLLER; FAMILIES];
        for family in CounterFamily::ALL {
            if let Some(name) = family.controller() {
                // A kernel without the controller has no cgroups of it.
                controllers[family as usize] = btf.enumerator("cgroup_subsys_id", name).unwrap_or(NO_CONTROLLER - 1);
            }
        }
        let mut plans = Self {
            fields,
            steps: Default::default(),
            lacks: [None; FAMILIES],
            controllers,
            limits: Default::default(),
            cpus: surroundings.cpus,
            memory: None,
            cpu_time: None,
            bandwidth: None,
            pids: None,
            blkio: None,
            unified_time: None,
            pressure: None,
        };
        plans.memory = plans.note(CounterFamily::Memory, |steps| memory(btf, steps, surroundings.memory));
        plans.bandwidth = plans.note(CounterFamily::Bandwidth, |steps| bandwidth(btf, steps));
        plans.pids = plans.note(CounterFamily::Pids, |steps| {
            let counter = Types(btf).at("pids_cgroup", "counter")?;
            steps.word(STATE, counter).ok_or(TOO_LONG)
        });
        plans.blkio = plans.note(CounterFamily::Blkio, |steps| {
            let list = Types(btf).at("blkcg", "blkg_list.first")?;
            steps.word(STATE, list).ok_or(TOO_LONG)
        });
        let outcome = cpu_time(btf, &mut plans.fields, surroundings.cpus);
        let (steps, layout) = match outcome {
            Ok(found) => found,
            Err(lacks) => {
                plans.lacks[CounterFamily::CpuTime as usize] = Some(lacks);
                (Steps::default(), None)
            }
        };
        plans.steps[CounterFamily::CpuTime as usize] = steps;
        plans.cpu_time = layout;
        let of_cgroup =
            plans.note(CounterFamily::Cgroup, |steps| Ok((unified_time(btf, steps)?, pressure(btf, steps)?)));
        plans.find_limits(btf, surroundings.memory);
        plans.pressure = of_cgroup.and_then(|(_, pressure)| pressure);
        plans.unified_time = of_cgroup.map(|(time, _)| time);
        Ok(plans)
    }

    fn note<T>(
        &mut self,
        family: CounterFamily,
        make: impl FnOnce(&mut Steps) -> Result<T, &'static str>,
    ) -> Option<T> {
        let mut steps = Steps::default();
        match make(&mut steps) {
            Ok(layout) => {
                self.steps[family as usize] = steps;
                Some(layout)
            }
            Err(lacks) => {
                self.lacks[family as usize] = Some(lacks);
                None
            }
        }
    }

    /// What is not the same any more when a limit in a file of the family's is changed; empty where that is not all known.
    pub fn limits(&self, family: CounterFamily) -> &[Slot] {
        &self.limits[family as usize]
    }

    /// How many words a record of this family has.
    pub(super) fn words(&self, family: CounterFamily) -> usize {
        (self.steps[family as usize].bytes as usize - RECORD_HEADER) / WORD
    }

    /// How many cgroups one run may read of this family.
    pub fn run_length(&self, family: CounterFamily) -> usize {
        match family {
            CounterFamily::CpuTime => (RUN_CPUS / self.cpus.max(1)).clamp(1, RUN_TARGETS),
            _ => RUN_TARGETS,
        }
    }
}

/// Mistakes that must be found out before a number is taken.
#[cfg(test)]
impl Plans {
    /// A field is somewhere else.
    pub fn shift(&mut self, family: CounterFamily) {
        if family == CounterFamily::CpuTime {
            self.fields[Field::CpuacctUsage as usize] += WORD as u32;
        }
        for step in self.steps[family as usize]
            .plan
            .iter_mut()
            .filter(|step| step[0] == collector_ebpf::plan::COPY | STATE << 8)
        {
            step[1] += WORD as u32;
        }
    }

    /// The arrays of memory are taken to be so much longer.
    pub fn lengthen_states(&mut self, by: isize) {
        for arrays in
            self.memory.iter_mut().flat_map(|memory| [Some(&mut memory.subtree), memory.own.as_mut()]).flatten()
        {
            arrays.states.1 = arrays.states.1.saturating_add_signed(by);
            arrays.events.0 = arrays.events.0.saturating_add_signed(by);
        }
    }

    /// Two numbers of page counters are taken for each other.
    pub fn swap_usage_and_peak(&mut self) {
        if let Some(memory) = &mut self.memory {
            (memory.usage, memory.peak) = (memory.peak, memory.usage);
        }
    }
}

const TOO_LONG: &str = "room for all its numbers";

/// Offsets from the state of a controller, which all begin with it.
#[derive(Clone, Copy)]
struct Types<'a>(&'a Btf<'a>);

impl Types<'_> {
    fn at(self, structure: &'static str, field: &'static str) -> Result<u32, &'static str> {
        let css = self.0.field_offset(structure, "css").ok_or(structure)?;
        let offset = self.0.field_offset(structure, field).ok_or(field)?;
        offset.checked_sub(css).ok_or(field)
    }
}

fn memory(btf: &Btf<'_>, steps: &mut Steps, version: Version) -> Result<MemoryLayout, &'static str> {
    let types = Types(btf);
    let at = |field| types.at("mem_cgroup", field);
    let mut word = |field: &'static str| steps.word(STATE, at(field)?).ok_or(TOO_LONG);
    let usage = word("memory.usage")?;
    let peak = word("memory.watermark")?;
    let (failcnt, kernel, swap) = match version {
        Version::V1 => (Some(word("memory.failcnt")?), Some(word("kmem.usage")?), None),
        Version::V2 => (None, None, Some(word("swap.usage")?)),
    };
    let mut limit_events = [None; MEMORY_EVENTS.len()];
    if version == Version::V2 {
        let all = at("memory_events")?;
        for (slot, name) in limit_events.iter_mut().zip(MEMORY_EVENTS) {
            // Those that a kernel does not know are not in its file either.
            if let Some(number) = btf.enumerator("memcg_memory_event", name) {
                *slot = Some(steps.word(STATE, all + number * WORD as u32).ok_or(TOO_LONG)?);
            }
        }
    }
    // A pointer since 5.19, before that a part of the structure.
    if btf.field_offset("mem_cgroup", "vmstats.state").is_some() {
        return Err("memcg_vmstats, in memory of its own since 5.19,");
    }
    steps.follow(STATE, at("vmstats")?, FIRST).ok_or(TOO_LONG)?;
    let array = |name: &'static str| {
        let found = btf.field_offset("memcg_vmstats", name).zip(btf.array_length("memcg_vmstats", name));
        found.ok_or("memcg_vmstats.state_local, since 6.6,")
    };
    let (state, events) = (array("state")?, array("events")?);
    let own = match version {
        Version::V1 => Some((array("state_local")?, array("events_local")?)),
        Version::V2 => None,
    };
    let all = [Some(state), Some(events), own.map(|own| own.0), own.map(|own| own.1)];
    let start = all.iter().flatten().map(|(offset, _)| *offset).min().unwrap_or_default();
    let end = all.iter().flatten().map(|(offset, length)| offset + length * WORD as u32).max().unwrap_or_default();
    if end - start > MOST_BYTES {
        return Err(TOO_LONG);
    }
    let first = steps.copy(FIRST, start, end - start).ok_or(TOO_LONG)?;
    let words = |(offset, length): (u32, u32)| (first + (offset - start) as usize / WORD, length as usize);
    let subtree = Arrays { states: words(state), events: words(events) };
    let own = own.map(|(state, events)| Arrays { states: words(state), events: words(events) });
    let mut limits = Vec::new();
    if version == Version::V1 {
        let (memory, both) = (at("memory.max")?, at("memsw.max")?);
        let css = btf.field_offset("cgroup_subsys_state", "parent").ok_or("cgroup_subsys_state.parent")?;
        let mut base = STATE;
        for _ in 0..=PARENTS {
            let (own, with_swap) = steps.word(base, memory).zip(steps.word(base, both)).ok_or(TOO_LONG)?;
            steps.follow(base, css, CHAIN).ok_or(TOO_LONG)?;
            base = CHAIN;
            limits.push(Level { memory: own, both: with_swap, above: steps.keep(CHAIN).ok_or(TOO_LONG)? });
        }
    }
    Ok(MemoryLayout { usage, peak, failcnt, kernel, swap, events: limit_events, own, subtree, limits })
}

fn bandwidth(btf: &Btf<'_>, steps: &mut Steps) -> Result<BandwidthLayout, &'static str> {
    let at = |field| Types(btf).at("task_group", field);
    let periods = at("cfs_bandwidth.nr_periods")?;
    let throttled = at("cfs_bandwidth.nr_throttled")?;
    let throttled_time = at("cfs_bandwidth.throttled_time")?;
    let burst = at("cfs_bandwidth.nr_burst").ok().zip(at("cfs_bandwidth.burst_time").ok());
    let layout = (|| {
        Some(BandwidthLayout {
            periods: steps.half(STATE, periods)?,
            throttled: steps.half(STATE, throttled)?,
            throttled_time: steps.word(STATE, throttled_time)?,
            bursts: match burst {
                Some((bursts, _)) => Some(steps.half(STATE, bursts)?),
                None => None,
            },
            burst_time: match burst {
                Some((_, time)) => Some(steps.word(STATE, time)?),
                None => None,
            },
        })
    })();
    layout.ok_or(TOO_LONG)
}

fn cpu_time(btf: &Btf<'_>, fields: &mut Fields, cpus: usize) -> Result<(Steps, Option<CpuTimeLayout>), &'static str> {
    if cpus == 0 || cpus > COUNTED_CPUS {
        return Err("room for so many CPUs");
    }
    // Two counters for each CPU before 5.17.
    if btf.field_offset("cpuacct_usage", "usages").is_some() {
        return Err("one counter for each CPU, since 5.17,");
    }
    let at = |field| Types(btf).at("cpuacct", field);
    fields[Field::CpuacctUsage as usize] = at("cpuusage")?;
    fields[Field::CpuacctStat as usize] = at("cpustat")?;
    fields[Field::ArrayPointers as usize] = btf.field_offset("bpf_array", "pptrs").ok_or("bpf_array.pptrs")?;
    if !is_order_known(btf) {
        return Err("the order of CPU times that is known");
    }
    let bytes = (RECORD_HEADER + WORD * (CPU_TIME_WORDS + cpus)) as u32;
    Ok((Steps::of_length(bytes), Some(CpuTimeLayout { cpus })))
}
