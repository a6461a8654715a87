//! What a container's files take on disk: its writable layer, its logs, and the file system that holds them.
//!
//! It changes slowly and is measured seldom, so it is no part of a sample: the store keeps it beside the samples, and
//! each value carries the time at which it was true. `None` means that nobody could report.

use std::path::PathBuf;

use crate::units::{Bytes, WallTime};

/// Space and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Allocated bytes, holes not counted: `st_blocks` times 512 where files were looked at.
    pub bytes: Bytes,
    /// Inodes in use; a file with several names is one. Absent where the source counts only space.
    pub inodes: Option<u64>,
}

impl DiskUsage {
    /// Both together; inodes only when both have them.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let inodes = self.inodes.zip(other.inodes).map(|(one, two)| one.saturating_add(two));
        Self { bytes: Bytes(self.bytes.0.saturating_add(other.bytes.0)), inodes }
    }
}

/// A usage, when it was true, and how it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// What is used.
    pub usage: DiskUsage,
    /// When: the end of a walk, the runtime's own time for what it reported, else when it was asked.
    pub at: WallTime,
    /// By whom.
    pub by: Method,
}

/// How a usage was found, the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The file system's project quota, which `statfs(2)` shows for a directory that has one with a limit.
    Quota,
    /// The file system's or the volume manager's own count: a btrfs qgroup, a ZFS dataset, a thin device.
    Accounting,
    /// The runtime's count.
    Runtime,
    /// Every file was looked at.
    Walk,
}

impl Method {
    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quota => "quota",
            Self::Accounting => "accounting",
            Self::Runtime => "runtime",
            Self::Walk => "walk",
        }
    }
}

/// What the usage of a container's layer counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerContent {
    /// What the container wrote.
    #[default]
    OwnFiles,
    /// The image's files too: the layer is a snapshot of the image (ZFS, thin devices, btrfs without qgroups).
    WithImage,
}

/// What a container's files take, as last measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// The file system of the writable layer.
    pub filesystem: Option<LayerFilesystem>,
    /// Most that the layer may take; absent without a quota or size of its own.
    pub limit: Option<Bytes>,
    /// The writable layer.
    pub layer: Option<Measured>,
    /// What the layer's usage counts.
    pub content: LayerContent,
    /// The runtime's files about the container, its logs among them where they are there: Docker's
    /// `<root>/containers/<id>`, podman's `<root>/<driver>-containers/<id>`.
    pub runtime_files: Option<Measured>,
    /// The current log file and the rotated ones.
    pub logs: Option<Measured>,
}

impl Storage {
    /// The layer and what the runtime keeps about the container; where that is not a directory of its own, the logs.
    /// `None` when the layer is not known.
    pub fn total(&self) -> Option<DiskUsage> {
        let beside = self.runtime_files.or(self.logs);
        let layer = self.layer?.usage;
        Some(beside.map_or(layer, |beside| layer.plus(beside.usage)))
    }

    /// When the newest of its values was true.
    pub fn at(&self) -> Option<WallTime> {
        [self.layer, self.runtime_files, self.logs].into_iter().flatten().map(|measured| measured.at).max()
    }
}

/// The file system that a container's writable layer is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerFilesystem {
    /// The name the machine's list has it under.
    pub device: String,
    /// Where it is mounted on the host.
    pub mount_point: String,
    /// The kernel's name of its type.
    pub fs_type: String,
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Its size.
    pub capacity: Bytes,
}

/// Where a container's files are, as its runtime reports. Paths are the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFiles {
    /// The storage driver or snapshotter, in the runtime's words.
    pub driver: Option<String>,
    /// The writable layer.
    pub layer: Option<LayerPlace>,
    /// The directory with the runtime's files about the container.
    pub runtime_directory: Option<PathBuf>,
    /// Its log.
    pub log: Option<LogPlace>,
}

/// Where a container's log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPlace {
    /// A file; those that were rotated away lie beside it and have its name and more.
    File(PathBuf),
    /// Everything in a directory.
    Directory(PathBuf),
}

/// Where a writable layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerPlace {
    /// A directory with what the container wrote (overlay's upper directory, aufs), or with all its files (vfs, btrfs).
    Directory(PathBuf),
    /// A directory that has the name in a file: Docker without the layer's path in its answer.
    NamedIn {
        /// The file; its content is the directory's name.
        file: PathBuf,
        /// What the directory is in.
        parent: PathBuf,
    },
    /// A ZFS dataset.
    Dataset {
        /// Its name.
        name: String,
        /// Where it is mounted.
        mount_point: PathBuf,
    },
    /// A thin device of the device mapper.
    ThinDevice {
        /// Its name, as `dmsetup` has it.
        name: String,
        /// Its size.
        size: Option<Bytes>,
    },
}
