//! What is pushed is what a text reports.

use std::collections::BTreeMap;

use super::fixture::{everything, own, snapshot, text, v1_sample, v2_sample};
use super::parsed::Parsed;
use crate::api::prometheus::{ExpositionOptions, Format, Scrape, Snapshot, Timestamps, render};
use crate::series::{Record, Records, labels};

/// Value and time of each series by its labels.
type Reported = BTreeMap<Vec<(String, String)>, (u64, i64)>;

fn pushed(snapshot: &Snapshot, options: &ExpositionOptions) -> Reported {
    let scrape = Scrape { format: Format::RemoteWrite, ..Scrape::default() };
    let (mut out, mut taken) = (Vec::new(), Vec::new());
    render(snapshot, options, scrape, &mut out, &mut |piece| taken.append(piece));
    taken.append(&mut out);
    let mut reported = Reported::new();
    let mut family = "";
    for record in Records::new(&taken) {
        let series = match record.unwrap() {
            Record::Family { name, help, .. } => {
                assert!(!help.is_empty(), "{name}");
                family = name;
                continue;
            }
            Record::Series(series) => series,
        };
        for sorted in [series.shared, series.own] {
            assert!(labels(sorted).map(|(name, _)| name).is_sorted_by(|one, other| one < other), "{series:?}");
        }
        let all = labels(series.shared).chain(labels(series.own)).chain([("__name__", family)]);
        let mut all: Vec<_> = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        all.sort();
        assert!(all.iter().all(|(_, value)| !value.is_empty()), "a label without a value: {all:?}");
        assert!(series.start_millis <= series.millis, "{series:?}");
        assert!(reported.insert(all, (series.value.to_bits(), series.millis as i64)).is_none());
    }
    reported
}

fn scraped(snapshot: &Snapshot, options: &ExpositionOptions) -> Reported {
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
            let options = ExpositionOptions { timestamps, ..everything() };
            let (pushed, scraped) = (pushed(&snapshot, &options), scraped(&snapshot, &options));
            assert!(pushed.len() > 300, "{}", pushed.len());
            assert_eq!(pushed, scraped);
        }
        let few = ExpositionOptions { max_series: Some(40), ..everything() };
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
    let reported = pushed(&plain, &ExpositionOptions::default());
    assert_eq!(reported, scraped(&plain, &ExpositionOptions::default()));
    // Behind `le`, which a text has last.
    assert_eq!(pushed(&later, &ExpositionOptions::default()).len(), reported.len());
}
