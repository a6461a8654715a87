//! The comparison for programs: one JSON object. Keys are only ever added.

use std::collections::BTreeSet;

use serde::Serialize;

use super::report::{Finding, Report};

#[derive(Serialize)]
struct Document<'a> {
    /// `equal`, `different`, or `incomplete` when nothing differed until it broke off.
    status: &'static str,
    cadvisor: Server<'a>,
    collector: Server<'a>,
    /// How many containers both have.
    containers: usize,
    answers: usize,
    values: usize,
    /// Samples of which only the names were compared, because the collector had none around.
    unmatched_samples: usize,
    /// The containers of these samples.
    unmatched_containers: &'a BTreeSet<String>,
    /// Where and why the comparison broke off; `null` when it was made to the end.
    incomplete: Option<&'a str>,
    /// Findings that are not listed, because there are too many.
    dropped: usize,
    /// How many findings count as differences.
    differences: usize,
    findings: Vec<WireFinding<'a>>,
}

#[derive(Serialize)]
struct Server<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
}

#[derive(Serialize)]
struct WireFinding<'a> {
    /// `missing`, `type`, `value`, `answer`, `missing container`, `extra`, `extra container`.
    difference: &'static str,
    /// Whether it counts as a difference.
    fails: bool,
    /// The id of the deliberate difference in docs/migrating.md; `null` for others.
    known: Option<&'static str>,
    resource: &'a str,
    container: Option<&'a str>,
    path: &'a str,
    /// The path without the keys of list entries.
    pattern: String,
    theirs: &'a str,
    ours: &'a str,
}

/// The whole document, with a newline at its end.
pub fn render(report: &Report) -> String {
    let document = Document {
        status: match (report.differs(), &report.incomplete) {
            (true, _) => "different",
            (false, None) => "equal",
            (false, Some(_)) => "incomplete",
        },
        cadvisor: Server { url: &report.theirs, version: Some(&report.their_version) },
        collector: Server { url: &report.ours, version: None },
        containers: report.containers,
        answers: report.answers,
        values: report.values,
        unmatched_samples: report.unmatched_samples,
        unmatched_containers: &report.unmatched_containers,
        incomplete: report.incomplete.as_deref(),
        dropped: report.dropped,
        differences: report.failures(),
        findings: report.findings.iter().map(WireFinding::from).collect(),
    };
    // Everything in it is text, a number or a list: there is nothing that cannot be written.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

impl<'a> From<&'a Finding> for WireFinding<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            difference: finding.difference.name(),
            fails: finding.fails(),
            known: finding.known,
            resource: &finding.resource,
            container: finding.container.as_deref(),
            path: &finding.path,
            pattern: finding.pattern(),
            theirs: &finding.theirs,
            ours: &finding.ours,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::report::{Difference, Verbosity};
    use super::*;

    #[test]
    fn a_program_can_read_it() {
        let mut report = Report::new("http://a".to_owned(), "http://b".to_owned(), Verbosity::Differences);
        report.add(Finding {
            resource: "/api/v1.3/machine".to_owned(),
            container: None,
            path: "disk_map[8:0].size".to_owned(),
            difference: Difference::Value,
            theirs: "1".to_owned(),
            ours: "2".to_owned(),
            known: None,
        });
        let document: Value = serde_json::from_str(&render(&report)).unwrap();
        assert_eq!(document["status"], "different");
        assert_eq!(document["differences"], 1);
        let finding = json!({"difference": "value", "fails": true, "known": null, "resource": "/api/v1.3/machine",
            "container": null, "path": "disk_map[8:0].size", "pattern": "disk_map[].size", "theirs": "1", "ours": "2"});
        assert_eq!(document["findings"][0], finding);
    }
}
