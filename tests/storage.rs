//! What containers' files take: written to by real containers, on real file systems.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use crate::support::cgroups::Layout;
use crate::support::collector::Collector;
use crate::support::containerd::Containerd;
use crate::support::cri::{Pod, PodNetwork};
use crate::support::docker::Docker;
use crate::support::engine::{Container, ContainerEngine};
use crate::support::harness::Case;
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("storage::docker", docker),
    Case::new("storage::docker_without_a_socket", docker_without_a_socket),
    Case::new("storage::docker_vfs", || on("vfs", None, Found::Walk)),
    Case::new("storage::docker_on_ext4", || on("overlay2", Some("ext4"), Found::Walk)),
    Case::new("storage::docker_on_xfs", || on("overlay2", Some("xfs"), Found::Walk)),
    Case::new("storage::docker_on_btrfs", || on("btrfs", Some("btrfs"), Found::Accounting)),
    Case::new("storage::containerd", containerd),
    Case::new("storage::cri_pod", cri_pod),
    Case::new("storage::one_percent", one_percent),
    Case::new("storage::switched_off", switched_off),
];

/// What a container writes when it may go.
const WRITTEN: u64 = 24 * bytes::MIB;
/// How far its layer may grow beyond that: directories, and what the file system notes about the data.
const SLACK: u64 = bytes::MIB;
/// Inodes that it makes beside that of `/go`: the data, a directory with files, the sign that it is done.
const INODES: u64 = 1 + 1 + 40 + 1;
/// What it writes to its log.
const LOGGED: u64 = 300_000;

/// What a container does that waits for its turn, writes, and stays.
fn writer(log: Log) -> String {
    let say = match log {
        // Without the end of the line a runtime would wait for more.
        Log::Kept => format!("$B head -c {LOGGED} /dev/zero | $B tr '\\0' x; echo;"),
        Log::Nowhere => String::new(),
    };
    format!(
        "B=/bin/busybox; until [ -e /go ]; do $B sleep 0.1; done; \
         $B dd if=/dev/zero of=/data bs=1M count={} 2>/dev/null; $B mkdir /many; \
         i=0; while [ $i -lt 40 ]; do : >/many/$i; i=$((i+1)); done; \
         {say} $B sync; : >/done; exec $B sleep 600",
        WRITTEN / bytes::MIB
    )
}

/// Where a container's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    /// Into a file of the runtime's.
    Kept,
    /// To nobody: whoever wrote would wait for ever.
    Nowhere,
}

/// How the size is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Walk,
    Accounting,
    Runtime,
}

impl Found {
    const fn label(self) -> &'static str {
        match self {
            Self::Walk => "walk",
            Self::Accounting => "accounting",
            Self::Runtime => "runtime",
        }
    }
}

/// When the directories that a container's `/proc` and the like are mounted on are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MountPoints {
    /// In a layer of their own, below the writable one.
    Before,
    /// In the writable layer, while the container starts: it may have been looked at before.
    AtStart,
}

impl MountPoints {
    const fn count_at_most(self) -> u64 {
        match self {
            Self::Before => 0,
            Self::AtStart => 20,
        }
    }
}

fn collector(flags: &[&str]) -> Result<Collector> {
    let all = ["--housekeeping_interval=500ms", "--disk_usage_interval=1s", "--docker=", "--podman=", "--crio="];
    let none = ["--containerd="];
    // The last of several is taken by none of them: what is asked for replaces what is off.
    let off = all.iter().chain(&none).filter(|flag| {
        let name = flag.split_once('=').map_or(**flag, |(name, _)| name);
        !flags.iter().any(|other| other.starts_with(&format!("{name}=")))
    });
    Collector::start(&off.copied().chain(flags.iter().copied()).collect::<Vec<_>>())
}

/// A container's entry of file systems, as API v1 has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Usage {
    device: String,
    capacity: u64,
    layer: u64,
    total: u64,
    inodes: u64,
}

fn usage(collector: &Collector, name: &str) -> Result<Usage> {
    let container: Value = collector.json(&format!("/api/v1.3/containers{name}"), Some("{\"num_stats\":1}"))?;
    ensure!(container["spec"]["has_filesystem"] == true, "has_filesystem: {}", container["spec"]);
    let list = container.pointer("/stats/0/filesystem").and_then(Value::as_array).context("no filesystem")?;
    ensure!(list.len() == 1, "{} entries: {list:?}", list.len());
    let entry = &list[0];
    let number = |key: &str| entry[key].as_u64().with_context(|| format!("no {key}: {entry}"));
    Ok(Usage {
        device: entry["device"].as_str().unwrap_or_default().to_owned(),
        capacity: number("capacity")?,
        layer: number("base_usage")?,
        total: number("usage")?,
        inodes: number("inodes")?,
    })
}

