//! Cgroups for tests: uniquely named, in a chosen set of hierarchies, removed when the test ends.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use super::harness::Skip;
use super::{Context as _, Result, bytes, ensure, leftovers, process, wait};

/// All cgroups of tests begin with this, followed by the test's process id and a number.
const PREFIX: &str = "collector-test-";
/// v2 controllers the tests make use of.
const V2_CONTROLLERS: [&str; 7] = ["cpu", "cpuset", "memory", "io", "pids", "hugetlb", "misc"];

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is mounted.
    pub(crate) path: PathBuf,
    /// v1: its controllers; `None` for cgroup2.
    pub(crate) controllers: Option<Vec<String>>,
}

impl Mount {
    /// Whether it is the cgroup2 hierarchy.
    pub(crate) fn is_v2(&self) -> bool {
        self.controllers.is_none()
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.as_ref().is_some_and(|names| names.iter().any(|name| name == controller))
    }

    /// Whether it is cgroup2 and has the controller.
    pub(crate) fn offers(&self, controller: &str) -> bool {
        let offered = bytes::read(self.path.join("cgroup.controllers")).unwrap_or_default();
        self.is_v2() && offered.split_whitespace().any(|name| name == controller)
    }

    /// The directory of a cgroup.
    pub(crate) fn dir(&self, name: &OsStr) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(name);
        path.into()
    }
}

/// The hierarchies of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Every hierarchy once.
    pub(crate) mounts: Vec<Mount>,
}

impl Layout {
    /// Reads `/proc/mounts`.
    pub(crate) fn detect() -> Result<Self> {
        let known: Vec<String> = bytes::read("/proc/cgroups")
            .map(|text| text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect())
            .unwrap_or_default();
        let mut mounts: Vec<Mount> = Vec::new();
        for line in bytes::read("/proc/mounts")?.lines() {
            let mut fields = line.split(' ').skip(1);
            let (Some(path), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let controllers = match kind {
                "cgroup2" => None,
                "cgroup" => Some(
                    options
                        .split(',')
                        .filter(|option| option.starts_with("name=") || known.iter().any(|name| name == option))
                        .map(str::to_owned)
                        .collect(),
                ),
                _ => continue,
            };
            if !mounts.iter().any(|mount| mount.controllers == controllers) {
                mounts.push(Mount { path: path.into(), controllers });
            }
        }
        ensure!(!mounts.is_empty(), "no cgroup hierarchy is mounted");
        Ok(Self { mounts })
    }

    /// The hierarchy of a v1 controller.
    pub(crate) fn v1(&self, controller: &str) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.has(controller))
    }

    /// The cgroup2 hierarchy.
    pub(crate) fn v2(&self) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.is_v2())
    }

    /// The hierarchy that limits memory: v1's, or cgroup2 where it has the controller.
    pub(crate) fn memory(&self) -> Option<&Mount> {
        let on_v2 = |mount: &&Mount| mount.offers("memory");
        self.v1("memory").or_else(|| self.v2().filter(on_v2))
    }

    /// Whether cgroup2 is all there is, with the controllers on it.
    pub(crate) fn is_pure_v2(&self) -> bool {
        self.mounts.iter().all(Mount::is_v2)
    }
}

/// The hierarchies a test wants its cgroups in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Set<'a> {
    /// All of them, as container runtimes do.
    Every,
    /// cgroup2 alone.
    V2,
    /// One hierarchy, whichever there is: cgroup2, or else a v1 one.
    One,
    /// These v1 controllers alone.
    V1(&'a [&'a str]),
    /// Where memory is limited: v1 memory, or cgroup2.
    Memory,
}

/// The cgroups of one test, below one uniquely named top.
#[derive(Debug)]
pub(crate) struct Cgroups {
    name: OsString,
    mounts: Vec<Mount>,
}

impl Cgroups {
    /// Makes the top cgroup in a set of hierarchies; skips the test where one is missing.
    pub(crate) fn new(set: Set<'_>) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let layout = Layout::detect()?;
        let pure_v2 = layout.is_pure_v2();
        let mounts = match set {
            Set::Every => layout.mounts,
            Set::V2 => vec![layout.v2().ok_or_else(|| Skip::because("cgroup2 is not mounted"))?.clone()],
            Set::One => layout.v2().or(layout.mounts.first()).cloned().into_iter().collect(),
            Set::V1(controllers) => {
                let mut mounts: Vec<Mount> = Vec::new();
                for controller in controllers {
                    let missing = || Skip::because(format!("no cgroup v1 hierarchy has the {controller} controller"));
                    let mount = layout.v1(controller).ok_or_else(missing)?;
                    if !mounts.contains(mount) {
                        mounts.push(mount.clone());
                    }
                }
                mounts
            }
            Set::Memory => {
                vec![layout.memory().ok_or_else(|| Skip::because("no memory controller is mounted"))?.clone()]
            }
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroups = Self { name: format!("/{PREFIX}{}-{number}", std::process::id()).into(), mounts };
        if pure_v2 {
            // On a hybrid machine the controllers are elsewhere, or on already; its cgroup2 root is left as it is.
            for mount in &cgroups.mounts {
                enable_controllers(&mount.path)?;
            }
        }
        cgroups.make("")?.delegate()?;
        Ok(cgroups)
    }

    /// Name of the top cgroup, with its leading slash.
    pub(crate) fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    /// The hierarchies.
    pub(crate) fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// A cgroup below the top, not made yet. An empty name is the top itself.
    pub(crate) fn at(&self, below: impl AsRef<OsStr>) -> Cgroup<'_> {
        let below = below.as_ref();
        let mut name = self.name.clone();
        if !below.is_empty() {
            name.push("/");
            name.push(below);
        }
        Cgroup { name, mounts: &self.mounts }
    }

