//! The same path in several hierarchies is one container; it exists while any of them has it.

use std::fs;

use crate::support::cgroups::{Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs, Skip};
use crate::support::{Context as _, Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("hierarchies::one_container", one_container).needs(Needs::V1).on_every_kernel(),
    Case::new("hierarchies::rename_is_followed", rename_is_followed).needs(Needs::V1),
    Case::new("hierarchies::rename_in_one_of_several", rename_in_one_of_several).needs(Needs::V1),
];

fn expect_listed(collector: &Collector, cgroups: &Cgroups, below: &[&str]) -> Result<()> {
    let mut expected: Vec<String> = below.iter().map(|name| cgroups.at(name).name()).collect();
    expected.push(cgroups.name());
    expected.sort();
    wait::eventually(wait::seconds(3), || {
        let listed = collector.names_below(&cgroups.name())?;
        ensure!(listed == expected, "listed are {listed:?}, there are {expected:?}");
        Ok(())
    })
}

/// Creations and deletions of one container.
fn events(collector: &Collector, name: &str) -> Result<(usize, usize)> {
    let events = collector.events(name, &["creation_events", "deletion_events"])?;
    let created = events.iter().filter(|event| event.event_type == "containerCreation").count();
    Ok((created, events.len() - created))
}

fn one_container() -> Result<()> {
    if Layout::detect()?.mounts.len() < 2 {
        return Err(Skip::because("there is only one cgroup hierarchy"));
    }
    let collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("one")?;
    expect_listed(&collector, &cgroups, &["one"])?;
    ensure!(events(&collector, &cgroup.name())? == (1, 0), "events: {:?}", events(&collector, &cgroup.name())?);
    let dirs = cgroup.dirs();
    let (last, others) = dirs.split_last().context("a hierarchy")?;
    for (number, dir) in others.iter().enumerate() {
        fs::remove_dir(dir)?;
        // What is reported about a later cgroup proves that this removal was reported before.
        let marker = cgroups.make(format!("marker-{number}"))?;
        wait::eventually(wait::seconds(3), || {
            let marked = events(&collector, &marker.name())?;
            ensure!(marked == (1, 0), "the marker's events: {marked:?}");
            Ok(())
        })?;
        marker.remove()?;
        let seen = events(&collector, &cgroup.name())?;
        ensure!(seen == (1, 0), "removed from {} of {} hierarchies: {seen:?}", number + 1, dirs.len());
        collector.container(&cgroup.name()).with_context(|| format!("after {} was removed", dir.display()))?;
    }
    // Made again in one hierarchy while it is still in another: the same container.
    fs::create_dir(&others[0])?;
    fs::remove_dir(last)?;
    expect_listed(&collector, &cgroups, &["one"])?;
    fs::remove_dir(&others[0])?;
    expect_listed(&collector, &cgroups, &[])?;
    let seen = events(&collector, &cgroup.name())?;
    ensure!(seen == (1, 1), "creations and deletions over its whole life: {seen:?}");
    Ok(())
}

fn rename_is_followed() -> Result<()> {
    let collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::V1(&["cpuacct"]))?;
    let old = cgroups.make("old")?;
    cgroups.make("old/child")?;
    expect_listed(&collector, &cgroups, &["old", "old/child"])?;
    let new = cgroups.at("new");
    fs::rename(&old.dirs()[0], &new.dirs()[0])?;
    expect_listed(&collector, &cgroups, &["new", "new/child"])?;
    let container = wait::eventually(wait::seconds(5), || {
        let container = collector.container(&new.name())?;
        ensure!(!container.stats.is_empty(), "no sample under the new name");
        Ok(container)
    })?;
    ensure!(container.stats.iter().all(|stats| stats.cpu.is_some()), "CPU time is read under the new name");
    ensure!(collector.container(&old.name()).is_err(), "the old name still answers");
    cgroups.at("new/child").remove()?;
    new.remove()?;
    expect_listed(&collector, &cgroups, &[])
}

fn rename_in_one_of_several() -> Result<()> {
    let collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::V1(&["pids", "cpuacct"]))?;
    let old = cgroups.make("old")?;
    let new = cgroups.at("new");
    expect_listed(&collector, &cgroups, &["old"])?;
    fs::rename(&old.dirs()[0], &new.dirs()[0])?;
    expect_listed(&collector, &cgroups, &["new", "old"])?;
    fs::rename(&old.dirs()[1], &new.dirs()[1])?;
    expect_listed(&collector, &cgroups, &["new"])
}
