//! Where the host is, and how its kernel is asked.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::{ConfigError, value_error};
use crate::kernel::machine::container_mounts::ListedMounts;
use crate::kernel::{GivenRoots, HostRoots};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Host and kernel events")]
pub(super) struct HostArgs {
    /// Source of changes to cgroups
    #[arg(long = "kernel_events", value_enum, default_value_t = KernelEvents::Auto)]
    pub(super) kernel_events: KernelEvents,
    /// Where counters of containers are read
    #[arg(long = "counters", value_enum, default_value_t = CountersFrom::Auto)]
    pub(super) counters: CountersFrom,
    /// Size of the kernel's event buffer: a power of two and a multiple of the page size
    #[arg(long = "ring_buffer_bytes", default_value_t = 1 << 20)]
    pub(super) ring_buffer_bytes: u32,
    /// Log lines of the eBPF programs to forward
    #[arg(long = "ebpf_log", value_enum, default_value_t = EbpfLog::Off)]
    pub(super) ebpf_log: EbpfLog,
    /// Which file systems are the machine's, in the container `/` and wherever the machine is described
    #[arg(long = "machine_filesystems", value_enum, default_value_t = MachineFilesystems::Own)]
    machine_filesystems: MachineFilesystems,
    /// The host's root directory; by default /rootfs or /host if the host's procfs is mounted below it, else /
    #[arg(long)]
    rootfs: Option<PathBuf>,
    /// The host's procfs; by default `proc` below the host's root
    #[arg(long = "proc_root")]
    proc_root: Option<PathBuf>,
    /// The host's sysfs; by default `sys` below the host's root if it is mounted there, else /sys
    #[arg(long = "sys_root")]
    sys_root: Option<PathBuf>,
    /// The directory that holds the host's cgroup mounts, or is one; by default `fs/cgroup` below a sysfs
    #[arg(long = "cgroup_root")]
    cgroup_root: Option<PathBuf>,
}

/// Which file systems are the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MachineFilesystems {
    /// Those that are not mounted for a container or a pod alone
    Own,
    /// As in cAdvisor, those as well: root directories, shared memory, volumes
    All,
}

/// Source of changes to cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KernelEvents {
    /// From eBPF where the kernel and the privileges allow it, else from scans
    Auto,
    /// From eBPF; without it the collector does not start
    Ebpf,
    /// From scans
    Scan,
}

/// Where counters of containers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CountersFrom {
    /// From kernel memory where kernel events come from eBPF and the numbers are those of the files, else from files
    Auto,
    /// From files
    Files,
}

/// Log lines of the eBPF programs to forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EbpfLog {
    /// None
    Off,
    /// OOM kills
    Info,
    /// And long paths and first processes
    Debug,
}

impl HostArgs {
    /// Size of the kernel's event buffer.
    pub(super) fn ring_buffer_bytes(&self) -> Result<u32, ConfigError> {
        let page_size = rustix::param::page_size() as u32;
        if !self.ring_buffer_bytes.is_power_of_two() || self.ring_buffer_bytes < page_size {
            let problem = format!("not a power of two of at least the page size, {page_size}; the default is 1048576");
            return Err(value_error("ring_buffer_bytes", &self.ring_buffer_bytes, &problem));
        }
        Ok(self.ring_buffer_bytes)
    }

    /// Which file systems are listed as the machine's.
    pub(super) fn listed_mounts(&self) -> ListedMounts {
        match self.machine_filesystems {
            MachineFilesystems::Own => ListedMounts::Machines,
            MachineFilesystems::All => ListedMounts::All,
        }
    }

    /// Where the host is mounted.
    pub(super) fn roots(self) -> Result<HostRoots, ConfigError> {
        let given = [
            ("rootfs", &self.rootfs),
            ("proc_root", &self.proc_root),
            ("sys_root", &self.sys_root),
            ("cgroup_root", &self.cgroup_root),
        ];
        for (flag, path) in given {
            if let Some(path) = path {
                is_directory(path).map_err(|problem| value_error(flag, &path.display(), &problem))?;
            }
        }
        Ok(HostRoots::locate(GivenRoots {
            proc: self.proc_root,
            sys: self.sys_root,
            cgroup: self.cgroup_root,
            rootfs: self.rootfs,
        }))
    }
}

/// A directory that was named is there.
fn is_directory(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err("not a directory; give the directory at which the host's is mounted".to_owned()),
        Err(error) => Err(format!("{error}; give the directory at which the host's is mounted")),
    }
}
