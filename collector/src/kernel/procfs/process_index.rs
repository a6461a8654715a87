//! Which processes are in a cgroup, where `cgroup.procs` does not list them: in a container with a pid namespace of its
//! own.
//!
//! The host's procfs shows every process, and for each its cgroups. Reading all of it takes about five microseconds per
//! process, so it is done by a thread of its own, only when somebody asks for something newer, and for at most a
//! hundredth of a CPU. A list may therefore be old; [`ProcessIndex::belongs`] reports whether a process still is where
//! it was.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use crate::bounds::Bound;
use crate::kernel::cgroup::mounts::memberships;
use crate::kernel::cgroup::{Hierarchies, Hierarchy, LONGEST_PATH, scan};
use crate::kernel::error::ReadError;
use crate::kernel::file::{self, ReadBuffer};
use crate::kernel::namespaces::{CgroupNamespace, Surroundings};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::procfs::process::{ProcessDir, process_ids};

/// The shortest time between two readings of all processes.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// A pause is at least this many times what the reading before it took.
const PAUSE_SHARE: u32 = 100;

/// The processes of a hierarchy's cgroups by name.
type ByCgroup = HashMap<Box<[u8]>, Vec<u32>>;

/// The processes of every cgroup, as the host's procfs has them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProcessIndex {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    proc: PathBuf,
    /// By hierarchy, the name of the cgroup that paths in procfs are relative to.
    bases: HashMap<u32, Vec<u8>>,
    current: RwLock<Arc<Reading>>,
    wanted: Mutex<Wanted>,
    wake: Condvar,
}

/// One reading of all processes.
#[derive(Debug)]
struct Reading {
    at: Instant,
    took: Duration,
    by_hierarchy: HashMap<u32, ByCgroup>,
}

/// Whether a newer reading is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    No,
    Yes,
}

impl ProcessIndex {
    /// Reads all processes once; [`ProcessIndex::refresher`] does it again.
    pub fn read(proc: &Path, hierarchies: &Hierarchies) -> Self {
        let bases = bases(proc, hierarchies, std::process::id());
        let first = read_all(proc, &bases);
        tracing::debug!(took = ?first.took, hierarchies = bases.len(), "processes of the host are indexed");
        let shared = Arc::new(Shared {
            proc: proc.to_path_buf(),
            bases,
            current: RwLock::new(Arc::new(first)),
            wanted: Mutex::new(Wanted::No),
            wake: Condvar::new(),
        });
        Self { shared }
    }

    /// What a thread of its own does, to read all processes whenever that is asked for. It ends with the last clone of the
    /// index.
    pub fn refresher(&self) -> impl FnOnce() + Send + use<> {
        let weak = Arc::downgrade(&self.shared);
        move || refresh(&weak)
    }

    /// The processes of this very cgroup, by their ids on the host. A list older than this is renewed for the next
    /// call, as soon as the index may.
    pub fn processes(&self, hierarchy: u32, cgroup: &[u8], oldest: Duration) -> Vec<u32> {
        let reading = Arc::clone(&self.shared.current.read().unwrap_or_else(PoisonError::into_inner));
        if reading.at.elapsed() > oldest {
            let mut wanted = self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut *wanted, Wanted::Yes) == Wanted::No {
                self.shared.wake.notify_one();
            }
        }
        reading.by_hierarchy.get(&hierarchy).and_then(|lists| lists.get(cgroup)).cloned().unwrap_or_default()
    }

    /// Whether this process is in this cgroup, in any hierarchy, right now.
    pub fn belongs(&self, pid: u32, cgroup: &[u8], buffer: &mut ReadBuffer) -> bool {
        let place = ProcessDir::new(pid);
        let Ok(text) = place.file(&self.shared.proc, "cgroup").read(buffer) else { return false };
        memberships(text, &mut OddLines::default()).any(|line| {
            let base = self.shared.bases.get(&line.hierarchy);
            base.is_some_and(|base| joined(base, line.path) == cgroup)
        })
    }
}

/// Bytes of the names of all cgroups with processes, in all hierarchies.
const LONGEST_NAMES: usize = 16 << 20;

