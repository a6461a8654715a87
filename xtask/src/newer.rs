//! A Prometheus that knows when counters began: Debian's of a newer release, unpacked and not installed.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::apt::private::fetch_package;
use crate::processor::Processor;

/// The package, and the first release of Debian whose version is 2.50 or later.
const PACKAGE: &str = "prometheus";
const SUITE: &str = "trixie";

/// Its program, fetched once.
pub(crate) fn fetch() -> Result<PathBuf> {
    let program = fetch_package(PACKAGE, &[SUITE], Processor::host()?)?.join("usr/bin/prometheus");
    ensure!(program.is_file(), "Debian's package holds no {}", program.display());
    Ok(program)
}
