//! Tests beside each other: a runner of its own for each lane, so that what a test leaves running is known to be of its
//! lane, and ends with it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use super::runner::Ended;
use super::{Case, Options, Suite};
use crate::support::{Context as _, Result, settings};

/// Names the lane of a runner that runs one.
pub(super) const ARGUMENT: &str = "--lane";
/// Fewer tests than this are not worth a second runner.
const WORTH_IT: usize = 20;

/// Whether the tests in lanes run beside each other: on a real machine, where there are many.
pub(super) fn are_worth_it(suite: &Suite, options: &Options) -> bool {
    let selected =
        |lane: &[&[Case]]| lane.iter().flat_map(|file| file.iter()).filter(|case| options.selects(case)).count();
    !settings::in_vm() && suite.lanes.into_iter().all(|lane| selected(lane) >= WORTH_IT)
}

/// Runs the lanes, hands each test that ended to `each`, and returns when no lane runs any more.
pub(super) fn run(suite: &Suite, mut each: impl FnMut(Ended)) -> Result<()> {
    let (sender, ended) = mpsc::channel();
    let mut runners = Vec::new();
    std::thread::scope(|scope| {
        for lane in 0..suite.lanes.len() {
            let mut runner = start(lane)?;
            let output = runner.stdout.take().context("the lane's output was not asked for")?;
            runners.push(runner);
            let sender = sender.clone();
            scope.spawn(move || {
                for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                    // Whatever else it says is not about a test.
                    match serde_json::from_str::<Ended>(&line) {
                        Ok(one) => drop(sender.send(one)),
                        Err(_) => println!("{line}"),
                    }
                }
            });
        }
        drop(sender);
        ended.iter().for_each(&mut each);
        Ok::<_, anyhow::Error>(())
    })?;
    for runner in &mut runners {
        let status = runner.wait().context("cannot wait for a lane")?;
        if !status.success() {
            println!("a lane ended with {status}; what it did not get to runs alone");
        }
    }
    Ok(())
}

fn start(lane: usize) -> Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).args([ARGUMENT, &lane.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start the runner of a lane")
}
