//! Why a runtime did not tell.

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
    /// Docker's API said something else, or nothing that is understood.
    #[error(transparent)]
    Docker(#[from] bollard::errors::Error),
    /// It does not have the call that was made.
    #[error("{0}")]
    Unspoken(String),
    /// A gRPC call failed.
    #[error("{0}")]
    Transport(String),
}
