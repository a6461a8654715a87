//! Prometheus's text format, and cAdvisor's metrics against those of the collector.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::report::Difference;
use super::rules::{Closeness, DISK};
use super::values::{Comparison, agrees};

/// The labels of a series; an empty one is the same as none.
type Labels = BTreeMap<String, String>;

/// Metrics of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Family {
    /// As the `TYPE` line has it; empty without.
    kind: String,
    series: BTreeMap<Labels, f64>,
    /// Names of labels that have a value in some series.
    label_names: BTreeSet<String>,
    /// Names of those that have one in none.
    empty_labels: BTreeSet<String>,
}

/// A whole answer by family.
pub(super) type Families = BTreeMap<String, Family>;

/// What a sample's name may have behind its family's.
const ENDINGS: [&str; 6] = ["_bucket", "_sum", "_count", "_total", "_info", "_created"];
/// Families that say when somebody looked, or something about cAdvisor's own process.
const MOMENTS: [&str; 2] = ["container_last_seen", BROKE_OFF];
/// Is 1 where cAdvisor could not read a container and so reports none.
pub(super) const BROKE_OFF: &str = "container_scrape_error";

/// Reads the text; lines that are none of the format are left out.
pub(super) fn parse(text: &str) -> Families {
    let mut families = Families::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = rest.split_once(' ') {
                kind.trim().clone_into(&mut families.entry(name.to_owned()).or_default().kind);
            }
        } else if !line.starts_with('#')
            && let Some((name, mut key, value)) = series(line)
        {
            let whole = families.contains_key(name);
            let family = ENDINGS.iter().filter_map(|ending| name.strip_suffix(ending));
            let family = family.into_iter().find(|family| !whole && families.contains_key(*family)).unwrap_or(name);
            let kept = families.entry(family.to_owned()).or_default();
            kept.empty_labels.extend(key.keys().cloned());
            key.retain(|_, value| !value.is_empty());
            kept.label_names.extend(key.keys().cloned());
            if family != name {
                key.insert("__name__".to_owned(), name.to_owned());
            }
            kept.series.insert(key, value);
        }
    }
    for family in families.values_mut() {
        let Family { label_names, empty_labels, .. } = family;
        empty_labels.retain(|label| !label_names.contains(label));
    }
    families
}

/// Reads `name{label="value",...} value [time]`.
fn series(line: &str) -> Option<(&str, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(after) = rest.strip_prefix('{') {
        rest = after;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.trim().to_owned(), value);
            rest = after;
        }
    }
    let value = rest.split_whitespace().next()?;
    // Rust reads `NaN` and `inf` as the format writes them.
    value.parse().ok().map(|value| (name, labels, value))
}

/// The text up to the closing quotation mark, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// Whether cAdvisor could not read its containers for this answer.
pub(super) fn broke_off(families: &Families) -> bool {
    families.get(BROKE_OFF).is_some_and(|family| family.series.values().any(|value| *value > 0.0))
}

/// Compares what cAdvisor said with what the collector said before and after. Series of containers that only one of
/// them has are left out: those are reported already.
pub(super) fn compare(
    comparison: &mut Comparison<'_>,
    theirs: &Families,
    before: &Families,
    after: &Families,
    containers: &BTreeSet<String>,
) {
    for (name, family) in theirs {
        let Some(ours) = after.get(name) else {
            comparison.put(
                name,
                Difference::Missing,
                None,
                format!("{} {}", family.kind, family.series.len()),
                String::new(),
            );
            continue;
        };
        if family.kind != ours.kind {
            comparison.put(name, Difference::Type, None, family.kind.clone(), ours.kind.clone());
        }
        let has = |label: &&String| ours.label_names.contains(*label) || ours.empty_labels.contains(*label);
        for label in family.label_names.iter().filter(|label| !has(label)) {
            comparison.put(&format!("{name}.{label}"), Difference::Missing, None, "label".to_owned(), String::new());
        }
        let nothing = Value::from("");
        for label in family.empty_labels.iter().filter(|label| !has(label)) {
            let path = format!("{name}.{label}");
            comparison.put(&path, Difference::Missing, Some(&nothing), "empty label".to_owned(), String::new());
        }
        compare_series(comparison, name, family, before.get(name), ours, containers);
    }
    for (name, family) in after.iter().filter(|(name, _)| !theirs.contains_key(*name)) {
        comparison.put(
            name,
            Difference::Extra,
            None,
            String::new(),
            format!("{} {}", family.kind, family.series.len()),
        );
    }
}

fn compare_series(
    comparison: &mut Comparison<'_>,
    name: &str,
    family: &Family,
    before: Option<&Family>,
    after: &Family,
    containers: &BTreeSet<String>,
) {
    for (labels, value) in &family.series {
        if labels.get("id").is_some_and(|id| !containers.contains(id)) {
            continue;
        }
        let Comparison { resource, structure, depth, .. } = *comparison;
        let container = labels.get("id").map(String::as_str);
        let mut comparison = Comparison { report: &mut *comparison.report, resource, container, structure, depth };
        let path = || {
            let words: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
            format!("{name}[{}]", words.join(","))
        };
        let theirs = Value::from(*value);
        let earlier = before.and_then(|family| family.series.get(labels));
        let Some(later) = after.series.get(labels) else {
            if earlier.is_none() {
                comparison.put(&path(), Difference::Missing, Some(&theirs), value.to_string(), String::new());
            }
            continue;
        };
        comparison.report.values += 1;
        let ours: Vec<f64> = earlier.into_iter().chain([later]).copied().collect();
        if !agrees(*value, &ours, closeness(name, &family.kind)) && !value.is_nan() {
            let words: Vec<String> = ours.iter().map(f64::to_string).collect();
            comparison.put(&path(), Difference::Value, Some(&theirs), value.to_string(), words.join(" to "));
        }
    }
}

