//! Which containers are listed, in which order, under which headings.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

use super::names::GroupKind;
use super::world::{ContainerRow, World};
use crate::config::SortBy;

/// What the user wants to see.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) sort: SortBy,
    pub(super) direction: SortDirection,
    pub(super) search: String,
    pub(super) form: ListForm,
    pub(super) shown: RowFilter,
    /// Keys of groups.
    pub(super) folded: HashSet<String>,
}

/// Whether the usual order is turned around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SortDirection {
    /// Names from A, figures from the most.
    Usual,
    Reversed,
}

/// How they are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListForm {
    Flat,
    Grouped,
}

/// Which are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowFilter {
    All,
    /// Those that were OOM-killed or are throttled.
    Suffering,
}

/// A line of the list.
#[derive(Clone, Debug)]
pub(super) enum ListItem<'a> {
    Group(RowGroup),
    Row(&'a ContainerRow),
}

/// A heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowGroup {
    pub(super) key: String,
    pub(super) title: String,
    pub(super) kind: GroupKind,
    pub(super) rows: usize,
    pub(super) hurting: usize,
    pub(super) cpu: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) folded: bool,
}

impl ListItem<'_> {
    /// What it is known by from one answer to the next.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Group(group) => group.key.clone(),
            Self::Row(row) => row.who.id.to_string(),
        }
    }
}

/// The list.
#[derive(Debug)]
pub(super) struct Arranged<'a> {
    pub(super) items: Vec<ListItem<'a>>,
    /// Rows that fit the search.
    pub(super) found: usize,
    /// All that could.
    pub(super) all: usize,
    /// Those that go on.
    pub(super) running: usize,
    /// The worst first.
    pub(super) hurting: Vec<&'a ContainerRow>,
}

/// Arranges everything.
pub(super) fn arrange<'a>(world: &'a World, choice: &Choice) -> Arranged<'a> {
    let leaves: Vec<&ContainerRow> =
        world.leaves().into_iter().filter(|row| !row.has_ended() || row.is_kept()).collect();
    let mut hurting: Vec<_> =
        leaves.iter().map(|row| (*row, world.pains(row))).filter(|(_, pains)| !pains.is_empty()).collect();
    hurting.sort_by(|(one, pains), (other, others)| others.cmp(pains).then_with(|| one.who.name.cmp(&other.who.name)));
    let hurting: Vec<&ContainerRow> = hurting.into_iter().map(|(row, _)| row).collect();
    let words: Vec<String> = choice.search.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let suffers = |row: &ContainerRow| {
        row.figures.oom_kills > 0 || world.lately(row).kills > 0 || row.figures.throttled > Some(0)
    };
    let mut found: Vec<&ContainerRow> = leaves
        .iter()
        .copied()
        .filter(|row| words.iter().all(|word| row.text.contains(word)))
        .filter(|row| choice.shown == RowFilter::All || suffers(row))
        .collect();
    let hurts: HashSet<u64> = hurting.iter().map(|row| row.who.id).collect();
    found.sort_by(|one, other| order(one, other, choice, &hurts));
    let (count, all) = (found.len(), leaves.len());
    let running = leaves.iter().filter(|row| !row.has_ended()).count();
    let items = match choice.form {
        ListForm::Flat => found.into_iter().map(ListItem::Row).collect(),
        // What is looked for is to be seen.
        ListForm::Grouped => grouped(found, &hurting, choice, words.is_empty()),
    };
    Arranged { items, found: count, all, running, hurting }
}

/// What runs before what ended; of equals what hurts first.
fn order(one: &ContainerRow, other: &ContainerRow, choice: &Choice, hurts: &HashSet<u64>) -> Ordering {
    let by_name = || one.order.cmp(&other.order).then_with(|| one.who.name.cmp(&other.who.name));
    let ended = one.has_ended().cmp(&other.has_ended());
    let compared = match choice.sort {
        SortBy::Name => turned(by_name(), choice.direction),
        sort => figures_first(value(one, sort), value(other, sort), choice.direction),
    };
    let hurting = || hurts.contains(&other.who.id).cmp(&hurts.contains(&one.who.id));
    ended.then(compared).then_with(hurting).then_with(by_name)
}

/// The most first, or the least; what is not known last in either direction.
fn figures_first(one: Option<u64>, other: Option<u64>, direction: SortDirection) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => turned(other.cmp(&one), direction),
        (one, other) => other.is_some().cmp(&one.is_some()),
    }
}

const fn turned(order: Ordering, direction: SortDirection) -> Ordering {
    match direction {
        SortDirection::Usual => order,
        SortDirection::Reversed => order.reverse(),
    }
}

/// What is sorted by.
fn value(row: &ContainerRow, sort: SortBy) -> Option<u64> {
    let figures = &row.figures;
    let both = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or_default().saturating_add(other.unwrap_or_default())),
    };
    match sort {
        SortBy::Cpu => figures.cpu,
        SortBy::Memory => figures.memory,
        SortBy::Network => both(figures.received, figures.sent),
        SortBy::Disk => both(figures.read, figures.written),
        SortBy::Throttled => figures.throttled,
        SortBy::Pressure => row.pressure().map(|(_, share)| share),
        SortBy::Name => None,
    }
}

