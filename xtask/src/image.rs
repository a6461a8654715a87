//! `cargo xtask image`: the container image, made without a container engine.
//!
//! One layer with one file, the collector without shared libraries. The same binary gives the same bytes, whenever and
//! wherever they are packed: the only time in them is `SOURCE_DATE_EPOCH`, by default that of the last commit. The
//! compiler leaves paths of this machine out of the binary. Beside the image lies a bill of materials.

mod archive;
mod layer;
mod sbom;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::{shell, workspace};

/// The name in the manifests under `deploy/`; the version is in the labels.
pub(crate) const DEFAULT_TAG: &str = "collector:latest";

/// Where to put the image and what to call it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write it; the bill of materials goes beside it
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// What `docker load` calls it
    #[arg(long, value_name = "NAME", default_value = DEFAULT_TAG)]
    tag: String,
}

/// What an image says about itself.
#[derive(Clone, Debug)]
struct About {
    /// The processor, as images name it.
    architecture: &'static str,
    /// The collector's version.
    version: String,
    /// The commit it was made from, where that is known.
    revision: Option<String>,
    /// The only time in the image.
    time: Timestamp,
    /// Its name and tag.
    tag: String,
}

impl About {
    fn gather(tag: &str) -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        ensure!(tag.rsplit('/').next().is_some_and(|name| name.contains(':')), "{tag}: a name needs a tag, as in a:1");
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => anyhow::bail!("no image is made for {other}"),
        };
        Ok(Self { architecture, version, revision: revision(), time: time()?, tag: tag.to_owned() })
    }
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    let collector = workspace::build_static_collector(workspace::Profile::Release)?;
    let output = args.output.clone().unwrap_or_else(default_path);
    let summary = write(&collector, &output, &args.tag)?;
    println!("{summary}");
    println!("load it:  docker load --input {}", output.display());
    Ok(())
}

/// Where the image goes by default.
pub(crate) fn default_path() -> PathBuf {
    workspace::target().join("image/collector.tar")
}

/// Packs a collector that was built without shared libraries and writes it with its bill of materials; what it says is
/// for people.
pub(crate) fn write(collector: &Path, output: &Path, tag: &str) -> Result<String> {
    let about = About::gather(tag)?;
    let binary = std::fs::read(collector).with_context(|| format!("cannot read {}", collector.display()))?;
    let image = pack(&binary, &about)?;
    let bill = sbom::render(&sbom::Materials::gather(&workspace::host_triple()?)?, &about, &sha256(&binary))?;
    let bill_path = output.with_extension("cdx.json");
    for (path, bytes) in [(output, image.as_slice()), (&bill_path, bill.as_bytes())] {
        let folder = path.parent().context("an image is a file in a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(format!(
        "{}: {} bytes, sha256 {}, tag {}\n{}: what is in it",
        output.display(),
        image.len(),
        sha256(&image),
        about.tag,
        bill_path.display()
    ))
}

/// The image's bytes.
fn pack(binary: &[u8], about: &About) -> Result<Vec<u8>> {
    archive::image(&layer::with_collector(binary, about.time)?, about)
}

/// The SHA-256 of something in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `SOURCE_DATE_EPOCH`, else the time of the last commit, else the epoch.
pub(crate) fn time() -> Result<Timestamp> {
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => git(&["log", "-1", "--format=%ct"]).unwrap_or_else(|| "0".to_owned()),
    };
    let seconds = seconds.trim().parse().with_context(|| format!("SOURCE_DATE_EPOCH={seconds} is not a number"))?;
    Timestamp::from_second(seconds).context("SOURCE_DATE_EPOCH is no time")
}

/// The last commit, marked when the folder holds more than that; `None` outside of a repository.
fn revision() -> Option<String> {
    let commit = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(workspace::root()).args(arguments);
    Some(shell::output(&mut command).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use serde_json::Value;

    use super::*;

    fn about() -> About {
        About {
            architecture: "amd64",
            version: "1.2.3".to_owned(),
            revision: Some("abc".to_owned()),
            time: Timestamp::from_second(1_700_000_000).unwrap(),
            tag: "registry.example/collector:1.2.3".to_owned(),
        }
    }

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn the_same_binary_gives_the_same_bytes() {
        let binary = vec![7_u8; 3_000];
        let first = pack(&binary, &about()).unwrap();
        assert!(first == pack(&binary, &about()).unwrap());
        assert!(first != pack(&binary[1..], &about()).unwrap());
    }

    /// Engines follow the digests from either of the two tables of contents.
    #[test]
    fn everything_is_found_by_its_digest() {
        let image = files(&pack(b"binary", &about()).unwrap());
        for (path, bytes) in image.iter().filter(|(path, bytes)| path.starts_with("blobs/sha256/") && !bytes.is_empty())
        {
            assert_eq!(path.strip_prefix("blobs/sha256/"), Some(sha256(bytes).as_str()));
        }
        let json = |path: &str| serde_json::from_slice::<Value>(&image[path]).unwrap();
        let blob =
            |digest: &Value| format!("blobs/sha256/{}", digest.as_str().unwrap().strip_prefix("sha256:").unwrap());
        let manifest = json(&blob(&json("index.json")["manifests"][0]["digest"]));
        let docker = &json("manifest.json")[0];
        assert_eq!(docker["RepoTags"][0], "registry.example/collector:1.2.3");
        assert_eq!(docker["Config"], blob(&manifest["config"]["digest"]));
        assert_eq!(docker["Layers"][0], blob(&manifest["layers"][0]["digest"]));
        let config = json(&blob(&manifest["config"]["digest"]));
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(config["config"]["User"], "65534:65534");
        assert_eq!(config["config"]["Entrypoint"][0], "/collector");
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.revision"], "abc");
        let layer = files(&image[&blob(&manifest["layers"][0]["digest"])]);
        assert_eq!(layer.into_iter().collect::<Vec<_>>(), [("collector".to_owned(), b"binary".to_vec())]);
    }

    #[test]
    fn a_tag_is_asked_for() {
        assert!(About::gather("registry.example:5000/collector").is_err());
        assert_eq!(About::gather("r:5000/collector:x").unwrap().tag, "r:5000/collector:x");
    }
}
