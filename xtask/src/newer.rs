//! Programs of a newer release of Debian than this one, unpacked and not installed.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::apt::private::fetch_package;
use crate::processor::Processor;

/// The first release of Debian that has them.
const SUITE: &str = "trixie";

/// A Prometheus that knows when counters began: 2.50 or later.
pub(crate) fn prometheus() -> Result<PathBuf> {
    fetch("prometheus", "usr/bin/prometheus")
}

/// Docker Compose of version 2, which is what its documentation calls `docker compose`.
pub(crate) fn compose() -> Result<PathBuf> {
    fetch("docker-compose", "usr/libexec/docker/cli-plugins/docker-compose")
}

/// A program of a package, fetched once.
fn fetch(package: &str, program: &str) -> Result<PathBuf> {
    let program = fetch_package(package, &[SUITE], Processor::host()?)?.join(program);
    ensure!(program.is_file(), "Debian's package holds no {}", program.display());
    Ok(program)
}
