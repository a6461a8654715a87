//! Memory.

use std::sync::Arc;

use super::Reading;
use super::context::MemorySource;
use super::cpu::read_pressure;
use crate::kernel::cgroup::memory_stat::{StatKey, StatLayout};
use crate::kernel::cgroup::v1::memory::{NumaRows, NumaStat};
use crate::kernel::cgroup::v2::memory::{MemoryEvents as EventsFile, numa_stat};
use crate::kernel::file::{FileAt, KeptFile};
use crate::kernel::process::MachineSwap;
use crate::kernel::text_formats::unsigned;
use crate::sample::container::{Faults, Memory, MemoryEvents, MemoryStat, Numa, NumaPages};
use crate::sample::kinds::MetricKind;
use crate::units::Bytes;

#[derive(Debug, Default)]
pub(super) struct MemoryFiles {
    usage: KeptFile,
    max_usage: KeptFile,
    stat: KeptFile,
    /// v1 `memory.failcnt`, v2 `memory.events`.
    events: KeptFile,
    kernel: KeptFile,
    swap: KeptFile,
    numa: KeptFile,
    pressure: KeptFile,
    layout: Option<Arc<StatLayout>>,
    counting: Option<Counting>,
}

/// Which values of a v1 `memory.stat` count: `memory.use_hierarchy`, always 1 since 5.11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    Subtree,
    OwnOnly,
}

/// The numbers of one `memory.stat` beside its layout.
struct Stat {
    layout: Arc<StatLayout>,
    values: Vec<u64>,
}

impl Stat {
    fn get(&self, key: StatKey) -> Option<u64> {
        self.layout.value(&self.values, key)
    }

    fn bytes(&self, key: StatKey) -> Bytes {
        Bytes(self.get(key).unwrap_or_default())
    }

    fn faults(&self, all: StatKey, major: StatKey) -> Option<Faults> {
        Some(Faults { pgfault: self.get(all)?, pgmajfault: self.get(major)? })
    }

    fn into_whole(self) -> MemoryStat {
        MemoryStat { keys: Arc::clone(self.layout.keys()), values: self.values }
    }
}

impl MemoryFiles {
    pub(super) fn each(&mut self, each: &mut impl FnMut(&mut KeptFile)) {
        let Self { usage, max_usage, stat, events, kernel, swap, numa, pressure, .. } = self;
        [usage, max_usage, stat, events, kernel, swap, numa, pressure].into_iter().for_each(each);
    }

    pub(super) fn retry(&mut self) {
        self.counting = None;
    }

    /// Whether the last sample left descendants out, as v1 does on request.
    pub(super) fn counts_own_only(&self) -> bool {
        self.counting == Some(Counting::OwnOnly)
    }

    pub(super) fn sample(&mut self, reading: &mut Reading<'_>) -> Option<Memory> {
        let mut memory = match reading.ctx.sources.memory? {
            MemorySource::V1(position) => self.v1(reading, position)?,
            MemorySource::V2(position) => self.v2(reading, position)?,
        };
        memory.pressure = read_pressure(reading, "memory.pressure", &mut self.pressure);
        Some(memory)
    }

