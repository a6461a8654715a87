//! What a family is: its name, its type, when it is reported, and how its series are made of a container.

use std::fmt;

use super::head::{Head, Kind};
use super::options::{ExpositionOptions, LabelSet, Labelled, Profile};
use super::snapshot::{Kill, Life, Snapshot};
use super::value::Value;
use super::writer::Writer;
use crate::sample::block_latency::BlockLatency;
use crate::sample::container::{Memory, Processes, Sample};
use crate::sample::exit::Exit;
use crate::sample::filesystem::Storage;
use crate::sample::identity::Identity;
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::machine::DiskCounters;
use crate::sample::memory_stat::ReportedStat;
use crate::sample::network_cgroup::NetworkCgroup;
use crate::sample::run_queue::RunQueue;
use crate::sample::spec::Spec;
use crate::sample::unread::{Part, Unread};
use crate::store::peaks::Peaks;
use crate::units::{Bytes, WallTime};

/// How soon a family is left out when there are too many series: the first ones first, whole families at a time, within
/// a group the last by name first. What comes last here is never left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// Counters of TCP's inner life: 99 a container.
    TcpDetails,
    /// Sockets by state.
    Sockets,
    /// Hardware counters, cache and memory bandwidth.
    Hardware,
    /// The machine's CPUs one by one.
    Topology,
    /// Memory by NUMA node, huge pages.
    MemoryDetails,
    /// Tasks by state, load averages, scheduler statistics.
    Tasks,
    /// Statistics of block devices beyond bytes and operations.
    DeviceDetails,
    /// Memory beyond what alerts are about.
    MoreMemory,
    /// Pressure.
    Pressure,
    /// Processes, descriptors, limits of processes.
    Processes,
    /// Sizes of file systems.
    Filesystems,
    /// Bytes and operations of block devices.
    Devices,
    /// Network interfaces.
    Network,
    /// CPU bandwidth, limits, times of creation.
    Limits,
    /// CPU time, memory in use, OOM kills, start: containers are left out before these are.
    Core,
}

/// Whether the recommended profile has a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recommended {
    /// It has.
    Yes,
    /// It has not.
    No,
}

/// Whose time a family's samples have, where samples have a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// That of the container's sample.
    Sample,
    /// That of the scrape.
    Scrape,
    /// That of the machine's description.
    Machine,
    /// None.
    None,
}

/// What becomes of a container's series when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterEnd {
    /// They stay for the retention time.
    Kept,
    /// They are gone with the next scrape.
    Gone,
}

/// Which of a container's labels a family's series have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LabelsOfContainer {
    /// Those that the flags ask for.
    AsAsked,
    /// All.
    All,
}

/// Of how many lives of a container a counter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lives {
    /// Of this one: it was 0 when the cgroup was made.
    One,
    /// Of those before under the same name, too.
    Several,
    /// Of this one, since the collector began, if that was later.
    SinceStart,
}

