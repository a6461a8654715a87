//! What was measured, as plain data: cumulative values with units and a time. No I/O, no serialisation, no rates.

pub mod application;
pub mod block_latency;
pub mod container;
pub mod doubling;
pub mod event;
pub mod exit;
pub mod filesystem;
pub mod hardware;
pub mod identity;
pub mod images;
pub mod kinds;
pub mod live;
pub mod machine;
pub mod memory_stat;
pub mod network_cgroup;
pub mod oom_kill;
pub mod pods;
pub mod process;
mod repeated;
pub mod run_queue;
pub mod runtime_usage;
pub mod sockets;
pub mod spec;
pub mod statistic;
#[cfg(test)]
pub(crate) mod tests;
pub mod unread;
pub mod walk;
