//! Receivers that are down, slow, or of another opinion, by every protocol: nothing is lost within the bound of the queue,
//! and what is lost is counted.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::metric;

use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::receiver::{self, Listening, Mood, Moods, PostedLines, Received, WriteRequest2};
use crate::support::surroundings::Surroundings;
use crate::support::{Result, bytes, ensure, wait};

/// Ten to twenty seconds each, a minute of the last but one.
pub(crate) const CASES: &[Case] = &[
    Case::new("push_failures::remote_write", || moods(&Protocol::remote_write())),
    Case::new("push_failures::otlp_http", || moods(&Protocol::otlp_http())),
    Case::new("push_failures::otlp_grpc", || moods(&Protocol::otlp_grpc())),
    Case::new("push_failures::influxdb", || moods(&Protocol::influxdb())),
    Case::new("push_failures::requests_of_remote_write", requests_of_remote_write),
    Case::new("push_failures::beyond_the_bound", beyond_the_bound),
    Case::new("push_failures::a_minute_down", a_minute_down),
    Case::new("push_failures::tls_of_another_name", tls_of_another_name),
];

const INTERVAL: Duration = Duration::from_millis(200);

/// A protocol, with a receiver of it whose moods change.
struct Protocol {
    exporter: &'static str,
    moods: Moods,
    listen: Box<dyn Fn(SocketAddr) -> Result<Listening>>,
    /// The flags for a receiver at this address, by this scheme.
    flags: fn(&str, &str) -> Vec<String>,
    /// The times in milliseconds of a value that every push has.
    times: Box<dyn Fn() -> Vec<i64>>,
    /// Flags that bound what waits to two requests; none where it cannot be chosen.
    bounded: Option<&'static str>,
    /// What TLS negotiates.
    alpn: &'static [u8],
    /// Whether a broken receiver is asked again, beside one that is not available.
    broken: &'static [Mood],
}

impl Protocol {
    fn remote_write() -> Self {
        let received = Received::<WriteRequest2>::default();
        let (moods, kept) = (Moods::default(), received.clone());
        let listening = moods.clone();
        Self {
            exporter: "remote_write",
            moods,
            listen: Box::new(move |address| receiver::remote_write_2(address, &received, &listening)),
            flags: |scheme, address| {
                let url = format!("--remote_write_url={scheme}://{address}/api/v1/write");
                vec![url, "--remote_write_interval=200ms".to_owned()]
            },
            times: Box::new(move || times_of_series(&kept)),
            bounded: Some("--remote_write_queue_size=2"),
            alpn: b"http/1.1",
            broken: &[Mood::Status(500, None)],
        }
    }

    fn otlp_http() -> Self {
        Self::otlp("http/protobuf", receiver::moody_otlp_http)
    }

    fn otlp_grpc() -> Self {
        Self::otlp("grpc", receiver::moody_otlp_grpc)
    }

    fn otlp(
        protocol: &'static str,
        listen: fn(SocketAddr, &Received<ExportMetricsServiceRequest>, &Moods) -> Result<Listening>,
    ) -> Self {
        let received = Received::<ExportMetricsServiceRequest>::default();
        let (moods, kept) = (Moods::default(), received.clone());
        let listening = moods.clone();
        let is_grpc = protocol == "grpc";
        Self {
            exporter: "otlp",
            moods,
            listen: Box::new(move |address| listen(address, &received, &listening)),
            flags: if is_grpc {
                |scheme, address| otlp_flags("grpc", scheme, address)
            } else {
                |scheme, address| otlp_flags("http/protobuf", scheme, address)
            },
            times: Box::new(move || times_of_points(&kept)),
            bounded: Some("--otlp_queue_size=2"),
            alpn: if is_grpc { b"h2" } else { b"http/1.1" },
            broken: &[Mood::Status(502, None)],
        }
    }

