//! Which cgroup is a container's, and what its network is, where others have its id or are in its cgroup.

use std::fs;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::pods::first_process;
use crate::support::cgroups::{Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::containerd::Containerd;
use crate::support::docker::Docker;
use crate::support::engine::ContainerEngine as _;
use crate::support::fake_cri::{FakeCri, USED, WORKING_SET};
use crate::support::harness::{Case, Skip};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Error, Result, ensure, http, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("identity::one_cgroup_has_a_containers_name", one_cgroup_has_a_containers_name),
    Case::new("identity::a_container_inside_of_another_has_its_name", a_container_inside_of_another_has_its_name),
    Case::new("identity::a_strangers_network_is_not_the_containers", a_strangers_network_is_not_the_containers),
    Case::new("identity::containerd_knows_where_its_containers_are", containerd_knows_where_its_containers_are),
    // Four seconds.
    Case::new("identity::what_the_kernel_does_not_see_the_runtime_tells", what_the_kernel_does_not_see),
];

const WITHOUT: [&str; 4] = ["--docker=", "--podman=", "--containerd=", "--crio="];

fn v1(collector: &Collector, name: &str) -> Result<Value> {
    collector.json(&format!("/api/v1.3/containers{name}"), Some(r#"{"num_stats":1}"#))
}

fn aliases(collector: &Collector, name: &str) -> Result<Vec<String>> {
    let reported = v1(collector, name)?;
    let aliases = reported["aliases"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(aliases.map(str::to_owned).filter(|alias| *alias != name).collect())
}

/// The cgroups that are reported with this name.
fn named(collector: &Collector, name: &str) -> Result<Vec<String>> {
    let metrics = collector.metrics()?;
    let labels = [("name", name)];
    let found = metrics.series("container_last_seen", &labels).map(|line| line.label("id").to_owned());
    Ok(found.collect())
}

/// Cgroups with a container's id in their names, beside its own, inside of it, and below a user's: before and after the
/// collector starts, with Docker and without. About 15 s.
fn one_cgroup_has_a_containers_name() -> Result<()> {
    let docker = Docker::start()?;
    let id = docker.run_named("web", &[], &[])?;
    let own = format!("/docker/{id}");
    let cgroups = Cgroups::new(Set::Every)?;
    for parent in ["kata_overhead", "docker", "late"] {
        cgroups.make(parent)?;
    }
    let mut fakes = Vec::new();
    for below in
        [format!("kata_overhead/{id}"), format!("docker/{id}"), format!("docker-{id}.scope"), format!("x-{id}")]
    {
        fakes.push(cgroups.make(below)?);
    }
    let socket = std::env::temp_dir().join(format!("collector-test-identity-{}.sock", std::process::id()));
    let api = format!("--docker_socket={}", socket.display());
    let endpoint = format!("--docker=unix://{}", docker.socket().display());
    let check = |collector: &Collector, fakes: &[String], expected: &[&str]| {
        wait::eventually(wait::seconds(5), || {
            ensure!(aliases(collector, &own)? == expected, "{own} is {:?}", aliases(collector, &own)?);
            for fake in fakes {
                ensure!(aliases(collector, fake)?.is_empty(), "{fake} is {:?}", aliases(collector, fake)?);
            }
            let listed = http::request(UnixStream::connect(&socket)?, "GET", "/containers/json", None)?;
            let listed: Vec<Value> = serde_json::from_slice(&listed.body)?;
            let count = listed.iter().filter(|one| one["Id"] == id.as_str()).count();
            ensure!(count == 1, "`docker ps` lists it {count} times");
            let reported: Value = collector.json(&format!("/api/v1.3/docker/{id}"), None)?;
            let reported: Vec<_> = reported.as_object().into_iter().flat_map(|found| found.keys()).collect();
            ensure!(reported == [&own], "found by its id: {reported:?}");
            Ok(())
        })
    };
    let mut names: Vec<String> = fakes.iter().map(crate::support::cgroups::Cgroup::name).collect();
    {
        let collector = Collector::start(&["--housekeeping_interval=200ms", &endpoint, &api])?;
        check(&collector, &names, &["web", &id])?;
        fakes.push(cgroups.make(format!("late/{id}"))?);
        names.extend(fakes.last().map(crate::support::cgroups::Cgroup::name));
        check(&collector, &names, &["web", &id])?;
        for _ in 0..5 {
            ensure!(named(&collector, "web")? == [own.clone()], "named: {:?}", named(&collector, "web")?);
            wait::pass(wait::millis(200));
        }
        // What is left when the container is gone does not inherit its name.
        docker.ask("POST", &format!("/containers/{id}/stop?t=0"), None)?;
        wait::eventually(wait::seconds(5), || {
            ensure!(named(&collector, "web")?.iter().all(|name| *name == own), "{:?}", named(&collector, "web")?);
            for fake in &names {
                ensure!(aliases(&collector, fake)?.is_empty(), "{fake} is {:?}", aliases(&collector, fake)?);
            }
            Ok(())
        })?;
        docker.ask("POST", &format!("/containers/{id}/start"), None)?;
        check(&collector, &names, &["web", &id]).context("started again")?;
    }
    let collector = Collector::start(&[&["--housekeeping_interval=200ms", &api][..], &WITHOUT].concat())?;
    check(&collector, &names, &[&id]).context("without a runtime")
}

/// `--cgroup-parent` with another container's cgroup; an engine's containers inside of one are not the machine's.
fn a_container_inside_of_another_has_its_name() -> Result<()> {
    if Layout::detect()?.is_pure_v2() {
        return Err(Skip::because("with cgroup2 alone a cgroup with processes has no children with controllers"));
    }
    let docker = Docker::start()?;
    let endpoint = format!("--docker=unix://{}", docker.socket().display());
    let outer = docker.run_named("outer", &[], &[])?;
    let inner = docker.run_below(&format!("/docker/{outer}"), "inner")?;
    let inner = (format!("/docker/{outer}/{inner}"), inner);
    let outer = (format!("/docker/{outer}"), outer);
    for flags in [&[][..], &["--docker_only=true"]] {
        let collector = Collector::start(&[&["--housekeeping_interval=200ms", &endpoint], flags].concat())?;
        let check = |inner: &(String, String), name: &str| {
            wait::eventually(wait::seconds(5), || {
                for ((cgroup, id), name) in [(&outer, "outer"), (inner, name)] {
                    ensure!(aliases(&collector, cgroup)? == [name, id], "{name} is {:?}", aliases(&collector, cgroup)?);
                    ensure!(named(&collector, name)? == [cgroup.clone()], "{name}: {:?}", named(&collector, name)?);
                }
                let reported = v1(&collector, &inner.0)?;
                ensure!(reported["spec"]["has_network"] == true, "it has a network of its own: {}", reported["spec"]);
                Ok(())
            })
        };
        check(&inner, "inner")?;
        let late = docker.run_below(&outer.0, "late")?;
        check(&(format!("{}/{late}", outer.0), late.clone()), "late").context("started later")?;
        docker.remove(&late)?;
    }
    // What Docker does not know is nobody's, whatever it is called.
    let collector = Collector::start(&["--housekeeping_interval=200ms", &endpoint])?;
    let unknown = format!("{}/{}", outer.0, "f".repeat(64));
    for mount in Layout::detect()?.mounts {
        fs::create_dir_all(mount.dir(unknown.as_ref()))?;
    }
    wait::pass(wait::seconds(1));
    let reported = wait::eventually(wait::seconds(5), || aliases(&collector, &unknown));
    for mount in Layout::detect()?.mounts {
        let _ = fs::remove_dir(mount.dir(unknown.as_ref()));
    }
    ensure!(reported?.is_empty(), "Docker does not know it");
    docker.remove(&inner.1)
}

/// A process that is older than the container's own, in a network of its own, is moved into the container.
fn a_strangers_network_is_not_the_containers() -> Result<()> {
    let docker = Docker::start()?;
    let cgroups = Cgroups::new(Set::Every)?;
    let stranger = Plan::new(Work::Network(10), &cgroups.make("stranger")?).start_ready()?;
    let id = docker.run_named("web", &[], &[])?;
    let name = format!("/docker/{id}");
    ensure!(stranger.pid() < first_process(&name)?, "the ids of processes have begun anew: the scene does not work");
    for mount in Layout::detect()?.mounts {
        fs::write(mount.dir(name.as_ref()).join("cgroup.procs"), stranger.pid().to_string())?;
    }
    ensure!(first_process(&name)? == stranger.pid() || Layout::detect()?.is_pure_v2(), "it is not the first listed");
    let endpoint = format!("--docker=unix://{}", docker.socket().display());
    for flags in [&[endpoint.as_str()][..], &WITHOUT] {
        let collector = Collector::start(&[&["--housekeeping_interval=100ms"], flags].concat())?;
        let reported = wait::eventually(wait::seconds(5), || {
            wait::pass(wait::seconds(2));
            let reported: Value = collector.json(&format!("/api/v1.3/containers{name}"), None)?;
            ensure!(reported["stats"].as_array().is_some_and(|samples| samples.len() > 5), "not many samples yet");
            Ok(reported)
        })?;
        for sample in reported["stats"].as_array().into_iter().flatten() {
            let interfaces = &sample["network"]["interfaces"];
            let has_one = interfaces.as_array().is_some_and(|list| list.iter().any(|one| one["name"] != "lo"));
            ensure!(!has_one, "{flags:?}: another's interfaces are reported: {interfaces}");
        }
        let has_network = reported["spec"]["has_network"] == true;
        ensure!(has_network, "{flags:?}: it has a network, without interfaces: {}", reported["spec"]);
    }
    drop(stranger);
    docker.remove(&id)
}

/// The same as with Docker, by the first process that containerd reports.
fn containerd_knows_where_its_containers_are() -> Result<()> {
    let containerd = Containerd::start("burstable")?;
    let container = containerd.run_labelled(&[("io.kubernetes.container.name", "app")], "/bin/busybox sleep 600")?;
    let cgroups = Cgroups::new(Set::Every)?;
    cgroups.make("vc")?;
    let fakes = [
        cgroups.make(format!("vc/{}", container.id))?,
        cgroups.make(format!("cri-containerd-{}.scope", container.id))?,
    ];
    let endpoint = format!("--containerd={}", containerd.socket().display());
    let flags = ["--housekeeping_interval=200ms", "--docker=", "--podman=", "--crio=", &endpoint];
    let collector = Collector::start(&flags)?;
    wait::eventually(wait::seconds(5), || {
        let reported = v1(&collector, &container.cgroup)?;
        ensure!(reported["spec"]["labels"]["io.kubernetes.container.name"] == "app", "{}", reported["spec"]);
        for fake in &fakes {
            let reported = v1(&collector, &fake.name())?;
            ensure!(reported["id"].as_str().is_none_or(str::is_empty), "it is nobody: {reported}");
            ensure!(reported["spec"]["labels"].as_object().is_none_or(serde_json::Map::is_empty), "{reported}");
        }
        Ok::<_, Error>(())
    })?;
    containerd.remove(&container)
}

/// A container that runs, and in whose cgroup nothing ever ran: its numbers are the runtime's from the moment it is named,
/// and none of the cgroup's zeros.
fn what_the_kernel_does_not_see() -> Result<()> {
    let id = "5a".repeat(32);
    let cgroups = Cgroups::new(Set::Every)?;
    let pod = "kubepods/besteffort/pod3f2a8a52-7c1f-4c58-9a54-0123456789ab";
    let parts: Vec<&str> = pod.split('/').collect();
    for depth in 1..=parts.len() {
        cgroups.make(parts[..depth].join("/"))?;
    }
    let cgroup = cgroups.at(format!("{pod}/{id}")).name();
    let runtime = FakeCri::start(&id, &cgroup)?;
    let endpoint = format!("--crio=tcp://{}", runtime.address);
    let flags = ["--housekeeping_interval=200ms", "--docker=", "--podman=", "--containerd=", &endpoint];
    let collector = Collector::start(&flags)?;
    wait::pass(wait::seconds(1));
    cgroups.make(format!("{pod}/{id}"))?;
    let labels = [("id", cgroup.as_str())];
    let reported = wait::eventually(wait::seconds(10), || {
        let metrics = collector.metrics()?;
        let named = metrics.series("container_info", &labels).any(|line| line.label("name").contains("sandboxed"));
        ensure!(named, "{cgroup} has no name");
        let used = metrics.value("container_cpu_usage_seconds_total", &labels);
        // Not to be tried again: it has a name already.
        Ok((used.is_some() || metrics.value("container_memory_usage_bytes", &labels).is_some()).then_some(metrics))
    })?;
    ensure!(
        reported.is_none_or(|metrics| metrics.value("container_cpu_usage_seconds_total", &labels) != Some(0.0)),
        "a zero"
    );
    let metrics = wait::eventually(wait::seconds(10), || {
        let metrics = collector.metrics()?;
        let used = metrics.value("container_cpu_usage_seconds_total", &labels).context("no CPU time")?;
        ensure!(used >= USED as f64 / 1e9, "{used} s used");
        Ok(metrics)
    })?;
    ensure!(metrics.value("container_stats_source", &[labels[0], ("source", "cri")]) == Some(1.0), "no source");
    let working_set = metrics.value("container_memory_working_set_bytes", &labels);
    ensure!(working_set == Some(WORKING_SET as f64), "a working set of {working_set:?}");
    for family in ["container_memory_cache", "container_memory_usage_bytes", "container_cpu_user_seconds_total"] {
        ensure!(metrics.value(family, &labels).is_none(), "{family} is {:?}", metrics.value(family, &labels));
    }
    let others = metrics.series("container_stats_source", &[]).count();
    ensure!(others == 1, "{others} containers have another source");
    wait::pass(wait::seconds(2));
    let reported: Value = collector.json(&format!("/api/v2.1/stats{cgroup}?count=2"), None)?;
    let reported = &reported[&cgroup];
    ensure!(reported["source"] == "cri", "{reported}");
    let rate = reported["stats"][1]["cpu_inst"]["usage"]["total"].as_u64();
    ensure!(
        rate.is_some_and(|rate| (400_000_000..600_000_000).contains(&rate)),
        "{rate:?} ns of CPU a second of 500,000,000"
    );
    Ok(())
}
