//! Resource control of the processor (Intel's RDT, Arm's MPAM and their like): the file system at `/sys/fs/resctrl`.
//!
//! A control group has an allocation of cache and memory bandwidth, and monitoring groups in it count what their tasks
//! use. A task is in one monitoring group at most, and its children start there too.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::kernel::error::ReadError;
use crate::kernel::file::ReadBuffer;
use crate::kernel::procfs::process::ProcessDir;
use crate::kernel::text_formats::{FormatError, lines, unsigned};

/// Names of groups that the collector makes begin so.
pub const PREFIX: &str = "collector-";

/// A mounted file system with monitoring.
#[derive(Clone, Debug)]
pub struct Resctrl {
    root: PathBuf,
}

/// The groups of a task: `/proc/<pid>/cpu_resctrl_groups`, since 5.6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// `res`: the control group's name; empty for the root's.
    pub control: String,
    /// `mon`: the monitoring group's name; empty without.
    pub monitoring: String,
}

/// One directory of `mon_data`: a last-level cache. A value is absent where its file is not there or has no number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// Number of the cache, from the directory's name.
    pub id: u32,
    /// `mbm_total_bytes`.
    pub mbm_total_bytes: Option<u64>,
    /// `mbm_local_bytes`.
    pub mbm_local_bytes: Option<u64>,
    /// `llc_occupancy`, bytes.
    pub llc_occupancy: Option<u64>,
}

impl Resctrl {
    /// The file system, if it is mounted and the processor monitors.
    pub fn find(sys: &Path) -> Option<Self> {
        let root = sys.join("fs/resctrl");
        root.join("mon_data").is_dir().then_some(Self { root })
    }

    /// The group that counts for what is in no other of the root's.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of a task's monitoring group; of its control group where it is in none.
    pub fn directory(&self, groups: &Groups) -> PathBuf {
        let control = self.control(&groups.control);
        if groups.monitoring.is_empty() { control } else { control.join("mon_groups").join(&groups.monitoring) }
    }

    /// Makes a monitoring group in a control group; the one of this name if it is there.
    ///
    /// # Errors
    /// The processor has no more of them (`ENOSPC`), or the right is missing.
    pub fn make(&self, control: &str, name: &str) -> Result<PathBuf, ReadError> {
        let path = self.control(control).join("mon_groups").join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(&path, &error)),
            _ => Ok(path),
        }
    }

    /// Removes the groups that a collector made before this one.
    pub fn remove_leftovers(&self) {
        let inside =
            |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let controls = inside(&self.root).chain([self.root.clone()]);
        for group in controls.flat_map(|control| inside(&control.join("mon_groups")).collect::<Vec<_>>()) {
            let ours = group.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
            if ours {
                remove(&group);
            }
        }
    }

    fn control(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }
}

impl Groups {
    /// The groups of a process's first task.
    ///
    /// # Errors
    /// The file cannot be read, or names no control group.
    pub fn of(proc: &Path, pid: u32, buffer: &mut ReadBuffer) -> Result<Self, ReadError> {
        let process = ProcessDir::new(pid);
        let place = process.file(proc, "cpu_resctrl_groups");
        let text = place.read(buffer)?;
        Self::parse(text).map_err(|reason| ReadError::Malformed { path: place.path(), reason })
    }

    fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let row = |key: &[u8]| {
            let value = lines(text).find_map(|(_, line)| line.strip_prefix(key))?;
            Some(String::from_utf8_lossy(value).trim_matches('/').to_owned())
        };
        // Empty in a kernel without a mounted file system; then it has no slash either.
        let control = row(b"res:").ok_or(FormatError::at(1, "no control group"))?;
        // Taken for none, the group's tasks would be moved to another.
        let monitoring = row(b"mon:").ok_or(FormatError::at(1, "no monitoring group"))?;
        Ok(Self { control, monitoring })
    }
}

