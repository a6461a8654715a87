//! What the collector has to do without, for the log, the health report and the metric.

use std::fmt::Display;

/// The facilities that are missing, each with its reason.
#[derive(Debug, Default)]
pub(super) struct DegradedList(Vec<(String, String)>);

impl DegradedList {
    /// Notes a facility and why it is missing, and says so in the log.
    pub(super) fn add(&mut self, facility: &dyn Display, reason: &dyn Display) {
        tracing::warn!("degraded: {reason}");
        self.0.push((facility.to_string(), reason.to_string()));
    }

    /// What is missing, as labels.
    pub(super) fn facilities(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(facility, _)| facility.as_str())
    }

    /// Why, one line each.
    pub(super) fn reasons(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, reason)| reason.as_str())
    }
}
