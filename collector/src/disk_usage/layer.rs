//! Where a container's files are and what they take, by whatever reports it at the least cost.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{OFlags, fstatvfs};

use super::pace::Pace;
use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::machine::statfs::Size;
use crate::kernel::storage::walk::{Tree, WalkError};
use crate::kernel::storage::{btrfs, logs, place, quota, thin, walk};
use crate::reader::machine::mounted::filesystem_of;
use crate::sample::filesystem::{
    ContainerFiles, DiskUsage, LayerContent, LayerFilesystem, LayerPlace, LogPlace, Measured, Method, Storage,
};
use crate::sample::images::RuntimeLayer;
use crate::sample::machine::Filesystem;
use crate::units::{Bytes, WallTime};

/// File systems that show a project's quota in place of their own size. The size of others changes by itself.
const WITH_PROJECTS: [&str; 3] = ["ext4", "f2fs", "xfs"];

/// What is known of a container before its files are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// Where its files are.
    pub(super) files: &'a ContainerFiles,
    /// What its runtime says that the layer takes.
    pub(super) reported: Option<&'a RuntimeLayer>,
    /// The machine's file systems.
    pub(super) filesystems: &'a [Filesystem],
    /// Inodes of the layer as counted a while ago, for where only the space can be had cheaply.
    pub(super) inodes: Option<u64>,
}

/// Looks at a container's or a pod's files. What could not be found out is absent, and reported in `errors` unless it
/// is simply not there.
#[derive(Debug)]
pub(super) struct Survey<'a> {
    pub(super) roots: &'a HostRoots,
    pub(super) pace: &'a mut Pace,
    pub(super) errors: Vec<ReadError>,
}

