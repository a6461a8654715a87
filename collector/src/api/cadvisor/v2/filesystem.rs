//! v2.1's file systems: `FilesystemStats` of a container, `MachineFsStats` of the machine.

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::FilesystemUse;
use crate::api::cadvisor::v1::filesystem::kind;
use crate::sample::machine::{DiskCounters, Filesystem};

const NANOS_PER_MILLI: u64 = 1_000_000;

/// What a container's files take.
#[derive(JsonSchema, Serialize)]
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
#[derive(JsonSchema, Serialize)]
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
#[derive(JsonSchema, Serialize)]
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde::Serialize;

    use super::*;
    use crate::api::cadvisor::v1::filesystem::tests::{container, machine};

    fn check(value: &impl Serialize, expected: &Expect) {
        expected.assert_eq(std::str::from_utf8(&crate::api::wire::json::to_bytes(value)).unwrap());
    }

    #[test]
    fn a_containers() {
        check(
            &FilesystemStats::of(&container(Some(7))),
            &expect![[r#"{"totalUsageBytes":4608,"baseUsageBytes":4096,"containter_inode_usage":7}"#]],
        );
        check(&FilesystemStats::of(&container(None)), &expect![[r#"{"totalUsageBytes":4608,"baseUsageBytes":4096}"#]]);
        let machine = FilesystemUse::Machine(machine());
        assert!(FilesystemStats::of(&machine).is_none() && FilesystemStats::of(&FilesystemUse::Unknown).is_none());
    }

    #[test]
    fn the_machines() {
        check(
            &MachineFsStats::list(&FilesystemUse::Machine(machine())),
            &expect![[
                r#"[{"device":"/dev/sda1","type":"vfs","capacity":1099511627776,"usage":1073741824,"available":549755813888,"inodes_free":900,"inline":{"reads_completed":1,"reads_merged":2,"sectors_read":3,"read_duration":4000000,"writes_completed":5,"writes_merged":6,"sectors_written":7,"write_duration":8000000,"io_in_progress":9,"io_duration":10000000,"weighted_io_duration":11000000}},{"device":"tank","type":"zfs","capacity":0,"usage":0,"available":0,"inodes_free":0,"inline":{"reads_completed":0,"reads_merged":0,"sectors_read":0,"read_duration":0,"writes_completed":0,"writes_merged":0,"sectors_written":0,"write_duration":0,"io_in_progress":0,"io_duration":0,"weighted_io_duration":0}}]"#
            ]],
        );
        assert!(MachineFsStats::list(&container(None)).is_empty());
    }
}
