//! A cgroup is made, removed, released, renamed, or changes between populated and empty.

use aya_ebpf::{
    helpers::{
        bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
        generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str},
    },
    macros::{map, raw_tracepoint},
    maps::{Array, ProgramArray},
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use collector_ebpf::{
    CgroupRecord, NOT_APPLICABLE, Offset, PATH_MAX_LEN, PATH_TRUNCATED, RecordKind, TRACEPOINT_PATH_BUFFER,
};

use crate::{
    kernel::Address,
    output::{self, SLOTS},
};

/// How many levels the walk for a long path goes up at most. The verifier looks at every round, so it bounds the
/// time a start takes.
const WALK_LEVELS: u32 = 512;
/// `NAME_MAX` of a kernfs node and its terminating zero.
const NAME_BUFFER: usize = 256;
/// The longest path and its terminating zero; a power of two, to bound indexes with a mask.
const PATH_BUFFER: usize = PATH_MAX_LEN + 1;

/// Where a record is built: too large for the 512 bytes of stack.
#[repr(C)]
struct Slot {
    /// Sent from its start, so that the path's bytes follow the record.
    record: CgroupRecord,
    path: [u8; PATH_BUFFER],
    /// The kernfs node a walk starts from.
    node: u64,
    name: [u8; NAME_BUFFER],
    /// The walk goes from leaf to root, so it fills this from its end. A name may reach past the last index.
    walked: [u8; PATH_BUFFER + NAME_BUFFER],
}

#[map(name = "CGROUP_SLOTS")]
static CGROUP_SLOTS: Array<Slot> = Array::with_max_entries(SLOTS, 0);

/// Holds `cgroup_long_path`. A tail call instead of a function, so that the verifier goes through its loop once and
/// not once per tracepoint.
#[map(name = "LONG_PATH")]
static LONG_PATH: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// `cgroup:cgroup_mkdir`.
#[raw_tracepoint(tracepoint = "cgroup_mkdir")]
fn cgroup_mkdir(ctx: RawTracePointContext) -> i32 {
    report(&ctx, RecordKind::Mkdir, NOT_APPLICABLE)
}

/// `cgroup:cgroup_rmdir`.
#[raw_tracepoint(tracepoint = "cgroup_rmdir")]
fn cgroup_rmdir(ctx: RawTracePointContext) -> i32 {
    report(&ctx, RecordKind::Rmdir, NOT_APPLICABLE)
}

/// `cgroup:cgroup_release`.
#[raw_tracepoint(tracepoint = "cgroup_release")]
fn cgroup_release(ctx: RawTracePointContext) -> i32 {
    report(&ctx, RecordKind::Release, NOT_APPLICABLE)
}

/// `cgroup:cgroup_rename`.
#[raw_tracepoint(tracepoint = "cgroup_rename")]
fn cgroup_rename(ctx: RawTracePointContext) -> i32 {
    report(&ctx, RecordKind::Rename, NOT_APPLICABLE)
}

/// `cgroup:cgroup_notify_populated`.
#[raw_tracepoint(tracepoint = "cgroup_notify_populated")]
fn cgroup_notify_populated(ctx: RawTracePointContext) -> i32 {
    report(&ctx, RecordKind::Populated, u32::from(ctx.arg::<i32>(2) != 0))
}

/// Finishes a record whose path does not fit in the tracepoint's own buffer, by walking from the cgroup's directory up
/// to the root. Entered by tail call only.
#[raw_tracepoint(tracepoint = "cgroup_long_path")]
fn cgroup_long_path(ctx: RawTracePointContext) -> i32 {
    if let Some(slot) = slot() {
        // SAFETY: `slot` checked that the map has this value.
        unsafe {
            if let Some(length) = walk(slot) {
                (*slot).record.path_len = length;
                (*slot).record.flags = 0;
            }
            // Logged here only: a line in the tracepoints' own programs makes the compiler share a function between
            // them, and not every JIT of 5.10 takes function calls beside a tail call.
            debug!(&ctx, "path of {} walked, {} bytes", (*slot).record.id, (*slot).record.path_len);
            send(slot);
        }
    }
    0
}

#[inline(always)]
fn slot() -> Option<*mut Slot> {
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    CGROUP_SLOTS.get_ptr_mut(cpu & (SLOTS - 1))
}

#[inline(always)]
fn report(ctx: &RawTracePointContext, kind: RecordKind, populated: u32) -> i32 {
    // A kernel field that cannot be read leaves no record at all: half an identity would be a lie, and the next scan
    // repairs what is missing.
    let _ = try_report(ctx, kind, populated);
    0
}

