//! What an application reported, by metric and label: `MetricValBasic`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::api::ContainerView;
use crate::api::cadvisor::v1::application::{label, numbers};
use crate::api::http::responses::More;
use crate::api::wire::json;
use crate::api::wire::time::GoTime;
use crate::sample::application::Round;
use crate::sample::event::Name;

/// One value of an application metric: an integer or a float, left out when it is 0.
#[derive(JsonSchema, Serialize)]
struct MetricValBasic {
    timestamp: GoTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    int_value: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    float_value: Option<f64>,
}

/// Values of one metric, oldest first, by what their labels say.
type Labelled = BTreeMap<String, Vec<MetricValBasic>>;

/// The schema of one container's.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    BTreeMap::<String, Labelled>::json_schema(generator)
}

/// What appends the values of the samples of one container under the name that was asked for, one label's values at each
/// call; without a container nothing.
pub(super) fn pieces(name: Name, view: Option<ContainerView>) -> impl FnMut(&mut Vec<u8>) -> More + Send + 'static {
    let rounds: Option<Vec<Arc<Round>>> = view
        .map(|view| view.samples.iter().filter_map(|sample| view.application.at(sample.at)).map(Arc::clone).collect());
    let known = rounds.is_some();
    let rounds = rounds.unwrap_or_default();
    let names: BTreeSet<String> = rounds.iter().flat_map(|round| round.values.keys().cloned()).collect();
    let mut names = names.into_iter().peekable();
    let mut labels = BTreeMap::new().into_iter().peekable();
    let mut begun = false;
    move |out| {
        if !std::mem::replace(&mut begun, true) {
            out.push(b'{');
            if known {
                json::append(out, &json::Lossy(&name));
                out.extend_from_slice(b":{");
            }
        }
        if labels.peek().is_none()
            && let Some(metric) = names.next()
        {
            json::append(out, &metric);
            out.extend_from_slice(b":{");
            labels = of_metric(&rounds, &metric).into_iter().peekable();
        }
        if let Some((label, values)) = labels.next() {
            json::append_entry(out, label.as_bytes(), &values);
            if labels.peek().is_some() {
                out.push(b',');
                return More::Follows;
            }
            out.push(b'}');
            if names.peek().is_some() {
                out.push(b',');
                return More::Follows;
            }
        }
        out.extend_from_slice(if known { b"}}" } else { b"}" });
        More::Ended
    }
}

/// The values of one metric, oldest first, by what their labels say.
fn of_metric(rounds: &[Arc<Round>], metric: &str) -> Labelled {
    let mut labelled = Labelled::new();
    for value in rounds.iter().filter_map(|round| round.values.get(metric)).flatten() {
        let (int_value, float_value) = numbers(value);
        let basic = MetricValBasic { timestamp: GoTime(Some(value.at)), int_value, float_value };
        labelled.entry(label(metric, value)).or_default().push(basic);
    }
    labelled
}
