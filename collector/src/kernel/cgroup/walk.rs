//! Walking the directories of a hierarchy.
//!
//! Leaves are recognised by their link count (kernfs counts two plus the child directories), so that only inner
//! directories are opened; ids come with the directory entries. One directory is open at a time.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, RawDir, fstat, statat};
use rustix::io::Errno;

use super::Hierarchy;
use crate::kernel::error::ReadError;
use crate::kernel::file::ReadBuffer;

/// Room for directory entries: a few hundred per system call.
const ENTRY_BYTES: usize = 32 * 1024;
/// Longest path of a cgroup that is of interest. The kernel's events have paths of up to 4,095 bytes; deeper cgroups are
/// found by scans.
pub const LONGEST_PATH: usize = 8 * 1024;

/// A directory with child directories that is still to be looked at. Siblings share the path above: there may be a
/// hundred thousand of them.
struct Inner {
    above: Arc<[u8]>,
    name: Box<[u8]>,
}

/// Shows every cgroup of the hierarchy with its kernfs id, parents before their children, but for those whose path has
/// more than `longest` bytes: how many such were seen. A cgroup that comes or goes meanwhile may be shown or not.
pub fn scan(hierarchy: &Hierarchy, longest: usize, mut visit: impl FnMut(&[u8], u64)) -> Result<u64, ReadError> {
    let mut buffer = ReadBuffer::new();
    let root = hierarchy.file(b"/", "");
    let failed = |errno| ReadError::from_errno(&root.path(), errno);
    let directory = root.open_directory(&mut buffer).map_err(failed)?;
    visit(hierarchy.top_name(), fstat(&directory).map_err(failed)?.st_ino);
    let mut entries = vec![MaybeUninit::uninit(); ENTRY_BYTES];
    let mut walk = Walk { longest, too_long: 0, name: Vec::new(), inner: Vec::new() };
    walk.one(&directory, &Arc::from(&*hierarchy.top), &mut entries, &mut visit).map_err(failed)?;
    drop(directory);
    while let Some(Inner { above, name }) = walk.inner.pop() {
        let above: Arc<[u8]> = [&*above, b"/", &*name].concat().into();
        let Ok(directory) = hierarchy.file(&above, "").open_directory(&mut buffer) else {
            continue;
        };
        // A failure here is the directory's end: what it had is gone as well.
        let _ = walk.one(&directory, &above, &mut entries, &mut visit);
    }
    Ok(walk.too_long)
}

struct Walk {
    longest: usize,
    too_long: u64,
    name: Vec<u8>,
    inner: Vec<Inner>,
}

impl Walk {
    /// Shows the child directories of one directory and notes those that have children themselves.
    fn one(
        &mut self,
        directory: &OwnedFd,
        above: &Arc<[u8]>,
        entries: &mut [MaybeUninit<u8>],
        visit: &mut impl FnMut(&[u8], u64),
    ) -> Result<(), Errno> {
        let mut reader = RawDir::new(directory, entries);
        while let Some(entry) = reader.next() {
            let entry = entry?;
            let file_name = entry.file_name().to_bytes();
            if entry.file_type() != FileType::Directory || matches!(file_name, b"." | b"..") {
                continue;
            }
            let Ok(stat) = statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            self.name.clear();
            self.name.extend_from_slice(above);
            self.name.push(b'/');
            self.name.extend_from_slice(file_name);
            if self.name.len() > self.longest {
                self.too_long += 1;
                continue;
            }
            visit(&self.name, entry.ino());
            // A directory without child directories has two links; their type is not the same on every architecture.
            if stat.st_nlink != 2 {
                self.inner.push(Inner { above: Arc::clone(above), name: file_name.into() });
            }
        }
        Ok(())
    }
}

