//! Cgroups to measure with, made below one parent and removed with it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::interrupt::Interrupt;

/// Where cgroups are made, and which files of each the collector reads every second.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchies {
    /// Which version of cgroups this is.
    pub(super) version: Version,
    roots: Vec<PathBuf>,
    /// Index into `roots`, and the file's name.
    files: Vec<(usize, &'static str)>,
}

/// The version of cgroups that holds the controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// One hierarchy per controller, or per few.
    V1,
    /// One hierarchy.
    V2,
}

/// Files of a v1 cgroup by controller.
const V1_FILES: [(&str, &str); 11] = [
    ("cpuacct", "cpuacct.usage_percpu"),
    ("cpuacct", "cpuacct.stat"),
    ("cpu", "cpu.stat"),
    ("memory", "memory.stat"),
    ("memory", "memory.usage_in_bytes"),
    ("memory", "memory.max_usage_in_bytes"),
    ("memory", "memory.failcnt"),
    ("memory", "memory.kmem.usage_in_bytes"),
    ("blkio", "blkio.throttle.io_serviced_recursive"),
    ("blkio", "blkio.throttle.io_service_bytes_recursive"),
    ("pids", "pids.current"),
];

/// Files of a v2 cgroup.
const V2_FILES: [&str; 11] = [
    "cpu.stat",
    "cpu.pressure",
    "memory.current",
    "memory.stat",
    "memory.peak",
    "memory.events",
    "memory.swap.current",
    "memory.pressure",
    "io.stat",
    "io.pressure",
    "pids.current",
];

impl Hierarchies {
    /// Looks at what is mounted.
    pub(crate) fn detect() -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        if root.join("cgroup.controllers").is_file() {
            let files = V2_FILES.iter().map(|file| (0, *file)).collect();
            return Ok(Self { version: Version::V2, roots: vec![root.to_path_buf()], files });
        }
        let mounts = std::fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
        Self::v1(&mounts)
    }

    /// The files of a cgroup, given by its path within the hierarchies, that exist.
    pub(super) fn files_of(&self, cgroup: &Path) -> Vec<PathBuf> {
        let all = self.files.iter().map(|(index, file)| self.roots[*index].join(cgroup).join(file));
        all.filter(|path| path.is_file()).collect()
    }

    fn v1(mounts: &str) -> Result<Self> {
        let mut roots = Vec::new();
        let mut files = Vec::new();
        for (controller, file) in V1_FILES {
            let root = v1_mount(mounts, controller).with_context(|| format!("no cgroup controller `{controller}`"))?;
            let index = roots.iter().position(|known| *known == root).unwrap_or_else(|| {
                roots.push(root);
                roots.len() - 1
            });
            files.push((index, file));
        }
        Ok(Self { version: Version::V1, roots, files })
    }
}

/// Where a v1 controller is mounted.
fn v1_mount(mounts: &str, controller: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup" && options.split(',').any(|option| option == controller)).then(|| PathBuf::from(path))
    })
}

/// One parent with numbered children, in every hierarchy. Dropping it removes them all.
#[derive(Debug)]
pub(crate) struct Tree {
    hierarchies: Hierarchies,
    name: String,
    len: usize,
}

impl Tree {
    /// Makes the parent.
    pub(super) fn new(hierarchies: &Hierarchies) -> Result<Self> {
        Self::named(hierarchies, "")
    }

    /// Makes one of several parents, whose name ends so.
    pub(crate) fn named(hierarchies: &Hierarchies, end: &str) -> Result<Self> {
        let name = format!("/collector-bench-{}{end}", std::process::id());
        let tree = Self { hierarchies: hierarchies.clone(), name, len: 0 };
        for parent in tree.parents() {
            make(&parent)?;
            if tree.hierarchies.version == Version::V2 {
                // Controllers that cannot be turned on leave fewer files to read, which the report says.
                for folder in [parent.parent().unwrap_or(&parent), &parent] {
                    for controller in ["cpu", "memory", "io", "pids"] {
                        drop(std::fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")));
                    }
                }
            }
        }
        Ok(tree)
    }

    /// The parent's path within the hierarchies, which is also its name as a container.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many numbered children there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes children until there are this many.
    pub(crate) fn grow_to(&mut self, len: usize, interrupt: &Interrupt) -> Result<()> {
        while self.len < len {
            interrupt.check()?;
            for parent in self.parents() {
                make(&parent.join(child(self.len)))?;
            }
            self.len += 1;
        }
        Ok(())
    }

    /// Moves a process into a child.
    pub(crate) fn admit(&self, number: usize, pid: u32) -> Result<()> {
        for parent in self.parents() {
            let list = parent.join(child(number)).join("cgroup.procs");
            std::fs::write(&list, pid.to_string()).with_context(|| format!("cannot write {}", list.display()))?;
        }
        Ok(())
    }

    /// A child in one hierarchy alone, which the caller makes.
    pub(super) fn extra(&self, name: &str) -> Result<PathBuf> {
        let memory = self.hierarchies.files.iter().find(|(_, file)| file.starts_with("memory."));
        let (index, _) = memory.context("no memory controller")?;
        Ok(self.parent(&self.hierarchies.roots[*index]).join(name))
    }

    /// Where each hierarchy is mounted, and the parent in it.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&Path, PathBuf)> {
        self.hierarchies.roots.iter().map(|root| (root.as_path(), self.parent(root)))
    }

    /// The files of each child that exist.
    pub(super) fn files(&self) -> impl Iterator<Item = Vec<PathBuf>> + '_ {
        let parent = self.name.trim_start_matches('/');
        (0..self.len).map(move |number| self.hierarchies.files_of(&Path::new(parent).join(child(number))))
    }

    fn parent(&self, root: &Path) -> PathBuf {
        root.join(self.name.trim_start_matches('/'))
    }

    fn parents(&self) -> Vec<PathBuf> {
        self.hierarchies.roots.iter().map(|root| self.parent(root)).collect()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for parent in self.parents() {
            if let Err(error) = remove(&parent) {
                eprintln!("note: some cgroups are left behind: {error:#}");
            }
        }
    }
}

fn child(number: usize) -> String {
    format!("c{number}")
}

fn make(path: &Path) -> Result<()> {
    std::fs::create_dir(path).with_context(|| format!("cannot make the cgroup {}", path.display()))
}

/// Removes a cgroup with its children.
fn remove(path: &Path) -> Result<()> {
    ensure!(path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("collector-bench-")), "not ours");
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let child = entry.path();
            std::fs::remove_dir(&child).with_context(|| format!("cannot remove {}", child.display()))?;
        }
    }
    std::fs::remove_dir(path).with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_that_share_a_mount_share_a_root() {
        let mounts = "cgroup /cg/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup /cg/memory cgroup rw,memory 0 0\n\
                      cgroup /cg/blkio cgroup rw,blkio 0 0\ncgroup /cg/pids cgroup rw,pids 0 0\n\
                      cgroup2 /cg/unified cgroup2 rw 0 0";
        let hierarchies = Hierarchies::v1(mounts).unwrap();
        assert_eq!(hierarchies.roots.len(), 4);
        assert_eq!(hierarchies.files.len(), V1_FILES.len());
        assert!(Hierarchies::v1("cgroup /cg/cpu cgroup rw,cpu 0 0").is_err());
    }

    #[test]
    fn only_our_own_parents_are_removed() {
        assert!(remove(Path::new("/sys/fs/cgroup/memory/other")).is_err());
    }
}
