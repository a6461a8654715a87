//! Everything that is read from the host: cgroup files, `/proc`, `/sys`, and the eBPF programs.
//!
//! The only place that opens host files and uses aya. It knows nothing about samples, HTTP or configuration: structs here
//! carry the kernel's own keys and units.

pub mod apart;
pub mod capabilities;
pub mod cgroup;
pub mod container_file;
pub mod descriptors;
pub mod error;
pub mod file;
mod format_error;
#[cfg(test)]
mod line_properties;
pub mod machine;
pub mod machine_records;
pub mod namespaces;
pub mod odd_lines;
pub mod oom_watch;
pub mod own_limit;
pub mod own_process;
pub mod perf;
pub mod probes;
pub mod process_cgroups;
pub mod procfs;
pub mod read_errors;
pub mod resctrl;
mod roots;
pub mod storage;
pub mod survey;
pub mod taskstats;
pub mod text_formats;

pub use roots::{GivenRoots, HostRoots};
