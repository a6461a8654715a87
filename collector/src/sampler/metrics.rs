//! The sampler's metrics about itself.

use std::time::Duration;

use prometheus::{Counter, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::sample::exit::Reason;
use crate::sample::filesystem::Method;

/// Why a sample is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The interval passed.
    Tick,
    /// The container is new, or its first process came.
    First,
    /// Its last process ended.
    Final,
    /// Something asked for it.
    OnDemand,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::First => "first",
            Self::Final => "final",
            Self::OnDemand => "on_demand",
        }
    }
}

/// What came of a reading as a container's cgroups were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastOutcome {
    /// Its last sample was completed with it.
    Completed,
    /// Its last sample had the same numbers already.
    Known,
    /// It did not fit what was known.
    Refused,
}

impl LastOutcome {
    const ALL: [Self; 3] = [Self::Completed, Self::Known, Self::Refused];

    const fn label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Known => "known",
            Self::Refused => "refused",
        }
    }
}

/// Counters of the sampling threads.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: IntCounterVec,
    last_readings: IntCounterVec,
    regressions: IntCounter,
    ticks: Histogram,
    reconciles: IntCounterVec,
    divergences: IntCounterVec,
    not_listed: IntGauge,
    exits: IntCounterVec,
    disk_usage: IntCounterVec,
    disk_usage_errors: IntCounter,
    disk_usage_cpu: Counter,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let metrics = Self {
            samples: counters("collector_samples_total", "Samples taken, by purpose.", "purpose")?,
            last_readings: counters(
                "collector_last_readings_total",
                "Containers of which the kernel's programs read what they used as they were removed, by outcome.",
                "outcome",
            )?,
            regressions: IntCounter::new(
                "collector_counter_regressions_total",
                "Counters of the kernel that were read smaller than before and were corrected.",
            )?,
            ticks: Histogram::with_opts(
                HistogramOpts::new(
                    "collector_tick_seconds",
                    "Time a thread was busy with periodic samples without a pause.",
                )
                .buckets(vec![0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]),
            )?,
            reconciles: counters(
                "collector_reconciles_total",
                "Scans compared with what events reported, by reason.",
                "reason",
            )?,
            divergences: counters(
                "collector_divergences_total",
                "Cgroup directories a scan found added or removed without an event.",
                "change",
            )?,
            not_listed: IntGauge::new(
                "collector_cgroups_not_listed",
                "Cgroup directories that the last scan found and that there was no memory for.",
            )?,
            exits: counters(
                "collector_container_exits_total",
                "Containers whose first process ended, by reason.",
                "reason",
            )?,
            disk_usage: counters(
                "collector_disk_usage_total",
                "Times that the size of a container's writable layer was found, by method.",
                "method",
            )?,
            disk_usage_errors: IntCounter::new(
                "collector_disk_usage_errors_total",
                "Directories whose size could not be found out.",
            )?,
            disk_usage_cpu: Counter::new(
                "collector_disk_usage_cpu_seconds_total",
                "CPU time of the threads that look at containers' files.",
            )?,
        };
        for purpose in [Purpose::Tick, Purpose::First, Purpose::Final, Purpose::OnDemand] {
            metrics.samples.with_label_values(&[purpose.label()]);
        }
        for outcome in LastOutcome::ALL {
            metrics.last_readings.with_label_values(&[outcome.label()]);
        }
        for reason in ["lost", "periodic"] {
            metrics.reconciles.with_label_values(&[reason]);
        }
        for change in ["added", "removed"] {
            metrics.divergences.with_label_values(&[change]);
        }
        for reason in Reason::ALL {
            metrics.exits.with_label_values(&[reason.name()]);
        }
        registry.register(Box::new(metrics.exits.clone()))?;
        registry.register(Box::new(metrics.samples.clone()))?;
        registry.register(Box::new(metrics.last_readings.clone()))?;
        registry.register(Box::new(metrics.regressions.clone()))?;
        registry.register(Box::new(metrics.ticks.clone()))?;
        registry.register(Box::new(metrics.reconciles.clone()))?;
        for method in [Method::Quota, Method::Accounting, Method::Runtime, Method::Walk] {
            metrics.disk_usage.with_label_values(&[method.name()]);
        }
        registry.register(Box::new(metrics.divergences.clone()))?;
        registry.register(Box::new(metrics.not_listed.clone()))?;
        registry.register(Box::new(metrics.disk_usage.clone()))?;
        registry.register(Box::new(metrics.disk_usage_errors.clone()))?;
        registry.register(Box::new(metrics.disk_usage_cpu.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn sampled(&self, purpose: Purpose, regressions: u32) {
        self.samples.with_label_values(&[purpose.label()]).inc();
        self.regressions.inc_by(u64::from(regressions));
    }

    pub(crate) fn last_read(&self, outcome: LastOutcome) {
        self.last_readings.with_label_values(&[outcome.label()]).inc();
    }

    pub(crate) fn exited(&self, reason: Reason) {
        self.exits.with_label_values(&[reason.name()]).inc();
    }

    /// Containers whose first process ended, by reason in the order of [`Reason::ALL`].
    pub(crate) fn exits(&self) -> [u64; Reason::ALL.len()] {
        Reason::ALL.map(|reason| self.exits.with_label_values(&[reason.name()]).get())
    }

    pub(crate) fn not_listed(&self, directories: u64) {
        self.not_listed.set(i64::try_from(directories).unwrap_or(i64::MAX));
    }

    pub(crate) fn tick(&self, took: Duration) {
        self.ticks.observe(took.as_secs_f64());
    }

    pub(crate) fn disk_usage(&self, by: Option<Method>, errors: usize, cpu: Duration) {
        if let Some(by) = by {
            self.disk_usage.with_label_values(&[by.name()]).inc();
        }
        self.disk_usage_errors.inc_by(errors as u64);
        self.disk_usage_cpu.inc_by(cpu.as_secs_f64());
    }

    /// A scan found so many directories that the events had not reported, and so many gone without an event.
    pub(crate) fn reconciled(&self, reason: &str, added: u64, removed: u64) {
        self.reconciles.with_label_values(&[reason]).inc();
        self.divergences.with_label_values(&["added"]).inc_by(added);
        self.divergences.with_label_values(&["removed"]).inc_by(removed);
    }
}
