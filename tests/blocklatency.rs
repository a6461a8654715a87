//! How long requests to block devices wait and take: the truth on staged cases, and what counting costs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::bpf_stats::{Statistics, runs};
use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::disk::Disk;
use crate::support::engine::{Home, program};
use crate::support::harness::{Case, Needs, Skip, figures};
use crate::support::metrics::{Line, Metrics};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, settings, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("blocklatency::agrees_with_the_kernel", agrees_with_the_kernel).on_every_kernel(),
    Case::new("blocklatency::the_task_says_whose_it_is", the_task_says_whose_it_is)
        .needs(Needs::PureV2)
        .on_every_unified_kernel(),
    // Seven seconds.
    Case::new("blocklatency::merged_requests", merged_requests),
    Case::new("blocklatency::a_slow_device_is_slow", a_slow_device_is_slow),
    Case::new("blocklatency::cost_of_a_request", cost_of_a_request),
];

const FLAGS: &[&str] = &["--enable_metrics=blocklatency"];
const QUEUE: &str = "container_blkio_queue_seconds";
const DEVICE: &str = "container_blkio_device_seconds";

/// The collector reads its programs every two seconds.
const READ: Duration = Duration::from_secs(5);

fn start() -> Result<Collector> {
    let collector = Collector::start(FLAGS)?;
    let health = collector.health()?;
    match health.lines().find(|line| line.contains("kind blocklatency")) {
        Some(line) => Err(Skip::because(line.to_owned())),
        None => Ok(collector),
    }
}

fn cgroups() -> Result<Cgroups> {
    Cgroups::new(if Layout::detect()?.v1("blkio").is_some() { Set::V1(&["blkio"]) } else { Set::V2 })
}

/// Whether a loop device looks for its file's blocks in the page cache.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backing {
    Cached,
    Direct,
}

/// A block device that nobody else uses.
struct Device {
    path: PathBuf,
    numbers: (u64, u64),
    // What it is a loop device over.
    home: Option<Home>,
}

impl Device {
    /// In a virtual machine its disk, elsewhere a loop device.
    fn find() -> Result<Self> {
        if settings::in_vm() {
            let disk = Disk::find()?;
            return Ok(Self { path: disk.file(), numbers: disk.numbers(), home: None });
        }
        Self::of_file(Backing::Cached)
    }

    fn of_file(backing: Backing) -> Result<Self> {
        let setup = program("losetup")?;
        let home = Home::new("loop", &[])?;
        let file = home.path("blocks");
        fs::write(&file, vec![0x5a; 4 * bytes::MIB as usize])?;
        fs::File::open(&file)?.sync_all()?;
        let mut command = Command::new(&setup);
        command.args(["--find", "--show"]);
        if backing == Backing::Direct {
            command.arg("--direct-io=on");
        }
        let output = command.arg(&file).output()?;
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() || path.is_empty() {
            let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Skip::because(format!("no loop device: {error}")));
        }
        let number = fs::metadata(&path)?.rdev();
        let numbers = (u64::from(rustix::fs::major(number)), u64::from(rustix::fs::minor(number)));
        let device = Self { path: path.into(), numbers, home: Some(home) };
        if backing == Backing::Direct && bytes::read_number(device.sys("loop/dio"))? != 1 {
            return Err(Skip::because("the file of a loop device cannot be read past the page cache here"));
        }
        // Others look at a new device.
        wait::pass(Duration::from_secs(1));
        Ok(device)
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn sys(&self, file: &str) -> PathBuf {
        let (major, minor) = self.numbers;
        format!("/sys/dev/block/{major}:{minor}/{file}").into()
    }

    /// Requests done, and the milliseconds that they took together, as the kernel counts them.
    fn done(&self, operation: &str) -> Result<[u64; 2]> {
        let first = match operation {
            "Read" => 0,
            "Write" => 4,
            // Behind three numbers about all of them.
            _ => 11,
        };
        Ok([self.number(first)?, self.number(first + 3)?])
    }

    /// Writes that the kernel made a part of others.
    fn merged_writes(&self) -> Result<u64> {
        self.number(5)
    }

    fn number(&self, at: usize) -> Result<u64> {
        let text = bytes::read(self.sys("stat"))?;
        Ok(text.split_ascii_whitespace().nth(at).context("stat is short")?.parse()?)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.home.is_some()
            && let Ok(setup) = program("losetup")
        {
            let _ = Command::new(setup).arg("--detach").arg(&self.path).status();
        }
    }
}

