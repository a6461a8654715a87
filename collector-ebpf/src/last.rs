//! What a cgroup used, read while it is being removed: later is too late, and whoever reads files may come later.
//!
//! The kernel holds `cgroup_mutex` then: the states of the controllers are still there, since those are taken away under
//! the same lock, and one cgroup is removed at a time. Nobody runs in the cgroup any more, so its counters stand still.

use aya_ebpf::{
    helpers::bpf_ktime_get_boot_ns,
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use collector_ebpf::plan::COUNTED_CPUS;
use collector_ebpf::{LAST_HEADER, LAST_MEMORY_PEAK, LAST_TIME, LastCpus, LastRecord, Offset, RecordKind};

use crate::{cgroup::masked, kernel::Address, output};

/// `CPUTIME_USER`, `NICE`, `SYSTEM`, `SOFTIRQ`, `IRQ`: the first of `kernel_cpustat`.
const TIMES: usize = 5;
/// How often the CPUs' counters of v2 are read until two readings are the same: somebody may be adding them up.
const TRIES: u32 = 4;
/// The hierarchy of cgroup2.
const DEFAULT_HIERARCHY: u32 = 0;

/// Where a record is built. One will do: the kernel reports one removal at a time, under its lock of the path buffer.
#[map(name = "LAST_SLOT")]
static LAST_SLOT: Array<LastRecord> = Array::with_max_entries(1, 0);

/// Written by the daemon, once it is known.
#[map(name = "LAST_CPUS")]
static LAST_CPUS: Array<LastCpus> = Array::with_max_entries(1, 0);

/// CPUs that there may ever be; 0 where no CPU time is read. Set by the daemon before loading: as a constant, it saves the
/// verifier every other number.
#[unsafe(no_mangle)]
static LAST_CPU_COUNT: u32 = 0;

/// `cgroup:cgroup_rmdir`, before the program that reports the removal itself.
#[raw_tracepoint(tracepoint = "cgroup_rmdir")]
fn cgroup_last(ctx: RawTracePointContext) -> i32 {
    let _ = report(&ctx);
    0
}

#[inline(always)]
fn report(ctx: &RawTracePointContext) -> Option<()> {
    let slot = LAST_SLOT.get_ptr_mut(0)?;
    let cgroup = Address::new(ctx.arg::<u64>(0))?;
    let id = cgroup.cgroup_id()?;
    let hierarchy_id = cgroup.cgroup_hierarchy()?;
    // SAFETY: `slot` is a value of the map that nobody else uses now; the record's length is masked to stay inside it.
    unsafe {
        (*slot).fields = 0;
        (*slot).cpus = 0;
        if let Some(pages) = memory_peak(cgroup) {
            (*slot).memory_peak_pages = pages;
            (*slot).fields |= LAST_MEMORY_PEAK;
        }
        let of_cpus = LAST_CPUS.get_ptr(0)?.cast::<u64>();
        let count = u64::from(core::ptr::read_volatile(&raw const LAST_CPU_COUNT));
        if count != 0 && *of_cpus != 0 {
            let time = if hierarchy_id == DEFAULT_HIERARCHY {
                unified_time(slot, cgroup, of_cpus, count)
            } else {
                legacy_time(slot, cgroup, of_cpus, count)
            };
            if time.and_then(|()| shown(slot, cgroup)).is_some() {
                (*slot).fields |= LAST_TIME;
            }
        }
        if (*slot).fields == 0 {
            return None;
        }
        (*slot).kind = RecordKind::Last as u32;
        (*slot).hierarchy_id = hierarchy_id;
        (*slot).boot_ns = bpf_ktime_get_boot_ns();
        (*slot).id = id;
        let each = match (*slot).cpus {
            0 => 0,
            cpus => 8 * (1 + masked(u64::from(cpus) - 1, COUNTED_CPUS)),
        };
        output::send_with_room(RecordKind::Last, slot.cast(), (LAST_HEADER + each) as u64);
    }
    Some(())
}

/// `mem_cgroup.memory.watermark`, where the cgroup has the controller.
#[inline(always)]
fn memory_peak(cgroup: Address) -> Option<u64> {
    cgroup.pointer(Offset::CgroupMemory)?.field(Offset::MemoryPeak)
}

/// What the kernel last showed as user and system time.
///
/// # Safety
/// `slot` must be a value of the map.
#[inline(always)]
unsafe fn shown(slot: *mut LastRecord, cgroup: Address) -> Option<()> {
    // SAFETY: as the caller says.
    unsafe {
        (*slot).shown_user = cgroup.field(Offset::CgroupShownUser)?;
        (*slot).shown_system = cgroup.field(Offset::CgroupShownSystem)?;
    }
    Some(())
}

/// CPU time of cgroup v1, which the kernel counts for each CPU in every cgroup up to the root.
///
/// # Safety
/// `slot` and `of_cpus` must be values of their maps.
#[inline(always)]
unsafe fn legacy_time(slot: *mut LastRecord, cgroup: Address, of_cpus: *const u64, count: u64) -> Option<()> {
    let state = cgroup.pointer(Offset::CgroupCpuacct)?;
    let usage: u64 = state.field(Offset::CpuacctUsage)?;
    let times: u64 = state.field(Offset::CpuacctStat)?;
    let (mut user, mut system, mut total) = (0_u64, 0_u64, 0_u64);
    // SAFETY: the index stays below the lengths of both arrays.
    unsafe {
        let each = (&raw mut (*slot).each).cast::<u64>();
        let mut cpu = 0;
        while cpu < COUNTED_CPUS {
            if cpu as u64 >= count {
                break;
            }
            let area = *of_cpus.add(1 + cpu);
            let used: u64 = Address(usage.wrapping_add(area)).read()?;
            let of_cpu: [u64; TIMES] = Address(times.wrapping_add(area)).read()?;
            *each.add(cpu) = used;
            total = total.wrapping_add(used);
            user = user.wrapping_add(of_cpu[0]).wrapping_add(of_cpu[1]);
            system = system.wrapping_add(of_cpu[2]).wrapping_add(of_cpu[3]).wrapping_add(of_cpu[4]);
            cpu += 1;
        }
        (*slot).cpus = cpu as u32;
        (*slot).user = user;
        (*slot).system = system;
        (*slot).total = total;
    }
    Some(())
}

/// CPU time of cgroup v2: what was added up, and what each CPU counted since.
///
/// # Safety
/// `slot` and `of_cpus` must be values of their maps.
#[inline(always)]
unsafe fn unified_time(slot: *mut LastRecord, cgroup: Address, of_cpus: *const u64, count: u64) -> Option<()> {
    let counters: u64 = cgroup.field(Offset::CgroupCpuCounters)?;
    let (counted, added_up) = (Address(counters).at(Offset::CpuTime)?, Address(counters).at(Offset::CpuTimeAddedUp)?);
    let mut before = Time { system: u64::MAX, user: u64::MAX, total: u64::MAX };
    let mut tries = 0;
    while tries < TRIES {
        let mut now: Time = cgroup.field(Offset::CgroupTime)?;
        let mut cpu = 0;
        while cpu < COUNTED_CPUS {
            if cpu as u64 >= count {
                break;
            }
            // SAFETY: the index stays below the array's length.
            let area = unsafe { *of_cpus.add(1 + cpu) };
            let new: Time = Address(counted.0.wrapping_add(area)).read()?;
            let old: Time = Address(added_up.0.wrapping_add(area)).read()?;
            now.system = now.system.wrapping_add(new.system).wrapping_sub(old.system);
            now.user = now.user.wrapping_add(new.user).wrapping_sub(old.user);
            now.total = now.total.wrapping_add(new.total).wrapping_sub(old.total);
            cpu += 1;
        }
        if now.total == before.total && now.user == before.user && now.system == before.system {
            // SAFETY: as the caller says.
            unsafe {
                (*slot).user = now.user;
                (*slot).system = now.system;
                (*slot).total = now.total;
            }
            return Some(());
        }
        before = now;
        tries += 1;
    }
    None
}

/// `struct task_cputime`, whose order the daemon looked at.
#[repr(C)]
#[derive(Clone, Copy)]
struct Time {
    system: u64,
    user: u64,
    total: u64,
}
