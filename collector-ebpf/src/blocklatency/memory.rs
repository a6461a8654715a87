//! Reading kernel memory at offsets that the daemon supplied.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use collector_ebpf::ABSENT;
use collector_ebpf::block_latency::{BlockField, BlockFields};

/// Set by the daemon before loading. The map behind it is frozen then, so that the verifier sees constants.
#[unsafe(no_mangle)]
static FIELDS: BlockFields = [ABSENT; BlockField::ALL.len()];

/// Which argument of `block_rq_insert` and `block_rq_issue` is the request: the second until 5.10, where the first is its
/// queue. Set like the fields.
#[unsafe(no_mangle)]
static REQUEST_AT: u32 = 0;

/// Whether the request is the second argument.
#[inline(always)]
pub(crate) fn request_is_second() -> bool {
    // SAFETY: volatile, because the value changes after compilation.
    unsafe { core::ptr::read_volatile(&raw const REQUEST_AT) == 1 }
}

/// The value the daemon put in for `field`.
#[inline(always)]
pub(crate) fn offset(field: BlockField) -> Option<u64> {
    // SAFETY: the index is below the array's length by construction of `BlockField`; volatile, because the value changes
    // after compilation.
    let value = unsafe { core::ptr::read_volatile((&raw const FIELDS).cast::<u32>().add(field as usize)) };
    if value == ABSENT { None } else { Some(u64::from(value)) }
}

/// The value at an address.
#[inline(always)]
pub(crate) fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on a bad one; the callers' types allow every bit pattern.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// The pointer at an address, unless it is null.
#[inline(always)]
pub(crate) fn pointer(address: u64) -> Option<u64> {
    match read::<u64>(address) {
        Some(0) | None => None,
        found => found,
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
