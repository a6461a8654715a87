//! What container engines of tests have in common: a folder of their own for data, state and sockets, a process, and
//! the cgroups they leave behind. All of it is gone after the test.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::cgroups::Layout;
use super::harness::Skip;
use super::{Context as _, Error, Result, bytes, ensure, leftovers, process, settings, wait};

/// Folders of engines begin with this, followed by the engine's name and the test's process id.
const PREFIX: &str = "collector-test-engine-";
/// Where the folders are made; a socket's path must be short.
const FOLDER: &str = "/var/tmp";
/// Holds the cgroups to remove afterwards, one a line.
const CGROUPS: &str = "cgroups";

/// What containers may use of memory, in bytes.
pub(crate) const MEMORY_LIMIT: u64 = 64 * bytes::MIB;

/// An engine as a test sees it, whichever it is.
pub(crate) trait ContainerEngine {
    /// Makes and starts a container with a limit on its memory that runs a busybox shell command.
    fn start(&self, command: &str) -> Result<Container>;

    /// Kills and removes a container.
    fn remove(&self, container: &Container) -> Result<()>;
}

/// A container of an engine.
#[derive(Debug)]
pub(crate) struct Container {
    /// The engine's id for it.
    pub(crate) id: String,
    /// Name of its cgroup.
    pub(crate) cgroup: String,
}

/// Finds an installed program; skips the test without.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Skip::because(format!("{name} is not installed")))
}

/// An engine's folder, and the cgroups above those of its containers; removed when dropped.
#[derive(Debug)]
pub(crate) struct Home {
    folder: PathBuf,
}

impl Home {
    /// Makes the folder. `cgroups` are those that the engine will make and leave behind, parents first; the ones that
    /// are there already are left alone.
    pub(crate) fn new(engine: &str, cgroups: &[&str]) -> Result<Self> {
        let folder = Path::new(FOLDER).join(format!("{PREFIX}{engine}-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let home = Self { folder };
        home.will_make(cgroups)?;
        Ok(home)
    }

    /// Has these cgroups removed in the end, those that are not there yet. They are noted on disk, so that the runner
    /// finds them too when the test was killed.
    fn will_make(&self, cgroups: &[&str]) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(CGROUPS))?;
        for mount in Layout::detect()?.mounts {
            let paths = cgroups.iter().map(|name| mount.path.join(name.trim_start_matches('/')));
            for path in paths.filter(|path| !path.exists()) {
                writeln!(file, "{}", path.display())?;
            }
        }
        Ok(())
    }

    /// Something in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts the engine.
    pub(crate) fn start(self, mut command: Command) -> Result<Engine> {
        let log = File::create(self.path("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = spawn(&mut command)?;
        Ok(Engine { command, process, home: self })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| format!("start {}", command.get_program().display()))
}

/// A running engine, ended when dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    command: Command,
    process: Child,
    home: Home,
}

impl Engine {
    /// Something in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path(name)
    }

    /// Has the cgroup of a container removed in the end that is to be started now.
    pub(crate) fn will_start(&self, cgroup: &str) -> Result<()> {
        self.home.will_make(&[cgroup])
    }

    /// Waits until it answers; skips the test when it ends instead, unless this is a machine made to run engines.
    pub(crate) fn wait_ready(&mut self, mut ask: impl FnMut() -> Result<()>) -> Result<()> {
        // On busy processors Docker's own deadline for its containerd, 15 seconds, may be too short at first.
        let mut more_starts = 2;
        let ready = wait::eventually(wait::seconds(40), || {
            if let Some(status) = self.process.try_wait()? {
                let last = self.last_words(1);
                if more_starts == 0 {
                    return Err(Skip::because(format!("the engine does not run here: {status}: {last}")));
                }
                more_starts -= 1;
                self.process = spawn(&mut self.command)?;
            }
            ask()
        });
        if settings::in_vm() { ready.map_err(|error| Error::msg(format!("{error:#}"))) } else { ready }
    }

    /// Kills it, as nobody should. What it has started may live on.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Starts it again after [`Engine::kill`].
    pub(crate) fn revive(&mut self) -> Result<()> {
        self.process = spawn(&mut self.command)?;
        Ok(())
    }

    /// The end of what it has said.
    pub(crate) fn last_words(&self, lines: usize) -> String {
        let log = bytes::read(self.path("log")).unwrap_or_default();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // What the engine leaves running, the runner ends.
        let _ = process::signal(self.process.id(), Signal::TERM);
        let ended = wait::eventually(wait::seconds(20), || self.process.try_wait()?.context("the engine still runs"));
        if ended.is_err() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// Removes the cgroups an engine left, unmounts what is below its folder and removes it.
fn remove(folder: &Path) {
    let cgroups = bytes::read(folder.join(CGROUPS)).unwrap_or_default();
    for cgroup in cgroups.lines().rev().map(Path::new) {
        end_processes(cgroup);
        remove_empty(cgroup);
    }
    leftovers::unmount_below(folder);
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("left behind: {}: {error}", folder.display());
    }
}

/// Kills what still runs in this very cgroup: an engine that was killed could not be asked to.
fn end_processes(cgroup: &Path) {
    let _ = wait::eventually(wait::seconds(2), || {
        let listed = bytes::read(cgroup.join("cgroup.procs")).unwrap_or_default();
        for pid in listed.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0) {
            let _ = process::signal(pid, Signal::KILL);
        }
        ensure!(listed.is_empty(), "processes still run in {}", cgroup.display());
        Ok(())
    });
}

/// Removes a cgroup and those below it as far as no process is in them: others may run engines too.
fn remove_empty(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

/// Removes what engines left whose test has ended.
pub(crate) fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_str().filter(|name| name.starts_with(PREFIX));
        if name.and_then(leftovers::owner).is_some_and(|owner| !process::is_test(owner)) {
            remove(&entry.path());
        }
    }
}
