//! The daemon's entry point: read the command line, set up logging, run.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use collector::config::{Config, ConfigError, StatisticsRequest};
use collector::daemon;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// What to do.
enum Command {
    Run(Config),
    Statistics(StatisticsRequest),
}

fn main() -> ExitCode {
    let is_statistics = std::env::args_os().nth(1).is_some_and(|word| word == "statistics");
    let command = if is_statistics {
        StatisticsRequest::from_command_line(std::env::args_os().skip(1)).map(Command::Statistics)
    } else {
        Config::from_command_line(std::env::args_os()).map(Command::Run)
    };
    let command = match command {
        Ok(command) => command,
        Err(ConfigError::Usage { message, exit_code: 0 }) => {
            print!("{message}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let filter = match std::env::var("COLLECTOR_LOG").as_deref().unwrap_or("info").parse::<Targets>() {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("error: COLLECTOR_LOG: {error}; use a level such as info, or collector::sampler=debug");
            return ExitCode::from(2);
        }
    };
    let lines = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    let done = match command {
        Command::Run(config) => daemon::run(config),
        Command::Statistics(request) => daemon::statistics::print(&request),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
