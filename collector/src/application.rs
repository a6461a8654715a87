//! Metrics of the applications in containers. A container's labels name files inside it, the files say where the
//! application's metrics are and how they are read, and a task of its own reads them now and then.
//!
//! What a container says is not trusted: its files are read as seen from inside, its endpoints are at its own address,
//! and everything it chooses is bounded in bytes and in time (`bounds`) and done on threads that serve nobody. A
//! container that answers slowly or not at all is in nobody's way.

mod bounds;
mod budget;
mod config;
mod exposition;
mod expressions;
mod fetch;
mod generic;
mod lanes;
mod poll;
mod target;
mod workers;

use std::collections::BTreeMap;

use crate::sample::application::{MetricSpec, Value};

pub use config::ConfigError;
pub use exposition::ExpositionError;
pub use expressions::ExpressionError;
pub use fetch::FetchError;
pub use generic::GenericError;
pub use poll::{Files, Outcome, Rules, run};
pub use target::{Reach, TargetError};

/// What the labels begin with; what follows is the name of a collector, and the value the path of its file.
pub const LABEL: &str = "io.cadvisor.metric.";

/// The largest file that says where metrics are.
pub const CONFIG_BYTES: usize = 64 << 10;

/// Why a container's application cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// More labels than a container may have, or longer ones.
    #[error("more than {} labels {LABEL}*, or one of more than {} bytes", bounds::COLLECTORS, bounds::COLLECTOR_BYTES)]
    Labels,
    /// More than a container's files may have together.
    #[error("the files that labels {LABEL}* name have more than {} bytes together", bounds::CONFIGS_BYTES)]
    LargeFiles,
    /// More than all containers' files may have together.
    #[error("the files of all containers that labels {LABEL}* name have more than {} bytes", bounds::ALL_CONFIGS_BYTES)]
    ManyFiles,
    /// More than a container may offer.
    #[error("the values take {bytes} bytes, more than the {most} that are left for this container")]
    LargeRound {
        /// What they take.
        bytes: usize,
        /// What they may take.
        most: usize,
    },
    /// The endpoints together do not answer.
    #[error("no answer of all endpoints within {:?}", bounds::PATIENCE_WITH_ALL)]
    SlowEndpoints,
    /// Its answers cannot be looked through.
    #[error(transparent)]
    Ended(#[from] workers::Ended),
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
    /// Values that are beyond the bounds.
    left_out: usize,
}

impl ApplicationError {
    /// Whether it took much to find out, so that it is not tried again soon.
    fn is_costly(&self) -> bool {
        match self {
            Self::Fetch { reason, .. } => reason.is_costly(),
            Self::Generic { reason, .. } => matches!(reason, GenericError::TooSlow(_) | GenericError::LongPage(_)),
            Self::Exposition { reason, .. } => !matches!(reason, ExpositionError::Malformed { .. }),
            Self::Config { .. } | Self::File { .. } => false,
            _ => true,
        }
    }

    /// Whether a bound was in the way.
    fn is_beyond_bounds(&self) -> bool {
        match self {
            Self::Fetch { reason, .. } => matches!(reason, FetchError::Long | FetchError::Target(_)),
            Self::Config { reason, .. } => !matches!(reason, ConfigError::Json(_) | ConfigError::NoMetrics),
            Self::File { .. } => false,
            other => other.is_costly(),
        }
    }
}
