//! `cargo xtask bpf`: the committed eBPF objects, rebuilt from their source or proven to belong to it.
//!
//! The objects are part of the repository so that a plain `cargo build` needs no BPF toolchain. Beside them lies a
//! record of what they were made from and by what. With the recorded toolchain at hand the proof is a rebuild that must
//! give the same bytes; with any other, the recorded hash of the sources must be that of the sources.

mod record;
mod toolchain;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use self::record::Record;
use self::toolchain::Toolchain;
use crate::{shell, workspace};

/// What to do with the objects.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail when a committed object does not belong to its source
    #[arg(long)]
    check: bool,
}

/// Beyond these switches the build depends only on what [`record::source_hash`] covers.
const BUILD: [&str; 11] = [
    "build",
    "--profile=bpf",
    "--package=collector-ebpf",
    "--features=programs",
    "--bin=collector-ebpf",
    "--bin=collector-ebpf-counters",
    "--bin=collector-ebpf-runqueue",
    "--bin=collector-ebpf-networkcgroup",
    "--bin=collector-ebpf-blocklatency",
    "--target=bpfel-unknown-none",
    "--locked",
];

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    if args.check { check() } else { rebuild() }
}

/// The objects: the programs that are attached, those that read counters, and those that a kind of metrics asks for.
const OBJECTS: [(&str, &str); 5] = [
    ("collector", "collector-ebpf"),
    ("counters", "collector-ebpf-counters"),
    ("runqueue", "collector-ebpf-runqueue"),
    ("networkcgroup", "collector-ebpf-networkcgroup"),
    ("blocklatency", "collector-ebpf-blocklatency"),
];

/// The bytes of each.
type Objects = [Vec<u8>; OBJECTS.len()];

/// What the committed ones are.
fn committed() -> Result<Objects> {
    read_each(|name, _| object_path(name))
}

fn read_each(path: impl Fn(&str, &str) -> PathBuf) -> Result<Objects> {
    let mut objects = Objects::default();
    for (object, (name, built)) in objects.iter_mut().zip(OBJECTS) {
        let path = path(name, built);
        *object = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(objects)
}

fn hashes(objects: &Objects) -> [record::Hash; OBJECTS.len()] {
    objects.each_ref().map(|object| record::sha256(object))
}

fn object_path(name: &str) -> PathBuf {
    workspace::root().join(format!("collector-ebpf/{name}.bpf.o"))
}

fn record_path() -> PathBuf {
    workspace::root().join("collector-ebpf/collector.bpf.toml")
}

/// Builds the objects with the best toolchain of this machine and writes them with their record.
fn rebuild() -> Result<()> {
    let toolchain = Toolchain::find()?;
    let built = build(&toolchain)?;
    let source = record::source_hash(&workspace::root())?;
    let record = Record { toolchain: toolchain.identity()?, objects: hashes(&built), source };
    if let Ok(old) = Record::read(&record_path())
        && old.toolchain != record.toolchain
    {
        eprintln!("note: these objects were made by another toolchain than those they replace:");
        eprintln!("  before: {}\n  now:    {}", old.toolchain, record.toolchain);
    }
    for ((bytes, hash), (name, _)) in built.iter().zip(&record.objects).zip(OBJECTS) {
        write_whole(&object_path(name), bytes)?;
        println!("collector-ebpf/{name}.bpf.o: {} bytes, sha256 {hash}", bytes.len());
    }
    write_whole(&record_path(), record.to_string().as_bytes())
}

/// What to do where the objects are not those of the source.
const REPAIR: &str = "run `cargo xtask bpf` and commit the objects and the record in collector-ebpf";

/// Proves that the committed objects belong to the source beside them.
fn check() -> Result<()> {
    let record = committed_record().map_err(|error| anyhow!("{error:#}: {REPAIR}"))?;
    let toolchain = match Toolchain::find_recorded(&record.toolchain) {
        Ok(toolchain) => toolchain,
        Err(reason) => {
            println!("eBPF objects: their source has the recorded hash.");
            println!("The bytes were not compared, for want of the recorded toolchain: {reason:#}");
            return Ok(());
        }
    };
    let rebuilt = build(&toolchain)?;
    for (((bytes, hash), recorded), (name, _)) in rebuilt.iter().zip(hashes(&rebuilt)).zip(&record.objects).zip(OBJECTS)
    {
        if hash != *recorded {
            let kept = workspace::target().join(format!("bpf/{name}.rebuilt.bpf.o"));
            write_whole(&kept, bytes)?;
            bail!(
                "the source gives {name}.bpf.o with sha256 {hash} (kept as {}), committed is {recorded}: {REPAIR}",
                kept.display(),
            );
        }
    }
    let sizes: Vec<_> = rebuilt.iter().map(|bytes| bytes.len().to_string()).collect();
    println!("eBPF objects: rebuilt with the recorded toolchain, the same {} bytes.", sizes.join(", "));
    Ok(())
}

/// The record of the committed objects, which are those recorded and were made from this source.
fn committed_record() -> Result<Record> {
    let record = Record::read(&record_path())?;
    for ((hash, recorded), (name, _)) in hashes(&committed()?).iter().zip(&record.objects).zip(OBJECTS) {
        ensure!(hash == recorded, "the sha256 of {name}.bpf.o is {hash}, its record says {recorded}");
    }
    let source = record::source_hash(&workspace::root())?;
    ensure!(
        source == record.source,
        "the eBPF source changed after the objects were built: its hash is {source}, recorded is {}",
        record.source
    );
    Ok(record)
}

/// Builds the programs and returns the objects.
fn build(toolchain: &Toolchain) -> Result<Objects> {
    let folder = workspace::target().join("bpf");
    let mut command = toolchain.cargo()?;
    command.args(BUILD).current_dir(workspace::root()).env("CARGO_TARGET_DIR", &folder).env("CARGO_INCREMENTAL", "0");
    // Nothing of the machine may end up in an object: neither its paths nor its user's own settings.
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
    read_each(|_, built| folder.join("bpfel-unknown-none/bpf").join(built))
}

/// Writes a file so that a reader sees the old content or the new, never a part.
fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, content)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
