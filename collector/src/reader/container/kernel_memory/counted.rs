//! Numbers of one container as its files would have them, by what was read from kernel memory.

use std::sync::Arc;

use super::KernelMemory;
use crate::kernel::cgroup::memory_stat::StatLayout;
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::counters::cpu_time::{RawTimes, ShownTimes};
use crate::kernel::probes::counters::plan::Slot;
use crate::reader::container::reading::Reading;
use crate::sample::container::Cfs;
use crate::units::Nanos;

/// The numbers of memory as the files have them.
pub(in crate::reader::container) struct CountedMemory {
    pub(in crate::reader::container) usage: u64,
    pub(in crate::reader::container) peak: u64,
    pub(in crate::reader::container) failcnt: Option<u64>,
    pub(in crate::reader::container) kernel: Option<u64>,
    pub(in crate::reader::container) layout: Arc<StatLayout>,
    pub(in crate::reader::container) stat: Vec<u64>,
}

impl Reading<'_> {
    fn counted(&self, family: CounterFamily) -> Option<(&KernelMemory, &[u64])> {
        let memory = self.ctx.kernel_memory()?;
        Some((memory, memory.words(self.counted.as_ref()?, family)?))
    }

    /// The numbers of memory, where they were read and every line of `memory.stat` is certain.
    pub(in crate::reader::container) fn counted_memory(&mut self) -> Option<CountedMemory> {
        let (memory, words) = self.counted(CounterFamily::Memory)?;
        let (layout, stat) = (memory.memory_layout()?, memory.stat()?);
        let pages = |number: u64| number.wrapping_mul(memory.page);
        let of = |slot: Option<_>| match slot {
            Some(slot) => Slot::of(slot, words).map(Some),
            None => Some(None),
        };
        let counted = CountedMemory {
            usage: pages(layout.usage.of(words)?),
            peak: pages(layout.peak.of(words)?),
            failcnt: of(layout.failcnt)?,
            kernel: of(layout.kernel)?.map(pages),
            stat: stat.values(layout, words)?,
            layout: Arc::clone(stat.layout()),
        };
        memory.took(CounterFamily::Memory);
        self.values += 1;
        Some(counted)
    }

    /// CPU time of v1.
    pub(in crate::reader::container) fn counted_cpu_time(&mut self) -> Option<CountedCpuTime> {
        let (memory, words) = self.counted(CounterFamily::CpuTime)?;
        let layout = memory.counters.plans.cpu_time?;
        let (raw, shown) = layout.times(words)?;
        let counted = CountedCpuTime { raw, shown, each: layout.each(words)?.to_vec() };
        memory.took(CounterFamily::CpuTime);
        self.values += 1;
        Some(counted)
    }

    /// Bandwidth control.
    pub(in crate::reader::container) fn counted_bandwidth(&mut self) -> Option<Cfs> {
        let (memory, words) = self.counted(CounterFamily::Bandwidth)?;
        let layout = memory.counters.plans.bandwidth?;
        let of = |slot: Option<_>| slot.and_then(|slot| Slot::of(slot, words));
        let counted = Cfs {
            periods: Some(layout.periods.of(words)?),
            throttled_periods: Some(layout.throttled.of(words)?),
            throttled_time: Some(Nanos(layout.throttled_time.of(words)?)),
            burst_periods: of(layout.bursts),
            burst_time: of(layout.burst_time).map(Nanos),
        };
        memory.took(CounterFamily::Bandwidth);
        self.values += 1;
        Some(counted)
    }

    /// Tasks.
    pub(in crate::reader::container) fn counted_pids(&mut self) -> Option<u64> {
        let (memory, words) = self.counted(CounterFamily::Pids)?;
        let counted = memory.counters.plans.pids?.of(words)?;
        memory.took(CounterFamily::Pids);
        self.values += 1;
        Some(counted)
    }

    /// Whether the cgroup never used a block device: its files of v1 have no line then.
    pub(in crate::reader::container) fn used_no_device(&mut self) -> bool {
        let Some((memory, words)) = self.counted(CounterFamily::Blkio) else { return false };
        let used_none = memory.counters.plans.blkio.and_then(|first| first.of(words)) == Some(0);
        if used_none {
            memory.took(CounterFamily::Blkio);
            self.values += 1;
        }
        used_none
    }
}

/// CPU time of v1 as it is counted.
pub(in crate::reader::container) struct CountedCpuTime {
    pub(in crate::reader::container) raw: RawTimes,
    /// What the kernel showed last.
    pub(in crate::reader::container) shown: ShownTimes,
    pub(in crate::reader::container) each: Vec<u64>,
}
