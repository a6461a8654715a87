//! Docker containers to measure with, in an engine of their own, beside cgroups without a runtime.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::cgroups::{Hierarchies, Tree};
use super::process::Process;
use super::report::{DockerRow, Report};
use super::{Bench, INTERVAL, SETTLE, floor, per_container, say};
use crate::interrupt::Interrupt;
use crate::shell;

/// Where the engine's folder is made; a socket's path must be short.
const FOLDER: &str = "/var/tmp";
const IMAGE: &str = "collector-bench";
/// The cgroup that the engine makes its containers' below, and leaves behind.
const PARENT: &str = "docker";
/// How long the engine may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(40);
/// Cgroups without a runtime that are measured beside the containers.
const BESIDE: usize = 1000;

impl Bench {
    /// What containers of Docker cost, and then cgroups beside them.
    pub(super) fn measure_docker(
        &self,
        collector: &Path,
        cadvisor: Option<&Path>,
        count: usize,
        report: &mut Report,
    ) -> Result<()> {
        let engine = Engine::start(&self.interrupt)?;
        let flag = format!("--docker=unix://{}", engine.socket().display());
        for (binary, name, ready) in [(Some(collector), "collector", "/readyz"), (cadvisor, "cadvisor", "/healthz")] {
            let Some(binary) = binary else { continue };
            let process = self.start(binary, name, ready, INTERVAL, &[&flag])?;
            let mut row = DockerRow { name, containers: count, cpu: 0.0, floor: None, resident: 0, beside: None };
            say(&format!("{name} beside an idle engine"));
            self.interrupt.sleep(SETTLE)?;
            let idle = self.cpu_over_window(&process, report)?;
            say(&format!("{name} with {count} Docker containers"));
            engine.run(count, &self.interrupt)?;
            self.wait_listed(&process, count)?;
            if name == "collector" {
                say("the floor of the containers");
                let stopped = process.stop()?;
                let files = engine.files(&self.hierarchies)?;
                row.floor = Some(floor::measure(files.into_iter(), self.window / 2, &self.interrupt)?);
                drop(stopped);
            }
            self.interrupt.sleep(SETTLE)?;
            let with_containers = self.cpu_over_window(&process, report)?;
            row.cpu = per_container(with_containers, idle, count);
            row.resident = process.resident_bytes()?;
            // cAdvisor beside as many cgroups is what the other mode measures.
            if name == "collector" {
                say(&format!("{name} with {count} Docker containers and {BESIDE} cgroups"));
                let mut tree = Tree::new(&self.hierarchies)?;
                tree.grow_to(BESIDE, &self.interrupt)?;
                self.interrupt.sleep(SETTLE)?;
                let with_both = self.cpu_over_window(&process, report)?;
                row.beside = Some((BESIDE, per_container(with_both, with_containers, BESIDE)));
            }
            report.docker.push(row);
            drop(process);
            engine.remove_all();
        }
        Ok(())
    }

    /// Waits until all containers are listed with their names.
    fn wait_listed(&self, process: &Process, count: usize) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let listed = process.api.docker_containers().unwrap_or(0);
            if listed >= count {
                return Ok(());
            }
            process.ensure_running()?;
            ensure!(Instant::now() < end, "only {listed} of {count} Docker containers are listed");
            self.interrupt.sleep(Duration::from_millis(200))?;
        }
    }
}

/// A Docker engine whose data, state and socket are in a folder of its own. Dropping it removes all of it.
struct Engine {
    child: Child,
    folder: PathBuf,
    /// Cgroups that were not there before.
    leftovers: Vec<PathBuf>,
}

