//! The OOM killer chose a victim.
//!
//! The tracepoint fires in the task whose allocation found no memory, which need not be the victim and need not share
//! a cgroup with it. Kernels pass the victim's pid, newer ones its `task_struct`; the daemon attaches the program that
//! fits the running kernel's BTF.

use aya_ebpf::{
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns, generated::bpf_get_current_task},
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use aya_log_ebpf::info;
use collector_ebpf::{
    MEMCG_LEVELS, MemcgLevel, OOM_CGROUPS, OOM_LOCAL_EVENTS, OOM_LOCKS, OOM_PGTABLES, OOM_SCORE_ADJ, OOM_SIZES,
    OOM_UID, OOM_VICTIM, Offset, OomRecord, OomTask, RecordKind,
};

use crate::{
    exits,
    kernel::{Address, offset},
    output::{self, SLOTS},
};

/// Levels of a radix tree with 64 slots per node that 32 bits of index need.
const TREE_LEVELS: u32 = 6;

#[map(name = "OOM_SLOTS")]
static OOM_SLOTS: Array<OomRecord> = Array::with_max_entries(SLOTS, 0);

/// `oom:mark_victim` with the victim as a `task_struct`.
#[raw_tracepoint(tracepoint = "mark_victim")]
fn mark_victim_task(ctx: RawTracePointContext) -> i32 {
    let _ = report(&ctx, Address::new(ctx.arg::<u64>(0)), 0);
    0
}

/// `oom:mark_victim` with the victim as a pid.
#[raw_tracepoint(tracepoint = "mark_victim")]
fn mark_victim_pid(ctx: RawTracePointContext) -> i32 {
    let pid = ctx.arg::<i32>(0) as u32;
    let _ = report(&ctx, task_by_pid(pid), pid);
    0
}

#[inline(always)]
fn report(ctx: &RawTracePointContext, victim: Option<Address>, pid: u32) -> Option<()> {
    // SAFETY: the helper has no preconditions.
    let slot = OOM_SLOTS.get_ptr_mut(unsafe { bpf_get_smp_processor_id() } & (SLOTS - 1))?;
    // SAFETY: the map has a value there, and nothing else writes it: a victim is marked under the kernel's `oom_lock`.
    let record = unsafe { &mut *slot };
    record.kind = RecordKind::Oom as u32;
    record.memory_hierarchy_id = 0;
    // SAFETY: the helper has no preconditions.
    record.boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    record.victim = OomTask { tid: pid, ..EMPTY_TASK };
    record.trigger = EMPTY_TASK;
    record.uid = 0;
    record.oom_score_adj = 0;
    record.total_vm_pages = 0;
    record.anon_pages = 0;
    record.file_pages = 0;
    record.shmem_pages = 0;
    record.pgtables_bytes = 0;
    record.fields = 0;
    record.level_count = 0;
    // SAFETY: the helper has no preconditions.
    if let Some(current) = Address::new(unsafe { bpf_get_current_task() }) {
        let _ = read_task(current, &mut record.trigger);
        let _ = read_cgroups(current, &mut record.trigger);
    }
    if let Some(victim) = victim {
        if read_task(victim, &mut record.victim).is_some() {
            record.fields |= OOM_VICTIM;
            exits::killed_for_memory(record.victim.tgid);
        }
        read_victim(victim, record);
        if let Some(memory) = read_cgroups(victim, &mut record.victim) {
            record.fields |= OOM_CGROUPS;
            let _ = read_levels(memory, record);
        }
    }
    info!(ctx, "victim {} of trigger {}", record.victim.tid, record.trigger.tid);
    // SAFETY: the slot is a whole record.
    unsafe { output::send(RecordKind::Oom, slot.cast(), size_of::<OomRecord>() as u64) };
    Some(())
}

const EMPTY_TASK: OomTask = OomTask { tgid: 0, tid: 0, comm: [0; 16], default_cgroup: 0, memory_cgroup: 0 };

#[inline(always)]
fn read_task(task: Address, into: &mut OomTask) -> Option<()> {
    into.tid = task.field(Offset::TaskPid)?;
    into.tgid = task.field(Offset::TaskTgid)?;
    into.comm = task.comm()?;
    Some(())
}

/// Fills in the ids of the task's cgroups; the `css` of the memory controller.
#[inline(always)]
fn read_cgroups(task: Address, into: &mut OomTask) -> Option<Address> {
    let set = task.pointer(Offset::TaskCgroups)?;
    into.default_cgroup = set.pointer(Offset::CssSetDefaultCgroup)?.cgroup_id()?;
    let memory = set.pointer(Offset::CssSetMemory)?;
    into.memory_cgroup = memory.pointer(Offset::CssCgroup)?.cgroup_id()?;
    Some(memory)
}

