//! Families that containers' applications report, beside those of the kernel's statistics: their names are the containers'
//! own words.
//!
//! A name or a label may be any text there: what Prometheus does not allow is an underscore here, labels begin with
//! `app_`. What would have the name of one of cAdvisor's families, or of the collector's, is not reported.

use std::collections::{BTreeMap, HashSet};

use prometheus::proto::MetricFamily;

use super::FAMILIES;
use super::labels::sanitised;
use super::snapshot::{Entry, Life};
use super::value::Value;
use crate::sample::application::{Number, Round};

/// A family of gauges: the label `type` of an endpoint's own says nothing for sure.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Family<'a> {
    /// Its name.
    pub(super) name: String,
    /// Its series, by container and labels.
    pub(super) series: BTreeMap<Key<'a>, Value>,
}

/// What reports the series of a family apart.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    /// The container's position.
    pub(super) row: usize,
    /// The labels beside the container's.
    pub(super) labels: BTreeMap<String, &'a str>,
}

/// What the help of all of them says.
pub(super) const HELP: &str = "What a container's application reports (io.cadvisor.metric labels).";

/// Suffixes by which one family claims the names of others in `OpenMetrics`.
const CLAIMED: [&str; 5] = ["_bucket", "_count", "_created", "_sum", "_total"];

/// The families of all containers that are there, sorted by name.
pub(super) fn families<'a>(entries: &[&'a Entry], own: &[MetricFamily]) -> Vec<Family<'a>> {
    let reported = entries.iter().enumerate().filter(|(_, entry)| entry.life == Life::Running);
    let mut reported = reported.filter_map(|(row, entry)| Some((row, entry.application.as_deref()?))).peekable();
    if reported.peek().is_none() {
        return Vec::new();
    }
    let taken = taken(own);
    let mut families: BTreeMap<String, Family<'a>> = BTreeMap::new();
    for (row, round) in reported {
        for (name, series) in series(round) {
            if taken.contains(name.as_str()) || taken.contains(base(&name)) {
                continue;
            }
            let family =
                families.entry(name).or_insert_with_key(|name| Family { name: name.clone(), ..Family::default() });
            for (labels, value) in series {
                family.series.insert(Key { row, labels }, value);
            }
        }
    }
    families.into_values().collect()
}

/// What is reported a container, by name and labels. Of several metrics that become one name, the first with the same labels
/// counts; of several values of one metric the last.
fn series(round: &Round) -> BTreeMap<String, BTreeMap<BTreeMap<String, &str>, Value>> {
    let mut all: BTreeMap<String, BTreeMap<BTreeMap<String, &str>, Value>> = BTreeMap::new();
    for (metric, values) in &round.values {
        let mut of_metric = BTreeMap::new();
        for value in values {
            let mut labels: BTreeMap<String, &str> = BTreeMap::new();
            // Sorted by key: of several that become one, the lowest that has a value counts.
            for (key, text) in value.labels.iter().flatten() {
                let label = labels.entry(sanitised("app_", key)).or_default();
                if label.is_empty() {
                    *label = text;
                }
            }
            // One without a value is none, and must not keep two series apart.
            labels.retain(|_, text| !text.is_empty());
            let number = match value.number {
                Number::Integer(number) => Value::Signed(number),
                Number::Float(number) => Value::Float(number),
            };
            of_metric.insert(labels, number);
        }
        let family = all.entry(name(metric)).or_default();
        for (labels, value) in of_metric {
            family.entry(labels).or_insert(value);
        }
    }
    all
}

/// A metric's name as Prometheus allows it.
fn name(metric: &str) -> String {
    let allowed = |letter: char| if letter.is_ascii_alphanumeric() || letter == ':' { letter } else { '_' };
    let first = if metric.starts_with(|first: char| first.is_ascii_digit()) || metric.is_empty() { "_" } else { "" };
    first.chars().chain(metric.chars().map(allowed)).collect()
}

/// Names that others have, with and without suffixes.
fn taken(own: &[MetricFamily]) -> HashSet<&str> {
    let names = FAMILIES.iter().map(|family| family.name).chain(own.iter().map(MetricFamily::name));
    // They come with the page itself.
    let names = names.chain(["collector_metrics_series", "collector_metrics_shed_series"]);
    names.flat_map(|name| [name, base(name)]).collect()
}

/// The name without a suffix.
fn base(name: &str) -> &str {
    CLAIMED.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_allowed() {
        for (metric, expected) in
            [("requests", "requests"), ("a:b", "a:b"), ("2nd try", "_2nd_try"), ("größe", "gr__e"), ("", "_")]
        {
            assert_eq!(name(metric), expected);
        }
    }

    #[test]
    fn others_names_are_taken() {
        let taken = taken(&[]);
        let is_taken = |name: &str| taken.contains(name) || taken.contains(base(name));
        for name in ["container_cpu_usage_seconds_total", "container_cpu_usage_seconds", "container_processes_sum"] {
            assert!(is_taken(name), "{name}");
        }
        assert!(!is_taken("container_requests") && !is_taken("requests_total"));
    }
}
