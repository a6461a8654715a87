//! What the collector sends unasked: OTLP, remote write, lines on standard output.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric, number_data_point};
use serde_json::Value;

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::prometheus::Prometheus;
use crate::support::receiver::{self, Listening, Received, WriteRequest};
use crate::support::settings::settings;
use crate::support::surroundings::Surroundings;
use crate::support::time::Time;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("push::otlp_grpc", || otlp("grpc", receiver::otlp_grpc)),
    Case::new("push::otlp_http", || otlp("http/protobuf", receiver::otlp_http)),
    Case::new("push::otlp_overflow", otlp_overflow),
    // Ten seconds.
    Case::new("push::otlp_beside_samples", otlp_beside_samples),
    Case::new("push::remote_write", remote_write),
    Case::new("push::prometheus", prometheus),
    Case::new("push::tls", tls),
    Case::new("push::stdout", stdout),
];

type Otlp = Received<ExportMetricsServiceRequest>;

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn points(metric: &Metric) -> &[NumberDataPoint] {
    match &metric.data {
        Some(metric::Data::Sum(sum)) => &sum.data_points,
        Some(metric::Data::Gauge(gauge)) => &gauge.data_points,
        _ => &[],
    }
}

/// The points of a metric of a cgroup, as they came.
fn of(received: &Otlp, cgroup: &str, metric: &str) -> Vec<NumberDataPoint> {
    let all = received.all();
    let resources = all.iter().flat_map(|request| &request.resource_metrics);
    let resources = resources.filter(|resource| {
        let attributes = resource.resource.as_ref().map(|resource| resource.attributes.as_slice());
        text(attributes.unwrap_or_default(), "cgroup.path").as_deref() == Some(cgroup)
    });
    let metrics = resources.flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics);
    metrics.filter(|found| found.name == metric).flat_map(points).cloned().collect()
}

fn count(received: &Otlp) -> u64 {
    let all = received.all();
    let scopes = all.iter().flat_map(|request| &request.resource_metrics).flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics).map(|metric| points(metric).len() as u64).sum()
}

/// The CPU time of each stored sample by its time.
fn stored(collector: &Collector, cgroup: &str) -> Result<BTreeMap<u64, u64>> {
    let container = collector.container(cgroup)?;
    let samples = container
        .stats
        .iter()
        .filter_map(|stats| Some((u64::try_from(stats.timestamp.nanos).ok()?, stats.cpu.as_ref()?.usage.total)));
    Ok(samples.collect())
}

fn pushed(collector: &Collector, family: &str, exporter: &str) -> Result<u64> {
    let metrics = collector.metrics()?;
    let labels = [("exporter", exporter)];
    let values = metrics.series(family, &labels).count();
    ensure!(values > 0, "{family} has no series of {exporter}");
    let reasons = ["queue_full", "rejected", "shutdown", "missed"];
    let by_reason =
        reasons.iter().filter_map(|reason| metrics.value(family, &[("exporter", exporter), ("reason", reason)]));
    let sum: f64 = by_reason.sum();
    Ok(if sum > 0.0 { sum } else { metrics.value(family, &labels).unwrap_or_default() } as u64)
}

const PUSHES: [&str; 3] = ["--housekeeping_interval=100ms", "--otlp_interval=300ms", "--otlp_headers=x-token=secret"];

fn start(protocol: &str, address: SocketAddr, queue: usize) -> Result<Collector> {
    let (endpoint, protocol) = (format!("--otlp_endpoint=http://{address}"), format!("--otlp_protocol={protocol}"));
    let queue = format!("--otlp_queue_size={queue}");
    Collector::start(&[&PUSHES[..], &[&endpoint, &protocol, &queue]].concat())
}

