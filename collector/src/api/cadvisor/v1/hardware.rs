//! Perf events and the use of caches and memory bandwidth.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::is_zero;
use crate::sample::hardware::{self as sample, PerfCount, PerfEvent, ResctrlDomain, UncorePerfEvent};

#[derive(JsonSchema, Serialize)]
pub(crate) struct PerfStat<'a> {
    scaling_ratio: f64,
    value: u64,
    name: &'a str,
    cpu: u32,
}

#[derive(JsonSchema, Serialize)]
pub(crate) struct PerfUncoreStat<'a> {
    scaling_ratio: f64,
    value: u64,
    name: &'a str,
    socket: u32,
    pmu: &'a str,
}

pub(crate) fn core_events<S: Serializer>(events: &[PerfEvent], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(events.iter().map(|PerfEvent { name, cpu, count }| {
        let (scaling_ratio, value) = scaled(count);
        PerfStat { scaling_ratio, value, name, cpu: *cpu }
    }))
}

pub(crate) fn uncore_events<S: Serializer>(events: &[UncorePerfEvent], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(events.iter().map(|UncorePerfEvent { name, pmu, socket, count }| {
        let (scaling_ratio, value) = scaled(count);
        PerfUncoreStat { scaling_ratio, value, name, socket: *socket, pmu }
    }))
}

fn scaled(count: &PerfCount) -> (f64, u64) {
    (count.scaling_ratio(), count.scaled())
}

/// One element of each list per last-level cache.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "ResctrlStats")]
pub(crate) struct Resctrl {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    memory_bandwidth: Vec<MemoryBandwidth>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache: Vec<CacheStats>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "MemoryBandwidthStats")]
struct MemoryBandwidth {
    #[serde(skip_serializing_if = "is_zero")]
    mbm_total_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    mbm_local_bytes: u64,
}

#[derive(JsonSchema, Serialize)]
struct CacheStats {
    #[serde(skip_serializing_if = "is_zero")]
    llc_occupancy: u64,
}

impl From<Option<&sample::Resctrl>> for Resctrl {
    fn from(resctrl: Option<&sample::Resctrl>) -> Self {
        let domains = resctrl.map_or(&[][..], |resctrl| &resctrl.domains);
        let has_bandwidth = domains.iter().any(|domain| domain.total.or(domain.local).is_some());
        let has_cache = domains.iter().any(|domain| domain.occupancy.is_some());
        let bandwidth = |domain: &ResctrlDomain| MemoryBandwidth {
            mbm_total_bytes: domain.total.unwrap_or_default().0,
            mbm_local_bytes: domain.local.unwrap_or_default().0,
        };
        let cache = |domain: &ResctrlDomain| CacheStats { llc_occupancy: domain.occupancy.unwrap_or_default().0 };
        Self {
            memory_bandwidth: domains.iter().filter(|_| has_bandwidth).map(bandwidth).collect(),
            cache: domains.iter().filter(|_| has_cache).map(cache).collect(),
        }
    }
}
