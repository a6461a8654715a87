//! A number of a sample beside the file it came from, or the reason why there is none. Plain data, for people who ask
//! where a number on their machine comes from.

use std::fmt;
use std::path::PathBuf;

use super::container::PressureRow;
use super::kinds::MetricKind;
use super::spec::MemoryLimit;
use crate::units::{Bytes, Limit, Micros, Nanos, WallTime};

/// Every statistic of one cgroup.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// The cgroup's name.
    pub cgroup: Vec<u8>,
    /// How the machine's hierarchies are laid out: `v1`, `hybrid`, `v2`.
    pub layout: &'static str,
    /// Each statistic once, by family.
    pub list: Vec<Statistic>,
}

/// One statistic.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistic {
    /// Its name: dotted, after the fields of [`Sample`](super::container::Sample) and [`Spec`](super::spec::Spec).
    pub name: &'static str,
    /// Where it is read, or why it is not.
    pub source: Result<Source, Absence>,
    /// What was read. `None` beside a source when there was nothing to count, such as a process.
    pub value: Option<Value>,
    /// The field in kernel memory that the value was taken from instead of the file, which has the same.
    pub kernel_memory: Option<&'static str>,
}

/// Where a statistic is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// For people: `memory.stat: anon`. The same for all cgroups, with `<pid>` and `<size>` in place of what differs.
    pub text: String,
    /// The files of this very cgroup.
    pub files: Vec<SourceFile>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Absolute.
    pub path: PathBuf,
    /// The word that marks the value in it; `None` when the whole file or a fixed place in it is the value.
    pub key: Option<&'static str>,
}

/// Why a statistic is not available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// The metric kind is switched off.
    #[error("the kind {name} is switched off: see --enable_metrics and --disable_metrics", name = .0.name())]
    KindOff(MetricKind),
    /// The load reader is switched off, or the kernel lacks `CONFIG_TASKSTATS`.
    #[error("needs --enable_load_reader, and CONFIG_TASKSTATS in the kernel")]
    LoadReaderOff,
    /// The kernel was asked and did not answer.
    #[error("the kernel gave no answer")]
    NoAnswer,
    /// No mounted hierarchy has the controller.
    #[error("no mounted hierarchy has the controller {0}")]
    NoController(&'static str),
    /// cgroup2 is not mounted.
    #[error("cgroup2 is not mounted")]
    NoCgroup2,
    /// The cgroup is not in the hierarchy it would be read in.
    #[error("the cgroup is not in the hierarchy of {0}")]
    NotMember(&'static str),
    /// The controller is mounted, but not switched on for this cgroup (cgroup v2).
    #[error("the controller {0} is not switched on for this cgroup: see cgroup.subtree_control of its parent")]
    ControllerOff(&'static str),
    /// That version of cgroups does not have it.
    #[error("cgroup {0} does not have it")]
    NotInVersion(&'static str),
    /// The file is not there.
    #[error("{}", Missing { what: path.display(), since: *since })]
    NoFile {
        /// The file.
        path: PathBuf,
        /// The kernel that has it first.
        since: Option<&'static str>,
    },
    /// The file is there without the value.
    #[error("{}", Missing { what: format_args!("{} in {}", key, path.display()), since: *since })]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is not in it.
        key: &'static str,
        /// The kernel that has it first.
        since: Option<&'static str>,
    },
    /// The file is there, but the kernel does not serve it: pressure without `psi=1`.
    #[error("{path}: switched off in the kernel; pressure needs CONFIG_PSI and psi=1", path = .0.display())]
    Unsupported(PathBuf),
    /// The right to read it is missing.
    #[error("{path}: not allowed; it needs {right}", path = path.display())]
    Denied {
        /// The file.
        path: PathBuf,
        /// What would help.
        right: &'static str,
    },
    /// The read failed.
    #[error("{path}: {problem}", path = path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the kernel said, or what is wrong with the content.
        problem: String,
    },
    /// The cgroup or the process ended meanwhile.
    #[error("it ended meanwhile")]
    Ended,
    /// The I/O scheduler in use does not count it.
    #[error("only the I/O schedulers CFQ and BFQ (with its debugging) count it")]
    Scheduler,
    /// There is no process to look at.
    #[error("no process is in this very cgroup")]
    NoProcess,
    /// The processes are in the host's network namespace.
    #[error("its processes share the host's network, or may not be looked at (CAP_SYS_PTRACE)")]
    SharedNetwork,
    /// There is no monitoring group for the cgroup.
    #[error("needs a resctrl file system with monitoring, and the right to make groups in it")]
    NoResctrl,
    /// No event is configured, or none could be opened.
    #[error("needs --perf_events_config, and CAP_PERFMON")]
    NoPerfEvents,
    /// The machine has no huge pages.
    #[error("the kernel has no huge pages")]
    NoHugePages,
}

/// What is not there, and which kernels have it.
struct Missing<T> {
    what: T,
    since: Option<&'static str>,
}

impl<T: fmt::Display> fmt::Display for Missing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not there", self.what)?;
        self.since.map_or(Ok(()), |since| write!(f, "; kernels since {since} have it"))
    }
}

