//! What becomes of requests where the collector's bounds are met.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Brought up to date when they are asked for.
#[derive(Debug)]
pub struct AnswerMetrics {
    refused: IntCounterVec,
    shared: IntCounter,
    cut_off: IntCounter,
    bytes: IntGauge,
}

impl AnswerMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            refused: IntCounterVec::new(
                Opts::new(
                    "collector_answers_refused_total",
                    "Requests refused because of a bound on answers, by reason.",
                ),
                &["reason"],
            )?,
            shared: IntCounter::new(
                "collector_answers_shared_total",
                "Scrapes answered with the rendering of another scrape at the same moment.",
            )?,
            cut_off: IntCounter::new(
                "collector_answers_cut_off_total",
                "Answers of /metrics taken away from clients that read too slowly.",
            )?,
            bytes: IntGauge::new("collector_answer_bytes", "Memory of answers in progress, in bytes.")?,
        };
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.shared.clone()))?;
        registry.register(Box::new(metrics.cut_off.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        Ok(metrics)
    }

    /// How it is now: refusals by reason, what was shared and cut off since the start, and the bytes that are taken.
    pub fn update(&self, refused: &[(&str, u64)], shared: u64, cut_off: u64, bytes: u64) {
        let catch_up = |counter: &IntCounter, value: u64| counter.inc_by(value.saturating_sub(counter.get()));
        for (reason, count) in refused {
            catch_up(&self.refused.with_label_values(&[*reason]), *count);
        }
        catch_up(&self.shared, shared);
        catch_up(&self.cut_off, cut_off);
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
