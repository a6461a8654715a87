//! Which cgroups a process is in, by the names that its cgroups have here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::kernel::cgroup::Hierarchies;
use crate::kernel::cgroup::mounts::memberships;
use crate::kernel::file::ReadBuffer;
use crate::kernel::odd_lines::OddLines;
use crate::kernel::procfs::process::ProcessDir;
use crate::kernel::procfs::process_index::{bases, joined};

/// Reports the cgroups of processes of the procfs in use.
#[derive(Debug)]
pub struct ProcessCgroups {
    proc: PathBuf,
    /// By hierarchy, the name of the cgroup that paths in procfs are relative to.
    bases: HashMap<u32, Vec<u8>>,
}

impl ProcessCgroups {
    /// `None` where only a part of the cgroups is in sight: names there are not those of the machine.
    pub fn find(proc: &Path, hierarchies: &Hierarchies) -> Option<Self> {
        let bases = || bases(proc, hierarchies, std::process::id());
        hierarchies.are_whole().then(|| Self { proc: proc.to_path_buf(), bases: bases() })
    }

    /// The cgroups that this process is in: one, or with cgroup v1 one of each hierarchy. None when there is no such
    /// process.
    pub fn of(&self, pid: u32) -> Vec<Vec<u8>> {
        let (process, mut buffer) = (ProcessDir::new(pid), ReadBuffer::new());
        let Ok(text) = process.file(&self.proc, "cgroup").read(&mut buffer) else { return Vec::new() };
        let named = |line: crate::kernel::cgroup::mounts::Membership<'_>| {
            Some(joined(self.bases.get(&line.hierarchy)?, line.path))
        };
        let mut names: Vec<_> = memberships(text, &mut OddLines::default()).filter_map(named).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_hierarchies() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("42")).unwrap();
        let text = "9:name=systemd:/a\n4:memory:/../2\n3:cpu:/../2\n7:pids:/elsewhere\nnonsense\n0::/\n";
        std::fs::write(directory.path().join("42/cgroup"), text).unwrap();
        let bases = [(0, b"/docker/1".to_vec()), (3, b"/docker/1".to_vec()), (4, b"/docker/1".to_vec())].into();
        let cgroups = ProcessCgroups { proc: directory.path().to_path_buf(), bases };
        assert_eq!(cgroups.of(42), [b"/docker/1".to_vec(), b"/docker/2".to_vec()]);
        assert_eq!(cgroups.of(43), Vec::<Vec<u8>>::new());
    }
}
