//! Which processes are in a cgroup, and files of theirs.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::context::{ProcessSource, ReaderContext};
use super::reading::Reading;
use crate::kernel::cgroup::{Hierarchies, Hierarchy, Version};
use crate::kernel::error::ReadError;
use crate::kernel::file::{FileAt, ReadBuffer};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::procfs::process::{Listing, ProcessDir, process_ids, process_of_thread, threads};
use crate::kernel::text_formats::FormatError;

/// How old an index of the host's processes may be that numbers are made of.
const INDEX_AGE: Duration = Duration::from_secs(1);

/// The hierarchy whose processes count: that of the cpu controller, or the first the container is in.
pub(super) fn process_hierarchy<'a>(reading: &Reading<'a>) -> Option<&'a Hierarchy> {
    let preferred = reading.ctx.sources.processes.and_then(|position| reading.hierarchy(position));
    preferred.or_else(|| reading.live_positions().find_map(|position| reading.hierarchy(position)))
}

/// What is known of a cgroup's own processes.
pub(super) struct OwnProcesses {
    /// How many there are.
    pub(super) count: Option<u64>,
    /// Their ids in procfs; absent unless all are known.
    pub(super) pids: Option<Vec<u32>>,
    /// Of a threaded cgroup of v2, its threads, ascending. Its processes may have others in other cgroups.
    pub(super) threads: Option<Vec<u32>>,
}

pub(super) fn own_processes(reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8]) -> Option<OwnProcesses> {
    let listing = match list(reading, hierarchy, cgroup)? {
        Members::Processes(listing) => listing,
        Members::Threads(listing) => return Some(of_threads(reading, hierarchy, cgroup, listing)),
    };
    // v1 leaves out what has no id in the collector's pid namespace, v2 lists it as 0.
    let counted = (hierarchy.version == Version::V2).then(|| listing.count());
    let (count, pids) = match &reading.ctx.processes {
        ProcessSource::Listed(_) => (Some(listing.count()), Some(listing.visible).filter(|_| listing.hidden == 0)),
        ProcessSource::Indexed(index) => {
            let pids = index.processes(hierarchy.id, cgroup, INDEX_AGE);
            (counted.or(Some(pids.len() as u64)), Some(pids))
        }
        ProcessSource::Hidden => (counted, None),
    };
    Some(OwnProcesses { count, pids, threads: None })
}

/// The processes of a threaded cgroup are those that its threads are of: each once, however many of its threads are
/// here.
fn of_threads(
    reading: &mut Reading<'_>,
    hierarchy: &Hierarchy,
    cgroup: &[u8],
    Listing { mut visible, hidden }: Listing,
) -> OwnProcesses {
    let proc = &reading.ctx.roots.proc;
    match &reading.ctx.processes {
        ProcessSource::Listed(_) if hidden == 0 => {
            let pids = processes_of(proc, &visible, reading.buffer);
            visible.sort_unstable();
            OwnProcesses { count: Some(pids.len() as u64), pids: Some(pids), threads: Some(visible) }
        }
        // The host's procfs reports each process the cgroup of its first thread.
        ProcessSource::Indexed(index) => {
            let pids = index.processes(hierarchy.id, cgroup, INDEX_AGE);
            OwnProcesses { count: Some(pids.len() as u64), pids: Some(pids), threads: None }
        }
        ProcessSource::Listed(_) | ProcessSource::Hidden => OwnProcesses { count: None, pids: None, threads: None },
    }
}

