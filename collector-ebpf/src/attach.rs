//! The first process of a cgroup is attached.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use collector_ebpf::{AttachRecord, Offset, RecordKind};

use crate::{kernel::Address, output};

/// `cgroup:cgroup_attach_task`, which fires after the move. A fork into a cgroup does not fire it, and neither does
/// `CLONE_INTO_CGROUP`.
#[raw_tracepoint(tracepoint = "cgroup_attach_task")]
fn cgroup_attach_task(ctx: RawTracePointContext) -> i32 {
    let _ = report(&ctx);
    0
}

#[inline(always)]
fn report(ctx: &RawTracePointContext) -> Option<()> {
    let cgroup = Address::new(ctx.arg::<u64>(0))?;
    let task = Address::new(ctx.arg::<u64>(2))?;
    if !is_first(cgroup, task)? {
        return None;
    }
    let mut record = AttachRecord {
        kind: RecordKind::Attach as u32,
        hierarchy_id: cgroup.cgroup_hierarchy()?,
        // SAFETY: the helper has no preconditions.
        boot_ns: unsafe { bpf_ktime_get_boot_ns() },
        id: cgroup.cgroup_id()?,
        tgid: task.field(Offset::TaskTgid)?,
        reserved: 0,
        comm: task.comm()?,
    };
    debug!(ctx, "attach process {} to cgroup {}", record.tgid, record.id);
    // SAFETY: the record is on the stack, whole and without padding.
    unsafe { output::send(RecordKind::Attach, (&raw mut record).cast(), size_of::<AttachRecord>() as u64) };
    Some(())
}

/// Whether no other process is in the cgroup: one set of tasks has this cgroup, and it holds no more tasks than this
/// process has threads.
#[inline(always)]
fn is_first(cgroup: Address, task: Address) -> Option<bool> {
    let sets: u32 = cgroup.field(Offset::CgroupPopulatedCsets)?;
    if sets > 1 {
        return Some(false);
    }
    let tasks: u32 = task.pointer(Offset::TaskCgroups)?.field(Offset::CssSetTasks)?;
    let threads: u32 = task.pointer(Offset::TaskSignal)?.field(Offset::SignalThreads)?;
    Some(tasks <= threads)
}
