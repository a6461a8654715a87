//! How the containers' metrics are reported: what the flags and a request decide.

use crate::api::coding::Encoding;
use crate::sample::identity::Runtime;
use crate::sample::kinds::KindSet;

/// What the flags say.
#[derive(Clone, Debug, Default)]
pub struct ExpositionOptions {
    /// Kinds of statistics that are reported.
    pub kinds: KindSet,
    /// Those that are reported at `/metrics/cadvisor`: the kubelet's cAdvisor counts processes unless reported otherwise.
    pub kubelet_kinds: KindSet,
    /// Which labels `/metrics` has.
    pub labels: LabelSet,
    /// Which series have all of them.
    pub labelled: Labelled,
    /// Which families there are, and what becomes of values that the kernel does not have.
    pub profile: Profile,
    /// Whether samples carry their time.
    pub timestamps: Timestamps,
    /// Series at most in one answer; `None` for any number.
    pub max_series: Option<usize>,
    /// Whether `OpenMetrics` has a `_created` line for each counter.
    pub created: CreatedLines,
}

/// Which labels a container has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelSet {
    /// The standalone cAdvisor's: `id`, `image`, `name`, `container_label_...`, `container_env_...`.
    Cadvisor(ContainerLabels),
    /// The kubelet's: `container`, `id`, `image`, `name`, `namespace`, `pod`.
    Kubelet,
}

impl Default for LabelSet {
    fn default() -> Self {
        Self::Cadvisor(ContainerLabels::All)
    }
}

/// Which of a container's labels become labels of its series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerLabels {
    /// All of them.
    #[default]
    All,
    /// These.
    Only(Vec<String>),
}

impl ContainerLabels {
    /// Whether a label is shown.
    pub fn shows(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(keys) => keys.iter().any(|shown| shown == key),
        }
    }
}

/// Which series have the image and the labels and variables of their container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labelled {
    /// All of them, as in cAdvisor.
    #[default]
    Everywhere,
    /// `container_info` alone.
    Info,
}

/// Which families there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// cAdvisor's, all of them. A value that the kernel does not have is 0 where cAdvisor says 0.
    #[default]
    Compatible,
    /// A selection of at most 45 series per container. A value that the kernel does not have is not reported.
    Recommended,
}

/// Whether samples carry their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// No: the time of the scrape counts.
    #[default]
    Off,
    /// The time the sample was taken, as cAdvisor has it.
    On,
}

/// Whether `OpenMetrics` says when each counter was 0, in a line of its own. A Prometheus that does not know what such a
/// line is for keeps it as one more series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreatedLines {
    /// No.
    #[default]
    Off,
    /// Yes.
    On,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrape {
    /// At which endpoint.
    pub endpoint: Endpoint,
    /// In which format.
    pub format: Format,
    /// How it is compressed.
    pub encoding: Encoding,
    /// The containers of this runtime only.
    pub only: Option<Runtime>,
}

/// An endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Endpoint {
    /// `/metrics`.
    #[default]
    Collector,
    /// `/metrics/cadvisor`, as the kubelet has it: its labels, and nothing about the collector.
    Kubelet,
    /// `/metrics` of a kubelet's port: the collector about itself, and nothing about containers or the machine.
    Itself,
}

/// A format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    #[default]
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Messages of Prometheus' protobuf format, each after its length: the one that says when a counter was 0.
    Protobuf,
    /// A page of [series](crate::series) for remote write, which nobody can ask for: it is pushed. No label is without a
    /// value. What has no time of its own has that of the snapshot.
    RemoteWrite,
}
