//! `FsStats`: the machine's file systems for the root container, the writable layer's for another.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::FilesystemUse;
use crate::sample::filesystem::Storage;
use crate::sample::machine::{DiskCounters, Filesystem, Filesystems};

/// One file system. The counters are its device's, also for a container: what the container itself does is `diskio`.
#[derive(JsonSchema, Serialize)]
pub(crate) struct FsStats<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    device: &'a str,
    r#type: &'static str,
    capacity: u64,
    usage: u64,
    base_usage: u64,
    available: u64,
    has_inodes: bool,
    inodes: u64,
    inodes_free: u64,
    reads_completed: u64,
    reads_merged: u64,
    sectors_read: u64,
    read_time: u64,
    writes_completed: u64,
    writes_merged: u64,
    sectors_written: u64,
    write_time: u64,
    io_in_progress: u64,
    io_time: u64,
    weighted_io_time: u64,
}

/// What cAdvisor calls a type of file systems: by how it asks for the size.
pub(crate) fn kind(fs_type: &str) -> &'static str {
    match fs_type {
        "zfs" => "zfs",
        "devicemapper" => "devicemapper",
        _ => "vfs",
    }
}

impl<'a> FsStats<'a> {
    /// The list of a sample: empty where nothing is known.
    pub(crate) fn list(known: &'a FilesystemUse) -> Vec<Self> {
        match known {
            FilesystemUse::Unknown => Vec::new(),
            FilesystemUse::Machine(filesystems) => filesystems.list.iter().map(Self::of_machine).collect(),
            FilesystemUse::Container { storage, machine } => {
                Self::of_container(storage, machine.as_ref()).into_iter().collect()
            }
        }
    }

    fn of_machine(filesystem: &'a Filesystem) -> Self {
        let Filesystem { device, fs_type, capacity, usage, available, inodes, inodes_free, disk, .. } = filesystem;
        Self {
            r#type: kind(fs_type),
            capacity: capacity.0,
            usage: usage.0,
            available: available.0,
            has_inodes: true,
            inodes: *inodes,
            inodes_free: *inodes_free,
            ..Self::on(device, disk.unwrap_or_default())
        }
    }

    /// `inodes` are those in use by the layer, and what is free is not reported, as in cAdvisor; `None` when it is not
    /// known what the layer takes.
    fn of_container(storage: &'a Storage, machine: Option<&Arc<Filesystems>>) -> Option<Self> {
        let (layer, total) = (storage.layer?.usage, storage.total()?);
        let filesystem = storage.filesystem.as_ref();
        let device = filesystem.map_or("", |filesystem| filesystem.device.as_str());
        let listed = machine.and_then(|machine| machine.list.iter().find(|listed| listed.device == device));
        let capacity = storage.limit.or(filesystem.map(|filesystem| filesystem.capacity));
        Some(Self {
            r#type: kind(filesystem.map_or("", |filesystem| filesystem.fs_type.as_str())),
            capacity: capacity.unwrap_or_default().0,
            usage: total.bytes.0,
            base_usage: layer.bytes.0,
            inodes: layer.inodes.unwrap_or(0),
            ..Self::on(device, listed.and_then(|listed| listed.disk).unwrap_or_default())
        })
    }