/// Puts tasks into a group. Those that ended meanwhile are passed over.
///
/// # Errors
/// The first failure of any other kind.
pub fn add_tasks(group: &Path, tasks: &[u32]) -> Result<(), ReadError> {
    let path = group.join("tasks");
    let mut file = OpenOptions::new().write(true).open(&path).map_err(|error| failed(&path, &error))?;
    for task in tasks {
        // One number with each write.
        match file.write_all(format!("{task}\n").as_bytes()) {
            Err(error) if error.raw_os_error() != Some(Errno::SRCH.raw_os_error()) => {
                return Err(failed(&path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes a monitoring group; its tasks are the control group's again.
pub fn remove(group: &Path) {
    if let Err(error) = fs::remove_dir(group) {
        tracing::debug!(group = %group.display(), %error, "a monitoring group stays");
    }
}

/// What a group counted, by cache.
///
/// # Errors
/// The group is gone.
pub fn domains(group: &Path) -> Result<Vec<Domain>, ReadError> {
    let directory = group.join("mon_data");
    let mut domains = Vec::new();
    for entry in fs::read_dir(&directory).map_err(|error| failed(&directory, &error))? {
        let entry = entry.map_err(|error| failed(&directory, &error))?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.strip_prefix("mon_L3_")?.parse().ok()) else {
            continue;
        };
        // `Unavailable` and `Error` are no numbers.
        let value = |file: &str| fs::read(entry.path().join(file)).ok().and_then(|text| unsigned(&text).ok());
        domains.push(Domain {
            id,
            mbm_total_bytes: value("mbm_total_bytes"),
            mbm_local_bytes: value("mbm_local_bytes"),
            llc_occupancy: value("llc_occupancy"),
        });
    }
    domains.sort_unstable_by_key(|domain| domain.id);
    Ok(domains)
}

fn failed(path: &Path, error: &std::io::Error) -> ReadError {
    ReadError::from_errno(path, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A tree as a machine with two sockets shows it.
    fn tree() -> (tempfile::TempDir, Resctrl) {
        let sys = tempfile::tempdir().unwrap();
        assert!(Resctrl::find(sys.path()).is_none());
        let root = sys.path().join("fs/resctrl");
        for (domain, total, local, occupancy) in
            [("mon_L3_00", "3000\n", "2000\n", "1000\n"), ("mon_L3_01", "Unavailable\n", "2001\n", "1001\n")]
        {
            let at = root.join("mon_data").join(domain);
            write(&at.join("mbm_total_bytes"), total);
            write(&at.join("mbm_local_bytes"), local);
            write(&at.join("llc_occupancy"), occupancy);
        }
        write(&root.join("tasks"), "");
        fs::create_dir_all(root.join("mon_groups")).unwrap();
        fs::create_dir_all(root.join("gold/mon_groups/other")).unwrap();
        fs::create_dir_all(root.join("gold/mon_groups/collector-old")).unwrap();
        let found = Resctrl::find(sys.path()).unwrap();
        (sys, found)
    }

    #[test]
    fn what_a_group_counted() {
        let (_sys, resctrl) = tree();
        let first =
            Domain { id: 0, mbm_total_bytes: Some(3000), mbm_local_bytes: Some(2000), llc_occupancy: Some(1000) };
        let second = Domain { id: 1, mbm_total_bytes: None, mbm_local_bytes: Some(2001), llc_occupancy: Some(1001) };
        assert_eq!(domains(resctrl.root()).unwrap(), [first, second]);
        assert!(matches!(domains(&resctrl.root().join("none")), Err(ReadError::Missing(_))));
    }

    #[test]
    fn groups_are_made_in_their_control_group() {
        let (_sys, resctrl) = tree();
        let made = resctrl.make("gold", "collector-x").unwrap();
        assert_eq!(made, resctrl.root().join("gold/mon_groups/collector-x"));
        assert_eq!(resctrl.make("gold", "collector-x").unwrap(), made);
        assert!(resctrl.make("none", "collector-x").is_err());
        write(&made.join("tasks"), "");
        add_tasks(&made, &[7, 8]).unwrap();
        assert_eq!(fs::read_to_string(made.join("tasks")).unwrap(), "7\n8\n");
        fs::remove_file(made.join("tasks")).unwrap();
        resctrl.remove_leftovers();
        let left: Vec<_> = fs::read_dir(resctrl.root().join("gold/mon_groups")).unwrap().flatten().collect();
        assert_eq!(left.iter().map(fs::DirEntry::file_name).collect::<Vec<_>>(), ["other"]);
    }

    #[test]
    fn a_tasks_groups() {
        let (_sys, resctrl) = tree();
        for (text, control, monitoring, directory) in [
            ("res:/\nmon:\n", "", "", ""),
            ("res:/\nmon:mon0\n", "", "mon0", "mon_groups/mon0"),
            ("res:gold\nmon:\n", "gold", "", "gold"),
            ("res:gold\nmon:other/\n", "gold", "other", "gold/mon_groups/other"),
        ] {
            let groups = Groups::parse(text.as_bytes()).unwrap();
            assert_eq!((groups.control.as_str(), groups.monitoring.as_str()), (control, monitoring), "{text}");
            let expected =
                if directory.is_empty() { resctrl.root().to_owned() } else { resctrl.root().join(directory) };
            assert_eq!(resctrl.directory(&groups), expected, "{text}");
        }
        assert!(Groups::parse(b"").is_err() && Groups::parse(b"res:gold\nmox:other\n").is_err());
    }
}
