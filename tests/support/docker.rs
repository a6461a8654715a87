//! Engines with Docker's API, each with its own data, state and socket: Docker, and podman as a service.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::cgroups::Layout;
use super::engine::{Container, ContainerEngine, Engine, Home, MEMORY_LIMIT, program};
use super::harness::Skip;
use super::http::{self, Response};
use super::{Context as _, Result, bytes, ensure, loop_mount, runtime, tar, wait};

/// The image every container here is made of: nothing but a static busybox.
const IMAGE: &str = "collector-test-busybox";

/// A running engine.
#[derive(Debug)]
pub(crate) struct Docker {
    engine: Engine,
    /// What the name of a container's cgroup begins with; its id follows.
    cgroup: &'static str,
}

/// What the engine says about something it has made.
#[derive(Deserialize)]
struct Created {
    #[serde(rename = "Id")]
    id: String,
}

/// What the engine says about a container.
#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "State")]
    state: State,
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "Pid")]
    pid: u32,
}

impl Docker {
    /// Starts Docker and imports an image; skips the test where Docker or busybox is not installed.
    pub(crate) fn start() -> Result<Self> {
        Self::start_as(None, None, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(arguments: &[String]) -> Result<Self> {
        Self::start_as(None, None, arguments)
    }

    /// The same, with containers that live on without it.
    pub(crate) fn start_with_lasting_containers() -> Result<Self> {
        Self::start_as(None, None, &["--live-restore".to_owned()])
    }

    /// The same with a storage driver, and with its data on a file system of this type that is made for it.
    pub(crate) fn start_on(driver: &str, filesystem: Option<&str>) -> Result<Self> {
        Self::start_as(Some(driver), filesystem, &[])
    }

    fn start_as(driver: Option<&str>, filesystem: Option<&str>, arguments: &[String]) -> Result<Self> {
        let dockerd = program("dockerd")?;
        program("containerd")?;
        let home = Home::new("docker", &["docker"])?;
        if let Some(kind) = filesystem {
            // Unmounted with the folder.
            loop_mount::mount(kind, &home.path("disk"), &home.path("data"))?;
        }
        let at = |name: &str| home.path(name).display().to_string();
        let exact = runtime::install(&home.path(""))?;
        let mut command = Command::new(dockerd);
        command
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(arguments)
            .arg(format!("--data-root={}", at("data")))
            .arg(format!("--exec-root={}", at("run")))
            .arg(format!("--pidfile={}", at("pid")))
            .arg(format!("--host=unix://{}", at("sock")))
            .arg(format!("--add-runtime={}={}", runtime::NAME, exact.display()))
            .args(driver.map(|driver| format!("--storage-driver={driver}")));
        Self::launch(home, command, "/docker/")
    }

    /// Starts podman with crun, as the service that answers like Docker; skips the test where they cannot run.
    pub(crate) fn podman() -> Result<Self> {
        let podman = program("podman")?;
        for needed in ["crun", "conmon"] {
            program(needed)?;
        }
        if !Layout::detect()?.is_pure_v2() {
            return Err(Skip::because("crun starts no container where controllers are divided between v1 and cgroup2"));
        }
        let home = Home::new("podman", &["libpod_parent", "libpod_parent/conmon"])?;
        let mut command = podman_in(&podman, &home.path(""));
        command.args(["system", "service", "--time=0", &format!("unix://{}", home.path("sock").display())]);
        Self::launch(home, command, "/libpod_parent/libpod-")
    }

    /// podman's own command, about the containers of the service that [`Docker::podman`] started.
    pub(crate) fn podman_command(&self) -> Result<Command> {
        Ok(podman_in(&program("podman")?, &self.engine.path("")))
    }

    fn launch(home: Home, command: Command, cgroup: &'static str) -> Result<Self> {
        let busybox = fs::read(program("busybox")?)?;
        let socket = home.path("sock");
        let mut docker = Self { engine: home.start(command)?, cgroup };
        docker.engine.wait_ready(|| ping(&socket))?;
        docker.import(IMAGE, &tar::with_program("busybox", &busybox))?;
        Ok(docker)
    }

    /// Kills the engine.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.engine.kill()?;
        // Its containerd dies with it. Docker takes it for alive as long as nobody has reaped it, and then waits in vain:
        // not every first process is quick to.
        let file = self.engine.path("run/containerd/containerd.pid");
        let pid = bytes::read(&file).unwrap_or_default();
        let _ = wait::eventually(wait::seconds(2), || {
            ensure!(pid.is_empty() || !Path::new("/proc").join(pid.trim()).exists(), "containerd has not ended");
            Ok(())
        });
        let _ = fs::remove_file(file);
        Ok(())
    }

    /// Starts the killed engine again and waits until it answers.
    pub(crate) fn revive(&mut self) -> Result<()> {
        let socket = self.socket();
        self.engine.revive()?;
        self.engine.wait_ready(|| ping(&socket))
    }

    /// Makes an image of an archive.
    pub(crate) fn import(&self, image: &str, archive: &[u8]) -> Result<()> {
        let target = format!("/images/create?fromSrc=-&repo={image}&tag=latest");
        let imported = http::request(self.connect()?, "POST", &target, Some(archive))?;
        ensure!(imported.status == 200, "importing {image}: {} {}", imported.status, imported.text());
        Ok(())
    }

    /// Loads an archive as `docker save` writes it; the image's name.
    pub(crate) fn load(&self, archive: &[u8]) -> Result<String> {
        let loaded = http::request(self.connect()?, "POST", "/images/load?quiet=1", Some(archive))?;
        let said = loaded.text();
        ensure!(loaded.status == 200 && !said.contains("errorDetail"), "loading the image: {} {said}", loaded.status);
        let name = said.split("Loaded image: ").nth(1).and_then(|rest| rest.split('\\').next());
        Ok(name.with_context(|| format!("the engine names no image: {said}"))?.to_owned())
    }

    /// A connection to the engine.
    pub(crate) fn connect(&self) -> Result<UnixStream> {
        let stream = UnixStream::connect(self.engine.path("sock"))?;
        stream.set_read_timeout(Some(wait::seconds(30)))?;
        Ok(stream)
    }

    /// Asks the engine for something that it must not refuse.
    pub(crate) fn ask(&self, method: &str, target: &str, body: Option<&str>) -> Result<Response> {
        let response = http::request(self.connect()?, method, target, body.map(str::as_bytes))?;
        ensure!(response.status < 400, "docker: {method} {target}: {} {}", response.status, response.text());
        Ok(response)
    }

    /// Makes and starts a container that runs a busybox shell command; returns its id.
    pub(crate) fn run(&self, command: &str) -> Result<String> {
        let config = serde_json::json!({
            "Image": IMAGE,
            "Cmd": ["/bin/busybox", "sh", "-c", command],
            "HostConfig": { "NetworkMode": "none", "Memory": MEMORY_LIMIT, "MemorySwap": MEMORY_LIMIT },
        });
        self.started(self.create(&config)?)
    }

    /// Makes and starts a container by the engine's own configuration; returns its id.
    pub(crate) fn run_as(&self, config: &serde_json::Value) -> Result<String> {
        self.started(runtime::create(self, config)?)
    }

    /// Makes and starts a container with a name, as `docker run` with these labels and variables would; returns its id.
    pub(crate) fn run_named(&self, name: &str, labels: &[(&str, &str)], environment: &[&str]) -> Result<String> {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let config = serde_json::json!({
            "Image": IMAGE,
            "Cmd": ["/bin/busybox", "sleep", "600"],
            "Labels": labels,
            "Env": environment,
            "HostConfig": { "NetworkMode": "none", "Memory": MEMORY_LIMIT, "MemorySwap": MEMORY_LIMIT },
        });
        let created = self.ask("POST", &format!("/containers/create?name={name}"), Some(&config.to_string()))?;
        self.started(serde_json::from_slice::<Created>(&created.body)?.id)
    }

    /// Makes and starts a container with a name and labels that runs a shell command; `host` has what else the engine is
    /// asked for, such as limits. Returns its id.
    pub(crate) fn run_with(
        &self,
        name: &str,
        labels: &serde_json::Value,
        command: &str,
        host: &serde_json::Value,
    ) -> Result<String> {
        let mut config = serde_json::json!({
            "Image": IMAGE,
            "Cmd": ["/bin/busybox", "sh", "-c", command],
            "Labels": labels,
            "HostConfig": host,
        });
        config["HostConfig"]["NetworkMode"] = "none".into();
        let created = self.ask("POST", &format!("/containers/create?name={name}"), Some(&config.to_string()))?;
        self.started(serde_json::from_slice::<Created>(&created.body)?.id)
    }

    /// Makes and starts a container with a name in a cgroup below this one; returns its id.
    pub(crate) fn run_below(&self, parent: &str, name: &str) -> Result<String> {
        let config = serde_json::json!({
            "Image": IMAGE,
            "Cmd": ["/bin/busybox", "sleep", "600"],
            "HostConfig": { "NetworkMode": "none", "CgroupParent": parent },
        });
        let created = self.ask("POST", &format!("/containers/create?name={name}"), Some(&config.to_string()))?;
        let id = serde_json::from_slice::<Created>(&created.body)?.id;
        self.engine.will_start(&format!("{parent}/{id}"))?;
        self.ask("POST", &format!("/containers/{id}/start"), None)?;
        Ok(id)
    }

    /// The engine's own process.
    pub(crate) fn process(&self) -> Result<u32> {
        Ok(bytes::read(self.engine.path("pid"))?.trim().parse()?)
    }

    /// Makes a container by the engine's own configuration; returns its id.
    pub(crate) fn create(&self, config: &serde_json::Value) -> Result<String> {
        let created = self.ask("POST", "/containers/create", Some(&config.to_string()))?;
        Ok(serde_json::from_slice::<Created>(&created.body)?.id)
    }

    fn started(&self, id: String) -> Result<String> {
        self.engine.will_start(&self.cgroup_of(&id))?;
        self.ask("POST", &format!("/containers/{id}/start"), None)?;
        Ok(id)
    }

    /// The image that the containers here are made of.
    pub(crate) const fn image() -> &'static str {
        IMAGE
    }

