//! The collector in a container: without the host's pid namespace, in a cgroup namespace of its own, with few rights,
//! and started again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use rustix::fs::XattrFlags;

use crate::oom::{Scene, limit_memory};
use rustix::thread::CapabilitySet;

use crate::support::api::{Container, Machine, Stats};
use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::{Collector, Rights};
use crate::support::contained::{FILE_CAPABILITIES, Reach, Setting, capability_attribute, free_port, import, start};
use crate::support::docker::Docker;
use crate::support::harness::{Case, Skip};
use crate::support::settings::settings;
use crate::support::surroundings::Surroundings;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("contained::oom_count_and_creation_time_outlive_the_collector", outlive_the_collector)
        .on_every_unified_kernel(),
    Case::new("contained::file_capabilities", file_capabilities),
    Case::new("contained::sees_the_host", sees_the_host),
    Case::new("contained::restarted", restarted),
    Case::new("contained::in_a_network_namespace", in_a_network_namespace),
    Case::new("contained::without_the_hosts_procfs", without_the_hosts_procfs),
    Case::new("contained::without_any_mount", without_any_mount),
];

const HOST_MOUNTS: [&str; 2] = ["/proc:/host/proc:ro", "/sys:/host/sys:ro"];
const FLAGS: [&str; 3] = ["--housekeeping_interval=200ms", "--allow_dynamic_housekeeping=false", "--disable_metrics="];

fn hosted<'a>() -> Setting<'a> {
    Setting { binds: &HOST_MOUNTS, network: "host", flags: &FLAGS }
}

/// What is missing, but for the socket of Docker, which none of these collectors is given.
fn degraded(health: &str) -> Vec<&str> {
    let all = health.lines().filter_map(|line| line.strip_prefix("degraded: "));
    all.filter(|reason| !reason.starts_with("Docker cannot be reached: ")).collect()
}

/// Has a process outgrow the cgroup's limit.
fn outgrow(cgroup: &Cgroup<'_>) -> Result<()> {
    let status = Plan::new(Work::Grow(64), cgroup).run()?;
    ensure!(!status.success(), "the process survived its limit: the scene does not work");
    Ok(())
}

/// What a restart must not change, and what may only grow.
struct Account {
    created: String,
    oom_kills: Option<f64>,
    cpu: u64,
}

fn account(container: &Container, oom_kills: Option<f64>) -> Result<Account> {
    let stats = container.stats.last().with_context(|| format!("{} has no sample", container.name))?;
    let cpu = stats.cpu.as_ref().context("no CPU time")?.usage.total;
    Ok(Account { created: format!("{:?}", container.spec.creation_time), oom_kills, cpu })
}

fn ensure_continued(name: &str, before: &Account, after: &Account) -> Result<()> {
    ensure!(after.created == before.created, "{name}: created {} and then {}", before.created, after.created);
    let kills = (before.oom_kills, after.oom_kills);
    ensure!(kills.0 == kills.1, "{name}: OOM kills {:?} and then {:?}", kills.0, kills.1);
    ensure!(after.cpu >= before.cpu, "{name}: CPU time went from {} to {}", before.cpu, after.cpu);
    Ok(())
}

/// The cgroup `early` is there before the first collector, `late` is made while it runs.
fn outlive_the_collector() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let early = cgroups.make("early")?;
    limit_memory(&early, 16)?;
    outgrow(&early)?;
    let flags = ["--housekeeping_interval=200ms"];
    let first = Collector::start(&flags)?;
    let kills = |collector: &Collector, name: &str| -> Result<Option<f64>> {
        Ok(collector.metrics()?.value("container_oom_events_total", &[("id", name)]))
    };
    let counted = |collector: &Collector, cgroup: &Cgroup<'_>, count: f64| -> Result<Account> {
        let name = cgroup.name();
        wait::eventually(wait::seconds(5), || {
            let counted = kills(collector, &name)?;
            ensure!(counted == Some(count), "{name}: {count} OOM kills, counted {counted:?}");
            account(&collector.container(&name)?, counted)
        })
    };
    let late = cgroups.make("late")?;
    limit_memory(&late, 16)?;
    counted(&first, &early, 1.0)?;
    outgrow(&early)?;
    outgrow(&late)?;
    let before = [counted(&first, &early, 2.0)?, counted(&first, &late, 1.0)?];
    drop(first);
    // While nobody looks.
    outgrow(&late)?;
    let second = Collector::start(&flags)?;
    let after = [counted(&second, &early, 2.0)?, counted(&second, &late, 2.0)?];
    ensure_continued("early", &before[0], &after[0])?;
    ensure_continued(
        "late",
        &Account { oom_kills: Some(2.0), ..before.into_iter().nth(1).context("late")? },
        &after[1],
    )?;
    outgrow(&early)?;
    counted(&second, &early, 3.0)?;
    let events = second.events(&early.name(), &["oom_events"])?.len();
    ensure!(events == 1, "one kill happened since it was started, {events} events");
    Ok(())
}

