//! Memory.

use std::sync::Arc;

use super::Reading;
use super::context::MemorySource;
use super::cpu::read_pressure;
use crate::kernel::cgroup::memory_stat::{StatKey, StatLayout};
use crate::kernel::cgroup::v1::memory::{NumaRows, NumaStat};
use crate::kernel::cgroup::v2::memory::{MemoryEvents as EventsFile, numa_stat};
use crate::kernel::file::{FileAt, KeptFile};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::procfs::process::MachineSwap;
use crate::kernel::text_formats::unsigned;
use crate::sample::container::{Faults, Memory, MemoryEvents, MemoryStat, Numa, NumaPages};
use crate::sample::kinds::MetricKind;
use crate::sample::unread::Part;
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

/// The numbers of one `memory.stat` beside its layout; none where it could not be read.
#[derive(Default)]
struct Stat {
    layout: Option<Arc<StatLayout>>,
    values: Vec<u64>,
}

impl Stat {
    fn get(&self, key: StatKey) -> Option<u64> {
        self.layout.as_ref()?.value(&self.values, key)
    }

    fn into_whole(self) -> MemoryStat {
        let keys = self.layout.map(|layout| Arc::clone(layout.keys())).unwrap_or_default();
        MemoryStat { keys, values: self.values }
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

    /// Whether a file that every cgroup with the controller has is not there.
    pub(super) fn lacks_leading(&self) -> bool {
        self.usage.is_absent() || self.stat.is_absent()
    }

    /// Each file costs only what it has.
    pub(super) fn sample(&mut self, reading: &mut Reading<'_>) -> Option<Memory> {
        let values = reading.values;
        let mut memory = match reading.ctx.sources.memory? {
            MemorySource::V1(position) => self.v1(reading, position)?,
            MemorySource::V2(position) => self.v2(reading, position)?,
        };
        memory.pressure = read_pressure(reading, "memory.pressure", &mut self.pressure);
        // A cgroup that ended, or whose controller was switched off, while it was read has no half of a sample.
        let ended = reading.gone != 0 && reading.unread.has_any(&[Part::MemoryUsage, Part::MemoryStat]);
        (reading.values > values && !ended).then_some(memory)
    }

    fn stat(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<Stat> {
        let layouts = &reading.ctx.layouts;
        let layout = &mut self.layout;
        let parse = |text: &[u8], odd: &mut OddLines| layouts.parse(text, layout, odd);
        let values = reading.kept_lines(position, "memory.stat", &mut self.stat, parse)?;
        Some(Stat { layout: self.layout.clone(), values })
    }

    fn v1(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<Memory> {
        reading.hierarchy(position)?;
        let usage = reading.kept(position, "memory.usage_in_bytes", &mut self.usage, unsigned);
        let stat = self.stat(reading, position).unwrap_or_default();
        let counting =
            *self.counting.get_or_insert_with(|| match reading.once(position, "memory.use_hierarchy", unsigned) {
                Some(0) => Counting::OwnOnly,
                _ => Counting::Subtree,
            });
        let pick = |total, own| if counting == Counting::Subtree { total } else { own };
        let inactive_file = stat.get(StatKey::TotalInactiveFile);
        let mut known = Known { reading: &mut *reading, stat: &stat };
        let working_set = known.working_set(usage, inactive_file);
        let own_faults = Faults {
            pgfault: known.number(StatKey::PageFaults, Part::OwnFaults),
            pgmajfault: known.number(StatKey::MajorFaults, Part::OwnMajorFaults),
        };
        let all = [(StatKey::TotalPageFaults, Part::AllFaults), (StatKey::TotalMajorFaults, Part::AllMajorFaults)];
        // Kernels without the subtree's have the cgroup's own.
        let has_all = all.iter().any(|(key, _)| stat.get(*key).is_some());
        let [pgfault, pgmajfault] = all.map(|(key, part)| if has_all { known.number(key, part) } else { 0 });
        let hierarchical_faults = if has_all { Faults { pgfault, pgmajfault } } else { own_faults };
        let mut memory = Memory {
            usage: known.usage(usage),
            cache: Bytes(known.number(pick(StatKey::TotalCache, StatKey::Cache), Part::Cache)),
            rss: Bytes(known.number(pick(StatKey::TotalRss, StatKey::Rss), Part::Rss)),
            swap: stat.get(pick(StatKey::TotalSwap, StatKey::Swap)).map(Bytes),
            mapped_file: Bytes(known.number(pick(StatKey::TotalMappedFile, StatKey::MappedFile), Part::MappedFile)),
            working_set,
            active_file: stat.get(StatKey::TotalActiveFile).map(Bytes),
            inactive_file: inactive_file.map(Bytes),
            own_faults,
            hierarchical_faults,
            ..Memory::default()
        };
        memory.max_usage =
            reading.kept(position, "memory.max_usage_in_bytes", &mut self.max_usage, unsigned).map(Bytes);
        memory.failcnt = reading.kept(position, "memory.failcnt", &mut self.events, unsigned);
        memory.kernel = reading.kept(position, "memory.kmem.usage_in_bytes", &mut self.kernel, unsigned).map(Bytes);
        if reading.ctx.kinds.has(MetricKind::MemoryNuma) {
            let numa = reading.kept_lines(position, "memory.numa_stat", &mut self.numa, NumaStat::parse);
            memory.numa = numa.map(|numa| Numa { own: pages(numa.own), hierarchical: pages(numa.hierarchical) });
        }
        memory.stat = stat.into_whole();
        Some(memory)
    }

    fn v2(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<Memory> {
        reading.hierarchy(position)?;
        let current = reading.kept(position, "memory.current", &mut self.usage, unsigned);
        if current.is_none() && self.usage.is_absent() && !reading.is_root() {
            // The controller is off.
            return None;
        }
        let stat = self.stat(reading, position).unwrap_or_default();
        let (usage, swap) = match current {
            // The root has neither file.
            None if reading.is_root() => {
                let sum = |anon: u64, file: u64| anon.saturating_add(file);
                let usage = stat.get(StatKey::Anon).zip(stat.get(StatKey::File)).map(|(anon, file)| sum(anon, file));
                (usage, used_swap(reading))
            }
            usage => (usage, reading.kept(position, "memory.swap.current", &mut self.swap, unsigned)),
        };
        let inactive_file = stat.get(StatKey::InactiveFile);
        let mut known = Known { reading: &mut *reading, stat: &stat };
        // v2 counts over the subtree only.
        let faults = Faults {
            pgfault: known.number(StatKey::PageFaults, Part::OwnFaults),
            pgmajfault: known.number(StatKey::MajorFaults, Part::OwnMajorFaults),
        };
        known.number(StatKey::PageFaults, Part::AllFaults);
        known.number(StatKey::MajorFaults, Part::AllMajorFaults);
        let mut memory = Memory {
            usage: known.usage(usage),
            cache: Bytes(known.number(StatKey::File, Part::Cache)),
            rss: Bytes(known.number(StatKey::Anon, Part::Rss)),
            swap: swap.map(Bytes),
            mapped_file: Bytes(known.number(StatKey::FileMapped, Part::MappedFile)),
            working_set: known.working_set(usage, inactive_file),
            active_file: stat.get(StatKey::ActiveFile).map(Bytes),
            inactive_file: inactive_file.map(Bytes),
            kernel: stat.get(StatKey::Kernel).map(Bytes),
            own_faults: faults,
            hierarchical_faults: faults,
            ..Memory::default()
        };
        memory.max_usage = reading.kept(position, "memory.peak", &mut self.max_usage, unsigned).map(Bytes);
        let events = reading.kept_lines(position, "memory.events", &mut self.events, EventsFile::parse);
        memory.events = events.map(|EventsFile { low, high, max, oom, oom_kill, oom_group_kill }| MemoryEvents {
            low,
            high,
            max,
            oom,
            oom_kill,
            oom_group_kill,
        });
        if reading.ctx.kinds.has(MetricKind::MemoryNuma) {
            let page_size = rustix::param::page_size() as u64;
            let rows = |text: &[u8], odd: &mut OddLines| numa_stat(text, page_size, odd);
            let numa = reading.kept_lines(position, "memory.numa_stat", &mut self.numa, rows).map(pages);
            memory.numa = numa.map(|numa| Numa { own: numa.clone(), hierarchical: numa });
        }
        memory.stat = stat.into_whole();
        Some(memory)
    }
}

/// Values that a sample always has: where one could not be read it is 0 and noted.
struct Known<'a, 'r> {
    reading: &'a mut Reading<'r>,
    stat: &'a Stat,
}

impl Known<'_, '_> {
    /// A value of `memory.stat`. Kernels that do not have it may leave it out, but not if lines were odd.
    fn number(&mut self, key: StatKey, part: Part) -> u64 {
        let value = self.stat.get(key);
        if value.is_none() && self.reading.unread.has(Part::MemoryStat) {
            self.reading.unread.add(part);
        }
        value.unwrap_or_default()
    }

    fn usage(&mut self, usage: Option<u64>) -> Bytes {
        if usage.is_none() {
            self.reading.unread.add(Part::MemoryUsage);
        }
        Bytes(usage.unwrap_or_default())
    }

    fn working_set(&mut self, usage: Option<u64>, inactive_file: Option<u64>) -> Bytes {
        if usage.is_none() || (inactive_file.is_none() && self.reading.unread.has(Part::MemoryStat)) {
            self.reading.unread.add(Part::WorkingSet);
            return Bytes(0);
        }
        Bytes(usage.unwrap_or_default().saturating_sub(inactive_file.unwrap_or_default()))
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
            reading.lost("meminfo");
            reading.ctx.errors.count("meminfo", &error);
            None
        }
    }
}
