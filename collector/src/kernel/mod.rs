//! Everything that is read from the host: cgroup files, `/proc`, `/sys`, and the eBPF programs.
//!
//! The only place that opens host files and, in `probes`, the only one with `unsafe` code. It knows nothing about
//! samples, HTTP or configuration: structs here carry the kernel's own keys and units.

pub mod cgroup;
pub mod error;
pub mod file;
pub mod machine;
pub mod network;
pub mod oom_watch;
pub mod probes;
pub mod process;
pub mod read_errors;
pub mod taskstats;
pub mod text_formats;
pub mod users;

use std::path::PathBuf;

/// Where the host's file systems are mounted, which in a container may be elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRoots {
    /// procfs of the host's pid namespace.
    pub proc: PathBuf,
    /// sysfs.
    pub sys: PathBuf,
    /// The directory that holds the cgroup mounts, or is the cgroup2 mount.
    pub cgroup: PathBuf,
    /// The host's root directory.
    pub rootfs: PathBuf,
}

impl Default for HostRoots {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into(), cgroup: "/sys/fs/cgroup".into(), rootfs: "/".into() }
    }
}
