//! The report for people: a summary line, then what is wrong, most important first, then the rest in short.

use std::fmt::Write as _;

use super::report::{Finding, Report, Status, Trouble, Verdict};
use crate::kernel::probes::examine::ProgramTrial;

/// Longest line, where words allow it.
const WIDTH: usize = 110;
/// Room for the status.
const STATUS_WIDTH: usize = 13;

/// The whole text.
pub fn render(report: &Report) -> String {
    let mut text = summary(report);
    text.push('\n');
    let titles = report.findings.iter().map(|finding| finding.title.len()).max().unwrap_or_default();
    let indent = STATUS_WIDTH + titles + 2;
    let mut last = None;
    for finding in &report.findings {
        // What has to be mended stands apart, what works or follows from something else in one block.
        if own_trouble(finding).is_some() || last.is_none_or(|status| status != finding.status) {
            text.push('\n');
        }
        last = Some(finding.status);
        one(finding, titles, indent, &mut text);
    }
    programs(&report.programs, &mut text);
    text
}

/// What is wrong with it, unless that is said where it comes from.
fn own_trouble(finding: &Finding) -> Option<&Trouble> {
    finding.trouble.as_ref().filter(|_| finding.because_of.is_none())
}

/// What to read when there is time for one line.
fn summary(report: &Report) -> String {
    let verdict = match report.verdict() {
        Verdict::AllWorks => "everything works",
        Verdict::Limited => "the collector works, but not everything does",
        Verdict::Unusable => "the collector cannot do its job",
    };
    let counts: Vec<_> = Status::ALL
        .into_iter()
        .map(|status| (report.count(status), status.name()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    format!("{verdict}: {} (kernel {})", counts.join(", "), report.release)
}

fn one(finding: &Finding, titles: usize, indent: usize, text: &mut String) {
    let status = match finding.status {
        Status::Unavailable | Status::Limited => finding.status.name().to_uppercase(),
        Status::Works | Status::Off => finding.status.name().to_owned(),
    };
    let head = format!("{status:STATUS_WIDTH$}{:titles$}  ", finding.title);
    wrapped(&head, indent, &finding.found, text);
    if let Some(trouble) = own_trouble(finding) {
        for (label, words) in [("lost: ", &trouble.lost), ("fix:  ", &trouble.fix)] {
            wrapped(&format!("{:indent$}{label}", ""), indent + label.len(), words, text);
        }
    }
}

/// Words after a head, with the lines that follow below the first word.
fn wrapped(head: &str, indent: usize, words: &str, text: &mut String) {
    let mut line = head.to_owned();
    let mut is_empty = true;
    for word in words.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

fn programs(programs: &[ProgramTrial], text: &mut String) {
    if programs.is_empty() {
        return;
    }
    let names = programs.iter().map(|program| program.name.len()).max().unwrap_or_default();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "\n{:names$}  {:>12}  {:>8}  {:>9}  attached to",
        "program", "instructions", "verified", "load (µs)"
    );
    for program in programs {
        let shown = |count: Option<u32>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let attached = match &program.attach {
            Some((tracepoint, Ok(()))) => *tracepoint,
            Some((_, Err(_))) => "failed",
            None => "-",
        };
        let _ = match &program.load {
            Ok(figures) => writeln!(
                text,
                "{:names$}  {:>12}  {:>8}  {:>9}  {attached}",
                program.name,
                shown(figures.instructions),
                shown(figures.verified_instructions),
                figures.load_time.as_micros(),
            ),
            Err(failure) => writeln!(text, "{:names$}  {}", program.name, failure.why()),
        };
    }
}
