//! `/metrics` beside the JSON API, after a container's end, over restarts, and while reading hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode};

use crate::support::api::Stats;
use crate::support::bytes::MIB;
use crate::support::cgroups::{Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::docker::Docker;
use crate::support::engine;
use crate::support::harness::{Case, Needs};
use crate::support::metrics::{Line, Metrics};
use crate::support::surroundings::Surroundings;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Error, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("metrics::same_as_the_api", same_as_the_api).on_every_kernel(),
    Case::new("metrics::max_age", max_age),
    Case::new("metrics::after_the_end", after_the_end).on_every_unified_kernel(),
    Case::new("metrics::without_retention", without_retention),
    Case::new("metrics::few_series", few_series),
    Case::new("metrics::restarts_double_nothing", restarts_double_nothing).within(240),
    Case::new("metrics::while_reading_hangs", while_reading_hangs).needs(Needs::V1),
];

/// The time of a sample as metrics have it.
fn millis(stats: &Stats) -> u64 {
    u64::try_from(stats.timestamp.nanos / 1_000_000).unwrap_or(0)
}

fn same(said: f64, expected: f64) -> bool {
    (said - expected).abs() <= expected.abs() * 1e-12
}

/// Each value is that of the API's sample of the same time.
fn same_as_the_api() -> Result<()> {
    // Some kernels have no memory controller on v1.
    drop(Cgroups::new(Set::Memory)?);
    let flags = ["--housekeeping_interval=200ms", "--allow_dynamic_housekeeping=false", "--metrics_timestamps"];
    let collector = Collector::start(&flags)?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("work")?;
    let _spin = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let _hold = Plan::new(Work::Hold(8), &cgroup).start_ready()?;
    let name = cgroup.name();
    wait::eventually(wait::seconds(10), || {
        let metrics = collector.metrics()?;
        let by_time: BTreeMap<u64, Stats> =
            collector.container(&name)?.stats.into_iter().map(|stats| (millis(&stats), stats)).collect();
        let mut compared = BTreeSet::new();
        for line in metrics.lines().iter().filter(|line| line.label("id") == name) {
            let Some(at) = line.timestamp() else { continue };
            let Some(stats) = by_time.get(&at) else { continue };
            let (Some(cpu), Some(memory)) = (&stats.cpu, &stats.memory) else { continue };
            let seconds = |nanos: u64| nanos as f64 / 1e9;
            let expected = match line.name() {
                "container_cpu_usage_seconds_total" if line.label("cpu") == "total" => seconds(cpu.usage.total),
                "container_cpu_usage_seconds_total" => {
                    let number: usize = line.label("cpu").trim_start_matches("cpu").parse()?;
                    seconds(cpu.usage.per_cpu_usage[number])
                }
                "container_cpu_user_seconds_total" => seconds(cpu.usage.user),
                "container_cpu_system_seconds_total" => seconds(cpu.usage.system),
                "container_memory_usage_bytes" => memory.usage as f64,
                "container_memory_working_set_bytes" => memory.working_set as f64,
                "container_memory_rss" => memory.rss as f64,
                "container_memory_cache" => memory.cache as f64,
                "container_memory_max_usage_bytes" => memory.max_usage as f64,
                "container_memory_failcnt" => memory.failcnt as f64,
                _ => continue,
            };
            ensure!(same(line.value(), expected), "{line:?} is {expected} in the API");
            compared.insert(line.name().to_owned());
        }
        ensure!(compared.len() >= 9, "only these were of a sample that the API has: {compared:?}");
        let memory = metrics.value("container_memory_rss", &[("id", &name)]).unwrap_or_default();
        // The kernel's counters of a v1 cgroup lag behind by up to 32 pages for each CPU.
        ensure!(memory >= (7 * MIB) as f64, "8 MiB are held, reported are {memory}");
        Ok(())
    })
}

