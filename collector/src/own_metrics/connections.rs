//! What the server's bounds did: connections, requests, answers that nobody read, and who was not let in.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Why requests are refused.
const REFUSED: &[&str] =
    &["address", "bodies", "body_bytes", "body_time", "full", "head_bytes", "heads", "host", "origin"];

/// The metrics of the server; clones share their values.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    /// Connections there are now, by state: `waiting` for the first request, `active`, `idle`, `reserve`.
    pub connections: IntGaugeVec,
    /// Connections there may be at once, by state: `ordinary`, `reserve`.
    pub limit: IntGaugeVec,
    /// Connections that were accepted.
    pub accepted: IntCounter,
    /// Connections that the collector ended, by reason.
    pub closed: IntCounterVec,
    /// Requests that were refused because of a bound or of who asked, by reason.
    pub refused: IntCounterVec,
    /// Answers that were cut off since nobody read them.
    pub cut_off: IntCounter,
    /// Bytes of answers handed to connections and not yet taken by clients.
    pub unsent: IntGauge,
    /// Bytes of requests' bodies in memory.
    pub body_bytes: IntGauge,
    /// Requests that were not let in, by reason: `wrong`, `limited`.
    pub authentication_failures: IntCounterVec,
    /// Times that the process or the machine had no descriptor left, by use: `connection`, `sample`.
    pub exhausted: IntCounterVec,
}

impl ConnectionMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When two metrics have one name.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let gauges = |name: &str, help: &str, label: &str| IntGaugeVec::new(Opts::new(name, help), &[label]);
        let metrics = Self {
            connections: gauges("collector_connections", "Connections of clients now, by state.", "state")?,
            limit: gauges("collector_connections_limit", "Limit of connections, by kind.", "kind")?,
            accepted: IntCounter::new("collector_connections_accepted_total", "Connections that were accepted.")?,
            closed: counters(
                "collector_connections_closed_total",
                "Connections that the collector ended before the client did, by reason.",
                "reason",
            )?,
            refused: counters(
                "collector_requests_refused_total",
                "Requests refused because of a bound, their Host or their Origin, by reason.",
                "reason",
            )?,
            cut_off: IntCounter::new(
                "collector_unread_answers_total",
                "Answers given up since the client did not read them.",
            )?,
            unsent: IntGauge::new(
                "collector_unsent_bytes",
                "Bytes of answers handed to connections that clients have not taken yet.",
            )?,
            body_bytes: IntGauge::new("collector_request_body_bytes", "Bytes of requests' bodies in memory.")?,
            authentication_failures: counters(
                "collector_authentication_failures_total",
                "Requests with wrong credentials, and those refused after too many of them, by reason.",
                "reason",
            )?,
            exhausted: counters(
                "collector_descriptors_exhausted_total",
                "Times that no file descriptor was left, by use.",
                "use",
            )?,
        };
        for (vector, values) in [
            (&metrics.closed, &["given_up", "full", "head", "idle", "handshake", "slow_reader"][..]),
            (&metrics.refused, REFUSED),
            (&metrics.authentication_failures, &["wrong", "limited"][..]),
            (&metrics.exhausted, &["connection", "sample"][..]),
        ] {
            for value in values {
                vector.with_label_values(&[*value]);
            }
            registry.register(Box::new(vector.clone()))?;
        }
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.limit.clone()))?;
        registry.register(Box::new(metrics.accepted.clone()))?;
        registry.register(Box::new(metrics.cut_off.clone()))?;
        registry.register(Box::new(metrics.unsent.clone()))?;
        registry.register(Box::new(metrics.body_bytes.clone()))?;
        Ok(metrics)
    }
}
