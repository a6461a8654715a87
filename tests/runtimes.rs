//! Who a container is: reported by a real Docker engine, whenever it is there, and never waited for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::support::collector::Collector;
use crate::support::containerd::{Containerd, IMAGE};
use crate::support::docker::Docker;
use crate::support::engine::{Container, ContainerEngine as _};
use crate::support::harness::Case;
use crate::support::proxy::{Behaviour, Proxy};
use crate::support::settings::settings;
use crate::support::time::Time;
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("runtimes::docker_reports_who_a_container_is", docker_reports_who_a_container_is),
    Case::new("runtimes::fifty_at_once", fifty_at_once),
    Case::new("runtimes::comes_and_goes", comes_and_goes),
    Case::new("runtimes::is_slow_or_broken", is_slow_or_broken),
    Case::new("runtimes::is_killed_and_restarted", is_killed_and_restarted),
    Case::new("runtimes::containerd_comes_and_goes", containerd_comes_and_goes),
];

/// A container as its runtime describes it.
#[derive(Debug, Deserialize)]
struct Known {
    name: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    namespace: String,
    spec: KnownSpec,
    #[serde(default)]
    stats: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct KnownSpec {
    creation_time: Time,
    start_time: Time,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    envs: BTreeMap<String, String>,
    #[serde(default)]
    image: String,
}

fn collector(endpoint: &str) -> Result<Collector> {
    Collector::start(&[
        "--housekeeping_interval=500ms",
        &format!("--docker={endpoint}"),
        "--env_metadata_whitelist=SHOW",
    ])
}

fn known(collector: &Collector, id: &str) -> Result<Known> {
    collector.json(&format!("/api/v1.3/containers/docker/{id}"), None)
}

/// Its name is reported soon enough: within this long of being available.
fn named(collector: &Collector, id: &str, name: &str) -> Result<Known> {
    wait::eventually(wait::seconds(5), || {
        let known = known(collector, id)?;
        ensure!(known.aliases == [name, id], "the aliases are {:?}", known.aliases);
        Ok(known)
    })
}

/// It is sampled, and what its path shows is reported, although no runtime reported anything.
fn sampled_without_a_name(collector: &Collector, id: &str) -> Result<()> {
    let known = wait::eventually(wait::seconds(5), || {
        let known = known(collector, id)?;
        ensure!(!known.stats.is_empty(), "no sample");
        Ok(known)
    })?;
    ensure!((known.id.as_str(), known.namespace.as_str()) == (id, "docker"), "by its path: {known:?}");
    ensure!(known.aliases == [id] && known.spec.labels.is_empty(), "nobody reported its name: {known:?}");
    Ok(())
}

fn docker_reports_who_a_container_is() -> Result<()> {
    let docker = Docker::start()?;
    let collector = collector(&format!("unix://{}", docker.socket().display()))?;
    let labels = [("team", "blue"), ("quote", "\"<é>\"")];
    let id = docker.run_named("web", &labels, &["SHOWN=yes", "SHOW_NOT", "SECRET=no"])?;
    let found = wait::eventually(wait::seconds(5), || {
        let found = named(&collector, &id, "web")?;
        ensure!(found.spec.start_time >= found.spec.creation_time, "it has not started: {:?}", found.spec);
        Ok(found)
    })?;
    ensure!((found.id.as_str(), found.namespace.as_str()) == (id.as_str(), "docker"), "{found:?}");
    let expected: BTreeMap<_, _> = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    ensure!(found.spec.labels == expected, "labels: {:?}", found.spec.labels);
    let shown = BTreeMap::from([("shown".to_owned(), "yes".to_owned())]);
    ensure!(found.spec.envs == shown, "variables: {:?}", found.spec.envs);
    ensure!(found.spec.image.starts_with("collector-test-busybox"), "image: {:?}", found.spec.image);

    // By name, by id, by the beginning of either; all are one map by full name.
    let ask = |what: &str| collector.json::<BTreeMap<String, Known>>(&format!("/api/v1.3/docker/{what}"), None);
    for alias in ["web", "we", &id, &id[..12], ""] {
        let mut found = ask(alias)?;
        // Other engines' containers may run on this machine; nobody reports their names here.
        found.retain(|_, container| container.aliases.len() > 1);
        ensure!(found.keys().eq([&format!("/docker/{id}")]), "{alias:?}: {:?}", found.keys());
        ensure!(found.iter().all(|(key, container)| *key == container.name), "keys and names differ: {found:?}");
    }
    // Whether it has a network of its own is known a moment after its name.
    wait::eventually(wait::seconds(5), || by_alias_in_v2(&collector, &id))?;
    by_name_on_the_command_line(&docker, &id)?;
    let other = docker.run_named("webby", &[], &[])?;
    named(&collector, &other, "webby")?;
    let count = ask("")?.values().filter(|container| container.aliases.len() > 1).count();
    ensure!(ask("web")?.len() == 1 && count == 2, "an exact name goes first");
    for (alias, complaint) in [
        ("we", "unable to find container in \"docker\" namespace. Container \"we\" is not unique"),
        ("nobody", "unable to find container \"nobody\" in \"docker\" namespace"),
    ] {
        let answer = collector.get(&format!("/api/v1.3/docker/{alias}"))?;
        let expected = format!("failed to get Docker container \"{alias}\" with error: {complaint}\n");
        ensure!((answer.status, answer.text()) == (500, expected), "{} {}", answer.status, answer.text());
    }
    docker.rename(&id, "renamed")?;
    named(&collector, &id, "renamed").map(drop)
}

/// API v2 finds the container `web` as v1 does, and reports the same about it.
fn by_alias_in_v2(collector: &Collector, id: &str) -> Result<()> {
    type ByName = BTreeMap<String, serde_json::Value>;
    let name = format!("/docker/{id}");
    let v1: serde_json::Value = collector.json(&format!("/api/v1.3/containers{name}"), None)?;
    for version in ["v2.0", "v2.1"] {
        for (resource, query) in [
            ("spec/web", "type=docker"),
            ("spec/we", "type=docker"),
            (&*format!("spec/{}", &id[..12]), "type=docker"),
            ("spec", "type=docker&recursive=true"),
        ] {
            let specs: ByName = collector.json(&format!("/api/{version}/{resource}?{query}"), None)?;
            // Another engine of this machine may have containers, too.
            let is_alone = specs.len() == 1 || resource == "spec";
            ensure!(is_alone && specs.contains_key(&name), "{version}/{resource}: {:?}", specs.keys());
            let spec = &specs[&name];
            for key in ["labels", "envs", "image", "creation_time", "start_time", "has_network"] {
                ensure!(spec[key] == v1["spec"][key], "{version}: {key} is {}, not {}", spec[key], v1["spec"][key]);
            }
            for key in ["aliases", "namespace"] {
                ensure!(spec[key] == v1[key], "{version}: {key} is {}, not {}", spec[key], v1[key]);
            }
        }
        let stats: ByName = collector.json(&format!("/api/{version}/stats/web?type=docker&count=1&max_age=0"), None)?;
        ensure!(stats.keys().eq([&name]), "{version}: stats of {:?}", stats.keys());
        let processes: Vec<serde_json::Value> = collector.json(&format!("/api/{version}/ps/web?type=docker"), None)?;
        ensure!(!processes.is_empty(), "{version}: a running container has no process");
        for (request, complaint) in [
            ("spec/nobody?type=docker", "unable to find container \"nobody\" in \"docker\" namespace"),
            ("spec/web?type=podman", "unable to find container \"web\" in \"podman\" namespace"),
        ] {
            let answer = collector.get(&format!("/api/{version}/{request}"))?;
            let expected = format!("{complaint}\n");
            ensure!((answer.status, answer.text()) == (500, expected), "{} {}", answer.status, answer.text());
        }
    }
    Ok(())
}

/// The command line finds it by its name and by its id, and names what is like a name that nobody has.
fn by_name_on_the_command_line(docker: &Docker, id: &str) -> Result<()> {
    let run = |name: &str| -> Result<(bool, String)> {
        let mut command = std::process::Command::new(&settings().collector);
        let output = command
            .args(["statistics", "--containerd=", "--podman=", "--crio="])
            .arg(format!("--docker=unix://{}", docker.socket().display()))
            .arg(name)
            .output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    };
    for name in ["web", &id[..12]] {
        let (found, text) = run(name)?;
        ensure!(found && text.lines().next().is_some_and(|line| line.contains(id)), "{name}: {text}");
    }
    let (found, text) = run("webb")?;
    ensure!(!found && text.contains("called webb; the nearest names are web"), "{text}");
    Ok(())
}

/// Every one of fifty containers started as fast as Docker can has its labels within two seconds of its start.
fn fifty_at_once() -> Result<()> {
    const COUNT: usize = 50;
    let docker = Docker::start()?;
    let collector = collector(&format!("unix://{}", docker.socket().display()))?;
    let next = std::sync::atomic::AtomicUsize::new(0);
    let started = std::sync::Mutex::new(Vec::new());
    let labelled = std::thread::scope(|scope| -> Result<BTreeMap<String, Instant>> {
        let starters: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if number >= COUNT {
                            return Ok(());
                        }
                        let id = docker.run_named(&format!("many{number}"), &[("number", &number.to_string())], &[])?;
                        started.lock().map_err(|_| crate::support::Error::msg("poisoned"))?.push((id, Instant::now()));
                    }
                })
            })
            .collect();
        let mut labelled = BTreeMap::new();
        wait::eventually(wait::seconds(90), || {
            let all: BTreeMap<String, Known> = collector.json("/api/v1.3/docker", Some(r#"{"num_stats":1}"#))?;
            for container in all.into_values().filter(|container| container.spec.labels.contains_key("number")) {
                labelled.entry(container.id).or_insert_with(Instant::now);
            }
            ensure!(labelled.len() == COUNT, "{} of {COUNT} have their labels", labelled.len());
            Ok(())
        })?;
        for starter in starters {
            starter.join().map_err(|_| crate::support::Error::msg("a starter panicked"))??;
        }
        Ok(labelled)
    })?;
    let started = started.into_inner().map_err(|_| crate::support::Error::msg("poisoned"))?;
    for (id, at) in started {
        let after = labelled.get(&id).context("never labelled")?.saturating_duration_since(at);
        ensure!(after < wait::seconds(2), "{id} had its labels {after:?} after its start");
    }
    Ok(())
}

