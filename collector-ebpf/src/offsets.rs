//! Where the running kernel keeps the fields the programs read.
//!
//! rustc emits no CO-RE relocations, so the daemon looks every field up in the kernel's BTF and hands the numbers to
//! the programs before they are loaded. The kernel knows them as constants then, and drops code for fields it lacks.

/// Byte offsets by [`Offset`], [`ABSENT`] where this kernel has no such field.
pub type Offsets = [u32; Offset::ALL.len()];

/// The value of an [`Offsets`] entry whose field is not on this kernel.
pub const ABSENT: u32 = u32::MAX;

/// What the programs are built with, until the daemon puts the real numbers in.
pub const NO_OFFSETS: Offsets = [ABSENT; Offset::ALL.len()];

macro_rules! offsets {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A kernel field the programs read; the number is its index in [`Offsets`].
        #[repr(usize)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Offset {
            $($(#[$doc])+ $name,)+
        }

        impl Offset {
            /// Every field, in the order of its number.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];
        }
    };
}

offsets! {
    /// `cgroup.kn`: its directory's kernfs node.
    CgroupKn,
    /// `cgroup.root`.
    CgroupRoot,
    /// `cgroup.level`.
    CgroupLevel,
    /// `cgroup.nr_populated_csets`: how many sets with tasks have this cgroup.
    CgroupPopulatedCsets,
    /// `cgroup_root.hierarchy_id`.
    RootHierarchyId,
    /// `kernfs_node.id`, 64 bits since 5.5.
    KernfsId,
    /// `kernfs_node.parent`, named `__parent` since 6.15.
    KernfsParent,
    /// `kernfs_node.name`.
    KernfsName,
    /// `task_struct.pid`.
    TaskPid,
    /// `task_struct.tgid`.
    TaskTgid,
    /// `task_struct.comm`.
    TaskComm,
    /// `task_struct.cgroups`.
    TaskCgroups,
    /// `task_struct.signal`.
    TaskSignal,
    /// `task_struct.mm`.
    TaskMm,
    /// `task_struct.real_cred`, the one `task_uid` reads.
    TaskRealCred,
    /// `task_struct.thread_pid`.
    TaskThreadPid,
    /// `task_struct.pid_links[PIDTYPE_PID]`.
    TaskPidLink,
    /// `css_set.nr_tasks`.
    CssSetTasks,
    /// `css_set.dfl_cgrp`.
    CssSetDefaultCgroup,
    /// `css_set.subsys[memory_cgrp_id]`.
    CssSetMemory,
    /// `signal_struct.nr_threads`.
    SignalThreads,
    /// `signal_struct.oom_score_adj`.
    SignalOomScoreAdj,
    /// `cred.uid`.
    CredUid,
    /// `mm_struct.total_vm`.
    MmTotalVm,
    /// `mm_struct.rss_stat`, the word that counts `MM_ANONPAGES`.
    MmAnonPages,
    /// The same of `MM_FILEPAGES`.
    MmFilePages,
    /// The same of `MM_SHMEMPAGES`.
    MmShmemPages,
    /// `mm_struct.pgtables_bytes`.
    MmPgtablesBytes,
    /// `cgroup_subsys_state.cgroup`.
    CssCgroup,
    /// `cgroup_subsys_state.parent`.
    CssParent,
    /// `mem_cgroup.css`, to come from the css to its `mem_cgroup`.
    MemcgCss,
    /// `mem_cgroup.memory.usage`.
    MemcgUsage,
    /// `mem_cgroup.memory.max`.
    MemcgMax,
    /// `mem_cgroup.memory_events_local[MEMCG_OOM]`.
    MemcgLocalOoms,
    /// `mem_cgroup.oom_lock`, since 6.11 only with `CONFIG_MEMCG_V1`.
    MemcgOomLock,
    /// `mem_cgroup.under_oom`, since 6.11 only with `CONFIG_MEMCG_V1`.
    MemcgUnderOom,
    /// `pid.numbers[0].ns`: the initial pid namespace.
    PidRootNamespace,
    /// `pid.tasks[PIDTYPE_PID].first`.
    PidFirstTask,
    /// `pid_namespace.idr.idr_rt.xa_head`.
    PidNamespaceTree,
    /// `xa_node.shift`.
    XaNodeShift,
    /// `xa_node.slots`.
    XaNodeSlots,
    /// Not an offset: how many slots an `xa_node` has, a power of two.
    XaNodeSlotCount,
    /// `task_struct.group_leader`: the first thread of its process.
    TaskGroupLeader,
    /// `task_struct.real_parent`.
    TaskRealParent,
    /// `task_struct.exit_code`.
    TaskExitCode,
    /// `task_struct.start_boottime`.
    TaskStartBoottime,
    /// `task_struct.sighand`.
    TaskSighand,
    /// `signal_struct.live`: threads that have not begun to exit.
    SignalLive,
    /// `signal_struct.flags`.
    SignalFlags,
    /// `signal_struct.group_exit_code`.
    SignalGroupExitCode,
    /// `sighand_struct.action[0].sa.sa_handler`.
    SighandHandler,
    /// Not an offset: how far the handlers of two signals are apart.
    SighandActionSize,
    /// `kernel_siginfo.si_code`.
    SiginfoCode,
    /// `pid.level`.
    PidLevel,
    /// `pid.numbers[0].nr`.
    PidNumber,
    /// Not an offset: how far the numbers of two pid namespaces are apart.
    PidNumberSize,
    /// `cgroup.subsys[memory_cgrp_id]`.
    CgroupMemory,
    /// `mem_cgroup.memory.watermark`, from its css.
    MemoryPeak,
    /// `cgroup.subsys[cpuacct_cgrp_id]`.
    CgroupCpuacct,
    /// `cpuacct.cpuusage`, from its css; since 5.17, before that there are two counters for each CPU.
    CpuacctUsage,
    /// `cpuacct.cpustat`, from its css.
    CpuacctStat,
    /// `cgroup.prev_cputime.utime`.
    CgroupShownUser,
    /// `cgroup.prev_cputime.stime`.
    CgroupShownSystem,
    /// `cgroup.bstat.cputime`: CPU time of cgroup v2 as it was last added up.
    CgroupTime,
    /// `cgroup.rstat_base_cpu`, named `rstat_cpu` before 6.16: what each CPU counts.
    CgroupCpuCounters,
    /// `cgroup_rstat_base_cpu.bstat.cputime`, before 6.16 `cgroup_rstat_cpu`.
    CpuTime,
    /// `last_bstat.cputime` of the same: what of it was added up.
    CpuTimeAddedUp,
    /// `bpf_array.pptrs`: by it is found where each CPU has its own data.
    ArrayPointers,
}

const _: () = {
    let mut index = 0;
    while index < Offset::ALL.len() {
        assert!(Offset::ALL[index] as usize == index);
        index += 1;
    }
};
