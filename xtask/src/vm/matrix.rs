//! Several virtual machines beside each other: what they say, what came of each, and of all.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Error, Result};

use super::boot::{Boot, Root, Scope};
use super::console::Outcome;
use super::engines;
use super::machine::Machine;
use super::{Built, Prepared};
use crate::interrupt::Interrupt;
use crate::test::Counts;

/// The whole suite takes a third of this; emulation on a busy machine is slow.
const FULL_LIMIT: Duration = Duration::from_mins(20);
/// The essential tests take half of this on the kernel with the most of them, with two other machines beside it.
const ESSENTIAL_LIMIT: Duration = Duration::from_mins(15);

/// A boot with what came of it.
#[derive(Debug)]
pub(super) struct Finished {
    /// The boot.
    pub(super) boot: Boot,
    /// What the suite said; an error when it did not get to its end.
    pub(super) outcome: Result<Outcome>,
    took: Duration,
    log: String,
}

impl Finished {
    /// Whether every test that ran passed.
    pub(super) fn is_fine(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|outcome| outcome.counts.failed == 0)
    }

    /// Its counts; a boot that broke down counts as one failed test.
    fn counts(&self) -> Counts {
        self.outcome
            .as_ref()
            .map_or_else(|_| Counts { failed: 1, ..Counts::default() }, |outcome| outcome.counts.clone())
    }
}

/// The machine-readable line about a boot.
impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { passed, failed, skipped, second_tries, .. } = self.counts();
        let tries = second_tries.len();
        let result = match &self.outcome {
            Err(_) => "broken",
            Ok(_) if self.is_fine() => "passed",
            Ok(_) => "failed",
        };
        let Self { boot, took, log, .. } = self;
        let seconds = took.as_secs();
        write!(
            f,
            "COLLECTOR-VM boot={boot} result={result} passed={passed} failed={failed} skipped={skipped} \
             second_tries={tries} seconds={seconds} log={log}"
        )
    }
}

/// Runs all boots, `at_once` of them at a time, in the order given; says the verdict of each as soon as it is there.
pub(super) fn run(prepared: &Prepared, built: &Built, at_once: usize, interrupt: &Interrupt) -> Result<Vec<Finished>> {
    let boots = &prepared.boots;
    let next = Mutex::new(boots.iter().enumerate());
    let finished = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, boots.len().max(1)) {
            scope.spawn(|| {
                while interrupt.check().is_ok() {
                    let Some((number, boot)) = lock(&next).next() else { return };
                    let one = run_one(boot, prepared, built, interrupt);
                    println!("{one}");
                    lock(&finished).push((number, one));
                }
            });
        }
    });
    interrupt.check()?;
    let mut finished = finished.into_inner().unwrap_or_else(PoisonError::into_inner);
    finished.sort_by_key(|(number, _)| *number);
    Ok(finished.into_iter().map(|(_, one)| one).collect())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run_one(boot: &Boot, prepared: &Prepared, built: &Built, interrupt: &Interrupt) -> Finished {
    let start = Instant::now();
    let is_long = boot.scope == Scope::Full || boot.root.is_shared();
    let limit = if is_long { FULL_LIMIT } else { ESSENTIAL_LIMIT };
    let mut log = String::new();
    let obstacle = match boot.root {
        Root::Own => prepared.obstacles.get(&boot.processor).cloned(),
        Root::Host => engines::obstacle().map(str::to_owned),
        Root::Systemd => engines::obstacle().or_else(engines::obstacle_of_systemd).map(str::to_owned),
    };
    if let Some(obstacle) = obstacle {
        let counts = Counts { skipped: 1, skip_reasons: vec![obstacle], ..Counts::default() };
        let outcome = Ok(Outcome { counts, ..Outcome::default() });
        return Finished { boot: boot.clone(), outcome, took: start.elapsed(), log };
    }
    let kernel = prepared.kernels.get(&(boot.kernel.clone(), boot.processor));
    let outcome = match kernel.zip(built.get(&boot.processor)) {
        None => Err(Error::msg(format!("there is no kernel {} or nothing to run on it", boot.kernel))),
        Some((kernel, programs)) => {
            let machine = Machine::new(kernel, boot, programs);
            log = machine.log().display().to_string();
            // Now and then the emulator itself breaks a kernel, such as while that patches its own code. A kernel that is
            // broken breaks twice.
            machine.run(limit, interrupt).or_else(|error| {
                interrupt.check()?;
                let kept = format!("{log}.first");
                let kept = std::fs::rename(&log, &kept).map_or(log.clone(), |()| kept);
                println!("{boot}: {error:#}; its console is in {kept}; it is booted once more");
                let mut outcome = machine.run(limit, interrupt)?;
                outcome.counts.second_tries.push("the boot".to_owned());
                Ok(outcome)
            })
        }
    };
    Finished { boot: boot.clone(), outcome, took: start.elapsed(), log }
}

