//! What a runtime knows about a container.

use super::owners::Life;
use crate::sample::identity::Identity;

/// What a runtime knows about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Who it is.
    pub(super) identity: Identity,
    /// The cgroups that the runtime would make for it.
    pub(super) expected: Vec<String>,
    /// Whether it has processes.
    pub(super) life: Life,
}
