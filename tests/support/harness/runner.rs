//! Runs tests: each in a process of its own, against a deadline.
//!
//! A process per test means that a test which hangs, panics or is killed leaves nothing behind: the runner is the
//! subreaper of everything the test started, ends it, and removes the test's cgroups.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use super::{Case, FIGURES, Options, RUN_ONE, SKIPPED, Suite, TABLE, lanes};
use crate::support::settings::{
    self, CADVISOR_BIN, COLLECTOR_BIN, COLLECTOR_IMAGE, COMPOSE_BIN, ESSENTIAL, PROMETHEUS_BIN,
};
use crate::support::{Context as _, Result, leftovers, network, process, wait};

/// A test that ended, as a lane reports it.
#[derive(Serialize, Deserialize)]
pub(super) struct Ended {
    name: String,
    seconds: f64,
    outcome: Outcome,
}

/// How a test ended.
#[derive(Serialize, Deserialize)]
enum Outcome {
    /// With the rows it found for the tables of the documents, and figures.
    Passed(Vec<String>),
    Failed(String),
    Skipped(String),
}

/// What came of the tests that have ended.
#[derive(Default)]
struct Verdict {
    passed: usize,
    skipped: Vec<(String, String)>,
    failed: Vec<String>,
    twice: Vec<String>,
}

/// Runs the selected tests of the suite, or of one lane for another runner.
pub(super) fn main(suite: &Suite, options: &Options) -> ExitCode {
    let selected: Vec<&Case> = suite.all().filter(|case| options.selects(case)).collect();
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
    if let Some(lane) = options.lane {
        return run_lane(suite, lane, options);
    }
    if settings::in_vm()
        && let Err(error) = network::loopback_up()
    {
        eprintln!("the loopback interface stays off: {error:#}");
    }
    leftovers::remove();
    println!("running {} tests", selected.len());
    let mut verdict = Verdict::default();
    let mut done = HashSet::new();
    if lanes::are_worth_it(suite, options) {
        let started = Instant::now();
        let ran = lanes::run(suite, |ended| {
            if let Outcome::Failed(message) = &ended.outcome {
                println!(
                    "{} ... failed ({:.1} s), once more when nothing else runs\n{message}",
                    ended.name, ended.seconds
                );
                verdict.twice.push(ended.name);
            } else {
                print!("{} ... ", ended.name);
                done.insert(ended.name.clone());
                verdict.add(ended);
            }
        });
        if let Err(error) = ran {
            println!("tests do not run beside each other: {error:#}");
        }
        println!("{} tests ran beside each other in {:.0} s", done.len(), started.elapsed().as_secs_f64());
        leftovers::remove();
    }
    for case in selected.iter().filter(|case| !done.contains(case.name)) {
        print!("{} ... ", case.name);
        let _ = std::io::stdout().flush();
        let mut ended = run_and_clean_up(case, options);
        // A processor, emulated or lent, may stand still for as long as a test waits. What is wrong is wrong twice; what
        // ran twice is named and counted at the end.
        if let Outcome::Failed(message) = &ended.outcome
            && !verdict.twice.iter().any(|name| name == case.name)
        {
            print!("failed, once more ...\n{message}\n{} ... ", case.name);
            let _ = std::io::stdout().flush();
            verdict.twice.push(case.name.to_owned());
            ended = run_and_clean_up(case, options);
        }
        verdict.add(ended);
    }
    verdict.summarize()
}

/// Runs the tests of a lane and writes what came of each, a line of JSON for each.
fn run_lane(suite: &Suite, lane: usize, options: &Options) -> ExitCode {
    let Some(files) = suite.lanes.get(lane) else {
        eprintln!("there is no lane {lane}");
        return ExitCode::FAILURE;
    };
    for case in files.iter().flat_map(|file| file.iter()).filter(|case| options.selects(case)) {
        match serde_json::to_string(&run_and_clean_up(case, options)) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("{}: {error}", case.name),
        }
    }
    ExitCode::SUCCESS
}

impl Verdict {
    /// Ends the line of a test, and counts it.
    fn add(&mut self, ended: Ended) {
        let Ended { name, seconds, outcome } = ended;
        match outcome {
            Outcome::Passed(rows) => {
                println!("ok ({seconds:.1} s)");
                for row in rows {
                    println!("{row}");
                }
                self.passed += 1;
            }
            Outcome::Skipped(reason) => {
                println!("SKIPPED");
                self.skipped.push((name, reason));
            }
            Outcome::Failed(message) => {
                println!("FAILED ({seconds:.1} s)\n{message}\n");
                self.failed.push(name);
            }
        }
    }

    /// Prints what is printed last.
    fn summarize(&self) -> ExitCode {
        println!();
        for (name, reason) in &self.skipped {
            println!("SKIPPED {name}: {reason}");
        }
        for name in &self.twice {
            println!("SECOND TRY {name}");
        }
        for name in &self.failed {
            println!("FAILED {name}");
        }
        println!("{} second tries", self.twice.len());
        // Who counts reads this line, which is the last.
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len());
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn run_and_clean_up(case: &Case, options: &Options) -> Ended {
    let start = Instant::now();
    let outcome = run_apart(case, options).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
    process::end_descendants();
    leftovers::remove();
    Ended { name: case.name.to_owned(), seconds: start.elapsed().as_secs_f64(), outcome }
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
    if let Some(path) = &options.compose {
        command.env(COMPOSE_BIN, path);
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
