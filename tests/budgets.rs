//! A user to whom a subtree of cgroups is delegated makes as many as can be made, with paths as long as can be. The
//! collector, with the memory that the manifests give it, lives on, and whoever is elsewhere loses nothing.
//!
//! Cost: about 25 s, of which the storm is 10.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Instant;

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs};
use crate::support::surroundings::Surroundings;
use crate::support::{Context as _, Result, bytes, ensure, settings, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("budgets::what_the_start_takes_is_returned", what_the_start_takes_is_returned),
    Case::new("budgets::a_storm_of_long_paths", storm_of_long_paths).needs(Needs::Cgroup2),
    Case::new("budgets::more_cgroups_than_there_is_memory_for", too_many_cgroups).needs(Needs::Cgroup2),
    Case::new("budgets::found_at_the_start", found_at_the_start).needs(Needs::Cgroup2),
    Case::new("budgets::a_runtime_whose_answers_never_end", endless_runtime).needs(Needs::Cgroup2),
];

/// What the manifests give the collector.
const MEMORY: u64 = 256 << 20;

fn honest() -> usize {
    settings::times(1_000, 100)
}

/// A cgroup with the memory limit of the manifests, and a collector in it.
fn limited<'a>(cgroups: &'a Cgroups, flags: &[&str]) -> Result<(Collector, Cgroup<'a>)> {
    let own = cgroups.make("collector")?;
    let is_v2 = Layout::detect()?.memory().context("no memory controller")?.is_v2();
    let file = if is_v2 { own.v2_file("memory.max")? } else { own.v1_file("memory", "memory.limit_in_bytes")? };
    bytes::write(file, &MEMORY.to_string())?;
    let collector = Collector::start_as(Surroundings::default().inside(&own), flags)?;
    collector.require_ebpf()?;
    Ok((collector, own))
}

/// A subtree like a delegated one, and far down in it a directory whose path has nearly as many bytes as there can be.
struct Delegated {
    _cgroups: Cgroups,
    bottom: OwnedFd,
    name: String,
}

impl Delegated {
    fn new() -> Result<Self> {
        const LEVELS: usize = 17;
        let cgroups = Cgroups::new(Set::V2)?;
        let element = "d".repeat(220);
        for depth in 1..=LEVELS {
            cgroups.make(vec![element.as_str(); depth].join("/"))?;
        }
        let bottom = cgroups.at(vec![element.as_str(); LEVELS].join("/"));
        let directory = bottom.dirs().into_iter().next().context("a directory")?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = bottom.name();
        ensure!(name.len() > 3_700, "the path has {} bytes", name.len());
        Ok(Self { bottom: rustix::fs::open(directory, flags, Mode::empty())?, name, _cgroups: cgroups })
    }

    fn make(&self, name: &str) -> Result<()> {
        Ok(rustix::fs::mkdirat(&self.bottom, name, Mode::from_raw_mode(0o755))?)
    }

    fn remove(&self, name: &str) -> Result<()> {
        Ok(rustix::fs::unlinkat(&self.bottom, name, AtFlags::REMOVEDIR)?)
    }
}

/// Whoever is elsewhere.
struct Honest(Cgroups);

impl Honest {
    fn new() -> Result<Self> {
        let cgroups = Cgroups::new(Set::V2)?;
        for number in 0..honest() {
            cgroups.make(format!("pod{number:04}"))?;
        }
        Ok(Self(cgroups))
    }

    fn check_listed(&self, collector: &Collector) -> Result<()> {
        let listed: BTreeSet<String> = collector.names_below(&self.0.name())?.into_iter().collect();
        let all = (0..honest()).map(|number| format!("{}/pod{number:04}", self.0.name()));
        let missing: Vec<String> = all.filter(|name| !listed.contains(name)).collect();
        ensure!(missing.is_empty(), "{} honest cgroups are not listed, such as {:?}", missing.len(), missing.first());
        Ok(())
    }

