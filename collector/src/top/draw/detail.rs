//! One container: what it is, what it uses and may use, its last two minutes, its processes and events.

use ratatui::text::{Line, Span};

use super::texts::event_line;
use super::{flowing, pair};
use crate::top::columns::Mood;
use crate::top::figures::{UNKNOWN, bytes, count, cpu, kib, rate, span, tenths};
use crate::top::follow::ContainerDetail;
use crate::top::look::Look;
use crate::top::text::{Letters, width};
use crate::top::wire::{Process, Trend};
use crate::top::world::{ContainerRow, World};

/// The time that graphs show.
const WINDOW_MS: u64 = 120_000;
/// Lines of a graph, beside its title and its axis.
const GRAPH: usize = 4;
/// Events that are shown.
const EVENTS: usize = 5;

/// All lines about it.
pub(super) fn lines(
    world: &World,
    id: u64,
    name: &str,
    detail: Option<&ContainerDetail>,
    look: Look,
    [columns, rows]: [usize; 2],
) -> Vec<Line<'static>> {
    let Some(row) = world.rows.get(&id).or_else(|| world.named(name)) else {
        let name = look.letters.visible(name);
        return vec![Line::raw(look.letters.cut(&format!("  {name} is no more; Esc goes back"), columns))];
    };
    let detail = detail.filter(|detail| detail.id == id);
    let mut lines = vec![title(row, world, look, columns)];
    lines.extend(
        look.letters
            .wrapped(&look.letters.visible(&row.who.name), columns.saturating_sub(2))
            .into_iter()
            .map(|part| Line::styled(format!("  {part}"), Look::QUIET)),
    );
    lines.extend(indented(if row.has_ended() { last_figures(row, look) } else { figures(row, look) }, columns));
    lines.extend(indented(identity(row, world, look, columns), columns));
    if !row.has_ended() {
        lines.extend(graphs(row, world, detail.map(|detail| &detail.trend), look, columns));
    }
    let events: Vec<_> = world.events.iter().filter(|event| event.name == row.who.name).take(EVENTS).collect();
    let room = rows.saturating_sub(lines.len() + events.len() + usize::from(!events.is_empty()));
    lines.extend(processes(row, detail, look, columns, room));
    if !events.is_empty() {
        lines.push(Line::styled(look.letters.fitted("  EVENTS", columns), Look::HEAD));
        lines.extend(events.into_iter().map(|event| event_line(world, event, look, columns)));
    }
    lines
}

fn title(row: &ContainerRow, world: &World, look: Look, columns: usize) -> Line<'static> {
    let title = look.letters.cut(&look.letters.visible(&row.title), columns / 2);
    let group = look.letters.cut(&look.letters.visible(&row.group), columns / 4);
    let mut spans = vec![
        Span::styled(format!("  {title}"), Look::STRONG),
        Span::styled(format!("  {} {group}", row.kind.name()), Look::QUIET),
    ];
    if let Some(ended) = row.who.ended {
        spans.push(Span::styled(format!("  ended {} ago", span(world.at.saturating_sub(ended))), look.missing()));
    }
    for pain in world.pains(row) {
        let next = Span::styled(format!("  {}!", pain.words()), look.hurts());
        if width(&spans) + next.width() <= columns {
            spans.push(next);
        }
    }
    Line::from(spans)
}

/// On as many lines as they need, each of them below the title.
fn indented(parts: Vec<Vec<Span<'static>>>, columns: usize) -> Vec<Line<'static>> {
    let mut lines = flowing(parts, columns.saturating_sub(2));
    for line in &mut lines {
        line.spans.insert(0, Span::raw("  "));
    }
    lines
}

fn hurting(look: Look, name: &str, value: &str, mood: Mood) -> Vec<Span<'static>> {
    let mark = if mood == Mood::Hurts { "!" } else { "" };
    vec![Span::styled(format!("{name} "), Look::QUIET), Span::styled(format!("{value}{mark}"), look.mood(mood))]
}

fn oom_kills(row: &ContainerRow, look: Look) -> Vec<Span<'static>> {
    let kills = row.figures.oom_kills;
    hurting(look, "OOM kills", &kills.to_string(), if kills > 0 { Mood::Hurts } else { Mood::Plain })
}

/// What is known of one that is gone.
fn last_figures(row: &ContainerRow, look: Look) -> Vec<Vec<Span<'static>>> {
    let limit = row.who.memory_limit.map_or("none".to_owned(), |limit| bytes(Some(limit)));
    vec![pair("memory peak", kib(row.figures.peak)), pair("memory limit", limit), oom_kills(row, look)]
}

