//! The cgroup hierarchies: where, what is in them, and what of it may be read.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::kernel::HostRoots;
use crate::kernel::cgroup::{DetectError, Extent, Hierarchies, Hierarchy, LONGEST_PATH, Mode, Version, scan};
use crate::kernel::error::ReadError;
use crate::kernel::file::{self, FileAt, ReadBuffer};
use crate::kernel::procfs::process::MachineSwap;
use crate::kernel::text_formats::{lines, number, words};

/// Cgroups of each hierarchy, beside its root, whose files are tried. They are owned by different users at most.
const TRIED_CGROUPS: usize = 16;
/// Beginnings of the names of files with statistics.
const STATISTICS: [&[u8]; 8] = [b"cpu.", b"cpuacct.", b"memory.", b"io.", b"blkio.", b"pids.", b"hugetlb.", b"cpuset."];

/// The cgroup hierarchies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupFacts {
    /// Which versions are mounted.
    pub mode: Mode,
    /// Each hierarchy.
    pub hierarchies: Vec<HierarchyFacts>,
    /// Cgroups, of different paths, in all hierarchies together.
    pub cgroups: usize,
    /// Controllers the kernel lists in `/proc/cgroups`; on kernels since 6.15 those of v1 alone.
    pub listed: Vec<ListedController>,
    /// What the kernel's command line switches off with `cgroup_disable=`.
    pub disabled: Vec<String>,
    /// Statistics files that exist and may not be read.
    pub denied: Denied,
    /// Swap.
    pub swap: Swap,
}

/// One hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HierarchyFacts {
    /// Its version.
    pub version: Version,
    /// Its controllers; on v2 those of the root's `cgroup.controllers`.
    pub controllers: Vec<Box<str>>,
    /// v2: the controllers that the root passes on to its children (`cgroup.subtree_control`).
    pub passed_on: Vec<Box<str>>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// How much of it is there.
    pub extent: Extent,
    /// Why it cannot be walked; `None` when it can.
    pub unreadable: Option<Errno>,
}

/// A line of `/proc/cgroups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedController {
    /// First field.
    pub name: String,
    /// Last field.
    pub state: ControllerState,
}

/// Whether a controller that the kernel has is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerState {
    /// `enabled` is 1.
    On,
    /// `enabled` is 0: switched off when the kernel was started.
    Off,
}

/// Files that exist and may not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// How many were tried.
    pub tried: usize,
    /// How many of them may not be read.
    pub denied: usize,
    /// The first of those.
    pub first: Option<PathBuf>,
}

/// Swap of the machine and of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swap {
    /// `SwapTotal` of the machine, bytes; `None` where it cannot be read.
    pub total: Option<u64>,
    /// Whether the kernel counts it by cgroup.
    pub accounting: Accounting,
}

/// Whether the kernel counts swap by cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accounting {
    /// It does.
    On,
    /// It does not.
    Off,
    /// There is no cgroup, or no memory controller, to see it by.
    Unknown,
}

/// Looks at everything.
pub(super) fn gather(roots: &HostRoots) -> Result<CgroupFacts, DetectError> {
    let hierarchies = Hierarchies::detect(roots)?;
    let mut buffer = ReadBuffer::new();
    let mut all = HashSet::new();
    let mut denied = Denied::default();
    let mut accounting = Accounting::Unknown;
    let mut found = Vec::new();
    for hierarchy in &hierarchies {
        let mut tried: Vec<Vec<u8>> = Vec::new();
        let scanned = scan(hierarchy, LONGEST_PATH, |name, _| {
            if tried.len() <= TRIED_CGROUPS {
                tried.push(name.to_vec());
            }
            if !all.contains(name) {
                all.insert(name.to_vec());
            }
        });
        for cgroup in &tried {
            try_files(&hierarchy.dir(cgroup), &mut denied);
        }
        if hierarchy.has("memory") {
            accounting = swap_accounting(hierarchy, &tried);
        }
        found.push(HierarchyFacts {
            version: hierarchy.version,
            controllers: hierarchy.controllers.clone(),
            passed_on: passed_on(hierarchy, &mut buffer),
            mount: hierarchy.mount.clone(),
            extent: hierarchy.extent,
            unreadable: scanned.err().map(|error| errno_of(&error)),
        });
    }
    let meminfo = file::read(&roots.proc.join("meminfo"), &mut buffer).ok();
    let total = meminfo.and_then(|text| MachineSwap::parse(text).ok()).map(|swap| swap.total);
    let listed = file::read(&roots.proc.join("cgroups"), &mut buffer).map(listed_controllers).unwrap_or_default();
    let disabled = file::read(&roots.proc.join("cmdline"), &mut buffer).map(switched_off).unwrap_or_default();
    let swap = Swap { total, accounting };
    Ok(CgroupFacts { mode: hierarchies.mode, hierarchies: found, cgroups: all.len(), listed, disabled, denied, swap })
}

