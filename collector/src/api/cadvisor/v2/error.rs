//! Why a request of v2 cannot be answered.

use super::options::OptionsError;
use super::selection::SelectionError;
use super::storage::StorageError;
use crate::api::backend::ProcessesUnavailable;

/// Why a request of v2 cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its options.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Its name.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// A listing for a name that selects nothing.
    #[error("process listing failed: {0}")]
    ProcessesOf(#[source] SelectionError),
    /// A listing that failed.
    #[error("process listing failed: {0}")]
    Processes(#[from] ProcessesUnavailable),
    /// The label or the id of a file system.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
