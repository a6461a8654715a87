//! cAdvisor's storage drivers before real databases, and what else receives: InfluxDB, `VictoriaMetrics`, statsd, logs.

use std::net::UdpSocket;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use serde_json::Value;

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::{Collector, run_to_end};
use crate::support::harness::Case;
use crate::support::peers::Database;
use crate::support::receiver::{self, Received};
use crate::support::surroundings::Surroundings;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("push_stores::influxdb", influxdb),
    Case::new("push_stores::victoria_metrics", victoria_metrics),
    Case::new("push_stores::statsd", statsd),
    Case::new("push_stores::logs", logs),
    Case::new("push_stores::refused", refused),
];

const SOON: [&str; 2] = ["--storage_driver_buffer_duration=300ms", "--housekeeping_interval=100ms"];

/// What cAdvisor's users ask: the database has the API's values under cAdvisor's names.
fn influxdb() -> Result<()> {
    let database = Database::influxdb()?;
    let ask = |method: &str, query: &str| -> Result<Value> {
        let target = format!("/query?db=cadvisor&epoch=ns&q={}", bytes::url_encode(query.as_bytes()));
        let answer = database.request(method, &target)?;
        ensure!(answer.status == 200, "{query}: {} {}", answer.status, answer.text());
        Ok(serde_json::from_slice(&answer.body)?)
    };
    ask("POST", "CREATE DATABASE cadvisor")?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("a,b c=d")?;
    let name = cgroup.name();
    let host = format!("--storage_driver_host={}", database.address());
    let flags = [
        &["-storage_driver=influxdb", &host, "-storage_driver_user=ann", "-storage_driver_password=hunter2"],
        &SOON[..],
    ];
    let collector = Collector::start(&flags.concat())?;
    let query =
        format!("SELECT value FROM cpu_usage_total WHERE container_name = '{name}' ORDER BY time DESC LIMIT 500");
    wait::eventually(wait::seconds(30), || {
        let answer = ask("GET", &query)?;
        let rows = answer["results"][0]["series"][0]["values"].as_array().with_context(|| answer.to_string())?;
        let stored: Vec<(i128, u64)> =
            rows.iter().filter_map(|row| Some((row[0].as_i64()?.into(), row[1].as_u64()?))).collect();
        let mut compared = 0;
        for stats in &collector.container(&name)?.stats {
            let Some(cpu) = &stats.cpu else { continue };
            if let Some((_, value)) = stored.iter().find(|(at, _)| *at == stats.timestamp.nanos) {
                ensure!(*value == cpu.usage.total, "{value} is stored, the API says {}", cpu.usage.total);
                compared += 1;
            }
        }
        ensure!(compared >= 5, "{compared} samples could be compared with {}", stored.len());
        Ok(())
    })?;
    let measurements = ask("GET", "SHOW MEASUREMENTS")?.to_string();
    for measurement in ["memory_usage", "memory_working_set", "memory_failure"] {
        ensure!(measurements.contains(&format!("\"{measurement}\"")), "no {measurement} in {measurements}");
    }
    let log = collector.log().join("\n");
    ensure!(!log.contains("hunter2"), "the log holds a password: {log}");
    let metrics = collector.metrics()?;
    let dropped =
        metrics.value("collector_push_dropped_points_total", &[("exporter", "influxdb"), ("reason", "rejected")]);
    ensure!(dropped == Some(0.0), "{dropped:?} values were rejected: {log}");
    Ok(())
}

/// Speaks remote write 1.0, and takes everything.
fn victoria_metrics() -> Result<()> {
    let database = Database::victoria_metrics()?;
    let url = format!("--remote_write_url=http://{}/api/v1/write", database.address());
    let collector = Collector::start(&[&url, "--remote_write_interval=300ms"])?;
    wait::eventually(wait::seconds(40), || {
        // A query would see what is half a minute old.
        let answer = database.request("GET", "/api/v1/export?match[]=collector_containers")?.text();
        let line = answer.lines().next().context("nothing is stored")?;
        let stored = serde_json::from_str::<Value>(line)?["values"].as_array().and_then(|all| all.last()?.as_f64());
        let stored = stored.with_context(|| answer.clone())?;
        let said = collector.metrics()?.value("collector_containers", &[]).context("no collector_containers")?;
        ensure!((stored - said).abs() < 0.5, "{stored} is stored, the collector says {said}");
        Ok(())
    })?;
    let log = collector.log();
    ensure!(log.iter().any(|line| line.contains("speaks this version") && line.contains("1.0")), "{log:?}");
    Ok(())
}

