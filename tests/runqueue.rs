//! Who waits for the CPU, and for whom: the truth on staged cases, and what counting costs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

use crate::support::bpf_stats::{Statistics, runs};
use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Skip, figures};
use crate::support::metrics::Line;
use crate::support::workload::{Plan, Work, Workload};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("runqueue::the_neighbour_is_named", the_neighbour_is_named).on_every_kernel(),
    Case::new("runqueue::a_quota_is_nobodys_fault", a_quota_is_nobodys_fault).on_every_kernel(),
    Case::new("runqueue::cost_of_a_switch", cost_of_a_switch),
];

const FLAGS: &[&str] = &["--enable_metrics=runqueue"];
const WAITED: &str = "container_cpu_runqueue_wait_seconds_sum";
const COUNT: &str = "container_cpu_runqueue_wait_seconds_count";
const THROTTLED: &str = "container_cpu_runqueue_throttled_seconds_total";
const BEHIND: &str = "container_cpu_runqueue_aggressor_seconds_total";

/// How long the workloads work. The collector reads its program every two seconds.
const WORK: Duration = Duration::from_secs(8);
const READ: Duration = Duration::from_secs(5);

fn start() -> Result<Collector> {
    let collector = Collector::start(FLAGS)?;
    let health = collector.health()?;
    match health.lines().find(|line| line.contains("kind runqueue")) {
        Some(line) => Err(Skip::because(line.to_owned())),
        None => Ok(collector),
    }
}

fn cgroups() -> Result<Cgroups> {
    Cgroups::new(if Layout::detect()?.v1("cpu").is_some() { Set::V1(&["cpu"]) } else { Set::V2 })
}

fn pid(workload: &Workload) -> Result<Pid> {
    i32::try_from(workload.pid()).ok().and_then(Pid::from_raw).context("a process id")
}

/// The last CPU that this process may use.
fn one_cpu() -> Result<CpuSet> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).context("a CPU")?;
    let mut one = CpuSet::new();
    one.set(last);
    Ok(one)
}

/// A busy process on that CPU alone.
fn spin(cgroup: &Cgroup<'_>, cpu: &CpuSet) -> Result<Workload> {
    let workload = Plan::new(Work::Spin, cgroup).start_ready()?;
    sched_setaffinity(Some(pid(&workload)?), cpu)?;
    Ok(workload)
}

/// Times on and waiting for a CPU as the kernel counts them for the process, in seconds.
fn schedstat(workload: &Workload) -> Result<[f64; 2]> {
    let text = fs::read_to_string(format!("/proc/{}/schedstat", workload.pid()))?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<f64>);
    let mut seconds = || Ok::<_, anyhow::Error>(numbers.next().context("schedstat is short")?? / 1e9);
    Ok([seconds()?, seconds()?])
}

/// Two busy processes share a CPU: each waits for the other, and for about half of the time.
fn the_neighbour_is_named() -> Result<()> {
    let collector = start()?;
    let cgroups = cgroups()?;
    let (victim, neighbour) = (cgroups.make("victim")?, cgroups.make("neighbour")?);
    let cpu = one_cpu()?;
    let one = spin(&victim, &cpu)?;
    let before = schedstat(&one)?;
    let other = spin(&neighbour, &cpu)?;
    wait::pass(WORK);
    kill_process(pid(&one)?, Signal::STOP)?;
    wait::pass(Duration::from_millis(100));
    let after = schedstat(&one)?;
    drop(other);
    let [ran, waited] = [0, 1].map(|at| after[at] - before[at]);
    let (id, name) = (victim.name(), neighbour.name());
    wait::pass(READ);
    let metrics = collector.metrics()?;
    let value = |family: &str| metrics.value(family, &[("id", &id)]).with_context(|| format!("no {family} of {id}"));
    let (counted, throttled, count) = (value(WAITED)?, value(THROTTLED)?, value(COUNT)?);
    figures(
        "runqueue",
        &format!("ran {ran:.3} s, waited {waited:.3} s by the kernel, {counted:.3} s here, {count} times"),
    );
    ensure!((counted - waited).abs() < waited.mul_add(0.03, 0.05), "waited {waited} s, counted {counted}");
    let share = waited / (waited + ran);
    ensure!((0.35..0.9).contains(&share), "waited for {share} of the time");
    ensure!(throttled < 0.01, "{throttled} s throttled without a quota");
    let of_victim = [("id", id.as_str())];
    let mut blamed: Vec<_> = metrics.series(BEHIND, &of_victim).collect();
    blamed.sort_by(|one, other| other.value().total_cmp(&one.value()));
    let worst = blamed.first().with_context(|| format!("{id} waited for nobody"))?;
    ensure!(worst.label("runner") == name, "{} is blamed, not {name}", worst.label("runner"));
    // Others of this machine may have had their turns.
    let sum: f64 = blamed.iter().map(|line| line.value()).sum();
    ensure!(worst.value() > 0.3 * counted && sum <= counted * 1.01, "{} of {sum} of {counted} s", worst.value());
    let buckets: Vec<f64> =
        metrics.series("container_cpu_runqueue_wait_seconds_bucket", &[("id", &id)]).map(Line::value).collect();
    ensure!(buckets.is_sorted() && buckets.last() == Some(&count), "{buckets:?} of {count}");
    let stats: Value = collector.json(&format!("/api/v2.1/stats{id}?count=1"), None)?;
    let found = &stats[&id]["runqueue"];
    let first = |list: &str| found[list].as_array().is_some_and(|list| !list.is_empty());
    ensure!(found["wait_time"].as_u64() > Some(0) && first("waits") && first("aggressors"), "{found}");
    Ok(())
}

