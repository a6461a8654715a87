//! What the programs of several objects need; the daemon has no use for it.

use core::arch::asm;

use aya_ebpf::helpers::bpf_probe_read_kernel;

/// The value at an address in kernel memory. `T` has to allow every bit pattern.
#[inline(always)]
pub fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on a bad one; the callers' types allow every bit pattern.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// The pointer at an address in kernel memory, unless it is null.
#[inline(always)]
pub fn pointer(address: u64) -> Option<u64> {
    match read::<u64>(address) {
        Some(0) | None => None,
        found => found,
    }
}

/// `value` as an index below `size`, a power of two, in a way the compiler cannot optimise out before the verifier
/// sees it.
#[inline(always)]
pub fn masked(value: u64, size: usize) -> usize {
    let mut value = value;
    // SAFETY: a volatile read of a local variable.
    value = unsafe { core::ptr::read_volatile(&raw const value) };
    value as usize & (size - 1)
}

/// Adds to a word of a map in one step.
///
/// # Safety
/// The address must be that of an aligned word in a map. Written out, because the target has no `AtomicU64::fetch_add`, and
/// an addition that also fetches needs 5.12.
#[inline(always)]
pub unsafe fn add_to(word: *mut u64, value: u64) {
    // SAFETY: as the caller says.
    unsafe { asm!("lock *(u64 *)({word} + 0) += {value}", word = in(reg) word, value = in(reg) value) };
}
