//! Values found in a page by expressions.

use std::collections::BTreeMap;

use super::config::GenericMetric;
use crate::sample::application::{Format, Number, Value};
use crate::units::WallTime;

/// A page that lacks a value.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum GenericError {
    /// The expression finds nothing.
    #[error("no match found for the regexp of metric {0:?}")]
    NoMatch(String),
    /// What it finds is no number of the kind.
    #[error("{text:?} is not the {} that metric {metric:?} should be", match .format { Format::Integer => "int", Format::Float => "float" })]
    NotANumber {
        /// The metric.
        metric: String,
        /// What was found.
        text: String,
        /// What was expected.
        format: Format,
    },
}

/// The value of each metric. As in cAdvisor it is all or nothing.
pub(super) fn read(
    metrics: &[GenericMetric],
    page: &str,
    now: WallTime,
) -> Result<BTreeMap<String, Vec<Value>>, GenericError> {
    let value = |metric: &GenericMetric| {
        let group = metric.expression.captures(page).and_then(|captures| captures.get(1));
        let text = group.ok_or_else(|| GenericError::NoMatch(metric.name.clone()))?.as_str();
        let number = match metric.format {
            Format::Integer => text.parse().ok().map(Number::Integer),
            Format::Float => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Number::Float),
        };
        let wrong = || GenericError::NotANumber {
            metric: metric.name.clone(),
            text: text.chars().take(40).collect(),
            format: metric.format,
        };
        Ok((metric.name.clone(), vec![Value { at: now, number: number.ok_or_else(wrong)?, labels: None }]))
    };
    metrics.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    fn metric(name: &str, format: Format, expression: &str) -> GenericMetric {
        GenericMetric {
            name: name.to_owned(),
            kind: "gauge".to_owned(),
            units: String::new(),
            format,
            expression: Regex::new(expression).unwrap(),
        }
    }

    #[test]
    fn values_are_found_or_missed() {
        let page = "Active connections: 17 \nReading: 0.5\nLoad: -3 much";
        let found = |metric: GenericMetric| {
            read(&[metric], page, WallTime(5)).map(|mut values| values.pop_first().unwrap().1.remove(0))
        };
        let value = |number| Value { at: WallTime(5), number, labels: None };
        assert_eq!(found(metric("a", Format::Integer, r"Active connections: (\d+)")), Ok(value(Number::Integer(17))));
        assert_eq!(found(metric("r", Format::Float, r"Reading: ([0-9.]+)")), Ok(value(Number::Float(0.5))));
        assert_eq!(found(metric("l", Format::Integer, r"Load: (\S+)")), Ok(value(Number::Integer(-3))));
        assert_eq!(found(metric("n", Format::Integer, "(nothing)")), Err(GenericError::NoMatch("n".to_owned())));
        let error = found(metric("r", Format::Integer, r"Reading: ([0-9.]+)")).unwrap_err();
        assert_eq!(error.to_string(), "\"0.5\" is not the int that metric \"r\" should be");
        assert!(read(&[metric("m", Format::Float, "(nan)")], "nan", WallTime(5)).is_err());
    }
}