/// The capabilities that this process could still be given, as bits.
fn bounding_set() -> u64 {
    let held = |capability: &CapabilitySet| rustix::thread::capability_is_in_bounding_set(*capability).unwrap_or(false);
    CapabilitySet::all().iter().filter(held).fold(0, |bits, capability| bits | capability.bits())
}

/// Capabilities of the binary's file that are permitted, not effective: the collector puts them into effect.
fn file_capabilities() -> Result<()> {
    let folder = Folder::new()?;
    let program = folder.0.join("collector");
    fs::copy(&settings().collector, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let attribute = capability_attribute(&FILE_CAPABILITIES);
    rustix::fs::setxattr(&program, "security.capability", &attribute, XattrFlags::empty())
        .map_err(|errno| Skip::because(format!("no file capabilities in {}: {errno}", folder.0.display())))?;
    let port = free_port()?;
    let rights = Rights { uid: Some(65534), ..Rights::default() };
    let mut child = Surroundings::from(&rights)
        .command(&program)?
        .args([format!("--port={port}"), "--listen_ip=127.0.0.1".into()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let checked = (|| {
        let reach = Reach::here(port);
        reach.wait_ready()?;
        let health = reach.health()?;
        ensure!(health.contains("kernel events: ebpf"), "with CAP_BPF and CAP_PERFMON:\n{health}");
        ensure!(degraded(&health).is_empty(), "it has every right it needs:\n{health}");
        let status = bytes::read(format!("/proc/{}/status", child.id()))?;
        let expected = FILE_CAPABILITIES.iter().fold(0_u64, |bits, number| bits | (1 << number));
        // A file gives none that the bounding set has not.
        let expected = expected & bounding_set();
        for row in ["CapPrm:", "CapEff:"] {
            let bits = status.lines().find_map(|line| line.strip_prefix(row)).context("a row of capabilities")?;
            let bits = u64::from_str_radix(bits.trim(), 16)?;
            ensure!(bits == expected, "{row} {bits:x}, not {expected:x}");
        }
        Ok(())
    })();
    child.kill()?;
    child.wait()?;
    checked
}

/// A folder that goes with the test, on a file system that may hold programs with capabilities.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::path::Path::new("/var/tmp").join(format!("collector-test-files-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn latest(reach: &Reach, name: &str) -> Result<Stats> {
    reach.container(name)?.stats.pop().with_context(|| format!("{name} has no sample"))
}

fn ensure_network(reach: &Reach, name: &str) -> Result<()> {
    wait::eventually(wait::seconds(10), || {
        let network = latest(reach, name)?.network.with_context(|| format!("{name} has no network"))?;
        let sent = network.interfaces.iter().map(|interface| interface.tx_packets).sum::<u64>();
        ensure!(sent >= 10, "{name} sent 10 packets and more, counted {sent}");
        Ok(())
    })
}

fn sees_the_host() -> Result<()> {
    let docker = Docker::start()?;
    import(&docker)?;
    let cgroups = Cgroups::new(Set::Every)?;
    let early = cgroups.make("early")?;
    let _sender = Plan::new(Work::Network(10), &early).start_ready()?;
    let other = docker.run("sleep 1000 & sleep 1000")?;
    let (own, reach) = start(&docker, &hosted())?;
    let health = reach.health()?;
    ensure!(health.contains("kernel events: ebpf"), "kernel events:\n{health}\n{}", docker.logs(&own)?);
    ensure!(degraded(&health).is_empty(), "nothing is missing:\n{health}");

    // Names as on the host.
    let names = reach.names()?;
    for name in ["/".to_owned(), early.name(), format!("/docker/{own}"), format!("/docker/{other}")] {
        ensure!(names.contains(&name), "{name} is not among {names:?}");
    }
    let strange: Vec<_> = names.iter().filter(|name| name.contains("..") || name.contains('[')).collect();
    ensure!(strange.is_empty(), "strange names: {strange:?}");

    // Processes of other pid namespaces.
    let shown = wait::eventually(wait::seconds(10), || {
        let processes = latest(&reach, &format!("/docker/{other}"))?.processes.context("no processes")?;
        ensure!(processes.process_count == Some(2), "a shell and its child: {processes:?}");
        Ok(processes)
    })?;
    ensure!(shown.fd_count.is_some_and(|count| count >= 6), "their descriptors: {shown:?}");
    // Found by looking at all processes, and by the event of its first one.
    ensure_network(&reach, &early.name())?;
    let late = cgroups.make("late")?;
    let _later = Plan::new(Work::Network(10), &late).start_ready()?;
    ensure_network(&reach, &late.name())?;

    // Events, and who was killed for whose limit.
    let memory = Cgroups::new(Set::Memory)?;
    let scene = Scene::new(&memory, 0)?;
    let killing = scene.kill()?;
    wait::eventually(wait::seconds(5), || scene.check_events(&killing, |name, kind| reach.events(name, kind)))?;
    scene.remove()?;
    let id = docker.run("true")?;
    docker.wait(&id)?;
    docker.remove(&id)?;
    let brief = format!("/docker/{id}");
    wait::eventually(wait::seconds(5), || {
        let deletions = reach.events(&brief, "deletion_events")?;
        let [deletion] = deletions.as_slice() else { crate::support::bail!("deletions of {brief}: {deletions:?}") };
        let stats = deletion.event_data.deletion.as_ref().and_then(|deletion| deletion.final_stats.as_ref());
        ensure!(stats.is_some(), "its deletion has no final sample");
        Ok(())
    })
}

fn restarted() -> Result<()> {
    let docker = Docker::start()?;
    import(&docker)?;
    let cgroups = Cgroups::new(Set::Every)?;
    let early = cgroups.make("early")?;
    limit_memory(&early, 16)?;
    let (own, reach) = start(&docker, &hosted())?;
    let late = cgroups.make("late")?;
    limit_memory(&late, 16)?;
    let other = docker.run("while :; do :; done")?;
    let counted = |name: &str, kills: Option<f64>| {
        wait::eventually(wait::seconds(10), || {
            let counted = reach.oom_kills(name)?;
            ensure!(counted == kills, "{name}: OOM kills are {kills:?}, counted {counted:?}");
            account(&reach.container(name)?, counted)
        })
    };
    let names = [early.name(), late.name(), format!("/docker/{other}")];
    outgrow(&early)?;
    outgrow(&late)?;
    let all = || -> Result<Vec<Account>> {
        names.iter().zip([Some(1.0), Some(1.0), Some(0.0)]).map(|(name, kills)| counted(name, kills)).collect()
    };
    let before = all()?;
    docker.restart(&own)?;
    reach.wait_ready()?;
    for ((name, before), after) in names.iter().zip(&before).zip(&all()?) {
        ensure_continued(name, before, after)?;
    }
    outgrow(&early)?;
    counted(&early.name(), Some(2.0))?;
    ensure!(degraded(&reach.health()?).is_empty(), "after the restart:\n{}", reach.health()?);
    Ok(())
}

fn in_a_network_namespace() -> Result<()> {
    let docker = Docker::start()?;
    import(&docker)?;
    let cgroups = Cgroups::new(Set::Every)?;
    let plain = cgroups.make("plain")?;
    let _holder = Plan::new(Work::Hold(1), &plain).start_ready()?;
    let networked = cgroups.make("networked")?;
    let _sender = Plan::new(Work::Network(10), &networked).start_ready()?;
    let (_, reach) = start(&docker, &Setting { network: "none", ..hosted() })?;
    ensure!(degraded(&reach.health()?).is_empty(), "nothing is missing:\n{}", reach.health()?);
    ensure_network(&reach, &networked.name())?;
    // The root's network and the machine's devices are the host's.
    let listed = |line: &str| line.split_once(':').map(|(name, _)| name.trim().to_owned());
    let hosts: Vec<String> = bytes::read("/proc/1/net/dev")?.lines().skip(2).filter_map(listed).collect();
    let ignored = |name: &String| ["lo", "veth", "docker", "nerdctl"].iter().any(|prefix| name.starts_with(prefix));
    let hosts: Vec<String> = hosts.into_iter().filter(|name| !ignored(name)).collect();
    let root = latest(&reach, "/")?.network.context("the root has no network")?;
    let said: Vec<String> = root.interfaces.into_iter().map(|interface| interface.name).collect();
    ensure!(said == hosts, "the host's interfaces are {hosts:?}, the root's {said:?}");
    let machine: Machine = reach.json("/api/v1.3/machine")?;
    let devices: Vec<String> = machine.network_devices.unwrap_or_default().into_iter().map(|one| one.name).collect();
    ensure!(hosts.iter().all(|name| devices.contains(name)), "the machine has {hosts:?}, reported are {devices:?}");
    // A process in the host's namespace has none of its own, although it is not the collector's.
    let plain = latest(&reach, &plain.name())?;
    ensure!(plain.network.is_none(), "it shares the host's namespace but has {:?}", plain.network);
    Ok(())
}

fn without_the_hosts_procfs() -> Result<()> {
    let docker = Docker::start()?;
    import(&docker)?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("networked")?;
    let _sender = Plan::new(Work::Network(10), &cgroup).start_ready()?;
    let (own, reach) = start(&docker, &Setting { binds: &HOST_MOUNTS[1..], ..hosted() })?;
    let health = reach.health()?;
    let reasons = degraded(&health);
    ensure!(reasons.len() == 1, "one reason, not {}:\n{health}", reasons.len());
    ensure!(reasons[0].starts_with("host processes") && reasons[0].contains("/host/proc"), "{}", reasons[0]);
    let names = reach.names()?;
    ensure!(names.contains(&format!("/docker/{own}")), "its own name is not among {names:?}");
    let stats = wait::eventually(wait::seconds(5), || latest(&reach, &cgroup.name()))?;
    ensure!(stats.cpu.is_some() && stats.memory.is_some(), "what needs no processes is there: {stats:?}");
    ensure!(stats.network.is_none(), "nothing is known of its network: {:?}", stats.network);
    let processes = stats.processes.context("no processes")?;
    let count = if Layout::detect()?.v1("cpu").is_some() { None } else { Some(1) };
    ensure!(processes.process_count == count, "its processes are {count:?}, reported {processes:?}");
    ensure!(processes.fd_count.is_none(), "its descriptors cannot be known: {processes:?}");
    ensure!(latest(&reach, "/")?.network.is_none(), "the first process is the collector, not the host's");
    Ok(())
}

fn without_any_mount() -> Result<()> {
    let docker = Docker::start()?;
    import(&docker)?;
    let (own, reach) = start(&docker, &Setting { binds: &[], ..hosted() })?;
    let health = reach.health()?;
    let reasons = degraded(&health);
    ensure!(reasons.len() == 1, "one reason, not {}:\n{health}\n{}", reasons.len(), docker.logs(&own)?);
    ensure!(reasons[0].starts_with("host cgroups") && reasons[0].contains("/host/sys/fs/cgroup"), "{}", reasons[0]);
    // Cgroups elsewhere come and go, and processes are killed there.
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("unseen")?;
    limit_memory(&cgroup, 16)?;
    outgrow(&cgroup)?;
    cgroup.remove()?;
    let stats = wait::eventually(wait::seconds(5), || latest(&reach, "/[own]"))?;
    ensure!(stats.memory.is_some_and(|memory| memory.usage > 0), "its own memory is reported");
    let names = reach.names()?;
    ensure!(names == ["/[own]"], "only its own cgroup is in sight, listed are {names:?}");
    let events = reach.events("/", "all_events")?;
    let elsewhere: Vec<_> = events.iter().map(|event| &event.container_name).filter(|name| *name != "/[own]").collect();
    ensure!(elsewhere.is_empty(), "events of what is not in sight: {elsewhere:?}");
    Ok(())
}
