//! API v2.0 and v2.1 against the kernel's files, against procfs and against v1.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::support::cgroups::{Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::time::Time;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("api_v2::same_as_v1", same_as_v1),
    Case::new("api_v2::on_demand", on_demand).on_every_kernel(),
    Case::new("api_v2::recursion_and_count", recursion_and_count),
    Case::new("api_v2::summary", summary),
    Case::new("api_v2::processes", processes).on_every_kernel(),
    Case::new("api_v2::machine", machine),
    Case::new("api_v2::invalid_options", invalid_options),
];

/// Answers of v2 by container.
type ByName = BTreeMap<String, Value>;

fn ask(collector: &Collector, target: &str) -> Result<Value> {
    collector.json(target, None)
}

fn number(value: &Value, pointer: &str) -> Result<u64> {
    value.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in {value}"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no {key} in {value}"))
}

/// Samples by time.
fn by_time(stats: &Value) -> Result<BTreeMap<String, Value>> {
    let stats = stats.as_array().context("stats are a list")?;
    stats.iter().map(|sample| Ok((text(sample, "timestamp")?.to_owned(), sample.clone()))).collect()
}

fn same_as_v1() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=100ms", "--allow_dynamic_housekeeping=false"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("work")?;
    let _work = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let name = cgroup.name();
    wait::eventually(wait::seconds(10), || {
        let held = collector.container(&name)?.stats.len();
        ensure!(held >= 10, "{held} samples so far");
        Ok(())
    })?;
    let v21: ByName = collector.json(&format!("/api/v2.1/stats{name}?count=8"), None)?;
    let v20: ByName = collector.json(&format!("/api/v2.0/stats{name}?count=8"), None)?;
    let v1 = ask(&collector, &format!("/api/v1.3/containers{name}"))?;
    let v1_stats = by_time(&v1["stats"])?;
    let (v21, v20) = (&v21[&name], &v20[&name]);
    let spec: ByName = collector.json(&format!("/api/v2.0/spec{name}"), None)?;
    for key in ["has_cpu", "has_memory", "memory", "has_network", "has_diskio", "creation_time"] {
        ensure!(spec[&name][key] == v1["spec"][key], "spec: {key} is {}, not {}", spec[&name][key], v1["spec"][key]);
        ensure!(v21["spec"][key] == v1["spec"][key], "v2.1 spec: {key} is {}", v21["spec"][key]);
    }
    for (version, stats) in [("v2.1", &v21["stats"]), ("v2.0", v20)] {
        let stats = stats.as_array().context("stats are a list")?;
        ensure!(stats.len() == 8, "{version}: {} samples", stats.len());
        let mut before: Option<&Value> = None;
        for sample in stats {
            let time = text(sample, "timestamp")?;
            let of_v1 = v1_stats.get(time).with_context(|| format!("{version}: v1 has no sample of {time}"))?;
            for key in ["cpu", "memory", "diskio"] {
                if !of_v1[key].is_null() {
                    ensure!(
                        sample[key] == of_v1[key],
                        "{version}: {key} of {time} differs: {} {}",
                        sample[key],
                        of_v1[key]
                    );
                }
            }
            let Some(before) = before.replace(of_v1) else {
                ensure!(sample["cpu_inst"].is_null(), "{version}: a rate without a sample before it");
                continue;
            };
            let time_of = |sample: &Value| Time::parse(text(sample, "timestamp")?).context("a time");
            let elapsed = time_of(of_v1)?.since(&time_of(before)?).as_nanos() as f64;
            let used = (number(of_v1, "/cpu/usage/total")? - number(before, "/cpu/usage/total")?) as f64;
            let (said, expected) = (number(sample, "/cpu_inst/usage/total")?, (used / elapsed * 1e9) as u64);
            ensure!(said == expected, "{version}: cpu_inst is {said}, v1's counters give {expected}");
        }
    }
    for key in ["has_cpu", "has_memory"] {
        ensure!(v20[0][key] == true, "v2.0: {key} is {}", v20[0][key]);
    }
    Ok(())
}

