//! Where kernel memory shows that a limit was changed.

use collector_ebpf::plan::STATE;

use super::{CounterFamily, Plans, Slot, Steps, Types};
use crate::kernel::cgroup::Version;
use crate::kernel::probes::btf::Btf;

/// How a field is read.
type Read = fn(&mut Steps, u32, u32) -> Option<Slot>;
/// Of each family: the structure of its controller's state, the fields behind the files that have its limits, and one that
/// not every kernel has.
type Behind = (CounterFamily, &'static str, &'static [&'static str], Option<(&'static str, Read)>);

/// `cpu.shares` or `cpu.weight` (which `cpu.idle` changes, since 5.15), `cpu.cfs_quota_us` and `cpu.cfs_period_us`, or
/// `cpu.max`.
const BANDWIDTH: Behind = (CounterFamily::Bandwidth, "task_group", FIELDS_OF_BANDWIDTH, Some(("idle", Steps::half)));
const FIELDS_OF_BANDWIDTH: &[&str] = &["shares", "cfs_bandwidth.quota", "cfs_bandwidth.period"];
/// `pids.max`.
const PIDS: Behind = (CounterFamily::Pids, "pids_cgroup", &["limit"], None);
/// `memory.limit_in_bytes`, `memory.memsw.limit_in_bytes`, `memory.soft_limit_in_bytes`.
const MEMORY_V1: Behind = (CounterFamily::Memory, "mem_cgroup", &["memory.max", "memsw.max", "soft_limit"], None);
/// `memory.max`, `memory.min`, `memory.swap.max`, `memory.zswap.max` (since 5.19).
const MEMORY_V2: Behind =
    (CounterFamily::Memory, "mem_cgroup", &["memory.max", "memory.min", "swap.max"], Some(("zswap_max", Steps::word)));

impl Plans {
    /// Adds what shows changes of limits to what is read anyhow. A kernel without one of the fields has its limits read from
    /// files.
    pub(super) fn find_limits(&mut self, btf: &Btf<'_>, memory: Version) {
        let memory = match memory {
            Version::V1 => MEMORY_V1,
            Version::V2 => MEMORY_V2,
        };
        for (family, structure, all, some) in [BANDWIDTH, PIDS, memory] {
            if self.lacks[family as usize].is_some() {
                continue;
            }
            let at = |field: &&'static str| Types(btf).at(structure, field).ok();
            let Some(offsets) = all.iter().map(at).collect::<Option<Vec<u32>>>() else { continue };
            let mut steps = self.steps[family as usize].clone();
            let slots = offsets.into_iter().map(|offset| steps.word(STATE, offset));
            let Some(mut slots) = slots.collect::<Option<Vec<Slot>>>() else { continue };
            if let Some((field, read)) = some
                && let Some(offset) = at(&field)
            {
                let Some(slot) = read(&mut steps, STATE, offset) else { continue };
                slots.push(slot);
            }
            (self.steps[family as usize], self.limits[family as usize]) = (steps, slots);
        }
    }
}
