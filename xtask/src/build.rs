//! Binaries without shared libraries, for this machine's processor and for others.

mod cross;
mod symbols;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

pub(crate) use self::cross::obstacle;
use crate::processor::Processor;
use crate::{shell, workspace};

/// One of the profiles in Cargo.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As users run it.
    Release,
    /// Built in a fraction of the time, for the end-to-end tests.
    Quick,
}

impl Profile {
    /// Its name in Cargo.toml, and that of the folder with what is built by it.
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Quick => "quick",
        }
    }
}

/// The collector and the end-to-end suite for one processor.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The collector.
    pub(crate) collector: PathBuf,
    /// The end-to-end suite.
    pub(crate) suite: PathBuf,
    /// Files that the suite is given where engines run: the image and the packages.
    pub(crate) given: Vec<PathBuf>,
}

impl Programs {
    /// Builds both in a fraction of the time that a release takes.
    pub(crate) fn for_tests(processor: Processor) -> Result<Self> {
        Ok(Self { collector: collector(Profile::Quick, processor)?, suite: suite(processor)?, given: Vec::new() })
    }
}

/// A cargo that builds binaries without shared libraries, into a folder of its own; with the folder's subfolder for
/// the processor. The C library is glibc's: the musl target is not part of every toolchain. What users get holds none of
/// this machine's paths, so that it is the same wherever it is built.
fn cargo(profile: Profile, processor: Processor) -> Result<(Command, PathBuf)> {
    let folder = workspace::target().join("static");
    let mut command = workspace::cargo();
    command.env("CARGO_TARGET_DIR", &folder).env("CARGO_ENCODED_RUSTFLAGS", flags(profile)?).env_remove("RUSTFLAGS");
    if processor != Processor::host()? {
        cross::set_up(&mut command, processor)?;
    }
    Ok((command, folder.join(processor.triple())))
}

/// The compiler's flags for them, as cargo wants them.
fn flags(profile: Profile) -> Result<String> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    if profile == Profile::Quick {
        // Flags with the project's folder in them would have every clone build all dependencies anew.
        flags.push("-Cstrip=symbols".to_owned());
        return Ok(flags.join("\x1f"));
    }
    // They are put into a file of their own afterwards.
    flags.push("-Cdebuginfo=line-tables-only".to_owned());
    let home = std::env::home_dir().context("this user has no home")?;
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    // The last one that fits counts.
    let mut remap = |from: PathBuf, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    remap(home, "/home");
    // Folders named after the registries' addresses, which may be those of mirrors. The downloaded crates are there
    // already: this program is made of some of them.
    let registries = std::fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten().flatten();
    let mut registries: Vec<PathBuf> = registries.map(|entry| entry.path()).collect();
    registries.sort();
    for registry in registries {
        remap(registry, "/registry");
    }
    remap(workspace::root(), "/collector");
    Ok(flags.join("\x1f"))
}

/// Builds the collector without shared libraries and returns its binary. Beside that of a release are its symbols.
pub(crate) fn collector(profile: Profile, processor: Processor) -> Result<PathBuf> {
    let (mut command, folder) = cargo(profile, processor)?;
    command.args(["build", "--profile", profile.name(), "--package", "collector", "--bin", "collector"]);
    shell::run(command.args(["--target", &processor.triple()]))?;
    let built = folder.join(profile.name()).join("collector");
    match profile {
        Profile::Quick => Ok(built),
        Profile::Release => symbols::separate(&built, processor),
    }
}

/// The symbols of a release, beside its binary.
pub(crate) fn symbols_of(collector: &Path) -> PathBuf {
    collector.with_extension("debug")
}

/// Builds the end-to-end suite without shared libraries and returns its binary.
fn suite(processor: Processor) -> Result<PathBuf> {
    let (mut command, _) = cargo(Profile::Quick, processor)?;
    command.args(["test", "--no-run", "--profile", Profile::Quick.name()]);
    command.args(["--package", "collector-tests", "--test", "e2e"]);
    command.args(["--target", &processor.triple(), "--message-format", "json-render-diagnostics"]);
    eprintln!("$ {}", shell::describe(&command));
    let output = command.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo")?;
    anyhow::ensure!(output.status.success(), "building the end-to-end suite failed: {}", output.status);
    executable_in(&String::from_utf8_lossy(&output.stdout), "e2e").context("cargo named no end-to-end suite")
}

/// The binary of a target in cargo's JSON messages.
fn executable_in(messages: &str, target: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(|message| {
        let named = message["reason"] == "compiler-artifact" && message["target"]["name"] == target;
        named.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_is_found_in_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"anyhow"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"e2e"},"executable":"/t/deps/e2e-1"}"#,
        );
        assert_eq!(executable_in(messages, "e2e"), Some(PathBuf::from("/t/deps/e2e-1")));
        assert_eq!(executable_in(messages, "other"), None);
    }
}
