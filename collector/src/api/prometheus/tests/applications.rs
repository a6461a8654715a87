//! What containers' applications report.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fixture::{docker, everything, own, running, text, v2_sample};
use super::parsed::Parsed;
use crate::api::prometheus::{Entry, ExpositionOptions, Format, Life, Profile, Scrape, Snapshot};
use crate::sample::application::{Number, Round, Value};
use crate::units::WallTime;

fn value(number: Number, labels: &[(&str, &str)]) -> Value {
    let labels: BTreeMap<_, _> = labels.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
    Value { at: WallTime(1), number, labels: (!labels.is_empty()).then_some(labels) }
}

fn node() -> Snapshot {
    let values = [
        ("zz_queue depth", vec![value(Number::Integer(-3), &[])]),
        (
            "requests_total",
            vec![
                value(Number::Float(1.5), &[("code", "200"), ("path", "a\"b")]),
                value(Number::Float(1.0), &[("code", "500")]),
                value(Number::Float(2.0), &[("code", "500")]),
            ],
        ),
        ("two.names", vec![value(Number::Integer(1), &[("a.b", "x"), ("a_b", "y")])]),
        ("two_names", vec![value(Number::Integer(2), &[("a.b", "x")]), value(Number::Integer(3), &[])]),
        ("container_memory_rss", vec![value(Number::Integer(9), &[])]),
        ("collector_containers", vec![value(Number::Integer(9), &[])]),
    ];
    let values = values.into_iter().map(|(name, values)| (name.to_owned(), values)).collect();
    let entry = |path: &str, life| Entry {
        identity: Some(Arc::new(docker())),
        life,
        application: Some(Arc::new(Round { values, ..Round::default() })),
        ..running(path, v2_sample())
    };
    let one = entry("/docker/1", Life::Running);
    let ended = Entry { name: (*b"/docker/2").into(), life: Life::Ended, ..one.clone() };
    Snapshot { containers: vec![running("/", v2_sample()), one, ended], own: own(), ..Snapshot::default() }
}

#[test]
fn they_are_gauges_with_the_containers_labels() {
    for format in [Format::Text, Format::OpenMetrics] {
        let parsed = Parsed::new(&text(&node(), &everything(), Scrape { format, ..Scrape::default() }));
        let of = |name: &str| -> Vec<_> { parsed.series.iter().filter(|series| series.name == name).collect() };
        let [queue] = of("zz_queue_depth")[..] else { panic!("{format:?}: the ended one's, too") };
        assert_eq!((&*queue.value, queue.label("id")), ("-3", "/docker/1"));
        assert!(queue.labels.contains_key("name") && queue.timestamp.is_none());
        let requests: Vec<_> = of("requests_total").iter().map(|of| (of.label("app_code"), &*of.value)).collect();
        assert_eq!(requests, [("200", "1.5"), ("500", "2")]);
        assert_eq!(of("requests_total")[0].label("app_path"), "a\"b");
        let two: Vec<_> = of("two_names").iter().map(|of| (of.label("app_a_b"), &*of.value)).collect();
        assert_eq!(two, [("", "3"), ("x", "1")]);
        assert!(of("container_memory_rss").iter().all(|series| series.value != "9"));
        assert_eq!(of("collector_containers").len(), 1);
        assert!(parsed.families.contains(&("requests_total".to_owned(), "gauge".to_owned())));
    }
}

/// Without labels that have no value, two series of one metric may become one.
#[test]
fn a_label_without_a_value_keeps_no_series_apart() {
    let series = [("a", ""), ("a", "x"), ("b", "")];
    let mut values: Vec<Value> = series.iter().map(|label| value(Number::Integer(1), &[*label])).collect();
    values.push(value(Number::Integer(2), &[]));
    let round = Round { values: [("depth".to_owned(), values)].into(), ..Round::default() };
    let entry = Entry { application: Some(Arc::new(round)), ..running("/docker/1", v2_sample()) };
    let snapshot = Snapshot { containers: vec![entry], ..Snapshot::default() };
    let parsed = Parsed::new(&text(&snapshot, &everything(), Scrape::default()));
    let reported: Vec<_> = parsed.of("depth").map(|series| (series.label("app_a"), &*series.value)).collect();
    assert_eq!(reported, [("", "2"), ("x", "1")]);
}

#[test]
fn they_are_the_first_to_be_left_out() {
    let render = |options: &ExpositionOptions| Parsed::new(&text(&node(), options, Scrape::default()));
    let all = render(&everything());
    let of_applications =
        |parsed: &Parsed| parsed.series.iter().filter(|series| series.name.contains("request")).count();
    let shed = |parsed: &Parsed, reason| -> usize {
        parsed.value("collector_metrics_shed_series", &[("reason", reason)]).unwrap().parse().unwrap()
    };
    assert_eq!(of_applications(&all), 2);
    let limited = |max_series| render(&ExpositionOptions { max_series: Some(max_series), ..everything() });
    assert_eq!(limited(all.series.len()).series.len(), all.series.len());
    let fewer = limited(all.series.len() - 1);
    assert_eq!((of_applications(&fewer), shed(&fewer, "families")), (0, 5));
    assert_eq!(fewer.series.len() + 5, all.series.len());
    let profile = render(&ExpositionOptions { profile: Profile::Recommended, ..everything() });
    assert_eq!(of_applications(&profile), 0);
    assert_eq!(profile.value("collector_metrics_series", &[]), Some(&*profile.series.len().to_string()));
}