/// Reads so many blocks in the cgroup, one after the other.
fn read_blocks(cgroup: &Cgroup<'_>, device: &Device, count: u64) -> Result<()> {
    Plan::new(Work::ReadBlocks(device.path.clone(), count), cgroup).start_ready()?.end()
}

/// Number and time in seconds of a histogram about a cgroup's reads of a device.
fn reads(metrics: &Metrics, family: &str, id: &str, device: &str) -> Result<(u64, f64)> {
    requests(metrics, family, id, device, "Read")
}

fn requests(metrics: &Metrics, family: &str, id: &str, device: &str, operation: &str) -> Result<(u64, f64)> {
    let labels = [("id", id), ("device", device), ("operation", operation)];
    let value = |part: &str| {
        let name = format!("{family}_{part}");
        let found = metrics.value(&name, &labels);
        found.with_context(|| format!("no {name} of {id} on {device}"))
    };
    Ok((value("count")? as u64, value("sum")?))
}

/// Writes of a mebibyte each, which are several requests of several merged pieces, and a discard where there is a program
/// for it and the device takes it: how many requests the kernel counts.
fn write_and_discard(cgroup: &Cgroup<'_>, device: &Device) -> Result<Vec<(&'static str, u64)>> {
    let before = device.done("Write")?[0];
    Plan::new(Work::Write(device.path.clone(), 2), cgroup).start_ready()?.end()?;
    let mut done = vec![("Write", device.done("Write")?[0] - before)];
    let (Ok(program), Ok(before)) = (program("blkdiscard"), device.done("Discard")) else { return Ok(done) };
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "device=$1; program=$2; shift 2; for d; do echo $$ > $d/cgroup.procs; done; $program $device",
        "sh",
    ]);
    let discarded = command.arg(&device.path).arg(program).args(cgroup.dirs()).output()?.status.success();
    if discarded {
        done.push(("Discard", device.done("Discard")?[0] - before[0]));
    }
    Ok(done)
}

/// One reader of a device that nobody else uses: as many requests, and as long, as the kernel counts for the device.
fn agrees_with_the_kernel() -> Result<()> {
    const BLOCKS: u64 = 500;
    let device = Device::find()?;
    let collector = start()?;
    let cgroups = cgroups()?;
    let cgroup = cgroups.make("reader")?;
    let before = device.done("Read")?;
    read_blocks(&cgroup, &device, BLOCKS)?;
    let after = device.done("Read")?;
    let [done, millis] = [0, 1].map(|at| after[at] - before[at]);
    // A program that discards looks at what is there first.
    let writer = cgroups.make("writer")?;
    let written = write_and_discard(&writer, &device)?;
    wait::pass(READ);
    let metrics = collector.metrics()?;
    let (id, name) = (cgroup.name(), device.name());
    let (queued, waited) = reads(&metrics, QUEUE, &id, &name)?;
    let (served, took) = reads(&metrics, DEVICE, &id, &name)?;
    figures(
        "blocklatency",
        &format!(
            "{done} reads in {millis} ms by the kernel; {served} here, {:.1} ms in queues, {:.1} ms by the device",
            waited * 1e3,
            took * 1e3
        ),
    );
    ensure!(served == BLOCKS && served == done, "{BLOCKS} reads, {done} by the kernel, {served} counted");
    ensure!(queued <= served, "{queued} of {served} waited");
    let counted = (waited + took) * 1e3;
    if queued == served {
        let millis = millis as f64;
        // The kernel takes the time when all of a request's work is over, and counts whole milliseconds.
        ensure!((counted - millis).abs() < millis.mul_add(0.15, 5.0), "{counted} ms counted, {millis} by the kernel");
    }
    let labels = [("id", id.as_str()), ("device", name.as_str()), ("operation", "Read")];
    let bucket = format!("{DEVICE}_bucket");
    let buckets: Vec<f64> = metrics.series(&bucket, &labels).map(Line::value).collect();
    ensure!(buckets.is_sorted() && buckets.last().map(|last| *last as u64) == Some(served), "{buckets:?} of {served}");
    let stats: Value = collector.json(&format!("/api/v2.1/stats{id}?count=1"), None)?;
    let mut listed = stats[&id]["blocklatency"].as_array().into_iter().flatten();
    let found = listed.find(|row| row["operation"] == "Read").with_context(|| format!("no reads: {stats}"))?;
    ensure!(found["service"]["count"].as_u64() == Some(BLOCKS), "{found}");
    for (operation, done) in written {
        let (served, took) = requests(&metrics, DEVICE, &writer.name(), &name, operation)?;
        figures("blocklatency", &format!("{operation}: {done} by the kernel, {served} here, {:.1} ms", took * 1e3));
        // A flush without data is a request of its own to the kernel, and none here.
        ensure!(
            served > 0 && served <= done && done <= served + 1,
            "{operation}: {done} by the kernel, {served} counted"
        );
    }
    let above = cgroups.at("").name();
    ensure!(metrics.series(&bucket, &[("id", &above)]).next().is_none(), "{above} made no requests");
    Ok(())
}

