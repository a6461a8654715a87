//! Network counters: of containers with a namespace of their own, and of the host for the root.

use std::fs;

use crate::support::api::Interface;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::compare::fresh;
use crate::support::harness::Case;
use crate::support::network::{PACKET, RECEIVER, SENDER, UNREAD};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("network::of_an_own_namespace", of_an_own_namespace).on_every_unified_kernel(),
    Case::new("network::of_the_host", of_the_host),
    Case::new("network::absent_in_the_hosts_namespace", absent_in_the_hosts_namespace),
    Case::new("network::no_dead_namespace_is_kept", no_dead_namespace_is_kept),
    Case::new("network::last_counters", last_counters).on_every_unified_kernel(),
    Case::new("network::sockets_of_an_own_namespace", sockets_of_an_own_namespace).on_every_unified_kernel(),
];

const FLAGS: [&str; 1] = ["--housekeeping_interval=100ms"];

/// Interfaces of `/proc/<pid>/net/dev` as the API has them.
pub(crate) fn devices(pid: u32) -> Result<Vec<Interface>> {
    let text = bytes::read(format!("/proc/{pid}/net/dev"))?;
    let mut interfaces = Vec::new();
    for line in text.lines().skip(2) {
        let (name, numbers) = line.trim().split_once(':').context("a name")?;
        if ["lo", "veth", "docker", "nerdctl"].iter().any(|ignored| name.starts_with(ignored)) {
            continue;
        }
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        ensure!(numbers.len() >= 16, "a row of /proc/{pid}/net/dev: {line}");
        interfaces.push(Interface {
            name: name.to_owned(),
            rx_bytes: numbers[0],
            rx_packets: numbers[1],
            tx_bytes: numbers[8],
            tx_packets: numbers[9],
        });
    }
    Ok(interfaces)
}

/// Each interface must lie between two readings.
pub(crate) fn check(said: &[Interface], before: &[Interface], after: &[Interface]) -> Result<()> {
    let names = |list: &[Interface]| list.iter().map(|interface| interface.name.clone()).collect::<Vec<_>>();
    ensure!(names(said) == names(before), "interfaces {:?}, the kernel has {:?}", names(said), names(before));
    for ((said, before), after) in said.iter().zip(before).zip(after) {
        let numbers = |of: &Interface| [of.rx_bytes, of.rx_packets, of.tx_bytes, of.tx_packets];
        let between = numbers(said).into_iter().zip(numbers(before)).zip(numbers(after));
        let fits = between.into_iter().all(|((said, before), after)| (before..=after).contains(&said));
        ensure!(fits, "{said:?} is not between {before:?} and {after:?}");
    }
    Ok(())
}

fn of_an_own_namespace() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("networked")?;
    let worker = Plan::new(Work::Network(10), &cgroup).start_ready()?;
    let before = devices(worker.pid())?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    let after = devices(worker.pid())?;
    let network = stats.network.context("no network although the process has a namespace of its own")?;
    check(&network.interfaces, &before, &after)?;
    ensure!(network.first.name == before[0].name, "the flattened interface is {:?}", network.first);
    let by_name = |name: &str| network.interfaces.iter().find(|interface| interface.name == name);
    let (sender, receiver) = (by_name(SENDER).context("no sender")?, by_name(RECEIVER).context("no receiver")?);
    ensure!(sender.tx_bytes >= 10 * PACKET && receiver.rx_packets >= 10, "10 packets were sent: {network:?}");
    worker.end()
}

fn of_the_host() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let before = devices(1)?;
    let (container, stats) = fresh(&collector, "/")?;
    let after = devices(1)?;
    let network = stats.network.context("the root has no network")?;
    check(&network.interfaces, &before, &after)?;
    let expected = !before.is_empty();
    ensure!(container.spec.has_network == expected, "has_network is {}, not {expected}", container.spec.has_network);
    Ok(())
}

fn absent_in_the_hosts_namespace() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("plain")?;
    let worker = Plan::new(Work::Hold(1), &cgroup).start_ready()?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    ensure!(stats.network.is_none(), "it shares the host's namespace but has {:?}", stats.network);
    worker.end()
}

