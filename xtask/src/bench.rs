//! `cargo xtask bench`: what the collector costs, beside what the kernel asks for the same numbers.
//!
//! The cgroups are made here and removed again, also after a failure or Ctrl-C. CPU time is that of the measured
//! process alone, less what it uses on the idle machine. The floor is a loop that reads the same files of the same
//! cgroups through descriptors kept open, and does nothing with them; the collector is stopped meanwhile.

mod api;
pub(crate) mod cgroups;
mod docker;
mod floor;
mod latency;
mod look_back;
mod metrics;
mod page;
pub(crate) mod process;
mod processes;
mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use self::cgroups::{Hierarchies, Tree};
use self::process::Process;
pub(crate) use self::processes::{HoldArgs, hold};
use self::report::{Report, Row};
use crate::interrupt::Interrupt;
use crate::privilege::Privilege;
use crate::workspace;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Numbers of cgroups to measure with
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 1700, 3000, 5000])]
    containers: Vec<usize>,
    /// The collector to measure, in place of a release build
    #[arg(long, value_name = "PATH")]
    collector: Option<PathBuf>,
    /// Measure cAdvisor beside it, at up to 1,000 cgroups: this one, or that of Debian
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = DEBIANS)]
    cadvisor: Option<PathBuf>,
    /// Measure with this many Docker containers in place of the numbers of cgroups
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    docker: Option<u16>,
    /// Seconds that each measurement of CPU time lasts
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    window: u64,
    /// Seconds of history before resident memory is measured
    #[arg(long, default_value_t = 125)]
    history: u64,
    /// Measure answers of /metrics instead
    #[arg(long)]
    metrics: bool,
    /// Measure one tab of the page instead, over 3,000 cgroups, in Chromium
    #[arg(long)]
    page: bool,
    #[command(flatten)]
    beside: Beside,
    /// Measure statistics of processes instead, over 200 cgroups with 20,000 threads and 100,000 descriptors
    #[arg(long)]
    processes: bool,
}

/// What is measured of what runs beside the sampling.
#[derive(Debug, clap::Args)]
struct Beside {
    /// Measure what `--history_dir` adds instead, over 1,000 cgroups
    #[arg(long)]
    look_back: bool,
    /// Measure `collector top` instead, over 1,000 cgroups
    #[arg(long)]
    top: bool,
}

/// Stands for the cAdvisor of Debian.
const DEBIANS: &str = "debian";
/// At this number of cgroups memory and start are measured, and beyond it cAdvisor is not.
const REFERENCE: usize = 1000;
/// Of the numbers of cgroups these are measured with /metrics.
const METRICS_SIZES: [usize; 3] = [100, REFERENCE, 5000];
/// How often is sampled where sampling is what is measured.
const INTERVAL: &str = "1s";
/// Between a change and a measurement.
const SETTLE: Duration = Duration::from_secs(5);
/// A window is measured in parts of about this length.
const PART: Duration = Duration::from_secs(4);
/// How often the start is timed.
const STARTS: usize = 3;

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    ensure!(Privilege::detect() == Privilege::Root, "making cgroups needs root: run `cargo xtask bench` as root");
    let interrupt = Interrupt::install()?;
    let collector = match &args.collector {
        Some(path) => path.clone(),
        None => workspace::build_release()?,
    };
    let cadvisor = match &args.cadvisor {
        Some(path) if path.as_os_str() == DEBIANS => Some(crate::cadvisor::fetch()?),
        path => path.clone(),
    };
    let logs = workspace::target().join("bench");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let mut sizes = args.containers.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let bench = Bench {
        hierarchies: Hierarchies::detect()?,
        interrupt,
        logs,
        window: Duration::from_secs(args.window),
        history: Duration::from_secs(args.history),
    };
    let bars = match args {
        Args { page: true, .. } => Some(bench.measure_page(&collector)?),
        Args { beside: Beside { look_back: true, .. }, .. } => Some(bench.measure_look_back(&collector)?),
        Args { beside: Beside { top: true, .. }, .. } => Some(bench.measure_top(&collector)?),
        _ => None,
    };
    if let Some(bars) = bars {
        println!("\n| figure | measured | bar | |\n| --- | ---: | ---: | --- |");
        for bar in bars {
            println!("{bar}");
        }
        return Ok(());
    }
    if args.processes {
        println!("\n{}", bench.measure_processes(&collector)?);
        return Ok(());
    }
    if args.metrics {
        let sizes: Vec<_> = sizes.into_iter().filter(|size| METRICS_SIZES.contains(size)).collect();
        let mut rows = bench.measure_scrapes(("collector", &collector, "/readyz"), &sizes)?;
        if let Some(cadvisor) = &cadvisor {
            let sizes: Vec<_> = sizes.into_iter().filter(|size| *size <= REFERENCE).collect();
            rows.extend(bench.measure_scrapes(("cadvisor", cadvisor, "/healthz"), &sizes)?);
        }
        println!("\n{}", metrics::Table(rows));
        return Ok(());
    }
    let mut report = Report::new(&bench.hierarchies);
    if let Some(count) = args.docker {
        bench.measure_docker(&collector, cadvisor.as_deref(), count.into(), &mut report)?;
    } else {
        bench.measure_collector(&collector, &sizes, &mut report)?;
        if let Some(cadvisor) = &cadvisor {
            bench.measure_cadvisor(cadvisor, &sizes, &mut report)?;
        }
    }
    println!("\n{report}");
    Ok(())
}

