//! Which of a cgroup's processes stands for all of them.

use super::reading::Reading;
use crate::kernel::procfs::process::{ProcessDir, namespaced_ids, start_ticks};
use crate::runtime::cgroup_names;

/// Of more than this many only the first are looked at.
const MOST: usize = 32;

/// The process that a container was started with, as far as the processes themselves report: the first of a pid namespace
/// of its own, and else the oldest. One that was put into the cgroup later may have a lower id, and a network of its
/// own. In a cgroup that is no container's a pid namespace means nothing.
pub(super) fn first(reading: &mut Reading<'_>, pids: &[u32]) -> Option<u32> {
    let [first, _, ..] = pids else { return pids.first().copied() };
    let is_container = cgroup_names::may_be_container(reading.name);
    let mut rank = |pid: u32| {
        let process = ProcessDir::new(pid);
        let proc = &reading.ctx.roots.proc;
        let status = if is_container { process.file(proc, "status").read(reading.buffer).ok() } else { None };
        let ids = status.map(namespaced_ids).unwrap_or_default();
        // A namespace further down is that of a container inside of this one.
        let depth = if ids.len() > 1 && ids.last() == Some(&1) { ids.len() } else { usize::MAX };
        let began = process.file(proc, "stat").read(reading.buffer).ok().and_then(start_ticks)?;
        Some((depth, began, pid))
    };
    let ranked = pids.iter().take(MOST).filter_map(|pid| rank(*pid));
    Some(ranked.min().map_or(*first, |(_, _, pid)| pid))
}
