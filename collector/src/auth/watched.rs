//! Files whose content is read again when they change.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{FileError, FlagFile};

/// A larger file is none of those that are expected here.
const LONGEST: u64 = 16 << 20;

/// What distinguishes one version of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileVersion {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl FileVersion {
    /// Of the file at the end of all links; `None` where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(Self { device: found.dev(), inode: found.ino(), length: found.len(), modified })
    }
}

/// What is made of the files' contents; the paths are for its errors.
type Parse<T> = fn(&[FlagFile], &[Vec<u8>]) -> Result<T, FileError>;

/// One or several files and what is made of them.
#[derive(Debug)]
pub(super) struct Watched<T> {
    paths: Vec<FlagFile>,
    parse: Parse<T>,
    kept: Mutex<(Vec<Option<FileVersion>>, Arc<T>)>,
}

impl<T> Watched<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be used.
    pub(super) fn open(paths: &[&FlagFile], parse: Parse<T>) -> Result<Self, FileError> {
        let paths: Vec<FlagFile> = paths.iter().copied().cloned().collect();
        // Looked at before they are read: a change in between is noticed the next time.
        let versions = versions(&paths);
        let content = read(&paths, parse)?;
        Ok(Self { paths, parse, kept: Mutex::new((versions, Arc::new(content))) })
    }

    /// What is in the files now, or was when they last could be used.
    pub(super) fn current(&self) -> Arc<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = versions(&self.paths);
        if kept.0 != versions {
            kept.0 = versions;
            match read(&self.paths, self.parse) {
                Ok(content) => {
                    tracing::info!(file = %self.paths[0], "the file changed and was read again");
                    kept.1 = Arc::new(content);
                }
                Err(error) => {
                    tracing::error!(%error, "the changed file cannot be used; what was read before stays in force");
                }
            }
        }
        Arc::clone(&kept.1)
    }
}

fn versions(paths: &[FlagFile]) -> Vec<Option<FileVersion>> {
    paths.iter().map(|path| FileVersion::of(path)).collect()
}

fn read<T>(paths: &[FlagFile], parse: Parse<T>) -> Result<T, FileError> {
    let contents: Result<Vec<Vec<u8>>, FileError> = paths.iter().map(contents).collect();
    parse(paths, &contents?)
}

fn contents(path: &FlagFile) -> Result<Vec<u8>, FileError> {
    read_file(&path.path, LONGEST).map_err(|source| FileError::Unreadable { path: path.clone(), source })
}

/// What is in a file with secrets.
///
/// # Errors
/// When it is no regular file, such as a pipe that nobody may ever write to; when it is longer than this.
pub fn read_file(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::File::options().read(true).custom_flags(nonblocking).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    if !kind.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {longest} bytes")));
    }
    Ok(bytes)
}

/// The lines that say something, with their numbers: not the empty ones and not those that begin with `#`.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.map(|(number, line)| (number + 1, line.trim_ascii()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"))
}
