//! A per-node collector of container resources.
//!
//! ```text
//!  /proc, /sys, cgroup v1+v2 --+
//!                              +--> kernel --+
//!  ring buffer (eBPF) ---------+             +--> sampler --> store --> views --> HTTP
//!  container runtimes ------------> runtime -+   (sample types)
//! ```
//!
//! In reading order, each with what it may import:
//!
//! ```text
//!  main     -> compare, config, daemon, doctor
//!  doctor   -> config, kernel, sample
//!  compare  -> nothing of ours: a client like any other
//!  daemon   -> every module; nobody imports daemon
//!  embed    -> views, sample, units
//!  views    -> store, rates, sample, units
//!  push     -> store, rates, sample, units
//!  application -> store, sample, units
//!  sampler  -> kernel, runtime, store, sample, units
//!  store    -> sample, units
//!  rates    -> sample, units
//!  sample   -> units
//!  kernel   -> units, collector-ebpf (its library)
//!  runtime  -> sample, units
//!  access   -> nothing of ours
//!  degradations -> nothing of ours; whoever finds something missing reports it there
//!  bounds   -> nothing of ours; whoever finds something too large counts it there
//! ```

pub mod api;
pub mod application;
pub mod auth;
pub mod bounds;
pub mod compare;
pub mod config;
pub mod daemon;
pub mod degradations;
pub mod discovery;
pub mod disk_usage;
pub mod doctor;
pub mod embedded;
mod go_flags;
pub mod kernel;
pub mod own_metrics;
pub mod push;
pub mod rates;
pub mod reader;
pub mod runtime;
pub mod sample;
pub mod sampler;
pub mod shutdown;
pub mod steady;
pub mod store;
pub mod units;
