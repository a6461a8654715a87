//! Reading kernel files: descriptors kept open between ticks, a budget for them, and one reused buffer.
//!
//! Not a parser and no path arithmetic of cgroups beyond joining the three parts of a file's place.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::bounds::Bound;
use crate::kernel::error::ReadError;

/// Longest path the kernel takes in one system call, without the terminating zero.
const LONGEST_PATH: usize = 4095;
/// What is read of a file. Lists of processes, interfaces and mounts are as long as a container makes them.
pub const LARGEST_FILE: usize = 16 << 20;
/// A buffer that grew beyond this is let go before the next file: few are as long.
const KEPT_BUFFER: usize = 1 << 20;

/// Where a file is: below a mount point, in a directory, under a name.
#[derive(Clone, Copy, Debug)]
pub struct FileAt<'a> {
    /// An absolute directory such as a cgroup mount or procfs.
    pub mount: &'a Path,
    /// The directory below it, beginning with `/`; `/` is the mount itself.
    pub directory: &'a [u8],
    /// The file in it; empty for the directory itself.
    pub file: &'a str,
}

impl FileAt<'_> {
    /// The absolute path.
    pub fn path(&self) -> PathBuf {
        let mut path = Vec::new();
        self.write(&mut path);
        PathBuf::from(std::ffi::OsString::from_vec(path))
    }

    fn write(&self, path: &mut Vec<u8>) {
        path.clear();
        path.extend_from_slice(self.mount.as_os_str().as_bytes());
        path.extend_from_slice(self.directory.strip_suffix(b"/").unwrap_or(self.directory));
        if !self.file.is_empty() {
            path.push(b'/');
            path.extend_from_slice(self.file.as_bytes());
        }
    }

    /// Opens it; a path longer than the kernel takes at once is opened in steps.
    fn open(&self, flags: OFlags, buffer: &mut ReadBuffer) -> Result<OwnedFd, Errno> {
        self.write(&mut buffer.path);
        open_long(&mut buffer.path, flags | OFlags::CLOEXEC)
    }

    /// Opens it as a directory whose entries can be listed.
    pub fn open_directory(&self, buffer: &mut ReadBuffer) -> Result<OwnedFd, Errno> {
        self.open(OFlags::RDONLY | OFlags::DIRECTORY, buffer)
    }

    /// The file's status.
    pub fn stat(&self, buffer: &mut ReadBuffer) -> Result<rustix::fs::Stat, Errno> {
        self.write(&mut buffer.path);
        if buffer.path.len() > LONGEST_PATH {
            return rustix::fs::fstat(open_long(&mut buffer.path, OFlags::PATH | OFlags::CLOEXEC)?);
        }
        rustix::fs::stat(terminated(&mut buffer.path)?)
    }

    /// Opens, reads to the end and closes: for files that come in several pieces (`cgroup.procs`), and for what is read
    /// too rarely to be kept.
    pub fn read<'b>(&self, buffer: &'b mut ReadBuffer) -> Result<&'b [u8], ReadError> {
        let result = self.open(OFlags::RDONLY, buffer).and_then(|file| buffer.read_to_end(&file));
        match result {
            Ok(length) => Ok(buffer.text(length)),
            Err(errno) => Err(ReadError::from_errno(&self.path(), errno)),
        }
    }

    /// The same for a file of which a part is of no use, since something is counted or added up.
    ///
    /// # Errors
    /// It cannot be read, or is longer than [`LARGEST_FILE`].
    pub fn read_whole<'b>(&self, buffer: &'b mut ReadBuffer) -> Result<&'b [u8], ReadError> {
        let length = self.read(buffer)?.len();
        if buffer.was_cut {
            return Err(ReadError::from_errno(&self.path(), Errno::FBIG));
        }
        Ok(buffer.text(length))
    }
}

/// Reads a whole file by its path.
pub fn read<'b>(path: &Path, buffer: &'b mut ReadBuffer) -> Result<&'b [u8], ReadError> {
    FileAt { mount: path, directory: b"", file: "" }.read(buffer)
}

fn terminated(path: &mut Vec<u8>) -> Result<&CStr, Errno> {
    path.push(0);
    CStr::from_bytes_with_nul(path).map_err(|_| Errno::NOENT)
}

