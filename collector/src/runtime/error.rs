//! Why a runtime did not answer.

use std::time::Duration;

use http::StatusCode;

use super::endpoint::Endpoint;

/// Why a runtime did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuntimeError {
    /// Nothing listens.
    #[error("no answer from {0}: {1}")]
    Unreachable(Endpoint, std::io::Error),
    /// It does not know this container.
    #[error("no such container")]
    NoSuchContainer,
    /// It does not have the call that was made.
    #[error("{0}")]
    Unspoken(String),
    /// It has the call, and says no.
    #[error("{0}: {1}")]
    Refused(StatusCode, String),
    /// Its answer has more bytes than any that is about one container.
    #[error("its answer has more than {0} bytes")]
    TooLarge(usize),
    /// Its answer did not come to its end in time.
    #[error("its answer took more than {} seconds", .0.as_secs())]
    TooSlow(Duration),
    /// Its answer broke what reads it: a fault of the collector's.
    #[error("its answer could not be read; please report this")]
    Unreadable,
    /// It said something else, or nothing that is understood.
    #[error("{0}")]
    Transport(String),
}