/// The values are the API's; while the receiver is away they wait, and come when it is back.
fn otlp(protocol: &str, listen: fn(SocketAddr, &Otlp) -> Result<Listening>) -> Result<()> {
    let received = Otlp::default();
    let listening = listen(receiver::any_port(), &received)?;
    let address = listening.address();
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("busy")?;
    let _work = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let name = cgroup.name();
    let collector = start(protocol, address, 1000)?;
    wait::eventually(wait::seconds(20), || {
        let points = of(&received, &name, "container.cpu.time");
        ensure!(points.len() >= 3, "{} points came", points.len());
        Ok(())
    })?;
    let samples = stored(&collector, &name)?;
    let mut compared = 0;
    for point in of(&received, &name, "container.cpu.time") {
        let Some(number_data_point::Value::AsDouble(seconds)) = point.value else { crate::support::bail!("{point:?}") };
        if let Some(nanos) = samples.get(&point.time_unix_nano) {
            ensure!((seconds * 1e9 - *nanos as f64).abs() < 1.0, "{seconds} s was pushed, the API says {nanos} ns");
            compared += 1;
        }
        ensure!(point.start_time_unix_nano > 0 && point.start_time_unix_nano <= point.time_unix_nano, "{point:?}");
    }
    ensure!(compared >= 2, "{compared} points could be compared with {} samples", samples.len());
    ensure!(!of(&received, &name, "container.cpu.usage").is_empty(), "no rate");

    drop(listening);
    let (before, away) = (of(&received, &name, "container.cpu.time").len(), Instant::now());
    let failures = || pushed(&collector, "collector_push_failures_total", "otlp");
    wait::eventually(wait::seconds(60), || {
        ensure!(failures()? >= 3 && away.elapsed() >= wait::seconds(6), "{} failures", failures()?);
        Ok(())
    })?;
    let away = away.elapsed();
    ensure!(of(&received, &name, "container.cpu.time").len() == before, "somebody who is away has received something");
    let _back = listen(address, &received)?;
    wait::eventually(wait::seconds(30), || {
        let waiting = pushed(&collector, "collector_push_waiting_points", "otlp")?;
        let got = of(&received, &name, "container.cpu.time").len();
        ensure!(got > before + 10, "{before} points before, {got} now, {waiting} values wait");
        let sent = pushed(&collector, "collector_push_sent_points_total", "otlp")?;
        ensure!(sent <= count(&received) && waiting < 1000, "{sent} are counted, {} came", count(&received));
        Ok(())
    })?;
    let times: Vec<u64> = of(&received, &name, "container.cpu.time").iter().map(|point| point.time_unix_nano).collect();
    // A broken connection does not show whether the last request before had arrived: it may come twice.
    ensure!(times.is_sorted(), "out of order: {times:?}");
    let gap = times.windows(2).map(|pair| Duration::from_nanos(pair[1] - pair[0])).max().context("no points")?;
    ensure!(
        gap < away / 2,
        "there is nothing of {gap:?}, although everything fits; the receiver was away for {away:?}"
    );
    ensure!(pushed(&collector, "collector_push_dropped_points_total", "otlp")? == 0, "values were dropped");
    Ok(())
}

/// Beyond the queue's bound the oldest are dropped, and counted.
fn otlp_overflow() -> Result<()> {
    let received = Otlp::default();
    let address = receiver::otlp_http(receiver::any_port(), &received)?.address();
    let collector = start("http/protobuf", address, 2)?;
    let dropped = || pushed(&collector, "collector_push_dropped_points_total", "otlp");
    wait::eventually(wait::seconds(30), || {
        ensure!(dropped()? > 0, "nothing was dropped");
        Ok(())
    })?;
    let _back = receiver::otlp_http(address, &received)?;
    wait::eventually(wait::seconds(30), || {
        let sent = pushed(&collector, "collector_push_sent_points_total", "otlp")?;
        ensure!(sent > 0 && sent <= count(&received), "{sent} are counted, {} came", count(&received));
        Ok(())
    })?;
    // Who answered no is not asked again.
    let (status, said) = (dropped()?, collector.log());
    ensure!(said.iter().any(|line| line.contains("accepts again")), "{status} dropped; {said:?}");
    Ok(())
}

