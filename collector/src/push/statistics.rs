//! One table of what is pushed about a container: each statistic with its name in every format. The encoders of OTLP,
//! `InfluxDB` and statsd are loops over it, and docs/push-names.md is written of it.

mod beside;
mod histograms;
mod read;
mod rows;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub(super) use beside::{Beside, Exits, OfMachine, PodStorage};
#[cfg(test)]
pub(super) use histograms::counted;
pub(super) use histograms::{HISTOGRAMS, Histogram, Times};
pub(super) use rows::ROWS;

use crate::sample::container::Sample;
use crate::sample::filesystem::Storage;
use crate::sample::identity::Identity;
use crate::sample::spec::Spec;
use crate::sample::unread::Part;

/// How a value changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows while the cgroup lives.
    Counter,
    /// An amount of something, which may be added up over containers.
    UpDownCounter,
    /// Anything else.
    Gauge,
}

/// Whether a statistic is pushed without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// It is.
    Always,
    /// It has many values for each container, and is pushed with `--otlp_details` alone.
    OnRequest,
}

/// Since when a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// Since the cgroup was made: it is the kernel's.
    Creation,
    /// Since the collector began, if that was later: it is a program's of the collector.
    Start,
}

/// Which of its values a row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of them: one that is new was 0 before.
    Every,
    /// The largest: one that is new may be old, and was not among them before.
    Largest,
}

/// A statistic, or a part of one, and what it is called.
#[derive(Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "some names are there for the page of names alone"))]
pub(super) struct Row {
    /// As in `collector statistics`; empty for what is no statistic of a sample.
    pub(super) statistic: &'static str,
    pub(super) kind: Kind,
    /// The metric of OTLP: the semantic conventions' where they have it.
    pub(super) otlp: &'static str,
    /// Its unit, by UCUM.
    pub(super) unit: &'static str,
    /// Attributes that each of its points has.
    pub(super) attributes: &'static [(&'static str, &'static str)],
    /// The family of `/metrics`; empty where there is none.
    pub(super) prometheus: &'static str,
    /// The measurement of `InfluxDB`: cAdvisor's where it has it.
    pub(super) influx: &'static str,
    /// Tags that each of its points has.
    pub(super) tags: &'static [(&'static str, &'static str)],
    /// What cAdvisor calls it for statsd; empty where it does not send it.
    pub(super) statsd: &'static str,
    /// Where it is in the JSON of the API; empty where it is not.
    pub(super) json: &'static str,
    pub(super) detail: Detail,
    pub(super) since: Since,
    pub(super) extent: Extent,
    read: Read,
}

type Read = for<'a> fn(&Seen<'a>, &mut Points<'a>) -> Option<()>;

/// What is known of a container at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) sample: &'a Sample,
    pub(super) spec: &'a Spec,
    pub(super) identity: Option<&'a Identity>,
    pub(super) storage: Option<&'a Storage>,
    /// What is known beside the sample; nothing of one that is not the newest.
    pub(super) beside: Option<&'a Beside>,
    /// The machine's memory in bytes: a limit beyond it is none.
    pub(super) machine_memory: Option<u64>,
}

/// A number with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// Bytes, or a count.
    Count(u64),
    /// A count that may be negative.
    Signed(i64),
    /// A time in nanoseconds.
    Nanos(u64),
    /// Hundredths of a percent.
    Hundredths(u64),
    /// Thousandths.
    Thousandths(u64),
}

/// What distinguishes the values of one statistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Cache,
    ConnectionState,
    Cpu,
    Device,
    Event,
    Interface,
    Key,
    NetworkNamespace,
    Node,
    Operation,
    PageSize,
    Part,
    Pmu,
    Reason,
    Resource,
    Runner,
    Signal,
    Socket,
    Volume,
    Window,
}

