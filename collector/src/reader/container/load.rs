//! Tasks by state and the load average made of them, as cAdvisor defines it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Reading;
use crate::kernel::taskstats::{CgroupStats, TaskstatsError, TaskstatsSocket};
use crate::sample::container::{Load, TaskStates};
use crate::sample::unread::Part;

/// Over how long the load is smoothed, seconds.
const SMOOTHED_OVER: f64 = 10.0;

/// Asks the kernel for tasks by state (`--enable_load_reader`). Shared by all sampling threads.
#[derive(Debug)]
pub struct LoadReader {
    socket: Mutex<TaskstatsSocket>,
    decay: f64,
}

impl LoadReader {
    /// Opens the kernel's interface; the load is smoothed for samples taken at this interval.
    pub fn open(interval: Duration) -> Result<Self, TaskstatsError> {
        Ok(Self { socket: Mutex::new(TaskstatsSocket::open()?), decay: decay(interval) })
    }
}

fn decay(interval: Duration) -> f64 {
    (-interval.as_secs_f64() / SMOOTHED_OVER).exp()
}

/// The averages of one container.
#[derive(Debug, Default)]
pub(super) struct LoadState(Option<Averages>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Averages {
    running: f64,
    uninterruptible: f64,
}

impl LoadState {
    pub(super) fn sample(&mut self, reading: &mut Reading<'_>) -> Option<(TaskStates, Load)> {
        let load = reading.ctx.load.as_ref()?;
        let hierarchy = reading.hierarchy(reading.ctx.sources.tasks?)?;
        // Unless the kernel tells, what it has is not known.
        reading.unread.add(Part::Tasks);
        let directory = hierarchy.file(reading.name, "").open_directory(reading.buffer).ok()?;
        let stats = load.socket.lock().unwrap_or_else(PoisonError::into_inner).cgroup(&directory);
        // A cgroup that ended meanwhile is refused by the kernel.
        let stats = stats.inspect_err(|error| tracing::debug!(%error, "no tasks by state")).ok()?;
        reading.unread.remove(Part::Tasks);
        Some(self.update(stats, load.decay))
    }

    fn update(&mut self, stats: CgroupStats, decay: f64) -> (TaskStates, Load) {
        let CgroupStats { sleeping, running, stopped, uninterruptible, io_wait } = stats;
        let smooth = |average: f64, now: u64| average * decay + now as f64 * (1.0 - decay);
        let averages = match self.0 {
            None => Averages { running: running as f64, uninterruptible: uninterruptible as f64 },
            Some(last) => Averages {
                running: smooth(last.running, running),
                uninterruptible: smooth(last.uninterruptible, uninterruptible),
            },
        };
        self.0 = Some(averages);
        let milli = |average: f64| (average * 1000.0) as u64;
        (
            TaskStates { sleeping, running, stopped, uninterruptible, io_wait },
            Load { running_milli: milli(averages.running), uninterruptible_milli: milli(averages.uninterruptible) },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_is_taken_as_it_is_and_later_ones_are_smoothed() {
        let decay = decay(Duration::from_secs(1));
        let mut state = LoadState::default();
        let stats = |running| CgroupStats { running, ..CgroupStats::default() };
        assert_eq!(state.update(stats(3), decay).1.running_milli, 3000);
        // 3 * 0.904837 + 0 * 0.095163
        assert_eq!(state.update(stats(0), decay).1.running_milli, 2714);
        // 2.714512 * 0.904837 + 5 * 0.095163
        assert_eq!(state.update(stats(5), decay).1.running_milli, 2932);
    }
}
