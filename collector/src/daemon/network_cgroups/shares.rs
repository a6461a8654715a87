//! Whose a packet is: a socket's cgroup is the one that it was made in, which may be inside of a container, filtered out, or
//! gone while the socket is still there. Pure.

use std::collections::HashMap;
use std::iter::successors;
use std::sync::Arc;

use crate::kernel::cgroup::DEFAULT_HIERARCHY;
use crate::kernel::probes::network_cgroup::{Packets, Traffic};
use crate::sample::event::Name;
use crate::store::{Container, Listed};

/// Readings after which a cgroup that is gone, and whose sockets are silent, is forgotten.
const SILENT: u32 = 2;
/// Readings after which a cgroup that nobody knows is forgotten, silent or not.
const UNKNOWN: u32 = 15;

/// What was counted and given away so far, by the kernfs ids of cgroups.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<u64, Given>);

#[derive(Debug, Default)]
struct Given {
    so_far: Traffic,
    /// What the cgroup is called, once it was known.
    name: Option<Name>,
    /// Readings in a row without the cgroup and without packets that were given away.
    silent: u32,
}

/// What one reading brought.
#[derive(Debug, Default)]
pub(super) struct Outcome<'a> {
    /// What passed since the last.
    pub(super) shares: Vec<Share<'a>>,
    /// Cgroups to be forgotten.
    pub(super) gone: Vec<u64>,
}

/// What passed sockets of one cgroup since the last reading.
#[derive(Debug)]
pub(super) struct Share<'a> {
    /// For whom it counts.
    pub(super) owner: &'a Arc<Container>,
    /// The cgroup of the sockets, while it is there.
    pub(super) cgroup: Option<&'a Arc<Container>>,
    pub(super) traffic: Traffic,
}

impl Shares {
    /// Gives what was counted to the containers that are there, or ended lately.
    pub(super) fn share<'a>(
        &mut self,
        counted: HashMap<u64, Traffic>,
        there: &'a [Arc<Container>],
        ended: &'a [Arc<Container>],
    ) -> Outcome<'a> {
        let mut names: HashMap<&[u8], &Arc<Container>> = HashMap::new();
        let mut ids: HashMap<u64, (&Arc<Container>, NamespaceLife)> = HashMap::new();
        let all = ended.iter().map(|container| (container, NamespaceLife::Ended));
        for (container, life) in all.chain(there.iter().map(|container| (container, NamespaceLife::There))) {
            names.insert(container.name(), container);
            ids.extend(container.directory(DEFAULT_HIERARCHY).map(|id| (id, (container, life))));
        }
        self.0.retain(|id, _| counted.contains_key(id));
        let mut outcome = Outcome::default();
        for (id, traffic) in counted {
            let given = self.0.entry(id).or_default();
            let found = ids.get(&id).copied();
            let owner = match found {
                Some((container, _)) => {
                    given.name = Some(Arc::clone(container.name()));
                    owner_of(container, &names)
                }
                // Another of this name may be there meanwhile, and is not it.
                None => given.name.as_deref().and_then(above).and_then(|above| nearest(above, &names)),
            };
            let since = minus(traffic, given.so_far);
            let is_there = found.is_some_and(|(_, life)| life == NamespaceLife::There);
            if let Some(owner) = owner.filter(|_| since != Traffic::default()) {
                given.so_far = traffic;
                given.silent = 0;
                let cgroup = found.filter(|_| is_there).map(|(container, _)| container);
                outcome.shares.push(Share { owner, cgroup, traffic: since });
            } else if !is_there {
                given.silent += 1;
            }
            let patience = if owner.is_some() { SILENT } else { UNKNOWN };
            if !is_there && given.silent >= patience {
                outcome.gone.push(id);
            }
        }
        for id in &outcome.gone {
            self.0.remove(id);
        }
        outcome
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamespaceLife {
    There,
    Ended,
}

