//! cAdvisor's storage drivers before real databases, and what else receives: InfluxDB, `VictoriaMetrics`, statsd, logs.

use std::net::{SocketAddr, UdpSocket};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use serde_json::Value;

use crate::auth::{Files, flag};
use crate::oom::limit_memory;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::{Collector, run_to_end};
use crate::support::harness::Case;
use crate::support::peers::Database;
use crate::support::receiver::{self, Listening, Moods, Received};
use crate::support::surroundings::Surroundings;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("push_stores::influxdb", influxdb),
    // Two seconds.
    Case::new("push_stores::influxdb_2", influxdb_2),
    Case::new("push_stores::victoria_metrics", victoria_metrics),
    Case::new("push_stores::statsd", statsd),
    Case::new("push_stores::logs", || logs("grpc", receiver::otlp_logs)),
    // Five seconds.
    Case::new("push_stores::logs_over_http", || logs("http/protobuf", receiver::otlp_http_logs)),
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

/// A fake of InfluxDB 2.x, which Debian has no package of: path, query and token are those of its API, and the lines can be
/// read.
fn influxdb_2() -> Result<()> {
    let received = Received::<receiver::PostedLines>::default();
    let listening = receiver::influxdb(receiver::any_port(), &received, &Moods::default())?;
    let files = Files::new("influxdb")?;
    let token = flag("storage_driver_influxdb_token_file", &files.put("token", "s3cret\n")?);
    let host = format!("--storage_driver_host={}", listening.address());
    let place =
        ["-storage_driver=influxdb", "--storage_driver_influxdb_org=my org", "--storage_driver_influxdb_bucket=b/1"];
    let collector = Collector::start(&[&place[..], &[&host, &token], &SOON[..]].concat())?;
    wait::eventually(wait::seconds(10), || {
        let all = received.all();
        let (path, headers, body) = all.first().context("nothing comes")?;
        ensure!(path == "/api/v2/write?org=my+org&bucket=b%2F1&precision=ns", "{path}");
        let has = |name: &str, value: &str| headers.iter().any(|(key, is)| key == name && is == value);
        ensure!(has("authorization", "Token s3cret") && has("content-encoding", "gzip"), "{headers:?}");
        let line = body.lines().find(|line| line.starts_with("cpu_usage_total,")).context("no CPU time")?;
        let mut words = line.rsplit(' ');
        let time = words.next().and_then(|time| time.parse::<u64>().ok());
        let value = words.next().and_then(|value| value.strip_prefix("value=")?.strip_suffix('i')?.parse::<u64>().ok());
        ensure!(time.is_some_and(|time| time > 1_700_000_000_000_000_000) && value.is_some(), "{line}");
        Ok(())
    })?;
    let log = collector.log().join("\n");
    ensure!(!log.contains("s3cret"), "the log holds a token: {log}");
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

/// The value of an attribute.
fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a any_value::Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

/// Events come as logs, a kill for want of memory and the container's end with who and why; what a receiver did not want is
/// counted.
fn logs(
    protocol: &str,
    listen: fn(SocketAddr, &Received<ExportLogsServiceRequest>) -> Result<Listening>,
) -> Result<()> {
    let received = Received::<ExportLogsServiceRequest>::default();
    let listening = listen(receiver::any_port(), &received)?;
    let endpoint = format!("--otlp_endpoint=http://{}", listening.address());
    let protocol = format!("--otlp_protocol={protocol}");
    let collector = Collector::start(&[&endpoint, &protocol, "--otlp_interval=300ms", "--otlp_events"])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::Memory)?;
    let cgroup = cgroups.make("short")?;
    let name = cgroup.name();
    limit_memory(&cgroup, 16)?;
    Plan::new(Work::Grow(64), &cgroup).run()?;
    cgroup.remove()?;
    let text = |text: &str| any_value::Value::StringValue(text.to_owned());
    wait::eventually(wait::seconds(20), || {
        let all = received.all();
        let resources = all.iter().flat_map(|request| &request.resource_logs);
        let own = resources.filter(|logs| {
            let resource = logs.resource.iter().map(|resource| resource.attributes.as_slice());
            resource.filter_map(|all| attribute(all, "cgroup.path")).any(|path| *path == text(&name))
        });
        let records: Vec<_> = own.flat_map(|logs| &logs.scope_logs).flat_map(|scope| &scope.log_records).collect();
        let names: Vec<&str> = records.iter().map(|record| record.event_name.as_str()).collect();
        for wanted in
            ["container.creation", "container.oom", "container.oom_kill", "container.exit", "container.deletion"]
        {
            let count = names.iter().filter(|name| **name == wanted).count();
            ensure!(count == 1, "{count} times {wanted}: {names:?}");
        }
        ensure!(
            names.first() == Some(&"container.creation") && names.last() == Some(&"container.deletion"),
            "{names:?}"
        );
        let of = |name: &str| {
            let record = records.iter().find(|record| record.event_name == name).context("counted")?;
            Ok::<_, crate::support::Error>(record.attributes.as_slice())
        };
        let (oom, exit) = (of("container.oom")?, of("container.exit")?);
        let [victim, ended] = [oom, exit].map(|attributes| attribute(attributes, "process.pid"));
        ensure!(victim.is_some() && victim == ended, "{victim:?} was killed, {ended:?} ended");
        ensure!(attribute(oom, "oom.limit.cgroup.path") == Some(&text(&name)), "{oom:?}");
        ensure!(attribute(exit, "container.exit.reason") == Some(&text("oom")), "{exit:?}");
        ensure!(attribute(exit, "process.exit.code") == Some(&any_value::Value::IntValue(137)), "{exit:?}");
        Ok(())
    })?;
    // Values go their own way.
    wait::eventually(wait::seconds(20), || {
        let metrics = collector.metrics()?;
        let value = |family, labels: &[(&str, &str)]| metrics.value(family, labels).unwrap_or_default();
        for exporter in ["otlp", "otlp_logs"] {
            let of = [("exporter", exporter), ("reason", "rejected")];
            let rejected = value("collector_push_dropped_points_total", &of);
            let sent = value("collector_push_sent_points_total", &of[..1]);
            ensure!(rejected >= 1.0 && sent > 0.0, "{exporter}: {rejected} rejected, {sent} sent");
        }
        let records = received.all().iter().flat_map(|request| &request.resource_logs).count() as f64;
        let counted = value("collector_push_sent_points_total", &[("exporter", "otlp_logs")]);
        ensure!(counted <= records, "{counted} records are counted as accepted, {records} cgroups have some");
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
