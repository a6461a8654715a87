//! `cargo xtask web`: the page's bundle, built from its source or proven to belong to it.
//!
//! The bundle is part of the repository so that a plain `cargo build` needs no Node. It is built from the lock file's
//! versions alone, and twice the same source gives the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{shell, workspace};

/// What the collector serves of the bundle.
const FILES: [&str; 2] = ["containers.js", "containers.css"];
/// Compressed, all of it may take so many bytes.
const MOST: usize = 150_000;

/// The release of Node that the build needs.
const NODE: u32 = 20;

/// What to do with the bundle.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail when the committed bundle does not belong to its source
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    if args.check && node_release() < Some(NODE) {
        println!("The page's bundle was not compared with its source, for want of Node {NODE} or later.");
        return Ok(());
    }
    install()?;
    let built = if args.check { workspace::target().join("web") } else { folder().join("dist") };
    let output = format!("--outDir={}", built.display());
    shell::run(npm().args(["run", "build", "--", &output, "--emptyOutDir"]))?;
    let mut compressed = 0;
    for file in FILES {
        let bytes = read(&built.join(file))?;
        compressed += gzipped(&bytes)?;
        if args.check {
            ensure!(
                bytes == read(&folder().join("dist").join(file))?,
                "collector/web/dist/{file} is not what collector/web gives: run `cargo xtask web` and commit it"
            );
        }
    }
    ensure!(compressed <= MOST, "the page takes {compressed} bytes compressed, and may take {MOST}");
    let what = if args.check { "belongs to its source" } else { "is built" };
    println!("collector/web/dist {what}: {compressed} bytes compressed");
    Ok(())
}

/// Bytes of the committed bundle, compressed.
pub(crate) fn compressed() -> Result<usize> {
    FILES.iter().map(|file| gzipped(&read(&folder().join("dist").join(file))?)).sum()
}

/// Installs what the lock file names, for the bundle and for the tests in a browser, unless it is there.
pub(crate) fn install() -> Result<()> {
    ensure!(shell::is_on_path("npm"), "npm is not on the search path: install Node 20 or later (Debian: nodejs, npm)");
    let lock = folder().join("package-lock.json");
    let mark = folder().join("node_modules/.collector-lock");
    if read(&mark).is_ok_and(|installed| read(&lock).is_ok_and(|lock| lock == installed)) {
        return Ok(());
    }
    shell::run(npm().args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))?;
    std::fs::copy(&lock, &mark).with_context(|| format!("cannot write {}", mark.display())).map(drop)
}

/// Which Node there is, if any.
fn node_release() -> Option<u32> {
    let version = shell::output(Command::new("node").arg("--version")).ok()?;
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn folder() -> PathBuf {
    workspace::root().join("collector/web")
}

fn npm() -> Command {
    let mut command = Command::new("npm");
    command.current_dir(folder());
    command
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn gzipped(bytes: &[u8]) -> Result<usize> {
    use std::io::Write as _;
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    coder.write_all(bytes)?;
    Ok(coder.finish()?.len())
}
