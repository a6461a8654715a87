//! `cargo xtask test`: every test of the project, in three layers, each set up as far as this machine allows.
//!
//! | layer | what runs | needs |
//! | --- | --- | --- |
//! | unit | tests within the packages | nothing |
//! | host | the end-to-end suite on this kernel | root, Debian's container engines |
//! | vm | the same suite on other kernels with cgroup v1, v2 and both | an emulator, Debian's mirror once |
//!
//! What cannot run is counted as skipped, with its reason.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::build::Programs;
use crate::privilege::Privilege;
use crate::processor::Processor;
use crate::{apt, cadvisor, image, newer, shell, vm, web, workspace};

/// Which tests to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the tests whose name contains this
    filter: Option<String>,
    /// Only these layers
    #[arg(long, value_enum)]
    only: Vec<Layer>,
}

/// A group of tests that need the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Layer {
    /// Tests within the packages
    Unit,
    /// The end-to-end suite on this kernel
    Host,
    /// The end-to-end suite on other kernels, with each layout of cgroup hierarchies
    Vm,
}

/// What the end-to-end suite uses on the host: engines, a tiny image's content, network namespaces, file systems, and what
/// some files of `deploy/` are for.
pub(crate) const HOST_PACKAGES: [&str; 14] = [
    "docker.io",
    "containerd",
    "runc",
    "podman",
    "crun",
    "conmon",
    "busybox-static",
    "iproute2",
    "jsonnet",
    "nginx-light",
    "btrfs-progs",
    "e2fsprogs",
    "tmux",
    "xfsprogs",
];

/// What the page is tried with in a browser; Node beside them, where no other is installed.
const PAGE_PACKAGES: [&str; 2] = ["chromium", "fonts-dejavu-core"];
const NODE_PACKAGES: [&str; 2] = ["nodejs", "npm"];

/// How many tests ended how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests that did not run.
    pub(crate) skipped: u64,
    /// Why not.
    pub(crate) skip_reasons: Vec<String>,
    /// What did not pass before its second try, whatever came of that.
    pub(crate) second_tries: Vec<String>,
}

/// Starts a line about a test that could not run; the suite prints it.
pub(crate) const SKIPPED: &str = "SKIPPED ";
/// Starts a line about a test that ran a second time; the suite prints it.
pub(crate) const SECOND_TRY: &str = "SECOND TRY ";

impl Counts {
    /// Adds other counts to these.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.skip_reasons.extend(other.skip_reasons.iter().cloned());
        self.second_tries.extend(other.second_tries.iter().cloned());
    }

    /// A whole layer that did not run.
    fn all_skipped(reason: &anyhow::Error) -> Self {
        Self { skipped: 1, skip_reasons: vec![format!("everything: {reason:#}")], ..Self::default() }
    }

    /// Keeps what a line of the suite says besides how it ended.
    pub(crate) fn note(&mut self, line: &str) {
        if let Some(reason) = line.strip_prefix(SKIPPED) {
            self.skip_reasons.push(reason.to_owned());
        }
        if let Some(name) = line.strip_prefix(SECOND_TRY) {
            self.second_tries.push(name.to_owned());
        }
    }

    /// A layer that broke down before it could count.
    fn broken() -> Self {
        Self { failed: 1, ..Self::default() }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Layer {
    const ALL: [Self; 3] = [Self::Unit, Self::Host, Self::Vm];

    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Host => "host",
            Self::Vm => "vm",
        }
    }

    fn run(self, filter: Option<&str>) -> Result<Counts> {
        match self {
            Self::Unit => unit(filter),
            Self::Host => host(filter),
            Self::Vm => in_vm(filter),
        }
    }
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    let layers = if args.only.is_empty() { Layer::ALL.to_vec() } else { args.only.clone() };
    let mut results = Vec::new();
    for layer in layers {
        println!("\n=== {} ===", layer.name());
        let counts = layer.run(args.filter.as_deref()).unwrap_or_else(|error| {
            println!("FAILED {}: {error:#}", layer.name());
            Counts::broken()
        });
        results.push((layer, counts));
    }
    let total = summarize(&results);
    print!("\n{}", total.0);
    let total = total.1;
    ensure!(total.failed == 0, "{} tests failed", total.failed);
    Ok(())
}

