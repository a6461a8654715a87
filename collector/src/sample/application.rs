//! What an application in a container reports itself, as it was scraped: not the kernel's numbers but the container's
//! own words, which its labels ask for (`io.cadvisor.metric.*`).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::units::WallTime;

/// What an allocation takes beside what was asked for, about.
const OVERHEAD: usize = 16;
/// A node of a map is at least half full.
const HALF_NODE: usize = 6;

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

    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let specs = self.specs.iter().map(|MetricSpec { name, kind, units, .. }| {
            size_of::<MetricSpec>() + name.len() + kind.len() + units.len() + 3 * OVERHEAD
        });
        let values = self.values.iter().map(|(name, values)| {
            let unused = (values.capacity() - values.len()) * size_of::<Value>();
            let own = size_of::<(String, Vec<Value>)>() + name.len() + unused + 2 * OVERHEAD;
            own + values.iter().map(Value::bytes).sum::<usize>()
        });
        specs.sum::<usize>() + values.sum::<usize>()
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
    /// What reports it from the metric's other values; `None` where a metric has one value and no labels.
    pub labels: Option<BTreeMap<String, String>>,
}

impl Value {
    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let labels = self.labels.as_ref().map_or(0, |labels| {
            let texts: usize = labels.iter().map(|(key, value)| key.len() + value.len() + 2 * OVERHEAD).sum();
            let nodes = labels.len().div_ceil(HALF_NODE);
            texts + nodes * (2 * HALF_NODE * size_of::<(String, String)>() + OVERHEAD)
        });
        size_of::<Self>() + labels
    }
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Of a metric that is configured as `int`.
    Integer(i64),
    /// Of any other; finite, because JSON has no other numbers.
    Float(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_labels_count() {
        let round = |labels: Option<BTreeMap<String, String>>| {
            let value = Value { at: WallTime(0), number: Number::Integer(1), labels };
            Round { values: [("m".to_owned(), vec![value])].into(), ..Round::default() }.bytes()
        };
        assert_eq!(Round::default().bytes(), 0);
        let (none, empty) = (round(None), round(Some(BTreeMap::new())));
        assert_eq!(none, empty);
        let long = round(Some([("k".to_owned(), "v".repeat(1_000_000))].into()));
        assert!((1_000_000..1_001_000).contains(&(long - none)), "{long}");
        let many = round(Some((0..60).map(|at| (at.to_string(), String::new())).collect()));
        assert!(many - none > 60 * 48, "{many}");
    }
}
