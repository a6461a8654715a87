//! The profile of few series, and the budget.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fixture::{docker, everything, own, running, snapshot, text, v1_sample, v2_sample};
use super::parsed::Parsed;
use crate::api::prometheus::family::{Group, Recommended};
use crate::api::prometheus::{Entry, ExpositionOptions, FAMILIES, Life, Profile, Scrape, Snapshot};

fn render(snapshot: &Snapshot, options: &ExpositionOptions) -> Parsed {
    Parsed::new(&text(snapshot, options, Scrape::default()))
}

fn shed(parsed: &Parsed, reason: &str) -> usize {
    parsed.value("collector_metrics_shed_series", &[("reason", reason)]).unwrap().parse().unwrap()
}

#[test]
fn the_recommended_profile_has_45_series_per_container_at_most() {
    for (sample, least) in [(v1_sample(), 35), (v2_sample(), 40)] {
        let snapshot = snapshot(sample);
        let parsed = render(&snapshot, &ExpositionOptions { profile: Profile::Recommended, ..everything() });
        let mut by_container: BTreeMap<&str, usize> = BTreeMap::new();
        for series in parsed.series.iter().filter(|series| series.labels.contains_key("id")) {
            *by_container.entry(series.label("id")).or_default() += 1;
        }
        assert!(by_container.values().all(|count| *count <= 45), "{by_container:?}");
        assert!(by_container["/"] >= least, "{by_container:?}");
        assert!(shed(&parsed, "profile") > 0);
        assert_eq!(parsed.value("collector_metrics_series", &[]), Some(&*parsed.series.len().to_string()));
    }
}

/// A machine with every sort of container.
fn node() -> Snapshot {
    let docker = |path: &str, life| Entry { identity: Some(Arc::new(docker())), life, ..running(path, v2_sample()) };
    let containers = vec![
        running("/", v2_sample()),
        docker("/docker/1", Life::Running),
        docker("/docker/2", Life::Running),
        docker("/docker/3", Life::Ended),
        running("/raw", v2_sample()),
        running("/raw/deep", v2_sample()),
        running("/raw/deep/er", v2_sample()),
    ];
    Snapshot { containers, own: own(), ..Snapshot::default() }
}

#[test]
fn what_is_left_out_follows_the_documented_order() {
    let options = |max_series| ExpositionOptions { max_series: Some(max_series), ..everything() };
    let all = render(&node(), &options(usize::MAX));
    let mut before: Option<(usize, Parsed)> = None;
    // Families first, then ended containers, then raw cgroups from the deepest, then a runtime's, the root at last.
    for limit in (20..=all.series.len()).rev() {
        let parsed = render(&node(), &options(limit));
        assert!(parsed.series.len() <= limit, "{} of {limit}", parsed.series.len());
        let sum: usize = ["families", "ended", "containers"].map(|reason| shed(&parsed, reason)).iter().sum();
        assert_eq!(sum + parsed.series.len(), all.series.len(), "what is left out is counted");
        if let Some((_, before)) = &before {
            assert!(parsed.series.len() <= before.series.len());
            assert!(parsed.families.iter().all(|(name, _)| before.has_family(name)), "what is left out stays so");
        }
        before = Some((limit, parsed));
    }
    let core: Vec<_> = FAMILIES.iter().filter(|family| family.group == Group::Core).map(|family| family.name).collect();
    let ids = |limit: usize| {
        let parsed = render(&node(), &options(limit));
        for (name, _) in &parsed.families {
            assert!(core.contains(&name.as_str()) || name.starts_with("collector_"), "{name} with {limit}");
        }
        let ids = parsed.of("container_cpu_usage_seconds_total").map(|series| series.label("id").to_owned());
        ids.collect::<Vec<_>>()
    };
    let of_core = |id: &str| {
        let of_family = |series: &&super::parsed::Series| core.contains(&series.name.as_str());
        all.series.iter().filter(|series| series.label("id") == id).filter(of_family).count()
    };
    let mut limit = all.series.iter().filter(|series| core.contains(&series.name.as_str())).count()
        + all.series.iter().filter(|series| series.name.starts_with("collector_")).count();
    let mut expected = vec!["/", "/docker/1", "/docker/2", "/docker/3", "/raw", "/raw/deep", "/raw/deep/er"];
    assert_eq!(ids(limit), expected);
    for next in ["/docker/3", "/raw/deep/er", "/raw/deep", "/raw", "/docker/2", "/docker/1", "/"] {
        let series = of_core(next);
        limit -= series;
        expected.retain(|id| *id != next);
        assert_eq!(ids(limit), expected, "{next}");
    }
}

#[test]
fn groups_and_profile_are_consistent() {
    for family in FAMILIES.iter() {
        let details = family.group < Group::Tasks;
        assert!(
            !(details && family.recommended == Recommended::Yes) || family.name.starts_with("machine_"),
            "{family:?}"
        );
    }
}
