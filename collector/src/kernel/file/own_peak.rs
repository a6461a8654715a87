//! The most memory that a cgroup used since it was last asked: `memory.peak` by a descriptor of one's own.
//!
//! Since 6.12 a write to an open `memory.peak` begins its peak anew, for that descriptor alone: the cgroup's own peak stays,
//! and so do those of others who do the same. Before that, and where the cgroups are mounted for reading alone, there is
//! none.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{FileAt, FileBudget, Permit, ReadBuffer};
use crate::kernel::text_formats::unsigned;

/// `statfs.f_type` of cgroup2 (`CGROUP2_SUPER_MAGIC`).
pub const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// A descriptor of one's own, while the budget lasts.
#[derive(Debug, Default)]
pub struct OwnPeak(State);

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Open(OwnedFd, #[expect(dead_code, reason = "held for its drop")] Permit),
    /// The kernel does not have it, or there is no descriptor for it.
    Absent,
}

impl OwnPeak {
    /// What was used at most since the last time; `None` the first time.
    pub fn take(&mut self, at: FileAt<'_>, budget: &Arc<FileBudget>, buffer: &mut ReadBuffer) -> Option<u64> {
        match &self.0 {
            State::Absent => None,
            State::Closed => {
                let opened = budget.permit().and_then(|permit| Some((open(at, buffer).ok()?, permit)));
                self.0 = opened.map_or(State::Absent, |(file, permit)| State::Open(file, permit));
                None
            }
            State::Open(file, _) => {
                let peak = read(file, buffer);
                if peak.is_none() || begin_anew(file).is_err() {
                    self.0 = State::Absent;
                }
                peak
            }
        }
    }

    /// Whether a descriptor is open.
    pub fn is_open(&self) -> bool {
        matches!(self.0, State::Open(..))
    }

    /// Tries again where it was absent.
    pub fn retry(&mut self) {
        if matches!(self.0, State::Absent) {
            self.0 = State::Closed;
        }
    }

    /// Closes the descriptor and forgets what was known.
    pub fn close(&mut self) {
        self.0 = State::Closed;
    }
}

fn open(at: FileAt<'_>, buffer: &mut ReadBuffer) -> Result<OwnedFd, Errno> {
    let file = at.open(OFlags::RDWR, buffer)?;
    // Nothing else is ever written to.
    if rustix::fs::fstatfs(&file)?.f_type != CGROUP2_MAGIC {
        return Err(Errno::OPNOTSUPP);
    }
    begin_anew(&file)?;
    Ok(file)
}

/// Any text does it; before 6.12 the kernel takes none.
fn begin_anew(file: &OwnedFd) -> Result<(), Errno> {
    rustix::io::pwrite(file, b"reset\n", 0).map(drop)
}

fn read(file: &OwnedFd, buffer: &mut ReadBuffer) -> Option<u64> {
    let length = buffer.read_at_start(file.as_fd()).ok()?;
    unsigned(buffer.text(length)).ok()
}