/// Reads all processes whenever that is wanted and allowed.
fn refresh(shared: &Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        let wanted = shared.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken now and then to see whether anybody is left who could want something.
        let asked = shared.wake.wait_timeout_while(wanted, SHORTEST_PAUSE, |wanted| *wanted == Wanted::No);
        let (mut wanted, waited) = asked.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            continue;
        }
        *wanted = Wanted::No;
        drop(wanted);
        let reading = read_all(&shared.proc, &shared.bases);
        let pause = (reading.took * PAUSE_SHARE).max(SHORTEST_PAUSE);
        *shared.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(reading);
        drop(shared);
        std::thread::sleep(pause);
    }
}

fn read_all(proc: &Path, bases: &HashMap<u32, Vec<u8>>) -> Reading {
    let began = Instant::now();
    let mut by_hierarchy: HashMap<u32, ByCgroup> =
        bases.keys().map(|hierarchy| (*hierarchy, ByCgroup::new())).collect();
    let mut names = 0;
    let mut buffer = ReadBuffer::new();
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        // A process that ended since it was listed has no file.
        let Ok(text) = ProcessDir::new(pid).file(proc, "cgroup").read(&mut buffer) else { continue };
        for line in memberships(text, &mut OddLines::default()) {
            let (Some(base), Some(lists)) = (bases.get(&line.hierarchy), by_hierarchy.get_mut(&line.hierarchy)) else {
                continue;
            };
            let name = joined(base, line.path);
            names += if lists.contains_key(name.as_slice()) { 0 } else { name.len() };
            if names > LONGEST_NAMES {
                Bound::ListRows.exceeded();
                break;
            }
            lists.entry(name.into()).or_default().push(pid);
        }
    }
    Reading { at: began, took: began.elapsed(), by_hierarchy }
}

/// The name of the cgroup at this path relative to a base: `/../x` from `/docker/1` is `/docker/x`.
pub(crate) fn joined(base: &[u8], mut path: &[u8]) -> Vec<u8> {
    let mut name = base;
    while let Some(rest) = path.strip_prefix(b"/..").filter(|rest| rest.is_empty() || rest.starts_with(b"/")) {
        name = &name[..name.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
        path = rest;
    }
    let below = if path == b"/" { b"" } else { path };
    let name = [name, below].concat();
    if name.is_empty() { b"/".to_vec() } else { name }
}

/// The cgroups that paths in procfs are relative to: the hierarchies' roots, or in a cgroup namespace its root, which
/// has no name there and is found by looking which cgroup this process is in.
pub(crate) fn bases(proc: &Path, hierarchies: &Hierarchies, own_pid: u32) -> HashMap<u32, Vec<u8>> {
    let mut bases = HashMap::new();
    let namespace = Surroundings::look(proc).cgroups;
    let mut buffer = ReadBuffer::new();
    let own = file::read(&proc.join("self/cgroup"), &mut buffer).map(<[u8]>::to_vec).unwrap_or_default();
    let mut last: Option<Vec<u8>> = None;
    for hierarchy in hierarchies {
        if namespace == CgroupNamespace::Initial {
            bases.insert(hierarchy.id, Vec::new());
            continue;
        }
        if hierarchy.levels_above == 0 {
            bases.insert(hierarchy.id, hierarchy.top.to_vec());
            continue;
        }
        let mut odd = OddLines::default();
        let found = memberships(&own, &mut odd).find(|line| line.hierarchy == hierarchy.id);
        let Some(own) = found else { continue };
        let found = last.clone().filter(|cgroup| holds(hierarchy, cgroup, own_pid, &mut buffer));
        let found = found.or_else(|| own_cgroup(hierarchy, own.path, own_pid).ok().flatten());
        let below = if own.path == b"/" { b"" } else { own.path };
        if let Some(base) = found.as_ref().and_then(|found| found.strip_suffix(below)) {
            bases.insert(hierarchy.id, base.to_vec());
            last = found;
        } else {
            let hierarchy = hierarchy.mount.display();
            tracing::debug!(%hierarchy, "the collector's own cgroup is not found; its processes are not listed");
        }
    }
    bases
}

/// The cgroup this process is in, which is as deep as the mount says.
fn own_cgroup(hierarchy: &Hierarchy, path: &[u8], own_pid: u32) -> Result<Option<Vec<u8>>, ReadError> {
    let levels = |name: &[u8]| name.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).count();
    let depth = hierarchy.levels_above + levels(path);
    let mut buffer = ReadBuffer::new();
    let mut found = None;
    scan(hierarchy, LONGEST_PATH, |name, _| {
        if found.is_none() && levels(name) == depth && holds(hierarchy, name, own_pid, &mut buffer) {
            found = Some(name.to_vec());
        }
    })?;
    Ok(found)
}

