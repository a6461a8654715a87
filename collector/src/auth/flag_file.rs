//! A file that a flag names, so that whatever is wrong with it is reported with the flag.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A file, and the flag that named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagFile {
    /// The flag without its dashes.
    pub flag: &'static str,
    /// Where the file is.
    pub path: PathBuf,
}

impl FlagFile {
    /// The file that this flag names; `None` where the flag is empty, as it is by default.
    pub fn given(flag: &'static str, path: &str) -> Option<Self> {
        (!path.is_empty()).then(|| Self { flag, path: path.into() })
    }
}

impl Deref for FlagFile {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

/// As it was written on the command line.
impl fmt::Display for FlagFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}={}", self.flag, self.path.display())
    }
}

/// What the system said about a file, and what to do about it.
pub fn unreadable(error: &io::Error) -> String {
    let fix = match error.kind() {
        io::ErrorKind::NotFound => "give the path of a file that is there; in a container it has to be mounted",
        io::ErrorKind::PermissionDenied => "let the collector's user read it",
        io::ErrorKind::IsADirectory => {
            "give a file; where there was none, the container engine has made a directory of its mount"
        }
        io::ErrorKind::NotADirectory => "a part of the path is a file; give the right path",
        _ => "give a file that can be read",
    };
    format!("{error}; {fix}")
}
