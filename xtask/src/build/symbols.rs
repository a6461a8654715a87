//! What is needed to make sense of a backtrace, a core dump or a profile, in a file of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::processor::Processor;
use crate::shell;

/// Makes `collector` and `collector.debug` of a binary that has its symbols, in a folder `stripped` beside it; returns the
/// first one. It names the second, which debuggers look for beside it and below `/usr/lib/debug`.
pub(super) fn separate(built: &Path, processor: Processor) -> Result<PathBuf> {
    let folder = built.parent().context("a binary is in a folder")?.join("stripped");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let stripped = folder.join("collector");
    let symbols = super::symbols_of(&stripped);
    let objcopy =
        if processor == Processor::host()? { "objcopy".to_owned() } else { format!("{}-objcopy", processor.tools()) };
    let objcopy = |arguments: &[&str], from: &Path, to: &Path| {
        // The link to the symbols is a name without a folder and a sum.
        let mut command = Command::new(&objcopy);
        shell::output(command.args(arguments).arg(from).arg(to).current_dir(&folder)).map(drop)
    };
    objcopy(&["--only-keep-debug", "--compress-debug-sections=zlib"], built, &symbols)?;
    objcopy(&["--strip-all", "--remove-section=.comment", "--add-gnu-debuglink=collector.debug"], built, &stripped)?;
    Ok(stripped)
}
