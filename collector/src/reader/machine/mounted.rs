//! Which of the machine's file systems a path is on.

use std::path::Path;

use rustix::fs::{OFlags, fstat, major, minor};

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::storage::place;
use crate::sample::machine::{Filesystem, FilesystemRole};

/// The file system that a path of the host is on, if it is listed.
pub(crate) fn filesystem_of<'a>(roots: &HostRoots, path: &Path, list: &'a [Filesystem]) -> Option<&'a Filesystem> {
    let below = |mounted: &&Filesystem, path: &Path| path.starts_with(&mounted.mount_point);
    let deepest = |of: &dyn Fn(&&Filesystem) -> bool, path: &Path| {
        let above = list.iter().filter(|mounted| of(mounted) && below(mounted, path));
        above.max_by_key(|mounted| mounted.mount_point.len())
    };
    let open = match place::open(roots, path, OFlags::PATH) {
        Ok(open) => open,
        // What may not be looked at may still be named by the mount table.
        Err(ReadError::Denied(_)) => return deepest(&|_| true, path),
        Err(_) => return None,
    };
    let stat = fstat(&open).ok()?;
    let number = (major(stat.st_dev), minor(stat.st_dev));
    let same = || list.iter().filter(|mounted| (mounted.major, mounted.minor) == number);
    // An overlay as root directory is listed twice.
    let is_root = |mounted: &&Filesystem| mounted.roles.contains(&FilesystemRole::Root);
    if let Some(found) = same().find(is_root).or_else(|| same().next()) {
        return Some(found);
    }
    // Each subvolume of a btrfs has another number.
    deepest(&|mounted| mounted.fs_type == "btrfs", &place::resolved(roots, &open)?)
}
