//! CPU time of cgroup v1, which the kernel counts for each CPU.

use aya_ebpf::{
    helpers::generated::bpf_map_lookup_percpu_elem,
    macros::{map, raw_tracepoint},
    maps::{Array, PerCpuArray},
    programs::RawTracePointContext,
};
use collector_ebpf::plan::{COUNTED_CPUS, CPU_TIME_WORDS, Field, RECORD_HEADER};

use crate::run::{copy, each, given, offset, pointer, reserve, send, target};

/// `CPUTIME_USER`, `NICE`, `SYSTEM`, `SOFTIRQ`, `IRQ`: the first of `kernel_cpustat`.
const TIMES: usize = 5;

/// Where each CPU has its own data, as the distance from the address that all share.
#[map(name = "CPU_AREAS")]
static CPU_AREAS: Array<[u64; COUNTED_CPUS]> = Array::with_max_entries(1, 0);

/// A map whose place in the data of each CPU is known.
#[map(name = "CPU_PROBE")]
static CPU_PROBE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// CPUs that there may ever be, and the bytes of a record. Set by the daemon.
#[unsafe(no_mangle)]
static CPU_COUNT: u32 = 1;
#[unsafe(no_mangle)]
static CPU_TIME_BYTES: u32 = (RECORD_HEADER + 8 * (CPU_TIME_WORDS + 1)) as u32;

/// Finds where each CPU has its data: of a map for each CPU both the shared address and each CPU's are known. Needs 5.19.
#[raw_tracepoint(tracepoint = "counters")]
fn find_cpus(_: RawTracePointContext) -> i32 {
    let _ = try_find_cpus();
    0
}

#[inline(always)]
fn try_find_cpus() -> Option<()> {
    let areas = CPU_AREAS.get_ptr_mut(0)?.cast::<u64>();
    // SAFETY: addresses pass through the map, after which they are plain numbers to the verifier; indexes stay below its
    // length.
    unsafe {
        core::ptr::write_volatile(areas, (&raw const CPU_PROBE) as u64);
        let map = core::ptr::read_volatile(areas);
        let shared = pointer(map + offset(Field::ArrayPointers))?;
        let count = given(&raw const CPU_COUNT);
        let key = 0_u32;
        let mut cpu = 0;
        while cpu < COUNTED_CPUS as u32 {
            if cpu >= count {
                break;
            }
            let own =
                bpf_map_lookup_percpu_elem((&raw const CPU_PROBE).cast_mut().cast(), (&raw const key).cast(), cpu);
            if own.is_null() {
                return None;
            }
            let area = areas.add(cpu as usize);
            core::ptr::write_volatile(area, own as u64);
            let address = core::ptr::read_volatile(area);
            core::ptr::write_volatile(area, address.wrapping_sub(shared));
            cpu += 1;
        }
    }
    Some(())
}

#[raw_tracepoint(tracepoint = "counters")]
fn read_cpu_time(ctx: RawTracePointContext) -> i32 {
    each(&ctx, |index| {
        let _ = read_one(index);
    });
    0
}

#[inline(always)]
fn read_one(index: u64) -> Option<()> {
    let areas = CPU_AREAS.get_ptr(0)?.cast::<u64>();
    let state = target(index)?;
    let usage = pointer(state + offset(Field::CpuacctUsage))?;
    let times = pointer(state + offset(Field::CpuacctStat))?;
    let cgroup = pointer(state + offset(Field::CssCgroup))?;
    // SAFETY: the record has room for every CPU that is counted, as the verifier sees; what is read of the stack is.
    unsafe {
        let record = reserve(u64::from(given(&raw const CPU_TIME_BYTES)))?;
        let words = record.cast::<u64>();
        *words = index;
        let (mut user, mut system) = (0_u64, 0_u64);
        let mut failed = copy(words.add(3).cast(), 8, cgroup + offset(Field::CgroupPrevUtime));
        failed |= copy(words.add(4).cast(), 8, cgroup + offset(Field::CgroupPrevStime));
        let count = given(&raw const CPU_COUNT);
        let mut cpu = 0;
        while cpu < COUNTED_CPUS as u32 {
            if cpu >= count {
                break;
            }
            let area = *areas.add(cpu as usize);
            failed |= copy(words.add(1 + CPU_TIME_WORDS + cpu as usize).cast(), 8, usage.wrapping_add(area));
            let mut of_cpu = [0_u64; TIMES];
            failed |= copy(of_cpu.as_mut_ptr().cast(), (8 * TIMES) as u32, times.wrapping_add(area));
            user = user.wrapping_add(of_cpu[0]).wrapping_add(of_cpu[1]);
            system = system.wrapping_add(of_cpu[2]).wrapping_add(of_cpu[3]).wrapping_add(of_cpu[4]);
            cpu += 1;
        }
        *words.add(1) = user;
        *words.add(2) = system;
        send(record, failed);
    }
    Some(())
}