impl Engine {
    fn start(interrupt: &Interrupt) -> Result<Self> {
        let folder = Path::new(FOLDER).join(format!("collector-bench-engine-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let at = |name: &str| folder.join(name).display().to_string();
        let log = std::fs::File::create(folder.join("log")).context("cannot make the engine's log")?;
        let mounts = std::fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
        let leftovers = cgroup_mounts(&mounts).map(|mount| mount.join(PARENT)).filter(|path| !path.exists()).collect();
        let child = Command::new("dockerd")
            .args(["--exec-opt=native.cgroupdriver=cgroupfs", "--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args([format!("--data-root={}", at("data")), format!("--exec-root={}", at("run"))])
            .args([format!("--pidfile={}", at("pid")), format!("--host=unix://{}", at("sock"))])
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the engine's log")?)
            .stderr(log)
            .spawn()
            .context("cannot start dockerd; it is in Debian's package docker.io")?;
        let engine = Self { child, folder, leftovers };
        let end = Instant::now() + PATIENCE;
        while shell::output(engine.docker().arg("version")).is_err() {
            ensure!(Instant::now() < end, "dockerd does not answer, see {}", engine.folder.join("log").display());
            interrupt.sleep(Duration::from_millis(200))?;
        }
        engine.import()?;
        Ok(engine)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// Docker's client for this engine.
    fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.arg(format!("--host=unix://{}", self.socket().display()));
        command
    }

    /// Makes an image of nothing but busybox.
    fn import(&self) -> Result<()> {
        let archive = self.folder.join("image.tar");
        let mut builder = tar::Builder::new(std::fs::File::create(&archive).context("cannot make an image")?);
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).is_file());
        let busybox = busybox.context("there is no busybox; it is in Debian's package busybox-static")?;
        builder.append_path_with_name(busybox, "bin/busybox").context("cannot make an image")?;
        builder.finish().context("cannot make an image")?;
        shell::output(self.docker().arg("import").arg(&archive).arg(IMAGE)).map(drop)
    }

    fn run(&self, count: usize, interrupt: &Interrupt) -> Result<()> {
        for number in 0..count {
            interrupt.check()?;
            let name = format!("--name=bench{number}");
            let limits = ["--memory=64m", "--memory-swap=64m", "--cpu-shares=512", "--pids-limit=50"];
            let mut command = self.docker();
            command.args(["run", "--detach", "--network=none", "--label=app=bench", &name]).args(limits).arg(IMAGE);
            shell::output(command.args(["/bin/busybox", "sleep", "100000"]))?;
        }
        Ok(())
    }

    /// What is read of each running container: the files of its cgroups, and its network's counters.
    fn files(&self, hierarchies: &Hierarchies) -> Result<Vec<Vec<PathBuf>>> {
        let ids = shell::output(self.docker().args(["ps", "--quiet", "--no-trunc"]))?;
        let mut inspect = self.docker();
        inspect.args(["inspect", "--format", "{{.Id}} {{.State.Pid}}"]).args(ids.split_whitespace());
        let reported = shell::output(&mut inspect)?;
        let all = reported.lines().map(|line| {
            let (id, pid) = line.split_once(' ').with_context(|| format!("no id and process in {line:?}"))?;
            let mut files = hierarchies.files_of(&Path::new(PARENT).join(id));
            ensure!(!files.is_empty(), "container {id} has no cgroup below {PARENT}");
            files.push(Path::new("/proc").join(pid).join("net/dev"));
            Ok(files)
        });
        all.collect()
    }

    fn remove_all(&self) {
        let all = shell::output(self.docker().args(["ps", "--all", "--quiet"])).unwrap_or_default();
        let ids: Vec<&str> = all.split_whitespace().collect();
        if !ids.is_empty()
            && let Err(error) = shell::output(self.docker().args(["rm", "--force"]).args(ids))
        {
            eprintln!("note: some containers are left behind: {error:#}");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.remove_all();
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                drop(self.child.kill());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let below = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for path in below.filter(|path| Path::new(path).starts_with(&self.folder)) {
            let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
        }
        for cgroup in &self.leftovers {
            // Another engine may have begun to use it.
            drop(std::fs::remove_dir(cgroup));
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("note: {} is left behind: {error}", self.folder.display());
        }
    }
}

/// Where cgroup hierarchies are mounted.
fn cgroup_mounts(mounts: &str) -> impl Iterator<Item = PathBuf> {
    mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let mounts = "cgroup /cg/cpu cgroup rw,cpu 0 0\ncgroup2 /cg/unified cgroup2 rw 0 0\nproc /proc proc rw 0 0\n";
        let found: Vec<_> = cgroup_mounts(mounts).collect();
        assert_eq!(found, [PathBuf::from("/cg/cpu"), PathBuf::from("/cg/unified")]);
    }
}
