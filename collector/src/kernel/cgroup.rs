//! The mounted cgroup hierarchies and the directories in them.
//!
//! Finds which hierarchies there are and where, walks their directories and does path arithmetic. The statistics
//! files are described in [`v1`] and [`v2`], reading them is up to the sampler.

mod extent;
pub mod hugetlb;
pub mod memory_stat;
pub mod mounts;
pub mod v1;
pub mod v2;
mod walk;

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::file::{self, FileAt, ReadBuffer};
use crate::kernel::namespaces::Surroundings;
use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::words;
use mounts::{Membership, Mount, memberships, mounts};

pub use extent::Extent;
use extent::{View, extent};
pub use walk::{LONGEST_PATH, children, scan};

/// Where every distribution mounts cgroups; mounts there stand for [`HostRoots::cgroup`] when nothing is mounted below
/// that itself.
const USUAL_ROOT: &[u8] = b"/sys/fs/cgroup";
/// `statfs.f_type` of cgroup2 (`CGROUP2_SUPER_MAGIC`).
const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// The hierarchy id of the default hierarchy, which is cgroup v2's.
pub const DEFAULT_HIERARCHY: u32 = 0;

/// Inode number of a hierarchy's root directory.
const ROOT_INODE: u64 = 1;

/// Which interface a hierarchy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `cgroup`: one or more controllers, or a name.
    V1,
    /// `cgroup2`: the default hierarchy.
    V2,
}

/// What the machine as a whole uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only v1 hierarchies are mounted.
    V1,
    /// The cgroup root is itself a cgroup2 mount.
    V2,
    /// v1 hierarchies with a cgroup2 mount beside them.
    Hybrid,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Hierarchy id as in `/proc/<pid>/cgroup`; 0 is the default (v2) one.
    pub id: u32,
    /// Which interface it speaks.
    pub version: Version,
    /// Its controllers by the kernel's names. On v2 those of the root's `cgroup.controllers`.
    pub controllers: Vec<Box<str>>,
    /// The name of a v1 hierarchy mounted with `name=`.
    pub name: Option<Box<str>>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// How much of it is mounted there.
    pub extent: Extent,
    /// The name of the cgroup that is mounted there; empty for the one that is called `/`.
    pub top: Box<[u8]>,
    /// How many levels the root of the collector's cgroup namespace lies below the mounted cgroup.
    pub levels_above: usize,
}

impl Hierarchy {
    /// Whether it provides this controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| &**name == controller)
    }

    /// The place of a file in a cgroup of this hierarchy.
    pub fn file<'a>(&'a self, cgroup: &'a [u8], file: &'a str) -> FileAt<'a> {
        FileAt { mount: &self.mount, directory: cgroup.strip_prefix(&*self.top).unwrap_or(cgroup), file }
    }

    /// The name of the cgroup that is mounted.
    pub fn top_name(&self) -> &[u8] {
        if self.top.is_empty() { b"/" } else { &self.top }
    }

    /// The directory of a cgroup.
    pub fn dir(&self, cgroup: &[u8]) -> PathBuf {
        self.file(cgroup, "").path()
    }

    /// The kernfs id of a cgroup: its directory's inode number. `None` when it is not there.
    pub fn id_of(&self, cgroup: &[u8], buffer: &mut ReadBuffer) -> Option<u64> {
        self.file(cgroup, "").stat(buffer).ok().map(|stat| stat.st_ino)
    }
}

/// Every mounted hierarchy, in the order of the mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    /// What the machine uses.
    pub mode: Mode,
    list: Vec<Hierarchy>,
}

/// The cgroup hierarchies could not be found.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The cgroup root cannot be looked at.
    #[error(
        "{root}: {errno}: the directory with the cgroup mounts cannot be read; mount the host's /sys/fs/cgroup there or \
         give the right directory with --cgroup_root",
        root = root.display()
    )]
    Root {
        /// The root.
        root: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// A file in procfs that lists the mounts cannot be read.
    #[error(
        "{0}; procfs of the host is needed to find the cgroup hierarchies: mount it, or give the right directory \
         with --rootfs or --proc_root"
    )]
    Proc(#[source] ReadError),
    /// Nothing is mounted below the root.
    #[error(
        "{root}: no cgroup file system is mounted here or below; mount the host's /sys/fs/cgroup there (in a container \
         as a recursive bind mount) or give the right directory with --cgroup_root",
        root = root.display()
    )]
    NoMount {
        /// The root.
        root: PathBuf,
    },
}