/// A container that ended is its own owner even where another has its name by now.
fn owner_of<'a>(cgroup: &'a Arc<Container>, names: &HashMap<&[u8], &'a Arc<Container>>) -> Option<&'a Arc<Container>> {
    if cgroup.listed() == Listed::Yes && cgroup.who().is_some() {
        return Some(cgroup);
    }
    let outer = above(cgroup.name()).and_then(|name| container_at_or_above(name, names));
    outer.or_else(|| if cgroup.listed() == Listed::Yes { Some(cgroup) } else { nearest(above(cgroup.name())?, names) })
}

/// The container, machine or job around: what is inside belongs to it. Else the nearest cgroup that is listed.
fn nearest<'a>(name: &[u8], names: &HashMap<&[u8], &'a Arc<Container>>) -> Option<&'a Arc<Container>> {
    let listed = || at_and_above(name).find_map(|name| names.get(name).filter(|found| found.listed() == Listed::Yes));
    container_at_or_above(name, names).or_else(|| listed().copied())
}

fn container_at_or_above<'a>(name: &[u8], names: &HashMap<&[u8], &'a Arc<Container>>) -> Option<&'a Arc<Container>> {
    let is_container = |found: &&&Arc<Container>| found.listed() == Listed::Yes && found.who().is_some();
    at_and_above(name).find_map(|name| names.get(name).filter(is_container)).copied()
}

fn at_and_above(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    successors(Some(name), |name| above(name))
}

/// The name of the cgroup above.
fn above(name: &[u8]) -> Option<&[u8]> {
    match name.iter().rposition(|byte| *byte == b'/')? {
        0 if name.len() > 1 => Some(b"/"),
        0 => None,
        end => Some(&name[..end]),
    }
}

