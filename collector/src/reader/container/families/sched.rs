//! Scheduler statistics of a subtree's threads.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Family, Mounted, Place, Reading, Rows, fields, flat};
use crate::kernel::cgroup::children;
use crate::kernel::error::ReadError;
use crate::kernel::procfs::process::{ProcessDir, Schedstat as Times, threads};
use crate::reader::container::pace::{Paced, ThreadTime};
use crate::reader::container::processes::{any_still_there, own_processes, process_hierarchy};
use crate::reader::container::rows::keys::{Base, part};
use crate::sample::container::{Sample, Schedstat};
use crate::sample::kinds::MetricKind;
use crate::sample::statistic::Value;
use crate::units::Nanos;

/// The scheduler statistics of threads seen, and of those that ended since.
#[derive(Debug, Default)]
pub(in crate::reader::container) struct Scheduled {
    living: HashMap<u32, Times>,
    ended: Times,
    newest: Option<Paced<Times>>,
}

impl Family for Scheduled {
    fn place(&self, _: &Mounted<'_>) -> Option<Place> {
        None
    }

    fn read_beside(&mut self, _: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        if let Some(cpu) = &mut sample.cpu {
            cpu.schedstat = self.schedstat(reading);
        }
    }

    fn explain(&self, _: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        let schedstat = flat(sample.cpu.as_ref().map(|cpu| &cpu.schedstat));
        fields!(schedstat => Schedstat { run_time, runqueue_time, run_periods });
        for (name, value, number) in [
            ("cpu.schedstat.run_time", run_time.map(Value::from), "1st number"),
            ("cpu.schedstat.runqueue_time", runqueue_time.map(Value::from), "2nd number"),
            ("cpu.schedstat.run_periods", run_periods.map(Value::from), "3rd number"),
        ] {
            rows.add_of_process(name, MetricKind::Sched, value, part("schedstat", number).of(Base::Process));
        }
    }
}

impl Scheduled {
    /// Sums the scheduler statistics of the subtree's threads; what a thread that ended had last stays in the sum.
    fn schedstat(&mut self, reading: &mut Reading<'_>) -> Option<Schedstat> {
        if !reading.ctx.kinds.has(MetricKind::Sched) {
            return None;
        }
        // Each thread has a file of its own: where there are very many, they are not read for each sample.
        let newest = self.newest.as_ref().and_then(Paced::while_it_stands);
        let sum = newest.or_else(|| self.take_anew(reading));
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

    fn take_anew(&mut self, reading: &mut Reading<'_>) -> Option<Times> {
        let began = ThreadTime::now();
        let sum = self.sum_of_threads(reading)?;
        // The one before counts no longer.
        self.newest = None;
        self.newest = Some(Paced::new(&reading.ctx.thread_pace, sum, began));
        Some(sum)
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
        Some(self.update(now))
    }

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

/// `Some(None)` for a thread that has ended, `None` where its file cannot be read.
#[expect(clippy::option_option, reason = "ended and not readable are distinguished")]
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
