//! A Docker engine of our own: its own data, state, socket and containerd, gone after the test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde::Deserialize;

use super::cgroups::Layout;
use super::harness::Skip;
use super::http::{self, Response};
use super::{Context as _, Result, bytes, ensure, process, runtime, tar, wait};

/// Folders of engines begin with this, followed by the test's process id.
const PREFIX: &str = "collector-test-docker-";
/// Where the folders are made; a socket's path must be short.
const FOLDER: &str = "/var/tmp";
/// The image every container here is made of: nothing but a static busybox.
const IMAGE: &str = "collector-test-busybox";

/// A running engine.
#[derive(Debug)]
pub(crate) struct Docker {
    engine: Child,
    folder: PathBuf,
    /// The parents of the containers' cgroups that were not there before; the engine leaves them behind.
    parents: Vec<PathBuf>,
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

/// Where a program of the system is; skips the test where it is not.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Skip::because(format!("{name} is not installed")))
}

impl Docker {
    /// Starts an engine and imports an image; skips the test where Docker or busybox is not installed.
    pub(crate) fn start() -> Result<Self> {
        let dockerd = program("dockerd")?;
        program("containerd")?;
        let busybox = fs::read(program("busybox")?)?;
        let folder = Path::new(FOLDER).join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let log = File::create(folder.join("log"))?;
        let at = |name: &str| folder.join(name).display().to_string();
        let parents = Layout::detect()?.mounts.into_iter().map(|mount| mount.path.join("docker"));
        let parents = parents.filter(|path| !path.exists()).collect();
        let engine = Command::new(dockerd)
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .arg(format!("--data-root={}", at("data")))
            .arg(format!("--exec-root={}", at("run")))
            .arg(format!("--pidfile={}", at("pid")))
            .arg(format!("--host=unix://{}", at("sock")))
            .arg(format!("--add-runtime={}={}", runtime::NAME, runtime::install(&folder)?.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start dockerd")?;
        let mut docker = Self { engine, folder, parents };
        wait::eventually(wait::seconds(40), || {
            if let Some(status) = docker.engine.try_wait()? {
                let log = bytes::read(docker.folder.join("log")).unwrap_or_default();
                return Err(Skip::because(format!("dockerd does not run here: {status}: {}", last_line(&log))));
            }
            docker.ask("GET", "/_ping", None).map(drop)
        })?;
        docker.import(IMAGE, &tar::with_program("busybox", &busybox))?;
        Ok(docker)
    }

    /// Makes an image of an archive.
    pub(crate) fn import(&self, image: &str, archive: &[u8]) -> Result<()> {
        let target = format!("/images/create?fromSrc=-&repo={image}&tag=latest");
        let imported = http::request(self.connect()?, "POST", &target, Some(archive))?;
        ensure!(imported.status == 200, "importing {image}: {} {}", imported.status, imported.text());
        Ok(())
    }

    /// A connection to the engine.
    pub(crate) fn connect(&self) -> Result<UnixStream> {
        let stream = UnixStream::connect(self.folder.join("sock"))?;
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
            "HostConfig": { "NetworkMode": "none", "Memory": 64 * bytes::MIB },
        });
        self.run_as(&config)
    }

    /// Makes and starts a container by the engine's own configuration; returns its id.
    pub(crate) fn run_as(&self, config: &serde_json::Value) -> Result<String> {
        let id = runtime::create(self, config)?;
        self.ask("POST", &format!("/containers/{id}/start"), None)?;
        Ok(id)
    }

    /// Makes a container by the engine's own configuration; returns its id.
    pub(crate) fn create(&self, config: &serde_json::Value) -> Result<String> {
        let created = self.ask("POST", "/containers/create", Some(&config.to_string()))?;
        Ok(serde_json::from_slice::<Created>(&created.body)?.id)
    }

    /// Makes and starts a container with a name, as `docker run` with these labels and variables would; returns its id.
    pub(crate) fn run_as(&self, name: &str, labels: &[(&str, &str)], environment: &[&str]) -> Result<String> {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let config = serde_json::json!({
            "Image": IMAGE,
            "Cmd": ["/bin/busybox", "sleep", "600"],
            "Labels": labels,
            "Env": environment,
            "HostConfig": { "NetworkMode": "none", "Memory": 64 * bytes::MIB },
        });
        let created = self.ask("POST", &format!("/containers/create?name={name}"), Some(&config.to_string()))?;
        let created: Created = serde_json::from_slice(&created.body)?;
        self.ask("POST", &format!("/containers/{}/start", created.id), None)?;
        Ok(created.id)
    }

    /// Gives a container another name.
    pub(crate) fn rename(&self, id: &str, name: &str) -> Result<()> {
        self.ask("POST", &format!("/containers/{id}/rename?name={name}"), None).map(drop)
    }

    /// Where the engine listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// Stops a container and starts it again.
    pub(crate) fn restart(&self, id: &str) -> Result<()> {
        self.ask("POST", &format!("/containers/{id}/restart?t=5"), None).map(drop)
    }

    /// What a container has said.
    pub(crate) fn logs(&self, id: &str) -> Result<String> {
        Ok(self.ask("GET", &format!("/containers/{id}/logs?stdout=1&stderr=1"), None)?.text())
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

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

impl Drop for Docker {
    fn drop(&mut self) {
        // A container that is still there would hold the engine up for its stop timeout.
        let running = self.ask("GET", "/containers/json?all=true", None).ok();
        let running = running.and_then(|list| serde_json::from_slice::<Vec<Created>>(&list.body).ok());
        for container in running.unwrap_or_default() {
            let _ = self.remove(&container.id);
        }
        // The engine ends its containerd; what it leaves, the runner ends.
        let _ = process::signal(self.engine.id(), Signal::TERM);
        let ended = wait::eventually(wait::seconds(20), || self.engine.try_wait()?.context("dockerd still runs"));
        if ended.is_err() {
            let _ = self.engine.kill();
            let _ = self.engine.wait();
        }
        for parent in &self.parents {
            let _ = fs::remove_dir(parent);
        }
        remove_folder(&self.folder);
    }
}

/// Unmounts what is below a folder and removes it.
fn remove_folder(folder: &Path) {
    let mounts = bytes::read("/proc/self/mounts").unwrap_or_default();
    let below: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|path| Path::new(path).starts_with(folder))
        .collect();
    for path in below.iter().rev() {
        let _ = rustix::mount::unmount(*path, rustix::mount::UnmountFlags::DETACH);
    }
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("left behind: {}: {error}", folder.display());
    }
}

/// Removes the folders of engines whose test has ended.
pub(crate) fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            remove_folder(&entry.path());
        }
    }
}
