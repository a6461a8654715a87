//! What the doctor found: plain data, in no format.

use std::borrow::Cow;

use crate::kernel::probes::examine::ProgramTrial;

/// How a facility is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It cannot be used.
    Unavailable,
    /// It works in part, or at a cost.
    Limited,
    /// It works.
    Works,
    /// Nobody asked for it.
    Off,
}

impl Status {
    /// Every status, the most serious first.
    pub const ALL: [Self; 4] = [Self::Unavailable, Self::Limited, Self::Works, Self::Off];

    /// The word for it, in both formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Limited => "limited",
            Self::Works => "works",
            Self::Off => "off",
        }
    }
}

/// How much depends on a facility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Without it the collector does not start, or has nothing to report.
    Essential,
    /// Without it the collector reports less.
    Useful,
}

/// What is lost without a facility, and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What the collector cannot do, or does worse.
    pub lost: Cow<'static, str>,
    /// What the operator can do.
    pub fix: Cow<'static, str>,
}

/// One facility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name for programs; never changes.
    pub id: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// How it is.
    pub status: Status,
    /// How much depends on it.
    pub need: Need,
    /// What was found, and where something is wrong, why.
    pub found: String,
    /// Present when it is limited or unavailable.
    pub trouble: Option<Trouble>,
    /// The id of the finding that this one follows from: who mends that one mends this one too.
    pub because_of: Option<&'static str>,
}

impl Finding {
    /// A facility that works.
    pub fn works(id: &'static str, title: &'static str, found: impl Into<String>) -> Self {
        Self {
            id,
            title,
            status: Status::Works,
            need: Need::Useful,
            found: found.into(),
            trouble: None,
            because_of: None,
        }
    }

    /// A facility that nobody asked for.
    pub fn off(id: &'static str, title: &'static str, found: impl Into<String>) -> Self {
        Self { status: Status::Off, ..Self::works(id, title, found) }
    }

    /// The same, working in part only.
    #[must_use]
    pub fn limited(self, lost: impl Into<Cow<'static, str>>, fix: impl Into<Cow<'static, str>>) -> Self {
        let trouble = Some(Trouble { lost: lost.into(), fix: fix.into() });
        Self { status: Status::Limited, trouble, ..self }
    }

    /// The same, not usable.
    #[must_use]
    pub fn unavailable(self, lost: impl Into<Cow<'static, str>>, fix: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Unavailable, ..self.limited(lost, fix) }
    }

    /// The same, with the collector's job depending on it.
    #[must_use]
    pub fn essential(self) -> Self {
        Self { need: Need::Essential, ..self }
    }

    /// The same, following from another finding.
    #[must_use]
    pub fn because_of(self, id: &'static str) -> Self {
        Self { because_of: Some(id), ..self }
    }

    /// The same, as something nobody asked for.
    #[must_use]
    pub fn not_asked_for(self) -> Self {
        Self { status: Status::Off, trouble: None, because_of: None, ..self }
    }
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `uname -r`.
    pub release: String,
    /// Every facility, the most important first.
    pub findings: Vec<Finding>,
    /// Every program of the eBPF object, if it came to loading them.
    pub programs: Vec<ProgramTrial>,
}

/// The state of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was asked for works.
    AllWorks,
    /// Something is limited.
    Limited,
    /// The collector cannot do its job.
    Unusable,
}

impl Report {
    /// Puts the findings in order: by what they mean for the collector, causes before what follows from them, and among
    /// equals as they were given.
    pub fn new(release: String, mut findings: Vec<Finding>, programs: Vec<ProgramTrial>) -> Self {
        findings.sort_by_key(|finding| (finding.status, finding.need, finding.because_of.is_some()));
        Self { release, findings, programs }
    }

    /// How many findings have this status.
    pub fn count(&self, status: Status) -> usize {
        self.findings.iter().filter(|finding| finding.status == status).count()
    }

    /// The state of the whole.
    pub fn verdict(&self) -> Verdict {
        let first = self.findings.first().map(|finding| (finding.status, finding.need));
        match first {
            Some((Status::Unavailable, Need::Essential)) => Verdict::Unusable,
            Some((Status::Unavailable | Status::Limited, _)) => Verdict::Limited,
            Some((Status::Works | Status::Off, _)) | None => Verdict::AllWorks,
        }
    }

    /// The exit code of `collector doctor`.
    pub fn exit_code(&self) -> u8 {
        match self.verdict() {
            Verdict::AllWorks => 0,
            Verdict::Limited => 1,
            Verdict::Unusable => 2,
        }
    }
}