/// A process of a container.
fn process(container: &Container) -> Result<u32> {
    let layout = Layout::detect()?;
    let mount = layout.v1("memory").or_else(|| layout.v2()).context("no hierarchy")?;
    wait::eventually(wait::seconds(10), || {
        let text = bytes::read(mount.dir(container.cgroup.as_ref()).join("cgroup.procs"))?;
        text.lines().next().and_then(|line| line.parse().ok()).context("no process")
    })
}

/// Its root directory, as it sees it.
fn root(container: &Container) -> Result<PathBuf> {
    Ok(Path::new("/proc").join(process(container)?.to_string()).join("root"))
}

/// Has a container write, and waits for its numbers to say so; from what to what they went.
fn written(
    collector: &Collector,
    container: &Container,
    found: Found,
    mount_points: MountPoints,
) -> Result<(Usage, Usage)> {
    let before = wait::eventually(wait::seconds(40), || usage(collector, &container.cgroup))?;
    let root = root(container)?;
    bytes::write(root.join("go"), "")?;
    wait::eventually(wait::seconds(30), || {
        ensure!(root.join("done").exists(), "the container has not written everything");
        Ok(())
    })?;
    let after = wait::eventually(wait::seconds(60), || {
        let after = usage(collector, &container.cgroup)?;
        let grown = after.layer.saturating_sub(before.layer);
        ensure!((WRITTEN..=WRITTEN + SLACK).contains(&grown), "{WRITTEN} bytes were written: {before:?}, {after:?}");
        let made = after.inodes.saturating_sub(before.inodes);
        let expected = INODES + 1..=INODES + 1 + mount_points.count_at_most();
        ensure!(found == Found::Accounting || expected.contains(&made), "{expected:?} inodes: {before:?}, {after:?}");
        let by = collector.metrics()?.value("collector_disk_usage_total", &[("method", found.label())]).unwrap_or(0.0);
        ensure!(by > 0.0, "nothing was found by {found:?}");
        Ok(after)
    })?;
    in_v2(collector, &container.cgroup, &after)?;
    Ok((before, after))
}

/// API v2 says the same.
fn in_v2(collector: &Collector, name: &str, expected: &Usage) -> Result<()> {
    wait::eventually(wait::seconds(20), || {
        let v21: Value = collector.json(&format!("/api/v2.1/stats{name}?count=1"), None)?;
        let stats = &v21[name]["stats"][0]["filesystem"];
        ensure!(stats["baseUsageBytes"] == expected.layer && stats["totalUsageBytes"] == expected.total, "{stats}");
        let v20: Value = collector.json(&format!("/api/v2.0/stats{name}?count=1"), None)?;
        let stats = &v20[name][0];
        ensure!(stats["has_filesystem"] == true, "{stats}");
        ensure!(stats["filesystem"][0]["base_usage"] == expected.layer, "{}", stats["filesystem"]);
        Ok(())
    })
}

/// The file systems with a label.
fn labelled(collector: &Collector, label: &str) -> Result<Vec<Value>> {
    wait::eventually(wait::seconds(20), || collector.json(&format!("/api/v2.1/storage?label={label}"), None))
}

fn docker_container(docker: &Docker) -> Result<Container> {
    let id = docker.run(&writer(Log::Kept))?;
    Ok(Container { cgroup: format!("/docker/{id}"), id })
}

/// The files of a Docker container, its log among them, and of the machine.
fn docker() -> Result<()> {
    let docker = Docker::start()?;
    let collector = collector(&[&format!("--docker=unix://{}", docker.socket().display())])?;
    let container = docker_container(&docker)?;
    let (before, after) = written(&collector, &container, Found::Walk, MountPoints::Before)?;
    logged(&collector, &container, &before)?;
    let images = labelled(&collector, "docker-images")?;
    ensure!(images.len() == 1 && images[0]["device"] == after.device, "{after:?} is on {images:?}");
    let unlabelled = collector.get("/api/v2.1/storage?label=crio-images")?;
    ensure!(unlabelled.status == 500, "there is no CRI-O: {}", unlabelled.text());
    machine(&collector)
}

