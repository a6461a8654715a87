//! Samples as OTLP messages, by the semantic conventions for containers of June 2025 (v1.36).
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

use crate::push::observe::Observed;
use crate::push::queue::Request;
use crate::rates;
use crate::sample::container::{IoStat, Sample};
use crate::sample::identity::Identity;
use crate::sample::identity::kubernetes::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID};
use crate::sample::spec::{MemoryLimit, Spec};
use crate::sample::unread::Part;
use crate::units::WallTime;

/// The convention's version, as receivers look it up.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.36.0";
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
}

/// One request.
pub(super) fn request(containers: &[Observed], host: &Host) -> Request {
    let resource_metrics: Vec<_> = containers.iter().filter_map(|observed| container(observed, host)).collect();
    let metrics = resource_metrics.iter().flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics);
    let points = metrics.map(points).sum();
    Request { body: ExportMetricsServiceRequest { resource_metrics }.encode_to_vec().into(), points }
}

fn points(metric: &Metric) -> u64 {
    let points = match &metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(metric::Data::Sum(sum)) => sum.data_points.len(),
        _ => 0,
    };
    points as u64
}

fn container(observed: &Observed, host: &Host) -> Option<ResourceMetrics> {
    let sample = observed.samples.last()?;
    let scope = InstrumentationScope {
        name: "collector".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let metrics = metrics(observed, sample, host);
    let scope = ScopeMetrics { scope: Some(scope), metrics, schema_url: SCHEMA.to_owned() };
    Some(ResourceMetrics {
        resource: Some(Resource { attributes: resource(observed, host), ..Resource::default() }),
        scope_metrics: vec![scope],
        schema_url: SCHEMA.to_owned(),
    })
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

/// Who the values are about. `cgroup.path` is ours, and on every resource: only it distinguishes bare cgroups.
fn resource(observed: &Observed, host: &Host) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("host.name", &host.name),
        text("os.type", "linux"),
        text("cgroup.path", &String::from_utf8_lossy(&observed.name)),
    ];
    attributes.extend(host.id.as_deref().map(|id| text("host.id", id)));
    if let Some(identity) = observed.identity.as_deref() {
        runtime_attributes(identity, &mut attributes);
    }
    attributes
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
    // What the kubelet writes on each container.
    let kubernetes = [
        (POD_NAMESPACE, "k8s.namespace.name"),
        (POD_NAME, "k8s.pod.name"),
        (POD_UID, "k8s.pod.uid"),
        (CONTAINER_NAME, "k8s.container.name"),
    ];
    let labels = kubernetes.iter().filter_map(|(label, key)| Some(text(key, identity.labels.get(*label)?)));
    attributes.extend(labels);
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

/// Makes the points of one sample.
struct Points {
    start: u64,
    at: u64,
    metrics: Vec<Metric>,
}

/// Whether a sum only grows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    UpDownCounter,
}

type Point = (number_data_point::Value, Vec<KeyValue>);

fn integer(value: u64) -> number_data_point::Value {
    number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))
}

impl Points {
    fn data(&self, points: Vec<Point>, start: u64) -> Vec<NumberDataPoint> {
        let point = |(value, attributes)| NumberDataPoint {
            attributes,
            start_time_unix_nano: start,
            time_unix_nano: self.at,
            value: Some(value),
            ..NumberDataPoint::default()
        };
        points.into_iter().map(point).collect()
    }

    fn add(&mut self, name: &str, unit: &str, data: metric::Data) {
        let (name, unit) = (name.to_owned(), unit.to_owned());
        self.metrics.push(Metric { name, unit, data: Some(data), ..Metric::default() });
    }

    fn gauge(&mut self, name: &str, unit: &str, value: f64) {
        let data_points = self.data(vec![(number_data_point::Value::AsDouble(value), Vec::new())], 0);
        self.add(name, unit, metric::Data::Gauge(Gauge { data_points }));
    }

    fn sum(&mut self, name: &str, unit: &str, kind: Kind, points: Vec<Point>) {
        if points.is_empty() {
            return;
        }
        let data = Sum {
            data_points: self.data(points, self.start),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: kind == Kind::Counter,
        };
        self.add(name, unit, metric::Data::Sum(data));
    }

    fn bytes(&mut self, name: &str, value: u64) {
        self.sum(name, "By", Kind::UpDownCounter, vec![(integer(value), Vec::new())]);
    }
}

