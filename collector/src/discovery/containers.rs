//! The set of containers: kept by kernel events, repaired by scans. Pure state, no I/O.
//!
//! A container is a path. It may exist in several hierarchies at once (up to a dozen with cgroup v1, and cgroup2 beside
//! them); each directory is a *member*, known by hierarchy and kernfs id. The container exists while any member does.
//! Its identity is the path and those ids: once every directory it had has been removed and made again, the old container
//! has ended and a new one has begun. A single one made anew beside others that stayed (systemd does that when it
//! switches a controller off and on) is the same container, whose counters of that controller start anew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use crate::bounds::Bound::ContainerMemory;
use crate::reader::container::Member;
use crate::sample::event::Name;
use crate::sampler::roster::{Admission, Roster};
use crate::units::WallTime;

/// What a kernel event or a scan changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A container appeared. `made` is known when the kernel reported it.
    Began {
        /// Its name.
        name: Name,
        /// When it was made.
        made: Option<WallTime>,
    },
    /// It appeared in, or left, one of several hierarchies.
    Members {
        /// Its name.
        name: Name,
    },
    /// It is gone from every hierarchy.
    Ended {
        /// Its name.
        name: Name,
    },
    /// It is there, but not listed any more: others need its memory.
    PushedOut {
        /// Its name.
        name: Name,
    },
    /// Its first process came.
    Populated {
        /// Its name.
        name: Name,
    },
    /// Its last process ended.
    Emptied {
        /// Its name.
        name: Name,
    },
}

/// One directory a scan found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Where, and its kernfs id.
    pub member: Member,
    /// Its path.
    pub name: Name,
}

/// How much a scan and the events disagreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Divergence {
    /// Directories the events had not reported.
    pub added: u64,
    /// Directories that were gone without an event.
    pub removed: u64,
}

#[derive(Debug, Default)]
struct HierarchyNode {
    members: Vec<TrackedMember>,
    /// Hierarchies the container has left while it lived on in others.
    left: Vec<u32>,
    populated: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
struct TrackedMember {
    member: Member,
    populated: Option<bool>,
    age: Age,
}

/// Whether a directory is one the container began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// It is, or it is the first in its hierarchy.
    Original,
    /// It took the place of one that was removed.
    MadeAnew,
}

/// The set.
#[derive(Debug, Default)]
pub struct Discovery {
    nodes: BTreeMap<Name, HierarchyNode>,
    names: HashMap<Member, Name>,
    /// Members that came or went while a scan runs: the scan may have looked before or after, the events know.
    since_scan_began: Option<HashSet<Member>>,
    roster: Roster,
    refused: u64,
}

/// Members that may come or go during one scan; of a scan during which there are more nothing is learnt.
const NOTED: usize = 1 << 18;

/// Whether a directory belongs to a container that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joined {
    Yes,
    /// There is no memory for it.
    No,
}

impl Discovery {
    /// An empty set that may take this many bytes.
    pub fn new(memory: usize) -> Self {
        Self { roster: Roster::new(memory), ..Self::default() }
    }

    /// How many directories were not taken up because there was no memory for their containers.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The subtree that takes the most memory.
    pub fn heaviest(&mut self) -> Name {
        self.roster.payer()
    }

    /// Every container that is known.
    pub fn names(&self) -> Vec<Name> {
        self.nodes.keys().cloned().collect()
    }

    /// Every directory that is known.
    pub fn members_known(&self) -> HashSet<Member> {
        self.names.keys().copied().collect()
    }

    /// A directory was made.
    pub fn made(&mut self, member: Member, name: &Name, at: Option<WallTime>, changes: &mut Vec<Change>) {
        self.note(member);
        let _ = self.join(member, name, at, changes);
    }

    /// A directory was removed. One nobody knew is nothing new.
    pub fn removed(&mut self, member: Member, changes: &mut Vec<Change>) {
        self.note(member);
        self.leave(member, changes);
    }

