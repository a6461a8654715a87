//! Joins numbers with identity: which cgroups there are, when each is read, and what the kernel's files become.
//!
//! - [`follow`]: the thread that follows the kernel's events and starts scans;
//! - [`tracker`]: events and scans become containers, samples and log entries;
//! - [`discovery`]: the set of cgroups, pure state;
//! - [`filter`]: which of them are listed;
//! - [`engine`]: the sampling threads and their queue;
//! - [`container`]: one container's files become a sample;
//! - [`live`]: what is read when somebody asks, beside a sample;
//! - [`machine`]: the machine's description;
//! - [`processes`]: the processes of a container, when somebody asks.

pub mod engine;
pub mod metrics;
pub mod roster;
