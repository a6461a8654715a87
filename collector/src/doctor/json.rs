//! The report for programs: one JSON object. Keys and ids are only ever added; docs/doctor.md documents them.

use std::fmt::Write as _;

use serde::Serialize;

use super::report::{Finding, Report, Status, Verdict};
use crate::kernel::probes::examine::ProgramTrial;
use crate::kernel::probes::support::Unavailable;

/// The whole in numbers.
#[derive(Serialize)]
struct DoctorSummary {
    /// `works`, `limited` or `unusable`.
    status: &'static str,
    exit_code: u8,
    unavailable: usize,
    limited: usize,
    works: usize,
    off: usize,
}

#[derive(Serialize)]
struct Facility<'a> {
    id: &'static str,
    title: &'static str,
    /// `unavailable`, `limited`, `works` or `off`.
    status: &'static str,
    found: &'a str,
    /// What the collector cannot do; `null` when nothing is wrong.
    lost: Option<&'a str>,
    /// What the operator can do; `null` when nothing is wrong.
    fix: Option<&'a str>,
    /// The id of the facility this one suffers from; `null` when nothing is wrong, or wrong with this one itself.
    because_of: Option<&'static str>,
}

#[derive(Serialize)]
struct Program<'a> {
    name: &'a str,
    loaded: bool,
    /// The tracepoint, `null` when it is not attached.
    attached_to: Option<&'a str>,
    /// After the kernel's translation; `null` when the kernel does not report it.
    instructions: Option<u32>,
    /// As the verifier walked through them; `null` before kernel 5.16.
    verified_instructions: Option<u32>,
    /// Microseconds.
    load_us: Option<u64>,
    /// Why it could not be loaded or attached.
    error: Option<String>,
}

/// The whole document, with a newline at its end.
pub fn render(report: &Report) -> String {
    let status = match report.verdict() {
        Verdict::AllWorks => "works",
        Verdict::Limited => "limited",
        Verdict::Unusable => "unusable",
    };
    let summary = DoctorSummary {
        status,
        exit_code: report.exit_code(),
        unavailable: report.count(Status::Unavailable),
        limited: report.count(Status::Limited),
        works: report.count(Status::Works),
        off: report.count(Status::Off),
    };
    let mut text = String::from("{\n");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\"collector\": {},", line(env!("CARGO_PKG_VERSION")));
    let _ = writeln!(text, "\"kernel\": {},", line(&report.release));
    let _ = writeln!(text, "\"summary\": {},", line(&summary));
    let facilities = list(report.findings.iter().map(Facility::from));
    let programs = list(report.programs.iter().map(Program::from));
    let _ = write!(text, "\"facilities\": [{facilities}],\n\"programs\": [{programs}]\n}}\n");
    text
}

/// One value on one line.
fn line<T: Serialize + ?Sized>(value: &T) -> String {
    // Writing to memory does not fail, and no key is anything but a string.
    serde_json::to_string(value).unwrap_or_default()
}

/// The inside of a list with each element on a line of its own, so that `grep` and `diff` show whole facilities.
fn list<T: Serialize>(elements: impl Iterator<Item = T>) -> String {
    let lines: Vec<_> = elements.map(|element| format!("\n  {}", line(&element))).collect();
    if lines.is_empty() { String::new() } else { format!("{}\n", lines.join(",")) }
}

impl<'a> From<&'a Finding> for Facility<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            id: finding.id,
            title: finding.title,
            status: finding.status.name(),
            found: &finding.found,
            lost: finding.trouble.as_ref().map(|trouble| &*trouble.lost),
            fix: finding.trouble.as_ref().map(|trouble| &*trouble.fix),
            because_of: finding.because_of,
        }
    }
}

impl<'a> From<&'a ProgramTrial> for Program<'a> {
    fn from(program: &'a ProgramTrial) -> Self {
        let figures = program.load.as_ref().ok();
        let attach_error = program.attach.as_ref().and_then(|(_, outcome)| outcome.as_ref().err());
        Self {
            name: &program.name,
            loaded: figures.is_some(),
            attached_to: program
                .attach
                .as_ref()
                .filter(|(_, outcome)| outcome.is_ok())
                .map(|(tracepoint, _)| *tracepoint),
            instructions: figures.and_then(|figures| figures.instructions),
            verified_instructions: figures.and_then(|figures| figures.verified_instructions),
            load_us: figures.map(|figures| figures.load_time.as_micros() as u64),
            error: program.load.as_ref().err().or(attach_error).map(Unavailable::why),
        }
    }
}
