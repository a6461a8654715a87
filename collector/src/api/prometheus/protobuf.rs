//! Prometheus' protobuf format: `io.prometheus.client.MetricFamily` messages one after the other, each after its length.
//!
//! Encoded by hand: messages of types would have to be put together
//! from copies of every label. The numbers are those of `io/prometheus/client/metrics.proto`. What the text formats cannot
//! say is when a counter began at 0, so that what was counted before the first scrape is not lost.

use prometheus::proto::MetricFamily;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::doubling::Native;
use super::head::Kind;
use crate::units::WallTime;

/// A field's number and how it is encoded, as the byte before it.
const fn tag(number: u8, encoding: u8) -> u8 {
    number << 3 | encoding
}

const VARINT: u8 = 0;
const DOUBLE: u8 = 1;
const BYTES: u8 = 2;

/// `MetricFamily`: name, help, type, metrics.
const NAME: u8 = tag(1, BYTES);
const HELP: u8 = tag(2, BYTES);
const TYPE: u8 = tag(3, VARINT);
const METRIC: u8 = tag(4, BYTES);
/// `Metric`, beside its labels in field 1.
const GAUGE: u8 = tag(2, BYTES);
const COUNTER: u8 = tag(3, BYTES);
const HISTOGRAM: u8 = tag(7, BYTES);
const TIMESTAMP_MS: u8 = tag(6, VARINT);
/// `Gauge`, `Counter`.
const VALUE: u8 = tag(1, DOUBLE);
const COUNTER_EXEMPLAR: u8 = tag(2, BYTES);
const COUNTER_CREATED: u8 = tag(3, BYTES);
/// `Exemplar`, beside its labels in field 1.
const EXEMPLAR_VALUE: u8 = tag(2, DOUBLE);
const EXEMPLAR_TIMESTAMP: u8 = tag(3, BYTES);
/// `Histogram`.
const SAMPLE_COUNT: u8 = tag(1, VARINT);
const SAMPLE_SUM: u8 = tag(2, DOUBLE);
const BUCKET: u8 = tag(3, BYTES);
const SCHEMA: u8 = tag(5, VARINT);
const ZERO_THRESHOLD: u8 = tag(6, DOUBLE);
const ZERO_COUNT: u8 = tag(7, VARINT);
const POSITIVE_SPAN: u8 = tag(12, BYTES);
const POSITIVE_DELTA: u8 = tag(13, BYTES);
const HISTOGRAM_CREATED: u8 = tag(15, BYTES);
/// `BucketSpan`.
const SPAN_OFFSET: u8 = tag(1, VARINT);
const SPAN_LENGTH: u8 = tag(2, VARINT);
/// `Bucket`.
const CUMULATIVE_COUNT: u8 = tag(1, VARINT);
const UPPER_BOUND: u8 = tag(2, DOUBLE);
/// `google.protobuf.Timestamp`.
const SECONDS: u8 = tag(1, VARINT);
const NANOS: u8 = tag(2, VARINT);

/// `Metric`'s label, and its name and value.
const LABEL: u8 = tag(1, BYTES);
const LABEL_NAME: u8 = tag(1, BYTES);
const LABEL_VALUE: u8 = tag(2, BYTES);

/// Appends a label to a metric. One without a value is one that is not there.
pub(super) fn append_label(metric: &mut Vec<u8>, name: &str, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    let field = |bytes: &[u8]| 1 + encoded_len_varint(bytes.len() as u64) + bytes.len();
    metric.push(LABEL);
    encode_varint((field(name.as_bytes()) + field(value)) as u64, metric);
    append_bytes(metric, LABEL_NAME, name.as_bytes());
    append_bytes(metric, LABEL_VALUE, value);
}

fn append_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// One value of a family, apart from its labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<'a> {
    pub(super) kind: Kind,
    pub(super) value: f64,
    /// When a counter was 0.
    pub(super) created: Option<WallTime>,
    /// An [`exemplar`], or nothing.
    pub(super) exemplar: &'a [u8],
    /// The time of the sample, where it has one of its own.
    pub(super) at: Option<WallTime>,
}

/// Appends a message after its length.
pub(super) fn append_family(out: &mut Vec<u8>, name: &str, help: &str, kind: Kind, metrics: &[u8]) {
    let text = |text: &str| 1 + encoded_len_varint(text.len() as u64) + text.len();
    encode_varint((text(name) + text(help) + 2 + metrics.len()) as u64, out);
    append_bytes(out, NAME, name.as_bytes());
    append_bytes(out, HELP, help.as_bytes());
    out.extend([TYPE, kind_number(kind)]);
    out.extend_from_slice(metrics);
}

/// `MetricType`.
const fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Histogram => 4,
    }
}

