//! OOM kills: who was killed, whose limit was hit, who set it off.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use crate::support::api::{Event, Oom};
use crate::support::cgroups::{Cgroup, Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Skip};
use crate::support::workload::{Plan, Work, Workload};
use crate::support::{Context as _, Result, bytes, ensure, settings, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("oom::victim_limit_and_trigger_are_named", victim_limit_and_trigger_are_named)
        .within(180)
        .on_every_kernel(),
    Case::new("oom::count_outlives_the_cgroup", count_outlives_the_cgroup),
    Case::new("oom::alone_in_its_cgroup", alone_in_its_cgroup),
    Case::new("oom::of_a_group_each_process_counts_once", of_a_group_each_process_counts_once).on_every_kernel(),
];

/// Mebibytes of a scene.
struct Sizes {
    /// The limit on the parent.
    limit: u64,
    /// What the victim holds.
    victim: u64,
    /// What the trigger takes: too much beside the victim, little enough alone.
    trigger: u64,
}

/// The kernel stops counting on a dying victim before it has given back its last 40 MiB or so (one gather of freed
/// pages), or all of it since 7.0 or so: a smaller victim's end can come too late for a trigger that cannot be spared,
/// which is then killed too. In a virtual machine it can be spared, and every page takes its time.
fn sizes() -> Sizes {
    if settings::in_vm() {
        Sizes { limit: 32, victim: 24, trigger: 12 }
    } else {
        Sizes { limit: 112, victim: 96, trigger: 24 }
    }
}

/// Rounds: 60 on one kernel, whether in one run or in one for each of two layouts of hierarchies. Some kernels have no
/// memory controller on v1.
fn rounds() -> usize {
    settings::times(60, 30)
}

/// Limits a cgroup's memory, swap included.
pub(crate) fn limit_memory(cgroup: &Cgroup<'_>, mebibytes: u64) -> Result<()> {
    let limit = (mebibytes * bytes::MIB).to_string();
    let Ok(file) = cgroup.v1_file("memory", "memory.limit_in_bytes") else {
        bytes::write(cgroup.v2_file("memory.max")?, &limit)?;
        let swap = cgroup.v2_file("memory.swap.max")?;
        return if swap.exists() { bytes::write(swap, "0") } else { Ok(()) };
    };
    bytes::write(file, &limit)?;
    let swap = cgroup.v1_file("memory", "memory.memsw.limit_in_bytes")?;
    if swap.exists() { bytes::write(swap, &limit) } else { Ok(()) }
}

/// A limited cgroup with a big idle process in one child, and a small one in another that hits the limit.
pub(crate) struct Scene<'a> {
    limit: Cgroup<'a>,
    victim: Cgroup<'a>,
    trigger: Cgroup<'a>,
    number: usize,
}

/// The process ids of a killing.
pub(crate) struct Killing {
    victim: u32,
    trigger: u32,
}

impl<'a> Scene<'a> {
    /// Makes the cgroups.
    pub(crate) fn new(cgroups: &'a Cgroups, number: usize) -> Result<Self> {
        let limit = cgroups.make(format!("limit-{number}"))?;
        limit.delegate()?;
        limit_memory(&limit, sizes().limit)?;
        let victim = cgroups.make(format!("limit-{number}/victim"))?;
        let trigger = cgroups.make(format!("limit-{number}/trigger"))?;
        Ok(Self { limit, victim, trigger, number })
    }

    /// Name of the cgroup whose process is killed.
    pub(crate) fn victim_name(&self) -> String {
        self.victim.name()
    }

    /// Lets it happen, and makes sure that it did.
    pub(crate) fn kill(&self) -> Result<Killing> {
        let plan = Plan::new(Work::Hold(sizes().victim), &self.victim).named(format!("victim-{}", self.number));
        let mut victim: Workload = plan.oom_score_adj(1000).start_ready()?;
        let mut trigger = Plan::new(Work::Grow(sizes().trigger), &self.trigger)
            .named(format!("trigger-{}", self.number))
            .spared()
            .start()?;
        let status = victim.wait()?;
        ensure!(status.signal() == Some(9), "the victim ended with {status}: the scene does not work");
        let status = trigger.wait()?;
        ensure!(status.success(), "the trigger ended with {status}: the scene does not work");
        Ok(Killing { victim: victim.pid(), trigger: trigger.pid() })
    }