/// What is no part of a sample comes too, with the values of `/metrics`, and how a container ended with its last sample.
fn otlp_beside_samples() -> Result<()> {
    let received = Otlp::default();
    let listening = receiver::otlp_http(receiver::any_port(), &received)?;
    let endpoint = format!("--otlp_endpoint=http://{}", listening.address());
    let more = [&endpoint, "--otlp_protocol=http/protobuf", "--enable_metrics=cpu,memory,peak,runqueue,network_cgroup"];
    let collector = Collector::start(&[&PUSHES[..], &more].concat())?;
    collector.require_ebpf()?;
    let health = collector.health()?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("busy")?;
    let name = cgroup.name();
    let address = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let sent = Plan::new(Work::Datagrams(address, 100), &cgroup).start_ready()?;
    let work = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let number = |point: &NumberDataPoint| match point.value {
        Some(number_data_point::Value::AsDouble(number)) => number,
        Some(number_data_point::Value::AsInt(number)) => number as f64,
        None => f64::NAN,
    };
    let newest = |metric: &str| of(&received, &name, metric).last().map(number);
    for (kind, metric, family) in [
        ("peak", "container.cpu.usage.peak", "container_peak_cpu_cores"),
        ("peak", "container.memory.usage.peak", "container_peak_memory_usage_bytes"),
        ("runqueue", "container.cpu.schedule.own.time", "container_cpu_runqueue_own_seconds_total"),
        ("runqueue", "container.cpu.schedule.throttled.time", "container_cpu_runqueue_throttled_seconds_total"),
        ("network_cgroup", "container.network.cgroup.packets", "container_network_cgroup_transmit_packets_total"),
    ] {
        if health.contains(&format!("kind {kind}")) {
            continue;
        }
        wait::eventually(wait::seconds(20), || {
            let pushed = newest(metric).with_context(|| format!("no {metric}"))?;
            let said = collector.metrics()?.value(family, &[("id", &name)]).with_context(|| format!("no {family}"))?;
            let is_steady = kind == "network_cgroup";
            ensure!(pushed <= said && (!is_steady || pushed >= 100.0), "{metric}: {pushed} is pushed, {said} said");
            Ok(())
        })?;
    }
    sent.end()?;
    work.end()?;
    wait::pause_of_a_runtime();
    cgroup.remove()?;
    wait::eventually(wait::seconds(20), || {
        let ended = of(&received, &name, "container.exit.code");
        let last = ended.last().context("nothing says how it ended")?;
        ensure!(text(&last.attributes, "container.exit.reason").is_some(), "{last:?}");
        let all: f64 = of(&received, "/", "container.exit.count").iter().map(number).sum();
        ensure!(all >= 1.0, "{all} ended");
        Ok(())
    })
}

/// What `/metrics` says, pushed; a series that is gone ends.
fn remote_write() -> Result<()> {
    let received = Received::<WriteRequest>::default();
    let listening = receiver::remote_write(receiver::any_port(), &received)?;
    let address = listening.address();
    let url = format!("--remote_write_url=http://{address}/api/v1/write");
    let collector = Collector::start(&[&url, "--remote_write_interval=300ms"])?;
    let samples = |name: &str| -> Vec<(i64, f64)> {
        let all = received.all();
        let series = all.iter().flat_map(|request| &request.timeseries);
        let named =
            series.filter(|series| series.labels.iter().any(|label| label.name == "__name__" && label.value == name));
        named.flat_map(|series| &series.samples).map(|sample| (sample.timestamp, sample.value)).collect()
    };
    wait::eventually(wait::seconds(20), || {
        let pushed = samples("collector_containers");
        let said = collector.metrics()?.value("collector_containers", &[]);
        ensure!(
            pushed.len() >= 3 && pushed.last().map(|(_, value)| *value) == said,
            "pushed: {pushed:?}, said: {said:?}"
        );
        Ok(())
    })?;
    for request in received.all().iter() {
        for series in &request.timeseries {
            let names: Vec<&str> = series.labels.iter().map(|label| label.name.as_str()).collect();
            ensure!(names.is_sorted() && names.contains(&"__name__"), "labels: {names:?}");
            ensure!(names.contains(&"job") && names.contains(&"instance"), "labels: {names:?}");
            ensure!(series.labels.iter().all(|label| !label.value.is_empty()), "a label without a value: {series:?}");
        }
    }
    ensure!(!samples("container_memory_usage_bytes").is_empty(), "nothing about containers");
    drop(listening);
    wait::eventually(wait::seconds(30), || {
        ensure!(pushed(&collector, "collector_push_failures_total", "remote_write")? >= 2, "no failures");
        Ok(())
    })?;
    let before = samples("collector_containers").len();
    let _back = receiver::remote_write(address, &received)?;
    wait::eventually(wait::seconds(30), || {
        let got = samples("collector_containers").len();
        ensure!(got > before + 3, "{before} samples before, {got} now");
        Ok(())
    })?;
    let times: Vec<i64> = samples("collector_containers").into_iter().map(|(at, _)| at).collect();
    ensure!(times.is_sorted(), "out of order: {times:?}");
    ensure!(pushed(&collector, "collector_push_dropped_points_total", "remote_write")? == 0, "values were dropped");
    Ok(())
}

