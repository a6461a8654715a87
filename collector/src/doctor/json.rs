//! The report for programs: one JSON object. Keys and ids are only ever added; the README documents them.

use serde::Serialize;

use super::report::{Finding, Report, Status, Verdict};
use crate::kernel::probes::examine::ProgramTrial;

/// The whole report.
#[derive(Serialize)]
struct Document<'a> {
    /// The collector's version.
    collector: &'static str,
    /// `uname -r`.
    kernel: &'a str,
    summary: Summary,
    facilities: Vec<Facility<'a>>,
    programs: Vec<Program<'a>>,
}

#[derive(Serialize)]
struct Summary {
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
}

#[derive(Serialize)]
struct Program<'a> {
    name: &'a str,
    loaded: bool,
    /// The tracepoint, `null` when it is not attached.
    attached_to: Option<&'a str>,
    /// After the kernel's translation; `null` when the kernel does not tell.
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
    let document = Document {
        collector: env!("CARGO_PKG_VERSION"),
        kernel: &report.release,
        summary: Summary {
            status,
            exit_code: report.exit_code(),
            unavailable: report.count(Status::Unavailable),
            limited: report.count(Status::Limited),
            works: report.count(Status::Works),
            off: report.count(Status::Off),
        },
        facilities: report.findings.iter().map(Facility::from).collect(),
        programs: report.programs.iter().map(Program::from).collect(),
    };
    // Writing to memory does not fail, and no key is anything but a string.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
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
            error: program.load.as_ref().err().or(attach_error).map(|failure| failure.why()),
        }
    }
}
