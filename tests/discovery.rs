//! Which cgroups become containers.

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::{Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("discovery::docker_only", docker_only),
    Case::new("discovery::prefix_whitelist", prefix_whitelist),
    Case::new("discovery::mounts_are_no_containers", mounts_are_no_containers),
    Case::new("discovery::all_are_listed_once", all_are_listed_once).on_every_kernel(),
];

/// A name as runtimes give to their containers' cgroups.
const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn expect(collector: &Collector, cgroups: &Cgroups, below: &[&str]) -> Result<()> {
    let mut expected: Vec<String> = below.iter().map(|name| cgroups.at(name).name()).collect();
    expected.sort();
    wait::eventually(wait::seconds(3), || {
        let listed = collector.names_below(&cgroups.name())?;
        ensure!(listed == expected, "listed are {listed:?}, expected {expected:?}");
        Ok(())
    })
}

fn docker_only() -> Result<()> {
    let collector = Collector::start(&["--docker_only=true"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    cgroups.make("plain")?;
    // What comes last proves that what came before was judged.
    cgroups.make("marker")?;
    wait::pass(wait::millis(300));
    let listed = collector.names_below(&cgroups.name())?;
    ensure!(listed.is_empty(), "plain cgroups are listed: {listed:?}");
    ensure!(collector.container("/").is_ok(), "the root is always there");
    Ok(())
}

fn prefix_whitelist() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let top = cgroups.name();
    for only_docker in ["false", "true"] {
        let collector = Collector::start(&[
            &format!("--docker_only={only_docker}"),
            &format!("--raw_cgroup_prefix_whitelist={top}/yes,/no-such"),
        ])?;
        let before = cgroups.make("yes-before")?;
        cgroups.make("no")?;
        let last = cgroups.make("yes-last")?;
        cgroups.make("yes-last/child")?;
        expect(&collector, &cgroups, &["yes-before", "yes-last", "yes-last/child"])?;
        cgroups.at("yes-last/child").remove()?;
        last.remove()?;
        cgroups.at("no").remove()?;
        before.remove()?;
    }
    Ok(())
}

fn mounts_are_no_containers() -> Result<()> {
    let collector = Collector::start(&[])?;
    let cgroups = Cgroups::new(Set::Every)?;
    cgroups.make("home.mount")?;
    cgroups.make("home.service")?;
    expect(&collector, &cgroups, &["", "home.service"])?;
    // They are still children of their parent.
    let children = collector.container(&cgroups.name())?.subcontainers;
    let names: Vec<_> = children.iter().map(|child| child.name.clone()).collect();
    let expected = ["home.mount", "home.service"].map(|name| cgroups.at(name).name());
    ensure!(names == expected, "subcontainers are {names:?}");
    Ok(())
}

/// A mixed tree, partly there at the start.
fn all_are_listed_once() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let early = ["pod", "pod/one", CONTAINER];
    let late = ["pod/two", "pod/two/init", "other"];
    for name in early {
        cgroups.make(name)?;
    }
    let collector = Collector::start(&[])?;
    for name in late {
        cgroups.make(name)?;
    }
    let all: Vec<&str> = [""].into_iter().chain(early).chain(late).collect();
    expect(&collector, &cgroups, &all)?;
    let counted = collector.metrics()?.sum("collector_containers");
    let listed = collector.names_below("")?.len() as f64;
    ensure!((counted - listed).abs() < 0.5, "collector_containers is {counted}, listed are {listed}");
    Ok(())
}