/// A real Prometheus takes everything, and answers with the same values.
fn prometheus() -> Result<()> {
    let prometheus = Prometheus::start(&[])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let (stays, goes) = (cgroups.make("stays")?, cgroups.make("goes")?);
    let url = format!("--remote_write_url=http://{}/api/v1/write", prometheus.address());
    let collector = Collector::start(&[&url, "--remote_write_interval=500ms", "--ended_container_retention=0"])?;
    let start_time = |name: &str| format!("container_start_time_seconds{{id=\"{name}\",job=\"collector\"}}");
    wait::eventually(wait::seconds(60), || {
        let said = collector.metrics()?.value("collector_containers", &[]).context("no collector_containers")?;
        let stored = prometheus.number("collector_containers")?;
        ensure!((stored - said).abs() < 0.5, "Prometheus has {stored}, the collector {said}");
        let samples = prometheus.number("count_over_time(collector_containers[1m])")?;
        ensure!(samples >= 5.0, "{samples} samples came");
        // As many series as a scrape of this moment would bring.
        let brought = prometheus.number("count({job=\"collector\"})")?;
        let metrics = collector.metrics()?.value("collector_metrics_series", &[]).context("no count of series")?;
        ensure!((brought - metrics).abs() <= metrics / 20.0, "{brought} series came, {metrics} are reported");
        for cgroup in [&stays, &goes] {
            prometheus.number(&start_time(&cgroup.name()))?;
        }
        Ok(())
    })?;
    let gone = goes.name();
    goes.remove()?;
    wait::eventually(wait::seconds(60), || {
        let left = prometheus.query(&start_time(&gone))?;
        ensure!(left.is_empty(), "the series of a cgroup that is gone has not ended: {left:?}");
        Ok(())
    })?;
    prometheus.number(&start_time(&stays.name()))?;
    let rejected = pushed(&collector, "collector_push_dropped_points_total", "remote_write")?;
    ensure!(rejected == 0, "Prometheus refused {rejected} values: {:?}", prometheus.complaints());
    Ok(())
}