/// A kept descriptor of `/proc/<pid>/net/*` would keep the namespace and its devices alive.
fn no_dead_namespace_is_kept() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("networked")?;
    let worker = Plan::new(Work::Network(1), &cgroup).start_ready()?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    ensure!(stats.network.is_some(), "no network");
    let dead = format!("/{}/net/", worker.pid());
    worker.end()?;
    // The cgroup stays.
    wait::eventually(wait::seconds(3), || {
        let open = fs::read_dir(format!("/proc/{}/fd", collector.pid()))?;
        let open = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let kept: Vec<_> = open.filter(|path| path.to_string_lossy().contains(&dead)).collect();
        ensure!(kept.is_empty(), "still open: {kept:?}");
        Ok(())
    })?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    ensure!(stats.network.is_none(), "the namespace is gone, its numbers are not: {:?}", stats.network);
    Ok(())
}

/// The last sample, taken when nobody lives in the namespace any more, has its counters.
fn last_counters() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("networked")?;
    let worker = Plan::new(Work::Network(10), &cgroup).start_ready()?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    ensure!(stats.network.is_some(), "no network");
    worker.end()?;
    wait::pause_of_a_runtime();
    cgroup.remove()?;
    wait::eventually(wait::seconds(3), || {
        let events = collector.events(&cgroup.name(), &["deletion_events"])?;
        let deletion = events.first().and_then(|event| event.event_data.deletion.as_ref()).context("no deletion")?;
        let stats = deletion.final_stats.as_ref().context("no last sample")?;
        let network = stats.network.as_ref().context("the last sample has no network")?;
        let sender = network.interfaces.iter().find(|interface| interface.name == SENDER).context("no sender")?;
        ensure!(sender.tx_bytes >= 10 * PACKET, "10 packets were sent: {network:?}");
        Ok(())
    })
}

/// TCP and UDP sockets are counted where their kinds are on, and only there.
fn sockets_of_an_own_namespace() -> Result<()> {
    let collector =
        Collector::start(&["--housekeeping_interval=100ms", "--enable_metrics=cpu,network,tcp,udp,advtcp"])?;
    let without = Collector::start(&FLAGS)?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("sockets")?;
    let worker = Plan::new(Work::Sockets, &cgroup).start_ready()?;
    let has_v6 = fs::exists(format!("/proc/{}/net/tcp6", worker.pid()))?;
    let ask = |collector: &Collector| -> Result<serde_json::Value> {
        let name = cgroup.name();
        let found: serde_json::Value =
            collector.json(&format!("/api/v1.3/containers{name}"), Some(r#"{"num_stats":1}"#))?;
        let network = found["stats"][0]["network"].clone();
        ensure!(network.is_object(), "no network: {found}");
        Ok(network)
    };
    wait::eventually(wait::seconds(5), || {
        let network = ask(&collector)?;
        let listeners = if has_v6 { [("tcp", 1), ("tcp6", 1)] } else { [("tcp", 2), ("tcp6", 0)] };
        for (block, count) in listeners {
            ensure!(network[block]["Listen"] == count, "{block}: {}", network[block]);
        }
        let expected = [
            ("tcp", "Established", 2),
            ("tcp", "TimeWait", 1),
            ("tcp", "CloseWait", 0),
            ("udp", "Listen", 2),
            ("udp", "TxQueued", 0),
            ("udp6", "Listen", 0),
            ("tcp_advanced", "MaxConn", -1),
            ("tcp_advanced", "ActiveOpens", 2),
            ("tcp_advanced", "PassiveOpens", 2),
            ("tcp_advanced", "CurrEstab", 2),
        ];
        for (block, key, value) in expected {
            ensure!(network[block][key] == value, "{block} {key} is {}, not {value}", network[block][key]);
        }
        let of_udp = |key: &str| network["udp"][key].as_u64().unwrap_or_default();
        let (queued, dropped) = (of_udp("RxQueued"), of_udp("Dropped"));
        ensure!(queued > 1000 && dropped > 0 && dropped < UNREAD, "{queued} bytes wait, {dropped} were dropped");
        Ok(())
    })?;
    // Whether it has a network at all may be known a moment later than what goes through it.
    wait::eventually(wait::seconds(5), || {
        let v2: serde_json::Value = collector.json(&format!("/api/v2.1/stats{}?count=1", cgroup.name()), None)?;
        let v2 = &v2[cgroup.name()]["stats"][0]["network"];
        ensure!(v2["tcp"]["Established"] == 2 && v2["udp"]["Listen"] == 2, "v2.1 says {v2}");
        Ok(())
    })?;
    let off = wait::eventually(wait::seconds(5), || ask(&without))?;
    for block in ["tcp", "tcp6", "udp", "udp6", "tcp_advanced"] {
        let zeros = off[block].as_object().is_some_and(|block| block.values().all(|value| *value == 0));
        ensure!(zeros, "{block} is off, and {}", off[block]);
    }
    worker.end()
}
