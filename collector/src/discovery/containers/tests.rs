//! Events and scans in every order.

use super::*;

fn name(text: &str) -> Name {
    text.as_bytes().into()
}

fn member(hierarchy: u32, id: u64) -> Member {
    Member { hierarchy, id }
}

fn began(text: &str) -> Change {
    Change::Began { name: name(text), made: None }
}

fn ended(text: &str) -> Change {
    Change::Ended { name: name(text) }
}

fn members(text: &str) -> Change {
    Change::Members { name: name(text) }
}

/// Runs a step and gives back what it changed.
fn step(discovery: &mut Discovery, run: impl FnOnce(&mut Discovery, &mut Vec<Change>)) -> Vec<Change> {
    let mut changes = Vec::new();
    run(discovery, &mut changes);
    changes
}

fn with(paths: &[(u32, u64, &str)]) -> Discovery {
    let mut discovery = Discovery::default();
    for (hierarchy, id, path) in paths {
        discovery.made(member(*hierarchy, *id), &name(path), None, &mut Vec::new());
    }
    discovery
}

#[test]
fn several_hierarchies_are_one_container() {
    let mut discovery = Discovery::default();
    let mut run = |run: &dyn Fn(&mut Discovery, &mut Vec<Change>)| step(&mut discovery, |d, c| run(d, c));
    assert_eq!(run(&|d, c| d.made(member(1, 10), &name("/x"), None, c)), [began("/x")]);
    assert_eq!(run(&|d, c| d.made(member(2, 20), &name("/x"), None, c)), [members("/x")]);
    assert_eq!(run(&|d, c| d.made(member(2, 20), &name("/x"), None, c)), [], "reported twice");
    assert_eq!(run(&|d, c| d.removed(member(1, 10), c)), [members("/x")]);
    assert_eq!(run(&|d, c| d.removed(member(7, 70), c)), [], "nobody knew it");
    assert_eq!(run(&|d, c| d.removed(member(2, 20), c)), [ended("/x")]);
}

#[test]
fn a_path_made_again_is_a_new_container() {
    let mut discovery = with(&[(1, 10, "/x")]);
    let changes = step(&mut discovery, |d, c| d.made(member(1, 11), &name("/x"), None, c));
    assert_eq!(changes, [ended("/x"), began("/x")], "its removal was missed");
    assert_eq!(discovery.members(b"/x"), [member(1, 11)]);
    assert_eq!(discovery.name(member(1, 10)), None);

    let mut discovery = with(&[(1, 10, "/x"), (2, 20, "/x")]);
    let changes = step(&mut discovery, |d, c| {
        d.made(member(1, 11), &name("/x"), None, c);
        d.made(member(2, 21), &name("/x"), None, c);
    });
    assert_eq!(changes, [members("/x"), ended("/x"), began("/x")], "both removals were missed");
}

#[test]
fn one_directory_made_again_beside_others_is_the_same_container() {
    let mut discovery = with(&[(1, 10, "/x"), (2, 20, "/x")]);
    let changes = step(&mut discovery, |d, c| {
        d.removed(member(1, 10), c);
        d.made(member(1, 11), &name("/x"), None, c);
        d.removed(member(2, 20), c);
        d.removed(member(1, 11), c);
    });
    assert_eq!(changes, [members("/x"), members("/x"), members("/x"), ended("/x")]);
}

#[test]
fn renames_take_their_subtree_along_in_their_hierarchy() {
    let mut discovery =
        with(&[(1, 1, "/a"), (1, 2, "/a/b"), (2, 3, "/a/b"), (1, 4, "/a-x"), (1, 5, "/ab"), (1, 6, "/a/b/c")]);
    let changes = step(&mut discovery, |d, c| d.renamed(member(1, 1), &name("/z"), None, c));
    assert_eq!(changes, [ended("/a"), began("/z"), members("/a/b"), began("/z/b"), ended("/a/b/c"), began("/z/b/c"),]);
    assert_eq!(discovery.name(member(1, 6)), Some(&name("/z/b/c")));
    assert_eq!(discovery.members(b"/a/b"), [member(2, 3)]);
    assert_eq!(discovery.name(member(1, 4)), Some(&name("/a-x")));
    let changes = step(&mut discovery, |d, c| d.renamed(member(1, 99), &name("/new"), None, c));
    assert_eq!(changes, [began("/new")], "its mkdir was missed");
}