/// Appends a metric to a family's. `metric` has its labels, and is emptied.
pub(super) fn append_metric(metrics: &mut Vec<u8>, metric: &mut Vec<u8>, point: Point<'_>) {
    let mut value = Vec::with_capacity(9 + point.exemplar.len() + 24);
    append_double(&mut value, VALUE, point.value);
    if point.kind == Kind::Counter {
        if !point.exemplar.is_empty() {
            append_bytes(&mut value, COUNTER_EXEMPLAR, point.exemplar);
        }
        append_time(&mut value, COUNTER_CREATED, point.created);
    }
    append_bytes(metric, if point.kind == Kind::Counter { COUNTER } else { GAUGE }, &value);
    if let Some(at) = point.at {
        metric.push(TIMESTAMP_MS);
        encode_varint(at.millis(), metric);
    }
    append_bytes(metrics, METRIC, metric);
    metric.clear();
}

/// An exemplar with these labels and the value 1.
pub(super) fn exemplar(labels: &[(&str, &[u8])], at: WallTime) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        append_label(&mut out, name, value);
    }
    append_double(&mut out, EXEMPLAR_VALUE, 1.0);
    append_time(&mut out, EXEMPLAR_TIMESTAMP, Some(at));
    out
}

/// Appends a family of the collector's own; its counters and histograms began at this time.
pub(super) fn append_own(out: &mut Vec<u8>, kind: Kind, family: &MetricFamily, created: Option<WallTime>) {
    let mut metrics = Vec::new();
    let mut one = Vec::new();
    for metric in family.get_metric() {
        for label in metric.get_label() {
            append_label(&mut one, label.name(), label.value().as_bytes());
        }
        let point = |value| Point { kind, value, created, exemplar: &[], at: None };
        match kind {
            Kind::Counter => append_metric(&mut metrics, &mut one, point(metric.get_counter().get_value())),
            Kind::Gauge => append_metric(&mut metrics, &mut one, point(metric.get_gauge().get_value())),
            Kind::Histogram => {
                let own = metric.get_histogram();
                let buckets = own.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
                let value = histogram(buckets, own.get_sample_count(), own.get_sample_sum(), created);
                append_histogram(&mut metrics, &mut one, &value, None);
            }
        }
    }
    append_family(out, family.name(), family.help(), kind, &metrics);
}

/// Appends a histogram to a family's metrics. `metric` has its labels, and is emptied.
pub(super) fn append_histogram(metrics: &mut Vec<u8>, metric: &mut Vec<u8>, value: &[u8], at: Option<WallTime>) {
    append_bytes(metric, HISTOGRAM, value);
    if let Some(at) = at {
        metric.push(TIMESTAMP_MS);
        encode_varint(at.millis(), metric);
    }
    append_bytes(metrics, METRIC, metric);
    metric.clear();
}

/// A histogram: upper bounds and how many there are up to each; how many there are in all, and their sum.
pub(super) fn histogram(
    buckets: impl Iterator<Item = (f64, u64)>,
    count: u64,
    sum: f64,
    created: Option<WallTime>,
) -> Vec<u8> {
    let mut out = Vec::new();
    append_number(&mut out, SAMPLE_COUNT, count);
    append_double(&mut out, SAMPLE_SUM, sum);
    for (bound, count) in buckets {
        let mut one = Vec::new();
        append_number(&mut one, CUMULATIVE_COUNT, count);
        append_double(&mut one, UPPER_BOUND, bound);
        append_bytes(&mut out, BUCKET, &one);
    }
    append_time(&mut out, HISTOGRAM_CREATED, created);
    out
}

/// Appends to a histogram the same as a native one: bounds are powers of two.
pub(super) fn append_native(out: &mut Vec<u8>, native: &Native) {
    append_number(out, SCHEMA, 0);
    append_double(out, ZERO_THRESHOLD, native.zero_threshold);
    append_number(out, ZERO_COUNT, native.zero_count);
    let (mut deltas, mut before, mut end) = (Vec::new(), 0, 0);
    for (first, counts) in &native.spans {
        let mut span = Vec::new();
        append_number(&mut span, SPAN_OFFSET, zigzag(i64::from(*first) - end));
        append_number(&mut span, SPAN_LENGTH, counts.len() as u64);
        append_bytes(out, POSITIVE_SPAN, &span);
        end = i64::from(*first) + counts.len() as i64;
        for count in counts {
            let count = count.cast_signed();
            encode_varint(zigzag(count - before), &mut deltas);
            before = count;
        }
    }
    if !deltas.is_empty() {
        append_bytes(out, POSITIVE_DELTA, &deltas);
    }
}

/// As `sint64` is encoded.
const fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn append_number(out: &mut Vec<u8>, tag: u8, number: u64) {
    out.push(tag);
    encode_varint(number, out);
}

fn append_double(out: &mut Vec<u8>, tag: u8, value: f64) {
    out.push(tag);
    out.extend_from_slice(&value.to_le_bytes());
}

