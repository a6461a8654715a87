//! The screen: a head about the machine, a foot about keys, and one of the views between them.

mod detail;
mod head;
mod list;
mod texts;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::app::{App, View};
use super::arrange::arrange;
use super::figures::moment;
use super::look::Look;
use super::text::width;

/// With less there is nothing to be seen.
const NARROWEST: u16 = 40;
const LOWEST: u16 = 8;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let area = frame.area();
    if area.width < NARROWEST || area.height < LOWEST {
        let text = format!("{NARROWEST} columns and {LOWEST} lines are needed; q quits");
        frame.render_widget(Paragraph::new(app.look.letters.cut(&text, area.width.into())), area);
        return;
    }
    let columns = usize::from(area.width);
    let arranged = arrange(&app.world, &app.choice);
    let head = head::lines(app, &arranged, columns, usize::from(area.height));
    let head_height = u16::try_from(head.len()).unwrap_or(area.height).min(area.height - 2);
    let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
    let body = Rect { y: area.y + head_height, height: area.height - head_height - 1, ..area };
    let rows = usize::from(body.height);
    let lines = match &app.view {
        View::List => list::lines(&app.world, &app.choice, &mut app.cursor, app.look, &arranged, [columns, rows]),
        View::Detail(id, name) => {
            let text = detail::lines(&app.world, *id, name, app.detail.as_ref(), app.look, [columns, rows]);
            scrolled(text, app.cursor.scrolled_to(rows))
        }
        View::Events => {
            let text = texts::events(&app.world, &app.choice.search, app.look, columns);
            scrolled(text, app.cursor.scrolled_to(rows))
        }
        View::Help => scrolled(texts::help(app, columns), app.cursor.scrolled_to(rows)),
    };
    frame.render_widget(Paragraph::new(head), Rect { height: head_height, ..area });
    frame.render_widget(Paragraph::new(lines), body);
    frame.render_widget(Paragraph::new(foot_line(app, columns)), foot);
}

/// A text from the line on that `first` finds for its length.
fn scrolled(mut text: Vec<Line<'static>>, first: impl FnOnce(usize) -> usize) -> Vec<Line<'static>> {
    let first = first(text.len());
    text.split_off(first.min(text.len()))
}

/// Keys, as many as there is room for: the most important first.
fn foot_line(app: &App, columns: usize) -> Line<'static> {
    let look = app.look;
    if app.typing {
        let text = format!("/{}", look.letters.visible(&app.choice.search));
        let hint = "  Enter keeps it, Esc clears it";
        let room = columns.saturating_sub(hint.len() + 1);
        let cursor = look.letters.either("█", "_");
        return Line::from(vec![
            Span::styled(format!("{}{cursor}", look.letters.cut(&text, room)), Look::STRONG),
            Span::styled(hint, Look::QUIET),
        ]);
    }
    let past: &[(&str, &str)] = if app.at.is_some() { &[("←→", "10 s"), ("<>", "10 min")] } else { &[] };
    let own: &[(&str, &str)] = match app.view {
        View::List => &[
            ("q", "quit"),
            ("?", "help"),
            ("cmndtp", "sort"),
            ("/", "filter"),
            ("Enter", "detail"),
            ("e", "events"),
            ("o", "OOM/throttled"),
            ("g", "group"),
            ("Space", "pause"),
        ],
        View::Detail(..) | View::Events | View::Help => {
            &[("q", "quit"), ("Esc", "back"), ("j/k", "scroll"), ("?", "help"), ("e", "events"), ("Space", "pause")]
        }
    };
    let mut spans = Vec::new();
    for (key, what) in past.iter().chain(own) {
        let key = if *key == "←→" { look.letters.either("←→", "Left/Right") } else { key };
        let more = [Span::styled(format!("{key} "), Look::STRONG), Span::raw(format!("{what}  "))];
        if width(&spans) + width(&more) <= columns {
            spans.extend(more);
        }
    }
    Line::from(spans)
}

/// Pairs of spans on as few lines as they fit on, none of them broken.
fn flowing(parts: Vec<Vec<Span<'static>>>, columns: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Vec<Span<'static>>> = vec![Vec::new()];
    for part in parts {
        let gap = if lines.last().is_some_and(Vec::is_empty) { 0 } else { 3 };
        if lines.last().is_some_and(|line| !line.is_empty() && width(line) + gap + width(&part) > columns) {
            lines.push(part);
            continue;
        }
        let Some(line) = lines.last_mut() else { continue };
        if gap > 0 {
            line.push(Span::raw("   "));
        }
        line.extend(part);
    }
    lines.into_iter().map(Line::from).collect()
}

/// A name in a dim letter and what it stands for.
fn pair(name: &str, value: String) -> Vec<Span<'static>> {
    vec![Span::styled(format!("{name} "), Look::QUIET), Span::raw(value)]
}

/// Which moment is shown, of the past.
fn past(app: &App) -> Option<String> {
    app.at.map(|at| format!("as of {}", moment(at)))
}

#[cfg(test)]
mod tests;
