//! Prometheus' text format, version 0.0.4.

use std::collections::BTreeMap;

use super::Parsed;
use super::bounds::{LABELS, NAME_BYTES, VALUE_BYTES, VALUES};
use crate::sample::application::{Format, MetricSpec, Number, Value};
use crate::units::WallTime;

/// An answer that cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExpositionError {
    /// Not the format.
    #[error("line {line}: {reason}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// More metrics than a container may have.
    #[error("too many metrics to collect: more than {0}")]
    TooManyMetrics(usize),
    /// More values than are kept.
    #[error("more than {VALUES} values")]
    TooManyValues,
    /// Values that take more than may be kept of one container.
    #[error("the values take more than {0} bytes")]
    TooLarge(usize),
}

/// What an answer may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) metrics: usize,
    /// All its values, in memory.
    pub(super) bytes: usize,
}

/// The values of an answer: of the metrics that are wanted, or, if none is named, of all. Values that are no finite
/// numbers are left out: JSON has no others; so are those with a name, a label or labels beyond the bounds, which are
/// counted.
pub(super) fn read(
    text: &str,
    wanted: &[String],
    Most { metrics: limit, bytes: most }: Most,
    now: WallTime,
) -> Result<Parsed, ExpositionError> {
    let mut values: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut count, mut bytes, mut left_out) = (0, 0_usize, 0);
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let mut words = comment.split_whitespace();
            if let (Some("TYPE"), Some(name), Some(kind)) = (words.next(), words.next(), words.next()) {
                kinds.insert(name, kind);
            }
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let ExposedSample { name, labels, value, at } =
            sample(line).map_err(|reason| ExpositionError::Malformed { line: at + 1, reason })?;
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let is_long = |(key, value): (&String, &String)| key.len() > NAME_BYTES || value.len() > VALUE_BYTES;
        if name.len() > NAME_BYTES || labels.len() > LABELS || labels.iter().any(is_long) {
            left_out += 1;
            continue;
        }
        let (family, kind) = family(name, &kinds);
        families.insert(family, kind);
        if !value.is_finite() {
            continue;
        }
        count += 1;
        if count > VALUES {
            return Err(ExpositionError::TooManyValues);
        }
        let value = Value { at: at.unwrap_or(now), number: Number::Float(value), labels: Some(labels) };
        bytes += value.bytes();
        if bytes > most {
            return Err(ExpositionError::TooLarge(most));
        }
        values.entry(name.to_owned()).or_default().push(value);
        if values.len() > limit {
            return Err(ExpositionError::TooManyMetrics(limit));
        }
    }
    let spec = |(name, kind): (&str, &str)| MetricSpec {
        name: name.to_owned(),
        kind: kind.chars().take(NAME_BYTES).collect::<String>().to_ascii_uppercase(),
        format: Format::Float,
        units: String::new(),
    };
    Ok(Parsed { specs: families.into_iter().map(spec).collect(), values, left_out })
}

/// The metric that a series belongs to and its type: a histogram's or a summary's series have longer names than it.
fn family<'a>(name: &'a str, kinds: &BTreeMap<&'a str, &'a str>) -> (&'a str, &'a str) {
    if let Some(kind) = kinds.get(name) {
        return (name, kind);
    }
    for ending in ["_bucket", "_sum", "_count"] {
        if let Some(base) = name.strip_suffix(ending)
            && let Some(kind @ ("histogram" | "summary")) = kinds.get(base).copied()
        {
            return (base, kind);
        }
    }
    (name, "untyped")
}

struct ExposedSample<'a> {
    name: &'a str,
    labels: BTreeMap<String, String>,
    value: f64,
    at: Option<WallTime>,
}

fn sample(line: &str) -> Result<ExposedSample<'_>, &'static str> {
    let (name, mut rest) = name(line).ok_or("not the name of a metric")?;
    rest = rest.trim_start();
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels)?;
    }
    let mut words = rest.split_whitespace();
    let value = words.next().and_then(number).ok_or("not a number")?;
    let at = match words.next() {
        None => None,
        Some(word) => Some(word.parse::<i64>().map_err(|_| "not a time in milliseconds")?),
    };
    if words.next().is_some() {
        return Err("something follows the time");
    }
    let at = at.map(|millis| WallTime(u64::try_from(millis).unwrap_or(0).saturating_mul(1_000_000)));
    Ok(ExposedSample { name, labels, value, at })
}

/// A metric's or a label's name, and what follows it.
fn name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':')));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    (!name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit())).then_some((name, rest))
}

/// Reads `a="b",c="d"}`; what follows it.
fn read_labels<'a>(mut rest: &'a str, labels: &mut BTreeMap<String, String>) -> Result<&'a str, &'static str> {
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok(rest);
        }
        let (key, after) = name(rest).ok_or("not the name of a label")?;
        let after = after.trim_start().strip_prefix('=').ok_or("a label without a value")?;
        let quoted = after.trim_start().strip_prefix('"').ok_or("a label's value is not in quotes")?;
        let (value, after) = unquoted(quoted)?;
        labels.insert(key.to_owned(), value);
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest,
            None if rest.starts_with('}') => rest,
            None => return Err("labels without a comma between them"),
        };
    }
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, letter @ ('"' | '\\'))) => value.push(letter),
                _ => return Err("an unknown escape in a label's value"),
            },
            letter => value.push(letter),
        }
    }
    Err("a label's value does not end")
}

