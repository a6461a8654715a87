//! Where an attack takes place: a collector that may use 256 MiB, a thousand cgroups, and the witnesses.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::clients::Attacker;
use super::witness::{Client, Events, Memory};
use crate::support::cgroups::{Cgroup, Cgroups, Set};
use crate::support::collector::{Collector, Rights};
use crate::support::harness::Skip;
use crate::support::surroundings::Surroundings;
use crate::support::{Context as _, Result, bytes, ensure, harness, settings, wait};

/// What the collector may use of memory: what the manifests allow.
const MEMORY: u64 = 256 * bytes::MIB;
/// How many cgroups there are.
const CGROUPS: usize = 1_000;
/// The slowest answer that a well-behaved client may get.
const SLOWEST: Duration = Duration::from_secs(2);
/// Attackers' threads hold one buffer.
const STACK: usize = 512 << 10;
/// Seconds of each attack; 60 for the whole proof.
const SECONDS: &str = "COLLECTOR_ATTACK_SECONDS";
const DEFAULT_SECONDS: u64 = 8;

/// What so many attackers do at the same time, each on a thread of its own. They look at the clock often and stop in time.
pub(super) struct Deed<'a> {
    attackers: usize,
    act: Box<dyn Fn(&Attacker<'_>) + Send + Sync + 'a>,
}

/// A deed of so many attackers.
pub(super) fn deed<'a>(attackers: usize, act: impl Fn(&Attacker<'_>) + Send + Sync + 'a) -> Deed<'a> {
    Deed { attackers, act: Box::new(act) }
}

/// The log of the collector's events afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    /// It holds every event.
    Whole,
    /// The attack writes more into it than it may hold.
    Flooded,
}

/// What has to be answered in time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum InTime {
    /// `/healthz` and `/metrics`.
    All,
    /// `/healthz`: the attackers alone take more processors than there are.
    Health,
}

/// What an attack is proved by, besides what it does.
pub(super) struct Proof<'a> {
    /// Names it in what is printed.
    pub(super) id: &'a str,
    /// What the well-behaved client is known by.
    pub(super) authorization: Option<&'a str>,
    pub(super) log: Log,
    pub(super) in_time: InTime,
}

impl<'a> Proof<'a> {
    /// Of an attack on a collector that answers everybody.
    pub(super) fn of(id: &'a str) -> Self {
        Self { id, authorization: None, log: Log::Whole, in_time: InTime::All }
    }
}

/// A thousand cgroups, one more that limits the collector's memory, and room for those of the attack.
pub(super) struct Stage {
    many: Cgroups,
    limited: Cgroups,
    witnessed: Cgroups,
}

impl Stage {
    pub(super) fn new() -> Result<Self> {
        if settings::in_vm() {
            return Err(Skip::because("emulated processors are too slow for attackers and the collector beside them"));
        }
        let limited = Cgroups::new(Set::Memory)?;
        limit(&limited.make("collector")?)?;
        let many = Cgroups::new(Set::Every)?;
        for number in 0..CGROUPS {
            many.make(format!("many-{number:04}"))?;
        }
        Ok(Self { many, limited, witnessed: Cgroups::new(Set::One)? })
    }

    /// The cgroups that an attack may make others below.
    pub(super) fn cgroups(&self) -> &Cgroups {
        &self.witnessed
    }

    /// Starts the collector and waits until it knows all cgroups.
    pub(super) fn start(&self, rights: &Rights, flags: &[&str]) -> Result<Collector> {
        let surroundings = Surroundings::from(rights).inside(&self.limited.at("collector"));
        let collector = Collector::start_as(surroundings, flags)?;
        Ok(collector)
    }

    /// Whether all cgroups are in the metrics.
    fn all_there(&self, client: &Client<'_>) -> Result<()> {
        let metrics = client.ask("/metrics")?;
        let about = format!("id=\"{}/many-", self.many.name());
        let there = metrics.lines().filter(|line| line.starts_with("container_last_seen{") && line.contains(&about));
        let there = there.count();
        ensure!(there == CGROUPS, "{there} of {CGROUPS} cgroups are in the metrics");
        Ok(())
    }

