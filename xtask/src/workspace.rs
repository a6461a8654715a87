//! Where things are in the project, and how its packages are built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// The project's top folder.
pub(crate) fn root() -> PathBuf {
    // Cargo sets the variable for `cargo xtask`; the built-in path serves a binary that is called directly.
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// Where everything built or downloaded goes.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The cargo that runs us, in the project's top folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env("CARGO_TARGET_DIR", target());
    // Set for our own run; they would only confuse what we build.
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_PKG_NAME");
    command
}

/// Builds the collector as users run it and returns its binary.
pub(crate) fn build_release() -> Result<PathBuf> {
    crate::shell::run(cargo().args(["build", "--release", "--package", "collector", "--bin", "collector"]))?;
    Ok(target().join("release/collector"))
}

/// The platform that this machine's compiler builds for.
pub(crate) fn host_triple() -> Result<String> {
    let text = crate::shell::output(Command::new("rustc").arg("-vV").current_dir(root()))?;
    let triple = text.lines().find_map(|line| line.strip_prefix("host: ")).context("`rustc -vV` names no host")?;
    Ok(triple.to_owned())
}

/// A cargo that builds binaries without shared libraries, into a folder of its own; with the folder's subfolder for
/// this platform. The C library is glibc's: the musl target is not part of every toolchain. What users get holds neither
/// symbols nor this machine's paths, so that it is the same wherever it is built.
pub(crate) fn static_cargo(profile: Profile) -> Result<(Command, PathBuf, String)> {
    let triple = host_triple()?;
    let folder = target().join("static");
    let mut command = cargo();
    command
        .env("CARGO_TARGET_DIR", &folder)
        .env("CARGO_ENCODED_RUSTFLAGS", static_flags(profile)?)
        .env_remove("RUSTFLAGS");
    Ok((command, folder.join(&triple), triple))
}

/// The compiler's flags for them, as cargo wants them.
fn static_flags(profile: Profile) -> Result<String> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned(), "-Cstrip=symbols".to_owned()];
    if profile == Profile::Quick {
        // Flags with the project's folder in them would have every clone build all dependencies anew.
        return Ok(flags.join("\x1f"));
    }
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
    remap(root(), "/collector");
    Ok(flags.join("\x1f"))
}

/// One of the profiles in Cargo.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As users run it.
    Release,
    /// Built in a fraction of the time, to try it and for the end-to-end tests.
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

/// Builds the collector without shared libraries and returns its binary.
pub(crate) fn build_static_collector(profile: Profile) -> Result<PathBuf> {
    let (mut command, folder, triple) = static_cargo(profile)?;
    command.args(["build", "--profile", profile.name(), "--package", "collector", "--bin", "collector"]);
    crate::shell::run(command.args(["--target", &triple]))?;
    Ok(folder.join(profile.name()).join("collector"))
}

/// Builds the end-to-end suite without shared libraries and returns its binary.
pub(crate) fn build_static_suite() -> Result<PathBuf> {
    let (mut command, _, triple) = static_cargo(Profile::Quick)?;
    command.args(["test", "--no-run", "--profile", Profile::Quick.name()]);
    command.args(["--package", "collector-tests", "--test", "e2e"]);
    command.args(["--target", &triple, "--message-format", "json-render-diagnostics"]);
    eprintln!("$ {}", crate::shell::describe(&command));
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