/// Pages that are written back one by one and merged are one request: it is counted once, from the first page's beginning.
fn merged_requests() -> Result<()> {
    const MEBIBYTES: u64 = 4;
    const PAGES: u64 = MEBIBYTES * bytes::MIB / 4096;
    let device = Device::find()?;
    let collector = start()?;
    let cgroups = cgroups()?;
    let cgroup = cgroups.make("writer")?;
    let (before, merged_before) = (device.done("Write")?[0], device.merged_writes()?);
    Plan::new(Work::Synced(device.path.clone(), MEBIBYTES), &cgroup).start_ready()?.end()?;
    let (done, merged) = (device.done("Write")?[0] - before, device.merged_writes()? - merged_before);
    if merged == 0 {
        return Err(Skip::because("this kernel writes pages back in one piece: nothing is merged"));
    }
    wait::pass(READ);
    let metrics = collector.metrics()?;
    let (id, name) = (cgroup.name(), device.name());
    let (served, took) = requests(&metrics, DEVICE, &id, &name, "Write")?;
    let (queued, waited) = requests(&metrics, QUEUE, &id, &name, "Write")?;
    figures(
        "blocklatency",
        &format!(
            "{PAGES} pages: {done} writes and {merged} merged into them by the kernel; {served} here, {:.1} ms in queues, \
             {:.1} ms by the device",
            waited * 1e3,
            took * 1e3
        ),
    );
    // A flush without data is a request of its own to the kernel, and none here.
    ensure!(served <= done && done <= served + 1, "{done} writes by the kernel, {served} counted");
    ensure!(served + merged <= PAGES + 1 && queued <= served, "{served} writes, {merged} merged, {queued} waited");
    ensure!(took > 0.0, "{served} writes took no time");
    Ok(())
}

/// A cgroup for which the controller is not switched on has requests of its own all the same.
fn the_task_says_whose_it_is() -> Result<()> {
    const BLOCKS: u64 = 300;
    if !Layout::detect()?.is_pure_v2() {
        return Err(Skip::because("cgroup2 is not alone here"));
    }
    let device = Device::find()?;
    let collector = start()?;
    let cgroups = cgroups()?;
    let top = cgroups.at("");
    bytes::write(top.v2_file("cgroup.subtree_control")?, "-io")?;
    let cgroup = cgroups.make("reader")?;
    ensure!(!cgroup.v2_file("io.stat")?.exists(), "the controller is on");
    read_blocks(&cgroup, &device, BLOCKS)?;
    wait::pass(READ);
    let (id, name) = (cgroup.name(), device.name());
    let metrics = collector.metrics()?;
    let (served, _) = reads(&metrics, DEVICE, &id, &name)?;
    ensure!(served == BLOCKS, "{BLOCKS} reads, {served} counted");
    let stats: Value = collector.json(&format!("/api/v2.1/stats{id}?count=1"), None)?;
    let found = &stats[&id]["blocklatency"][0];
    ensure!(found["by_task"].as_u64() == Some(BLOCKS), "{found}");
    Ok(())
}