/// What it uses, beside what it may.
fn figures(row: &ContainerRow, look: Look) -> Vec<Vec<Span<'static>>> {
    let (who, figures) = (&row.who, &row.figures);
    let hurting = |name: &str, value: String, hurts: bool| {
        hurting(look, name, &value, if hurts { Mood::Hurts } else { Mood::Plain })
    };
    let of = |limit: Option<String>| limit.map_or(String::new(), |limit| format!(" of {limit}"));
    let percent = |value: Option<u64>| value.map_or(UNKNOWN.to_owned(), |value| format!("{value}%"));
    let quota = who.cpu_limit.map(|limit| format!("a quota of {}%", tenths(limit)));
    let limit = who.memory_limit.map_or(", no limit".to_owned(), |limit| {
        let share = row.memory_share().map_or(String::new(), |share| format!(" ({}%)", share / 10));
        format!(" of {}{share}", bytes(Some(limit)))
    });
    let waits = ["cpu", "mem", "io"].into_iter().zip(figures.pressure);
    let waits: Vec<_> = waits.filter_map(|(name, share)| Some(format!("{name} {}%", tenths(share?)))).collect();
    let waits = if waits.is_empty() { UNKNOWN.to_owned() } else { waits.join(" ") };
    let moved = |one: Option<u64>, other: Option<u64>, [to, from]: [&str; 2]| match (one, other) {
        (None, None) => UNKNOWN.to_owned(),
        (one, other) => format!("{to} {}/s {from} {}/s", rate(one), rate(other)),
    };
    vec![
        hurting("CPU", format!("{}%{}", cpu(figures.cpu), of(quota)), false),
        hurting("throttled", percent(figures.throttled), row.throttling_hurts()),
        hurting("memory", format!("{}{limit}", kib(figures.memory)), row.memory_hurts()),
        pair("peak", kib(figures.peak)),
        pair("PSI", waits),
        pair("network", moved(figures.received, figures.sent, ["in", "out"])),
        pair("disk", moved(figures.read, figures.written, ["read", "write"])),
        pair("tasks", format!("{}{}", count(figures.tasks), of(who.task_limit.map(|limit| limit.to_string())))),
        oom_kills(row, look),
    ]
}

fn identity(row: &ContainerRow, world: &World, look: Look, columns: usize) -> Vec<Vec<Span<'static>>> {
    let who = &row.who;
    let short = |text: &str| look.letters.cut(&look.letters.visible(text), columns / 2);
    let since = who.started.or(who.created).filter(|_| !row.has_ended());
    let pairs = [
        ("ended with", who.exit.as_deref().map(short)),
        ("up", since.map(|since| span(world.at.saturating_sub(since)))),
        ("restarts", Some(world.restarts(row).to_string())),
        ("health", who.health.as_deref().map(short)),
        ("runtime", who.runtime.as_deref().map(short)),
        ("image", who.image.as_deref().map(short)),
        ("id", who.container.as_ref().map(|id| short(&id.chars().take(12).collect::<String>()))),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some(pair(name, value?))).collect()
}

/// CPU and memory of the last two minutes, beside each other.
fn graphs(row: &ContainerRow, world: &World, trend: Option<&Trend>, look: Look, columns: usize) -> Vec<Line<'static>> {
    let width = columns.saturating_sub(6) / 2;
    let (cpus, memory) = match trend {
        Some(trend) => {
            (spread(&trend.cpu, &trend.at, world.at, width), spread(&trend.memory, &trend.at, world.at, width))
        }
        None => (vec![None; width], vec![None; width]),
    };
    let most = |values: &[Option<u64>]| values.iter().flatten().max().copied();
    let (most_cpu, most_memory) = (most(&cpus), most(&memory));
    let tops =
        [format!("CPU, 2 min, at most {}%", cpu(most_cpu)), format!("memory, 2 min, at most {}", kib(most_memory))];
    // Memory is seen against its limit, as far as that is near.
    let limit =
        row.who.memory_limit.map(|limit| limit >> 10).filter(|limit| most_memory.is_some_and(|most| *limit < most * 4));
    let scales = [most_cpu.unwrap_or_default().max(10), limit.or(most_memory).unwrap_or(1)];
    let pictures = [bars(&cpus, scales[0], look.letters), bars(&memory, scales[1], look.letters)];
    let mut lines = vec![Line::styled(
        format!("  {}  {}", look.letters.fitted(&tops[0], width), look.letters.fitted(&tops[1], width)),
        Look::STRONG,
    )];
    for (one, other) in pictures[0].iter().zip(&pictures[1]) {
        lines.push(Line::from(vec![
            Span::raw("  "),
            Span::styled(one.clone(), look.graph()),
            Span::raw("  "),
            Span::styled(other.clone(), look.graph()),
        ]));
    }
    lines
}

