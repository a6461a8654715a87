//! A real cAdvisor to compare with and to measure: Debian's, unpacked and not installed.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::apt::private::fetch_package;
use crate::processor::Processor;

/// The package, and the last release of Debian that has it.
const PACKAGE: &str = "cadvisor";
const SUITE: &str = "bullseye";

/// Its program, fetched once.
pub(crate) fn fetch() -> Result<PathBuf> {
    let program = fetch_package(PACKAGE, &[SUITE], Processor::host()?)?.join("usr/bin/cadvisor");
    ensure!(program.is_file(), "Debian's package holds no {}", program.display());
    Ok(program)
}
