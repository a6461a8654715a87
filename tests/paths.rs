//! Cgroups far down, with long paths and with names nobody expects.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::support::api::Container;
use crate::support::cgroups::{Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("paths::nested_40_deep_v2", || nested(Set::V2)).needs(Needs::Cgroup2),
    Case::new("paths::nested_40_deep_every_hierarchy", || nested(Set::Every)),
    Case::new("paths::three_thousand_bytes_v2", || long(Set::V2)).needs(Needs::Cgroup2),
    Case::new("paths::three_thousand_bytes_v1", || long(Set::V1(&["cpuacct", "pids"]))).needs(Needs::V1),
    Case::new("paths::odd_names", odd_names),
    Case::new("paths::invalid_utf8", invalid_utf8),
    Case::new("paths::newline", newline),
];

/// The name's creation and deletion are each reported once, and it is listed in between.
fn check_life(collector: &Collector, cgroups: &Cgroups, made: &[String]) -> Result<()> {
    wait::eventually(wait::seconds(5), || {
        let mut expected = made.to_vec();
        expected.push(cgroups.name());
        expected.sort();
        let listed = collector.names_below(&cgroups.name())?;
        ensure!(listed == expected, "{} of {} are listed", listed.len(), expected.len());
        Ok(())
    })?;
    for name in made.iter().rev() {
        let container = collector.container(name)?;
        ensure!(container.name == *name, "asked for {name:?}, got {:?}", container.name);
        let creations = collector.events(name, &["creation_events"])?;
        let creations = creations.iter().filter(|event| event.container_name == *name).count();
        ensure!(creations == 1, "{creations} creations of {name:?}");
    }
    Ok(())
}

fn check_end(collector: &Collector, cgroups: &Cgroups, made: &[String]) -> Result<()> {
    wait::eventually(wait::seconds(5), || {
        let listed = collector.names_below(&cgroups.name())?;
        ensure!(listed.len() <= 1, "removed but listed: {listed:?}");
        for name in made {
            let events = collector.events(name, &["deletion_events"])?;
            let deletions = events.iter().filter(|event| event.container_name == *name).count();
            ensure!(deletions == 1, "{deletions} deletions of {name:?}");
        }
        Ok(())
    })
}

/// Makes a chain of cgroups, each named `element`, as many as asked for.
fn chain(cgroups: &Cgroups, element: &str, count: usize) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for depth in 1..=count {
        let below = vec![element; depth].join("/");
        names.push(cgroups.make(&below)?.name());
    }
    Ok(names)
}

fn remove_chain(cgroups: &Cgroups, element: &str, count: usize) -> Result<()> {
    for depth in (1..=count).rev() {
        cgroups.at(vec![element; depth].join("/")).remove()?;
    }
    Ok(())
}

fn nested(set: Set<'_>) -> Result<()> {
    const DEPTH: usize = 40;
    let collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(set)?;
    let names = chain(&cgroups, "deeper", DEPTH)?;
    check_life(&collector, &cgroups, &names)?;
    let parent = collector.container(&names[DEPTH - 2])?;
    let children: Vec<_> = parent.subcontainers.iter().map(|child| child.name.as_str()).collect();
    ensure!(children == [names[DEPTH - 1].as_str()], "the children of the last but one: {children:?}");
    remove_chain(&cgroups, "deeper", DEPTH)?;
    check_end(&collector, &cgroups, &names)
}

/// Longer than the kernel's own buffer for tracepoints (1,024 bytes).
fn long(set: Set<'_>) -> Result<()> {
    const DEPTH: usize = 15;
    let collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(set)?;
    let element = "x".repeat(199);
    let names = chain(&cgroups, &element, DEPTH)?;
    let longest = names.last().context("a last name")?;
    ensure!(longest.len() >= 3000, "the longest path has {} bytes", longest.len());
    check_life(&collector, &cgroups, &names)?;
    let burner = Plan::new(Work::Burn(20), &cgroups.at(vec![element.as_str(); DEPTH].join("/"))).run();
    // With controllers delegated from above a v2 cgroup takes processes only where it has no children.
    ensure!(burner?.success(), "the burner in the longest path");
    wait::eventually(wait::seconds(5), || {
        let stats = collector.container(longest)?.stats;
        let total = stats.last().and_then(|stats| stats.cpu.as_ref()).map_or(0, |cpu| cpu.usage.total);
        ensure!(total >= 20_000_000, "20 ms were burnt in the longest path, its sample says {total} ns");
        Ok(())
    })?;
    remove_chain(&cgroups, &element, DEPTH)?;
    check_end(&collector, &cgroups, &names)
}

