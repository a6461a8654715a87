//! Why a kernel file could not be read, distinguished by what it means for a sample.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::bounds::Shown;
use crate::kernel::format_error::FormatError;
use crate::kernel::odd_lines::OddLines;

/// A cgroup's path is as long, and has such letters, as whoever made it likes.
fn shown(path: &Path) -> Shown<'_> {
    Shown(path.as_os_str().as_bytes())
}

/// A read that gave no value.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file does not exist: the kernel does not offer it, or the controller is off.
    #[error("{path}: not there", path = shown(.0))]
    Missing(PathBuf),
    /// The cgroup or process ended while it was read (`ENODEV`, `ESRCH`; `ENXIO` for `/proc/<pid>/net` of a process that
    /// has left its namespaces). Normal.
    #[error("{path}: its cgroup or process ended", path = shown(.0))]
    Gone(PathBuf),
    /// The kernel has the file but not the feature (`EOPNOTSUPP`, `EINVAL`), such as pressure that is switched off.
    #[error("{path}: not supported by this kernel", path = shown(.0))]
    Unsupported(PathBuf),
    /// Not allowed (`EACCES`, `EPERM`).
    #[error("{path}: permission denied", path = shown(.0))]
    Denied(PathBuf),
    /// Anything else.
    #[error("{path}: {errno}", path = shown(path))]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// The content is not what the kernel documents.
    #[error("{path}: {reason}", path = shown(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: FormatError,
    },
    /// Lines of it are not what the kernel documents; the others were read.
    #[error("{path}: {reason}: \"{text}\"", path = path.display())]
    OddLines {
        /// The file.
        path: PathBuf,
        /// How many.
        count: u64,
        /// What is wrong with the first.
        reason: FormatError,
        /// The beginning of the first.
        text: Box<str>,
    },
}

impl ReadError {
    /// The error of a system call on this path.
    pub fn from_errno(path: &Path, errno: Errno) -> Self {
        let path = path.to_path_buf();
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Missing(path),
            Errno::NODEV | Errno::SRCH | Errno::NXIO => Self::Gone(path),
            Errno::OPNOTSUPP | Errno::INVAL => Self::Unsupported(path),
            Errno::ACCESS | Errno::PERM => Self::Denied(path),
            errno => Self::Failed { path, errno },
        }
    }

    /// The error of lines that were not understood, if there were any.
    pub fn of_odd_lines(path: &Path, odd: OddLines) -> Option<Self> {
        let count = odd.count();
        let (reason, text) = odd.first()?;
        Some(Self::OddLines { path: path.to_path_buf(), count, reason, text })
    }

    /// The path that was read.
    pub fn path(&self) -> &Path {
        match self {
            Self::Missing(path)
            | Self::Gone(path)
            | Self::Unsupported(path)
            | Self::Denied(path)
            | Self::Failed { path, .. }
            | Self::Malformed { path, .. }
            | Self::OddLines { path, .. } => path,
        }
    }
}
