//! A container's last sample: the one before, completed with what was read in the kernel while its cgroups were removed.
//!
//! What is read there is exact whatever the machine has to do, since nobody has to come in time. It is taken only where it
//! fits what was known before: a counter does not go back, and nobody uses more time than has passed on all CPUs.

use std::time::Duration;

use super::context::ReaderContext;
use super::families::{later, legacy_times, unified_times};
use super::places::CpuSource;
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::counters::cpu_time::ShownTimes;
use crate::kernel::probes::events::last::{LastEvent, LastTime};
use crate::reader::container::Member;
use crate::sample::container::{Cpu, Sample};
use crate::sample::unread::{Part, Unread};
use crate::units::{Bytes, Nanos, WallTime};

/// A process is charged by ticks, and the two clocks of a comparison are not read at the same instant.
const SLACK: Duration = Duration::from_millis(100);

/// What was read of a container while its cgroups were removed.
#[derive(Clone, Debug, Default)]
pub struct LastReading {
    /// CPU time, when it was read, and in which hierarchy.
    pub(super) time: Option<(LastTime, WallTime, CounterFamily, u32)>,
    /// The most memory that it used, when it was read, and in which hierarchy.
    pub(super) memory_peak: Option<(Bytes, WallTime, u32)>,
}

impl LastReading {
    /// The container is in these cgroups now: what was read of one that was made anew is not its last.
    pub fn forget_made_anew(&mut self, members: &[Member]) {
        let is_back = |hierarchy: u32| members.iter().any(|member| member.hierarchy == hierarchy);
        self.time.take_if(|(_, _, _, hierarchy)| is_back(*hierarchy));
        self.memory_peak.take_if(|(_, _, hierarchy)| is_back(*hierarchy));
    }
}

/// What comes of a last reading.
#[derive(Clone, Debug, PartialEq)]
pub enum LastSample {
    /// There was none.
    NotRead,
    /// The sample before has the same numbers.
    Known,
    /// It does not fit what was known.
    Refused,
    /// The sample before, with what was read since.
    Completed(Box<Sample>),
}

impl ReaderContext {
    /// Notes what was read of a container at this time, as far as it belongs into its sample. `was_in` reports whether the
    /// container is in a hierarchy, or was.
    pub fn note_last(&self, reading: &mut LastReading, event: &LastEvent, at: WallTime, was_in: &dyn Fn(u32) -> bool) {
        // Who wants files alone has them. Until counters are compared with files, nothing speaks against these.
        let is_believed = |family| match self.kernel_memory.get() {
            Some(Ok(memory)) => memory.is_believed(family),
            Some(Err(_)) => false,
            None => true,
        };
        let hierarchy = event.hierarchy_id;
        if let (Some(time), Some(family)) = (&event.time, self.time_counted_in(hierarchy, was_in))
            && is_believed(family)
        {
            reading.time = Some((time.clone(), at, family, hierarchy));
        }
        if let Some(pages) = event.memory_peak_pages
            && self.sources.memory.is_some_and(|place| self.is_at(place.hierarchy(), hierarchy))
            && is_believed(CounterFamily::Memory)
        {
            let peak = pages.saturating_mul(rustix::param::page_size() as u64);
            reading.memory_peak = Some((Bytes(peak), at, hierarchy));
        }
    }

    fn is_at(&self, position: usize, hierarchy: u32) -> bool {
        self.hierarchies.at(position).is_some_and(|found| found.id == hierarchy)
    }

    /// What the CPU time of this hierarchy is, if it is the container's.
    fn time_counted_in(&self, hierarchy: u32, was_in: &dyn Fn(u32) -> bool) -> Option<CounterFamily> {
        match self.sources.cpu? {
            CpuSource::V1 { cpuacct, .. } if self.is_at(cpuacct, hierarchy) => Some(CounterFamily::CpuTime),
            // Counts for a container that is in no other.
            CpuSource::V1 { cpuacct, unified, .. } => {
                let is_elsewhere = self.hierarchies.at(cpuacct).is_some_and(|found| was_in(found.id));
                let is_unified = unified.is_some_and(|position| self.is_at(position, hierarchy));
                (is_unified && !is_elsewhere).then_some(CounterFamily::Cgroup)
            }
            CpuSource::V2(position) => self.is_at(position, hierarchy).then_some(CounterFamily::Cgroup),
        }
    }

    /// Completes the newest sample of a container that ended, and that was made at this time if that is known.
    pub fn last_sample(&self, before: Option<&Sample>, reading: &LastReading, made: Option<WallTime>) -> LastSample {
        let LastReading { time, memory_peak } = reading;
        let mut sample = before.cloned().unwrap_or_else(|| Sample { unread: Unread::EVERYTHING, ..Sample::default() });
        let mut is_refused = false;
        let mut times = Vec::new();
        if let Some((time, at, family, _)) = time {
            match self.last_cpu(before, time, *at, *family, made) {
                Some(cpu) => {
                    sample.cpu = Some(cpu);
                    sample.unread.remove(Part::CpuTotal);
                    sample.unread.remove(Part::CpuSplit);
                    times.push(*at);
                }
                None => is_refused = true,
            }
        }
        if let Some((peak, at, _)) = memory_peak
            && let Some(known) = sample.memory.as_mut().and_then(|memory| memory.max_usage.as_mut())
        {
            if self.machine.memory != Bytes::default() && *peak > self.machine.memory {
                is_refused = true;
            } else if *peak > *known {
                *known = *peak;
                times.push(*at);
            }
        }
        match (times.iter().max(), before) {
            (None, _) if is_refused => LastSample::Refused,
            (None, _) if time.is_none() && (memory_peak.is_none() || before.is_none()) => LastSample::NotRead,
            (None, _) => LastSample::Known,
            (_, Some(before)) if *before == sample => LastSample::Known,
            (Some(at), before) => {
                sample.at = before.map_or(*at, |before| before.at.max(*at));
                LastSample::Completed(Box::new(sample))
            }
        }
    }

    /// CPU time at the end, unless it does not fit what was known.
    fn last_cpu(
        &self,
        before: Option<&Sample>,
        LastTime { raw, shown, each }: &LastTime,
        at: WallTime,
        family: CounterFamily,
        made: Option<WallTime>,
    ) -> Option<Cpu> {
        let known = before.and_then(|sample| Some((sample.at, sample.cpu.as_ref()?)));
        let (since, Nanos(floor)) = match known {
            Some((since, cpu)) => (Some(since), cpu.total),
            None => (made, Nanos::default()),
        };
        let used = raw.total.checked_sub(floor)?;
        let cpus = self.machine.cpus.max(each.len()).max(1) as u128;
        let slack = SLACK.as_nanos();
        if since.is_some_and(|since| u128::from(used) > cpus * (u128::from(at.since(since).0) + slack)) {
            return None;
        }
        let cpu = known.map(|(_, cpu)| cpu.clone()).unwrap_or_default();
        let nanos = |time: Option<Nanos>| time.unwrap_or_default().0;
        let shown_before = ShownTimes { user: nanos(cpu.user), system: nanos(cpu.system) };
        let shown = raw.shared_out(later(shown_before, *shown));
        let times = match family {
            CounterFamily::CpuTime => legacy_times(self, raw.total, shown, each.to_vec()),
            _ => unified_times(raw.total, shown),
        };
        Some(Cpu { total: times.total, user: times.user, system: times.system, per_cpu: times.per_cpu, ..cpu })
    }
}