fn open_long(path: &mut Vec<u8>, flags: OFlags) -> Result<OwnedFd, Errno> {
    if path.len() <= LONGEST_PATH {
        return rustix::fs::open(terminated(path)?, flags, Mode::empty());
    }
    let step_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut rest = path.as_slice();
    let mut directory: Option<OwnedFd> = None;
    while rest.len() > LONGEST_PATH {
        let cut = rest[..LONGEST_PATH].iter().rposition(|byte| *byte == b'/').filter(|cut| *cut > 0);
        let cut = cut.ok_or(Errno::NAMETOOLONG)?;
        let step = OsStr::from_bytes(&rest[..cut]);
        directory = Some(match &directory {
            None => rustix::fs::open(step, step_flags, Mode::empty())?,
            Some(directory) => rustix::fs::openat(directory, step, step_flags, Mode::empty())?,
        });
        rest = &rest[cut + 1..];
    }
    match &directory {
        Some(directory) => rustix::fs::openat(directory, OsStr::from_bytes(rest), flags, Mode::empty()),
        None => rustix::fs::open(OsStr::from_bytes(rest), flags, Mode::empty()),
    }
}

/// One buffer for everything a thread reads, grown to the largest file seen, and one for paths.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    path: Vec<u8>,
    /// Whether the file read last goes on.
    was_cut: bool,
}

impl ReadBuffer {
    /// Room at first: every cgroup file of a machine with a few CPUs fits.
    const FIRST: usize = 8 * 1024;

