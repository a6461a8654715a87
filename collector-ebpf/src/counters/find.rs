//! From an open directory to the kernel's own structures of that cgroup: nobody else can be meant.

use aya_ebpf::{helpers::generated::bpf_get_current_task, macros::raw_tracepoint, programs::RawTracePointContext};
use collector_ebpf::plan::{FOUND_WORDS, Field, NO_CONTROLLER};

use crate::run::{descriptor, each, offset, pointer, read, reserve, send};

#[raw_tracepoint(tracepoint = "counters")]
fn find(ctx: RawTracePointContext) -> i32 {
    let _ = find_all(&ctx);
    0
}

#[inline(always)]
fn find_all(ctx: &RawTracePointContext) -> Option<()> {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let files = pointer(task + offset(Field::TaskFiles))?;
    let table = pointer(files + offset(Field::FilesTable))?;
    let length: u32 = read(table + offset(Field::TableLength))?;
    let array = pointer(table + offset(Field::TableFiles))?;
    each(ctx, |index| {
        let _ = find_one(index, array, length);
    });
    Some(())
}

#[inline(always)]
fn find_one(index: u64, files: u64, length: u32) -> Option<()> {
    let wanted = descriptor(index)?;
    let (number, controller) = (wanted & 0xffff_ffff, (wanted >> 32) as u32);
    if number >= u64::from(length) {
        return None;
    }
    let file = pointer(files + number * size_of::<u64>() as u64)?;
    let inode = pointer(file + offset(Field::FileInode))?;
    let node = pointer(inode + offset(Field::InodePrivate))?;
    let cgroup = pointer(node + offset(Field::KernfsPriv))?;
    // Only a cgroup points back to its directory.
    if pointer(cgroup + offset(Field::CgroupKn))? != node {
        return None;
    }
    let state = if controller == NO_CONTROLLER {
        cgroup + offset(Field::CgroupSelf)
    } else {
        let states = cgroup + offset(Field::CgroupSubsys);
        pointer(states + u64::from(controller) * size_of::<u64>() as u64)?
    };
    let serial: u64 = read(state + offset(Field::CssSerial))?;
    let id: u64 = read(node + offset(Field::KernfsId))?;
    let record = reserve((FOUND_WORDS * size_of::<u64>()) as u64)?;
    // SAFETY: the record has room for so many words.
    unsafe {
        let words = record.cast::<u64>();
        *words = index;
        *words.add(1) = state;
        *words.add(2) = serial;
        *words.add(3) = id;
        send(record, 0);
    }
    Some(())
}