#[inline(always)]
fn read_victim(victim: Address, record: &mut OomRecord) {
    if let Some(uid) = victim.pointer(Offset::TaskRealCred).and_then(|cred| cred.field(Offset::CredUid)) {
        record.uid = uid;
        record.fields |= OOM_UID;
    }
    if let Some(adj) =
        victim.pointer(Offset::TaskSignal).and_then(|signal| signal.field::<i16>(Offset::SignalOomScoreAdj))
    {
        record.oom_score_adj = i32::from(adj);
        record.fields |= OOM_SCORE_ADJ;
    }
    let Some(mm) = victim.pointer(Offset::TaskMm) else { return };
    if read_sizes(mm, record).is_some() {
        record.fields |= OOM_SIZES;
    }
    if let Some(bytes) = counter(mm, Offset::MmPgtablesBytes) {
        record.pgtables_bytes = bytes;
        record.fields |= OOM_PGTABLES;
    }
}

#[inline(always)]
fn read_sizes(mm: Address, record: &mut OomRecord) -> Option<()> {
    record.total_vm_pages = mm.field(Offset::MmTotalVm)?;
    record.anon_pages = counter(mm, Offset::MmAnonPages)?;
    record.file_pages = counter(mm, Offset::MmFilePages)?;
    record.shmem_pages = counter(mm, Offset::MmShmemPages)?;
    Some(())
}

/// A kernel counter that may be below zero for a moment, as its parts are folded in late.
#[inline(always)]
fn counter(base: Address, field: Offset) -> Option<u64> {
    let value: i64 = base.field(field)?;
    Some(if value < 0 { 0 } else { value as u64 })
}

/// Describes the memory cgroups from the victim's upwards.
#[inline(always)]
fn read_levels(memory: Address, record: &mut OomRecord) -> Option<()> {
    record.memory_hierarchy_id = memory.pointer(Offset::CssCgroup)?.cgroup_hierarchy()?;
    if offset(Offset::MemcgLocalOoms).is_some() {
        record.fields |= OOM_LOCAL_EVENTS;
    }
    if offset(Offset::MemcgOomLock).is_some() && offset(Offset::MemcgUnderOom).is_some() {
        record.fields |= OOM_LOCKS;
    }
    let mut css = memory;
    let mut count = 0;
    while count < MEMCG_LEVELS {
        record.levels[count] = read_level(css)?;
        count += 1;
        record.level_count = count as u32;
        css = css.pointer(Offset::CssParent)?;
    }
    Some(())
}

#[inline(always)]
fn read_level(css: Address) -> Option<MemcgLevel> {
    let memcg = css.container(Offset::MemcgCss)?;
    Some(MemcgLevel {
        id: css.pointer(Offset::CssCgroup)?.cgroup_id()?,
        usage_pages: counter(memcg, Offset::MemcgUsage)?,
        max_pages: memcg.field(Offset::MemcgMax)?,
        local_ooms: memcg.field(Offset::MemcgLocalOoms).unwrap_or(0),
        oom_lock: memcg.field::<u8>(Offset::MemcgOomLock).map_or(0, u32::from),
        under_oom: memcg.field(Offset::MemcgUnderOom).unwrap_or(0),
    })
}

/// The task with this id in the initial pid namespace, found as the kernel does: no helper for it exists on the
/// kernels whose tracepoint carries a pid.
#[inline(always)]
fn task_by_pid(pid: u32) -> Option<Address> {
    // SAFETY: the helper has no preconditions.
    let current = Address::new(unsafe { bpf_get_current_task() })?;
    let namespace = current.pointer(Offset::TaskThreadPid)?.pointer(Offset::PidRootNamespace)?;
    let slots = offset(Offset::XaNodeSlotCount)?;
    let mut entry: u64 = namespace.field(Offset::PidNamespaceTree)?;
    let mut level = 0;
    while level < TREE_LEVELS {
        // An entry whose low bits are 2 is a node (`xa_is_node`); 0 is a pointer, here to a `struct pid`.
        if entry & 3 != 2 {
            break;
        }
        let node = Address::new(entry - 2)?;
        let shift: u8 = node.field(Offset::XaNodeShift)?;
        let index = u64::from(pid) >> (shift & 31);
        // Only the topmost node can be too small for the index.
        if level == 0 && index >= slots {
            return None;
        }
        let slot = node.at(Offset::XaNodeSlots)?.0 + (index & (slots - 1)) * 8;
        entry = Address(slot).read()?;
        level += 1;
    }
    // A single entry at the top stands for index 0, which no pid has.
    if level == 0 || entry & 3 != 0 {
        return None;
    }
    Address::new(entry)?.pointer(Offset::PidFirstTask)?.container(Offset::TaskPidLink)
}