    /// A directory got a new path, and with it everything below it (cgroup v1 only).
    pub fn renamed(&mut self, member: Member, name: &Name, at: Option<WallTime>, changes: &mut Vec<Change>) {
        let Some(old) = self.names.get(&member).cloned() else {
            return self.made(member, name, at, changes);
        };
        let mut below = old.to_vec();
        below.push(b'/');
        let moved: Vec<(Member, Name)> = self
            .nodes
            .range::<[u8], _>((Bound::Included(below.as_slice()), Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(&below))
            .flat_map(|(path, node)| {
                let new_path: Name = [&**name, &path[old.len()..]].concat().into();
                let same_hierarchy = node.members.iter().filter(|tracked| tracked.member.hierarchy == member.hierarchy);
                same_hierarchy.map(move |tracked| (tracked.member, Name::clone(&new_path))).collect::<Vec<_>>()
            })
            .collect();
        for (member, name) in std::iter::once((member, Name::clone(name))).chain(moved) {
            self.note(member);
            self.leave(member, changes);
            let _ = self.join(member, &name, at, changes);
        }
    }

    /// A directory's subtree got its first process, or lost its last.
    pub fn populated(&mut self, member: Member, populated: bool, changes: &mut Vec<Change>) {
        let Some(name) = self.names.get(&member) else { return };
        let Some(node) = self.nodes.get_mut(name) else { return };
        for tracked in node.members.iter_mut().filter(|tracked| tracked.member == member) {
            tracked.populated = Some(populated);
        }
        let now = if node.members.iter().any(|tracked| tracked.populated == Some(true)) {
            true
        } else {
            // Members a scan found have not reported yet; a process leaves all of them in the same instant.
            populated
        };
        if node.populated.replace(now) != Some(now) {
            let name = Name::clone(name);
            changes.push(if now { Change::Populated { name } } else { Change::Emptied { name } });
        }
    }

    /// From now on what events report takes precedence over what the scan that starts now finds.
    pub fn scan_begins(&mut self) {
        self.since_scan_began = Some(HashSet::new());
    }

    /// Whether so much happened while the scan ran that nothing is learnt from it.
    pub fn scan_is_void(&self) -> bool {
        self.since_scan_began.as_ref().is_some_and(|newer| newer.len() >= NOTED)
    }

    /// Makes the set equal to what a scan found in the hierarchies it could look at, apart from what events reported
    /// since it began.
    pub fn merge(&mut self, found: Vec<Found>, scanned: &[u32], changes: &mut Vec<Change>) -> Divergence {
        let newer = self.since_scan_began.take().unwrap_or_default();
        let mut divergence = Divergence::default();
        if newer.len() >= NOTED {
            return divergence;
        }
        let mut present = HashSet::with_capacity(found.len());
        let mut appeared = Vec::new();
        for Found { member, name } in found {
            present.insert(member);
            if !newer.contains(&member) && self.names.get(&member) != Some(&name) {
                appeared.push((member, name));
            }
        }
        let is_gone = |member: &&Member| {
            scanned.contains(&member.hierarchy) && !present.contains(*member) && !newer.contains(*member)
        };
        let gone: Vec<Member> = self.names.keys().filter(is_gone).copied().collect();
        // Removals first: a path made anew must end its old container before the new one begins.
        for member in gone {
            divergence.removed += 1;
            self.leave(member, changes);
        }
        for (member, name) in appeared {
            if self.names.contains_key(&member) {
                self.leave(member, changes);
            }
            if self.join(member, &name, None, changes) == Joined::Yes {
                divergence.added += 1;
            }
        }
        divergence
    }

    /// Populated states may have been missed: the next report counts as a change.
    pub fn forget_populated(&mut self) {
        for node in self.nodes.values_mut() {
            node.populated = None;
            for tracked in &mut node.members {
                tracked.populated = None;
            }
        }
    }

    /// The name of a directory.
    pub fn name(&self, member: Member) -> Option<&Name> {
        self.names.get(&member)
    }

    /// The directories of a container.
    pub fn members(&self, name: &[u8]) -> Vec<Member> {
        self.nodes.get(name).map(|node| node.members.iter().map(|tracked| tracked.member).collect()).unwrap_or_default()
    }

    /// Whether a container is in this hierarchy, or was and is now only in others.
    pub fn was_in(&self, name: &[u8], hierarchy: u32) -> bool {
        self.nodes.get(name).is_some_and(|node| {
            let is_there = |tracked: &TrackedMember| tracked.member.hierarchy == hierarchy;
            node.left.contains(&hierarchy) || node.members.iter().any(is_there)
        })
    }

    /// This name and those below it, from the top down.
    pub fn names_from(&self, name: &[u8]) -> Vec<Name> {
        let below = |path: &[u8]| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
        let from = self.nodes.range::<[u8], _>((Bound::Included(name), Bound::Unbounded));
        let from = from.map(|(path, _)| path).take_while(|path| path.starts_with(name));
        from.filter(|path| below(path)).cloned().collect()
    }

    fn note(&mut self, member: Member) {
        if let Some(newer) = &mut self.since_scan_began
            && newer.len() < NOTED
        {
            newer.insert(member);
        }
    }

    fn join(&mut self, member: Member, name: &Name, at: Option<WallTime>, changes: &mut Vec<Change>) -> Joined {
        if self.names.get(&member) == Some(name) {
            return Joined::Yes;
        }
        match self.roster.admit(name) {
            Admission::Listed => {}
            Admission::InsteadOf(others) => {
                for other in others {
                    ContainerMemory.exceeded();
                    for tracked in self.nodes.remove(&other).unwrap_or_default().members {
                        self.names.remove(&tracked.member);
                    }
                    changes.push(Change::PushedOut { name: other });
                }
            }
            Admission::Refused => {
                ContainerMemory.exceeded();
                self.refused += 1;
                return Joined::No;
            }
        }
        // One allocation for all that keep it.
        let name = &self.roster.kept(name).map_or_else(|| Name::clone(name), Name::clone);
        let node = self.nodes.entry(Name::clone(name)).or_default();
        let first = node.members.is_empty();
        // The removal of the old directory was missed, or seen while other hierarchies still had the path.
        let replaced = node.members.iter().position(|tracked| tracked.member.hierarchy == member.hierarchy);
        if let Some(replaced) = replaced {
            let replaced = node.members.remove(replaced);
            self.names.remove(&replaced.member);
        }
        let age =
            if replaced.is_some() || node.left.contains(&member.hierarchy) { Age::MadeAnew } else { Age::Original };
        node.members.push(TrackedMember { member, populated: None, age });
        let name_of = || Name::clone(name);
        if age == Age::MadeAnew && node.members.iter().all(|tracked| tracked.age == Age::MadeAnew) {
            node.left.clear();
            node.populated = None;
            for tracked in &mut node.members {
                tracked.age = Age::Original;
            }
            changes.push(Change::Ended { name: name_of() });
            changes.push(Change::Began { name: name_of(), made: at });
        } else if first {
            changes.push(Change::Began { name: name_of(), made: at });
        } else {
            changes.push(Change::Members { name: name_of() });
        }
        self.names.insert(member, Name::clone(name));
        Joined::Yes
    }

    fn leave(&mut self, member: Member, changes: &mut Vec<Change>) {
        let Some(name) = self.names.remove(&member) else { return };
        let Some(node) = self.nodes.get_mut(&name) else { return };
        node.members.retain(|tracked| tracked.member != member);
        if node.members.is_empty() {
            self.nodes.remove(&name);
            self.roster.release(&name);
            changes.push(Change::Ended { name });
        } else {
            if !node.left.contains(&member.hierarchy) {
                node.left.push(member.hierarchy);
            }
            changes.push(Change::Members { name });
        }
    }
}

#[cfg(test)]
mod tests;
