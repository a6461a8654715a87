//! Processes, threads, descriptors and scheduler statistics: values that are summed over a cgroup's processes.

use std::collections::HashMap;
use std::time::Duration;

use super::Reading;
use super::context::{ProcessSource, Source};
use crate::kernel::cgroup::{Hierarchy, Version, children};
use crate::kernel::error::ReadError;
use crate::kernel::file::{FileAt, KeptFile};
use crate::kernel::process::{Descriptors, Listing, ProcessDir, Schedstat as Times, descriptors, max_open_files};
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

/// The scheduler statistics of processes seen, and of those that ended since.
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
        let OwnProcesses { count, pids } = own_processes(reading, hierarchy, reading.name)?;
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
        if threads.is_none() && matches!(source, Source::V2(_)) {
            threads = count_lines(reading, hierarchy).or(processes);
        }
        let max = match reading.kept(position, "pids.max", &mut self.threads_max, limit) {
            Some(Limit::Value(max)) => Some(max),
            Some(Limit::Max) | None => None,
        };
        (threads, max)
    }

    /// Sums the scheduler statistics of the subtree's processes; what a process that ended had last stays in the sum.
    pub(super) fn schedstat(&mut self, reading: &mut Reading<'_>) -> Option<Schedstat> {
        if !reading.ctx.kinds.has(MetricKind::Sched) {
            return None;
        }
        let hierarchy = process_hierarchy(reading)?;
        let mut now = HashMap::new();
        let mut directories = vec![reading.name.to_vec()];
        while let Some(directory) = directories.pop() {
            // A child that ended meanwhile has none; a sum without some processes would be a wrong number.
            let pids = match own_processes(reading, hierarchy, &directory) {
                Some(processes) => processes.pids?,
                None => Vec::new(),
            };
            let mut unseen = Vec::new();
            for pid in pids {
                match read_schedstat(reading, pid) {
                    Some(times) => drop(now.insert(pid, times)),
                    None => unseen.push(pid),
                }
            }
            if any_still_there(reading, hierarchy, &directory, &unseen) {
                return None;
            }
            let above = directory.strip_suffix(b"/").unwrap_or(&directory);
            directories.extend(children(hierarchy, &directory).iter().map(|child| [above, b"/", child].concat()));
        }
        let sum = self.scheduled.update(now);
        Some(Schedstat {
            run_time: Nanos(sum.run_time),
            runqueue_time: Nanos(sum.runqueue_time),
            run_periods: sum.run_periods,
        })
    }
}

impl Scheduled {
    fn update(&mut self, now: HashMap<u32, Times>) -> Times {
        let last = std::mem::replace(&mut self.living, now);
        for (pid, times) in last {
            // A number that runs less than before belongs to another process now.
            let ended = self.living.get(&pid).is_none_or(|now| now.run_periods < times.run_periods);
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
}

pub(super) fn own_processes(reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8]) -> Option<OwnProcesses> {
    let listing = list(reading, hierarchy, cgroup)?;
    // v1 leaves out what has no id in the collector's pid namespace, v2 lists it as 0.
    let counted = (hierarchy.version == Version::V2).then(|| listing.count());
    Some(match &reading.ctx.processes {
        ProcessSource::Listed(_) => {
            OwnProcesses { count: Some(listing.count()), pids: Some(listing.visible).filter(|_| listing.hidden == 0) }
        }
        ProcessSource::Indexed(index) => {
            let pids = index.processes(hierarchy.id, cgroup, INDEX_AGE);
            OwnProcesses { count: counted.or(Some(pids.len() as u64)), pids: Some(pids) }
        }
        ProcessSource::Hidden => OwnProcesses { count: counted, pids: None },
    })
}

fn list(reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8]) -> Option<Listing> {
    // A threaded cgroup of v2 lists only threads.
    ["cgroup.procs", "cgroup.threads"]
        .into_iter()
        .find_map(|file| parsed(reading, hierarchy.file(cgroup, file), file, Listing::parse))
}

fn count_lines(reading: &mut Reading<'_>, hierarchy: &Hierarchy) -> Option<u64> {
    let at = hierarchy.file(reading.name, "cgroup.threads");
    parsed(reading, at, "cgroup.threads", |text| Ok(Listing::parse(text)?.count()))
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

fn read_schedstat(reading: &mut Reading<'_>, pid: u32) -> Option<Times> {
    let process = ProcessDir::new(pid);
    parsed(reading, process.file(&reading.ctx.roots.proc, "schedstat"), "schedstat", Times::parse)
}

/// Reads a file that is not a statistics file of the container itself.
pub(super) fn parsed<T>(
    reading: &mut Reading<'_>,
    at: FileAt<'_>,
    counted_as: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Option<T> {
    let result = at
        .read(reading.buffer)
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
    fn ended_processes_stay_in_the_sum() {
        let times = |run_time, run_periods| Times { run_time, runqueue_time: 1, run_periods };
        let mut scheduled = Scheduled::default();
        let sum = |scheduled: &mut Scheduled, now: &[(u32, Times)]| scheduled.update(now.iter().copied().collect());
        assert_eq!(sum(&mut scheduled, &[(1, times(10, 2)), (2, times(5, 1))]).run_time, 15);
        assert_eq!(sum(&mut scheduled, &[(1, times(12, 3))]).run_time, 17);
        // Number 1 was given to a new process.
        assert_eq!(sum(&mut scheduled, &[(1, times(1, 1))]).run_time, 18);
        assert_eq!(sum(&mut scheduled, &[]).run_time, 18);
    }
}
