//! Where each number comes from, as `collector statistics` says, held against the kernel's files: what is named is
//! there and has that value, what is not available is nowhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::disk::Disk;
use crate::support::harness::{self, Case};
use crate::support::settings::settings;
use crate::support::workload::{Plan, Work, Workload};
use crate::support::{Context as _, Error, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] =
    &[Case::new("parity::every_statistic_and_its_source", every_statistic_and_its_source).on_every_kernel()];

const ANON_MIB: u64 = 16;
const FILE_MIB: u64 = 4;
const QUOTA: u64 = 10_000;
const PERIOD: u64 = 50_000;
const MEMORY_LIMIT: u64 = 256 * bytes::MIB;
const PROCESS_LIMIT: u64 = 77;

/// Where the kernel may have a statistic: part of a file's name, and the word before the value. Only asked for what is
/// not available, and then nothing of it may be readable.
const PLACES: [(&str, &[(&str, &str)]); 48] = [
    // Read only for who asks by name, or with a configuration.
    ("memory.referenced", &[]),
    ("resctrl.", &[]),
    ("perf.", &[]),
    ("cpu.usage.total", &[("cpuacct.usage", ""), ("cpu.stat", "usage_usec")]),
    ("cpu.usage.per_cpu", &[("percpu", "")]),
    ("cpu.usage.user", &[("cpuacct.stat", "user"), ("cpu.stat", "user_usec")]),
    ("cpu.usage.system", &[("cpuacct.stat", "system"), ("cpu.stat", "system_usec")]),
    ("cpu.cfs.periods", &[("cpu.stat", "nr_periods")]),
    ("cpu.cfs.throttled_periods", &[("cpu.stat", "nr_throttled")]),
    ("cpu.cfs.throttled_time", &[("cpu.stat", "throttled_time"), ("cpu.stat", "throttled_usec")]),
    ("cpu.cfs.burst_periods", &[("cpu.stat", "nr_bursts")]),
    ("cpu.cfs.burst_time", &[("cpu.stat", "burst_time"), ("cpu.stat", "burst_usec")]),
    ("cpu.pressure.some", &[("cpu.pressure", "some")]),
    ("cpu.pressure.full", &[("cpu.pressure", "full")]),
    ("memory.pressure.", &[("memory.pressure", "some"), ("memory.pressure", "full")]),
    ("io.pressure.", &[("io.pressure", "some"), ("io.pressure", "full")]),
    ("cpuset.memory_migrate", &[("memory_migrate", "")]),
    ("memory.max_usage", &[("memory.max_usage", ""), ("memory.peak", "")]),
    ("memory.zswap.", &[("memory.stat", "zswap"), ("memory.stat", "zswpin"), ("memory.stat", "zswpwb")]),
    ("spec.memory.zswap_limit", &[("memory.zswap.max", "")]),
    ("misc.", &[("misc.current", ""), ("misc.max", "")]),
    ("memory.swap", &[("memory.stat", "total_swap"), ("memory.swap.current", "")]),
    ("memory.failcnt", &[("memory.failcnt", "")]),
    ("memory.kernel", &[("memory.kmem.usage", ""), ("memory.stat", "kernel")]),
    ("memory.events.oom_group_kill", &[("memory.events", "oom_group_kill")]),
    ("memory.events.", &[("memory.events", "")]),
    ("memory.numa.", &[("memory.numa_stat", "anon")]),
    ("memory.file_dirty", &[("memory.stat", "total_dirty"), ("memory.stat", "file_dirty")]),
    ("memory.file_writeback", &[("memory.stat", "total_writeback"), ("memory.stat", "file_writeback")]),
    ("memory.pgscan", &[("memory.stat", "pgscan"), ("memory.stat", "total_pgscan")]),
    ("memory.pgsteal", &[("memory.stat", "pgsteal"), ("memory.stat", "total_pgsteal")]),
    ("memory.workingset_refault_file", &[("memory.stat", "workingset_refault_file")]),
    ("memory.workingset_refault_anon", &[("memory.stat", "workingset_refault_anon")]),
    ("oom_kills", &[("memory.oom_control", "oom_kill"), ("memory.events", "oom_kill")]),
    ("hugetlb.usage", &[("hugetlb.2MB.usage", ""), ("hugetlb.2MB.current", "")]),
    ("hugetlb.max_usage", &[("hugetlb.2MB.max_usage", ""), ("hugetlb.2MB.peak", "")]),
    ("hugetlb.failcnt", &[("hugetlb.2MB.failcnt", ""), ("hugetlb.2MB.events", "max")]),
    ("io.cost.", &[("io.stat", "cost.usage"), ("io.stat", "cost.wait")]),
    // The schedulers CFQ and BFQ have a file for each, in all cgroups or none.
    ("io.queued", &[("io_queued", "")]),
    ("io.sectors", &[("blkio.sectors", ""), ("blkio.bfq.sectors", "")]),
    ("io.service_time", &[("io_service_time", "")]),
    ("io.wait_time", &[("io_wait_time", "")]),
    ("io.merged", &[("io_merged", "")]),
    ("io.time", &[("blkio.time", ""), ("blkio.bfq.time", "")]),
    ("spec.memory.swap_limit", &[("memory.memsw.limit", ""), ("memory.swap.max", "")]),
    // Kernels since 6.11 may have neither memory nor cpuset on v1.
    ("spec.memory.", &[("memory.limit", ""), ("memory.soft_limit", ""), ("memory.max", ""), ("memory.min", "")]),
    ("memory.", &[("memory.stat", ""), ("memory.usage", ""), ("memory.current", "")]),
    ("spec.cpu.mask", &[("cpuset.cpus", "")]),
];

