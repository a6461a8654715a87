//! Samples as OTLP messages, by the semantic conventions 1.44.
//!
//! Sums begin when the cgroup was made: that is when the kernel's counters do.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::histograms::{self, Span};
use super::values::{attribute, text};
use crate::push::observe::Observed;
use crate::push::queue::Request;
use crate::push::statistics::{Detail, Kind, Number, Point, ROWS, Row, Seen};
use crate::push::{Details, Temporality};
use crate::rates;
use crate::sample::container::Sample;
use crate::sample::identity::Identity;
use crate::sample::identity::kubernetes::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID};
use crate::units::WallTime;

/// The convention's version, as receivers look it up.
pub(super) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.44.0";
const NANOS_PER_SECOND: f64 = 1e9;

/// The machine, the same in every resource.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its machine id.
    pub id: Option<String>,
    /// Its memory in bytes: a limit beyond it is none.
    pub memory: Option<u64>,
    /// Since when the collector observes it.
    pub since: WallTime,
}

/// What is pushed of what is known.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// What counters say.
    pub temporality: Temporality,
    /// Whether statistics with many values are pushed too.
    pub details: Details,
}

/// One request.
pub(super) fn request(containers: &[Observed], host: &Host, style: Style) -> Request {
    let resource_metrics: Vec<_> = containers.iter().filter_map(|observed| container(observed, host, style)).collect();
    let metrics = resource_metrics.iter().flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics);
    let points = metrics.map(points).sum();
    Request { body: ExportMetricsServiceRequest { resource_metrics }.encode_to_vec().into(), points }
}

fn points(metric: &Metric) -> u64 {
    let points = match &metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(metric::Data::Sum(sum)) => sum.data_points.len(),
        Some(metric::Data::Histogram(histogram)) => histogram.data_points.len(),
        _ => 0,
    };
    points as u64
}

/// Who reports.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "collector".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn container(observed: &Observed, host: &Host, style: Style) -> Option<ResourceMetrics> {
    let sample = observed.samples.last()?;
    let metrics = metrics(observed, sample, host, style);
    let scope = ScopeMetrics { scope: Some(scope()), metrics, schema_url: SCHEMA.to_owned() };
    let resource = resource(&observed.name, observed.identity.as_deref(), observed.pod.as_deref(), host);
    Some(ResourceMetrics { resource: Some(resource), scope_metrics: vec![scope], schema_url: SCHEMA.to_owned() })
}

/// Who the values are about. `cgroup.path` is ours, and on every resource: only it distinguishes bare cgroups. The cgroup
/// of a pod itself is whose a container of it says.
pub(super) fn resource(cgroup: &[u8], identity: Option<&Identity>, pod: Option<&Identity>, host: &Host) -> Resource {
    let mut attributes = vec![
        text("host.name", &host.name),
        text("os.type", "linux"),
        text("cgroup.path", &String::from_utf8_lossy(cgroup)),
    ];
    attributes.extend(host.id.as_deref().map(|id| text("host.id", id)));
    if let Some(identity) = identity {
        runtime_attributes(identity, &mut attributes);
    }
    if let Some(of_pod) = identity.or(pod) {
        pod_attributes(of_pod, &mut attributes);
    }
    Resource { attributes, ..Resource::default() }
}

fn runtime_attributes(identity: &Identity, attributes: &mut Vec<KeyValue>) {
    attributes.extend([text("container.id", &identity.id), text("container.runtime", identity.runtime.namespace())]);
    attributes.extend(identity.name.as_deref().map(|name| text("container.name", name)));
    if let Some(image) = identity.image.as_deref() {
        let (name, tag) = image_name(image);
        attributes.push(text("container.image.name", name));
        attributes.extend(tag.map(|tag| {
            let value = AnyValue { value: Some(any_value::Value::StringValue(tag.to_owned())) };
            attribute("container.image.tags", any_value::Value::ArrayValue(ArrayValue { values: vec![value] }))
        }));
    }
    attributes.extend(identity.labels.get(CONTAINER_NAME).map(|name| text("k8s.container.name", name)));
}

