//! The entry point: read the command line, set up logging, run.

#![forbid(unsafe_code)]

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use collector::config::ConfigError;
use collector::config::invocation::Invocation;
use collector::{compare, daemon, doctor, export, top};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    let invocation = match Invocation::from_command_line(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(ConfigError::Usage { message, exit_code: 0 }) => {
            print!("{message}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let default = invocation.log_filter();
    let filter = match std::env::var("COLLECTOR_LOG").as_deref().unwrap_or(default).parse::<Targets>() {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("error: COLLECTOR_LOG: {error}; use a level such as info, or collector::sampler=debug");
            return ExitCode::from(2);
        }
    };
    let lines = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    let done = match invocation {
        Invocation::Run(config) => {
            return_what_is_freed();
            daemon::run(*config)
        }
        Invocation::Check(config) => {
            return match daemon::check(&config) {
                Ok(()) => {
                    config.notes.iter().for_each(|note| println!("{note}"));
                    println!("The configuration can be used.");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    eprintln!("error: {error}");
                    ExitCode::from(2)
                }
            };
        }
        Invocation::Statistics(request) => daemon::statistics::print(&request),
        Invocation::Export(request) => {
            return match export::run(&request) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("error: {error}");
                    ExitCode::FAILURE
                }
            };
        }
        Invocation::Compare(options) => return ExitCode::from(compare::run(&options)),
        Invocation::Top(request) => return ExitCode::from(top::run(&request)),
        Invocation::Doctor(config, format, container) => {
            return ExitCode::from(doctor::run(&config, format, container.as_ref()));
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the C library's allocator takes as the size from which memory is mapped apart, and unmapped when it is freed.
const MAPPED_FROM: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "131072");
/// Set in a process that was started anew. One of its own, as the loader takes the allocator's out of the environment of a
/// process with capabilities from its file.
const STARTED_ANEW: &str = "COLLECTOR_STARTED_ANEW";

/// Starts this process anew, under its process id, with an allocator that returns to the kernel what is freed.
///
/// Each time that memory mapped apart is freed, glibc raises the size from which memory is, unless the environment sets
/// it. What reading the kernel's types takes at the start would stay for good: 28 of 48 MB. Where it cannot be done, that
/// is the price.
fn return_what_is_freed() {
    let (name, size) = MAPPED_FROM;
    if [name, STARTED_ANEW].into_iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let mut arguments = std::env::args_os();
    let (Some(own_name), Ok(program)) = (arguments.next(), std::env::current_exe()) else { return };
    let mut anew = Command::new(program);
    let error = anew.arg0(own_name).args(arguments).env(name, size).env(STARTED_ANEW, "1").exec();
    tracing::debug!(%error, "the allocator keeps what is freed");
}
