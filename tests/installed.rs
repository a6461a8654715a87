//! What users install, on a machine that systemd runs: the packages by dpkg and rpm, and the unit by hand. The engines are
//! the machine's own, started by their units; the collector is started by nobody but systemd.
//!
//! What these tests do to a machine stays there, so they run only where `cargo xtask vm` has made one for them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::names::shows;
use crate::support::contained::Reach;
use crate::support::cri::POD_LABELS;
use crate::support::engine::program;
use crate::support::harness::{Case, Skip};
use crate::support::settings::settings;
use crate::support::{Context as _, Result, bytes, ensure, manifests, tar, wait};

pub(crate) const CASES: &[Case] = &[
    // Of each, 15 to 25 seconds are the engines and their images.
    Case::new("installed::debian_package", debian_package).within(240),
    Case::new("installed::rpm_package", rpm_package),
    Case::new("installed::unit_of_the_documents", unit_of_the_documents),
];

const IMAGE: &str = "localhost/collector-test-busybox:latest";
const CONFIG: &str = "/etc/collector/collector.toml";
/// Where the unit keeps a history, as systemd lays it out for a user that it makes up.
const STATE: &str = "/var/lib/private/collector";

/// A command's output; an error with what it said unless it succeeded.
fn run(name: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program(name)?).args(arguments).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} {arguments:?}: {}: {}", output.status, said.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A container of one of the machine's engines.
struct Container {
    /// What it is removed by.
    remove: Vec<String>,
    id: String,
    /// The labels that are not empty at `/metrics/cadvisor`.
    labels: &'static [&'static str],
}