/// What the kubelet writes on each container; the uid is in the path as well.
fn pod_attributes(identity: &Identity, attributes: &mut Vec<KeyValue>) {
    let label = |label: &str| identity.labels.get(label).map(String::as_str);
    let uid = label(POD_UID).or_else(|| identity.pod.as_ref().map(|pod| pod.uid.as_str()));
    let keys = [("k8s.namespace.name", label(POD_NAMESPACE)), ("k8s.pod.name", label(POD_NAME)), ("k8s.pod.uid", uid)];
    attributes.extend(keys.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
}

/// An image's name and its tag: `registry:5000/name:tag@digest`.
fn image_name(image: &str) -> (&str, Option<&str>) {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        // The colon of a registry's port comes before a slash.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    }
}

fn data_points(points: Vec<Point<'_>>, row: &Row, start: u64, at: u64) -> Vec<NumberDataPoint> {
    let point = |Point { number, labels }: Point<'_>| {
        let mut attributes: Vec<KeyValue> = row.attributes.iter().map(|(key, value)| text(key, value)).collect();
        attributes.extend(labels.iter().map(|(label, value)| text(label.attribute(), value)));
        NumberDataPoint {
            attributes,
            start_time_unix_nano: start,
            time_unix_nano: at,
            value: Some(value(number)),
            ..NumberDataPoint::default()
        }
    };
    points.into_iter().map(point).collect()
}

fn value(number: Number) -> number_data_point::Value {
    match number {
        Number::Count(count) => number_data_point::Value::AsInt(i64::try_from(count).unwrap_or(i64::MAX)),
        Number::Signed(number) => number_data_point::Value::AsInt(number),
        Number::Nanos(nanos) => number_data_point::Value::AsDouble(nanos as f64 / NANOS_PER_SECOND),
        Number::Hundredths(share) => number_data_point::Value::AsDouble(share as f64 / 10_000.0),
    }
}

fn gauge(name: &str, unit: &str, at: u64, value: f64) -> Metric {
    let value = Some(number_data_point::Value::AsDouble(value));
    let data_points = vec![NumberDataPoint { time_unix_nano: at, value, ..NumberDataPoint::default() }];
    let data = Some(metric::Data::Gauge(Gauge { data_points }));
    Metric { name: name.to_owned(), unit: unit.to_owned(), data, ..Metric::default() }
}

/// What the increase of counters is counted from.
enum Base<'a> {
    /// What was pushed before.
    Previous(&'a Sample),
    /// Nothing: all of it was since the cgroup was made.
    Creation,
    /// Not known: it was there before the collector.
    Unknown,
}

fn base<'a>(observed: &'a Observed, host: &Host) -> Base<'a> {
    let created = observed.spec.created.unwrap_or_default();
    match observed.previous.as_deref() {
        Some(previous) if created <= previous.at => Base::Previous(previous),
        // Made anew under its name.
        Some(_) => Base::Creation,
        None if created >= host.since => Base::Creation,
        None => Base::Unknown,
    }
}

