//! The eBPF program about the scheduler: who waits how long for a CPU, and who has it meanwhile.
//!
//! It is loaded only where somebody asks for it. Every change of task on every CPU comes through here, so that most of them
//! take the shortest way: six reads, two additions. Kernel memory is read with `bpf_probe_read_kernel` at offsets from BTF;
//! everything here stays within what the 5.10 verifier accepts.
#![no_std]
#![no_main]

mod offsets;
mod throttled;

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::{Array, HashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use collector_ebpf::doubling::bucket;
use collector_ebpf::program::{add_to, masked, pointer, read};
use collector_ebpf::run_queue::{
    BUCKETS, CGROUP, COUNTED_CGROUPS, FIRST_EXPONENT, HIGHEST, LEFT_OUT_CGROUPS, LEFT_OUT_PAIRS, NOTES, OWN, PAIRS,
    Pair, PairTime, ROW_WORDS, Row, RunQueueField, SERIAL, THROTTLED, WAITED, WAITS,
};

use crate::offsets::offset;
use crate::throttled::Throttled;

/// Who had a CPU lately, a power of two.
const TURNS: usize = 8;
/// So many of them are looked at for one wait.
const LOOKED_AT: usize = 4;
/// For shorter waits, in ns, it is not looked who ran meanwhile, and no quota is thought of: that would cost more than all
/// the rest, and adds up to little.
const WORTH_A_LOOK: u64 = 20_000;
/// In place of a cgroup's number: nobody ran.
const IDLE: u32 = u32::MAX;
/// The root's row, and that of sessions' automatic groups, whose number is 0.
const ROOT: u32 = 0;
/// The number of the root's own state.
const ROOT_ID: u32 = 1;

/// A cgroup by its number and serial number.
#[repr(C)]
#[derive(Clone, Copy)]
struct Group {
    id: u32,
    flags: u32,
    serial: u64,
}

/// Who had the CPU, and since when, until the next one had it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Turn {
    from: u64,
    serial: u64,
    id: u64,
}

/// What is known of a CPU.
#[repr(C)]
struct Cpu {
    /// Its run queue.
    queue: u64,
    /// The fair queue of the running task's cgroup.
    running_in: u64,
    /// How many turns there were; the running one is the last.
    turn: u64,
    turns: [Turn; TURNS],
}

#[map(name = "CPUS")]
static CPUS: PerCpuArray<Cpu> = PerCpuArray::with_max_entries(1, 0);

/// By the number of the cgroup.
#[map(name = "ROWS")]
static ROWS: Array<Row> = Array::with_max_entries(COUNTED_CGROUPS, 0);

#[map(name = "PAIRS")]
static PAIR_TIMES: HashMap<Pair, PairTime> = HashMap::with_max_entries(PAIRS, 0);

#[map(name = "NOTES")]
static NOTED: Array<u64> = Array::with_max_entries(NOTES, 0);

/// `sched:sched_switch`, in the moment before the next task has the CPU.
#[raw_tracepoint(tracepoint = "sched_switch")]
fn sched_switch(ctx: RawTracePointContext) -> i32 {
    let _ = switched(ctx.arg::<u64>(2));
    0
}

#[inline(always)]
fn switched(next: u64) -> Option<()> {
    let cpu = CPUS.get_ptr_mut(0)?;
    // SAFETY: the map has this value, and nothing but this CPU's own run of this program uses it: the tracepoint fires with
    // interrupts off.
    let cpu = unsafe { &mut *cpu };
    if cpu.queue == 0 {
        let fair = pointer(next + offset(RunQueueField::TaskQueue)?)?;
        cpu.queue = pointer(fair + offset(RunQueueField::QueueOfCpu)?)?;
    }
    let now: u64 = read(cpu.queue + offset(RunQueueField::CpuClock)?)?;
    let queued: u64 = read(next + offset(RunQueueField::TaskQueued)?)?;
    let last = turn(cpu, cpu.turn)?;
    // SAFETY: `turn` gives places of the value.
    let since = unsafe { (*last).from };
    if cpu.running_in != 0 && now.wrapping_sub(since) >= WORTH_A_LOOK {
        throttled::note_if_begun(cpu.running_in, now);
    }
    cpu.running_in = 0;
    let group = if queued == 0 && read::<u32>(next + offset(RunQueueField::TaskPid)?)? == 0 {
        Group { id: IDLE, flags: 0, serial: 0 }
    } else {
        group_of(next)?
    };
    if queued != 0 && now > queued {
        waited(cpu, group, next, queued, now);
    }
    if group.id > ROOT_ID && group.id != IDLE {
        cpu.running_in = read(next + offset(RunQueueField::TaskQueue)?)?;
    }
    cpu.turn += 1;
    let mine = turn(cpu, cpu.turn)?;
    // SAFETY: as above.
    unsafe { *mine = Turn { from: now, serial: group.serial, id: u64::from(group.id) } };
    Some(())
}

