//! The histograms of single kinds as OTLP's, with the bounds that the programs have.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram as Data, HistogramDataPoint, Metric, metric,
};

use super::values::text;
use crate::push::Temporality;
use crate::push::statistics::{HISTOGRAMS, Histogram, Kinds, Times};
use crate::sample::doubling::{BUCKETS, exponent};

/// From when to when something was counted, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u64,
    /// When it was pushed before.
    pub(super) previous: Option<u64>,
    pub(super) at: u64,
}

/// What was counted for a container; `previous` is what was pushed before.
pub(super) fn metrics(
    kinds: &Kinds,
    previous: Option<&Kinds>,
    span: Span,
    temporality: Temporality,
) -> impl Iterator<Item = Metric> {
    let (kind, previous) = match temporality {
        Temporality::Cumulative => (AggregationTemporality::Cumulative, None),
        Temporality::Delta => (AggregationTemporality::Delta, previous.zip(span.previous)),
    };
    let start = previous.map_or(span.start, |(_, at)| at);
    HISTOGRAMS.iter().filter_map(move |histogram| {
        let before = previous.map(|(previous, _)| histogram.times(previous)).unwrap_or_default();
        let point = |times: Times<'_>| data_point(&times.since(&before), histogram, [start, span.at]);
        let data_points: Vec<_> = histogram.times(kinds).into_iter().map(point).collect();
        (!data_points.is_empty()).then(|| Metric {
            name: histogram.otlp.to_owned(),
            unit: "s".to_owned(),
            data: Some(metric::Data::Histogram(Data { data_points, aggregation_temporality: kind.into() })),
            ..Metric::default()
        })
    })
}

fn data_point(times: &Times<'_>, histogram: &Histogram, [start, at]: [u64; 2]) -> HistogramDataPoint {
    let attributes: Vec<KeyValue> = times.labels.iter().map(|(label, value)| text(label.attribute(), value)).collect();
    let bounds = (0..BUCKETS).filter_map(|bucket| exponent(histogram.first, bucket));
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: at,
        count: times.counts.iter().sum(),
        sum: Some(times.sum.0 as f64 / 1e9),
        bucket_counts: times.counts.to_vec(),
        explicit_bounds: bounds.map(|exponent| f64::from(exponent).exp2()).collect(),
        ..HistogramDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::statistics::counted;

    fn points(metric: &Metric) -> (&[HistogramDataPoint], i32) {
        let Some(metric::Data::Histogram(data)) = &metric.data else { panic!("{metric:?}") };
        (&data.data_points, data.aggregation_temporality)
    }

    #[test]
    fn every_bucket_is_there() {
        let span = Span { start: 5, previous: Some(6), at: 9 };
        let kinds = counted();
        let found: Vec<_> = metrics(&kinds, Some(&kinds), span, Temporality::Cumulative).collect();
        let names: Vec<_> = found.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, HISTOGRAMS.iter().map(|histogram| histogram.otlp).collect::<Vec<_>>());
        let ([waits], kind) = points(&found[0]) else { panic!("{found:?}") };
        assert_eq!(kind, i32::from(AggregationTemporality::Cumulative));
        assert_eq!((waits.start_time_unix_nano, waits.time_unix_nano), (5, 9));
        assert_eq!((waits.count, waits.sum, waits.bucket_counts.len()), (276, Some(7.0), BUCKETS));
        assert_eq!(waits.explicit_bounds.len(), BUCKETS - 1);
        assert_eq!(waits.explicit_bounds[20..], [1.0, 2.0, 4.0]);
        let ([served], _) = points(&found[2]) else { panic!("{found:?}") };
        assert_eq!((served.explicit_bounds[18], served.attributes.len()), (1.0, 2));

        let added: Vec<_> = metrics(&kinds, Some(&kinds), span, Temporality::Delta).collect();
        let ([waits], kind) = points(&added[0]) else { panic!("{added:?}") };
        assert_eq!(kind, i32::from(AggregationTemporality::Delta));
        assert_eq!((waits.start_time_unix_nano, waits.count, waits.sum), (6, 0, Some(0.0)));
        assert_eq!(metrics(&Kinds::default(), None, span, Temporality::Delta).count(), 0);
    }
}
