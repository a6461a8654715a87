//! The eBPF programs from the daemon's side: what this kernel offers, loading, and the events that come back.
//!
//! `support` decides, `load` does, `examine` tries out what `load` would do, `events` and `reader` bring the records in, `oom_owner` says whose limit an OOM kill
//! was about. Nothing here keeps state about a cgroup. `counters` are programs of their own, which are run instead of attached; so are `run_queue`,
//! `network_cgroup` and `block_latency`, which are loaded only where they are asked for.

pub mod block_latency;
pub mod btf;
pub mod counters;
pub mod events;
pub mod examine;
pub mod kind_object;
pub mod load;
pub mod network_cgroup;
pub mod offsets;
pub mod oom_owner;
pub mod reader;
pub mod run_queue;
pub mod support;

pub use events::{AttachEvent, CgroupEvent, CgroupEventKind, DecodeError, KernelEvent, OomEvent, decode};
pub use load::{LogLevel, ProbeOptions, Probes};
pub use reader::{EventReader, Wake, Waker};
pub use support::{KernelFacts, Plan, Unavailable, decide};

/// The kinds of events, for distinguishing them in counts.
pub use collector_ebpf::RecordKind;
