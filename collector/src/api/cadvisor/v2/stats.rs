//! Samples: `DeprecatedContainerStats` of v2.0, `ContainerInfo` of v2.1, and the machine's `MachineStats`.
//!
//! A part is there when the sample has it; cAdvisor looks at the container's limits instead, and ends the request where
//! the two differ. Only the network is shown by the limits, which show whose it is.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::block_latency::{self, BlockLatencyStats};
use super::filesystem::{FilesystemStats, MachineFsStats};
use super::network_cgroup::NetworkCgroupStats;
use super::run_queue::RunQueueStats;
use super::spec::ContainerSpec;
use crate::api::ContainerView;
use crate::api::cadvisor::series::{Series, Shown};
use crate::api::cadvisor::v1::application::CustomMetrics;
use crate::api::cadvisor::v1::diskio::DiskIoStats;
use crate::api::cadvisor::v1::filesystem::FsStats;
use crate::api::cadvisor::v1::hardware::{PerfStat, PerfUncoreStat, Resctrl, core_events, uncore_events};
use crate::api::cadvisor::v1::is_zero;
use crate::api::cadvisor::v1::network::{Advanced, InterfaceStats, Sockets, Tcp, Udp, interfaces};
use crate::api::cadvisor::v1::stats::{CpuStats, HugetlbStats, LoadStats, MemoryStats, ProcessStats, page_sizes};
use crate::api::lists::element::Element;
use crate::api::wire::json;
use crate::api::wire::time::GoTime;
use crate::rates::{self, CpuRates};
use crate::sample::container::{Hugetlb, Interface, MemoryLimit, Misc, Network, Sample, Zswap};
use crate::sample::hardware::{PerfEvent, UncorePerfEvent};
use crate::sample::runtime_usage::SOURCE;
use crate::sample::spec::Spec;
use crate::units::Bytes;

/// v2.0: every block is there, beside a flag for whether it means something.
#[expect(clippy::struct_excessive_bools, reason = "the wire's shape")]
#[derive(JsonSchema, Serialize)]
struct DeprecatedContainerStats<'a> {
    timestamp: GoTime,
    has_cpu: bool,
    cpu: CpuStats<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_inst: Option<CpuInst>,
    has_diskio: bool,
    diskio: DiskIoStats<'a>,
    has_memory: bool,
    memory: MemoryStats<'a>,
    has_hugetlb: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "page_sizes")]
    #[schemars(with = "BTreeMap<String, HugetlbStats>")]
    hugetlb: &'a [Hugetlb],
    has_network: bool,
    network: NetworkStats<'a>,
    // Never filled in cAdvisor's v2.0, and neither is the load.
    has_processes: bool,
    processes: ProcessStats,
    has_filesystem: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filesystem: Vec<FsStats<'a>>,
    has_load: bool,
    load_stats: LoadStats,
    has_custom_metrics: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_metrics: Option<CustomMetrics<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "core_events")]
    #[schemars(with = "Vec<PerfStat<'a>>")]
    perf_stats: &'a [PerfEvent],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "uncore_events")]
    #[schemars(with = "Vec<PerfUncoreStat<'a>>")]
    perf_uncore_stats: &'a [UncorePerfEvent],
    #[serde(skip_serializing_if = "is_zero")]
    referenced_memory: u64,
    resctrl: Resctrl,
}

/// v2.1: only what is there.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "v2.ContainerStats")]
struct ContainerStats<'a> {
    timestamp: GoTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<CpuStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_inst: Option<CpuInst>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diskio: Option<DiskIoStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryStats<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "page_sizes")]
    #[schemars(with = "BTreeMap<String, HugetlbStats>")]
    hugetlb: &'a [Hugetlb],
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<ProcessStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filesystem: Option<FilesystemStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_metrics: Option<CustomMetrics<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "core_events")]
    #[schemars(with = "Vec<PerfStat<'a>>")]
    perf_stats: &'a [PerfEvent],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "uncore_events")]
    #[schemars(with = "Vec<PerfUncoreStat<'a>>")]
    perf_uncore_stats: &'a [UncorePerfEvent],
    #[serde(skip_serializing_if = "is_zero")]
    referenced_memory: u64,
    resctrl: Resctrl,
    #[serde(skip_serializing_if = "Option::is_none")]
    zswap: Option<ZswapStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    misc: Option<Vec<MiscStats<'a>>>,
}

/// zswap, which cAdvisor does not have: sizes in bytes, and counts of pages.
#[derive(JsonSchema, Serialize)]
struct ZswapStats {
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pages_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pages_out: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pages_written_back: Option<u64>,
    /// Absent when unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

impl ZswapStats {
    fn new(zswap: &Zswap, spec: &Spec) -> Self {
        let Zswap { usage, stored, pages_in, pages_out, pages_written_back } = *zswap;
        let limit = match spec.memory.as_ref().and_then(|memory| memory.zswap_limit) {
            Some(MemoryLimit::Bytes(limit)) => Some(limit.0),
            Some(MemoryLimit::Max) | None => None,
        };
        let bytes = |bytes: Option<Bytes>| bytes.map(|bytes| bytes.0);
        Self { usage: bytes(usage), stored: bytes(stored), pages_in, pages_out, pages_written_back, limit }
    }
}

/// A resource of the controller `misc`, which cAdvisor does not have.
#[derive(JsonSchema, Serialize)]
struct MiscStats<'a> {
    resource: &'a str,
    current: u64,
    /// Absent when unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_hits: Option<u64>,
}

