//! A real Prometheus scrapes the collector while containers come and go.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, figures};
use crate::support::prometheus::{Prometheus, check_metrics};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Error, Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("prometheus::promtool", promtool).within(120),
    // Five seconds.
    Case::new("prometheus::empty_labels_are_none", empty_labels).within(120),
    // Fifteen seconds.
    Case::new("prometheus::the_first_scrape_loses_nothing", the_first_scrape_loses_nothing).within(120),
    Case::new("prometheus::scrapes", || scrapes(&[])).within(900),
    Case::new("prometheus::scrapes_with_times", || scrapes(&["--metrics_timestamps"])).within(900),
];

/// Kinds that are off by default, too.
const EVERYTHING: &str = "--disable_metrics=referenced_memory,resctrl";

/// The one name of ours that breaks a rule of style: it has the word counter in it, which it counts.
const OURS: &str = "collector_counter_regressions_total ";

/// Nothing is wrong but names, and these are cAdvisor's.
fn promtool() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("work")?;
    let _work = Plan::new(Work::Network(10), &cgroup).start_ready()?;
    for flags in [&[][..], &[EVERYTHING, "--metrics_timestamps"], &["--metrics_profile=recommended"]] {
        let collector = Collector::start(flags)?;
        wait::eventually(wait::seconds(5), || {
            let reported = collector.metrics()?.value("container_memory_usage_bytes", &[("id", &cgroup.name())]);
            reported.map(drop).context("the cgroup is not reported")
        })?;
        for path in ["/metrics", "/metrics/cadvisor"] {
            let text = collector.get(path)?.text();
            let checked = check_metrics(&text)?;
            let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
            // 0: clean; 3: readable, but with names that break a rule of style.
            ensure!(matches!(checked.status.code(), Some(0 | 3)), "{path} with {flags:?}: {}: {said}", checked.status);
            let style = ["suffix", "snake_case", "abbreviated units"];
            let known = |line: &&str| {
                let of_cadvisor = ["cadvisor_", "container_", "machine_"].iter().any(|prefix| line.starts_with(prefix));
                of_cadvisor && style.iter().any(|rule| line.contains(rule)) || line.starts_with(OURS)
            };
            let other: Vec<_> = said.lines().filter(|line| !known(line)).collect();
            ensure!(other.is_empty(), "{path} with {flags:?}: {other:?}");
        }
    }
    Ok(())
}

/// A label without a value, as cAdvisor writes it, and none, as the collector does, are the same to Prometheus.
fn empty_labels() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let as_cadvisor = listener.local_addr()?;
    thread::spawn(move || {
        let body = "with_empty{image=\"\"} 1\nwithout 2\n";
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n");
            let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
        }
    });
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("bare")?;
    let collector = Collector::start(&[])?;
    let jobs = [
        ("cadvisor", as_cadvisor, "/metrics"),
        ("collector", collector.address(), "/metrics"),
        ("kubelet", collector.address(), "/metrics/cadvisor"),
    ];
    let prometheus = Prometheus::start(&jobs)?;
    wait::eventually(wait::seconds(20), || {
        // One to one, by all of their labels.
        let sum = prometheus.number("with_empty + without")?;
        ensure!(sum as u64 == 3, "{sum}");
        let id = cgroup.name();
        for job in ["collector", "kubelet"] {
            for label in ["image", "name", "container_label_x", "pod"] {
                let series = format!("container_memory_usage_bytes{{job=\"{job}\",id=\"{id}\",{label}");
                prometheus.number(&format!("{series}=\"\"}}"))?;
                let others = prometheus.query(&format!("{series}!=\"\"}}"))?;
                ensure!(others.is_empty(), "{job} has {label} on {id}");
            }
        }
        Ok(())
    })?;
    ensure!(prometheus.complaints().is_empty(), "{:?}", prometheus.complaints());
    let text = collector.get("/metrics")?.text() + &collector.get("/metrics/cadvisor")?.text();
    ensure!(!text.contains("=\"\""), "a label without a value");
    Ok(())
}

