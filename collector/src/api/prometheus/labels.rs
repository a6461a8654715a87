//! The labels that every series of a container carries, rendered once per container, as the format wants them.
//!
//! Labels are sorted by name. Those of single families (`cpu`, `device`, ...) fall between the container's own, so a
//! container's labels are kept in pieces between which others can be put.
//!
//! A label without a value is not written: to Prometheus `x{a=""}` and `x` are one series. With empty labels each series
//! would carry the label keys of all containers, and one container with thousands of them would make every series long.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use super::options::{ContainerLabels, Format, LabelSet, Labelled};
use super::protobuf;
use super::snapshot::Entry;
use crate::api::wire::json::lossy;
use crate::sample::identity::kubernetes::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE};
use crate::sample::identity::{Identity, Manager, Runtime};
use crate::sample::machine::Machine;
use crate::series;

/// Where a label of a single family goes among those of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// Before `id`; after `container` and `container_label_...`.
    BeforeId,
    /// Between `image` and `name`.
    BeforeName,
    /// Between `name` or `namespace` and `pod`.
    BeforePod,
    /// At the end.
    Last,
}

impl Slot {
    /// All of them in their order.
    pub(super) const ALL: [Self; 4] = [Self::BeforeId, Self::BeforeName, Self::BeforePod, Self::Last];

    /// The slot of a label. None of these falls between `id` and `image` or between `name` and `namespace`.
    pub(super) fn of(label: &str) -> Self {
        match label {
            // Of the machine's only, where it follows `machine_id`.
            "mode" => Self::BeforePod,
            label if label < "id" => Self::BeforeId,
            label if label < "name" => Self::BeforeName,
            label if label < "pod" => Self::BeforePod,
            _ => Self::Last,
        }
    }
}

/// A container's labels in the arena: in a text each label is followed by a comma.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    all: Range<usize>,
    /// Ends of what goes before each slot but the last, whose end is that of all.
    ends: [usize; 3],
}