/// Absent at first, there later, gone and back many times: names come within seconds, and nothing is left over.
fn comes_and_goes() -> Result<()> {
    const TIMES: usize = 50;
    let docker = Docker::start()?;
    let proxy = Proxy::new(&docker.socket(), Behaviour::Forward);
    let collector = collector(&proxy.endpoint())?;
    let id = docker.run_named("early", &[], &[])?;
    sampled_without_a_name(&collector, &id)?;
    proxy.open()?;
    named(&collector, &id, "early")?;
    let descriptors =
        || Ok::<_, crate::support::Error>(std::fs::read_dir(format!("/proc/{}/fd", collector.pid()))?.count());
    let before = descriptors()?;
    for _ in 0..TIMES {
        proxy.close();
        proxy.open()?;
        wait::pass(Duration::from_millis(20));
    }
    ensure!(known(&collector, &id)?.aliases == ["early", &id], "what was known is forgotten");
    proxy.close();
    let id = docker.run_named("late", &[], &[])?;
    sampled_without_a_name(&collector, &id)?;
    proxy.open()?;
    named(&collector, &id, "late")?;
    wait::eventually(wait::seconds(10), || {
        // The second container's own files are kept open too.
        let now = descriptors()?;
        ensure!(now <= before + 40, "{before} descriptors before, {now} after {TIMES} times");
        Ok(())
    })?;
    // An absent runtime is not waited for busily.
    proxy.close();
    is_calm(&collector)
}

