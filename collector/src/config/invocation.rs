//! What the command line asks for: the daemon, as with cAdvisor's flags alone, or a command that runs and ends.

use std::collections::HashSet;
use std::ffi::OsString;

use clap::{ArgAction, Command as ClapCommand, CommandFactory as _, FromArgMatches as _, Parser};

use super::compare::CompareArgs;
use super::export::ExportArgs;
use super::in_force::{Flags, Given};
use super::statistics::{StatisticsArgs, StatisticsRequest};
use super::top::{TopArgs, TopRequest};
use super::{Args, Config, ConfigError, ReportFormat, file, help, on_one_line};
use crate::compare;
use crate::export::ExportRequest;
use crate::go_flags::{go_bool, go_spelling};

/// A per-node collector of container resources: cAdvisor's API, driven by kernel events.
#[derive(Debug, Parser)]
#[command(
    name = "collector",
    version,
    disable_help_flag = true,
    disable_help_subcommand = true,
    disable_version_flag = true,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    after_help = help::AFTER
)]
struct CommandLine {
    /// Print the version and exit
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
    /// Report what works on this machine with these flags, what does not, and how to fix it
    ///
    /// Takes the daemon's flags and reads what the daemon would read with them. Exits with 0 when everything works, 1
    /// when something is limited, 2 when the collector cannot do its job.
    Doctor {
        /// Format of the report
        #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
        format: ReportFormat,
        /// Examine this container too: its name, pod/container, id, or cgroup path
        container: Option<OsString>,
        #[command(flatten)]
        args: Box<Args>,
    },
    /// Report for every statistic of a container which file it is read from on this machine, or why it is not available
    Statistics(Box<StatisticsArgs>),
    /// Show the containers that use the most, or hurt, as they change
    ///
    /// Asks a running collector, of this machine or another, or reads cgroups by itself where none answers; then the
    /// daemon's flags count. Exits with 0, or with 1 when there is nothing to show.
    Top(Box<TopArgs>),
    /// Compare the answers of a running cAdvisor and a running collector, name by name
    ///
    /// Both have to run on the same machine. Exits with 0 when nothing differs but what docs/migrating.md lists as
    /// deliberate, 1 when something differs, 2 when they could not be compared.
    Compare(Box<CompareArgs>),
    /// Write samples and events of the past to standard output
    ///
    /// Reads what `--history_dir` has kept, from the directory or from a running collector. OpenMetrics with times is what
    /// `promtool tsdb create-blocks-from openmetrics` takes.
    Export(Box<ExportArgs>),
    /// Work with the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the common flags, or those of a command
    Help {
        /// The command
        command: Option<String>,
    },
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Validate flags and configuration file as the daemon would, without starting it
    ///
    /// Takes the daemon's flags, and reads the files that they name. Exits with 0 when they can be used, and reports those
    /// that have no effect; with 2 and what is wrong when they cannot.
    Check(Box<Args>),
}

/// What was asked for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// The daemon.
    Run(Box<Config>),
    /// `config check`.
    Check(Box<Config>),
    /// `doctor`.
    Doctor(Box<Config>, ReportFormat, Option<OsString>),
    /// `statistics`.
    Statistics(Box<StatisticsRequest>),
    /// `top`.
    Top(Box<TopRequest>),
    /// `compare`.
    Compare(Box<compare::CompareOptions>),
    /// `export`.
    Export(Box<ExportRequest>),
}

