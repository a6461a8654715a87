//! The collector's own metrics, which a registry keeps, in every format and among the other families.

use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::head::Kind;
use super::labels::append_escaped;
use super::number::append_float;
use super::options::Format;
use super::protobuf;
use super::writer::{append_head, close};
use crate::series;
use crate::units::WallTime;

/// Where lines go.
struct Lines<'a> {
    out: &'a mut Vec<u8>,
    format: Format,
    at: WallTime,
    help: &'a str,
    kind: Kind,
}

/// Times of values that have none of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Of a value, where it has to have one.
    pub(super) at: WallTime,
    /// When the collector's counters were 0.
    pub(super) began: Option<WallTime>,
}

/// When the collector's counters were 0: with the start of its process, which is one of its metrics.
pub(super) fn began(all: &[MetricFamily]) -> Option<WallTime> {
    let start = all.iter().find(|family| family.name() == "process_start_time_seconds")?;
    let seconds = start.get_metric().first()?.get_gauge().get_value();
    Some(WallTime((seconds * 1e9) as u64))
}

/// Appends a family.
pub(super) fn append(out: &mut Vec<u8>, format: Format, times: Times, family: &MetricFamily) {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::GAUGE => Kind::Gauge,
        MetricType::HISTOGRAM => Kind::Histogram,
        // None of these is registered.
        MetricType::SUMMARY | MetricType::UNTYPED => return,
    };
    if format == Format::Protobuf {
        // The network's counters are older than the process.
        let created = times.began.filter(|_| !family.name().starts_with("process_network_"));
        return protobuf::append_own(out, kind, family, created);
    }
    // Those of a histogram have several names.
    if (format, kind) != (Format::RemoteWrite, Kind::Histogram) {
        append_head(out, format, family.name(), family.help(), kind);
    }
    let mut lines = Lines { out, format, at: times.at, help: family.help(), kind };
    for metric in family.get_metric() {
        let labels = metric.get_label();
        match kind {
            Kind::Counter => lines.add([family.name(), ""], labels, None, metric.get_counter().get_value()),
            Kind::Gauge => lines.add([family.name(), ""], labels, None, metric.get_gauge().get_value()),
            Kind::Histogram => lines.histogram(family.name(), metric),
        }
    }
}

impl Lines<'_> {
    fn histogram(&mut self, name: &str, metric: &Metric) {
        let histogram = metric.get_histogram();
        let labels = metric.get_label();
        for bucket in histogram.get_bucket() {
            let count = bucket.cumulative_count() as f64;
            self.add([name, "_bucket"], labels, Some(bucket.upper_bound()), count);
        }
        let all = histogram.get_sample_count() as f64;
        self.add([name, "_bucket"], labels, Some(f64::INFINITY), all);
        self.add([name, "_sum"], labels, None, histogram.get_sample_sum());
        self.add([name, "_count"], labels, None, all);
    }

    fn add(&mut self, name: [&str; 2], labels: &[LabelPair], bound: Option<f64>, value: f64) {
        match self.format {
            Format::Text | Format::OpenMetrics => line(self.out, name, labels, bound, value),
            Format::RemoteWrite => {
                if self.kind == Kind::Histogram {
                    series::append_family(self.out, name, self.help, self.kind.metric_type());
                }
                message(self.out, self.at, labels, bound, value);
            }
            // A message of its own.
            Format::Protobuf => {}
        }
    }
}

/// A series that is pushed. A registry sorts labels; `le` has its place among them.
fn message(out: &mut Vec<u8>, at: WallTime, labels: &[LabelPair], bound: Option<f64>, value: f64) {
    let bound = bound.map(|bound| {
        let mut text = Vec::new();
        append_bound(&mut text, bound);
        text
    });
    let own = labels.iter().map(|label| (label.name(), label.value().as_bytes()));
    let mut all: Vec<(&str, &[u8])> = own.chain(bound.as_deref().map(|bound| ("le", bound))).collect();
    all.sort_unstable();
    let mut own = Vec::new();
    for (name, value) in all {
        series::append_label(&mut own, name, value);
    }
    series::append_series(out, 0..0, &own, value, [at.millis(), 0]);
}

fn line(out: &mut Vec<u8>, name: [&str; 2], labels: &[LabelPair], bound: Option<f64>, value: f64) {
    for part in name {
        out.extend_from_slice(part.as_bytes());
    }
    if !labels.is_empty() || bound.is_some() {
        out.push(b'{');
        for label in labels.iter().filter(|label| !label.value().is_empty()) {
            out.extend_from_slice(label.name().as_bytes());
            out.extend_from_slice(b"=\"");
            append_escaped(out, label.value());
            out.extend_from_slice(b"\",");
        }
        if let Some(bound) = bound {
            out.extend_from_slice(b"le=\"");
            append_bound(out, bound);
            out.extend_from_slice(b"\",");
        }
        close(out);
    }
    out.push(b' ');
    append_float(out, value);
    out.push(b'\n');
}

/// A bound in its canonical form: `OpenMetrics` wants `1.0` where the text format has `1`.
fn append_bound(out: &mut Vec<u8>, bound: f64) {
    let start = out.len();
    append_float(out, bound);
    if bound.is_finite() && out[start..].iter().all(u8::is_ascii_digit) {
        out.extend_from_slice(b".0");
    }
}

/// How many series a family has.
pub(super) fn series(family: &MetricFamily) -> usize {
    let of = |metric: &Metric| match family.get_field_type() {
        MetricType::HISTOGRAM => metric.get_histogram().get_bucket().len() + 3,
        MetricType::COUNTER | MetricType::GAUGE => 1,
        MetricType::SUMMARY | MetricType::UNTYPED => 0,
    };
    family.get_metric().iter().map(of).sum()
}

/// A family of gauges that the registry does not keep.
pub(super) fn gauges(name: &str, help: &str, values: &[(Option<(&str, &str)>, usize)]) -> MetricFamily {
    let metric = |(label, value): &(Option<(&str, &str)>, usize)| {
        let mut gauge = Gauge::default();
        gauge.set_value(*value as f64);
        let mut metric = Metric::from_gauge(gauge);
        if let Some((name, value)) = label {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            metric.set_label(vec![pair]);
        }
        metric
    };
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(values.iter().map(metric).collect());
    family
}
