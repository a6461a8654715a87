//! What containers' files take, beside their samples: it is measured seldom and seldom changes, so that what changes is
//! written, as JSON, and holds until the next.

use std::sync::Arc;

use serde_json::{Value, json};

use super::records::{number_of, object, of_word, text_of, word};
use crate::sample::filesystem::{DiskUsage, LayerContent, LayerFilesystem, Measured, Method, Storage};
use crate::units::{Bytes, WallTime};

/// What the files of one life of a container take from some millisecond on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FilesRecord {
    pub(super) life: u32,
    pub(super) at: u64,
    pub(super) storage: Arc<Storage>,
}

const METHODS: [(Method, &str); 4] = [
    (Method::Quota, Method::Quota.name()),
    (Method::Accounting, Method::Accounting.name()),
    (Method::Runtime, Method::Runtime.name()),
    (Method::Walk, Method::Walk.name()),
];

/// Whether both say the same, whenever that was measured.
pub(super) fn is_same(one: &Storage, other: &Storage) -> bool {
    let usage = |measured: Option<Measured>| measured.map(|measured| (measured.usage, measured.by));
    let Storage { filesystem, limit, layer, content, runtime_files, logs } = one;
    *filesystem == other.filesystem
        && *limit == other.limit
        && *content == other.content
        && usage(*layer) == usage(other.layer)
        && usage(*runtime_files) == usage(other.runtime_files)
        && usage(*logs) == usage(other.logs)
}

impl FilesRecord {
    /// As JSON.
    pub(super) fn describe(&self) -> Value {
        let Self { life, at, storage } = self;
        let Storage { filesystem, limit, layer, content, runtime_files, logs } = &**storage;
        let filesystem = filesystem.as_ref().map_or(Value::Null, |filesystem| {
            let LayerFilesystem { device, mount_point, fs_type, major, minor, capacity } = filesystem;
            object(vec![
                ("device", json!(device)),
                ("mount_point", json!(mount_point)),
                ("fs_type", json!(fs_type)),
                ("major", json!(major)),
                ("minor", json!(minor)),
                ("capacity", json!(capacity.0)),
            ])
        });
        object(vec![
            ("life", json!(life)),
            ("at", json!(at)),
            ("filesystem", filesystem),
            ("limit", json!(limit.map(|limit| limit.0))),
            ("layer", describe_measured(*layer)),
            ("with_image", if *content == LayerContent::WithImage { json!(true) } else { Value::Null }),
            ("runtime_files", describe_measured(*runtime_files)),
            ("logs", describe_measured(*logs)),
        ])
    }

    /// From such JSON.
    pub(super) fn restore(value: &Value) -> Option<Self> {
        let filesystem = |value: &Value| LayerFilesystem {
            device: text_of(value, "device").unwrap_or_default(),
            mount_point: text_of(value, "mount_point").unwrap_or_default(),
            fs_type: text_of(value, "fs_type").unwrap_or_default(),
            major: number_of(value, "major").and_then(|major| major.try_into().ok()).unwrap_or_default(),
            minor: number_of(value, "minor").and_then(|minor| minor.try_into().ok()).unwrap_or_default(),
            capacity: Bytes(number_of(value, "capacity").unwrap_or_default()),
        };
        let measured = |key| value.get(key).and_then(restore_measured);
        let with_image = value.get("with_image").is_some();
        let storage = Storage {
            filesystem: value.get("filesystem").map(filesystem),
            limit: number_of(value, "limit").map(Bytes),
            layer: measured("layer"),
            content: if with_image { LayerContent::WithImage } else { LayerContent::OwnFiles },
            runtime_files: measured("runtime_files"),
            logs: measured("logs"),
        };
        Some(Self {
            life: number_of(value, "life")?.try_into().ok()?,
            at: number_of(value, "at")?,
            storage: Arc::new(storage),
        })
    }
}

fn describe_measured(measured: Option<Measured>) -> Value {
    let Some(Measured { usage: DiskUsage { bytes, inodes }, at, by }) = measured else { return Value::Null };
    object(vec![("bytes", json!(bytes.0)), ("inodes", json!(inodes)), ("at", json!(at.0)), ("by", word(&METHODS, by))])
}

fn restore_measured(value: &Value) -> Option<Measured> {
    let usage = DiskUsage { bytes: Bytes(number_of(value, "bytes")?), inodes: number_of(value, "inodes") };
    let at = WallTime(number_of(value, "at")?);
    Some(Measured { usage, at, by: of_word(&METHODS, value.get("by"))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_take_comes_back() {
        let measured = |bytes, inodes, by| Some(Measured { usage: DiskUsage { bytes, inodes }, at: WallTime(5), by });
        let whole = Storage {
            filesystem: Some(LayerFilesystem {
                device: "/dev/sda1".to_owned(),
                mount_point: "/".to_owned(),
                fs_type: "ext4".to_owned(),
                major: 8,
                minor: 1,
                capacity: Bytes(1 << 40),
            }),
            limit: Some(Bytes(1 << 30)),
            layer: measured(Bytes(4096), Some(3), Method::Walk),
            content: LayerContent::WithImage,
            runtime_files: measured(Bytes(7), None, Method::Runtime),
            logs: None,
        };
        for storage in [Storage::default(), whole.clone()] {
            let files = FilesRecord { life: 7, at: 9, storage: Arc::new(storage) };
            let text = files.describe().to_string();
            assert_eq!(FilesRecord::restore(&serde_json::from_str(&text).unwrap()), Some(files), "{text}");
        }
        let mut later = whole.clone();
        later.layer.as_mut().unwrap().at = WallTime(6);
        assert!(is_same(&whole, &later));
        later.layer.as_mut().unwrap().usage.bytes = Bytes(8192);
        assert!(!is_same(&whole, &later));
    }
}