impl Block {
    /// What goes before the slot, from where the slot before it is.
    pub(super) fn before(&self, slot: Slot) -> Range<usize> {
        match slot {
            Slot::BeforeId => self.all.start..self.ends[0],
            Slot::BeforeName => self.ends[0]..self.ends[1],
            Slot::BeforePod => self.ends[1]..self.ends[2],
            Slot::Last => self.ends[2]..self.all.end,
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Range<usize> {
        self.all.clone()
    }
}

/// Everybody's labels.
#[derive(Debug, Default)]
pub(super) struct Arena {
    format: Format,
    pub(super) text: Vec<u8>,
    /// One per container, in the order given.
    pub(super) blocks: Vec<Block>,
    /// The same with all labels, where others have fewer.
    whole: Vec<Block>,
    /// That of the machine.
    pub(super) machine: Block,
}

impl Arena {
    /// Renders the labels of all containers.
    pub(super) fn new(
        format: Format,
        (set, labelled): (&LabelSet, Labelled),
        entries: &[&Entry],
        machine: &Machine,
    ) -> Self {
        let ids = unique_ids(entries);
        let mut arena = Self { format, text: Vec::with_capacity(entries.len() * 160), ..Self::default() };
        arena.machine_labels(machine);
        arena.blocks = arena.labels(set, labelled, entries, &ids);
        if labelled == Labelled::Info {
            arena.whole = arena.labels(set, Labelled::Everywhere, entries, &ids);
        }
        arena
    }

    /// All labels of the container at this position.
    pub(super) fn whole(&self, position: usize) -> &Block {
        self.whole.get(position).unwrap_or(&self.blocks[position])
    }

    fn labels(
        &mut self,
        set: &LabelSet,
        labelled: Labelled,
        entries: &[&Entry],
        ids: &HashMap<usize, String>,
    ) -> Vec<Block> {
        match set {
            LabelSet::Cadvisor(which) => self.cadvisor(which, labelled, entries, ids),
            LabelSet::Kubelet => self.kubelet(labelled, entries, ids),
        }
    }

    fn cadvisor(
        &mut self,
        which: &ContainerLabels,
        labelled: Labelled,
        entries: &[&Entry],
        ids: &HashMap<usize, String>,
    ) -> Vec<Block> {
        let mut names = Names::default();
        let mut blocks = Vec::with_capacity(entries.len());
        for (position, entry) in entries.iter().enumerate() {
            let start = self.text.len();
            if let Some(identity) = entry.identity.as_ref().filter(|_| labelled == Labelled::Everywhere) {
                for (name, value) in names.of(which, identity) {
                    self.label(&name, value);
                }
            }
            let before_id = self.text.len();
            self.id(entry, ids.get(&position));
            self.image(labelled, entry);
            let before_name = self.text.len();
            self.label("name", alias(entry).unwrap_or_default());
            let end = self.text.len();
            blocks.push(Block { all: start..end, ends: [before_id, before_name, end] });
        }
        blocks
    }

    fn kubelet(&mut self, labelled: Labelled, entries: &[&Entry], ids: &HashMap<usize, String>) -> Vec<Block> {
        let pods = pod_cgroups(entries);
        let mut blocks = Vec::with_capacity(entries.len());
        for (position, entry) in entries.iter().enumerate() {
            let label = |key: &str| entry.identity.as_ref()?.labels.get(key).map(String::as_str);
            let mut pod = label(POD_NAME).unwrap_or_default();
            let mut namespace = label(POD_NAMESPACE).unwrap_or_default();
            if pod.is_empty() && namespace.is_empty() {
                (namespace, pod) = pods.get(&*entry.name).copied().unwrap_or_default();
            }
            let start = self.text.len();
            self.label("container", label(CONTAINER_NAME).unwrap_or_default());
            let before_id = self.text.len();
            self.id(entry, ids.get(&position));
            self.image(labelled, entry);
            let before_name = self.text.len();
            self.label("name", alias(entry).unwrap_or_default());
            self.label("namespace", namespace);
            let before_pod = self.text.len();
            self.label("pod", pod);
            blocks.push(Block { all: start..self.text.len(), ends: [before_id, before_name, before_pod] });
        }
        blocks
    }

    fn image(&mut self, labelled: Labelled, entry: &Entry) {
        if labelled == Labelled::Everywhere {
            self.label("image", image(entry).unwrap_or_default());
        }
    }

    fn machine_labels(&mut self, machine: &Machine) {
        let start = self.text.len();
        let labels =
            [("boot_id", &machine.boot_id), ("machine_id", &machine.machine_id), ("system_uuid", &machine.system_uuid)];
        let ends = labels.map(|(name, value)| {
            self.label(name, value.as_deref().unwrap_or_default());
            self.text.len()
        });
        self.machine = Block { all: start..self.text.len(), ends: [ends[0], ends[0], ends[1]] };
    }

    fn id(&mut self, entry: &Entry, instead: Option<&String>) {
        match instead {
            Some(id) => self.label("id", id),
            None => self.label("id", &lossy(&entry.name)),
        }
    }

    fn label(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        match self.format {
            Format::RemoteWrite => return series::append_label(&mut self.text, name, value.as_bytes()),
            Format::Protobuf => return protobuf::append_label(&mut self.text, name, value.as_bytes()),
            Format::Text | Format::OpenMetrics => {}
        }
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"=\"");
        append_escaped(&mut self.text, value);
        self.text.extend_from_slice(b"\",");
    }
}

/// Appends a label's value as both formats want it.
pub(crate) fn append_escaped(out: &mut Vec<u8>, value: &str) {
    let bytes = value.as_bytes();
    let mut written = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'\\' => b"\\\\",
            b'"' => b"\\\"",
            b'\n' => b"\\n",
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..at]);
        out.extend_from_slice(escape);
        written = at + 1;
    }
    out.extend_from_slice(&bytes[written..]);
}

