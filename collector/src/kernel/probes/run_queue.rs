//! Who waits for a CPU, and for whom: an object of its own, loaded where the kind `runqueue` is switched on.
//!
//! The program keeps a row for each cgroup and a time for each pair of cgroups in maps, which are read here now and then.

use std::collections::HashMap as Map;

use aya::maps::{Array, HashMap, MapData, MapError};
use aya::{Ebpf, EbpfLoader};
use collector_ebpf::run_queue::{
    BUCKETS, CGROUP, COUNTED_CGROUPS, FIRST_EXPONENT, HIGHEST, LEFT_OUT_CGROUPS, LEFT_OUT_PAIRS, OWN, Pair, PairTime,
    Row, RunQueueField, RunQueueFields, SERIAL, THROTTLED, WAITED, WAITS,
};

use super::btf::{Btf, Parameter};
use super::kind_object::{self, KindObject, Obstacle, WithoutKind};
use super::load::{attach_program, gather_rights, load_program, map_bytes, take_map};
use super::support::{Cause, Facility, Unavailable};
use crate::kernel::HostRoots;

/// The program, built by `cargo xtask bpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../collector-ebpf/runqueue.bpf.o");
/// The program, and the tracepoint that it is attached to.
const SWITCH: &str = "sched_switch";
/// Rows that are read beyond the highest number that the program noted: two CPUs may note one at the same time.
const BEYOND: u32 = 64;

/// Buckets of a histogram of waits.
pub const WAIT_BUCKETS: usize = BUCKETS;

/// The upper bound of the first bucket is 2 to the power of this, in seconds; that of each next one is twice as high, and
/// the last has none.
pub const FIRST_WAIT_EXPONENT: i32 = FIRST_EXPONENT;

/// Each field and its names; the first that the kernel has counts.
const FIELDS: [(RunQueueField, &str, &[&str]); RunQueueField::ALL.len()] = [
    (RunQueueField::TaskPid, "task_struct", &["pid"]),
    (RunQueueField::TaskQueued, "task_struct", &["sched_info.last_queued"]),
    (RunQueueField::TaskGroup, "task_struct", &["sched_task_group"]),
    (RunQueueField::TaskQueue, "task_struct", &["se.cfs_rq"]),
    (RunQueueField::GroupId, "task_group", &["css.id"]),
    (RunQueueField::GroupSerial, "task_group", &["css.serial_nr"]),
    (RunQueueField::GroupCgroup, "task_group", &["css.cgroup"]),
    (RunQueueField::CgroupKn, "cgroup", &["kn"]),
    (RunQueueField::KernfsId, "kernfs_node", &["id"]),
    (RunQueueField::QueueOfCpu, "cfs_rq", &["rq"]),
    (RunQueueField::CpuClock, "rq", &["clock"]),
    (RunQueueField::QueueThrottled, "cfs_rq", &["throttle_count"]),
    (
        RunQueueField::QueueThrottledTime,
        "cfs_rq",
        &["throttled_clock_self_time", "throttled_clock_pelt_time", "throttled_clock_task_time"],
    ),
];

/// Fields that only quotas need: without them a kernel has no quotas.
const OF_QUOTAS: [RunQueueField; 2] = [RunQueueField::QueueThrottled, RunQueueField::QueueThrottledTime];

/// What one cgroup waited, each of its tasks added up. Times are in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupWaits {
    /// Waited for a CPU, without what its quota held it back.
    pub waited: u64,
    /// Held back by its quota or one above.
    pub throttled: u64,
    /// Of `waited` what its own tasks ran meanwhile.
    pub own: u64,
    /// How many waits there were by length, without what a quota held back.
    pub buckets: [u64; WAIT_BUCKETS],
    /// While other cgroups ran: their kernfs ids, 0 for the root, and how long.
    pub others: Vec<(u64, u64)>,
}

/// All cgroups by the kernfs id of their directory in the hierarchy of the controller `cpu`; 0 is the root.
pub type AllWaits = Map<u64, CgroupWaits>;

/// How much the program had no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Waits of cgroups beyond those that are counted.
    pub waits: u64,
    /// Times of pairs beyond those that are counted.
    pub pairs: u64,
}

/// The loaded program and its maps. Dropping it detaches the program.
pub struct RunQueues {
    /// Kept for its link.
    _ebpf: Ebpf,
    rows: Array<MapData, Row>,
    pairs: HashMap<MapData, Pair, PairTime>,
    notes: Array<MapData, u64>,
    map_bytes: u64,
}

impl std::fmt::Debug for RunQueues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunQueues").field("map_bytes", &self.map_bytes).finish_non_exhaustive()
    }
}

impl RunQueues {
    /// Loads and attaches the program. From here on each change of task on each CPU is looked at.
    ///
    /// # Errors
    /// With the one reason why waits cannot be counted.
    pub fn load(roots: &HostRoots) -> Result<Self, WithoutKind> {
        Self::attach(roots).map_err(|obstacle| KindObject::RunQueue.without(obstacle))
    }

    fn attach(roots: &HostRoots) -> Result<Self, Obstacle> {
        let fields = kind_object::in_types(roots, fields)?;
        let facts = gather_rights(roots);
        let object = || EbpfLoader::new().override_global("FIELDS", &fields, true).load(OBJECT);
        let mut ebpf = kind_object::load(&facts, object)?;
        let map_bytes = map_bytes(&ebpf, &roots.proc);
        let (rows, pairs) = (take_map(&mut ebpf, "ROWS")?, take_map(&mut ebpf, "PAIRS")?);
        let notes = take_map(&mut ebpf, "NOTES")?;
        load_program(&mut ebpf, SWITCH, &facts)?;
        attach_program(&mut ebpf, SWITCH, SWITCH, &facts)?;
        Ok(Self { _ebpf: ebpf, rows, pairs, notes, map_bytes })
    }

