//! The files that say where an application's metrics are: cAdvisor's two formats.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::bounds::{EXPRESSIONS_TIME, NAME_BYTES};
use super::expressions::{ExpressionError, Size, compile};
use super::target::{Endpoint, Reach, Target, TargetError};
use super::workers::cpu_time;
use crate::sample::application::{Format, MetricSpec};
use crate::sample::identity::Address;

/// Endpoints are read no more often than this, and this often unless they say otherwise.
const SHORTEST: Duration = Duration::from_secs(1);

/// What a file says.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) every: Duration,
    pub(super) method: Method,
    /// Of the largest of its expressions.
    pub(super) size: Size,
}

/// How values are found in an endpoint's answer.
#[derive(Clone, Debug)]
pub(super) enum Method {
    /// By expressions, one for each metric.
    Generic(Vec<GenericMetric>),
    /// It is Prometheus' text format; these metrics of it, or all.
    Prometheus(Vec<String>),
}

/// A metric and where it is in the answer.
#[derive(Clone, Debug)]
pub(super) struct GenericMetric {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) units: String,
    pub(super) format: Format,
    /// The first group is the value.
    pub(super) expression: String,
}

/// Whose file it is, and what it may ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    /// The collector's name shows which of the formats the file has.
    pub(super) collector: &'a str,
    /// Where the container is.
    pub(super) address: Address,
    /// Where else it may have asked.
    pub(super) reach: Reach,
    /// How many metrics a container may have.
    pub(super) limit: usize,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not the JSON that it has to be.
    #[error("not a configuration: {0}")]
    Json(#[from] serde_json::Error),
    /// A generic collector without metrics.
    #[error("no metrics provided in config")]
    NoMetrics,
    /// More metrics than a container may have.
    #[error("too many metrics defined: {defined} limit: {limit}")]
    TooManyMetrics {
        /// In the file.
        defined: usize,
        /// `--application_metrics_count_limit`.
        limit: usize,
    },
    /// A name that is longer than any.
    #[error("a name, a type or a unit has {0} bytes, more than {NAME_BYTES}")]
    LongName(usize),
    /// Not an expression, or one that takes too much.
    #[error("invalid regexp of metric {metric:?}: {reason}")]
    Expression {
        /// The metric.
        metric: String,
        /// What is wrong.
        #[source]
        reason: Box<ExpressionError>,
    },
    /// All expressions together take too long.
    #[error("compiling the expressions takes more than {EXPRESSIONS_TIME:?} of CPU time")]
    Slow,
    /// Neither `int` nor `float`.
    #[error("unexpected value of 'data_type' for metric {0:?} in config")]
    DataType(String),
    /// An endpoint that is not asked.
    #[error(transparent)]
    Target(#[from] TargetError),
}

#[derive(Deserialize)]
struct GenericFile {
    endpoint: Endpoint,
    #[serde(default)]
    metrics_config: Vec<GenericEntry>,
}

#[derive(Deserialize)]
struct GenericEntry {
    #[serde(default)]
    name: String,
    #[serde(default)]
    metric_type: String,
    #[serde(default)]
    units: String,
    #[serde(default)]
    data_type: String,
    /// Nanoseconds.
    #[serde(default)]
    polling_frequency: u64,
    #[serde(default)]
    regex: String,
}

#[derive(Deserialize)]
struct PrometheusFile {
    endpoint: Endpoint,
    /// Nanoseconds.
    #[serde(default)]
    polling_frequency: u64,
    #[serde(default)]
    metrics_config: Option<Vec<String>>,
}

impl Plan {
    /// Reads a file. Compiles the expressions once to see whether they can be used, which is not done quickly.
    pub(super) fn parse(asking: Asking<'_>, text: &[u8]) -> Result<Self, ConfigError> {
        let Asking { collector, address, reach, limit } = asking;
        let file = folded(serde_json::from_slice(text)?);
        let prometheus = collector.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("prometheus"));
        if prometheus {
            let PrometheusFile { endpoint, polling_frequency, metrics_config } = serde_json::from_value(file)?;
            let metrics = metrics_config.unwrap_or_default();
            bounded(metrics.len(), limit)?;
            let every = Duration::from_nanos(polling_frequency).max(SHORTEST);
            let (target, method) = (endpoint.target(address, reach)?, Method::Prometheus(metrics));
            return Ok(Self { target, every, method, size: Size::Small });
        }
        let GenericFile { endpoint, metrics_config } = serde_json::from_value(file)?;
        if metrics_config.is_empty() {
            return Err(ConfigError::NoMetrics);
        }
        bounded(metrics_config.len(), limit)?;
        let shortest = metrics_config.iter().map(|metric| metric.polling_frequency).filter(|every| *every > 0).min();
        let every = Duration::from_nanos(shortest.unwrap_or_default()).max(SHORTEST);
        let target = endpoint.target(address, reach)?;
        let began = cpu_time();
        let (mut metrics, mut size) = (Vec::new(), Size::Small);
        for entry in metrics_config {
            if cpu_time().saturating_sub(began) > EXPRESSIONS_TIME {
                return Err(ConfigError::Slow);
            }
            let (metric, its) = entry.checked()?;
            metrics.push(metric);
            size = size.max(its);
        }
        Ok(Self { target, every, method: Method::Generic(metrics), size })
    }
}

