//! Containers, machines and jobs whose name is in the path of their cgroup, with nobody to be asked for it.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::cgroups::{Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Skip};
use crate::support::{Result, bail, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("named::by_path_and_record", by_path_and_record),
    // Three seconds, where LXC is installed.
    Case::new("named::lxc", lxc),
];

const WITHOUT: [&str; 4] = ["--docker=", "--podman=", "--containerd=", "--crio="];

/// Waits until a cgroup has this namespace and these aliases, and its series this name.
fn is_called(collector: &Collector, cgroup: &str, namespace: &str, aliases: &[&str]) -> Result<()> {
    wait::eventually(wait::seconds(10), || {
        let found: Value = collector.json(&format!("/api/v1.3/containers{cgroup}"), Some(r#"{"num_stats":1}"#))?;
        let expected = (&Value::from(namespace), &serde_json::json!(aliases));
        ensure!((&found["namespace"], &found["aliases"]) == expected, "{cgroup} is {expected:?}, not {found}");
        let metrics = collector.metrics()?;
        let labels = [("name", aliases[0])];
        let ids: Vec<_> = metrics.series("container_last_seen", &labels).map(|line| line.label("id")).collect();
        ensure!(ids == [cgroup], "{:?} are called {}", ids, aliases[0]);
        Ok(())
    })
}

/// A folder that ends with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let folder = Self(std::env::temp_dir().join(format!("collector-test-named-{}", std::process::id())));
        fs::create_dir_all(&folder.0)?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Cgroups where LXC, systemd-machined and Slurm have theirs, and what lies on disk about them below another root. About 5 s.
fn by_path_and_record() -> Result<()> {
    let (cgroups, root) = (Cgroups::new(Set::Every)?, Folder::new()?);
    let machines = root.0.join("run/systemd/machines");
    fs::create_dir_all(&machines)?;
    fs::write(machines.join("collector-build"), "NAME=collector-build\nCLASS=container\nSERVICE=systemd-nspawn\n")?;
    fs::create_dir_all(root.0.join("var/lib/incus/containers/collector-web"))?;
    for parent in ["machine.slice", "slurmstepd.scope"] {
        cgroups.make(parent)?;
    }
    let root = format!("--rootfs={}", root.0.display());
    let flags: Vec<&str> = [root.as_str(), "--proc_root=/proc", "--sys_root=/sys"].into_iter().chain(WITHOUT).collect();
    let early = cgroups.make("lxc.payload.collector-web")?;
    let mut collector = Collector::start(&flags)?;
    is_called(&collector, &early.name(), "incus", &["collector-web"])?;
    for (below, namespace, aliases) in [
        ("machine.slice/machine-collector\\x2dbuild.scope", "systemd-nspawn", &["collector-build"][..]),
        ("machine.slice/machine-collector\\x2dother.scope", "machined", &["collector-other"]),
        ("machine.slice/machine-qemu\\x2d7\\x2dcollector\\x2ddb.scope", "libvirt", &["collector-db"]),
        ("slurmstepd.scope/job_4242", "slurm", &["job_4242", "4242"]),
    ] {
        is_called(&collector, &cgroups.make(below)?.name(), namespace, aliases)?;
    }
    // What is inside belongs to it, and a monitor is nobody.
    for below in ["lxc.payload.collector-web/lxc.payload.inner", "lxc.monitor.collector-web"] {
        let name = cgroups.make(below)?.name();
        let found: Value = wait::eventually(wait::seconds(5), || {
            collector.json(&format!("/api/v1.3/containers{name}"), Some(r#"{"num_stats":1}"#))
        })?;
        ensure!(found.get("namespace").is_none(), "{found}");
    }
    collector.check_alive()
}

/// A container of LXC that is stopped when the test ends.
struct Lxc {
    folder: Folder,
    name: String,
}

impl Lxc {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-P"]).arg(&self.folder.0).args(["-n", &self.name]).stdin(Stdio::null());
        command
    }

    fn start() -> Result<Self> {
        let container = Self { folder: Folder::new()?, name: format!("collector-test-{}", std::process::id()) };
        let directory = container.folder.0.join(&container.name);
        fs::create_dir_all(&directory)?;
        // With the machine's root directory: nothing has to be unpacked.
        fs::write(
            directory.join("config"),
            "lxc.net.0.type = empty\nlxc.console.path = none\nlxc.init.cmd = /bin/sleep 600\n",
        )?;
        let started = match container.command("lxc-start").output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Skip::because("LXC is not installed (Debian's package lxc)"));
            }
            started => started?,
        };
        if !started.status.success() {
            return Err(Skip::because(format!(
                "LXC starts no container here: {}",
                String::from_utf8_lossy(&started.stderr).lines().next().unwrap_or_default()
            )));
        }
        Ok(container)
    }
}

impl Drop for Lxc {
    fn drop(&mut self) {
        let _ = self.command("lxc-stop").arg("-k").output();
        // What it leaves behind, if nobody else needs it.
        let left = [format!("lxc.payload.{}", self.name), format!("lxc.monitor.{}", self.name), "lxc.pivot".to_owned()];
        for mount in Layout::detect().map(|layout| layout.mounts).unwrap_or_default() {
            for name in &left {
                let _ = wait::eventually(wait::seconds(1), || match fs::remove_dir(mount.path.join(name)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
                    _ => Ok(()),
                });
            }
        }
    }
}

/// LXC's own container has its name, its processes' CPU time and its own network.
fn lxc() -> Result<()> {
    let container = Lxc::start()?;
    let collector = Collector::start(&WITHOUT)?;
    let metrics = |collector: &Collector| -> Result<String> {
        let metrics = collector.metrics()?;
        let labels = [("name", container.name.as_str())];
        let mut found = metrics.series("container_last_seen", &labels).map(|line| line.label("id").to_owned());
        match (found.next(), found.next()) {
            (Some(cgroup), None) => Ok(cgroup),
            found => bail!("{found:?} are called {}", container.name),
        }
    };
    let cgroup = wait::eventually(wait::seconds(10), || metrics(&collector))?;
    ensure!(cgroup.ends_with(&format!("/lxc.payload.{}", container.name)), "{cgroup}");
    is_called(&collector, &cgroup, "lxc", &[&container.name])?;
    wait::eventually(wait::seconds(10), || {
        let found: Value = collector.json(&format!("/api/v1.3/containers{cgroup}"), Some(r#"{"num_stats":1}"#))?;
        ensure!(found["spec"]["has_network"] == true, "it has a network of its own: {}", found["spec"]);
        Ok(())
    })
}