/// Over TLS the same, to whom the certificates say one may trust.
fn tls() -> Result<()> {
    let make = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let (made, other) = (make()?, make()?);
    let folder = std::env::temp_dir().join(format!("collector-test-push-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let trusting = |name: &str, certificate: String| -> Result<Surroundings> {
        let path = folder.join(name);
        bytes::write(&path, &certificate)?;
        Ok(Surroundings::default().with_variable("SSL_CERT_FILE", &path))
    };
    let (trusting, wary) = (trusting("trusted.pem", made.cert.pem())?, trusting("other.pem", other.cert.pem())?);
    let (key, certificate) = (made.signing_key.serialize_der(), made.cert.der().clone());

    let (by_grpc, by_http, written) = (Otlp::default(), Otlp::default(), Received::<WriteRequest>::default());
    let plain = [
        receiver::otlp_grpc(receiver::any_port(), &by_grpc)?,
        receiver::otlp_http(receiver::any_port(), &by_http)?,
        receiver::remote_write(receiver::any_port(), &written)?,
    ];
    let [grpc, http, remote_write] = [0, 1, 2].map(|which: usize| {
        let protocols: &[&[u8]] = if which == 0 { &[b"h2"] } else { &[b"http/1.1"] };
        receiver::behind_tls(&plain[which], &certificate, &key, protocols)
    });
    let (grpc, http, remote_write) = (grpc?, http?, remote_write?);
    let write_url = format!("--remote_write_url=https://localhost:{}/api/v1/write", remote_write.address().port());
    let flags = |listening: &Listening, protocol: &str| {
        let endpoint = format!("--otlp_endpoint=https://localhost:{}", listening.address().port());
        [endpoint, format!("--otlp_protocol={protocol}"), write_url.clone(), "--remote_write_interval=300ms".to_owned()]
    };
    for (listening, protocol, received) in [(&grpc, "grpc", &by_grpc), (&http, "http/protobuf", &by_http)] {
        let flags = flags(listening, protocol);
        let flags: Vec<&str> = PUSHES.into_iter().chain(flags.iter().map(String::as_str)).collect();
        // Nobody vouches for the certificate.
        let collector = Collector::start_as(&wary, &flags)?;
        wait::eventually(wait::seconds(20), || {
            for exporter in ["otlp", "remote_write"] {
                let failures = pushed(&collector, "collector_push_failures_total", exporter)?;
                ensure!(failures >= 2, "{failures} failures of {exporter}");
            }
            Ok(())
        })?;
        drop(collector);
        ensure!(received.all().is_empty(), "{protocol}: somebody was sent something whom nobody vouches for");
        let collector = Collector::start_as(&trusting, &flags)?;
        wait::eventually(wait::seconds(20), || {
            ensure!(received.all().len() >= 2 && written.all().len() >= 2, "{protocol}: nothing came");
            Ok(())
        })
        .with_context(|| collector.log().join("\n"))?;
        drop(collector);
        written.all().clear();
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// A process that is ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every sample once, and the last one of a container that ended.
fn stdout() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("work")?;
    let name = cgroup.name();
    let work = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let mut child = Command::new(&settings().collector)
        .args([
            "--port=0",
            "--listen_ip=127.0.0.1",
            "--allow_dynamic_housekeeping=false",
            "--housekeeping_interval=100ms",
        ])
        .args(["--storage_driver=stdout", "--storage_driver_buffer_duration=500ms"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().context("standard output is a pipe")?).lines();
    let _program = Program(child);
    let received = Received::<Value>::default();
    let collected = received.clone();
    std::thread::spawn(move || {
        for line in lines.map_while(std::io::Result::ok) {
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            collected.all().push(value);
        }
    });
    let of_it = || -> Result<Vec<(Time, u64)>> {
        let all = received.all();
        ensure!(all.iter().all(Value::is_object), "not every line is an object");
        let own = all.iter().filter(|line| line["container_Name"] == name.as_str());
        let mut samples = Vec::new();
        for line in own {
            let stats = &line["container_stats"];
            ensure!(line["timestamp"] == stats["timestamp"], "two times: {line}");
            let at = stats["timestamp"].as_str().and_then(Time::parse).context("no time")?;
            // A sample that was taken while the cgroup was being made may be without.
            match stats.pointer("/cpu/usage/total").and_then(Value::as_u64) {
                Some(used) => samples.push((at, used)),
                None => ensure!(samples.is_empty(), "no CPU time: {line}"),
            }
        }
        Ok(samples)
    };
    wait::eventually(wait::seconds(20), || {
        let got = of_it()?.len();
        ensure!(got >= 15, "{got} samples were written");
        Ok(())
    })?;
    let used = bytes::read_number(cgroup.v1_file("cpuacct", "cpuacct.usage")?);
    work.end()?;
    wait::pause_of_a_runtime();
    cgroup.remove()?;
    let written = wait::eventually(wait::seconds(20), || {
        let before = of_it()?;
        wait::pass(wait::millis(1_200));
        let after = of_it()?;
        ensure!(before.len() == after.len(), "there are still new samples");
        Ok(after)
    })?;
    ensure!(written.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{written:?}");
    if let Ok(used) = used {
        let last = written.last().context("no samples")?.1;
        ensure!(last >= used, "it had used {used} ns before its end, the last sample has {last}");
    }
    Ok(())
}
