//! Why a runtime did not tell.

use std::time::Duration;

use super::endpoint::Endpoint;

/// Why a runtime did not tell.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuntimeError {
    /// Nothing listens.
    #[error("no answer from {0}: {1}")]
    Unreachable(Endpoint, std::io::Error),
    /// It does not know this container.
    #[error("no such container")]
    NoSuchContainer,
    /// Its answer has more bytes than any that is about one container.
    #[error("its answer has more than {0} bytes")]
    TooLarge(usize),
    /// Its answer did not come to its end in time.
    #[error("its answer took more than {} seconds", .0.as_secs())]
    TooSlow(Duration),
    /// It said something else, or nothing that is understood.
    #[error("{0}")]
    Transport(String),
}