/// What all measurements share.
struct Bench {
    hierarchies: Hierarchies,
    interrupt: Interrupt,
    logs: PathBuf,
    window: Duration,
    history: Duration,
}

impl Bench {
    fn measure_collector(&self, binary: &Path, sizes: &[usize], report: &mut Report) -> Result<()> {
        let process = self.start(binary, "collector", "/readyz", INTERVAL, &[])?;
        let mut tree = Tree::new(&self.hierarchies)?;
        say("events");
        report.latencies = latency::measure(&process.api, &mut tree, &self.interrupt)?;
        say("the idle machine");
        self.interrupt.sleep(SETTLE)?;
        let idle = self.cpu_over_window(&process, report)?;
        for &size in sizes {
            say(&format!("{size} cgroups"));
            tree.grow_to(size, &self.interrupt)?;
            let grown = Instant::now();
            let stopped = process.stop()?;
            let floor = floor::measure(tree.files(), self.window / 2, &self.interrupt)?;
            if size == REFERENCE {
                for _ in 0..STARTS {
                    report.starts.push(self.time_start(binary, &tree)?);
                }
            }
            drop(stopped);
            self.interrupt.sleep(SETTLE)?;
            let cpu = per_container(self.cpu_over_window(&process, report)?, idle, size);
            let mut row = Row { size, cpu, floor, resident: None };
            if size == REFERENCE {
                self.interrupt.sleep_until(grown + self.history)?;
                row.resident = Some(process.resident_bytes()?);
            }
            report.rows.push(row);
        }
        Ok(())
    }

    fn measure_cadvisor(&self, binary: &Path, sizes: &[usize], report: &mut Report) -> Result<()> {
        let process = self.start(binary, "cadvisor", "/healthz", INTERVAL, &[])?;
        let mut tree = Tree::new(&self.hierarchies)?;
        say("cAdvisor on the idle machine");
        self.interrupt.sleep(SETTLE)?;
        let idle = self.cpu_over_window(&process, report)?;
        for &size in sizes.iter().filter(|size| **size <= REFERENCE) {
            say(&format!("cAdvisor with {size} cgroups"));
            tree.grow_to(size, &self.interrupt)?;
            let grown = Instant::now();
            self.interrupt.sleep(SETTLE)?;
            let cpu = per_container(self.cpu_over_window(&process, report)?, idle, size);
            let mut resident = None;
            if size == REFERENCE {
                self.interrupt.sleep_until(grown + self.history)?;
                resident = Some(process.resident_bytes()?);
            }
            report.cadvisor.push(report::Peer { size, cpu, resident });
        }
        Ok(())
    }

    /// Starts a process that samples at an interval, with more flags, and waits until it answers.
    fn start(&self, binary: &Path, name: &str, ready: &str, interval: &str, flags: &[&str]) -> Result<Process> {
        let process = Process::start(binary, &self.logs.join(format!("{name}.log")), interval, flags)?;
        let end = Instant::now() + Duration::from_secs(30);
        while !process.api.answers(ready) {
            process.ensure_running()?;
            ensure!(Instant::now() < end, "{} does not answer at {ready} within 30 s", binary.display());
            self.interrupt.sleep(Duration::from_millis(100))?;
        }
        Ok(process)
    }

    /// From starting the collector until it lists all cgroups of the tree.
    fn time_start(&self, binary: &Path, tree: &Tree) -> Result<Duration> {
        let started = Instant::now();
        let process = Process::start(binary, &self.logs.join("start.log"), INTERVAL, &[])?;
        let end = started + Duration::from_mins(1);
        loop {
            // The parent is listed too.
            let listed = process.api.subcontainers(tree.name()).unwrap_or(0);
            if listed > tree.len() {
                return Ok(started.elapsed());
            }
            process.ensure_running()?;
            ensure!(Instant::now() < end, "only {listed} of {} cgroups are listed after 60 s", tree.len());
            self.interrupt.check()?;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// CPU time per second of real time: the median of the window's parts, so that a burst of something else on the
    /// machine does not count.
    fn cpu_over_window(&self, process: &Process, report: &mut Report) -> Result<f64> {
        let parts = (self.window.as_secs() / PART.as_secs()).max(1) as u32;
        let mut rates = Vec::new();
        for _ in 0..parts {
            let (before, machine, started) = (process.cpu()?, process::machine_busy()?, Instant::now());
            self.interrupt.sleep_until(started + self.window / parts)?;
            let (used, elapsed) = (process.cpu()?.since(&before).as_secs_f64(), started.elapsed().as_secs_f64());
            rates.push(used / elapsed);
            let others = (process::machine_busy()?.saturating_sub(machine).as_secs_f64() - used) / elapsed;
            report.others = report.others.max(others);
        }
        Ok(median(rates))
    }
}

/// The middle value.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) && middle > 0 {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values.get(middle).copied().unwrap_or(f64::NAN)
    }
}

/// Microseconds per container and second, from CPU time per second with and without the containers.
fn per_container(busy: f64, idle: f64, size: usize) -> f64 {
    (busy - idle) * 1e6 / size as f64
}

/// Progress, on standard error: the report is the output.
fn say(what: &str) {
    eprintln!("measuring: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_a_burst() {
        assert!((median(vec![1.0, 90.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 2.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn the_idle_share_is_no_cost_of_containers() {
        assert!((per_container(0.05, 0.01, 1000) - 40.0).abs() < 1e-9);
    }
}