impl Invocation {
    /// The log filter unless the environment sets one.
    pub fn log_filter(&self) -> &'static str {
        match self {
            Self::Run(config) => config.log,
            // Which runtimes answer is of no interest here.
            // Standard error is the screen.
            Self::Top(_) => "off",
            Self::Statistics(_) | Self::Export(_) => "warn",
            // What libraries warn of is part of the doctor's report.
            Self::Check(_) | Self::Doctor(..) | Self::Compare(..) => "error",
        }
    }

    /// Reads the command line, the program's name included, and the configuration file that it names.
    ///
    /// # Errors
    /// With one line to print when the command line or the file cannot be used.
    pub fn from_command_line(args: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let command = help::shortened(CommandLine::command());
        let typed: Vec<OsString> = go_spelling(args, &switches(&command)).collect();
        let args = file::with_flags_of_file(typed.clone(), &command)?;
        let usage = |error: clap::Error| {
            let exit_code = u8::try_from(error.exit_code()).unwrap_or(2);
            let message = if exit_code == 0 { error.to_string() } else { on_one_line(&error.to_string()) };
            ConfigError::Usage { message, exit_code }
        };
        let print = |message: String| Err(ConfigError::Usage { message, exit_code: 0 });
        let mut matches = command.clone().try_get_matches_from(args).map_err(usage)?;
        let flags = Flags::of(&matches, &command);
        let line = CommandLine::from_arg_matches_mut(&mut matches).map_err(usage)?;
        if line.version || matches!(line.command, Some(Command::Version)) {
            return print(format!("collector {}\n", env!("CARGO_PKG_VERSION")));
        }
        match line.command {
            None | Some(Command::Version) => {
                let given = Given { file: line.args.config.clone(), line: typed, flags };
                Ok(Self::Run(Box::new(Config { given, ..Config::from_args(line.args)? })))
            }
            Some(Command::Statistics(args)) => Ok(Self::Statistics(Box::new(StatisticsRequest::from_args(*args)?))),
            Some(Command::Top(args)) => Ok(Self::Top(Box::new(TopRequest::from_args(*args)?))),
            Some(Command::Compare(args)) => Ok(Self::Compare(Box::new(args.into_options()?))),
            Some(Command::Export(args)) => Ok(Self::Export(Box::new(args.into_request()?))),
            Some(Command::Doctor { format, container, args }) => {
                Ok(Self::Doctor(Box::new(Config::from_args(*args)?), format, container))
            }
            Some(Command::Config { command: ConfigCommand::Check(args) }) => {
                Ok(Self::Check(Box::new(Config::from_args(*args)?)))
            }
            Some(Command::Help { command: of }) => print(help::of(command, of.as_deref())?),
            Some(Command::Completions { shell }) => print(help::completions(CommandLine::command(), shell)),
            Some(Command::Man) => print(help::manual(CommandLine::command())),
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
            let Ok(Invocation::Doctor(config, format, None)) = parse(&words) else { panic!("{words:?}") };
            assert_eq!((config.listen.port(), format), (9, ReportFormat::Json));
        }
        assert!(matches!(parse(&["doctor"]), Ok(Invocation::Doctor(_, ReportFormat::Text, None))));
        let Ok(Invocation::Doctor(_, _, container)) = parse(&["doctor", "-port=9", "web"]) else { panic!("no doctor") };
        assert_eq!(container.as_deref(), Some("web".as_ref()));
    }

    #[test]
    fn a_configuration_is_checked_without_being_used() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let named = format!("--config={}", file.path().display());
        let check = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            let words = ["collector", "config", "check", "-storage_driver_table=x", &named].map(OsString::from);
            Invocation::from_command_line(words)
        };
        let Ok(Invocation::Check(config)) = check("port = 9\n") else { panic!("it is valid") };
        assert!(config.notes[0].starts_with("--storage_driver_table has no effect"), "{:?}", config.notes);
        for (text, problem) in [("prot = 9\n", "is port meant?"), ("otlp_endpoint = \"x\"\n", "--otlp_endpoint=x: ")] {
            let error = check(text).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
        }
    }

    #[test]
    fn what_prints_and_ends_needs_no_flags() {
        let printed = |words: &[&str]| match Invocation::from_command_line(
            std::iter::once("collector").chain(words.iter().copied()).map(OsString::from),
        ) {
            Err(ConfigError::Usage { message, exit_code: 0 }) => message,
            other => panic!("{words:?}: {other:?}"),
        };
        let version = format!("collector {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            [printed(&["version"]), printed(&["--version"]), printed(&["-V"])].map(|text| text == version),
            [true; 3]
        );
        let short = printed(&["--help"]);
        assert!(short.contains("Sampling:") && short.contains("--housekeeping_interval"), "{short}");
        assert!(!short.contains("--remote_write_queue_size") && short.lines().count() < 80, "{short}");
        assert_eq!(printed(&["help"]), short);
        let long = printed(&["--help-all"]);
        assert!(long.contains("--remote_write_queue_size") && !long.contains("--bq_secret"), "{long}");
        let doctor = printed(&["doctor", "--help"]);
        assert!(doctor.contains("--format") && !doctor.contains("--housekeeping_interval"), "{doctor}");
        assert!(printed(&["completions", "bash"]).contains("housekeeping_interval"));
        assert!(printed(&["man"]).contains(".TH collector 1"));
    }

    #[test]
    fn mistakes_are_named_on_one_line() {
        for words in [&["doktor"][..], &["doctor", "--prot=1"], &["doctor", "--format=xml"], &["--port=1", "doctor"]] {
            let error = parse(words).unwrap_err();
            assert!(!error.contains("error: ") && error.lines().count() == 1, "{error}");
        }
    }
}
