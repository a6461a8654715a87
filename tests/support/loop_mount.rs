//! File systems of a chosen type, each in a file.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use super::engine::program;
use super::harness::Skip;
use super::{Context as _, Result, bytes, ensure};

/// Size of the files, which are sparse: the least that XFS accepts, and more.
const SIZE: u64 = 640 * bytes::MIB;

/// Makes a file system of this type in a file and mounts it; skips the test where that cannot be done. Whoever owns the
/// mount point unmounts it, and with that the file is free.
pub(crate) fn mount(kind: &str, file: &Path, mount_point: &Path) -> Result<()> {
    let make = program(&format!("mkfs.{kind}"))?;
    let known = bytes::read("/proc/filesystems")?;
    if !known.split_whitespace().any(|name| name == kind) {
        return Err(Skip::because(format!("this kernel has no {kind}")));
    }
    File::create(file)?.set_len(SIZE)?;
    fs::create_dir_all(mount_point)?;
    run(Command::new(make).arg("-q").arg(file))?;
    let mounted = run(Command::new(program("mount")?).args(["-o", "loop", "-t", kind]).arg(file).arg(mount_point));
    mounted.map_err(|error| Skip::because(format!("a file cannot be mounted here: {error:#}")))?;
    if kind == "btrfs" {
        run(Command::new(program("btrfs")?).args(["quota", "enable"]).arg(mount_point))?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {}", command.get_program().display()))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, error.trim_end());
    Ok(())
}
