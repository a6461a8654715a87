//! `--config`: a TOML file with the flags' names as keys. What is in it stands before the command line's own flags,
//! which win.
//!
//! ```toml
//! port = 9090
//! docker_only = true
//! housekeeping_interval = "10s"
//! disable_metrics = ["tcp", "udp"]
//! ```

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;

use clap::{ArgAction, Command};

use super::{ConfigError, value_error};

const FLAG: &str = "config";
/// A file with flags is a small text; more than this is not read.
const MAX_BYTES: u64 = 1 << 20;

/// The command line with the flags of the file that it names, if it names one.
pub(super) fn with_flags_of_file(args: Vec<OsString>, command: &Command) -> Result<Vec<OsString>, ConfigError> {
    // The daemon's flags follow the program's name, or that of a command which takes them.
    let first = args.get(1).and_then(|arg| arg.to_str()).and_then(|name| command.find_subcommand(name));
    let (command, flags_from) = first.map_or((command, 1), |command| (command, 2));
    // Or of a command of that command.
    let next = args.get(flags_from).and_then(|arg| arg.to_str()).and_then(|name| command.find_subcommand(name));
    let (command, flags_from) = next.filter(|_| flags_from == 2).map_or((command, flags_from), |command| (command, 3));
    if !command.get_arguments().any(|arg| arg.get_long() == Some(FLAG)) {
        return Ok(args);
    }
    let (typed, path) = typed(&args[flags_from.min(args.len())..]);
    let Some(path) = path else { return Ok(args) };
    let shown = path.to_string_lossy().into_owned();
    let problem = |problem: &dyn std::fmt::Display| value_error(FLAG, &shown, problem);
    let text = read(Path::new(&path)).map_err(|error| problem(&error))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        problem(&format!("line {line}: {}", error.message().lines().next().unwrap_or_default()))
    })?;
    let mut flags = Vec::new();
    for (key, value) in &table {
        let Some(arg) = command.get_arguments().find(|arg| arg.get_long() == Some(key)) else {
            return Err(problem(&unknown(key, command)));
        };
        if key == FLAG || matches!(key.as_str(), "help" | "help-all" | "version") {
            return Err(problem(&format!("{key} is for the command line alone")));
        }
        if typed.contains(key) {
            continue;
        }
        let values = values(value).ok_or_else(|| {
            problem(&format!("{key}: a number, a string, true, false, or a list of these is expected"))
        })?;
        if matches!(arg.get_action(), ArgAction::Append) {
            flags.extend(values.iter().map(|value| format!("--{key}={value}").into()));
        } else {
            flags.push(format!("--{key}={}", values.join(",")).into());
        }
    }
    let mut args = args;
    args.splice(flags_from..flags_from, flags);
    Ok(args)
}

/// The names of the flags on the command line, and the file's.
fn typed(args: &[OsString]) -> (HashSet<String>, Option<OsString>) {
    let mut names = HashSet::new();
    let mut file = None;
    let mut args = args.iter().take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        let Some(flag) = arg.to_str().and_then(|arg| arg.strip_prefix("--")) else { continue };
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        if name == FLAG {
            file = value.map(OsString::from).or_else(|| args.next().cloned());
        }
        names.insert(name.to_owned());
    }
    (names, file)
}

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut text = String::new();
    let read =
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    if read as u64 > MAX_BYTES { Err(format!("larger than {MAX_BYTES} bytes")) } else { Ok(text) }
}

/// What is in a value, as flags have it; `None` for what no flag has.
fn values(value: &toml::Value) -> Option<Vec<String>> {
    let one = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    };
    match value {
        toml::Value::Array(list) => list.iter().map(one).collect(),
        value => one(value).map(|value| vec![value]),
    }
}

/// What to say of a key that is no flag.
fn unknown(key: &str, command: &Command) -> String {
    let names = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(clap::Arg::get_long);
    let nearest = names.map(|name| (strsim::jaro(key, name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest.filter(|(likeness, _)| *likeness > 0.8) {
        Some((_, name)) => format!("there is no flag {key:?}; is {name} meant?"),
        None => format!("there is no flag {key:?}; `collector --help-all` lists them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::invocation::Invocation;

    fn config(text: &str, flags: &[&str]) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let args = ["collector".to_owned(), format!("-config={path}")];
        let args = args.into_iter().chain(flags.iter().map(ToString::to_string)).map(OsString::from);
        match Invocation::from_command_line(args) {
            Ok(Invocation::Run(config)) => Ok(*config),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string().replace(&path, "FILE")),
        }
    }

    #[test]
    fn a_flag_on_the_command_line_wins() {
        let text = "port = 1\nlisten_ip = \"127.0.0.1\"\nhousekeeping_interval = \"10s\"\ndisable_metrics = [\"tcp\", \"udp\"]\n\
                    docker_only = true\n";
        let from_file = config(text, &[]).unwrap();
        assert_eq!(from_file.listen, "127.0.0.1:1".parse().unwrap());
        assert_eq!(from_file.interval.as_secs(), 10);
        assert_eq!(config(text, &["--port=2", "-housekeeping_interval", "5s"]).unwrap().listen.port(), 2);
    }

    #[test]
    fn the_command_takes_the_file_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "port = 7\n").unwrap();
        let args = ["collector", "doctor", "--config", file.path().to_str().unwrap()].map(OsString::from);
        let Ok(Invocation::Doctor(config, ..)) = Invocation::from_command_line(args) else { panic!("no doctor") };
        assert_eq!(config.listen.port(), 7);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let error = |text: &str| config(text, &[]).unwrap_err();
        assert_eq!(error("prot = 1\n"), "--config=FILE: there is no flag \"prot\"; is port meant?");
        assert_eq!(
            error("a = 1\n[server]\n"),
            "--config=FILE: there is no flag \"a\"; `collector --help-all` lists them"
        );
        assert_eq!(error("port = 1\nport = 2\n").split(": line").next(), Some("--config=FILE"));
        assert!(error("port = { a = 1 }\n").contains("port: a number, a string"));
        assert!(error("config = \"x\"\n").contains("config is for the command line alone"));
        assert!(error("port = 99999999\n").contains("99999999"));
        let missing = ["collector", "--config=/nowhere.toml"].map(OsString::from);
        let missing = Invocation::from_command_line(missing).unwrap_err().to_string();
        assert_eq!(missing, "--config=/nowhere.toml: cannot be opened: No such file or directory (os error 2)");
    }
}
