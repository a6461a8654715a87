//! Samples as JSON with the names of their fields.

use serde_json::Value;

use super::{IoStat, Sample};
use crate::sample::walk::Described;

impl Sample {
    /// All of it as JSON with the names of its fields, for the history on disk.
    pub fn describe(&self) -> Value {
        Described::describe(self)
    }

    /// A sample that was described, also by a collector with other fields: what is missing is absent. `None` for what is
    /// no sample.
    pub fn restore(value: &Value) -> Option<Self> {
        value.as_object()?;
        Described::restore(value)
    }
}

/// Every operation that a device's statistics name.
const OPERATIONS: [&str; 7] = ["Read", "Write", "Sync", "Async", "Discard", "Total", "Count"];

impl Described for &'static str {
    fn describe(&self) -> Value {
        Value::from(*self)
    }

    fn restore(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        OPERATIONS.into_iter().find(|operation| *operation == text)
    }
}

impl IoStat {
    const ALL: [(Self, &str); 12] = [
        (Self::ServiceBytes, "service_bytes"),
        (Self::Serviced, "serviced"),
        (Self::Queued, "queued"),
        (Self::Sectors, "sectors"),
        (Self::ServiceTime, "service_time"),
        (Self::WaitTime, "wait_time"),
        (Self::Merged, "merged"),
        (Self::Time, "time"),
        (Self::CostUsage, "cost_usage"),
        (Self::CostWait, "cost_wait"),
        (Self::CostIndebt, "cost_indebt"),
        (Self::CostIndelay, "cost_indelay"),
    ];
}

impl Described for IoStat {
    fn describe(&self) -> Value {
        Self::ALL.into_iter().find(|(stat, _)| stat == self).map_or(Value::Null, |(_, name)| Value::from(name))
    }

    fn restore(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(stat, _)| stat)
    }
}
