//! The history on disk.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::archive::HistoryCounts;

/// Registered with the first counts: without a history there are none.
#[derive(Debug)]
pub(super) struct HistoryMetrics {
    bytes: IntGauge,
    oldest: IntGauge,
    written: IntCounterVec,
    lost: IntCounterVec,
    damaged: IntCounter,
    failed: IntCounter,
}

impl HistoryMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let by = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["what"]);
        let metrics = Self {
            bytes: IntGauge::new("collector_history_disk_bytes", "Disk space that --history_dir takes, in bytes.")?,
            oldest: IntGauge::new(
                "collector_history_oldest_timestamp_seconds",
                "When the oldest file of --history_dir begins, since 1970.",
            )?,
            written: by("collector_history_written_total", "Samples and events written to --history_dir.")?,
            lost: by("collector_history_lost_total", "Samples and events that could not be written there.")?,
            damaged: IntCounter::new(
                "collector_history_damaged_total",
                "Times that a block or a file of --history_dir could not be read.",
            )?,
            failed: IntCounter::new(
                "collector_history_write_errors_total",
                "Times that a step could not be written to --history_dir; it is tried again with the next.",
            )?,
        };
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.oldest.clone()))?;
        registry.register(Box::new(metrics.written.clone()))?;
        registry.register(Box::new(metrics.lost.clone()))?;
        registry.register(Box::new(metrics.damaged.clone()))?;
        registry.register(Box::new(metrics.failed.clone()))?;
        Ok(metrics)
    }

    pub(super) fn update(&self, counts: &HistoryCounts) {
        let HistoryCounts { bytes, oldest, samples, events, lost_samples, lost_events, damaged, failed_writes } =
            *counts;
        let catch_up = |counter: &IntCounter, value: u64| counter.inc_by(value.saturating_sub(counter.get()));
        self.bytes.set(bytes as i64);
        self.oldest.set((oldest / 1000) as i64);
        for (vector, what, value) in [
            (&self.written, "samples", samples),
            (&self.written, "events", events),
            (&self.lost, "samples", lost_samples),
            (&self.lost, "events", lost_events),
        ] {
            catch_up(&vector.with_label_values(&[what]), value);
        }
        catch_up(&self.damaged, damaged);
        catch_up(&self.failed, failed_writes);
    }
}
