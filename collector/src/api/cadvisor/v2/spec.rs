//! v2 `ContainerSpec`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::api::cadvisor::events::exit::WireExit;
use crate::api::cadvisor::v1::application;
use crate::api::cadvisor::v1::application::MetricSpec;
use crate::api::cadvisor::v1::spec::{WireCpu, WireMemory, WireProcesses};
use crate::api::lists::element::Element;
use crate::api::wire::json;
use crate::api::wire::time::GoTime;
use crate::api::{ContainerView, IdentityView};
use crate::sample::spec::Spec;
use crate::units::Bytes;

/// Limits and identity; without quota, period and the limit of processes, which cAdvisor's v2 never has.
#[expect(clippy::struct_excessive_bools, reason = "the wire's shape")]
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "v2.ContainerSpec")]
pub(super) struct ContainerSpec<'a> {
    creation_time: GoTime,
    start_time: GoTime,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    aliases: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    envs: &'a BTreeMap<String, String>,
    has_cpu: bool,
    cpu: WireCpu<'a>,
    has_memory: bool,
    memory: WireMemory,
    has_hugetlb: bool,
    has_custom_metrics: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    custom_metrics: Vec<MetricSpec<'a>>,
    has_processes: bool,
    processes: WireProcesses,
    has_network: bool,
    has_filesystem: bool,
    has_diskio: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    image: &'a str,
    /// How the container's first process ended, as in events; absent while it is there. cAdvisor has no such key.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<WireExit<'a>>,
}

impl<'a> ContainerSpec<'a> {
    pub(super) fn new(view: &'a ContainerView, machine_memory: Bytes) -> Self {
        let ContainerView { spec, identity, .. } = view;
        let Spec { cpu, memory, processes, has_hugetlb, has_diskio, .. } = spec;
        let IdentityView { aliases, namespace, labels, envs, image, started, .. } = identity;
        Self {
            creation_time: GoTime(view.created()),
            start_time: GoTime(*started),
            aliases,
            namespace,
            labels,
            envs,
            has_cpu: cpu.is_some(),
            cpu: cpu.as_ref().map(|cpu| WireCpu::from(cpu).without_bandwidth()).unwrap_or_default(),
            has_memory: memory.is_some(),
            memory: memory.as_ref().map(|memory| WireMemory::new(memory, machine_memory)).unwrap_or_default(),
            has_hugetlb: *has_hugetlb,
            has_custom_metrics: !view.application.specs.is_empty(),
            custom_metrics: application::specs(&view.application.specs),
            has_processes: processes.is_some(),
            processes: WireProcesses::default(),
            has_network: view.has_network(),
            has_filesystem: view.has_filesystem,
            has_diskio: *has_diskio,
            image,
            exit: view.exit.as_deref().map(|exit| WireExit::new(exit, &view.name)),
        }
    }
}

/// The schema of one.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<ContainerSpec<'_>>()
}

/// A container without samples.
pub(super) const ELEMENT: Element = Element { append, samples: |_, _, _| {}, tail: b"" };

/// Appends a container's name and spec.
pub(super) fn append(out: &mut Vec<u8>, view: &ContainerView, machine_memory: Bytes) {
    json::append_entry(out, &view.name, &ContainerSpec::new(view, machine_memory));
}
