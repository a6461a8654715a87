//! A reader of the Prometheus text format, enough for what the tests ask.

use std::collections::BTreeMap;

/// One line of `/metrics`.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
    /// Milliseconds.
    timestamp: Option<u64>,
}

impl Line {
    /// The metric's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A label; empty where it is absent.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The value.
    pub(crate) fn value(&self) -> f64 {
        self.value
    }

    /// The time in milliseconds, where it is reported.
    pub(crate) fn timestamp(&self) -> Option<u64> {
        self.timestamp
    }
}

/// What `/metrics` said.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Vec<Line>);

impl Metrics {
    /// Reads the text; lines that are no samples are left out.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(parse_line).collect())
    }

    /// All series.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.0
    }

    /// The series of a metric that carry all these labels.
    pub(crate) fn series<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Line> {
        self.0.iter().filter(move |line| {
            line.name == name && labels.iter().all(|(key, value)| line.labels.get(*key).is_some_and(|has| has == value))
        })
    }

    /// Sum of a metric over all its series; a metric that is not there counts as 0.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.series(name, &[]).map(|line| line.value).sum()
    }

    /// The value of the one series with these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.series(name, labels).next().map(|line| line.value)
    }

    /// Whether there is any series of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.series(name, &[]).next().is_some()
    }

    /// The values of one label over the series of a metric whose value is not 0.
    pub(crate) fn labels_above_zero(&self, name: &str, label: &str) -> Vec<String> {
        self.series(name, &[])
            .filter(|line| line.value > 0.0)
            .filter_map(|line| line.labels.get(label).cloned())
            .collect()
    }
}

fn parse_line(line: &str) -> Option<Line> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while let Some((key, after)) = rest.split_once("=\"") {
            if rest.starts_with('}') {
                break;
            }
            let (value, after) = quoted(after)?;
            labels.insert(key.trim_start_matches(',').to_owned(), value);
            rest = after;
        }
        rest = rest.strip_prefix('}')?;
    }
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    Some(Line { name: name.to_owned(), labels, value, timestamp: words.next().and_then(|word| word.parse().ok()) })
}

/// The text up to the closing quote, unescaped, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}