/// What is older than asked for is read before the answer.
fn max_age() -> Result<()> {
    let flags = ["--housekeeping_interval=1h", "--allow_dynamic_housekeeping=false", "--metrics_timestamps"];
    let collector = Collector::start(&flags)?;
    let newest = |query: &str| -> Result<u64> {
        let metrics = Metrics::parse(&collector.get(&format!("/metrics{query}"))?.text());
        let mut lines = metrics.series("container_memory_usage_bytes", &[("id", "/")]);
        lines.next().and_then(Line::timestamp).context("the root's memory is not reported")
    };
    let at = wait::eventually(wait::seconds(5), || newest(""))?;
    ensure!(newest("?max_age=1h")? == at, "nothing is an hour old");
    ensure!(newest("?max_age=0s")? > at, "max_age=0s gives a sample that was there before");
    let refused = collector.get("/metrics?max_age=soon")?;
    ensure!(refused.status == 500, "max_age=soon is answered {}", refused.status);
    Ok(())
}

/// Whether a line is of a gauge: its name says what it counts.
fn gauge_names(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.filter(|(_, kind)| *kind == "gauge").map(|(name, _)| name.to_owned()).collect()
}

/// Gauges are gone with the next scrape, counters stay, with what the container had used in the end.
fn after_the_end() -> Result<()> {
    let retention = Duration::from_secs(6);
    let collector = Collector::start(&[&format!("--ended_container_retention={}s", retention.as_secs())])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("short")?;
    let name = cgroup.name();
    let mut burner = Plan::new(Work::Burn(60), &cgroup).start()?;
    ensure!(burner.wait_blocking()?.success(), "the burner failed");
    wait::eventually(wait::seconds(5), || {
        let metrics = collector.metrics()?;
        ensure!(metrics.value("container_memory_usage_bytes", &[("id", &name)]).is_some(), "{name} is not reported");
        Ok(())
    })?;
    cgroup.remove()?;
    let last = wait::eventually(wait::seconds(5), || {
        let events = collector.events(&name, &["deletion_events"])?;
        let deletion = events.into_iter().find_map(|event| event.event_data.deletion);
        deletion.context("no deletion event")?.final_stats.context("no last sample")
    })?;
    let ended = Instant::now();
    let answer = collector.get("/metrics")?.text();
    let (gauges, metrics) = (gauge_names(&answer), Metrics::parse(&answer));
    let reported: Vec<_> = metrics.lines().iter().filter(|line| line.label("id") == name).collect();
    let (seen, wrong): (Vec<&Line>, Vec<&Line>) = reported
        .iter()
        .filter(|line| gauges.contains(line.name()) && line.name() != "container_last_exit_code")
        .partition(|line| line.name() == "container_last_seen");
    ensure!(wrong.is_empty() && seen.len() == 1, "gauges of {name}, which is gone: {wrong:?}, {seen:?}");
    let used: f64 = metrics.series("container_cpu_usage_seconds_total", &[("id", &name)]).map(Line::value).sum();
    let expected = last.cpu.context("no CPU time in the last sample")?.usage.total as f64 / 1e9;
    ensure!(
        (used - expected).abs() < 1e-6 && used > 0.05,
        "{used} s of CPU time are reported, the last sample has {expected}"
    );
    wait::eventually(wait::seconds(30), || {
        let metrics = collector.metrics()?;
        let left = metrics.lines().iter().filter(|line| line.label("id") == name).count();
        ensure!(left == 0, "{left} series after {:?}, with a retention of {retention:?}", ended.elapsed());
        Ok(())
    })
}

