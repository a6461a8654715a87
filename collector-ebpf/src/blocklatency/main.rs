//! The eBPF programs about the block layer: how long requests wait for their device, and how long it takes.
//!
//! They are loaded only where somebody asks for them. Kernel memory is read with `bpf_probe_read_kernel` at offsets from
//! BTF; everything here stays within what the 5.10 verifier accepts.
#![no_std]
#![no_main]

mod offsets;

use aya_ebpf::{
    helpers::{bpf_get_current_task, bpf_ktime_get_ns},
    macros::{map, raw_tracepoint},
    maps::{Array, HashMap, LruHashMap},
    programs::RawTracePointContext,
};
use collector_ebpf::block_latency::{
    BUCKETS, BY_TASK, BlockField, DISCARD, FIRST_EXPONENT, FORGOTTEN, Key, LEFT_OUT_ROWS, MINOR_BITS, NOTES, QUEUED,
    QUEUED_BUCKETS, READ, REQUESTS, ROW_WORDS, ROWS, Row, SERVED, SERVED_BUCKETS, WRITE,
};
use collector_ebpf::doubling::bucket;
use collector_ebpf::program::{add_to, masked, pointer, read};

use crate::offsets::{offset, request_is_second};

/// From here on operations are those of drivers and of whoever speaks to a device past the block layer; the kernel does
/// not count them either.
const PASSED_THROUGH: u32 = 32;
/// `REQ_OP_MASK`.
const OPERATION: u32 = 0xff;

/// A request under way.
#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    /// `request.start_time_ns`.
    start: u64,
    /// When it was put into a queue; 0 where it went to the device at once.
    inserted: u64,
    /// When the device got it, the last time; 0 until then, and once it is done.
    issued: u64,
    /// The kernfs id of its cgroup; 0 where that is not known.
    cgroup: u64,
    /// 1 where the cgroup is that of the task that made it.
    by_task: u64,
}

/// By the address of the kernel's. Those that are done stay until their memory is used again.
#[map(name = "REQUESTS")]
static UNDER_WAY: LruHashMap<u64, Request> = LruHashMap::with_max_entries(REQUESTS, 0);

#[map(name = "ROWS")]
static COUNTED: HashMap<Key, Row> = HashMap::with_max_entries(ROWS, 0);

/// What a row begins as: too large for a program's stack beside everything else.
#[map(name = "EMPTY")]
static EMPTY: Array<Row> = Array::with_max_entries(1, 0);

#[map(name = "NOTES")]
static NOTED: Array<u64> = Array::with_max_entries(NOTES, 0);

/// `block:block_rq_insert`, by whoever makes the request.
#[raw_tracepoint(tracepoint = "block_rq_insert")]
fn block_rq_insert(ctx: RawTracePointContext) -> i32 {
    let _ = inserted(request(&ctx));
    0
}

/// `block:block_rq_issue`: by whoever makes the request where it is in no queue, else by whom the queue is run.
#[raw_tracepoint(tracepoint = "block_rq_issue")]
fn block_rq_issue(ctx: RawTracePointContext) -> i32 {
    let _ = issued(request(&ctx));
    0
}

/// `block:block_rq_complete`, for each part that is done.
#[raw_tracepoint(tracepoint = "block_rq_complete")]
fn block_rq_complete(ctx: RawTracePointContext) -> i32 {
    let _ = completed(ctx.arg::<u64>(0), ctx.arg::<u64>(2) as u32);
    0
}

#[inline(always)]
fn request(ctx: &RawTracePointContext) -> u64 {
    if request_is_second() { ctx.arg::<u64>(1) } else { ctx.arg::<u64>(0) }
}

fn now() -> u64 {
    // SAFETY: the helper only reads a clock.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn inserted(request: u64) -> Option<()> {
    let start: u64 = read(request + offset(BlockField::RequestStart)?)?;
    // One that the device gave back is the same.
    if find(request, start).is_none() {
        begin(request, Request { start, inserted: now(), issued: 0, cgroup: 0, by_task: 0 });
    }
    Some(())
}

#[inline(always)]
fn issued(request: u64) -> Option<()> {
    let start: u64 = read(request + offset(BlockField::RequestStart)?)?;
    let now = now();
    match find(request, start) {
        // SAFETY: the map has a value there; it may be given to another request meanwhile, which spoils a number.
        Some(known) => unsafe { (*known).issued = now },
        None => begin(request, Request { start, inserted: 0, issued: now, cgroup: 0, by_task: 0 }),
    }
    Some(())
}

/// What is known of a request that is under way. One with which another was merged may have begun earlier than it did; one
/// that began later is another at the same address, and the end of the former was not seen.
#[inline(always)]
fn find(request: u64, start: u64) -> Option<*mut Request> {
    let known = UNDER_WAY.get_ptr_mut(request)?;
    // SAFETY: the map has a value there.
    let Request { start: known_start, inserted, issued, .. } = unsafe { *known };
    let is_under_way = inserted | issued != 0;
    if is_under_way && start <= known_start { Some(known) } else { None }
}

/// Remembers a request in the moment in which whoever makes it is the running task.
#[inline(always)]
fn begin(request: u64, mut new: Request) {
    if let Some((cgroup, by_task)) = cgroup_of(request) {
        new.cgroup = cgroup;
        new.by_task = by_task;
    }
    match UNDER_WAY.get_ptr_mut(request) {
        // SAFETY: the map has a value there; it may be given to another request meanwhile, which spoils a number.
        Some(known) => unsafe { *known = new },
        None => {
            let _ = UNDER_WAY.insert(request, new, 0);
        }
    }
}