fn metrics(observed: &Observed, sample: &Sample, host: &Host) -> Vec<Metric> {
    let Observed { identity, spec, previous, .. } = observed;
    let mut points =
        Points { start: spec.created.unwrap_or_default().0, at: sample.at.0, metrics: Vec::with_capacity(16) };
    let started = identity.as_ref().and_then(|identity| identity.started).or(spec.created);
    if let Some(started) = started.filter(|started| *started > WallTime::default()) {
        points.gauge("container.uptime", "s", sample.at.since(started).0 as f64 / NANOS_PER_SECOND);
    }
    let is_read = |part| !sample.unread.has(part);
    if let Some(cpu) = sample.cpu.as_ref().filter(|_| is_read(Part::CpuTotal)) {
        let seconds = number_data_point::Value::AsDouble(cpu.total.0 as f64 / NANOS_PER_SECOND);
        points.sum("container.cpu.time", "s", Kind::Counter, vec![(seconds, Vec::new())]);
    }
    if let Some(rates) = previous.as_ref().and_then(|previous| rates::cpu(previous, sample)) {
        points.gauge("container.cpu.usage", "{cpu}", rates.total as f64 / NANOS_PER_SECOND);
    }
    if let Some(memory) = &sample.memory {
        for (name, bytes, part) in [
            ("container.memory.usage", memory.usage, Part::MemoryUsage),
            ("container.memory.rss", memory.rss, Part::Rss),
            ("container.memory.working_set", memory.working_set, Part::WorkingSet),
        ] {
            if is_read(part) {
                points.bytes(name, bytes.0);
            }
        }
        if let Some(limit) = memory_limit(spec, host).filter(|_| is_read(Part::WorkingSet)) {
            points.bytes("container.memory.available", limit.saturating_sub(memory.working_set.0));
        }
        let faults = memory.hierarchical_faults;
        let fault = |kind: &str, count| (integer(count), vec![text("system.paging.fault.type", kind)]);
        let of_both_kinds =
            vec![fault("major", faults.pgmajfault), fault("minor", faults.pgfault.saturating_sub(faults.pgmajfault))];
        if is_read(Part::AllFaults) && is_read(Part::AllMajorFaults) {
            points.sum("container.paging.faults", "{fault}", Kind::Counter, of_both_kinds);
        }
    }
    points.sum("container.disk.io", "By", Kind::Counter, disk(sample));
    points.sum("container.network.io", "By", Kind::Counter, network(sample));
    points.metrics
}

fn memory_limit(spec: &Spec, host: &Host) -> Option<u64> {
    match spec.memory.as_ref()?.limit? {
        MemoryLimit::Bytes(limit) if host.memory.is_none_or(|memory| limit.0 <= memory) => Some(limit.0),
        MemoryLimit::Bytes(_) | MemoryLimit::Max => None,
    }
}

fn disk(sample: &Sample) -> Vec<Point> {
    let devices = sample.io.iter().flat_map(|io| &io.devices).filter(|device| device.stat == IoStat::ServiceBytes);
    devices
        .flat_map(|device| {
            let name = match &*device.device {
                "" => format!("{}:{}", device.major, device.minor),
                name => name.to_owned(),
            };
            let directions = [("Read", "read"), ("Write", "write")];
            directions.into_iter().filter_map(move |(operation, direction)| {
                let (_, bytes) = device.operations.iter().find(|(found, _)| *found == operation)?;
                Some((integer(*bytes), vec![text("disk.io.direction", direction), text("system.device", &name)]))
            })
        })
        .collect()
}

fn network(sample: &Sample) -> Vec<Point> {
    let interfaces = sample.network.iter().flat_map(|network| &network.interfaces);
    interfaces
        .flat_map(|interface| {
            let directions = [("receive", interface.receive.bytes), ("transmit", interface.transmit.bytes)];
            directions.map(|(direction, bytes)| {
                let name = text("network.interface.name", &interface.name);
                (integer(bytes), vec![name, text("network.io.direction", direction)])
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::sample::container::{Cpu, DeviceIo, Faults, Interface, Io, Memory, Network, Traffic};
    use crate::sample::identity::Runtime;
    use crate::sample::spec::MemorySpec;
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
            spec,
            previous: Some(sample(5)),
            samples: vec![sample(7)],
        }
    }

    fn decoded(observed: Observed) -> (ResourceMetrics, u64) {
        let host = Host { name: "node".to_owned(), id: None, memory: Some(5000) };
        let request = request(&[observed], &host);
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
        let (message, points) = decoded(observed());
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
                "container.cpu.time counter s 3.5 ",
                "container.cpu.usage gauge {cpu} 0.5 ",
                "container.memory.usage updown By 100 ",
                "container.memory.rss updown By 40 ",
                "container.memory.working_set updown By 60 ",
                "container.memory.available updown By 940 ",
                "container.paging.faults counter {fault} 2 system.paging.fault.type=major",
                "container.paging.faults counter {fault} 7 system.paging.fault.type=minor",
                "container.disk.io counter By 5 disk.io.direction=read,system.device=/dev/sda",
                "container.disk.io counter By 6 disk.io.direction=write,system.device=/dev/sda",
                "container.network.io counter By 7 network.interface.name=eth0,network.io.direction=receive",
                "container.network.io counter By 8 network.interface.name=eth0,network.io.direction=transmit",
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let samples = vec![Arc::new(Sample { at: WallTime(9), ..Sample::default() })];
        let nothing = Observed { identity: None, spec: Spec::default(), previous: None, samples, ..observed() };
        let (message, points) = decoded(nothing);
        assert_eq!(points, 0, "{message:?}");
        assert_eq!(message.resource.unwrap().attributes.len(), 3);
    }

    #[test]
    fn images() {
        assert_eq!(image_name("nginx"), ("nginx", None));
        assert_eq!(image_name("nginx:1"), ("nginx", Some("1")));
        assert_eq!(image_name("reg:5000/a/b"), ("reg:5000/a/b", None));
        assert_eq!(image_name("a@sha256:12"), ("a", None));
    }
}