    /// Removes the cgroups.
    pub(crate) fn remove(&self) -> Result<()> {
        self.victim.remove()?;
        self.trigger.remove()?;
        self.limit.remove()
    }

    /// Compares an event's details with what was done.
    fn check(&self, killing: &Killing, oom: &Oom) -> Result<()> {
        let said = format!("said: {oom:?}");
        ensure!(oom.pid == killing.victim, "the victim was {}; {said}", killing.victim);
        ensure!(oom.process_name == format!("victim-{}", self.number), "the victim's name; {said}");
        ensure!(oom.constraint == "CONSTRAINT_MEMCG", "the constraint; {said}");
        ensure!(oom.victim_container_name.as_ref() == Some(&self.victim.name()), "the victim's container; {said}");
        ensure!(oom.limit_container_name.as_ref() == Some(&self.limit.name()), "the limit's owner; {said}");
        ensure!(oom.trigger_pid == Some(killing.trigger), "the trigger was {}; {said}", killing.trigger);
        let trigger = format!("trigger-{}", self.number);
        ensure!(oom.trigger_process_name.as_ref() == Some(&trigger), "the trigger's name; {said}");
        ensure!(oom.trigger_container_name.as_ref() == Some(&self.trigger.name()), "the trigger's container; {said}");
        ensure!(oom.uid == Some(0), "the victim's user; {said}");
        let anonymous = oom.anon_rss_bytes.context("no anon_rss_bytes")?;
        // Since 6.2 each CPU keeps up to 32 pages of the count to itself.
        let held = sizes().victim * bytes::MIB;
        let expected = held - bytes::MIB..held + 8 * bytes::MIB;
        ensure!(expected.contains(&anonymous), "anonymous memory; {said}");
        ensure!(oom.total_vm_bytes.is_some_and(|total| total > anonymous), "virtual size; {said}");
        Ok(())
    }

    /// Waits until a collector has reported it, and compares what it reports.
    pub(crate) fn is_reported(&self, killing: &Killing, collector: &Collector) -> Result<()> {
        wait::eventually(wait::seconds(2), || self.check_events(killing, |name, kind| collector.events(name, &[kind])))
    }

    /// The `oom` and the `oomKill` event of this scene, each exactly once, reported by `ask` for a cgroup's name and a
    /// kind.
    fn events(&self, ask: impl Fn(&str, &str) -> Result<Vec<Event>>) -> Result<[Event; 2]> {
        let mut pair = Vec::new();
        for (kind, of_type, cgroup) in
            [("oom_events", "oom", &self.victim), ("oom_kill_events", "oomKill", &self.limit)]
        {
            let events = ask(&self.limit.name(), kind)?;
            let [event] = events.as_slice() else {
                crate::support::bail!("{} {of_type} events in {}: {events:?}", events.len(), self.limit.name())
            };
            ensure!(event.event_type == of_type, "asked for {kind}, got {event:?}");
            ensure!(event.container_name == cgroup.name(), "the {of_type} event is of {}", event.container_name);
            pair.push(event.clone());
        }
        pair.try_into().ok().context("two events")
    }

    /// Makes sure that both events are there and have what was done.
    pub(crate) fn check_events(&self, killing: &Killing, ask: impl Fn(&str, &str) -> Result<Vec<Event>>) -> Result<()> {
        for event in self.events(ask)? {
            let oom = event.event_data.oom.as_ref();
            self.check(killing, oom.with_context(|| format!("no event_data.oom in {event:?}"))?)?;
        }
        Ok(())
    }
}

fn victim_limit_and_trigger_are_named() -> Result<()> {
    let collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::Memory)?;
    let mut wrong = Vec::new();
    let rounds = rounds();
    for number in 0..rounds {
        let scene = Scene::new(&cgroups, number)?;
        let killing = scene.kill()?;
        if let Err(error) = scene.is_reported(&killing, &collector) {
            wrong.push(format!("round {number}: {error:#}"));
        }
        scene.remove()?;
    }
    ensure!(wrong.is_empty(), "{} of {rounds} rounds were reported wrongly, first {}", wrong.len(), wrong[0]);
    let lost = collector.metrics()?.sum("collector_events_lost_total");
    ensure!(lost == 0.0, "{lost} kernel events were lost");
    Ok(())
}

