//! `cargo xtask check`: everything that can be said about the project without running it.
//!
//! All steps run even when an early one fails, so that one run shows everything there is to mend.

mod circles;
mod imports;
mod links;
mod rules;
mod tidy;
mod tokens;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{shell, workspace};

/// Builds with the compiler that the workspace names.
const DENY_VERSION: &str = "0.20.2";
/// How long the database of advisories may take to arrive.
const ADVISORIES_WITHIN: Duration = Duration::from_secs(90);

/// Which checks to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these steps
    #[arg(value_enum)]
    only: Vec<Step>,
}

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    /// The formatting is rustfmt's
    Fmt,
    /// Import directions, module documentation, and the other rules of the house
    Tidy,
    /// No warnings from clippy
    Clippy,
    /// No warnings from rustdoc
    Doc,
    /// Bans, licenses and sources of the dependencies
    Deny,
    /// Known vulnerabilities of the dependencies
    Advisories,
}

/// How a step ended.
enum Outcome {
    Passed,
    Skipped(String),
}

impl Step {
    const ALL: [Self; 6] = [Self::Fmt, Self::Tidy, Self::Clippy, Self::Doc, Self::Deny, Self::Advisories];

    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Tidy => "tidy",
            Self::Clippy => "clippy",
            Self::Doc => "doc",
            Self::Deny => "deny",
            Self::Advisories => "advisories",
        }
    }

    fn run(self) -> Result<Outcome> {
        match self {
            Self::Fmt => shell::run(workspace::cargo().args(["fmt", "--all", "--check"]))?,
            Self::Tidy => tidy::check(&workspace::root())?,
            Self::Clippy => {
                let mut command = workspace::cargo();
                shell::run(command.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
            }
            Self::Doc => {
                let mut command = workspace::cargo();
                command.args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
                shell::run(command.env("RUSTDOCFLAGS", "-D warnings"))?;
            }
            Self::Deny => shell::run(deny()?.args(["check", "bans", "licenses", "sources"]))?,
            Self::Advisories => return advisories(),
        }
        Ok(Outcome::Passed)
    }
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    let steps = if args.only.is_empty() { Step::ALL.to_vec() } else { args.only.clone() };
    let results: Vec<_> = steps.iter().map(|step| (step, step.run())).collect();
    println!();
    let mut failed = Vec::new();
    for (step, result) in &results {
        match result {
            Ok(Outcome::Passed) => println!("ok       {}", step.name()),
            Ok(Outcome::Skipped(reason)) => println!("SKIPPED  {}: {reason}", step.name()),
            Err(error) => {
                println!("FAILED   {}: {error:#}", step.name());
                failed.push(step.name());
            }
        }
    }
    ensure!(failed.is_empty(), "these checks failed: {}", failed.join(", "));
    Ok(())
}

/// cargo-deny, installed under `target/` when it is not there yet.
fn deny() -> Result<Command> {
    let folder = workspace::target().join("tools");
    let binary = folder.join("bin/cargo-deny");
    let version = shell::output(Command::new(&binary).arg("--version"));
    if !version.is_ok_and(|text| text.trim().ends_with(&format!(" {DENY_VERSION}"))) {
        let mut install = workspace::cargo();
        install.env_remove("CARGO_TARGET_DIR");
        install.args(["install", "cargo-deny", "--version", DENY_VERSION, "--locked", "--force", "--root"]);
        // It runs for seconds, and the optimizer would take minutes.
        install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        shell::run(install.arg(&folder)).context("cargo-deny is needed to check the dependencies")?;
    }
    let mut command = Command::new(binary);
    // Linux alone, all features: what the configuration file says.
    command.current_dir(workspace::root());
    Ok(command)
}

/// The advisories come from a server that need not be reachable: that is no finding about this project.
fn advisories() -> Result<Outcome> {
    let mut fetch = deny()?;
    fetch.args(["fetch", "db"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    eprintln!("$ {}", shell::describe(&fetch));
    let mut child = fetch.spawn().context("cannot start cargo-deny")?;
    let end = Instant::now() + ADVISORIES_WITHIN;
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for cargo-deny")? {
            break status;
        }
        if Instant::now() >= end {
            child.kill().and_then(|()| child.wait()).context("cannot stop cargo-deny")?;
            let seconds = ADVISORIES_WITHIN.as_secs();
            return Ok(Outcome::Skipped(format!("the database of advisories did not arrive within {seconds} s")));
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        let mut messages = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut messages).context("cannot read cargo-deny's messages")?;
        }
        let reason = shell::last_line(&messages);
        return Ok(Outcome::Skipped(format!("the database of advisories cannot be fetched: {reason}")));
    }
    if let Err(error) = shell::run(deny()?.args(["check", "--disable-fetch", "advisories"])) {
        bail!("{error:#}");
    }
    Ok(Outcome::Passed)
}
