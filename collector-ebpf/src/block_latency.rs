//! How long requests to block devices take: what the programs about the block layer keep, and what they are given.
//!
//! The kernel itself notes when a request was made (`request.start_time_ns`). When the device got it is kept here, by the
//! request's address, until it is done; then both times go into the row of the cgroup, the device and the operation.

/// Rows. Nothing is taken out of the map but by the daemon, so that no number ever steps back; what finds no room is
/// counted.
pub const ROWS: u32 = 8_192;
/// Requests under way that are remembered; the most recent ones.
pub const REQUESTS: u32 = 16_384;

/// Buckets of a histogram: each goes up to twice as much as the one before, and the last has no upper bound.
pub const BUCKETS: usize = 24;
/// The upper bound of the first bucket is 2 to the power of this, in seconds: about four microseconds.
pub const FIRST_EXPONENT: i32 = -18;

/// Whose a row is: the kernfs id of the cgroup in the hierarchy of the controller `io` or `blkio`; the device's numbers as
/// the kernel packs them, with the operation in the upper half.
pub type Key = [u64; 2];
/// Bits of a device's minor number.
pub const MINOR_BITS: u32 = 20;

/// `REQ_OP_READ`.
pub const READ: u32 = 0;
/// `REQ_OP_WRITE`, and every other operation that writes and has no name here.
pub const WRITE: u32 = 1;
/// `REQ_OP_DISCARD`.
pub const DISCARD: u32 = 3;

/// Of a row: requests whose cgroup was found by the task that made them, not by their bio.
pub const BY_TASK: usize = 0;
/// Time from the making of the requests until the device got them, in ns.
pub const QUEUED: usize = 1;
/// Time from then until they were done, in ns.
pub const SERVED: usize = 2;
/// The first bucket of the former. A request that the kernel does not say the beginning of is in none.
pub const QUEUED_BUCKETS: usize = 3;
/// The first bucket of the latter.
pub const SERVED_BUCKETS: usize = QUEUED_BUCKETS + BUCKETS;
/// Words of a row.
pub const ROW_WORDS: usize = SERVED_BUCKETS + BUCKETS;
/// What is known of one cgroup's operations on one device.
pub type Row = [u64; ROW_WORDS];

/// Requests that found no room among the rows.
pub const LEFT_OUT_ROWS: u32 = 0;
/// Requests that a device had done and of which nothing was remembered: there were more under way, or they began before
/// the programs were there.
pub const FORGOTTEN: u32 = 1;
/// Words beside the rows.
pub const NOTES: u32 = 2;

macro_rules! fields {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A kernel field that the programs read; the number is its index in [`BlockFields`].
        #[repr(usize)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum BlockField {
            $($(#[$doc])+ $name,)+
        }

        impl BlockField {
            /// Every field, in the order of its number.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];
        }
    };
}

fields! {
    /// `request.bio`: null for one without data, and after the last part is done.
    RequestBio,
    /// `request.__data_len`: bytes that are not done yet.
    RequestLength,
    /// `request.cmd_flags`, whose lowest byte is the operation.
    RequestFlags,
    /// `request.start_time_ns`: when it was made, by `CLOCK_MONOTONIC`; 0 where nobody wants to know.
    RequestStart,
    /// `request.state`: 0 as long as no device got it.
    RequestState,
    /// `request.rq_disk`, until 5.16.
    RequestDisk,
    /// `request.q`.
    RequestQueue,
    /// `request_queue.disk`, since 5.15.
    QueueDisk,
    /// `gendisk.major`.
    DiskMajor,
    /// `gendisk.first_minor`.
    DiskMinor,
    /// `bio.bi_blkg`, with `CONFIG_BLK_CGROUP`.
    BioGroup,
    /// `blkcg_gq.blkcg`.
    GroupBlkcg,
    /// `blkcg.css`.
    BlkcgState,
    /// `cgroup_subsys_state.cgroup`.
    StateCgroup,
    /// `cgroup.kn`.
    CgroupKn,
    /// `kernfs_node.id`.
    KernfsId,
    /// `task_struct.cgroups`.
    TaskCgroups,
    /// `css_set.subsys[io_cgrp_id]`.
    SetIo,
    /// `css_set.dfl_cgrp`; absent where the controller is in a v1 hierarchy.
    SetDefault,
}

/// Byte offsets by [`BlockField`], [`crate::ABSENT`] where this kernel has no such field.
pub type BlockFields = [u32; BlockField::ALL.len()];

const _: () = {
    let mut index = 0;
    while index < BlockField::ALL.len() {
        assert!(BlockField::ALL[index] as usize == index);
        index += 1;
    }
    assert!(ROW_WORDS == 51);
};