fn count_outlives_the_cgroup() -> Result<()> {
    // Long enough for what is looked at before its end, also where everything is slow.
    let retention = Duration::from_secs(if settings::in_vm() { 20 } else { 8 });
    let collector = Collector::start(&[&format!("--ended_container_retention={}s", retention.as_secs())])?;
    let cgroups = Cgroups::new(Set::Memory)?;
    let scene = Scene::new(&cgroups, 0)?;
    scene.kill()?;
    let name = scene.victim_name();
    scene.remove()?;
    let count =
        || -> Result<Option<f64>> { Ok(collector.metrics()?.value("container_oom_events_total", &[("id", &name)])) };
    wait::eventually(wait::seconds(2), || {
        ensure!(count()? == Some(1.0), "the OOM kill of {name}, which is gone, is counted {:?} times", count()?);
        Ok(())
    })?;
    wait::eventually(wait::seconds(5), || {
        let listed = collector.names_below(&name)?;
        ensure!(listed.is_empty(), "{name} is gone but still listed");
        Ok(())
    })?;
    ensure!(count()? == Some(1.0), "the count did not outlive the listing");
    wait::eventually(wait::seconds(20), || {
        ensure!(count()?.is_none(), "still counted {:?} long after its retention of {retention:?}", count()?);
        Ok(())
    })
}

/// Victim, trigger and limit in one: the common case of a container that outgrows its own limit.
fn alone_in_its_cgroup() -> Result<()> {
    let collector = Collector::start(&[])?;
    let cgroups = Cgroups::new(Set::Memory)?;
    let cgroup = cgroups.make("alone")?;
    limit_memory(&cgroup, 16)?;
    let mut grower = Plan::new(Work::Grow(64), &cgroup).named("grower").start()?;
    let status = grower.wait()?;
    ensure!(status.signal() == Some(9), "the process ended with {status}: the scene does not work");
    wait::eventually(wait::seconds(2), || {
        let events = collector.events(&cgroup.name(), &["oom_events", "oom_kill_events"])?;
        ensure!(events.len() == 2, "{} instead of 2 events: {events:?}", events.len());
        for event in &events {
            let oom = event.event_data.oom.as_ref().with_context(|| format!("no event_data.oom in {event:?}"))?;
            ensure!(oom.pid == grower.pid() && oom.trigger_pid == Some(grower.pid()), "processes: {oom:?}");
            for named in [&oom.victim_container_name, &oom.trigger_container_name, &oom.limit_container_name] {
                ensure!(named.as_ref() == Some(&cgroup.name()), "containers: {oom:?}");
            }
        }
        Ok(())
    })
}

/// `memory.oom.group`: the kernel counts the first victim of a group twice.
fn of_a_group_each_process_counts_once() -> Result<()> {
    let cgroups = Cgroups::new(Set::Memory)?;
    let groups = [("one", 0_usize), ("three", 2)];
    let probe = cgroups.make("probe")?;
    let has_groups = probe.v2_file("memory.oom.group").is_ok_and(|file| file.exists());
    probe.remove()?;
    if !has_groups {
        return Err(Skip::because(
            "no memory.oom.group: the memory controller is that of v1, or the kernel is older than 4.19",
        ));
    }
    let collector = Collector::start(&[])?;
    for (name, others) in groups {
        let cgroup = cgroups.make(name)?;
        limit_memory(&cgroup, 16)?;
        bytes::write(cgroup.v2_file("memory.oom.group")?, "1")?;
        let mut idle = Vec::new();
        for _ in 0..others {
            idle.push(Plan::new(Work::Hold(1), &cgroup).start_ready()?);
        }
        let mut grower = Plan::new(Work::Grow(64), &cgroup).named("grower").start()?;
        let status = grower.wait()?;
        ensure!(status.signal() == Some(9), "the process ended with {status}: the scene does not work");
        let expected = others + 1;
        let check = || -> Result<()> {
            let events = collector.events(&cgroup.name(), &["oom_events"])?;
            ensure!(events.len() == expected, "{} instead of {expected} events: {events:?}", events.len());
            let count = collector.metrics()?.value("container_oom_events_total", &[("id", &cgroup.name())]);
            ensure!(count == Some(expected as f64), "{count:?} instead of {expected} kills");
            Ok(())
        };
        wait::eventually(wait::seconds(5), check)?;
        // Later samples read the counter again.
        wait::pass(wait::seconds(2));
        check()?;
    }
    Ok(())
}
