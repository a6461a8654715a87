//! Project quotas, as `statfs(2)` shows them.
//!
//! For a directory that belongs to a project with a limit and hands its project on to what is made in it, XFS and ext4
//! answer with the project's limit and what is left of it, in place of the file system's. That is all that can be
//! known without `quotactl(2)`; a project without a limit looks like none. Docker makes such projects for containers
//! with a size (`--storage-opt size=10G`).

use std::path::Path;

use rustix::fs::{OFlags, fstatvfs};

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::machine::statfs::Size;
use crate::kernel::storage::place;
use crate::units::Bytes;

/// A directory's project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Most that its files may take.
    pub limit: Bytes,
    /// What they take.
    pub used: Bytes,
    /// Inodes in use; absent when the project has no limit of inodes, because then the file system's are shown.
    pub inodes_used: Option<u64>,
}

/// The directory's quota, if it has one; `whole` is the file system it is on.
///
/// # Errors
/// The directory is not there, or may not be opened.
pub fn of(roots: &HostRoots, directory: &Path, whole: &Size) -> Result<Option<Quota>, ReadError> {
    let open = place::open(roots, directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let vfs = fstatvfs(&open).map_err(|errno| ReadError::from_errno(directory, errno))?;
    let bytes = |blocks: u64| blocks.saturating_mul(vfs.f_frsize);
    let shown = Shown {
        capacity: bytes(vfs.f_blocks),
        free: bytes(vfs.f_bfree),
        inodes: vfs.f_files,
        inodes_free: vfs.f_ffree,
    };
    Ok(shown.quota(whole))
}

/// What `statfs` shows for the directory.
#[derive(Clone, Copy, Debug)]
struct Shown {
    capacity: u64,
    free: u64,
    inodes: u64,
    inodes_free: u64,
}

impl Shown {
    fn quota(self, whole: &Size) -> Option<Quota> {
        // Newer kernels show no more free than the file system has: then the difference is not what is used.
        let is_limited = self.capacity < whole.capacity.0 && self.free < whole.free.0 && self.free <= self.capacity;
        if !is_limited {
            return None;
        }
        let counts_inodes =
            self.inodes < whole.inodes && self.inodes_free < whole.inodes_free && self.inodes_free <= self.inodes;
        Some(Quota {
            limit: Bytes(self.capacity),
            used: Bytes(self.capacity - self.free),
            inodes_used: counts_inodes.then(|| self.inodes - self.inodes_free),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Size = Size {
        capacity: Bytes(1000),
        free: Bytes(500),
        available: Bytes(450),
        inodes: 100,
        inodes_free: 60,
        device: (8, 1),
    };

    #[test]
    fn only_what_differs_from_the_file_system_is_a_quota() {
        let shown = |capacity, free, inodes, inodes_free| Shown { capacity, free, inodes, inodes_free };
        let quota = |shown: Shown| shown.quota(&WHOLE).map(|quota| (quota.limit.0, quota.used.0, quota.inodes_used));
        assert_eq!(quota(shown(1000, 500, 100, 60)), None);
        assert_eq!(quota(shown(200, 150, 100, 60)), Some((200, 50, None)));
        assert_eq!(quota(shown(200, 150, 20, 13)), Some((200, 50, Some(7))));
        assert_eq!(quota(shown(900, 500, 100, 60)), None, "the free space is the file system's");
        assert_eq!(quota(shown(200, 300, 100, 60)), None, "nonsense");
    }

    #[test]
    fn an_ordinary_directory_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let size =
            crate::kernel::machine::statfs::sizes(&[directory.path().into()], std::time::Duration::from_secs(20));
        let whole = size[0].as_ref().unwrap();
        assert_eq!(of(&HostRoots::default(), directory.path(), whole).unwrap(), None);
    }
}
