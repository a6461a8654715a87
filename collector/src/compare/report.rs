//! What was found, in a bounded amount of memory.

use std::collections::{BTreeMap, BTreeSet};

/// How many findings are kept; the rest is counted.
const MOST_FINDINGS: usize = 20_000;
/// The longest value that is shown.
const LONGEST_VALUE: usize = 120;

/// Whether what only the collector has is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Only what is absent or differs.
    Differences,
    /// Everything.
    Everything,
}

/// How two answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// A container that only cAdvisor lists.
    MissingContainer,
    /// A container that only the collector lists.
    ExtraContainer,
    /// A resource that cannot be had from one of them, or with another status.
    Answer,
    /// A name that only cAdvisor has.
    Missing,
    /// The same name with a value of another type.
    Type,
    /// A number out of tolerance, another text, another set.
    Value,
    /// A name that only the collector has.
    Extra,
}

impl Difference {
    /// As reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingContainer => "missing container",
            Self::ExtraContainer => "extra container",
            Self::Answer => "answer",
            Self::Missing => "missing",
            Self::Type => "type",
            Self::Value => "value",
            Self::Extra => "extra",
        }
    }

    /// Whether cAdvisor's clients would notice. To have more than cAdvisor is no fault.
    pub fn fails(self) -> bool {
        !matches!(self, Self::ExtraContainer | Self::Extra)
    }
}

/// One difference in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The resource, without the container's name: `/api/v1.3/containers`.
    pub resource: String,
    /// The container, where the resource is about one.
    pub container: Option<String>,
    /// The place in the answer: `stats.diskio.io_serviced[8:0].stats.Read`.
    pub path: String,
    /// How they differ there.
    pub difference: Difference,
    /// What cAdvisor says.
    pub theirs: String,
    /// What the collector says.
    pub ours: String,
    /// Id of the deliberate difference that explains it.
    pub known: Option<&'static str>,
}

impl Finding {
    /// Whether it counts against the collector.
    pub fn fails(&self) -> bool {
        self.difference.fails() && self.known.is_none()
    }

    /// The place without the keys of list entries: the same for every device, process and interface.
    pub fn pattern(&self) -> String {
        pattern(&self.path)
    }
}

/// A path with `[]` in place of every `[...]`.
pub(super) fn pattern(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut depth = 0_usize;
    for letter in path.chars() {
        match letter {
            '[' => {
                if depth == 0 {
                    out.push('[');
                }
                depth += 1;
            }
            ']' => {
                if depth == 1 {
                    out.push(']');
                }
                depth = depth.saturating_sub(1);
            }
            letter if depth == 0 => out.push(letter),
            _ => {}
        }
    }
    out
}

/// A value short enough to be shown.
pub(super) fn shown(value: &(impl ToString + ?Sized)) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Everything that a comparison found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where cAdvisor answers.
    pub theirs: String,
    /// Where the collector answers.
    pub ours: String,
    /// cAdvisor's version as it says it.
    pub their_version: String,
    /// How many containers both have.
    pub containers: usize,
    /// How many answers were compared.
    pub answers: usize,
    /// How many values were compared.
    pub values: usize,
    /// Samples of cAdvisor's whose keys were compared but not their values, because the collector had none around.
    pub unmatched_samples: usize,
    /// The containers of these samples.
    pub unmatched_containers: BTreeSet<String>,
    /// Findings beyond those that are kept.
    pub dropped: usize,
    /// Where and why the comparison broke off; `None` when it was made to the end.
    pub incomplete: Option<String>,
    /// Containers that cAdvisor shows the host's network for.
    pub on_host_network: BTreeSet<String>,
    /// The differences.
    pub findings: Vec<Finding>,
    verbosity: Verbosity,
}

/// Findings of one kind in one place of the structure, in however many containers.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The first of them.
    pub first: &'a Finding,
    /// The resource, with all versions of the API in which it was seen: `/api/v1.0,v1.3/containers`.
    pub resource: String,
    /// The place without the keys of list entries.
    pub pattern: String,
    /// How many there are.
    pub count: usize,
    /// The containers, each once.
    pub containers: Vec<&'a str>,
}

impl Report {
    /// An empty report.
    pub fn new(theirs: String, ours: String, verbosity: Verbosity) -> Self {
        Self {
            theirs,
            ours,
            their_version: String::new(),
            containers: 0,
            answers: 0,
            values: 0,
            unmatched_samples: 0,
            unmatched_containers: BTreeSet::new(),
            dropped: 0,
            incomplete: None,
            on_host_network: BTreeSet::new(),
            findings: Vec::new(),
            verbosity,
        }
    }

    /// Adds a finding, unless nobody wants to know.
    pub(super) fn add(&mut self, finding: Finding) {
        if finding.difference == Difference::Extra && self.verbosity == Verbosity::Differences {
            return;
        }
        // What fails is never dropped in favour of what does not.
        if self.findings.len() >= MOST_FINDINGS {
            self.dropped += 1;
            let harmless = if finding.fails() { self.findings.iter().rposition(|kept| !kept.fails()) } else { None };
            let Some(place) = harmless else { return };
            self.findings.swap_remove(place);
        }
        self.findings.push(finding);
    }