impl Label {
    /// The attribute of OTLP.
    pub(super) const fn attribute(self) -> &'static str {
        match self {
            Self::Cache => "cache.id",
            Self::ConnectionState => "network.connection.state",
            Self::Cpu => "cpu.logical_number",
            Self::Device => "system.device",
            Self::Event => "perf.event",
            Self::Interface => "network.interface.name",
            Self::Key => "key",
            Self::NetworkNamespace => "network.namespace",
            Self::Node => "numa.node",
            Self::Operation => "disk.io.direction",
            Self::PageSize => "hugetlb.page_size",
            Self::Part => "container.storage.part",
            Self::Pmu => "perf.pmu",
            Self::Reason => "container.exit.reason",
            Self::Resource => "misc.resource",
            Self::Runner => "aggressor.cgroup.path",
            Self::Signal => "container.exit.signal",
            Self::Socket => "cpu.socket",
            Self::Volume => "k8s.volume.name",
            Self::Window => "pressure.window",
        }
    }

    /// The tag of `InfluxDB`, cAdvisor's where it has it.
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::Cache | Self::Node => "node_id",
            Self::ConnectionState => "state",
            Self::Cpu => "instance",
            Self::Device => "device",
            Self::Event => "name",
            Self::Interface => "interface",
            Self::Key => "key",
            Self::NetworkNamespace => "network_namespace",
            Self::Operation => "operation",
            Self::PageSize => "page_size",
            Self::Part => "part",
            Self::Pmu => "pmu",
            Self::Reason => "reason",
            Self::Resource => "resource",
            Self::Runner => "runner",
            Self::Signal => "signal",
            Self::Socket => "socket",
            Self::Volume => "volume",
            Self::Window => "window",
        }
    }

    /// Whether values with other ones of it are other values; else it says something about the same one.
    const fn distinguishes(self) -> bool {
        !matches!(self, Self::NetworkNamespace)
    }
}

/// A value and what distinguishes it from the others of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point<'a> {
    pub(super) number: Number,
    pub(super) labels: Vec<(Label, Cow<'a, str>)>,
}

impl Point<'_> {
    /// Whether it is the same value at another time.
    pub(super) fn is_same(&self, other: &Point<'_>) -> bool {
        fn which<'b>(point: &'b Point<'_>) -> impl Iterator<Item = (Label, &'b str)> {
            let labels = point.labels.iter().filter(|(label, _)| label.distinguishes());
            labels.map(|(label, value)| (*label, value.as_ref()))
        }
        which(self).eq(which(other))
    }
}

/// The values of a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Points<'a>(Vec<Point<'a>>);

impl<'a> Points<'a> {
    fn add(&mut self, number: Number) {
        self.0.push(Point { number, labels: Vec::new() });
    }

    fn with(&mut self, number: Number, labels: impl Into<Vec<(Label, Cow<'a, str>)>>) {
        self.0.push(Point { number, labels: labels.into() });
    }
}

impl Seen<'_> {
    /// Whether a value could be read that has no other way to be absent than to be 0.
    fn has(&self, part: Part) -> Option<()> {
        (!self.sample.unread.has(part)).then_some(())
    }
}

impl Row {
    const fn new(
        kind: Kind,
        [statistic, otlp, unit]: [&'static str; 3],
        [prometheus, influx, json]: [&'static str; 3],
        read: Read,
    ) -> Self {
        Self {
            statistic,
            kind,
            otlp,
            unit,
            attributes: &[],
            prometheus,
            influx,
            tags: &[],
            statsd: "",
            json,
            detail: Detail::Always,
            since: Since::Creation,
            extent: Extent::Every,
            read,
        }
    }

    const fn attributes(self, attributes: &'static [(&'static str, &'static str)]) -> Self {
        Self { attributes, ..self }
    }

    const fn tags(self, tags: &'static [(&'static str, &'static str)]) -> Self {
        Self { tags, ..self }
    }

    const fn statsd(self, statsd: &'static str) -> Self {
        Self { statsd, ..self }
    }

    const fn detail(self) -> Self {
        Self { detail: Detail::OnRequest, ..self }
    }

    const fn since_start(self) -> Self {
        Self { since: Since::Start, ..self }
    }

    const fn largest(self) -> Self {
        Self { extent: Extent::Largest, ..self }
    }

    /// Its values. What is not known is not among them.
    pub(super) fn points<'a>(&self, seen: &Seen<'a>) -> Vec<Point<'a>> {
        let mut points = Points::default();
        // What is missing ends the reading of the row.
        let _ = (self.read)(seen, &mut points);
        points.0
    }
}
