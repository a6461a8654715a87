//! From the running kernel's types to the numbers the programs need. Pure; never looks at a version.

mod last;

use collector_ebpf::Offsets;
/// The fields, and what stands for one that is not there.
pub use collector_ebpf::{ABSENT, NO_OFFSETS, Offset};

use super::btf::{Btf, Parameter};

/// How `oom:mark_victim` names the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VictimForm {
    /// By thread id: before about 6.9, and before late releases of the older stable series (5.10.218 has this form,
    /// 5.10.262 the other).
    Pid,
    /// By its `task_struct`.
    Task,
}

/// Against what the kernel counts the memory of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapAccounting {
    /// The locked memory of the user who makes them, up to `RLIMIT_MEMLOCK`: before 5.11.
    LockedMemory,
    /// The memory of the cgroup of the process that makes them.
    Cgroup,
}

/// What the programs must know about the running kernel's types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelTypes {
    /// Where the fields are.
    pub offsets: Offsets,
    /// Which of the two OOM programs fits; `None` when the tracepoint is of neither form.
    pub victim: Option<VictimForm>,
    /// What limits maps.
    pub map_accounting: MapAccounting,
}

/// Fields without which no cgroup record can be made. Everything else degrades to a missing value.
pub const REQUIRED: [Offset; 7] = [
    Offset::CgroupKn,
    Offset::CgroupRoot,
    Offset::CgroupLevel,
    Offset::RootHierarchyId,
    Offset::KernfsId,
    Offset::KernfsParent,
    Offset::KernfsName,
];

/// Fields that only corroborate others, and that a kernel may be built without.
const CORROBORATING: [Offset; 2] = [Offset::MemcgOomLock, Offset::MemcgUnderOom];

/// `MM_FILEPAGES`, `MM_ANONPAGES` and `MM_SHMEMPAGES`; the same since 4.5.
const RSS_INDEXES: [(Offset, u32); 3] = [(Offset::MmFilePages, 0), (Offset::MmAnonPages, 1), (Offset::MmShmemPages, 3)];

/// Each field and its names; the first that the kernel has counts.
const FIELDS: [(Offset, &str, &[&str]); 52] = [
    (Offset::CgroupKn, "cgroup", &["kn"]),
    (Offset::CgroupRoot, "cgroup", &["root"]),
    (Offset::CgroupLevel, "cgroup", &["level"]),
    // In the css since 7.x, which counts them for each controller too; `self` is the cgroup's own.
    (Offset::CgroupPopulatedCsets, "cgroup", &["nr_populated_csets", "self.nr_populated_csets"]),
    (Offset::RootHierarchyId, "cgroup_root", &["hierarchy_id"]),
    (Offset::KernfsId, "kernfs_node", &["id"]),
    (Offset::KernfsParent, "kernfs_node", &["__parent", "parent"]),
    (Offset::KernfsName, "kernfs_node", &["name"]),
    (Offset::TaskPid, "task_struct", &["pid"]),
    (Offset::TaskTgid, "task_struct", &["tgid"]),
    (Offset::TaskComm, "task_struct", &["comm"]),
    (Offset::TaskCgroups, "task_struct", &["cgroups"]),
    (Offset::TaskSignal, "task_struct", &["signal"]),
    (Offset::TaskMm, "task_struct", &["mm"]),
    (Offset::TaskRealCred, "task_struct", &["real_cred"]),
    (Offset::TaskThreadPid, "task_struct", &["thread_pid"]),
    (Offset::TaskPidLink, "task_struct", &["pid_links[0]"]),
    (Offset::CssSetTasks, "css_set", &["nr_tasks"]),
    (Offset::CssSetDefaultCgroup, "css_set", &["dfl_cgrp"]),
    (Offset::SignalThreads, "signal_struct", &["nr_threads"]),
    (Offset::SignalOomScoreAdj, "signal_struct", &["oom_score_adj"]),
    (Offset::CredUid, "cred", &["uid"]),
    (Offset::MmTotalVm, "mm_struct", &["total_vm"]),
    (Offset::MmPgtablesBytes, "mm_struct", &["pgtables_bytes"]),
    (Offset::CssCgroup, "cgroup_subsys_state", &["cgroup"]),
    (Offset::CssParent, "cgroup_subsys_state", &["parent"]),
    (Offset::MemcgCss, "mem_cgroup", &["css"]),
    (Offset::MemcgUsage, "mem_cgroup", &["memory.usage"]),
    (Offset::MemcgMax, "mem_cgroup", &["memory.max"]),
    (Offset::MemcgOomLock, "mem_cgroup", &["oom_lock"]),
    (Offset::MemcgUnderOom, "mem_cgroup", &["under_oom"]),
    (Offset::PidRootNamespace, "pid", &["numbers[0].ns"]),
    (Offset::PidFirstTask, "pid", &["tasks[0].first"]),
    (Offset::PidNamespaceTree, "pid_namespace", &["idr.idr_rt.xa_head"]),
    (Offset::XaNodeShift, "xa_node", &["shift"]),
    (Offset::XaNodeSlots, "xa_node", &["slots"]),
    (Offset::TaskGroupLeader, "task_struct", &["group_leader"]),
    (Offset::TaskRealParent, "task_struct", &["real_parent"]),
    (Offset::TaskExitCode, "task_struct", &["exit_code"]),
    (Offset::TaskStartBoottime, "task_struct", &["start_boottime"]),
    (Offset::TaskSighand, "task_struct", &["sighand"]),
    (Offset::SignalLive, "signal_struct", &["live"]),
    (Offset::SignalFlags, "signal_struct", &["flags"]),
    (Offset::SignalGroupExitCode, "signal_struct", &["group_exit_code"]),
    (Offset::SighandHandler, "sighand_struct", &["action[0].sa.sa_handler"]),
    (Offset::SiginfoCode, "kernel_siginfo", &["si_code"]),
    (Offset::PidLevel, "pid", &["level"]),
    (Offset::PidNumber, "pid", &["numbers[0].nr"]),
    (Offset::CgroupShownUser, "cgroup", &["prev_cputime.utime"]),
    (Offset::CgroupShownSystem, "cgroup", &["prev_cputime.stime"]),
    (Offset::CgroupCpuCounters, "cgroup", &["rstat_base_cpu", "rstat_cpu"]),
    (Offset::ArrayPointers, "bpf_array", &["pptrs"]),
];

