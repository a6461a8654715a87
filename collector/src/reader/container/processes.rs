//! Processes, threads, descriptors and scheduler statistics: values that are summed over a cgroup's processes.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::Reading;
use super::context::{ProcessSource, Source};
use crate::kernel::cgroup::{Hierarchy, Version, children};
use crate::kernel::error::ReadError;
use crate::kernel::file::{FileAt, KeptFile, ReadBuffer};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::procfs::process::{
    Descriptors, Listing, ProcessDir, Schedstat as Times, descriptors, max_open_files, process_ids, process_of_thread,
    threads,
};
use crate::kernel::text_formats::{FormatError, limit, unsigned};
use crate::sample::container::{Processes, Schedstat};
use crate::sample::kinds::MetricKind;
use crate::units::{Limit, Nanos};

/// How old an index of the host's processes may be that numbers are made of.
const INDEX_AGE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct ProcessFiles {
    threads: KeptFile,
    threads_max: KeptFile,
    scheduled: Scheduled,
}

/// The scheduler statistics of threads seen, and of those that ended since.
#[derive(Debug, Default)]
struct Scheduled {
    living: HashMap<u32, Times>,
    ended: Times,
}

impl ProcessFiles {
    pub(super) fn each(&mut self, each: &mut impl FnMut(&mut KeptFile)) {
        each(&mut self.threads);
        each(&mut self.threads_max);
    }

    pub(super) fn sample(&mut self, reading: &mut Reading<'_>) -> Option<Processes> {
        if reading.ctx.kinds.has(MetricKind::Process) { self.read(reading) } else { None }
    }