fn grouped<'a>(
    found: Vec<&'a ContainerRow>,
    hurting: &[&ContainerRow],
    choice: &Choice,
    may_fold: bool,
) -> Vec<ListItem<'a>> {
    let hurting: HashSet<u64> = hurting.iter().map(|row| row.who.id).collect();
    let mut groups: BTreeMap<(GroupKind, &str), Vec<&'a ContainerRow>> = BTreeMap::new();
    for row in found {
        groups.entry((row.kind, &row.group)).or_default().push(row);
    }
    let mut made: Vec<(RowGroup, Option<u64>, Vec<&ContainerRow>)> = groups
        .into_iter()
        .map(|((kind, title), rows)| {
            let sum = |of: fn(&ContainerRow) -> Option<u64>| {
                rows.iter().filter_map(|row| of(row)).reduce(u64::saturating_add)
            };
            let key = format!("{} {title}", kind.name());
            let group = RowGroup {
                title: title.to_owned(),
                kind,
                rows: rows.len(),
                hurting: rows.iter().filter(|row| hurting.contains(&row.who.id)).count(),
                cpu: sum(|row| row.figures.cpu),
                memory: sum(|row| row.figures.memory),
                folded: may_fold && choice.folded.contains(&key),
                key,
            };
            let value = match choice.sort {
                SortBy::Cpu => group.cpu,
                SortBy::Memory => group.memory,
                // Of the row that is sorted first.
                sort => rows.iter().find_map(|row| value(row, sort)),
            };
            (group, value, rows)
        })
        .collect();
    made.sort_by(|(one, of_one, _), (other, of_other, _)| {
        let by_title = || one.title.to_lowercase().cmp(&other.title.to_lowercase());
        match choice.sort {
            SortBy::Name => turned(by_title(), choice.direction),
            _ => figures_first(*of_one, *of_other, choice.direction).then_with(by_title),
        }
    });
    let mut items = Vec::new();
    for (group, _, rows) in made {
        let folded = group.folded;
        items.push(ListItem::Group(group));
        if !folded {
            items.extend(rows.into_iter().map(ListItem::Row));
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::world::tests::world;

    fn choice() -> Choice {
        Choice {
            sort: SortBy::Cpu,
            direction: SortDirection::Usual,
            search: String::new(),
            form: ListForm::Flat,
            shown: RowFilter::All,
            folded: HashSet::new(),
        }
    }

    fn some() -> World {
        let who = r#"[{"id":1,"name":"/g/a"},{"id":2,"name":"/g/b","labels":{"tier":"front"}},{"id":3,"name":"/h/c"},
            {"id":4,"name":"/g/d","container":"d","ended":7},{"id":5,"name":"/g/bare","ended":7}]"#;
        let now = r#"[{"id":[1,2,3,4],"cpu":[5,50,7,null],"sent":[1,null,3,null],"throttled":[null,3,0,null],"oom_kills":[0,0,0,1]}]"#;
        world(who, now, Vec::new())
    }

    fn titles(world: &World, choice: &Choice) -> Vec<String> {
        let title = |item: &ListItem<'_>| match item {
            ListItem::Group(group) => format!("[{}]", group.title),
            ListItem::Row(row) => row.title.clone(),
        };
        arrange(world, choice).items.iter().map(title).collect()
    }

    #[test]
    fn sorted_with_what_is_not_known_last() {
        let world = some();
        assert_eq!(titles(&world, &choice()), ["b", "c", "a", "d"]);
        assert_eq!(titles(&world, &Choice { direction: SortDirection::Reversed, ..choice() }), ["a", "c", "b", "d"]);
        assert_eq!(titles(&world, &Choice { sort: SortBy::Network, ..choice() }), ["c", "a", "b", "d"]);
        assert_eq!(titles(&world, &Choice { sort: SortBy::Name, ..choice() }), ["a", "b", "c", "d"]);
    }

    #[test]
    fn searched_and_grouped() {
        let world = some();
        assert_eq!(titles(&world, &Choice { search: "FRONT tier".into(), ..choice() }), ["b"]);
        let grouped = Choice { form: ListForm::Grouped, ..choice() };
        assert_eq!(titles(&world, &grouped), ["[/g]", "b", "a", "d", "[/h]", "c"]);
        let folded = Choice { folded: HashSet::from(["cgroup /g".to_owned()]), ..grouped };
        assert_eq!(titles(&world, &folded), ["[/g]", "[/h]", "c"]);
        assert_eq!(
            titles(&world, &Choice { search: "front".into(), ..folded }),
            ["[/g]", "b"],
            "what is found is seen"
        );
    }

    #[test]
    fn only_what_suffers() {
        let world = some();
        assert_eq!(titles(&world, &Choice { shown: RowFilter::Suffering, ..choice() }), ["b", "d"]);
        let arranged = arrange(&world, &choice());
        assert_eq!((arranged.found, arranged.all, arranged.running), (4, 4, 3));
    }
}