impl Hierarchies {
    /// Finds every hierarchy mounted at or below [`HostRoots::cgroup`].
    pub fn detect(roots: &HostRoots) -> Result<Self, DetectError> {
        let root_error = |errno| DetectError::Root { root: roots.cgroup.clone(), errno };
        let file_system = rustix::fs::statfs(&roots.cgroup).map_err(root_error)?;
        let root = std::fs::canonicalize(&roots.cgroup)
            .map_err(|error| root_error(Errno::from_io_error(&error).unwrap_or(Errno::NOENT)))?;
        let mut buffer = ReadBuffer::new();
        let mut text = |name: &str| {
            let path = roots.proc.join(name);
            let text = file::read(&path, &mut buffer).map(<[u8]>::to_vec).map_err(DetectError::Proc)?;
            Ok((path, text))
        };
        let (mount_path, mount_text) = text("self/mountinfo")?;
        let (membership_path, membership_text) = text("self/cgroup")?;
        let (mut odd_mounts, mut odd_memberships) = (OddLines::default(), OddLines::default());
        let mounted: Vec<_> = mounts(&mount_text, &mut odd_mounts).collect();
        let known: Vec<_> = memberships(&membership_text, &mut odd_memberships).collect();
        let surroundings = Surroundings::look(&roots.proc);
        let is_root = |place: &Path| rustix::fs::stat(place).is_ok_and(|stat| stat.st_ino == ROOT_INODE);
        let found = Self::from_mounts(&root, &mounted, &known, View { surroundings, is_root: &is_root });
        for (path, odd) in [(&mount_path, odd_mounts), (&membership_path, odd_memberships)] {
            if let Some(error) = ReadError::of_odd_lines(path, odd) {
                tracing::warn!(%error, "a line of the mount table is ignored");
            }
        }
        let mut found = found.ok_or_else(|| DetectError::NoMount { root: roots.cgroup.clone() })?;
        // The root may be given as a place the host's mounts are not at. Every cgroup of either version has this file.
        found.list.retain(|hierarchy| hierarchy.mount.join("cgroup.procs").exists());
        if found.list.is_empty() {
            return Err(DetectError::NoMount { root: roots.cgroup.clone() });
        }
        if file_system.f_type == CGROUP2_MAGIC {
            found.mode = Mode::V2;
        }
        for hierarchy in found.list.iter_mut().filter(|hierarchy| hierarchy.version == Version::V2) {
            // Without the file no controller is known to be there; existence and pressure remain.
            if let Ok(text) = hierarchy.file(b"/", "cgroup.controllers").read(&mut buffer) {
                hierarchy.controllers = words(text.trim_ascii()).map(controller_name).collect();
            }
        }
        Ok(found)
    }

    /// The pure part of [`Hierarchies::detect`]: from the mounts and the lines of `/proc/self/cgroup`.
    fn from_mounts(root: &Path, mounted: &[Mount<'_>], known: &[Membership<'_>], view: View<'_>) -> Option<Self> {
        use std::os::unix::ffi::OsStrExt;
        let root_bytes = root.as_os_str().as_bytes();
        let mut list = hierarchies_below(root_bytes, root, mounted, known, view);
        if list.is_empty() {
            list = hierarchies_below(USUAL_ROOT, root, mounted, known, view);
        }
        // Names of one hierarchy's part and of another's whole do not fit together.
        if list.iter().any(|hierarchy| hierarchy.extent == Extent::Whole) {
            list.retain(|hierarchy| hierarchy.extent == Extent::Whole);
        }
        let (v1, v2): (Vec<_>, Vec<_>) = list.iter().partition(|hierarchy| hierarchy.version == Version::V1);
        let mode = match (v1.is_empty(), v2.first()) {
            (true, None) => return None,
            (_, Some(unified)) if unified.mount == root => Mode::V2,
            (_, Some(_)) => Mode::Hybrid,
            (false, None) => Mode::V1,
        };
        Some(Self { mode, list })
    }

    /// cgroup2 alone, as if nothing else were mounted.
    #[cfg(test)]
    pub fn unified_alone(mut self) -> Option<Self> {
        self.list.retain(|hierarchy| hierarchy.version == Version::V2);
        (!self.list.is_empty()).then_some(Self { mode: Mode::V2, ..self })
    }

    /// Whether every cgroup of the machine is in sight.
    pub fn are_whole(&self) -> bool {
        self.list.iter().all(|hierarchy| hierarchy.extent == Extent::Whole)
    }

    /// Whether only the collector's own cgroup is in sight.
    pub fn are_own(&self) -> bool {
        self.list.iter().all(|hierarchy| hierarchy.extent == Extent::Own)
    }

    /// Every hierarchy.
    pub fn iter(&self) -> std::slice::Iter<'_, Hierarchy> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Never true of detected ones.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The hierarchy at this place of the list.
    pub fn at(&self, position: usize) -> Option<&Hierarchy> {
        self.list.get(position)
    }

    /// The place in the list of the hierarchy with this id.
    pub fn position(&self, id: u32) -> Option<usize> {
        self.list.iter().position(|hierarchy| hierarchy.id == id)
    }

