//! Memory, and its limits.

mod limits;
mod zswap;

use std::sync::Arc;

use super::{Family, Mounted, Place, Reading, Rows, fields, flat, pressure};
use crate::kernel::cgroup::memory_stat::{StatKey, StatLayout};
use crate::kernel::cgroup::v2::memory::MemoryEvents as EventsFile;
use crate::kernel::file::{FileAt, KeptFile};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::counters::plan::Stalled;
use crate::kernel::procfs::process::MachineSwap;
use crate::kernel::text_formats::unsigned;
use crate::reader::container::kernel_memory::CountedMemory;
use crate::reader::container::rows::Section;
use crate::reader::container::rows::keys::{Base, Keys, key, whole};
use crate::sample::container::{Faults, Memory, MemoryEvents, Sample, Zswap};
use crate::sample::kinds::MetricKind;
use crate::sample::memory_stat::{MemoryStat, ReportedStat};
use crate::sample::spec::Spec;
use crate::sample::statistic::Value;
use crate::sample::unread::Part;
use crate::units::Bytes;
pub(super) use zswap::ZswapKeys;

#[derive(Debug, Default)]
pub(in crate::reader::container) struct MemoryFiles {
    usage: KeptFile,
    max_usage: KeptFile,
    stat: KeptFile,
    /// v1 `memory.failcnt`, v2 `memory.events`.
    events: KeptFile,
    kernel: KeptFile,
    swap: KeptFile,
    pressure: KeptFile,
    layout: Option<Arc<StatLayout>>,
    zswap: ZswapKeys,
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

impl Family for MemoryFiles {
    /// On v2 its kind switches nothing off, as in cAdvisor.
    fn place(&self, mounted: &Mounted<'_>) -> Option<Place> {
        let place = mounted.controller("memory");
        place.filter(|place| matches!(place, Place::V2(_)) || mounted.wants(MetricKind::Memory))
    }

    fn each(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        let Self { usage, max_usage, stat, events, kernel, swap, pressure, layout: _, zswap: _, counting: _ } = self;
        [usage, max_usage, stat, events, kernel, swap, pressure].into_iter().for_each(each);
    }

    fn release(&mut self, is_taken: &dyn Fn(CounterFamily) -> bool) {
        if is_taken(CounterFamily::Memory) {
            let Self { usage, max_usage, stat, events, kernel, swap, .. } = self;
            [usage, max_usage, stat, events, kernel, swap].into_iter().for_each(KeptFile::release);
        }
        if is_taken(CounterFamily::Cgroup) {
            self.pressure.release();
        }
    }

    fn retry(&mut self) {
        self.counting = None;
    }

    fn lacks_leading(&self) -> bool {
        self.usage.is_absent() || self.stat.is_absent()
    }

    fn read(&mut self, place: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        sample.memory = self.sample(place, reading);
    }

    fn limits(&mut self, place: Option<Place>, reading: &mut Reading<'_>, spec: &mut Spec) {
        spec.memory = limits::limits(place, reading);
    }

    fn shows_limits(&self) -> Option<CounterFamily> {
        Some(CounterFamily::Memory)
    }

    fn explain(&self, place: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        let section = rows.section(place, MetricKind::Memory, "memory", Some("memory"));
        self.explain(&section, rows, sample.memory.as_ref());
    }

    fn explain_limits(&self, place: Option<Place>, rows: &mut Rows<'_>, spec: &Spec) {
        let section = rows.section(place, MetricKind::Memory, "memory", Some("memory"));
        limits::explain_limits(&section, rows, spec.memory.as_ref());
    }
}

impl MemoryFiles {
    /// Each file costs only what it has.
    fn sample(&mut self, place: Option<Place>, reading: &mut Reading<'_>) -> Option<Memory> {
        let values = reading.values;
        let mut memory = match place? {
            Place::V1(position) => self.v1(reading, position)?,
            Place::V2(position) => self.v2(reading, position)?,
            Place::Kernel(_) => return None,
        };
        memory.pressure = pressure::read(reading, Stalled::Memory, &mut self.pressure);
        // A cgroup that ended, or whose controller was switched off, while it was read has no half of a sample.
        let ended = reading.gone != 0 && reading.unread.has_any(&[Part::MemoryUsage, Part::MemoryStat]);
        (reading.values > values && !ended).then_some(memory)
    }