/// A sample that is too old is followed by a new one before the answer.
fn on_demand() -> Result<()> {
    // Some kernels have no memory controller on v1.
    drop(Cgroups::new(Set::Memory)?);
    let collector = Collector::start(&["--housekeeping_interval=1h", "--allow_dynamic_housekeeping=false"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("work")?;
    let work = Plan::new(Work::Hold(8), &cgroup).start_ready()?;
    let name = cgroup.name();
    let newest = |query: &str| -> Result<(Time, Value)> {
        let all: ByName = collector.json(&format!("/api/v2.1/stats{name}?count=1{query}"), None)?;
        let sample = all[&name]["stats"][0].clone();
        Ok((Time::parse(text(&sample, "timestamp")?).context("a time")?, sample))
    };
    wait::eventually(wait::seconds(5), || newest("").map(drop))?;
    let asked = Time::now_nanos();
    let cpu_time = |layout: &Layout| -> Result<u64> {
        match layout.v1("cpuacct") {
            Some(_) => bytes::read_number(cgroup.v1_file("cpuacct", "cpuacct.usage")?),
            None => Ok(bytes::read_key(cgroup.v2_file("cpu.stat")?, "usage_usec")? * 1000),
        }
    };
    let layout = Layout::detect()?;
    let before = cpu_time(&layout)?;
    let (at, sample) = newest("&max_age=0")?;
    let after = cpu_time(&layout)?;
    ensure!(at.nanos >= asked, "max_age=0 gives the sample of {at}, which was there before the request");
    let said = number(&sample, "/cpu/usage/total")?;
    ensure!((before..=after).contains(&said), "CPU time is {said}, the kernel says {before} to {after}");
    // The kernel's counters of a v1 cgroup lag behind by up to 32 pages for each CPU.
    ensure!(number(&sample, "/memory/rss")? >= 7 * bytes::MIB, "{}", sample["memory"]);

    // The first samples of a container may still come meanwhile.
    wait::eventually(wait::seconds(10), || {
        let at = newest("&max_age=0")?.0;
        ensure!(newest("")?.0 == at, "without an age nothing is read");
        ensure!(newest("&max_age=1h")?.0 == at, "an age that is not reached reads nothing");
        ensure!(newest("&max_age=-1s")?.0 > at, "a negative age always reads");
        Ok(())
    })?;
    work.end()?;
    // What has no process and what is gone do not hold a request up.
    let everything: Value = ask(&collector, "/api/v2.0/summary?recursive=true&max_age=0")?;
    ensure!(everything.get("/").is_some(), "no root among {everything}");
    Ok(())
}

fn recursion_and_count() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=100ms", "--allow_dynamic_housekeeping=false"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    for below in ["a", "ab", "a/deep"] {
        cgroups.make(below)?;
    }
    let name = cgroups.name();
    let full = |below: &[&str]| -> Vec<String> { below.iter().map(|below| format!("{name}{below}")).collect() };
    let counts = |target: &str| -> Result<BTreeMap<String, usize>> {
        let all: ByName = collector.json(target, None)?;
        let samples = |value: &Value| value.as_array().or_else(|| value["stats"].as_array()).map_or(0, Vec::len);
        Ok(all.iter().map(|(name, value)| (name.clone(), samples(value))).collect())
    };
    for version in ["v2.0", "v2.1"] {
        let expect = |query: &str, below: &[&str], samples: std::ops::RangeInclusive<usize>| {
            wait::eventually(wait::seconds(20), || {
                let got = counts(&format!("/api/{version}/stats{name}{query}"))?;
                ensure!(got.keys().cloned().collect::<Vec<_>>() == full(below), "{query}: {got:?}");
                ensure!(got.values().all(|count| samples.contains(count)), "{version} {query}: {got:?}");
                Ok(())
            })
        };
        expect("/a?recursive=true&count=3", &["/a", "/a/deep", "/ab"], 3..=3)?;
        expect("?recursive=true&count=1", &["", "/a", "/a/deep", "/ab"], 1..=1)?;
        expect("/a?recursive=yes&count=0", &["/a"], 0..=0)?;
        expect("/a", &["/a"], 64..=64)?;
        expect("/a?count=-1", &["/a"], 65..=usize::MAX)?;
        let everything = counts(&format!("/api/{version}/stats?recursive=true&count=1"))?;
        ensure!(everything.contains_key("/") == (version == "v2.0"), "{version}: the root in {:?}", everything.keys());
        ensure!(full(&["/a/deep"]).iter().all(|name| everything.contains_key(name)), "{version}: {everything:?}");
    }
    for resource in ["spec", "summary"] {
        let all: ByName = collector.json(&format!("/api/v2.1/{resource}{name}/a?recursive=true"), None)?;
        ensure!(all.keys().cloned().collect::<Vec<_>>() == full(&["/a", "/a/deep", "/ab"]), "{resource}: {all:?}");
    }
    let metrics: Value = ask(&collector, &format!("/api/v2.0/appmetrics{name}?recursive=true"))?;
    ensure!(metrics == serde_json::json!({ name.as_str(): {} }), "appmetrics: {metrics}");
    Ok(())
}