/// How series are made.
#[derive(Clone, Copy)]
pub(super) enum Emit {
    /// Of each container.
    Container(fn(&Row<'_>, &Context<'_>, &mut Writer<'_>)),
    /// Of the machine, with its labels.
    Machine(fn(&Snapshot, &mut Writer<'_>)),
    /// One, with no labels but its own.
    Single(fn(&Snapshot, &mut Writer<'_>)),
}

/// A family.
#[derive(Clone, Copy)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    /// Labels beside the container's or the machine's, sorted.
    pub(super) labels: &'static [&'static str],
    /// The kind of statistics it belongs to; `None` for what is always reported.
    pub(super) metric: Option<MetricKind>,
    pub(super) group: Group,
    pub(super) recommended: Recommended,
    pub(super) moment: Moment,
    pub(super) after_end: AfterEnd,
    pub(super) lives: Lives,
    pub(super) labels_of_container: LabelsOfContainer,
    pub(super) emit: Emit,
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

type EmitContainer = fn(&Row<'_>, &Context<'_>, &mut Writer<'_>);

impl Family {
    /// A counter of a container.
    pub(super) const fn counter(name: &'static str, help: &'static str, emit: EmitContainer) -> Self {
        Self {
            name,
            kind: Kind::Counter,
            help,
            labels: &[],
            metric: None,
            group: Group::Limits,
            recommended: Recommended::No,
            moment: Moment::Sample,
            after_end: AfterEnd::Kept,
            lives: Lives::One,
            labels_of_container: LabelsOfContainer::AsAsked,
            emit: Emit::Container(emit),
        }
    }

    /// A gauge of a container.
    pub(super) const fn gauge(name: &'static str, help: &'static str, emit: EmitContainer) -> Self {
        Self { kind: Kind::Gauge, after_end: AfterEnd::Gone, ..Self::counter(name, help, emit) }
    }

    /// A gauge of the machine.
    pub(super) const fn machine(name: &'static str, help: &'static str, emit: fn(&Snapshot, &mut Writer<'_>)) -> Self {
        Self {
            name,
            kind: Kind::Gauge,
            help,
            labels: &[],
            metric: None,
            group: Group::Core,
            recommended: Recommended::Yes,
            moment: Moment::Machine,
            after_end: AfterEnd::Gone,
            lives: Lives::One,
            labels_of_container: LabelsOfContainer::AsAsked,
            emit: Emit::Machine(emit),
        }
    }

    /// A gauge without the machine's labels.
    pub(super) const fn single(name: &'static str, help: &'static str, emit: fn(&Snapshot, &mut Writer<'_>)) -> Self {
        Self { moment: Moment::None, emit: Emit::Single(emit), ..Self::machine(name, help, emit) }
    }

    /// What the writer needs of it.
    pub(super) const fn head(&self) -> Head {
        Head { name: self.name, kind: self.kind, help: self.help, labels: self.labels }
    }

    pub(super) const fn of(self, metric: MetricKind, group: Group) -> Self {
        Self { metric: Some(metric), group, ..self }
    }

    pub(super) const fn group(self, group: Group) -> Self {
        Self { group, ..self }
    }

    pub(super) const fn labels(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    pub(super) const fn recommended(self) -> Self {
        Self { recommended: Recommended::Yes, ..self }
    }

    pub(super) const fn at(self, moment: Moment) -> Self {
        Self { moment, ..self }
    }

    /// The same, with series that stay for the retention time after a container's end, as those of counters do.
    pub(super) const fn kept(self) -> Self {
        Self { after_end: AfterEnd::Kept, ..self }
    }

    /// The same, with all labels of the container.
    pub(super) const fn with_all_labels(self) -> Self {
        Self { labels_of_container: LabelsOfContainer::All, ..self }
    }

    /// The same, but not in the recommended profile.
    pub(super) const fn not_recommended(self) -> Self {
        Self { recommended: Recommended::No, ..self }
    }

    /// The same, by the kind of statistics it belongs to.
    pub(super) const fn by_kind(self, metric: MetricKind) -> Self {
        Self { metric: Some(metric), ..self }
    }

    /// The same, as a counter.
    pub(super) const fn counted(self) -> Self {
        Self { kind: Kind::Counter, ..self }
    }

    /// The same, counted since the collector began.
    pub(super) const fn since_start(self) -> Self {
        Self { lives: Lives::SinceStart, ..self }
    }

    /// The same, as a histogram, whose series are those of its buckets, their sum and their count.
    pub(super) const fn histogram(self) -> Self {
        Self { kind: Kind::Histogram, labels: &["le"], ..self }
    }

    /// The same, counted over all lives of a container.
    pub(super) const fn of_all_lives(self) -> Self {
        Self { lives: Lives::Several, ..self }
    }

    /// Whether it is reported with these kinds and options.
    pub(super) fn is_reported(&self, kinds: KindSet, options: &ExpositionOptions) -> bool {
        self.metric.is_none_or(|metric| kinds.has(metric))
            && (options.profile == Profile::Compatible
                || self.recommended == Recommended::Yes
                // Without it nothing says who the containers are.
                || (self.labels_of_container == LabelsOfContainer::All && options.labelled == Labelled::Info))
    }

    /// Whether it has series of a container in this state.
    pub(super) fn reports(&self, life: Life) -> bool {
        life == Life::Running || self.after_end == AfterEnd::Kept
    }
}

/// A container as the families see it.
pub(super) struct Row<'a> {
    pub(super) life: Life,
    pub(super) sample: Option<&'a Sample>,
    pub(super) processes: Option<&'a Processes>,
    /// What is reported about its `memory.stat`, looked up once.
    pub(super) stat: ReportedStat,
    pub(super) spec: &'a Spec,
    pub(super) identity: Option<&'a Identity>,
    pub(super) storage: Option<&'a Storage>,
    pub(super) exit: Option<&'a Exit>,
    pub(super) peaks: Peaks,
    pub(super) run_queue: Option<&'a RunQueue>,
    pub(super) network_cgroup: Option<NetworkCgroup>,
    pub(super) block_latency: Option<&'a BlockLatency>,
    pub(super) is_from_runtime: bool,
    pub(super) oom_kills: u64,
    pub(super) kill: Option<&'a Kill>,
    /// The file systems that are reported it, each device once.
    pub(super) filesystems: Vec<FilesystemRow<'a>>,
}

/// A file system of a container.
pub(super) struct FilesystemRow<'a> {
    /// Its name.
    pub(super) device: &'a str,
    /// Its size.
    pub(super) limit: Bytes,
    /// What is in use; of a container's what the container uses.
    pub(super) usage: Option<Bytes>,
    /// Inodes it has; of a container's those that the container uses, as cAdvisor has it.
    pub(super) inodes: Option<u64>,
    /// Inodes that are free.
    pub(super) inodes_free: Option<u64>,
    /// What its block device has done, for everybody.
    pub(super) disk: Option<DiskCounters>,
    /// Whether the kernel counts what is done on it: it is on a block device.
    pub(super) counted: Counted,
}

/// Whether `/proc/diskstats` has what a file system is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It is a block device of its own.
    Yes,
    /// It is in memory, on another machine, or on several devices.
    No,
}

impl Counted {
    /// File systems without a block device of their own have numbers with a major part of 0.
    pub(super) fn by_number(major: u32) -> Self {
        if major == 0 { Self::No } else { Self::Yes }
    }
}

impl Row<'_> {
    /// When it was made: the runtime's word goes before the cgroup's.
    pub(super) fn created(&self) -> Option<WallTime> {
        self.identity.and_then(|identity| identity.created).or(self.spec.created)
    }
}

/// What does not depend on the container.
pub(super) struct Context<'a> {
    pub(super) at: WallTime,
    pub(super) kinds: KindSet,
    pub(super) labels: &'a LabelSet,
    pub(super) labelled: Labelled,
    pub(super) profile: Profile,
    /// Shown in place of a memory limit of 0.
    pub(super) machine_memory: Option<Bytes>,
}

impl Context<'_> {
    /// The value. Where the kernel has none cAdvisor says 0, and so does the compatible profile; but not where the kernel
    /// has these parts of the sample, one of which the value is of, and they could not be read.
    pub(super) fn or_zero<T: Default>(&self, unread: Unread, parts: &[Part], value: Option<T>) -> Option<T> {
        match self.profile {
            Profile::Compatible if !unread.has_any(parts) => Some(value.unwrap_or_default()),
            Profile::Compatible | Profile::Recommended => value,
        }
    }

    /// Reports the value, or 0 as [`Context::or_zero`] has it.
    pub(super) fn value<T: Into<Value> + Default>(
        &self,
        sample: &Sample,
        parts: &[Part],
        value: Option<T>,
        out: &mut Writer<'_>,
    ) {
        if let Some(value) = self.or_zero(sample.unread, parts, value) {
            out.value(value);
        }
    }

    /// A value of a container's memory, which these parts of the sample have.
    pub(super) fn memory<T: Into<Value> + Default>(
        &self,
        row: &Row<'_>,
        out: &mut Writer<'_>,
        parts: &[Part],
        get: impl FnOnce(&Memory) -> Option<T>,
    ) {
        let Some(sample) = row.sample else { return };
        if let Some(memory) = &sample.memory {
            self.value(sample, parts, get(memory), out);
        }
    }

    /// A value that is there whenever there is a sample of memory, unless this part of it could not be read.
    pub(super) fn memory_in<T: Into<Value>>(
        row: &Row<'_>,
        out: &mut Writer<'_>,
        part: Part,
        get: impl FnOnce(&Memory) -> T,
    ) {
        let Some(sample) = row.sample.filter(|sample| !sample.unread.has(part)) else { return };
        if let Some(memory) = &sample.memory {
            out.value(get(memory));
        }
    }

    /// A value of a container's processes. What the collector could not look at is reported by neither profile.
    pub(super) fn processes(row: &Row<'_>, out: &mut Writer<'_>, get: impl FnOnce(&Processes) -> Option<u64>) {
        if let Some(value) = row.processes.and_then(get) {
            out.value(value);
        }
    }

    /// Whether CPU time is reported per CPU.
    pub(super) fn per_cpu(&self) -> bool {
        self.profile == Profile::Compatible
            && self.kinds.has(MetricKind::PerCpu)
            && matches!(self.labels, LabelSet::Cadvisor(_))
    }

    /// At most so many of a container's interfaces or devices are reported; what is beyond is counted.
    pub(super) fn at_most<T>(&self, limit: usize, all: impl Iterator<Item = T>, out: &mut Writer<'_>) -> Vec<T> {
        let mut all: Vec<T> = all.collect();
        if self.profile == Profile::Recommended && all.len() > limit {
            out.left_out += all.len() - limit;
            all.truncate(limit);
        }
        all
    }
}
