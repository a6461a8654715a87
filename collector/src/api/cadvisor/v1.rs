//! The objects of cAdvisor's API v1: `ContainerInfo` and everything in it, in cAdvisor's key order.
//!
//! Keys that cAdvisor emits always are emitted always. Where such a key's value is not known it is 0, false or an empty
//! object: that is the wire contract, and clients cannot distinguish it from a real 0. Keys that cAdvisor leaves out
//! when empty are left out when unknown.

pub(crate) mod application;
pub(crate) mod diskio;
pub(crate) mod filesystem;
pub(crate) mod hardware;
pub(crate) mod network;
mod pressure;
pub(crate) mod spec;
pub(crate) mod stats;
#[cfg(test)]
mod tests;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use self::application::CustomMetrics;
use self::spec::ContainerSpec;
pub use self::stats::ContainerStats;
use super::series::{Age, Series, Shown};
use crate::api::lists::element::Element;
pub use crate::api::query::{DecodeError, StatsQuery};
use crate::api::wire::json;
use crate::api::wire::json::Lossy;
use crate::api::{ContainerView, IdentityView};
use crate::sample::container::Sample;
use crate::sample::event::Name;
use crate::units::Bytes;

/// Renders one `ContainerInfo`. The machine's memory stands in for a memory limit of 0.
pub fn render(view: &ContainerView, machine_memory: Bytes) -> bytes::Bytes {
    json::to_bytes(&ContainerInfo::new(view, machine_memory))
}

/// A container in a list.
pub(crate) const ELEMENT: Element = Element { append, samples: append_samples, tail: b"]}" };
/// A container in a map.
pub(crate) const ENTRY: Element = Element { append: append_entry, ..ELEMENT };

/// Appends one `ContainerInfo`. The machine's memory stands in for a memory limit of 0.
pub fn append(out: &mut Vec<u8>, view: &ContainerView, machine_memory: Bytes) {
    json::append(out, &ContainerInfo::new(view, machine_memory));
}

/// Appends one container's name and its `ContainerInfo`.
pub fn append_entry(out: &mut Vec<u8>, view: &ContainerView, machine_memory: Bytes) {
    json::append_entry(out, &view.name, &ContainerInfo::new(view, machine_memory));
}

/// Appends the view's samples to those of the same container that are there already.
pub(crate) fn append_samples(out: &mut Vec<u8>, view: &ContainerView, _: Option<&Sample>) {
    samples(view).append(out);
}

/// The schema of a `ContainerInfo`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<ContainerInfo<'_>>()
}

/// A container with its limits and its samples.
#[derive(JsonSchema, Serialize)]
struct ContainerInfo<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    name: Lossy<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    aliases: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "references")]
    #[schemars(with = "Vec<Reference<'a>>")]
    subcontainers: &'a [Name],
    spec: ContainerSpec<'a>,
    #[serde(skip_serializing_if = "Series::is_empty")]
    #[schemars(with = "Vec<ContainerStats<'a>>")]
    stats: Series<ContainerStats<'a>>,
}

impl<'a> ContainerInfo<'a> {
    fn new(view: &'a ContainerView, machine_memory: Bytes) -> Self {
        let IdentityView { id, aliases, namespace, .. } = &view.identity;
        Self {
            id,
            name: Lossy(&view.name),
            aliases,
            namespace,
            subcontainers: &view.children,
            spec: ContainerSpec::new(view, machine_memory),
            stats: samples(view),
        }
    }
}

fn samples(view: &ContainerView) -> Series<ContainerStats<'_>> {
    Series::new(view, None, |Shown { sample, filesystems, age, previous: _ }| {
        let stats = ContainerStats::from(sample).with_filesystems(filesystems);
        let reported = view.application.at(sample.at).map(|round| CustomMetrics::from(&**round));
        let stats = stats.with_network(view.network(sample)).with_custom_metrics(reported);
        match age {
            Age::Newest => stats.with_health(&view.identity.health),
            // How it was at the time of older samples is not known.
            Age::Older => stats,
        }
    })
}

/// A child, of which only the name is reported.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ContainerReference")]
struct Reference<'a> {
    name: Lossy<'a>,
}

fn references<S: Serializer>(children: &[Name], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(children.iter().map(|name| Reference { name: Lossy(name) }))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde calls")]
pub(crate) const fn is_zero(value: &u64) -> bool {
    *value == 0
}
