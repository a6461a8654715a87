//! Processes, threads and descriptors of a cgroup.

use std::path::Path;

use super::{Family, Mounted, Place, Reading, Rows, fields, flat};
use crate::kernel::cgroup::Hierarchy;
use crate::kernel::error::ReadError;
use crate::kernel::file::{KeptFile, ReadBuffer};
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::procfs::process::{
    Descriptors, Listing, ProcessDir, descriptors, max_open_files, reported_descriptors,
};
use crate::kernel::text_formats::{limit, unsigned};
use crate::reader::container::pace::{Paced, ThreadTime};
use crate::reader::container::processes::{
    OwnProcesses, any_still_there, own_processes, parsed, parsed_lines, process_hierarchy,
};
use crate::reader::container::rows::Section;
use crate::reader::container::rows::keys::{Base, Keys, key, part, whole};
use crate::sample::container::{Processes, Sample};
use crate::sample::kinds::MetricKind;
use crate::sample::spec::Spec;
use crate::sample::statistic::{Absence, Value};
use crate::sample::unread::Part;
use crate::units::Limit;

#[derive(Debug, Default)]
pub(in crate::reader::container) struct ProcessFiles {
    threads: KeptFile,
    threads_max: KeptFile,
    descriptors: Option<Paced<Looked>>,
}

/// What a look at all descriptors showed.
#[derive(Clone, Copy, Debug)]
struct Looked {
    counts: Descriptors,
    /// Whether the kernel reports how many there are without a look at them (since 6.2).
    sizes: Sizes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sizes {
    Reported,
    Unknown,
}

impl Family for ProcessFiles {
    /// Where tasks are counted; processes are listed in any hierarchy.
    fn place(&self, mounted: &Mounted<'_>) -> Option<Place> {
        mounted.wanted(MetricKind::Process, "pids")
    }

    fn each(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        each(&mut self.threads);
        each(&mut self.threads_max);
    }

    fn release(&mut self, is_taken: &dyn Fn(CounterFamily) -> bool) {
        if is_taken(CounterFamily::Pids) {
            self.threads.release();
        }
    }

    fn lacks_leading(&self) -> bool {
        self.threads.is_absent()
    }

    fn read_beside(&mut self, place: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        if reading.ctx.kinds.has(MetricKind::Process) {
            sample.processes = self.processes(place, reading);
        }
    }

    fn limits(&mut self, place: Option<Place>, reading: &mut Reading<'_>, spec: &mut Spec) {
        spec.processes = limits(place, reading);
    }

    fn shows_limits(&self) -> Option<CounterFamily> {
        Some(CounterFamily::Pids)
    }

    fn explain(&self, place: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        let pids = rows.section(place, MetricKind::Process, "pids", Some("pids"));
        explain(&pids, rows, sample.processes.as_ref());
    }

    fn explain_limits(&self, place: Option<Place>, rows: &mut Rows<'_>, spec: &Spec) {
        let place = rows.reading.ctx.sources.unified_only.map(Place::V2).or(place);
        let pids = rows.section(place, MetricKind::Process, "pids", Some("pids"));
        let file = [whole("pids.max")];
        rows.add("spec.processes.limit", spec.processes.as_ref(), &pids, file, file);
    }
}

impl ProcessFiles {
    /// Whatever kinds are read.
    pub(in crate::reader::container) fn now(&mut self, reading: &mut Reading<'_>) -> Option<Processes> {
        let place = self.place(&Mounted::new(&reading.ctx.hierarchies, reading.ctx.kinds));
        self.processes(place, reading)
    }

    fn processes(&mut self, place: Option<Place>, reading: &mut Reading<'_>) -> Option<Processes> {
        let hierarchy = process_hierarchy(reading)?;
        let OwnProcesses { count, pids, .. } = own_processes(reading, hierarchy, reading.name)?;
        let counts = pids.as_ref().and_then(|pids| self.descriptors(reading, hierarchy, pids));
        let (threads, threads_max) = self.threads(place, reading, hierarchy, count);
        let first = pids.as_ref().and_then(|pids| pids.first());
        Some(Processes {
            count,
            descriptors: counts.map(|counts| counts.open),
            sockets: counts.and_then(|counts| counts.sockets),
            threads,
            threads_max,
            max_open_files: first.and_then(|pid| read_limits(reading, *pid)),
        })
    }

    /// What descriptors are open on is only seen by a look at each, which is not taken for each sample where there are
    /// very many. Their number is of now all the same, where the kernel reports it.
    fn descriptors(&mut self, reading: &mut Reading<'_>, hierarchy: &Hierarchy, pids: &[u32]) -> Option<Descriptors> {
        let Some(&first) = pids.first() else { return Some(Descriptors::NONE) };
        if let Some(Looked { counts, sizes }) = self.descriptors.as_ref().and_then(Paced::while_it_stands) {
            if sizes == Sizes::Unknown {
                return Some(counts);
            }
            let open = sum_of_descriptors(reading, hierarchy, pids, reported_descriptors)?.open;
            return Some(Descriptors { open, sockets: counts.sockets.map(|sockets| sockets.min(open)) });
        }
        let began = ThreadTime::now();
        let counts = sum_of_descriptors(reading, hierarchy, pids, descriptors)?;
        let reported = reported_descriptors(&reading.ctx.roots.proc, first, reading.buffer);
        let sizes = if reported.is_ok_and(|counts| counts.open > 0) { Sizes::Reported } else { Sizes::Unknown };
        let looked = Looked { counts, sizes };
        // The one before counts no longer.
        self.descriptors = None;
        self.descriptors = Some(Paced::new(&reading.ctx.descriptor_pace, looked, began));
        Some(counts)
    }

