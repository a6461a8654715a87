//! The list once, as text: for scripts, and for who has no terminal.

use std::fmt::Write as _;

use super::app::App;
use super::arrange::{Arranged, ListItem};
use super::columns::{Cell, Mood, fitting};
use super::figures::{UNKNOWN, bytes, kib, moment, tenths, timestamp};
use unicode_width::UnicodeWidthStr as _;

/// The head and the table; in so many columns if it is for a terminal.
pub(super) fn render(app: &App, arranged: &Arranged<'_>, columns: Option<usize>) -> String {
    let (node, letters) = (&app.world.node, app.look.letters);
    let mut out = String::new();
    let root = app.world.root();
    let cpu = root.and_then(|root| root.figures.cpu).filter(|_| node.cpus > 0).map(|used| used / u64::from(node.cpus));
    let cpu = cpu.map_or(UNKNOWN.to_owned(), |share| format!("{}%", tenths(share)));
    let pressure = root.and_then(super::world::ContainerRow::pressure);
    let pressure = pressure.map_or(UNKNOWN.to_owned(), |(of, share)| format!("{}% {of}", tenths(share)));
    let lost = node.lost_events.map_or(UNKNOWN.to_owned(), |lost| lost.to_string());
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{}  {}  CPU {cpu} of {} cores  MEM {} of {}  PSI {pressure}  {} containers  lost events {lost}",
        letters.visible(&node.host),
        moment(timestamp(app.world.at)),
        node.cpus,
        kib(root.and_then(|root| root.figures.memory)),
        bytes(node.memory),
        arranged.running,
    );
    if let Some(reason) = &app.within {
        let _ = writeln!(
            out,
            "no collector answers, so this process reads cgroups by itself ({})",
            letters.visible(reason)
        );
    }
    for reason in &node.degraded {
        let _ = writeln!(out, "missing: {}", letters.visible(reason));
    }
    for row in &arranged.hurting {
        let words: Vec<_> = app.world.pains(row).into_iter().map(super::world::Pain::words).collect();
        let _ = writeln!(
            out,
            "hurts: {} ({}): {}",
            letters.visible(&row.title),
            letters.visible(&row.group),
            words.join(", ")
        );
    }
    out.push('\n');
    table(app, arranged, columns, &mut out);
    out
}

fn table(app: &App, arranged: &Arranged<'_>, columns: Option<usize>, out: &mut String) {
    let letters = app.look.letters;
    let (chosen, mut name) = fitting(columns, app.choice.sort);
    let rows =
        || arranged.items.iter().filter_map(|item| if let ListItem::Row(row) = item { Some(*row) } else { None });
    if columns.is_none() {
        name = rows().map(|row| letters.visible(&row.title).width()).max().unwrap_or_default().max(4) + 1;
    }
    let mut line = letters.fitted("NAME", name);
    for column in &chosen {
        let _ = write!(line, "{:>width$} ", column.head(), width = column.width() - 1);
    }
    let _ = writeln!(out, "{}", line.trim_end());
    for row in rows() {
        let mut line = letters.fitted(&letters.cut(&letters.visible(&row.title), name.saturating_sub(1)), name);
        for column in &chosen {
            let Cell { text, mood } = column.cell(row, &app.world);
            let mark = if mood == Mood::Hurts { "!" } else { " " };
            let _ = write!(line, "{text:>width$}{mark}", width = column.width() - 1);
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}
