//! Every number of a container beside where it comes from, for people who ask.

use super::processes::{own_processes, process_hierarchy};
use super::reading::Reading;
use super::rows::Rows;
use super::{ContainerReader, ReaderContext, SampleError, Scratch};
use crate::sample::statistic::Statistic;

impl ContainerReader {
    /// Takes a sample and reports for each of its numbers where it comes from.
    ///
    /// # Errors
    /// The container has ended.
    pub fn statistics(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) -> Result<Vec<Statistic>, SampleError> {
        let mut sample = self.sample(ctx, scratch)?;
        let counted = self.counted_now(ctx, scratch);
        if counted.is_some() {
            sample = self.sample_with(ctx, scratch, counted.clone())?;
        }
        let mut spec = self.spec(ctx, scratch);
        spec.created = self.created_from_files(ctx, scratch, sample.at);
        let oom_kills = self.oom_kill_counter(ctx, scratch).map(|counter| counter.kills);
        let mut reading = Reading::new(ctx, &self.name, self.live, &mut scratch.buffer);
        let name = reading.name;
        let processes = process_hierarchy(&reading)
            .and_then(|hierarchy| own_processes(&mut reading, hierarchy, name)?.pids)
            .unwrap_or_default();
        let mut rows = Rows::new(reading, processes.first().copied(), oom_kills);
        self.families.explain(&mut rows, &sample, &spec);
        let mut list = rows.rows;
        if let (Some(memory), Some(counted)) = (ctx.kernel_memory(), counted) {
            for row in &mut list {
                row.kernel_memory = memory.field(row, &counted);
            }
        }
        Ok(list)
    }
}

/// The list for a sample that was not read.
#[cfg(test)]
pub(super) fn of_sample(
    ctx: &ReaderContext,
    sample: &crate::sample::container::Sample,
    spec: &crate::sample::spec::Spec,
    oom_kills: Option<u64>,
) -> Vec<Statistic> {
    let mut buffer = crate::kernel::file::ReadBuffer::new();
    let mut rows = Rows::new(Reading::new(ctx, b"/", 0, &mut buffer), None, oom_kills);
    super::families::Families::default().explain(&mut rows, sample, spec);
    rows.rows
}
