//! `DerivedStats`: what containers used lately.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::api::wire::json;
use crate::api::wire::time::GoTime;
use crate::store::summary::{Percentiles, Summary, Usage};

/// What a container used lately.
#[derive(JsonSchema, Serialize)]
struct DerivedStats {
    timestamp: GoTime,
    latest_usage: InstantUsage,
    minute_usage: WireUsage,
    hour_usage: WireUsage,
    day_usage: WireUsage,
}

/// CPU in thousandths of a core, memory in bytes.
#[derive(Default, JsonSchema, Serialize)]
struct InstantUsage {
    cpu: u64,
    memory: u64,
}

/// What was used over a span of time, of which so many percent are known.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "Usage")]
struct WireUsage {
    percent_complete: u32,
    cpu: WirePercentiles,
    memory: WirePercentiles,
}

/// CPU in thousandths of a core, or memory in bytes, over a span of time.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "Percentiles")]
struct WirePercentiles {
    present: bool,
    mean: u64,
    std: u64,
    max: u64,
    fifty: u64,
    ninety: u64,
    ninetyfive: u64,
    count: u64,
}

impl From<Option<Summary>> for DerivedStats {
    fn from(summary: Option<Summary>) -> Self {
        let at = summary.as_ref().map(|summary| summary.at);
        let Summary { cpu, memory, minute, hour, day, .. } = summary.unwrap_or_default();
        Self {
            timestamp: GoTime(at),
            latest_usage: InstantUsage { cpu: cpu.unwrap_or(0), memory: memory.unwrap_or_default().0 },
            minute_usage: minute.map(WireUsage::from).unwrap_or_default(),
            hour_usage: hour.map(WireUsage::from).unwrap_or_default(),
            day_usage: day.map(WireUsage::from).unwrap_or_default(),
        }
    }
}

impl From<Usage> for WireUsage {
    fn from(Usage { percent_complete, cpu, memory }: Usage) -> Self {
        let wire = |percentiles: Option<Percentiles>| percentiles.map(WirePercentiles::from).unwrap_or_default();
        Self { percent_complete, cpu: wire(cpu), memory: wire(memory) }
    }
}

impl From<Percentiles> for WirePercentiles {
    fn from(Percentiles { mean, std, max, fifty, ninety, ninety_five, count }: Percentiles) -> Self {
        Self { present: true, mean, std, max, fifty, ninety, ninetyfive: ninety_five, count }
    }
}

/// The schema of one.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<DerivedStats>()
}

/// Appends a container's name and summary; of one without a sample yet zeros and cAdvisor's zero time.
pub(super) fn append(out: &mut Vec<u8>, name: &[u8], summary: Option<Summary>) {
    json::append_entry(out, name, &DerivedStats::from(summary));
}
