//! The systemd unit in `deploy/`: systemd reads it, and the collector works with what it leaves.
//!
//! No systemd runs these tests. What it would do to the process as a user, with capabilities and limits is done by the
//! tests; what it would forbid of system calls is compared with what the collector is known to call.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use rustix::thread::CapabilitySet;
use serde_json::Value;

use crate::auth::{Files, flag};
use crate::names;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::{Collector, Rights};
use crate::support::cri::{Pod, PodNetwork};
use crate::support::engine::{ContainerEngine as _, program};
use crate::support::harness::Case;
use crate::support::settings::settings;
use crate::support::{Context as _, Result, bytes, ensure, manifests, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("systemd_unit::systemd_has_nothing_against_it", systemd_has_nothing_against_it),
    Case::new("systemd_unit::its_system_calls_suffice", its_system_calls_suffice),
    Case::new("systemd_unit::its_rights_suffice", its_rights_suffice),
    // Fifteen seconds, of which the engines' start is most.
    Case::new("systemd_unit::shows_names", shows_names),
];

const UNIT: &str = include_str!("../deploy/systemd/collector.service");
/// In tenths: 0 is safe, 100 is not. What is left is that it sees other processes and the network.
const EXPOSURE: &str = "25";
/// A user as systemd makes them up.
const DYNAMIC_USER: u32 = 61_184;

/// The settings of the unit, in order.
struct Unit(Vec<(&'static str, &'static str)>);

impl Unit {
    fn read() -> Self {
        let lines = UNIT.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        Self(lines.collect())
    }

    fn get(&self, key: &str) -> Result<&'static str> {
        let mut values = self.0.iter().filter(|(name, _)| *name == key).map(|(_, value)| *value);
        let value = values.next().with_context(|| format!("no {key}="))?;
        ensure!(values.next().is_none(), "{key}= is there twice");
        Ok(value)
    }

    fn capabilities(&self, key: &str) -> Result<CapabilitySet> {
        self.get(key)?.split(' ').try_fold(CapabilitySet::empty(), |set, name| {
            let one = name.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
            Ok(set | one.with_context(|| format!("{name} is no capability"))?)
        })
    }
}