/// Whether a process of the collector's own pid namespace is in this cgroup.
fn holds(hierarchy: &Hierarchy, cgroup: &[u8], pid: u32, buffer: &mut ReadBuffer) -> bool {
    let procs = hierarchy.file(cgroup, "cgroup.procs").read(buffer);
    procs.is_ok_and(|text| process_ids(text, &mut OddLines::default()).any(|listed| listed == pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::HostRoots;

    #[test]
    fn relative_paths_are_joined() {
        for (base, path, name) in [
            (&b""[..], &b"/"[..], &b"/"[..]),
            (b"", b"/a/b", b"/a/b"),
            (b"/docker/1", b"/", b"/docker/1"),
            (b"/docker/1", b"/x", b"/docker/1/x"),
            (b"/docker/1", b"/../2", b"/docker/2"),
            (b"/docker/1", b"/../..", b"/"),
            (b"/docker/1", b"/../../system.slice/ssh.service", b"/system.slice/ssh.service"),
            (b"/docker/1", b"/../../../..", b"/"),
            (b"/docker/1", b"/..hidden", b"/docker/1/..hidden"),
        ] {
            assert_eq!(joined(base, path), name, "{}", path.escape_ascii());
        }
    }

    /// The procfs of a host, seen from the container `/docker/1`, whose first process is 700 on the host.
    fn host(directory: &Path) -> HostRoots {
        let write = |path: &str, text: &str| {
            let path = directory.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let root = directory.join("cgroup");
        write("proc/self/mountinfo", &format!("32 31 0:29 / {} rw - cgroup2 cgroup2 rw\n", root.display()));
        for (pid, cgroup) in
            [("1", "/../../init.scope"), ("700", "/"), ("801", "/../2"), ("802", "/../2"), ("self", "/")]
        {
            write(&format!("proc/{pid}/cgroup"), &format!("0::{cgroup}\n"));
        }
        for (cgroup, procs) in [("", ""), ("/docker", "0\n"), ("/docker/1", "1\n"), ("/docker/2", "0\n0\n")] {
            write(&format!("cgroup{cgroup}/cgroup.procs"), procs);
        }
        HostRoots { proc: directory.join("proc"), cgroup: root, ..HostRoots::default() }
    }

    #[test]
    fn the_own_cgroup_is_found_and_processes_have_names_of_the_host() {
        let directory = tempfile::tempdir().unwrap();
        let roots = host(directory.path());
        let hierarchies = Hierarchies::detect(&roots).unwrap();
        let mut hierarchy = hierarchies.at(0).unwrap().clone();
        hierarchy.levels_above = 2;
        assert_eq!(own_cgroup(&hierarchy, b"/", 1).unwrap().as_deref(), Some(&b"/docker/1"[..]));
        assert_eq!(own_cgroup(&hierarchy, b"/", 9).unwrap(), None);
        hierarchy.levels_above = 1;
        assert_eq!(own_cgroup(&hierarchy, b"/", 1).unwrap(), None, "at another depth");

        let bases = HashMap::from([(0, b"/docker/1".to_vec())]);
        let mut reading = read_all(&roots.proc, &bases);
        let lists = reading.by_hierarchy.get_mut(&0).unwrap();
        lists.get_mut(&b"/docker/2"[..]).unwrap().sort_unstable();
        assert_eq!(lists[&b"/docker/1"[..]], [700]);
        assert_eq!(lists[&b"/docker/2"[..]], [801, 802]);
        assert_eq!(lists[&b"/init.scope"[..]], [1]);
    }

    #[test]
    fn an_old_list_is_renewed() {
        let directory = tempfile::tempdir().unwrap();
        let roots = host(directory.path());
        let hierarchies = Hierarchies::detect(&roots).unwrap();
        let index = ProcessIndex::read(&roots.proc, &hierarchies);
        std::thread::spawn(index.refresher());
        assert_eq!(index.processes(0, b"/", Duration::MAX), [700]);
        let mut buffer = ReadBuffer::new();
        assert!(index.belongs(700, b"/", &mut buffer));
        assert!(!index.belongs(700, b"/x", &mut buffer) && !index.belongs(4, b"/", &mut buffer));
        std::fs::write(roots.proc.join("700/cgroup"), "0::/moved\n").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while index.processes(0, b"/moved", Duration::ZERO) != [700] {
            assert!(Instant::now() < deadline, "the list stays old");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
