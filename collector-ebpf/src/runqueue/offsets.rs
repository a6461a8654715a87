//! The offsets in kernel memory that the daemon supplied.

use collector_ebpf::ABSENT;
use collector_ebpf::run_queue::{RunQueueField, RunQueueFields};

/// Set by the daemon before loading. The map behind it is frozen then, so that the verifier sees constants.
#[unsafe(no_mangle)]
static FIELDS: RunQueueFields = [ABSENT; RunQueueField::ALL.len()];

/// The value the daemon put in for `field`.
#[inline(always)]
pub(crate) fn offset(field: RunQueueField) -> Option<u64> {
    // SAFETY: the index is below the array's length by construction of `RunQueueField`; volatile, because the value changes
    // after compilation.
    let value = unsafe { core::ptr::read_volatile((&raw const FIELDS).cast::<u32>().add(field as usize)) };
    if value == ABSENT { None } else { Some(u64::from(value)) }
}
