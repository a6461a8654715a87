//! Which namespaces the collector runs in, and with that what procfs and the cgroup files show it.
//!
//! A container without the host's pid namespace reads ids of its own namespace in `cgroup.procs`: other processes are
//! left out (cgroup v1) or are 0 (v2). One with a cgroup namespace of its own reads cgroup paths relative to its own
//! cgroup. The host's procfs, mounted into the container, shows every process, by its id on the host.

use std::path::Path;

use crate::kernel::cgroup::mounts::memberships;
use crate::kernel::file::{self, FileAt, ReadBuffer};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::words;

/// Inode number of the initial cgroup namespace (`PROC_CGROUP_INIT_INO`).
const INITIAL_CGROUP: u64 = 0xefff_fffb;
/// Inode number of the initial pid namespace (`PROC_PID_INIT_INO`).
const INITIAL_PID: u64 = 0xefff_fffc;

/// Relative to what the kernel gives this process cgroup paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupNamespace {
    /// The hierarchies' roots.
    Initial,
    /// The cgroup this process, or its container, was started in.
    Private,
}

/// Whose processes the procfs in use shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcfsView {
    /// Those of the initial pid namespace, which is the collector's own too.
    Initial,
    /// Those of the collector's own pid namespace, which is not the initial one.
    Own,
    /// Those of a namespace around the collector's own: a procfs of the host, seen from a container.
    Outer,
}

/// What kind of place the collector's namespaces are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A machine: the real one, or a container that runs an operating system and is one to those who use it.
    Machine,
    /// A container for the collector alone.
    OwnContainer,
}

/// Where the collector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Relative to what cgroup paths are.
    pub cgroups: CgroupNamespace,
    /// Whose processes procfs shows.
    pub procfs: ProcfsView,
    /// What the namespaces belong to.
    pub place: Place,
}

impl Surroundings {
    /// Looks at this process through this procfs. What cannot be read (kernels before 4.6 have no cgroup namespaces)
    /// counts as initial.
    pub fn look(proc: &Path) -> Self {
        let mut buffer = ReadBuffer::new();
        let own = |file| FileAt { mount: proc, directory: b"/self", file };
        let mut is = |file, inode| own(file).stat(&mut buffer).map_or(true, |stat| stat.st_ino == inode);
        let initial_cgroup = is("ns/cgroup", INITIAL_CGROUP);
        let initial_pid = is("ns/pid", INITIAL_PID);
        let mut text = |path: &str| file::read(&proc.join(path), &mut buffer).map(<[u8]>::to_vec).unwrap_or_default();
        let (status, own, first) = (text("self/status"), text("self/cgroup"), text("1/cgroup"));
        let cgroups = if initial_cgroup { CgroupNamespace::Initial } else { CgroupNamespace::Private };
        let procfs = match (initial_pid, namespaces_of_pid(&status) > 1) {
            (true, _) => ProcfsView::Initial,
            (false, true) => ProcfsView::Outer,
            (false, false) => ProcfsView::Own,
        };
        Self { cgroups, procfs, place: place(cgroups, procfs, &own, &first) }
    }
}

/// How many ids a process has in the namespaces from procfs's down to its own: row `NSpid` of `status`, since 4.1.
fn namespaces_of_pid(status: &[u8]) -> usize {
    let row = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"));
    row.map_or(0, |ids| words(ids).count())
}

/// A container that runs an operating system has a first process in another cgroup than the collector's, and that
/// cgroup lies within the collector's cgroup namespace.
fn place(cgroups: CgroupNamespace, procfs: ProcfsView, own: &[u8], first: &[u8]) -> Place {
    let is_outside = memberships(first, &mut OddLines::default()).any(|line| line.path.starts_with(b"/.."));
    match (procfs, cgroups) {
        (ProcfsView::Initial, CgroupNamespace::Initial) => Place::Machine,
        (ProcfsView::Own, _) if !is_outside && !first.is_empty() && first != own => Place::Machine,
        _ => Place::OwnContainer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_process() {
        assert_eq!(namespaces_of_pid(b"Name:\tx\nNSpid:\t27780\t24\nNSpgid:\t1\n"), 2);
        assert_eq!(namespaces_of_pid(b"NSpid:\t27780\n"), 1);
        assert_eq!(namespaces_of_pid(b"Name:\tNSpid: 1 2\n"), 0);
    }

    #[test]
    fn places() {
        use CgroupNamespace::{Initial, Private};
        let of = |cgroups, procfs, own: &str, first: &str| place(cgroups, procfs, own.as_bytes(), first.as_bytes());
        let machine = of(Initial, ProcfsView::Initial, "0::/a\n", "0::/\n");
        assert_eq!(machine, Place::Machine, "on the machine itself");
        let lxc = of(Private, ProcfsView::Own, "0::/system.slice/collector.service\n", "0::/init.scope\n");
        assert_eq!(lxc, Place::Machine, "a service of a container with an operating system");
        let alone = of(Private, ProcfsView::Own, "0::/\n", "0::/\n");
        assert_eq!(alone, Place::OwnContainer, "with the defaults of a runtime");
        let host_pid = of(Private, ProcfsView::Initial, "0::/\n", "0::/../../init.scope\n");
        assert_eq!(host_pid, Place::OwnContainer, "in the host's pid namespace");
        let pod = of(Private, ProcfsView::Own, "0::/\n", "0::/../../../init.scope\n");
        assert_eq!(pod, Place::OwnContainer, "in the pid namespace of a node that is a container");
        let host_proc = of(Private, ProcfsView::Outer, "0::/\n", "0::/../..\n");
        assert_eq!(host_proc, Place::OwnContainer, "with the host's procfs");
    }

    #[test]
    fn nothing_to_read_is_the_machine() {
        let nowhere = Surroundings::look(Path::new("/nonexistent"));
        assert_eq!((nowhere.cgroups, nowhere.procfs), (CgroupNamespace::Initial, ProcfsView::Initial));
        assert_eq!(nowhere.place, Place::Machine);
    }
}
