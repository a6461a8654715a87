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
use crate::support::engine::{ContainerEngine as _, program};
use crate::support::grpc::{self, Message};
use crate::support::harness::Case;
use crate::support::surroundings::Surroundings;
use crate::support::{Context as _, Result, ensure, http, manifests, wait};

pub(crate) const CASES: &[Case] = &[
    // Fifteen seconds, of which the engines' start is most.
    Case::new("runtime_proxy::names_and_nothing_else", names_and_nothing_else),
];

const FOLDER: &str = "/run/collector-proxy";

/// nginx, ended when dropped.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn names_and_nothing_else() -> Result<()> {
    let nginx = program("nginx")?;
    let docker = names::docker()?;
    let pod = Pod::start(PodNetwork::Own)?;
    names::place(&pod.socket(), names::CONTAINERD)?;
    let of_docker = docker.run_named("early", &[("team", "blue")], &[])?;
    let of_pod = pod.start("/bin/busybox sleep 600")?;
    fs::create_dir(FOLDER)?;
    let config = fs::canonicalize(manifests::path("runtime-proxy/nginx.conf")?)?;
    let mut command = Command::new(nginx);
    // One process, so that nothing is left of it.
    command.arg("-c").arg(config).args(["-g", "daemon off; master_process off;"]);
    let _nginx = Nginx(command.stdin(Stdio::null()).spawn().context("start nginx")?);
    let [of_dockers, of_containerds] = ["docker.sock", "containerd.sock"].map(|name| Path::new(FOLDER).join(name));
    let ask = |method: &str, target: &str| -> Result<u16> {
        Ok(http::request(UnixStream::connect(&of_dockers)?, method, target, None)?.status)
    };
    wait::eventually(wait::seconds(10), || {
        ensure!(ask("GET", "/_ping")? == 200, "Docker does not answer through nginx");
        Ok(())
    })?;

    let rights = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_PTRACE;
    let flags = ["docker", "containerd"].map(|name| format!("--{name}=unix://{FOLDER}/{name}.sock"));
    let collector =
        Collector::start_as(Surroundings::of_nobody(rights), &[&flags[0], &flags[1], "--crio=", "--podman="])?;
    let get = |page: &str| Ok(collector.get(page)?.text());
    names::shows_dockers(get, &of_docker, &docker)?;
    names::shows_pods(get, &of_pod.id, &pod)?;
    ensure!(!collector.health()?.contains("cannot be asked"), "{}", collector.health()?);

    for (method, target) in [
        ("POST", "/containers/create"),
        ("POST", "/v1.41/containers/create"),
        ("POST", &format!("/containers/{of_docker}/json")),
        ("DELETE", &format!("/containers/{of_docker}")),
        ("GET", &format!("/containers/{of_docker}/archive?path=/etc")),
        ("GET", &format!("/containers/{of_docker}/json/../archive?path=/etc")),
        ("GET", "/containers/json"),
        ("POST", "/v1.41/_ping/../containers/create"),
    ] {
        let status = ask(method, target)?;
        ensure!(status == 403 || status == 405, "{method} {target} is answered with {status}");
    }
    let is_refused = |method: &str, request: &Message| {
        let answer = grpc::call(&of_containerds, &format!("/containerd.services.{method}"), request);
        answer.is_ok_and(|answer| String::from_utf8_lossy(&answer).contains("403 Forbidden"))
    };
    let nothing = Message::default();
    for method in ["containers.v1.Containers/Create", "containers.v1.Containers/List", "tasks.v1.Tasks/Start"] {
        ensure!(is_refused(method, &nothing), "{method} gets through");
    }
    ensure!(is_refused("tasks.v1.Tasks/Kill", &nothing.clone().text(1, &of_pod.id)), "a container can be killed");
    ensure!(!is_refused("version.v1.Version/Version", &nothing), "what is allowed does not get through");
    Ok(())
}
