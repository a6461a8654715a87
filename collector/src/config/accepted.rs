//! cAdvisor's flags, of all its versions, that mean nothing here: accepted, so that what was written for it starts, and
//! each with a word of why in the log.

use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::go_flags::{go_bool, go_duration};

/// What a flag takes.
#[derive(Clone, Copy, Debug)]
enum Takes {
    /// `true` or `false`, by default `true`.
    Switch,
    /// A number.
    Number,
    /// A duration.
    Duration,
    /// Anything.
    Text,
}

/// A flag without effect.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    name: &'static str,
    takes: Takes,
    /// The value that asks for nothing else than what happens anyway; what it is set to otherwise is worth a word.
    neutral: Option<&'static str>,
    reason: &'static str,
}

const fn accepted(name: &'static str, takes: Takes, reason: &'static str) -> Accepted {
    Accepted { name, takes, neutral: None, reason }
}

const fn unless(neutral: &'static str, flag: Accepted) -> Accepted {
    Accepted { neutral: Some(neutral), ..flag }
}

const APP: &str = "applications are asked over plain HTTP";
const DRIVER: &str = "that database is not spoken to; use --otlp_endpoint or --remote_write_url";
const LOG_FILE: &str = "the log goes to standard error; who runs the collector keeps it";
const LOG_FORM: &str = "log lines have one form";
const MESOS: &str = "Mesos is not asked; its containers are listed by their cgroups";
const PHASE: &str = "each container keeps its phase of the interval, so that nothing has to be spread by chance";

const ACCEPTED: &[Accepted] = {
    use Takes::{Duration, Number, Switch, Text};
    &[
        accepted("add_dir_header", Switch, LOG_FORM),
        unless("true", accepted("alsologtostderr", Switch, LOG_FILE)),
        accepted("bq_account", Text, DRIVER),
        accepted("bq_credentials_file", Text, DRIVER),
        accepted("bq_id", Text, DRIVER),
        accepted("bq_project_id", Text, DRIVER),
        accepted("bq_secret", Text, DRIVER),
        accepted("collector_cert", Text, APP),
        accepted("collector_key", Text, APP),
        accepted("container_hints", Text, "networks and mounts of raw cgroups are read from the kernel"),
        accepted("crio_client_timeout", Duration, "nothing waits for CRI-O"),
        unless("false", accepted("disable_root_cgroup_stats", Switch, "the machine's own statistics are the root's")),
        accepted("docker_root", Text, "Docker itself reports where its files are"),
        accepted("docker_run", Text, "Docker itself reports where its files are"),
        accepted("initial_splay_factor", Number, PHASE),
        accepted("jitter_factor", Number, PHASE),
        unless("false", accepted("log_cadvisor_usage", Switch, "its own cgroup shows what it uses")),
        accepted("legacy_stderr_threshold_behavior", Switch, LOG_FILE),
        accepted("log_backtrace_at", Text, "it names lines of another program"),
        accepted("log_dir", Text, LOG_FILE),
        accepted("log_file", Text, LOG_FILE),
        accepted("log_file_max_size", Number, LOG_FILE),
        unless("true", accepted("logtostderr", Switch, LOG_FILE)),
        accepted("mesos_agent", Text, MESOS),
        accepted("mesos_agent_timeout", Duration, MESOS),
        accepted("one_output", Switch, LOG_FILE),
        unless("false", accepted("profiling", Switch, "Go's profiles are of Go programs; use perf")),
        accepted("skip_headers", Switch, LOG_FORM),
        accepted("skip_log_headers", Switch, LOG_FORM),
        accepted("stderrthreshold", Text, LOG_FILE),
        accepted("storage_driver_es_enable_sniffer", Switch, DRIVER),
        accepted("storage_driver_es_host", Text, DRIVER),
        accepted("storage_driver_es_index", Text, DRIVER),
        accepted("storage_driver_es_type", Text, DRIVER),
        accepted("storage_driver_kafka_broker_list", Text, DRIVER),
        accepted("storage_driver_kafka_ssl_ca", Text, DRIVER),
        accepted("storage_driver_kafka_ssl_cert", Text, DRIVER),
        accepted("storage_driver_kafka_ssl_key", Text, DRIVER),
        accepted("storage_driver_kafka_ssl_verify", Switch, DRIVER),
        accepted("storage_driver_kafka_topic", Text, DRIVER),
        accepted("storage_driver_table", Text, "neither InfluxDB nor statsd has tables"),
        accepted(
            "vmodule",
            Text,
            "it names files of another program; use COLLECTOR_LOG, such as collector::sampler=debug",
        ),
    ]
};

/// Those that were given.
#[derive(Debug, Default)]
pub(super) struct AcceptedArgs(Vec<(&'static Accepted, String)>);

impl AcceptedArgs {
    /// A line for each that asked for what does not happen. Not its value: it may be a password.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let asking = self.0.iter().filter(|(flag, value)| flag.neutral != Some(value.as_str()));
        asking.map(|(flag, _)| format!("--{} has no effect: {}", flag.name, flag.reason))
    }
}

fn parser(takes: Takes) -> ValueParser {
    match takes {
        Takes::Switch => ValueParser::new(|text: &str| go_bool(text).map(|value| value.to_string())),
        Takes::Number => ValueParser::new(|text: &str| match text.parse::<f64>() {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(format!("{text:?} is not a number")),
        }),
        Takes::Duration => ValueParser::new(|text: &str| go_duration(text).map(|_| text.to_owned())),
        Takes::Text => ValueParser::new(|text: &str| Ok::<_, String>(text.to_owned())),
    }
}

impl clap::Args for AcceptedArgs {
    fn augment_args(mut command: Command) -> Command {
        command = command.next_help_heading("Accepted without effect");
        for flag in ACCEPTED {
            // A flag that works is declared before these.
            if command.get_arguments().any(|other| other.get_long() == Some(flag.name)) {
                continue;
            }
            let mut arg = Arg::new(flag.name).long(flag.name).hide(true).action(ArgAction::Set);
            if let Takes::Switch = flag.takes {
                arg = arg.num_args(0..=1).default_missing_value("true").require_equals(true);
            }
            command = command.arg(arg.value_parser(parser(flag.takes)));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for AcceptedArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Self::default();
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for flag in ACCEPTED {
            // One that works is none of these, and has another type.
            if let Ok(Some(value)) = matches.try_get_one::<String>(flag.name)
                && matches.value_source(flag.name) == Some(ValueSource::CommandLine)
            {
                self.0.push((flag, value.clone()));
            }
        }
        Ok(())
    }
}
