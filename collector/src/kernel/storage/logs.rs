//! What a container's log files take.

use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, OFlags, RawDir, statat};
use rustix::io::Errno;

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::storage::place;
use crate::kernel::storage::walk::{BLOCK, Tree};
use crate::units::Bytes;

/// The log file and those that were rotated away, which have its name and more; `None` when there is none.
///
/// # Errors
/// Its directory is not there, or may not be read.
pub fn with_rotated(roots: &HostRoots, file: &Path) -> Result<Option<Tree>, ReadError> {
    let missing = || ReadError::Missing(file.to_path_buf());
    let (directory, name) = (file.parent().ok_or_else(missing)?, file.file_name().ok_or_else(missing)?);
    matching(roots, directory, |other| other.starts_with(name.as_bytes()))
}

/// Everything directly in a directory that is no directory, as the kubelet counts a container's logs.
///
/// # Errors
/// The directory is not there, or may not be read.
pub fn in_directory(roots: &HostRoots, directory: &Path) -> Result<Option<Tree>, ReadError> {
    matching(roots, directory, |_| true)
}

fn matching(roots: &HostRoots, directory: &Path, is_log: impl Fn(&[u8]) -> bool) -> Result<Option<Tree>, ReadError> {
    let failed = |errno| ReadError::from_errno(directory, errno);
    let open = place::open(roots, directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&open, &mut buffer);
    let mut found = None;
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(failed)?;
        if !is_log(entry.file_name().to_bytes()) {
            continue;
        }
        match statat(&open, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Ok(stat) => {
                let Tree { bytes, inodes } = found.unwrap_or_default();
                let more = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
                found = Some(Tree { bytes: Bytes(bytes.0.saturating_add(more)), inodes: inodes + 1 });
            }
            // Rotated away meanwhile.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn rotated_files_count_and_others_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("abc-json.log");
        let roots = HostRoots::default();
        assert_eq!(with_rotated(&roots, &log).unwrap(), None);
        for name in ["abc-json.log", "abc-json.log.1", "abc-json.log.2.gz", "config.v2.json"] {
            fs::write(directory.path().join(name), vec![1; 100_000]).unwrap();
        }
        fs::create_dir(directory.path().join("abc-json.log.d")).unwrap();
        let found = with_rotated(&roots, &log).unwrap().unwrap();
        assert_eq!(found.inodes, 3);
        assert!((300_000..400_000).contains(&found.bytes.0), "{found:?}");
        assert_eq!(in_directory(&roots, directory.path()).unwrap().unwrap().inodes, 4);
        assert!(matches!(in_directory(&roots, &log.join("x")), Err(ReadError::Missing(_))));
        assert!(with_rotated(&roots, Path::new("/")).is_err());
    }
}
