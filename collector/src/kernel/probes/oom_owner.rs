//! Whose memory limit an OOM kill was about: a decision over what an OOM record says.
//!
//! The tracepoint does not name the cgroup that ran out of memory, only the victim, which may sit anywhere below it.
//! What the kernel leaves behind, in the order of how much it proves:
//!
//! 1. `memory_events_local[MEMCG_OOM]` is raised on exactly the cgroup whose limit could not be met, right before its
//!    OOM killer runs. A count that rose since the last look is proof; of several that rose (another cgroup on the
//!    same path had a situation of its own that killed nobody, since it came back to a fitting state) the highest
//!    that is also locked decides.
//! 2. `oom_lock` is set on the cgroup and everything below it while its OOM is handled, on cgroup v1 and v2. Going up
//!    from the victim, the top of the unbroken run of locked levels is the owner. Two cases have no lock: a
//!    `memory.max` written below the usage, and kernels built without `CONFIG_MEMCG_V1` since 6.11. (`under_oom` is
//!    of no use here: it is taken back before the killer runs.)
//! 3. With neither known (no earlier look and no lock) the level whose usage is at its limit, to within what CPUs keep
//!    charged in advance, is the owner; of several the one with the least room.
//!
//! No level qualifies when the whole machine is out of memory.

use super::events::{MemcgLevel, OomEvent};

/// Pages a CPU may hold charged in advance (`MEMCG_CHARGE_BATCH`), times a generous number of CPUs: a cgroup with more
/// room than this did not fail to allocate.
const NEAR_LIMIT_PAGES: u64 = 64 * 64;

/// Longer than the kernel takes to kill all tasks of a cgroup.
const SITUATION_NS: u64 = 1_000_000_000;

/// The id of the memory cgroup whose limit was hit, or `None` when no limit was: the machine ran out of memory.
///
/// `levels` is the record's, from the victim's cgroup upwards. `known_local_ooms` gives the count a cgroup had at the
/// last look: what an earlier record or its `memory.events.local` said, 0 for one that was made since, `None` when
/// nothing is known.
pub fn limit_owner(levels: &[MemcgLevel], known_local_ooms: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let rose = |level: &&MemcgLevel| match (level.local_ooms, known_local_ooms(level.id)) {
        (Some(now), Some(before)) => now > before,
        _ => false,
    };
    let locked_run = levels.iter().take_while(|level| level.oom_locked == Some(true));
    let risen: Vec<&MemcgLevel> = levels.iter().filter(rose).collect();
    if let Some(owner) = locked_run.clone().filter(rose).last() {
        return Some(owner.id);
    }
    match risen.as_slice() {
        [] => {}
        [only] => return Some(only.id),
        // Risen, yet none locked: the counts alone do not show which of them this kill belongs to.
        [.., highest] => return Some(least_room(&risen).unwrap_or(highest).id),
    }
    if let Some(top) = locked_run.last() {
        return Some(top.id);
    }
    // A count that is known not to have risen clears its cgroup, and so does one that is zero.
    let cleared =
        |level: &MemcgLevel| level.local_ooms.is_some_and(|now| now == 0 || known_local_ooms(level.id) == Some(now));
    let candidates: Vec<&MemcgLevel> = levels.iter().filter(|level| !cleared(level)).collect();
    least_room(&candidates).map(|level| level.id)
}

/// Whether `event` is about the same shortage as the event before it, so that its limit's owner is the same too: with
/// `memory.oom.group` the kernel kills all tasks of a cgroup at once, and counts that as running out of memory once.
pub fn same_situation(before: &OomEvent, event: &OomEvent) -> bool {
    let (Some(earlier), Some(trigger)) = (before.trigger, event.trigger) else { return false };
    let count = |levels: &[MemcgLevel], id| levels.iter().find(|level| level.id == id).map(|level| level.local_ooms);
    let rose = |level: &MemcgLevel| count(&before.levels, level.id).is_some_and(|earlier| level.local_ooms > earlier);
    trigger.tid == earlier.tid
        && event.boot_ns.saturating_sub(before.boot_ns) < SITUATION_NS
        && !event.levels.is_empty()
        && !event.levels.iter().any(rose)
}

/// Of the levels at their limit the one with the least room, the higher of equals.
fn least_room<'a>(levels: &[&'a MemcgLevel]) -> Option<&'a MemcgLevel> {
    let room = |level: &MemcgLevel| level.max_pages.saturating_sub(level.usage_pages);
    levels.iter().rev().copied().filter(|level| room(level) <= NEAR_LIMIT_PAGES).min_by_key(|level| room(level))
}

#[cfg(test)]
mod tests {
    use super::{
        super::events::{Comm, Task},
        *,
    };

    const UNLIMITED: u64 = u64::MAX / 4096;

    fn level(
        id: u64,
        usage_pages: u64,
        max_pages: u64,
        local_ooms: Option<u64>,
        oom_locked: Option<bool>,
    ) -> MemcgLevel {
        MemcgLevel { id, usage_pages, max_pages, local_ooms, oom_locked }
    }

