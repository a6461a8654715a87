//! A real collector that takes its machine for another one.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest as _, Sha256};

use crate::bench::cgroups::Tree;
use crate::bench::process::{cpu_ticks, free_port, resident_bytes};
use crate::workspace;

/// Where cgroups are looked for.
const CGROUPS: &str = "/sys/fs/cgroup";

/// A running one. Dropping it ends it in order.
pub(super) struct Node {
    child: Child,
    port: u16,
}

impl Node {
    /// Starts one under a name, in UTS and mount namespaces of its own: of the cgroups of this machine it sees one tree alone.
    pub(super) fn start(binary: &Path, name: &str, tree: &Tree, flags: &[String]) -> Result<Self> {
        let port = free_port()?;
        let logs = workspace::target().join("fleet");
        workspace::make_folder(&logs)?;
        let path = logs.join(format!("{name}.log"));
        let log = std::fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        // Who pushes when follows from it.
        let id = logs.join(format!("{name}.id"));
        std::fs::write(&id, format!("{:x}\n", Sha256::digest(name)))
            .with_context(|| format!("cannot write {}", id.display()))?;
        let place = logs.join(format!("{name}.cgroups"));
        workspace::make_folder(&place)?;
        let child = Command::new("unshare")
            .args(["--uts", "--mount", "--propagation=private", "sh", "-ec", &alone_with(tree, &place), name])
            .arg(binary)
            .args([
                "--listen_ip=127.0.0.1",
                "--metrics_profile=recommended",
                "--docker=",
                "--podman=",
                "--containerd=",
                "--crio=",
            ])
            .args([format!("--port={port}"), format!("--include_path={}", tree.name())])
            .arg(format!("--machine_id_file={}", id.display()))
            .args([format!("--remote_write_headers=x-node={name}"), format!("--otlp_headers=x-node={name}")])
            .args(flags.iter().flat_map(|flags| flags.split('\n')))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start unshare")?;
        let node = Self { child, port };
        let end = Instant::now() + Duration::from_secs(60);
        while node.get("/readyz").is_err() {
            ensure!(Instant::now() < end, "{name} is not ready after a minute; see {}", path.display());
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(node)
    }

    fn get(&self, path: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let mut answer = ureq::get(&url).call().with_context(|| format!("GET {url}"))?;
        answer.body_mut().with_config().limit(1 << 30).read_to_string().with_context(|| format!("GET {url}"))
    }

    /// CPU time so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.child.id());
        cpu_ticks(&std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?)
    }

    /// How many containers it has found.
    pub(super) fn containers(&self) -> Result<f64> {
        self.metric("collector_containers")
    }

    /// Resident memory.
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        // unshare and the shell have become the collector.
        resident_bytes(self.child.id())
    }

    /// A metric of its own, by its name with its labels.
    pub(super) fn metric(&self, name: &str) -> Result<f64> {
        let text = self.get("/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.split(' ').next()?.parse().ok()).with_context(|| format!("no metric {name}"))
    }
}

/// What a shell does in namespaces of its own before it becomes a collector: it takes the name, and puts the tree's parents
/// in the places of the hierarchies' roots. `place` is an empty folder.
fn alone_with(tree: &Tree, place: &Path) -> String {
    let place = place.display();
    let is_one = |root: &Path| root == Path::new(CGROUPS);
    let mut lines = vec!["echo \"$0\" > /proc/sys/kernel/hostname".to_owned()];
    if !tree.places().any(|(root, _)| is_one(root)) {
        lines.push(format!("mount -t tmpfs tmpfs {place}"));
    }
    for (root, parent) in tree.places() {
        let below = root.strip_prefix(CGROUPS).unwrap_or(root).display();
        let target = if is_one(root) { place.to_string() } else { format!("{place}/{below}") };
        lines.extend([format!("mkdir -p {target}"), format!("mount --bind {} {target}", parent.display())]);
    }
    let last = [format!("umount --recursive --lazy {CGROUPS}"), format!("mount --move {place} {CGROUPS}")];
    lines.extend(last);
    lines.push("exec \"$@\"".to_owned());
    lines.join("\n")
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
