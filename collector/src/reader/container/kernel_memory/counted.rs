//! Numbers of one container as its files would have them, by what was read from kernel self.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Counted, KernelMemory};
use crate::kernel::cgroup::memory_stat::StatLayout;
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::counters::cpu_time::{RawTimes, ShownTimes};
use crate::kernel::probes::counters::plan::{MEMORY_EVENTS, RawPressure, Slot, Stalled};
use crate::sample::container::{Cfs, Pressure, PressureRow};
use crate::units::{Micros, Nanos};

/// The numbers of memory as the files have them.
pub(in crate::reader::container) struct CountedMemory {
    pub(in crate::reader::container) usage: u64,
    pub(in crate::reader::container) peak: u64,
    pub(in crate::reader::container) failcnt: Option<u64>,
    pub(in crate::reader::container) kernel: Option<u64>,
    pub(in crate::reader::container) swap: Option<u64>,
    /// Those of v2, in the order of `memory.events`.
    pub(in crate::reader::container) events: [Option<u64>; MEMORY_EVENTS.len()],
    pub(in crate::reader::container) layout: Arc<StatLayout>,
    pub(in crate::reader::container) stat: Vec<u64>,
}

impl KernelMemory {
    /// The numbers of memory, where they were read and every line of `memory.stat` is certain.
    pub(in crate::reader::container) fn counted_memory(&self, counted: &Counted) -> Option<CountedMemory> {
        let words = self.words(counted, CounterFamily::Memory)?;
        let (layout, stat) = (self.memory_layout()?, self.stat()?);
        let pages = |number: u64| number.wrapping_mul(self.page);
        let of = |slot: Option<_>| match slot {
            Some(slot) => Slot::of(slot, words).map(Some),
            None => Some(None),
        };
        let counted = CountedMemory {
            usage: pages(layout.usage.of(words)?),
            peak: pages(layout.peak.of(words)?),
            failcnt: of(layout.failcnt)?,
            kernel: of(layout.kernel)?.map(pages),
            swap: of(layout.swap)?.map(pages).filter(|_| !self.without_swap.load(Ordering::Relaxed)),
            events: layout.events.map(|slot| slot?.of(words)),
            stat: stat.values(layout, words)?,
            layout: Arc::clone(stat.layout()),
        };
        self.took(CounterFamily::Memory);
        Some(counted)
    }

    /// CPU time of v1.
    pub(in crate::reader::container) fn counted_cpu_time(&self, counted: &Counted) -> Option<CountedCpuTime> {
        let words = self.words(counted, CounterFamily::CpuTime)?;
        let layout = self.counters.plans.cpu_time?;
        let (raw, shown) = layout.times(words)?;
        let counted = CountedCpuTime { raw, shown, each: layout.each(words)?.to_vec() };
        self.took(CounterFamily::CpuTime);
        Some(counted)
    }

    /// CPU time of v2: as it is counted, and as the kernel last showed it.
    pub(in crate::reader::container) fn counted_unified_time(
        &self,
        counted: &Counted,
    ) -> Option<(RawTimes, ShownTimes)> {
        let times = self.unified_time(counted)?;
        self.took(CounterFamily::Cgroup);
        Some(times)
    }

    /// The same, whether or not a sample is made of it. Time and bandwidth are in one file: a cgroup whose bandwidth was not
    /// read although it has some has neither.
    pub(super) fn unified_time(&self, counted: &Counted) -> Option<(RawTimes, ShownTimes)> {
        let words = self.words(counted, CounterFamily::Cgroup)?;
        let layout = self.counters.plans.unified_time?;
        let is_whole = !layout.has_bandwidth(words) || self.words(counted, CounterFamily::Bandwidth).is_some();
        layout.times(words).filter(|_| is_whole)
    }

    /// Pressure as its file has it.
    pub(in crate::reader::container) fn counted_pressure(
        &self,
        counted: &Counted,
        stalled: Stalled,
    ) -> Option<Pressure> {
        let words = self.words(counted, CounterFamily::Cgroup)?;
        let [some, full] = self.counters.plans.pressure?.rows(words, stalled)?.map(|row| row.map(row_of));
        Some(Pressure { some, full })
    }

    /// Bandwidth control.
    pub(in crate::reader::container) fn counted_bandwidth(&self, counted: &Counted) -> Option<Cfs> {
        let words = self.words(counted, CounterFamily::Bandwidth)?;
        let layout = self.counters.plans.bandwidth?;
        let of = |slot: Option<_>| slot.and_then(|slot| Slot::of(slot, words));
        let counted = Cfs {
            periods: Some(layout.periods.of(words)?),
            throttled_periods: Some(layout.throttled.of(words)?),
            throttled_time: Some(Nanos(layout.throttled_time.of(words)?)),
            burst_periods: of(layout.bursts),
            burst_time: of(layout.burst_time).map(Nanos),
        };
        self.took(CounterFamily::Bandwidth);
        Some(counted)
    }

    /// Tasks.
    pub(in crate::reader::container) fn counted_pids(&self, counted: &Counted) -> Option<u64> {
        let words = self.words(counted, CounterFamily::Pids)?;
        let counted = self.counters.plans.pids?.of(words)?;
        self.took(CounterFamily::Pids);
        Some(counted)
    }

    /// Whether the cgroup never used a block device: its files of v1 have no line then.
    pub(in crate::reader::container) fn used_no_device(&self, counted: &Counted) -> bool {
        let Some(words) = self.words(counted, CounterFamily::Blkio) else { return false };
        let used_none = self.counters.plans.blkio.and_then(|first| first.of(words)) == Some(0);
        if used_none {
            self.took(CounterFamily::Blkio);
        }
        used_none
    }
}

/// As the kernel prints it: whole microseconds, and shares with two digits behind the point.
fn row_of(RawPressure { total, averages }: RawPressure) -> PressureRow {
    const POINT: u32 = 11;
    let hundredths = |share: u64| (share >> POINT) * 100 + (((share & ((1 << POINT) - 1)) * 100) >> POINT);
    let [avg10, avg60, avg300] = averages.map(hundredths);
    PressureRow { total: Micros(total / 1000), avg10, avg60, avg300 }
}

/// CPU time of v1 as it is counted.
pub(in crate::reader::container) struct CountedCpuTime {
    pub(in crate::reader::container) raw: RawTimes,
    /// What the kernel showed last.
    pub(in crate::reader::container) shown: ShownTimes,
    pub(in crate::reader::container) each: Vec<u64>,
}