/// What is printed last, and the counts of all layers. The very last line has nothing but them.
fn summarize(results: &[(Layer, Counts)]) -> (String, Counts) {
    use fmt::Write as _;
    let mut total = Counts::default();
    let mut text = "=== summary ===\n".to_owned();
    let mut table = String::new();
    for (layer, counts) in results {
        let name = layer.name();
        for reason in &counts.skip_reasons {
            let _ = writeln!(text, "{SKIPPED}{name}: {reason}");
        }
        for test in &counts.second_tries {
            let _ = writeln!(text, "{SECOND_TRY}{name}: {test}");
        }
        let Counts { passed, failed, skipped, second_tries, .. } = counts;
        let tries = second_tries.len();
        let _ = writeln!(
            table,
            "  {name:<5} {passed:>5} passed {failed:>4} failed {skipped:>4} skipped {tries:>4} second tries"
        );
        total.add(counts);
    }
    let _ = write!(text, "{table}{} second tries\n{total}\n", total.second_tries.len());
    (text, total)
}

fn unit(filter: Option<&str>) -> Result<Counts> {
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--exclude", "collector-tests", "--no-fail-fast"]);
    command.args(filter);
    let mut counts = Counts::default();
    let succeeded = for_each_line(&mut command, |line| {
        if let Some(result) = parse_libtest_result(line) {
            counts.add(&result);
        }
        // libtest: `test name ... ignored, the reason`.
        if let Some((name, reason)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored")) {
            counts.skip_reasons.push(format!("{name}: ignored{reason}"));
        }
    })?;
    if !succeeded && counts.failed == 0 {
        // It did not even build, or a test binary died.
        counts.failed = 1;
    }
    Ok(counts)
}

fn host(filter: Option<&str>) -> Result<Counts> {
    if let Err(missing) = apt::ensure_installed(&HOST_PACKAGES) {
        return Ok(Counts::all_skipped(&missing));
    }
    // Without a browser its tests say so.
    if let Err(error) = install_browser() {
        println!("note: {error:#}");
    }
    let Programs { collector, suite, .. } = Programs::for_tests(Processor::host()?)?;
    let Some(mut command) = Privilege::detect().command(&suite) else {
        return Ok(Counts::all_skipped(&anyhow::anyhow!(
            "it needs root, and sudo is not to be had without a password"
        )));
    };
    let image = image::default_path();
    println!("{}", image::write(&collector, Processor::host()?, &image, image::DEFAULT_TAG)?);
    command.arg("--collector").arg(&collector).arg("--image").arg(&image).args(filter);
    // Without it the tests that need it say so.
    match cadvisor::fetch() {
        Ok(cadvisor) => drop(command.arg("--cadvisor").arg(cadvisor)),
        Err(error) => println!("note: {error:#}"),
    }
    for (option, fetched) in [("--prometheus", newer::prometheus()), ("--compose", newer::compose())] {
        match fetched {
            Ok(program) => drop(command.arg(option).arg(program)),
            Err(error) => println!("note: {error:#}"),
        }
    }
    suite_counts(command.current_dir(workspace::root()))
}

fn install_browser() -> Result<()> {
    apt::ensure_installed(&PAGE_PACKAGES)?;
    if !shell::is_on_path("npm") {
        apt::ensure_installed(&NODE_PACKAGES)?;
    }
    web::install()
}

fn in_vm(filter: Option<&str>) -> Result<Counts> {
    let matrix = match vm::Prepared::whole_matrix(filter) {
        Ok(matrix) => matrix,
        Err(missing) => return Ok(Counts::all_skipped(&missing)),
    };
    matrix.test()
}

