//! Which cgroups there is memory for. Pure state.
//!
//! Every cgroup that is known is charged for what it costs while it is listed. When the memory is used up, the subtree
//! that takes the most of it pays: a new cgroup in it is not listed, and one elsewhere is listed in the place of one of
//! its own. So whoever makes cgroups without end, in whatever subtree was delegated to them, pushes out none but their
//! own.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use crate::sample::event::Name;

/// What a listed cgroup takes beside its samples: descriptors' places, parsers' state, its entries in the maps.
const FLAT: usize = 16 * 1024;
/// What a byte of its path takes: it is kept once, and repeated in every series and in every answer under way.
const PER_BYTE: usize = 32;
/// The subtree that pays is looked for from the root downwards, where one child has at least this part of the memory.
const SHARE: usize = 4;
/// Levels that are looked through: who has more of them has no more rights below.
const LEVELS: usize = 16;
/// So many decisions are made before the subtree that pays is looked for again.
const DECISIONS: u32 = 64;

/// Whether a cgroup is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Listed,
    /// It is, and these are not any more.
    InsteadOf(Vec<Name>),
    /// It is not.
    Refused,
}

/// The cgroups there is memory for.
#[derive(Clone, Debug)]
pub struct Roster {
    limit: usize,
    used: usize,
    names: BTreeMap<Name, usize>,
    /// The subtree that pays, and how many decisions may still be made with it.
    payer: Option<(Name, u32)>,
}

impl Default for Roster {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

/// What a cgroup of this name is charged.
pub fn charge(name: &[u8]) -> usize {
    FLAT + PER_BYTE * name.len()
}

impl Roster {
    /// A roster for this many bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: 0, names: BTreeMap::new(), payer: None }
    }

    /// Takes a cgroup up, if there is memory for it. One that is there already stays.
    pub fn admit(&mut self, name: &Name) -> Admission {
        if self.names.contains_key(name) {
            return Admission::Listed;
        }
        let charge = charge(name);
        // The root is there whatever there is memory for.
        if self.used.saturating_add(charge) <= self.limit || **name == *b"/" {
            self.add(name, charge);
            return Admission::Listed;
        }
        let payer = self.payer();
        if is_below(name, &payer) {
            return Admission::Refused;
        }
        let mut pushed_out = Vec::new();
        let mut freed = 0;
        let (below, behind) = ([&*payer, b"/"].concat(), [&*payer, b"0"].concat());
        // The last by name has nothing below it that is still listed.
        while self.used.saturating_add(charge) > self.limit {
            let mut range = self.names.range::<[u8], _>((Excluded(below.as_slice()), Excluded(behind.as_slice())));
            let Some(last) = range.next_back().map(|(path, _)| Name::clone(path)) else { break };
            freed += self.names.get(&last).copied().unwrap_or_default();
            self.release(&last);
            pushed_out.push(last);
        }
        if freed == 0 {
            return Admission::Refused;
        }
        self.add(name, charge);
        // The fewer there are, the sooner somebody else has the most.
        let spent = DECISIONS / u32::try_from(self.names.len() / 64).unwrap_or(DECISIONS).max(1);
        if let Some((_, left)) = &mut self.payer {
            *left = left.saturating_sub(spent.max(1));
        }
        Admission::InsteadOf(pushed_out)
    }

    fn add(&mut self, name: &Name, charge: usize) {
        self.used += charge;
        self.names.insert(Name::clone(name), charge);
    }

    /// A cgroup is gone.
    pub fn release(&mut self, name: &[u8]) {
        if let Some(charge) = self.names.remove(name) {
            self.used -= charge;
        }
    }

    /// Whether it is listed.
    pub fn has(&self, name: &[u8]) -> bool {
        self.names.contains_key(name)
    }

    /// How many are.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The name as it is kept, so that there is one of it.
    pub fn kept(&self, name: &[u8]) -> Option<&Name> {
        self.names.get_key_value(name).map(|(name, _)| name)
    }

    /// The subtree that pays while there is no memory left.
    pub fn payer(&mut self) -> Name {
        if let Some((payer, left)) = &mut self.payer
            && let Some(fewer) = left.checked_sub(1)
        {
            *left = fewer;
            return Name::clone(payer);
        }
        let payer = heaviest(&self.names);
        self.payer = Some((Name::clone(&payer), DECISIONS));
        payer
    }
}

fn is_below(name: &[u8], top: &[u8]) -> bool {
    name.strip_prefix(top).is_some_and(|rest| rest.starts_with(b"/"))
}

