//! The eBPF programs that read counters of cgroups from kernel memory, without any file.
//!
//! They are never attached: the daemon runs them, hands in the cgroups, and takes the records from a ring buffer. Kernel
//! memory is read with `bpf_probe_read_kernel` at offsets from BTF; everything here stays within what the 5.10 verifier
//! accepts, but for the one program that needs 5.19.
#![no_std]
#![no_main]

mod cpu_time;
mod find;
mod plans;
mod run;

/// Without a GPL-compatible licence the kernel refuses `bpf_probe_read_kernel`.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
