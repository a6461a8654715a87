//! What is left out when there are more series than are allowed.
//!
//! What applications report is the first to go. Then in this order, until the rest fits: whole families, group by group as
//! [`Group`] lists them and within a group the last by name first, but none of the core; then the core of containers that
//! ended, the last by name first; then of cgroups that no runtime made, the deepest first and among equals the last by
//! name; then of the runtimes' containers, the last by name first; at last the root's. What reports the machine and of
//! the collector itself stays.

use std::cmp::Reverse;

use super::family::{Family, Group};
use super::snapshot::{Entry, Life};

/// What is left out.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Families without series, by position.
    pub(super) families: Vec<usize>,
    /// For each container whether it is left out.
    pub(super) containers: Vec<bool>,
    pub(super) shed: Shed,
}

/// How many series are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shed {
    /// With their families.
    pub(super) families: usize,
    /// With containers that ended.
    pub(super) ended: usize,
    /// With containers that are there.
    pub(super) containers: usize,
    /// Beyond what the recommended profile has of a container.
    pub(super) profile: usize,
}

/// Decides. `counts` are the series of each family, `fixed` those that always stay, `core` counts the series that a
/// container has in families of the core.
pub(super) fn plan(
    limit: usize,
    families: &[&Family],
    counts: &[usize],
    fixed: usize,
    entries: &[&Entry],
    mut core: impl FnMut(usize) -> usize,
) -> Plan {
    let mut plan = Plan { containers: vec![false; entries.len()], ..Plan::default() };
    let mut total = fixed + counts.iter().sum::<usize>();
    let mut order: Vec<usize> = (0..families.len()).filter(|at| families[*at].group != Group::Core).collect();
    order.sort_by_key(|at| (families[*at].group, Reverse(families[*at].name)));
    for at in order {
        if total <= limit {
            return plan;
        }
        total -= counts[at];
        plan.shed.families += counts[at];
        plan.families.push(at);
    }
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|at| {
        let entry = entries[*at];
        let depth = entry.name.split(|byte| *byte == b'/').count();
        let class = match (&*entry.name, entry.life, &entry.identity) {
            (b"/", ..) => 3,
            (_, Life::Ended, _) => 0,
            (_, Life::Running, None) => 1,
            (_, Life::Running, Some(_)) => 2,
        };
        (class, Reverse(if class == 1 { depth } else { 0 }), Reverse(&entry.name))
    });
    for at in order {
        if total <= limit {
            break;
        }
        let series = core(at);
        total -= series.min(total);
        match entries[at].life {
            Life::Ended => plan.shed.ended += series,
            Life::Running => plan.shed.containers += series,
        }
        plan.containers[at] = true;
    }
    plan
}
