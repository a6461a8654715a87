//! The files that say where an application's metrics are: cAdvisor's two formats.

use std::time::Duration;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;

use crate::sample::application::{Format, MetricSpec};
use crate::sample::identity::Address;

/// Endpoints are read no more often than this, and this often unless they say otherwise.
const SHORTEST: Duration = Duration::from_secs(1);
/// The port of an endpoint that does not say.
const PORT: u16 = 8000;
/// What a compiled expression may take.
const EXPRESSION_BYTES: usize = 1 << 20;

/// What a file says.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) url: String,
    pub(super) every: Duration,
    pub(super) method: Method,
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
    pub(super) expression: Regex,
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
    /// Not an expression, or one that takes too much.
    #[error("invalid regexp of metric {metric:?}: {reason}")]
    Expression {
        /// The metric.
        metric: String,
        /// What is wrong.
        #[source]
        reason: Box<regex::Error>,
    },
    /// An expression that captures nothing.
    #[error("the regexp of metric {0:?} has no group")]
    NoGroup(String),
    /// Neither `int` nor `float`.
    #[error("unexpected value of 'data_type' for metric {0:?} in config")]
    DataType(String),
    /// The endpoint is at the container's address, and nobody told it.
    #[error("the container's address is not known")]
    NoAddress,
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

/// Where metrics are.
#[derive(Deserialize)]
#[serde(untagged)]
enum Endpoint {
    Url(String),
    Parts {
        #[serde(default)]
        protocol: String,
        #[serde(default)]
        port: Option<Port>,
        #[serde(default)]
        path: String,
    },
}

/// cAdvisor takes both.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

impl Endpoint {
    fn url(self, address: Address) -> Result<String, ConfigError> {
        let (protocol, port, path) = match self {
            Self::Url(url) => return Ok(url),
            Self::Parts { protocol, port, path } => (protocol, port, path),
        };
        let host = match address {
            Address::Own(std::net::IpAddr::V6(address)) => format!("[{address}]"),
            Address::Own(address) => address.to_string(),
            Address::Host => "127.0.0.1".to_owned(),
            Address::Unknown => return Err(ConfigError::NoAddress),
        };
        let protocol = if protocol.is_empty() { "http".to_owned() } else { protocol };
        let port = match port {
            Some(Port::Number(port)) => port.to_string(),
            Some(Port::Text(port)) if !port.is_empty() => port,
            _ => PORT.to_string(),
        };
        Ok(format!("{protocol}://{host}:{port}/{}", path.trim_start_matches('/')))
    }
}

impl Plan {
    /// Reads a file. The collector's name tells which of the formats it has; `limit` is how many metrics a container
    /// may have.
    pub(super) fn parse(collector: &str, text: &[u8], address: Address, limit: usize) -> Result<Self, ConfigError> {
        let file = folded(serde_json::from_slice(text)?);
        let prometheus = collector.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("prometheus"));
        if prometheus {
            let PrometheusFile { endpoint, polling_frequency, metrics_config } = serde_json::from_value(file)?;
            let metrics = metrics_config.unwrap_or_default();
            bounded(metrics.len(), limit)?;
            let every = Duration::from_nanos(polling_frequency).max(SHORTEST);
            return Ok(Self { url: endpoint.url(address)?, every, method: Method::Prometheus(metrics) });
        }
        let GenericFile { endpoint, metrics_config } = serde_json::from_value(file)?;
        if metrics_config.is_empty() {
            return Err(ConfigError::NoMetrics);
        }
        bounded(metrics_config.len(), limit)?;
        let shortest = metrics_config.iter().map(|metric| metric.polling_frequency).filter(|every| *every > 0).min();
        let every = Duration::from_nanos(shortest.unwrap_or_default()).max(SHORTEST);
        let metrics = metrics_config.into_iter().map(GenericMetric::try_from).collect::<Result<_, _>>()?;
        Ok(Self { url: endpoint.url(address)?, every, method: Method::Generic(metrics) })
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

impl TryFrom<GenericEntry> for GenericMetric {
    type Error = ConfigError;