/// The names of a cgroup's direct children, without their path. Empty when it is gone.
pub fn children(hierarchy: &Hierarchy, cgroup: &[u8]) -> Vec<Vec<u8>> {
    let mut buffer = ReadBuffer::new();
    let mut names = Vec::new();
    let place = hierarchy.file(cgroup, "");
    let Ok(directory) = place.open_directory(&mut buffer) else { return names };
    let mut entries = vec![MaybeUninit::uninit(); ENTRY_BYTES];
    let mut reader = RawDir::new(&directory, &mut entries);
    while let Some(Ok(entry)) = reader.next() {
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::fs::OFlags;

    use super::*;
    use crate::kernel::cgroup::{Extent, Version};

    fn hierarchy(mount: &Path) -> Hierarchy {
        Hierarchy {
            id: 4,
            version: Version::V1,
            controllers: vec![],
            name: None,
            mount: mount.into(),
            extent: Extent::Whole,
            top: [].into(),
            levels_above: 0,
        }
    }

    fn scanned(mount: &Path) -> BTreeMap<Vec<u8>, u64> {
        let mut found = BTreeMap::new();
        scan(&hierarchy(mount), usize::MAX, |name, id| {
            let parent = name.iter().rposition(|byte| *byte == b'/').map(|slash| name[..slash.max(1)].to_vec());
            assert!(name == b"/" || found.contains_key(&parent.unwrap()), "parents come first");
            assert!(found.insert(name.to_vec(), id).is_none(), "seen twice");
        })
        .unwrap();
        found
    }

    #[test]
    fn every_directory_is_shown_once_with_its_inode_number() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a/b/c", "a/d", "e", "with space\n/x"] {
            std::fs::create_dir_all(root.path().join(path)).unwrap();
        }
        std::fs::write(root.path().join("a/file"), "").unwrap();
        let found = scanned(root.path());
        let names: Vec<_> = found.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        assert_eq!(names, ["/", "/a", "/a/b", "/a/b/c", "/a/d", "/e", "/with space\n", "/with space\n/x"]);
        let inode = std::fs::metadata(root.path().join("a/b")).unwrap().ino();
        assert_eq!(found[&b"/a/b"[..]], inode);
        let mut names = children(&hierarchy(root.path()), b"/a");
        names.sort();
        assert_eq!(names, [b"b", b"d"]);
        assert!(children(&hierarchy(root.path()), b"/gone").is_empty());
        assert!(scan(&hierarchy(&root.path().join("none")), 4095, |_, _| {}).is_err());
    }

    #[test]
    fn names_begin_with_what_is_mounted() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        let part = Hierarchy { top: (*b"/docker/1").into(), extent: Extent::Own, ..hierarchy(root.path()) };
        let mut names = Vec::new();
        scan(&part, 4095, |name, id| {
            assert_eq!(part.id_of(name, &mut ReadBuffer::new()), Some(id));
            names.push(String::from_utf8_lossy(name).into_owned());
        })
        .unwrap();
        assert_eq!(names, ["/docker/1", "/docker/1/a", "/docker/1/a/b"]);
        assert_eq!(children(&part, b"/docker/1/a"), [b"b"]);
    }

    #[test]
    fn hundreds_of_levels_beyond_the_longest_path() {
        let root = tempfile::tempdir().unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut above = rustix::fs::open(root.path(), flags, rustix::fs::Mode::empty()).unwrap();
        for _ in 0..300 {
            rustix::fs::mkdirat(&above, "twenty characters ab", rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
            above = rustix::fs::openat(&above, "twenty characters ab", flags, rustix::fs::Mode::empty()).unwrap();
        }
        let found = scanned(root.path());
        assert_eq!(found.len(), 301);
        assert_eq!(found.keys().map(Vec::len).max(), Some(300 * 21));

        let mut seen = 0;
        let too_long = scan(&hierarchy(root.path()), 100 * 21, |name, _| seen = seen.max(name.len())).unwrap();
        assert_eq!((seen, too_long), (100 * 21, 1), "neither it nor what is below it is shown");
    }
}
