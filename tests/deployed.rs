//! The image in containers, with the privileges that the manifests in `deploy/` give it and no others.

use std::collections::{BTreeMap, BTreeSet};

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;
use serde_json::{Value, json};

use crate::support::api::{Container, Event};
use crate::support::cgroups::{Cgroups, Set};
use crate::support::deployed::{self, Deployed};
use crate::support::docker::Docker;
use crate::support::harness::{Case, Skip};
use crate::support::pod::{Pod, PodSecurity};
use crate::support::settings::settings;
use crate::support::{Context as _, Result, bytes, ensure, manifests, pod, surroundings, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("deployed::image", image),
    Case::new("deployed::bill_of_materials", bill_of_materials),
    Case::new("deployed::least_privilege", || least_privilege("least-privilege")),
    Case::new("deployed::least_privilege_with_its_own_seccomp_profile", || full("least-privilege-seccomp")),
    Case::new("deployed::root_without_escalation", root_without_escalation),
    Case::new("deployed::privileged", || full("privileged")),
];

/// The image is what it says, and starts whatever it is given.
fn image() -> Result<()> {
    let docker = engine()?;
    let name = deployed::load_image(&docker)?;
    let image: Value = serde_json::from_slice(&docker.ask("GET", &format!("/images/{name}/json"), None)?.body)?;
    let config = &image["Config"];
    ensure!(config["Entrypoint"] == json!(["/collector"]) && config["User"] == "65534:65534", "{config:#}");
    ensure!(config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0 OR MIT", "{config:#}");
    ensure!(image["RootFS"]["Layers"].as_array().is_some_and(|layers| layers.len() == 1), "{:#}", image["RootFS"]);
    // With file capabilities of which the container has none, some and all.
    for drop in [vec!["ALL"], vec!["NET_RAW"], vec![]] {
        let host = json!({ "NetworkMode": "none", "CapDrop": drop });
        let id = docker.run_as(&json!({ "Image": name, "Cmd": ["--version"], "HostConfig": host }))?;
        docker.wait(&id)?;
        let said = docker.logs(&id)?;
        ensure!(said.contains(concat!("collector ", env!("CARGO_PKG_VERSION"))), "without {drop:?} it says {said:?}");
    }
    Ok(())
}

/// The bill of materials beside the image knows every crate whose name is left in the binary, by the paths of its
/// panic messages.
fn bill_of_materials() -> Result<()> {
    let path = settings().image.with_extension("cdx.json");
    let text = bytes::read(&path).map_err(|_| Skip::because(format!("{} is not there", path.display())))?;
    let bill: Value = serde_json::from_str(&text)?;
    let components = bill["components"].as_array().context("no components")?;
    let known: BTreeSet<String> = components
        .iter()
        .filter_map(|component| Some(format!("{}-{}", component["name"].as_str()?, component["version"].as_str()?)))
        .collect();
    let binary = std::fs::read(&settings().collector)?;
    let text = String::from_utf8_lossy(&binary);
    // Of an image `/registry/NAME-VERSION/`; in a build for tests what is before the name is `src/` and the index.
    let names = text.split("/registry/").skip(1).filter_map(|rest| {
        let mut parts = rest.split('/');
        match parts.next()? {
            "src" => parts.nth(1),
            name => Some(name),
        }
    });
    // A crate may have a module of that name.
    let inside: BTreeSet<&str> = names.filter(|name| is_crate_with_version(name)).collect();
    // One whose paths were not cut out names none.
    ensure!(inside.len() >= 20, "the binary names only {inside:?}");
    let unknown: Vec<&&str> = inside.iter().filter(|name| !known.contains(**name)).collect();
    ensure!(unknown.is_empty(), "{} does not know {unknown:?}", path.display());
    for component in components {
        let licence = component["licenses"][0]["expression"].as_str().unwrap_or_default();
        ensure!(!licence.is_empty(), "{} has no licence", component["name"]);
    }
    Ok(())
}

/// Whether it looks like `serde_json-1.0.154`.
fn is_crate_with_version(name: &str) -> bool {
    let printable = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte));
    printable && name.split('-').skip(1).any(|part| part.starts_with(|letter: char| letter.is_ascii_digit()))
}

/// An engine on a machine whose mounts are shared, as systemd makes them and as the kubelet wants them: volumes that
/// follow what is mounted later are refused elsewhere. Its `/run` and `/var/log` are the test's own, and empty.
pub(crate) fn engine() -> Result<Docker> {
    engine_with(&[])
}

/// The same with more arguments.
pub(crate) fn engine_with(arguments: &[String]) -> Result<Docker> {
    own_run()?;
    Docker::start_with(arguments)
}