    fn influxdb() -> Self {
        let received = Received::<PostedLines>::default();
        let (moods, kept) = (Moods::default(), received.clone());
        let listening = moods.clone();
        Self {
            exporter: "influxdb",
            moods,
            listen: Box::new(move |address| receiver::influxdb(address, &received, &listening)),
            flags: |scheme, address| {
                vec![
                    "--storage_driver=influxdb".to_owned(),
                    format!("--storage_driver_host={address}"),
                    format!("--storage_driver_secure={}", scheme == "https"),
                    "--storage_driver_buffer_duration=200ms".to_owned(),
                    "--housekeeping_interval=100ms".to_owned(),
                ]
            },
            times: Box::new(move || times_of_lines(&kept)),
            bounded: None,
            alpn: b"http/1.1",
            broken: &[Mood::Status(500, None)],
        }
    }

    fn start(&self, more: &[&str], address: SocketAddr) -> Result<Collector> {
        let flags = (self.flags)("http", &address.to_string());
        Collector::start(&flags.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>())
    }

    fn value(&self, collector: &Collector, family: &str, reason: Option<&str>) -> Result<f64> {
        let mut labels = vec![("exporter", self.exporter)];
        labels.extend(reason.map(|reason| ("reason", reason)));
        Ok(collector.metrics()?.value(family, &labels).unwrap_or_default())
    }

    fn failures(&self, collector: &Collector) -> Result<f64> {
        self.value(collector, "collector_push_failures_total", None)
    }

    fn dropped(&self, collector: &Collector, reason: &str) -> Result<f64> {
        self.value(collector, "collector_push_dropped_points_total", Some(reason))
    }

    fn arrived(&self, before: usize, more: usize) -> Result<()> {
        wait::eventually(wait::seconds(30), || {
            let now = (self.times)().len();
            ensure!(now >= before + more, "{before} pushes before, {now} now");
            Ok(())
        })
    }

    /// An answer that was cut short does not show whether the request had arrived: it may come twice.
    fn has_no_gap(&self) -> Result<()> {
        let all: Vec<i64> = (self.times)().into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let gap = all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        ensure!(gap < 5 * INTERVAL.as_millis() as i64, "{}: nothing came of {gap} ms: {all:?}", self.exporter);
        Ok(())
    }
}

fn otlp_flags(protocol: &str, scheme: &str, address: &str) -> Vec<String> {
    vec![
        format!("--otlp_endpoint={scheme}://{address}"),
        format!("--otlp_protocol={protocol}"),
        "--otlp_interval=200ms".to_owned(),
        "--housekeeping_interval=100ms".to_owned(),
    ]
}

fn times_of_series(received: &Received<WriteRequest2>) -> Vec<i64> {
    let all = received.all();
    let mut times = Vec::new();
    for request in all.iter() {
        for (labels, series) in request.series() {
            if labels.contains(&("__name__", "collector_containers")) {
                times.extend(series.samples.iter().map(|sample| sample.timestamp));
            }
        }
    }
    times
}

/// Of the root's CPU time.
fn times_of_points(received: &Received<ExportMetricsServiceRequest>) -> Vec<i64> {
    let root = any_value::Value::StringValue("/".to_owned());
    let mut times = Vec::new();
    for resource in received.all().iter().flat_map(|request| &request.resource_metrics) {
        let mut attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
        let is_root = attributes.any(|attribute| {
            let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
            attribute.key == "cgroup.path" && value == Some(&root)
        });
        for metric in resource.scope_metrics.iter().filter(|_| is_root).flat_map(|scope| &scope.metrics) {
            if let (Some(metric::Data::Sum(sum)), "container.cpu.time") = (&metric.data, metric.name.as_str()) {
                times.extend(sum.data_points.iter().map(|point| (point.time_unix_nano / 1_000_000) as i64));
            }
        }
    }
    times
}

/// The same.
fn times_of_lines(received: &Received<PostedLines>) -> Vec<i64> {
    let time = |line: &str| {
        let is_root = line.starts_with("cpu_usage_total,") && line.contains(",container_name=/ ");
        line.rsplit(' ').next().filter(|_| is_root)?.parse::<i64>().ok()
    };
    let all = received.all();
    all.iter().flat_map(|(_, _, body)| body.lines()).filter_map(time).map(|nanos| nanos / 1_000_000).collect()
}

