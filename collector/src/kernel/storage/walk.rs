//! Counts what a tree of files takes, by looking at every one of them.
//!
//! Files come and go meanwhile; what is gone when it is looked at is not counted. Links are counted and not followed,
//! other file systems are neither entered nor asked, a file with several names counts once. However deep the tree, only a few
//! descriptors are open.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, StatxFlags, fstat, makedev, openat, statat, statx};
use rustix::io::Errno;

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::storage::place;
use crate::units::Bytes;

/// The kernel counts blocks of this size, whatever those of the file system are.
pub(super) const BLOCK: u64 = 512;
/// Directories that are kept open on the way down; those above are found again on the way back.
const OPEN_AT_ONCE: usize = 32;
/// Bytes of directory entries read at once.
const ENTRIES: usize = 32 * 1024;

/// What a tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Allocated bytes: `st_blocks`, which counts what is not written back yet, and no holes.
    pub bytes: Bytes,
    /// Files, directories and everything else that has an inode; the tree's own directory too.
    pub inodes: u64,
}

/// Why a tree was not counted to the end.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// Part of it cannot be read, so that the sum would be too small.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Called once for each file; may sleep, and may end the walk.
pub type Step<'a> = &'a mut dyn FnMut() -> ControlFlow<()>;

/// Counts the tree below a directory of the host.
///
/// # Errors
/// The directory is not there, part of it may not be read, or `step` ended it.
pub fn tree(roots: &HostRoots, directory: &Path, step: Step<'_>) -> Result<Tree, WalkError> {
    let top = place::open(roots, directory, DIRECTORY)?;
    let stat = fstat(&top).map_err(|errno| ReadError::from_errno(directory, errno))?;
    let mut walk = Walk { path: directory, device: stat.st_dev, tree: Tree::default(), linked: HashMap::new() };
    walk.count(Found::from(&stat));
    walk.run(Frame::of(top, &stat), step)?;
    Ok(walk.tree)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[derive(Debug)]
struct Walk<'a> {
    path: &'a Path,
    device: u64,
    tree: Tree,
    /// Files with several names, by inode: how many of the names have not been met yet.
    linked: HashMap<u64, u64>,
}

/// A directory on the way down.
#[derive(Debug)]
struct Frame {
    open: Option<OwnedFd>,
    identity: (u64, u64),
    /// Subdirectories that have not been entered yet.
    pending: Vec<CString>,
}

impl Frame {
    fn of(open: OwnedFd, stat: &Stat) -> Self {
        Self { open: Some(open), identity: (stat.st_dev, stat.st_ino), pending: Vec::new() }
    }
}