/// Whatever went on before, the collector uses little of a CPU now.
fn is_calm(collector: &Collector) -> Result<()> {
    let ticks = || cpu_ticks(collector.pid());
    let (start, before) = (Instant::now(), ticks()?);
    wait::pass(Duration::from_secs(3));
    let share = (ticks()? - before) as f64 / 100.0 / start.elapsed().as_secs_f64();
    ensure!(share < 0.2, "the collector uses {share} of a CPU");
    Ok(())
}

/// Clock ticks of 10 ms a process has used.
fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = bytes::read(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().context("no end of the command")?;
    let field = |at: usize| fields.split_whitespace().nth(at).and_then(|text| text.parse::<u64>().ok());
    field(11).zip(field(12)).map(|(user, system)| user + system).context("no times")
}

/// A runtime that answers rubbish or takes twenty seconds costs nobody anything but names.
fn is_slow_or_broken() -> Result<()> {
    let docker = Docker::start()?;
    let proxy = Proxy::new(&docker.socket(), Behaviour::Forward);
    proxy.open()?;
    let collector = collector(&proxy.endpoint())?;
    let id = docker.run_named("first", &[], &[])?;
    named(&collector, &id, "first")?;
    proxy.behave(Behaviour::Garbage);
    let id = docker.run_named("second", &[], &[])?;
    sampled_without_a_name(&collector, &id)?;
    proxy.behave(Behaviour::Forward);
    named(&collector, &id, "second")?;
    proxy.behave(Behaviour::Late(Duration::from_secs(20)));
    let id = docker.run_named("third", &[], &[])?;
    sampled_without_a_name(&collector, &id)?;
    wait::eventually(wait::seconds(30), || {
        let known = known(&collector, &id)?;
        ensure!(known.aliases == ["third", &id], "the aliases are {:?}", known.aliases);
        Ok(())
    })
}

/// The time of its newest sample.
fn sampled_at(collector: &Collector, name: &str) -> Result<Time> {
    let found = collector.container(name)?;
    Ok(found.stats.last().context("no sample")?.timestamp.clone())
}

/// Samples go on: two more within a moment.
fn sampling_goes_on(collector: &Collector, name: &str) -> Result<()> {
    let mut last = sampled_at(collector, name)?;
    for _ in 0..2 {
        last = wait::eventually(wait::seconds(5), || {
            let now = sampled_at(collector, name)?;
            ensure!(now > last, "still the same sample, of {last:?}");
            Ok(now)
        })?;
    }
    Ok(())
}

