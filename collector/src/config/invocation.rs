//! What the command line asks for: the daemon, as with cAdvisor's flags alone, or a command that runs and ends.

use std::collections::HashSet;
use std::ffi::OsString;

use clap::{ArgAction, Command as ClapCommand, CommandFactory as _, Parser};

use super::compare::CompareArgs;
use super::statistics::{StatisticsArgs, StatisticsRequest};
use super::{Args, Config, ConfigError, on_one_line};
use crate::compare;
use crate::go_flags::{go_bool, go_spelling};

/// A per-node collector of container resources: cAdvisor's API, driven by kernel events.
#[derive(Debug, Parser)]
#[command(
    name = "collector",
    version,
    disable_version_flag = true,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    args_override_self = true
)]
struct CommandLine {
    /// Print the version and end
    #[arg(long, short = 'V', default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    args: Args,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tell what works on this machine with these flags, what does not, and what to do about it
    ///
    /// Takes the daemon's flags and reads what the daemon would read with them. Exits with 0 when everything works, 1
    /// when something is limited, 2 when the collector cannot do its job.
    Doctor {
        /// How the report is written
        #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
        format: ReportFormat,
        #[command(flatten)]
        args: Box<Args>,
    },
    /// Tell for every statistic of a cgroup which file it is read from on this machine, or why it is not available
    Statistics(Box<StatisticsArgs>),
    /// Compare what a running cAdvisor answers with what a running collector answers, name by name
    ///
    /// Both have to run on the same machine. Exits with 0 when nothing differs but what docs/migrating.md lists as deliberate,
    /// 1 when something differs, 2 when they could not be compared.
    Compare(Box<CompareArgs>),
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// For people
    Text,
    /// For programs: one object, its keys stay
    Json,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// The daemon.
    Run(Box<Config>),
    /// `doctor`.
    Doctor(Box<Config>, ReportFormat),
    /// `statistics`.
    Statistics(Box<StatisticsRequest>),
    /// `compare`.
    Compare(Box<compare::Options>),
}

impl Invocation {
    /// What is logged where the environment does not say.
    pub fn log_filter(&self) -> &'static str {
        match self {
            Self::Run(config) => config.log,
            Self::Statistics(request) => request.config.log,
            // What libraries warn of is among what the doctor tells.
            Self::Doctor(..) | Self::Compare(..) => "error",
        }
    }

    /// Reads the command line, the program's name included.
    ///
    /// # Errors
    /// With one line to print when the command line cannot be used.
    pub fn from_command_line(args: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let switches = switches(&CommandLine::command());
        let line = CommandLine::try_parse_from(go_spelling(args, &switches)).map_err(|error| {
            let exit_code = u8::try_from(error.exit_code()).unwrap_or(2);
            let message = if exit_code == 0 { error.to_string() } else { on_one_line(&error.to_string()) };
            ConfigError::Usage { message, exit_code }
        })?;
        if line.version {
            let message = format!("collector {}\n", env!("CARGO_PKG_VERSION"));
            return Err(ConfigError::Usage { message, exit_code: 0 });
        }
        match line.command {
            None => Ok(Self::Run(Box::new(Config::from_args(line.args)?))),
            Some(Command::Statistics(args)) => Ok(Self::Statistics(Box::new(StatisticsRequest::from_args(*args)?))),
            Some(Command::Compare(args)) => Ok(Self::Compare(Box::new(args.into_options()?))),
            Some(Command::Doctor { format, args }) => Ok(Self::Doctor(Box::new(Config::from_args(*args)?), format)),
        }
    }
}

/// The names of the flags that are true without a value.
fn switches(command: &ClapCommand) -> HashSet<String> {
    let all = std::iter::once(command).chain(command.get_subcommands()).flat_map(ClapCommand::get_arguments);
    let switches = all.filter(|arg| arg.get_num_args().is_some_and(|count| count.min_values() == 0));
    switches.filter_map(|arg| arg.get_long()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Invocation, String> {
        let words = std::iter::once("collector").chain(words.iter().copied()).map(OsString::from);
        Invocation::from_command_line(words).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_alone_run_the_daemon() {
        assert!(matches!(parse(&[]), Ok(Invocation::Run(_))));
        assert!(
            matches!(parse(&["-port=9", "-docker_only"]), Ok(Invocation::Run(config)) if config.listen.port() == 9)
        );
    }

    #[test]
    fn the_doctor_takes_the_daemons_flags_in_both_spellings() {
        for words in [["doctor", "-port=9", "-format=json"], ["doctor", "--format=json", "--port=9"]] {
            let Ok(Invocation::Doctor(config, format)) = parse(&words) else { panic!("{words:?}") };
            assert_eq!((config.listen.port(), format), (9, ReportFormat::Json));
        }
        assert!(matches!(parse(&["doctor"]), Ok(Invocation::Doctor(_, ReportFormat::Text))));
    }

    #[test]
    fn mistakes_are_named_on_one_line() {
        for words in [&["doktor"][..], &["doctor", "--prot=1"], &["doctor", "--format=xml"], &["--port=1", "doctor"]] {
            let error = parse(words).unwrap_err();
            assert!(error.starts_with("error: ") && error.lines().count() == 1, "{error}");
        }
    }
}