    /// Attacks the collector, and fails unless it lives through that, with every answer in time and no event lost.
    pub(super) fn prove(&self, proof: &Proof<'_>, collector: &mut Collector, deeds: &[Deed<'_>]) -> Result<()> {
        let client = Client { address: collector.address(), authorization: proof.authorization };
        wait::eventually(wait::seconds(30), || self.all_there(&client))?;
        let lost_before = client.lost_events()?;
        let events = Events::watch(&client, &self.witnessed)?;
        let memory = Memory::of(&self.limited.at("collector"), collector.pid());
        let over = AtomicBool::new(false);
        let (health, metrics, peaks) = std::thread::scope(|scope| {
            let health = scope.spawn(|| client.ask_until(&over, "/healthz", Duration::from_millis(200)));
            let metrics = scope.spawn(|| client.ask_until(&over, "/metrics", Duration::from_millis(500)));
            let memory = scope.spawn(|| memory.watch(&over));
            scope.spawn(|| events.cause_until(&over, &self.witnessed));
            start_attackers(scope, deeds, collector.address(), &over)?;
            let end = Instant::now() + duration();
            while Instant::now() < end && !memory.is_finished() {
                wait::pass(Duration::from_millis(50));
            }
            over.store(true, Ordering::Relaxed);
            let panicked = "a thread of the test panicked";
            Ok::<_, crate::support::Error>((
                health.join().ok().context(panicked)?,
                metrics.join().ok().context(panicked)?,
                memory.join().ok().context(panicked)?,
            ))
        })?;
        let lived = collector.check_alive();
        let seen = events.seen();
        let line = format!(
            "{} peak {} MB (RSS {} MB), slowest /healthz {health}, slowest /metrics {metrics}, events {seen}{}",
            proof.id,
            peaks.cgroup / bytes::MIB,
            peaks.rss / bytes::MIB,
            if lived.is_ok() { "" } else { ", ENDED" }
        );
        harness::figures("ATTACK", &line);
        lived.with_context(|| format!("it did not live through {line}"))?;
        let complaint = || format!("{line}\n{health:?}\n{metrics:?}");
        for answers in [&health, &metrics].into_iter().take(if proof.in_time == InTime::All { 2 } else { 1 }) {
            ensure!(answers.are_good(SLOWEST), "a well-behaved client had to wait or was refused: {}", complaint());
        }
        ensure!(seen.is_all(), "events were lost: {}", complaint());
        if proof.log == Log::Whole {
            events.all_logged(&client, &self.witnessed)?;
        }
        let lost = client.lost_events()? - lost_before;
        ensure!(lost == 0.0, "{lost} kernel events were lost: {line}");
        Ok(())
    }
}

fn duration() -> Duration {
    let seconds = std::env::var(SECONDS).ok().and_then(|value| value.parse().ok());
    Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS))
}

fn start_attackers<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    deeds: &'scope [Deed<'_>],
    address: SocketAddr,
    over: &'scope AtomicBool,
) -> Result<()> {
    for deed in deeds {
        for number in 0..deed.attackers {
            let attacker = Attacker::new(number, address, over);
            let thread = std::thread::Builder::new().stack_size(STACK);
            let started = thread.spawn_scoped(scope, move || (deed.act)(&attacker));
            if let Err(error) = started {
                // Those that run end, or the scope would wait for ever.
                over.store(true, Ordering::Relaxed);
                return Err(error).context("start an attacker");
            }
        }
    }
    Ok(())
}

/// Limits memory, and swap with it.
fn limit(cgroup: &Cgroup<'_>) -> Result<()> {
    if let Ok(file) = cgroup.v1_file("memory", "memory.limit_in_bytes") {
        bytes::write(&file, &MEMORY.to_string())?;
        // Not there without swap accounting.
        let _ = bytes::write(cgroup.v1_file("memory", "memory.memsw.limit_in_bytes")?, &MEMORY.to_string());
        return Ok(());
    }
    bytes::write(cgroup.v2_file("memory.max")?, &MEMORY.to_string())?;
    let _ = bytes::write(cgroup.v2_file("memory.swap.max")?, "0");
    Ok(())
}