    /// Kernel memory of all maps, as the kernel counts it.
    pub fn map_bytes(&self) -> u64 {
        self.map_bytes
    }

    /// What there was no room for.
    pub fn left_out(&self) -> LeftOut {
        let note = |index| self.notes.get(&index, 0).unwrap_or(0);
        LeftOut { waits: note(LEFT_OUT_CGROUPS), pairs: note(LEFT_OUT_PAIRS) }
    }

    /// What all cgroups waited so far. Pairs of which one cgroup is not there any more are taken out of the map; `is_there`
    /// is asked with a kernfs id.
    ///
    /// # Errors
    /// When the kernel refuses to read a map of ours, which it has no reason to.
    pub fn read(&mut self, is_there: impl Fn(u64) -> bool) -> std::io::Result<AllWaits> {
        self.read_maps(is_there).map_err(std::io::Error::other)
    }

    fn read_maps(&mut self, is_there: impl Fn(u64) -> bool) -> Result<AllWaits, MapError> {
        let highest = u32::try_from(self.notes.get(&HIGHEST, 0)?).unwrap_or(u32::MAX);
        let end = highest.saturating_add(BEYOND).min(COUNTED_CGROUPS);
        let mut waits = AllWaits::new();
        // By the number of the cgroup: its serial number and its kernfs id.
        let mut known = Map::new();
        for id in 0..end {
            let row = self.rows.get(&id, 0)?;
            if id != 0 && row[SERIAL] == 0 {
                continue;
            }
            known.insert(id, (row[SERIAL], row[CGROUP]));
            if id != 0 && !is_there(row[CGROUP]) {
                continue;
            }
            waits.insert(row[CGROUP], waits_of(&row));
        }
        let mut gone = Vec::new();
        for entry in &self.pairs {
            let (pair, [time, ids]) = entry?;
            let id = |serial: u64, number: u64| match number as u32 {
                // The root's own state, and sessions' automatic groups.
                0 | 1 => Some(0),
                // A cgroup that never waited has no row.
                number => {
                    known.get(&number).filter(|(of, cgroup)| *of == serial && is_there(*cgroup)).map(|(_, id)| *id)
                }
            };
            match (id(pair[0], ids & u64::from(u32::MAX)), id(pair[1], ids >> 32)) {
                (Some(victim), Some(other)) if victim != other => {
                    if let Some(waits) = waits.get_mut(&victim) {
                        match waits.others.iter_mut().find(|(id, _)| *id == other) {
                            Some((_, so_far)) => *so_far += time,
                            None => waits.others.push((other, time)),
                        }
                    }
                }
                (Some(_), Some(_)) => {}
                _ => gone.push(pair),
            }
        }
        for pair in gone {
            // One that is gone meanwhile is as good.
            let _ = self.pairs.remove(&pair);
        }
        Ok(waits)
    }
}

fn waits_of(row: &Row) -> CgroupWaits {
    let mut buckets = [0; WAIT_BUCKETS];
    buckets.copy_from_slice(&row[WAITS..]);
    CgroupWaits { waited: row[WAITED], throttled: row[THROTTLED], own: row[OWN], buckets, others: Vec::new() }
}

/// Where the fields are on this kernel.
fn fields(btf: &Btf<'_>) -> Result<RunQueueFields, Obstacle> {
    // (preempt, prev, next, ...) behind the kernel's own parameter.
    let parameters = [1, 2, 3].map(|index| btf.parameter("btf_trace_sched_switch", index));
    if !matches!(parameters, [_, Some(Parameter::Pointer), Some(Parameter::Pointer)]) {
        let facility = Facility::Tracepoint(SWITCH);
        return Err(Unavailable { facility, errno: None, cause: Cause::UnknownForm }.into());
    }
    let mut fields = [collector_ebpf::ABSENT; RunQueueField::ALL.len()];
    for (field, structure, names) in FIELDS {
        match names.iter().find_map(|name| btf.field_offset(structure, name)) {
            Some(offset) => fields[field as usize] = offset,
            None if OF_QUOTAS.contains(&field) => {}
            None => {
                return Err(Obstacle {
                    why: format!("this kernel's types have no {structure}.{}", names.join(" nor ")),
                    fix: "run a kernel with CONFIG_SCHED_INFO=y and CONFIG_FAIR_GROUP_SCHED=y",
                });
            }
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_the_fields() {
        let types = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let fields = fields(&Btf::parse(&types).unwrap()).unwrap();
        assert!(!fields.contains(&collector_ebpf::ABSENT), "{fields:?}");
    }

    #[test]
    fn a_time_is_in_the_bucket_whose_bound_it_is_not_beyond() {
        let bucket = |nanos| collector_ebpf::doubling::bucket(nanos, FIRST_EXPONENT, BUCKETS);
        for place in 0..BUCKETS - 1 {
            let bound = 1e9 * 2_f64.powi(FIRST_EXPONENT + place as i32);
            let within = bound.floor() as u64;
            assert_eq!((bucket(within), bucket(within + 1)), (place, place + 1), "{bound} ns");
        }
        assert_eq!((bucket(0), bucket(1), bucket(1 << 43), bucket(u64::MAX)), (0, 0, BUCKETS - 1, BUCKETS - 1));
    }
}
