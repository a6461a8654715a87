//! When a quota let nothing of a cgroup run on a CPU.
//!
//! The kernel counts how long that was altogether, and has it counted when the time is over. So each time a task of such a
//! queue gets the CPU, what was added since is one more span: its end is known where its beginning was seen, when the
//! running task was taken off the CPU.

use aya_ebpf::{macros::map, maps::LruHashMap};
use collector_ebpf::program::{masked, read};
use collector_ebpf::run_queue::{RunQueueField, THROTTLED_QUEUES};

use crate::offsets::offset;

/// Spans that are remembered, a power of two. A task that waits through more of them had better have more CPU.
const SPANS: usize = 8;

/// A span in which nothing ran.
#[repr(C)]
#[derive(Clone, Copy)]
struct Span {
    /// When it was over.
    until: u64,
    /// How long it was.
    length: u64,
}

/// A queue that was throttled before.
#[repr(C)]
#[derive(Clone, Copy)]
struct Queue {
    /// How long it was throttled altogether, as last seen.
    seen: u64,
    /// When the span began that is not over yet; 0 where that was not seen.
    begun: u64,
    /// How many spans there were.
    count: u64,
    spans: [Span; SPANS],
}

#[map(name = "THROTTLED_QUEUES")]
static QUEUES: LruHashMap<u64, Queue> = LruHashMap::with_max_entries(THROTTLED_QUEUES, 0);

/// What of a wait was for a quota.
pub(crate) struct Throttled {
    /// How long.
    pub(crate) time: u64,
    /// When the last span of it was over.
    pub(crate) until: u64,
}

const NONE: Throttled = Throttled { time: 0, until: 0 };

/// A task is taken off the CPU: if its queue is throttled by now, that is when it began.
#[inline(always)]
pub(crate) fn note_if_begun(queue: u64, now: u64) -> Option<()> {
    let count: u32 = read(queue + offset(RunQueueField::QueueThrottled)?)?;
    if count == 0 {
        return None;
    }
    if let Some(known) = QUEUES.get_ptr_mut(queue) {
        // SAFETY: the map has a value there; it may be given to another queue meanwhile, which spoils a number.
        unsafe {
            if (*known).begun == 0 {
                (*known).begun = now;
            }
        }
        return Some(());
    }
    let seen: u64 = read(queue + offset(RunQueueField::QueueThrottledTime)?)?;
    let new = Queue { seen, begun: now, count: 0, spans: [Span { until: 0, length: 0 }; SPANS] };
    let _ = QUEUES.insert(queue, new, 0);
    Some(())
}

/// What of a wait of this task, which now gets the CPU, was for a quota.
#[inline(always)]
pub(crate) fn between(task: u64, queued: u64, now: u64) -> Throttled {
    spans_of(task, queued, now).unwrap_or(NONE)
}

#[inline(always)]
fn spans_of(task: u64, queued: u64, now: u64) -> Option<Throttled> {
    let queue: u64 = read(task + offset(RunQueueField::TaskQueue)?)?;
    let total: u64 = read(queue + offset(RunQueueField::QueueThrottledTime)?)?;
    if total == 0 {
        return None;
    }
    let Some(known) = QUEUES.get_ptr_mut(queue) else {
        // All that is known is that it was throttled at some time; from here on it is followed.
        let new = Queue { seen: total, begun: 0, count: 0, spans: [Span { until: 0, length: 0 }; SPANS] };
        let _ = QUEUES.insert(queue, new, 0);
        return None;
    };
    // SAFETY: the map has a value there; it may be given to another queue meanwhile, which spoils a number.
    let known = unsafe { &mut *known };
    let spans: *mut Span = (&raw mut known.spans).cast();
    if total > known.seen {
        let length = total - known.seen;
        let until = if known.begun != 0 && known.begun + length < now { known.begun + length } else { now };
        // SAFETY: the index is masked to stay inside the array.
        unsafe { *spans.add(masked(known.count, SPANS)) = Span { until, length } };
        known.count += 1;
        known.begun = 0;
    }
    // Less than before: another queue at the same address.
    known.seen = total;
    let mut throttled = NONE;
    let mut back = 1;
    while back <= SPANS as u64 {
        // SAFETY: the index is masked to stay inside the array.
        let Span { until, length } = unsafe { *spans.add(masked(known.count.wrapping_sub(back), SPANS)) };
        if until <= queued {
            break;
        }
        if throttled.until == 0 {
            throttled.until = until;
        }
        // It may have begun before the wait.
        let within = until - queued;
        throttled.time += if length < within { length } else { within };
        back += 1;
    }
    Some(throttled)
}
