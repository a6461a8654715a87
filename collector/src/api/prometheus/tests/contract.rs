//! Every family of cAdvisor's: name, type, labels, the kind of statistics it goes with, whose time it has.

use std::collections::{BTreeMap, BTreeSet};

use super::fixture::{everything, snapshot, text, v1_sample, v2_sample};
use super::parsed::Parsed;
use crate::api::prometheus::container::{self, beside_cadvisors};
use crate::api::prometheus::family::{Emit, Family, Moment};
use crate::api::prometheus::{ExpositionOptions, FAMILIES, Scrape, Timestamps};
use crate::sample::kinds::{KindSet, MetricKind};

/// A family a line: name, type, labels beside the container's, kind, time.
const FACTS: &str = include_str!("contract.txt");

struct Fact {
    name: &'static str,
    kind: &'static str,
    labels: Vec<&'static str>,
    metric: Option<MetricKind>,
    moment: &'static str,
}

fn facts() -> Vec<Fact> {
    let fact = |line: &'static str| {
        let [name, kind, labels, metric, moment] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        Fact {
            name,
            kind,
            labels: labels.split(',').filter(|label| *label != "-").collect(),
            metric: (metric != "-").then(|| metric.parse().unwrap()),
            moment,
        }
    };
    FACTS.lines().map(fact).collect()
}

/// Those that cAdvisor has too.
fn of_cadvisor() -> impl Iterator<Item = &'static Family> {
    let is_extension = |family: &Family| beside_cadvisors().any(|extension| extension.name == family.name);
    FAMILIES.iter().copied().filter(move |family| !is_extension(family))
}

#[test]
fn extensions_have_names_of_their_own() {
    for family in beside_cadvisors() {
        assert!(facts().iter().all(|fact| fact.name != family.name), "{family:?}");
        let of_pod = family.name.starts_with("pod_");
        assert!(of_pod || family.name.starts_with("container_"), "{family:?}");
        assert!(family.help.ends_with('.') && !family.help.contains(['\n', '\\']), "{family:?}: {}", family.help);
    }
}

#[test]
fn there_are_exactly_cadvisors_families() {
    let facts = facts();
    assert_eq!(facts.len(), 124);
    let expected: Vec<_> = facts.iter().map(|fact| fact.name).collect();
    let ours: Vec<_> = of_cadvisor().map(|family| family.name).collect();
    assert_eq!(ours, expected);
    for (family, fact) in of_cadvisor().zip(&facts) {
        assert_eq!(family.kind.name(), fact.kind, "{family:?}");
        assert_eq!(family.metric, fact.metric, "{family:?}");
        let of_machine: &[&str] =
            if matches!(family.emit, Emit::Machine(_)) { &["boot_id", "machine_id", "system_uuid"] } else { &[] };
        let mut labels = [family.labels, of_machine].concat();
        labels.sort_unstable();
        assert_eq!(labels, fact.labels, "{family:?}");
        let moment = match family.moment {
            Moment::Sample => "sample",
            Moment::Scrape => "scrape",
            Moment::Machine => "machine",
            Moment::None => "none",
        };
        // The count of OOM kills is of now: with the sample's time one time would have two values.
        let expected = if family.name == "container_oom_events_total" { "none" } else { fact.moment };
        assert_eq!(moment, expected, "{family:?}");
        assert!(family.help.ends_with('.') && !family.help.contains(['\n', '\\']), "{family:?}: {}", family.help);
    }
}

/// Labels that have no value here, and so are not written: the first two never have one.
const EMPTY: [&str; 3] = ["cadvisorRevision", "dockerVersion", "system_uuid"];

/// The labels of a container, which are the same on every one of its series.
fn of_container(label: &str) -> bool {
    ["id", "image", "name", "container_label_com_example_team", "container_label_restartcount", "container_env_stage"]
        .contains(&label)
        || label.starts_with("container_label_io_kubernetes")
}

#[test]
fn every_family_is_reported_with_its_type_and_labels() {
    let owned = |labels: &BTreeSet<&str>| labels.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<String>>();
    let mut seen = BTreeMap::new();
    for sample in [v1_sample(), v2_sample()] {
        let mut of_containers = BTreeMap::new();
        let parsed = Parsed::new(&text(&snapshot(sample), &everything(), Scrape::default()));
        for series in &parsed.series {
            let (all, own): (BTreeSet<&str>, BTreeSet<&str>) =
                series.labels.keys().map(String::as_str).partition(|label| of_container(label));
            if series.name.starts_with("container_") && series.name != "container_scrape_error" {
                let same = of_containers.entry(series.label("id").to_owned()).or_insert_with(|| owned(&all));
                assert_eq!(*same, owned(&all), "every series of a container has its labels: {series:?}");
            }
            let labels = seen.entry(series.name.clone()).or_insert_with(|| owned(&own));
            // What has no value is not there: a cache that belongs to no core, a device without a name.
            let missing: Vec<&String> = labels.iter().filter(|label| !own.contains(label.as_str())).collect();
            assert!(owned(&own).is_subset(labels), "{series:?}");
            assert!(missing.iter().all(|label| ["core_id", "device"].contains(&label.as_str())), "{series:?}");
        }
        for (name, kind) in &parsed.families {
            if let Some(fact) = facts().iter().find(|fact| fact.name == name) {
                assert_eq!(kind, fact.kind, "{name}");
            }
        }
    }
    for fact in facts() {
        let reported = fact.labels.iter().filter(|label| !EMPTY.contains(label));
        let labels: BTreeSet<String> = reported.map(|label| (*label).to_owned()).collect();
        assert_eq!(seen.get(fact.name), Some(&labels), "{}", fact.name);
    }
}

/// What push leaves out has to be on its page of names, with where it is instead.
#[test]
fn every_family_of_containers_is_pushed() {
    let page = include_str!("../../../../../docs/push-names.md");
    for family in container::families() {
        assert!(page.contains(&format!("`{}`", family.name)), "{family:?}: give it a row in push/statistics/rows.rs");
    }
}

#[test]
fn a_kind_that_is_off_has_no_families() {
    for off in MetricKind::ALL {
        let options = ExpositionOptions { kinds: KindSet::all().without([*off]), ..everything() };
        let names: BTreeSet<String> = [v1_sample(), v2_sample()]
            .into_iter()
            .flat_map(|sample| Parsed::new(&text(&snapshot(sample), &options, Scrape::default())).families)
            .map(|(name, _)| name)
            .collect();
        for fact in facts() {
            assert_eq!(names.contains(fact.name), fact.metric != Some(*off), "{} without {off:?}", fact.name);
        }
    }
}

#[test]
fn times_are_reported_when_asked_for() {
    let options = ExpositionOptions { timestamps: Timestamps::On, ..everything() };
    for sample in [v1_sample(), v2_sample()] {
        let snapshot = snapshot(sample);
        let parsed = Parsed::new(&text(&snapshot, &options, Scrape::default()));
        for series in &parsed.series {
            let family = FAMILIES.iter().find(|family| family.name == series.name);
            let expected = match family.map_or(Moment::None, |family| family.moment) {
                Moment::Sample => Some("1704164645120"),
                Moment::Scrape => Some("1704164650250"),
                Moment::Machine => Some("1704164600000"),
                Moment::None => None,
            };
            assert_eq!(series.timestamp.as_deref(), expected, "{}", series.name);
        }
        let without = Parsed::new(&text(&snapshot, &everything(), Scrape::default()));
        assert!(without.series.iter().all(|series| series.timestamp.is_none()));
        assert_eq!(without.series.len(), parsed.series.len());
    }
}