    /// A buffer which will allocate at its first use.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), path: Vec::new(), was_cut: false }
    }

    fn text(&self, length: usize) -> &[u8] {
        self.bytes.get(..length).unwrap_or_default()
    }

    /// Before a file is read.
    fn begin(&mut self) {
        self.was_cut = false;
        if self.bytes.len() > KEPT_BUFFER {
            self.bytes = Vec::new();
        }
    }

    /// Of a file that goes on, the whole lines within what was read.
    #[cold]
    fn cut_at_line(&mut self) -> usize {
        self.was_cut = true;
        Bound::FileBytes.exceeded();
        self.bytes.iter().rposition(|byte| *byte == b'\n').map_or(self.bytes.len(), |end| end + 1)
    }

    fn grow(&mut self) {
        let size = (self.bytes.len() * 2).clamp(Self::FIRST, LARGEST_FILE);
        self.bytes.resize(size, 0);
    }

    /// Reads from offset 0 with one system call, repeated with more room while the text fills the buffer: a kernfs
    /// file is made anew for each read at 0, so pieces of two reads must not be joined.
    fn read_at_start(&mut self, file: BorrowedFd<'_>) -> Result<usize, Errno> {
        self.begin();
        if self.bytes.is_empty() {
            self.grow();
        }
        loop {
            match rustix::io::pread(file, self.bytes.as_mut_slice(), 0) {
                Ok(LARGEST_FILE) => return Ok(self.cut_at_line()),
                Ok(length) if length == self.bytes.len() => self.grow(),
                Ok(length) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn read_to_end(&mut self, file: &OwnedFd) -> Result<usize, Errno> {
        self.read_pieces(|buffer, _| rustix::io::read(file, buffer))
    }

    /// As [`ReadBuffer::read_to_end`], from offset 0 of a file that may have been read before.
    fn read_again_to_end(&mut self, file: BorrowedFd<'_>) -> Result<usize, Errno> {
        self.read_pieces(|buffer, length| rustix::io::pread(file, buffer, length as u64))
    }

    /// Reads until there is no more. The reader is given the place of the next piece, and how much was read.
    fn read_pieces(&mut self, read: impl Fn(&mut [u8], usize) -> Result<usize, Errno>) -> Result<usize, Errno> {
        self.begin();
        let mut length = 0;
        loop {
            if length == LARGEST_FILE {
                return Ok(self.cut_at_line());
            }
            if length == self.bytes.len() {
                self.grow();
            }
            match read(&mut self.bytes[length..], length) {
                Ok(0) => return Ok(length),
                Ok(more) => length += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// How many descriptors may be kept open between ticks.
#[derive(Debug)]
pub struct FileBudget {
    limit: usize,
    kept: AtomicUsize,
}

impl FileBudget {
    /// Room for this many.
    pub const fn new(limit: usize) -> Self {
        Self { limit, kept: AtomicUsize::new(0) }
    }

    /// How many may be kept.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many are kept now.
    pub fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// The right to keep one more; `None` when all are taken.
    pub fn permit(self: &Arc<Self>) -> Option<Permit> {
        let taken = self
            .kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kept| (kept < self.limit).then_some(kept + 1));
        taken.is_ok().then(|| Permit(Arc::clone(self)))
    }
}

/// The right to keep one descriptor; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<FileBudget>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.kept.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file read every tick. Its descriptor stays open while the budget lasts; the file's place is handed in with each
/// read, so that a kept file costs no memory for its path.
#[derive(Debug, Default)]
pub struct KeptFile(State);

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Open(OwnedFd, #[expect(dead_code, reason = "held for its drop")] Permit),
    Absent,
}

impl KeptFile {
    /// Reads the file. `None` when the kernel does not offer it; that is remembered until [`KeptFile::retry`].
    #[inline]
    pub fn read<'b>(
        &mut self,
        at: FileAt<'_>,
        budget: &Arc<FileBudget>,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Option<&'b [u8]>, ReadError> {
        self.read_with(at, budget, buffer, ReadBuffer::read_at_start)
    }

    /// The same for a file that comes in several pieces (`net/dev`).
    pub fn read_to_end<'b>(
        &mut self,
        at: FileAt<'_>,
        budget: &Arc<FileBudget>,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Option<&'b [u8]>, ReadError> {
        self.read_with(at, budget, buffer, ReadBuffer::read_again_to_end)
    }

    #[inline]
    fn read_with<'b>(
        &mut self,
        at: FileAt<'_>,
        budget: &Arc<FileBudget>,
        buffer: &'b mut ReadBuffer,
        read: fn(&mut ReadBuffer, BorrowedFd<'_>) -> Result<usize, Errno>,
    ) -> Result<Option<&'b [u8]>, ReadError> {
        let result = match &self.0 {
            State::Absent => return Ok(None),
            State::Open(file, _) => read(buffer, file.as_fd()),
            State::Closed => self.open_and_read(at, budget, buffer, read),
        };
        match result {
            Ok(length) => Ok(Some(buffer.text(length))),
            Err(errno) => self.failed(at, errno),
        }
    }

    fn open_and_read(
        &mut self,
        at: FileAt<'_>,
        budget: &Arc<FileBudget>,
        buffer: &mut ReadBuffer,
        read: fn(&mut ReadBuffer, BorrowedFd<'_>) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let file = at.open(OFlags::RDONLY, buffer)?;
        let length = read(buffer, file.as_fd())?;
        if let Some(permit) = budget.permit() {
            self.0 = State::Open(file, permit);
        }
        Ok(length)
    }

    #[cold]
    fn failed<'b>(&mut self, at: FileAt<'_>, errno: Errno) -> Result<Option<&'b [u8]>, ReadError> {
        match ReadError::from_errno(&at.path(), errno) {
            ReadError::Missing(_) | ReadError::Unsupported(_) => {
                self.0 = State::Absent;
                Ok(None)
            }
            error => {
                self.0 = State::Closed;
                Err(error)
            }
        }
    }

    /// Whether a descriptor is open.
    pub fn is_kept(&self) -> bool {
        matches!(self.0, State::Open(..))
    }

    /// Whether the kernel did not offer it when it was last looked for.
    pub fn is_absent(&self) -> bool {
        matches!(self.0, State::Absent)
    }

    /// Forgets that the file was absent, so that the next read looks again.
    pub fn retry(&mut self) {
        if matches!(self.0, State::Absent) {
            self.0 = State::Closed;
        }
    }

    /// Closes the descriptor; what is known to be absent stays so.
    pub fn release(&mut self) {
        if matches!(self.0, State::Open(..)) {
            self.0 = State::Closed;
        }
    }

    /// Closes the descriptor and forgets what was known.
    pub fn close(&mut self) {
        self.0 = State::Closed;
    }
}

#[cfg(test)]
mod tests;
