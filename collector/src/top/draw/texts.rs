//! What happened, and what keys do.

use ratatui::text::{Line, Span};

use crate::top::app::App;
use crate::top::figures::{bytes, clock};
use crate::top::look::Look;
use crate::top::wire::{TopEvent, TopEventKind};
use crate::top::world::World;

const HELP: [(&str, &str); 15] = [
    ("c m n", "sort by CPU, memory, network; once more: the other way around"),
    ("d t p a", "sort by disk, throttled periods, pressure, name"),
    ("/", "filter: words of name, pod, namespace, image, labels, id"),
    ("g", "groups: compose project, pod, systemd slice; Enter folds one"),
    ("o", "only what was OOM-killed or is throttled"),
    ("Enter", "one container: limits, two minutes, processes, events"),
    ("e", "events"),
    ("Space", "pause: nothing is asked for"),
    ("arrows j k", "up and down; PageUp, PageDown, Home, End"),
    ("< > arrows", "with --at: 10 minutes, 10 seconds back and forth"),
    ("Esc", "back; in the list: without the filter"),
    ("q", "quit; Ctrl-Z stands aside"),
    ("!", "red: memory above 90 % of its limit, throttled above 25 %, OOM"),
    ("CPU%", "of one core; MEM is the working set, K M G powers of 1024"),
    ("PSI%", "of ten seconds in which something waited; - is not known"),
];

/// What keys do, and all that is missing.
pub(super) fn help(app: &App, columns: usize) -> Vec<Line<'static>> {
    let (look, degraded) = (app.look, &app.world.node.degraded);
    let mut lines = Vec::new();
    for (key, what) in HELP {
        let words = look.letters.wrapped(what, columns.saturating_sub(13));
        for (at, part) in words.into_iter().enumerate() {
            let key = if at == 0 { key } else { "" };
            lines.push(Line::from(vec![Span::styled(format!(" {key:<11} "), Look::STRONG), Span::raw(part)]));
        }
    }
    lines.push(Line::default());
    if degraded.is_empty() {
        lines.push(Line::styled(" The collector has everything it needs.", look.well()));
    } else {
        lines.push(Line::styled(format!(" Missing ({}):", degraded.len()), Look::STRONG));
    }
    for reason in degraded {
        for (at, part) in
            look.letters.wrapped(&look.letters.visible(reason), columns.saturating_sub(4)).into_iter().enumerate()
        {
            let mark = if at == 0 { " - " } else { "   " };
            lines.push(Line::styled(format!("{mark}{part}"), look.missing()));
        }
    }
    lines
}

/// What happened, the newest first, as far as it fits the search.
pub(super) fn events(world: &World, search: &str, look: Look, columns: usize) -> Vec<Line<'static>> {
    let words: Vec<String> = search.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let fits = |event: &&TopEvent| {
        let text = world.named(&event.name).map_or_else(|| event.name.to_lowercase(), |row| row.text.clone());
        words.iter().all(|word| text.contains(word))
    };
    let mut lines = vec![Line::styled(look.letters.fitted("  EVENTS, the newest first", columns), Look::HEAD)];
    lines.extend(world.events.iter().filter(fits).map(|event| event_line(world, event, look, columns)));
    if lines.len() == 1 {
        lines.push(Line::styled("  None that the collector still knows of.", Look::QUIET));
    }
    lines
}

/// One line about an event: when, whose, what.
pub(super) fn event_line(world: &World, event: &TopEvent, look: Look, columns: usize) -> Line<'static> {
    let row = world.named(&event.name);
    let title = row.map_or_else(|| event.name.clone(), |row| row.title.clone());
    let group = row.map_or_else(String::new, |row| format!(" ({})", row.group));
    let (what, style) = match &event.kind {
        TopEventKind::Start => ("started".to_owned(), Look::QUIET),
        TopEventKind::End(None) => ("ended".to_owned(), Look::QUIET),
        TopEventKind::End(Some(exit)) => (format!("ended, {}", look.letters.visible(exit)), Look::QUIET),
        TopEventKind::Kill { process, pid, limit } => {
            let limit = limit.as_ref().map_or_else(
                || " for want of memory".to_owned(),
                |limit| {
                    let limited = world.named(limit);
                    let of =
                        limited.and_then(|row| row.who.memory_limit).map(|limit| format!(" of {}", bytes(Some(limit))));
                    let whose = if *limit == event.name {
                        "its limit".to_owned()
                    } else {
                        let title = limited.map_or(limit.as_str(), |row| row.title.as_str());
                        format!("the limit of {}", look.letters.visible(title))
                    };
                    format!(" at {whose}{}", of.unwrap_or_default())
                },
            );
            let again = match world.kill_number(event) {
                0 | 1 => String::new(),
                times => format!(", number {times} in 10 min"),
            };
            let text = format!("OOM-killed: {} (pid {pid}){limit}{again}", look.letters.visible(process));
            (text, look.hurts())
        }
    };
    let at = clock(event.at);
    let whose = look.letters.visible(&format!("{title}{group}"));
    let room = columns.saturating_sub(at.len() + 5 + what.chars().count());
    let whose = look.letters.cut(&whose, room.max(16));
    let what = look.letters.cut(&what, columns.saturating_sub(at.len() + 5 + Span::raw(whose.as_str()).width()));
    Line::from(vec![
        Span::styled(format!("  {at} "), Look::QUIET),
        Span::styled(whose, Look::STRONG),
        Span::raw("  "),
        Span::styled(what, style),
    ])
}