/// cAdvisor's `name`: what a person called it, and for containerd, which knows no such name, the id.
fn alias(entry: &Entry) -> Option<&str> {
    let identity = entry.identity.as_ref()?;
    match identity.runtime {
        Manager::Runtime(Runtime::Containerd) => Some(&identity.id),
        _ => identity.name.as_deref(),
    }
}

fn image(entry: &Entry) -> Option<&str> {
    entry.identity.as_ref()?.image.as_deref().filter(|image| !image.is_empty())
}

/// Ids for those whose names are not text and would look like another's: a cgroup's name may be any bytes, and what is
/// not UTF-8 shows as U+FFFD.
fn unique_ids(entries: &[&Entry]) -> HashMap<usize, String> {
    let mut taken = HashSet::new();
    let mut ids = HashMap::new();
    let strange = |entry: &Entry| match std::str::from_utf8(&entry.name) {
        Ok(name) => name.contains(char::REPLACEMENT_CHARACTER),
        Err(_) => true,
    };
    // Names that are text keep it.
    let (text, other): (Vec<_>, Vec<_>) = (0..entries.len())
        .filter(|position| strange(entries[*position]))
        .partition(|position| std::str::from_utf8(&entries[*position].name).is_ok());
    for position in text.into_iter().chain(other) {
        let plain = lossy(&entries[position].name).into_owned();
        let mut id = plain.clone();
        let mut number = 2;
        while !taken.insert(id.clone()) {
            id = format!("{plain}#{number}");
            number += 1;
        }
        ids.insert(position, id);
    }
    ids
}

/// The pods' own cgroups with the namespace and name of the pod, which only the containers below them report.
fn pod_cgroups<'a>(entries: &[&'a Entry]) -> HashMap<&'a [u8], (&'a str, &'a str)> {
    let mut pods = HashMap::new();
    for entry in entries {
        let Some(identity) = &entry.identity else { continue };
        let (Some(pod), Some(namespace)) = (identity.labels.get(POD_NAME), identity.labels.get(POD_NAMESPACE)) else {
            continue;
        };
        let Some(slash) = entry.name.iter().rposition(|byte| *byte == b'/') else { continue };
        let parent = &entry.name[..slash];
        let own = parent.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if own.starts_with(b"pod") || own.windows(4).any(|part| part == b"-pod") {
            pods.entry(parent).or_insert((namespace.as_str(), pod.as_str()));
        }
    }
    pods
}

/// Names of labels by the keys they are made of: most containers of a node have the same keys.
#[derive(Default)]
struct Names<'a> {
    labels: HashMap<&'a str, Rc<str>>,
    variables: HashMap<&'a str, Rc<str>>,
}

impl<'a> Names<'a> {
    /// A container's labels and environment variables, by name. Of several keys with one name the lowest that has a value
    /// counts.
    fn of(&mut self, which: &ContainerLabels, identity: &'a Identity) -> BTreeMap<Rc<str>, &'a str> {
        let mut values: BTreeMap<Rc<str>, &'a str> = BTreeMap::new();
        let shown = identity.labels.iter().filter(|(key, _)| which.shows(key));
        let labels = shown.map(|(key, value)| (LABEL, key, value));
        let variables = identity.environment.iter().map(|(key, value)| (VARIABLE, key, value));
        // Both maps are sorted by key.
        for (prefix, key, value) in labels.chain(variables).filter(|(_, _, value)| !value.is_empty()) {
            let names = if prefix == LABEL { &mut self.labels } else { &mut self.variables };
            let name = names.entry(key).or_insert_with(|| sanitised(prefix, key).into());
            values.entry(Rc::clone(name)).or_insert(value);
        }
        values
    }
}

/// What the names of labels and of environment variables begin with.
const LABEL: &str = "container_label_";
const VARIABLE: &str = "container_env_";

/// A label's name made of a container's key: what no name may have is an underscore.
pub(super) fn sanitised(prefix: &str, key: &str) -> String {
    let allowed = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    prefix.chars().chain(key.chars().map(allowed)).collect()
}
