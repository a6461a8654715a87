//! The measurements as a Markdown table, each beside the bar that it has to meet.

use std::fmt;
use std::time::Duration;

use super::REFERENCE;
use super::cgroups::{Hierarchies, Version};
use super::floor::Floor;

/// Everything measured in one run.
#[derive(Debug)]
pub(super) struct Report {
    machine: String,
    /// The collector at each number of cgroups, in ascending order.
    pub(super) rows: Vec<Row>,
    /// cAdvisor at some of them.
    pub(super) cadvisor: Vec<Peer>,
    /// With Docker containers.
    pub(super) docker: Vec<DockerRow>,
    /// Start until all are listed.
    pub(super) starts: Vec<Duration>,
    /// The most that other processes used at a time, in processors.
    pub(super) others: f64,
    /// Event latencies, sorted.
    pub(super) latencies: Vec<Duration>,
}

/// The collector at one number of cgroups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) size: usize,
    /// Microseconds of CPU per container and second.
    pub(super) cpu: f64,
    pub(super) floor: Floor,
    /// Resident bytes, after the history has filled.
    pub(super) resident: Option<u64>,
}

/// cAdvisor at one number of cgroups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) size: usize,
    /// Microseconds of CPU per container and second.
    pub(super) cpu: f64,
    /// Resident bytes, after the history has filled.
    pub(super) resident: Option<u64>,
}

/// One of the two with Docker containers.
#[derive(Clone, Copy, Debug)]
pub(super) struct DockerRow {
    /// Which of the two.
    pub(super) name: &'static str,
    pub(super) containers: usize,
    /// Microseconds of CPU per Docker container and second.
    pub(super) cpu: f64,
    /// What reading the same files costs, in the same run.
    pub(super) floor: Option<Floor>,
    /// Resident bytes with the containers.
    pub(super) resident: u64,
    /// A number of cgroups beside the containers, and microseconds of CPU per cgroup and second.
    pub(super) beside: Option<(usize, f64)>,
}

impl Report {
    /// An empty report about this machine.
    pub(super) fn new(hierarchies: &Hierarchies) -> Self {
        Self {
            machine: describe_machine(hierarchies.version),
            rows: Vec::new(),
            cadvisor: Vec::new(),
            docker: Vec::new(),
            starts: Vec::new(),
            others: 0.0,
            latencies: Vec::new(),
        }
    }

    fn peer(&self, size: usize) -> Option<&Peer> {
        self.cadvisor.iter().find(|peer| peer.size == size)
    }

    /// The lines of the second table.
    fn bars(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        let reference = self.rows.iter().find(|row| row.size == REFERENCE);
        if let Some(row) = reference {
            bars.push(Bar::new("CPU per container-second at 1,000", row.cpu, 40.0, "µs"));
            bars.push(Bar::new("the same, as a multiple of the floor", row.cpu / row.floor.micros, 3.0, "×"));
            if let Some(resident) = row.resident {
                bars.push(Bar::new("resident memory at 1,000, history full", resident as f64 / 1e6, 60.0, "MB"));
            }
        }
        if let Some(first) = self.rows.first() {
            // Descriptors suffice as long as the floor could keep all files open.
            let worst = |kept: bool| {
                let rows = self.rows.iter().skip(1).filter(|row| (row.floor.containers == row.size) == kept);
                rows.map(|row| row.cpu / first.cpu).max_by(f64::total_cmp)
            };
            let beside = format!("highest cost per container, relative to that at {}", first.size);
            if let Some(worst) = worst(true) {
                bars.push(Bar::new(&format!("{beside}, descriptors sufficing"), worst, 1.2, "×"));
            }
            if let Some(worst) = worst(false) {
                bars.push(Bar::new(&format!("{beside}, beyond"), worst, 2.5, "×"));
            }
        }
        if let Some(slowest) = self.starts.iter().max() {
            let name = format!("start until 1,000 are listed, slowest of {}", self.starts.len());
            bars.push(Bar::new(&name, slowest.as_secs_f64() * 1e3, 300.0, "ms"));
        }
        if let (Some(median), Some(late)) = (percentile(&self.latencies, 50), percentile(&self.latencies, 99)) {
            bars.push(Bar { limit: None, ..Bar::new("event to stream client, p50", millis(median), 0.0, "ms") });
            bars.push(Bar::new("event to stream client, p99", millis(late), 2.0, "ms"));
        }
        for row in &self.docker {
            let name = format!("{}: CPU per Docker container-second at {}", row.name, row.containers);
            let bar = Bar::new(&name, row.cpu, 100.0, "µs");
            let is_ours = row.name == "collector";
            bars.push(if is_ours { bar } else { Bar { limit: None, ..bar } });
            if let Some(floor) = row.floor {
                let name = format!("the floor of their {:.0} files", floor.files);
                bars.push(Bar { limit: None, ..Bar::new(&name, floor.micros, 0.0, "µs") });
                bars.push(Bar::new("the collector, as a multiple of it", row.cpu / floor.micros, 3.0, "×"));
            }
            if let Some((size, cpu)) = row.beside {
                bars.push(Bar::new(
                    &format!("{}: CPU per cgroup-second, {size} beside them", row.name),
                    cpu,
                    40.0,
                    "µs",
                ));
            }
            let name = format!("{}: resident memory with them", row.name);
            bars.push(Bar { limit: None, ..Bar::new(&name, row.resident as f64 / 1e6, 0.0, "MB") });
        }
        bars
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        if !self.rows.is_empty() {
            writeln!(f, "Microseconds of CPU per container and second, full statistics every second:\n")?;
            writeln!(f, "| cgroups | collector | floor | collector / floor | cAdvisor | cAdvisor / collector |")?;
            writeln!(f, "| ---: | ---: | ---: | ---: | ---: | ---: |")?;
        }
        for row in &self.rows {
            let peer = self.peer(row.size);
            let cadvisor = peer.map_or_else(String::new, |peer| format!("{:.0}", peer.cpu));
            let ratio = peer.map_or_else(String::new, |peer| format!("{:.1}", peer.cpu / row.cpu));
            let (floor, above) = (row.floor.micros, row.cpu / row.floor.micros);
            writeln!(f, "| {} | {:.1} | {floor:.1} | {above:.2} | {cadvisor} | {ratio} |", row.size, row.cpu)?;
        }
        if let Some(row) = self.rows.last() {
            writeln!(f, "\nThe floor reads {:.0} kept files per container once a second.", row.floor.files)?;
        }
        writeln!(f, "Everything else on the machine used up to {:.2} processors meanwhile.", self.others)?;
        writeln!(f, "\n| figure | measured | bar | |\n| --- | ---: | ---: | --- |")?;
        for bar in self.bars() {
            writeln!(f, "{bar}")?;
        }
        for (peer, bytes) in self.cadvisor.iter().filter_map(|peer| Some((peer, peer.resident?))) {
            writeln!(f, "| cAdvisor's resident memory at {} | {:.0} MB | | |", peer.size, bytes as f64 / 1e6)?;
        }
        Ok(())
    }
}

