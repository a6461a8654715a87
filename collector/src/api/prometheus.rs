//! `/metrics`: every container's statistics in Prometheus' text format and in `OpenMetrics`, and the same as series of
//! remote write.
//!
//! [`render`] is a pure function of a [`Snapshot`]. Families are sorted by name and reported once, those last
//! that count the answer's series; containers are sorted by name within them. No two series have one name and the same labels: a container is there once, and what would have the labels of
//! another series is not reported, whichever rule of the families' decides it.

mod application;
mod budget;
mod container;
mod doubling;
mod encoding;
mod family;
mod head;
pub(crate) mod http;
mod labels;
mod machine;
mod negotiation;
mod number;
mod options;
mod own;
mod protobuf;
mod snapshot;
#[cfg(test)]
mod tests;
mod value;
mod writer;

use std::sync::LazyLock;

use prometheus::proto::MetricFamily;

use budget::{Plan, Shed};
pub use encoding::{Encoder, EncodingError, Failed};
use family::{Context, Counted, Emit, Family, FilesystemRow, Group, LabelsOfContainer, Lives, Moment, Row};
pub(super) use head::Kind;
pub(super) use labels::append_escaped;
use labels::{Arena, Block};
pub use negotiation::{Accepted, Offer};
pub(super) use number::append_scaled;
pub use options::{
    ContainerLabels, CreatedLines, Endpoint, ExpositionOptions, Format, LabelSet, Labelled, Profile, Scrape, Timestamps,
};
pub use snapshot::{Entry, Kill, Life, Snapshot};
use writer::Writer;
pub(super) use writer::{append_head, append_timestamp, close};

use crate::sample::machine::Filesystem;
use crate::sample::memory_stat::ReportedKeys;
use crate::units::WallTime;

/// Every family of containers and of the machine, sorted by name.
static FAMILIES: LazyLock<Vec<&'static Family>> = LazyLock::new(|| {
    let mut all: Vec<&Family> = container::families().chain(machine::FAMILIES).collect();
    all.sort_by_key(|family| family.name);
    all
});

/// Renders a snapshot into the buffer. `drain` is called now and then and may take what is rendered so far.
pub fn render(
    snapshot: &Snapshot,
    options: &ExpositionOptions,
    scrape: Scrape,
    out: &mut Vec<u8>,
    drain: &mut dyn FnMut(&mut Vec<u8>),
) {
    let kubelet = LabelSet::Kubelet;
    let (labels, labelled, kinds) = match scrape.endpoint {
        Endpoint::Collector | Endpoint::Itself => (&options.labels, options.labelled, options.kinds),
        Endpoint::Kubelet => (&kubelet, Labelled::Everywhere, options.kubelet_kinds),
    };
    let is_selected =
        |entry: &&Entry| scrape.only.is_none_or(|only| entry.identity.as_ref().is_some_and(|id| id.runtime == only));
    let entries: Vec<&Entry> = snapshot.containers.iter().filter(is_selected).collect();
    let arena = Arena::new(scrape.format, (labels, labelled), &entries, &snapshot.machine);
    let context = Context {
        at: snapshot.at,
        kinds,
        labels,
        labelled,
        profile: options.profile,
        machine_memory: snapshot.machine.memory,
    };
    let is_reported =
        |family: &&'static Family| scrape.endpoint != Endpoint::Itself && family.is_reported(kinds, options);
    let families: Vec<_> = FAMILIES.iter().copied().filter(is_reported).collect();
    let page = MetricsPage {
        snapshot,
        options,
        endpoint: scrape.endpoint,
        rows: rows(snapshot, &entries),
        context,
        arena: &arena,
    };
    let mut writer = Writer::new(out, drain, (scrape.format, options.created), snapshot.at, &arena);

    let own: &[MetricFamily] = match scrape.endpoint {
        Endpoint::Collector | Endpoint::Itself => &snapshot.own,
        Endpoint::Kubelet => &[],
    };
    let own_series = own.iter().map(own::series).sum::<usize>();
    let mut applications = application::families(&entries, own);
    let count = |families: &[application::Family<'_>]| families.iter().map(|family| family.series.len()).sum::<usize>();
    let beyond_profile = match options.profile {
        Profile::Compatible => 0,
        Profile::Recommended => count(&std::mem::take(&mut applications)),
    };
    let mut plan = Plan::default();
    // Nothing is counted beforehand where there may be any number.
    if let Some(limit) = options.max_series {
        let fixed = own_series + OWN_COUNTS;
        let counts = page.count(&families, &mut writer);
        plan = page.plan(limit, &families, &counts, fixed, &entries, &mut writer);
        if fixed + counts.iter().sum::<usize>() + count(&applications) > limit {
            plan.shed.families += count(&std::mem::take(&mut applications));
        }
    }
    let mut others: Vec<Other<'_>> = own.iter().map(Other::Own).collect();
    others.extend(applications.iter().map(Other::Application));
    others.sort_by(|one, other| one.name().cmp(other.name()));
    let mut others = others.into_iter().peekable();
    writer.write();
    for (position, family) in families.iter().enumerate() {
        while let Some(other) = others.next_if(|other| other.name() < family.name) {
            page.other(other, &mut writer);
        }
        if !plan.families.contains(&position) {
            page.family(family, &plan.containers, &mut writer);
        }
    }
    for other in others {
        page.other(other, &mut writer);
    }
    if !own.is_empty() {
        let shed = Shed { profile: beyond_profile + writer.left_out, ..plan.shed };
        let reported = own_series + writer.series + count(&applications) + OWN_COUNTS;
        for family in own_counts(reported, shed) {
            page.other(Other::Own(&family), &mut writer);
        }
    }
    writer.end();
    if scrape.format == Format::OpenMetrics {
        out.extend_from_slice(b"# EOF\n");
    }
}

/// A family that is not among [`FAMILIES`].
#[derive(Clone, Copy)]
enum Other<'a> {
    /// The collector's.
    Own(&'a MetricFamily),
    /// Of containers' applications.
    Application(&'a application::Family<'a>),
}

impl Other<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Own(family) => family.name(),
            Self::Application(family) => &family.name,
        }
    }
}

