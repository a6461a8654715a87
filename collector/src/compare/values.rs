//! One answer of cAdvisor's against those of the collector from around the same moment, key by key.

use serde_json::{Map, Value};

use super::known;
use super::report::{Difference, Finding, Report, pattern, shown};
use super::rules::{Closeness, Structure, closeness, entry_name};

/// What is compared of two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Keys, types and values.
    Values,
    /// Keys and types: they are not from the same moment.
    Keys,
}

/// A comparison of two answers, and where its findings go.
pub(super) struct Comparison<'a> {
    /// Where findings go.
    pub(super) report: &'a mut Report,
    /// The resource without a container's name.
    pub(super) resource: &'a str,
    /// The container that it is about.
    pub(super) container: Option<&'a str>,
    /// What the answer is about.
    pub(super) structure: Structure,
    /// What is compared.
    pub(super) depth: Depth,
}

impl Comparison<'_> {
    /// Compares what cAdvisor says with what the collector says, in the order of time.
    pub(super) fn compare(&mut self, path: &str, theirs: &Value, ours: &[&Value]) {
        let Some(newest) = ours.last() else { return };
        let alike: Vec<&Value> = ours.iter().copied().filter(|value| kind(value) == kind(theirs)).collect();
        if alike.is_empty() {
            return self.add(path, Difference::Type, Some(theirs), Some(newest));
        }
        match theirs {
            Value::Object(entries) => self.objects(path, entries, &alike),
            Value::Array(entries) => self.lists(path, entries, &alike),
            _ => self.scalars(path, theirs, &alike),
        }
    }

    fn objects(&mut self, path: &str, theirs: &Map<String, Value>, ours: &[&Value]) {
        for (name, value) in theirs {
            let below = joined(path, name);
            let counterparts: Vec<&Value> = ours.iter().filter_map(|value| value.get(name)).collect();
            if counterparts.is_empty() {
                self.add(&below, Difference::Missing, Some(value), None);
            } else {
                self.compare(&below, value, &counterparts);
            }
        }
        let Some(Value::Object(newest)) = ours.last() else { return };
        for (name, value) in newest.iter().filter(|(name, _)| !theirs.contains_key(*name)) {
            self.add(&joined(path, name), Difference::Extra, None, Some(value));
        }
    }

    fn lists(&mut self, path: &str, theirs: &[Value], ours: &[&Value]) {
        let ours: Vec<&Vec<Value>> = ours.iter().filter_map(|value| value.as_array()).collect();
        let mut seen = Vec::new();
        for (at, entry) in theirs.iter().enumerate() {
            let name = entry_name(entry);
            // The same name may be there twice, as some file systems are.
            let repeated = seen.iter().filter(|earlier| **earlier == name).count();
            let below = format!("{path}[{}]", name.clone().unwrap_or_else(|| at.to_string()));
            let counterparts: Vec<&Value> = ours
                .iter()
                .filter_map(|entries| match &name {
                    None => entries.get(at),
                    Some(_) => entries.iter().filter(|other| entry_name(other) == name).nth(repeated),
                })
                .collect();
            seen.push(name);
            if counterparts.is_empty() {
                self.add(&below, Difference::Missing, Some(entry), None);
            } else {
                self.compare(&below, entry, &counterparts);
            }
        }
        let Some(newest) = ours.last() else { return };
        for (at, entry) in newest.iter().enumerate() {
            let name = entry_name(entry);
            let is_extra = if name.is_none() { at >= theirs.len() } else { !seen.contains(&name) };
            if is_extra {
                let below = format!("{path}[{}]", name.unwrap_or_else(|| at.to_string()));
                self.add(&below, Difference::Extra, None, Some(entry));
            }
        }
    }

    fn scalars(&mut self, path: &str, theirs: &Value, ours: &[&Value]) {
        self.report.values += usize::from(self.depth == Depth::Values);
        if self.depth == Depth::Keys || ours.contains(&theirs) {
            return;
        }
        let closeness = closeness(self.structure, &pattern(path));
        let agrees = match (theirs, closeness) {
            (_, Closeness::Type) => true,
            (Value::Number(_), closeness) => {
                let numbers: Vec<f64> = ours.iter().filter_map(|value| value.as_f64()).collect();
                theirs.as_f64().is_some_and(|number| agrees(number, &numbers, closeness))
            }
            _ => false,
        };
        if !agrees {
            let ours = match ours {
                [first, .., last] if first != last => format!("{} to {}", shown(first), shown(last)),
                [first, ..] => shown(first),
                [] => String::new(),
            };
            self.put(path, Difference::Value, Some(theirs), shown(theirs), ours);
        }
    }

    fn add(&mut self, path: &str, difference: Difference, theirs: Option<&Value>, ours: Option<&Value>) {
        let words = |value: Option<&Value>| match value {
            None => String::new(),
            Some(value) if difference == Difference::Type => described(value),
            Some(value) => shown(value),
        };
        self.put(path, difference, theirs, words(theirs), words(ours));
    }

    /// Adds a finding, with its explanation if there is one.
    pub(super) fn put(
        &mut self,
        path: &str,
        difference: Difference,
        value: Option<&Value>,
        theirs: String,
        ours: String,
    ) {
        let mut finding = Finding {
            resource: self.resource.to_owned(),
            container: self.container.map(str::to_owned),
            path: path.to_owned(),
            difference,
            theirs,
            ours,
            known: None,
        };
        finding.known = known::explanation(&finding, value, &self.report.on_host_network);
        self.report.add(finding);
    }
}