/// A number as Go reads it.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As many metrics as these, and bytes to spare.
    fn most(metrics: usize) -> Most {
        Most { metrics, bytes: 64 << 20 }
    }

    const NOW: WallTime = WallTime(1_000_000_000);
    const TEXT: &str = "# HELP http_requests_total All of them.\n# TYPE http_requests_total counter\n\
        http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n\
        http_requests_total{method=\"post\" , code=\"400\",}    3\n\n\
        # TYPE seconds histogram\nseconds_bucket{le=\"0.05\"} 24054\nseconds_bucket{le=\"+Inf\"} 144320\n\
        seconds_sum 53423.5\nseconds_count 144320\n\
        metric_without_timestamp_and_labels 12.47\n\
        something_weird{problem=\"division by \\\"zero\\\"\\n\\\\\"} +Inf -3982045\n";

    #[test]
    fn every_kind_of_line() {
        let Parsed { specs, values, .. } = read(TEXT, &[], most(100), NOW).unwrap();
        let labels = |value: &Value| value.labels.clone().unwrap().into_iter().collect::<Vec<_>>();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let requests = &values["http_requests_total"];
        assert_eq!(labels(&requests[0]), [pair("code", "200"), pair("method", "post")]);
        assert_eq!((requests[0].at, requests[0].number), (WallTime(1_395_066_363_000_000_000), Number::Float(1027.0)));
        assert_eq!((requests[1].at, requests[1].number), (NOW, Number::Float(3.0)));
        assert_eq!(values["seconds_bucket"].len(), 2);
        assert_eq!(values["metric_without_timestamp_and_labels"][0].labels, Some(BTreeMap::new()));
        assert!(!values.contains_key("something_weird"), "JSON has no infinity");
        let specs: Vec<_> = specs.iter().map(|spec| (&*spec.name, &*spec.kind)).collect();
        let expected = [
            ("http_requests_total", "COUNTER"),
            ("metric_without_timestamp_and_labels", "UNTYPED"),
            ("seconds", "HISTOGRAM"),
            ("something_weird", "UNTYPED"),
        ];
        assert_eq!(specs, expected);
        assert_eq!(
            unquoted("division by \\\"zero\\\"\\n\\\\\"rest"),
            Ok(("division by \"zero\"\n\\".to_owned(), "rest"))
        );
    }

    #[test]
    fn only_what_is_wanted_and_no_more_than_is_allowed() {
        let wanted = ["seconds_sum".to_owned(), "none".to_owned()];
        let Parsed { specs, values, .. } = read(TEXT, &wanted, most(1), NOW).unwrap();
        assert_eq!(values.into_keys().collect::<Vec<_>>(), ["seconds_sum"]);
        assert_eq!(specs.len(), 1);
        assert_eq!(read(TEXT, &[], most(4), NOW).unwrap_err(), ExpositionError::TooManyMetrics(4));
        let many: String = vec!["m{a=\"b\"} 1\n"; VALUES + 1].concat();
        assert_eq!(read(&many, &[], most(4), NOW).unwrap_err(), ExpositionError::TooManyValues);
    }

    #[test]
    fn what_is_too_long_is_left_out_and_the_rest_stays() {
        let just = format!("m{{{}=\"{}\"}} 1\n", "k".repeat(NAME_BYTES), "v".repeat(VALUE_BYTES));
        let labels = |count: usize| (0..count).map(|at| format!("l{at}=\"\"")).collect::<Vec<_>>().join(",");
        let beyond = [
            format!("m{{{}=\"\"}} 1\n", "k".repeat(NAME_BYTES + 1)),
            format!("m{{k=\"{}\"}} 1\n", "v".repeat(VALUE_BYTES + 1)),
            format!("{} 1\n", "m".repeat(NAME_BYTES + 1)),
            format!("m{{{}}} 1\n", labels(LABELS + 1)),
        ];
        let text = [vec![just, format!("m{{{}}} 1\n", labels(LABELS))], beyond.to_vec()].concat().concat();
        let Parsed { values, left_out, .. } = read(&text, &[], most(10), NOW).unwrap();
        assert_eq!((values.len(), values["m"].len(), left_out), (1, 2, 4));
        let bytes: usize = values["m"].iter().map(Value::bytes).sum();
        assert!(read(&text, &[], Most { metrics: 10, bytes }, NOW).is_ok());
        let less = Most { metrics: 10, bytes: bytes - 1 };
        assert_eq!(read(&text, &[], less, NOW).unwrap_err(), ExpositionError::TooLarge(bytes - 1));
    }

    #[test]
    fn what_is_wrong_is_reported_with_its_line() {
        let cases = [
            ("a 1\n<html>", "line 2: not the name of a metric"),
            ("a", "line 1: not a number"),
            ("a b", "line 1: not a number"),
            ("a 1 x", "line 1: not a time in milliseconds"),
            ("a 1 2 3", "line 1: something follows the time"),
            ("a{b} 1", "line 1: a label without a value"),
            ("a{b=c} 1", "line 1: a label's value is not in quotes"),
            ("a{b=\"c} 1", "line 1: a label's value does not end"),
            ("a{b=\"\\x\"} 1", "line 1: an unknown escape in a label's value"),
            ("a{b=\"c\" d=\"e\"} 1", "line 1: labels without a comma between them"),
            ("a{1=\"c\"} 1", "line 1: not the name of a label"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text, &[], most(10), NOW).unwrap_err().to_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}", like in r#"[a-c_{}=",\\\n #0-9.]{0,80}"#) {
            let _ = read(&text, &[], most(3), NOW);
            let _ = read(&like, &[], most(3), NOW);
        }
    }
}
