//! The eBPF programs: raw tracepoints that turn kernel events into the records of this package's library.
//!
//! They decide nothing about containers. Kernel memory is read with `bpf_probe_read_kernel` at offsets the daemon
//! takes from BTF; everything here stays within what the 5.10 verifier accepts.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod attach;
mod cgroup;
mod exits;
mod kernel;
mod last;
mod oom;
mod output;

/// Without a GPL-compatible licence the kernel refuses `bpf_probe_read_kernel`.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
