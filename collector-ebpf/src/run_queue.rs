//! How long tasks wait for a CPU: what the program about the scheduler keeps, and what it is told.
//!
//! The kernel itself notes when a task began to wait (`sched_info.last_queued`, by the clock of the run queue), so that one
//! tracepoint is enough: whoever gets the CPU waited from then until now. A cgroup is found by the number of its `cpu`
//! controller's state, which is small and used again; the serial number beside it never is.

use core::mem::size_of;

/// Cgroups that are counted; those with higher numbers are only counted as left out.
pub const COUNTED_CGROUPS: u32 = 8_192;
/// Pairs of who waits and who runs meanwhile. Nothing is taken out of the map but by the daemon, so that no number of a
/// pair ever steps back; what finds no room is counted.
pub const PAIRS: u32 = 16_384;
/// Run queues whose throttling is remembered, one for each cgroup with a quota and CPU; the most recent ones.
pub const THROTTLED_QUEUES: u32 = 2_048;

/// Buckets of a histogram: each goes up to twice as much as the one before, and the last has no upper bound.
pub const BUCKETS: usize = 24;
/// The upper bound of the first bucket is 2 to the power of this, in seconds: about a microsecond.
pub const FIRST_EXPONENT: i32 = -20;

/// Of a cgroup's row: the serial number of its `cpu` controller's state, by which all the rest is meant.
pub const SERIAL: usize = 0;
/// The kernfs id of its directory in that controller's hierarchy; 0 for the root's row.
pub const CGROUP: usize = 1;
/// Time waited while a quota, its own or that of a cgroup above, let nothing of it run, in ns.
pub const THROTTLED: usize = 2;
/// Time waited while its own tasks ran on that CPU, in ns.
pub const OWN: usize = 3;
/// Time waited for a CPU, without what it was throttled, in ns.
pub const WAITED: usize = 4;
/// The first bucket of the waits, without what they were throttled.
pub const WAITS: usize = 5;
/// Words of a row.
pub const ROW_WORDS: usize = WAITS + BUCKETS;
/// What is known of one cgroup.
pub type Row = [u64; ROW_WORDS];

/// Serial numbers of the cgroup that waited and of the one that ran meanwhile.
pub type Pair = [u64; 2];
/// How long that was, in ns; and the numbers of both, the waiting one's in the lower half.
pub type PairTime = [u64; 2];

/// Cgroups whose number is too high were seen so often.
pub const LEFT_OUT_CGROUPS: u32 = 0;
/// Times that found no room among the pairs.
pub const LEFT_OUT_PAIRS: u32 = 1;
/// No number of a cgroup was higher.
pub const HIGHEST: u32 = 2;
/// Words beside the rows.
pub const NOTES: u32 = 3;

macro_rules! fields {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A kernel field that the program reads; the number is its index in [`RunQueueFields`].
        #[repr(usize)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RunQueueField {
            $($(#[$doc])+ $name,)+
        }

        impl RunQueueField {
            /// Every field, in the order of its number.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];
        }
    };
}

fields! {
    /// `task_struct.pid`.
    TaskPid,
    /// `task_struct.sched_info.last_queued`: since when it waits for a CPU, with `CONFIG_SCHED_INFO`.
    TaskQueued,
    /// `task_struct.sched_task_group`.
    TaskGroup,
    /// `task_struct.se.cfs_rq`.
    TaskQueue,
    /// `task_group.css.id`.
    GroupId,
    /// `task_group.css.serial_nr`.
    GroupSerial,
    /// `task_group.css.cgroup`.
    GroupCgroup,
    /// `cgroup.kn`.
    CgroupKn,
    /// `kernfs_node.id`.
    KernfsId,
    /// `cfs_rq.rq`.
    QueueOfCpu,
    /// `rq.clock`.
    CpuClock,
    /// `cfs_rq.throttle_count`: above 0 while its quota or one above lets nothing run; with `CONFIG_CFS_BANDWIDTH`.
    QueueThrottled,
    /// `cfs_rq.throttled_clock_self_time`, since 6.6; before it `throttled_clock_pelt_time`, since 5.19, and
    /// `throttled_clock_task_time`: how long that was altogether.
    QueueThrottledTime,
}

/// Byte offsets by [`RunQueueField`], [`crate::ABSENT`] where this kernel has no such field.
pub type RunQueueFields = [u32; RunQueueField::ALL.len()];

const _: () = {
    let mut index = 0;
    while index < RunQueueField::ALL.len() {
        assert!(RunQueueField::ALL[index] as usize == index);
        index += 1;
    }
    // A program cannot have more on its stack than 512 bytes, nor a map's value than a page without trouble.
    assert!(size_of::<Row>() == 232);
};
