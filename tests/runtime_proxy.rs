//! The filter between the collector and the runtimes: a real nginx with the configuration of `deploy/`. The collector, who
//! may not open the runtimes' own sockets, shows names through it, and nothing can be changed through it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::thread::CapabilitySet;

use crate::names;
use crate::support::collector::Collector;
use crate::support::cri::{Pod, PodNetwork};
use crate::support::docker::Docker;
use crate::support::engine::{ContainerEngine as _, program};
use crate::support::grpc::{self, Message};
use crate::support::harness::{Case, Needs};
use crate::support::surroundings::Surroundings;
use crate::support::{Context as _, Result, ensure, http, manifests, wait};

pub(crate) const CASES: &[Case] = &[
    // Fifteen seconds, of which the engines' start is most.
    Case::new("runtime_proxy::names_and_nothing_else", names_and_nothing_else),
    // Half a minute in a virtual machine; elsewhere podman seldom runs.
    Case::new("runtime_proxy::podman", podman).needs(Needs::PureV2),
];

const FOLDER: &str = "/run/collector-proxy";

/// nginx, ended when dropped.
struct Nginx(Child);

impl Nginx {
    /// Starts it with the configuration of `deploy/`.
    fn start() -> Result<Self> {
        let nginx = program("nginx")?;
        fs::create_dir(FOLDER)?;
        let config = fs::canonicalize(manifests::path("runtime-proxy/nginx.conf")?)?;
        let mut command = Command::new(nginx);
        // One process, so that nothing is left of it.
        command.arg("-c").arg(config).args(["-g", "daemon off; master_process off;"]);
        Ok(Self(command.stdin(Stdio::null()).spawn().context("start nginx")?))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What nginx answers at one of its sockets.
fn ask(socket: &str, method: &str, target: &str) -> Result<u16> {
    Ok(http::request(UnixStream::connect(Path::new(FOLDER).join(socket))?, method, target, None)?.status)
}

/// A collector without any right to the sockets, that may ask these runtimes through nginx and nobody else.
fn collector(asked: &[&str]) -> Result<Collector> {
    let rights = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_PTRACE;
    let flags = ["docker", "containerd", "crio", "podman"].map(|name| {
        let is_asked = asked.contains(&name);
        if is_asked { format!("--{name}=unix://{FOLDER}/{name}.sock") } else { format!("--{name}=") }
    });
    Collector::start_as(Surroundings::of_nobody(rights), &flags.each_ref().map(String::as_str))
}

/// Nothing of an engine with Docker's API can be changed or looked into.
fn docker_is_closed(socket: &str, id: &str) -> Result<()> {
    for (method, target) in [
        ("POST", "/containers/create"),
        ("POST", "/v1.41/containers/create"),
        ("POST", "/v4.0.0/libpod/containers/create"),
        ("POST", &format!("/containers/{id}/json")),
        ("DELETE", &format!("/containers/{id}")),
        ("GET", &format!("/containers/{id}/archive?path=/etc")),
        ("GET", &format!("/containers/{id}/json/../archive?path=/etc")),
        ("GET", "/containers/json"),
        ("POST", "/v1.41/_ping/../containers/create"),
    ] {
        let status = ask(socket, method, target)?;
        ensure!(status == 403 || status == 405, "{method} {target} is answered with {status}");
    }
    Ok(())
}

/// podman, for which the filter has a socket of its own.
fn podman() -> Result<()> {
    let podman = names::podman()?;
    let early = podman.run_named("early", &[("team", "blue")], &[])?;
    let _nginx = Nginx::start()?;
    answers("podman.sock")?;
    let collector = collector(&["podman"])?;
    names::shows_dockers(|page| Ok(collector.get(page)?.text()), &early, &podman)?;
    ensure!(!collector.health()?.contains("cannot be asked"), "{}", collector.health()?);
    docker_is_closed("podman.sock", &early)
}

/// Waits until an engine answers through nginx.
fn answers(socket: &str) -> Result<()> {
    wait::eventually(wait::seconds(10), || {
        ensure!(ask(socket, "GET", "/_ping")? == 200, "nobody answers through nginx at {socket}");
        Ok(())
    })
}

fn names_and_nothing_else() -> Result<()> {
    let docker: Docker = names::docker()?;
    let pod = Pod::start(PodNetwork::Own)?;
    for socket in [names::CONTAINERD, names::CRIO] {
        names::place(&pod.socket(), socket)?;
    }
    let of_docker = docker.run_named("early", &[("team", "blue")], &[])?;
    let of_pod = pod.start("/bin/busybox sleep 600")?;
    let _nginx = Nginx::start()?;
    answers("docker.sock")?;

    // CRI-O does not run here: containerd's plugin answers at its socket, by the same interface.
    for asked in [&["docker", "containerd"][..], &["crio"]] {
        let collector = collector(asked)?;
        let get = |page: &str| Ok(collector.get(page)?.text());
        if asked.contains(&"docker") {
            names::shows_dockers(get, &of_docker, &docker)?;
        }
        names::shows_pods(get, &of_pod.id, &pod).with_context(|| format!("{asked:?}"))?;
        ensure!(!collector.health()?.contains("cannot be asked"), "{}", collector.health()?);
    }

    docker_is_closed("docker.sock", &of_docker)?;
    let is_refused = |socket: &str, method: &str, request: &Message| {
        let answer = grpc::call(&Path::new(FOLDER).join(socket), &format!("/{method}"), request);
        answer.is_ok_and(|answer| String::from_utf8_lossy(&answer).contains("403 Forbidden"))
    };
    let nothing = Message::default();
    let containers = nothing.clone().text(1, &of_pod.id);
    for (method, request) in [
        ("containerd.services.containers.v1.Containers/Create", &nothing),
        ("containerd.services.containers.v1.Containers/List", &nothing),
        ("containerd.services.tasks.v1.Tasks/Start", &nothing),
        ("containerd.services.tasks.v1.Tasks/Kill", &containers),
        ("runtime.v1.RuntimeService/StopContainer", &containers),
        ("runtime.v1.RuntimeService/ExecSync", &containers),
        ("runtime.v1.RuntimeService/CreateContainer", &nothing),
        ("runtime.v1.ImageService/RemoveImage", &nothing),
    ] {
        for socket in ["containerd.sock", "crio.sock"] {
            ensure!(is_refused(socket, method, request), "{method} gets through at {socket}");
        }
    }
    let version = "containerd.services.version.v1.Version/Version";
    ensure!(!is_refused("containerd.sock", version, &nothing), "what is allowed does not get through");
    ensure!(is_refused("crio.sock", version, &nothing), "containerd's own interface is at CRI-O's socket");
    Ok(())
}
