//! A strict reader of both formats.

use std::collections::{BTreeMap, BTreeSet};

/// A series with its value and what follows it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: String,
    pub(super) timestamp: Option<String>,
    pub(super) exemplar: Option<String>,
}

impl Series {
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Parsed {
    /// Families in their order, with their types.
    pub(super) families: Vec<(String, String)>,
    pub(super) units: BTreeMap<String, String>,
    pub(super) series: Vec<Series>,
}

impl Parsed {
    /// Reads an answer; what breaks a rule of either format panics.
    pub(super) fn new(text: &str) -> Self {
        let mut parsed = Self::default();
        let mut seen = BTreeSet::new();
        let mut helped = None;
        assert!(text.is_empty() || text.ends_with('\n'));
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            if *line == "# EOF" {
                assert_eq!(number + 1, lines.len(), "something follows the end");
            } else if let Some(help) = line.strip_prefix("# HELP ") {
                helped = help.split(' ').next().map(str::to_owned);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(helped.as_deref(), Some(name), "{line}");
                assert!(parsed.families.iter().all(|(other, _)| other != name), "{name} is there twice");
                parsed.families.push((name.to_owned(), kind.to_owned()));
            } else if let Some(unit) = line.strip_prefix("# UNIT ") {
                let (name, unit) = unit.split_once(' ').unwrap();
                assert!(name.ends_with(&format!("_{unit}")), "{line}");
                parsed.units.insert(name.to_owned(), unit.to_owned());
            } else {
                let series = series(line);
                let (family, _) = parsed.families.last().unwrap();
                assert!(series.name.starts_with(family.as_str()), "{line} in {family}");
                assert!(seen.insert((series.name.clone(), series.labels.clone())), "twice: {line}");
                parsed.series.push(series);
            }
        }
        // Those that count the others' series come last.
        let counts =
            |name: &&String| ["collector_metrics_series", "collector_metrics_shed_series"].contains(&name.as_str());
        let names = parsed.families.iter().map(|(name, _)| name);
        let names: Vec<_> = names.filter(|name| !counts(name)).collect();
        // In OpenMetrics counters are sorted with the suffix that their families lack.
        assert!(lines.last() == Some(&"# EOF") || names.is_sorted(), "families are not sorted: {names:?}");
        for (name, _) in &parsed.families {
            assert!(parsed.series.iter().any(|series| series.name.starts_with(name.as_str())), "{name} is empty");
        }
        parsed
    }

    pub(super) fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Series> {
        self.series.iter().filter(move |series| series.name == name)
    }

    /// The value of the one series of a family with these labels.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<&str> {
        let of_family = self.series.iter().filter(|series| series.name == name);
        let mut found = of_family.filter(|series| labels.iter().all(|(key, value)| series.label(key) == *value));
        let first = found.next()?;
        assert!(found.next().is_none(), "several: {name} {labels:?}");
        Some(&first.value)
    }

    pub(super) fn has_family(&self, name: &str) -> bool {
        self.families.iter().any(|(family, _)| family == name)
    }
}

fn series(line: &str) -> Series {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        let mut before = String::new();
        loop {
            let (key, after) = rest.split_once("=\"").unwrap();
            assert!(key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_'), "{line}");
            assert!(*key > *before, "labels are not sorted: {line}");
            key.clone_into(&mut before);
            let (value, after) = quoted(after);
            assert!(!value.is_empty(), "a label without a value: {line}");
            assert!(labels.insert(key.to_owned(), value).is_none());
            if let Some(next) = after.strip_prefix(',') {
                rest = next;
            } else {
                rest = after.strip_prefix('}').unwrap();
                break;
            }
        }
    }
    let rest = rest.strip_prefix(' ').unwrap();
    let (rest, exemplar) = match rest.split_once(" # ") {
        Some((rest, exemplar)) => (rest, Some(exemplar.to_owned())),
        None => (rest, None),
    };
    let mut words = rest.split(' ').map(str::to_owned);
    let value = words.next().unwrap();
    value.parse::<f64>().unwrap();
    let timestamp = words.next();
    assert_eq!(words.next(), None, "{line}");
    Series { name: name.to_owned(), labels, value, timestamp, exemplar }
}

fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match letters.next().unwrap().1 {
                'n' => '\n',
                other @ ('\\' | '"') => other,
                other => panic!("\\{other}"),
            }),
            other => value.push(other),
        }
    }
    panic!("no end: {text}");
}
