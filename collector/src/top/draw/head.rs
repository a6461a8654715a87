//! The machine, what is missing, and what hurts.

use ratatui::text::{Line, Span};

use super::{flowing, past};
use crate::config::SortBy;
use crate::top::app::{App, Link};
use crate::top::arrange::{Arranged, RowFilter, SortDirection};
use crate::top::figures::{UNKNOWN, bytes, clock, span, tenths, timestamp};
use crate::top::look::Look;
use crate::top::text::width;
use crate::top::world::Pain;

/// On a screen this high there is room for more lines about what is missing.
const HIGH: usize = 30;

/// The lines of the head.
pub(super) fn lines(app: &App, arranged: &Arranged<'_>, columns: usize, height: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title(app, columns)];
    lines.extend(troubles(app, columns));
    lines.push(hurting(app, arranged, columns));
    lines.extend(flowing(machine(app), columns));
    lines.extend(flowing(containers(app, arranged), columns));
    lines.extend(missing(app, columns, if height >= HIGH { 4 } else { 2 }));
    // On a low screen the list comes before what is last here.
    lines.truncate((height * 2 / 5).max(2));
    lines
}

/// The node, and whether what is shown is of now.
fn title(app: &App, columns: usize) -> Line<'static> {
    let (look, node) = (app.look, &app.world.node);
    let state = match (&app.link, past(app)) {
        (_, _) if app.paused => Span::styled("PAUSED", look.missing()),
        (Link::Waiting, _) => Span::styled("waiting for an answer", Look::QUIET),
        (Link::Broken(..), _) => Span::styled("NO ANSWER", look.hurts()),
        (Link::Live, Some(past)) => Span::styled(past, look.missing()),
        (Link::Live, None) => Span::styled(format!("live {}", clock(timestamp(app.world.at))), look.well()),
    };
    let room = columns.saturating_sub(state.width() + 2);
    let host = if node.host.is_empty() { &app.source } else { &node.host };
    let mut left = vec![Span::styled(look.letters.cut(&look.letters.visible(host), room), Look::STRONG)];
    let how = if node.events == "ebpf" { "kernel events" } else { "events by scanning" };
    let at = if app.within.is_some() { String::new() } else { format!("  {}", app.source) };
    for more in [format!("  collector {}", look.letters.visible(&node.version)), format!(", {how}"), at] {
        if !node.version.is_empty() && width(&left) + more.chars().count() <= room {
            left.push(Span::styled(more, Look::QUIET));
        }
    }
    let gap = columns.saturating_sub(width(&left) + state.width());
    left.push(Span::raw(" ".repeat(gap)));
    left.push(state);
    Line::from(left)
}

/// Why there is no answer, and that there is no collector.
fn troubles(app: &App, columns: usize) -> Vec<Line<'static>> {
    let letters = app.look.letters;
    let mut lines = Vec::new();
    if let Some((since, why)) = app.trouble() {
        let since = span(u64::try_from(since.as_millis()).unwrap_or_default());
        let text = format!("no answer for {since}, asked again every 2 s: {}", letters.visible(why));
        lines.extend(
            letters.wrapped(&text, columns).into_iter().take(3).map(|line| Line::styled(line, app.look.hurts())),
        );
    }
    if let Some(reason) = &app.within {
        let text =
            format!("no collector answers, so this process reads cgroups by itself ({})", letters.visible(reason));
        lines.extend(
            letters.wrapped(&text, columns).into_iter().take(2).map(|line| Line::styled(line, app.look.missing())),
        );
    }
    lines
}

