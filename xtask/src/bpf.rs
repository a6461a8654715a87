//! `cargo xtask bpf`: the committed eBPF object, rebuilt from its source or proven to belong to it.
//!
//! The object is part of the repository so that a plain `cargo build` needs no BPF toolchain. Beside it lies a
//! record of what it was made from and by what. With the recorded toolchain at hand the proof is a rebuild that must
//! give the same bytes; with any other, the recorded hash of the sources must be that of the sources.

mod record;
mod toolchain;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use self::record::Record;
use self::toolchain::Toolchain;
use crate::{shell, workspace};

/// What to do with the object.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail when the committed object does not belong to its source
    #[arg(long)]
    check: bool,
}

/// Beyond these switches the build depends only on what [`record::source_hash`] covers.
const BUILD: [&str; 7] = [
    "build",
    "--profile=bpf",
    "--package=collector-ebpf",
    "--features=programs",
    "--bin=collector-ebpf",
    "--target=bpfel-unknown-none",
    "--locked",
];

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    if args.check { check() } else { rebuild() }
}

fn object_path() -> PathBuf {
    workspace::root().join("collector-ebpf/collector.bpf.o")
}

fn record_path() -> PathBuf {
    workspace::root().join("collector-ebpf/collector.bpf.toml")
}

/// Builds the object with the best toolchain of this machine and writes it with its record.
fn rebuild() -> Result<()> {
    let toolchain = Toolchain::find()?;
    let bytes = build(&toolchain)?;
    let record = Record {
        toolchain: toolchain.identity()?,
        object: record::sha256(&bytes),
        source: record::source_hash(&workspace::root())?,
    };
    if let Ok(old) = Record::read(&record_path())
        && old.toolchain != record.toolchain
    {
        eprintln!("note: this object was made by another toolchain than the one it replaces:");
        eprintln!("  before: {}\n  now:    {}", old.toolchain, record.toolchain);
    }
    write_whole(&object_path(), &bytes)?;
    write_whole(&record_path(), record.to_string().as_bytes())?;
    println!("collector-ebpf/collector.bpf.o: {} bytes, sha256 {}", bytes.len(), record.object);
    Ok(())
}

/// Proves that the committed object belongs to the source beside it.
fn check() -> Result<()> {
    let record = committed_record().map_err(|error| {
        anyhow!("{error:#}: run `cargo xtask bpf` and commit collector-ebpf/collector.bpf.o and collector.bpf.toml")
    })?;
    let toolchain = match Toolchain::find_recorded(&record.toolchain) {
        Ok(toolchain) => toolchain,
        Err(reason) => {
            println!("eBPF object: its source has the recorded hash.");
            println!("The bytes were not compared, for want of the recorded toolchain: {reason:#}");
            return Ok(());
        }
    };
    let rebuilt = build(&toolchain)?;
    let hash = record::sha256(&rebuilt);
    if hash != record.object {
        let kept = workspace::target().join("bpf/rebuilt.bpf.o");
        write_whole(&kept, &rebuilt)?;
        bail!(
            "the source gives an object with sha256 {hash} (kept as {}), committed is {}: run `cargo xtask bpf` and \
             commit collector-ebpf/collector.bpf.o and collector.bpf.toml",
            kept.display(),
            record.object
        );
    }
    println!("eBPF object: rebuilt with the recorded toolchain, the same {} bytes.", rebuilt.len());
    Ok(())
}

/// The record of the committed object, which is the one recorded and was made from this source.
fn committed_record() -> Result<Record> {
    let record = Record::read(&record_path())?;
    let bytes = std::fs::read(object_path()).with_context(|| format!("cannot read {}", object_path().display()))?;
    let object = record::sha256(&bytes);
    ensure!(object == record.object, "the object's sha256 is {object}, its record says {}", record.object);
    let source = record::source_hash(&workspace::root())?;
    ensure!(
        source == record.source,
        "the eBPF source changed after the object was built: its hash is {source}, recorded is {}",
        record.source
    );
    Ok(record)
}

/// Builds the programs and returns the object's bytes.
fn build(toolchain: &Toolchain) -> Result<Vec<u8>> {
    let folder = workspace::target().join("bpf");
    let mut command = toolchain.cargo()?;
    command.args(BUILD).current_dir(workspace::root()).env("CARGO_TARGET_DIR", &folder).env("CARGO_INCREMENTAL", "0");
    // Nothing of the machine may end up in the object: neither its paths nor its user's own settings.
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let flags = [
        format!("--remap-path-prefix={}=/collector", workspace::root().display()),
        format!("--remap-path-prefix={}=/cargo", home.display()),
        format!("--remap-path-prefix={}=/rust", toolchain.sysroot()?.display()),
    ];
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOCFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        command.env_remove(name);
    }
    shell::run(&mut command)?;
    let built = folder.join("bpfel-unknown-none/bpf/collector-ebpf");
    std::fs::read(&built).with_context(|| format!("cannot read the built object {}", built.display()))
}

/// Writes a file so that a reader sees the old content or the new, never a part.
fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, content)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