/// Whether a number agrees with those of the collector, which are in the order of time.
pub(super) fn agrees(theirs: f64, ours: &[f64], closeness: Closeness) -> bool {
    let least = ours.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ours.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let margin = match closeness {
        Closeness::Type => return true,
        Closeness::Same => return ours.iter().any(|ours| (ours - theirs).abs() < f64::EPSILON),
        Closeness::Growing { slack } => slack,
        Closeness::Near { share, amount } => amount.max(share * theirs.abs().max(most.abs())),
    };
    // What the conversion from integers to floats may have taken.
    let margin = margin + most.abs() * 1e-12;
    theirs >= least - margin && theirs <= most + margin
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        value => format!("{} {}", kind(value), shown(value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::report::Verbosity;
    use super::*;

    fn found(structure: Structure, theirs: &Value, ours: &[&Value]) -> Vec<(Difference, String)> {
        let mut report = Report::new(String::new(), String::new(), Verbosity::Everything);
        let (resource, container) = ("/api/v1.3/containers", Some("/a"));
        let mut comparison = Comparison { report: &mut report, resource, container, structure, depth: Depth::Values };
        comparison.compare("", theirs, ours);
        report.findings.into_iter().map(|finding| (finding.difference, finding.path)).collect()
    }

    #[test]
    fn names_and_types() {
        let theirs = json!({"a": 1, "b": {"c": "x"}, "d": [], "e": null});
        let ours = json!({"b": {"c": 5, "f": 1}, "d": null, "e": null});
        let expected = [
            (Difference::Missing, "a"),
            (Difference::Type, "b.c"),
            (Difference::Extra, "b.f"),
            (Difference::Type, "d"),
        ];
        let expected = expected.map(|(difference, path)| (difference, path.to_owned()));
        assert_eq!(found(Structure::Other, &theirs, &[&ours]), expected);
    }

    #[test]
    fn a_name_is_missing_only_if_it_never_was_there() {
        let theirs = json!({"a": 1});
        assert!(found(Structure::Other, &theirs, &[&json!({}), &json!({"a": 1})]).is_empty());
        assert!(found(Structure::Other, &theirs, &[&json!({"a": 1}), &json!({})]).is_empty());
    }

    #[test]
    fn what_grows_lies_between_the_samples_around() {
        let sample = |total: u64| json!({"cpu": {"usage": {"total": total}}});
        let (before, after) = (sample(100), sample(200));
        for (total, findings) in [(100, 0), (150, 0), (200, 0), (99, 1), (201, 1)] {
            assert_eq!(found(Structure::Sample, &sample(total), &[&before, &after]).len(), findings, "{total}");
        }
    }

    #[test]
    fn what_goes_up_and_down_lies_near() {
        let sample = |usage: u64| json!({"memory": {"usage": usage}});
        let ours = [sample(100 << 20), sample(200 << 20)];
        let ours: Vec<&Value> = ours.iter().collect();
        for (usage, findings) in [(95_u64, 0), (219, 0), (50, 1), (300, 1)] {
            assert_eq!(found(Structure::Sample, &sample(usage << 20), &ours).len(), findings, "{usage}");
        }
    }

    #[test]
    fn entries_are_matched_by_name_and_scalars_by_place() {
        let theirs = json!({"interfaces": [{"name": "b", "mtu": 1}, {"name": "a", "mtu": 2}], "ids": [3, 4]});
        let ours = json!({"interfaces": [{"name": "a", "mtu": 2}, {"name": "c", "mtu": 1}], "ids": [3, 5, 6]});
        let expected = [
            (Difference::Value, "ids[1]"),
            (Difference::Extra, "ids[2]"),
            (Difference::Missing, "interfaces[b]"),
            (Difference::Extra, "interfaces[c]"),
        ];
        let expected = expected.map(|(difference, path)| (difference, path.to_owned()));
        assert_eq!(found(Structure::Other, &theirs, &[&ours]), expected);
    }

    #[test]
    fn entries_of_the_same_name_are_counted() {
        let theirs = json!([{"device": "x", "capacity": 1}, {"device": "x", "capacity": 2}]);
        let ours = json!([{"device": "x", "capacity": 1}]);
        assert_eq!(found(Structure::Machine, &theirs, &[&ours]), [(Difference::Missing, "[x]".to_owned())]);
        assert!(found(Structure::Machine, &theirs, &[&theirs]).is_empty());
    }

    #[test]
    fn large_limits_are_compared_exactly() {
        let limit = |limit: u64| json!({"memory": {"limit": limit}});
        assert!(found(Structure::Spec, &limit(u64::MAX), &[&limit(u64::MAX)]).is_empty());
        assert_eq!(found(Structure::Spec, &limit(u64::MAX), &[&limit(9_223_372_036_854_771_712)]).len(), 1);
    }

    #[test]
    fn without_the_same_moment_only_keys_count() {
        let mut report = Report::new(String::new(), String::new(), Verbosity::Differences);
        let (resource, structure, depth) = ("/x", Structure::Sample, Depth::Keys);
        let mut comparison = Comparison { report: &mut report, resource, container: None, structure, depth };
        comparison.compare("", &json!({"cpu": 5, "b": 1}), &[&json!({"cpu": 1})]);
        assert_eq!(report.findings.len(), 1);
    }
}
