//! What the history has, as text for other programs: OpenMetrics for Prometheus, CSV for spreadsheets, JSON lines in the
//! shape that cAdvisor's storage drivers have.

use std::fmt::Write as _;
use std::sync::Arc;

use super::cadvisor::{events, stdout_line};
use super::wire::json::lossy;
use super::wire::time::GoTime;
use crate::sample::container::{IoStat, Pressure, Sample, Traffic};
use crate::sample::event::Event;
use crate::sample::identity::{Identity, kubernetes};
use crate::sample::unread::Part;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// OpenMetrics with times, as `promtool tsdb create-blocks-from openmetrics` reads it.
    OpenMetrics,
    /// A line for each sample, with a head.
    Csv,
    /// A line of JSON for each sample and each event.
    Json,
}

impl ExportFormat {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenMetrics => "openmetrics",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    /// The format of this name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::OpenMetrics, Self::Csv, Self::Json].into_iter().find(|format| format.name() == name)
    }

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/x-ndjson",
        }
    }

    /// How often the history is gone through: OpenMetrics wants all samples of a metric one after the other.
    pub const fn rounds(self) -> usize {
        match self {
            Self::OpenMetrics => METRICS.len(),
            Self::Csv | Self::Json => 1,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FigureKind {
    Counter,
    Gauge,
}

/// A number of a sample under the name it has at `/metrics`.
struct Metric {
    /// Without `_total`.
    name: &'static str,
    kind: FigureKind,
    help: &'static str,
    value: fn(&Sample) -> Option<f64>,
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Sample) -> Option<f64>) -> Metric {
    Metric { name, kind: FigureKind::Counter, help, value }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Sample) -> Option<f64>) -> Metric {
    Metric { name, kind: FigureKind::Gauge, help, value }
}

fn read(sample: &Sample, part: Part) -> Option<&Sample> {
    (!sample.unread.has(part)).then_some(sample)
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn traffic(sample: &Sample, of: fn(&Traffic) -> u64, receive: Direction) -> Option<f64> {
    let interfaces = sample.network.as_ref().map(|network| &network.interfaces).filter(|list| !list.is_empty())?;
    let one = interfaces.iter().map(|interface| match receive {
        Direction::In => of(&interface.receive),
        Direction::Out => of(&interface.transmit),
    });
    Some(one.sum::<u64>() as f64)
}

#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

fn moved(sample: &Sample, operation: &str) -> Option<f64> {
    let devices = read(sample, Part::Io)?.io.as_ref()?.devices.iter();
    let operations = devices.filter(|device| device.stat == IoStat::ServiceBytes).flat_map(|device| &device.operations);
    Some(operations.filter(|(name, _)| *name == operation).map(|(_, bytes)| *bytes).sum::<u64>() as f64)
}

fn waiting(pressure: Option<Pressure>) -> Option<f64> {
    Some(pressure?.some?.total.0 as f64 / 1e6)
}

const METRICS: [Metric; 19] = [
    counter("container_cpu_usage_seconds", "CPU time.", |sample| {
        Some(seconds(read(sample, Part::CpuTotal)?.cpu.as_ref()?.total.0))
    }),
    counter("container_cpu_user_seconds", "CPU time in user mode.", |sample| {
        Some(seconds(sample.cpu.as_ref()?.user?.0))
    }),
    counter("container_cpu_system_seconds", "CPU time in the kernel.", |sample| {
        Some(seconds(sample.cpu.as_ref()?.system?.0))
    }),
    counter("container_cpu_cfs_periods", "Periods of the CPU quota.", |sample| {
        Some(sample.cpu.as_ref()?.cfs?.periods? as f64)
    }),
    counter("container_cpu_cfs_throttled_periods", "Periods in which it was throttled.", |sample| {
        Some(sample.cpu.as_ref()?.cfs?.throttled_periods? as f64)
    }),
    counter("container_cpu_cfs_throttled_seconds", "Time in which it was throttled.", |sample| {
        Some(seconds(sample.cpu.as_ref()?.cfs?.throttled_time?.0))
    }),
    gauge("container_memory_usage_bytes", "Memory in use.", |sample| {
        Some(read(sample, Part::MemoryUsage)?.memory.as_ref()?.usage.0 as f64)
    }),
    gauge("container_memory_working_set_bytes", "Working set.", |sample| {
        Some(read(sample, Part::WorkingSet)?.memory.as_ref()?.working_set.0 as f64)
    }),
    gauge("container_memory_rss", "Anonymous memory.", |sample| {
        Some(read(sample, Part::Rss)?.memory.as_ref()?.rss.0 as f64)
    }),
    gauge("container_memory_cache", "Page cache.", |sample| {
        Some(read(sample, Part::Cache)?.memory.as_ref()?.cache.0 as f64)
    }),
    counter("container_network_receive_bytes", "Bytes received.", |sample| {
        traffic(sample, |traffic| traffic.bytes, Direction::In)
    }),
    counter("container_network_transmit_bytes", "Bytes sent.", |sample| {
        traffic(sample, |traffic| traffic.bytes, Direction::Out)
    }),
    counter("container_fs_reads_bytes", "Bytes read from block devices.", |sample| moved(sample, "Read")),
    counter("container_fs_writes_bytes", "Bytes written to block devices.", |sample| moved(sample, "Write")),
    counter("container_pressure_cpu_waiting_seconds", "Time in which something waited for a CPU.", |sample| {
        waiting(sample.cpu.as_ref()?.pressure)
    }),
    counter("container_pressure_memory_waiting_seconds", "Time in which something waited for memory.", |sample| {
        waiting(sample.memory.as_ref()?.pressure)
    }),
    counter("container_pressure_io_waiting_seconds", "Time in which something waited for a disk.", |sample| {
        waiting(sample.io.as_ref()?.pressure)
    }),
    gauge("container_threads", "Processes and threads.", |sample| Some(sample.processes?.threads? as f64)),
    counter("container_oom_events", "OOM kills.", |sample| Some(sample.oom_kills as f64)),
];

/// Whose samples are exported.
#[derive(Clone, Copy, Debug)]
pub struct Exported<'a> {
    /// The machine's name.
    pub machine: &'a str,
    /// The cgroup's name.
    pub name: &'a [u8],
    /// What its runtime reported.
    pub identity: Option<&'a Identity>,
}

