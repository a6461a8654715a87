//! Application metrics: `MetricSpec`, `MetricVal`, and the map of them that samples of v1 and v2 have.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::api::wire::time::GoTime;
use crate::sample::application::{self, Format, Number, Round, Value};

/// What an application metric is.
#[derive(JsonSchema, Serialize)]
pub(crate) struct MetricSpec<'a> {
    name: &'a str,
    /// `gauge`, `cumulative`, or a Prometheus type such as `HISTOGRAM`.
    r#type: &'a str,
    /// `int` or `float`.
    format: &'static str,
    units: &'a str,
}

impl<'a> From<&'a application::MetricSpec> for MetricSpec<'a> {
    fn from(application::MetricSpec { name, kind, format, units }: &'a application::MetricSpec) -> Self {
        let format = match format {
            Format::Integer => "int",
            Format::Float => "float",
        };
        Self { name, r#type: kind, format, units }
    }
}

/// The specifications of a container, ready to be written.
pub(crate) fn specs(specs: &[application::MetricSpec]) -> Vec<MetricSpec<'_>> {
    specs.iter().map(MetricSpec::from).collect()
}

/// Values by the metric's name.
#[derive(Clone, Copy)]
pub(crate) struct CustomMetrics<'a>(&'a Round);

impl<'a> From<&'a Round> for CustomMetrics<'a> {
    fn from(round: &'a Round) -> Self {
        Self(round)
    }
}

impl Serialize for CustomMetrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.values.iter().map(|(name, values)| {
            let values: Vec<_> = values.iter().map(|value| MetricVal::new(name, value)).collect();
            (name, values)
        }))
    }
}

impl JsonSchema for CustomMetrics<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CustomMetrics".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, Vec<MetricVal<'_>>>::json_schema(generator)
    }
}

/// One value of an application metric: an integer or a float, left out when it is 0.
#[derive(JsonSchema, Serialize)]
struct MetricVal<'a> {
    /// A Prometheus metric's labels with its name as `__name__`, each `key=value`, joined by U+FFFD.
    #[serde(skip_serializing_if = "String::is_empty")]
    label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a BTreeMap<String, String>>,
    timestamp: GoTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    int_value: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    float_value: Option<f64>,
}

impl<'a> MetricVal<'a> {
    fn new(name: &str, value: &'a Value) -> Self {
        let (int_value, float_value) = numbers(value);
        Self {
            label: label(name, value),
            labels: value.labels.as_ref().filter(|labels| !labels.is_empty()),
            timestamp: GoTime(Some(value.at)),
            int_value,
            float_value,
        }
    }
}

/// A value's number in the key that cAdvisor has for it, unless it is 0.
pub(crate) fn numbers(value: &Value) -> (Option<i64>, Option<f64>) {
    match value.number {
        Number::Integer(number) => (Some(number).filter(|number| *number != 0), None),
        Number::Float(number) => (None, Some(number).filter(|number| *number != 0.0)),
    }
}

/// cAdvisor's name for what the labels say: sorted, with the metric's own name among them, joined by a byte that is not
/// UTF-8 and is written as U+FFFD.
pub(crate) fn label(name: &str, value: &Value) -> String {
    let Some(labels) = &value.labels else { return String::new() };
    let mut pairs: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    pairs.push(("__name__", name));
    pairs.sort_unstable();
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join("\u{fffd}")
}