/// Gauges with cAdvisor's names, in whole lines.
fn statsd() -> Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.set_read_timeout(Some(wait::seconds(10)))?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("a:b")?;
    Plan::new(Work::Burn(20), &cgroup).run()?;
    let name = cgroup.name();
    let host = format!("--storage_driver_host={}", socket.local_addr()?);
    let _collector =
        Collector::start(&[&["-storage_driver=statsd", "-storage_driver_db=ns", &host], &SOON[..]].concat())?;
    let expected = format!("ns.{}.cpu_cumulative_usage", name.replace(':', "_"));
    let mut datagram = vec![0; 65_536];
    for _ in 0..10_000 {
        let length = socket.recv(&mut datagram).context("nothing comes")?;
        let text = std::str::from_utf8(&datagram[..length])?;
        ensure!(length <= 1400 && text.ends_with('\n'), "{length} bytes: {text}");
        for line in text.lines() {
            let (key, value) = line.rsplit_once(':').with_context(|| line.to_owned())?;
            let gauge = value.strip_suffix("|g").with_context(|| line.to_owned())?;
            let gauge: u64 = gauge.parse().with_context(|| line.to_owned())?;
            if key == expected && gauge > 0 {
                return Ok(());
            }
        }
    }
    crate::support::bail!("no {expected}")
}

/// Events come as logs, and what a receiver of metrics did not want is counted.
fn logs() -> Result<()> {
    let received = Received::<ExportLogsServiceRequest>::default();
    let listening = receiver::otlp_logs(receiver::any_port(), &received)?;
    let endpoint = format!("--otlp_endpoint=http://{}", listening.address());
    let collector = Collector::start(&[&endpoint, "--otlp_interval=300ms", "--otlp_events"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("short")?;
    let name = cgroup.name();
    cgroup.remove()?;
    wait::eventually(wait::seconds(20), || {
        let all = received.all();
        let resources = all.iter().flat_map(|request| &request.resource_logs);
        let own = resources.filter(|logs| {
            let attributes = logs.resource.iter().flat_map(|resource| &resource.attributes);
            let path = attributes.filter(|attribute| attribute.key == "cgroup.path");
            let text = path.filter_map(|path| path.value.as_ref()?.value.as_ref());
            text.into_iter().any(|text| *text == any_value::Value::StringValue(name.clone()))
        });
        let names: Vec<_> = own
            .flat_map(|logs| &logs.scope_logs)
            .flat_map(|scope| &scope.log_records)
            .map(|record| record.event_name.as_str())
            .collect();
        ensure!(names == ["container.creation", "container.deletion"], "{names:?}");
        Ok(())
    })?;
    // Values go their own way.
    wait::eventually(wait::seconds(20), || {
        let metrics = collector.metrics()?;
        let value = |family, labels: &[(&str, &str)]| metrics.value(family, labels).unwrap_or_default();
        let rejected = value("collector_push_dropped_points_total", &[("exporter", "otlp"), ("reason", "rejected")]);
        let sent = value("collector_push_sent_points_total", &[("exporter", "otlp")]);
        ensure!(rejected >= 1.0 && sent > rejected, "{rejected} rejected, {sent} sent");
        Ok(())
    })
}

/// Who asks for a database that is not spoken to learns how it is reached.
fn refused() -> Result<()> {
    for (driver, way) in [("kafka", "--otlp_endpoint"), ("redis", "--remote_write_url")] {
        let flag = format!("-storage_driver={driver}");
        let (status, said) = run_to_end(Surroundings::default(), &[&flag])?;
        ensure!(!status.success() && said.iter().any(|line| line.contains(way)), "{driver}: {said:?}");
    }
    Ok(())
}
