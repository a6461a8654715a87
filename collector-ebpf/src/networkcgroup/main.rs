//! The eBPF programs about packets of sockets, one for each direction, at the root of cgroup2.
//!
//! They are loaded only where somebody asks for them, and let every packet pass. Nothing of the packet itself is read, and
//! no kernel memory: the socket's cgroup comes from a helper, the length from the IP header on from the context, and so
//! does the number of segments that a card or a driver takes apart or has put together.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use aya_ebpf::{
    helpers::generated::bpf_skb_cgroup_id,
    macros::{cgroup_skb, map},
    maps::{Array, PerCpuHashMap},
    programs::SkBuffContext,
};
use collector_ebpf::network_cgroup::{MOST_CGROUPS, RECEIVED, ROW_WORDS, Row, SENT};
use collector_ebpf::program::add_to;

/// What a program returns for a packet that may go on.
const PASS: i32 = 1;
/// An entry is made, or is there already (`BPF_NOEXIST`).
const NEW: u64 = 1;

/// By the kernfs id of the cgroup. Its room is made before, so that nothing is asked of the allocator for a packet.
#[map(name = "ROWS")]
static ROWS: PerCpuHashMap<u64, Row> = PerCpuHashMap::with_max_entries(MOST_CGROUPS, 0);

/// Packets of cgroups for which there was no room.
#[map(name = "LEFT_OUT")]
static LEFT_OUT: Array<u64> = Array::with_max_entries(1, 0);

/// Runs for each packet that a socket of IPv4 or IPv6 is about to get.
#[cgroup_skb(ingress)]
fn network_received(ctx: SkBuffContext) -> i32 {
    count::<RECEIVED>(&ctx);
    PASS
}

/// Runs for each packet that a socket of IPv4 or IPv6 sends, before it is cut into fragments.
#[cgroup_skb(egress)]
fn network_sent(ctx: SkBuffContext) -> i32 {
    count::<SENT>(&ctx);
    PASS
}

#[inline(always)]
fn count<const DIRECTION: usize>(ctx: &SkBuffContext) {
    let packet = ctx.skb.skb;
    // SAFETY: the context is the one that the kernel handed in.
    let cgroup = unsafe { bpf_skb_cgroup_id(packet) };
    if cgroup == 0 {
        return;
    }
    // SAFETY: as above; the verifier turns these into reads of the kernel's own packet.
    let (bytes, segments) = unsafe { ((*packet).len, (*packet).gso_segs) };
    // 0 of a packet that is none of several.
    let packets = if segments > 1 { segments } else { 1 };
    match row_of(cgroup) {
        // SAFETY: a row has these words, and they are aligned.
        // In one step even on one CPU: a process that sends is interrupted by packets that arrive, and what they are answered
        // with is sent at once.
        Some(row) => unsafe {
            let row = row.cast::<u64>();
            add_to(row.add(DIRECTION), u64::from(bytes));
            add_to(row.add(DIRECTION + 1), u64::from(packets));
        },
        None => note_left_out(u64::from(packets)),
    }
}

/// The row of a cgroup on this CPU, made if there is none yet.
#[inline(always)]
fn row_of(cgroup: u64) -> Option<*mut Row> {
    if let Some(row) = ROWS.get_ptr_mut(cgroup) {
        return Some(row);
    }
    let mut empty = MaybeUninit::<Row>::uninit();
    // SAFETY: each word of the row is written before it is used; one by one, because a row of zeros in Rust becomes a call of
    // `memset`.
    let empty = unsafe {
        let words = empty.as_mut_ptr().cast::<u64>();
        let mut word = 0;
        while word < ROW_WORDS {
            core::ptr::write_volatile(words.add(word), 0);
            word += 1;
        }
        empty.assume_init_ref()
    };
    // Another CPU may have made it meanwhile.
    let _ = ROWS.insert(cgroup, empty, NEW);
    ROWS.get_ptr_mut(cgroup)
}

#[inline(always)]
fn note_left_out(packets: u64) {
    if let Some(left_out) = LEFT_OUT.get_ptr_mut(0) {
        // SAFETY: the map's value is aligned and lives as long as the program.
        unsafe { add_to(left_out, packets) };
    }
}

/// As of the other objects; the helper of these programs would do without.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
