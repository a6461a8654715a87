//! The flags in force, by their names: what `/config` shows, and what a configuration that is read again is compared with.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::receivers::{SECRET, without_secrets};

/// Flags that are about the command line itself.
const NOT_SHOWN: [&str; 4] = ["config", "help", "help-all", "version"];

/// How the daemon's configuration was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    /// The command line, the program's name included.
    pub(super) line: Vec<OsString>,
    /// The file that it names.
    pub(super) file: Option<PathBuf>,
    /// What both made.
    pub(super) flags: Flags,
}

/// Every flag of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(BTreeMap<String, Flag>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Flag {
    values: Vec<OsString>,
    origin: FlagOrigin,
    form: FlagForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlagOrigin {
    Default,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlagForm {
    One,
    /// It may be repeated.
    List,
}

impl Flags {
    /// What was made of a command line.
    pub(super) fn of(matches: &ArgMatches, command: &Command) -> Self {
        let shown = |arg: &&Arg| arg.get_long().is_some_and(|name| !NOT_SHOWN.contains(&name));
        let flag = |arg: &Arg| {
            let id = arg.get_id().as_str();
            let values = matches.try_get_raw(id).ok()?.unwrap_or_default();
            let is_set = matches.value_source(id).is_some_and(|source| source != ValueSource::DefaultValue);
            // Those that do nothing are not worth a line unless somebody wrote them.
            if arg.is_hide_set() && !is_set {
                return None;
            }
            let flag = Flag {
                values: values.map(OsStr::to_owned).collect(),
                origin: if is_set { FlagOrigin::Set } else { FlagOrigin::Default },
                form: if matches!(arg.get_action(), ArgAction::Append) { FlagForm::List } else { FlagForm::One },
            };
            Some((arg.get_long()?.to_owned(), flag))
        };
        Self(command.get_arguments().filter(shown).filter_map(flag).collect())
    }

    /// These, but those of which `newer` is to be taken as there.
    pub(super) fn with(&self, newer: &Self, takes: impl Fn(&str) -> bool) -> Self {
        let kept = self.0.iter().filter(|(name, _)| !takes(name));
        let taken = newer.0.iter().filter(|(name, _)| takes(name));
        Self(kept.chain(taken).map(|(name, flag)| (name.clone(), flag.clone())).collect())
    }

    /// The names of the flags with other values there.
    pub(super) fn differing(&self, other: &Self) -> Vec<String> {
        let mut names: Vec<&String> = self.0.keys().chain(other.0.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let values = |flags: &Self, name: &str| flags.0.get(name).map_or_else(Vec::new, |flag| flag.values.clone());
        names.into_iter().filter(|name| values(self, name) != values(other, name)).cloned().collect()
    }

    /// The command line that makes the same.
    pub(super) fn line(&self) -> Vec<OsString> {
        let set = self.0.iter().filter(|(_, flag)| flag.origin == FlagOrigin::Set);
        let args = set.flat_map(|(name, flag)| {
            flag.values.iter().map(move |value| {
                let mut arg = OsString::from(format!("--{name}="));
                arg.push(value);
                arg
            })
        });
        std::iter::once("collector".into()).chain(args).collect()
    }

    /// The files with secrets that are read together with the flags; those of `auth` are not among them.
    pub(super) fn secret_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for (name, flag) in &self.0 {
            for value in flag.values.iter().filter_map(|value| value.to_str()) {
                if is_headers(name) {
                    let headers = value.split(',').filter_map(|pair| pair.split_once('='));
                    files.extend(headers.filter_map(|(_, value)| value.trim().strip_prefix('@')).map(PathBuf::from));
                } else if matches!(&**name, "storage_driver_password_file" | "storage_driver_influxdb_token_file") {
                    files.extend(Some(value).filter(|value| !value.is_empty()).map(PathBuf::from));
                }
            }
        }
        files
    }

    /// As a configuration file, without secrets. What has its default is in comments.
    pub(super) fn toml(&self) -> String {
        let mut text = String::from("# The configuration in force; what has its default is in comments.\n");
        for (name, flag) in &self.0 {
            let values: Vec<String> = flag.values.iter().map(|value| in_toml(&shown(name, value))).collect();
            let value = match (flag.form, &*values) {
                (FlagForm::List, values) => format!("[{}]", values.join(", ")),
                (FlagForm::One, [.., value]) => value.clone(),
                (FlagForm::One, []) => continue,
            };
            let comment = if flag.origin == FlagOrigin::Set { "" } else { "# " };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{comment}{name} = {value}");
        }
        text
    }
}

fn is_headers(name: &str) -> bool {
    name.ends_with("_headers")
}

/// A value without what may be a secret.
fn shown(name: &str, value: &OsStr) -> String {
    let value = value.to_string_lossy();
    if is_headers(name) {
        // A value may have commas itself: what follows one is as secret.
        let pairs = value.split(',').filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once('=') {
            Some((name, file)) if file.trim().starts_with('@') => format!("{name}={file}"),
            Some((name, _)) => format!("{name}={SECRET}"),
            None => SECRET.to_owned(),
        });
        return pairs.collect::<Vec<_>>().join(",");
    }
    let is_secret = ["password", "secret"].iter().any(|word| name.contains(word)) && !name.ends_with("_file");
    if is_secret && !value.is_empty() {
        return SECRET.to_owned();
    }
    without_secrets(&value)
}

fn in_toml(value: &str) -> String {
    let is_bare =
        matches!(value, "true" | "false") || value.parse::<i64>().is_ok_and(|number| number.to_string() == value);
    if is_bare { value.to_owned() } else { toml::Value::String(value.to_owned()).to_string() }
}