fn machine(app: &App) -> Vec<Vec<Span<'static>>> {
    let (look, node, root) = (app.look, &app.world.node, app.world.root());
    let name = |name: &'static str| Span::styled(name, Look::STRONG);
    let used = root.and_then(|root| root.figures.cpu);
    let cpu = used.filter(|_| node.cpus > 0).map(|used| used / u64::from(node.cpus));
    let cpu = cpu.map_or(UNKNOWN.to_owned(), |share| format!("{}%", tenths(share)));
    let memory = root.and_then(|root| root.figures.memory).map(|kib| kib.saturating_mul(1024));
    let share = memory
        .zip(node.memory.filter(|all| *all > 0))
        .map(|(used, all)| (u128::from(used) * 100 / u128::from(all)) as u64);
    let percent = share.map_or(String::new(), |share| format!(" {share}%"));
    let memory = format!(" {} of {}{percent}", bytes(memory), bytes(node.memory));
    let memory = if share > Some(90) { Span::styled(format!("{memory}!"), look.hurts()) } else { Span::raw(memory) };
    let pressure = root.map(|root| root.figures.pressure).unwrap_or_default();
    let waits = ["cpu", "mem", "io"].into_iter().zip(pressure);
    let waits = waits.filter_map(|(of, share)| Some(format!(" {of} {}%", tenths(share?)))).collect::<String>();
    let waits = if waits.is_empty() { format!(" {UNKNOWN}") } else { waits };
    vec![
        vec![name("CPU"), Span::raw(format!(" {cpu} of {} cores", node.cpus))],
        vec![name("MEM"), memory],
        vec![name("PSI"), Span::raw(waits)],
    ]
}

fn containers(app: &App, arranged: &Arranged<'_>) -> Vec<Vec<Span<'static>>> {
    let (look, node, choice) = (app.look, &app.world.node, &app.choice);
    let lost = match node.lost_events {
        None => Span::raw(format!("lost events {UNKNOWN}")),
        Some(0) => Span::raw("lost events 0"),
        Some(lost) => Span::styled(format!("lost events {lost}!"), look.missing()),
    };
    let by = match choice.sort {
        SortBy::Cpu => "CPU",
        SortBy::Memory => "memory",
        SortBy::Network => "network",
        SortBy::Disk => "disk",
        SortBy::Throttled => "throttling",
        SortBy::Pressure => "pressure",
        SortBy::Name => "name",
    };
    let turned = if choice.direction == SortDirection::Reversed { " reversed" } else { "" };
    let mut parts = vec![
        vec![Span::styled(arranged.running.to_string(), Look::STRONG), Span::raw(" containers")],
        vec![lost],
        vec![Span::styled(format!("by {by}{turned}"), Look::QUIET)],
    ];
    if choice.shown == RowFilter::Suffering {
        parts.push(vec![Span::styled(format!("only OOM-killed or throttled: {}", arranged.found), look.missing())]);
    }
    if !choice.search.is_empty() {
        let words = look.letters.cut(&look.letters.visible(&choice.search), 24);
        parts.push(vec![Span::styled(
            format!("filter {words}: {} of {}", arranged.found, arranged.all),
            look.missing(),
        )]);
    }
    parts
}

/// What the collector has to do without, in words; the whole of it is among the help.
fn missing(app: &App, columns: usize, most: usize) -> Vec<Line<'static>> {
    let (look, degraded) = (app.look, &app.world.node.degraded);
    let mut lines = Vec::new();
    for reason in degraded {
        lines.extend(look.letters.wrapped(&format!("missing: {}", look.letters.visible(reason)), columns));
    }
    if lines.len() > most {
        lines.truncate(most - 1);
        let count = degraded.len();
        lines.push(match count {
            1 => "this is missing; ? shows all of it".to_owned(),
            _ => format!("{count} things are missing; ? shows all of it"),
        });
    }
    lines.into_iter().map(|line| Line::styled(line, look.missing())).collect()
}

/// The containers that hurt, the worst first, as many as there is room for.
fn hurting(app: &App, arranged: &Arranged<'_>, columns: usize) -> Line<'static> {
    let (look, all) = (app.look, &arranged.hurting);
    if all.is_empty() {
        return Line::styled(if app.world.at == 0 { "" } else { "nothing hurts" }, look.well());
    }
    let more = |left: usize| if left == 0 { String::new() } else { format!(", and {left} more") };
    let mut text = String::new();
    for (at, row) in all.iter().enumerate() {
        let words = app.world.pains(row).into_iter().map(Pain::words).collect::<Vec<_>>().join(", ");
        let name = look.letters.cut(&look.letters.visible(&row.title), 24);
        let next = format!("{}{name} {words}", if at == 0 { "HURTS  " } else { "; " });
        if at > 0 && Span::raw(format!("{text}{next}{}", more(all.len() - at - 1))).width() > columns {
            text.push_str(&more(all.len() - at));
            break;
        }
        text.push_str(&next);
    }
    Line::styled(look.letters.cut(&text, columns), look.hurts())
}
