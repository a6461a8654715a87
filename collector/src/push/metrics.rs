//! What the exporters count about themselves.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The families.
#[derive(Clone, Debug)]
pub struct Metrics {
    sent: IntCounterVec,
    dropped: IntCounterVec,
    failures: IntCounterVec,
    waiting: IntGaugeVec,
}

/// Why values never arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Newer ones needed the room.
    QueueFull,
    /// The receiver does not want them.
    Rejected,
    /// The collector ended before they could be sent.
    Shutdown,
    /// More happened between two pushes than waits for one: events, and last samples of containers, of which each counts
    /// as one.
    Missed,
}

impl Metrics {
    /// Registers the families. They have no series before an exporter is made.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            sent: counters("collector_push_sent_points_total", "Values a receiver accepted.", &["exporter"])?,
            dropped: counters(
                "collector_push_dropped_points_total",
                "Values that were never accepted, by reason.",
                &["exporter", "reason"],
            )?,
            failures: counters(
                "collector_push_failures_total",
                "Requests that failed and are tried again.",
                &["exporter"],
            )?,
            waiting: IntGaugeVec::new(
                Opts::new("collector_push_waiting_points", "Values that wait to be sent."),
                &["exporter"],
            )?,
        };
        registry.register(Box::new(metrics.sent.clone()))?;
        registry.register(Box::new(metrics.dropped.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        Ok(metrics)
    }

    /// Those of one exporter, from now on shown.
    pub fn exporter(&self, name: &'static str) -> ExporterMetrics {
        let dropped = |reason| self.dropped.with_label_values(&[name, reason]);
        ExporterMetrics {
            name,
            sent: self.sent.with_label_values(&[name]),
            queue_full: dropped("queue_full"),
            rejected: dropped("rejected"),
            shutdown: dropped("shutdown"),
            missed: dropped("missed"),
            failures: self.failures.with_label_values(&[name]),
            waiting: self.waiting.with_label_values(&[name]),
        }
    }
}

/// One exporter's.
#[derive(Clone, Debug)]
pub struct ExporterMetrics {
    pub(super) name: &'static str,
    sent: IntCounter,
    queue_full: IntCounter,
    rejected: IntCounter,
    shutdown: IntCounter,
    missed: IntCounter,
    failures: IntCounter,
    waiting: IntGauge,
}

impl ExporterMetrics {
    pub(super) fn add_sent(&self, points: u64) {
        self.sent.inc_by(points);
    }

    pub(super) fn add_dropped(&self, reason: Reason, points: u64) {
        let counter = match reason {
            Reason::QueueFull => &self.queue_full,
            Reason::Rejected => &self.rejected,
            Reason::Shutdown => &self.shutdown,
            Reason::Missed => &self.missed,
        };
        counter.inc_by(points);
    }

    pub(super) fn add_failure(&self) {
        self.failures.inc();
    }

    pub(super) fn set_waiting(&self, points: u64) {
        self.waiting.set(i64::try_from(points).unwrap_or(i64::MAX));
    }
}