    fn on(device: &'a str, disk: DiskCounters) -> Self {
        let DiskCounters {
            reads,
            reads_merged,
            sectors_read,
            read_ms,
            writes,
            writes_merged,
            sectors_written,
            write_ms,
            in_progress,
            io_ms,
            weighted_io_ms,
        } = disk;
        Self {
            device,
            r#type: kind(""),
            capacity: 0,
            usage: 0,
            base_usage: 0,
            available: 0,
            has_inodes: false,
            inodes: 0,
            inodes_free: 0,
            reads_completed: reads,
            reads_merged,
            sectors_read,
            read_time: read_ms,
            writes_completed: writes,
            writes_merged,
            sectors_written,
            write_time: write_ms,
            io_in_progress: in_progress,
            io_time: io_ms,
            weighted_io_time: weighted_io_ms,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::sample::filesystem::{DiskUsage, LayerFilesystem, Measured, Method};
    use crate::sample::machine::FilesystemRole;
    use crate::units::{Bytes, WallTime};

    /// The machine's file systems with one of each kind.
    pub(crate) fn machine() -> Arc<Filesystems> {
        let disk = DiskCounters {
            reads: 1,
            reads_merged: 2,
            sectors_read: 3,
            read_ms: 4,
            writes: 5,
            writes_merged: 6,
            sectors_written: 7,
            write_ms: 8,
            in_progress: 9,
            io_ms: 10,
            weighted_io_ms: 11,
        };
        let root = Filesystem {
            device: "/dev/sda1".to_owned(),
            fs_type: "ext4".to_owned(),
            capacity: Bytes(1 << 40),
            usage: Bytes(1 << 30),
            available: Bytes(1 << 39),
            inodes: 1000,
            inodes_free: 900,
            roles: vec![FilesystemRole::Root],
            disk: Some(disk),
            ..Filesystem::default()
        };
        let pool = Filesystem { device: "tank".to_owned(), fs_type: "zfs".to_owned(), ..Filesystem::default() };
        Arc::new(Filesystems { list: vec![root, pool], ..Filesystems::default() })
    }

    fn measured(bytes: u64, inodes: Option<u64>) -> Measured {
        Measured { usage: DiskUsage { bytes: Bytes(bytes), inodes }, at: WallTime(1), by: Method::Walk }
    }

    /// A container whose layer is on the machine's disk.
    pub(crate) fn container(inodes: Option<u64>) -> FilesystemUse {
        let filesystem = LayerFilesystem {
            device: "/dev/sda1".to_owned(),
            fs_type: "ext4".to_owned(),
            capacity: Bytes(1 << 40),
            ..LayerFilesystem::default()
        };
        let storage = Storage {
            filesystem: Some(filesystem),
            layer: Some(measured(4096, inodes)),
            runtime_files: Some(measured(512, Some(4))),
            logs: Some(measured(100, Some(1))),
            ..Storage::default()
        };
        FilesystemUse::Container { storage: Arc::new(storage), machine: Some(machine()) }
    }

    fn check(known: &FilesystemUse, expected: &Expect) {
        let bytes = crate::api::wire::json::to_bytes(&FsStats::list(known));
        expected.assert_eq(std::str::from_utf8(&bytes).unwrap());
    }

    #[test]
    fn the_machines() {
        check(
            &FilesystemUse::Machine(machine()),
            &expect![[
                r#"[{"device":"/dev/sda1","type":"vfs","capacity":1099511627776,"usage":1073741824,"base_usage":0,"available":549755813888,"has_inodes":true,"inodes":1000,"inodes_free":900,"reads_completed":1,"reads_merged":2,"sectors_read":3,"read_time":4,"writes_completed":5,"writes_merged":6,"sectors_written":7,"write_time":8,"io_in_progress":9,"io_time":10,"weighted_io_time":11},{"device":"tank","type":"zfs","capacity":0,"usage":0,"base_usage":0,"available":0,"has_inodes":true,"inodes":0,"inodes_free":0,"reads_completed":0,"reads_merged":0,"sectors_read":0,"read_time":0,"writes_completed":0,"writes_merged":0,"sectors_written":0,"write_time":0,"io_in_progress":0,"io_time":0,"weighted_io_time":0}]"#
            ]],
        );
    }

    #[test]
    fn a_containers() {
        check(
            &container(Some(7)),
            &expect![[
                r#"[{"device":"/dev/sda1","type":"vfs","capacity":1099511627776,"usage":4608,"base_usage":4096,"available":0,"has_inodes":false,"inodes":7,"inodes_free":0,"reads_completed":1,"reads_merged":2,"sectors_read":3,"read_time":4,"writes_completed":5,"writes_merged":6,"sectors_written":7,"write_time":8,"io_in_progress":9,"io_time":10,"weighted_io_time":11}]"#
            ]],
        );
    }

    #[test]
    fn nothing_is_reported_of_a_layer_that_is_not_known() {
        check(&FilesystemUse::Unknown, &expect!["[]"]);
        let storage = Arc::new(Storage { logs: Some(measured(100, Some(1))), ..Storage::default() });
        check(&FilesystemUse::Container { storage, machine: None }, &expect!["[]"]);
        let storage = Storage { layer: Some(measured(5, None)), limit: Some(Bytes(9)), ..Storage::default() };
        check(
            &FilesystemUse::Container { storage: Arc::new(storage), machine: None },
            &expect![[
                r#"[{"type":"vfs","capacity":9,"usage":5,"base_usage":5,"available":0,"has_inodes":false,"inodes":0,"inodes_free":0,"reads_completed":0,"reads_merged":0,"sectors_read":0,"read_time":0,"writes_completed":0,"writes_merged":0,"sectors_written":0,"write_time":0,"io_in_progress":0,"io_time":0,"weighted_io_time":0}]"#
            ]],
        );
    }
}