    /// Has a container's cgroup removed in the end that is about to be started.
    pub(crate) fn will_start(&self, id: &str) -> Result<()> {
        self.engine.will_start(&self.cgroup_of(id))
    }

    /// Gives a container another name.
    pub(crate) fn rename(&self, id: &str, name: &str) -> Result<()> {
        self.ask("POST", &format!("/containers/{id}/rename?name={name}"), None).map(drop)
    }

    /// Where the engine keeps everything.
    pub(crate) fn data(&self) -> PathBuf {
        self.engine.path("data")
    }

    /// Where the engine listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.engine.path("sock")
    }

    /// Stops a container and starts it again.
    pub(crate) fn restart(&self, id: &str) -> Result<()> {
        self.ask("POST", &format!("/containers/{id}/restart?t=5"), None).map(drop)
    }

    /// What a container has said.
    pub(crate) fn logs(&self, id: &str) -> Result<String> {
        Ok(self.ask("GET", &format!("/containers/{id}/logs?stdout=1&stderr=1"), None)?.text())
    }

    /// Name of a container's cgroup.
    fn cgroup_of(&self, id: &str) -> String {
        format!("{}{id}", self.cgroup)
    }

    /// Process id of a container's first process; 0 when it has ended.
    pub(crate) fn pid(&self, id: &str) -> Result<u32> {
        let inspected = self.ask("GET", &format!("/containers/{id}/json"), None)?;
        Ok(serde_json::from_slice::<Inspected>(&inspected.body)?.state.pid)
    }

    /// Waits until a container has ended by itself.
    pub(crate) fn wait(&self, id: &str) -> Result<()> {
        self.ask("POST", &format!("/containers/{id}/wait"), None).map(drop)
    }

    /// Kills and removes a container.
    pub(crate) fn remove(&self, id: &str) -> Result<()> {
        self.ask("DELETE", &format!("/containers/{id}?force=true"), None).map(drop)
    }
}

