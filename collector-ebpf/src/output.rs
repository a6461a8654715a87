//! The way out: the ring buffer, and what was sent or lost.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE},
    helpers::generated::{bpf_ringbuf_output, bpf_ringbuf_query},
    macros::map,
    maps::{Array, RingBuf},
};
use collector_ebpf::{COUNTERS, RecordKind};
use core::arch::asm;

/// How many places to build a record in there are, a power of two. One per CPU would do, and grow with the machine;
/// the cgroup tracepoints run one at a time anyway (under the kernel's lock of the path buffer, since 4.19).
pub(crate) const SLOTS: u32 = 16;

/// Its size is set by the daemon.
#[map(name = "EVENTS")]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Per kind the records produced, then per kind the records lost.
#[map(name = "COUNTS")]
static COUNTS: Array<u64> = Array::with_max_entries(COUNTERS, 0);

/// Sends the first `length` bytes at `record`, and counts it as lost when the buffer has no room.
///
/// # Safety
/// `length` bytes must be readable at `record`, provably to the verifier.
#[inline(always)]
pub(crate) unsafe fn send(kind: RecordKind, record: *mut core::ffi::c_void, length: u64) {
    let kind = kind as u32;
    count(kind);
    // SAFETY: the map is a ring buffer, and the caller answers for the record.
    if unsafe { bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), record, length, 0) } < 0 {
        count(COUNTERS / 2 + kind);
    }
}

/// The same, but only while half of the buffer is free: who makes such records without end leaves the others their room.
///
/// # Safety
/// As for [`send`].
#[inline(always)]
pub(crate) unsafe fn send_with_room(kind: RecordKind, record: *mut core::ffi::c_void, length: u64) {
    // SAFETY: the map is a ring buffer.
    let [used, size] = [BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE]
        .map(|what| unsafe { bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), what.into()) });
    if used > size / 2 {
        count(kind as u32);
        return count(COUNTERS / 2 + kind as u32);
    }
    // SAFETY: the caller answers for the record.
    unsafe { send(kind, record, length) }
}

#[inline(always)]
fn count(index: u32) {
    if let Some(counter) = COUNTS.get_ptr_mut(index) {
        // SAFETY: the map's values are aligned u64 that live as long as the program. Written out, because the target
        // has no `AtomicU64::fetch_add`, and an addition that also fetches needs 5.12.
        unsafe { asm!("lock *(u64 *)({counter} + 0) += {one}", counter = in(reg) counter, one = in(reg) 1_u64) };
    }
}