    /// Whatever kinds are read.
    pub(super) fn read(&mut self, reading: &mut Reading<'_>) -> Option<Processes> {
        let hierarchy = process_hierarchy(reading)?;
        let OwnProcesses { count, pids, .. } = own_processes(reading, hierarchy, reading.name)?;
        let counts = pids.as_ref().and_then(|pids| count_descriptors(reading, hierarchy, pids));
        let (threads, threads_max) = self.threads(reading, hierarchy, count);
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

    fn threads(
        &mut self,
        reading: &mut Reading<'_>,
        hierarchy: &Hierarchy,
        processes: Option<u64>,
    ) -> (Option<u64>, Option<u64>) {
        let Some(source) = reading.ctx.sources.pids else { return (None, None) };
        let (Source::V1(position) | Source::V2(position)) = source;
        let mut threads = reading.kept(position, "pids.current", &mut self.threads, unsigned);
        if threads.is_none() && self.threads.is_absent() && matches!(source, Source::V2(_)) {
            threads = count_lines(reading, hierarchy).or(processes);
        }
        let max = match reading.kept(position, "pids.max", &mut self.threads_max, limit) {
            Some(Limit::Value(max)) => Some(max),
            Some(Limit::Max) | None => None,
        };
        (threads, max)
    }

    /// Whether the file that counts tasks is not there.
    pub(super) fn lacks_leading(&self) -> bool {
        self.threads.is_absent()
    }

    /// Sums the scheduler statistics of the subtree's threads; what a thread that ended had last stays in the sum.
    pub(super) fn schedstat(&mut self, reading: &mut Reading<'_>) -> Option<Schedstat> {
        if !reading.ctx.kinds.has(MetricKind::Sched) {
            return None;
        }
        let sum = self.sum_of_threads(reading);
        if sum.is_none() {
            reading.lost("schedstat");
        }
        let sum = sum?;
        Some(Schedstat {
            run_time: Nanos(sum.run_time),
            runqueue_time: Nanos(sum.runqueue_time),
            run_periods: sum.run_periods,
        })
    }

    fn sum_of_threads(&mut self, reading: &mut Reading<'_>) -> Option<Times> {
        let hierarchy = process_hierarchy(reading)?;
        let mut now = HashMap::new();
        // Siblings share the path above them: there may be a hundred thousand.
        let top: Rc<[u8]> = reading.name.strip_suffix(b"/").unwrap_or(reading.name).into();
        let mut directories = vec![(Rc::clone(&top), Vec::new())];
        while let Some((above, child)) = directories.pop() {
            let directory: Rc<[u8]> =
                if child.is_empty() { top.clone() } else { [&*above, b"/", &*child].concat().into() };
            // A child that ended meanwhile has none; a sum without some processes would be a wrong number.
            let (pids, own_threads) = match own_processes(reading, hierarchy, &directory) {
                Some(processes) => (processes.pids?, processes.threads),
                None => (Vec::new(), None),
            };
            let mut unseen = Vec::new();
            for pid in pids {
                match threads(&reading.ctx.roots.proc, pid, reading.buffer) {
                    Ok(mut tids) => {
                        // Of a threaded cgroup only its own threads.
                        tids.retain(|tid| own_threads.as_ref().is_none_or(|own| own.binary_search(tid).is_ok()));
                        for tid in tids {
                            // A thread that ended since it was listed stays with what it had last.
                            if let Some(times) = read_schedstat(reading, pid, tid)? {
                                now.insert(tid, times);
                            }
                        }
                    }
                    Err(ReadError::Missing(_) | ReadError::Gone(_)) => unseen.push(pid),
                    Err(error) => {
                        reading.ctx.errors.count("task", &error);
                        return None;
                    }
                }
            }
            if any_still_there(reading, hierarchy, &directory, &unseen) {
                return None;
            }
            let inner = children(hierarchy, &directory).into_iter();
            directories.extend(inner.map(|child| (Rc::clone(&directory), child)));
        }
        Some(self.scheduled.update(now))
    }
}

impl Scheduled {
    fn update(&mut self, now: HashMap<u32, Times>) -> Times {
        let last = std::mem::replace(&mut self.living, now);
        for (tid, times) in last {
            // A number that runs less than before belongs to another thread now.
            let ended = self.living.get(&tid).is_none_or(|now| now.run_periods < times.run_periods);
            if ended {
                add(&mut self.ended, times);
            }
        }
        let mut sum = self.ended;
        self.living.values().for_each(|times| add(&mut sum, *times));
        sum
    }
}

fn add(sum: &mut Times, times: Times) {
    sum.run_time = sum.run_time.saturating_add(times.run_time);
    sum.runqueue_time = sum.runqueue_time.saturating_add(times.runqueue_time);
    sum.run_periods = sum.run_periods.saturating_add(times.run_periods);
}

/// The hierarchy whose processes count: that of the cpu controller, or the first the container is in.
pub(super) fn process_hierarchy<'a>(reading: &Reading<'a>) -> Option<&'a Hierarchy> {
    let preferred = reading.ctx.sources.processes.and_then(|position| reading.hierarchy(position));
    preferred.or_else(|| reading.live_positions().find_map(|position| reading.hierarchy(position)))
}

/// What is known of a cgroup's own processes.
pub(super) struct OwnProcesses {
    /// How many there are.
    pub(super) count: Option<u64>,
    /// Their ids in procfs; absent unless all are known.
    pub(super) pids: Option<Vec<u32>>,
    /// Of a threaded cgroup of v2, its threads, ascending. Its processes may have others in other cgroups.
    pub(super) threads: Option<Vec<u32>>,
}

pub(super) fn own_processes(reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8]) -> Option<OwnProcesses> {
    let listing = match list(reading, hierarchy, cgroup)? {
        Members::Processes(listing) => listing,
        Members::Threads(listing) => return Some(of_threads(reading, hierarchy, cgroup, listing)),
    };
    // v1 leaves out what has no id in the collector's pid namespace, v2 lists it as 0.
    let counted = (hierarchy.version == Version::V2).then(|| listing.count());
    let (count, pids) = match &reading.ctx.processes {
        ProcessSource::Listed(_) => (Some(listing.count()), Some(listing.visible).filter(|_| listing.hidden == 0)),
        ProcessSource::Indexed(index) => {
            let pids = index.processes(hierarchy.id, cgroup, INDEX_AGE);
            (counted.or(Some(pids.len() as u64)), Some(pids))
        }
        ProcessSource::Hidden => (counted, None),
    };
    Some(OwnProcesses { count, pids, threads: None })
}

