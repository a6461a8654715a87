//! What the processor counted for a cgroup: perf events, and the use of caches and memory bandwidth (resctrl).

use std::sync::Arc;

use super::walk::parts;
use crate::units::{Bytes, Nanos};

/// The reading of one perf event. The processor has few counters: an event that shares one is only counted part of the
/// time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerfCount {
    /// What was counted while the event was on a counter.
    pub counted: u64,
    /// How long the event was to be counted: `time_enabled` of `perf_event_open(2)`.
    pub enabled: Nanos,
    /// How long it was on a counter: `time_running`.
    pub running: Nanos,
}

impl PerfCount {
    /// The share of the time it was on a counter, from 0 to 1; 1 where it was not enabled yet, as cAdvisor has it.
    pub fn scaling_ratio(&self) -> f64 {
        if self.enabled.0 == 0 { 1.0 } else { self.running.0 as f64 / self.enabled.0 as f64 }
    }

    /// What would have been counted all the time. Never on a counter: what was counted, which is 0.
    pub fn scaled(&self) -> u64 {
        let ratio = self.scaling_ratio();
        if self.running == self.enabled || ratio <= 0.0 { self.counted } else { (self.counted as f64 / ratio) as u64 }
    }
}

/// A core perf event of a cgroup on one CPU (kind `perf_event`, `--perf_events_config`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerfEvent {
    /// The event's name as it was configured.
    pub name: Arc<str>,
    /// The kernel's number of the CPU.
    pub cpu: u32,
    /// The reading.
    pub count: PerfCount,
}

/// An uncore perf event of the whole machine on one socket; the root cgroup has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UncorePerfEvent {
    /// The event's name as it was configured.
    pub name: Arc<str>,
    /// The unit that counts: a directory of `/sys/bus/event_source/devices`.
    pub pmu: Arc<str>,
    /// The socket.
    pub socket: u32,
    /// The reading.
    pub count: PerfCount,
}

/// Use of last-level caches and memory bandwidth (kind `resctrl`): the `mon_data` of the cgroup's monitoring group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resctrl {
    /// One entry per last-level cache, by its number.
    pub domains: Vec<ResctrlDomain>,
}

/// One directory `mon_L3_<number>`. A value is absent where the hardware does not count it, or says `Unavailable` for
/// now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResctrlDomain {
    /// The cache's number.
    pub id: u32,
    /// `mbm_total_bytes`: read and written, since the group was made.
    pub total: Option<Bytes>,
    /// `mbm_local_bytes`: of it what went to the memory of the same node.
    pub local: Option<Bytes>,
    /// `llc_occupancy`: how much of the cache is in use now.
    pub occupancy: Option<Bytes>,
}

parts! {
    Resctrl { part domains }
    // Gauges: a group that is made anew starts anew.
    ResctrlDomain { shape id, gauge total, gauge local, gauge occupancy }
    PerfEvent { shape name, shape cpu, part count }
    UncorePerfEvent { shape name, shape pmu, shape socket, part count }
    // Gauges: an event that is opened anew, as when a CPU comes back, starts anew.
    PerfCount { gauge counted, gauge enabled, gauge running }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_counter_is_scaled_up() {
        let count = |counted, enabled, running| PerfCount { counted, enabled: Nanos(enabled), running: Nanos(running) };
        for (count, ratio, scaled) in [
            (count(100, 50, 50), 1.0, 100),
            (count(100, 50, 25), 0.5, 200),
            (count(0, 50, 0), 0.0, 0),
            (count(0, 0, 0), 1.0, 0),
            (count(u64::MAX, 50, 50), 1.0, u64::MAX),
        ] {
            assert!((count.scaling_ratio() - ratio).abs() < f64::EPSILON, "{count:?}");
            assert_eq!(count.scaled(), scaled, "{count:?}");
        }
    }
}
