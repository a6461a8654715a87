//! The table is complete, and its names are those that others have.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use expect_test::expect_file;

use super::*;
use crate::sample::container::{Cpu, Memory};
use crate::units::{Bytes, Nanos};

/// Rows of `collector statistics`, as the end-to-end tests hold the page against every kernel.
fn listed() -> BTreeSet<&'static str> {
    let page = include_str!("../../../../docs/statistics.md");
    let (_, table) = page.split_once("<!-- table:statistics -->").unwrap();
    let (table, _) = table.split_once("<!-- /table:statistics -->").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.filter(|name| *name != "statistic" && !name.starts_with('-')).collect()
}

#[test]
fn every_statistic_is_pushed() {
    let pushed: BTreeSet<_> = ROWS.iter().map(|row| row.statistic).filter(|name| !name.is_empty()).collect();
    assert_eq!(pushed, listed());
    for statistic in &pushed {
        let rows = || ROWS.iter().filter(|row| row.statistic == *statistic);
        assert!(rows().any(|row| !row.otlp.is_empty()), "{statistic} has no metric of OTLP");
        assert!(rows().any(|row| !row.influx.is_empty()), "{statistic} has no measurement of InfluxDB");
    }
}

#[test]
fn names_are_those_that_others_have() {
    // What /metrics and the API answer with everything on.
    let metrics = [
        include_str!("../../api/prometheus/tests/golden/v1_everything.txt"),
        include_str!("../../api/prometheus/tests/golden/v2.txt"),
        include_str!("../../api/prometheus/tests/golden/v2_recommended.txt"),
        include_str!("../../../../docs/metrics.md"),
    ];
    for row in ROWS.iter().filter(|row| !row.prometheus.is_empty()) {
        assert!(metrics.iter().any(|page| page.contains(row.prometheus)), "{}", row.prometheus);
    }
    for Histogram { prometheus, .. } in HISTOGRAMS {
        assert!(metrics[3].contains(prometheus), "{prometheus}");
    }
    let api = [
        include_str!("../../api/golden/v1_container_full.json"),
        include_str!("../../api/golden/v2_1_stats_full.json"),
        include_str!("../../../../docs/api.md"),
        include_str!("../../../../docs/statistics.md"),
    ];
    for row in ROWS.iter().filter(|row| !row.json.is_empty()) {
        let key = row.json.rsplit('.').next().unwrap();
        assert!(api.iter().any(|page| page.contains(&format!("\"{key}\""))), "{}", row.json);
    }
    for Histogram { json, .. } in HISTOGRAMS {
        let key = json.rsplit('.').next().unwrap();
        assert!(api[1].contains(&format!("\"{key}\"")), "{json}");
    }
}

#[test]
fn a_metric_is_one() {
    for (position, row) in ROWS.iter().enumerate().filter(|(_, row)| !row.otlp.is_empty()) {
        let others = ROWS[position + 1..].iter().filter(|other| other.otlp == row.otlp);
        for other in others {
            assert_eq!((row.kind, row.unit, row.detail), (other.kind, other.unit, other.detail), "{}", row.otlp);
            assert_ne!((row.attributes, row.statistic), (other.attributes, other.statistic), "{}", row.otlp);
        }
        let last = ROWS[position..].iter().rposition(|other| other.otlp == row.otlp).unwrap();
        assert!(
            ROWS[position..=position + last].iter().all(|other| other.otlp == row.otlp),
            "{} is torn apart",
            row.otlp
        );
    }
}

#[test]
fn what_could_not_be_read_is_absent() {
    let memory = Memory { usage: Bytes(5), ..Memory::default() };
    let cpu = Cpu { total: Nanos(7), ..Cpu::default() };
    let mut sample = Sample { cpu: Some(cpu), memory: Some(memory), ..Sample::default() };
    let spec = Spec::default();
    let values = |sample: &Sample, statistic: &str| {
        let seen = Seen { sample, spec: &spec, storage: None, machine_memory: None };
        let rows = ROWS.iter().filter(|row| row.statistic == statistic);
        rows.flat_map(|row| row.points(&seen)).map(|point| point.number).collect::<Vec<_>>()
    };
    assert_eq!(values(&sample, "memory.usage"), [Number::Count(5)]);
    assert_eq!(values(&sample, "cpu.usage.total"), [Number::Nanos(7)]);
    assert_eq!(values(&sample, "memory.swap"), []);
    sample.unread.add(Part::MemoryUsage);
    sample.unread.add(Part::CpuTotal);
    assert_eq!(values(&sample, "memory.usage"), []);
    assert_eq!(values(&sample, "cpu.usage.total"), []);
}

#[test]
fn the_page_of_names_is_current() {
    let mut page = String::from(
        "# Names of what is pushed\n\n\
         Written from the table that the encoders of OTLP, InfluxDB and statsd are loops over \
         (`collector/src/push/statistics/rows.rs`); a test holds it against the rows of \
         [`collector statistics`](statistics.md). Names of OTLP are the semantic conventions' (1.44) where they have one, \
         else in the same style. What is marked with * has many values for each container and is pushed by OTLP with \
         `--otlp_details` alone. Remote write has the families of Prometheus. Times are in seconds, but in nanoseconds in \
         InfluxDB, statsd and JSON. Measurements that cAdvisor's storage driver has carry its names. – is what that format \
         does not have. Attributes of OTLP's resources (`host.*`, `container.*`, `k8s.*` and others) are not in this table \
         but in `collector/src/push/otlp/encode.rs`.\n\n\
         | statistic | Prometheus | OTLP | InfluxDB | statsd | JSON |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let code = |text: &str| if text.is_empty() { "–".to_owned() } else { format!("`{text}`") };
    for row in ROWS {
        let mut otlp = code(row.otlp);
        if !row.otlp.is_empty() {
            let fixed: Vec<_> = row.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let kind = match row.kind {
                Kind::Counter => "counter",
                Kind::UpDownCounter => "up-down counter",
                Kind::Gauge => "gauge",
            };
            write!(otlp, "{} {kind}, {}", if row.detail == Detail::OnRequest { "*" } else { "" }, row.unit).unwrap();
            if !fixed.is_empty() {
                write!(otlp, ", {}", fixed.join(", ")).unwrap();
            }
        }
        let influx = match row.tags {
            [] => code(row.influx),
            tags => {
                let tags: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("`{}` {}", row.influx, tags.join(", "))
            }
        };
        let statistic = if row.statistic.is_empty() { "–" } else { row.statistic };
        writeln!(
            page,
            "| {statistic} | {} | {otlp} | {influx} | {} | {} |",
            code(row.prometheus),
            code(row.statsd),
            code(row.json)
        )
        .unwrap();
    }
    page.push_str(
        "\n## Histograms\n\n\
         Of the kinds `runqueue` and `blocklatency`, in seconds. OTLP has them with every bucket of the programs (histograms with \
         explicit bounds), remote write as the series of `/metrics`; InfluxDB and statsd do not have them.\n\n\
         | Prometheus | OTLP | JSON |\n| --- | --- | --- |\n",
    );
    for Histogram { otlp, prometheus, json, .. } in HISTOGRAMS {
        writeln!(page, "| {} | {} histogram, s | {} |", code(prometheus), code(otlp), code(json)).unwrap();
    }
    page.push_str(
        "\nOTLP also has `container.uptime` (gauge, s) and `container.cpu.usage` (gauge, {cpu}), which are computed from two \
         samples.\n",
    );
    expect_file!["../../../../docs/push-names.md"].assert_eq(&page);
}
