//! The offsets in kernel memory that the daemon supplied.

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
