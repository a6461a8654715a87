//! Files inside a container, reached through the root of one of its processes.
//!
//! The container chooses the path and what is there. So the path is looked at before anything is opened: opening a
//! device is an act of its own (closing a watchdog's reboots the machine), a FIFO waits, and files of the kernel's own
//! file systems reveal more than a container may know, or never end.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, open, openat2};
use rustix::io::Errno;

use super::error::ReadError;
use super::machine::mounts;
use crate::kernel::odd_lines::OddLines;

/// `statfs.f_type` of the file systems that hold ordinary files: `man 2 statfs`, and their own headers for those that it
/// does not list. Everything else is the kernel's own, or new.
const STORAGE: [u32; 33] = [
    0xadf5,      // ADFS
    0x5346_414f, // AFS
    0x6175_6673, // AUFS
    0xca45_1a4e, // bcachefs
    0x9123_683e, // btrfs
    0x00c3_6400, // Ceph
    0xff53_4d42, // CIFS
    0xf15f,      // eCryptfs
    0xe0f5_e1e2, // EROFS
    0x2011_bab0, // exFAT
    0xef53,      // ext2, ext3, ext4
    0xf2f5_2010, // F2FS
    0x6573_5546, // FUSE, virtiofs
    0x0116_1970, // GFS2
    0x4750_4653, // GPFS
    0x9660,      // ISO 9660
    0x3153_464a, // JFS
    0x0bd0_0bd0, // Lustre
    0x4d44,      // FAT
    0x6969,      // NFS
    0x5346_544e, // NTFS
    0x7366_746e, // NTFS3
    0x7461_636f, // OCFS2
    0x794c_7630, // overlay
    0x8584_58f6, // ramfs
    0x5265_4973, // ReiserFS
    0xfe53_4d42, // SMB 2 and 3
    0x7371_7368, // SquashFS
    0x0102_1994, // tmpfs
    0x1501_3346, // UDF
    0x0102_1997, // 9P
    0x5846_5342, // XFS
    0x2fc1_2fc1, // ZFS
];
/// Types of file systems, by the beginnings of their names, that ask somebody who may never answer.
const ASKING_OTHERS: [&str; 14] = [
    "fuse", "nfs", "cifs", "smb", "9p", "ceph", "virtiofs", "afs", "lustre", "gpfs", "gfs", "ocfs", "beegfs",
    "orangefs",
];

/// Reads a regular file inside the container of a process, `/proc/<pid>/root/<path>`, of at most this many bytes.
///
/// Links are followed as they are inside the container and lead nowhere outside of it (`openat2`, since kernel 5.6): a
/// container does not choose which of the host's files are read. Nothing is opened but a regular file on a file system
/// for such files. May wait for ever where the file system does.
///
/// # Errors
/// There is no such file, it is another kind of file, it is on a file system of the kernel's own, or it is too long.
pub fn read(proc: &Path, pid: u32, path: &str, limit: usize) -> Result<Vec<u8>, ReadError> {
    let root = proc.join(pid.to_string()).join("root");
    let shown: PathBuf = root.join(path.trim_start_matches('/'));
    read_below(&root, Path::new(path), limit).map_err(|errno| ReadError::from_errno(&shown, errno))
}

/// Whether a file system that asks somebody who may not answer is mounted in the mount namespace of the process; also
/// when that cannot be found out. Does not wait.
pub fn may_hang(proc: &Path, pid: u32) -> bool {
    let table = mounts::of_process(proc, &pid.to_string());
    let mut odd = OddLines::default();
    // Where a line is not understood, it may be that of such a file system.
    let mounts = table.map(|table| mounts::parse(&table, &mut odd)).filter(|_| odd.count() == 0);
    let asks = |mount: &mounts::Mount| {
        mount.fs_type != "fusectl" && ASKING_OTHERS.iter().any(|name| mount.fs_type.starts_with(name))
    };
    mounts.is_none_or(|mounts| mounts.iter().any(asks))
}

fn read_below(root: &Path, path: &Path, limit: usize) -> Result<Vec<u8>, Errno> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let place = openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    read_regular(&place, limit)
}

/// Reads what was opened by `O_PATH`, which does nothing to it, if it is a regular file of at most this many bytes.
pub(crate) fn read_regular(place: &OwnedFd, limit: usize) -> Result<Vec<u8>, Errno> {
    let stat = fstat(place)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    if !is_storage(fstatfs(place)?.f_type) {
        return Err(Errno::MEDIUMTYPE);
    }
    if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > limit as u64 {
        return Err(Errno::FBIG);
    }
    // The very file that was looked at: nobody can put another one in its place.
    let same = format!("/proc/self/fd/{}", place.as_raw_fd());
    let file = open(same, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    // One byte more distinguishes a file that is too long from one that is just long enough.
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

/// Whether a file system of this `f_type` holds ordinary files.
fn is_storage(f_type: rustix::fs::FsWord) -> bool {
    STORAGE.contains(&(f_type as u32))
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
    fn files_of_the_kernels_own_file_systems_are_not_read() {
        let (proc, root) = procfs();
        let read = |path: &Path| read_below(path, Path::new("/version"), 1 << 20);
        assert_eq!(read(Path::new("/proc")), Err(Errno::MEDIUMTYPE));
        assert_eq!(read_below(Path::new("/sys"), Path::new("kernel/uevent_seqnum"), 99), Err(Errno::MEDIUMTYPE));
        // A link to where the kernel's files are does not lead out either.
        symlink("/proc/version", root.join("version")).unwrap();
        assert_eq!(read(&root), Err(Errno::NOENT));
        drop(proc);
        for (f_type, expected) in
            [(0xef53, true), (0x794c_7630, true), (0x9fa0, false), (0x6265_6572, false), (0, false)]
        {
            assert_eq!(is_storage(f_type), expected, "{f_type:x}");
        }
    }

    #[test]
    fn a_device_is_never_opened() {
        let (proc, root) = procfs();
        // A number that nobody has: whoever opens it gets ENXIO or ENODEV.
        let device = rustix::fs::makedev(240, 250);
        let at = root.join("device");
        if rustix::fs::mknodat(rustix::fs::CWD, at, FileType::CharacterDevice, Mode::RUSR, device).is_ok() {
            let read = super::read(proc.path(), 7, "/device", 16);
            assert!(matches!(read, Err(ReadError::Unsupported(_))), "{read:?}");
        } else {
            println!("SKIPPED: no device can be made");
        }
        let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        assert!(matches!(super::read(proc.path(), 7, "/socket", 16), Err(ReadError::Unsupported(_))));
        drop(socket);
    }

    #[test]
    fn mount_tables_with_somebody_to_ask() {
        let (proc, _) = procfs();
        let table = |lines: &str| {
            fs::write(proc.path().join("7/mountinfo"), lines).unwrap();
            may_hang(proc.path(), 7)
        };
        assert!(!table(
            "1 0 0:50 / / rw - overlay overlay rw\n2 1 0:51 / /sys/fs/fuse/connections rw - fusectl x rw\n"
        ));
        for kind in ["fuse", "fuse.sshfs", "fuseblk", "nfs4", "ceph", "9p"] {
            assert!(
                table(&format!("1 0 0:50 / / rw - overlay overlay rw\n2 1 0:51 / /m rw - {kind} x rw\n")),
                "{kind}"
            );
        }
        assert!(may_hang(proc.path(), 8), "nothing is known");
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