    fn try_from(entry: GenericEntry) -> Result<Self, ConfigError> {
        let GenericEntry { name, metric_type, units, data_type, regex, .. } = entry;
        let expression = RegexBuilder::new(&regex).size_limit(EXPRESSION_BYTES).build();
        let expression =
            expression.map_err(|reason| ConfigError::Expression { metric: name.clone(), reason: Box::new(reason) })?;
        if expression.captures_len() < 2 {
            return Err(ConfigError::NoGroup(name));
        }
        let format = match data_type.as_str() {
            "int" => Format::Integer,
            "float" => Format::Float,
            _ => return Err(ConfigError::DataType(name)),
        };
        Ok(Self { name, kind: metric_type, units, format, expression })
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

    fn parse(collector: &str, text: &str) -> Result<Plan, String> {
        Plan::parse(collector, text.as_bytes(), OWN, 2).map_err(|error| error.to_string())
    }

    #[test]
    fn generic_files() {
        let text = r#"{"endpoint":"http://localhost:8000/nginx_status","metrics_config":[
            {"name":"activeConnections","metric_type":"gauge","units":"number of active connections",
             "data_type":"int","polling_frequency":10000000000,"regex":"Active connections: ([0-9]+)"},
            {"Name":"reading","metric_type":"gauge","data_type":"float","polling_frequency":5000000000,
             "regex":"Reading: ([0-9]+)"}]}"#;
        let plan = parse("nginx", text).unwrap();
        assert_eq!((&*plan.url, plan.every), ("http://localhost:8000/nginx_status", Duration::from_secs(5)));
        let Method::Generic(metrics) = plan.method else { panic!("{:?}", plan.method) };
        assert_eq!(metrics.len(), 2);
        let GenericMetric { name, kind, units, format, .. } = &metrics[0];
        assert_eq!((&**name, &**kind, *format), ("activeConnections", "gauge", Format::Integer));
        assert_eq!(units, "number of active connections");
        assert_eq!((&*metrics[1].name, metrics[1].format), ("reading", Format::Float));
    }

    #[test]
    fn prometheus_files() {
        let plan = parse("prometheus", r#"{"endpoint":{"protocol":"https","port":9100,"path":"metrics"}}"#).unwrap();
        assert_eq!((&*plan.url, plan.every), ("https://10.0.0.7:9100/metrics", Duration::from_secs(1)));
        assert!(matches!(plan.method, Method::Prometheus(metrics) if metrics.is_empty()));
        let text = r#"{"endpoint":{"path":"/m"},"polling_frequency":3000000000,"metrics_config":["a","b"]}"#;
        let plan = parse("Prometheus-2", text).unwrap();
        assert_eq!((&*plan.url, plan.every), ("http://10.0.0.7:8000/m", Duration::from_secs(3)));
        assert!(matches!(plan.method, Method::Prometheus(metrics) if metrics == ["a", "b"]));
    }

    #[test]
    fn addresses() {
        let url = |address| Plan::parse("prometheus", br#"{"endpoint":{"port":"1"}}"#, address, 1).map(|plan| plan.url);
        assert_eq!(url(Address::Own("fe80::1".parse().unwrap())).unwrap(), "http://[fe80::1]:1/");
        assert_eq!(url(Address::Host).unwrap(), "http://127.0.0.1:1/");
        assert_eq!(url(Address::Unknown).unwrap_err().to_string(), "the container's address is not known");
    }

    #[test]
    fn files_that_cannot_be_used() {
        let generic = |metric: &str| format!(r#"{{"endpoint":"http://x","metrics_config":[{metric}]}}"#);
        let cases = [
            (generic(""), "no metrics provided in config"),
            (generic("{},{},{}"), "too many metrics defined: 3 limit: 2"),
            (generic(r#"{"name":"m","regex":"("}"#), "invalid regexp of metric \"m\""),
            (generic(r#"{"name":"m","regex":"(\\w{1000}){1000}"}"#), "invalid regexp of metric \"m\""),
            (generic(r#"{"name":"m","regex":"x"}"#), "the regexp of metric \"m\" has no group"),
            (generic(r#"{"name":"m","regex":"(x)"}"#), "unexpected value of 'data_type' for metric \"m\""),
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
                let _ = Plan::parse("a", text, OWN, 2);
                let _ = Plan::parse("prometheus", text, OWN, 2);
            }
        }
    }
}
