//! The histograms of single kinds as OTLP's, with the bounds that the programs have.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram as Data, HistogramDataPoint, Metric, metric,
};

use super::values::text;
use crate::push::Temporality;
use crate::push::statistics::{Beside, HISTOGRAMS, Histogram, Times};
use crate::sample::doubling::{BUCKETS, exponent};

/// What was counted for a container within this span, in nanoseconds since 1970: beyond what it was at its beginning, where
/// that is not nothing.
pub(super) fn metrics(
    beside: &Beside,
    before: Option<&Beside>,
    span: [u64; 2],
    temporality: Temporality,
) -> Vec<Metric> {
    let kind = match temporality {
        Temporality::Cumulative => AggregationTemporality::Cumulative,
        Temporality::Delta => AggregationTemporality::Delta,
    };
    let metric = |histogram: &Histogram| {
        let before = before.map(|before| histogram.times(before)).unwrap_or_default();
        let point = |times: Times<'_>| data_point(&times.since(&before), histogram, span);
        let data_points: Vec<_> = histogram.times(beside).into_iter().map(point).collect();
        (!data_points.is_empty()).then(|| Metric {
            name: histogram.otlp.to_owned(),
            unit: "s".to_owned(),
            data: Some(metric::Data::Histogram(Data { data_points, aggregation_temporality: kind.into() })),
            ..Metric::default()
        })
    };
    HISTOGRAMS.iter().filter_map(metric).collect()
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
        let beside = counted();
        let found = metrics(&beside, None, [5, 9], Temporality::Cumulative);
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

        let added = metrics(&beside, Some(&beside), [6, 9], Temporality::Delta);
        let ([waits], kind) = points(&added[0]) else { panic!("{added:?}") };
        assert_eq!(kind, i32::from(AggregationTemporality::Delta));
        assert_eq!((waits.start_time_unix_nano, waits.count, waits.sum), (6, 0, Some(0.0)));
        assert_eq!(metrics(&Beside::default(), None, [6, 9], Temporality::Delta), []);
    }
}
