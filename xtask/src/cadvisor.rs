//! A real cAdvisor to compare with and to measure: Debian's, unpacked and not installed.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::vm;

/// The package, and the last release of Debian that has it.
const PACKAGE: &str = "cadvisor";
const SUITE: &str = "bullseye";

/// Its program, fetched once.
pub(crate) fn fetch() -> Result<PathBuf> {
    let program = vm::fetch_package(PACKAGE, SUITE)?.join("usr/bin/cadvisor");
    ensure!(program.is_file(), "Debian's package holds no {}", program.display());
    Ok(program)
}