/// Whatever it answers, all of it is there in the end; what it does not want is counted, and not sent again.
fn moods(protocol: &Protocol) -> Result<()> {
    let listening = (protocol.listen)(receiver::any_port())?;
    let address = listening.address();
    let collector = protocol.start(&[], address)?;
    protocol.arrived(0, 3)?;
    let usual = [Mood::Status(503, None), Mood::Status(429, Some(1)), Mood::Half, Mood::Slow(400)];
    for bad in usual.iter().chain(protocol.broken).copied() {
        let (before, failed) = ((protocol.times)().len(), protocol.failures(&collector)?);
        protocol.moods.set(bad);
        match bad {
            Mood::Slow(_) => protocol.arrived(before, 2)?,
            _ => wait::eventually(wait::seconds(20), || {
                let now = protocol.failures(&collector)?;
                ensure!(now >= failed + 2.0, "{bad:?}: {failed} failures before, {now} now");
                Ok(())
            })?,
        }
        protocol.moods.set(Mood::Well);
        protocol.arrived(before, 10)?;
    }
    drop(listening);
    let failed = protocol.failures(&collector)?;
    wait::eventually(wait::seconds(20), || {
        ensure!(protocol.failures(&collector)? >= failed + 2.0, "it is away, and nothing fails");
        Ok(())
    })?;
    let before = (protocol.times)().len();
    let _back = (protocol.listen)(address)?;
    protocol.arrived(before, 10)?;
    protocol.has_no_gap()?;
    for reason in ["queue_full", "rejected"] {
        ensure!(protocol.dropped(&collector, reason)? == 0.0, "{reason}: values were dropped");
    }

    protocol.moods.set(Mood::Status(400, None));
    wait::eventually(wait::seconds(20), || {
        ensure!(protocol.dropped(&collector, "rejected")? > 0.0, "nothing was rejected");
        Ok(())
    })?;
    protocol.moods.set(Mood::Well);
    let before = (protocol.times)().len();
    protocol.arrived(before, 2)
}

/// With room for two requests a receiver that is away for longer misses some: as many as are counted.
fn beyond_the_bound() -> Result<()> {
    for protocol in [Protocol::remote_write(), Protocol::otlp_http(), Protocol::otlp_grpc()] {
        let listening = (protocol.listen)(receiver::any_port())?;
        let bound = protocol.bounded.into_iter().collect::<Vec<_>>();
        let collector = protocol.start(&bound, listening.address())?;
        protocol.arrived(0, 3)?;
        protocol.moods.set(Mood::Status(503, None));
        wait::eventually(wait::seconds(20), || {
            ensure!(protocol.dropped(&collector, "queue_full")? > 0.0, "{}: nothing was dropped", protocol.exporter);
            Ok(())
        })?;
        let before = (protocol.times)().len();
        protocol.moods.set(Mood::Well);
        protocol.arrived(before, 5)?;
        ensure!(protocol.dropped(&collector, "rejected")? == 0.0, "{}: values were rejected", protocol.exporter);
        let times = (protocol.times)();
        ensure!(times.is_sorted(), "{}: out of order: {times:?}", protocol.exporter);
    }
    Ok(())
}

/// All at once, with a collector that pushes to three of them.
fn a_minute_down() -> Result<()> {
    let protocols = [Protocol::remote_write(), Protocol::otlp_http(), Protocol::influxdb()];
    let mut listening = Vec::new();
    // Five pushes a second wait, each of one request or two.
    let mut flags = ["--remote_write_queue_size=1000", "--otlp_queue_size=1000"].map(str::to_owned).to_vec();
    for protocol in &protocols {
        let receiver = (protocol.listen)(receiver::any_port())?;
        flags.extend((protocol.flags)("http", &receiver.address().to_string()));
        listening.push(receiver);
    }
    flags.sort();
    flags.dedup();
    let collector = Collector::start(&flags.iter().map(String::as_str).collect::<Vec<_>>())?;
    for protocol in &protocols {
        protocol.arrived(0, 3)?;
    }
    let addresses: Vec<SocketAddr> = listening.iter().map(Listening::address).collect();
    drop(listening);
    wait::pass(wait::seconds(60));
    let mut back = Vec::new();
    for (protocol, address) in protocols.iter().zip(addresses) {
        ensure!(protocol.failures(&collector)? >= 3.0, "{}: nothing failed", protocol.exporter);
        back.push((protocol.listen)(address)?);
    }
    for protocol in &protocols {
        // It is tried again every eight seconds at the latest, and what waits comes at once then.
        wait::eventually(wait::seconds(30), || {
            let waiting = protocol.value(&collector, "collector_push_waiting_points", None)?;
            let now = (protocol.times)();
            ensure!(now.len() >= 150, "{}: {} pushes came, {waiting} values wait", protocol.exporter, now.len());
            Ok(())
        })?;
        protocol.has_no_gap()?;
        for reason in ["queue_full", "rejected"] {
            ensure!(protocol.dropped(&collector, reason)? == 0.0, "{}: {reason}", protocol.exporter);
        }
    }
    Ok(())
}

