//! `ContainerSpec`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::application::{self, MetricSpec};
use super::is_zero;
use crate::api::ContainerView;
use crate::api::wire::time::GoTime;
use crate::sample::spec::{CpuSpec, MemoryLimit, MemorySpec};
use crate::units::{Bytes, Limit};

/// How `max` is written.
const UNLIMITED: u64 = u64::MAX;

/// Limits of a container, and what its runtime says of it.
#[expect(clippy::struct_excessive_bools, reason = "the wire's shape")]
#[derive(JsonSchema, Serialize)]
pub(super) struct ContainerSpec<'a> {
    creation_time: GoTime,
    start_time: GoTime,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    envs: &'a BTreeMap<String, String>,
    has_cpu: bool,
    cpu: WireCpu<'a>,
    has_memory: bool,
    memory: WireMemory,
    has_hugetlb: bool,
    has_network: bool,
    has_processes: bool,
    processes: WireProcesses,
    has_filesystem: bool,
    has_diskio: bool,
    has_custom_metrics: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    custom_metrics: Vec<MetricSpec<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    image: &'a str,
}

/// Limits on CPU: shares, the list of CPUs, and quota and period in microseconds.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "CpuSpec")]
pub(crate) struct WireCpu<'a> {
    limit: u64,
    max_limit: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    mask: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    quota: u64,
    #[serde(skip_serializing_if = "is_zero")]
    period: u64,
}

/// Limits on memory in bytes; 18446744073709551615 means none.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "MemorySpec")]
pub(crate) struct WireMemory {
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    reservation: u64,
    #[serde(skip_serializing_if = "is_zero")]
    swap_limit: u64,
}

/// The limit on processes; 18446744073709551615 means none.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "ProcessSpec")]
pub(crate) struct WireProcesses {
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

impl<'a> ContainerSpec<'a> {
    pub(super) fn new(view: &'a ContainerView, machine_memory: Bytes) -> Self {
        let ContainerView { spec, identity, .. } = view;
        Self {
            creation_time: GoTime(view.created()),
            start_time: GoTime(identity.started),
            labels: &identity.labels,
            envs: &identity.envs,
            has_cpu: spec.cpu.is_some(),
            cpu: spec.cpu.as_ref().map(WireCpu::from).unwrap_or_default(),
            has_memory: spec.memory.is_some(),
            memory: spec.memory.as_ref().map(|memory| WireMemory::new(memory, machine_memory)).unwrap_or_default(),
            has_hugetlb: spec.has_hugetlb,
            has_network: view.has_network(),
            has_processes: spec.processes.is_some(),
            processes: WireProcesses {
                limit: match spec.processes {
                    Some(Limit::Max) => UNLIMITED,
                    Some(Limit::Value(limit)) => limit,
                    None => 0,
                },
            },
            has_filesystem: view.has_filesystem,
            has_diskio: spec.has_diskio,
            has_custom_metrics: !view.application.specs.is_empty(),
            custom_metrics: application::specs(&view.application.specs),
            image: &identity.image,
        }
    }
}

impl WireCpu<'_> {
    /// As v2 has it: cAdvisor's v2 leaves quota and period out.
    pub(crate) fn without_bandwidth(self) -> Self {
        Self { quota: 0, period: 0, ..self }
    }
}

impl<'a> From<&'a CpuSpec> for WireCpu<'a> {
    fn from(cpu: &'a CpuSpec) -> Self {
        Self {
            limit: cpu.shares.unwrap_or(0),
            // cAdvisor never fills it.
            max_limit: 0,
            mask: cpu.mask.as_deref().unwrap_or_default(),
            quota: cpu.quota.unwrap_or_default().0,
            period: cpu.period.unwrap_or_default().0,
        }
    }
}

impl WireMemory {
    pub(crate) fn new(memory: &MemorySpec, machine_memory: Bytes) -> Self {
        let wire = |limit: Option<MemoryLimit>| match limit {
            Some(MemoryLimit::Max) => UNLIMITED,
            Some(MemoryLimit::Bytes(Bytes(bytes))) => bytes,
            None => 0,
        };
        Self {
            limit: match memory.limit {
                Some(MemoryLimit::Bytes(Bytes(0))) => machine_memory.0,
                limit => wire(limit),
            },
            reservation: wire(memory.reservation),
            swap_limit: wire(memory.swap_limit),
        }
    }
}