/// Everything that families are rendered from.
struct MetricsPage<'a> {
    snapshot: &'a Snapshot,
    options: &'a ExpositionOptions,
    endpoint: Endpoint,
    rows: Vec<Row<'a>>,
    context: Context<'a>,
    arena: &'a Arena,
}

impl MetricsPage<'_> {
    /// One family's series, but for those of the containers that are left out.
    fn family(&self, family: &'static Family, left_out: &[bool], out: &mut Writer<'_>) {
        out.family(family.head());
        match family.emit {
            Emit::Single(emit) => {
                out.row(&Block::default(), None, None);
                emit(self.snapshot, out);
            }
            Emit::Machine(emit) => {
                // The kubelet's have none.
                let time = (self.endpoint == Endpoint::Collector).then_some(self.snapshot.machine.at);
                out.row(&self.arena.machine, time.filter(|_| self.options.timestamps == Timestamps::On), None);
                emit(self.snapshot, out);
            }
            Emit::Container(emit) => {
                for (position, row) in self.rows.iter().enumerate() {
                    if family.reports(row.life) && !left_out.get(position).is_some_and(|left_out| *left_out) {
                        let created = row.spec.created.filter(|_| family.lives == Lives::One);
                        let block = match family.labels_of_container {
                            LabelsOfContainer::AsAsked => &self.arena.blocks[position],
                            LabelsOfContainer::All => self.arena.whole(position),
                        };
                        out.row(block, self.time(family, row), created);
                        emit(row, &self.context, out);
                    }
                }
            }
        }
    }

    fn other(&self, other: Other<'_>, out: &mut Writer<'_>) {
        match other {
            Other::Own(own) => {
                let times = own::Times { at: self.snapshot.at, began: own::began(&self.snapshot.own) };
                out.foreign(|out, format| own::append(out, format, times, own));
            }
            Other::Application(family) => {
                out.foreign(|out, format| append_head(out, format, &family.name, application::HELP, Kind::Gauge));
                for (key, value) in &family.series {
                    out.row(&self.arena.blocks[key.row], None, None);
                    out.application(&family.name, application::HELP, &key.labels, *value);
                }
            }
        }
    }

    fn time(&self, family: &Family, row: &Row<'_>) -> Option<WallTime> {
        match (self.options.timestamps, family.moment) {
            (Timestamps::Off, _) | (_, Moment::None | Moment::Machine) => None,
            (Timestamps::On, Moment::Sample) => row.sample.map(|sample| sample.at),
            (Timestamps::On, Moment::Scrape) => Some(self.snapshot.at),
        }
    }

    /// How many series each family has.
    fn count(&self, families: &[&'static Family], out: &mut Writer<'_>) -> Vec<usize> {
        let count = |family: &&'static Family| {
            out.count();
            self.family(family, &[], out);
            out.series
        };
        families.iter().map(count).collect()
    }

    fn plan(
        &self,
        limit: usize,
        families: &[&'static Family],
        counts: &[usize],
        fixed: usize,
        entries: &[&Entry],
        out: &mut Writer<'_>,
    ) -> Plan {
        let core = |position: usize| {
            out.count();
            for family in families.iter().filter(|family| family.group == Group::Core) {
                if let (Emit::Container(emit), true) = (family.emit, family.reports(self.rows[position].life)) {
                    out.family(family.head());
                    emit(&self.rows[position], &self.context, out);
                }
            }
            out.series
        };
        budget::plan(limit, families, counts, fixed, entries, core)
    }
}

