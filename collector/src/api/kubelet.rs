//! What a kubelet serves about its node: the summary of pods, `/metrics/resource`, and the resources of older kubelets.
//!
//! The summary is a pure function of a [`Snapshot`]. What the kubelet cannot do without and does not know it fills with
//! zeros or leaves to chance; here such a value is absent.

mod figures;
mod legacy;
mod pod_list;
mod pods;
mod port;
mod resource_metrics;
mod routes;
mod summary;
#[cfg(test)]
pub(super) mod tests;
mod wire;

use schemars::{Schema, SchemaGenerator};

pub use crate::api::backend::kubelet::{Depth, NodeCgroup, Role, Snapshot, SwapLimit, SystemContainer};
pub(super) use legacy::ContainerRequest;
pub use legacy::at_or_below;
pub use port::router;
pub use resource_metrics::render as render_resource_metrics;
pub(super) use routes::{KubeletPath, answer, metrics_of_resources, summary_parameters};
pub use summary::{Incomplete, render};

/// The schema of the summary, for the document of the API.
pub(super) fn schema(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<wire::Summary>()
}

/// What a snapshot of a node with so many containers and its text take, about.
pub(super) const fn snapshot_bytes(listed: usize) -> usize {
    (256 << 10) + listed * (6 << 10)
}
