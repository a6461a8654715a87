//! Every way of installing that `deploy/` and the documents have shows names at once, of a container that was there
//! before the collector and of one that came after it.
//!
//! Everything is started with what the form asks for and nothing else. The engines are the test's own; their sockets are
//! bound to where a machine has them, in a `/run` that only the test sees.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::mount::UnmountFlags;

use crate::deployed::{deploy, engine, own_run};
use crate::support::compose::{Compose, run_of, translate_run};
use crate::support::contained::Reach;
use crate::support::cri::{POD_LABELS, Pod, PodNetwork};
use crate::support::deployed::{Deployed, load_image};
use crate::support::docker::Docker;
use crate::support::engine::ContainerEngine as _;
use crate::support::harness::{Case, Needs};
use crate::support::manifests::{self, OVERLAYS};
use crate::support::metrics::Metrics;
use crate::support::network::loopback_up;
use crate::support::settings::settings;
use crate::support::{Context as _, Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    // Ten seconds each, of which the engine's start is half.
    Case::new("names::compose", compose),
    Case::new("names::docker_run", docker_run_of_the_documents),
    // Half a minute in a virtual machine; elsewhere podman seldom runs.
    Case::new("names::podman", podman_run_of_the_documents).needs(Needs::PureV2),
    // Half a minute: each overlay with each runtime.
    Case::new("names::kubernetes", kubernetes).within(240),
];

/// The group of Docker's socket, as a distribution's package may number it.
const DOCKER_GROUP: u32 = 4242;
/// Where runtimes listen on a machine.
pub(crate) const DOCKER: &str = "/run/docker.sock";
pub(crate) const CONTAINERD: &str = "/run/containerd/containerd.sock";
pub(crate) const CRIO: &str = "/run/crio/crio.sock";
const PODMAN: &str = "/run/podman/podman.sock";

/// Binds an engine's socket to where a machine would have it, in the mounts that the test's engine has made its own.
pub(crate) fn place(socket: &Path, at: &str) -> Result<()> {
    fs::create_dir_all(Path::new(at).parent().context("a socket in a folder")?)?;
    File::create(at)?;
    rustix::mount::mount_bind(socket, at).with_context(|| format!("bind {} to {at}", socket.display()))
}

/// Docker with its socket in its place, of the group that packages make for it.
pub(crate) fn docker() -> Result<Docker> {
    let docker = engine()?;
    // As containerd makes it where it is the machine's; a container's monitor would make one that is root's alone.
    fs::DirBuilder::new().recursive(true).mode(0o711).create("/run/containerd")?;
    let socket = docker.socket();
    std::os::unix::fs::chown(&socket, Some(0), Some(DOCKER_GROUP))?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o660))?;
    place(&socket, DOCKER)?;
    Ok(docker)
}

/// Waits until a page has a container with all these labels, and none of them empty.
pub(crate) fn shows(get: impl Fn(&str) -> Result<String>, page: &str, id: &str, labels: &[&str]) -> Result<()> {
    wait::eventually(wait::seconds(10), || {
        let metrics = Metrics::parse(&get(page)?);
        let mut lines = metrics.series("container_start_time_seconds", &[]);
        let line = lines.find(|line| line.label("id").contains(id)).with_context(|| format!("{page} lacks {id}"))?;
        let empty: Vec<_> = labels.iter().filter(|label| line.label(label).is_empty()).collect();
        ensure!(empty.is_empty(), "{page}: {empty:?} of {id} are empty");
        Ok(())
    })
}

/// Docker's containers: `early` was started before the collector.
pub(crate) fn shows_dockers(get: impl Fn(&str) -> Result<String>, early: &str, docker: &Docker) -> Result<()> {
    let late = docker.run_named("late", &[("team", "blue")], &[])?;
    for id in [early, &late] {
        shows(&get, "/metrics", id, &["name", "image", "container_label_team"])?;
        shows(&get, "/metrics/cadvisor", id, &["name", "image"])?;
    }
    docker.remove(&late)
}

/// Containers of a pod: `early` was started before the collector.
pub(crate) fn shows_pods(get: impl Fn(&str) -> Result<String>, early: &str, pod: &Pod) -> Result<()> {
    let late = pod.start("/bin/busybox sleep 600")?;
    let labels = POD_LABELS.map(|(label, _)| format!("container_label_{}", label.replace(['.', '/'], "_")));
    let labels: Vec<&str> = ["name", "image"].into_iter().chain(labels.iter().map(String::as_str)).collect();
    for id in [early, &late.id] {
        shows(&get, "/metrics", id, &labels)?;
        shows(&get, "/metrics/cadvisor", id, &["name", "image", "container", "pod", "namespace"])?;
    }
    pod.remove(&late)
}

