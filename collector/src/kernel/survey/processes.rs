//! Which processes this one sees, and in which namespaces it is itself.

use std::path::Path;

use crate::kernel::HostRoots;
use crate::kernel::cgroup::mounts::mounts;
use crate::kernel::namespaces::Surroundings;
use crate::kernel::odd_lines::OddLines;
use crate::kernel::procfs::process::{descriptors, network_namespace};
use crate::kernel::{error::ReadError, file::ReadBuffer};

/// Processes of others that are tried.
const TRIED_PROCESSES: usize = 64;

/// Processes and namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// The namespaces of this process, and whose processes the procfs in use shows.
    pub surroundings: Surroundings,
    /// The value of procfs' mount option `hidepid`; `None` when it is not set.
    pub hidepid: Option<String>,
    /// Network namespaces of other processes that could be looked at.
    pub networks: Tally,
    /// Descriptor lists of other processes that could be read.
    pub descriptors: Tally,
}

/// How often something succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Successes.
    pub allowed: usize,
    /// Refusals.
    pub denied: usize,
}

impl Tally {
    fn count<T>(&mut self, outcome: &Result<T, ReadError>) {
        match outcome {
            Ok(_) => self.allowed += 1,
            Err(ReadError::Denied(_)) => self.denied += 1,
            // It has ended meanwhile, which says nothing about rights.
            Err(_) => {}
        }
    }
}

/// Looks at everything.
pub(super) fn gather(roots: &HostRoots) -> ProcessFacts {
    let (networks, descriptors) = others(&roots.proc);
    ProcessFacts { surroundings: Surroundings::look(&roots.proc), hidepid: hidepid(&roots.proc), networks, descriptors }
}

/// Of several mounts at one place the last is the one that is seen.
fn hidepid(proc: &Path) -> Option<String> {
    use std::os::unix::ffi::OsStrExt as _;
    let place = std::fs::canonicalize(proc).ok()?;
    let table = crate::kernel::machine::mounts::of_process(proc, "self")?;
    let mut odd = OddLines::default();
    let mounted = mounts(&table, &mut odd).filter(|mount| *mount.point == *place.as_os_str().as_bytes());
    let options = mounted.last().filter(|mount| mount.file_system == b"proc")?.super_options;
    let value = options.split(|byte| *byte == b',').find_map(|option| option.strip_prefix(b"hidepid="))?;
    // Before 5.8 a number, since then a word; "0" and "off" hide nothing.
    let value = String::from_utf8_lossy(value).into_owned();
    (value != "0" && value != "off").then_some(value)
}

/// Tries the newest processes: the first ones are mostly the kernel's own threads, of which nothing is asked.
fn others(proc: &Path) -> (Tally, Tally) {
    let own = std::process::id();
    let names = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let mut pids: Vec<u32> = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.retain(|pid| *pid != own);
    pids.sort_unstable_by_key(|pid| std::cmp::Reverse(*pid));
    let mut buffer = ReadBuffer::new();
    let (mut networks, mut opened) = (Tally::default(), Tally::default());
    for pid in pids.into_iter().take(TRIED_PROCESSES) {
        networks.count(&network_namespace(proc, pid, &mut buffer));
        opened.count(&descriptors(proc, pid, &mut buffer));
    }
    (networks, opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_procfs_nothing_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let roots = HostRoots { proc: directory.path().into(), ..HostRoots::default() };
        let facts = gather(&roots);
        assert_eq!((facts.hidepid, facts.networks), (None, Tally::default()));
    }
}
