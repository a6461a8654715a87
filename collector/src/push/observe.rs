//! What there is to push at one moment: the samples that were not pushed before, those of ended containers among them.

mod pods;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::statistics::{Beside, Exits, OfMachine};
use crate::sample::container::Sample;
use crate::sample::event::{EventData, EventKind, Name};
use crate::sample::exit::Exit;
use crate::sample::filesystem::Storage;
use crate::sample::identity::Identity;
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::spec::Spec;
use crate::store::event_log::{Received, Subscription};
use crate::store::history::Selection;
use crate::store::restarts::Title;
use crate::store::{Container, Store};
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
    /// What was observed before.
    pub previous: Option<Before>,
    /// Newer samples, oldest first; at least one.
    pub samples: Vec<Arc<Sample>>,
    /// What its files take, as last measured.
    pub storage: Option<Arc<Storage>>,
    /// What is known of it beside its samples.
    pub beside: Beside,
}

/// What was observed of a container before.
#[derive(Clone, Debug)]
pub struct Before {
    /// The newest sample.
    pub sample: Arc<Sample>,
    /// What was known beside it.
    pub beside: Beside,
}

/// The moment of an observation, and what the store does not know of it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// When it is.
    pub at: WallTime,
    /// Which kinds are reported.
    pub kinds: KindSet,
    /// Containers whose first process ended.
    pub exits: Exits,
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
    last: Before,
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
    pub fn observe(&mut self, moment: &Moment) -> Vec<Observed> {
        let restarts: BTreeMap<Title, u64> = self.store.restarts(moment.at).into_iter().collect();
        let restarts_of = |identity: Option<&Arc<Identity>>| restarts.get(&Title::of(identity?.as_ref())?).copied();
        let mut all: BTreeMap<Name, Vec<Observed>> = BTreeMap::new();
        for observed in self.ended(moment, restarts_of) {
            all.entry(Name::clone(&observed.name)).or_default().push(observed);
        }
        let mut known = HashMap::new();
        let containers = self.store.with_prefix(b"/");
        let pods = pods::pods(&containers, &self.store, moment.kinds);
        for container in containers {
            let before = self.known.remove(container.name());
            let since =
                before.as_ref().map_or(WallTime::default(), |known| WallTime(known.last.sample.at.0.saturating_add(1)));
            let count = match self.extent {
                SampleExtent::Newest => Some(1),
                SampleExtent::Every => None,
            };
            let samples = container.samples(Selection { start: Some(since), end: None, count });
            let (identity, spec) = (container.identity(), container.spec());
            let name = Name::clone(container.name());
            // The cgroup of a pod outlives its containers.
            let before_pod = || before.as_ref().and_then(|before| before.pod.clone());
            let pod = pods.get(&name).map(|pod| Arc::clone(&pod.identity)).or_else(before_pod);
            let Some(sample) = samples.last().cloned() else {
                if let Some(before) = before {
                    known.insert(name, Known { identity, pod, spec, ..before });
                }
                continue;
            };
            let beside = Beside {
                restarts: restarts_of(identity.as_ref()),
                pod: pods.get(&name).map(|pod| pod.storage.clone()),
                machine: (*name == *b"/").then(|| self.machine(moment)),
                ..Beside::of(&container, moment.at, moment.kinds)
            };
            let last = Before { sample, beside: beside.clone() };
            let now = Known { identity: identity.clone(), pod: pod.clone(), spec: spec.clone(), last };
            known.insert(Name::clone(&name), now);
            let previous = before.map(|before| before.last);
            let storage = container.storage();
            let observed =
                Observed { name: Name::clone(&name), identity, pod, spec, previous, samples, storage, beside };
            all.entry(name).or_default().push(observed);
        }
        self.known = known;
        all.into_values().flatten().collect()
    }

    /// What only the root has.
    fn machine(&self, moment: &Moment) -> OfMachine {
        let filesystems = self.store.filesystems().filter(|_| moment.kinds.has(MetricKind::Disk));
        OfMachine { filesystems, exits: moment.exits }
    }

    /// The containers that ended since the last time, with what was counted for them until then.
    fn ended(&mut self, moment: &Moment, restarts_of: impl Fn(Option<&Arc<Identity>>) -> Option<u64>) -> Vec<Observed> {
        let finals = self.finals();
        if finals.is_empty() {
            return Vec::new();
        }
        let kept: HashMap<Name, Arc<Container>> =
            self.store.ended(moment.at).into_iter().map(|ended| (Name::clone(ended.name()), ended)).collect();
        let mut all = Vec::new();
        for Final { name, sample, exit } in finals {
            let known = self.known.remove(&name);
            let is_told = |known: &Known| {
                known.last.sample.at >= sample.at && (exit.is_none() || known.last.beside.exit.is_some())
            };
            if known.as_ref().is_some_and(is_told) {
                continue;
            }
            let (identity, pod, spec, previous) = match known {
                Some(known) => (known.identity, known.pod, known.spec, Some(known.last)),
                None => (None, None, Spec::default(), None),
            };
            let counted = kept.get(&name).map(|container| Beside::counted(container)).unwrap_or_default();
            let beside = Beside { exit: exit.or(counted.exit), restarts: restarts_of(identity.as_ref()), ..counted };
            let samples = vec![sample];
            all.push(Observed { name, identity, pod, spec, previous, samples, storage: None, beside });
        }
        all
    }

    /// The last samples of the containers that ended since the last time.
    fn finals(&mut self) -> Vec<Final> {
        let mut finals = Vec::new();
        while let Some(received) = self.ended.try_receive() {
            match received {
                Received::Event(event) => {
                    if let EventData::Deletion { final_sample: Some(sample), exit } = &event.data {
                        let (name, sample, exit) = (Name::clone(&event.container), Arc::clone(sample), exit.clone());
                        finals.push(Final { name, sample, exit });
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

/// How a container ended.
struct Final {
    name: Name,
    /// Its last sample.
    sample: Arc<Sample>,
    exit: Option<Arc<Exit>>,
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample::event::Event;
    use crate::sample::exit::{Rank, Reason, Status};
    use crate::sample::filesystem::{DiskUsage, Measured, Method};
    use crate::sample::identity::kubernetes::CONTAINER_NAME;
    use crate::sample::identity::{PodOfPath, QosClass, Runtime};
    use crate::sample::network_cgroup::NetworkCgroup;
    use crate::sample::pods::PodFiles;
    use crate::store::event_log::{EventLimits, KindLimits};
    use crate::store::history::Limits;
    use crate::store::{Listed, MemoryBounds, StoreLimits};
    use crate::units::{Bytes, Nanos};

    const UID: &str = "12345678-1234-1234-1234-123456789012";

    pub(in crate::push) const NOW: Moment =
        Moment { at: WallTime(60_000_000_000), kinds: KindSet::none(), exits: [0; Reason::ALL.len()] };

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
        let observed = observer.observe(&NOW).len() as u64;
        let missed = observer.take_missed();
        assert!(observed > 1000 && missed > 0, "{observed} were observed, {missed} missed");
        assert_eq!(observed + missed, 10_000);
        store.events().publish(ended(10_000));
        assert_eq!((observer.observe(&NOW).len(), observer.take_missed()), (1, 0));
    }

    #[test]
    fn how_a_container_ended_is_observed_with_its_last_sample() {
        let store = Arc::new(store());
        let mut observer = Observer::new(Arc::clone(&store), SampleExtent::Newest);
        let container = store.begin(&b"/docker/a".as_slice().into(), Listed::Yes);
        container.set_network_cgroup(NetworkCgroup::default());
        let mut identity = Identity::from_path(Runtime::Docker, "a".to_owned());
        identity.name = Some("web".to_owned());
        identity.labels.insert("restartcount".to_owned(), "3".to_owned());
        container.set_identity(identity);
        store.identified(&container);
        container.push(Sample { at: WallTime(5), ..Sample::default() });
        let [first] = observer.observe(&NOW).try_into().unwrap();
        assert_eq!((first.beside.restarts, first.beside.exit.is_some()), (Some(3), false));
        let exit = Some(Arc::new(Exit {
            at: WallTime(6),
            pid: 1,
            command: b"web".as_slice().into(),
            status: Status::Code(3),
            rank: Rank::First,
            lasted: Nanos(1),
            signal: None,
            oom: None,
        }));
        store.end(&container, NOW.at);
        let final_sample = Some(Arc::new(Sample { at: WallTime(7), ..Sample::default() }));
        let data = EventData::Deletion { final_sample, exit };
        let name = Name::clone(container.name());
        store.events().publish(Event { container: name, at: WallTime(7), kind: EventKind::ContainerDeletion, data });
        let [last] = observer.observe(&NOW).try_into().unwrap();
        assert_eq!(last.beside.exit.map(|exit| exit.code()), Some(3));
        assert!(last.beside.network_cgroup.is_some(), "as last read");
        assert_eq!((last.beside.restarts, last.previous.map(|before| before.sample.at)), (Some(3), Some(WallTime(5))));
    }

    #[test]
    fn what_a_pod_takes_of_the_disk_is_known_if_all_of_it_is() {
        let store = Arc::new(store());
        let moment = Moment { kinds: KindSet::all(), ..NOW };
        let mut observer = Observer::new(Arc::clone(&store), SampleExtent::Every);
        let above = format!("/kubepods/pod{UID}");
        let sample = |second| Sample { at: WallTime(second), ..Sample::default() };
        let pod = store.begin(&above.as_bytes().into(), Listed::Yes);
        let measured =
            Measured { usage: DiskUsage { bytes: Bytes(10), inodes: None }, at: WallTime(1), by: Method::Walk };
        let storage = Storage { layer: Some(measured), logs: Some(measured), ..Storage::default() };
        for (name, role) in [("web", "web"), ("sandbox", "")] {
            let container = store.begin(&format!("{above}/{name}").as_bytes().into(), Listed::Yes);
            let mut identity = Identity::from_path(Runtime::Containerd, name.to_owned());
            identity.pod = Some(PodOfPath { uid: UID.to_owned(), qos: QosClass::Guaranteed });
            identity.labels.insert(CONTAINER_NAME.to_owned(), role.to_owned());
            container.set_identity(identity);
        }
        let mut used = |second| {
            pod.push(sample(second));
            let observed = observer.observe(&moment);
            observed[0].beside.pod.as_ref().and_then(|pod| pod.used)
        };
        assert_eq!(used(5), None);
        store.get(format!("{above}/web").as_bytes()).unwrap().set_storage(WallTime(1), storage);
        assert_eq!(used(6), Some(Bytes(20)));
        store.pods().set(UID, PodFiles { kubelet_files: Some(measured), ..PodFiles::default() });
        assert_eq!(used(7), Some(Bytes(30)));
    }

    #[test]
    fn a_pod_is_who_its_containers_say() {
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
        let pods: Vec<_> = observer.observe(&NOW).into_iter().map(|one| (one.name, one.pod.is_some())).collect();
        assert_eq!(pods, [(b"/kubepods.slice".as_slice().into(), false), (above.as_bytes().into(), true)]);
    }
}