/// Mounts of the test's own, shared, with a `/run` and a `/var/log` that are empty.
pub(crate) fn own_run() -> Result<()> {
    surroundings::unshare(UnshareFlags::NEWNS)?;
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).context("mounts of our own")?;
    for own in ["/run", "/var/log"] {
        rustix::mount::mount("none", own, "tmpfs", MountFlags::empty(), Some(c"mode=755"))?;
    }
    let flags = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).context("shared mounts")
}

/// A collector as an overlay asks for it.
pub(crate) fn deploy<'a>(docker: &'a Docker, overlay: &str) -> Result<Deployed<'a>> {
    deploy_changed(docker, overlay, |_| ())
}

/// The same with changes to the pod.
fn deploy_changed<'a>(docker: &'a Docker, overlay: &str, change: impl Fn(&mut Pod)) -> Result<Deployed<'a>> {
    let name = deployed::load_image(docker)?;
    let mut pod = manifests::pod(overlay)?;
    let image = &pod.containers.first().context("no container")?.image;
    ensure!(*image == name, "the manifest's image is {image}, made was {name}");
    change(&mut pod);
    Deployed::start(docker, pod::translate(&pod)?)
}

/// The other way to the same capabilities: as root, without file capabilities, so that privileges need not grow.
fn root_without_escalation() -> Result<()> {
    let docker = engine()?;
    let collector = deploy_changed(&docker, "least-privilege-seccomp", |pod| {
        pod.security_context = PodSecurity::default();
        let security = &mut pod.containers[0].security_context;
        security.run_as_user = Some(0);
        security.run_as_group = Some(0);
        security.allow_privilege_escalation = Some(false);
    })?;
    let status = bytes::read(format!("/proc/{}/status", collector.pid()?))?;
    ensure!(status.contains("NoNewPrivs:\t1"), "the scene does not work:\n{status}");
    let health = collector.health()?;
    ensure!(health.contains("kernel events: ebpf"), "no kernel events:\n{health}");
    has_no_more_than_asked_for(&collector)?;
    sees_others(&docker, &collector)
}

/// With the runtime's own system call filter: whether it lets eBPF through depends on its age.
fn least_privilege(overlay: &str) -> Result<()> {
    let docker = engine()?;
    let collector = deploy(&docker, overlay)?;
    let health = collector.health()?;
    if health.contains("kernel events: ebpf") {
        return whole_scene(&docker, &collector);
    }
    ensure!(health.contains("degraded") && health.contains("seccomp"), "it does not say what forbids eBPF:\n{health}");
    sees_others(&docker, &collector)?;
    survives_restart(&docker, &collector)
}

fn full(overlay: &str) -> Result<()> {
    let docker = engine()?;
    let collector = deploy(&docker, overlay)?;
    let health = collector.health()?;
    ensure!(health.contains("kernel events: ebpf"), "no kernel events:\n{health}");
    whole_scene(&docker, &collector)
}

fn whole_scene(docker: &Docker, collector: &Deployed<'_>) -> Result<()> {
    has_no_more_than_asked_for(collector)?;
    sees_others(docker, collector)?;
    reports_of_an_oom_kill(docker, collector)?;
    survives_restart(docker, collector)
}

/// What the kernel says of the collector's process.
fn has_no_more_than_asked_for(collector: &Deployed<'_>) -> Result<()> {
    let pid = collector.pid()?;
    let own = std::fs::read_link("/proc/self/ns/cgroup")?;
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/cgroup"))?;
    ensure!(own != theirs, "the collector shares the host's cgroup namespace: the scene does not work");
    let status = bytes::read(format!("/proc/{pid}/status"))?;
    let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
    let bits = |key: &str| of(key).and_then(|text| u64::from_str_radix(text, 16).ok());
    let (permitted, bounding) = (bits("CapPrm").context("no CapPrm")?, bits("CapBnd").context("no CapBnd")?);
    ensure!(permitted & !bounding == 0, "more is permitted than the container has:\n{status}");
    if let Some(wanted) = collector.capabilities() {
        ensure!(bounding == wanted, "the container has {bounding:#x} instead of {wanted:#x}");
        ensure!(permitted == wanted, "the collector has {permitted:#x} instead of {wanted:#x}:\n{status}");
    }
    Ok(())
}

/// Cgroups of the host and containers of the engine are seen by their paths, coming, living and going.
fn sees_others(docker: &Docker, collector: &Deployed<'_>) -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let id = docker.run("while :; do :; done")?;
    let name = format!("/docker/{id}");
    wait::eventually(wait::seconds(10), || {
        collector.container(&cgroups.name()).context("a cgroup of the host")?;
        collector.container(&format!("/docker/{}", collector.id())).context("its own container")?;
        let container = collector.container(&name)?;
        let limit = container.spec.memory.limit;
        ensure!(limit == Some(64 * bytes::MIB), "its limit is 64 MiB, not {limit:?}");
        ensure!(cpu_total(&container)? > 0, "it spins, but has no CPU time");
        Ok(())
    })?;
    docker.remove(&id)?;
    wait::eventually(wait::seconds(10), || {
        let mut kinds: Vec<String> = events_of(collector, &name)?.into_iter().map(|event| event.event_type).collect();
        kinds.retain(|kind| kind != "containerExit");
        ensure!(
            kinds == ["containerDeletion", "containerCreation"] || kinds == ["containerCreation", "containerDeletion"],
            "it reported {kinds:?}"
        );
        Ok(())
    })?;
    collector.check_alive()
}

