//! Memory that a cgroup's own processes touched lately.

use std::num::NonZeroU32;

use super::Reading;
use super::processes::{any_still_there, own_processes, process_hierarchy};
use crate::kernel::procfs::process::referenced::{Marks, Touched, touched};
use crate::sample::kinds::MetricKind;
use crate::sample::unread::Part;
use crate::units::Bytes;

/// How often the marks are cleared, in samples of a container; `None` for never, and then nothing is written.
pub type ResetEvery = Option<NonZeroU32>;

#[derive(Debug, Default)]
pub(super) struct ReferencedState {
    samples: u32,
}

impl ReferencedState {
    pub(super) fn sample(&mut self, reading: &mut Reading<'_>) -> Option<Bytes> {
        if !reading.ctx.kinds.has(MetricKind::ReferencedMemory) {
            return None;
        }
        let sum = self.sum(reading);
        if sum.is_none() {
            reading.unread.add(Part::Referenced);
        }
        sum
    }

    fn sum(&mut self, reading: &mut Reading<'_>) -> Option<Bytes> {
        let hierarchy = process_hierarchy(reading)?;
        let pids = own_processes(reading, hierarchy, reading.name)?.pids?;
        let proc = &reading.ctx.roots.proc;
        self.samples = self.samples.wrapping_add(1);
        let clears = reading.ctx.referenced_reset.is_some_and(|every| self.samples.is_multiple_of(every.get()));
        let marks = if clears { Marks::Clear } else { Marks::Keep };
        let touched = touched(proc, reading.name, &pids, marks);
        let touched = touched.inspect_err(|error| reading.ctx.errors.count("smaps", error));
        let Touched { kb, unseen, not_cleared } = touched.ok()?;
        for error in &not_cleared {
            reading.ctx.errors.count("clear_refs", error);
        }
        let complete = !any_still_there(reading, hierarchy, reading.name, &unseen);
        complete.then_some(Bytes(kb.saturating_mul(1024)))
    }
}
