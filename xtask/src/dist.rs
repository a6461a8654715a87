//! `cargo xtask dist`: everything that is given to users, in one folder: the binary, a Debian package, an RPM package, the
//! image, the bill of materials, and the checksums of all.
//!
//! Packages are made by the tools of the distributions, out of one tree of files. The same commit gives the same bytes: the
//! only time in them is that of the image.

mod packages;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{apt, image, workspace};

/// What to make it of, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write it
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// A collector without shared libraries that is there already, instead of building one
    #[arg(long, value_name = "PATH")]
    collector: Option<PathBuf>,
}

/// What packages say about themselves.
#[derive(Debug)]
struct About {
    version: &'static str,
    /// The processor, as Debian, RPM and images name it.
    architecture: Architecture,
    /// Seconds since the epoch: the only time in what is made.
    time: i64,
}

/// One processor by its names.
#[derive(Debug)]
struct Architecture {
    debian: &'static str,
    rpm: &'static str,
}

impl About {
    fn gather() -> Result<Self> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => Architecture { debian: "amd64", rpm: "x86_64" },
            "aarch64" => Architecture { debian: "arm64", rpm: "aarch64" },
            other => anyhow::bail!("no packages are made for {other}"),
        };
        Ok(Self { version: env!("CARGO_PKG_VERSION"), architecture, time: image::time()?.as_second() })
    }
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    apt::ensure_installed(&["dpkg-dev", "rpm"])?;
    let collector = match &args.collector {
        Some(path) => path.clone(),
        None => workspace::build_static_collector(workspace::Profile::Release)?,
    };
    let folder = args.output.clone().unwrap_or_else(|| workspace::target().join("dist"));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let about = About::gather()?;
    let name = format!("collector-{}-linux-{}", about.version, about.architecture.debian);
    fs::copy(&collector, folder.join(&name)).with_context(|| format!("cannot copy {}", collector.display()))?;
    println!("{}", image::write(&collector, &folder.join(format!("{name}.image.tar")), image::DEFAULT_TAG)?);
    let bill = folder.join(format!("{name}.image.cdx.json"));
    packages::debian(&about, &tree::Tree { collector: &collector, bill: &bill }, &folder)?;
    packages::rpm(&about, &tree::Tree { collector: &collector, bill: &bill }, &folder)?;
    for line in checksums(&folder)?.lines() {
        println!("{line}");
    }
    println!("all of it: {}", folder.display());
    Ok(())
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