/// A certificate that is trusted, of somebody else: nothing is sent, what there is waits, and the log says why.
fn tls_of_another_name() -> Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["metrics.example.com".to_owned()])?;
    let key = made.signing_key.serialize_der();
    let trusted = std::env::temp_dir().join(format!("collector-test-name-{}.pem", std::process::id()));
    bytes::write(&trusted, &made.cert.pem())?;
    let trusting = Surroundings::default().with_variable("SSL_CERT_FILE", &trusted);
    for protocol in [Protocol::remote_write(), Protocol::otlp_http(), Protocol::otlp_grpc(), Protocol::influxdb()] {
        let plain = (protocol.listen)(receiver::any_port())?;
        let outside = receiver::behind_tls(&plain, made.cert.der(), &key, &[protocol.alpn])?;
        let flags = (protocol.flags)("https", &format!("localhost:{}", outside.address().port()));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let collector = Collector::start_as(&trusting, &flags)?;
        wait::eventually(wait::seconds(30), || {
            let failures = protocol.failures(&collector)?;
            let waiting = protocol.value(&collector, "collector_push_waiting_points", None)?;
            ensure!(failures >= 2.0 && waiting > 0.0, "{failures} failures, {waiting} values wait");
            Ok(())
        })?;
        ensure!((protocol.times)().is_empty(), "somebody was sent something who is not who was named");
        let log = collector.log();
        let reported = log.iter().any(|line| line.contains("does not accept requests") && line.contains("certificate"));
        ensure!(reported, "{}: the log does not say that it is the certificate: {log:?}", protocol.exporter);
    }
    std::fs::remove_file(&trusted)?;
    Ok(())
}

/// What version 2.0 of the protocol wants of a request.
fn requests_of_remote_write() -> Result<()> {
    let received = Received::<WriteRequest2>::default();
    let listening = receiver::remote_write_2(receiver::any_port(), &received, &Moods::default())?;
    let url = format!("--remote_write_url=http://{}/api/v1/write", listening.address());
    let _collector = Collector::start(&[&url, "--remote_write_interval=200ms"])?;
    wait::eventually(wait::seconds(30), || {
        ensure!(times_of_series(&received).len() >= 3, "nothing comes");
        Ok(())
    })?;
    for request in received.all().iter() {
        ensure!(request.symbols.first().is_some_and(String::is_empty), "the first text is not empty");
        for (labels, series) in request.series() {
            ensure!(labels.is_sorted_by(|one, other| one.0 < other.0), "labels: {labels:?}");
            ensure!(labels.iter().any(|(name, _)| *name == "instance"), "labels: {labels:?}");
            ensure!(labels.iter().all(|(_, value)| !value.is_empty()), "a label without a value: {labels:?}");
            let metadata = series.metadata.as_ref().map(|metadata| (metadata.r#type, metadata.help_ref));
            ensure!(
                metadata.is_some_and(|(kind, help)| (1..=3).contains(&kind) && help > 0),
                "{labels:?}: {metadata:?}"
            );
            for sample in &series.samples {
                ensure!(sample.start_timestamp <= sample.timestamp, "{labels:?}: {sample:?}");
            }
        }
    }
    let counters_begin = received.all().iter().any(|request| {
        request.series().any(|(labels, series)| {
            labels.contains(&("__name__", "container_cpu_usage_seconds_total"))
                && series.samples.iter().all(|sample| sample.start_timestamp > 0)
        })
    });
    ensure!(counters_begin, "no counter says when it began");
    Ok(())
}