impl From<&GenericMetric> for MetricSpec {
    fn from(GenericMetric { name, kind, units, format, .. }: &GenericMetric) -> Self {
        Self { name: name.clone(), kind: kind.clone(), format: *format, units: units.clone() }
    }
}

fn bounded(defined: usize, limit: usize) -> Result<(), ConfigError> {
    if defined > limit { Err(ConfigError::TooManyMetrics { defined, limit }) } else { Ok(()) }
}

impl GenericEntry {
    fn checked(self) -> Result<(GenericMetric, Size), ConfigError> {
        let Self { name, metric_type, units, data_type, regex, .. } = self;
        if let Some(long) = [&name, &metric_type, &units].into_iter().find(|text| text.len() > NAME_BYTES) {
            return Err(ConfigError::LongName(long.len()));
        }
        let compiled = compile(&regex);
        let (_, size) =
            compiled.map_err(|reason| ConfigError::Expression { metric: name.clone(), reason: Box::new(reason) })?;
        let format = match data_type.as_str() {
            "int" => Format::Integer,
            "float" => Format::Float,
            _ => return Err(ConfigError::DataType(name)),
        };
        Ok((GenericMetric { name, kind: metric_type, units, format, expression: regex }, size))
    }
}

/// The same with all keys in lower case: Go finds them in any.
fn folded(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            members.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), folded(value))).collect()
        }
        Value::Array(list) => list.into_iter().map(folded).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: Address = Address::Own(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7)));

    fn asking(collector: &str) -> Asking<'_> {
        Asking { collector, address: OWN, reach: Reach::OwnAddress, limit: 2 }
    }

    fn parse(collector: &str, text: &str) -> Result<Plan, String> {
        Plan::parse(asking(collector), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn generic_files() {
        let text = r#"{"endpoint":"http://10.0.0.7:8000/nginx_status","metrics_config":[
            {"name":"activeConnections","metric_type":"gauge","units":"number of active connections",
             "data_type":"int","polling_frequency":10000000000,"regex":"Active connections: ([0-9]+)"},
            {"Name":"reading","metric_type":"gauge","data_type":"float","polling_frequency":5000000000,
             "regex":"Reading: ([0-9]+)"}]}"#;
        let plan = parse("nginx", text).unwrap();
        assert_eq!(
            (&*plan.target.to_string(), plan.every),
            ("http://10.0.0.7:8000/nginx_status", Duration::from_secs(5))
        );
        let Method::Generic(metrics) = plan.method else { panic!("{:?}", plan.method) };
        assert_eq!(metrics.len(), 2);
        let GenericMetric { name, kind, units, format, .. } = &metrics[0];
        assert_eq!((&**name, &**kind, *format), ("activeConnections", "gauge", Format::Integer));
        assert_eq!(units, "number of active connections");
        assert_eq!((&*metrics[1].name, metrics[1].format), ("reading", Format::Float));
    }

    #[test]
    fn prometheus_files() {
        let plan = parse("prometheus", r#"{"endpoint":{"protocol":"HTTP","port":9100,"path":"metrics"}}"#).unwrap();
        assert_eq!((&*plan.target.to_string(), plan.every), ("http://10.0.0.7:9100/metrics", Duration::from_secs(1)));
        assert!(matches!(plan.method, Method::Prometheus(metrics) if metrics.is_empty()));
        let text = r#"{"endpoint":{"path":"/m"},"polling_frequency":3000000000,"metrics_config":["a","b"]}"#;
        let plan = parse("Prometheus-2", text).unwrap();
        assert_eq!((&*plan.target.to_string(), plan.every), ("http://10.0.0.7:8000/m", Duration::from_secs(3)));
        assert!(matches!(plan.method, Method::Prometheus(metrics) if metrics == ["a", "b"]));
    }

    #[test]
    fn files_that_cannot_be_used() {
        let generic = |metric: &str| format!(r#"{{"endpoint":{{}},"metrics_config":[{metric}]}}"#);
        let cases = [
            (generic(""), "no metrics provided in config"),
            (generic("{},{},{}"), "too many metrics defined: 3 limit: 2"),
            (generic(r#"{"name":"m","regex":"("}"#), "invalid regexp of metric \"m\""),
            (generic(r#"{"name":"m","regex":"(\\w{1000}){1000}"}"#), "invalid regexp of metric \"m\""),
            (generic(r#"{"name":"m","regex":"x"}"#), "invalid regexp of metric \"m\": the expression has no group"),
            (generic(r#"{"name":"m","regex":"(x)"}"#), "unexpected value of 'data_type' for metric \"m\""),
            (generic(&format!(r#"{{"name":"{}"}}"#, "n".repeat(257))), "a name, a type or a unit has 257 bytes"),
            (
                r#"{"endpoint":"http://x/","metrics_config":[{}]}"#.to_owned(),
                "the endpoint \"http://x/\" is not at the",
            ),
            ("{".to_owned(), "not a configuration: EOF"),
            ("[]".to_owned(), "not a configuration: "),
        ];
        for (text, expected) in cases {
            let error = parse("nginx", &text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..60), json in r#"[\{\["a-z_:,0-9\}\]]{0,60}"#) {
            for text in [&*text, json.as_bytes()] {
                let _ = Plan::parse(asking("a"), text);
                let _ = Plan::parse(asking("prometheus"), text);
            }
        }
    }
}
