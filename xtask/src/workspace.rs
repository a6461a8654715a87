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

/// Builds the collector without the optimizer and returns its binary. Of what that takes some is there already: this
/// program is built by the same profile, into the same folder, and so are the unit tests.
pub(crate) fn build_unoptimized() -> Result<PathBuf> {
    crate::shell::run(cargo().args(["build", "--package", "collector", "--bin", "collector"]))?;
    Ok(target().join("debug/collector"))
}

/// Makes a folder with those above it.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

/// The files below a folder, in order of their names.
pub(crate) fn find_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.with_context(|| format!("cannot list {}", folder.display()))?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.is_symlink() { find_files(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
