//! How samples are taken.

use std::time::Duration;

/// How samples are taken.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Base interval.
    pub interval: Duration,
    /// Whether the interval of an unchanging container grows.
    pub pace: Pace,
    /// Threads.
    pub threads: usize,
    /// How OOM kills are found.
    pub oom: OomSource,
}

/// Whether the interval of an unchanging container grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Always the base interval.
    Fixed,
    /// Doubled while nothing changes, up to this.
    Dynamic {
        /// The longest interval.
        max: Duration,
    },
}

/// How OOM kills are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomSource {
    /// The kernel reports each.
    Events,
    /// With each sample the kernel's own counters are compared.
    Counters,
}