fn odd_names() -> Result<()> {
    let odd = [
        "with space",
        " leading and trailing ",
        "\"quoted\"",
        "it's",
        "back\\slash",
        "system-\\x2d.slice",
        "<&>",
        "tab\tand\u{1}control\u{7f}",
        "percent%41",
        "query?a=b&c=d",
        "hash#tag",
        "plus+semi;colon:comma,",
        "{\"json\":true}",
        "grüße-世界-🦀",
        "\u{2028}separator",
        "...",
        "-",
        "*",
    ];
    let collector = Collector::start(&[])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let names: Vec<String> = odd.iter().map(|name| Ok(cgroups.make(name)?.name())).collect::<Result<_>>()?;
    check_life(&collector, &cgroups, &names)?;
    // cAdvisor's encoder escapes what HTML could mistake.
    let target = format!("/api/v1.3/subcontainers{}", cgroups.name());
    let raw = collector.get(&target)?.text();
    for unescaped in ["<", ">", "&", "\u{2028}"] {
        ensure!(!raw.contains(unescaped), "{unescaped:?} is not escaped in the JSON");
    }
    ensure!(!collector.metrics()?.sum("collector_containers").is_nan(), "/metrics is readable");
    for name in odd {
        cgroups.at(name).remove()?;
    }
    check_end(&collector, &cgroups, &names)
}

/// Names that are no text are shown with replacement characters, and two such names stay two containers.
fn invalid_utf8() -> Result<()> {
    let odd: [&[u8]; 2] = [b"bad-\xff", b"bad-\xfe"];
    let shown = "bad-\u{fffd}";
    let collector = Collector::start(&[])?;
    let cgroups = Cgroups::new(Set::Every)?;
    for name in odd {
        cgroups.make(OsStr::from_bytes(name))?;
    }
    let target = format!("/api/v1.3/subcontainers{}", cgroups.name());
    let shown = format!("{}/{shown}", cgroups.name());
    wait::eventually(wait::seconds(5), || {
        let response = collector.get(&target)?;
        ensure!(response.status == 200, "{target} answered {}", response.status);
        let text = std::str::from_utf8(&response.body).context("the JSON is not UTF-8")?;
        let containers: Vec<Container> = serde_json::from_str(text).context("invalid JSON")?;
        let count = containers.iter().filter(|container| container.name == shown).count();
        ensure!(count == 2, "{count} of 2 containers are listed as {shown:?}");
        Ok(())
    })?;
    for name in odd {
        let target =
            format!("/api/v1.3/containers{}", bytes::url_encode(cgroups.at(OsStr::from_bytes(name)).raw_name()));
        let status = collector.get(&target)?.status;
        ensure!(status == 200 || status == 500, "{target} answered {status}");
    }
    for name in odd {
        cgroups.at(OsStr::from_bytes(name)).remove()?;
    }
    wait::eventually(wait::seconds(5), || {
        let events = collector.events(&cgroups.name(), &["deletion_events"])?;
        let deletions = events.iter().filter(|event| event.container_name == shown).count();
        ensure!(deletions == 2, "{deletions} of 2 deletions are reported");
        Ok(())
    })
}

/// The kernel takes no newline in a cgroup's name; where it does, it is a name like any other.
fn newline() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    for mount in &Layout::detect()?.mounts {
        let dir = mount.dir(format!("{}/new\nline", cgroups.name()).as_ref());
        match std::fs::create_dir(&dir) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                let collector = Collector::start(&[])?;
                let name = format!("{}/new\nline", cgroups.name());
                wait::eventually(wait::seconds(5), || {
                    let listed = collector.names_below(&cgroups.name())?;
                    ensure!(listed.contains(&name), "not listed: {listed:?}");
                    Ok(())
                })?;
            }
        }
    }
    Ok(())
}