impl Walk<'_> {
    fn run(&mut self, top: Frame, step: Step<'_>) -> Result<(), WalkError> {
        let mut buffer = vec![MaybeUninit::uninit(); ENTRIES];
        let mut frames: Vec<Frame> = Vec::new();
        let mut entered = Some(top);
        loop {
            if let Some(mut frame) = entered.take() {
                if let Some(open) = &frame.open {
                    self.list(open.as_fd(), &mut frame.pending, &mut buffer, step)?;
                }
                frames.push(frame);
                if let Some(above) = frames.len().checked_sub(OPEN_AT_ONCE + 1) {
                    frames[above].open = None;
                }
            }
            let Some(frame) = frames.last_mut() else { return Ok(()) };
            match (frame.pending.pop(), &frame.open) {
                (Some(name), Some(open)) => entered = self.enter(open.as_fd(), &name)?,
                // It was moved away while its subtree was counted: the rest of it cannot be reached.
                (Some(_), None) => frame.pending.clear(),
                (None, _) => {
                    let done = frames.pop();
                    if let (Some(done), Some(above)) = (done, frames.last_mut())
                        && above.open.is_none()
                    {
                        above.open = done.open.and_then(|open| parent(open.as_fd(), above.identity));
                    }
                }
            }
        }
    }

    /// Counts a directory's entries and notes the subdirectories.
    fn list(
        &mut self,
        directory: BorrowedFd<'_>,
        pending: &mut Vec<CString>,
        buffer: &mut [MaybeUninit<u8>],
        step: Step<'_>,
    ) -> Result<(), WalkError> {
        let mut entries = RawDir::new(directory, buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) if is_gone(errno) => return Ok(()),
                Err(errno) => return Err(self.failed(errno)),
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if step().is_break() {
                return Err(WalkError::Stopped);
            }
            match look(directory, name) {
                Ok(found) if found.device != self.device => {}
                Ok(found) => {
                    self.count(found);
                    if found.kind == FileType::Directory {
                        pending.push(name.to_owned());
                    }
                }
                Err(errno) if is_gone(errno) => {}
                Err(errno) => return Err(self.failed(errno)),
            }
        }
        Ok(())
    }

    fn count(&mut self, Found { kind, names, inode, blocks, .. }: Found) {
        if names > 1 && kind != FileType::Directory {
            // Forgotten with the last of its names, so that the map is small when the names are near each other.
            if let Some(left) = self.linked.get_mut(&inode) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.linked.remove(&inode);
                }
                return;
            }
            self.linked.insert(inode, names - 1);
        }
        self.tree.inodes += 1;
        self.tree.bytes = Bytes(self.tree.bytes.0.saturating_add(blocks.saturating_mul(BLOCK)));
    }

    /// Opens a subdirectory; `None` when it is gone, no directory any more, or on another file system by now.
    fn enter(&self, directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<Frame>, WalkError> {
        let opened = match openat(directory, name, DIRECTORY | OFlags::NOATIME, Mode::empty()) {
            // Only a file's owner may read it without a trace.
            Err(Errno::PERM) => openat(directory, name, DIRECTORY, Mode::empty()),
            opened => opened,
        };
        let found = opened.and_then(|open| Ok((fstat(&open)?, open)));
        match found {
            Ok((stat, open)) if stat.st_dev == self.device => Ok(Some(Frame::of(open, &stat))),
            Ok(_) => Ok(None),
            Err(errno) if is_gone(errno) => Ok(None),
            Err(errno) => Err(self.failed(errno)),
        }
    }

    fn failed(&self, errno: Errno) -> WalkError {
        WalkError::Read(match ReadError::from_errno(self.path, errno) {
            // Of the tree, not of the directory that it begins with.
            ReadError::Missing(path) | ReadError::Gone(path) => ReadError::Failed { path, errno },
            error => error,
        })
    }
}

/// What is known of a file without opening it.
#[derive(Clone, Copy, Debug)]
struct Found {
    device: u64,
    inode: u64,
    kind: FileType,
    names: u64,
    blocks: u64,
}

impl From<&Stat> for Found {
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            kind: FileType::from_raw_mode(stat.st_mode),
            names: u64::from(stat.st_nlink as u32),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        }
    }
}

/// Looks at an entry of a directory. Another file system that is mounted there is not asked anything
/// (`AT_STATX_DONT_SYNC`, since kernel 4.11): it may never answer.
fn look(directory: BorrowedFd<'_>, name: &CStr) -> Result<Found, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match statx(directory, name, flags | AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS) {
        Ok(found) => Ok(Found {
            device: makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            kind: FileType::from_raw_mode(found.stx_mode.into()),
            names: found.stx_nlink.into(),
            blocks: found.stx_blocks,
        }),
        // Filters of system calls that are older than statx say one of these.
        Err(Errno::NOSYS | Errno::PERM) => statat(directory, name, flags).map(|stat| Found::from(&stat)),
        Err(errno) => Err(errno),
    }
}

/// The directory above, if it is still the one that was come from.
fn parent(child: BorrowedFd<'_>, identity: (u64, u64)) -> Option<OwnedFd> {
    let open = openat(child, c"..", DIRECTORY, Mode::empty()).ok()?;
    let stat = fstat(&open).ok()?;
    ((stat.st_dev, stat.st_ino) == identity).then_some(open)
}

/// The file was there a moment ago and is not any more, or another kind of file has its name.
fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE)
}

#[cfg(test)]
mod tests;
