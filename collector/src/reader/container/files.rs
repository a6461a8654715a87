//! Files inside a container.

use std::time::Duration;

use super::Scratch;
use super::context::{ProcessSource, ReaderContext};
use super::processes::listed_members;
use crate::kernel::container_file;
use crate::kernel::error::ReadError;

/// Processes through which it is tried, the oldest first: one is as good as another unless it has a root of its own.
const TRIED: usize = 8;

/// How much may be risked for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// The read may hang: somebody stops waiting for it.
    MayHang,
    /// So many hang that it is not tried where a file system may.
    MustNotHang,
}

/// A file in a container that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// The container has no process that the collector could see.
    #[error("the container has no process in sight")]
    NoProcess,
    /// One of its file systems may not answer, and many others do not.
    #[error("file systems of other containers do not answer, and one of this container's may not either")]
    Risky,
    /// As the last of its processes sees it.
    #[error(transparent)]
    File(#[from] ReadError),
}

/// Reads a file of at most this many bytes as seen from one of the container's processes, whichever can.
///
/// # Errors
/// When none can.
pub fn read_inside(
    ctx: &ReaderContext,
    name: &[u8],
    path: &str,
    limit: usize,
    risk: Risk,
    scratch: &mut Scratch,
) -> Result<Vec<u8>, InsideError> {
    let buffer = scratch.buffer();
    let mut pids: Vec<u32> = match &ctx.processes {
        ProcessSource::Listed(_) => listed_members(ctx, name, buffer).into_iter().collect(),
        ProcessSource::Indexed(index) => {
            let of = |id| index.processes(id, name, Duration::ZERO);
            let mut pids = ctx.hierarchies().iter().map(|hierarchy| of(hierarchy.id)).find(|pids| !pids.is_empty());
            pids.get_or_insert_default().retain(|pid| index.belongs(*pid, name, buffer));
            pids.unwrap_or_default()
        }
        ProcessSource::Hidden => Vec::new(),
    };
    pids.sort_unstable();
    let mut failed = InsideError::NoProcess;
    for pid in pids.into_iter().take(TRIED) {
        if risk == Risk::MustNotHang && container_file::may_hang(&ctx.roots().proc, pid) {
            return Err(InsideError::Risky);
        }
        match container_file::read(&ctx.roots().proc, pid, path, limit) {
            Ok(text) => return Ok(text),
            Err(error) => failed = error.into(),
        }
    }
    Err(failed)
}