/// What a container used before Prometheus came to know it is in `increase()`, since protobuf says when it was made. A
/// histogram comes as a native one.
fn the_first_scrape_loses_nothing() -> Result<()> {
    let collector = Collector::start(&["--metrics_timestamps", "--enable_metrics=cpu,runqueue"])?;
    let prometheus = Prometheus::that_knows_beginnings(collector.address())?;
    let cgroups = Cgroups::new(Set::Every)?;
    let collected = wait::eventually(wait::seconds(20), || prometheus.number("collector_containers"))?;
    ensure!(collected >= 1.0, "{collected} containers");
    let cgroup = cgroups.make("burner")?;
    let id = cgroup.name();
    ensure!(Plan::new(Work::Burn(2_000), &cgroup).run()?.success(), "the workload failed");
    let series = format!("container_cpu_usage_seconds_total{{id=\"{id}\"}}");
    // Where others take the CPU there are scrapes while it burns.
    let used = wait::eventually(wait::seconds(20), || {
        let samples = prometheus.number(&format!("min(count_over_time({series}[5m]))"))?;
        // The first is the beginning.
        ensure!(samples >= 3.0, "{samples} samples of {id}");
        let used = prometheus.number(&format!("sum({series})"))?;
        ensure!((2.0 * 0.99..=2.0 * 1.01).contains(&used), "the scene does not work: {used} s");
        Ok(used)
    })?;
    let last = prometheus.number(&format!("max(timestamp({series}))"))?;
    // Up to the last sample: beyond it Prometheus would guess.
    let increase = prometheus.number(&format!("sum(increase({series}[5m] @ {last}))"))?;
    ensure!((2.0 * 0.99..=2.0 * 1.01).contains(&increase), "increase() is {increase} of {used} s");
    native_histogram(&collector, &prometheus, &id)?;
    ensure!(prometheus.complaints().is_empty(), "{:?}", prometheus.complaints());
    Ok(())
}

/// The waits of a cgroup in which nothing runs any more.
fn native_histogram(collector: &Collector, prometheus: &Prometheus, id: &str) -> Result<()> {
    if collector.health()?.contains("kind runqueue") {
        // This kernel does not take the program.
        return Ok(());
    }
    let labels = [("id", id)];
    wait::eventually(wait::seconds(10), || {
        let metrics = collector.metrics()?;
        let value = |part: &str| metrics.value(&format!("container_cpu_runqueue_wait_seconds_{part}"), &labels);
        let (count, sum) = value("count").zip(value("sum")).context("no waits")?;
        let series = format!("container_cpu_runqueue_wait_seconds{{id=\"{id}\"}}");
        let counted = prometheus.number(&format!("histogram_count({series})"))?;
        let summed = prometheus.number(&format!("histogram_sum({series})"))?;
        ensure!(count > 0.0 && (counted, summed) == (count, sum), "{counted} of {count} waits, {summed} s of {sum}");
        let median = prometheus.number(&format!("histogram_quantile(0.5, {series})"))?;
        // By the classic buckets: between the bounds around half of them.
        let mut buckets: Vec<(f64, f64)> = metrics
            .series("container_cpu_runqueue_wait_seconds_bucket", &labels)
            .filter_map(|line| Some((line.label("le").parse().ok()?, line.value())))
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let at = buckets.iter().position(|(_, up_to)| *up_to >= count / 2.0).context("no bucket has half of them")?;
        let lower = at.checked_sub(1).map_or(0.0, |before| buckets[before].0);
        ensure!(lower <= median && median <= buckets[at].0, "half took up to {median} s: {buckets:?}");
        figures("native histogram", &format!("{counted} waits, half of them up to {median} s"));
        Ok(())
    })
}