/// The root container has the machine's file systems, with what their devices have done.
fn machine(collector: &Collector) -> Result<()> {
    let root: Value = collector.json("/api/v1.3/containers/", Some("{\"num_stats\":1}"))?;
    let list = root.pointer("/stats/0/filesystem").and_then(Value::as_array).context("no filesystem")?;
    let storage: Vec<Value> = collector.json("/api/v2.1/storage", None)?;
    ensure!(list.len() == storage.len(), "{} entries, but {} in storage", list.len(), storage.len());
    let machine: Value = collector.json("/api/v2.1/machinestats?count=1", None)?;
    ensure!(machine[0]["filesystem"].as_array().is_some_and(|all| all.len() == list.len()), "{machine}");
    let diskstats = bytes::read("/proc/diskstats")?;
    for entry in list {
        ensure!(entry["has_inodes"] == true && entry["capacity"].is_u64(), "{entry}");
        let name = entry["device"].as_str().and_then(|device| device.strip_prefix("/dev/")).unwrap_or_default();
        let line = diskstats.lines().find(|line| line.split_whitespace().nth(2) == Some(name));
        let Some(line) = line else { continue };
        let now: Vec<u64> = line.split_whitespace().skip(3).filter_map(|field| field.parse().ok()).collect();
        // They were read before, and only grow.
        for (key, field) in [("reads_completed", 0), ("sectors_read", 2), ("writes_completed", 4), ("io_time", 9)] {
            let (said, now) = (entry[key].as_u64().context("no counter")?, now[field]);
            ensure!(said <= now, "{name}: {key} is {said}, and the kernel says {now}");
        }
        let written = entry["writes_completed"].as_u64().unwrap_or(0);
        ensure!(written > 0 || now[4] == 0, "{name} has been written to: {line}");
    }
    Ok(())
}

/// Without a runtime to ask, the process reports where its files are.
fn docker_without_a_socket() -> Result<()> {
    let docker = Docker::start()?;
    let collector = collector(&[])?;
    let container = docker_container(&docker)?;
    let (_, after) = written(&collector, &container, Found::Walk, MountPoints::Before)?;
    ensure!(after.total == after.layer, "nobody reported where its log is: {after:?}");
    Ok(())
}

/// Docker with a storage driver of its own, or on a file system of its own.
fn on(driver: &str, filesystem: Option<&str>, found: Found) -> Result<()> {
    let docker = Docker::start_on(driver, filesystem)?;
    let collector = collector(&[&format!("--docker=unix://{}", docker.socket().display())])?;
    let container = docker_container(&docker)?;
    let (_, after) = written(&collector, &container, found, MountPoints::Before)?;
    if filesystem.is_some() {
        let vfs = rustix::fs::statvfs(docker.data())?;
        let size = vfs.f_blocks * vfs.f_frsize;
        ensure!(after.capacity == size, "the file system has {size} bytes: {after:?}");
        ensure!(after.device.starts_with("/dev/loop"), "{after:?} is not on a file");
        let images = labelled(&collector, "docker-images")?;
        ensure!(images.len() == 1 && images[0]["device"] == after.device, "{after:?} is not on {images:?}");
    }
    Ok(())
}

/// containerd reports where a container's layer is.
fn containerd() -> Result<()> {
    let containerd = Containerd::start("burstable")?;
    let collector = collector(&[&format!("--containerd={}", containerd.socket().display())])?;
    let container = containerd.start(&writer(Log::Nowhere))?;
    let (_, after) = written(&collector, &container, Found::Walk, MountPoints::AtStart)?;
    let images = labelled(&collector, "containerd-images")?;
    ensure!(images.len() == 1 && images[0]["device"] == after.device, "{after:?} is on {images:?}");
    containerd.remove(&container)
}

/// The CRI plugin counts for itself; the log is where the kubelet has it.
fn cri_pod() -> Result<()> {
    let pod = Pod::start(PodNetwork::Host)?;
    let collector = collector(&[&format!("--containerd={}", pod.socket().display())])?;
    let container = pod.start(&writer(Log::Kept))?;
    let (before, _) = written(&collector, &container, Found::Runtime, MountPoints::AtStart)?;
    logged(&collector, &container, &before)
}