/// As cAdvisor has it: nothing is reported about what ended.
fn without_retention() -> Result<()> {
    let collector = Collector::start(&["--ended_container_retention=0"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("short")?;
    let name = cgroup.name();
    let reported =
        || -> Result<usize> { Ok(collector.metrics()?.lines().iter().filter(|line| line.label("id") == name).count()) };
    wait::eventually(wait::seconds(5), || {
        ensure!(reported()? > 0, "{name} is not reported");
        Ok(())
    })?;
    cgroup.remove()?;
    wait::eventually(wait::seconds(5), || {
        ensure!(collector.names_below(&name)?.is_empty(), "{name} is still listed");
        Ok(())
    })?;
    ensure!(reported()? == 0, "series of {name}, which is gone");
    Ok(())
}

/// The profile and the budget on a real machine.
fn few_series() -> Result<()> {
    let collector = Collector::start(&["--metrics_profile=recommended"])?;
    let metrics = wait::eventually(wait::seconds(5), || {
        let metrics = collector.metrics()?;
        ensure!(metrics.value("container_memory_usage_bytes", &[("id", "/")]).is_some(), "the root is not reported");
        Ok(metrics)
    })?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in metrics.lines().iter().filter(|line| !line.label("id").is_empty()) {
        *counts.entry(line.label("id")).or_default() += 1;
    }
    let most = counts.iter().max_by_key(|(_, count)| **count).context("no containers")?;
    ensure!(*most.1 <= 45, "{most:?} series");

    let cgroups = Cgroups::new(Set::Every)?;
    for number in 0..40 {
        cgroups.make(format!("many-{number}"))?;
    }
    let collector = Collector::start(&["--max_series=1500"])?;
    wait::eventually(wait::seconds(10), || {
        let metrics = collector.metrics()?;
        let series = metrics.lines().len();
        ensure!(series <= 1500, "{series} series");
        let said = metrics.value("collector_metrics_series", &[]);
        ensure!(said == Some(series as f64), "{series} series, said are {said:?}");
        ensure!(metrics.sum("collector_metrics_shed_series") > 300.0, "too few are left out: is the tree sampled?");
        let reported = metrics.series("container_memory_working_set_bytes", &[]).count();
        ensure!(reported >= 40, "the core of only {reported} containers is reported");
        Ok(())
    })
}

/// How many containers, and how often each is restarted.
const CONTAINERS: usize = 10;
const RESTARTS: usize = 10;

/// A hundred restarts: never two containers of one name, and never more memory than the kernel ever counted.
fn restarts_double_nothing() -> Result<()> {
    let docker = Docker::start()?;
    let socket = format!("--docker=unix://{}", docker.socket().display());
    let collector = Collector::start(&[&socket, "--housekeeping_interval=200ms"])?;
    let names: Vec<String> = (0..CONTAINERS).map(|number| format!("web-{number}")).collect();
    let ids: Vec<String> = names.iter().map(|name| docker.run_named(name, &[], &[])).collect::<Result<_>>()?;
    let memory = |metrics: &Metrics| -> BTreeMap<String, Vec<f64>> {
        let mut by_name: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for line in metrics.series("container_memory_usage_bytes", &[]).filter(|line| !line.label("name").is_empty()) {
            by_name.entry(line.label("name").to_owned()).or_default().push(line.value());
        }
        by_name
    };
    wait::eventually(wait::seconds(20), || {
        let reported = memory(&collector.metrics()?);
        ensure!(reported.keys().eq(names.iter().collect::<BTreeSet<_>>()), "reported are {:?}", reported.keys());
        Ok(())
    })?;
    let done = AtomicBool::new(false);
    let (scrapes, wrong) = thread::scope(|scope| {
        let watch = scope.spawn(|| -> Result<(usize, Vec<String>)> {
            let mut wrong = Vec::new();
            let mut scrapes = 0;
            while !done.load(Ordering::Relaxed) {
                let reported = memory(&collector.metrics()?);
                scrapes += 1;
                wrong.extend(
                    reported.into_iter().filter(|(_, values)| values.len() > 1).map(|twice| format!("{twice:?}")),
                );
            }
            Ok((scrapes, wrong))
        });
        let restarted: Result<()> = (0..RESTARTS).try_for_each(|_| {
            ids.iter().try_for_each(|id| docker.ask("POST", &format!("/containers/{id}/restart?t=0"), None).map(drop))
        });
        done.store(true, Ordering::Relaxed);
        let watched = watch.join().map_err(|_| Error::msg("the scraping thread panicked"))??;
        restarted.map(|()| watched)
    })?;
    ensure!(wrong.is_empty(), "{} of {scrapes} scrapes report a name twice, first {}", wrong.len(), wrong[0]);
    ensure!(scrapes > CONTAINERS, "only {scrapes} scrapes");
    // At rest the sum is the kernel's.
    wait::eventually(wait::seconds(20), || {
        let layout = Layout::detect()?;
        let mount = layout.memory().context("no memory controller")?;
        let file = if mount.is_v2() { "memory.current" } else { "memory.usage_in_bytes" };
        let kernel = || -> Result<f64> {
            let of = |id: &String| mount.dir(format!("/docker/{id}").as_ref()).join(file);
            ids.iter().map(|id| Ok(bytes::read_number(of(id))? as f64)).sum()
        };
        let before = kernel()?;
        let metrics = Metrics::parse(&collector.get("/metrics?max_age=0s&type=docker")?.text());
        let after = kernel()?;
        let reported: f64 = memory(&metrics).values().flatten().sum();
        let (least, most) = (before.min(after) * 0.99, before.max(after) * 1.01);
        ensure!(
            (least..=most).contains(&reported),
            "reported are {reported} bytes, the kernel has {before} to {after}"
        );
        Ok(())
    })?;
    ids.iter().try_for_each(|id| docker.remove(id))
}

/// Cgroups whose files hang: more than there are threads that read.
const HANGING: usize = 24;

/// However many reads hang, what is known is reported at once.
fn while_reading_hangs() -> Result<()> {
    let nsenter = engine::program("nsenter")?;
    let surroundings = Surroundings::default().in_mount_namespace();
    let collector = Collector::start_as(surroundings, &["--housekeeping_interval=100ms"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let calm = cgroups.make("calm")?;
    let _hold = Plan::new(Work::Hold(8), &calm).start_ready()?;
    let calm = calm.name();
    wait::eventually(wait::seconds(10), || {
        let held = collector.metrics()?.value("container_memory_rss", &[("id", &calm)]).unwrap_or_default();
        ensure!(held >= (8 * MIB) as f64, "{calm} holds {held}");
        Ok(())
    })?;

    // A pipe that nobody writes to, in the place of files, in the collector's mount namespace alone.
    let pipe = std::env::temp_dir().join(format!("collector-test-hang-{}", std::process::id()));
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("make a pipe")?;
    let cleanup = Unlink(pipe.clone());
    collector.stop()?;
    let mut script = String::new();
    for number in 0..HANGING {
        let cgroup = cgroups.make(format!("hanging-{number}"))?;
        for (controller, file) in
            [("cpuacct", "cpuacct.stat"), ("memory", "memory.stat"), ("memory", "memory.limit_in_bytes")]
        {
            if let Ok(path) = cgroup.v1_file(controller, file) {
                use std::fmt::Write as _;
                writeln!(script, "mount --bind {} {}", pipe.display(), path.display())?;
            }
        }
    }
    ensure!(!script.is_empty(), "no file to put the pipe on");
    let mounted = Command::new(nsenter)
        .arg(format!("--mount=/proc/{}/ns/mnt", collector.pid()))
        .args(["sh", "-e", "-c", &script])
        .output()?;
    ensure!(mounted.status.success(), "mounting: {}", String::from_utf8_lossy(&mounted.stderr));
    collector.go_on()?;
    // Requests that read limits: they take the threads that requests have for reading.
    let address = collector.address();
    for number in 0..HANGING {
        let target = format!(
            "/api/v1.3/containers{}",
            bytes::url_encode(cgroups.at(format!("hanging-{number}")).name().as_bytes())
        );
        thread::spawn(move || {
            let stream = std::net::TcpStream::connect(address).ok()?;
            crate::support::http::request(stream, "GET", &target, None).ok()
        });
    }
    // Nothing is sampled any more: every thread that could hangs.
    let last_sample = || -> Result<f64> {
        let metrics = collector.metrics()?;
        Ok(metrics.sum("collector_samples_total"))
    };
    wait::eventually(wait::seconds(20), || {
        let before = last_sample()?;
        wait::pass(Duration::from_millis(700));
        ensure!(last_sample()? <= before, "samples are still taken");
        Ok(())
    })?;
    for _ in 0..10 {
        let asked = Instant::now();
        let metrics = collector.metrics()?;
        let took = asked.elapsed();
        ensure!(took < wait::seconds(2), "/metrics took {took:?}");
        let held = metrics.value("container_memory_rss", &[("id", &calm)]).unwrap_or_default();
        ensure!(held >= (8 * MIB) as f64, "{calm} is reported with {held}");
    }
    drop(collector);
    drop(cleanup);
    Ok(())
}

/// Removes a file in the end.
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
