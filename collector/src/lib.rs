//! A per-node collector of container resources.

pub mod kernel;
pub mod sample;
pub mod store;
pub mod units;
