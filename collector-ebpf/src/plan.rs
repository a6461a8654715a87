//! What the programs that read counters are told: which cgroups, and where in kernel memory their numbers are.
//!
//! These programs are never attached. The daemon runs them (`BPF_PROG_TEST_RUN`) for some cgroups at a time, and finds a
//! record for each of them in a ring buffer. Every number is at an offset that the daemon takes from BTF, so that one loop
//! over a plan reads any family.

/// Cgroups that one run reads at most. Preemption is off meanwhile, and the verifier goes through every round.
pub const RUN_TARGETS: usize = 64;
/// Steps of a plan at most.
pub const PLAN_STEPS: usize = 40;
/// CPUs whose times are read at most.
pub const COUNTED_CPUS: usize = 64;
/// Bytes before the numbers of a record: which of the run's cgroups it is about.
pub const RECORD_HEADER: usize = 8;

/// A cgroup's state of one controller, and the serial number that no other ever has.
pub const TARGET_WORDS: usize = 2;
/// The cgroups of one run: address and serial number of each.
pub type RunTargets = [u64; TARGET_WORDS * RUN_TARGETS];
/// What is looked for in one run: for each a descriptor of the cgroup's directory in the lower half, in the upper the number
/// of the controller, or [`NO_CONTROLLER`] for the cgroup itself.
pub type RunDescriptors = [u64; RUN_TARGETS];

/// Instead of a controller's number: the cgroup's own state.
pub const NO_CONTROLLER: u32 = u32::MAX;

/// One step: what to do, from which address, at which offset, and how many bytes; to where in the record.
pub type Step = [u32; 4];
/// Steps until the first [`END`].
pub type Plan = [Step; PLAN_STEPS];

/// A plan without steps.
pub const NO_PLAN: Plan = [[END, 0, 0, 0]; PLAN_STEPS];

/// The plan is done.
pub const END: u32 = 0;
/// `[COPY | base << 8, offset, bytes, to]`: bytes at the base and offset go to the record.
pub const COPY: u32 = 1;
/// `[FOLLOW | base << 8, offset, into, 0]`: the pointer at the base and offset becomes a base itself.
pub const FOLLOW: u32 = 2;
/// `[KEEP | base << 8, 0, 0, to]`: the base's address goes to the record.
pub const KEEP: u32 = 3;

/// The controller's state.
pub const STATE: u32 = 0;
/// An address that a step found.
pub const FIRST: u32 = 1;
/// An address that may be null, what is read there is 0 then: the parents.
pub const CHAIN: u32 = 2;

macro_rules! fields {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A kernel field that these programs know by name; the number is its index in [`Fields`].
        #[repr(usize)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Field {
            $($(#[$doc])+ $name,)+
        }

        impl Field {
            /// Every field, in the order of its number.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];
        }
    };
}

fields! {
    /// `cgroup_subsys_state.flags`.
    CssFlags,
    /// `cgroup_subsys_state.serial_nr`.
    CssSerial,
    /// `cgroup_subsys_state.cgroup`.
    CssCgroup,
    /// `cgroup.self`.
    CgroupSelf,
    /// `cgroup.kn`.
    CgroupKn,
    /// `cgroup.subsys`.
    CgroupSubsys,
    /// `cgroup.prev_cputime.utime`.
    CgroupPrevUtime,
    /// `cgroup.prev_cputime.stime`.
    CgroupPrevStime,
    /// `kernfs_node.priv`.
    KernfsPriv,
    /// `kernfs_node.id`.
    KernfsId,
    /// `task_struct.files`.
    TaskFiles,
    /// `files_struct.fdt`.
    FilesTable,
    /// `fdtable.fd`.
    TableFiles,
    /// `fdtable.max_fds`.
    TableLength,
    /// `file.f_inode`.
    FileInode,
    /// `inode.i_private`.
    InodePrivate,
    /// `bpf_array.pptrs`.
    ArrayPointers,
    /// `cpuacct.cpuusage`.
    CpuacctUsage,
    /// `cpuacct.cpustat`.
    CpuacctStat,
}

/// Byte offsets by [`Field`].
pub type Fields = [u32; Field::ALL.len()];

/// `CSS_ONLINE`, `CSS_VISIBLE` and `CSS_DYING`: set from when the cgroup is whole, while its files are there, and from when
/// it is being removed.
pub const CSS_ONLINE: u32 = 1 << 1;
/// See [`CSS_ONLINE`].
pub const CSS_VISIBLE: u32 = 1 << 3;
/// See [`CSS_ONLINE`].
pub const CSS_DYING: u32 = 1 << 4;

/// What is found about a descriptor: index, address, serial number, kernfs id.
pub const FOUND_WORDS: usize = 4;
/// Numbers of CPU time before those of each CPU: user and system time, and the two as last adjusted.
pub const CPU_TIME_WORDS: usize = 4;