fn summary() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=200ms", "--allow_dynamic_housekeeping=false"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("work")?;
    let _work = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let name = cgroup.name();
    wait::eventually(wait::seconds(10), || {
        let all: ByName = collector.json(&format!("/api/v2.0/summary{name}"), None)?;
        let summary = &all[&name];
        let v1 = ask(&collector, &format!("/api/v1.3/containers{name}"))?;
        let v1 = by_time(&v1["stats"])?;
        let of_v1 = v1.get(text(summary, "timestamp")?).context("v1 has no sample of this time")?;
        if let Some(working_set) = of_v1.pointer("/memory/working_set") {
            ensure!(summary.pointer("/latest_usage/memory") == Some(working_set), "{summary} {of_v1}");
        }
        // The process is all the time on a CPU, as far as it gets one.
        let cpu = number(summary, "/latest_usage/cpu")?;
        ensure!((100..=1500).contains(&cpu), "a spinning process uses {cpu} thousandths of a core");
        for span in ["minute_usage", "hour_usage", "day_usage"] {
            ensure!(summary[span]["cpu"]["present"] == false, "{span} is there after some seconds: {summary}");
            ensure!(number(&summary[span], "/percent_complete")? == 0, "{summary}");
        }
        Ok(())
    })
}

/// Kilobytes of a line of `/proc/<pid>/status`, as bytes.
fn status(pid: u32, key: &str) -> Result<u64> {
    let text = bytes::read(format!("/proc/{pid}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().strip_suffix(" kB"));
    Ok(value.with_context(|| format!("no {key} of {pid}"))?.trim().parse::<u64>()? * 1024)
}

fn processes() -> Result<()> {
    let collector = Collector::start(&[])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("work")?;
    let cgroup_below = cgroups.make("work/below")?;
    let name = cgroup.name();
    let strange = Plan::new(Work::Hold(4), &cgroup).named(") R 1 (a b").start_ready()?;
    let threads = Plan::new(Work::Threads(3), &cgroup).named("threads").start_ready()?;
    let parent = Plan::new(Work::Zombie, &cgroup).named("parent").start_ready()?;
    let below = Plan::new(Work::Spin, &cgroup_below).start_ready()?;
    wait::eventually(wait::seconds(5), || ensure_listed(&collector, &name))?;

    let list = || -> Result<Vec<Value>> { collector.json(&format!("/api/v2.0/ps{name}"), None) };
    let of = |list: &[Value], pid: u32| -> Result<Value> {
        let found = list.iter().find(|process| process["pid"] == pid);
        found.cloned().with_context(|| format!("{pid} is not listed: {list:#?}"))
    };
    let before = (status(strange.pid(), "VmRSS")?, status(strange.pid(), "VmSize")?);
    let all = list()?;
    let after = (status(strange.pid(), "VmRSS")?, status(strange.pid(), "VmSize")?);
    let process = of(&all, strange.pid())?;
    ensure!(text(&process, "cmd")? == ") R 1 (a b", "its name is {}", process["cmd"]);
    ensure!(process["parent_pid"] == std::process::id() && text(&process, "user")? == "root", "{process}");
    let within = |said: u64, a: u64, b: u64| (a.min(b)..=a.max(b)).contains(&said);
    // Since 6.2 the kernel's sums of resident pages are reported with a little error.
    let slack = 64 * 4096 * 8;
    let rss = number(&process, "/rss")?;
    ensure!(rss.abs_diff(before.0) <= slack, "rss is {rss}, the kernel says {} to {}", before.0, after.0);
    let size = number(&process, "/virtual_size")?;
    ensure!(within(size, before.1, after.1), "virtual_size is {size}, the kernel says {before:?} to {after:?}");
    let open = fs::read_dir(format!("/proc/{}/fd", strange.pid()))?.count() as u64;
    ensure!(number(&process, "/fd_count")? == open, "{open} descriptors are open: {process}");
    ensure!(text(&process, "cgroup_path")?.is_empty(), "the path is reported for the root alone: {process}");
    let start = text(&process, "start_time")?;
    ensure!(start.len() == 5 && start.as_bytes()[2] == b':', "it started just now, said is {start}");
    ensure!(text(&process, "status")?.starts_with('S') && number(&process, "/psr")? < 4096, "{process}");
    let threaded = of(&all, threads.pid())?;
    ensure!(text(&threaded, "status")?.contains('l'), "four threads, its status is {}", threaded["status"]);
    let share = process["percent_mem"].as_f64().context("percent_mem")?;
    ensure!((0.0..50.0).contains(&share), "{process}");

    // Only processes of this very cgroup, and a zombie where the kernel still reports which it was.
    ensure!(of(&all, below.pid()).is_err(), "a process of the cgroup below is listed");
    let zombies: Vec<&Value> = all.iter().filter(|process| process["parent_pid"] == parent.pid()).collect();
    if Layout::detect()?.v2().is_some() {
        let [zombie] = zombies.as_slice() else { crate::support::bail!("not one zombie but {zombies:?}") };
        ensure!(text(zombie, "status")? == "Z" && text(zombie, "cmd")?.ends_with(" <defunct>"), "{zombie}");
        ensure!(number(zombie, "/rss")? == 0 && number(zombie, "/fd_count")? == 0, "{zombie}");
    }
    let spinning = wait::eventually(wait::seconds(10), || {
        let all: Vec<Value> = collector.json(&format!("/api/v2.1/ps{name}/below?recursive=true"), None)?;
        let process = of(&all, below.pid())?;
        let percent = process["percent_cpu"].as_f64().context("percent_cpu")?;
        ensure!((10.0..=110.0).contains(&percent), "a spinning process uses {percent} % of a CPU");
        ensure!(text(&process, "running_time")? >= "00:00:01", "{process}");
        Ok(process)
    })?;
    let root: Vec<Value> = collector.json("/api/v2.0/ps", None)?;
    let own = of(&root, below.pid())?;
    ensure!(text(&own, "cgroup_path")? == format!("{name}/below"), "{own}");
    ensure!(own["start_time"] == spinning["start_time"] && own["cmd"] == spinning["cmd"], "{own} {spinning}");
    of(&root, 1)?;
    let pids: Vec<u64> = root.iter().filter_map(|process| process["pid"].as_u64()).collect();
    ensure!(pids.is_sorted(), "not by process id");
    Ok(())
}

fn ensure_listed(collector: &Collector, name: &str) -> Result<()> {
    let names = collector.names_below(name)?;
    ensure!(names.len() == 2, "listed are {names:?}");
    Ok(())
}

fn machine() -> Result<()> {
    let collector = Collector::start(&[])?;
    let machine = ask(&collector, "/api/v2.0/machine")?;
    let attributes = ask(&collector, "/api/v2.1/attributes")?;
    for key in ["num_cores", "memory_capacity", "machine_id", "filesystems", "disk_map", "topology", "cloud_provider"] {
        ensure!(attributes[key] == machine[key], "{key} is {}, not {}", attributes[key], machine[key]);
    }
    let release = bytes::read("/proc/sys/kernel/osrelease")?;
    ensure!(text(&attributes, "kernel_version")? == release, "{attributes}");
    ensure!(attributes["cadvisor_version"] == ask(&collector, "/api/v2.0/version")?, "{attributes}");
    ensure!(attributes.get("boot_id").is_none() && attributes["docker_version"] == "", "{attributes}");

    let stats = ask(&collector, "/api/v2.1/machinestats?count=2&max_age=0")?;
    let newest = stats.as_array().and_then(|list| list.last()).context("no machinestats")?;
    let memory = bytes::meminfo("MemTotal")?;
    ensure!((1..=memory).contains(&number(newest, "/memory/usage")?), "{newest}");
    ensure!(number(newest, "/cpu/usage/total")? > 0, "{newest}");
    ensure!(newest.get("diskio").is_none(), "{newest}");

    let storage = ask(&collector, "/api/v2.0/storage")?;
    let listed = storage.as_array().context("storage is a list")?;
    ensure!(listed.is_empty() == machine["filesystems"].is_null(), "{storage}");
    for filesystem in listed {
        // Somebody else's may be gone again.
        let Ok(size) = rustix::fs::statvfs(text(filesystem, "mountpoint")?) else { continue };
        let capacity = size.f_blocks * size.f_frsize;
        ensure!(number(filesystem, "/capacity")? == capacity, "{capacity} bytes: {filesystem}");
        let used = capacity - size.f_bfree * size.f_frsize;
        // Others write meanwhile.
        let said = number(filesystem, "/usage")?;
        ensure!(said.abs_diff(used) <= 256 * bytes::MIB, "{used} bytes are used: {filesystem}");
        ensure!(number(filesystem, "/inodes_free")? <= number(filesystem, "/inodes")?, "{filesystem}");
        let root = filesystem["labels"] == serde_json::json!(["root"]);
        ensure!(root || filesystem["labels"].is_null(), "{filesystem}");
        if root {
            ensure!(text(filesystem, "mountpoint")? == "/", "{filesystem}");
            let labelled = ask(&collector, "/api/v2.1/storage?label=root")?;
            ensure!(labelled[0]["device"] == filesystem["device"], "{labelled}");
        }
    }
    Ok(())
}

fn invalid_options() -> Result<()> {
    let collector = Collector::start(&[])?;
    let cases = [
        ("version?type=rkt", "unknown 'type' \"rkt\""),
        ("stats?count=ten", "failed to parse 'count' option: ten"),
        ("spec?count=-2", "invalid 'count' option: only -1 and larger values allowed, not -2"),
        ("machine?max_age=soon", "failed to parse 'max_age' option: time: invalid duration \"soon\""),
        ("summary?max_age=10", "failed to parse 'max_age' option: time: missing unit in duration \"10\""),
        ("ps?max_age=1y", "failed to parse 'max_age' option: time: unknown unit \"y\" in duration \"1y\""),
        ("stats/none", "unknown container \"/none\""),
        ("stats/none?recursive=true", "unknown container: \"/none\""),
        ("ps/none", "process listing failed: unknown container \"/none\""),
        ("spec/none?type=docker", "unable to find container \"none\" in \"docker\" namespace"),
        ("spec/none?type=podman", "unable to find container \"none\" in \"podman\" namespace"),
        (
            "summary/none?type=docker&recursive=true",
            "invalid request for docker container \"/none\" with subcontainers",
        ),
        ("storage?label=none", "non-existent label \"none\""),
        ("storage?uuid=none", "cadvisor: no such device"),
    ];
    for (request, expected) in cases {
        for version in ["v2.0", "v2.1"] {
            let response = collector.get(&format!("/api/{version}/{request}"))?;
            let answer = (response.status, response.text());
            ensure!(answer == (500, format!("{expected}\n")), "{version}/{request}: {answer:?}");
        }
    }
    // There may be containers of an engine that runs here anyway, and of no other.
    let all: ByName = collector.json("/api/v2.0/spec?type=podman&recursive=true", None)?;
    ensure!(all.values().all(|spec| spec["namespace"] == "podman"), "podman's containers: {all:?}");
    Ok(())
}
