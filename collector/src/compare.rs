//! `collector compare --with URL`: what a running cAdvisor answers, held against what a running collector answers.
//!
//! `walk` requests every resource from both, `values` and `metrics` compare the answers, `rules` has how
//! closely numbers have to agree and `known` which differences are deliberate, `text` and `json` show the result.
//! It knows no part of the collector: it is a client like any other, and judges the collector by its answers alone.

pub mod json;
pub mod known;
mod metrics;
mod progress;
pub mod report;
mod rules;
pub mod text;
mod values;
mod walk;

use std::io::Write as _;
use std::time::Duration;

use crate::bounds::ForTerminal;
use crate::client::Peer;

use report::Report;
pub use report::Verbosity;

/// How the comparison is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one object.
    Json,
}

/// What to compare, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompareOptions {
    /// The cAdvisor.
    pub theirs: Peer,
    /// The collector.
    pub ours: Peer,
    /// How the result is printed.
    pub format: Format,
    /// Whether what only the collector has is listed too.
    pub verbosity: Verbosity,
    /// How long the whole comparison may take.
    pub timeout: Duration,
}

/// Exit code when nothing differs but what is known to.
const EQUAL: u8 = 0;
/// Exit code when something differs.
const DIFFERENT: u8 = 1;
/// Exit code when there was no comparison, or one that broke off before anything differed.
const NOT_COMPARED: u8 = 2;

/// Compares, prints the result and returns the exit code: 0 equal, 1 differences, 2 not compared, or not to the end.
pub fn run(options: &CompareOptions) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return NOT_COMPARED;
        }
    };
    match runtime.block_on(walk::compare(options)) {
        Ok(report) => {
            print(&report, options);
            match (report.differs(), &report.incomplete) {
                (true, _) => DIFFERENT,
                (false, None) => EQUAL,
                (false, Some(_)) => NOT_COMPARED,
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            NOT_COMPARED
        }
    }
}

fn print(report: &Report, options: &CompareOptions) {
    let rendered = match options.format {
        Format::Text => ForTerminal(&text::render(report)).to_string(),
        Format::Json => json::render(report),
    };
    // Whoever reads may have read enough; the exit code has the result.
    let _ = std::io::stdout().write_all(rendered.as_bytes());
}