    /// Makes and removes some, and waits until both are reported.
    fn check_events(&self, collector: &Collector, round: &str) -> Result<()> {
        let names: Vec<String> = (0..20).map(|number| format!("short-{round}-{number}")).collect();
        for name in &names {
            self.0.make(name)?;
        }
        wait::eventually(wait::seconds(5), || {
            let listed = collector.names_below(&self.0.name())?;
            let new = names.iter().filter(|name| listed.iter().any(|listed| listed.ends_with(name.as_str()))).count();
            ensure!(new == names.len(), "{new} of {} new honest cgroups are listed", names.len());
            Ok(())
        })?;
        for name in &names {
            self.0.at(name).remove()?;
        }
        for kind in ["creation_events", "deletion_events"] {
            wait::eventually(wait::seconds(5), || {
                let events = collector.events(&self.0.name(), &[kind])?;
                let reported =
                    |name: &&String| events.iter().any(|event| event.container_name.ends_with(name.as_str()));
                let count = names.iter().filter(reported).count();
                ensure!(count == names.len(), "{count} of {} {kind} of honest cgroups", names.len());
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// The most memory the collector has had, in bytes.
fn peak(collector: &Collector) -> Result<u64> {
    memory(collector, "VmHWM:")
}

/// A row of the collector's `status`, in bytes.
fn memory(collector: &Collector, row: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", collector.pid()))?;
    let found = status.lines().find_map(|line| line.strip_prefix(row)?.trim().strip_suffix(" kB"));
    Ok(found.with_context(|| format!("no {row}"))?.parse::<u64>()? * 1024)
}

/// Reading the kernel's types takes some 30 MiB, and programs are loaded twice.
fn what_the_start_takes_is_returned() -> Result<()> {
    const MOST: u64 = 16 << 20;
    let collector = Collector::start(&["--counters=auto"])?;
    wait::eventually(wait::seconds(20), || {
        ensure!(!collector.health()?.contains("not looked at yet"), "programs are still being loaded");
        let anonymous = memory(&collector, "RssAnon:")?;
        ensure!(anonymous < MOST, "{} MiB of anonymous memory", anonymous >> 20);
        Ok(())
    })?;
    let name = fs::read_to_string(format!("/proc/{}/comm", collector.pid()))?;
    ensure!(name.trim_end() == "collector", "the process is called {name}");
    Ok(())
}

fn check_peak(collector: &Collector, what: &str) -> Result<()> {
    let peak = peak(collector)?;
    println!("        {what}: the collector took at most {} MiB", peak >> 20);
    ensure!(peak < MEMORY, "{what}: the collector took {} MiB", peak >> 20);
    Ok(())
}

fn storm_of_long_paths() -> Result<()> {
    let limit = Cgroups::new(Set::Memory)?;
    let honest = Honest::new()?;
    let (mut collector, _own) = limited(&limit, &[])?;
    wait::eventually(wait::seconds(5), || honest.check_listed(&collector))?;
    let delegated = Delegated::new()?;
    let until = Instant::now() + wait::seconds(10);
    let made = thread::scope(|scope| {
        let storm = scope.spawn(|| {
            let mut made = 0u64;
            while Instant::now() < until {
                let name = format!("{made:08}");
                delegated.make(&name)?;
                delegated.remove(&name)?;
                made += 1;
            }
            Ok(made)
        });
        let checked = honest.check_events(&collector, "during");
        let made: Result<u64> = storm.join().map_err(|_| crate::support::Error::msg("the storm panicked"))?;
        checked.and(made)
    })?;
    ensure!(made > 2_000, "{made} cgroups are no storm");
    println!("        {made} cgroups were made and removed");
    collector.check_alive()?;
    wait::eventually(wait::seconds(10), || honest.check_listed(&collector))?;
    honest.check_events(&collector, "after")?;
    let asked = Instant::now();
    collector.health()?;
    collector.metrics()?;
    ensure!(asked.elapsed() < wait::seconds(5), "/healthz and /metrics took {:?}", asked.elapsed());
    check_peak(&collector, "a storm of long paths")
}

/// Makes more cgroups than fit and keeps them.
fn crowd(delegated: &Delegated) -> Result<Vec<String>> {
    let names: Vec<String> = (0..settings::times(20_000, 4_000)).map(|number| format!("{number:08}")).collect();
    for name in &names {
        delegated.make(name)?;
    }
    Ok(names)
}

fn too_many_cgroups() -> Result<()> {
    let limit = Cgroups::new(Set::Memory)?;
    let honest = Honest::new()?;
    let (mut collector, _own) = limited(&limit, &["--global_housekeeping_interval=1s"])?;
    let delegated = Delegated::new()?;
    let names = crowd(&delegated)?;
    wait::eventually(wait::seconds(15), || {
        let health = collector.health()?;
        ensure!(health.contains("--container_memory_limit"), "no shortage is reported:\n{health}");
        let metrics = collector.metrics()?;
        let not_listed = metrics.value("collector_cgroups_not_listed", &[]).unwrap_or(0.0);
        ensure!(not_listed > names.len() as f64 / 2.0, "{not_listed} of {} are not listed", names.len());
        let degraded = metrics.value("collector_degraded", &[("facility", "cgroups")]);
        ensure!(degraded == Some(1.0), "collector_degraded is {degraded:?}");
        let exceeded = metrics.value("collector_bound_exceeded_total", &[("bound", "container_memory")]);
        ensure!(exceeded.is_some_and(|times| times > 0.0), "the bound was never exceeded");
        Ok(())
    })?;
    honest.check_listed(&collector)?;
    honest.check_events(&collector, "crowded")?;
    honest.check_listed(&collector)?;
    let some = collector.names_below(&delegated.name)?.len();
    ensure!(some > 50, "only {some} of the delegated cgroups are listed");
    for name in &names {
        delegated.remove(name)?;
    }
    wait::eventually(wait::seconds(15), || {
        let health = collector.health()?;
        ensure!(!health.contains("--container_memory_limit"), "the shortage is over:\n{health}");
        let left = collector.names_below(&delegated.name)?.len();
        ensure!(left <= 1, "{left} cgroups are listed that are gone");
        Ok(())
    })?;
    collector.check_alive()?;
    honest.check_listed(&collector)?;
    check_peak(&collector, "twenty thousand cgroups with long paths")
}

fn found_at_the_start() -> Result<()> {
    let limit = Cgroups::new(Set::Memory)?;
    let delegated = Delegated::new()?;
    let names = crowd(&delegated)?;
    let honest = Honest::new()?;
    let (mut collector, _own) = limited(&limit, &[])?;
    wait::eventually(wait::seconds(10), || honest.check_listed(&collector))?;
    honest.check_events(&collector, "start")?;
    collector.check_alive()?;
    for name in &names {
        delegated.remove(name)?;
    }
    check_peak(&collector, "found at the start")
}

/// Answers which version it is, and everything else without end.
fn answer_without_end(mut stream: UnixStream) {
    let mut head = [0; 4096];
    let length = stream.read(&mut head).unwrap_or(0);
    let is_version = head[..length].starts_with(b"GET /version");
    if is_version {
        let body = r#"{"ApiVersion":"1.41"}"#;
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        return;
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"Name\":\"");
    let piece = vec![b'x'; 65_536];
    while stream.write_all(&piece).is_ok() {}
}

fn endless_runtime() -> Result<()> {
    let limit = Cgroups::new(Set::Memory)?;
    let directory = std::env::temp_dir().join(format!("collector-endless-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let path = directory.join("docker.sock");
    let listener = UnixListener::bind(&path)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer_without_end(stream));
        }
    });
    let (mut collector, _own) = limited(&limit, &[&format!("--docker=unix://{}", path.display())])?;
    let cgroups = Cgroups::new(Set::V2)?;
    for number in 0..30 {
        cgroups.make(format!("docker-{number:064x}.scope"))?;
    }
    wait::eventually(wait::seconds(20), || {
        let exceeded =
            collector.metrics()?.value("collector_bound_exceeded_total", &[("bound", "runtime_answer_bytes")]);
        ensure!(exceeded.is_some_and(|times| times >= 30.0), "answers that were given up: {exceeded:?} of 30");
        Ok(())
    })?;
    collector.check_alive()?;
    let listed = collector.names_below(&cgroups.name())?.len();
    ensure!(listed == 31, "{listed} of 31 cgroups are listed");
    wait::eventually(wait::seconds(20), || {
        // Another engine of this machine may have containers, too.
        let is_own = |line: &&String| line.contains("stays without its name") && line.contains("00000000");
        let logged = collector.log().iter().filter(is_own).count();
        ensure!(logged == 30, "{logged} lines of the log about 30 containers");
        Ok(())
    })?;
    fs::remove_dir_all(&directory)?;
    check_peak(&collector, "a runtime whose answers never end")
}
