//! What passes the sockets of each cgroup: the truth on staged cases, and what counting costs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;

use rustix::thread::CapabilitySet;
use serde_json::Value;

use crate::dimensions_privileges::nobody_with;

use crate::support::bpf_stats::Statistics;
use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Skip, figures};
use crate::support::metrics::{Line, Metrics};
use crate::support::network::{DATAGRAM, receive_at, send_datagrams};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Error, Result, bail, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    // Before 5.15 not where a hierarchy of v1 has sockets' cgroups (`net_cls`, `net_prio`).
    Case::new("network_cgroup::neighbours_on_the_host", neighbours_on_the_host).on_every_unified_kernel(),
    Case::new("network_cgroup::inside_of_a_container", inside_of_a_container),
    Case::new("network_cgroup::a_stream", a_stream),
    Case::new("network_cgroup::a_brief_life", a_brief_life),
    Case::new("network_cgroup::beside_others", beside_others),
    Case::new("network_cgroup::the_right_it_takes", the_right_it_takes),
    Case::new("network_cgroup::only_on_cgroup_v1", only_on_cgroup_v1).on_every_kernel(),
    Case::new("network_cgroup::cost_of_a_packet", cost_of_a_packet),
];

const FLAGS: &[&str] = &["--enable_metrics=network_cgroup"];
const FAMILIES: [&str; 4] = [
    "container_network_cgroup_receive_bytes_total",
    "container_network_cgroup_receive_packets_total",
    "container_network_cgroup_transmit_bytes_total",
    "container_network_cgroup_transmit_packets_total",
];

/// The collector reads its programs every two seconds.
const READ: u64 = 6;

fn start() -> Result<Collector> {
    let collector = Collector::start(FLAGS)?;
    match reason(&collector)? {
        Some(line) => Err(Skip::because(line)),
        None => Ok(collector),
    }
}

fn reason(collector: &Collector) -> Result<Option<String>> {
    Ok(collector.health()?.lines().find(|line| line.contains("kind network_cgroup")).map(str::to_owned))
}

/// An address on the loopback interface that nobody has.
fn free_address() -> Result<SocketAddr> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?)
}

/// Bytes and packets received, and sent; each family has one series.
fn numbers(metrics: &Metrics, id: &str) -> Result<[u64; 4]> {
    let mut found = [0; 4];
    for (number, family) in found.iter_mut().zip(FAMILIES) {
        let series: Vec<_> = metrics.series(family, &[("id", id)]).map(Line::value).collect();
        let [value] = series.as_slice() else { bail!("{family} of {id} has the series {series:?}") };
        *number = *value as u64;
    }
    Ok(found)
}

/// Waits until these are the numbers; what was there last is the error.
fn expect(collector: &Collector, id: &str, expected: [u64; 4]) -> Result<Metrics> {
    wait::eventually(wait::seconds(READ), || {
        let metrics = collector.metrics()?;
        let found = numbers(&metrics, id)?;
        ensure!(found == expected, "{id} has {found:?}, not {expected:?}");
        Ok(metrics)
    })
}

fn namespace(metrics: &Metrics, id: &str) -> Result<String> {
    let labels = [("id", id)];
    let mut series = FAMILIES.iter().flat_map(|family| metrics.series(family, &labels));
    Ok(series.next().context("no series")?.label("network_namespace").to_owned())
}

/// Two cgroups send to a third, all in the host's network: each has its own numbers, to the packet.
fn neighbours_on_the_host() -> Result<()> {
    let collector = start()?;
    let cgroups = Cgroups::new(Set::V2)?;
    let (one, other, third) = (cgroups.make("one")?, cgroups.make("other")?, cgroups.make("third")?);
    let address = free_address()?;
    let receiver = Plan::new(Work::Receive(address), &third).start_ready()?;
    let senders = [(&one, 1_000), (&other, 3_000)];
    let mut working = Vec::new();
    for (cgroup, count) in senders {
        working.push(Plan::new(Work::Datagrams(address, count), cgroup).start_ready()?);
    }
    for (cgroup, count) in senders {
        expect(&collector, &cgroup.name(), [0, 0, count * DATAGRAM, count])?;
    }
    let metrics = expect(&collector, &third.name(), [4_000 * DATAGRAM, 4_000, 0, 0])?;
    let [one_sent, other_sent] = senders.map(|(_, count)| count * DATAGRAM);
    figures("network_cgroup", &format!("1,000 and 3,000 datagrams are {one_sent} and {other_sent} bytes"));
    for cgroup in [&one, &other, &third] {
        let namespace = namespace(&metrics, &cgroup.name())?;
        ensure!(namespace == "host", "{} is in the network of {namespace:?}", cgroup.name());
    }
    // Nothing of it is counted for the cgroup above, so that a sum over all has each packet once.
    let top = cgroups.name();
    for (family, expected) in FAMILIES.into_iter().zip([4_000 * DATAGRAM, 4_000, 4_000 * DATAGRAM, 4_000]) {
        let below = metrics.lines().iter().filter(|line| line.name() == family && line.label("id").starts_with(&top));
        let sum: f64 = below.map(Line::value).sum();
        ensure!(sum as u64 == expected, "{family} is {sum} in all, not {expected}");
    }
    let stats: Value = collector.json(&format!("/api/v2.1/stats{}?count=1", one.name()), None)?;
    let expected = serde_json::json!({
        "receive_bytes": 0, "receive_packets": 0,
        "transmit_bytes": 1_000 * DATAGRAM, "transmit_packets": 1_000,
        "network_namespace": "host",
    });
    ensure!(stats[one.name()]["network_cgroup"] == expected, "{stats}");
    drop((receiver, working));
    Ok(())
}