/// How closely the values of a family have to agree.
fn closeness(name: &str, kind: &str) -> Closeness {
    if MOMENTS.contains(&name) || name.starts_with("go_") || name.starts_with("process_") {
        return Closeness::Type;
    }
    let near = |amount| Closeness::Near { share: 0.10, amount };
    match kind {
        // Two clock ticks, which user and system time are counted in.
        "counter" if name.ends_with("_seconds_total") => Closeness::Growing { slack: 0.02 },
        "counter" => Closeness::Growing { slack: 0.0 },
        // Seconds since 1970, of which cAdvisor gives whole ones.
        _ if name.ends_with("_time_seconds") => Closeness::Near { share: 0.0, amount: 1.0 },
        _ if name.starts_with("container_fs_") && name.ends_with("_bytes") => DISK,
        _ if name.contains("inodes") => near(4096.0),
        _ if name.starts_with("container_spec_") || name.starts_with("machine_") => Closeness::Same,
        _ if name.ends_with("_bytes") || name.starts_with("container_memory_") => near(8.0 * 1_048_576.0),
        _ => Closeness::Near { share: 0.25, amount: 16.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Report, Verbosity};
    use super::super::rules::Structure;
    use super::super::values::Depth;
    use super::*;

    #[test]
    fn the_format_is_read() {
        let text = "# HELP a_total x\n# TYPE a_total counter\na_total{id=\"/\",x=\"\"} 1.5e3 1795284230991\n\
                    # TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 2\nno type 1\nq{v=\"a\\\"b\\\\,}\"} NaN\nbroken{a=\n";
        let families = parse(text);
        let a = &families["a_total"];
        assert_eq!(a.kind, "counter");
        let labels = Labels::from([("id".to_owned(), "/".to_owned())]);
        assert_eq!(a.series, BTreeMap::from([(labels, 1500.0)]));
        assert!(a.label_names.contains("id") && a.empty_labels.contains("x"));
        assert_eq!(families["h"].series.len(), 2);
        let (labels, value) = families["q"].series.iter().next().unwrap();
        assert_eq!(labels["v"], "a\"b\\,}");
        assert!(value.is_nan());
        assert!(!families.contains_key("broken"));
        let scrape = |value| parse(&format!("# TYPE container_scrape_error gauge\ncontainer_scrape_error {value}\n"));
        assert!(broke_off(&scrape("1")) && !broke_off(&scrape("0")) && !broke_off(&families));
    }

    fn found(theirs: &str, before: &str, after: &str) -> Vec<(Difference, String)> {
        let mut report = Report::new(String::new(), String::new(), Verbosity::Differences);
        let (resource, structure, depth) = ("/metrics", Structure::Other, Depth::Values);
        let mut comparison = Comparison { report: &mut report, resource, container: None, structure, depth };
        let containers = BTreeSet::from(["/".to_owned()]);
        compare(&mut comparison, &parse(theirs), &parse(before), &parse(after), &containers);
        report.findings.into_iter().map(|finding| (finding.difference, finding.path)).collect()
    }

    #[test]
    fn an_empty_label_is_known_and_one_with_a_value_is_not() {
        let known = |theirs: &str| {
            let mut report = Report::new(String::new(), String::new(), Verbosity::Differences);
            let (resource, structure, depth) = ("/metrics", Structure::Other, Depth::Values);
            let mut comparison = Comparison { report: &mut report, resource, container: None, structure, depth };
            let containers = BTreeSet::from(["/".to_owned()]);
            let ours = parse("# TYPE container_x gauge\ncontainer_x{id=\"/\"} 0\n");
            let theirs = parse(&format!("# TYPE container_x gauge\n{theirs} 0\n"));
            compare(&mut comparison, &theirs, &ours, &ours, &containers);
            report.findings.into_iter().map(|finding| (finding.path, finding.known)).collect::<Vec<_>>()
        };
        let label = |known| vec![("container_x.image".to_owned(), known)];
        assert_eq!(known("container_x{id=\"/\",image=\"\"}"), label(Some("empty-labels")));
        let with_a_value = known("container_x{id=\"/\",image=\"a\"}");
        assert!(with_a_value.contains(&label(None)[0]), "{with_a_value:?}");
    }

    #[test]
    fn families_types_labels_series_and_values() {
        let family = |kind: &str, line: &str| format!("# TYPE m {kind}\n{line}\n");
        let same = family("counter", "m{id=\"/\"} 5");
        assert!(found(&same, &family("counter", "m{id=\"/\"} 4"), &family("counter", "m{id=\"/\"} 6")).is_empty());
        assert_eq!(found(&same, "", ""), [(Difference::Missing, "m".to_owned())]);
        let other = family("gauge", "m{id=\"/\"} 5");
        assert_eq!(found(&same, &other, &other), [(Difference::Type, "m".to_owned())]);
        let other = family("counter", "m{id=\"/\"} 9");
        assert_eq!(found(&same, &other, &other), [(Difference::Value, "m[id=/]".to_owned())]);
        let labelled = family("counter", "m{id=\"/\",cpu=\"1\"} 5");
        let expected = [(Difference::Missing, "m.cpu".to_owned()), (Difference::Missing, "m[cpu=1,id=/]".to_owned())];
        assert_eq!(found(&labelled, &same, &same), expected);
        // Only one of them has that container.
        assert!(found(&family("counter", "m{id=\"/gone\"} 5"), &same, &same).is_empty());
    }
}