/// The value of a statistic with its unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Count(u64),
    /// Bytes.
    Bytes(u64),
    /// Nanoseconds.
    Nanoseconds(u64),
    /// Microseconds.
    Microseconds(u64),
    /// Hundredths of a percent.
    Hundredths(u64),
    /// A point in time.
    Time(WallTime),
    /// Nothing is limited.
    Unlimited,
    /// A text.
    Text(String),
    /// One value per CPU.
    List(Vec<Value>),
    /// Values by device, interface, node or page size.
    Named(Vec<(String, Value)>),
}

impl From<&u64> for Value {
    fn from(count: &u64) -> Self {
        Self::Count(*count)
    }
}

impl From<&Bytes> for Value {
    fn from(bytes: &Bytes) -> Self {
        Self::Bytes(bytes.0)
    }
}

impl From<&Nanos> for Value {
    fn from(time: &Nanos) -> Self {
        Self::Nanoseconds(time.0)
    }
}

impl From<&Micros> for Value {
    fn from(time: &Micros) -> Self {
        Self::Microseconds(time.0)
    }
}

impl From<&WallTime> for Value {
    fn from(time: &WallTime) -> Self {
        Self::Time(*time)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&Limit> for Value {
    fn from(limit: &Limit) -> Self {
        match limit {
            Limit::Max => Self::Unlimited,
            Limit::Value(value) => Self::Count(*value),
        }
    }
}

impl From<&MemoryLimit> for Value {
    fn from(limit: &MemoryLimit) -> Self {
        match limit {
            MemoryLimit::Max => Self::Unlimited,
            MemoryLimit::Bytes(bytes) => bytes.into(),
        }
    }
}

impl From<&PressureRow> for Value {
    fn from(row: &PressureRow) -> Self {
        let PressureRow { total, avg10, avg60, avg300 } = row;
        let averages = [("avg10", avg10), ("avg60", avg60), ("avg300", avg300)];
        let total = [("total".to_owned(), Self::from(total))];
        Self::Named(
            total.into_iter().chain(averages.map(|(name, share)| (name.into(), Self::Hundredths(*share)))).collect(),
        )
    }
}

impl From<&Vec<Nanos>> for Value {
    fn from(list: &Vec<Nanos>) -> Self {
        Self::List(list.iter().map(Self::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absences_say_what_would_help() {
        let missing = Absence::NoFile { path: "/c/a/memory.peak".into(), since: Some("5.19") };
        assert_eq!(missing.to_string(), "/c/a/memory.peak: not there; kernels since 5.19 have it");
        let missing = Absence::NoKey { path: "/c/a/cpu.stat".into(), key: "x", since: None };
        assert_eq!(missing.to_string(), "x in /c/a/cpu.stat: not there");
        assert!(Absence::KindOff(MetricKind::Sched).to_string().starts_with("the kind sched is switched off"));
    }
}
