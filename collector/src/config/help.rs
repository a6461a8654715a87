//! What the command line prints about itself: short and long help, completions, the manual page.

use clap::{Arg, ArgAction, Command};

use super::ConfigError;

/// The flags that most people need, which `--help` shows; `--help-all` shows every one.
const COMMON: [&str; 28] = [
    "config",
    "listen_ip",
    "port",
    "docker_socket",
    "url_base_prefix",
    "housekeeping_interval",
    "allow_dynamic_housekeeping",
    "max_housekeeping_interval",
    "disable_metrics",
    "enable_metrics",
    "storage_duration",
    "history_dir",
    "ended_container_retention",
    "docker_only",
    "include_path",
    "exclude_path",
    "docker",
    "containerd",
    "crio",
    "podman",
    "store_container_labels",
    "metrics_profile",
    "http_auth_file",
    "bearer_token_file",
    "tls_cert_file",
    "tls_private_key_file",
    "otlp_endpoint",
    "remote_write_url",
];

/// The commands that take the daemon's flags beside their own.
const WITH_FLAGS_OF_DAEMON: [&str; 3] = ["doctor", "statistics", "top"];

/// Where the rest is.
pub(super) const AFTER: &str = "\
cAdvisor's flags are accepted as they are, in Go's spelling too (-port=8080).
COLLECTOR_LOG chooses what is logged, such as info or collector::sampler=debug.
Every flag: collector --help-all. What works on this machine: collector doctor.";

/// The command line with a short `--help` and a long `--help-all`; commands show their own flags alone.
pub(super) fn shortened(command: Command) -> Command {
    let mut command = command.mut_args(|arg| {
        let is_common = arg.get_long().is_none_or(|name| COMMON.contains(&name));
        let arg = tersely(arg);
        if is_common { arg } else { arg.hide_short_help(true) }
    });
    command = with_help_flags(command).mut_subcommands(with_help_flags);
    let flags_of_daemon: Vec<String> = command.get_arguments().map(|arg| arg.get_id().to_string()).collect();
    for name in WITH_FLAGS_OF_DAEMON {
        command = command.mut_subcommand(name, |command| {
            let hide = |arg: Arg| {
                let is_daemons = flags_of_daemon.iter().any(|id| arg.get_id() == id.as_str());
                let is_own = matches!(arg.get_id().as_str(), "help" | "help_all");
                if is_daemons && !is_own { arg.hide_short_help(true) } else { arg }
            };
            command.mut_args(hide).after_help("The daemon's flags count too: see collector --help-all.")
        });
    }
    command
}

/// Without what says nothing: defaults that are empty, and the flag's name once more in place of its value.
fn tersely(mut arg: Arg) -> Arg {
    if arg.get_default_values().iter().all(|value| value.is_empty()) {
        arg = arg.hide_default_value(true);
    }
    let id = arg.get_id().as_str().to_uppercase();
    if arg.get_num_args().is_some_and(|count| count.min_values() == 0) {
        arg.value_name("BOOL")
    } else if arg.get_action().takes_values() && arg.get_value_names().is_none_or(|names| names[0].as_str() == id) {
        arg.value_name("VALUE")
    } else {
        arg
    }
}

fn with_help_flags(command: Command) -> Command {
    let heading = "Help";
    command
        .disable_help_flag(true)
        .arg(
            Arg::new("help")
                .long("help")
                .short('h')
                .action(ArgAction::HelpShort)
                .help_heading(heading)
                .help("Print the common flags and exit"),
        )
        .arg(
            Arg::new("help_all")
                .long("help-all")
                .action(ArgAction::HelpLong)
                .help_heading(heading)
                .help("Print every flag and exit"),
        )
}

/// The short help, or that of a command.
pub(super) fn of(mut command: Command, name: Option<&str>) -> Result<String, ConfigError> {
    command.build();
    let Some(name) = name else { return Ok(command.render_help().to_string()) };
    if let Some(found) = command.find_subcommand_mut(name) {
        return Ok(found.render_help().to_string());
    }
    let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
    let message = format!("help {name}: there is no such command; there are {}", names.join(", "));
    Err(ConfigError::Usage { message, exit_code: 2 })
}

/// A completion script.
pub(super) fn completions(command: Command, shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shortened(command), "collector", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page, in the format of man(7).
pub(super) fn manual(command: Command) -> String {
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = clap_mangen::Man::new(shortened(command)).render(&mut page);
    String::from_utf8_lossy(&page).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use clap::CommandFactory as _;
    use expect_test::expect_file;

    use super::*;

    #[derive(clap::Parser)]
    struct Daemon {
        #[command(flatten)]
        args: crate::config::Args,
    }

    #[test]
    fn the_common_flags_exist() {
        let command = Daemon::command();
        for name in COMMON {
            assert!(command.get_arguments().any(|arg| arg.get_long() == Some(name)), "--{name}");
        }
    }

    /// A table for each heading, and what is accepted without effect.
    fn page() -> String {
        let command = Daemon::command().mut_args(tersely);
        let mut page = include_str!("flags_page.md").to_owned();
        let mut headings: Vec<&str> = Vec::new();
        for heading in command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_help_heading) {
            if !headings.contains(&heading) {
                headings.push(heading);
            }
        }
        for heading in headings {
            let _ = write!(page, "\n## {heading}\n\n| flag | default | meaning |\n| --- | --- | --- |\n");
            let flags = command.get_arguments().filter(|arg| arg.get_help_heading() == Some(heading));
            for arg in flags.filter(|arg| !arg.is_hide_set()) {
                let default = match arg.get_default_values() {
                    values if values.iter().all(|value| value.is_empty()) => "none".to_owned(),
                    values => values.iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(", "),
                };
                let meaning = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
                let meaning = meaning.replace('\n', " ").replace('|', "\\|");
                let choices = arg.get_possible_values();
                let choices: Vec<_> = choices.iter().map(|value| format!("`{}`", value.get_name())).collect();
                let is_choice = choices.len() > 1 && choices != ["`true`", "`false`"];
                let choices = if is_choice { format!(" ({})", choices.join(", ")) } else { String::new() };
                let name = arg.get_long().unwrap_or_default();
                let _ = writeln!(page, "| `--{name}` | {default} | {meaning}{choices} |");
            }
        }
        let hidden = command.get_arguments().filter(|arg| arg.is_hide_set()).filter_map(Arg::get_long);
        let hidden: Vec<_> = hidden.map(|name| format!("`--{name}`")).collect();
        let _ = write!(
            page,
            "\n## Accepted without effect\n\nEach is named in the log at the start, with the reason.\n\n{}\n",
            hidden.join(", ")
        );
        page
    }

    /// `UPDATE_EXPECT=1` writes it.
    #[test]
    fn the_page_of_flags_is_current() {
        expect_file!["../../../docs/flags.md"].assert_eq(&page());
    }
}