/// Runs the end-to-end suite and reads its counts from what it prints.
fn suite_counts(command: &mut Command) -> Result<Counts> {
    let mut counts = None;
    let mut said = Counts::default();
    let succeeded = for_each_line(command, |line| {
        said.note(line);
        counts = parse_suite_result(line).or(counts.take());
    })?;
    let mut counts = counts.context("the end-to-end suite ended without its counts")?;
    counts.add(&said);
    if !succeeded && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

/// Runs a command, passes its standard output on line by line, and returns whether it succeeded.
fn for_each_line(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    eprintln!("$ {}", shell::describe(command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::describe(command)))?;
    let stdout = child.stdout.take().context("the command's output was not asked for")?;
    let mut line = Vec::new();
    let mut stdout = BufReader::new(stdout);
    while stdout.read_until(b'\n', &mut line).context("cannot read the command's output")? > 0 {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        println!("{text}");
        each(text);
        line.clear();
    }
    Ok(child.wait().context("cannot wait for the command")?.success())
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; ...`.
fn parse_libtest_result(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |name: &str| numbers.split("; ").find_map(|part| part.strip_suffix(name)?.trim().parse::<u64>().ok());
    Some(Counts {
        passed: number("passed")?,
        failed: number("failed")?,
        skipped: number("ignored")?,
        ..Counts::default()
    })
}

/// Reads `3 passed, 0 failed, 1 skipped`.
fn parse_suite_result(line: &str) -> Option<Counts> {
    let mut numbers = line.split(", ");
    let mut number = |name: &str| numbers.next()?.strip_suffix(name)?.trim().parse::<u64>().ok();
    Some(Counts {
        passed: number(" passed")?,
        failed: number(" failed")?,
        skipped: number(" skipped")?,
        ..Counts::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_results_are_read() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        let counts = parse_libtest_result(line).unwrap();
        assert_eq!((counts.passed, counts.failed, counts.skipped), (12, 2, 1));
        assert_eq!(parse_libtest_result("test result of mine"), None);
    }

    #[test]
    fn the_suite_says_its_counts_last() {
        let script = "echo '1 passed, 0 failed, 0 skipped'; echo 'SKIPPED docker: no engine';
            echo 'SECOND TRY storm::v1'; echo '1 second tries'; echo '3 passed, 0 failed, 1 skipped'; exit 1";
        let counts = suite_counts(Command::new("sh").args(["-c", script])).unwrap();
        // It says that nothing failed and yet ends with an error.
        assert_eq!((counts.passed, counts.failed, counts.skipped), (3, 1, 1));
        assert_eq!(counts.skip_reasons, ["docker: no engine"]);
        assert_eq!(counts.second_tries, ["storm::v1"]);
    }

    #[test]
    fn second_tries_are_counted_before_the_last_line() {
        let host = Counts { passed: 5, second_tries: vec!["storm::v1".to_owned()], ..Counts::default() };
        let vm = Counts { passed: 3, skipped: 1, skip_reasons: vec!["a: b".to_owned()], ..Counts::default() };
        let (text, total) = summarize(&[(Layer::Host, host), (Layer::Vm, vm)]);
        let expected = "=== summary ===\nSECOND TRY host: storm::v1\nSKIPPED vm: a: b\n\
            \x20 host      5 passed    0 failed    0 skipped    1 second tries\n\
            \x20 vm        3 passed    0 failed    1 skipped    0 second tries\n\
            1 second tries\n8 passed, 0 failed, 1 skipped\n";
        assert_eq!(text, expected);
        assert_eq!((total.passed, total.second_tries.len()), (8, 1));
    }

    #[test]
    fn a_suite_without_counts_is_an_error() {
        assert!(suite_counts(Command::new("sh").args(["-c", "echo hello"])).is_err());
    }
}