/// The place of a turn.
#[inline(always)]
fn turn(cpu: &mut Cpu, number: u64) -> Option<*mut Turn> {
    let first: *mut Turn = (&raw mut cpu.turns).cast();
    // SAFETY: the index is masked to stay inside the array.
    Some(unsafe { first.add(masked(number, TURNS)) })
}

#[inline(always)]
fn group_of(task: u64) -> Option<Group> {
    let group = pointer(task + offset(RunQueueField::TaskGroup)?)?;
    let (id, serial) = (offset(RunQueueField::GroupId)?, offset(RunQueueField::GroupSerial)?);
    // Beside each other on every kernel so far.
    if serial == id + 8 {
        return read(group + id);
    }
    Some(Group { id: read(group + id)?, flags: 0, serial: read(group + serial)? })
}

#[inline(always)]
fn waited(cpu: &mut Cpu, group: Group, next: u64, queued: u64, now: u64) -> Option<()> {
    let row = row_of(group, next)?;
    let mut wait = now - queued;
    if wait < WORTH_A_LOOK {
        add(row, WAITED, wait);
        add(row, WAITS + bucket(wait, FIRST_EXPONENT, BUCKETS), 1);
        return Some(());
    }
    let mut from = queued;
    if group.id > ROOT_ID {
        let Throttled { time, until } = throttled::between(next, queued, now);
        if time != 0 {
            let time = if time < wait { time } else { wait };
            add(row, THROTTLED, time);
            wait -= time;
            // Whoever ran before that was not waited for.
            if until > from {
                from = until;
            }
        }
    }
    add(row, WAITED, wait);
    add(row, WAITS + bucket(wait, FIRST_EXPONENT, BUCKETS), 1);
    let mut end = now;
    let mut back = 0;
    while back < LOOKED_AT as u64 {
        if end <= from {
            break;
        }
        let last = turn(cpu, cpu.turn.wrapping_sub(back))?;
        // SAFETY: `turn` gives places of the value.
        let Turn { from: began, serial, id } = unsafe { *last };
        let start = if began > from { began } else { from };
        if id != u64::from(IDLE) && began != 0 && end > start {
            if serial == group.serial {
                add(row, OWN, end - start);
            } else {
                blame(group, serial, id, end - start);
            }
        }
        end = began;
        back += 1;
    }
    Some(())
}

/// Adds to what one cgroup waited while another ran.
#[inline(always)]
fn blame(victim: Group, serial: u64, id: u64, time: u64) {
    let pair: Pair = [victim.serial, serial];
    if let Some(so_far) = PAIR_TIMES.get_ptr_mut(pair) {
        // SAFETY: the map has a value there; a word of it is aligned.
        unsafe { add_to(so_far.cast(), time) };
        return;
    }
    let first: PairTime = [time, u64::from(victim.id) | id << 32];
    if PAIR_TIMES.insert(pair, first, 0).is_err() {
        note(LEFT_OUT_PAIRS);
    }
}

/// The cgroup's row, cleared if it was another's.
#[inline(always)]
fn row_of(group: Group, task: u64) -> Option<*mut u64> {
    let id = if group.id == ROOT_ID { ROOT } else { group.id };
    let Some(row) = ROWS.get_ptr_mut(id) else {
        note(LEFT_OUT_CGROUPS);
        return None;
    };
    let row = row.cast::<u64>();
    // SAFETY: the row has so many words.
    unsafe {
        if id != ROOT && *row.add(SERIAL) != group.serial {
            begin(row, group, task)?;
        }
    }
    Some(row)
}

/// # Safety
/// The row must be a value of the map.
#[inline(always)]
unsafe fn begin(row: *mut u64, group: Group, task: u64) -> Option<()> {
    let state = pointer(task + offset(RunQueueField::TaskGroup)?)?;
    let cgroup = pointer(state + offset(RunQueueField::GroupCgroup)?)?;
    let node = pointer(cgroup + offset(RunQueueField::CgroupKn)?)?;
    let id: u64 = read(node + offset(RunQueueField::KernfsId)?)?;
    // SAFETY: as the caller says.
    unsafe {
        let mut word = THROTTLED;
        while word < ROW_WORDS {
            core::ptr::write_volatile(row.add(word), 0);
            word += 1;
        }
        *row.add(CGROUP) = id;
        *row.add(SERIAL) = group.serial;
    }
    let highest = NOTED.get_ptr_mut(HIGHEST)?;
    // SAFETY: the map has this value. Two CPUs at a time may lose the lower of two numbers, or the higher one until the
    // next cgroup is seen, which the daemon allows for.
    unsafe {
        if *highest < u64::from(group.id) {
            *highest = u64::from(group.id);
        }
    }
    Some(())
}

/// Adds to a word of a row.
#[inline(always)]
fn add(row: *mut u64, word: usize, value: u64) {
    // A row has 29 words: the mask bounds the index for the verifier, and the comparison does the rest.
    let word = masked(word as u64, 32);
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
