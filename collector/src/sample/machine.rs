//! What the machine is: read at start and again every few minutes, because disks, devices and CPUs come and go.
//!
//! `None` means the kernel does not report.

use std::collections::BTreeMap;

use super::identity::Runtime;
use super::images::ImageStore;
use crate::units::{Bytes, WallTime};

/// The machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// When this was read.
    pub at: WallTime,
    /// The running kernel's release: `uname -r`.
    pub kernel_release: String,
    /// The operating system the collector's own files come from: in a container that of its image.
    pub os: Option<OsRelease>,
    /// Processor counts.
    pub cpus: CpuCounts,
    /// `vendor_id` in `/proc/cpuinfo`, one word.
    pub cpu_vendor: Option<String>,
    /// The highest clock in kHz where the kernel knows it, else the clock at the time of reading.
    pub cpu_frequency_khz: Option<u64>,
    /// `MemTotal` in `/proc/meminfo`.
    pub memory: Option<Bytes>,
    /// `SwapTotal` in `/proc/meminfo`.
    pub swap: Option<Bytes>,
    /// Memory modules by type; `None` without an EDAC driver.
    pub memory_modules: Option<BTreeMap<String, MemoryModules>>,
    /// Huge page pools; `None` when the kernel has none.
    pub huge_pages: Option<Vec<HugePages>>,
    /// Identifies the installation.
    pub machine_id: Option<String>,
    /// Identifies the hardware.
    pub system_uuid: Option<String>,
    /// Identifies the boot.
    pub boot_id: Option<String>,
    /// Persistent memory; `None` when the kernel knows of none.
    pub persistent_memory: Option<PersistentMemory>,
    /// The cloud the machine was rented from; `None` when its firmware names none.
    pub cloud: Option<Cloud>,
    /// File systems that reported their size.
    pub filesystems: Vec<Filesystem>,
    /// Disks; `None` when sysfs cannot be read.
    pub disks: Option<Vec<Disk>>,
    /// Network devices of the host; `None` when sysfs cannot be read.
    pub network_devices: Option<Vec<NetworkDevice>>,
    /// NUMA nodes; without NUMA one per socket.
    pub nodes: Vec<Node>,
}

/// An operating system's description of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `PRETTY_NAME` of its `os-release` file.
    pub pretty_name: Option<String>,
}

/// How many processors, counted as cAdvisor counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuCounts {
    /// CPUs that are switched on; each hardware thread is one.
    pub online: u32,
    /// Cores, of all sockets. cAdvisor counts ids of cores, which begin anew in each socket.
    pub cores: Option<u32>,
    /// Sockets.
    pub sockets: Option<u32>,
    /// Books (s390x).
    pub books: Option<u32>,
    /// Drawers (s390x).
    pub drawers: Option<u32>,
}

/// Memory modules of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryModules {
    /// All of them together.
    pub capacity: Bytes,
    /// How many.
    pub count: u64,
}

/// Persistent memory modules (NVDIMMs), as far as the kernel reports without the vendor's tools. What they give as
/// ordinary memory ("memory mode") and their power budget are only known to the firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PersistentMemory {
    /// Sum of the persistent regions ("app direct mode").
    pub app_direct: Bytes,
}

/// A rented machine, as its firmware describes it. Nothing is asked over the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Who rents it out.
    pub provider: CloudProvider,
    /// The provider's name for the kind of machine, where the firmware has it.
    pub instance_type: Option<String>,
    /// The provider's name for this very machine, where the firmware has it.
    pub instance_id: Option<String>,
}

/// Who rents machines out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudProvider {
    /// Amazon EC2.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Google Compute Engine.
    Gce,
}

impl CloudProvider {
    /// cAdvisor's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aws => "AWS",
            Self::Azure => "Azure",
            Self::Gce => "GCE",
        }
    }
}

