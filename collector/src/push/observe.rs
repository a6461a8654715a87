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
    /// What the runtime reported of a container in the pod whose own cgroup this is.
    pub pod: Option<Arc<Identity>>,
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
    missed: u64,
}

/// What is remembered of a container from one time to the next.
#[derive(Clone, Debug)]
struct Known {
    identity: Option<Arc<Identity>>,
    pod: Option<Arc<Identity>>,
    spec: Spec,
    last: Arc<Sample>,
    kinds: Kinds,
}

impl Observer {
    /// From now on containers that end are observed once more.
    pub fn new(store: Arc<Store>, extent: SampleExtent) -> Self {
        let ended = store.events().subscribe(|event| event.kind == EventKind::ContainerDeletion);
        Self { store, ended, extent, known: HashMap::new(), missed: 0 }
    }

    /// How many last samples of containers were not observed since the last time this was asked: more containers ended
    /// between two pushes than are remembered.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// What is new since the last time, by name. A container that ended comes with its last sample.
    pub fn observe(&mut self) -> Vec<Observed> {
        let mut all: BTreeMap<Name, Vec<Observed>> = BTreeMap::new();
        for (name, last) in self.finals() {
            let known = self.known.remove(&name);
            if known.as_ref().is_some_and(|known| known.last.at >= last.at) {
                continue;
            }
            let (identity, pod, spec, previous) = match known {
                Some(known) => (known.identity, known.pod, known.spec, Some(known.last)),
                None => (None, None, Spec::default(), None),
            };
            let observed = Observed {
                name: Name::clone(&name),
                identity,
                pod,
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
        let containers = self.store.with_prefix(b"/");
        let pods: HashMap<Name, Arc<Identity>> = containers
            .iter()
            .filter_map(|container| container.identity().map(|identity| (container, identity)))
            .filter_map(|(container, identity)| {
                Some((own_cgroup_of_pod(container.name(), &identity)?.into(), identity))
            })
            .collect();
        for container in containers {
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
            // The cgroup of a pod outlives its containers.
            let before_pod = || before.as_ref().and_then(|before| before.pod.clone());
            let pod = pods.get(&name).cloned().or_else(before_pod);
            let Some(last) = samples.last().cloned() else {
                if let Some(before) = before {
                    known.insert(name, Known { identity, pod, spec, ..before });
                }
                continue;
            };
            let kinds = Kinds::of(&container);
            let (who, limits) = (identity.clone(), spec.clone());
            let now = Known { identity: who, pod: pod.clone(), spec: limits, last, kinds: kinds.clone() };
            known.insert(Name::clone(&name), now);
            let (previous, previous_kinds) = before.map(|before| (before.last, before.kinds)).unzip();
            let storage = container.storage();
            let observed = Observed {
                name: Name::clone(&name),
                identity,
                pod,
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
                Received::CutOff { .. } => {
                    let lost = self.store.events().renew(&mut self.ended);
                    tracing::warn!(
                        lost,
                        "more containers ended at once than wait for a push; some last samples are not pushed"
                    );
                    self.missed += lost;
                }
                Received::Ended => break,
            }
        }
        finals
    }
}

/// The cgroup of the pod itself, right above one of its containers.
fn own_cgroup_of_pod<'a>(container: &'a [u8], identity: &Identity) -> Option<&'a [u8]> {
    let uid = &identity.pod.as_ref()?.uid;
    let slash = container.iter().rposition(|byte| *byte == b'/')?;
    let above = &container[..slash];
    let last = String::from_utf8_lossy(above.rsplit(|byte| *byte == b'/').next()?);
    // systemd's slices have `_` for `-`.
    (last.contains(uid.as_str()) || last.contains(&uid.replace('-', "_"))).then_some(above)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample::event::Event;
    use crate::sample::identity::{PodOfPath, QosClass, Runtime};
    use crate::store::event_log::{EventLimits, KindLimits};
    use crate::store::history::Limits;
    use crate::store::{Listed, MemoryBounds, StoreLimits};

    pub(in crate::push) fn store() -> Store {
        let default = KindLimits { age: Duration::from_secs(10), count: None };
        Store::new(StoreLimits {
            history: Limits { age: Duration::from_secs(120), count: 100 },
            events: EventLimits { default, kinds: HashMap::new(), bytes: usize::MAX },
            memory: MemoryBounds::NONE,
            ended_retention: Duration::from_secs(120),
        })
    }

    #[test]
    fn last_samples_that_nobody_waited_for_are_counted() {
        let store = Arc::new(store());
        let mut observer = Observer::new(Arc::clone(&store), SampleExtent::Newest);
        let ended = |number: u64| Event {
            container: format!("/{number}").into_bytes().into(),
            at: WallTime(number),
            kind: EventKind::ContainerDeletion,
            data: EventData::Deletion { final_sample: Some(Arc::new(Sample::default())), exit: None },
        };
        (0..10_000).for_each(|number| store.events().publish(ended(number)));
        let observed = observer.observe().len() as u64;
        let missed = observer.take_missed();
        assert!(observed > 1000 && missed > 0, "{observed} were observed, {missed} missed");
        assert_eq!(observed + missed, 10_000);
        store.events().publish(ended(10_000));
        assert_eq!((observer.observe().len(), observer.take_missed()), (1, 0));
    }

    #[test]
    fn a_pod_is_who_its_containers_say() {
        const UID: &str = "12345678-1234-1234-1234-123456789012";
        let store = Arc::new(store());
        let mut observer = Observer::new(Arc::clone(&store), SampleExtent::Newest);
        let mut identity = Identity::from_path(Runtime::Containerd, "abc".to_owned());
        identity.pod = Some(PodOfPath { uid: UID.to_owned(), qos: QosClass::Guaranteed });
        let above = format!("/kubepods.slice/kubepods-pod{}.slice", UID.replace('-', "_"));
        let begin = |path: &str| store.begin(&path.as_bytes().into(), Listed::Yes);
        for path in ["/kubepods.slice", &above] {
            begin(path).push(Sample { at: WallTime(5), ..Sample::default() });
        }
        // It has no sample yet.
        begin(&format!("{above}/cri-containerd-abc.scope")).set_identity(identity);
        let pods: Vec<_> = observer.observe().into_iter().map(|one| (one.name, one.pod.is_some())).collect();
        assert_eq!(pods, [(b"/kubepods.slice".as_slice().into(), false), (above.as_bytes().into(), true)]);
    }
}