fn events_of(collector: &Deployed<'_>, name: &str) -> Result<Vec<Event>> {
    let events = collector.events("/docker")?;
    Ok(events.into_iter().filter(|event| event.container_name == name).collect())
}

fn cpu_total(container: &Container) -> Result<u64> {
    let stats = container.stats.last().with_context(|| format!("{} has no sample", container.name))?;
    Ok(stats.cpu.as_ref().context("no cpu")?.usage.total)
}

/// A process that takes more than its container may have.
fn reports_of_an_oom_kill(docker: &Docker, collector: &Deployed<'_>) -> Result<()> {
    // Without a line's end there is nothing `tail` could forget.
    let id = docker.run("/bin/busybox head -c 200m /dev/zero | /bin/busybox tail")?;
    docker.wait(&id)?;
    let name = format!("/docker/{id}");
    wait::eventually(wait::seconds(10), || {
        let events = events_of(collector, &name)?;
        for kind in ["oom", "oomKill"] {
            let event = events.iter().find(|event| event.event_type == kind);
            let event = event.with_context(|| format!("no {kind} event of {name}: {events:?}"))?;
            let oom = event.event_data.oom.as_ref().context("no details")?;
            ensure!(oom.process_name == "busybox", "the victim is {}", oom.process_name);
            for container in [&oom.victim_container_name, &oom.trigger_container_name, &oom.limit_container_name] {
                ensure!(container.as_ref() == Some(&name), "not all of it happened in {name}: {oom:?}");
            }
        }
        Ok(())
    })?;
    docker.remove(&id)
}

/// After `docker restart` everything is as old as before, and nothing has been counted back.
fn survives_restart(docker: &Docker, collector: &Deployed<'_>) -> Result<()> {
    let id = docker.run("while :; do :; done")?;
    let name = format!("/docker/{id}");
    wait::eventually(wait::seconds(10), || cpu_total(&collector.container(&name)?).map(drop))?;
    let before = all(collector)?;
    collector.restart()?;
    let own = format!("/docker/{}", collector.id());
    let after = wait::eventually(wait::seconds(10), || {
        let after = all(collector)?;
        cpu_total(after.get(&name).context("the container is not listed")?)?;
        Ok(after)
    })?;
    let mut compared = 0;
    for (name, after) in after.iter().filter(|(name, _)| **name != own) {
        // Whatever else this machine does may have begun meanwhile.
        let Some(before) = before.get(name) else { continue };
        let times = (&before.spec.creation_time, &after.spec.creation_time);
        ensure!(times.0 == times.1, "{name} was created {}, and after the restart {}", times.0.text, times.1.text);
        let (Some(old), Some(new)) = (before.stats.last(), after.stats.last()) else { continue };
        for (what, old, new) in counters(old, new) {
            ensure!(new >= old, "{what} of {name} went from {old} back to {new}");
            compared += 1;
        }
    }
    ensure!(compared >= 5, "only {compared} counters could be compared");
    docker.remove(&id)?;
    collector.check_alive()
}

fn all(collector: &Deployed<'_>) -> Result<BTreeMap<String, Container>> {
    let containers = collector.containers("/")?;
    Ok(containers.into_iter().map(|container| (container.name.clone(), container)).collect())
}

/// Values that only grow, of two samples.
fn counters<'a>(
    old: &'a crate::support::api::Stats,
    new: &'a crate::support::api::Stats,
) -> impl Iterator<Item = (&'static str, u64, u64)> {
    let cpu = old.cpu.as_ref().zip(new.cpu.as_ref()).into_iter().flat_map(|(old, new)| {
        [
            ("CPU time", old.usage.total, new.usage.total),
            ("user time", old.usage.user, new.usage.user),
            ("system time", old.usage.system, new.usage.system),
            ("throttled time", old.cfs.throttled_time, new.cfs.throttled_time),
        ]
    });
    let memory = old.memory.as_ref().zip(new.memory.as_ref()).into_iter().flat_map(|(old, new)| {
        [
            ("failcnt", old.failcnt, new.failcnt),
            ("page faults", old.container_data.pgfault, new.container_data.pgfault),
            ("highest usage", old.max_usage, new.max_usage),
        ]
    });
    cpu.chain(memory)
}