/// A cgroup that is called like a container below this one.
fn container<'a>(cgroups: &'a Cgroups, below: &str, digit: char) -> Result<Cgroup<'a>> {
    cgroups.make(format!("{below}{}", digit.to_string().repeat(64)))
}

/// What is inside of a container is the container's, and marked by its own network.
fn inside_of_a_container() -> Result<()> {
    let collector = start()?;
    let cgroups = Cgroups::new(Set::V2)?;
    cgroups.make("docker")?;
    let outer = container(&cgroups, "docker/", 'a')?;
    let inner = cgroups.make(format!("docker/{}/inner", "a".repeat(64)))?;
    let direct = Plan::new(Work::DatagramsInside(20), &outer).start_ready()?;
    let nested = Plan::new(Work::DatagramsInside(300), &inner).start_ready()?;
    let all = [320 * DATAGRAM, 320, 320 * DATAGRAM, 320];
    let metrics = expect(&collector, &outer.name(), all)?;
    let has_own = FAMILIES.iter().any(|family| metrics.series(family, &[("id", &inner.name())]).next().is_some());
    ensure!(!has_own, "the packets of {} are counted twice", inner.name());
    let namespace = namespace(&metrics, &outer.name())?;
    ensure!(namespace == "own", "it is in the network of {namespace:?}");
    drop((direct, nested));
    Ok(())
}

/// Of a stream the segments that are put together have their headers once: little beside what was written.
fn a_stream() -> Result<()> {
    const MEBIBYTES: u64 = 16;
    let collector = start()?;
    let cgroups = Cgroups::new(Set::V2)?;
    let cgroup = cgroups.make("streaming")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let reading = std::thread::spawn(move || -> std::io::Result<u64> {
        let (mut stream, _) = listener.accept()?;
        let mut piece = vec![0; 1 << 20];
        let mut all = 0;
        while all < MEBIBYTES << 20 {
            all += stream.read(&mut piece)? as u64;
        }
        Ok(all)
    });
    let sender = Plan::new(Work::Stream(address, MEBIBYTES), &cgroup).start_ready()?;
    let all = reading.join().map_err(|_| Error::msg("the reader panicked"))??;
    wait::eventually(wait::seconds(READ), || {
        let [_, acknowledged, sent, packets] = numbers(&collector.metrics()?, &cgroup.name())?;
        ensure!(sent >= all && sent < all + all / 50, "{sent} bytes of {all}");
        ensure!(packets >= all / 65_536 && acknowledged > 0, "{packets} packets, {acknowledged} acknowledgements");
        Ok(())
    })?;
    drop(sender);
    Ok(())
}

/// A cgroup that is gone before anybody looks still has its packets.
fn a_brief_life() -> Result<()> {
    let collector = start()?;
    let cgroups = Cgroups::new(Set::V2)?;
    let address = receive_at("127.0.0.1:0".parse()?)?;
    let mut lives = BTreeMap::new();
    for (number, count) in [(0, 7), (1, 70), (2, 700)] {
        let cgroup = cgroups.make(format!("brief-{number}"))?;
        let sender = Plan::new(Work::Datagrams(address, count), &cgroup).start_ready()?;
        sender.end()?;
        cgroup.remove()?;
        lives.insert(cgroup.name(), count);
    }
    for (id, count) in lives {
        expect(&collector, &id, [0, 0, count * DATAGRAM, count])?;
    }
    Ok(())
}

/// Programs attached to the root, as bpftool lists them; `None` without it.
fn attached() -> Result<Option<usize>> {
    let layout = Layout::detect()?;
    let root = layout.v2().context("cgroup2 is mounted")?;
    let Ok(output) = Command::new("bpftool").args(["cgroup", "show"]).arg(&root.path).output() else { return Ok(None) };
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Some(text.lines().filter(|line| line.contains("network_")).count()))
}

