//! Samples as OTLP messages, by the semantic conventions 1.44.
//!
//! Sums begin when the cgroup was made: that is when the kernel's counters do.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use prost::Message as _;

use super::delta::{Base, increases};
use super::histograms;
use super::resource::{Host, resource};
use super::values::text;
use crate::push::observe::Observed;
use crate::push::queue::Request;
use crate::push::statistics::{Detail, Kind, Number, Point, ROWS, Row, Seen, Since};
use crate::push::{Details, Temporality};
use crate::rates;
use crate::sample::container::Sample;
use crate::units::WallTime;

/// The convention's version, as receivers look it up.
pub(super) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.44.0";
const NANOS_PER_SECOND: f64 = 1e9;

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
        Number::Thousandths(thousandths) => number_data_point::Value::AsDouble(thousandths as f64 / 1000.0),
    }
}

fn gauge(name: &str, unit: &str, at: u64, value: f64) -> Metric {
    let value = Some(number_data_point::Value::AsDouble(value));
    let data_points = vec![NumberDataPoint { time_unix_nano: at, value, ..NumberDataPoint::default() }];
    let data = Some(metric::Data::Gauge(Gauge { data_points }));
    Metric { name: name.to_owned(), unit: unit.to_owned(), data, ..Metric::default() }
}

fn metrics(observed: &Observed, sample: &Sample, host: &Host, style: Style) -> Vec<Metric> {
    let Observed { identity, spec, previous, storage, beside, .. } = observed;
    let (created, at) = (spec.created.unwrap_or_default().0, sample.at.0);
    let mut metrics: Vec<Metric> = Vec::with_capacity(64);
    let started = identity.as_ref().and_then(|identity| identity.started).or(spec.created);
    if let Some(started) = started.filter(|started| *started > WallTime::default()) {
        metrics.push(gauge("container.uptime", "s", at, sample.at.since(started).0 as f64 / NANOS_PER_SECOND));
    }
    if let Some(rates) = previous.as_ref().and_then(|previous| rates::cpu(&previous.sample, sample)) {
        metrics.push(gauge("container.cpu.usage", "{cpu}", at, rates.total as f64 / NANOS_PER_SECOND));
    }
    let seen = Seen {
        sample,
        spec,
        identity: identity.as_deref(),
        storage: storage.as_deref(),
        beside: Some(beside),
        machine_memory: host.memory,
    };
    let base = Base::of(observed, host);
    for row in ROWS {
        if row.otlp.is_empty() || (row.detail == Detail::OnRequest && style.details == Details::Few) {
            continue;
        }
        let mut points = row.points(&seen);
        let mut start = match row.since {
            Since::Creation => created,
            Since::Start => created.max(host.began.0),
        };
        let mut temporality = AggregationTemporality::Cumulative;
        if row.kind == Kind::Counter && style.temporality == Temporality::Delta {
            temporality = AggregationTemporality::Delta;
            match base {
                Base::Previous(before) => {
                    let then = Seen { sample: &before.sample, beside: Some(&before.beside), ..seen };
                    points = increases(points, &row.points(&then), row.extent);
                    start = before.sample.at.0;
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
    let span = [created.max(host.began.0), at];
    let histograms = match (style.temporality, base) {
        (Temporality::Cumulative, _) | (Temporality::Delta, Base::Creation) => {
            histograms::metrics(beside, None, span, style.temporality)
        }
        (Temporality::Delta, Base::Previous(before)) => {
            histograms::metrics(beside, Some(&before.beside), [before.sample.at.0, at], style.temporality)
        }
        (Temporality::Delta, Base::Unknown) => Vec::new(),
    };
    metrics.extend(histograms);
    metrics
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use opentelemetry_proto::tonic::common::v1::any_value;

    use super::*;
    use crate::push::observe::Before;
    use crate::push::statistics::Beside;
    use crate::sample::container::{Cpu, DeviceIo, Faults, Interface, Io, IoStat, Memory, Network, Traffic};
    use crate::sample::identity::{Identity, Runtime};
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
            previous: Some(Before { sample: sample(5), beside: Beside::default() }),
            samples: vec![sample(7)],
            storage: None,
            beside: Beside::default(),
        }
    }

    const CUMULATIVE: Style = Style { temporality: Temporality::Cumulative, details: Details::Few };

    fn decoded(observed: Observed, style: Style) -> (ResourceMetrics, u64) {
        let since = WallTime(500_000_000);
        let host = Host { name: "node".to_owned(), id: None, memory: Some(5000), began: since, since };
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
            let before = previous.replace(Before { sample: Arc::clone(&now), beside: Beside::default() });
            let is_first = before.is_none();
            let (seconds, start) =
                added(Observed { spec, previous: before, samples: vec![now], ..observed() }).unwrap();
            assert_eq!(
                start,
                if is_first {
                    1
                } else if created == second {
                    created
                } else {
                    (second - 1).max(created)
                }
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
}
