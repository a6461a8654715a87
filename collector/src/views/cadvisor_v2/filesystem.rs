//! v2.1's file systems: `FilesystemStats` of a container, `MachineFsStats` of the machine.

use serde::Serialize;

use crate::sample::machine::{DiskCounters, Filesystem};
use crate::views::FilesystemUse;
use crate::views::cadvisor_v1::filesystem::kind;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// What a container's files take.
#[derive(Serialize)]
pub(super) struct FilesystemStats {
    #[serde(rename = "totalUsageBytes")]
    total_usage_bytes: u64,
    #[serde(rename = "baseUsageBytes")]
    base_usage_bytes: u64,
    /// Spelt as in cAdvisor. Absent where only space is counted.
    #[serde(rename = "containter_inode_usage", skip_serializing_if = "Option::is_none")]
    inode_usage: Option<u64>,
}

impl FilesystemStats {
    /// `None` where nothing is known of the layer.
    pub(super) fn of(known: &FilesystemUse) -> Option<Self> {
        let FilesystemUse::Container { storage, .. } = known else { return None };
        let layer = storage.layer?.usage;
        Some(Self {
            total_usage_bytes: storage.total()?.bytes.0,
            base_usage_bytes: layer.bytes.0,
            inode_usage: layer.inodes,
        })
    }
}

/// A file system of the machine.
#[derive(Serialize)]
pub(super) struct MachineFsStats<'a> {
    device: &'a str,
    r#type: &'static str,
    capacity: u64,
    usage: u64,
    available: u64,
    inodes_free: u64,
    inline: DiskStats,
}

/// What its device has done; times in nanoseconds, where v1 has milliseconds.
#[derive(Serialize)]
struct DiskStats {
    reads_completed: u64,
    reads_merged: u64,
    sectors_read: u64,
    read_duration: u64,
    writes_completed: u64,
    writes_merged: u64,
    sectors_written: u64,
    write_duration: u64,
    io_in_progress: u64,
    io_duration: u64,
    weighted_io_duration: u64,
}

impl<'a> MachineFsStats<'a> {
    /// The list of a sample of the root container.
    pub(super) fn list(known: &'a FilesystemUse) -> Vec<Self> {
        match known {
            FilesystemUse::Machine(filesystems) => filesystems.list.iter().map(Self::of).collect(),
            FilesystemUse::Unknown | FilesystemUse::Container { .. } => Vec::new(),
        }
    }

    fn of(filesystem: &'a Filesystem) -> Self {
        let Filesystem { device, fs_type, capacity, usage, available, inodes_free, disk, .. } = filesystem;
        Self {
            device,
            r#type: kind(fs_type),
            capacity: capacity.0,
            usage: usage.0,
            available: available.0,
            inodes_free: *inodes_free,
            inline: disk.unwrap_or_default().into(),
        }
    }
}

impl From<DiskCounters> for DiskStats {
    fn from(disk: DiskCounters) -> Self {
        let nanos = |millis: u64| millis.saturating_mul(NANOS_PER_MILLI);
        Self {
            reads_completed: disk.reads,
            reads_merged: disk.reads_merged,
            sectors_read: disk.sectors_read,
            read_duration: nanos(disk.read_ms),
            writes_completed: disk.writes,
            writes_merged: disk.writes_merged,
            sectors_written: disk.sectors_written,
            write_duration: nanos(disk.write_ms),
            io_in_progress: disk.in_progress,
            io_duration: nanos(disk.io_ms),
            weighted_io_duration: nanos(disk.weighted_io_ms),
        }
    }
}