/// podman with all that it keeps in a folder.
fn podman_in(podman: &Path, folder: &Path) -> Command {
    let mut command = Command::new(podman);
    // It leaves a copy of an imported image there.
    command.env("TMPDIR", folder);
    for (option, name) in [("--root", "data"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
        command.arg(option).arg(folder.join(name));
    }
    command.args(["--cgroup-manager=cgroupfs", "--events-backend=file", "--runtime=crun"]);
    command
}

fn ping(socket: &Path) -> Result<()> {
    let response = http::request(UnixStream::connect(socket)?, "GET", "/_ping", None)?;
    ensure!(response.status == 200, "/_ping answers {}", response.status);
    Ok(())
}

impl ContainerEngine for Docker {
    fn start(&self, command: &str) -> Result<Container> {
        let id = self.run(command)?;
        Ok(Container { cgroup: self.cgroup_of(&id), id })
    }

    fn remove(&self, container: &Container) -> Result<()> {
        self.remove(&container.id)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // A container that is still there would hold the engine up for its stop timeout, or outlive it.
        let running = self.ask("GET", "/containers/json?all=true", None).ok();
        let running = running.and_then(|list| serde_json::from_slice::<Vec<Created>>(&list.body).ok());
        for container in running.unwrap_or_default() {
            let _ = self.remove(&container.id);
        }
    }
}
