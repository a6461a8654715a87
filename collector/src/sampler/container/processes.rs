//! Processes, threads, descriptors and scheduler statistics: values that are summed over a cgroup's processes.

use std::collections::HashMap;

use super::Reading;
use super::context::Source;
use crate::kernel::cgroup::{Hierarchy, children};
use crate::kernel::error::ReadError;
use crate::kernel::file::{FileAt, KeptFile};
use crate::kernel::process::{Descriptors, ProcessDir, Schedstat as Times, descriptors, max_open_files, process_ids};
use crate::kernel::text_formats::{FormatError, limit, unsigned};
use crate::sample::container::{Processes, Schedstat};
use crate::sample::kinds::MetricKind;
use crate::units::{Limit, Nanos};

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
        if !reading.ctx.kinds.has(MetricKind::Process) {
            return None;
        }
        let hierarchy = process_hierarchy(reading)?;
        let pids = own_processes(reading, hierarchy, reading.name)?;
        let counts = count_descriptors(reading, &pids);
        let (threads, threads_max) = self.threads(reading, hierarchy, &pids);
        Some(Processes {
            count: pids.len() as u64,
            descriptors: counts.map(|counts| counts.open),
            sockets: counts.map(|counts| counts.sockets),
            threads,
            threads_max,
            max_open_files: pids.first().and_then(|pid| read_limits(reading, *pid)),
        })
    }

    fn threads(
        &mut self,
        reading: &mut Reading<'_>,
        hierarchy: &Hierarchy,
        pids: &[u32],
    ) -> (Option<u64>, Option<u64>) {
        let Some(source) = reading.ctx.sources.pids else { return (None, None) };
        let (Source::V1(position) | Source::V2(position)) = source;
        let mut threads = reading.kept(position, "pids.current", &mut self.threads, unsigned);
        if threads.is_none() && matches!(source, Source::V2(_)) {
            let listed = count_lines(reading, hierarchy);
            threads = Some(listed.unwrap_or(pids.len() as u64));
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
            for pid in own_processes(reading, hierarchy, &directory).unwrap_or_default() {
                if let Some(times) = read_schedstat(reading, pid) {
                    now.insert(pid, times);
                }
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

pub(super) fn own_processes(reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8]) -> Option<Vec<u32>> {
    list(reading, hierarchy.file(cgroup, "cgroup.procs"), "cgroup.procs")
        // A threaded cgroup of v2 lists only threads.
        .or_else(|| list(reading, hierarchy.file(cgroup, "cgroup.threads"), "cgroup.threads"))
}

fn list(reading: &mut Reading<'_>, at: FileAt<'_>, counted_as: &'static str) -> Option<Vec<u32>> {
    parsed(reading, at, counted_as, |text| process_ids(text).collect())
}

fn count_lines(reading: &mut Reading<'_>, hierarchy: &Hierarchy) -> Option<u64> {
    let at = hierarchy.file(reading.name, "cgroup.threads");
    parsed(reading, at, "cgroup.threads", |text| Ok(process_ids(text).count() as u64))
}

fn count_descriptors(reading: &mut Reading<'_>, pids: &[u32]) -> Option<Descriptors> {
    let mut counts = Descriptors::default();
    for pid in pids {
        match descriptors(&reading.ctx.roots.proc, *pid, reading.buffer) {
            Ok(more) => {
                counts.open += more.open;
                counts.sockets += more.sockets;
            }
            Err(ReadError::Missing(_) | ReadError::Gone(_)) => {}
            Err(error) => {
                // A sum without some processes would be a wrong number.
                reading.ctx.errors.count("fd", &error);
                return None;
            }
        }
    }
    Some(counts)
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