/// The processes of a threaded cgroup are those that its threads are of: each once, however many of its threads are
/// here.
fn of_threads(
    reading: &mut Reading<'_>,
    hierarchy: &Hierarchy,
    cgroup: &[u8],
    Listing { mut visible, hidden }: Listing,
) -> OwnProcesses {
    let proc = &reading.ctx.roots.proc;
    match &reading.ctx.processes {
        ProcessSource::Listed(_) if hidden == 0 => {
            let pids = processes_of(proc, &visible, reading.buffer);
            visible.sort_unstable();
            OwnProcesses { count: Some(pids.len() as u64), pids: Some(pids), threads: Some(visible) }
        }
        // The host's procfs tells of each process the cgroup of its first thread.
        ProcessSource::Indexed(index) => {
            let pids = index.processes(hierarchy.id, cgroup, INDEX_AGE);
            OwnProcesses { count: Some(pids.len() as u64), pids: Some(pids), threads: None }
        }
        ProcessSource::Listed(_) | ProcessSource::Hidden => OwnProcesses { count: None, pids: None, threads: None },
    }
}

/// The processes that these threads are of, in the order of their first threads. One whose threads have all ended
/// meanwhile is left out.
pub(crate) fn processes_of(proc: &Path, tids: &[u32], buffer: &mut ReadBuffer) -> Vec<u32> {
    let mut pids = Vec::new();
    let mut known = HashSet::new();
    for tid in tids {
        if known.contains(tid) {
            continue;
        }
        let thread = ProcessDir::new(*tid);
        let status = thread.file(proc, "status").read(buffer);
        let Some(pid) = status.ok().and_then(|text| process_of_thread(text).ok()) else { continue };
        // What it costs goes by processes, not by threads.
        known.extend(threads(proc, pid, buffer).unwrap_or_default());
        known.insert(*tid);
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    pids
}

/// What a cgroup lists.
enum Members {
    Processes(Listing),
    /// A threaded cgroup of v2, whose processes the kernel does not list (`EOPNOTSUPP`).
    Threads(Listing),
}

fn list(reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8]) -> Option<Members> {
    let at = hierarchy.file(cgroup, "cgroup.procs");
    match try_lines(reading, at, "cgroup.procs", Listing::parse) {
        Ok(listing) => Some(Members::Processes(listing)),
        Err(ReadError::Unsupported(_)) => {
            let at = hierarchy.file(cgroup, "cgroup.threads");
            parsed_lines(reading, at, "cgroup.threads", Listing::parse).map(Members::Threads)
        }
        Err(error) => {
            reading.ctx.errors.count("cgroup.procs", &error);
            None
        }
    }
}

/// The processes of a cgroup, or, of a threaded one, the threads.
pub(super) fn members(reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8]) -> Option<Vec<u32>> {
    let mut all = |file: &'static str| {
        try_lines(reading, hierarchy.file(cgroup, file), file, |text, odd| {
            // Those that the reader's pid namespace has no number for are listed as 0.
            process_ids(text, odd).filter(|pid| *pid != 0).collect()
        })
    };
    let found = match all("cgroup.procs") {
        Err(ReadError::Unsupported(_)) => all("cgroup.threads"),
        found => found,
    };
    match found {
        Ok(found) => {
            reading.values += 1;
            Some(found)
        }
        Err(error) => {
            reading.ctx.errors.count("cgroup.procs", &error);
            None
        }
    }
}

fn count_lines(reading: &mut Reading<'_>, hierarchy: &Hierarchy) -> Option<u64> {
    let at = hierarchy.file(reading.name, "cgroup.threads");
    parsed_lines(reading, at, "cgroup.threads", |text, odd| Listing::parse(text, odd).count())
}