/// The kernfs id of the cgroup, and 1 where it is that of the running task.
#[inline(always)]
fn cgroup_of(request: u64) -> Option<(u64, u64)> {
    // SAFETY: the helper only returns an address.
    let task = unsafe { bpf_get_current_task() };
    let set = pointer(task + offset(BlockField::TaskCgroups)?)?;
    let of_task = pointer(set + offset(BlockField::SetIo)?)?;
    let of_bio = state_of_bio(request);
    let own = match of_bio {
        Some(state) => pointer(state + offset(BlockField::StateCgroup)?)?,
        None => 0,
    };
    // On cgroup2 a bio belongs to the nearest cgroup above its task's that has the controller: within that the task says
    // more. Without a bio there is only the task.
    let mut cgroup = own;
    if of_bio.is_none() || of_bio == Some(of_task) {
        cgroup = match offset(BlockField::SetDefault) {
            Some(default) => pointer(set + default)?,
            None => pointer(of_task + offset(BlockField::StateCgroup)?)?,
        };
    }
    let node = pointer(cgroup + offset(BlockField::CgroupKn)?)?;
    let id: u64 = read(node + offset(BlockField::KernfsId)?)?;
    Some((id, if cgroup == own { 0 } else { 1 }))
}

/// The state of the controller in the cgroup that the request's first bio belongs to.
#[inline(always)]
fn state_of_bio(request: u64) -> Option<u64> {
    let bio = pointer(request + offset(BlockField::RequestBio)?)?;
    let group = pointer(bio + offset(BlockField::BioGroup)?)?;
    let blkcg = pointer(group + offset(BlockField::GroupBlkcg)?)?;
    Some(blkcg + offset(BlockField::BlkcgState)?)
}

#[inline(always)]
fn completed(request: u64, bytes: u32) -> Option<()> {
    let left: u32 = read(request + offset(BlockField::RequestLength)?)?;
    if bytes < left {
        return None;
    }
    let operation = operation(request)?;
    let Some(known) = UNDER_WAY.get_ptr_mut(request) else {
        // A flush of nothing is done without a device.
        if read::<u32>(request + offset(BlockField::RequestState)?)? != 0 {
            note(FORGOTTEN);
        }
        return None;
    };
    // SAFETY: the map has a value there; it may be given to another request meanwhile, which spoils a number.
    let done = unsafe {
        let done = *known;
        (*known).inserted = 0;
        (*known).issued = 0;
        done
    };
    // Either the device never got it, or it was done before: the kernel ends a request twice that a flush goes with.
    if done.issued == 0 || done.cgroup == 0 {
        return None;
    }
    // Merging may have changed it.
    let start: u64 = read(request + offset(BlockField::RequestStart)?)?;
    let row = row_of([done.cgroup, device(request)? | u64::from(operation) << 32])?;
    add(row, BY_TASK, done.by_task);
    let served = now().saturating_sub(done.issued);
    add(row, SERVED, served);
    add(row, SERVED_BUCKETS + bucket(served, FIRST_EXPONENT, BUCKETS), 1);
    let begun = if start != 0 { start } else { done.inserted };
    if begun != 0 {
        let queued = done.issued.saturating_sub(begun);
        add(row, QUEUED, queued);
        add(row, QUEUED_BUCKETS + bucket(queued, FIRST_EXPONENT, BUCKETS), 1);
    }
    Some(())
}

/// The operation as it is counted. A flush has no cgroup.
#[inline(always)]
fn operation(request: u64) -> Option<u32> {
    let flags: u32 = read(request + offset(BlockField::RequestFlags)?)?;
    match flags & OPERATION {
        READ => Some(READ),
        DISCARD => Some(DISCARD),
        // The lowest bit is that of what moves data to the device.
        other if other < PASSED_THROUGH && other & 1 == 1 => Some(WRITE),
        _ => None,
    }
}

/// The numbers of the whole device.
#[inline(always)]
fn device(request: u64) -> Option<u64> {
    let disk = match offset(BlockField::RequestDisk) {
        Some(disk) => pointer(request + disk)?,
        None => {
            let queue = pointer(request + offset(BlockField::RequestQueue)?)?;
            pointer(queue + offset(BlockField::QueueDisk)?)?
        }
    };
    let major: u32 = read(disk + offset(BlockField::DiskMajor)?)?;
    let minor: u32 = read(disk + offset(BlockField::DiskMinor)?)?;
    Some(u64::from(major << MINOR_BITS | minor))
}

#[inline(always)]
fn row_of(key: Key) -> Option<*mut u64> {
    if let Some(row) = COUNTED.get_ptr_mut(key) {
        return Some(row.cast());
    }
    let empty = EMPTY.get_ptr(0)?;
    // SAFETY: the map has this value, and nobody writes to it.
    let inserted = COUNTED.insert(key, unsafe { &*empty }, 0);
    if inserted.is_err() {
        note(LEFT_OUT_ROWS);
    }
    COUNTED.get_ptr_mut(key).map(|row| row.cast())
}

/// Adds to a word of a row.
#[inline(always)]
fn add(row: *mut u64, word: usize, value: u64) {
    // A row has 51 words: the mask bounds the index for the verifier, and the comparison does the rest.
    let word = masked(word as u64, 64);
    if word < ROW_WORDS {
        // SAFETY: the index is inside the row.
        unsafe { add_to(row.add(word), value) };
    }
}

fn note(word: u32) {
    if let Some(noted) = NOTED.get_ptr_mut(word) {
        // SAFETY: the map's values are aligned and live as long as the program.
        unsafe { add_to(noted, 1) };
    }
}

/// Without a GPL-compatible licence the kernel refuses `bpf_probe_read_kernel`.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
