//! Who is read when, and on which thread: first and last samples before periodic ones.
//!
//! - [`engine`]: the sampling threads and their queue;
//! - [`roster`]: which cgroups there is memory for;
//! - [`metrics`]: what it counts of itself.

pub mod engine;
pub mod metrics;
pub mod roster;