/// Without a file of their own: asked for by netlink, on cgroup v1 alone.
const BY_NETLINK: [&str; 2] = ["cpu.load.", "tasks."];

#[derive(Debug, Deserialize)]
struct Answer {
    layout: String,
    statistics: Vec<Statistic>,
}

#[derive(Debug, Deserialize)]
struct Statistic {
    name: String,
    source: Option<String>,
    files: Vec<SourceFile>,
    reason: Option<String>,
    value: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct SourceFile {
    path: PathBuf,
    key: Option<String>,
}

/// Asks about a cgroup, with every kind of statistics switched on.
fn ask(cgroup: &Cgroup<'_>) -> Result<Answer> {
    let output = Command::new(&settings().collector)
        .args(["statistics", "--format=json", "--disable_metrics=", "--enable_load_reader"])
        .arg(format!("--cgroup={}", cgroup.name()))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "collector statistics: {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).context("collector statistics does not print the JSON expected")
}

fn find<'a>(answer: &'a Answer, name: &str) -> Result<&'a Statistic> {
    let found = answer.statistics.iter().find(|statistic| statistic.name == name);
    found.with_context(|| format!("{name} is not listed"))
}

fn number(answer: &Answer, name: &str) -> Result<u64> {
    let statistic = find(answer, name)?;
    statistic.value.as_ref().and_then(Value::as_u64).with_context(|| format!("not a number: {statistic:?}"))
}

/// Writes a limit by the names of both versions of cgroups, where one of them has it.
fn limit(cgroup: &Cgroup<'_>, v1: (&str, &str, &str), v2: (&str, &str)) -> Result<()> {
    let unified = || Ok::<_, Error>((cgroup.v2_file(v2.0)?, v2.1));
    match cgroup.v1_file(v1.0, v1.1).map(|file| (file, v1.2)).or_else(|_| unified()) {
        Ok((file, value)) if file.exists() => bytes::write(file, value),
        _ => Ok(()),
    }
}