/// Fields without which it is not known how processes end.
const NEEDED_FOR_EXITS: [Offset; 22] = [
    Offset::TaskCgroups,
    Offset::TaskSignal,
    Offset::TaskTgid,
    Offset::TaskComm,
    Offset::TaskThreadPid,
    Offset::CssSetDefaultCgroup,
    Offset::CgroupLevel,
    Offset::CgroupKn,
    Offset::TaskGroupLeader,
    Offset::TaskRealParent,
    Offset::TaskExitCode,
    Offset::TaskStartBoottime,
    Offset::TaskSighand,
    Offset::SignalLive,
    Offset::SignalFlags,
    Offset::SignalGroupExitCode,
    Offset::SighandHandler,
    Offset::SighandActionSize,
    Offset::SiginfoCode,
    Offset::PidLevel,
    Offset::PidNumber,
    Offset::PidNumberSize,
];

impl KernelTypes {
    /// Looks everything up.
    pub fn from_btf(btf: &Btf<'_>) -> Self {
        let mut offsets = NO_OFFSETS;
        let mut set = |field: Offset, value: Option<u32>| offsets[field as usize] = value.unwrap_or(ABSENT);
        for (field, structure, names) in FIELDS {
            set(field, names.iter().find_map(|name| btf.field_offset(structure, name)));
        }
        for (field, index) in RSS_INDEXES {
            // One struct of atomic words before 6.2, an array of per-CPU counters since.
            let names = [format!("rss_stat[{index}].count"), format!("rss_stat.count[{index}]")];
            set(field, names.iter().find_map(|name| btf.field_offset("mm_struct", name)));
        }
        let indexed = |structure, array, enumeration, name| {
            let index = btf.enumerator(enumeration, name)?;
            btf.field_offset(structure, &format!("{array}[{index}]"))
        };
        set(Offset::CssSetMemory, indexed("css_set", "subsys", "cgroup_subsys_id", "memory_cgrp_id"));
        let local_ooms = indexed("mem_cgroup", "memory_events_local", "memcg_memory_event", "MEMCG_OOM");
        set(Offset::MemcgLocalOoms, local_ooms);
        // The program masks with it.
        let slots = btf.array_length("xa_node", "slots").filter(|count| count.is_power_of_two());
        set(Offset::XaNodeSlotCount, slots);
        let between =
            |structure, first, second| Some(btf.field_offset(structure, second)? - btf.field_offset(structure, first)?);
        let handlers = between("sighand_struct", "action[0].sa.sa_handler", "action[1].sa.sa_handler");
        set(Offset::SighandActionSize, handlers);
        // The array has the length one or none, so its second element is no field. A pointer is the last of an element.
        set(Offset::PidNumberSize, btf.field_offset("upid", "ns").map(|last| last + size_of::<u64>() as u32));
        last::set(btf, &mut set);
        let victim = match btf.parameter("btf_trace_mark_victim", 1) {
            Some(Parameter::Integer) => Some(VictimForm::Pid),
            Some(Parameter::Pointer) => Some(VictimForm::Task),
            Some(Parameter::Other) | None => None,
        };
        // Where a map keeps the user whose locked memory it is; there from 5.3 on and gone with that accounting.
        let map_accounting = match btf.field_offset("bpf_map", "memory.user") {
            Some(_) => MapAccounting::LockedMemory,
            None => MapAccounting::Cgroup,
        };
        Self { offsets, victim, map_accounting }
    }

    /// The first field that is needed and not there.
    pub fn missing(&self) -> Option<Offset> {
        REQUIRED.into_iter().find(|&field| self.offsets[field as usize] == ABSENT)
    }

    /// The first field that is needed to report how processes end and not there.
    pub fn missing_for_exits(&self) -> Option<Offset> {
        NEEDED_FOR_EXITS.into_iter().find(|&field| self.offsets[field as usize] == ABSENT)
    }

    /// The fields whose lack is felt, although the programs do without them; apart from those that only exits and last
    /// readings need.
    pub fn missed(&self) -> impl Iterator<Item = Offset> + '_ {
        let of_ends = |field: Offset| field as usize >= Offset::TaskGroupLeader as usize;
        let felt =
            move |field: &Offset| !CORROBORATING.contains(field) && !REQUIRED.contains(field) && !of_ends(*field);
        Offset::ALL.into_iter().filter(felt).filter(|&field| self.offsets[field as usize] == ABSENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every distribution kernel the collector runs on has all but the fields its configuration leaves out.
    #[test]
    fn this_kernel_has_the_fields() {
        let data = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let types = KernelTypes::from_btf(&Btf::parse(&data).unwrap());
        assert_eq!(types.missed().collect::<Vec<_>>(), []);
        assert_eq!(types.missing(), None);
        assert_eq!(types.missing_for_exits(), None);
        assert!(types.victim.is_some());
        for field in [Offset::CgroupMemory, Offset::MemoryPeak, Offset::CgroupTime, Offset::CpuTimeAddedUp] {
            assert_ne!(types.offsets[field as usize], ABSENT, "{field:?}");
        }
    }
}
