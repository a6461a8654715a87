//! What an application reported, by metric and label: `MetricValBasic`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::api::ContainerView;
use crate::api::cadvisor::v1::application::{label, numbers};
use crate::api::wire::json;
use crate::api::wire::time::GoTime;

/// One value of an application metric: an integer or a float, left out when it is 0.
#[derive(JsonSchema, Serialize)]
struct MetricValBasic {
    timestamp: GoTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    int_value: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    float_value: Option<f64>,
}

/// Values, oldest first, by metric and by what its labels say.
type Metrics<'a> = BTreeMap<&'a str, BTreeMap<String, Vec<MetricValBasic>>>;

/// The schema of one container's.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    Metrics::json_schema(generator)
}

/// Renders the values of the samples of one container under the name that was asked for; without a container nothing.
pub(super) fn render(name: &[u8], view: Option<&ContainerView>) -> Vec<u8> {
    let mut body = vec![b'{'];
    if let Some(view) = view {
        json::append_entry(&mut body, name, &metrics(view));
    }
    body.push(b'}');
    body
}

fn metrics(view: &ContainerView) -> Metrics<'_> {
    let mut metrics = Metrics::new();
    for round in view.samples.iter().filter_map(|sample| view.application.at(sample.at)) {
        for (name, values) in &round.values {
            let of_metric = metrics.entry(name).or_default();
            for value in values {
                let (int_value, float_value) = numbers(value);
                let basic = MetricValBasic { timestamp: GoTime(Some(value.at)), int_value, float_value };
                of_metric.entry(label(name, value)).or_default().push(basic);
            }
        }
    }
    metrics
}
