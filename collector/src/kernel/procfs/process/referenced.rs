//! Which memory a process touched lately: the `Referenced` of `/proc/<pid>/smaps_rollup`, and the file that clears it.
//!
//! Both wait for the lock of the process's memory map, which somebody may hold who waits himself: for a FUSE file system
//! that a mapping is written back to, say. They are read on threads of their own, one for each cgroup.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use rustix::io::Errno;

use super::ProcessDir;
use crate::kernel::apart::Apart;
use crate::kernel::error::ReadError;
use crate::kernel::file::ReadBuffer;
use crate::kernel::text_formats::{FormatError, lines, number, words};

/// Threads at most, those that hang included.
const THREADS: usize = 32;
/// Longest wait for all processes of a cgroup.
const PATIENCE: Duration = Duration::from_secs(1);

/// Threads outlive every owner.
static APART: LazyLock<Apart> = LazyLock::new(|| Apart::new("smaps", THREADS));

/// Whether the marks are cleared afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// No.
    Keep,
    /// Yes, of all processes, once all have been read.
    Clear,
}

/// What processes touched.
#[derive(Debug, Default)]
pub struct Touched {
    /// KiB, the sum of all that were there.
    pub kb: u64,
    /// Those that were not there.
    pub unseen: Vec<u32>,
    /// What could not be cleared.
    pub not_cleared: Vec<ReadError>,
}

/// KiB that the processes of a cgroup touched since their marks were cleared, or they started. The kernel walks through
/// all their pages. Needs the right to trace them.
///
/// # Errors
/// One of them cannot be read, or does not answer within a second; as long as it does not, the cgroup is not tried again.
pub fn touched(proc: &Path, cgroup: &[u8], pids: &[u32], marks: Marks) -> Result<Touched, ReadError> {
    let (answer, answered) = mpsc::channel();
    let key = [proc.as_os_str().as_bytes(), cgroup].concat();
    let (own, pids) = (proc.to_path_buf(), pids.to_vec());
    let late = || ReadError::from_errno(&proc.join("<pid>/smaps_rollup"), Errno::TIMEDOUT);
    let read = move || read_all(&own, &pids, marks);
    APART.begin(&key, read, move |all| drop(answer.send(all))).map_err(|_| late())?;
    answered.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(late()))
}

fn read_all(proc: &Path, pids: &[u32], marks: Marks) -> Result<Touched, ReadError> {
    let (mut all, mut buffer) = (Touched::default(), ReadBuffer::new());
    for pid in pids {
        match referenced_kb(proc, *pid, &mut buffer) {
            Ok(kb) => all.kb = all.kb.saturating_add(kb),
            Err(ReadError::Missing(_) | ReadError::Gone(_)) => all.unseen.push(*pid),
            // A sum without some processes would be a wrong number.
            Err(error) => return Err(error),
        }
    }
    if marks == Marks::Clear {
        all.not_cleared = pids.iter().filter_map(|pid| clear_referenced(proc, *pid).err()).collect();
    }
    Ok(all)
}

/// KiB that the process touched since its marks were cleared, or it started. The kernel walks through all its pages.
/// Needs the right to trace it.
///
/// From `smaps_rollup`, since 4.14; where that is not there, or the process has no memory of its own (a kernel thread, a
/// zombie), the sum over `smaps`.
///
/// # Errors
/// Neither can be read.
fn referenced_kb(proc: &Path, pid: u32, buffer: &mut ReadBuffer) -> Result<u64, ReadError> {
    let process = ProcessDir::new(pid);
    let rollup = process.file(proc, "smaps_rollup");
    match rollup.read(buffer) {
        Ok(text) => return sum(text).map_err(|reason| ReadError::Malformed { path: rollup.path(), reason }),
        Err(ReadError::Missing(_) | ReadError::Gone(_)) => {}
        Err(error) => return Err(error),
    }
    let maps = process.file(proc, "smaps");
    let text = maps.read_whole(buffer)?;
    sum(text).map_err(|reason| ReadError::Malformed { path: maps.path(), reason })
}

/// Clears the marks of all pages of the process: writes `1` to `/proc/<pid>/clear_refs`.
///
/// # Errors
/// It cannot be written.
fn clear_referenced(proc: &Path, pid: u32) -> Result<(), ReadError> {
    let path = ProcessDir::new(pid).file(proc, "clear_refs").path();
    let opened = std::fs::OpenOptions::new().write(true).open(&path);
    opened
        .and_then(|mut file| file.write_all(b"1\n"))
        .map_err(|error| ReadError::from_errno(&path, Errno::from_io_error(&error).unwrap_or(Errno::IO)))
}

/// The sum of all lines `Referenced:          128 kB`.
fn sum(text: &[u8]) -> Result<u64, FormatError> {
    let mut kb = 0_u64;
    for (line, text) in lines(text) {
        if let Some(rest) = text.strip_prefix(b"Referenced:") {
            let value = words(rest).next().and_then(number).ok_or(FormatError::at(line, "not a number of kB"))?;
            kb = kb.saturating_add(value);
        }
    }
    Ok(kb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mappings_are_summed() {
        let maps = b"00400000-00452000 r-xp 0 08:02 1 /x\nRss: 9 kB\nReferenced:  8 kB\n\
                     7f00-7f01 rw-p 0 0:0 0\nReferenced: 120 kB\nAnonymous: 1 kB\n";
        assert_eq!(sum(maps), Ok(128));
        assert_eq!(sum(b""), Ok(0));
        assert!(sum(b"Referenced: x kB\n").is_err() && sum(b"Referenced:\n").is_err());
    }

    #[test]
    fn this_process_touches_memory() {
        let kb = referenced_kb(Path::new("/proc"), std::process::id(), &mut ReadBuffer::new());
        assert!(kb.is_ok_and(|kb| kb > 100));
    }

    #[test]
    fn without_a_rollup_the_maps_count() {
        let directory = tempfile::tempdir().unwrap();
        let process = directory.path().join("7");
        std::fs::create_dir_all(&process).unwrap();
        let read = || referenced_kb(directory.path(), 7, &mut ReadBuffer::new());
        assert!(matches!(read(), Err(ReadError::Missing(_))));
        std::fs::write(process.join("smaps"), "Referenced: 1 kB\nReferenced: 2 kB\n").unwrap();
        assert_eq!(read().unwrap(), 3);
        std::fs::write(process.join("smaps_rollup"), "Referenced: 4 kB\n").unwrap();
        assert_eq!(read().unwrap(), 4);
        assert!(clear_referenced(directory.path(), 7).is_err());
        std::fs::write(process.join("clear_refs"), "").unwrap();
        clear_referenced(directory.path(), 7).unwrap();
        assert_eq!(std::fs::read_to_string(process.join("clear_refs")).unwrap(), "1\n");
    }
}
