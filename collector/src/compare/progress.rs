//! How far a comparison is: one line on stderr that is written anew, where stderr is a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use super::report::Report;

/// The line is written this often at most.
const PACE: Duration = Duration::from_millis(200);

/// What is being compared, and until when.
#[derive(Debug)]
pub(super) struct Progress {
    step: String,
    end: Instant,
    written: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    /// Before the first step of a comparison that ends at `end`.
    pub(super) fn until(end: Instant) -> Self {
        Self { step: String::new(), end, written: None, is_terminal: std::io::stderr().is_terminal() }
    }

    /// What is compared now.
    pub(super) fn begin(&mut self, step: String, report: &Report) {
        self.step = step;
        self.written = None;
        self.show(report);
    }

    /// What was being compared last.
    pub(super) fn step(&self) -> &str {
        &self.step
    }

    /// Writes the line, unless it was written just now.
    pub(super) fn show(&mut self, report: &Report) {
        let now = Instant::now();
        if !self.is_terminal || self.written.is_some_and(|written| now < written + PACE) {
            return;
        }
        self.written = Some(now);
        let line = self.line(report, self.end.saturating_duration_since(now));
        // A line that cannot be written is not missed.
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    }

    fn line(&self, report: &Report, left: Duration) -> String {
        let Report { answers, values, .. } = report;
        let (step, differences) = (&self.step, report.failures());
        format!(
            "comparing {step}: {answers} answers, {values} values, {differences} differences so far; at most {} s left",
            left.as_secs()
        )
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verbosity;
    use super::*;

    #[test]
    fn a_line_has_the_step_the_counts_and_the_time_left() {
        let mut report = Report::new("http://a".to_owned(), "http://b".to_owned(), Verbosity::Differences);
        (report.answers, report.values) = (7, 900);
        let mut progress = Progress::until(Instant::now());
        progress.is_terminal = false;
        progress.begin("containers 1 to 32 of 40".to_owned(), &report);
        assert_eq!(
            progress.line(&report, Duration::from_secs(12)),
            "comparing containers 1 to 32 of 40: 7 answers, 900 values, 0 differences so far; at most 12 s left"
        );
    }
}
