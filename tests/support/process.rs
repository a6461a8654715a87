//! Processes by id.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};

use super::harness::RUN_ONE;
use super::{Context as _, Result, wait};

/// A process id as the kernel interface wants it.
pub(crate) fn pid(number: u32) -> Result<Pid> {
    Pid::from_raw(number as i32).context("a process id is not zero")
}

/// Sends a signal to one process.
pub(crate) fn signal(number: u32, signal: Signal) -> Result<()> {
    rustix::process::kill_process(pid(number)?, signal).with_context(|| format!("signal {signal:?} to {number}"))
}

/// The one-letter state of a process and its parent's id, from `/proc/<pid>/stat`.
fn state_and_parent(number: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Waits until a process is stopped by a signal.
pub(crate) fn wait_stopped(number: u32) -> Result<()> {
    wait::eventually(wait::seconds(5), || {
        let (state, _) = state_and_parent(number).context("the process is gone")?;
        super::ensure!(state == 'T', "process {number} is in state {state}, not stopped");
        Ok(())
    })
}

/// Whether a process is one of the tests that the runner starts. Another one may have got the process id since.
pub(crate) fn is_test(number: u32) -> bool {
    let arguments = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
    arguments.split(|byte| *byte == 0).any(|argument| argument == RUN_ONE.as_bytes())
}

/// Process ids of everything that runs.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Kills and reaps every child of this process; with a subreaper that is in the end everything below it.
pub(crate) fn end_descendants() {
    let me = std::process::id();
    let _ = wait::eventually(wait::seconds(5), || {
        let children: Vec<u32> = all()
            .into_iter()
            .filter(|&number| state_and_parent(number).is_some_and(|(_, parent)| parent == me))
            .collect();
        for &child in &children {
            let _ = signal(child, Signal::KILL);
            let _ = rustix::process::waitpid(pid(child).ok(), WaitOptions::NOHANG);
        }
        super::ensure!(children.is_empty(), "children are left: {children:?}");
        Ok(())
    });
}

/// CPU time this thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
