//! The columns of the table: which there is room for, and what is in them.

use super::figures::{UNKNOWN, bytes, count, cpu, kib, rate, span, tenths};
use super::world::{ContainerRow, World};
use crate::config::SortBy;

/// A column beside the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableColumn {
    Cpu,
    Quota,
    Throttled,
    Memory,
    Share,
    Limit,
    Pressure,
    Received,
    Sent,
    Read,
    Written,
    Tasks,
    Up,
    Restarts,
    Oom,
}

/// All of them, as they are shown from left to right.
const ALL: [TableColumn; 15] = [
    TableColumn::Cpu,
    TableColumn::Quota,
    TableColumn::Throttled,
    TableColumn::Memory,
    TableColumn::Share,
    TableColumn::Limit,
    TableColumn::Pressure,
    TableColumn::Received,
    TableColumn::Sent,
    TableColumn::Read,
    TableColumn::Written,
    TableColumn::Tasks,
    TableColumn::Up,
    TableColumn::Restarts,
    TableColumn::Oom,
];
/// Those that are shown together, the most important first.
const BY_WORTH: [&[TableColumn]; 12] = [
    &[TableColumn::Cpu],
    &[TableColumn::Memory],
    &[TableColumn::Share],
    &[TableColumn::Throttled],
    &[TableColumn::Oom],
    &[TableColumn::Pressure],
    &[TableColumn::Tasks],
    &[TableColumn::Received, TableColumn::Sent],
    &[TableColumn::Read, TableColumn::Written],
    &[TableColumn::Up],
    &[TableColumn::Limit, TableColumn::Quota],
    &[TableColumn::Restarts],
];
/// The name has at least so much room.
const NAME: usize = 24;

/// What is in a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) mood: Mood,
}

/// How a cell is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Plain,
    /// Nothing is known, or nothing happens.
    Quiet,
    Hurts,
}

impl TableColumn {
    pub(super) const fn head(self) -> &'static str {
        match self {
            Self::Cpu => "CPU%",
            Self::Quota => "QUOTA%",
            Self::Throttled => "THR%",
            Self::Memory => "MEM",
            Self::Share => "MEM%",
            Self::Limit => "LIMIT",
            Self::Pressure => "PSI%",
            Self::Received => "NET IN",
            Self::Sent => "NET OUT",
            Self::Read => "READ",
            Self::Written => "WRITE",
            Self::Tasks => "TASKS",
            Self::Up => "UP",
            Self::Restarts => "RST",
            Self::Oom => "OOM",
        }
    }

    /// With a place at its end for a mark.
    pub(super) const fn width(self) -> usize {
        match self {
            Self::Throttled | Self::Share | Self::Up | Self::Restarts | Self::Oom => 6,
            Self::Cpu | Self::Memory | Self::Limit | Self::Received | Self::Read | Self::Written | Self::Tasks => 7,
            Self::Quota | Self::Sent => 8,
            Self::Pressure => 10,
        }
    }

    /// Whether the list can be sorted by it, and is.
    pub(super) const fn is_sorted_by(self, sort: SortBy) -> bool {
        matches!(
            (self, sort),
            (Self::Cpu, SortBy::Cpu)
                | (Self::Memory, SortBy::Memory)
                | (Self::Received | Self::Sent, SortBy::Network)
                | (Self::Read | Self::Written, SortBy::Disk)
                | (Self::Throttled, SortBy::Throttled)
                | (Self::Pressure, SortBy::Pressure)
        )
    }

    /// What a container has in it.
    pub(super) fn cell(self, row: &ContainerRow, world: &World) -> Cell {
        let (who, figures) = (&row.who, &row.figures);
        let hurts = |hurts: bool| if hurts { Mood::Hurts } else { Mood::Plain };
        let (text, mood) = match self {
            Self::Cpu => (cpu(figures.cpu), Mood::Plain),
            Self::Quota => (who.cpu_limit.map_or(UNKNOWN.to_owned(), tenths), Mood::Quiet),
            Self::Throttled => (count(figures.throttled), hurts(row.throttling_hurts())),
            Self::Memory => (kib(figures.memory), hurts(row.memory_hurts())),
            Self::Share => (count(row.memory_share().map(|share| share / 10)), hurts(row.memory_hurts())),
            Self::Limit => (bytes(who.memory_limit), Mood::Quiet),
            Self::Pressure => match row.pressure() {
                None => (UNKNOWN.to_owned(), Mood::Quiet),
                Some((_, 0)) => ("0".to_owned(), Mood::Quiet),
                Some((of, share)) => (format!("{} {of}", tenths(share)), Mood::Plain),
            },
            Self::Received => (rate(figures.received), Mood::Plain),
            Self::Sent => (rate(figures.sent), Mood::Plain),
            Self::Read => (rate(figures.read), Mood::Plain),
            Self::Written => (rate(figures.written), Mood::Plain),
            Self::Tasks => (count(figures.tasks), Mood::Plain),
            Self::Up => {
                let since = who.started.or(who.created).filter(|_| !row.has_ended());
                (since.map_or(UNKNOWN.to_owned(), |since| span(world.at.saturating_sub(since))), Mood::Quiet)
            }
            Self::Restarts => (world.restarts(row).to_string(), Mood::Plain),
            Self::Oom => (figures.oom_kills.to_string(), hurts(figures.oom_kills > 0)),
        };
        let is_quiet = mood == Mood::Plain && (text == UNKNOWN || text == "0" || row.has_ended());
        Cell { mood: if is_quiet { Mood::Quiet } else { mood }, text }
    }
}