/// Two collectors count beside each other, and one goes on where the other ends; nothing stays behind.
fn beside_others() -> Result<()> {
    let collector = start()?;
    let other = start()?;
    let before = attached()?;
    ensure!(before.is_none_or(|count| count == 4), "{before:?} programs of two collectors");
    let cgroups = Cgroups::new(Set::V2)?;
    let cgroup = cgroups.make("seen-twice")?;
    let address = receive_at("127.0.0.1:0".parse()?)?;
    let first = Plan::new(Work::Datagrams(address, 50), &cgroup).start_ready()?;
    for collector in [&collector, &other] {
        expect(collector, &cgroup.name(), [0, 0, 50 * DATAGRAM, 50])?;
    }
    drop(other);
    let second = Plan::new(Work::Datagrams(address, 5), &cgroup).start_ready()?;
    expect(&collector, &cgroup.name(), [0, 0, 55 * DATAGRAM, 55])?;
    drop(collector);
    // The kernel frees a link in its own time.
    wait::eventually(wait::seconds(2), || {
        let after = attached()?;
        ensure!(after.is_none_or(|count| count == 0), "{after:?} programs are left");
        Ok(())
    })?;
    drop((first, second));
    Ok(())
}

/// It takes `CAP_NET_ADMIN`, and with that anybody's numbers are there.
fn the_right_it_takes() -> Result<()> {
    drop(start()?);
    let without = Collector::start_as(nobody_with(CapabilitySet::empty()), FLAGS)?;
    let line = reason(&without)?.context("nothing is said of the kind")?;
    ensure!(line.contains("lacks CAP_NET_ADMIN") && line.contains("to fix: run as root, or grant"), "{line}");
    ensure!(!FAMILIES.iter().any(|family| without.metrics().is_ok_and(|metrics| metrics.has(family))), "{line}");
    let collector = Collector::start_as(nobody_with(CapabilitySet::NET_ADMIN), FLAGS)?;
    let line = reason(&collector)?;
    ensure!(line.is_none(), "{line:?}");
    let cgroups = Cgroups::new(Set::V2)?;
    let cgroup = cgroups.make("seen")?;
    let address = receive_at("127.0.0.1:0".parse()?)?;
    let sender = Plan::new(Work::Datagrams(address, 30), &cgroup).start_ready()?;
    let metrics = expect(&collector, &cgroup.name(), [0, 0, 30 * DATAGRAM, 30])?;
    // Whose network it is shows only to who may look at the process.
    let namespace = namespace(&metrics, &cgroup.name())?;
    ensure!(namespace.is_empty(), "it is in the network of {namespace:?}");
    drop(sender);
    Ok(())
}

/// Without cgroup2 it is reported why there are no numbers.
fn only_on_cgroup_v1() -> Result<()> {
    if Layout::detect()?.v2().is_some() {
        return Err(Skip::because("cgroup2 is mounted"));
    }
    let collector = Collector::start(FLAGS)?;
    let line = reason(&collector)?.context("nothing is said of the kind")?;
    ensure!(line.contains("cgroup2 is not mounted") && line.contains("to fix: mount cgroup2"), "{line}");
    let metrics = collector.metrics()?;
    ensure!(!FAMILIES.iter().any(|family| metrics.has(family)), "there are numbers without the programs");
    Ok(())
}

/// Time and number of runs of the collector's programs about packets.
fn runs(collector: &Collector) -> Result<[f64; 2]> {
    let mut programs = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", collector.pid()))? {
        // One may be closed meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let value = |key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()));
        // BPF_PROG_TYPE_CGROUP_SKB
        if value("prog_type") == Some("8")
            && let (Some(id), Some(time), Some(count)) = (value("prog_id"), value("run_time_ns"), value("run_cnt"))
        {
            programs.insert(id.to_owned(), [time.parse::<f64>()?, count.parse::<f64>()?]);
        }
    }
    ensure!(programs.len() == 2, "{} programs about packets", programs.len());
    Ok([0, 1].map(|at| programs.values().map(|program| program[at]).sum()))
}

fn cost_of_a_packet() -> Result<()> {
    let collector = start()?;
    let _statistics = Statistics::on()?;
    let before = runs(&collector).map_err(|error| Skip::because(format!("{error:#}")))?;
    let address = receive_at("127.0.0.1:0".parse()?)?;
    send_datagrams(address, 300_000)?;
    let after = runs(&collector)?;
    let [nanoseconds, count] = [0, 1].map(|at| after[at] - before[at]);
    ensure!(count >= 600_000.0, "{count} packets only");
    let each = nanoseconds / count;
    figures("network_cgroup", &format!("{each:.0} ns a packet, of {count:.0}"));
    // What is a machine's own noise does not matter here; a program that does ten times as much does.
    ensure!(each < 1_000.0, "{each} ns a packet");
    Ok(())
}
