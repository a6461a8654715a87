//! The serial console: passed on under the boot's name, kept, and searched for the verdict and for rows of tables.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::interrupt::Interrupt;
use crate::test::Counts;

/// Starts the line that `init.sh` prints when the suite has ended.
const VERDICT: &str = "COLLECTOR-VM-VERDICT ";
/// Starts a line with a row of a table; the suite prints it.
const TABLE: &str = "TABLE ";
/// How often to look whether the user has asked to stop.
const PATIENCE: Duration = Duration::from_millis(200);
/// What a kernel says that will do no more useful work.
const FATAL: [&str; 6] =
    ["Kernel panic", "soft lockup", "hard LOCKUP", "Oops:", "BUG: unable to handle", "Unable to handle kernel"];
/// How much longer to listen after such a line, for the trace that follows.
const AFTERMATH: Duration = Duration::from_secs(3);

/// What came of a run of the suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// How many tests ended how.
    pub(super) counts: Counts,
    /// Rows for tables, in the order in which they were said.
    pub(super) rows: Vec<Row>,
}

/// A row for a table, as the suite said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The table's name.
    pub(super) table: String,
    /// The row: one JSON object.
    pub(super) json: String,
}

/// Reads the machine's standard output until it ends, says the verdict, breaks down or takes too long.
pub(super) fn watch(
    machine: &mut Child,
    name: &str,
    log: &Path,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let stdout = machine.stdout.take().context("the emulator's output was not asked for")?;
    let mut log = std::fs::File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
    let (sender, receiver) = mpsc::channel();
    // Ends with the emulator, whose output it reads.
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    let mut end = Instant::now() + limit;
    let mut fatal: Option<String> = None;
    let mut outcome = Outcome::default();
    loop {
        interrupt.check()?;
        match receiver.recv_timeout(PATIENCE.min(end.saturating_duration_since(Instant::now()))) {
            Ok(bytes) => {
                let line = printable(&String::from_utf8_lossy(&bytes));
                println!("{name}| {line}");
                writeln!(log, "{line}").context("cannot write the console's log")?;
                outcome.counts.note(&line);
                if let Some((table, json)) = line.strip_prefix(TABLE).and_then(|row| row.split_once(' ')) {
                    outcome.rows.push(Row { table: table.to_owned(), json: json.to_owned() });
                }
                if let Some((_, verdict)) = line.split_once(VERDICT) {
                    outcome.counts.add(&parse_verdict(verdict)?);
                    return Ok(outcome);
                }
                if fatal.is_none() && FATAL.iter().any(|words| line.contains(words)) {
                    fatal = Some(line);
                    end = Instant::now() + AFTERMATH;
                }
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
            Err(RecvTimeoutError::Timeout) if fatal.is_none() => {
                bail!("it did not end within {} minutes", limit.as_secs() / 60);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                bail!("{}", fatal.unwrap_or_else(|| "it ended before the suite did".to_owned()));
            }
        }
    }
}

/// The line without control sequences, with which the firmware clears the screen, and without carriage returns.
fn printable(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // A control sequence ends with its first letter.
            chars.find(char::is_ascii_alphabetic);
        } else if !c.is_control() || c == '\t' {
            text.push(c);
        }
    }
    text
}

/// Reads `passed=1 failed=2 skipped=3 status=0`. A suite that broke down counts as one more failure.
fn parse_verdict(verdict: &str) -> Result<Counts> {
    let field = |name: &str| {
        let word = verdict.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        word.with_context(|| format!("the verdict lacks `{name}`: {verdict}"))
    };
    let number = |name: &str| field(name)?.parse::<u64>().with_context(|| format!("bad `{name}`: {verdict}"));
    let (passed, failed, skipped) = (number("passed")?, number("failed")?, number("skipped")?);
    let mut counts = Counts { passed, failed, skipped, ..Counts::default() };
    if field("status")? != "0" && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn outcome_of(script: &str) -> Result<Outcome> {
        let mut child =
            Command::new("sh").args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let log = std::env::temp_dir().join(format!(
            "xtask-console-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let interrupt = Interrupt::default();
        let result = watch(&mut child, "test", &log, Duration::from_millis(500), &interrupt);
        drop(child.kill());
        child.wait().unwrap();
        std::fs::remove_file(&log).unwrap();
        result
    }

    #[test]
    fn the_verdict_carries_counts_and_reasons() {
        let script = r"printf 'boot\033[2J\r\nSKIPPED docker: no engine\r\nSECOND TRY oom::v2\r\n';
            printf 'COLLECTOR-VM-VERDICT passed=3 failed=0 skipped=1 status=0\r\n'";
        let counts = outcome_of(script).unwrap().counts;
        assert_eq!((counts.passed, counts.failed, counts.skipped), (3, 0, 1));
        assert_eq!(counts.skip_reasons, ["docker: no engine"]);
        assert_eq!(counts.second_tries, ["oom::v2"]);
    }

    #[test]
    fn rows_of_tables_are_gathered() {
        let script = r#"echo 'TABLE programs {"program":"a b"}'; echo 'TABLE'; echo 'not a TABLE x y';
            echo COLLECTOR-VM-VERDICT passed=1 failed=0 skipped=0 status=0"#;
        let rows = outcome_of(script).unwrap().rows;
        assert_eq!(rows, [Row { table: "programs".to_owned(), json: r#"{"program":"a b"}"#.to_owned() }]);
    }

    #[test]
    fn a_suite_that_broke_down_has_failed() {
        let outcome = outcome_of("echo COLLECTOR-VM-VERDICT passed=0 failed=0 skipped=0 status=139").unwrap();
        let counts = outcome.counts;
        assert_eq!(counts.failed, 1);
    }

    #[test]
    fn a_panic_an_early_end_and_silence_are_distinguished() {
        let message = |script| format!("{:#}", outcome_of(script).unwrap_err());
        assert!(message("echo '[1.0] Kernel panic - not syncing: x'").contains("Kernel panic"));
        assert!(message("true").contains("before the suite"));
        assert!(message("exec sleep 5").contains("did not end"));
    }
}
