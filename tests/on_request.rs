//! Statistics that are read only for who asks: memory touched lately, perf events.

use std::fs;

use serde_json::{Value, json};

use crate::support::cgroups::{Cgroup, Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Skip};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] =
    &[Case::new("on_request::referenced_memory", referenced_memory), Case::new("on_request::perf_events", perf_events)];

fn newest(collector: &Collector, cgroup: &Cgroup<'_>) -> Result<Value> {
    let name = cgroup.name();
    let reported: Value = collector.json(&format!("/api/v1.3/containers{name}"), Some(r#"{"num_stats":1}"#))?;
    let newest = reported["stats"][0].clone();
    ensure!(newest.is_object(), "no sample");
    Ok(newest)
}

/// KiB that the kernel says a process touched.
fn touched(pid: u32) -> Result<u64> {
    let text = bytes::read(format!("/proc/{pid}/smaps_rollup"))?;
    let row = text.lines().find_map(|line| line.strip_prefix("Referenced:")).context("no row")?;
    Ok(row.trim().trim_end_matches(" kB").parse()?)
}

/// Read only by name; nothing is written unless an interval is given, and then the marks are cleared.
fn referenced_memory() -> Result<()> {
    const HELD: u64 = 16;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("touched")?;
    let worker = Plan::new(Work::Hold(HELD), &cgroup).start_ready()?;
    let fast = ["--housekeeping_interval=100ms", "--allow_dynamic_housekeeping=false"];
    let everything = Collector::start(&[fast[0], fast[1], "--disable_metrics="])?;
    wait::eventually(wait::seconds(5), || newest(&everything, &cgroup).map(drop))?;
    ensure!(newest(&everything, &cgroup)?["referenced_memory"].is_null(), "nobody asked for it by name");
    drop(everything);

    let asked = "--enable_metrics=cpu,referenced_memory";
    let reading = Collector::start(&[fast[0], fast[1], asked])?;
    let said = wait::eventually(wait::seconds(5), || {
        newest(&reading, &cgroup)?["referenced_memory"].as_u64().context("no referenced_memory")
    })?;
    ensure!(said >= HELD * bytes::MIB && said <= touched(worker.pid())? * 1024 * 2, "it holds {HELD} MiB, not {said}");
    wait::pass(wait::millis(500));
    ensure!(touched(worker.pid())? * 1024 >= HELD * bytes::MIB, "the marks were cleared without an interval");
    drop(reading);

    let clearing = Collector::start(&[fast[0], fast[1], asked, "--referenced_reset_interval=2"])?;
    // The first reading comes before the first clearing. 0 is left out, as cAdvisor does.
    wait::eventually(wait::seconds(5), || {
        let history: Value = clearing.json(&format!("/api/v1.3/containers{}", cgroup.name()), Some("{}"))?;
        let samples = history["stats"].as_array().context("no samples")?;
        let said: Vec<u64> = samples.iter().map(|at| at["referenced_memory"].as_u64().unwrap_or(0)).collect();
        ensure!(said.first().is_some_and(|first| *first >= HELD * bytes::MIB), "it was not read: {said:?}");
        let last = said.last().copied().unwrap_or(u64::MAX);
        ensure!(last < HELD * bytes::MIB / 2, "{said:?} bytes count as touched, although nobody touches them");
        Ok(())
    })?;
    worker.end()
}

/// Software events of a cgroup: the time that a spinning process runs, on each CPU, and that of a group.
fn perf_events() -> Result<()> {
    let file = std::env::temp_dir().join(format!("collector-test-perf-{}.json", std::process::id()));
    let config = json!({ "core": {
        "events": ["task-clock", ["context-switches", "SWITCHES"], "NO_SUCH_EVENT"],
        // PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES.
        "custom_events": [{ "type": 1, "config": ["0x3"], "name": "SWITCHES" }],
    } });
    fs::write(&file, config.to_string())?;
    let flag = format!("--perf_events_config={}", file.display());
    let collector = Collector::start(&["--housekeeping_interval=200ms", "--allow_dynamic_housekeeping=false", &flag])?;
    fs::remove_file(&file)?;
    let log = collector.log().join("\n");
    ensure!(log.contains("NO_SUCH_EVENT") && !log.contains("SWITCHES,"), "it does not say what it lacks: {log}");
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("counted")?;
    let worker = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let paranoid = bytes::read("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    let sum = |sample: &Value, name: &str| -> u64 {
        let events = sample["perf_stats"].as_array().into_iter().flatten().filter(|event| event["name"] == name);
        events.filter_map(|event| event["value"].as_u64()).sum()
    };
    let counted = wait::eventually(wait::seconds(10), || {
        let sample = newest(&collector, &cgroup)?;
        ensure!(sample["perf_stats"].is_array(), "no perf_stats");
        ensure!(sum(&sample, "task-clock") > 200_000_000, "task-clock: {}", sample["perf_stats"]);
        Ok(sample)
    });
    let sample = match counted {
        Err(_) if collector.log().iter().any(|line| line.contains("perf_event_open")) => {
            return Err(Skip::because(format!("the kernel refuses perf events (paranoid {})", paranoid.trim())));
        }
        counted => counted?,
    };
    let used = sample["cpu"]["usage"]["total"].as_u64().context("no CPU time")?;
    let clock = sum(&sample, "task-clock");
    ensure!(clock <= used + 500_000_000, "task-clock is {clock} ns of {used} ns of CPU time");
    let both = ["context-switches", "SWITCHES"].map(|name| sum(&sample, name));
    ensure!(both[0] == both[1] && both[0] > 0, "one event under two names: {both:?}");
    let cpus: Vec<_> = sample["perf_stats"].as_array().into_iter().flatten().map(|event| &event["cpu"]).collect();
    ensure!(cpus.iter().any(|cpu| **cpu != *cpus[0]) || cpus.len() == 3, "CPUs {cpus:?}");
    ensure!(sample["perf_stats"][0]["scaling_ratio"].is_number(), "{}", sample["perf_stats"]);
    let v2: Value = collector.json(&format!("/api/v2.1/stats{}?count=1", cgroup.name()), None)?;
    ensure!(v2[cgroup.name()]["stats"][0]["perf_stats"].is_array(), "v2.1 has none");
    worker.end()
}
