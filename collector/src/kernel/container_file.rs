//! Files inside a container, reached through the root of one of its processes.

use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;

use super::error::ReadError;

/// Reads a regular file inside the container of a process, `/proc/<pid>/root/<path>`, of at most this many bytes.
///
/// Links are followed as they are inside the container and lead nowhere outside of it (`openat2`, since kernel 5.6): a
/// container does not choose which of the host's files are read. What is no regular file is not waited for.
pub fn read(proc: &Path, pid: u32, path: &str, limit: usize) -> Result<Vec<u8>, ReadError> {
    let root = proc.join(pid.to_string()).join("root");
    let shown: PathBuf = root.join(path.trim_start_matches('/'));
    read_below(&root, Path::new(path), limit).map_err(|errno| ReadError::from_errno(&shown, errno))
}

fn read_below(root: &Path, path: &Path, limit: usize) -> Result<Vec<u8>, Errno> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(&root, path, flags, Mode::empty(), resolve)?;
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    // A byte more tells a file that is too long from one that is just long enough.
    let mut text = vec![0; limit + 1];
    let mut length = 0;
    while length < text.len() {
        match rustix::io::read(&file, &mut text[length..]) {
            Ok(0) => {
                text.truncate(length);
                return Ok(text);
            }
            Ok(more) => length += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::FBIG)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A procfs with one process whose root is a folder.
    fn procfs() -> (tempfile::TempDir, PathBuf) {
        let proc = tempfile::tempdir().unwrap();
        let root = proc.path().join("7/root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/metrics.json"), "{}").unwrap();
        (proc, root)
    }

    #[test]
    fn files_are_found_as_they_are_inside() {
        let (proc, root) = procfs();
        let read = |path: &str| read(proc.path(), 7, path, 16);
        assert_eq!(read("/etc/metrics.json").unwrap(), b"{}");
        assert_eq!(read("etc/metrics.json").unwrap(), b"{}");
        symlink("/etc/metrics.json", root.join("link")).unwrap();
        assert_eq!(read("/link").unwrap(), b"{}", "a link that is absolute inside");
        assert_eq!(read("/../../etc/metrics.json").unwrap(), b"{}");
    }

    #[test]
    fn nothing_outside_is_read() {
        let (proc, root) = procfs();
        let secret = proc.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        symlink(&secret, root.join("absolute")).unwrap();
        symlink("../../secret", root.join("relative")).unwrap();
        for path in ["/absolute", "/relative", "/../../secret", "../secret"] {
            assert!(matches!(read(proc.path(), 7, path, 16), Err(ReadError::Missing(_))), "{path}");
        }
    }

    #[test]
    fn only_short_regular_files_are_read() {
        let (proc, root) = procfs();
        fs::write(root.join("long"), "x".repeat(17)).unwrap();
        fs::write(root.join("just"), "x".repeat(16)).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let read = |path: &str| read(proc.path(), 7, path, 16);
        assert_eq!(read("/just").unwrap().len(), 16);
        assert!(matches!(read("/long"), Err(ReadError::Failed { errno: Errno::FBIG, .. })));
        assert!(matches!(read("/pipe"), Err(ReadError::Unsupported(_))));
        assert!(matches!(read("/etc"), Err(ReadError::Unsupported(_))));
        assert!(matches!(read("/none"), Err(ReadError::Missing(_))));
        assert!(matches!(super::read(proc.path(), 8, "/etc/metrics.json", 16), Err(ReadError::Missing(_))));
    }
}