/// Reads of a loop device wait for those of the disk below, which are held back: that is the loop device's own time, and
/// not the disk's, whose requests are made afterwards.
fn a_slow_device_is_slow() -> Result<()> {
    const BLOCKS: u64 = 60;
    const A_SECOND: u32 = 20;
    let disk = Disk::find()?;
    let device = Device::of_file(Backing::Direct)?;
    let collector = start()?;
    let cgroups = cgroups()?;
    let cgroup = cgroups.make("reader")?;
    let (major, minor) = disk.numbers();
    match cgroup.v1_file("blkio", "blkio.throttle.read_iops_device") {
        Ok(file) => bytes::write(file, &format!("{major}:{minor} {A_SECOND}"))?,
        Err(_) => bytes::write(cgroup.v2_file("io.max")?, &format!("{major}:{minor} riops={A_SECOND}"))?,
    }
    let begun = Instant::now();
    read_blocks(&cgroup, &device, BLOCKS)?;
    let all = begun.elapsed().as_secs_f64();
    if all < 1.0 {
        return Err(Skip::because("this kernel does not hold back what a loop device reads"));
    }
    wait::pass(READ);
    let metrics = collector.metrics()?;
    let (id, name) = (cgroup.name(), device.name());
    let (served, took) = reads(&metrics, DEVICE, &id, &name)?;
    let (_, waited) = reads(&metrics, QUEUE, &id, &name)?;
    let below = |bound: &str| {
        let labels = [("id", id.as_str()), ("device", name.as_str()), ("operation", "Read"), ("le", bound)];
        metrics.value(&format!("{DEVICE}_bucket"), &labels).with_context(|| format!("no bucket {bound}"))
    };
    let (fast, slow) = (below("0.015625")?, below("0.25")?);
    let lower = bytes::read(format!("/sys/dev/block/{major}:{minor}/uevent"))?;
    let lower = lower.lines().find_map(|line| line.strip_prefix("DEVNAME=")).context("the disk has a name")?;
    let (lower_served, lower_took) = reads(&metrics, DEVICE, &id, &format!("/dev/{lower}"))?;
    let (_, lower_waited) = reads(&metrics, QUEUE, &id, &format!("/dev/{lower}"))?;
    figures(
        "blocklatency",
        &format!(
            "{served} reads in {all:.2} s took the loop device {took:.2} s, {waited:.4} s in queues, {} of them 16 to 250 \
             ms; the disk below {lower_served} and {lower_took:.3} s, {lower_waited:.4} s in queues",
            slow - fast
        ),
    );
    ensure!(served == BLOCKS, "{BLOCKS} reads, {served} counted");
    ensure!(took > 0.8 * all && took < 1.02 * all && waited < 0.1 * took, "{took} s and {waited} s of {all} s");
    // The throttle lets a few pass at once.
    ensure!(slow - fast > 0.3 * served as f64, "{fast} up to 16 ms, {slow} up to 250 ms");
    ensure!(lower_served >= served, "{lower_served} reads of the disk");
    ensure!(lower_took + lower_waited < 0.5 * took, "{lower_took} s and {lower_waited} s are the disk's");
    Ok(())
}

fn cost_of_a_request() -> Result<()> {
    const BLOCKS: u64 = 20_000;
    const PROGRAMS: [&str; 3] = ["block_rq_insert", "block_rq_issue", "block_rq_complete"];
    if settings::in_vm() {
        return Err(Skip::because("an emulated processor says nothing about cost"));
    }
    let device = Device::find()?;
    let collector = start()?;
    let cgroups = cgroups()?;
    let cgroup = cgroups.make("reader")?;
    let _statistics = Statistics::on()?;
    let all = || PROGRAMS.iter().map(|name| runs(&collector, name)).collect::<Result<Vec<_>>>();
    let before = all().map_err(|error| Skip::because(format!("{error:#}")))?;
    let begun = Instant::now();
    read_blocks(&cgroup, &device, BLOCKS)?;
    let rate = BLOCKS as f64 / begun.elapsed().as_secs_f64();
    let after = all()?;
    let spent: Vec<[f64; 2]> =
        before.iter().zip(&after).map(|(before, after)| [after[0] - before[0], after[1] - before[1]]).collect();
    let requests = spent.last().map_or(0.0, |[_, count]| *count);
    ensure!(requests >= BLOCKS as f64, "{requests} requests only");
    let each = spent.iter().map(|[time, _]| time).sum::<f64>() / requests;
    let parts: Vec<String> = PROGRAMS
        .iter()
        .zip(&spent)
        .map(|(name, [time, count])| format!("{name} {:.0} ns", time / count.max(1.0)))
        .collect();
    // In percent of a CPU: so many nanoseconds, 10,000 times a second.
    let share = each * 10_000.0 / 1e9 * 100.0;
    figures(
        "blocklatency",
        &format!(
            "{each:.0} ns a request at {rate:.0} a second ({}): {share:.2} % of a CPU at 10,000",
            parts.join(", ")
        ),
    );
    // What is a machine's own noise does not matter here; programs that do ten times as much do.
    ensure!(each < 5_000.0, "{each} ns a request");
    Ok(())
}
