//! Runtimes that cannot be reached: why, where it is said, and that it ends when they are back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use rustix::thread::CapabilitySet;
use serde_json::Value;

use crate::doctor;
use crate::support::collector::{Collector, Rights};
use crate::support::containerd::Containerd;
use crate::support::docker::Docker;
use crate::support::engine::ContainerEngine as _;
use crate::support::harness::Case;
use crate::support::proxy::{Behaviour, Proxy};
use crate::support::{Result, ensure, process, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("unreachable::every_cause_is_reported_until_it_is_gone", every_cause_is_reported_until_it_is_gone),
    Case::new("unreachable::one_that_hangs_holds_up_nobody", one_that_hangs_holds_up_nobody),
    Case::new("unreachable::the_doctor_says_the_same", the_doctor_says_the_same),
];

const IDLE: &str = "while :; do /bin/busybox sleep 1; done";

/// A folder of the test's own, that others may enter, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("collector-test-unreachable-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self(path))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// It is degraded for this reason, in every place that says so.
fn reported(collector: &Collector, facility: &str, words: &str) -> Result<()> {
    wait::eventually(wait::seconds(15), || {
        let health = collector.health()?;
        let line = health
            .lines()
            .find(|line| line.starts_with("degraded: ") && line.contains("cannot be reached") && line.contains(words));
        let line = line.ok_or_else(|| crate::support::Error::msg(format!("nothing says {words:?}:\n{health}")))?;
        ensure!(line.contains("cannot be reached") && line.contains("fix: "), "{line}");
        let facilities = collector.metrics()?.labels_above_zero("collector_degraded", "facility");
        ensure!(facilities.iter().any(|other| other == facility), "collector_degraded is set for {facilities:?}");
        Ok(())
    })?;
    let log = collector.log();
    let lines = log.iter().filter(|line| line.contains("cannot be reached") && line.contains(words)).count();
    // A second one where what a runtime answers, and not only the cause, has changed.
    ensure!((1..=2).contains(&lines), "{lines} lines of the log say {words:?}: {log:?}");
    Ok(())
}

fn cleared(collector: &Collector, facility: &str) -> Result<()> {
    wait::eventually(wait::seconds(5), || {
        let facilities = collector.metrics()?.labels_above_zero("collector_degraded", "facility");
        ensure!(!facilities.iter().any(|other| other == facility), "collector_degraded is set for {facilities:?}");
        ensure!(!collector.health()?.contains("Docker cannot be reached"), "{}", collector.health()?);
        Ok(())
    })
}

fn named(collector: &Collector, id: &str, name: &str) -> Result<()> {
    wait::eventually(wait::seconds(5), || {
        let answer: Value = collector.json(&format!("/api/v1.3/containers/docker/{id}"), None)?;
        ensure!(answer["aliases"][0] == name, "the aliases are {}", answer["aliases"]);
        Ok(())
    })
}

/// The socket is not there, a directory, a file, stale, silent; then Docker is back, and so are the names. About 25 s.
fn every_cause_is_reported_until_it_is_gone() -> Result<()> {
    let docker = Docker::start()?;
    let proxy = Proxy::new(&docker.socket(), Behaviour::Forward);
    let path = docker.socket().with_extension("proxy");
    let collector = Collector::start(&["--housekeeping_interval=500ms", &format!("--docker={}", proxy.endpoint())])?;
    let id = docker.run_named("early", &[], &[])?;
    let facility = "runtime_docker";
    reported(&collector, facility, "is not there; lost")?;
    fs::create_dir(&path)?;
    reported(&collector, facility, "is a directory, which `docker run -v` makes")?;
    fs::remove_dir(&path)?;
    fs::write(&path, "")?;
    reported(&collector, facility, "is not a socket")?;
    fs::remove_file(&path)?;
    drop(UnixListener::bind(&path)?);
    reported(&collector, facility, "connection refused")?;
    fs::remove_file(&path)?;
    let silent = UnixListener::bind(&path)?;
    reported(&collector, facility, "did not answer within 5 seconds")?;
    fs::remove_file(&path)?;
    drop(silent);
    proxy.behave(Behaviour::Garbage);
    proxy.open()?;
    reported(&collector, facility, "answers, but not as Docker does")?;
    proxy.behave(Behaviour::Forward);
    cleared(&collector, facility)?;
    named(&collector, &id, "early")?;
    // Nothing of it was expected, and nothing is seen.
    let facilities = collector.metrics()?.labels_above_zero("collector_degraded", "facility");
    ensure!(!facilities.iter().any(|other| other == "runtime_crio"), "CRI-O is missed: {facilities:?}");
    docker.remove(&id)
}