fn every_statistic_and_its_source() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("busy")?;
    let max = format!("{QUOTA} {PERIOD}");
    limit(&cgroup, ("cpu", "cpu.cfs_period_us", &PERIOD.to_string()), ("cpu.max", &max))?;
    limit(&cgroup, ("cpu", "cpu.cfs_quota_us", &QUOTA.to_string()), ("cpu.max", &max))?;
    let max = MEMORY_LIMIT.to_string();
    limit(&cgroup, ("memory", "memory.limit_in_bytes", &max), ("memory.max", &max))?;
    let max = PROCESS_LIMIT.to_string();
    limit(&cgroup, ("pids", "pids.max", &max), ("pids.max", &max))?;

    let disk = Disk::find().ok();
    let mut workloads = vec![
        Plan::new(Work::Hold(ANON_MIB), &cgroup).start_ready()?,
        Plan::new(Work::Threads(3), &cgroup).start_ready()?,
    ];
    if let Some(disk) = &disk {
        disk.account(&cgroup)?;
        workloads.push(Plan::new(Work::Write(disk.file(), FILE_MIB), &cgroup).start_ready()?);
    }
    let cached = disk
        .as_ref()
        .map_or_else(|| std::env::temp_dir().join(format!("collector-test-parity-{}", std::process::id())), Disk::file);
    workloads.push(Plan::new(Work::Cache(cached.clone(), FILE_MIB), &cgroup).start_ready()?);
    // Last, since the others would get slow beside it.
    workloads.push(Plan::new(Work::Spin, &cgroup).start_ready()?);

    // Throttling begins at the end of a period.
    let first = wait::eventually(wait::seconds(5), || {
        let answer = ask(&cgroup)?;
        let throttled = number(&answer, "cpu.cfs.throttled_periods")?;
        ensure!(throttled > 0, "never throttled: the scene does not work");
        Ok(answer)
    })?;
    let before = numbers(&first);
    let answer = ask(&cgroup)?;
    let after = numbers(&answer);

    let layout = Layout::detect()?;
    let expected = match (layout.is_pure_v2(), layout.v2().is_some()) {
        (true, _) => "v2",
        (false, true) => "hybrid",
        (false, false) => "v1",
    };
    ensure!(answer.layout == expected, "the layout is {expected}, said is {}", answer.layout);
    let dirs = cgroup.dirs();
    for (statistic, earlier) in answer.statistics.iter().zip(&first.statistics) {
        ensure!(statistic.source == earlier.source, "two sources of one statistic: {statistic:?}, {earlier:?}");
        let network = statistic.name.starts_with("network.");
        match &statistic.source {
            None if network => ensure!(statistic.value.is_none(), "a value without a source: {statistic:?}"),
            None => check_absent(statistic, &dirs, expected)?,
            Some(_) => check_present(statistic, &dirs, disk.is_some())?,
        }
        if let (Some(before), Some(after)) = (before.get(&statistic.name), after.get(&statistic.name)) {
            check_value(statistic, *before, *after)?;
        }
    }
    ensure!(before.len() > 12, "only {} numbers were compared: {:?}", before.len(), before.keys());
    check_scene(&answer, workloads.len() as u64, disk.is_some())?;

    let apart = cgroups.make("apart")?;
    let namespace = Plan::new(Work::Namespace, &apart).start_ready()?;
    let elsewhere = ask(&apart)?;
    for statistic in &answer.statistics {
        let mut source = statistic.source.as_ref();
        if statistic.name.starts_with("network.") {
            let network = find(&elsewhere, &statistic.name)?;
            check_present(network, &apart.dirs(), false)?;
            source = network.source.as_ref();
        }
        let row = BTreeMap::from([("statistic", Some(&statistic.name)), ("source", source)]);
        harness::table_row("statistics", &row)?;
    }
    namespace.end()?;
    workloads.into_iter().try_for_each(Workload::end)?;
    if disk.is_none() {
        fs::remove_file(cached)?;
    }
    Ok(())
}

/// A source that is named: its files are there, hold the key, and there is a value.
fn check_present(statistic: &Statistic, dirs: &[PathBuf], has_io: bool) -> Result<()> {
    ensure!(statistic.value.is_some(), "a source without a value: {statistic:?}");
    ensure!(statistic.reason.is_none(), "a source and a reason why there is none: {statistic:?}");
    let has_no_file = BY_NETLINK.iter().any(|name| statistic.name.starts_with(name));
    ensure!(
        has_no_file || statistic.name == "spec.creation_time" || !statistic.files.is_empty(),
        "no file: {statistic:?}"
    );
    for file in &statistic.files {
        let known = dirs.iter().any(|dir| file.path.parent() == Some(dir));
        let elsewhere = ["/proc/", "/sys/devices/"].iter().any(|top| file.path.starts_with(top));
        ensure!(known || elsewhere, "{} is no file of this cgroup", file.path.display());
        ensure!(file.path.exists(), "{} is not there: {statistic:?}", file.path.display());
        if let Some(key) = &file.key {
            let text = bytes::read(&file.path)?;
            // Without traffic a block device has no line.
            let excused = text.is_empty() && !has_io && file.path.ends_with("io.stat");
            ensure!(excused || holds(&text, key), "{} has no {key}: {text}", file.path.display());
        }
    }
    Ok(())
}

/// A statistic that is not available: nothing of it can be read anywhere.
fn check_absent(statistic: &Statistic, dirs: &[PathBuf], layout: &str) -> Result<()> {
    ensure!(statistic.value.is_none(), "a value without a source: {statistic:?}");
    ensure!(statistic.reason.is_some(), "neither a source nor a reason: {statistic:?}");
    if BY_NETLINK.iter().any(|name| statistic.name.starts_with(name)) {
        ensure!(layout == "v2", "cgroup v1 has it: {statistic:?}");
        return Ok(());
    }
    let places = PLACES.iter().find(|(name, _)| statistic.name.starts_with(name));
    let (_, places) = places.with_context(|| format!("every kernel has it: {statistic:?}"))?;
    for dir in dirs {
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            for (file, key) in *places {
                let is_there = name.to_string_lossy().contains(file)
                    && bytes::read(dir.join(&name)).is_ok_and(|text| holds(&text, key));
                ensure!(!is_there, "{} has it: {statistic:?}", dir.join(&name).display());
            }
        }
    }
    Ok(())
}