fn minus(Traffic { received, sent }: Traffic, so_far: Traffic) -> Traffic {
    let minus = |now: Packets, before: Packets| Packets {
        bytes: now.bytes.saturating_sub(before.bytes),
        count: now.count.saturating_sub(before.count),
    };
    Traffic { received: minus(received, so_far.received), sent: minus(sent, so_far.sent) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample::identity::Who;
    use crate::store::event_log::{EventLimits, KindLimits};
    use crate::store::history::Limits;
    use crate::store::{MemoryBounds, Store, StoreLimits};
    use crate::units::WallTime;

    fn store() -> Store {
        Store::new(StoreLimits {
            history: Limits { age: Duration::from_secs(120), count: 100 },
            events: EventLimits {
                default: KindLimits { age: Duration::from_secs(10), count: None },
                kinds: HashMap::new(),
                bytes: usize::MAX,
            },
            memory: MemoryBounds::NONE,
            ended_retention: Duration::from_secs(120),
        })
    }

    fn begin(store: &Store, name: &str, id: u64, listed: Listed) -> Arc<Container> {
        let container = store.begin(&name.as_bytes().into(), listed);
        container.set_directories([(DEFAULT_HIERARCHY, id)]);
        container
    }

    fn sent(bytes: u64) -> Traffic {
        Traffic { sent: Packets { bytes, count: 1 }, ..Traffic::default() }
    }

    /// Bytes that were sent by owner, and what is forgotten.
    fn reading(shares: &mut Shares, store: &Store, counted: &[(u64, u64)]) -> (Vec<(String, u64)>, Vec<u64>) {
        let counted = counted.iter().map(|(id, bytes)| (*id, sent(*bytes))).collect();
        let (there, ended) = (store.all(), store.ended(WallTime(1_000_000_000)));
        let Outcome { shares, mut gone } = shares.share(counted, &there, &ended);
        let name = |share: &Share<'_>| String::from_utf8_lossy(share.owner.name()).into_owned();
        let mut given: Vec<_> = shares.iter().map(|share| (name(share), share.traffic.sent.bytes)).collect();
        given.sort();
        gone.sort_unstable();
        (given, gone)
    }

    fn given(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect()
    }

    #[test]
    fn each_packet_is_given_once() {
        let store = store();
        begin(&store, "/", 1, Listed::Yes);
        begin(&store, "/a", 2, Listed::Yes);
        begin(&store, "/a/b", 3, Listed::Yes);
        let mut shares = Shares::default();
        let first = reading(&mut shares, &store, &[(1, 10), (2, 200), (3, 3_000)]);
        assert_eq!(first.0, given(&[("/", 10), ("/a", 200), ("/a/b", 3_000)]));
        let second = reading(&mut shares, &store, &[(1, 10), (2, 205), (3, 3_000)]);
        assert_eq!(second, (given(&[("/a", 5)]), Vec::new()));
    }

    #[test]
    fn what_is_inside_of_a_container_is_the_containers() {
        let store = store();
        begin(&store, "/a", 2, Listed::Yes).set_who(Some(Who { id: "x".into(), identity: None }));
        begin(&store, "/a/b", 3, Listed::Yes);
        begin(&store, "/a/b/c", 4, Listed::OnlyAsChild);
        let mut shares = Shares::default();
        let (first, _) = reading(&mut shares, &store, &[(2, 1), (3, 20), (4, 300)]);
        assert_eq!(first, given(&[("/a", 1), ("/a", 20), ("/a", 300)]));
    }

    #[test]
    fn what_is_not_listed_is_the_nearest_listed_ones() {
        let store = store();
        begin(&store, "/", 1, Listed::Yes);
        begin(&store, "/a", 2, Listed::OnlyAsChild);
        begin(&store, "/a/b", 3, Listed::Excluded);
        let mut shares = Shares::default();
        assert_eq!(reading(&mut shares, &store, &[(2, 1), (3, 20)]).0, given(&[("/", 1), ("/", 20)]));
    }

    #[test]
    fn the_last_packets_are_the_ended_ones_and_it_is_forgotten_once_it_is_silent() {
        let store = store();
        begin(&store, "/", 1, Listed::Yes);
        let ended = begin(&store, "/a", 2, Listed::Yes);
        let mut shares = Shares::default();
        assert_eq!(reading(&mut shares, &store, &[(2, 1)]).0, given(&[("/a", 1)]));
        store.end(&ended, WallTime(1_000_000_000));
        // Another of the same name is there before the next reading.
        begin(&store, "/a", 3, Listed::Yes);
        let (last, gone) = reading(&mut shares, &store, &[(2, 21), (3, 7)]);
        assert_eq!((last, gone), (given(&[("/a", 7), ("/a", 20)]), Vec::new()));
        assert_eq!(reading(&mut shares, &store, &[(2, 21), (3, 7)]), (Vec::new(), Vec::new()));
        assert_eq!(reading(&mut shares, &store, &[(2, 21), (3, 7)]), (Vec::new(), vec![2]));
        assert_eq!(reading(&mut shares, &store, &[(3, 7)]), (Vec::new(), Vec::new()));
        // A socket that outlives it, made known to the map anew.
        assert_eq!(reading(&mut shares, &store, &[(2, 5), (3, 7)]).0, given(&[("/a", 5)]));
    }

    #[test]
    fn one_that_began_and_ended_between_two_readings_has_its_packets() {
        let store = store();
        let ended = begin(&store, "/brief", 2, Listed::Yes);
        store.end(&ended, WallTime(1_000_000_000));
        assert_eq!(reading(&mut Shares::default(), &store, &[(2, 9)]).0, given(&[("/brief", 9)]));
    }

    #[test]
    fn what_nobody_knows_yet_waits_for_a_while() {
        let store = store();
        begin(&store, "/", 1, Listed::Yes);
        let mut shares = Shares::default();
        assert_eq!(reading(&mut shares, &store, &[(2, 1)]), (Vec::new(), Vec::new()));
        begin(&store, "/late", 2, Listed::Yes);
        assert_eq!(reading(&mut shares, &store, &[(2, 3)]).0, given(&[("/late", 3)]));
        let forgotten = (0..UNKNOWN).map(|_| reading(&mut shares, &store, &[(3, 1)]).1).collect::<Vec<_>>();
        assert_eq!(forgotten.iter().position(|gone| gone == &[3]), Some(UNKNOWN as usize - 1));
    }

    #[test]
    fn names_above() {
        assert_eq!(above(b"/a/b"), Some(b"/a".as_slice()));
        assert_eq!(above(b"/a"), Some(b"/".as_slice()));
        assert_eq!(above(b"/"), None);
    }
}