/// How long is scraped.
fn duration() -> Duration {
    let seconds = std::env::var("COLLECTOR_PROMETHEUS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// What Prometheus counts when it does not like a sample.
const REJECTED: [&str; 5] = [
    "prometheus_target_scrapes_sample_out_of_order_total",
    "prometheus_target_scrapes_sample_duplicate_timestamp_total",
    "prometheus_target_scrapes_sample_out_of_bounds_total",
    "prometheus_target_scrapes_exceeded_sample_limit_total",
    "prometheus_target_scrapes_exemplar_out_of_order_total",
];

fn scrapes(flags: &[&str]) -> Result<()> {
    let collector = Collector::start(&[flags, &["--ended_container_retention=5s", EVERYTHING]].concat())?;
    let cgroups = Cgroups::new(Set::Every)?;
    let calm = cgroups.make("calm")?;
    let _hold = Plan::new(Work::Hold(8), &calm).start_ready()?;
    let busy = cgroups.make("busy")?;
    let _spin = Plan::new(Work::Spin, &busy).start_ready()?;
    let jobs = [("collector", collector.address(), "/metrics"), ("kubelet", collector.address(), "/metrics/cadvisor")];
    let prometheus = Prometheus::start(&jobs)?;
    let done = AtomicBool::new(false);
    let cycles = thread::scope(|scope| {
        // The same names again and again, and ever new ones.
        let churn = scope.spawn(|| -> Result<usize> {
            let mut cycles = 0;
            while !done.load(Ordering::Relaxed) {
                let again = cgroups.make(format!("churn-{}", cycles % 4))?;
                let new = cgroups.make(format!("churn-new-{cycles}"))?;
                ensure!(Plan::new(Work::Burn(20), &again).run()?.success(), "a burner failed");
                wait::pass(Duration::from_millis(100));
                again.remove()?;
                new.remove()?;
                cycles += 1;
            }
            Ok(cycles)
        });
        let end = Instant::now() + duration();
        while Instant::now() < end && !churn.is_finished() {
            wait::pass(Duration::from_millis(200));
        }
        done.store(true, Ordering::Relaxed);
        churn.join().map_err(|_| Error::msg("the churning thread panicked"))?
    })?;
    ensure!(cycles > 20, "only {cycles} containers came and went");

    let own = prometheus.own_metrics()?;
    for counter in REJECTED {
        ensure!(own.has(counter), "Prometheus has no {counter}");
        ensure!(own.sum(counter) == 0.0, "{counter} is {}: {}", own.sum(counter), prometheus.last_words());
    }
    ensure!(prometheus.complaints().is_empty(), "{:?}", prometheus.complaints());
    let span = duration().as_secs();
    for job in ["collector", "kubelet"] {
        let up = prometheus.number(&format!("min_over_time(up{{job=\"{job}\"}}[{span}s])"))?;
        ensure!(up >= 1.0, "a scrape of {job} failed");
        let scrapes = prometheus.number(&format!("count_over_time(up{{job=\"{job}\"}}[{span}s])"))?;
        ensure!(scrapes >= span as f64 * 0.35, "{scrapes} scrapes in {span} s");
    }
    values_are_the_apis(&prometheus, &collector, &calm.name(), &busy.name())?;
    // What ended is no longer there; with times of its own it fades by Prometheus' rule.
    if flags.is_empty() {
        wait::eventually(wait::seconds(10), || {
            let query = format!("container_memory_usage_bytes{{job=\"collector\",id=~\"{}/churn.*\"}}", cgroups.name());
            let left = prometheus.query(&query)?;
            ensure!(left.is_empty(), "{} containers that ended still have memory", left.len());
            Ok(())
        })?;
    }
    println!("    {cycles} containers came and went in {span} s; no sample was rejected");
    Ok(())
}

/// What Prometheus has stored is what the API has.
fn values_are_the_apis(prometheus: &Prometheus, collector: &Collector, calm: &str, busy: &str) -> Result<()> {
    wait::eventually(wait::seconds(10), || {
        let stored = prometheus.number(&format!("container_memory_rss{{job=\"collector\",id=\"{calm}\"}}"))?;
        let stats = collector.container(calm)?.stats;
        let held = stats.iter().filter_map(|stats| Some(stats.memory.as_ref()?.rss as f64)).collect::<Vec<_>>();
        ensure!(held.contains(&stored), "memory is {stored} in Prometheus, the API has {held:?}");
        Ok(())
    })?;
    // Every stored value of a counter is one of the API's samples.
    let series =
        prometheus.query(&format!("container_cpu_user_seconds_total{{job=\"collector\",id=\"{busy}\"}}[20s]"))?;
    let stored: Vec<_> = series.iter().flat_map(|series| &series.values).collect();
    let samples: BTreeSet<u64> = collector
        .container(busy)?
        .stats
        .iter()
        .filter_map(|stats| Some((stats.cpu.as_ref()?.usage.user as f64 / 1e9).to_bits()))
        .collect();
    ensure!(stored.len() >= 5, "only {} values are stored", stored.len());
    for (at, value) in stored {
        let number: f64 = value.parse()?;
        ensure!(samples.contains(&number.to_bits()), "at {at} {value} s are stored, which no sample of the API has");
    }
    Ok(())
}
