//! What there is to push at one moment: the samples that were not pushed before, those of ended containers among them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::statistics::Kinds;
use crate::sample::container::Sample;
use crate::sample::event::{EventData, EventKind, Name};
use crate::sample::filesystem::Storage;
use crate::sample::identity::Identity;
use crate::sample::spec::Spec;
use crate::store::Store;
use crate::store::event_log::{Received, Subscription};
use crate::store::history::Selection;
use crate::units::WallTime;

/// A container and samples of it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its cgroup.
    pub name: Name,
    /// What its runtime reported.
    pub identity: Option<Arc<Identity>>,
    /// Its limits.
    pub spec: Spec,
    /// The newest sample that was observed before.
    pub previous: Option<Arc<Sample>>,
    /// Newer samples, oldest first; at least one.
    pub samples: Vec<Arc<Sample>>,
    /// What its files take, as last measured.
    pub storage: Option<Arc<Storage>>,
    /// What programs of single kinds counted for it.
    pub kinds: Kinds,
    /// The same when it was observed before.
    pub previous_kinds: Option<Kinds>,
}

/// How many of the samples since the last time are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleExtent {
    /// The newest one: a time series of gauges and counters needs no more.
    Newest,
    /// All of them.
    Every,
}

/// Looks at a store again and again.
#[derive(Debug)]
pub struct Observer {
    store: Arc<Store>,
    ended: Subscription,
    extent: SampleExtent,
    known: HashMap<Name, Known>,
}

/// What is remembered of a container from one time to the next.
#[derive(Clone, Debug)]
struct Known {
    identity: Option<Arc<Identity>>,
    spec: Spec,
    last: Arc<Sample>,
    kinds: Kinds,
}

impl Observer {
    /// From now on containers that end are observed once more.
    pub fn new(store: Arc<Store>, extent: SampleExtent) -> Self {
        let ended = subscribe(&store);
        Self { store, ended, extent, known: HashMap::new() }
    }

    /// What is new since the last time, by name. A container that ended comes with its last sample.
    pub fn observe(&mut self) -> Vec<Observed> {
        let mut all: BTreeMap<Name, Vec<Observed>> = BTreeMap::new();
        for (name, last) in self.finals() {
            let known = self.known.remove(&name);
            if known.as_ref().is_some_and(|known| known.last.at >= last.at) {
                continue;
            }
            let (identity, spec, previous) = match known {
                Some(known) => (known.identity, known.spec, Some(known.last)),
                None => (None, Spec::default(), None),
            };
            let observed = Observed {
                name: Name::clone(&name),
                identity,
                spec,
                previous,
                samples: vec![last],
                storage: None,
                // Nobody reads what was counted for a cgroup that is gone.
                kinds: Kinds::default(),
                previous_kinds: None,
            };
            all.entry(name).or_default().push(observed);
        }
        let mut known = HashMap::new();
        for container in self.store.with_prefix(b"/") {
            let before = self.known.remove(container.name());
            let since =
                before.as_ref().map_or(WallTime::default(), |known| WallTime(known.last.at.0.saturating_add(1)));
            let count = match self.extent {
                SampleExtent::Newest => Some(1),
                SampleExtent::Every => None,
            };
            let samples = container.samples(Selection { start: Some(since), end: None, count });
            let (identity, spec) = (container.identity(), container.spec());
            let name = Name::clone(container.name());
            let Some(last) = samples.last().cloned() else {
                if let Some(before) = before {
                    known.insert(name, Known { identity, spec, ..before });
                }
                continue;
            };
            let kinds = Kinds::of(&container);
            let now = Known { identity: identity.clone(), spec: spec.clone(), last, kinds: kinds.clone() };
            known.insert(Name::clone(&name), now);
            let (previous, previous_kinds) = before.map(|before| (before.last, before.kinds)).unzip();
            let storage = container.storage();
            let observed = Observed {
                name: Name::clone(&name),
                identity,
                spec,
                previous,
                samples,
                storage,
                kinds,
                previous_kinds,
            };
            all.entry(name).or_default().push(observed);
        }
        self.known = known;
        all.into_values().flatten().collect()
    }

    /// The last samples of the containers that ended since the last time.
    fn finals(&mut self) -> Vec<(Name, Arc<Sample>)> {
        let mut finals = Vec::new();
        while let Some(received) = self.ended.try_receive() {
            match received {
                Received::Event(event) => {
                    if let EventData::Deletion { final_sample: Some(last), .. } = &event.data {
                        finals.push((Name::clone(&event.container), Arc::clone(last)));
                    }
                }
                // More ended at once than are remembered: those after them are not missed.
                Received::CutOff { .. } => self.ended = subscribe(&self.store),
                Received::Ended => break,
            }
        }
        finals
    }
}

fn subscribe(store: &Store) -> Subscription {
    store.events().subscribe(|event| event.kind == EventKind::ContainerDeletion)
}