impl<'a> From<&'a Misc> for MiscStats<'a> {
    fn from(Misc { resource, current, max, peak, limit_hits }: &'a Misc) -> Self {
        Self {
            resource,
            current: *current,
            max: max.filter(|max| *max != u64::MAX),
            peak: *peak,
            limit_hits: *limit_hits,
        }
    }
}

/// The root container's samples as the machine's.
#[derive(JsonSchema, Serialize)]
struct MachineStats<'a> {
    timestamp: GoTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<CpuStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_inst: Option<CpuInst>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkStats<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filesystem: Vec<MachineFsStats<'a>>,
}

/// A container with its limits and its samples.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "v2.ContainerInfo")]
struct ContainerInfo<'a> {
    spec: ContainerSpec<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runqueue: Option<RunQueueStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_cgroup: Option<NetworkCgroupStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocklatency: Option<Vec<BlockLatencyStats<'a>>>,
    /// `cri` where the runtime says what the container uses, because the kernel sees nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    #[serde(skip_serializing_if = "Series::is_empty")]
    #[schemars(with = "Vec<ContainerStats<'a>>")]
    stats: Series<ContainerStats<'a>>,
}

/// CPU use since the sample before.
#[derive(JsonSchema, Serialize)]
struct CpuInst {
    usage: CpuInstUsage,
}

/// In nanoseconds of CPU time per second.
#[derive(JsonSchema, Serialize)]
struct CpuInstUsage {
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    per_cpu_usage: Vec<u64>,
    user: u64,
    system: u64,
}

impl From<CpuRates> for CpuInst {
    fn from(CpuRates { total, per_cpu, user, system }: CpuRates) -> Self {
        let usage =
            CpuInstUsage { total, per_cpu_usage: per_cpu, user: user.unwrap_or(0), system: system.unwrap_or(0) };
        Self { usage }
    }
}

/// v1's without the first interface at its top level.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "v2.NetworkStats")]
struct NetworkStats<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "interfaces")]
    #[schemars(with = "Vec<InterfaceStats<'a>>")]
    interfaces: &'a [Interface],
    tcp: Tcp,
    tcp6: Tcp,
    udp: Udp,
    udp6: Udp,
    tcp_advanced: Advanced<'a>,
}

impl<'a> From<&'a Network> for NetworkStats<'a> {
    fn from(network: &'a Network) -> Self {
        let Sockets { tcp, tcp6, udp, udp6, tcp_advanced } = network.into();
        Self { interfaces: &network.interfaces, tcp, tcp6, udp, udp6, tcp_advanced }
    }
}

/// The network of a container that has one of its own.
fn network<'a>(view: &ContainerView, sample: &'a Sample) -> Option<&'a Network> {
    sample.network.as_ref().filter(|_| view.has_network())
}

/// What the application reported before the sample.
fn custom_metrics<'a>(view: &'a ContainerView, sample: &Sample) -> Option<CustomMetrics<'a>> {
    view.application.at(sample.at).map(|round| CustomMetrics::from(&**round))
}

fn cpu_inst(previous: Option<&Sample>, sample: &Sample) -> Option<CpuInst> {
    rates::cpu(previous?, sample).map(CpuInst::from)
}

impl<'a> DeprecatedContainerStats<'a> {
    fn new(view: &'a ContainerView, shown: Shown<'a>) -> Self {
        let Shown { previous, sample, filesystems, age: _ } = shown;
        let network = network(view, sample);
        Self {
            timestamp: GoTime(Some(sample.at)),
            has_cpu: sample.cpu.is_some(),
            cpu: sample.cpu.as_ref().map(CpuStats::from).unwrap_or_default(),
            cpu_inst: cpu_inst(previous, sample),
            has_diskio: sample.io.is_some(),
            diskio: sample.io.as_ref().map(DiskIoStats::from).unwrap_or_default(),
            has_memory: sample.memory.is_some(),
            memory: sample.memory.as_ref().map(MemoryStats::from).unwrap_or_default(),
            has_hugetlb: sample.hugetlb.is_some(),
            hugetlb: sample.hugetlb.as_deref().unwrap_or_default(),
            has_network: network.is_some(),
            network: network.map(NetworkStats::from).unwrap_or_default(),
            has_processes: false,
            processes: ProcessStats::default(),
            has_filesystem: view.has_filesystem,
            filesystem: FsStats::list(filesystems),
            has_load: false,
            load_stats: LoadStats::default(),
            has_custom_metrics: !view.application.specs.is_empty(),
            custom_metrics: custom_metrics(view, sample),
            perf_stats: sample.perf.as_deref().unwrap_or_default(),
            perf_uncore_stats: sample.perf_uncore.as_deref().unwrap_or_default(),
            referenced_memory: sample.referenced.unwrap_or_default().0,
            resctrl: sample.resctrl.as_ref().into(),
        }
    }
}

