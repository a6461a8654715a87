//! Opens what a path means on the host, also where the host's root directory is mounted elsewhere.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::kernel::HostRoots;
use crate::kernel::container_file::read_regular;
use crate::kernel::error::ReadError;

/// The longest file that is read.
const LONGEST_TEXT: usize = 4096;

/// A path of the host, opened.
///
/// Links on the way are followed as the host would follow them: an absolute one begins again at the host's root, which
/// plain path names below `/rootfs` would not do. The last part is not followed.
///
/// # Errors
/// It is not there, or may not be opened.
pub fn open(roots: &HostRoots, path: &Path, flags: OFlags) -> Result<OwnedFd, ReadError> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = if roots.rootfs == Path::new("/") {
        rustix::fs::open(path, flags, Mode::empty())
    } else {
        open_below(&roots.rootfs, path, flags)
    };
    opened.map_err(|errno| ReadError::from_errno(path, errno))
}

fn open_below(root: &Path, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let directory = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match openat2(&directory, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS) {
        // Filters of system calls that are older than openat2 say one of these.
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::open(below(root, path), flags, Mode::empty()),
        opened => opened,
    }
}

/// Where an open file is on the host, with all links on the way resolved; `None` when it is not below the host's root.
pub fn resolved(roots: &HostRoots, open: &OwnedFd) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd())).ok()?;
    Some(Path::new("/").join(path.strip_prefix(&roots.rootfs).ok()?))
}

/// The path by which this process reaches a path of the host that has no links on its way.
pub fn path(roots: &HostRoots, path: &Path) -> PathBuf {
    if roots.rootfs == Path::new("/") { path.to_path_buf() } else { below(&roots.rootfs, path) }
}

/// The path below another root directory.
fn below(root: &Path, path: &Path) -> PathBuf {
    let relative = path.as_os_str().as_bytes();
    let start = relative.iter().position(|byte| *byte != b'/').unwrap_or(relative.len());
    root.join(Path::new(std::ffi::OsStr::from_bytes(&relative[start..])))
}

/// A small file's content without white space at its ends.
///
/// # Errors
/// It cannot be read, is no regular file, or not small.
pub fn read_text(roots: &HostRoots, path: &Path) -> Result<String, ReadError> {
    let place = open(roots, path, OFlags::PATH)?;
    let text = read_regular(&place, LONGEST_TEXT).map_err(|errno| ReadError::from_errno(path, errno))?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn absolute_links_stay_below_the_hosts_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("rootfs");
        std::fs::create_dir_all(root.join("data/docker")).unwrap();
        std::fs::create_dir_all(root.join("var/lib")).unwrap();
        std::fs::write(root.join("data/docker/mount-id"), "abc\n").unwrap();
        symlink("/data/docker", root.join("var/lib/docker")).unwrap();
        symlink("/data/docker/mount-id", root.join("link")).unwrap();
        let roots = HostRoots { rootfs: root, ..HostRoots::default() };
        let read = |path: &str| read_text(&roots, Path::new(path));
        assert_eq!(read("/var/lib/docker/mount-id").unwrap(), "abc");
        assert!(matches!(read("/var/lib/docker/other"), Err(ReadError::Missing(_))));
        assert!(read("/link").is_err(), "the last part is not followed");
        rustix::fs::mknodat(rustix::fs::CWD, roots.rootfs.join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        assert!(matches!(read("/pipe"), Err(ReadError::Unsupported(_))), "nobody writes to it");
        let open = open(&roots, Path::new("/var/lib/docker/mount-id"), OFlags::PATH).unwrap();
        assert_eq!(resolved(&roots, &open).unwrap(), Path::new("/data/docker/mount-id"));
    }

    #[test]
    fn on_the_host_paths_are_what_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x");
        std::fs::write(&file, " 1 ").unwrap();
        assert_eq!(read_text(&HostRoots::default(), &file).unwrap(), "1");
    }
}