    /// Makes a cgroup below the top in every hierarchy of the set. Its parents must exist.
    pub(crate) fn make(&self, below: impl AsRef<OsStr>) -> Result<Cgroup<'_>> {
        let cgroup = self.at(below);
        cgroup.make()?;
        Ok(cgroup)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for mount in &self.mounts {
            remove_tree(&mount.dir(&self.name));
        }
    }
}

/// One cgroup in one or more hierarchies.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup<'a> {
    name: OsString,
    mounts: &'a [Mount],
}

impl Cgroup<'_> {
    /// Its name as the API has it, with a leading slash.
    pub(crate) fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    /// Its name, byte for byte.
    pub(crate) fn raw_name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// Its directories.
    pub(crate) fn dirs(&self) -> Vec<PathBuf> {
        self.mounts.iter().map(|mount| mount.dir(&self.name)).collect()
    }

    /// A file of a v1 controller.
    pub(crate) fn v1_file(&self, controller: &str, file: &str) -> Result<PathBuf> {
        let mount = self.mounts.iter().find(|mount| mount.has(controller));
        Ok(mount.with_context(|| format!("{controller} is not in the set"))?.dir(&self.name).join(file))
    }

    /// A file of the cgroup2 directory.
    pub(crate) fn v2_file(&self, file: &str) -> Result<PathBuf> {
        let mount = self.mounts.iter().find(|mount| mount.is_v2());
        Ok(mount.context("cgroup2 is not in the set")?.dir(&self.name).join(file))
    }

    /// Makes the directories.
    pub(crate) fn make(&self) -> Result<()> {
        for (mount, dir) in self.mounts.iter().zip(self.dirs()) {
            fs::create_dir(&dir).with_context(|| format!("mkdir {}", dir.display()))?;
            if mount.has("cpuset") {
                // A v1 cpuset is born empty and then takes no process.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let parent = dir.parent().unwrap_or(&mount.path);
                    bytes::write(dir.join(file), &bytes::read(parent.join(file))?)?;
                }
            }
        }
        Ok(())
    }

    /// Lets the children of this cgroup have controllers (cgroup2 only).
    pub(crate) fn delegate(&self) -> Result<()> {
        for (mount, dir) in self.mounts.iter().zip(self.dirs()) {
            if mount.is_v2() {
                enable_controllers(&dir)?;
            }
        }
        Ok(())
    }

    /// Removes the directories; waits for processes that are just ending.
    pub(crate) fn remove(&self) -> Result<()> {
        for dir in self.dirs() {
            wait::eventually(wait::seconds(2), || remove_dir(&dir))?;
        }
        Ok(())
    }
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("rmdir {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Turns on, for the children of a cgroup2 directory, what there is of the controllers the tests use.
fn enable_controllers(dir: &Path) -> Result<()> {
    let offered = bytes::read(dir.join("cgroup.controllers"))?;
    for controller in V2_CONTROLLERS {
        if offered.split(' ').any(|name| name == controller) {
            bytes::write(dir.join("cgroup.subtree_control"), &format!("+{controller}"))?;
        }
    }
    Ok(())
}

/// Ends the processes in a tree of cgroups and removes it.
fn remove_tree(top: &Path) {
    if let Err(error) = wait::eventually(wait::seconds(5), || remove_tree_once(top)) {
        eprintln!("left behind: {error:#}");
    }
}

fn remove_tree_once(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree_once(&entry.path())?;
        }
    }
    for number in bytes::read(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Ok(number) = number.parse()
            && number != std::process::id()
        {
            let _ = process::signal(number, Signal::KILL);
        }
    }
    remove_dir(dir)
}

/// Removes the cgroups of tests whose process has ended.
pub(crate) fn remove_leftovers() {
    let Ok(layout) = Layout::detect() else { return };
    for mount in layout.mounts {
        let Ok(entries) = fs::read_dir(&mount.path) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_str().and_then(leftovers::owner).is_some_and(|owner| !process::is_test(owner)) {
                remove_tree(&entry.path());
            }
        }
    }
}