/// What was added to counters. One that is less than before began anew.
fn increases<'a>(points: Vec<Point<'a>>, before: &[Point<'_>]) -> Vec<Point<'a>> {
    let increase = |(position, point): (usize, Point<'a>)| {
        let same = before.get(position).filter(|other| other.labels == point.labels);
        let same = same.or_else(|| before.iter().find(|other| other.labels == point.labels));
        let number = match (point.number, same.map(|other| other.number)) {
            (Number::Count(now), Some(Number::Count(then))) if now >= then => Number::Count(now - then),
            (Number::Nanos(now), Some(Number::Nanos(then))) if now >= then => Number::Nanos(now - then),
            (number, _) => number,
        };
        Point { number, ..point }
    };
    points.into_iter().enumerate().map(increase).collect()
}

fn metrics(observed: &Observed, sample: &Sample, host: &Host, style: Style) -> Vec<Metric> {
    let Observed { identity, spec, previous, storage, .. } = observed;
    let (created, at) = (spec.created.unwrap_or_default().0, sample.at.0);
    let mut metrics: Vec<Metric> = Vec::with_capacity(64);
    let started = identity.as_ref().and_then(|identity| identity.started).or(spec.created);
    if let Some(started) = started.filter(|started| *started > WallTime::default()) {
        metrics.push(gauge("container.uptime", "s", at, sample.at.since(started).0 as f64 / NANOS_PER_SECOND));
    }
    if let Some(rates) = previous.as_ref().and_then(|previous| rates::cpu(previous, sample)) {
        metrics.push(gauge("container.cpu.usage", "{cpu}", at, rates.total as f64 / NANOS_PER_SECOND));
    }
    let seen = Seen { sample, spec, storage: storage.as_deref(), machine_memory: host.memory };
    let base = base(observed, host);
    for row in ROWS {
        if row.otlp.is_empty() || (row.detail == Detail::OnRequest && style.details == Details::Few) {
            continue;
        }
        let mut points = row.points(&seen);
        let mut start = created;
        let mut temporality = AggregationTemporality::Cumulative;
        if row.kind == Kind::Counter && style.temporality == Temporality::Delta {
            temporality = AggregationTemporality::Delta;
            match base {
                Base::Previous(previous) => {
                    points = increases(points, &row.points(&Seen { sample: previous, ..seen }));
                    start = previous.at.0;
                }
                Base::Creation => {}
                Base::Unknown => continue,
            }
        }
        if points.is_empty() {
            continue;
        }
        let data_points = data_points(points, row, if row.kind == Kind::Gauge { 0 } else { start }, at);
        if let Some(metric) = metrics.last_mut().filter(|metric| metric.name == row.otlp) {
            match &mut metric.data {
                Some(metric::Data::Sum(sum)) => sum.data_points.extend(data_points),
                Some(metric::Data::Gauge(gauge)) => gauge.data_points.extend(data_points),
                _ => {}
            }
            continue;
        }
        let data = match row.kind {
            Kind::Gauge => metric::Data::Gauge(Gauge { data_points }),
            Kind::Counter | Kind::UpDownCounter => metric::Data::Sum(Sum {
                data_points,
                aggregation_temporality: temporality.into(),
                is_monotonic: row.kind == Kind::Counter,
            }),
        };
        let (name, unit) = (row.otlp.to_owned(), row.unit.to_owned());
        metrics.push(Metric { name, unit, data: Some(data), ..Metric::default() });
    }
    let before = previous.as_ref().filter(|before| created <= before.at.0);
    // The programs are as old as the collector.
    let span = Span { start: created.max(host.since.0), previous: before.map(|sample| sample.at.0), at };
    metrics.extend(histograms::metrics(&observed.kinds, observed.previous_kinds.as_ref(), span, style.temporality));
    metrics
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::push::statistics::Kinds;
    use crate::sample::container::{Cpu, DeviceIo, Faults, Interface, Io, IoStat, Memory, Network, Traffic};
    use crate::sample::identity::Runtime;
    use crate::sample::spec::{MemoryLimit, MemorySpec, Spec};
    use crate::units::{Bytes, Nanos};

    fn sample(second: u64) -> Arc<Sample> {
        let cpu = Cpu { total: Nanos(second * 500_000_000), ..Cpu::default() };
        let memory = Memory {
            usage: Bytes(100),
            rss: Bytes(40),
            working_set: Bytes(60),
            hierarchical_faults: Faults { pgfault: 9, pgmajfault: 2 },
            ..Memory::default()
        };
        let device = DeviceIo {
            stat: IoStat::ServiceBytes,
            major: 8,
            minor: 0,
            device: "/dev/sda".into(),
            operations: vec![("Read", 5), ("Write", 6), ("Total", 11)],
        };
        let traffic = |bytes| Traffic { bytes, ..Traffic::default() };
        let interface = Interface { name: "eth0".into(), receive: traffic(7), transmit: traffic(8) };
        Arc::new(Sample {
            at: WallTime(second * 1_000_000_000),
            cpu: Some(cpu),
            memory: Some(memory),
            io: Some(Io { devices: vec![device], pressure: None }),
            network: Some(Network { interfaces: vec![interface], ..Network::default() }),
            ..Sample::default()
        })
    }

    fn observed() -> Observed {
        let mut identity = Identity::from_path(Runtime::Docker, "abc".to_owned());
        identity.name = Some("web".to_owned());
        identity.image = Some("registry:5000/nginx:1.2@sha256:00".to_owned());
        identity.labels = BTreeMap::from([("io.kubernetes.pod.name".to_owned(), "pod-1".to_owned())]);
        let limit = Some(MemoryLimit::Bytes(Bytes(1000)));
        let spec = Spec {
            created: Some(WallTime(1_000_000_000)),
            memory: Some(MemorySpec { limit, ..MemorySpec::default() }),
            ..Spec::default()
        };
        Observed {
            name: b"/docker/abc".as_slice().into(),
            identity: Some(Arc::new(identity)),
            pod: None,
            spec,
            previous: Some(sample(5)),
            samples: vec![sample(7)],
            storage: None,
            kinds: Kinds::default(),
            previous_kinds: None,
        }
    }

    const CUMULATIVE: Style = Style { temporality: Temporality::Cumulative, details: Details::Few };

    fn decoded(observed: Observed, style: Style) -> (ResourceMetrics, u64) {
        let since = WallTime(500_000_000);
        let host = Host { name: "node".to_owned(), id: None, memory: Some(5000), since };
        let request = request(&[observed], &host, style);
        let mut message = ExportMetricsServiceRequest::decode(request.body).unwrap();
        (message.resource_metrics.remove(0), request.points)
    }

    fn show(value: &KeyValue) -> String {
        match value.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => format!("{}={text}", value.key),
            Some(any_value::Value::ArrayValue(list)) => format!("{}=[{}]", value.key, list.values.len()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_container_by_the_conventions() {
        let (message, points) = decoded(observed(), CUMULATIVE);
        let attributes: Vec<_> = message.resource.unwrap().attributes.iter().map(show).collect();
        assert_eq!(
            attributes,
            [
                "host.name=node",
                "os.type=linux",
                "cgroup.path=/docker/abc",
                "container.id=abc",
                "container.runtime=docker",
                "container.name=web",
                "container.image.name=registry:5000/nginx",
                "container.image.tags=[1]",
                "k8s.pod.name=pod-1"
            ]
        );
        let mut lines = Vec::new();
        for metric in &message.scope_metrics[0].metrics {
            let (kind, data) = match metric.data.as_ref().unwrap() {
                metric::Data::Gauge(gauge) => ("gauge", &gauge.data_points),
                metric::Data::Sum(sum) if sum.is_monotonic => ("counter", &sum.data_points),
                metric::Data::Sum(sum) => ("updown", &sum.data_points),
                other => panic!("{other:?}"),
            };
            for point in data {
                assert_eq!(point.time_unix_nano, 7_000_000_000);
                assert_eq!(point.start_time_unix_nano, if kind == "gauge" { 0 } else { 1_000_000_000 });
                let value = match point.value.unwrap() {
                    number_data_point::Value::AsDouble(value) => value.to_string(),
                    number_data_point::Value::AsInt(value) => value.to_string(),
                };
                let attributes: Vec<_> = point.attributes.iter().map(show).collect();
                lines.push(format!("{} {kind} {} {value} {}", metric.name, metric.unit, attributes.join(",")));
            }
        }
        assert_eq!(points, lines.len() as u64);
        assert_eq!(
            lines,
            [
                "container.uptime gauge s 6 ",
                "container.cpu.usage gauge {cpu} 0.5 ",
                "container.cpu.time counter s 3.5 ",
                "container.memory.usage updown By 100 ",
                "container.memory.cache updown By 0 ",
                "container.memory.rss updown By 40 ",
                "container.memory.mapped_file updown By 0 ",
                "container.memory.working_set updown By 60 ",
                "container.memory.available updown By 940 ",
                "container.paging.own_faults counter {fault} 0 system.paging.fault.type=all",
                "container.paging.own_faults counter {fault} 0 system.paging.fault.type=major",
                "container.paging.faults counter {fault} 2 system.paging.fault.type=major",
                "container.paging.faults counter {fault} 7 system.paging.fault.type=minor",
                "container.memory.oom_kills counter {kill} 0 ",
                "container.disk.io counter By 5 disk.io.direction=read,system.device=/dev/sda",
                "container.disk.io counter By 6 disk.io.direction=write,system.device=/dev/sda",
                "container.network.io counter By 7 network.io.direction=receive,network.interface.name=eth0",
                "container.network.io counter By 8 network.io.direction=transmit,network.interface.name=eth0",
                "container.network.packets counter {packet} 0 network.io.direction=receive,network.interface.name=eth0",
                "container.network.packets counter {packet} 0 network.io.direction=transmit,network.interface.name=eth0",
                "container.network.errors counter {error} 0 network.io.direction=receive,network.interface.name=eth0",
                "container.network.errors counter {error} 0 network.io.direction=transmit,network.interface.name=eth0",
                "container.network.dropped counter {packet} 0 network.io.direction=receive,network.interface.name=eth0",
                "container.network.dropped counter {packet} 0 network.io.direction=transmit,network.interface.name=eth0",
                "container.creation_time gauge s 1 ",
                "container.memory.limit updown By 1000 ",
            ]
        );
    }

    #[test]
    fn the_cgroup_of_a_pod_is_the_pods() {
        let container = observed().identity.map(Arc::unwrap_or_clone).map(|mut identity| {
            let qos = crate::sample::identity::QosClass::Guaranteed;
            identity.pod = Some(crate::sample::identity::PodOfPath { uid: "12-34".to_owned(), qos });
            Arc::new(identity)
        });
        let name = b"/kubepods/pod12-34".as_slice().into();
        let (message, _) = decoded(Observed { name, identity: None, pod: container, ..observed() }, CUMULATIVE);
        let attributes: Vec<_> = message.resource.unwrap().attributes.iter().skip(3).map(show).collect();
        assert_eq!(attributes, ["k8s.pod.name=pod-1", "k8s.pod.uid=12-34"]);
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let samples = vec![Arc::new(Sample { at: WallTime(9), ..Sample::default() })];
        let nothing = Observed { identity: None, spec: Spec::default(), previous: None, samples, ..observed() };
        let (message, points) = decoded(nothing, CUMULATIVE);
        // OOM kills are counted by the collector where the kernel does not.
        assert_eq!(points, 1, "{message:?}");
        assert_eq!(message.resource.unwrap().attributes.len(), 3);
    }

    /// What the CPU time of an observation adds, and since when.
    fn added(observed: Observed) -> Option<(f64, u64)> {
        let style = Style { temporality: Temporality::Delta, details: Details::Few };
        let (message, _) = decoded(observed, style);
        let metric = message.scope_metrics[0].metrics.iter().find(|metric| metric.name == "container.cpu.time")?;
        let Some(metric::Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
        assert_eq!(sum.aggregation_temporality, i32::from(AggregationTemporality::Delta));
        let [point] = sum.data_points.as_slice() else { panic!("{sum:?}") };
        let Some(number_data_point::Value::AsDouble(seconds)) = point.value else { panic!("{point:?}") };
        Some((seconds, point.start_time_unix_nano / 1_000_000_000))
    }

    #[test]
    fn increases_add_up_to_what_was_counted() {
        // Ten minutes, in which the container is made anew twice: half a CPU all the time.
        let (mut sum, mut previous, mut expected) = (0.0, None, 0.0);
        for second in 2..600_u64 {
            let created = [1, 200, 400].into_iter().filter(|made| *made <= second).max().unwrap();
            let mut now = Sample::clone(&sample(second));
            now.cpu = Some(Cpu { total: Nanos((second - created) * 500_000_000), ..Cpu::default() });
            let now = Arc::new(now);
            let spec = Spec { created: Some(WallTime(created * 1_000_000_000)), ..Spec::default() };
            let before = previous.replace(Arc::clone(&now));
            let (seconds, start) =
                added(Observed { spec, previous: before.clone(), samples: vec![now], ..observed() }).unwrap();
            assert_eq!(
                start,
                before.map_or(1, |_| if created == second { created } else { (second - 1).max(created) })
            );
            sum += seconds;
            // Of a life all but what came after its last sample.
            expected += if created == second { 0.0 } else { 0.5 };
        }
        assert!((sum - expected).abs() < 1e-6, "{sum} {expected}");
        // One that was there before the collector has increases from the second push on.
        let spec = Spec { created: Some(WallTime(1)), ..Spec::default() };
        assert_eq!(added(Observed { spec: spec.clone(), previous: None, ..observed() }), None);
        assert_eq!(added(Observed { spec, ..observed() }), Some((1.0, 5)));
    }

    #[test]
    fn images() {
        assert_eq!(image_name("nginx"), ("nginx", None));
        assert_eq!(image_name("nginx:1"), ("nginx", Some("1")));
        assert_eq!(image_name("reg:5000/a/b"), ("reg:5000/a/b", None));
        assert_eq!(image_name("a@sha256:12"), ("a", None));
    }
}
