//! Metrics of the applications in containers. A container's labels name files inside it, the files say where the
//! application's metrics are and how they are read, and a task of its own reads them now and then.
//!
//! What a container says is not trusted: its files are read as seen from inside, and answers are bounded in size and
//! time. A container that answers slowly or not at all is in nobody's way.

mod config;
mod exposition;
mod fetch;
mod generic;
mod poll;

use std::collections::BTreeMap;

use crate::sample::application::{MetricSpec, Value};

pub use config::ConfigError;
pub use exposition::ExpositionError;
pub use fetch::FetchError;
pub use generic::GenericError;
pub use poll::{Files, Outcome, run};

/// What the labels begin with; what follows is the name of a collector, and the value the path of its file.
pub const LABEL: &str = "io.cadvisor.metric.";

/// The largest file that says where metrics are.
pub const CONFIG_BYTES: usize = 64 << 10;

/// Why a container's application cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// The file that a label names.
    #[error("label {LABEL}{collector}: {reason}")]
    Config {
        /// What follows [`LABEL`].
        collector: String,
        /// What is wrong with the file.
        #[source]
        reason: ConfigError,
    },
    /// The file cannot be read.
    #[error("label {LABEL}{collector}: {path} in the container: {reason}")]
    File {
        /// What follows [`LABEL`].
        collector: String,
        /// The label's value.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The endpoint does not answer.
    #[error("{url}: {reason}")]
    Fetch {
        /// Where it should be.
        url: String,
        /// What went wrong.
        #[source]
        reason: FetchError,
    },
    /// The answer has no such values.
    #[error("{url}: {reason}")]
    Generic {
        /// Where it came from.
        url: String,
        /// What is wrong with it.
        #[source]
        reason: GenericError,
    },
    /// The answer is not Prometheus' text format, or too much of it.
    #[error("{url}: {reason}")]
    Exposition {
        /// Where it came from.
        url: String,
        /// What is wrong with it.
        #[source]
        reason: ExpositionError,
    },
}

/// What an answer holds.
#[derive(Clone, Debug, PartialEq)]
struct Parsed {
    specs: Vec<MetricSpec>,
    values: BTreeMap<String, Vec<Value>>,
}