/// The huge pages of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugePages {
    /// Size of a page.
    pub page_size: Bytes,
    /// Pages in the pool, used or not.
    pub pages: u64,
}

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Its name: a device path, a tmpfs's mount point, `overlay_<major>-<minor>`.
    pub device: String,
    /// Major device number: what its I/O counters are found by.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Its size.
    pub capacity: Bytes,
    /// Inodes in all; 0 where the file system makes them as needed.
    pub inodes: u64,
    /// The kernel's name of its type, such as `ext4`.
    pub fs_type: String,
    /// Where it is mounted, at first.
    pub mount_point: String,
    /// What is in use.
    pub usage: Bytes,
    /// What users other than root may still use.
    pub available: Bytes,
    /// Inodes that are free.
    pub inodes_free: u64,
    /// What it is to the machine, each once.
    pub roles: Vec<FilesystemRole>,
    /// The file system's own id, where `/dev/disk/by-uuid` has it.
    pub uuid: Option<String>,
    /// What its block device has done since the machine was started; absent for a file system without one.
    pub disk: Option<DiskCounters>,
}

/// What a file system is to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilesystemRole {
    /// The root directory is on it.
    Root,
    /// A runtime keeps its images there.
    Images(Runtime),
    /// A runtime keeps its containers' layers there, apart from the images.
    Containers(Runtime),
}

/// A line of `/proc/diskstats`: whole devices and partitions, everybody's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Reads done (field 4 of the line).
    pub reads: u64,
    /// Reads merged with one that was queued.
    pub reads_merged: u64,
    /// Sectors of 512 bytes read.
    pub sectors_read: u64,
    /// Milliseconds that all reads took together.
    pub read_ms: u64,
    /// Writes done.
    pub writes: u64,
    /// Writes merged.
    pub writes_merged: u64,
    /// Sectors written.
    pub sectors_written: u64,
    /// Milliseconds that all writes took together.
    pub write_ms: u64,
    /// Requests under way now: a gauge.
    pub in_progress: u64,
    /// Milliseconds with any request under way.
    pub io_ms: u64,
    /// Milliseconds of all requests together, those under way included.
    pub weighted_io_ms: u64,
}

/// The file systems at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filesystems {
    /// When they reported their sizes.
    pub at: WallTime,
    /// Those that did.
    pub list: Vec<Filesystem>,
    /// Where the runtimes that are there keep their images.
    pub image_stores: Vec<ImageStore>,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name, without `/dev/`.
    pub name: String,
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Its size.
    pub size: Bytes,
    /// The I/O scheduler in use.
    pub scheduler: Option<String>,
}

/// A network device of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkDevice {
    /// Its name.
    pub name: String,
    /// Hardware address, as the kernel prints it.
    pub mac_address: String,
    /// Mbit/s; -1 when the driver does not know it, absent when the link is down.
    pub speed_mbit: Option<i64>,
    /// Greatest packet, in bytes.
    pub mtu: i64,
}

/// A NUMA node, or without NUMA a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: i32,
    /// Its memory; absent without NUMA.
    pub memory: Option<Bytes>,
    /// Its huge page pools.
    pub huge_pages: Option<Vec<HugePages>>,
    /// Its cores; none when it is only memory.
    pub cores: Vec<Core>,
    /// Caches that all its CPUs share.
    pub caches: Vec<Cache>,
    /// Distance to every node in the order of their numbers, 10 to itself; absent without NUMA.
    pub distances: Option<Vec<u64>>,
}

/// A core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// The hardware's number, unique in its socket at best.
    pub id: i32,
    /// Its socket; -1 where the firmware does not report it.
    pub socket: i32,
    /// Its book (s390x).
    pub book: Option<String>,
    /// Its drawer (s390x).
    pub drawer: Option<String>,
    /// The kernel's numbers of its CPUs (hardware threads) that are switched on, ascending. Never empty.
    pub threads: Vec<u32>,
    /// Caches of level 1 and 2 that are its own.
    pub caches: Vec<Cache>,
    /// Caches above level 2 that it shares with some other cores of the node but not with all.
    pub uncore_caches: Vec<Cache>,
}

/// Tasks of the machine; every thread is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// When they were counted.
    pub at: WallTime,
    /// The most there may be: the smaller of `/proc/sys/kernel/pid_max` and `threads-max`.
    pub max: Option<u64>,
    /// All that exist: the number behind the slash in `/proc/loadavg`.
    pub current: Option<u64>,
}

/// A cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// Unique among the caches of its level and type. Absent on arm64 guests.
    pub id: Option<u32>,
    /// Its size.
    pub size: Bytes,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: String,
    /// From 1.
    pub level: u32,
}