    /// The lines of its `memory.stat`, if that was read.
    pub(in crate::reader::container) fn layout(&self) -> Option<&Arc<StatLayout>> {
        self.layout.as_ref()
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
        if self.counting != Some(Counting::OwnOnly)
            && let Some(memory) = counted(reading, &mut self.zswap)
        {
            return Some(memory);
        }
        let usage = reading.kept(position, "memory.usage_in_bytes", &mut self.usage, unsigned);
        let stat = self.stat(reading, position).unwrap_or_default();
        let counting =
            *self.counting.get_or_insert_with(|| match reading.once(position, "memory.use_hierarchy", unsigned) {
                Some(0) => Counting::OwnOnly,
                _ => Counting::Subtree,
            });
        let mut memory = of_v1_stat(reading, usage, &stat, counting);
        memory.max_usage =
            reading.kept(position, "memory.max_usage_in_bytes", &mut self.max_usage, unsigned).map(Bytes);
        memory.failcnt = reading.kept(position, "memory.failcnt", &mut self.events, unsigned);
        memory.kernel = reading.kept(position, "memory.kmem.usage_in_bytes", &mut self.kernel, unsigned).map(Bytes);
        memory.stat = stat.into_whole();
        Some(memory)
    }

    fn v2(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<Memory> {
        reading.hierarchy(position)?;
        if let Some(memory) = counted(reading, &mut self.zswap) {
            return Some(memory);
        }
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
        let mut memory = of_v2_stat(reading, usage, swap, &stat, &mut self.zswap);
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
        memory.stat = stat.into_whole();
        Some(memory)
    }
}

/// What of v1 depends on `memory.stat`, with memory in use.
fn of_v1_stat(reading: &mut Reading<'_>, usage: Option<u64>, stat: &Stat, counting: Counting) -> Memory {
    let pick = |total, own| if counting == Counting::Subtree { total } else { own };
    let inactive_file = stat.get(StatKey::TotalInactiveFile);
    let mut known = Known { reading, stat };
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
    Memory {
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
    }
}

/// What of v2 depends on `memory.stat`, with memory and swap in use.
fn of_v2_stat(
    reading: &mut Reading<'_>,
    usage: Option<u64>,
    swap: Option<u64>,
    stat: &Stat,
    zswap: &mut ZswapKeys,
) -> Memory {
    let inactive_file = stat.get(StatKey::InactiveFile);
    let mut known = Known { reading, stat };
    // v2 counts over the subtree only.
    let faults = Faults {
        pgfault: known.number(StatKey::PageFaults, Part::OwnFaults),
        pgmajfault: known.number(StatKey::MajorFaults, Part::OwnMajorFaults),
    };
    known.number(StatKey::PageFaults, Part::AllFaults);
    known.number(StatKey::MajorFaults, Part::AllMajorFaults);
    Memory {
        usage: known.usage(usage),
        cache: Bytes(known.number(StatKey::File, Part::Cache)),
        rss: Bytes(known.number(StatKey::Anon, Part::Rss)),
        swap: swap.map(Bytes),
        mapped_file: Bytes(known.number(StatKey::FileMapped, Part::MappedFile)),
        working_set: known.working_set(usage, inactive_file),
        active_file: stat.get(StatKey::ActiveFile).map(Bytes),
        inactive_file: inactive_file.map(Bytes),
        kernel: stat.get(StatKey::Kernel).map(Bytes),
        zswap: zswap.pick(stat),
        own_faults: faults,
        hierarchical_faults: faults,
        ..Memory::default()
    }
}

/// Memory as its files would have it, from kernel memory.
pub(super) fn counted(reading: &mut Reading<'_>, zswap: &mut ZswapKeys) -> Option<Memory> {
    let CountedMemory { usage, peak, failcnt, kernel, swap, events, layout, stat } = reading.counted_memory()?;
    let stat = Stat { layout: Some(layout), values: stat };
    let mut memory = if matches!(reading.ctx.sources.memory, Some(Place::V1(_))) {
        let memory = of_v1_stat(reading, Some(usage), &stat, Counting::Subtree);
        Memory { failcnt, kernel: kernel.map(Bytes), ..memory }
    } else {
        let [low, high, max, oom, oom_kill, oom_group_kill] = events;
        let events = Some(MemoryEvents { low, high, max, oom, oom_kill, oom_group_kill });
        Memory { events, ..of_v2_stat(reading, Some(usage), swap, &stat, zswap) }
    };
    memory.max_usage = Some(Bytes(peak));
    memory.stat = stat.into_whole();
    Some(memory)
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

impl MemoryFiles {
    fn explain(&self, section: &Section, rows: &mut Rows<'_>, memory: Option<&Memory>) {
        // Pages by node are a family of their own.
        fields!(memory => Memory {
            usage, max_usage, cache, rss, swap, mapped_file, working_set, active_file, inactive_file, failcnt, kernel, zswap,
            own_faults, hierarchical_faults, events, pressure, numa: _, stat,
        });
        let own_only = self.counting == Some(Counting::OwnOnly);
        let counted = |total, own| [key("memory.stat", if own_only { own } else { total })];
        let in_stat = |word| key("memory.stat", word);
        // The root of v2 has neither file.
        let at_root = rows.reading.is_root();
        let v1_usage = whole("memory.usage_in_bytes");
        let in_use = Keys::from([whole("memory.current")]);
        let in_use = if at_root { in_use.or([in_stat("anon"), in_stat("file")]) } else { in_use };
        rows.add("memory.usage", usage, section, [v1_usage], in_use);
        let peak = [whole("memory.peak").since("5.19")];
        rows.add("memory.max_usage", flat(max_usage), section, [whole("memory.max_usage_in_bytes")], peak);
        rows.add("memory.cache", cache, section, counted("total_cache", "cache"), [in_stat("file")]);
        rows.add("memory.rss", rss, section, counted("total_rss", "rss"), [in_stat("anon")]);
        let swapped = Keys::from([whole("memory.swap.current")]);
        let machine_swap = ["SwapTotal", "SwapFree"].map(|word| key("meminfo", word).of(Base::Proc));
        let swapped = if at_root { swapped.or(machine_swap) } else { swapped };
        rows.add("memory.swap", flat(swap), section, counted("total_swap", "swap"), swapped);
        let v1 = counted("total_mapped_file", "mapped_file");
        rows.add("memory.mapped_file", mapped_file, section, v1, [in_stat("file_mapped")]);
        let less = Keys::from([whole("memory.current"), in_stat("inactive_file")]);
        let less = if at_root { less.or([in_stat("anon"), in_stat("file"), in_stat("inactive_file")]) } else { less };
        rows.add("memory.working_set", working_set, section, [v1_usage, in_stat("total_inactive_file")], less);
        let v1 = [in_stat("total_active_file")];
        rows.add("memory.active_file", flat(active_file), section, v1, [in_stat("active_file")]);
        let v1 = [in_stat("total_inactive_file")];
        rows.add("memory.inactive_file", flat(inactive_file), section, v1, [in_stat("inactive_file")]);
        rows.add("memory.failcnt", flat(failcnt), section, [whole("memory.failcnt")], Keys::NONE);
        let v1 = [whole("memory.kmem.usage_in_bytes")];
        rows.add("memory.kernel", flat(kernel), section, v1, [in_stat("kernel").since("5.18")]);
        explain_zswap(section, rows, flat(zswap));
        fields!(own_faults => Faults { pgfault, pgmajfault });
        rows.add("memory.own_faults.pgfault", pgfault, section, [in_stat("pgfault")], [in_stat("pgfault")]);
        rows.add("memory.own_faults.pgmajfault", pgmajfault, section, [in_stat("pgmajfault")], [in_stat("pgmajfault")]);
        fields!(hierarchical_faults => Faults { pgfault, pgmajfault });
        let (name, v1) = ("memory.hierarchical_faults.pgfault", [in_stat("total_pgfault")]);
        rows.add(name, pgfault, section, v1, [in_stat("pgfault")]);
        let (name, v1) = ("memory.hierarchical_faults.pgmajfault", [in_stat("total_pgmajfault")]);
        rows.add(name, pgmajfault, section, v1, [in_stat("pgmajfault")]);
        fields!(flat(events) => MemoryEvents { low, high, max, oom, oom_kill, oom_group_kill });
        for (name, value, word) in [
            ("memory.events.low", low, "low"),
            ("memory.events.high", high, "high"),
            ("memory.events.max", max, "max"),
            ("memory.events.oom", oom, "oom"),
            ("memory.events.oom_kill", oom_kill, "oom_kill"),
        ] {
            rows.add(name, flat(value), section, Keys::NONE, [key("memory.events", word)]);
        }
        let v2 = [key("memory.events", "oom_group_kill").since("5.17")];
        rows.add("memory.events.oom_group_kill", flat(oom_group_kill), section, Keys::NONE, v2);
        let names = ["memory.pressure.some", "memory.pressure.full"];
        pressure::explain(rows, names, ("memory.pressure", "4.20"), flat(pressure));
        explain_stat(section, rows, stat);
    }
}

fn explain_zswap(section: &Section, rows: &mut Rows<'_>, zswap: Option<&Zswap>) {
    let in_stat = |word, since| [key("memory.stat", word).since(since)];
    fields!(zswap => Zswap { usage, stored, pages_in, pages_out, pages_written_back });
    rows.add("memory.zswap.usage", flat(usage), section, Keys::NONE, in_stat("zswap", "5.19"));
    rows.add("memory.zswap.stored", flat(stored), section, Keys::NONE, in_stat("zswapped", "5.19"));
    rows.add("memory.zswap.pages_in", flat(pages_in), section, Keys::NONE, in_stat("zswpin", "5.19"));
    rows.add("memory.zswap.pages_out", flat(pages_out), section, Keys::NONE, in_stat("zswpout", "5.19"));
    let v2 = in_stat("zswpwb", "6.8");
    rows.add("memory.zswap.pages_written_back", flat(pages_written_back), section, Keys::NONE, v2);
}

fn explain_stat(section: &Section, rows: &mut Rows<'_>, stat: Option<&MemoryStat>) {
    let all = stat.map(|MemoryStat { keys, values }| {
        Value::Named(keys.iter().map(ToString::to_string).zip(values.iter().map(Value::from)).collect())
    });
    rows.add_value("memory.stat", all, section, [whole("memory.stat")], [whole("memory.stat")]);
    let reported = stat.map(MemoryStat::reported);
    fields!(reported => ReportedStat {
        file_dirty, file_writeback, pgscan, pgsteal, workingset_refault_file, workingset_refault_anon,
    });
    for (name, value, v1, v2) in [
        ("memory.file_dirty", file_dirty, Some("total_dirty"), "file_dirty"),
        ("memory.file_writeback", file_writeback, Some("total_writeback"), "file_writeback"),
        ("memory.pgscan", pgscan, None, "pgscan"),
        ("memory.pgsteal", pgsteal, None, "pgsteal"),
        (
            "memory.workingset_refault_file",
            workingset_refault_file,
            Some("total_workingset_refault_file"),
            "workingset_refault_file",
        ),
        (
            "memory.workingset_refault_anon",
            workingset_refault_anon,
            Some("total_workingset_refault_anon"),
            "workingset_refault_anon",
        ),
    ] {
        let v1 = v1.map_or(Keys::NONE, |word| [key("memory.stat", word)].into());
        let value = value.flatten().map(Value::Count);
        rows.add_value(name, value, section, v1, [key("memory.stat", v2)]);
    }
}
