//! Memory that a cgroup's own processes touched lately.

use super::{Family, Mounted, Place, Reading, Rows};
use crate::kernel::procfs::process::referenced::{Marks, Touched, touched};
use crate::reader::container::processes::{any_still_there, own_processes, process_hierarchy};
use crate::reader::container::rows::keys::{Base, key};
use crate::sample::container::Sample;
use crate::sample::kinds::MetricKind;
use crate::sample::statistic::Value;
use crate::sample::unread::Part;
use crate::units::Bytes;

#[derive(Debug, Default)]
pub(in crate::reader::container) struct ReferencedState {
    samples: u32,
}

impl Family for ReferencedState {
    fn place(&self, _: &Mounted<'_>) -> Option<Place> {
        None
    }

    fn read_beside(&mut self, _: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        sample.referenced = self.sample(reading);
    }

    fn explain(&self, _: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        let pages = key("smaps_rollup", "Referenced").of(Base::Process);
        let touched = sample.referenced.as_ref().map(Value::from);
        rows.add_of_process("memory.referenced", MetricKind::ReferencedMemory, touched, pages);
    }
}

impl ReferencedState {
    fn sample(&mut self, reading: &mut Reading<'_>) -> Option<Bytes> {
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