    /// The hierarchy with this id.
    pub fn get(&self, id: u32) -> Option<&Hierarchy> {
        self.list.iter().find(|hierarchy| hierarchy.id == id)
    }

    /// The hierarchy that provides this controller.
    pub fn with_controller(&self, controller: &str) -> Option<&Hierarchy> {
        self.list.iter().find(|hierarchy| hierarchy.has(controller))
    }
}

impl<'a> IntoIterator for &'a Hierarchies {
    type Item = &'a Hierarchy;
    type IntoIter = std::slice::Iter<'a, Hierarchy>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The hierarchies mounted at or below `prefix`, with that prefix replaced by `root`. Of several mounts of one
/// hierarchy the first that shows it whole is taken, or else the first; of several at one place the last.
fn hierarchies_below(
    prefix: &[u8],
    root: &Path,
    mounted: &[Mount<'_>],
    known: &[Membership<'_>],
    view: View<'_>,
) -> Vec<Hierarchy> {
    let mut list: Vec<Hierarchy> = Vec::new();
    for mount in mounted {
        let Some(hierarchy) = hierarchy_of(mount, prefix, root, known, view) else { continue };
        list.retain(|other| other.mount != hierarchy.mount);
        match list.iter_mut().find(|other| other.id == hierarchy.id) {
            None => list.push(hierarchy),
            Some(other) if other.extent != Extent::Whole && hierarchy.extent == Extent::Whole => *other = hierarchy,
            Some(_) => {}
        }
    }
    list
}

fn hierarchy_of(
    mount: &Mount<'_>,
    prefix: &[u8],
    root: &Path,
    known: &[Membership<'_>],
    view: View<'_>,
) -> Option<Hierarchy> {
    use std::os::unix::ffi::OsStrExt;
    let below = mount.point.strip_prefix(prefix)?;
    let place = match below {
        [] => root.to_path_buf(),
        [b'/', relative @ ..] => root.join(std::ffi::OsStr::from_bytes(relative)),
        _ => return None,
    };
    if !matches!(mount.file_system, b"cgroup" | b"cgroup2") {
        return None;
    }
    let (extent, top) = extent(&mount.root, &place, view);
    let levels_above = mount.root.split(|byte| *byte == b'/').filter(|name| *name == b"..").count();
    if mount.file_system == b"cgroup2" {
        return Some(Hierarchy {
            id: DEFAULT_HIERARCHY,
            version: Version::V2,
            controllers: Vec::new(),
            name: None,
            mount: place,
            extent,
            top,
            levels_above,
        });
    }
    // A v1 mount lists its controllers and its name among the options; the line of /proc/self/cgroup that names one
    // of them has the id and the whole list.
    let options: Vec<&[u8]> = mount.super_options.split(|byte| *byte == b',').collect();
    let line =
        known.iter().find(|line| line.hierarchy != 0 && line.controllers().any(|name| options.contains(&name)))?;
    let (names, controllers): (Vec<_>, Vec<_>) = line.controllers().partition(|name| name.starts_with(b"name="));
    Some(Hierarchy {
        id: line.hierarchy,
        version: Version::V1,
        controllers: controllers.into_iter().map(controller_name).collect(),
        name: names.first().map(|name| controller_name(&name[b"name=".len()..])),
        mount: place,
        extent,
        top,
        levels_above,
    })
}

fn controller_name(name: &[u8]) -> Box<str> {
    String::from_utf8_lossy(name).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID_MOUNTS: &[u8] = b"\
23 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 23 0:32 /docker/abc /mnt/memory rw,relatime - cgroup cgroup rw,memory
";
    const HYBRID_SELF: &[u8] = b"9:name=systemd:/\n4:memory:/a\n1:cpu,cpuacct:/\n0::/\n";

    fn found(root: &str, mountinfo: &[u8], self_cgroup: &[u8]) -> Option<Hierarchies> {
        let (mut odd_mounts, mut odd_memberships) = (OddLines::default(), OddLines::default());
        let mounted: Vec<_> = mounts(mountinfo, &mut odd_mounts).collect();
        let known: Vec<_> = memberships(self_cgroup, &mut odd_memberships).collect();
        let surroundings = Surroundings::look(Path::new("/nonexistent"));
        Hierarchies::from_mounts(Path::new(root), &mounted, &known, View { surroundings, is_root: &|_| false })
    }

    fn summary(found: &Hierarchies) -> Vec<(u32, Version, String, Option<&str>, &str)> {
        found
            .iter()
            .map(|hierarchy| {
                let mount = hierarchy.mount.to_str().unwrap();
                (hierarchy.id, hierarchy.version, hierarchy.controllers.join(","), hierarchy.name.as_deref(), mount)
            })
            .collect()
    }

    #[test]
    fn hybrid() {
        let found = found("/sys/fs/cgroup", HYBRID_MOUNTS, HYBRID_SELF).unwrap();
        assert_eq!(found.mode, Mode::Hybrid);
        assert_eq!(
            summary(&found),
            [
                (1, Version::V1, "cpu,cpuacct".into(), None, "/sys/fs/cgroup/cpu,cpuacct"),
                (4, Version::V1, "memory".into(), None, "/sys/fs/cgroup/memory"),
                (9, Version::V1, String::new(), Some("systemd"), "/sys/fs/cgroup/systemd"),
                (0, Version::V2, String::new(), None, "/sys/fs/cgroup/unified"),
            ]
        );
        assert_eq!(found.with_controller("cpuacct").map(|hierarchy| hierarchy.id), Some(1));
        assert_eq!(found.get(4).unwrap().dir(b"/a b/c"), Path::new("/sys/fs/cgroup/memory/a b/c"));
        assert_eq!(found.get(4).unwrap().dir(b"/"), Path::new("/sys/fs/cgroup/memory"));
        assert!(found.get(7).is_none());
    }

    #[test]
    fn pure_v2_and_pure_v1() {
        let v2 = b"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let v2 = found("/sys/fs/cgroup", v2, b"0::/init.scope\n").unwrap();
        assert_eq!(v2.mode, Mode::V2);
        assert_eq!(summary(&v2), [(0, Version::V2, String::new(), None, "/sys/fs/cgroup")]);
        let v1 = found("/sys/fs/cgroup/memory", HYBRID_MOUNTS, HYBRID_SELF).unwrap();
        assert_eq!(v1.mode, Mode::V1);
        assert_eq!(v1.len(), 1);
    }

    #[test]
    fn a_root_elsewhere_stands_for_the_usual_one() {
        let found = found("/rootfs/sys/fs/cgroup", HYBRID_MOUNTS, HYBRID_SELF).unwrap();
        assert_eq!(found.get(4).unwrap().mount, Path::new("/rootfs/sys/fs/cgroup/memory"));
        // Not when something is mounted below it itself, and never by half a path component.
        let both = [HYBRID_MOUNTS, b"60 1 0:38 / /rootfs/unified rw - cgroup2 none rw\n"].concat();
        let found = self::found("/rootfs", &both, HYBRID_SELF).unwrap();
        assert_eq!(summary(&found), [(0, Version::V2, String::new(), None, "/rootfs/unified")]);
        assert!(self::found("/root", b"60 1 0:38 / /rootfs rw - cgroup2 none rw\n", HYBRID_SELF).is_none());
    }

    #[test]
    fn a_whole_mount_wins_over_a_part() {
        let text = b"\
1 1 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
2 1 0:32 / /sys/fs/cgroup/memory-whole rw - cgroup cgroup rw,memory
3 1 0:32 / /sys/fs/cgroup/memory-again rw - cgroup cgroup rw,memory
";
        let found = found("/sys/fs/cgroup", text, HYBRID_SELF).unwrap();
        assert_eq!(summary(&found), [(4, Version::V1, "memory".into(), None, "/sys/fs/cgroup/memory-whole")]);
    }

    #[test]
    fn errors_name_the_place_and_the_fix() {
        let root = tempfile::tempdir().unwrap();
        let roots = |cgroup: PathBuf, proc: PathBuf| HostRoots { proc, cgroup, ..HostRoots::default() };
        let error = |roots| Hierarchies::detect(&roots).unwrap_err().to_string();
        let missing = error(roots(root.path().join("none"), "/proc".into()));
        assert!(missing.contains("none: No such file") && missing.contains("mount the host's"), "{missing}");
        let proc = error(roots(root.path().into(), root.path().into()));
        assert!(proc.contains("self/mountinfo: not there"), "{proc}");
        std::fs::create_dir(root.path().join("self")).unwrap();
        std::fs::write(root.path().join("self/mountinfo"), "23 1 254:0 / / rw - ext4 /dev/vda rw\n").unwrap();
        std::fs::write(root.path().join("self/cgroup"), "0::/\n").unwrap();
        let none = error(roots(root.path().into(), root.path().into()));
        assert!(none.contains("no cgroup file system is mounted here or below"), "{none}");
    }

    #[test]
    fn this_machines_hierarchies_are_found() {
        let Ok(found) = Hierarchies::detect(&HostRoots::default()) else { return };
        let mut buffer = ReadBuffer::new();
        for hierarchy in &found {
            assert!(hierarchy.id_of(b"/", &mut buffer).is_some(), "{}", hierarchy.mount.display());
            assert!(hierarchy.id_of(b"/no such cgroup", &mut buffer).is_none());
        }
    }
}