impl Survey<'_> {
    /// What a container's files take. `layer` is where its writable layer is, if anybody knows.
    pub(super) fn storage(&mut self, known: Known<'_>, layer: Option<LayerPlace>) -> Storage {
        let mut storage = match layer {
            Some(LayerPlace::Directory(path)) => self.directory(known, &path),
            Some(LayerPlace::NamedIn { file, parent }) => match self.named(&file) {
                Some(name) => self.directory(known, &parent.join(name)),
                None => Storage::default(),
            },
            Some(LayerPlace::Dataset { name, mount_point }) => self.dataset(known, &name, &mount_point),
            Some(LayerPlace::ThinDevice { name, size }) => thin_device(&name, size),
            None => Storage::default(),
        };
        if storage.layer.is_none()
            && let Some(reported) = known.reported
        {
            storage.layer = Some(reported.measured);
            storage.content = LayerContent::OwnFiles;
        }
        if storage.filesystem.is_none() {
            let directory = known.reported.and_then(|reported| reported.directory.as_deref());
            let found = directory.and_then(|path| filesystem_of(self.roots, path, known.filesystems));
            storage.filesystem = found.map(layer_filesystem);
        }
        storage.runtime_files = known.files.runtime_directory.as_deref().and_then(|path| self.walk(path));
        storage.logs = known.files.log.as_ref().and_then(|log| self.logs(log));
        storage
    }

    fn directory(&mut self, known: Known<'_>, path: &Path) -> Storage {
        let found = filesystem_of(self.roots, path, known.filesystems);
        let fs_type = found.map_or("", |found| found.fs_type.as_str());
        let mut storage = Storage { filesystem: found.map(layer_filesystem), ..Storage::default() };
        let may_have_quota = found.filter(|found| WITH_PROJECTS.contains(&found.fs_type.as_str()));
        let quota = may_have_quota.and_then(|found| self.note(quota::of(self.roots, path, &size(found))));
        if let Some(quota) = quota.flatten() {
            let inodes = quota.inodes_used.or(known.inodes);
            let inodes = inodes.or_else(|| self.walk(path).and_then(|walked| walked.usage.inodes));
            storage.limit = Some(quota.limit);
            storage.layer = Some(measured(quota.used, inodes, Method::Quota));
            return storage;
        }
        if fs_type == "btrfs"
            && let Some(found) = found
            && let Some(group) = self.note(btrfs::subvolume(self.roots, path, &found.device)).flatten()
        {
            storage.limit = group.limit;
            storage.layer = Some(measured(group.exclusive, None, Method::Accounting));
            return storage;
        }
        if known.reported.is_none() {
            storage.layer = self.walk(path);
            // Docker's driver makes a snapshot of the image, containerd's reports for itself.
            if known.files.driver.as_deref() == Some("btrfs") {
                storage.content = LayerContent::WithImage;
            }
        }
        storage
    }

    /// A dataset is a file system of its own, with everything that it and the image share.
    fn dataset(&mut self, known: Known<'_>, name: &str, mount_point: &Path) -> Storage {
        let opened = place::open(self.roots, mount_point, OFlags::RDONLY | OFlags::DIRECTORY);
        let vfs = self.note(opened).and_then(|open| fstatvfs(&open).ok());
        let layer = vfs.map(|vfs| {
            let used = vfs.f_blocks.saturating_sub(vfs.f_bfree).saturating_mul(vfs.f_frsize);
            measured(Bytes(used), Some(vfs.f_files.saturating_sub(vfs.f_ffree)), Method::Accounting)
        });
        // The nearest dataset above that is listed, as cAdvisor names it.
        let above = std::iter::successors(Path::new(name).parent(), |dataset| dataset.parent());
        let mut listed = above
            .filter_map(|dataset| known.filesystems.iter().find(|filesystem| Path::new(&filesystem.device) == dataset));
        Storage {
            filesystem: listed.next().map(layer_filesystem),
            layer,
            content: LayerContent::WithImage,
            ..Storage::default()
        }
    }

    /// The directory's name in a file; nothing that would lead elsewhere.
    fn named(&mut self, file: &Path) -> Option<PathBuf> {
        let name = self.note(place::read_text(self.roots, file))?;
        let is_name = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        is_name.then(|| name.into())
    }

    fn logs(&mut self, log: &LogPlace) -> Option<Measured> {
        let counted = match log {
            LogPlace::File(file) => logs::with_rotated(self.roots, file),
            LogPlace::Directory(directory) => logs::in_directory(self.roots, directory),
        };
        self.counted(counted)
    }

    /// Files that were counted one by one, if there are any.
    pub(super) fn counted(&mut self, tree: Result<Option<Tree>, ReadError>) -> Option<Measured> {
        self.note(tree).flatten().map(walked)
    }

    /// What a tree takes; `None` when it is gone or may not be read.
    pub(super) fn walk(&mut self, directory: &Path) -> Option<Measured> {
        let Self { roots, pace, .. } = self;
        match walk::tree(roots, directory, &mut || pace.step()) {
            Ok(tree) => Some(walked(tree)),
            Err(WalkError::Stopped) => None,
            Err(WalkError::Read(error)) => self.note(Err(error)),
        }
    }

    /// The value, or a note of why there is none.
    pub(super) fn note<T>(&mut self, result: Result<T, ReadError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            // It ended, or its files are not visible from here at all.
            Err(ReadError::Missing(_) | ReadError::Gone(_)) => None,
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }
}

/// A tree that was counted just now.
pub(super) fn walked(Tree { bytes, inodes }: Tree) -> Measured {
    measured(bytes, Some(inodes), Method::Walk)
}

fn measured(bytes: Bytes, inodes: Option<u64>, by: Method) -> Measured {
    Measured { usage: DiskUsage { bytes, inodes }, at: WallTime::from(SystemTime::now()), by }
}

/// Blocks that were written, which for a device made from an image are the image's too.
fn thin_device(name: &str, size: Option<Bytes>) -> Storage {
    let device = thin::command().and_then(|command| thin::status(&command, name));
    Storage {
        limit: device.map(|device| device.size).or(size),
        layer: device.map(|device| measured(device.mapped, None, Method::Accounting)),
        content: LayerContent::WithImage,
        ..Storage::default()
    }
}

fn size(filesystem: &Filesystem) -> Size {
    let Filesystem { capacity, usage, available, inodes, inodes_free, major, minor, .. } = filesystem;
    Size {
        capacity: *capacity,
        free: Bytes(capacity.0.saturating_sub(usage.0)),
        available: *available,
        inodes: *inodes,
        inodes_free: *inodes_free,
        device: (*major, *minor),
    }
}

fn layer_filesystem(filesystem: &Filesystem) -> LayerFilesystem {
    let Filesystem { device, mount_point, fs_type, major, minor, capacity, .. } = filesystem;
    LayerFilesystem {
        device: device.clone(),
        mount_point: mount_point.clone(),
        fs_type: fs_type.clone(),
        major: *major,
        minor: *minor,
        capacity: *capacity,
    }
}

#[cfg(test)]
mod tests;
