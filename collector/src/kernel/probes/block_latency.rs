//! How long requests to block devices wait and take: an object of its own, loaded where the kind `blocklatency` is switched
//! on.
//!
//! The programs keep a row for each cgroup, device and operation in a map, which is read here now and then.

use std::collections::HashMap as Map;

use aya::maps::{Array, HashMap, MapData, MapError};
use aya::{Ebpf, EbpfLoader};
use collector_ebpf::block_latency::{
    BUCKETS, BY_TASK, BlockField, BlockFields, DISCARD, FIRST_EXPONENT, FORGOTTEN, Key, LEFT_OUT_ROWS, MINOR_BITS,
    QUEUED, QUEUED_BUCKETS, READ, Row, SERVED, SERVED_BUCKETS,
};

use super::btf::{Btf, Parameter};
use super::kind_object::{self, KindObject, Obstacle, WithoutKind};
use super::load::{attach_program, gather_rights, load_program, map_bytes, take_map};
use super::support::{Cause, Facility, Unavailable};
use crate::kernel::HostRoots;
use crate::kernel::cgroup::Version;

/// The programs, built by `cargo xtask bpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../collector-ebpf/blocklatency.bpf.o");
/// The tracepoints, and the programs of the same names. What ends requests comes first, so that none is remembered for ever.
const TRACEPOINTS: [&str; 3] = [COMPLETE, "block_rq_insert", ISSUE];
const COMPLETE: &str = "block_rq_complete";
const ISSUE: &str = "block_rq_issue";

/// Buckets of a histogram of times.
pub const LATENCY_BUCKETS: usize = BUCKETS;

/// The upper bound of the first bucket is 2 to the power of this, in seconds; that of each next one is twice as high, and
/// the last has none.
pub const FIRST_LATENCY_EXPONENT: i32 = FIRST_EXPONENT;

/// Each field and where it is.
const FIELDS: [(BlockField, &str, &str); 18] = [
    (BlockField::RequestBio, "request", "bio"),
    (BlockField::RequestLength, "request", "__data_len"),
    (BlockField::RequestFlags, "request", "cmd_flags"),
    (BlockField::RequestStart, "request", "start_time_ns"),
    (BlockField::RequestState, "request", "state"),
    (BlockField::RequestDisk, "request", "rq_disk"),
    (BlockField::RequestQueue, "request", "q"),
    (BlockField::QueueDisk, "request_queue", "disk"),
    (BlockField::DiskMajor, "gendisk", "major"),
    (BlockField::DiskMinor, "gendisk", "first_minor"),
    (BlockField::BioGroup, "bio", "bi_blkg"),
    (BlockField::GroupBlkcg, "blkcg_gq", "blkcg"),
    (BlockField::BlkcgState, "blkcg", "css"),
    (BlockField::StateCgroup, "cgroup_subsys_state", "cgroup"),
    (BlockField::CgroupKn, "cgroup", "kn"),
    (BlockField::KernfsId, "kernfs_node", "id"),
    (BlockField::TaskCgroups, "task_struct", "cgroups"),
    (BlockField::SetDefault, "css_set", "dfl_cgrp"),
];

/// The device is found by one or by the other.
const OF_DISK: [BlockField; 2] = [BlockField::RequestDisk, BlockField::QueueDisk];

/// What requests do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockOperation {
    /// They read.
    Read,
    /// They write.
    Write,
    /// They give space back.
    Discard,
}

/// How long requests took, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTimes {
    /// All together.
    pub total: u64,
    /// How many there were by length.
    pub buckets: [u64; LATENCY_BUCKETS],
}

/// What one cgroup's requests of one kind took on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRow {
    /// The whole device.
    pub major: u32,
    /// The same.
    pub minor: u32,
    /// What they did.
    pub operation: BlockOperation,
    /// How many were counted for the cgroup of the task that made them, in place of their bio's.
    pub by_task: u64,
    /// Until the device got them. Those that the kernel does not say the beginning of are not included.
    pub queued: BlockTimes,
    /// From then until they were done.
    pub served: BlockTimes,
}

