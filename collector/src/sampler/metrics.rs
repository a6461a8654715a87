//! The sampler's metrics about itself.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

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

/// Counters of the sampling threads.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: IntCounterVec,
    regressions: IntCounter,
    ticks: Histogram,
    reconciles: IntCounterVec,
    divergences: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let metrics = Self {
            samples: counters("collector_samples_total", "Samples taken, by why.", "purpose")?,
            regressions: IntCounter::new(
                "collector_counter_regressions_total",
                "Counters of the kernel that were read smaller than before and were corrected.",
            )?,
            ticks: Histogram::with_opts(
                HistogramOpts::new("collector_tick_seconds", "Time one batch of periodic samples took.")
                    .buckets(vec![0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]),
            )?,
            reconciles: counters(
                "collector_reconciles_total",
                "Scans compared with the events' view, by why.",
                "reason",
            )?,
            divergences: counters(
                "collector_divergences_total",
                "Cgroup directories a scan found added or removed without an event.",
                "change",
            )?,
        };
        for purpose in [Purpose::Tick, Purpose::First, Purpose::Final, Purpose::OnDemand] {
            metrics.samples.with_label_values(&[purpose.label()]);
        }
        for reason in ["lost", "periodic"] {
            metrics.reconciles.with_label_values(&[reason]);
        }
        for change in ["added", "removed"] {
            metrics.divergences.with_label_values(&[change]);
        }
        registry.register(Box::new(metrics.samples.clone()))?;
        registry.register(Box::new(metrics.regressions.clone()))?;
        registry.register(Box::new(metrics.ticks.clone()))?;
        registry.register(Box::new(metrics.reconciles.clone()))?;
        registry.register(Box::new(metrics.divergences.clone()))?;
        Ok(metrics)
    }

    pub(super) fn sampled(&self, purpose: Purpose, regressions: u32) {
        self.samples.with_label_values(&[purpose.label()]).inc();
        self.regressions.inc_by(u64::from(regressions));
    }

    pub(super) fn tick(&self, took: Duration) {
        self.ticks.observe(took.as_secs_f64());
    }

    pub(super) fn reconciled(&self, reason: &str, divergence: super::discovery::Divergence) {
        self.reconciles.with_label_values(&[reason]).inc();
        self.divergences.with_label_values(&["added"]).inc_by(divergence.added);
        self.divergences.with_label_values(&["removed"]).inc_by(divergence.removed);
    }
}
