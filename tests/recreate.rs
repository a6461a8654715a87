//! A path removed and made again is a new container, as often as that happens.

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs};
use crate::support::{Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("recreate::v2", || recreate(Set::V2)).needs(Needs::Cgroup2),
    Case::new("recreate::v1", || recreate(Set::V1(&["pids"]))).needs(Needs::V1),
    Case::new("recreate::history_starts_anew", history_starts_anew),
];

const TIMES: usize = 1000;

fn recreate(set: Set<'_>) -> Result<()> {
    let collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(set)?;
    for _ in 0..TIMES {
        cgroups.make("again")?.remove()?;
    }
    let cgroup = cgroups.make("again")?;
    wait::eventually(wait::seconds(10), || {
        let events = collector.events(&cgroup.name(), &["creation_events", "deletion_events"])?;
        let creations = events.iter().filter(|event| event.event_type == "containerCreation").count();
        let deletions = events.iter().filter(|event| event.event_type == "containerDeletion").count();
        ensure!(
            (creations, deletions) == (TIMES + 1, TIMES),
            "made {} times and removed {TIMES} times: {creations} creations and {deletions} deletions",
            TIMES + 1
        );
        Ok(())
    })?;
    wait::eventually(wait::seconds(5), || {
        let listed = collector.names_below(&cgroup.name())?;
        ensure!(listed == [cgroup.name()], "listed: {listed:?}");
        Ok(())
    })?;
    cgroup.remove()?;
    wait::eventually(wait::seconds(5), || {
        let listed = collector.names_below(&cgroup.name())?;
        ensure!(listed.is_empty(), "gone but listed: {listed:?}");
        Ok(())
    })
}

/// The new container has none of the old one's samples, and its own creation time.
fn history_starts_anew() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=200ms"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("again")?;
    let old = wait::eventually(wait::seconds(10), || {
        let old = collector.container(&cgroup.name())?;
        ensure!(old.stats.len() >= 5, "{} samples of the old container", old.stats.len());
        Ok(old)
    })?;
    cgroup.remove()?;
    cgroup.make()?;
    let last = old.stats.last().map(|stats| stats.timestamp.clone()).unwrap_or_default();
    wait::eventually(wait::seconds(5), || {
        let new = collector.container(&cgroup.name())?;
        let first = new.stats.first().map(|stats| stats.timestamp.clone()).unwrap_or_default();
        ensure!(first > last, "the new container has a sample of {first}, the old one's last is of {last}");
        let (before, after) = (&old.spec.creation_time, &new.spec.creation_time);
        ensure!(after > before, "made anew, but the creation time went from {before} to {after}");
        Ok(())
    })
}