    #[track_caller]
    fn check(case: &str, levels: &[MemcgLevel], known: &[(u64, u64)], expected: Option<u64>) {
        let look_up = |id| known.iter().find(|(known, _)| *known == id).map(|(_, count)| *count);
        assert_eq!(limit_owner(levels, look_up), expected, "{case}");
    }

    #[test]
    fn the_owner_is_found() {
        let (yes, no) = (Some(true), Some(false));
        check(
            "the parent's count rose and it is locked",
            &[
                level(3, 900, UNLIMITED, Some(0), yes),
                level(2, 1000, 1000, Some(5), yes),
                level(1, 0, UNLIMITED, Some(0), no),
            ],
            &[(3, 0), (2, 4), (1, 0)],
            Some(2),
        );
        check(
            "its own limit",
            &[level(3, 1000, 1000, Some(1), yes), level(2, 2000, UNLIMITED, Some(0), no)],
            &[(3, 0), (2, 0)],
            Some(3),
        );
        check(
            "both rose: the higher, as its lock covers the lower",
            &[level(3, 1000, 1000, Some(1), yes), level(2, 2000, 2000, Some(1), yes)],
            &[(3, 0), (2, 0)],
            Some(2),
        );
        check(
            "both rose, only the lower is locked",
            &[level(3, 1000, 1000, Some(1), yes), level(2, 2000, 2000, Some(1), no)],
            &[(3, 0), (2, 0)],
            Some(3),
        );
        check(
            "memory.max written below the usage: no lock",
            &[level(3, 900, UNLIMITED, Some(0), no), level(2, 1000, 500, Some(1), no)],
            &[(3, 0), (2, 0)],
            Some(2),
        );
        check(
            "nothing known before: the locked run's top",
            &[
                level(3, 900, UNLIMITED, Some(7), yes),
                level(2, 1000, 1000, Some(9), yes),
                level(1, 0, UNLIMITED, Some(9), no),
            ],
            &[],
            Some(2),
        );
        check(
            "a lock above a gap is another subtree's affair",
            &[
                level(3, 1000, 1000, Some(7), yes),
                level(2, 0, UNLIMITED, Some(1), no),
                level(1, 0, UNLIMITED, Some(9), yes),
            ],
            &[],
            Some(3),
        );
        check(
            "locked, though the count is the one already known: one more task of a group kill",
            &[level(3, 1000, 1000, Some(2), Some(true)), level(1, 9000, UNLIMITED, Some(0), Some(false))],
            &[(3, 2), (1, 0)],
            Some(3),
        );
        check(
            "no counts on this kernel: the lock alone",
            &[level(3, 900, UNLIMITED, None, yes), level(2, 1000, 1000, None, yes)],
            &[],
            Some(2),
        );
        check(
            "no locks, nothing known: the one at its limit that ever ran out",
            &[level(3, 1000, 1000, Some(0), None), level(2, 99_900, 100_000, Some(3), None)],
            &[],
            Some(2),
        );
        check(
            "no locks, both rose: the least room",
            &[level(3, 990, 1000, Some(1), None), level(2, 100_000, 100_000, Some(1), None)],
            &[(3, 0), (2, 0)],
            Some(2),
        );
    }

    #[test]
    fn the_machine_as_a_whole() {
        check("no levels", &[], &[], None);
        check(
            "nothing rose, nothing locked, room everywhere",
            &[level(3, 900, UNLIMITED, Some(2), Some(false)), level(1, 9000, UNLIMITED, Some(0), Some(false))],
            &[(3, 2), (1, 0)],
            None,
        );
        check(
            "full, but its count stood still",
            &[level(3, 1000, 1000, Some(2), Some(false)), level(1, 9000, UNLIMITED, Some(0), Some(false))],
            &[(3, 2), (1, 0)],
            None,
        );
        check("nothing known, room everywhere", &[level(3, 900, UNLIMITED, Some(2), Some(false))], &[], None);
    }

    #[test]
    fn a_group_kill_is_one_situation() {
        let task = Task { pid: 5, tid: 5, comm: Comm::default(), default_cgroup: None, memory_cgroup: None };
        let first = OomEvent {
            boot_ns: 1_000,
            victim_tid: 6,
            victim: None,
            trigger: Some(task),
            uid: None,
            oom_score_adj: None,
            sizes: None,
            pgtables_bytes: None,
            memory_hierarchy_id: Some(0),
            levels: vec![level(3, 0, 0, Some(1), None), level(2, 0, 0, Some(0), None)],
        };
        let second = OomEvent { boot_ns: 9_000, ..first.clone() };
        assert!(same_situation(&first, &second));
        let later = OomEvent { boot_ns: 1_000 + SITUATION_NS, ..first.clone() };
        assert!(!same_situation(&first, &later));
        let again = OomEvent { levels: vec![level(3, 0, 0, Some(2), None)], ..second.clone() };
        assert!(!same_situation(&first, &again));
        let other = OomEvent { trigger: Some(Task { tid: 7, ..task }), ..second };
        assert!(!same_situation(&first, &other));
    }
}
