//! A per-node collector of container resources.
//!
//! ```text
//!  eBPF ring buffer, cgroup files, /proc --> kernel --> discovery --> sampler --> reader --> store --> api --> HTTP
//!  container runtimes --> runtime --> discovery                                                 +----> push
//! ```
//!
//! `docs/architecture.md` has the rooms and the invariants; the table in `xtask/src/check/imports.rs` says which module
//! may use which, and `cargo xtask check tidy` holds it.

#![forbid(unsafe_code)]

pub mod api;
pub mod application;
pub mod archive;
pub mod auth;
pub mod bounds;
pub mod client;
pub mod compare;
pub mod config;
pub mod daemon;
pub mod degradations;
pub mod discovery;
pub mod disk_usage;
pub mod doctor;
pub mod embedded;
pub mod export;
mod go_flags;
pub mod kernel;
pub mod own_metrics;
pub mod push;
pub mod rates;
pub mod reader;
pub mod runtime;
pub mod sample;
pub mod sampler;
pub mod series;
pub mod shutdown;
pub mod steady;
pub mod store;
pub mod supervisor;
pub mod top;
pub mod units;