#[inline(always)]
fn try_report(ctx: &RawTracePointContext, kind: RecordKind, populated: u32) -> Option<()> {
    let slot = slot()?;
    let cgroup = Address::new(ctx.arg::<u64>(0))?;
    let node = cgroup.pointer(Offset::CgroupKn)?;
    let id: u64 = node.field(Offset::KernfsId)?;
    let parent_id: u64 =
        node.pointer(Offset::KernfsParent).and_then(|parent| parent.field(Offset::KernfsId)).unwrap_or(0);
    let hierarchy_id = cgroup.cgroup_hierarchy()?;
    let level: u32 = cgroup.field(Offset::CgroupLevel)?;
    // SAFETY: `slot` is a map value of this type; the path's length is bounded by the helper; the tail call's program
    // is of the same type.
    unsafe {
        (*slot).record = CgroupRecord {
            kind: kind as u32,
            hierarchy_id,
            boot_ns: bpf_ktime_get_boot_ns(),
            id,
            parent_id,
            level,
            populated,
            path_len: 0,
            flags: 0,
        };
        let path: *mut u8 = (&raw mut (*slot).path).cast();
        let copied =
            bpf_probe_read_kernel_str(path.cast(), TRACEPOINT_PATH_BUFFER as u32, ctx.arg::<u64>(1) as *const _);
        if copied <= 0 {
            (*slot).record.flags = PATH_TRUNCATED;
        } else {
            (*slot).record.path_len = copied as u32 - 1;
            if copied as usize >= TRACEPOINT_PATH_BUFFER {
                // The walk takes the mark off again; it stays when the tail call fails.
                (*slot).record.flags = PATH_TRUNCATED;
                (*slot).node = node.0;
                LONG_PATH.tail_call(ctx, 0);
            }
        }
        send(slot);
    }
    Some(())
}

/// Writes the path into the slot; its length, or `None` when it is too long or too deep.
///
/// # Safety
/// `slot` must be a value of the map.
#[inline(always)]
unsafe fn walk(slot: *mut Slot) -> Option<u32> {
    // SAFETY: every index is masked to stay inside the slot's arrays, every kernel address is read through a helper.
    unsafe {
        let mut node = Address::new((*slot).node)?;
        let walked: *mut u8 = (&raw mut (*slot).walked).cast();
        let name: *mut u8 = (&raw mut (*slot).name).cast();
        let mut start = PATH_MAX_LEN as u64;
        let mut levels = 0;
        while levels < WALK_LEVELS {
            let parent: u64 = node.field(Offset::KernfsParent)?;
            let Some(parent) = Address::new(parent) else {
                let length = PATH_MAX_LEN as u64 - start;
                let from = walked.add(masked(start, PATH_BUFFER));
                let size = masked(length, PATH_BUFFER) as u32;
                let copied = bpf_probe_read_kernel((&raw mut (*slot).path).cast(), size, from.cast());
                return if copied == 0 { Some(length as u32) } else { None };
            };
            let address: u64 = node.field(Offset::KernfsName)?;
            let copied = bpf_probe_read_kernel_str(name.cast(), NAME_BUFFER as u32, address as *const _);
            // The terminating zero's place is taken by the slash.
            if copied <= 1 || copied as u64 > start {
                return None;
            }
            start -= copied as u64;
            let to = walked.add(masked(start, PATH_BUFFER));
            *to = b'/';
            let size = masked(copied as u64 - 1, NAME_BUFFER) as u32;
            if bpf_probe_read_kernel(to.add(1).cast(), size, name.cast()) != 0 {
                return None;
            }
            node = parent;
            levels += 1;
        }
        None
    }
}

/// `value` as an index below `size`, a power of two, in a way the compiler cannot optimise out before the verifier
/// sees it.
#[inline(always)]
pub(crate) fn masked(value: u64, size: usize) -> usize {
    let mut value = value;
    // SAFETY: a volatile read of a local variable.
    value = unsafe { core::ptr::read_volatile(&raw const value) };
    value as usize & (size - 1)
}

/// Sends the record and its path.
///
/// # Safety
/// `slot` must be a value of the map with a complete record.
#[inline(always)]
unsafe fn send(slot: *mut Slot) {
    // SAFETY: the length is masked to the path's buffer; the kind was written by `try_report`.
    unsafe {
        let length = masked(u64::from((*slot).record.path_len), PATH_BUFFER) + size_of::<CgroupRecord>();
        if let Some(kind) = RecordKind::from_u32((*slot).record.kind) {
            output::send(kind, slot.cast(), length as u64);
        }
    }
}
