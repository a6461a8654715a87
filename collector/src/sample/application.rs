//! What an application in a container tells of itself, as it was scraped: not the kernel's numbers but the container's
//! own words, which its labels ask for (`io.cadvisor.metric.*`).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::units::WallTime;

/// One reading of every endpoint of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// What the container offers, by name.
    pub specs: Arc<[MetricSpec]>,
    /// The values by the metric's name.
    pub values: BTreeMap<String, Vec<Value>>,
}

impl Round {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.values().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// What a metric is, in the words of the container's configuration or of its endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricSpec {
    /// Its name.
    pub name: String,
    /// `gauge` or `cumulative`; of a Prometheus endpoint its own word, such as `COUNTER` or `HISTOGRAM`.
    pub kind: String,
    /// Its numbers.
    pub format: Format,
    /// The unit as configured; empty when nobody said.
    pub units: String,
}

/// Numbers of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Whole.
    Integer,
    /// With a fraction.
    Float,
}

/// One number of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// When it was: by the endpoint's own word, else when it was read.
    pub at: WallTime,
    /// It.
    pub number: Number,
    /// What tells it from the metric's other values; `None` where a metric has one value and no labels.
    pub labels: Option<BTreeMap<String, String>>,
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Of a metric that is configured as `int`.
    Integer(i64),
    /// Of any other; finite, because JSON has no other numbers.
    Float(f64),
}
