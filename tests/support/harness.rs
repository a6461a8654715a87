//! What a test is, which of them are wanted, and what the suite's binary does: run them, or be one of them.

mod lanes;
mod runner;

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use super::settings::{Cgroups, settings};
use super::{Context as _, Result, bail, collector, runtime, surroundings, workload};

/// One test.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    name: &'static str,
    deadline: Duration,
    scope: Scope,
    needs: Needs,
    run: fn() -> Result<()>,
}

/// Where a test is worth its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// What it tries does not depend on the kernel: on one or two of them.
    Once,
    /// On every kernel, but only where cgroup2 is alone: the layout of hierarchies makes no difference to it.
    EveryUnifiedKernel,
    /// On every kernel and with every layout of hierarchies.
    EveryKernel,
}

/// Which cgroup hierarchies a test is about. In a virtual machine with a chosen layout the others are not even
/// selected; elsewhere they are skipped and say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Any.
    Nothing,
    /// A v1 hierarchy.
    V1,
    /// A cgroup2 hierarchy, with or without controllers.
    Cgroup2,
    /// cgroup2 alone, with all controllers.
    PureV2,
    /// v1 hierarchies and cgroup2 beside them.
    Both,
}

impl Needs {
    fn fits(self, cgroups: Cgroups) -> bool {
        match self {
            Self::Nothing => true,
            Self::V1 => cgroups != Cgroups::V2,
            Self::Cgroup2 => cgroups != Cgroups::V1,
            Self::PureV2 => cgroups == Cgroups::V2,
            Self::Both => cgroups == Cgroups::Hybrid,
        }
    }
}

/// All tests, in the order they run.
pub(crate) struct Suite {
    /// On a real machine these run beside each other, one of each lane at a time: they wait for most of their time, and
    /// make no figures that another one's work would change. What fails there is tried once more when nothing else runs.
    pub(crate) lanes: [&'static [&'static [Case]]; 3],
    /// Those that need the machine for themselves.
    pub(crate) alone: &'static [&'static [Case]],
}

impl Suite {
    fn all(&self) -> impl Iterator<Item = &'static Case> {
        self.lanes.into_iter().chain([self.alone]).flatten().flat_map(|file| file.iter())
    }
}

impl Case {
    /// A test that may take two minutes.
    pub(crate) const fn new(name: &'static str, run: fn() -> Result<()>) -> Self {
        Self { name, deadline: Duration::from_mins(2), scope: Scope::Once, needs: Needs::Nothing, run }
    }

    /// The same, also where only the essential tests run, once on each kernel.
    pub(crate) const fn on_every_unified_kernel(mut self) -> Self {
        self.scope = Scope::EveryUnifiedKernel;
        self
    }

    /// The same, also where only the essential tests run: on each kernel, with each layout of cgroup hierarchies.
    pub(crate) const fn on_every_kernel(mut self) -> Self {
        self.scope = Scope::EveryKernel;
        self
    }

    /// The same, but only where there are such cgroup hierarchies.
    pub(crate) const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// The same with another deadline, in seconds on real hardware.
    pub(crate) const fn within(mut self, seconds: u64) -> Self {
        self.deadline = Duration::from_secs(seconds);
        self
    }
}

/// The error a test returns when this machine cannot run it.
#[derive(Debug)]
pub(crate) struct Skip(String);

impl Skip {
    /// A skip with its reason, as the error of a test.
    pub(crate) fn because(reason: impl Into<String>) -> anyhow::Error {
        Self(reason.into()).into()
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "skipped: {}", self.0)
    }
}

impl std::error::Error for Skip {}

/// Starts a line that a test found for a table of the documents.
const TABLE: &str = "TABLE ";

/// Reports a row of one of the tables that `cargo xtask vm` makes: what this kernel has, as one JSON object.
pub(crate) fn table_row(table: &str, row: &impl serde::Serialize) -> Result<()> {
    println!("{TABLE}{table} {}", serde_json::to_string(row)?);
    Ok(())
}

/// Starts a line with figures that a test measured.
const FIGURES: &str = "FIGURES ";

/// Reports figures that a test measured, for those who compare runs.
pub(crate) fn figures(what: &str, line: &str) {
    println!("{FIGURES}{what} {line}");
}

