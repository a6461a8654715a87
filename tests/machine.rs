//! What is said about the machine, against /proc and /sys.

use std::path::Path;

use crate::support::api::Machine;
use crate::support::cgroups::Layout;
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::time::Time;
use crate::support::{Context as _, Result, bytes, ensure};

pub(crate) const CASES: &[Case] = &[
    Case::new("machine::matches_the_kernel", matches_the_kernel),
    Case::new("machine::root_container", root_container),
    Case::new("machine::version", version),
];

/// Absent without a driver for changing clocks.
const HIGHEST_CLOCK: &str = "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq";

fn matches_the_kernel() -> Result<()> {
    let collector = Collector::start(&[])?;
    let machine: Machine = collector.json("/api/v1.3/machine", None)?;
    let online = bytes::read("/proc/cpuinfo")?.lines().filter(|line| line.starts_with("processor")).count() as u64;
    ensure!(machine.num_cores == online, "num_cores is {}, online are {online}", machine.num_cores);
    ensure!((1..=online).contains(&machine.num_physical_cores), "num_physical_cores is {}", machine.num_physical_cores);
    ensure!((1..=online).contains(&machine.num_sockets), "num_sockets is {}", machine.num_sockets);
    // On arm64 only a driver knows the clock; without one it is 0, as cAdvisor has it.
    let has_clock = bytes::read("/proc/cpuinfo")?.contains("MHz") || Path::new(HIGHEST_CLOCK).exists();
    let clock = machine.cpu_frequency_khz;
    ensure!(if has_clock { clock > 100_000 } else { clock == 0 }, "cpu_frequency_khz is {clock}");
    let memory = bytes::meminfo("MemTotal")?;
    ensure!(machine.memory_capacity == memory, "memory_capacity is {}, not {memory}", machine.memory_capacity);
    let swap = bytes::meminfo("SwapTotal")?;
    ensure!(machine.swap_capacity == swap, "swap_capacity is {}, not {swap}", machine.swap_capacity);
    let boot = bytes::read("/proc/sys/kernel/random/boot_id")?;
    ensure!(machine.boot_id == boot, "boot_id is {}, not {boot}", machine.boot_id);
    let age = Time::now_nanos() - machine.timestamp.nanos;
    ensure!((0..3_600_000_000_000).contains(&age), "its timestamp is {}", machine.timestamp);

    let topology = machine.topology.context("no topology")?;
    let threads: usize = topology
        .iter()
        .flat_map(|node| node.cores.iter().flatten())
        .map(|core| core.thread_ids.as_ref().map_or(0, Vec::len))
        .sum();
    ensure!(threads as u64 == online, "the topology has {threads} threads, online are {online}");
    let in_nodes: u64 = topology.iter().map(|node| node.memory).sum();
    ensure!(in_nodes > 0 && in_nodes <= memory * 11 / 10, "the nodes have {in_nodes} bytes of {memory}");

    let disks = machine.disk_map.context("no disk_map")?;
    for entry in std::fs::read_dir("/sys/block")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["loop", "ram", "sr"].iter().any(|ignored| name.starts_with(ignored)) {
            continue;
        }
        let numbers = bytes::read(entry.path().join("dev"))?;
        let disk = disks.get(&numbers).with_context(|| format!("disk_map lacks {name} ({numbers})"))?;
        let size = bytes::read_number(entry.path().join("size"))? * 512;
        ensure!(disk.name == name && disk.size == size, "{name} has {size} bytes, said is {disk:?}");
    }
    let mut expected: Vec<String> = std::fs::read_dir("/sys/class/net")?
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !["lo", "veth", "docker", "nerdctl"].iter().any(|ignored| name.starts_with(ignored)))
        .collect();
    let devices = machine.network_devices.context("no network_devices")?;
    let mut said: Vec<String> = devices.into_iter().map(|device| device.name).collect();
    expected.sort();
    said.sort();
    ensure!(said == expected, "network_devices are {said:?}, there are {expected:?}");
    let filesystems = machine.filesystems.context("no filesystems")?;
    ensure!(filesystems.iter().any(|one| one.capacity > 0 && !one.device.is_empty()), "filesystems: {filesystems:?}");
    Ok(())
}

fn root_container() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=200ms"])?;
    let (root, stats) = crate::support::compare::fresh(&collector, "/")?;
    ensure!(root.name == "/", "the root's name is {:?}", root.name);
    ensure!(root.spec.memory.limit == Some(bytes::meminfo("MemTotal")?), "the root's limit: {:?}", root.spec.memory);
    if Layout::detect()?.memory().is_some() {
        let memory = stats.memory.context("no memory")?;
        ensure!(memory.usage > 0 && memory.working_set > 0, "the root's memory: {memory:?}");
    } else {
        ensure!(stats.memory.is_none(), "no hierarchy accounts for memory, said is {:?}", stats.memory);
    }
    ensure!(stats.cpu.context("no cpu")?.usage.total > 0, "the root uses no CPU");
    Ok(())
}

fn version() -> Result<()> {
    let collector = Collector::start(&[])?;
    let response = collector.get("/api/v2.1/version")?;
    ensure!(response.status == 200, "answered {}", response.status);
    let version: String = serde_json::from_slice(&response.body).context("not a JSON string")?;
    ensure!(!version.is_empty(), "the version is empty");
    Ok(())
}
