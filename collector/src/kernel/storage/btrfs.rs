//! btrfs's own accounting of subvolumes, where quotas are switched on: `/sys/fs/btrfs/<uuid>/qgroups/0_<id>`, since
//! kernel 5.9.
//!
//! The id of a subvolume is reported by `statx(2)` since kernel 6.10; before that it takes an ioctl, and there is no
//! accounting to be had here.

use std::path::Path;

use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::storage::place;
use crate::units::Bytes;

/// `STATX_SUBVOL`.
const SUBVOL: StatxFlags = StatxFlags::from_bits_retain(0x8000);
/// Inode of every subvolume's own directory (`BTRFS_FIRST_FREE_OBJECTID`).
const SUBVOLUME_ROOT: u64 = 256;
/// `BTRFS_QGROUP_LIMIT_MAX_RFER`.
const LIMITS_REFERENCED: u64 = 1;

/// What a subvolume takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subvolume {
    /// All its data: `referenced`.
    pub referenced: Bytes,
    /// Data of no other subvolume, so what was written since it was made from an image: `exclusive`.
    pub exclusive: Bytes,
    /// Most that it may take: `max_referenced`, where `limit_flags` say that it counts.
    pub limit: Option<Bytes>,
}

/// The accounting of the subvolume that has its top at this directory, if there is any. `device` is what the file
/// system is mounted from.
///
/// # Errors
/// The directory is not there, or may not be opened.
pub fn subvolume(roots: &HostRoots, directory: &Path, device: &str) -> Result<Option<Subvolume>, ReadError> {
    let open = place::open(roots, directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let status = statx(&open, c"", AtFlags::EMPTY_PATH, StatxFlags::INO | SUBVOL)
        .map_err(|errno| ReadError::from_errno(directory, errno))?;
    let has_id = StatxFlags::from_bits_retain(status.stx_mask).contains(SUBVOL);
    if !has_id || status.stx_ino != SUBVOLUME_ROOT {
        return Ok(None);
    }
    Ok(accounted(&roots.sys.join("fs/btrfs"), device, status.stx_subvol))
}

fn accounted(btrfs: &Path, device: &str, subvolume: u64) -> Option<Subvolume> {
    let name = Path::new(device).file_name()?;
    let mut systems = std::fs::read_dir(btrfs).ok()?.flatten().map(|entry| entry.path());
    let system = systems.find(|system| system.join("devices").join(name).exists())?;
    let groups = system.join("qgroups");
    // Out of date until the next rescan.
    if number(&groups.join("inconsistent")).is_some_and(|inconsistent| inconsistent != 0) {
        return None;
    }
    let group = groups.join(format!("0_{subvolume}"));
    let value = |file: &str| number(&group.join(file));
    let is_limited = value("limit_flags").is_some_and(|flags| flags & LIMITS_REFERENCED != 0);
    Some(Subvolume {
        referenced: Bytes(value("referenced")?),
        exclusive: Bytes(value("exclusive")?),
        limit: value("max_referenced").filter(|_| is_limited).map(Bytes),
    })
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn groups_are_found_by_device_and_subvolume() {
        let directory = tempfile::tempdir().unwrap();
        let system = directory.path().join("d2f1");
        let group = system.join("qgroups/0_259");
        fs::create_dir_all(&group).unwrap();
        fs::create_dir_all(system.join("devices/loop7")).unwrap();
        fs::create_dir_all(directory.path().join("features")).unwrap();
        let write = |file: &str, text: &str| fs::write(group.join(file), text).unwrap();
        let found = |device: &str, subvolume| accounted(directory.path(), device, subvolume);
        assert_eq!(found("/dev/loop7", 259), None);
        write("referenced", "5242880\n");
        write("exclusive", "1048576\n");
        write("max_referenced", "0\n");
        write("limit_flags", "0\n");
        let expected = Subvolume { referenced: Bytes(5 << 20), exclusive: Bytes(1 << 20), limit: None };
        assert_eq!(found("/dev/loop7", 259), Some(expected));
        write("max_referenced", "10485760\n");
        write("limit_flags", "1\n");
        assert_eq!(found("/dev/loop7", 259).unwrap().limit, Some(Bytes(10 << 20)));
        assert_eq!((found("/dev/loop7", 260), found("/dev/loop8", 259), found("", 259)), (None, None, None));
        fs::write(system.join("qgroups/inconsistent"), "1\n").unwrap();
        assert_eq!(found("/dev/loop7", 259), None);
    }

    #[test]
    fn another_file_system_has_no_subvolumes() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(subvolume(&HostRoots::default(), directory.path(), "/dev/loop999").unwrap(), None);
    }
}
