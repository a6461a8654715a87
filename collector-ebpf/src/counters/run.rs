//! What the programs have in common: the cgroups of a run, the way out, and how a cgroup is found to be the right one.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_probe_read_kernel, bpf_ringbuf_discard, bpf_ringbuf_reserve, bpf_ringbuf_submit},
    macros::map,
    maps::{Array, RingBuf},
    programs::RawTracePointContext,
};
use collector_ebpf::plan::{
    CSS_DYING, CSS_ONLINE, CSS_VISIBLE, Field, Fields, RUN_TARGETS, RunDescriptors, RunTargets, TARGET_WORDS,
};

/// Nobody waits for a record: whoever runs a program reads what it sent.
const NO_WAKEUP: u64 = 1;

/// The cgroups of this run, written by the daemon.
#[map(name = "TARGETS")]
static TARGETS: Array<RunTargets> = Array::with_max_entries(1, 0);

/// The directories of this run, written by the daemon.
#[map(name = "DESCRIPTORS")]
static DESCRIPTORS: Array<RunDescriptors> = Array::with_max_entries(1, 0);

/// The records of one run. Its size is set by the daemon.
#[map(name = "RECORDS")]
static RECORDS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

/// Set by the daemon before loading. The map behind it is frozen then, so that the verifier sees constants.
#[unsafe(no_mangle)]
static FIELDS: Fields = [0; Field::ALL.len()];

/// A value that the daemon put in. Volatile, because it changes after compilation.
///
/// # Safety
/// The address must be that of a static.
#[inline(always)]
pub(crate) unsafe fn given(address: *const u32) -> u32 {
    // SAFETY: as the caller says.
    unsafe { core::ptr::read_volatile(address) }
}

#[inline(always)]
pub(crate) fn offset(field: Field) -> u64 {
    // SAFETY: the index is below the array's length by construction of `Field`.
    u64::from(unsafe { given((&raw const FIELDS).cast::<u32>().add(field as usize)) })
}

/// Copies kernel memory; not 0 when it could not be read, and zeros are there then.
///
/// # Safety
/// `bytes` must be writable at `to`, provably to the verifier.
#[inline(always)]
pub(crate) unsafe fn copy(to: *mut u8, bytes: u32, from: u64) -> i64 {
    // SAFETY: as the caller says; the helper checks the address it reads from.
    unsafe { bpf_probe_read_kernel(to.cast(), bytes, from as *const _) as i64 }
}

/// The value at an address.
#[inline(always)]
pub(crate) fn read<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the value is as large; the helper writes all of it, whatever comes of the reading. The types read allow
    // every bit pattern.
    unsafe {
        if copy(value.as_mut_ptr().cast(), size_of::<T>() as u32, address) == 0 {
            Some(value.assume_init())
        } else {
            None
        }
    }
}

/// The pointer at an address, unless it is null.
#[inline(always)]
pub(crate) fn pointer(address: u64) -> Option<u64> {
    match read::<u64>(address) {
        Some(0) | None => None,
        found => found,
    }
}

/// How many of the run's entries count.
#[inline(always)]
pub(crate) fn count(ctx: &RawTracePointContext) -> u64 {
    // SAFETY: a raw tracepoint has up to twelve arguments, and all twelve are handed in.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>()) }
}

/// Calls for each entry of a run.
#[inline(always)]
pub(crate) fn each(ctx: &RawTracePointContext, mut body: impl FnMut(u64)) {
    let count = count(ctx);
    let mut index = 0;
    while index < RUN_TARGETS as u64 {
        if index >= count {
            break;
        }
        body(index);
        index += 1;
    }
}

/// The directory at this index.
#[inline(always)]
pub(crate) fn descriptor(index: u64) -> Option<u64> {
    let all = DESCRIPTORS.get_ptr(0)?.cast::<u64>();
    // SAFETY: the index is below the number of entries.
    Some(unsafe { *all.add(index as usize) })
}

/// The state of the cgroup at this index, if it still is that cgroup's and the cgroup is there.
#[inline(always)]
pub(crate) fn target(index: u64) -> Option<u64> {
    let all = TARGETS.get_ptr(0)?.cast::<u64>();
    // SAFETY: the index is below the number of entries.
    let (state, serial) =
        unsafe { (*all.add(index as usize * TARGET_WORDS), *all.add(index as usize * TARGET_WORDS + 1)) };
    let found: u64 = read(state.wrapping_add(offset(Field::CssSerial)))?;
    let flags: u32 = read(state.wrapping_add(offset(Field::CssFlags)))?;
    let is_there = flags & (CSS_ONLINE | CSS_VISIBLE | CSS_DYING) == CSS_ONLINE | CSS_VISIBLE;
    if found == serial && is_there { Some(state) } else { None }
}

/// Room for a record, which must be sent or dropped.
#[inline(always)]
pub(crate) fn reserve(bytes: u64) -> Option<*mut u8> {
    // SAFETY: the map is a ring buffer.
    let record = unsafe { bpf_ringbuf_reserve((&raw const RECORDS).cast_mut().cast(), bytes, 0) }.cast::<u8>();
    if record.is_null() { None } else { Some(record) }
}

/// Sends a record, or drops it where something of it could not be read.
///
/// # Safety
/// The record must be reserved and not be used any more.
#[inline(always)]
pub(crate) unsafe fn send(record: *mut u8, failed: i64) {
    // SAFETY: as the caller says.
    unsafe {
        if failed == 0 {
            bpf_ringbuf_submit(record.cast(), NO_WAKEUP)
        } else {
            bpf_ringbuf_discard(record.cast(), NO_WAKEUP)
        }
    }
}
