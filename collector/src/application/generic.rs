//! Values found in a page by expressions.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bounds::SEARCHED_BYTES;
use super::config::GenericMetric;
use super::expressions::{ExpressionError, Expressions};
use super::workers::cpu_time;
use crate::sample::application::{Format, Number, Value};
use crate::units::WallTime;

/// A page that lacks a value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GenericError {
    /// Longer than what is looked through.
    #[error("the answer has {0} bytes, more than the {SEARCHED_BYTES} in which expressions look for values")]
    LongPage(usize),
    /// The expressions take too long.
    #[error("the expressions take more than {0:?} of CPU time")]
    TooSlow(Duration),
    /// An expression that is not used.
    #[error("invalid regexp of metric {metric:?}: {reason}")]
    Expression {
        /// The metric.
        metric: String,
        /// What is wrong.
        #[source]
        reason: ExpressionError,
    },
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
    expressions: &mut Expressions,
    most: Duration,
) -> Result<BTreeMap<String, Vec<Value>>, GenericError> {
    if page.len() > SEARCHED_BYTES {
        return Err(GenericError::LongPage(page.len()));
    }
    let began = cpu_time();
    let mut values = BTreeMap::new();
    for metric in metrics {
        // A search cannot be interrupted: the time is looked at between two.
        if cpu_time().saturating_sub(began) > most {
            return Err(GenericError::TooSlow(most));
        }
        let found = expressions.find(&metric.expression, page);
        let found = found.map_err(|reason| GenericError::Expression { metric: metric.name.clone(), reason })?;
        let text = found.ok_or_else(|| GenericError::NoMatch(metric.name.clone()))?;
        let number = match metric.format {
            Format::Integer => text.parse().ok().map(Number::Integer),
            Format::Float => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Number::Float),
        };
        let number = number.ok_or_else(|| GenericError::NotANumber {
            metric: metric.name.clone(),
            text: text.chars().take(40).collect(),
            format: metric.format,
        })?;
        values.insert(metric.name.clone(), vec![Value { at: now, number, labels: None }]);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(60);

    fn metric(name: &str, format: Format, expression: &str) -> GenericMetric {
        GenericMetric {
            name: name.to_owned(),
            kind: "gauge".to_owned(),
            units: String::new(),
            format,
            expression: expression.to_owned(),
        }
    }

    #[test]
    fn values_are_found_or_missed() {
        let page = "Active connections: 17 \nReading: 0.5\nLoad: -3 much";
        let found = |metric: GenericMetric| {
            read(&[metric], page, WallTime(5), &mut Expressions::default(), MOST)
                .map(|mut values| values.pop_first().unwrap().1.remove(0))
                .map_err(|error| error.to_string())
        };
        let value = |number| Value { at: WallTime(5), number, labels: None };
        assert_eq!(found(metric("a", Format::Integer, r"Active connections: (\d+)")), Ok(value(Number::Integer(17))));
        assert_eq!(found(metric("r", Format::Float, r"Reading: ([0-9.]+)")), Ok(value(Number::Float(0.5))));
        assert_eq!(found(metric("l", Format::Integer, r"Load: (\S+)")), Ok(value(Number::Integer(-3))));
        let error = found(metric("n", Format::Integer, "(nothing)")).unwrap_err();
        assert_eq!(error, "no match found for the regexp of metric \"n\"");
        let error = found(metric("r", Format::Integer, r"Reading: ([0-9.]+)")).unwrap_err();
        assert_eq!(error, "\"0.5\" is not the int that metric \"r\" should be");
        let number = [metric("m", Format::Float, "(nan)")];
        assert!(read(&number, "nan", WallTime(5), &mut Expressions::default(), MOST).is_err());
    }

    #[test]
    fn a_page_that_is_too_long_and_expressions_that_take_too_long_are_given_up() {
        let page = "x".repeat(SEARCHED_BYTES);
        let last = [metric("m", Format::Integer, "x([0-9])")];
        let read = |metrics: &[GenericMetric], page: &str, most| {
            read(metrics, page, WallTime(5), &mut Expressions::default(), most).map_err(|error| error.to_string())
        };
        let fits = format!("{}1", &page[1..]);
        assert_eq!(read(&last, &fits, MOST).unwrap().len(), 1);
        assert!(read(&last, &format!("x{fits}"), MOST).unwrap_err().contains("more than the 131072"));
        let many = vec![metric("m", Format::Integer, "(x)*y|x+([0-9])|(x+1)"); 100];
        let error = read(&many, &page, Duration::ZERO).unwrap_err();
        assert!(error.contains("take more than 0ns") || error.contains("no match"), "{error}");
        let found = vec![metric("m", Format::Integer, "x([0-9])"); 100];
        assert_eq!(read(&found, &fits, Duration::ZERO).unwrap_err(), "the expressions take more than 0ns of CPU time");
    }
}