/// Series of [`own_counts`].
const OWN_COUNTS: usize = 5;

/// How many series this answer has and has not. They come last, when that is known.
fn own_counts(reported: usize, shed: Shed) -> [MetricFamily; 2] {
    let Shed { families, ended, containers, profile } = shed;
    let reason = |reason| Some(("reason", reason));
    let shed = own::gauges(
        "collector_metrics_shed_series",
        "Series left out of this answer: with whole families, with ended or running containers, or beyond the profile.",
        &[
            (reason("families"), families),
            (reason("ended"), ended),
            (reason("containers"), containers),
            (reason("profile"), profile),
        ],
    );
    [own::gauges("collector_metrics_series", "Series in this answer.", &[(None, reported)]), shed]
}

/// The containers as the families see them.
fn rows<'a>(snapshot: &'a Snapshot, entries: &[&'a Entry]) -> Vec<Row<'a>> {
    // Looked for once: the keys of memory.stat are the same for all.
    let mut keys: Option<ReportedKeys> = None;
    let row = |entry: &&'a Entry| {
        let sample = entry.sample.as_deref();
        let stat = sample.and_then(|sample| sample.memory.as_ref()).map(|memory| {
            let found = keys.take().filter(|keys| keys.fit(&memory.stat));
            keys.insert(found.unwrap_or_else(|| ReportedKeys::of(&memory.stat))).pick(&memory.stat)
        });
        Row {
            life: entry.life,
            sample,
            processes: entry.processes.as_ref().or_else(|| sample?.processes.as_ref()),
            stat: stat.unwrap_or_default(),
            spec: &entry.spec,
            identity: entry.identity.as_deref(),
            storage: entry.storage.as_deref(),
            exit: entry.exit.as_deref(),
            peaks: entry.peaks,
            run_queue: entry.run_queue.as_deref(),
            network_cgroup: entry.network_cgroup,
            block_latency: entry.block_latency.as_deref(),
            is_from_runtime: entry.is_from_runtime,
            oom_kills: entry.oom_kills,
            kill: snapshot.kills.get(&entry.name),
            filesystems: filesystems(snapshot, entry),
        }
    };
    entries.iter().map(row).collect()
}

/// The root has the machine's file systems, a container of a runtime the one its layer is on.
fn filesystems<'a>(snapshot: &'a Snapshot, entry: &'a Entry) -> Vec<FilesystemRow<'a>> {
    let all = snapshot.filesystems.as_deref().map(|filesystems| filesystems.list.as_slice()).unwrap_or_default();
    if *entry.name == *b"/" {
        let first = |position: &usize| !all[..*position].iter().any(|other| other.device == all[*position].device);
        let row = |filesystem: &'a Filesystem| FilesystemRow {
            device: &filesystem.device,
            limit: filesystem.capacity,
            usage: Some(filesystem.usage),
            inodes: Some(filesystem.inodes),
            inodes_free: Some(filesystem.inodes_free),
            disk: filesystem.disk,
            counted: Counted::by_number(filesystem.major),
        };
        return (0..all.len()).filter(first).map(|position| row(&all[position])).collect();
    }
    let Some((storage, filesystem)) = entry.storage.as_ref().and_then(|all| Some((all, all.filesystem.as_ref()?)))
    else {
        return Vec::new();
    };
    let used = storage.total();
    vec![FilesystemRow {
        device: &filesystem.device,
        // A limit of its own goes before the size of the file system.
        limit: storage.limit.unwrap_or(filesystem.capacity),
        usage: used.map(|used| used.bytes),
        inodes: used.and_then(|used| used.inodes),
        inodes_free: None,
        disk: all.iter().find(|other| other.device == filesystem.device).and_then(|other| other.disk),
        counted: Counted::by_number(filesystem.major),
    }]
}