    fn stat(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<Stat> {
        let layouts = &reading.ctx.layouts;
        let layout = &mut self.layout;
        let values = reading.kept(position, "memory.stat", &mut self.stat, |text| layouts.parse(text, layout))?;
        Some(Stat { layout: Arc::clone(self.layout.as_ref()?), values })
    }

    fn v1(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<Memory> {
        let usage = reading.kept(position, "memory.usage_in_bytes", &mut self.usage, unsigned)?;
        let stat = self.stat(reading, position)?;
        let counting =
            *self.counting.get_or_insert_with(|| match reading.once(position, "memory.use_hierarchy", unsigned) {
                Some(0) => Counting::OwnOnly,
                _ => Counting::Subtree,
            });
        let pick = |total, own| if counting == Counting::Subtree { total } else { own };
        let inactive_file = stat.get(StatKey::TotalInactiveFile);
        let own_faults = stat.faults(StatKey::PageFaults, StatKey::MajorFaults).unwrap_or_default();
        let all_faults = stat.faults(StatKey::TotalPageFaults, StatKey::TotalMajorFaults);
        let mut numa = None;
        if reading.ctx.kinds.has(MetricKind::MemoryNuma) {
            numa = reading.kept(position, "memory.numa_stat", &mut self.numa, NumaStat::parse);
        }
        Some(Memory {
            usage: Bytes(usage),
            max_usage: reading.kept(position, "memory.max_usage_in_bytes", &mut self.max_usage, unsigned).map(Bytes),
            cache: stat.bytes(pick(StatKey::TotalCache, StatKey::Cache)),
            rss: stat.bytes(pick(StatKey::TotalRss, StatKey::Rss)),
            swap: stat.get(pick(StatKey::TotalSwap, StatKey::Swap)).map(Bytes),
            mapped_file: stat.bytes(pick(StatKey::TotalMappedFile, StatKey::MappedFile)),
            working_set: Bytes(usage.saturating_sub(inactive_file.unwrap_or_default())),
            active_file: stat.get(StatKey::TotalActiveFile).map(Bytes),
            inactive_file: inactive_file.map(Bytes),
            failcnt: reading.kept(position, "memory.failcnt", &mut self.events, unsigned),
            kernel: reading.kept(position, "memory.kmem.usage_in_bytes", &mut self.kernel, unsigned).map(Bytes),
            own_faults,
            hierarchical_faults: all_faults.unwrap_or(own_faults),
            numa: numa.map(|numa| Numa { own: pages(numa.own), hierarchical: pages(numa.hierarchical) }),
            stat: stat.into_whole(),
            ..Memory::default()
        })
    }

    fn v2(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<Memory> {
        let current = reading.kept(position, "memory.current", &mut self.usage, unsigned);
        let stat = self.stat(reading, position)?;
        let (usage, swap) = match current {
            Some(usage) => (usage, reading.kept(position, "memory.swap.current", &mut self.swap, unsigned)),
            // The root has neither file.
            None if reading.is_root() => {
                (stat.bytes(StatKey::Anon).0.saturating_add(stat.bytes(StatKey::File).0), used_swap(reading))
            }
            None => return None,
        };
        let inactive_file = stat.get(StatKey::InactiveFile);
        let faults = stat.faults(StatKey::PageFaults, StatKey::MajorFaults).unwrap_or_default();
        let events = reading.kept(position, "memory.events", &mut self.events, EventsFile::parse);
        let mut numa = None;
        if reading.ctx.kinds.has(MetricKind::MemoryNuma) {
            let page_size = rustix::param::page_size() as u64;
            let rows = |text: &[u8]| numa_stat(text, page_size);
            numa = reading.kept(position, "memory.numa_stat", &mut self.numa, rows).map(pages);
        }
        Some(Memory {
            usage: Bytes(usage),
            max_usage: reading.kept(position, "memory.peak", &mut self.max_usage, unsigned).map(Bytes),
            cache: stat.bytes(StatKey::File),
            rss: stat.bytes(StatKey::Anon),
            swap: swap.map(Bytes),
            mapped_file: stat.bytes(StatKey::FileMapped),
            working_set: Bytes(usage.saturating_sub(inactive_file.unwrap_or_default())),
            active_file: stat.get(StatKey::ActiveFile).map(Bytes),
            inactive_file: inactive_file.map(Bytes),
            kernel: stat.get(StatKey::Kernel).map(Bytes),
            // v2 counts over the subtree only.
            own_faults: faults,
            hierarchical_faults: faults,
            numa: numa.map(|numa| Numa { own: numa.clone(), hierarchical: numa }),
            events: events.map(|events| MemoryEvents {
                low: events.low,
                high: events.high,
                max: events.max,
                oom: events.oom,
                oom_kill: events.oom_kill,
                oom_group_kill: events.oom_group_kill,
            }),
            stat: stat.into_whole(),
            ..Memory::default()
        })
    }
}

fn pages(rows: NumaRows) -> NumaPages {
    NumaPages { file: rows.file, anon: rows.anon, unevictable: rows.unevictable }
}

/// Swap in use on the whole machine.
fn used_swap(reading: &mut Reading<'_>) -> Option<u64> {
    let at = FileAt { mount: &reading.ctx.roots.proc, directory: b"/", file: "meminfo" };
    let parsed = at.read(reading.buffer).and_then(|text| {
        MachineSwap::parse(text)
            .map_err(|reason| crate::kernel::error::ReadError::Malformed { path: at.path(), reason })
    });
    match parsed {
        Ok(swap) => Some(swap.total.saturating_sub(swap.free)),
        Err(error) => {
            reading.ctx.errors.count("meminfo", &error);
            None
        }
    }
}