/// The counts of all boots, with equal reasons for skipping said once, and second tries with the boot of each.
fn total(all: &[Finished]) -> Counts {
    let mut total = Counts::default();
    let mut boots_by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in all {
        let counts = one.counts();
        for reason in &counts.skip_reasons {
            boots_by_reason.entry(reason.clone()).or_default().push(one.boot.to_string());
        }
        let second_tries = counts.second_tries.iter().map(|name| format!("{name} ({})", one.boot)).collect();
        total.add(&Counts { skip_reasons: Vec::new(), second_tries, ..counts });
    }
    total.skip_reasons =
        boots_by_reason.into_iter().map(|(reason, boots)| format!("{reason} ({})", boots.join(", "))).collect();
    total
}

/// Says how all boots ended, the failed ones with their reason, and counts.
pub(super) fn summarize(all: &[Finished]) -> Counts {
    println!("\n=== {} boots ===", all.len());
    for one in all {
        println!("{one}");
        match &one.outcome {
            Err(error) => println!("  {error:#}; its console is in {}", one.log),
            Ok(_) if !one.is_fine() => println!("  tests failed; its console is in {}", one.log),
            Ok(_) => {}
        }
    }
    total(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::boot::Layout;

    fn finished(layout: Layout, outcome: Result<Outcome>) -> Finished {
        let took = Duration::from_millis(61_900);
        Finished { boot: Boot::new("6.1", layout), outcome, took, log: "/log".to_owned() }
    }

    fn passed(reasons: &[&str]) -> Outcome {
        let skip_reasons: Vec<String> = reasons.iter().map(|&reason| reason.to_owned()).collect();
        let skipped = skip_reasons.len() as u64;
        let second_tries = vec!["storm::v1".to_owned()];
        let counts = Counts { passed: 3, skipped, skip_reasons, second_tries, ..Counts::default() };
        Outcome { counts, ..Outcome::default() }
    }

    #[test]
    fn a_boot_has_one_line_for_machines() {
        let line = finished(Layout::V1, Ok(passed(&["a: b"]))).to_string();
        assert_eq!(
            line,
            "COLLECTOR-VM boot=6.1-v1 result=passed passed=3 failed=0 skipped=1 second_tries=1 seconds=61 log=/log"
        );
        let line = finished(Layout::V2, Err(Error::msg("Kernel panic"))).to_string();
        assert!(line.contains("boot=6.1-v2 result=broken passed=0 failed=1 "), "{line}");
    }

    #[test]
    fn equal_reasons_are_reported_once() {
        let all =
            [finished(Layout::V1, Ok(passed(&["a: b", "c: d"]))), finished(Layout::Hybrid, Ok(passed(&["a: b"])))];
        let total = total(&all);
        assert_eq!((total.passed, total.skipped), (6, 3));
        assert_eq!(total.skip_reasons, ["a: b (6.1-v1, 6.1-hybrid)", "c: d (6.1-v1)"]);
        assert_eq!(total.second_tries, ["storm::v1 (6.1-v1)", "storm::v1 (6.1-hybrid)"]);
    }
}