/// Whether a word of the file marks a value.
fn holds(text: &str, key: &str) -> bool {
    let marks = |rest: &str| rest.starts_with([' ', '=', ':']);
    text.lines().any(|line| {
        let begins = line.strip_prefix(key).is_some_and(marks);
        key.is_empty() || begins || line.split(' ').any(|word| word.strip_prefix(key).is_some_and(marks))
    })
}

/// The single numbers in the files named, in the unit of their statistic.
fn numbers(answer: &Answer) -> BTreeMap<String, u64> {
    let single = |statistic: &Statistic| {
        let [file] = statistic.files.as_slice() else { return None };
        let text = bytes::read(&file.path).ok()?;
        let name = file.path.file_name()?.to_str()?;
        let value = match (&file.key, name) {
            (Some(key), _) => bytes::find_key(&text, key)?,
            // The list of all CPUs is the sum of what is asked for.
            (None, "cpuacct.usage_percpu") => text.split_whitespace().filter_map(|time| time.parse::<u64>().ok()).sum(),
            // Processes are counted, and a weight becomes shares.
            (None, "cgroup.procs" | "cpu.weight") => return None,
            (None, _) => text.parse().ok()?,
        };
        let unit = match (name, file.key.as_deref()) {
            (_, Some(key)) if key.ends_with("_usec") => 1_000,
            ("cpuacct.stat", _) => 10_000_000,
            _ => 1,
        };
        Some((statistic.name.clone(), value * unit))
    };
    answer.statistics.iter().filter_map(single).collect()
}

/// A number lies between what its file says before and after, but for what the kernel counts in batches.
fn check_value(statistic: &Statistic, before: u64, after: u64) -> Result<()> {
    let Some(value) = statistic.value.as_ref().and_then(Value::as_u64) else { return Ok(()) };
    let slack = match statistic.name.as_str() {
        // Scaled so that they add up, so either may step back.
        "cpu.usage.user" | "cpu.usage.system" => 100_000_000,
        name if name.contains("fault") => 512,
        name if name.starts_with("memory.") && !name.contains("events") && name != "memory.failcnt" => 2 * bytes::MIB,
        _ => 0,
    };
    let (low, high) = (before.min(after).saturating_sub(slack), before.max(after).saturating_add(slack));
    ensure!((low..=high).contains(&value), "the file says {before} before and {after} after: {statistic:?}");
    Ok(())
}

/// What the workloads did is seen, and what was set is said.
fn check_scene(answer: &Answer, processes: u64, has_io: bool) -> Result<()> {
    for (name, expected) in [
        ("spec.cpu.quota", QUOTA),
        ("spec.cpu.period", PERIOD),
        ("spec.memory.limit", MEMORY_LIMIT),
        ("spec.processes.limit", PROCESS_LIMIT),
        ("processes.threads_max", PROCESS_LIMIT),
        ("processes.count", processes),
        // One of them has three more.
        ("processes.threads", processes + 3),
    ] {
        if find(answer, name)?.source.is_none() {
            continue;
        }
        ensure!(number(answer, name)? == expected, "{expected} is right: {:?}", find(answer, name)?);
    }
    let at_least = [
        ("cpu.usage.total", 1),
        ("cpu.schedstat.run_time", 1),
        ("cpu.cfs.throttled_time", 1),
        ("memory.rss", ANON_MIB * bytes::MIB),
        // The first pages of a disk may have been cached for somebody else.
        ("memory.cache", (FILE_MIB - 1) * bytes::MIB),
        ("memory.usage", (ANON_MIB + FILE_MIB - 1) * bytes::MIB),
        ("memory.own_faults.pgfault", 1),
        ("processes.descriptors", processes),
    ];
    for (name, least) in at_least {
        if find(answer, name)?.source.is_none() {
            continue;
        }
        ensure!(number(answer, name)? >= least, "at least {least}: {:?}", find(answer, name)?);
    }
    if find(answer, "memory.usage")?.source.is_some() {
        let working_set = number(answer, "memory.usage")?.saturating_sub(number(answer, "memory.inactive_file")?);
        ensure!(number(answer, "memory.working_set")? == working_set, "{:?}", find(answer, "memory.working_set")?);
    }
    let written = &find(answer, "io.service_bytes")?.value;
    let devices = written.as_ref().and_then(Value::as_object).context("no devices")?;
    let most = devices.values().filter_map(|device| device.get("Write")?.as_u64()).max().unwrap_or_default();
    ensure!(!has_io || most >= FILE_MIB * bytes::MIB, "{FILE_MIB} MiB were written: {written:?}");
    Ok(())
}
