//! The table.

use std::fmt::Write as _;

use ratatui::text::{Line, Span};

use crate::config::SortBy;
use crate::top::app::Cursor;
use crate::top::arrange::{Arranged, Choice, ListForm, ListItem, RowGroup, SortDirection};
use crate::top::columns::{Cell, Mood, TableColumn, fitting};
use crate::top::figures::{cpu, kib, span};
use crate::top::look::Look;
use crate::top::world::{ContainerRow, Pain, World};

/// What the line at which keys are is marked with, and any other.
const MARKS: [&str; 2] = ["> ", "  "];

/// The head of the table and as many of its lines as are seen.
pub(super) fn lines(
    world: &World,
    choice: &Choice,
    cursor: &mut Cursor,
    look: Look,
    arranged: &Arranged<'_>,
    [columns, rows]: [usize; 2],
) -> Vec<Line<'static>> {
    let (chosen, name) = fitting(Some(columns.saturating_sub(MARKS[0].len())), choice.sort);
    let (at, first) = cursor.place(&arranged.items, rows.saturating_sub(1));
    let mut lines = vec![head(&chosen, name, choice, look)];
    if arranged.items.is_empty() && world.at > 0 {
        let text = match arranged.all {
            0 => "  There are no containers.",
            _ => "  Nothing fits: Esc clears the filter, o shows all.",
        };
        lines.push(Line::styled(text, Look::QUIET));
    }
    for (index, item) in arranged.items.iter().enumerate().skip(first).take(rows.saturating_sub(1)) {
        let mark = MARKS[usize::from(index != at)];
        let line = match item {
            ListItem::Group(group) => heading(group, &chosen, name, look, mark),
            ListItem::Row(row) => row_line(row, world, &chosen, name, choice.form, look, mark),
        };
        lines.push(if index == at { line.style(Look::AT) } else { line });
    }
    lines
}

fn head(chosen: &[TableColumn], name: usize, choice: &Choice, look: Look) -> Line<'static> {
    let arrow = match choice.direction {
        SortDirection::Usual => look.letters.either("▾", "v"),
        SortDirection::Reversed => look.letters.either("▴", "^"),
    };
    let mark = |sorted: bool| if sorted { arrow } else { " " };
    let name_head = format!("{}NAME{}", MARKS[1], mark(choice.sort == SortBy::Name));
    let mut text = look.letters.fitted(&name_head, name + MARKS[1].len());
    for column in chosen {
        let arrow = mark(column.is_sorted_by(choice.sort));
        // Writing to a string cannot fail.
        let _ = write!(text, "{:>width$}{arrow}", column.head(), width = column.width() - 1);
    }
    Line::styled(text, Look::HEAD)
}

/// A container's cells, right-aligned, what hurts with an exclamation mark that needs no colour.
fn row_line(
    row: &ContainerRow,
    world: &World,
    chosen: &[TableColumn],
    name: usize,
    form: ListForm,
    look: Look,
    mark: &str,
) -> Line<'static> {
    let indent = if form == ListForm::Grouped { "  " } else { "" };
    let (title, notes) = (look.letters.visible(&row.title), notes(row, world, look));
    let room = name.saturating_sub(indent.len() + 1);
    let title = look.letters.cut(&title, room);
    let left = room.saturating_sub(Span::raw(title.as_str()).width());
    let is_whole = |note: &&(String, Mood)| note.0.chars().count() + 2 <= left;
    let note = notes.iter().find(is_whole);
    let mut spans = vec![Span::raw(format!("{mark}{indent}"))];
    let mut used = indent.len() + Span::raw(title.as_str()).width();
    spans.push(Span::styled(title, if row.has_ended() { Look::QUIET } else { Look::STRONG }));
    if let Some((note, mood)) = note {
        used += note.chars().count() + 2;
        spans.push(Span::styled(format!("  {note}"), look.mood(*mood)));
    }
    spans.push(Span::raw(" ".repeat(name.saturating_sub(used))));
    for column in chosen {
        let Cell { text, mood } = column.cell(row, world);
        let text = format!("{text:>width$}{}", if mood == Mood::Hurts { "!" } else { " " }, width = column.width() - 1);
        spans.push(Span::styled(text, look.mood(mood)));
    }
    Line::from(spans)
}

/// What is said beside the name: the longest that there is room for.
fn notes(row: &ContainerRow, world: &World, look: Look) -> Vec<(String, Mood)> {
    let mut notes = Vec::new();
    let worst = world
        .pains(row)
        .into_iter()
        .find(|pain| matches!(pain, Pain::Looping(_) | Pain::Unhealthy | Pain::OomKilled(_)));
    if let Some(pain) = worst {
        notes.push((pain.words(), Mood::Hurts));
    }
    if let Some(ended) = row.who.ended {
        let ago = span(world.at.saturating_sub(ended));
        let how = row.who.exit.as_deref().map(|exit| look.letters.visible(exit));
        let peak = row.figures.peak.map(|peak| format!(", peak {}", kib(Some(peak))));
        let longest = [
            how.as_ref().zip(peak.as_ref()).map(|(how, peak)| format!("{how}, ended {ago} ago{peak}")),
            how.as_ref().map(|how| format!("{how}, ended {ago} ago")),
            how.clone(),
            peak.filter(|_| how.is_none()).map(|peak| format!("ended {ago} ago{peak}")),
        ];
        notes.splice(0..0, longest.into_iter().flatten().map(|note| (note, Mood::Quiet)));
        notes.push((format!("ended {ago} ago"), Mood::Quiet));
        notes.push(("ended".to_owned(), Mood::Quiet));
    } else if notes.is_empty()
        && let Some(image) = &row.who.image
    {
        notes.push((look.letters.visible(image), Mood::Quiet));
    }
    notes
}

/// A heading with its sums.
fn heading(group: &RowGroup, chosen: &[TableColumn], name: usize, look: Look, mark: &str) -> Line<'static> {
    let fold = if group.folded { look.letters.either("▸", "+") } else { look.letters.either("▾", "-") };
    let count = format!("  {} {}", group.kind.name(), group.rows);
    let hurting = if group.hurting > 0 { format!(", {} hurt", group.hurting) } else { String::new() };
    let room = name.saturating_sub(3 + hurting.len());
    let title = look.letters.cut(&look.letters.visible(&group.title), room);
    let left = name.saturating_sub(2 + Span::raw(title.as_str()).width());
    let [count, hurting] = match left {
        left if count.len() + hurting.len() < left => [count, hurting],
        left if hurting.len() < left && !hurting.is_empty() => [String::new(), hurting],
        left if count.len() < left => [count, String::new()],
        _ => [String::new(), String::new()],
    };
    let rest = left.saturating_sub(count.len() + hurting.len());
    let mut spans = vec![
        Span::styled(format!("{mark}{fold} {title}"), Look::STRONG),
        Span::styled(count, Look::QUIET),
        Span::styled(hurting, look.hurts()),
        Span::raw(" ".repeat(rest)),
    ];
    for column in chosen {
        let text = match column {
            TableColumn::Cpu => cpu(group.cpu),
            TableColumn::Memory => kib(group.memory),
            _ => String::new(),
        };
        spans.push(Span::styled(format!("{text:>width$} ", width = column.width() - 1), Look::STRONG));
    }
    Line::from(spans)
}