/// What a container has said is counted beside its layer: in pieces, each with a time.
fn logged(collector: &Collector, container: &Container, before: &Usage) -> Result<()> {
    wait::eventually(wait::seconds(20), || {
        let after = usage(collector, &container.cgroup)?;
        let logged = (after.total - after.layer).saturating_sub(before.total - before.layer);
        ensure!((LOGGED..LOGGED * 2).contains(&logged), "{LOGGED} bytes were logged: {before:?}, {after:?}");
        Ok(())
    })
}

/// The threads that look at files.
fn walkers(collector: &Collector) -> Result<Vec<PathBuf>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", collector.pid()))?.flatten().map(|task| task.path());
    let is_walker = |task: &PathBuf| {
        let name = bytes::read(task.join("comm")).unwrap_or_default();
        name.starts_with("disk-usage-") || name.starts_with("disk-small-")
    };
    Ok(tasks.filter(is_walker).collect())
}

/// CPU time of threads, in nanoseconds.
fn cpu_time(threads: &[PathBuf]) -> Result<u64> {
    let mut sum = 0;
    for thread in threads {
        let text = bytes::read(thread.join("schedstat"))?;
        sum += text.split(' ').next().context("no CPU time")?.parse::<u64>()?;
    }
    Ok(sum)
}

/// Whatever there is to look at, small trees and big ones take one percent of one CPU each at most.
fn one_percent() -> Result<()> {
    let docker = Docker::start()?;
    let big = docker_container(&docker)?;
    let tree = root(&big)?.join("tree");
    for directory in 0..300 {
        let directory = tree.join(directory.to_string());
        fs::create_dir_all(&directory)?;
        for file in 0..200 {
            bytes::write(directory.join(file.to_string()), "")?;
        }
    }
    // Only now: a look in the middle of this would be the last one for long.
    let collector = collector(&[&format!("--docker=unix://{}", docker.socket().display())])?;
    let threads = walkers(&collector)?;
    ensure!(!threads.is_empty(), "no thread looks at files");
    for thread in &threads {
        let stat = bytes::read(thread.join("stat"))?;
        let field = |number: usize| stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(number - 3));
        let (policy, nice) = (field(41).unwrap_or_default(), field(19).unwrap_or_default());
        // SCHED_IDLE, which without an I/O priority makes that idle too; those for small trees get their share.
        let is_small = bytes::read(thread.join("comm"))?.starts_with("disk-small-");
        let expected = if is_small { policy == "0" && nice == "10" } else { policy == "5" };
        ensure!(expected, "the scheduling policy of {} is {policy}, its nice value {nice}", thread.display());
    }
    let (began, before) = (Instant::now(), cpu_time(&threads)?);
    // One that is new is looked at soon, although another takes long.
    let small = docker_container(&docker)?;
    wait::eventually(wait::seconds(20), || usage(&collector, &small.cgroup))?;
    wait::pass(wait::seconds(20));
    let (used, elapsed) = (cpu_time(&threads)? - before, began.elapsed());
    // What was saved up before may be spent at once.
    let allowed = elapsed.as_nanos() as u64 / 50 + 160_000_000;
    ensure!(used <= allowed, "{used} ns of CPU time in {elapsed:?}");
    ensure!(used >= allowed / 20, "{used} ns of CPU time in {elapsed:?}: there was much to look at");
    wait::eventually(wait::seconds(60), || {
        let found = usage(&collector, &big.cgroup)?;
        ensure!(found.inodes > 60_000, "60,000 files: {found:?}");
        Ok(())
    })
}

/// Without the kind `disk` nothing looks at files, and nothing is reported.
fn switched_off() -> Result<()> {
    let collector = collector(&["--disable_metrics=disk"])?;
    ensure!(walkers(&collector)?.is_empty(), "a thread looks at files");
    let root: Value = wait::eventually(wait::seconds(20), || {
        let root: Value = collector.json("/api/v1.3/containers/", Some("{\"num_stats\":1}"))?;
        ensure!(root.pointer("/stats/0/cpu").is_some(), "no sample: {root}");
        Ok(root)
    })?;
    ensure!(root.pointer("/stats/0/filesystem").is_none(), "{root}");
    ensure!(root["spec"]["has_filesystem"] == true, "as in cAdvisor: {}", root["spec"]);
    let storage: Vec<Value> = collector.json("/api/v2.1/storage", None)?;
    ensure!(storage.iter().any(|one| one["labels"].is_array()), "storage is asked on request: {storage:?}");
    Ok(())
}