/// First argument of a test's process, its name follows.
pub(crate) const RUN_ONE: &str = "--run-one";
/// Exit code of a test's process that was skipped; its standard output is the reason.
const SKIPPED: u8 = 77;
const USAGE: &str = "usage: e2e [--list] [--exact] [--essential [--also NAME]...] [--collector PATH] [--image PATH] [--cadvisor PATH] [--prometheus PATH] [--compose PATH] [--skip NAME]... [NAME]...";

/// The command line of the runner.
#[derive(Default)]
struct Options {
    list: bool,
    exact: bool,
    essential: bool,
    /// Beside the essential ones.
    also: Vec<String>,
    wanted: Vec<String>,
    unwanted: Vec<String>,
    collector: Option<String>,
    image: Option<String>,
    cadvisor: Option<String>,
    prometheus: Option<String>,
    compose: Option<String>,
    /// Which lane this process runs for another one.
    lane: Option<usize>,
}

/// The entry point: a runner, one test, a workload or the start of a collector, by the first argument.
pub(crate) fn main(suite: &Suite) -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let done = match arguments.first().map(String::as_str) {
        Some(workload::ARGUMENT) => workload::main(arguments.get(1).map_or("", String::as_str)),
        Some(surroundings::ARGUMENT) => surroundings::exec(&arguments[1..]),
        Some(runtime::ARGUMENT) => runtime::exec(&arguments[1..]),
        Some(RUN_ONE) => return run_here(suite, arguments.get(1).map_or("", String::as_str)),
        _ => match parse(&arguments) {
            Ok(options) => return runner::main(suite, &options),
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned().with_context(|| format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--list" => options.list = true,
            "--exact" => options.exact = true,
            "--essential" => options.essential = true,
            "--also" => options.also.push(value()?),
            "--skip" => options.unwanted.push(value()?),
            "--collector" => options.collector = Some(value()?),
            "--image" => options.image = Some(value()?),
            "--cadvisor" => options.cadvisor = Some(value()?),
            "--prometheus" => options.prometheus = Some(value()?),
            "--compose" => options.compose = Some(value()?),
            lanes::ARGUMENT => options.lane = Some(value()?.parse()?),
            // Cargo and editors pass these to every test binary.
            "--nocapture" | "--quiet" | "-q" | "--test" => {}
            "--test-threads" | "--format" | "--color" | "-Z" => drop(value()?),
            other => match other.strip_prefix("--collector=") {
                Some(path) => options.collector = Some(path.to_owned()),
                None if other.starts_with("--") && other.contains('=') => {}
                None if other.starts_with('-') => bail!("unknown option {other}\n{USAGE}"),
                None => options.wanted.push(other.to_owned()),
            },
        }
    }
    Ok(options)
}

impl Options {
    fn selects(&self, case: &Case) -> bool {
        let name = case.name;
        let fits = |pattern: &String| if self.exact { name == pattern } else { name.contains(pattern.as_str()) };
        let is_essential = match case.scope {
            Scope::Once => false,
            Scope::EveryUnifiedKernel => settings().cgroups == Some(Cgroups::V2),
            Scope::EveryKernel => true,
        };
        if self.essential && !is_essential && !self.also.iter().any(fits) {
            return false;
        }
        if settings().cgroups.is_some_and(|cgroups| !case.needs.fits(cgroups)) {
            return false;
        }
        (self.wanted.is_empty() || self.wanted.iter().any(fits)) && !self.unwanted.iter().any(fits)
    }
}

/// Runs one test in this process and reports by exit code and standard output.
fn run_here(suite: &Suite, name: &str) -> ExitCode {
    let Some(case) = suite.all().find(|case| case.name == name) else {
        println!("no test is called {name}");
        return ExitCode::FAILURE;
    };
    let collector = &settings().collector;
    let needs_collector = !case.name.starts_with("selftest::");
    if needs_collector && !collector.is_file() {
        println!("there is no collector at {}: build it, or say --collector PATH", collector.display());
        return ExitCode::FAILURE;
    }
    match (case.run)() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(Skip(reason)) = error.downcast_ref::<Skip>() {
                println!("{reason}");
                return ExitCode::from(SKIPPED);
            }
            println!("  {error:#}");
            print!("{}", collector::last_words());
            ExitCode::FAILURE
        }
    }
}