fn errno_of(error: &ReadError) -> Errno {
    match error {
        ReadError::Missing(_) | ReadError::Malformed { .. } | ReadError::OddLines { .. } => Errno::NOENT,
        ReadError::Gone(_) => Errno::NODEV,
        ReadError::Unsupported(_) => Errno::OPNOTSUPP,
        ReadError::Denied(_) => Errno::ACCESS,
        ReadError::Failed { errno, .. } => *errno,
    }
}

fn passed_on(hierarchy: &Hierarchy, buffer: &mut ReadBuffer) -> Vec<Box<str>> {
    if hierarchy.version == Version::V1 {
        return Vec::new();
    }
    let place = FileAt { mount: &hierarchy.mount, directory: b"/", file: "cgroup.subtree_control" };
    let text = place.read(buffer).unwrap_or_default();
    words(text.trim_ascii()).map(|name| String::from_utf8_lossy(name).into()).collect()
}

/// Opens every statistics file of a cgroup whose mode lets anybody read it at all.
fn try_files(directory: &Path, denied: &mut Denied) {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    // A directory that is gone, or cannot be listed, is reported elsewhere.
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let counts = STATISTICS.iter().any(|start| name.as_bytes().starts_with(start));
        if !counts || entry.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o444 == 0) {
            continue;
        }
        match std::fs::File::open(entry.path()) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                denied.tried += 1;
                denied.denied += 1;
                denied.first.get_or_insert_with(|| entry.path());
            }
            Err(_) => {}
            Ok(_) => denied.tried += 1,
        }
    }
}

/// v1 has the file in every cgroup, v2 in all but the root.
fn swap_accounting(hierarchy: &Hierarchy, cgroups: &[Vec<u8>]) -> Accounting {
    let (file, counted_with) = match hierarchy.version {
        Version::V1 => ("memory.memsw.usage_in_bytes", "memory.usage_in_bytes"),
        Version::V2 => ("memory.swap.current", "memory.current"),
    };
    let exists = |cgroup: &[u8], file: &str| hierarchy.file(cgroup, file).path().exists();
    let below_root = |cgroup: &&Vec<u8>| hierarchy.version == Version::V1 || cgroup.as_slice() != b"/";
    match cgroups.iter().filter(below_root).find(|cgroup| exists(cgroup, counted_with)) {
        None => Accounting::Unknown,
        Some(cgroup) if exists(cgroup, file) => Accounting::On,
        Some(_) => Accounting::Off,
    }
}

/// `/proc/cgroups`: name, hierarchy, number of cgroups, enabled.
fn listed_controllers(text: &[u8]) -> Vec<ListedController> {
    let rows = lines(text).filter(|(_, line)| !line.starts_with(b"#"));
    let parsed = rows.filter_map(|(_, line)| {
        let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let name = String::from_utf8_lossy(fields.next()?).into_owned();
        let state = if number(fields.nth(2)?)? == 0 { ControllerState::Off } else { ControllerState::On };
        Some(ListedController { name, state })
    });
    parsed.collect()
}

/// The controllers named by `cgroup_disable=memory,pids`, which may be given more than once.
fn switched_off(command_line: &[u8]) -> Vec<String> {
    let values = command_line
        .split(u8::is_ascii_whitespace)
        .filter_map(|word| word.strip_prefix(b"cgroup_disable="))
        .flat_map(|list| list.split(|byte| *byte == b','));
    values.filter(|name| !name.is_empty()).map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn controllers_of_proc_cgroups() {
        let text = b"#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t0\t16\t0\n\nbroken\t1\n";
        let listed = listed_controllers(text);
        let expected = [("cpu", ControllerState::On), ("memory", ControllerState::Off)];
        assert_eq!(listed.iter().map(|row| (row.name.as_str(), row.state)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_command_line_switches_controllers_off() {
        let line = b"quiet cgroup_disable=memory,pids console=ttyS0 cgroup_disable=io\n";
        assert_eq!(switched_off(line), ["memory", "pids", "io"]);
        assert!(switched_off(b"cgroup_enable=memory\n").is_empty());
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let facts = gather(&HostRoots::default()).unwrap();
        assert!(!facts.hierarchies.is_empty() && facts.cgroups > 0, "{facts:?}");
        assert!(facts.denied.tried > 0, "no statistics file was found: {facts:?}");
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (listed_controllers(&text), switched_off(&text));
        }
    }
}