/// A figure and the most that it may be.
#[derive(Debug)]
pub(super) struct Bar {
    name: String,
    measured: f64,
    limit: Option<f64>,
    unit: &'static str,
}

impl Bar {
    /// Without a bar where the limit is infinite.
    pub(super) fn new(name: &str, measured: f64, limit: f64, unit: &'static str) -> Self {
        Self { name: name.to_owned(), measured, limit: limit.is_finite().then_some(limit), unit }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, verdict) = match self.limit {
            Some(limit) if self.measured <= limit => (format!("{limit} {}", self.unit), "ok"),
            Some(limit) => (format!("{limit} {}", self.unit), "NOT MET"),
            None => (String::new(), ""),
        };
        write!(f, "| {} | {:.2} {} | {limit} | {verdict} |", self.name, self.measured, self.unit)
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The smallest value that this many percent do not exceed, of sorted values.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// One line about the machine: system, kernel, processor, memory, cgroups.
fn describe_machine(version: Version) -> String {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once([':', '='])?.1.trim().trim_matches('"').to_owned())
    };
    let unknown = || "unknown".to_owned();
    let system = after(&text("/etc/os-release"), "PRETTY_NAME").unwrap_or_else(unknown);
    let cpuinfo = text("/proc/cpuinfo");
    let processor = after(&cpuinfo, "model name").unwrap_or_else(unknown);
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let memory = after(&text("/proc/meminfo"), "MemTotal").unwrap_or_else(unknown);
    let kernel = rustix::system::uname();
    let cgroups = match version {
        Version::V1 => "v1",
        Version::V2 => "v2",
    };
    format!(
        "{system}, kernel {}, {cores} × {processor}, {memory} of memory, controllers on cgroup {cgroups}",
        kernel.release().to_string_lossy()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(size: usize, cpu: f64, containers: usize) -> Row {
        Row { size, cpu, floor: Floor { micros: 10.0, files: 11.0, containers }, resident: Some(50_000_000) }
    }

    #[test]
    fn figures_stand_beside_their_bars() {
        let report = Report {
            machine: "a machine".to_owned(),
            rows: vec![row(100, 20.0, 100), row(1000, 30.0, 1000), row(5000, 40.0, 1800)],
            cadvisor: vec![Peer { size: 1000, cpu: 600.0, resident: Some(420_000_000) }],
            others: 0.02,
            docker: vec![DockerRow {
                name: "collector",
                containers: 50,
                cpu: 90.0,
                floor: Some(Floor { micros: 60.0, files: 12.0, containers: 50 }),
                resident: 20_000_000,
                beside: Some((1000, 41.0)),
            }],
            starts: vec![Duration::from_millis(100), Duration::from_millis(301)],
            latencies: (1..=100).map(|n| Duration::from_micros(n * 10)).collect(),
        };
        let text = report.to_string();
        for line in [
            "| 1000 | 30.0 | 10.0 | 3.00 | 600 | 20.0 |",
            "| CPU per container-second at 1,000 | 30.00 µs | 40 µs | ok |",
            "| resident memory at 1,000, history full | 50.00 MB | 60 MB | ok |",
            "descriptors sufficing | 1.50 × | 1.2 × | NOT MET |",
            "beyond | 2.00 × | 2.5 × | ok |",
            "slowest of 2 | 301.00 ms | 300 ms | NOT MET |",
            "| collector: CPU per Docker container-second at 50 | 90.00 µs | 100 µs | ok |",
            "| the floor of their 12 files | 60.00 µs |  |  |",
            "| the collector, as a multiple of it | 1.50 × | 3 × | ok |",
            "| collector: CPU per cgroup-second, 1000 beside them | 41.00 µs | 40 µs | NOT MET |",
            "| event to stream client, p50 | 0.50 ms |  |  |",
            "| event to stream client, p99 | 0.99 ms | 2 ms | ok |",
            "| cAdvisor's resident memory at 1000 | 420 MB | | |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn percentiles_of_few_values() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[Duration::from_secs(1)], 99), Some(Duration::from_secs(1)));
    }
}