/// Whether any of these processes, which procfs does not show, is in the cgroup all the same: it has not ended, it is
/// hidden (`hidepid`), and a sum without it would be a wrong number.
pub(super) fn any_still_there(reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8], unseen: &[u32]) -> bool {
    if unseen.is_empty() {
        return false;
    }
    let there = own_processes(reading, hierarchy, cgroup).and_then(|processes| processes.pids).unwrap_or_default();
    unseen.iter().any(|pid| there.contains(pid))
}

fn count_descriptors(reading: &mut Reading<'_>, hierarchy: &Hierarchy, pids: &[u32]) -> Option<Descriptors> {
    let mut unseen = Vec::new();
    let mut counts = Descriptors::NONE;
    for pid in pids {
        match descriptors(&reading.ctx.roots.proc, *pid, reading.buffer) {
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

/// `Some(None)` for a thread that has ended, `None` where its file cannot be read.
#[expect(clippy::option_option, reason = "ended and not readable are told apart")]
fn read_schedstat(reading: &mut Reading<'_>, pid: u32, tid: u32) -> Option<Option<Times>> {
    let process = ProcessDir::new(pid);
    let file = format!("task/{tid}/schedstat");
    let at = process.file(&reading.ctx.roots.proc, &file);
    let read = at
        .read(reading.buffer)
        .and_then(|text| Times::parse(text).map_err(|reason| ReadError::Malformed { path: at.path(), reason }));
    match read {
        Ok(times) => Some(Some(times)),
        Err(ReadError::Missing(_) | ReadError::Gone(_)) => Some(None),
        Err(error) => {
            reading.ctx.errors.count("schedstat", &error);
            None
        }
    }
}

/// Reads a file that is not a statistics file of the container itself and of which each line that is not understood costs
/// its own key.
pub(super) fn parsed_lines<T>(
    reading: &mut Reading<'_>,
    at: FileAt<'_>,
    counted_as: &'static str,
    parse: impl FnOnce(&[u8], &mut OddLines) -> T,
) -> Option<T> {
    match try_lines(reading, at, counted_as, parse) {
        Ok(value) => Some(value),
        Err(error) => {
            if !matches!(error, ReadError::Missing(_) | ReadError::Unsupported(_)) {
                reading.lost(counted_as);
            }
            reading.ctx.errors.count(counted_as, &error);
            None
        }
    }
}

/// The same, with the reason why it cannot be read.
fn try_lines<T>(
    reading: &mut Reading<'_>,
    at: FileAt<'_>,
    counted_as: &'static str,
    parse: impl FnOnce(&[u8], &mut OddLines) -> T,
) -> Result<T, ReadError> {
    let mut odd = OddLines::default();
    let value = parse(at.read(reading.buffer)?, &mut odd);
    if odd.count() > 0 {
        reading.note(at, counted_as, odd);
    }
    Ok(value)
}

/// Reads a file that is not a statistics file of the container itself.
pub(super) fn parsed<T>(
    reading: &mut Reading<'_>,
    at: FileAt<'_>,
    counted_as: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Option<T> {
    let result = at
        .read_whole(reading.buffer)
        .and_then(|text| parse(text).map_err(|reason| ReadError::Malformed { path: at.path(), reason }));
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            reading.ctx.errors.count(counted_as, &error);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_threads_stay_in_the_sum() {
        let times = |run_time, run_periods| Times { run_time, runqueue_time: 1, run_periods };
        let mut scheduled = Scheduled::default();
        let sum = |scheduled: &mut Scheduled, now: &[(u32, Times)]| scheduled.update(now.iter().copied().collect());
        assert_eq!(sum(&mut scheduled, &[(1, times(10, 2)), (2, times(5, 1))]).run_time, 15);
        assert_eq!(sum(&mut scheduled, &[(1, times(12, 3))]).run_time, 17);
        // Number 1 was given to a new thread.
        assert_eq!(sum(&mut scheduled, &[(1, times(1, 1))]).run_time, 18);
        assert_eq!(sum(&mut scheduled, &[]).run_time, 18);
    }
}