impl<'a> ContainerStats<'a> {
    fn new(view: &'a ContainerView, shown: Shown<'a>) -> Self {
        let Shown { previous, sample, filesystems, age: _ } = shown;
        let zswap = sample.memory.as_ref().and_then(|memory| memory.zswap.as_ref());
        Self {
            timestamp: GoTime(Some(sample.at)),
            cpu: sample.cpu.as_ref().map(CpuStats::from),
            cpu_inst: cpu_inst(previous, sample),
            diskio: sample.io.as_ref().map(DiskIoStats::from),
            memory: sample.memory.as_ref().map(MemoryStats::from),
            hugetlb: sample.hugetlb.as_deref().unwrap_or_default(),
            network: network(view, sample).map(NetworkStats::from),
            processes: sample.processes.as_ref().map(ProcessStats::from),
            filesystem: FilesystemStats::of(filesystems),
            custom_metrics: custom_metrics(view, sample),
            perf_stats: sample.perf.as_deref().unwrap_or_default(),
            perf_uncore_stats: sample.perf_uncore.as_deref().unwrap_or_default(),
            referenced_memory: sample.referenced.unwrap_or_default().0,
            resctrl: sample.resctrl.as_ref().into(),
            zswap: zswap.map(|zswap| ZswapStats::new(zswap, &view.spec)),
            misc: sample.misc.as_ref().map(|misc| misc.iter().map(MiscStats::from).collect()),
        }
    }
}

impl<'a> MachineStats<'a> {
    fn new(view: &ContainerView, shown: Shown<'a>) -> Self {
        let Shown { previous, sample, filesystems, age: _ } = shown;
        Self {
            timestamp: GoTime(Some(sample.at)),
            cpu: sample.cpu.as_ref().map(CpuStats::from),
            cpu_inst: cpu_inst(previous, sample),
            memory: sample.memory.as_ref().map(MemoryStats::from),
            network: network(view, sample).map(NetworkStats::from),
            filesystem: MachineFsStats::list(filesystems),
        }
    }
}

/// The schema of a container's samples in v2.0.
pub(super) fn deprecated_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Vec<DeprecatedContainerStats<'_>>>()
}

/// The schema of a container in v2.1.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<ContainerInfo<'_>>()
}

/// The schema of the machine's samples.
pub(super) fn machine_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Option<Vec<MachineStats<'_>>>>()
}

/// A container as v2.0 has it.
pub(super) const DEPRECATED: Element =
    Element { append: append_deprecated, samples: append_deprecated_samples, tail: b"]" };
/// A container as v2.1 has it.
pub(super) const ELEMENT: Element = Element { append, samples: append_samples, tail: b"]}" };
/// The machine.
pub(super) const MACHINE: Element = Element { append: append_machine, samples: append_machine_samples, tail: b"]" };

/// Appends a container's name and samples as v2.0 has them.
pub(super) fn append_deprecated(out: &mut Vec<u8>, view: &ContainerView, _: Bytes) {
    json::append_entry(out, &view.name, &Series::new(view, None, |shown| DeprecatedContainerStats::new(view, shown)));
}

/// Appends a container's name, limits and samples as v2.1 has them.
pub(super) fn append(out: &mut Vec<u8>, view: &ContainerView, machine_memory: Bytes) {
    let stats = Series::new(view, None, |shown| ContainerStats::new(view, shown));
    let runqueue = view.run_queue.as_deref().map(RunQueueStats::from);
    let network_cgroup = view.network_cgroup.map(NetworkCgroupStats::from);
    let blocklatency = view.block_latency.as_deref().map(block_latency::stats);
    let (spec, source) = (ContainerSpec::new(view, machine_memory), view.is_from_runtime.then_some(SOURCE));
    json::append_entry(out, &view.name, &ContainerInfo { spec, runqueue, network_cgroup, blocklatency, source, stats });
}

/// Appends the machine's samples, from those of the root container; `null` when there are none.
pub(super) fn append_machine(out: &mut Vec<u8>, root: &ContainerView, _: Bytes) {
    let stats = Series::new(root, None, |shown| MachineStats::new(root, shown));
    json::append(out, &(!stats.is_empty()).then_some(stats));
}

/// Appends the view's samples to those that are there already, as v2.0 has them.
pub(super) fn append_deprecated_samples(out: &mut Vec<u8>, view: &ContainerView, previous: Option<&Sample>) {
    Series::new(view, previous, |shown| DeprecatedContainerStats::new(view, shown)).append(out);
}

/// The same as v2.1 has them.
pub(super) fn append_samples(out: &mut Vec<u8>, view: &ContainerView, previous: Option<&Sample>) {
    Series::new(view, previous, |shown| ContainerStats::new(view, shown)).append(out);
}

/// The same of the machine.
pub(super) fn append_machine_samples(out: &mut Vec<u8>, root: &ContainerView, previous: Option<&Sample>) {
    Series::new(root, previous, |shown| MachineStats::new(root, shown)).append(out);
}
