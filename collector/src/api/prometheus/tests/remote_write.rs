//! Remote write reports what a text does.

use std::collections::BTreeMap;

use prost::Message as _;

use super::fixture::{everything, own, snapshot, text, v1_sample, v2_sample};
use super::parsed::Parsed;
use crate::api::prometheus::{Format, Options, Scrape, Snapshot, Timestamps, render};

/// `prometheus.WriteRequest`, as its `.proto` declares it.
#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Value and time of each series by its labels.
type Reported = BTreeMap<Vec<(String, String)>, (u64, i64)>;

fn pushed(snapshot: &Snapshot, options: &Options) -> Reported {
    let scrape = Scrape { format: Format::RemoteWrite, ..Scrape::default() };
    let (mut out, mut taken) = (Vec::new(), Vec::new());
    render(snapshot, options, scrape, &mut out, &mut |piece| taken.append(piece));
    taken.append(&mut out);
    let mut reported = Reported::new();
    for series in WriteRequest::decode(&*taken).unwrap().timeseries {
        let labels: Vec<_> = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
        assert!(labels.is_sorted_by(|one, other| one.0 < other.0), "not sorted: {labels:?}");
        assert!(labels.iter().all(|(_, value)| !value.is_empty()), "a label without a value: {labels:?}");
        let [Sample { value, timestamp }] = series.samples[..] else { panic!("not one sample: {labels:?}") };
        assert!(reported.insert(labels, (value.to_bits(), timestamp)).is_none());
    }
    reported
}

fn scraped(snapshot: &Snapshot, options: &Options) -> Reported {
    let mut reported = Reported::new();
    for series in Parsed::new(&text(snapshot, options, Scrape::default())).series {
        let mut labels: Vec<_> = series.labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        labels.push(("__name__".to_owned(), series.name));
        labels.sort();
        let time = series.timestamp.map_or(snapshot.at.millis() as i64, |time| time.parse().unwrap());
        reported.insert(labels, (series.value.parse::<f64>().unwrap().to_bits(), time));
    }
    reported
}

#[test]
fn it_is_what_a_scrape_would_give() {
    for sample in [v1_sample(), v2_sample()] {
        let mut snapshot = snapshot(sample);
        snapshot.own = own();
        // Bytes that a text has to escape.
        if let Some(identity) = snapshot.containers.iter_mut().find_map(|entry| entry.identity.as_mut()) {
            let identity = std::sync::Arc::make_mut(identity);
            identity.labels.insert("odd".to_owned(), "a\"b\\c\nd".to_owned());
        }
        for timestamps in [Timestamps::Off, Timestamps::On] {
            let options = Options { timestamps, ..everything() };
            let (pushed, scraped) = (pushed(&snapshot, &options), scraped(&snapshot, &options));
            assert!(pushed.len() > 300, "{}", pushed.len());
            assert_eq!(pushed, scraped);
        }
        let few = Options { max_series: Some(40), ..everything() };
        assert_eq!(pushed(&snapshot, &few), scraped(&snapshot, &few));
    }
}

#[test]
fn histograms_are_series_too() {
    let snapshot = |label: &str| {
        let registry = prometheus::Registry::new();
        let options = prometheus::HistogramOpts::new("collector_x_seconds", "X.").buckets(vec![0.5, 1.0]);
        let histogram = prometheus::HistogramVec::new(options, &[label]).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        histogram.with_label_values(&["z"]).observe(0.7);
        Snapshot { own: registry.gather(), ..Snapshot::default() }
    };
    let (plain, later) = (snapshot("kind"), snapshot("zone"));
    let reported = pushed(&plain, &Options::default());
    assert_eq!(reported, scraped(&plain, &Options::default()));
    // Behind `le`, which a text has last.
    assert_eq!(pushed(&later, &Options::default()).len(), reported.len());
}