/// Samples at their times as one value for each column; a sample of a container that idles is seldom, and holds until
/// the next.
fn spread(values: &[Option<u64>], at: &[u64], now: u64, columns: usize) -> Vec<Option<u64>> {
    let mut points: Vec<Option<u64>> = vec![None; columns];
    for (value, at) in values.iter().zip(at) {
        let back = now.saturating_sub(*at);
        if back < WINDOW_MS && columns > 0 {
            let place = columns - 1 - (back * columns as u64 / WINDOW_MS) as usize;
            points[place] = points[place].max(*value);
        }
    }
    let mut last = None;
    for point in &mut points {
        last = point.or(last);
        *point = last;
    }
    points
}

/// Columns of blocks, the lines from the top.
fn bars(values: &[Option<u64>], most: u64, letters: Letters) -> Vec<String> {
    let steps: &[char] = letters.either(&[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][..], &[' ', '.', ':', '#'][..]);
    let full = steps.len() - 1;
    let line = |from_bottom: usize| {
        let letter = |value: &Option<u64>| {
            let Some(value) = value else { return ' ' };
            let height = (u128::from(*value) * (GRAPH * full) as u128 / u128::from(most.max(1))) as usize;
            // What is there is seen.
            let height = height.max(usize::from(*value > 0)).min(GRAPH * full);
            steps[height.saturating_sub(from_bottom * full).min(full)]
        };
        values.iter().map(letter).collect::<String>()
    };
    (0..GRAPH).rev().map(line).collect()
}

fn processes(
    row: &ContainerRow,
    detail: Option<&ContainerDetail>,
    look: Look,
    columns: usize,
    room: usize,
) -> Vec<Line<'static>> {
    let head =
        format!("{:>9} {:<10}{:>6} {:>7} {:<5}{:>9} {}", "PID", "USER", "CPU%", "RSS", "STATE", "TIME", "COMMAND");
    let mut lines = vec![Line::styled(look.letters.fitted(&head, columns), Look::HEAD)];
    let note = |text: &str| Line::styled(look.letters.cut(&format!("  {text}"), columns), Look::QUIET);
    let list = match detail.map(|detail| &detail.processes) {
        _ if row.has_ended() => {
            lines.push(note("it has ended"));
            return lines;
        }
        None => {
            lines.push(note("waiting for an answer"));
            return lines;
        }
        Some(Err(why)) => {
            lines.push(note(&look.letters.visible(why)));
            return lines;
        }
        Some(Ok(list)) => list,
    };
    if list.is_empty() {
        lines.push(note("none"));
    }
    let mut list: Vec<&Process> = list.iter().collect();
    list.sort_by(|one, other| other.percent_cpu.total_cmp(&one.percent_cpu).then(other.rss.cmp(&one.rss)));
    // With the head, and what says that there are more.
    let shown = if list.len() + 1 > room { room.saturating_sub(2).max(3) } else { list.len() };
    for process in list.iter().take(shown) {
        let visible = |text: &str| look.letters.visible(text);
        let fixed = format!(
            "{:>9} {}{:>6.1} {:>7} {}{:>9} ",
            process.pid,
            look.letters.fitted(&visible(&process.user), 10),
            process.percent_cpu,
            bytes(Some(process.rss)),
            look.letters.fitted(&visible(&process.status), 5),
            look.letters.cut(&visible(&process.running_time), 9),
        );
        let command = look.letters.cut(&visible(&process.cmd), columns.saturating_sub(fixed.chars().count()));
        lines.push(Line::from(vec![Span::raw(fixed), Span::raw(command)]));
    }
    if shown < list.len() {
        lines.push(note(&format!("and {} more", list.len() - shown)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_fill_their_columns() {
        let at = [881_000, 940_000, 999_000];
        let points = spread(&[Some(1), Some(3), Some(2)], &at, 1_000_000, 4);
        assert_eq!(points, [Some(1), Some(3), Some(3), Some(2)]);
        assert_eq!(spread(&[Some(1)], &[1], 1_000_000, 3), [None; 3]);
        assert!(spread(&[Some(1)], &[999_999], 1_000_000, 0).is_empty());
    }

    #[test]
    fn bars_are_as_high_as_their_values() {
        let lines = bars(&[None, Some(0), Some(1), Some(50), Some(100)], 100, Letters::Unicode);
        assert_eq!(lines, ["    █", "    █", "   ██", "  ▁██"]);
        let lines = bars(&[Some(100), Some(10)], 100, Letters::Ascii);
        assert_eq!(lines, ["# ", "# ", "# ", "#."]);
    }
}
