//! What it means that no descriptor is left, and that there are some again.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::degradations::Degradations;
use crate::own_metrics::ConnectionMetrics;

/// What is degraded.
const FACILITY: &str = "descriptors";
/// It is over when it has not happened for so long.
const OVER: Duration = Duration::from_secs(30);

/// Notes when no descriptor was left, and says so.
#[derive(Debug)]
pub(super) struct Descriptors {
    limit: usize,
    degradations: Degradations,
    metrics: ConnectionMetrics,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    connection: Option<Instant>,
    sample: Option<Instant>,
    samples: u64,
}

impl Descriptors {
    /// With so many descriptors that the process may have.
    pub(super) fn new(limit: usize, degradations: Degradations, metrics: ConnectionMetrics) -> Self {
        Self { limit, degradations, metrics, seen: Mutex::default() }
    }

    /// Whether a connection could not be accepted for want of a descriptor, which is noted.
    pub(super) fn are_exhausted(&self, error: &io::Error) -> bool {
        let is_exhausted = matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
        if is_exhausted {
            self.metrics.exhausted.with_label_values(&["connection"]).inc();
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.connection = Some(Instant::now());
            self.report(&seen, Instant::now());
        }
        is_exhausted
    }

    /// To be called now and then, with how often a file could not be opened for a sample.
    pub(super) fn look(&self, samples: u64) {
        self.look_at(samples, Instant::now());
    }

    fn look_at(&self, samples: u64, now: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if samples > seen.samples {
            self.metrics.exhausted.with_label_values(&["sample"]).inc_by(samples - seen.samples);
            seen.samples = samples;
            seen.sample = Some(now);
        }
        self.report(&seen, now);
    }

    fn report(&self, seen: &Seen, now: Instant) {
        let is_recent = |time: Option<Instant>| time.is_some_and(|time| now.saturating_duration_since(time) < OVER);
        let lost = match (is_recent(seen.connection), is_recent(seen.sample)) {
            (false, false) => return self.degradations.clear(&FACILITY),
            (true, false) => "connections could not be accepted: clients wait or get no answer",
            (false, true) => "files could not be opened: samples are incomplete",
            (true, true) => {
                "files could not be opened and connections not accepted: samples are incomplete and clients wait"
            }
        };
        let limit = self.limit;
        let reason = format!(
            "no file descriptor was left (EMFILE, RLIMIT_NOFILE is {limit}), and {lost}; raise LimitNOFILE= of the unit or \
             --ulimit nofile= of the container, or the machine's fs.file-max"
        );
        self.degradations.set(&FACILITY, &reason);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    #[test]
    fn want_of_descriptors_is_reported_until_it_is_over() {
        let degradations = Degradations::default();
        let metrics = ConnectionMetrics::register(&Registry::new()).unwrap();
        let descriptors = Descriptors::new(256, degradations.clone(), metrics.clone());
        let now = Instant::now();
        descriptors.look_at(0, now);
        assert!(degradations.facilities().is_empty());
        descriptors.look_at(3, now);
        assert_eq!(degradations.facilities(), [FACILITY]);
        let reason = degradations.reasons().join("");
        assert!(reason.contains("RLIMIT_NOFILE is 256") && reason.contains("samples are incomplete;"), "{reason}");
        assert!(descriptors.are_exhausted(&Errno::MFILE.into()));
        assert!(!descriptors.are_exhausted(&Errno::CONNABORTED.into()));
        assert!(degradations.reasons().join("").contains("clients wait"));
        descriptors.look_at(3, now + OVER * 2);
        assert!(degradations.facilities().is_empty());
        assert_eq!(metrics.exhausted.with_label_values(&["sample"]).get(), 3);
        assert_eq!(metrics.exhausted.with_label_values(&["connection"]).get(), 1);
    }
}
