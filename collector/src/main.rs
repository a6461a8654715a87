//! The entry point: read the command line, set up logging, run.

#![forbid(unsafe_code)]

use std::io::IsTerminal as _;
use std::process::ExitCode;

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
        Invocation::Run(config) => daemon::run(*config),
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
