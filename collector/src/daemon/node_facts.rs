//! What does not change about the node, and what is counted for those who ask in a kubelet's place.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::fresh::Fresh;
use super::on_request::OnRequest;
use crate::config::{Config, SystemCgroups};
use crate::disk_usage::{PodLogs, PodPlaces};
use crate::kernel::machine::boot_second;
use crate::sample::container::Processes;
use crate::sample::event::Name;
use crate::sample::kinds::MetricKind;
use crate::units::WallTime;

/// Processes of containers that were counted for a request.
pub(crate) type ProcessCounts = BTreeMap<Name, Processes>;

/// What does not change about the node.
#[derive(Debug, Default)]
pub(crate) struct NodeFacts {
    pub(super) name: String,
    /// Found out once: it is in every summary and must be the same each time.
    pub(super) booted: Option<WallTime>,
    pub(super) places: PodPlaces,
    pub(super) cgroups: SystemCgroups,
    pub(super) processes: CountProcesses,
    pub(super) counts: Arc<OnRequest<ProcessCounts>>,
    pub(super) logs: Arc<OnRequest<BTreeMap<String, PodLogs>>>,
    pub(super) fresh: Arc<Fresh>,
}

/// Whether processes are counted for the kubelet's metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CountProcesses {
    /// When they are asked for.
    Yes,
    /// They are sampled, or they are not wanted.
    #[default]
    No,
}

impl NodeFacts {
    /// Finds it out.
    pub(crate) fn find(config: &Config) -> Self {
        let now = WallTime::from(SystemTime::now());
        let is_asked_for =
            config.metrics.kubelet_kinds.has(MetricKind::Process) && !config.kinds.has(MetricKind::Process);
        Self {
            name: config.kubelet.node_name.clone(),
            booted: boot_second(&config.roots, now).ok(),
            places: config.kubelet.places.clone(),
            cgroups: config.kubelet.cgroups.clone(),
            processes: if is_asked_for { CountProcesses::Yes } else { CountProcesses::No },
            ..Self::default()
        }
    }

    /// The kubelet's root directory on the host.
    pub(crate) fn kubelet_root(&self) -> &Path {
        &self.places.kubelet
    }
}