/// All cgroups' by the kernfs id of their directory in the hierarchy of the controller `io` or `blkio`.
pub type AllBlockRows = Map<u64, Vec<BlockRow>>;

/// The loaded programs and their maps. Dropping it detaches the programs.
pub struct BlockLatencies {
    /// Kept for its links.
    _ebpf: Ebpf,
    rows: HashMap<MapData, Key, Row>,
    notes: Array<MapData, u64>,
    map_bytes: u64,
}

impl std::fmt::Debug for BlockLatencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockLatencies").field("map_bytes", &self.map_bytes).finish_non_exhaustive()
    }
}

impl BlockLatencies {
    /// Loads and attaches the programs. From here on each request is looked at three times. The version is that of the
    /// hierarchy that has the controller.
    ///
    /// # Errors
    /// With the one reason why requests cannot be timed.
    pub fn load(roots: &HostRoots, version: Version) -> Result<Self, WithoutKind> {
        Self::attach(roots, version).map_err(|obstacle| KindObject::BlockLatency.without(obstacle))
    }

    fn attach(roots: &HostRoots, version: Version) -> Result<Self, Obstacle> {
        let find = |btf: &Btf<'_>| Ok((fields(btf, version)?, request_place(btf)?));
        let (fields, place) = kind_object::in_types(roots, find)?;
        let facts = gather_rights(roots);
        let object = || {
            let mut loader = EbpfLoader::new();
            loader.override_global("FIELDS", &fields, true).override_global("REQUEST_AT", &place, true).load(OBJECT)
        };
        let mut ebpf = kind_object::load(&facts, object)?;
        let map_bytes = map_bytes(&ebpf, &roots.proc);
        let (rows, notes) = (take_map(&mut ebpf, "ROWS")?, take_map(&mut ebpf, "NOTES")?);
        for tracepoint in TRACEPOINTS {
            load_program(&mut ebpf, tracepoint, &facts)?;
            attach_program(&mut ebpf, tracepoint, tracepoint, &facts)?;
        }
        Ok(Self { _ebpf: ebpf, rows, notes, map_bytes })
    }

    /// Kernel memory of all maps, as the kernel counts it.
    pub fn map_bytes(&self) -> u64 {
        self.map_bytes
    }

    /// Requests that there was no room for, or that had begun before the programs were there.
    pub fn left_out(&self) -> u64 {
        [LEFT_OUT_ROWS, FORGOTTEN].iter().map(|note| self.notes.get(note, 0).unwrap_or(0)).sum()
    }

    /// What all cgroups' requests took so far. Rows of cgroups that are `gone` are taken out of the map; it is asked with a
    /// kernfs id.
    ///
    /// # Errors
    /// When the kernel refuses to read a map of ours, which it has no reason to.
    pub fn read(&mut self, gone: impl Fn(u64) -> bool) -> std::io::Result<AllBlockRows> {
        self.read_map(gone).map_err(std::io::Error::other)
    }

    fn read_map(&mut self, gone: impl Fn(u64) -> bool) -> Result<AllBlockRows, MapError> {
        let (mut all, mut to_remove) = (AllBlockRows::new(), Vec::new());
        for entry in &self.rows {
            let (key, row) = entry?;
            if gone(key[0]) {
                to_remove.push(key);
            } else {
                all.entry(key[0]).or_default().push(row_of(key, &row));
            }
        }
        for key in to_remove {
            // One that is gone meanwhile is as good.
            let _ = self.rows.remove(&key);
        }
        Ok(all)
    }
}

fn row_of(key: Key, row: &Row) -> BlockRow {
    let device = key[1] as u32;
    let operation = match (key[1] >> 32) as u32 {
        READ => BlockOperation::Read,
        DISCARD => BlockOperation::Discard,
        _ => BlockOperation::Write,
    };
    let times = |total: usize, first: usize| {
        let mut buckets = [0; LATENCY_BUCKETS];
        buckets.copy_from_slice(&row[first..first + LATENCY_BUCKETS]);
        BlockTimes { total: row[total], buckets }
    };
    BlockRow {
        major: device >> MINOR_BITS,
        minor: device & ((1 << MINOR_BITS) - 1),
        operation,
        by_task: row[BY_TASK],
        queued: times(QUEUED, QUEUED_BUCKETS),
        served: times(SERVED, SERVED_BUCKETS),
    }
}