/// The processes that these threads are of, in the order of their first threads. One whose threads have all ended
/// meanwhile is left out.
fn processes_of(proc: &Path, tids: &[u32], buffer: &mut ReadBuffer) -> Vec<u32> {
    let mut pids = Vec::new();
    let mut known = HashSet::new();
    for tid in tids {
        if known.contains(tid) {
            continue;
        }
        let thread = ProcessDir::new(*tid);
        let status = thread.file(proc, "status").read(buffer);
        let Some(pid) = status.ok().and_then(|text| process_of_thread(text).ok()) else { continue };
        // What it costs goes by processes, not by threads.
        known.extend(threads(proc, pid, buffer).unwrap_or_default());
        known.insert(*tid);
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    pids
}

/// The members of a cgroup by the memory controller's list, else by that of cpu or of any hierarchy it is in.
pub(crate) fn listed_members(ctx: &ReaderContext, name: &[u8], buffer: &mut ReadBuffer) -> HashSet<u32> {
    let hierarchies: &Hierarchies = ctx.hierarchies();
    let preferred = ["memory", "cpu"].into_iter().filter_map(|controller| hierarchies.with_controller(controller));
    for hierarchy in preferred.chain(hierarchies) {
        let mut odd = OddLines::default();
        match hierarchy.file(name, "cgroup.procs").read(buffer) {
            Ok(text) => return process_ids(text, &mut odd).filter(|pid| *pid != 0).collect(),
            // A threaded cgroup of v2 lists only threads.
            Err(ReadError::Unsupported(_)) => {
                let Ok(text) = hierarchy.file(name, "cgroup.threads").read(buffer) else { continue };
                let tids: Vec<u32> = process_ids(text, &mut odd).filter(|tid| *tid != 0).collect();
                return processes_of(&ctx.roots().proc, &tids, buffer).into_iter().collect();
            }
            Err(_) => {}
        }
    }
    HashSet::new()
}

/// What a cgroup lists.
enum Members {
    Processes(Listing),
    /// A threaded cgroup of v2, whose processes the kernel does not list (`EOPNOTSUPP`).
    Threads(Listing),
}

fn list(reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8]) -> Option<Members> {
    let at = hierarchy.file(cgroup, "cgroup.procs");
    match try_lines(reading, at, "cgroup.procs", Listing::parse) {
        Ok(listing) => Some(Members::Processes(listing)),
        Err(ReadError::Unsupported(_)) => {
            let at = hierarchy.file(cgroup, "cgroup.threads");
            parsed_lines(reading, at, "cgroup.threads", Listing::parse).map(Members::Threads)
        }
        Err(error) => {
            reading.ctx.errors.count("cgroup.procs", &error);
            None
        }
    }
}

/// The processes of a cgroup, or, of a threaded one, the threads.
pub(super) fn members(reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8]) -> Option<Vec<u32>> {
    let mut all = |file: &'static str| {
        try_lines(reading, hierarchy.file(cgroup, file), file, |text, odd| {
            // Those that the reader's pid namespace has no number for are listed as 0.
            process_ids(text, odd).filter(|pid| *pid != 0).collect()
        })
    };
    let found = match all("cgroup.procs") {
        Err(ReadError::Unsupported(_)) => all("cgroup.threads"),
        found => found,
    };
    match found {
        Ok(found) => {
            reading.values += 1;
            Some(found)
        }
        Err(error) => {
            reading.ctx.errors.count("cgroup.procs", &error);
            None
        }
    }
}

/// Whether any of these processes, which procfs does not show, is in the cgroup all the same: it has not ended, it is
/// hidden (`hidepid`), and a sum without it would be a wrong number.
pub(super) fn any_still_there(reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8], unseen: &[u32]) -> bool {
    if unseen.is_empty() {
        return false;
    }
    let there = own_processes(reading, hierarchy, cgroup).and_then(|processes| processes.pids).unwrap_or_default();
    unseen.iter().any(|pid| there.contains(pid))
}

/// Reads a file that is not a statistics file of the container itself and of which each line that is not understood costs
/// its own key.
pub(super) fn parsed_lines<T>(
    reading: &mut Reading<'_>,
    at: FileAt<'_>,
    counted_as: &'static str,
    parse: impl FnOnce(&[u8], &mut OddLines) -> T,
) -> Option<T> {
    match try_lines(reading, at, counted_as, parse) {
        Ok(value) => Some(value),
        Err(error) => {
            if !matches!(error, ReadError::Missing(_) | ReadError::Unsupported(_)) {
                reading.lost(counted_as);
            }
            reading.ctx.errors.count(counted_as, &error);
            None
        }
    }
}

/// The same, with the reason why it cannot be read.
fn try_lines<T>(
    reading: &mut Reading<'_>,
    at: FileAt<'_>,
    counted_as: &'static str,
    parse: impl FnOnce(&[u8], &mut OddLines) -> T,
) -> Result<T, ReadError> {
    let mut odd = OddLines::default();
    let value = parse(at.read(reading.buffer)?, &mut odd);
    if odd.count() > 0 {
        reading.note(at, counted_as, odd);
    }
    Ok(value)
}

/// Reads a file that is not a statistics file of the container itself.
pub(super) fn parsed<T>(
    reading: &mut Reading<'_>,
    at: FileAt<'_>,
    counted_as: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Option<T> {
    let result = at
        .read_whole(reading.buffer)
        .and_then(|text| parse(text).map_err(|reason| ReadError::Malformed { path: at.path(), reason }));
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            reading.ctx.errors.count(counted_as, &error);
            None
        }
    }
}