fn append_time(out: &mut Vec<u8>, tag: u8, time: Option<WallTime>) {
    let Some(WallTime(nanos)) = time else { return };
    let mut message = Vec::with_capacity(16);
    append_number(&mut message, SECONDS, nanos / 1_000_000_000);
    append_number(&mut message, NANOS, nanos % 1_000_000_000);
    append_bytes(out, tag, &message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::prometheus::doubling::Doubling;
    use crate::sample::doubling::BUCKETS;
    use crate::units::Nanos;

    /// The messages as `prost` reads them: what is written by hand is checked by a reader that somebody else wrote.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Family {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        help: String,
        #[prost(int32, tag = "3")]
        kind: i32,
        #[prost(message, repeated, tag = "4")]
        metrics: Vec<One>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct One {
        #[prost(message, repeated, tag = "1")]
        labels: Vec<Pair>,
        #[prost(message, optional, tag = "7")]
        histogram: Option<Histogram>,
        #[prost(message, optional, tag = "3")]
        counter: Option<Counter>,
        #[prost(int64, optional, tag = "6")]
        timestamp_ms: Option<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Pair {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        value: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Counter {
        #[prost(double, tag = "1")]
        value: f64,
        #[prost(message, optional, tag = "2")]
        exemplar: Option<Exemplar>,
        #[prost(message, optional, tag = "3")]
        created: Option<Time>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        labels: Vec<Pair>,
        #[prost(double, tag = "2")]
        value: f64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Histogram {
        #[prost(uint64, tag = "1")]
        count: u64,
        #[prost(double, tag = "2")]
        sum: f64,
        #[prost(message, repeated, tag = "3")]
        buckets: Vec<Bucket>,
        #[prost(sint32, optional, tag = "5")]
        schema: Option<i32>,
        #[prost(double, tag = "6")]
        zero_threshold: f64,
        #[prost(uint64, tag = "7")]
        zero_count: u64,
        #[prost(message, repeated, tag = "12")]
        positive_spans: Vec<Span>,
        #[prost(sint64, repeated, tag = "13")]
        positive_deltas: Vec<i64>,
        #[prost(message, optional, tag = "15")]
        created: Option<Time>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Bucket {
        #[prost(uint64, tag = "1")]
        cumulative_count: u64,
        #[prost(double, tag = "2")]
        upper_bound: f64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Span {
        #[prost(sint32, tag = "1")]
        offset: i32,
        #[prost(uint32, tag = "2")]
        length: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Time {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }

    #[test]
    fn another_reader_understands_it() {
        let pair = |name: &str, value: &str| Pair { name: name.to_owned(), value: value.to_owned() };
        let (mut out, mut metrics, mut one) = (Vec::new(), Vec::new(), Vec::new());
        append_label(&mut one, "id", b"/a");
        let exemplar = exemplar(&[("pid", b"7")], WallTime(1));
        let (created, at) = (Some(WallTime(5_000_000_007)), Some(WallTime(9_000_000_000)));
        append_metric(
            &mut metrics,
            &mut one,
            Point { kind: Kind::Counter, value: 2.5, created, exemplar: &exemplar, at },
        );
        append_metric(
            &mut metrics,
            &mut one,
            Point { kind: Kind::Counter, value: 0.0, created: None, exemplar: &[], at: None },
        );
        append_family(&mut out, "x_total", "Help.", Kind::Counter, &metrics);
        let read: Family = prost::Message::decode_length_delimited(&*out).unwrap();
        let counter = Counter {
            value: 2.5,
            exemplar: Some(Exemplar { labels: vec![pair("pid", "7")], value: 1.0 }),
            created: Some(Time { seconds: 5, nanos: 7 }),
        };
        let expected = Family {
            name: "x_total".to_owned(),
            help: "Help.".to_owned(),
            kind: 0,
            metrics: vec![
                One {
                    labels: vec![pair("id", "/a")],
                    counter: Some(counter),
                    timestamp_ms: Some(9_000),
                    ..One::default()
                },
                One { counter: Some(Counter::default()), ..One::default() },
            ],
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn a_histogram_is_a_native_one_too() {
        let mut counts = [0; BUCKETS];
        (counts[0], counts[2], counts[4], counts[BUCKETS - 1]) = (2, 5, 3, 1);
        let native = Doubling { counts: &counts, first: -20, sum: Nanos(1) }.native();
        let mut value = histogram([(0.5, 2), (1.0, 10)].into_iter(), 11, 6.5, Some(WallTime(5_000_000_007)));
        append_native(&mut value, &native);
        let read: Histogram = prost::Message::decode(&*value).unwrap();
        let bucket = |upper_bound, cumulative_count| Bucket { cumulative_count, upper_bound };
        let expected = Histogram {
            count: 11,
            sum: 6.5,
            buckets: vec![bucket(0.5, 2), bucket(1.0, 10)],
            schema: Some(0),
            zero_threshold: 2_f64.powi(-20),
            zero_count: 2,
            // The first is that of up to 2^-18 s; then what is beyond all bounds.
            positive_spans: vec![Span { offset: -18, length: 3 }, Span { offset: 1_025 + 15, length: 1 }],
            positive_deltas: vec![5, -5, 3, -2],
            created: Some(Time { seconds: 5, nanos: 7 }),
        };
        assert_eq!(read, expected);
        let (mut metrics, mut one) = (Vec::new(), Vec::new());
        append_histogram(&mut metrics, &mut one, &value, None);
        let read: Family = prost::Message::decode(&*metrics).unwrap();
        assert_eq!(read.metrics, [One { histogram: Some(expected), ..One::default() }]);
    }
}
