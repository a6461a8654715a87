//! Families whose numbers are at fixed places: one program each, which goes through the family's plan for every cgroup.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use collector_ebpf::plan::{
    CHAIN, COPY, END, FIRST, FOLLOW, KEEP, NO_PLAN, PLAN_STEPS, Plan, RECORD_HEADER, STATE, Step,
};

use crate::run::{copy, each, given, read, reserve, send, target};

/// Numbers in a record take this many bytes, shorter ones too.
const WORD: u32 = size_of::<u64>() as u32;

/// A family: its plan, and the bytes of its record.
macro_rules! family {
    ($program:ident, $plan:ident, $bytes:ident) => {
        #[unsafe(no_mangle)]
        static $plan: Plan = NO_PLAN;
        #[unsafe(no_mangle)]
        static $bytes: u32 = RECORD_HEADER as u32;

        #[raw_tracepoint(tracepoint = "counters")]
        fn $program(ctx: RawTracePointContext) -> i32 {
            each(&ctx, |index| {
                let _ = follow(index, (&raw const $plan).cast(), &raw const $bytes);
            });
            0
        }
    };
}

family!(read_memory, MEMORY_PLAN, MEMORY_BYTES);
family!(read_bandwidth, BANDWIDTH_PLAN, BANDWIDTH_BYTES);
family!(read_pids, PIDS_PLAN, PIDS_BYTES);
family!(read_blkio, BLKIO_PLAN, BLKIO_BYTES);
family!(read_cgroup, CGROUP_PLAN, CGROUP_BYTES);

/// Goes through a plan for one cgroup.
#[inline(always)]
fn follow(index: u64, plan: *const Step, bytes: *const u32) -> Option<()> {
    let state = target(index)?;
    // SAFETY: plan and size are statics. The steps stay inside the record; a plan that did not would not get past the
    // verifier, which sees it as constants.
    unsafe {
        let record = reserve(u64::from(given(bytes)))?;
        *record.cast::<u64>() = index;
        let (mut first, mut chain) = (0_u64, 0_u64);
        let mut failed = 0;
        let mut at = 0;
        while at < PLAN_STEPS {
            let step = plan.add(at).cast::<u32>();
            let (what, from) = (given(step), u64::from(given(step.add(1))));
            let (operation, base) = (what & 0xff, what >> 8);
            if operation == END {
                break;
            }
            let address = match base {
                STATE => state,
                FIRST => first,
                _ => chain,
            };
            if operation == FOLLOW {
                let next = read::<u64>(address.wrapping_add(from)).unwrap_or(0);
                if given(step.add(2)) == CHAIN {
                    chain = next;
                } else {
                    first = next;
                }
            } else if operation == COPY {
                let to = record.add(given(step.add(3)) as usize);
                let bytes = given(step.add(2));
                if bytes < WORD {
                    // What was there before must not be taken for a change.
                    *to.cast::<u64>() = 0;
                }
                let outcome = copy(to, bytes, address.wrapping_add(from));
                if base != CHAIN {
                    failed |= outcome;
                }
            } else if operation == KEEP {
                *record.add(given(step.add(3)) as usize).cast::<u64>() = address;
            }
            at += 1;
        }
        send(record, failed);
    }
    Some(())
}