fn systemd_has_nothing_against_it() -> Result<()> {
    let analyze = program("systemd-analyze")?;
    // The binary is not where it would be installed.
    let unit = UNIT.replace("/usr/local/bin/collector", &fs::canonicalize(&settings().collector)?.to_string_lossy());
    let folder = std::env::temp_dir().join(format!("collector-test-unit-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let path = folder.join("collector.service");
    bytes::write(&path, &unit)?;
    let run = |arguments: &[&str]| Command::new(&analyze).args(arguments).arg(&path).output();
    let verified = run(&["verify", "--man=no"]);
    let security = run(&["security", "--offline=true", &format!("--threshold={EXPOSURE}")]);
    fs::remove_dir_all(&folder)?;
    let verified = verified?;
    let said = String::from_utf8_lossy(&verified.stderr);
    ensure!(verified.status.success() && !said.contains("collector.service"), "systemd-analyze verify: {said}");
    let security = security?;
    let (said, why) = (String::from_utf8_lossy(&security.stdout), String::from_utf8_lossy(&security.stderr));
    ensure!(security.status.success(), "systemd-analyze security: {said}{why}");
    ensure!(said.contains("Overall exposure level"), "systemd-analyze security says nothing: {said}{why}");
    Ok(())
}

/// The calls in the unit's filter, its groups taken apart by systemd.
fn allowed_calls(filter: &str) -> Result<BTreeSet<String>> {
    let analyze = program("systemd-analyze")?;
    let mut calls = BTreeSet::new();
    let mut names: Vec<String> = filter.split(' ').map(str::to_owned).collect();
    while let Some(name) = names.pop() {
        if !name.starts_with('@') {
            calls.insert(name);
            continue;
        }
        let group = Command::new(&analyze).args(["syscall-filter", &name]).output()?;
        ensure!(group.status.success(), "systemd does not know {name}");
        let text = String::from_utf8(group.stdout)?;
        let members = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        names.extend(members.map(str::to_owned));
    }
    Ok(calls)
}

fn its_system_calls_suffice() -> Result<()> {
    let allowed = allowed_calls(Unit::read().get("SystemCallFilter")?)?;
    let profile: Value = serde_json::from_str(&bytes::read(manifests::path("seccomp/collector.json")?)?)?;
    let group = &profile["syscalls"][0];
    ensure!(group["comment"] == "what the collector does", "{group:#}");
    let calls: Vec<&str> = group["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(calls.contains(&"bpf") && calls.len() > 50, "these are not the collector's calls: {calls:?}");
    let missing: Vec<&&str> = calls.iter().filter(|call| !allowed.contains(**call)).collect();
    ensure!(missing.is_empty(), "the unit forbids {missing:?}");
    Ok(())
}

/// The collector as the unit starts it, with more flags.
fn started(more: &[&str]) -> Result<Collector> {
    let unit = Unit::read();
    let bounding = unit.capabilities("CapabilityBoundingSet")?;
    ensure!(bounding == unit.capabilities("AmbientCapabilities")?, "it is given others than it may have");
    ensure!(unit.get("DynamicUser")? == "yes" && unit.get("NoNewPrivileges")? == "yes", "the scene does not fit");
    // Inherited by all that this test starts.
    rustix::thread::set_no_new_privs(true)?;
    let rights = Rights {
        uid: Some(DYNAMIC_USER),
        capabilities: Some(bounding.bits()),
        open_files: Some(unit.get("LimitNOFILE")?.parse()?),
    };
    let command = unit.get("ExecStart")?;
    let flags = command.strip_prefix("/usr/local/bin/collector ").context("it starts something else")?;
    let flags: Vec<&str> = flags.split(' ').chain(more.iter().copied()).collect();
    Collector::start_as(&rights, &flags)
}

fn its_rights_suffice() -> Result<()> {
    // What systemd makes for it below /var/lib, where everything else is read-only.
    let unit = Unit::read();
    ensure!(unit.get("StateDirectory")? == "collector" && unit.get("ProtectSystem")? == "strict", "no state directory");
    let files = Files::new("unit")?;
    std::os::unix::fs::chown(files.path(), Some(DYNAMIC_USER), Some(DYNAMIC_USER))?;
    let history = flag("history_dir", &files.path().join("history"));
    let mut collector = started(&[&history, "--history_step=1s"])?;
    collector.require_ebpf()?;
    let status = bytes::read(format!("/proc/{}/status", collector.pid()))?;
    ensure!(status.contains("NoNewPrivs:\t1"), "the scene does not work:\n{status}");
    let cgroups = Cgroups::new(Set::Every)?;
    wait::eventually(wait::seconds(10), || {
        let stats = collector.container(&cgroups.name())?.stats;
        stats.last().and_then(|stats| stats.cpu.as_ref()).context("no sample of its CPU").map(drop)
    })?;
    wait::eventually(wait::seconds(10), || {
        let written = collector.metrics()?.value("collector_history_written_total", &[("what", "samples")]);
        ensure!(written.is_some_and(|written| written > 0.0), "{written:?} samples are in the history");
        Ok(())
    })?;
    collector.check_alive()
}

/// Names of Docker's and of a pod's containers, by sockets that belong to others: see `names` for the scene.
fn shows_names() -> Result<()> {
    let docker = names::docker()?;
    let pod = Pod::start(PodNetwork::Own)?;
    names::place(&pod.socket(), names::CONTAINERD)?;
    let of_docker = docker.run_named("early", &[("team", "blue")], &[])?;
    let of_pod = pod.start("/bin/busybox sleep 600")?;
    let collector = started(&[])?;
    let get = |page: &str| Ok(collector.get(page)?.text());
    names::shows_dockers(get, &of_docker, &docker)?;
    names::shows_pods(get, &of_pod.id, &pod)
}
