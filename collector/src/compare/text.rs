//! The comparison for people: what fails first, each kind of difference once, with how often it was seen.

use std::fmt::Write as _;

use super::report::{Difference, Group, Report};

/// How many containers of a group are named.
const NAMED: usize = 3;

/// The whole text, with a newline at its end.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    let groups = report.groups();
    let (failing, others): (Vec<_>, Vec<_>) = groups.iter().partition(|group| group.first.fails());
    // Writing to a string cannot fail.
    let _ = writeln!(text, "cAdvisor {} at {}, the collector at {}", report.their_version, report.theirs, report.ours);
    if !failing.is_empty() {
        text.push_str("\nDifferences:\n");
        describe(&mut text, &failing);
    }
    let (known, more): (Vec<_>, Vec<_>) = others.into_iter().partition(|group| group.first.known.is_some());
    if !known.is_empty() {
        text.push_str("\nDeliberate differences, see docs/migrating.md by these ids:\n");
        describe(&mut text, &known);
    }
    if !more.is_empty() {
        text.push_str("\nBeyond cAdvisor's:\n");
        describe(&mut text, &more);
    }
    let Report { containers, answers, values, unmatched_samples, dropped, .. } = report;
    let (failures, deliberate) = (report.failures(), report.deliberate());
    let _ = writeln!(
        text,
        "\n{containers} containers, {answers} answers, {values} values compared: {failures} differences in {} places, \
         {deliberate} deliberate ones",
        failing.len()
    );
    if *unmatched_samples > 0 {
        let _ = writeln!(
            text,
            "{unmatched_samples} samples had none of the collector's around: only their names were compared"
        );
    }
    if let Some(reason) = &report.incomplete {
        let _ = writeln!(text, "Not complete, stopped at {reason}");
    }
    if *dropped > 0 {
        let _ = writeln!(text, "{dropped} findings more than are kept");
    }
    text
}

fn describe(text: &mut String, groups: &[&Group<'_>]) {
    for group in groups {
        describe_one(text, group);
    }
}

fn describe_one(text: &mut String, group: &Group<'_>) {
    let Group { first, resource, pattern, count, containers } = group;
    let id = first.known.map(|id| format!(" [{id}]")).unwrap_or_default();
    let _ = write!(text, "  {:<9}{id} {resource} {pattern}", first.difference.name());
    if *count > 1 {
        let _ = write!(text, " ({count} times)");
    }
    let words = match first.difference {
        Difference::Missing => first.theirs.clone(),
        Difference::Extra => first.ours.clone(),
        _ if first.theirs.is_empty() && first.ours.is_empty() => String::new(),
        _ => format!("cAdvisor {} | here {}", first.theirs, first.ours),
    };
    if !words.is_empty() {
        let _ = write!(text, ": {words}");
    }
    if !containers.is_empty() {
        let named = &containers[..containers.len().min(NAMED)];
        let more = containers.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ = write!(text, "\n            in {}{more}", named.join(", "));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::report::{Finding, Verbosity};
    use super::*;

    #[test]
    fn what_fails_comes_first_and_once() {
        let mut report = Report::new("http://a".to_owned(), "http://b".to_owned(), Verbosity::Differences);
        let finding = |container: &str, known| Finding {
            resource: "/api/v1.3/containers".to_owned(),
            container: Some(container.to_owned()),
            path: "stats.filesystem".to_owned(),
            difference: Difference::Missing,
            theirs: "[]".to_owned(),
            ours: String::new(),
            known,
        };
        report.add(finding("/k", Some("some-id")));
        for container in ["/a", "/b", "/c", "/d"] {
            report.add(finding(container, None));
        }
        let text = render(&report);
        let expected = "Differences:\n  missing   /api/v1.3/containers stats.filesystem (4 times): []\n            in /a, \
                        /b, /c and 1 more\n\nDeliberate";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("missing   [some-id] /api"), "{text}");
        assert!(text.contains("4 differences in 1 places, 1 deliberate ones"), "{text}");
        report.incomplete = Some("/metrics: the time ran out".to_owned());
        assert!(render(&report).ends_with("\nNot complete, stopped at /metrics: the time ran out\n"), "{text}");
    }
}
