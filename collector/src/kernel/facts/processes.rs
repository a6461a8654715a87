//! Which processes this one sees, and in which namespaces it is itself.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::kernel::HostRoots;
use crate::kernel::cgroup::mounts::mounts;
use crate::kernel::process::{descriptors, network_namespace};
use crate::kernel::{error::ReadError, file::ReadBuffer};

/// Inode numbers of the namespaces every machine starts with (`PROC_*_INIT_INO` in the kernel, fixed since 3.8; cgroup
/// since 4.6, time since 5.6).
const FIRST_CGROUP_NAMESPACE: u64 = 0xEFFF_FFFB;
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Processes of others that are tried.
const TRIED_PROCESSES: usize = 64;

/// Processes and namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// The cgroup namespace of this process.
    pub cgroup_namespace: Namespace,
    /// The pid namespace of this process.
    pub pid_namespace: Namespace,
    /// Whose processes the procfs in use shows.
    pub procfs: Procfs,
    /// The value of procfs' mount option `hidepid`; `None` when it is not set.
    pub hidepid: Option<String>,
    /// Network namespaces of other processes that could be looked at.
    pub networks: Tally,
    /// Descriptor lists of other processes that could be read.
    pub descriptors: Tally,
}

/// Whose namespace this process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The machine's, or the one of process 1 of the host's procfs.
    Host,
    /// Another.
    Private,
    /// It cannot be told, or the kernel has no such namespaces.
    Unknown,
}

/// Whose processes a procfs shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Procfs {
    /// The host's.
    Host,
    /// Those of a private pid namespace.
    Own,
    /// It cannot be told.
    Unknown,
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
    let pid_namespace = namespace(&roots.proc, "pid", FIRST_PID_NAMESPACE);
    let (networks, descriptors) = others(&roots.proc);
    ProcessFacts {
        cgroup_namespace: namespace(&roots.proc, "cgroup", FIRST_CGROUP_NAMESPACE),
        pid_namespace,
        procfs: procfs(&roots.proc, pid_namespace),
        hidepid: hidepid(&roots.proc),
        networks,
        descriptors,
    }
}

/// The machine's first namespaces have fixed numbers. A host may itself be a container, whose process 1 then is in
/// another one.
fn namespace(proc: &Path, kind: &str, first: u64) -> Namespace {
    let number =
        |process: &str| std::fs::metadata(proc.join(process).join("ns").join(kind)).ok().map(|meta| meta.ino());
    let Some(own) = number("self") else { return Namespace::Unknown };
    // Process 1 of a procfs that shows a private pid namespace is no witness for the host.
    let of_host = number("1").filter(|_| levels(proc).is_some_and(|levels| levels > 1));
    if own == first || of_host == Some(own) { Namespace::Host } else { Namespace::Private }
}

/// How many pid namespaces lie between the one that this procfs shows and this process', both included: the fields of
/// `NSpid` of `self/status` (since 4.1).
fn levels(proc: &Path) -> Option<usize> {
    let status = std::fs::read_to_string(proc.join("self/status")).ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_ascii_whitespace().count())
}

fn procfs(proc: &Path, pid_namespace: Namespace) -> Procfs {
    match (levels(proc), pid_namespace) {
        (Some(2..), _) | (_, Namespace::Host) => Procfs::Host,
        (Some(_), Namespace::Private) => Procfs::Own,
        (None, Namespace::Private) | (_, Namespace::Unknown) => Procfs::Unknown,
    }
}

/// Of several mounts at one place the last is the one that is seen.
fn hidepid(proc: &Path) -> Option<String> {
    use std::os::unix::ffi::OsStrExt as _;
    let place = std::fs::canonicalize(proc).ok()?;
    let table = std::fs::read(proc.join("self/mountinfo")).ok()?;
    let mounted = mounts(&table).filter_map(Result::ok).filter(|mount| *mount.point == *place.as_os_str().as_bytes());
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
    fn this_process_sees_itself() {
        let facts = gather(&HostRoots::default());
        assert_ne!(facts.pid_namespace, Namespace::Unknown);
        assert_ne!(facts.procfs, Procfs::Unknown);
        assert_eq!(levels(Path::new("/proc")), Some(1), "the procfs of one's own namespace");
    }

    #[test]
    fn without_a_procfs_nothing_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let roots = HostRoots { proc: directory.path().into(), ..HostRoots::default() };
        let facts = gather(&roots);
        assert_eq!((facts.pid_namespace, facts.procfs), (Namespace::Unknown, Procfs::Unknown));
        assert_eq!((facts.hidepid, facts.networks), (None, Tally::default()));
    }
}