/// Docker is stopped while it is connected: containerd's containers are named as ever, sampling goes on, and the names
/// of Docker's come when it goes on. About 20 s.
fn one_that_hangs_holds_up_nobody() -> Result<()> {
    let docker = Docker::start()?;
    let containerd = Containerd::start("burstable")?;
    let flags = [
        "--housekeeping_interval=200ms".to_owned(),
        format!("--docker=unix://{}", docker.socket().display()),
        format!("--containerd={}", containerd.socket().display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let collector = Collector::start(&flags)?;
    let early = docker.run_named("early", &[], &[])?;
    named(&collector, &early, "early")?;
    let pid = docker.process()?;
    process::signal(pid, Signal::STOP)?;
    let outcome = (|| {
        let containers =
            (0..20).map(|_| containerd.run_labelled(&[("who", "me")], IDLE)).collect::<Result<Vec<_>>>()?;
        for container in &containers {
            wait::eventually(wait::seconds(5), || {
                let answer: Value = collector.json(&format!("/api/v1.3/containers{}", container.cgroup), None)?;
                ensure!(answer["spec"]["labels"]["who"] == "me", "no labels: {}", answer["spec"]);
                ensure!(!answer["stats"].is_null(), "no sample");
                Ok(())
            })?;
        }
        reported(&collector, "runtime_docker", "did not answer within 5 seconds")?;
        containers.iter().try_for_each(|container| containerd.remove(container))
    })();
    process::signal(pid, Signal::CONT)?;
    outcome?;
    cleared(&collector, "runtime_docker")?;
    let late = docker.run_named("late", &[], &[])?;
    named(&collector, &late, "late")
}

/// As root what is in the place of the socket, as another user that it may not be used.
fn the_doctor_says_the_same() -> Result<()> {
    let folder = Folder::new()?;
    let docker = |path: &Path| format!("--docker=unix://{}", path.display());
    fs::create_dir(folder.at("directory"))?;
    let _silent = UnixListener::bind(folder.at("silent"))?;
    for (path, words) in [
        (folder.at("missing"), "is not there"),
        (folder.at("directory"), "is a directory"),
        (folder.at("silent"), "did not answer"),
    ] {
        let report = doctor::examine(&Rights::default(), &["--listen_ip=127.0.0.1", "--port=0", &docker(&path)])?;
        let found = report.facility("runtime_docker")?;
        ensure!(found.status == "unavailable" && found.found.contains(words), "{found:?}");
        ensure!(report.summary.exit_code == 1, "{:?}", report.summary);
        ensure!(["off", "works"].contains(&report.facility("runtime_crio")?.status.as_str()), "CRI-O is missed");
    }
    let listener = UnixListener::bind(folder.at("closed"))?;
    fs::set_permissions(folder.at("closed"), fs::Permissions::from_mode(0o600))?;
    let nobody = Rights { uid: Some(65534), capabilities: Some(CapabilitySet::empty().bits()), open_files: None };
    let report = doctor::examine(&nobody, &["--listen_ip=127.0.0.1", "--port=0", &docker(&folder.at("closed"))])?;
    let found = report.facility("runtime_docker")?;
    ensure!(found.found.contains("permission denied") && found.fix.is_some(), "{found:?}");
    let collector = Collector::start_as(&nobody, &["--kernel_events=scan", &docker(&folder.at("closed"))])?;
    reported(&collector, "runtime_docker", "permission denied")?;
    drop(listener);
    let off = doctor::examine(&Rights::default(), &["--listen_ip=127.0.0.1", "--port=0", "--docker="])?;
    ensure!(off.facility("runtime_docker")?.status == "off", "{:?}", off.facility("runtime_docker")?);
    Ok(())
}
