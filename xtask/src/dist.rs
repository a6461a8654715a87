//! `cargo xtask dist`: everything that is given to users, in one folder: the binary and its symbols, a Debian package, an
//! RPM package, the image, the bill of materials, and the checksums of all. With `--target` the same for another processor,
//! and one image for both.
//!
//! Packages are made by the tools of the distributions, out of one tree of files. The same commit gives the same bytes: the
//! only time in them is that of the image.

mod packages;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::processor::Processor;
use crate::{apt, image, workspace};

/// What to make it of, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write it
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Also for this processor, and one image for both
    #[arg(long, value_enum, value_name = "PROCESSOR", conflicts_with = "collector")]
    target: Option<Processor>,
    /// A collector without shared libraries that is there already, instead of building one
    #[arg(long, value_name = "PATH")]
    collector: Option<PathBuf>,
}

/// How much time is spent on the size of packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    /// What users download is small.
    Users,
    /// What a test installs is there soon.
    Tests,
}

/// What packages say about themselves.
#[derive(Debug)]
struct About {
    effort: Effort,
    version: &'static str,
    processor: Processor,
    /// Seconds since the epoch: the only time in what is made.
    time: i64,
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    apt::ensure_installed(&["dpkg-dev", "lintian", "rpm"])?;
    let host = Processor::host()?;
    let processors = [Some(host), args.target.filter(|target| *target != host)];
    let mut collectors = Vec::new();
    for processor in processors.into_iter().flatten() {
        let built = match &args.collector {
            Some(path) => path.clone(),
            None => build::collector(Profile::Release, processor)?,
        };
        collectors.push((processor, built));
    }
    let folder = args.output.clone().unwrap_or_else(|| workspace::target().join("dist"));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    workspace::make_folder(&folder)?;
    let version = env!("CARGO_PKG_VERSION");
    let time = image::time()?.as_second();
    for (processor, collector) in &collectors {
        let name = format!("collector-{version}-linux-{}", processor.debian());
        fs::copy(collector, folder.join(&name)).with_context(|| format!("cannot copy {}", collector.display()))?;
        let symbols = build::symbols_of(collector);
        if symbols.is_file() {
            fs::copy(&symbols, folder.join(format!("{name}.debug"))).context("cannot copy the symbols")?;
        }
        let image = folder.join(format!("{name}.image.tar"));
        println!("{}", image::write(collector, *processor, &image, image::DEFAULT_TAG)?);
        let bill = folder.join(format!("{name}.image.cdx.json"));
        let about = About { effort: Effort::Users, version, processor: *processor, time };
        // The man page and the completions are printed by the collector that runs here.
        let tree = tree::Tree { collector, speaker: &collectors[0].1, bill: &bill };
        let package = packages::debian(&about, &tree, &folder)?;
        packages::check(&package)?;
        if *processor == host {
            packages::try_out(&package)?;
        }
        packages::rpm(&about, &tree, &folder)?;
    }
    if collectors.len() > 1 {
        let image = folder.join(format!("collector-{version}-linux.image.tar"));
        println!("{}", image::write_for_all(&collectors, &image, image::DEFAULT_TAG)?);
    }
    for line in checksums(&folder)?.lines() {
        println!("{line}");
    }
    println!("all of it: {}", folder.display());
    Ok(())
}

/// What a test installs of a collector for this machine: the image, and a Debian and an RPM package of this version and of
/// one that follows it.
pub(crate) fn for_tests(collector: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let processor = Processor::host()?;
    let image = folder.join("collector.tar");
    image::write(collector, processor, &image, image::DEFAULT_TAG)?;
    let mut made = vec![image.clone()];
    let tree = tree::Tree { collector, speaker: collector, bill: &image.with_extension("cdx.json") };
    for version in [env!("CARGO_PKG_VERSION"), "99.0.0"] {
        let about = About { effort: Effort::Tests, version, processor, time: image::time()?.as_second() };
        made.push(packages::debian(&about, &tree, folder)?);
        made.push(packages::rpm(&about, &tree, folder)?);
    }
    Ok(made)
}

/// Writes `SHA256SUMS` for `sha256sum --check`, and returns it.
fn checksums(folder: &Path) -> Result<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let mut text = String::new();
    for name in names {
        let bytes = fs::read(folder.join(&name)).with_context(|| format!("cannot read {name}"))?;
        text.extend([image::sha256(&bytes).as_str(), "  ", &name, "\n"]);
    }
    fs::write(folder.join("SHA256SUMS"), &text).context("cannot write SHA256SUMS")?;
    Ok(text)
}