    /// Reads the number of tasks alone.
    pub(in crate::reader::container) fn read_threads(&mut self, reading: &mut Reading<'_>, sample: &mut Sample) {
        if let Some(place) = reading.ctx.sources.pids {
            let threads = reading.kept(place.hierarchy(), "pids.current", &mut self.threads, unsigned);
            sample.processes = Some(Processes { threads, ..Processes::default() });
        }
    }

    fn threads(
        &mut self,
        place: Option<Place>,
        reading: &mut Reading<'_>,
        hierarchy: &Hierarchy,
        processes: Option<u64>,
    ) -> (Option<u64>, Option<u64>) {
        let Some(place) = place else { return (None, None) };
        let position = place.hierarchy();
        let mut threads = reading.counted_pids();
        if threads.is_none() {
            threads = reading.kept(position, "pids.current", &mut self.threads, unsigned);
        }
        if threads.is_none() && self.threads.is_absent() && matches!(place, Place::V2(_)) {
            threads = count_lines(reading, hierarchy).or(processes);
        }
        let max = match reading.kept(position, "pids.max", &mut self.threads_max, limit) {
            Some(Limit::Value(max)) => Some(max),
            Some(Limit::Max) | None => None,
        };
        (threads, max)
    }
}

fn limits(place: Option<Place>, reading: &mut Reading<'_>) -> Option<Limit> {
    if let Some(position) = reading.ctx.sources.unified_only {
        reading.hierarchy(position)?;
        // Without the controller, and at the root, nothing limits the number.
        let max = reading.once(position, "pids.max", limit);
        return max.or((!reading.unread.has(Part::PidsMax)).then_some(Limit::Max));
    }
    let position = place?.hierarchy();
    if !reading.ctx.kinds.has(MetricKind::Process) {
        return None;
    }
    reading.once(position, "pids.max", limit)
}

fn count_lines(reading: &mut Reading<'_>, hierarchy: &Hierarchy) -> Option<u64> {
    let at = hierarchy.file(reading.name, "cgroup.threads");
    parsed_lines(reading, at, "cgroup.threads", |text, odd| Listing::parse(text, odd).count())
}

fn sum_of_descriptors(
    reading: &mut Reading<'_>,
    hierarchy: &Hierarchy,
    pids: &[u32],
    count: fn(&Path, u32, &mut ReadBuffer) -> Result<Descriptors, ReadError>,
) -> Option<Descriptors> {
    let mut unseen = Vec::new();
    let mut counts = Descriptors::NONE;
    for pid in pids {
        match count(&reading.ctx.roots.proc, *pid, reading.buffer) {
            Ok(more) => counts = counts.plus(more),
            Err(ReadError::Missing(_) | ReadError::Gone(_)) => unseen.push(*pid),
            Err(error) => {
                // A sum without some processes would be a wrong number.
                reading.ctx.errors.count("fd", &error);
                return None;
            }
        }
    }
    let complete = !any_still_there(reading, hierarchy, reading.name, &unseen);
    complete.then_some(counts)
}

fn read_limits(reading: &mut Reading<'_>, pid: u32) -> Option<(u64, u64)> {
    let process = ProcessDir::new(pid);
    parsed(reading, process.file(&reading.ctx.roots.proc, "limits"), "limits", max_open_files)
}

/// The hierarchy whose list of processes counts.
fn where_listed(rows: &Rows<'_>) -> Section {
    if let Err(absence) = rows.when(MetricKind::Process) {
        return Section::absent(absence);
    }
    let hierarchy = process_hierarchy(&rows.reading);
    let position = hierarchy.and_then(|hierarchy| rows.reading.ctx.hierarchies.position(hierarchy.id));
    match hierarchy.zip(position) {
        Some((hierarchy, position)) => rows.at(hierarchy.version, position, None),
        None => Section::absent(Absence::NoController("cpu")),
    }
}

fn explain(pids: &Section, rows: &mut Rows<'_>, processes: Option<&Processes>) {
    let listed_in = where_listed(rows);
    fields!(processes => Processes { count, descriptors, sockets, threads, threads_max, max_open_files });
    rows.add("processes.count", flat(count), &listed_in, [whole("cgroup.procs")], [whole("cgroup.procs")]);
    let listed = flat(descriptors).map(Value::from);
    rows.add_of_process("processes.descriptors", MetricKind::Process, listed, whole("fd").of(Base::Process));
    let listed = flat(sockets).map(Value::from);
    rows.add_of_process("processes.sockets", MetricKind::Process, listed, part("fd", "sockets").of(Base::Process));
    let threads = flat(threads);
    let v2 = Keys::from([whole("pids.current")]).or([part("cgroup.threads", "lines")]);
    rows.add("processes.threads", threads, pids, [whole("pids.current")], v2);
    let limit = |limit: &u64| if *limit == u64::MAX { Value::Unlimited } else { limit.into() };
    let max = flat(threads_max).map(Value::from).or(threads.map(|_| Value::Unlimited));
    rows.add_value("processes.threads_max", max, pids, [whole("pids.max")], [whole("pids.max")]);
    let files = flat(max_open_files)
        .map(|(soft, hard)| Value::Named(vec![("soft".to_owned(), limit(soft)), ("hard".to_owned(), limit(hard))]));
    let row = key("limits", "Max open files").of(Base::Process);
    rows.add_of_process("processes.max_open_files", MetricKind::Process, files, row);
}
