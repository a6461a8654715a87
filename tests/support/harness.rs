//! Runs the tests: each in a process of its own, one after the other, each against a deadline.
//!
//! A process per test means that a test which hangs, panics or is killed leaves nothing behind: the runner is the
//! subreaper of everything the test started, ends it, and removes the test's cgroups.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;

use super::settings::{
    self, CADVISOR_BIN, COLLECTOR_BIN, COLLECTOR_IMAGE, Cgroups, ESSENTIAL, PROMETHEUS_BIN, settings,
};
use super::{
    Context as _, Result, bail, collector, leftovers, network, process, runtime, surroundings, wait, workload,
};

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

/// How a test ended.
enum Outcome {
    /// With the rows it found for the tables of the documents, and figures.
    Passed(Vec<String>),
    Failed(String),
    Skipped(String),
}

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
const USAGE: &str = "usage: e2e [--list] [--exact] [--essential [--also NAME]...] [--collector PATH] [--image PATH] [--cadvisor PATH] [--prometheus PATH] [--skip NAME]... [NAME]...";

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
}

/// The entry point: a runner, one test, a workload or the start of a collector, by the first argument.
pub(crate) fn main(cases: &[Case]) -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let done = match arguments.first().map(String::as_str) {
        Some(workload::ARGUMENT) => workload::main(arguments.get(1).map_or("", String::as_str)),
        Some(surroundings::ARGUMENT) => surroundings::exec(&arguments[1..]),
        Some(runtime::ARGUMENT) => runtime::exec(&arguments[1..]),
        Some(RUN_ONE) => return run_here(cases, arguments.get(1).map_or("", String::as_str)),
        _ => match parse(&arguments) {
            Ok(options) => return run_all(cases, &options),
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

fn run_all(cases: &[Case], options: &Options) -> ExitCode {
    let selected: Vec<&Case> = cases.iter().filter(|case| options.selects(case)).collect();
    if options.list {
        for case in &selected {
            println!("{}: test", case.name);
        }
        return ExitCode::SUCCESS;
    }
    // Whatever a test leaves running becomes our child and is ended with it.
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        eprintln!("cannot become the subreaper of the tests: {error}");
    }
    if settings::in_vm()
        && let Err(error) = network::loopback_up()
    {
        eprintln!("the loopback interface stays off: {error:#}");
    }
    leftovers::remove();
    println!("running {} tests", selected.len());
    let mut skipped = Vec::new();
    let mut failed = Vec::new();
    let mut twice = Vec::new();
    for case in &selected {
        print!("{} ... ", case.name);
        let _ = std::io::stdout().flush();
        let start = Instant::now();
        let mut outcome = run_and_clean_up(case, options);
        // A processor, emulated or lent, may stand still for as long as a test waits. What is wrong is wrong twice; what
        // ran twice is named and counted at the end.
        if let Outcome::Failed(message) = &outcome {
            print!("failed, once more ...\n{message}\n{} ... ", case.name);
            let _ = std::io::stdout().flush();
            outcome = run_and_clean_up(case, options);
            twice.push(case.name);
        }
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Outcome::Passed(rows) => {
                println!("ok ({took:.1} s)");
                for row in rows {
                    println!("{row}");
                }
            }
            Outcome::Skipped(reason) => {
                println!("SKIPPED");
                skipped.push((case.name, reason));
            }
            Outcome::Failed(message) => {
                println!("FAILED ({took:.1} s)\n{message}\n");
                failed.push(case.name);
            }
        }
    }
    println!();
    for (name, reason) in &skipped {
        println!("SKIPPED {name}: {reason}");
    }
    for name in &twice {
        println!("SECOND TRY {name}");
    }
    for name in &failed {
        println!("FAILED {name}");
    }
    let passed = selected.len() - failed.len() - skipped.len();
    println!("{} second tries", twice.len());
    // Who counts reads this line, which is the last.
    println!("{passed} passed, {} failed, {} skipped", failed.len(), skipped.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_and_clean_up(case: &Case, options: &Options) -> Outcome {
    let outcome = run_apart(case, options).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
    process::end_descendants();
    leftovers::remove();
    outcome
}

/// Runs one test in a process of its own and waits for its end or its deadline.
fn run_apart(case: &Case, options: &Options) -> Result<Outcome> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Outcome::Skipped("needs root".to_owned()));
    }
    // A file in memory rather than a pipe: what a test leaves running may hold it open without holding us up.
    let output: OwnedFd = rustix::fs::memfd_create("test output", MemfdFlags::CLOEXEC)?;
    let mut output = File::from(output);
    let mut command = Command::new("/proc/self/exe");
    command.args([RUN_ONE, case.name]).stdin(Stdio::null()).stdout(output.try_clone()?);
    if let Some(path) = &options.collector {
        command.env(COLLECTOR_BIN, path);
    }
    if let Some(path) = &options.image {
        command.env(COLLECTOR_IMAGE, path);
    }
    if let Some(path) = &options.cadvisor {
        command.env(CADVISOR_BIN, path);
    }
    if let Some(path) = &options.prometheus {
        command.env(PROMETHEUS_BIN, path);
    }
    if options.essential {
        command.env(ESSENTIAL, "1");
    }
    let mut child = command.spawn()?;
    let deadline = wait::scaled(case.deadline);
    let ended = wait::eventually(deadline, || child.try_wait()?.context("the test still runs"));
    let Ok(status) = ended else {
        child.kill()?;
        child.wait()?;
        return Ok(Outcome::Failed(format!("not done after its deadline of {deadline:?}")));
    };
    let mut text = String::new();
    output.rewind()?;
    output.read_to_string(&mut text)?;
    Ok(match status.code() {
        Some(0) => {
            let lines = text.lines().filter(|line| line.starts_with(TABLE) || line.starts_with(FIGURES));
            Outcome::Passed(lines.map(str::to_owned).collect())
        }
        Some(code) if code == i32::from(SKIPPED) => Outcome::Skipped(text.trim().to_owned()),
        Some(1) => Outcome::Failed(text.trim_end().to_owned()),
        _ => Outcome::Failed(format!("the test's process ended with {status}\n{}", text.trim_end())),
    })
}

/// Runs one test in this process and reports by exit code and standard output.
fn run_here(cases: &[Case], name: &str) -> ExitCode {
    let Some(case) = cases.iter().find(|case| case.name == name) else {
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