/// One that its quota holds back does not wait for a neighbour that runs meanwhile and hardly has a weight.
fn a_quota_is_nobodys_fault() -> Result<()> {
    let collector = start()?;
    let cgroups = cgroups()?;
    let (held, idle) = (cgroups.make("held")?, cgroups.make("neighbour")?);
    let is_v1 = held.v1_file("cpu", "cpu.shares").is_ok();
    if is_v1 {
        bytes::write(held.v1_file("cpu", "cpu.cfs_period_us")?, "100000")?;
        bytes::write(held.v1_file("cpu", "cpu.cfs_quota_us")?, "20000")?;
        bytes::write(idle.v1_file("cpu", "cpu.shares")?, "2")?;
    } else {
        bytes::write(held.v2_file("cpu.max")?, "20000 100000")?;
        bytes::write(idle.v2_file("cpu.weight")?, "1")?;
    }
    let stat = if is_v1 { held.v1_file("cpu", "cpu.stat")? } else { held.v2_file("cpu.stat")? };
    let throttled = || {
        let text = fs::read_to_string(&stat)?;
        let (key, unit) = if is_v1 { ("throttled_time ", 1e9) } else { ("throttled_usec ", 1e6) };
        let value = text.lines().find_map(|line| line.strip_prefix(key)).context("no throttled time")?;
        Ok::<_, anyhow::Error>(value.parse::<f64>()? / unit)
    };
    let cpu = one_cpu()?;
    let other = spin(&idle, &cpu)?;
    let one = spin(&held, &cpu)?;
    wait::pass(WORK);
    kill_process(pid(&one)?, Signal::STOP)?;
    // Until it could have run again.
    wait::pass(Duration::from_millis(300));
    let truth = throttled()?;
    wait::pass(READ);
    let metrics = collector.metrics()?;
    let (id, name) = (held.name(), idle.name());
    let counted = metrics.value(THROTTLED, &[("id", &id)]).with_context(|| format!("no {THROTTLED} of {id}"))?;
    let blamed = metrics.value(BEHIND, &[("id", &id), ("runner", &name)]).unwrap_or(0.0);
    let waited = metrics.value(WAITED, &[("id", &id)]).unwrap_or(0.0);
    drop(other);
    figures("runqueue", &format!("throttled {truth:.3} s by the kernel, {counted:.3} s here, waited {waited:.3} s"));
    ensure!(truth > 3.0, "throttled for {truth} s only");
    // The first time and the last are seen in part.
    ensure!((counted - truth).abs() < truth.mul_add(0.1, 0.2), "throttled {truth} s, counted {counted}");
    ensure!(blamed < 0.05 * counted, "{blamed} s are blamed on the neighbour, of {counted} throttled");
    Ok(())
}

/// Two threads that wake each other on one CPU, for this long.
fn wake_each_other(time: Duration) -> Result<()> {
    let cpu = one_cpu()?;
    let (mut here, mut there) = UnixStream::pair()?;
    let answering = std::thread::spawn(move || {
        let _ = sched_setaffinity(None, &cpu);
        let mut byte = [0];
        while there.read_exact(&mut byte).is_ok() && there.write_all(&byte).is_ok() {}
    });
    let before = sched_getaffinity(None)?;
    sched_setaffinity(None, &cpu)?;
    let begun = Instant::now();
    let mut byte = [0];
    while begun.elapsed() < time {
        here.write_all(&byte)?;
        here.read_exact(&mut byte)?;
    }
    sched_setaffinity(None, &before)?;
    drop(here);
    let _ = answering.join();
    Ok(())
}

fn cost_of_a_switch() -> Result<()> {
    let collector = start()?;
    let _statistics = Statistics::on()?;
    let before = runs(&collector, "sched_switch").map_err(|error| Skip::because(format!("{error:#}")))?;
    let time = Duration::from_secs(5);
    wake_each_other(time)?;
    let after = runs(&collector, "sched_switch")?;
    let [nanoseconds, count] = [0, 1].map(|at| after[at] - before[at]);
    ensure!(count > 10_000.0, "{count} switches only");
    let each = nanoseconds / count;
    let rate = count / time.as_secs_f64();
    // In percent of a CPU: so many nanoseconds, 100,000 times a second.
    let share = each * 100_000.0 / 1e9 * 100.0;
    figures("runqueue", &format!("{each:.0} ns a switch at {rate:.0} a second: {share:.2} % of a CPU at 100,000"));
    // What is a machine's own noise does not matter here; a program that does ten times as much does.
    ensure!(each < 1_000.0, "{each} ns a switch");
    Ok(())
}