impl Exported<'_> {
    /// Labels of the same names as at `/metrics`, without those that are empty.
    fn labels(&self) -> [(&'static str, String); 6] {
        let label =
            |key: &str| self.identity.and_then(|identity| identity.labels.get(key)).cloned().unwrap_or_default();
        let of =
            |text: fn(&Identity) -> Option<&str>| self.identity.and_then(text).map(str::to_owned).unwrap_or_default();
        [
            ("id", lossy(self.name).into_owned()),
            ("name", of(|identity| identity.aliases().next())),
            ("image", of(|identity| identity.image.as_deref())),
            ("namespace", label(kubernetes::POD_NAMESPACE)),
            ("pod", label(kubernetes::POD_NAME)),
            ("container", label(kubernetes::CONTAINER_NAME)),
        ]
    }
}

/// Appends what comes before the samples of a round.
pub fn begin(out: &mut Vec<u8>, format: ExportFormat, round: usize) {
    match format {
        ExportFormat::Json => {}
        ExportFormat::Csv => {
            out.extend_from_slice(b"timestamp,id,name,image,namespace,pod,container");
            for metric in &METRICS {
                out.push(b',');
                out.extend_from_slice(metric.name.as_bytes());
                if metric.kind == FigureKind::Counter {
                    out.extend_from_slice(b"_total");
                }
            }
            out.push(b'\n');
        }
        ExportFormat::OpenMetrics => {
            let Some(Metric { name, kind, help, .. }) = METRICS.get(round) else { return };
            let kind = if *kind == FigureKind::Counter { "counter" } else { "gauge" };
            out.extend_from_slice(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n").as_bytes());
        }
    }
}

/// Appends samples of one container.
pub fn samples(out: &mut Vec<u8>, format: ExportFormat, round: usize, of: &Exported<'_>, samples: &[Arc<Sample>]) {
    let mut line = String::new();
    match format {
        ExportFormat::Json => {
            for sample in samples {
                stdout_line::append(out, of.machine, of.name, of.identity, sample);
            }
        }
        ExportFormat::Csv => {
            let who: Vec<String> = of.labels().iter().map(|(_, value)| quoted(value)).collect();
            let who = who.join(",");
            for sample in samples {
                line.clear();
                // Writing to memory does not fail.
                let _ = write!(line, "{},{who}", GoTime(Some(sample.at)));
                for metric in &METRICS {
                    line.push(',');
                    if let Some(value) = (metric.value)(sample) {
                        let _ = write!(line, "{value}");
                    }
                }
                line.push('\n');
                out.extend_from_slice(line.as_bytes());
            }
        }
        ExportFormat::OpenMetrics => {
            let Some(metric) = METRICS.get(round) else { return };
            let labels = of.labels();
            let labels = labels.iter().filter(|(_, value)| !value.is_empty());
            let labels: Vec<_> = labels.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let total = if metric.kind == FigureKind::Counter { "_total" } else { "" };
            let series = format!("{}{total}{{{}}}", metric.name, labels.join(","));
            for sample in samples {
                if let Some(value) = (metric.value)(sample) {
                    line.clear();
                    let millis = sample.at.millis();
                    let _ = writeln!(line, "{series} {value} {}.{:03}", millis / 1000, millis % 1000);
                    out.extend_from_slice(line.as_bytes());
                }
            }
        }
    }
}

/// Appends an event, where the format has room for one.
pub fn event(out: &mut Vec<u8>, format: ExportFormat, event: &Event) {
    if format == ExportFormat::Json {
        events::append_line(out, event);
    }
}

/// Appends what comes at the very end.
pub fn end(out: &mut Vec<u8>, format: ExportFormat) {
    if format == ExportFormat::OpenMetrics {
        out.extend_from_slice(b"# EOF\n");
    }
}

/// A field of CSV. What a spreadsheet would take for a formula is text to it with a quote before it.
fn quoted(text: &str) -> String {
    let risky = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if risky || text.contains([',', '"', '\n', '\r']) {
        format!("\"{}{}\"", if risky { "'" } else { "" }, text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::sample::container::{Cpu, Memory};
    use crate::sample::identity::Runtime;
    use crate::units::{Bytes, Nanos, WallTime};

    fn rendered(format: ExportFormat) -> String {
        let sample = |second: u64| {
            Arc::new(Sample {
                at: WallTime((1_700_000_000 + second) * 1_000_000_000 + 5_000_000),
                cpu: Some(Cpu { total: Nanos(second * 1_500_000_000), ..Cpu::default() }),
                memory: Some(Memory { working_set: Bytes(4096), ..Memory::default() }),
                ..Sample::default()
            })
        };
        let mut identity = Identity::from_path(Runtime::Docker, "abc".to_owned());
        identity.name = Some("=web,\"1\"\n".to_owned());
        let of = Exported { machine: "node", name: b"/docker/\xff", identity: Some(&identity) };
        let mut out = Vec::new();
        for round in 0..format.rounds() {
            begin(&mut out, format, round);
            samples(&mut out, format, round, &of, &[sample(1), sample(11)]);
        }
        end(&mut out, format);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn openmetrics_has_each_metric_once_and_times() {
        let text = rendered(ExportFormat::OpenMetrics);
        let first = text.lines().take(4).collect::<Vec<_>>().join("\n") + "\n";
        expect![[r#"
            # HELP container_cpu_usage_seconds CPU time.
            # TYPE container_cpu_usage_seconds counter
            container_cpu_usage_seconds_total{id="/docker/�",name="=web,\"1\"\n"} 1.5 1700000001.005
            container_cpu_usage_seconds_total{id="/docker/�",name="=web,\"1\"\n"} 16.5 1700000011.005
        "#]]
        .assert_eq(&first);
        assert!(text.ends_with("# EOF\n") && text.matches("# TYPE container_oom_events ").count() == 1);
        assert!(!text.contains("container_cpu_user_seconds_total{"), "what is absent is not 0");
    }

    #[test]
    fn csv_has_a_head_and_harmless_fields() {
        let text = rendered(ExportFormat::Csv);
        let (head, rest) = text.split_once('\n').unwrap();
        assert!(head.starts_with("timestamp,id,name,image,namespace,pod,container,container_cpu_usage_seconds_total,"));
        assert!(
            rest.starts_with("2023-11-14T22:13:21.005Z,/docker/\u{fffd},\"'=web,\"\"1\"\"\n\",,,,,1.5,,,,"),
            "{rest}"
        );
        assert_eq!(rest.matches("2023-11-14").count(), 2);
    }

    #[test]
    fn json_is_a_line_each() {
        let text = rendered(ExportFormat::Json);
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["container_stats"]["memory"]["working_set"], 4096);
    }

    #[test]
    fn formats_have_names() {
        for format in [ExportFormat::OpenMetrics, ExportFormat::Csv, ExportFormat::Json] {
            assert_eq!(ExportFormat::of(format.name()), Some(format));
        }
        assert_eq!(ExportFormat::of("xml"), None);
    }
}
