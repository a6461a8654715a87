//! Tasks by state and the load average made of them, as cAdvisor defines it.

use std::sync::PoisonError;

use super::{Family, Mounted, Place, Reading, Rows, fields, flat};
use crate::kernel::taskstats::CgroupStats;
use crate::reader::container::rows::Section;
use crate::reader::container::rows::keys::{Base, Key, Keys, part};
use crate::sample::container::{Load, Sample, TaskStates};
use crate::sample::statistic::Absence;
use crate::sample::unread::Part;

/// The averages of one container.
#[derive(Debug, Default)]
pub(in crate::reader::container) struct LoadState(Option<Averages>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Averages {
    running: f64,
    uninterruptible: f64,
}

impl Family for LoadState {
    /// The kernel is asked about a v1 cgroup.
    fn place(&self, mounted: &Mounted<'_>) -> Option<Place> {
        ["cpu", "cpuacct", "memory"].into_iter().find_map(|controller| mounted.v1(controller)).map(Place::Kernel)
    }

    fn read_beside(&mut self, place: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        if let Some((tasks, load)) = self.sample(place, reading) {
            sample.tasks = Some(tasks);
            if let Some(cpu) = &mut sample.cpu {
                cpu.load = Some(load);
            }
        }
    }

    fn explain(&self, place: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        let section = match place {
            None => Section::absent(Absence::NotInVersion("v2")),
            Some(_) if rows.reading.ctx.load.is_none() => Section::absent(Absence::LoadReaderOff),
            Some(_) => rows.section(place, None, "cpu", None),
        };
        let load = flat(sample.cpu.as_ref().map(|cpu| &cpu.load));
        let tasks = sample.tasks.as_ref();
        fields!(load => Load { running_milli, uninterruptible_milli });
        rows.add("cpu.load.running_milli", running_milli, &section, [taskstats("nr_running")], Keys::NONE);
        let v1 = [taskstats("nr_uninterruptible")];
        rows.add("cpu.load.uninterruptible_milli", uninterruptible_milli, &section, v1, Keys::NONE);
        fields!(tasks => TaskStates { sleeping, running, stopped, uninterruptible, io_wait });
        for (name, value, counter) in [
            ("tasks.sleeping", sleeping, "nr_sleeping"),
            ("tasks.running", running, "nr_running"),
            ("tasks.stopped", stopped, "nr_stopped"),
            ("tasks.uninterruptible", uninterruptible, "nr_uninterruptible"),
            ("tasks.io_wait", io_wait, "nr_io_wait"),
        ] {
            rows.add(name, value, &section, [taskstats(counter)], Keys::NONE);
        }
    }
}

/// A counter of the kernel's answer.
const fn taskstats(counter: &'static str) -> Key {
    part("taskstats CGROUPSTATS_CMD_GET", counter).of(Base::Kernel)
}

impl LoadState {
    fn sample(&mut self, place: Option<Place>, reading: &mut Reading<'_>) -> Option<(TaskStates, Load)> {
        let load = reading.ctx.load.as_ref()?;
        let hierarchy = reading.hierarchy(place?.hierarchy())?;
        // Unless the kernel reports, what it has is not known.
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
    use std::time::Duration;

    use super::*;
    use crate::reader::container::load_reader::decay;

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