impl Drop for Container {
    fn drop(&mut self) {
        let [engine, arguments @ ..] = self.remove.as_slice() else { return };
        let _ = run(engine, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// The machine's engines, each with an image.
struct Engines;

impl Engines {
    fn start() -> Result<()> {
        if settings().packages.is_none() || !Path::new("/run/systemd/system").is_dir() {
            let reason = "what it installs stays there: it takes a machine of `cargo xtask vm --engines`";
            return Err(Skip::because(reason));
        }
        run("systemctl", &["start", "docker.service", "containerd.service", "podman.socket"])?;
        let busybox = fs::read(program("busybox")?)?;
        let layer = tar::with_program("busybox", &busybox);
        for engine in ["docker", "podman"] {
            let mut import = Command::new(program(engine)?);
            let mut child = import.args(["import", "-", IMAGE]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
            child.stdin.take().context("standard input is a pipe")?.write_all(&layer)?;
            ensure!(child.wait()?.success(), "{engine} imports nothing");
        }
        let archive = std::env::temp_dir().join("collector-test-image.tar");
        fs::write(&archive, tar::image(IMAGE, &["/bin/busybox", "sleep", "600"], &layer))?;
        run("ctr", &["--namespace=k8s.io", "images", "import", &archive.display().to_string()]).map(drop)
    }

    /// A container of Docker's or podman's.
    fn like_docker(engine: &str, name: &str) -> Result<Container> {
        let command = [IMAGE, "/bin/busybox", "sleep", "600"];
        let options = ["run", "--detach", "--network=none", "--label=team=blue", "--name", name];
        let id = run(engine, &[&options[..], &command].concat())?;
        let remove = [engine, "rm", "--force", name].map(str::to_owned).to_vec();
        Ok(Container { remove, id, labels: &["name", "image"] })
    }

    /// A container of each engine: with containerd one that is labelled as the kubelet's are.
    fn containers(name: &str) -> Result<Vec<Container>> {
        // What a test that failed has left has another name.
        let name = format!("{name}-{}", std::process::id());
        let name = name.as_str();
        let mut containers = vec![Self::like_docker("docker", name)?, Self::like_docker("podman", name)?];
        let id = tar::hex_sha256(name.as_bytes());
        let labels: Vec<String> = POD_LABELS
            .into_iter()
            .chain([("io.kubernetes.container.name", name), ("io.cri-containerd.kind", "container")])
            .map(|(label, value)| format!("--label={label}={value}"))
            .collect();
        let mut arguments = vec!["--namespace=k8s.io", "run", "--detach"];
        arguments.extend(labels.iter().map(String::as_str));
        arguments.extend([IMAGE, &id, "/bin/busybox", "sleep", "600"]);
        run("ctr", &arguments)?;
        let remove = ["ctr", "--namespace=k8s.io", "task", "rm", "--force", &id].map(str::to_owned).to_vec();
        containers.push(Container { remove, id, labels: &["name", "image", "container", "pod", "namespace"] });
        Ok(containers)
    }
}

/// The packages of one kind, this version's first.
fn packages(ending: &str) -> Result<[String; 2]> {
    let folder = settings().packages.as_deref().context("no packages")?;
    let files: std::io::Result<Vec<PathBuf>> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let mut files: Vec<String> = files?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .map(|path| path.display().to_string())
        .collect();
    files.sort();
    files.try_into().ok().with_context(|| format!("{} has not two files .{ending}", folder.display()))
}

/// The service, as systemd has it.
struct Service;

impl Service {
    fn property(name: &str) -> Result<String> {
        run("systemctl", &["show", "--value", "--property", name, "collector.service"])
    }

    fn is_running() -> Result<bool> {
        Ok(Self::property("ActiveState")? == "active")
    }

    /// Waits until it answers, and returns where.
    fn reach() -> Result<Reach> {
        let reach = Reach::here(8080);
        let said = || run("journalctl", &["--no-pager", "--unit=collector", "--lines=20"]).unwrap_or_default();
        reach.wait_ready().map_err(|error| error.context(said()))?;
        ensure!(Self::is_running()?, "something else answers:\n{}", said());
        Ok(reach)
    }

    /// It shows these containers with names, gets kernel events, and misses nothing.
    fn shows(containers: &[Container]) -> Result<()> {
        let reach = Self::reach()?;
        let get = |page: &str| {
            let response = reach.request(page, None)?;
            ensure!(response.status == 200, "{page} answered {}", response.status);
            Ok(response.text())
        };
        for Container { id, labels, remove } in containers {
            let shown = shows(get, "/metrics/cadvisor", id, labels);
            shown.with_context(|| format!("{}: {}", remove[0], reach.health().unwrap_or_default()))?;
        }
        let health = reach.health()?;
        ensure!(health.contains("kernel events: ebpf") && !health.contains("cannot be asked"), "{health}");
        let status = bytes::read(format!("/proc/{}/status", Self::property("MainPID")?))?;
        ensure!(!status.contains("\nUid:\t0\t") && status.contains("\nNoNewPrivs:\t1"), "{status}");
        Ok(())
    }
}

/// Its history, as the collector would have written it.
fn leave_history() -> Result<()> {
    fs::write(Path::new(STATE).join("hour"), "x").with_context(|| format!("{STATE} is not made"))
}

fn debian_package() -> Result<()> {
    Engines::start()?;
    let early = Engines::containers("early")?;
    let [first, next] = packages("deb")?;
    run("dpkg", &["--install", &first])?;
    // Nobody starts it but the package.
    Service::shows(&early)?;
    Service::shows(&Engines::containers("late")?)?;
    ensure!(run("systemctl", &["is-enabled", "collector.service"])? == "enabled", "it will not start again");
    leave_history()?;

    // The administrator's word counts at once, and after an upgrade.
    let changed = bytes::read(CONFIG)? + "housekeeping_interval = \"3s\"\n";
    bytes::write(CONFIG, &changed)?;
    let pid = Service::property("MainPID")?;
    run("systemctl", &["reload", "collector.service"])?;
    ensure!(Service::property("MainPID")? == pid && Service::is_running()?, "a reload is a restart");
    run("dpkg", &["--install", &next])?;
    ensure!(bytes::read(CONFIG)? == changed, "an upgrade changes the configuration");
    Service::shows(&early)?;
    ensure!(Service::property("MainPID")? != pid, "after the upgrade the old one still runs");
    ensure!(run("dpkg", &["--verify", "collector"])?.lines().all(|line| line.ends_with(CONFIG)), "files differ");

    run("dpkg", &["--remove", "collector"])?;
    ensure!(!Service::is_running()? && !Path::new("/usr/bin/collector").exists(), "removed, it still runs");
    ensure!(
        Path::new(CONFIG).exists() && Path::new(STATE).join("hour").exists(),
        "removing takes more than the program"
    );
    run("dpkg", &["--purge", "collector"])?;
    for path in [CONFIG, STATE, "/var/lib/collector"] {
        ensure!(fs::symlink_metadata(path).is_err(), "{path} outlives the package");
    }
    ensure!(run("systemctl", &["is-enabled", "collector.service"]).is_err(), "its unit outlives the package");
    Ok(())
}

/// On a machine of Debian's, where the package's scripts and systemd are as elsewhere, and only what it depends on is not.
fn rpm_package() -> Result<()> {
    Engines::start()?;
    let early = Engines::containers("early")?;
    let [first, next] = packages("rpm")?;
    let rpm = |arguments: &[&str]| run("rpm", &[arguments, &["--nodeps", "--force-debian"]].concat());
    rpm(&["--install", "--nosignature", &first])?;
    // As the documents say.
    run("systemctl", &["enable", "--now", "collector"])?;
    Service::shows(&early)?;
    let pid = Service::property("MainPID")?;
    let changed = bytes::read(CONFIG)? + "housekeeping_interval = \"3s\"\n";
    bytes::write(CONFIG, &changed)?;
    rpm(&["--upgrade", "--nosignature", &next])?;
    Service::shows(&early)?;
    ensure!(Service::property("MainPID")? != pid, "after the upgrade the old one still runs");
    ensure!(bytes::read(CONFIG)? == changed, "an upgrade changes the configuration");
    rpm(&["--erase", "collector"])?;
    ensure!(!Service::is_running()? && !Path::new("/usr/bin/collector").exists(), "removed, it still runs");
    Ok(())
}

/// The binary is where the documents have it put: the suite's own.
fn unit_of_the_documents() -> Result<()> {
    const UNIT: &str = "/etc/systemd/system/collector.service";
    Engines::start()?;
    let early = Engines::containers("early")?;
    ensure!(settings().collector == Path::new("/usr/local/bin/collector"), "the collector is elsewhere");
    fs::copy(manifests::path("systemd/collector.service")?, UNIT)?;
    run("systemctl", &["daemon-reload"])?;
    run("systemctl", &["enable", "--now", "collector"])?;
    Service::shows(&early)?;
    let late = Engines::containers("late")?;
    Service::shows(&late)?;
    // It comes back by itself.
    let pid = Service::property("MainPID")?;
    run("kill", &["-KILL", &pid])?;
    wait::eventually(wait::seconds(10), || {
        ensure!(Service::property("MainPID")? != pid && Service::is_running()?, "it stays away");
        Ok(())
    })?;
    Service::shows(&late)?;
    run("systemctl", &["disable", "--now", "collector"])?;
    fs::remove_file(UNIT)?;
    run("systemctl", &["daemon-reload"]).map(drop)
}