/// From the root downwards the child with the most, as long as it has a considerable part; at the root in any case.
fn heaviest(names: &BTreeMap<Name, usize>) -> Name {
    let mut top: Vec<u8> = Vec::new();
    for level in 0..LEVELS {
        let below = [&*top, b"/"].concat();
        let from = names.range::<[u8], _>((Included(below.as_slice()), Unbounded));
        let mut all = 0;
        let mut children: BTreeMap<&[u8], usize> = BTreeMap::new();
        for (path, charge) in from.take_while(|(path, _)| path.starts_with(&below)) {
            let rest = &path[below.len()..];
            let child = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
            if !child.is_empty() {
                all += charge;
                *children.entry(child).or_default() += charge;
            }
        }
        // Of two that have the same the first by name, so that it does not change from time to time.
        let most = children.into_iter().rev().max_by_key(|(_, charge)| *charge);
        let Some((child, charge)) = most else { break };
        if level > 0 && charge < all / SHARE {
            break;
        }
        top = [&*below, child].concat();
    }
    top.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.as_bytes().into()
    }

    fn text(name: &[u8]) -> String {
        String::from_utf8_lossy(name).into_owned()
    }

    /// Room for so many cgroups with paths of about twenty bytes.
    fn room(cgroups: usize) -> Roster {
        Roster::new(cgroups * charge(&[b'x'; 20]))
    }

    #[test]
    fn at_the_bound_everything_is_listed_and_beyond_it_the_largest_subtree_pays() {
        let names: Vec<_> = (0..10).map(|number| name(&format!("/user/evil/{number:09}"))).collect();
        let mut roster = Roster::new(names.iter().map(|name| charge(name)).sum());
        for name in &names {
            assert_eq!(roster.admit(name), Admission::Listed);
        }
        assert_eq!(roster.admit(&name("/user/evil/another")), Admission::Refused);
        assert_eq!(roster.admit(&names[3]), Admission::Listed, "it is there already");
        assert_eq!(roster.admit(&name("/kubepods/honest")), Admission::InsteadOf(vec![names[9].clone()]));
        assert!(!roster.has(&names[9]) && roster.has(b"/kubepods/honest"));
        roster.release(&names[0]);
        assert_eq!(roster.admit(&names[9]), Admission::Listed, "there is room again");
    }

    #[test]
    fn a_thousand_honest_ones_stay_whatever_a_delegated_user_makes() {
        let mut roster = room(2_500);
        let honest: Vec<_> = (0..1000).map(|number| name(&format!("/kubepods/burstable/pod{number}/c"))).collect();
        for (number, honest) in honest.iter().enumerate() {
            // The user is there first, and in between.
            for evil in 0..20 {
                roster.admit(&name(&format!("/user.slice/u/{evil}/{number}/x")));
            }
            assert_ne!(roster.admit(honest), Admission::Refused, "{}", text(honest));
        }
        assert!(roster.used <= roster.limit);
        assert!(honest.iter().all(|honest| roster.has(honest)));
    }

    #[test]
    fn long_paths_cost_more() {
        let mut roster = room(1000);
        let element = "x".repeat(200);
        let long = vec![element.as_str(); 18].join("/");
        let listed =
            (0..1000).filter(|number| roster.admit(&name(&format!("/u/{long}/{number}"))) == Admission::Listed);
        let listed = listed.count();
        assert!((100..200).contains(&listed), "{listed}");
    }

    #[test]
    fn the_one_who_pays_is_found_among_siblings_and_below_chains() {
        let mut names = BTreeMap::new();
        let mut add = |text: &str| names.insert(name(text), charge(text.as_bytes()));
        for number in 0..30 {
            add(&format!("/system.slice/s{number}.service"));
            add(&format!("/kubepods/burstable/pod{number}/a"));
            add(&format!("/kubepods/burstable/podevil/nested/{number}/b"));
        }
        assert_eq!(text(&heaviest(&names)), "/kubepods/burstable/podevil/nested");
        assert_eq!(text(&heaviest(&BTreeMap::new())), "");
        let chain: BTreeMap<Name, usize> = (1..100).map(|depth| (name(&"/a".repeat(depth)), 1)).collect();
        assert_eq!(heaviest(&chain).len(), 2 * LEVELS);
    }

    #[test]
    fn the_root_and_what_takes_turns() {
        let mut roster = room(10);
        for number in 0..100 {
            roster.admit(&name(&format!("/a/{number}")));
            roster.admit(&name(&format!("/b/{number}")));
            assert!(roster.used <= roster.limit);
        }
        assert_eq!(roster.admit(&name("/")), Admission::Listed);
        let (a, b) = roster.names.keys().filter(|name| name.len() > 1).partition::<Vec<_>, _>(|name| name[1] == b'a');
        assert!(a.len().abs_diff(b.len()) <= 4, "{} and {}", a.len(), b.len());
    }
}