fn text(reach: &Reach, page: &str) -> Result<String> {
    let response = reach.request(page, None)?;
    ensure!(response.status == 200, "{page} answered {}", response.status);
    Ok(response.text())
}

fn compose() -> Result<()> {
    let docker = docker()?;
    let early = docker.run_named("early", &[("team", "blue")], &[])?;
    let image = load_image(&docker)?;
    let (path, compose) = Compose::read()?;
    let service = compose.services.get("collector").context("no collector")?;
    // The command in the file's first line.
    let group = fs::metadata("/var/run/docker.sock")?.gid().to_string();
    let variables = [("DOCKER_GROUP", group.as_str()), ("COLLECTOR_IMAGE", image.as_str())];
    let folder = path.parent().context("a file in a folder")?;
    let missing = service.translate(folder, &variables[1..]).map(drop);
    let error = missing.err().context("it starts without the socket's group")?.to_string();
    ensure!(error.contains("stat --format=%g"), "the error does not say what to do: {error}");
    let collector = Deployed::start(&docker, service.translate(folder, &variables)?)?;
    let reach = collector.reach()?;
    shows_dockers(|page| text(&reach, page), &early, &docker)
}

fn docker_run_of_the_documents() -> Result<()> {
    let docker = docker()?;
    let early = docker.run_named("early", &[("team", "blue")], &[])?;
    let image = load_image(&docker)?;
    let words = run_of("docker", "docs/deploy.md")?;
    let collector = Deployed::start(&docker, translate_run(&words, &image)?)?;
    let reach = collector.reach()?;
    shows_dockers(|page| text(&reach, page), &early, &docker)
}

/// podman with its socket in its place, in a `/run` of the test's own.
pub(crate) fn podman() -> Result<Docker> {
    own_run()?;
    let podman = Docker::podman()?;
    place(&podman.socket(), PODMAN)?;
    Ok(podman)
}

/// podman's own command runs the collector as the documents say, but for its network: nothing here makes podman's.
fn podman_run_of_the_documents() -> Result<()> {
    let podman = podman()?;
    let early = podman.run_named("early", &[("team", "blue")], &[])?;
    let run = |arguments: &[String]| -> Result<String> {
        let mut command = podman.podman_command()?;
        let output = command.args(arguments).current_dir(manifests::path("..")?).output()?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    run(&["load".to_owned(), "--input".to_owned(), settings().image.display().to_string()])?;
    let mut words = run_of("podman", "docs/deploy.md")?;
    let at = words.iter().position(|word| word == "--publish").context("it publishes no port")?;
    words.splice(at..at + 2, ["--network=none".to_owned()]);
    let id = run(&words)?;
    let reach = Reach::inside(podman.pid(&id)?, 8080);
    reach.in_its_network(loopback_up)?;
    let ready = reach.wait_ready();
    ready.or_else(|error| Err(error.context(run(&["logs".to_owned(), id.clone()])?)))?;
    shows_dockers(|page| text(&reach, page), &early, &podman)?;
    ensure!(reach.health()?.contains("kernel events: ebpf"), "{}", reach.health()?);
    podman.remove(&id)
}

/// The pod's containers are those of containerd's CRI plugin. CRI-O does not run here: the same plugin answers at its
/// socket, by the same interface. The collector's own pod is a container of Docker.
fn kubernetes() -> Result<()> {
    let docker = docker()?;
    let pod = Pod::start(PodNetwork::Own)?;
    let of_docker = docker.run_named("early", &[("team", "blue")], &[])?;
    let of_pod = pod.start("/bin/busybox sleep 600")?;
    for (runtime, socket) in [("containerd", CONTAINERD), ("CRI-O", CRIO)] {
        place(&pod.socket(), socket)?;
        for overlay in OVERLAYS {
            let collector = deploy(&docker, overlay).with_context(|| overlay.to_owned())?;
            let reach = collector.reach()?;
            let get = |page: &str| text(&reach, page);
            let shown = shows_pods(get, &of_pod.id, &pod);
            shown.with_context(|| format!("{overlay} with {runtime}: {}", reach.health().unwrap_or_default()))?;
            if overlay == "privileged" {
                shows_dockers(get, &of_docker, &docker).with_context(|| format!("{overlay} with Docker"))?;
            }
            collector.remove()?;
        }
        rustix::mount::unmount(socket, UnmountFlags::DETACH)?;
        fs::remove_file(socket)?;
    }
    Ok(())
}