fn no_field(structure: &str, names: &str) -> Obstacle {
    Obstacle {
        why: format!("this kernel's types have no {structure}.{names}"),
        fix: "run a kernel with CONFIG_BLK_CGROUP=y; if it has that, report this line and the kernel's version",
    }
}

/// Where the fields are on this kernel.
fn fields(btf: &Btf<'_>, version: Version) -> Result<BlockFields, Obstacle> {
    let mut fields = [collector_ebpf::ABSENT; BlockField::ALL.len()];
    for (field, structure, name) in FIELDS {
        // In a v1 hierarchy the task's own cgroup is that of the controller.
        if field == BlockField::SetDefault && version == Version::V1 {
            continue;
        }
        match btf.field_offset(structure, name) {
            Some(offset) => fields[field as usize] = offset,
            None if OF_DISK.contains(&field) => {}
            None => return Err(no_field(structure, name)),
        }
    }
    if OF_DISK.iter().all(|field| fields[*field as usize] == collector_ebpf::ABSENT) {
        return Err(no_field("request", "rq_disk nor request_queue.disk"));
    }
    let controller = btf.enumerator("cgroup_subsys_id", "io_cgrp_id");
    let state = controller.and_then(|number| btf.field_offset("css_set", &format!("subsys[{number}]")));
    fields[BlockField::SetIo as usize] = state.ok_or_else(|| no_field("css_set", "subsys[io_cgrp_id]"))?;
    Ok(fields)
}

/// Which argument of the tracepoints is the request: until 5.10 its queue comes first, where distributions have not
/// changed that.
fn request_place(btf: &Btf<'_>) -> Result<u32, Unavailable> {
    let unknown =
        |tracepoint| Unavailable { facility: Facility::Tracepoint(tracepoint), errno: None, cause: Cause::UnknownForm };
    // Behind the kernel's own parameter.
    let parameter = |tracepoint: &str, index: usize| btf.parameter(&format!("btf_trace_{tracepoint}"), index + 1);
    let done = [0, 1, 2].map(|index| parameter(COMPLETE, index));
    if !matches!(done, [Some(Parameter::Pointer), _, Some(Parameter::Integer)]) {
        return Err(unknown(COMPLETE));
    }
    match [0, 1].map(|index| parameter(ISSUE, index)) {
        [Some(Parameter::Pointer), None] => Ok(0),
        [Some(Parameter::Pointer), Some(Parameter::Pointer)] => Ok(1),
        _ => Err(unknown(ISSUE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_the_fields() {
        let types = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let btf = Btf::parse(&types).unwrap();
        let absent = |version| {
            let fields = fields(&btf, version).unwrap();
            let is_absent = |field: &BlockField| fields[*field as usize] == collector_ebpf::ABSENT;
            BlockField::ALL.into_iter().filter(is_absent).collect::<Vec<_>>()
        };
        assert!(absent(Version::V2).iter().all(|field| OF_DISK.contains(field)), "{:?}", absent(Version::V2));
        assert!(absent(Version::V1).contains(&BlockField::SetDefault));
        assert!(request_place(&btf).is_ok());
    }

    #[test]
    fn rows_are_taken_apart() {
        let row: Row = std::array::from_fn(|word| word as u64);
        let found = row_of([7, 3 << 32 | 254 << MINOR_BITS | 0x11], &row);
        assert_eq!((found.major, found.minor, found.operation), (254, 17, BlockOperation::Discard));
        assert_eq!((found.by_task, found.queued.total, found.served.total), (0, 1, 2));
        assert_eq!((found.queued.buckets[0], found.queued.buckets[23]), (3, 26));
        assert_eq!((found.served.buckets[0], found.served.buckets[23]), (27, 50));
    }
}