#[test]
fn populated_is_reported_once_for_all_hierarchies() {
    let mut discovery = with(&[(1, 10, "/x"), (2, 20, "/x")]);
    let populated = Change::Populated { name: name("/x") };
    let emptied = Change::Emptied { name: name("/x") };
    let mut populate = |hierarchy, id, value| step(&mut discovery, |d, c| d.populated(member(hierarchy, id), value, c));
    assert_eq!(populate(1, 10, true), std::slice::from_ref(&populated));
    assert_eq!(populate(2, 20, true), []);
    assert_eq!(populate(1, 10, false), [], "a process is still in the other hierarchy");
    assert_eq!(populate(2, 20, false), std::slice::from_ref(&emptied));
    assert_eq!(populate(2, 20, true), [populated]);
    assert_eq!(populate(9, 90, true), []);
}

#[test]
fn what_a_scan_found_before_any_event_empties_at_the_first_report() {
    let mut discovery = with(&[(1, 10, "/x"), (2, 20, "/x")]);
    let emptied = Change::Emptied { name: name("/x") };
    let mut populate = |hierarchy, id, value| step(&mut discovery, |d, c| d.populated(member(hierarchy, id), value, c));
    assert_eq!(populate(1, 10, false), [emptied]);
    assert_eq!(populate(2, 20, false), []);
}

fn found(hierarchy: u32, id: u64, path: &str) -> Found {
    Found { member: member(hierarchy, id), name: name(path) }
}

#[test]
fn a_scan_repairs_both_ways() {
    let mut discovery = with(&[(1, 1, "/"), (1, 10, "/gone"), (1, 11, "/anew"), (1, 12, "/stays")]);
    discovery.scan_begins();
    let scan = vec![found(1, 1, "/"), found(1, 21, "/anew"), found(1, 12, "/stays"), found(2, 30, "/new")];
    let mut changes = Vec::new();
    let divergence = discovery.merge(scan, &[1, 2], &mut changes);
    assert_eq!(divergence, Divergence { added: 2, removed: 2 });
    let position = |wanted: Change| changes.iter().position(|change| *change == wanted).unwrap();
    assert!(position(ended("/anew")) < position(began("/anew")));
    assert!(position(ended("/gone")) < position(began("/new")));
    assert_eq!(changes.len(), 4);
}

#[test]
fn a_hierarchy_that_could_not_be_scanned_keeps_its_containers() {
    let mut discovery = with(&[(1, 10, "/x"), (2, 20, "/y")]);
    discovery.scan_begins();
    let mut changes = Vec::new();
    assert_eq!(discovery.merge(Vec::new(), &[2], &mut changes), Divergence { added: 0, removed: 1 });
    assert_eq!(changes, [ended("/y")]);
}

#[test]
fn events_during_a_scan_win_over_it() {
    let mut discovery = with(&[(1, 1, "/"), (1, 10, "/dies")]);
    discovery.scan_begins();
    discovery.removed(member(1, 10), &mut Vec::new());
    discovery.made(member(1, 11), &name("/born"), None, &mut Vec::new());
    discovery.made(member(1, 12), &name("/brief"), None, &mut Vec::new());
    discovery.removed(member(1, 12), &mut Vec::new());
    // The scan passed before the birth, before the death, and in the middle of the brief life.
    let scan = vec![found(1, 1, "/"), found(1, 10, "/dies"), found(1, 12, "/brief")];
    let mut changes = Vec::new();
    assert_eq!(discovery.merge(scan, &[1, 2], &mut changes), Divergence::default());
    assert_eq!(changes, []);
    assert_eq!(discovery.members(b"/born"), [member(1, 11)]);
}

#[test]
fn hierarchies_that_were_left_are_remembered() {
    let mut discovery = with(&[(1, 10, "/a"), (2, 20, "/a")]);
    step(&mut discovery, |discovery, changes| discovery.removed(member(1, 10), changes));
    assert!(discovery.was_in(b"/a", 1) && discovery.was_in(b"/a", 2) && !discovery.was_in(b"/a", 3));
    step(&mut discovery, |discovery, changes| discovery.removed(member(2, 20), changes));
    assert!(!discovery.was_in(b"/a", 2), "the container has ended");
}