    /// Whether anything differs that is not known to.
    pub fn differs(&self) -> bool {
        self.findings.iter().any(Finding::fails)
    }

    /// How many findings fail.
    pub fn failures(&self) -> usize {
        self.findings.iter().filter(|finding| finding.fails()).count()
    }

    /// How many findings are deliberate differences.
    pub fn deliberate(&self) -> usize {
        self.findings.iter().filter(|finding| finding.known.is_some()).count()
    }

    /// The findings by kind and place, those that fail first. Versions of the API that differ in the last number alone
    /// have the same structures and are one.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<_, (Group<'_>, BTreeSet<&str>)> = BTreeMap::new();
        for finding in &self.findings {
            let pattern = finding.pattern();
            let (version, resource) = split_version(&finding.resource);
            let major = version.split('.').next().unwrap_or_default();
            let key = (!finding.fails(), finding.known, finding.difference, resource, major, pattern.clone());
            let (group, versions) = groups.entry(key).or_insert_with(|| {
                let group =
                    Group { first: finding, resource: String::new(), pattern, count: 0, containers: Vec::new() };
                (group, BTreeSet::new())
            });
            group.count += 1;
            versions.insert(version);
            if let Some(container) = finding.container.as_deref()
                && !group.containers.contains(&container)
            {
                group.containers.push(container);
            }
        }
        groups.into_values().map(|(group, versions)| group.seen_in(&versions)).collect()
    }
}

impl Group<'_> {
    fn seen_in(mut self, versions: &BTreeSet<&str>) -> Self {
        let (version, resource) = split_version(&self.first.resource);
        let versions: Vec<&str> = versions.iter().copied().collect();
        self.resource =
            if version.is_empty() { resource.to_owned() } else { format!("/api/{}{resource}", versions.join(",")) };
        self
    }
}

/// The version of the API and the rest of a resource, the whole where there is no version.
fn split_version(resource: &str) -> (&str, &str) {
    let rest = resource.strip_prefix("/api/").filter(|rest| rest.starts_with('v'));
    rest.and_then(|rest| rest.find('/').map(|end| rest.split_at(end))).unwrap_or(("", resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(path: &str, difference: Difference) -> Finding {
        Finding {
            resource: "/api/v1.3/containers".to_owned(),
            container: Some("/a".to_owned()),
            path: path.to_owned(),
            difference,
            theirs: "1".to_owned(),
            ours: String::new(),
            known: None,
        }
    }

    fn report(verbosity: Verbosity) -> Report {
        Report::new("http://a".to_owned(), "http://b".to_owned(), verbosity)
    }

    #[test]
    fn entries_of_lists_are_one_place() {
        assert_eq!(pattern("a[x[1]].b[/dev/sda].c"), "a[].b[].c");
        assert_eq!(pattern("a]b"), "ab");
        let mut report = report(Verbosity::Differences);
        report.add(finding("list[a].x", Difference::Missing));
        report.add(finding("list[b].x", Difference::Missing));
        let groups = report.groups();
        assert_eq!((groups.len(), groups[0].count, groups[0].containers.len()), (1, 2, 1));
        report
            .add(Finding { resource: "/api/v1.0/containers".to_owned(), ..finding("list[a].x", Difference::Missing) });
        report
            .add(Finding { resource: "/api/v2.0/containers".to_owned(), ..finding("list[a].x", Difference::Missing) });
        report.add(Finding { resource: "/metrics".to_owned(), ..finding("list[a].x", Difference::Missing) });
        let groups = report.groups();
        let resources: Vec<&str> = groups.iter().map(|group| group.resource.as_str()).collect();
        assert_eq!(resources, ["/api/v1.0,v1.3/containers", "/api/v2.0/containers", "/metrics"]);
    }

    #[test]
    fn what_is_more_than_cadvisors_is_no_difference() {
        let mut quiet = report(Verbosity::Differences);
        quiet.add(finding("a", Difference::Extra));
        assert!(quiet.findings.is_empty() && !quiet.differs());
        let mut verbose = report(Verbosity::Everything);
        verbose.add(finding("a", Difference::Extra));
        assert!(verbose.findings.len() == 1 && !verbose.differs());
        verbose.add(finding("a", Difference::Type));
        assert!(verbose.differs());
        assert_eq!(verbose.groups()[0].first.difference, Difference::Type);
    }

    #[test]
    fn memory_is_bounded_and_failures_stay() {
        let mut report = report(Verbosity::Everything);
        for _ in 0..MOST_FINDINGS {
            report.add(finding("a", Difference::Extra));
        }
        report.add(finding("b", Difference::Missing));
        assert_eq!((report.findings.len(), report.dropped), (MOST_FINDINGS, 1));
        assert!(report.differs());
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(shown("short"), "short");
        assert_eq!(shown(&"ü".repeat(200)).chars().count(), LONGEST_VALUE + 3);
    }
}
