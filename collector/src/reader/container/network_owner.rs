//! Whose a container's network is.

use crate::sample::identity::{Identity, NetworkSource, Who};

/// Whose a container's network is, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkOf {
    pub(super) source: NetworkSource,
    /// The container's first process, by its runtime.
    pub(super) process: Option<u32>,
    pub(super) standing: Standing,
}

impl NetworkOf {
    /// What follows from who a cgroup is.
    pub fn of(who: Option<&Who>) -> Self {
        let Some(who) = who else { return Self::default() };
        let identity = who.identity.as_deref();
        Self {
            source: identity.map(Identity::network_source).unwrap_or_default(),
            process: identity.and_then(|identity| identity.process),
            standing: Standing::Container,
        }
    }
}

/// Whether a runtime knows the cgroup as a container's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    Container,
    #[default]
    Unknown,
}