/// Those that there is room for in so many columns of the terminal, or all of them, and what is left for the name. What
/// the list is sorted by is always among them.
pub(super) fn fitting(columns: Option<usize>, sort: SortBy) -> (Vec<TableColumn>, usize) {
    let Some(columns) = columns else { return (ALL.to_vec(), 0) };
    let mut room = columns.saturating_sub(NAME);
    let mut chosen: Vec<TableColumn> = Vec::new();
    let is_sorted = |group: &&&[TableColumn]| group.iter().any(|column| column.is_sorted_by(sort));
    let sorted = BY_WORTH.iter().filter(is_sorted);
    let others = BY_WORTH.iter().filter(|group| !is_sorted(group));
    for group in sorted.chain(others) {
        let width: usize = group.iter().map(|column| column.width()).sum();
        if width <= room {
            room -= width;
            chosen.extend(*group);
        }
    }
    (ALL.into_iter().filter(|column| chosen.contains(column)).collect(), room + NAME.min(columns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::world::tests::world;

    #[test]
    fn what_is_sorted_by_is_shown() {
        let heads =
            |columns, sort| fitting(Some(columns), sort).0.into_iter().map(TableColumn::head).collect::<Vec<_>>();
        assert_eq!(heads(78, SortBy::Cpu), ["CPU%", "THR%", "MEM", "MEM%", "PSI%", "TASKS", "OOM"]);
        assert!(heads(78, SortBy::Network).contains(&"NET OUT"));
        assert!(heads(78, SortBy::Disk).contains(&"WRITE"));
        assert_eq!(heads(200, SortBy::Cpu).len(), ALL.len());
        assert_eq!(heads(10, SortBy::Cpu), Vec::<&str>::new());
        for columns in 0..250 {
            let (chosen, name) = fitting(Some(columns), SortBy::Cpu);
            assert_eq!(chosen.iter().map(|column| column.width()).sum::<usize>() + name, columns);
        }
        assert_eq!(BY_WORTH.iter().map(|group| group.len()).sum::<usize>(), ALL.len());
    }

    #[test]
    fn red_is_for_what_hurts() {
        let who = r#"[{"id":1,"name":"/a","memory_limit":1048576,"cpu_limit":200}]"#;
        let now = r#"[{"id":[1],"cpu":[199],"memory":[950],"throttled":[25],"oom_kills":[0],"io_pressure":[123]}]"#;
        let world = world(who, now, Vec::new());
        let cell = |column: TableColumn| column.cell(&world.rows[&1], &world);
        assert_eq!(cell(TableColumn::Share), Cell { text: "92".into(), mood: Mood::Hurts });
        assert_eq!(cell(TableColumn::Throttled), Cell { text: "25".into(), mood: Mood::Plain });
        assert_eq!(cell(TableColumn::Oom), Cell { text: "0".into(), mood: Mood::Quiet });
        assert_eq!(cell(TableColumn::Cpu).text, "19.9");
        assert_eq!(cell(TableColumn::Quota).text, "20.0");
        assert_eq!(cell(TableColumn::Pressure).text, "12.3 io");
        assert_eq!(cell(TableColumn::Received).text, "-");
    }
}