/// A Docker that is killed, again and again, costs nothing but the names of what it starts next.
fn is_killed_and_restarted() -> Result<()> {
    const TIMES: usize = 3;
    let mut docker = Docker::start_with_lasting_containers()?;
    let endpoint = format!("--docker=unix://{}", docker.socket().display());
    let flags = ["--housekeeping_interval=200ms", "--allow_dynamic_housekeeping=false", &endpoint];
    let collector = Collector::start(&flags)?;
    let first = docker.run_named("first", &[("a", "b")], &[])?;
    named(&collector, &first, "first")?;
    for time in 0..TIMES {
        docker.kill()?;
        sampling_goes_on(&collector, &format!("/docker/{first}")).context("while Docker is dead")?;
        let known = known(&collector, &first)?;
        ensure!(known.aliases == ["first", &first] && known.spec.labels["a"] == "b", "forgotten: {known:?}");
        docker.revive()?;
        let name = format!("later{time}");
        let id = docker.run_named(&name, &[("time", &time.to_string())], &[])?;
        let known = named(&collector, &id, &name)?;
        ensure!(known.spec.labels["time"] == time.to_string(), "labels {:?}", known.spec.labels);
    }
    is_calm(&collector)
}

/// containerd absent at first, gone and back, talking rubbish, twenty seconds late: the same as with Docker.
fn containerd_comes_and_goes() -> Result<()> {
    const TIMES: usize = 20;
    let containerd = Containerd::start("burstable")?;
    let proxy = Proxy::new(&containerd.socket(), Behaviour::Forward);
    let endpoint = format!("--containerd={}", proxy.endpoint());
    let flags =
        ["--housekeeping_interval=200ms", "--allow_dynamic_housekeeping=false", "--docker=", "--podman=", &endpoint];
    let collector = Collector::start(&flags)?;
    let idle = "while :; do /bin/busybox sleep 1; done";
    let ask = |container: &Container| -> Result<Known> {
        collector.json(&format!("/api/v1.3/containers{}", container.cgroup), None)
    };
    let labelled = |container: &Container, label: &str, within: Duration| {
        wait::eventually(within, || {
            let known = ask(container)?;
            let says = known.spec.labels.get("io.kubernetes.container.name");
            ensure!(says.map(String::as_str) == Some(label), "the labels are {:?}", known.spec.labels);
            ensure!(known.namespace == "containerd" && known.id == container.id, "it is {known:?}");
            ensure!(known.spec.image == IMAGE && known.aliases[0] == container.id, "it is {known:?}");
            Ok(())
        })
    };
    let start = |name: &str| containerd.run_labelled(&[("io.kubernetes.container.name", name)], idle);
    let nameless = |container: &Container| {
        sampling_goes_on(&collector, &container.cgroup)?;
        let known = ask(container)?;
        ensure!(known.spec.image.is_empty(), "no runtime reported it: {known:?}");
        Ok::<_, crate::support::Error>(())
    };
    let early = wait::eventually(wait::seconds(5), || start("early"))?;
    wait::eventually(wait::seconds(5), || ask(&early))?;
    nameless(&early).context("without containerd")?;
    proxy.open()?;
    labelled(&early, "early", wait::seconds(5)).context("it came")?;
    for _ in 0..TIMES {
        proxy.close();
        proxy.open()?;
        wait::pass(Duration::from_millis(20));
    }
    labelled(&early, "early", wait::seconds(1)).context("what was known is forgotten")?;
    proxy.close();
    let late = start("late")?;
    wait::eventually(wait::seconds(5), || ask(&late))?;
    nameless(&late).context("the socket is gone")?;
    proxy.open()?;
    labelled(&late, "late", wait::seconds(5)).context("it is back")?;
    proxy.close();
    proxy.behave(Behaviour::Garbage);
    proxy.open()?;
    let garbled = start("garbled")?;
    wait::eventually(wait::seconds(5), || ask(&garbled))?;
    nameless(&garbled).context("rubbish")?;
    proxy.behave(Behaviour::Forward);
    labelled(&garbled, "garbled", wait::seconds(5)).context("after rubbish")?;
    proxy.close();
    proxy.behave(Behaviour::Late(Duration::from_secs(20)));
    proxy.open()?;
    let slow = start("slow")?;
    wait::eventually(wait::seconds(5), || ask(&slow))?;
    nameless(&slow).context("twenty seconds late")?;
    labelled(&slow, "slow", wait::seconds(40)).context("twenty seconds later")?;
    [early, late, garbled, slow].iter().try_for_each(|container| containerd.remove(container))?;
    is_calm(&collector)
}
