//! What `struct cgroup` itself has on cgroup v2: CPU time.

use collector_ebpf::plan::STATE;

use super::{Slot, Steps, TOO_LONG, WORD};
use crate::kernel::probes::btf::Btf;
use crate::kernel::probes::counters::cpu_time::{RawTimes, ShownTimes};

/// Where CPU time of cgroup v2 is.
#[derive(Clone, Copy, Debug)]
pub struct UnifiedTimeLayout {
    user: Slot,
    system: Slot,
    total: Slot,
    shown_user: Slot,
    shown_system: Slot,
    /// Where the state of the controller cpu is: 0 where that is not on.
    controller: Option<Slot>,
}

impl UnifiedTimeLayout {
    /// Whether the controller cpu is on, whose numbers are in the same file.
    pub fn has_bandwidth(self, words: &[u64]) -> bool {
        self.controller.and_then(|controller| controller.of(words)).is_some_and(|address| address != 0)
    }

    /// The times as they are counted, and as the kernel last showed them.
    pub fn times(self, words: &[u64]) -> Option<(RawTimes, ShownTimes)> {
        let raw = RawTimes { user: self.user.of(words)?, system: self.system.of(words)?, total: self.total.of(words)? };
        Some((raw, ShownTimes { user: self.shown_user.of(words)?, system: self.shown_system.of(words)? }))
    }
}

pub(super) fn unified_time(btf: &Btf<'_>, steps: &mut Steps) -> Result<UnifiedTimeLayout, &'static str> {
    let base = btf.field_offset("cgroup", "self").ok_or("cgroup.self")?;
    let at = |field: &'static str| {
        btf.field_offset("cgroup", field).and_then(|offset| offset.checked_sub(base)).ok_or(field)
    };
    let controllers = at("subsys")?;
    let mut word = |field: &'static str| steps.word(STATE, at(field)?).ok_or(TOO_LONG);
    Ok(UnifiedTimeLayout {
        user: word("bstat.cputime.utime")?,
        system: word("bstat.cputime.stime")?,
        total: word("bstat.cputime.sum_exec_runtime")?,
        shown_user: word("prev_cputime.utime")?,
        shown_system: word("prev_cputime.stime")?,
        controller: match btf.enumerator("cgroup_subsys_id", "cpu_cgrp_id") {
            Some(number) => Some(steps.word(STATE, controllers + number * WORD as u32).ok_or(TOO_LONG)?),
            None => None,
        },
    })
}
