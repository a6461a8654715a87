//! What is rendered: everything that is known at one moment, taken from memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::proto::MetricFamily;

use crate::sample::application::Round;
use crate::sample::block_latency::BlockLatency;
use crate::sample::container::{Processes, Sample};
use crate::sample::event::Name;
use crate::sample::exit::Exit;
use crate::sample::filesystem::Storage;
use crate::sample::identity::Identity;
use crate::sample::machine::{Filesystems, Machine};
use crate::sample::network_cgroup::NetworkCgroup;
use crate::sample::pods::PodFiles;
use crate::sample::run_queue::RunQueue;
use crate::sample::spec::Spec;
use crate::store::peaks::Peaks;
use crate::store::restarts::Title;
use crate::units::WallTime;

/// One moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The moment.
    pub at: WallTime,
    /// Containers by name, each name once.
    pub containers: Vec<Entry>,
    /// What pods keep on the node, by their uids.
    pub pods: BTreeMap<String, Arc<PodFiles>>,
    /// How often containers were started again.
    pub restarts: Vec<(Title, u64)>,
    /// The machine.
    pub machine: Arc<Machine>,
    /// The machine's file systems, as last asked.
    pub filesystems: Option<Arc<Filesystems>>,
    /// The collector's version.
    pub version: &'static str,
    /// The collector's own metrics; empty where they are not asked for.
    pub own: Vec<MetricFamily>,
    /// The newest OOM kill by the victim's container, as far as the log still has it.
    pub kills: BTreeMap<Name, Kill>,
}

/// A container.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Its cgroup's name.
    pub name: Name,
    /// Whether it is still there.
    pub life: Life,
    /// Its newest sample; a container that lived too briefly has none.
    pub sample: Option<Arc<Sample>>,
    /// Its processes, where they were counted for the request and not with the sample.
    pub processes: Option<Processes>,
    /// Its limits, as last read.
    pub spec: Spec,
    /// Who it is.
    pub identity: Option<Arc<Identity>>,
    /// What its files take.
    pub storage: Option<Arc<Storage>>,
    /// How its first process ended.
    pub exit: Option<Arc<Exit>>,
    /// The greatest values of the last minute.
    pub peaks: Peaks,
    /// How long its tasks waited for a CPU.
    pub run_queue: Option<Arc<RunQueue>>,
    /// What passed its sockets.
    pub network_cgroup: Option<NetworkCgroup>,
    /// How long its requests to block devices took.
    pub block_latency: Option<Arc<BlockLatency>>,
    /// Whether its sample is its runtime's word: the kernel sees nothing of it.
    pub is_from_runtime: bool,
    /// What its application reported last.
    pub application: Option<Arc<Round>>,
    /// OOM kills of its processes, those of an earlier life under the same name included.
    pub oom_kills: u64,
}

/// Whether a container is still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It is.
    #[default]
    Running,
    /// It ended a short while ago: its counters are still exposed, its gauges no longer.
    Ended,
}

/// An OOM kill as an exemplar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kill {
    /// When it was.
    pub at: WallTime,
    /// The victim's process id.
    pub pid: u32,
    /// The victim's command name.
    pub command: Option<Box<[u8]>>,
}
