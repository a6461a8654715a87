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

use crate::build::{self, Profile};
use crate::processor::Processor;
use crate::{shell, workspace};

/// The name in the manifests under `deploy/`; the version is in the labels.
pub(crate) const DEFAULT_TAG: &str = "collector:latest";

/// What an image for one processor may take. Each node of a cluster downloads it.
const MOST_BYTES: usize = 12_000_000;

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
    /// The processor it is for.
    processor: Processor,
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
    fn gather(processor: Processor, tag: &str) -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        ensure!(tag.rsplit('/').next().is_some_and(|name| name.contains(':')), "{tag}: a name needs a tag, as in a:1");
        Ok(Self { processor, version, revision: revision(), time: time()?, tag: tag.to_owned() })
    }
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    let host = Processor::host()?;
    let collector = build::collector(Profile::Release, host)?;
    let output = args.output.clone().unwrap_or_else(default_path);
    let summary = write(&collector, host, &output, &args.tag)?;
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
pub(crate) fn write(collector: &Path, processor: Processor, output: &Path, tag: &str) -> Result<String> {
    let about = About::gather(processor, tag)?;
    let binary = std::fs::read(collector).with_context(|| format!("cannot read {}", collector.display()))?;
    let bill = sbom::render(&sbom::Materials::gather(processor)?, &about, &sha256(&binary))?;
    let bill_path = output.with_extension("cdx.json");
    let image = pack(&[(&binary, &about)])?;
    ensure!(
        image.len() <= MOST_BYTES,
        "the image has {} bytes, {MOST_BYTES} are allowed: see what grew, for example by `cargo bloat --release --crates`",
        image.len()
    );
    let summary = put(output, &image, tag)?;
    std::fs::write(&bill_path, bill).with_context(|| format!("cannot write {}", bill_path.display()))?;
    Ok(format!("{summary}\n{}: what is in it", bill_path.display()))
}

/// Packs collectors for several processors into one image, of which an engine takes the part that it can run. The first
/// one is what engines load that know nothing of this.
pub(crate) fn write_for_all(collectors: &[(Processor, PathBuf)], output: &Path, tag: &str) -> Result<String> {
    let mut images = Vec::new();
    for (processor, collector) in collectors {
        let binary = std::fs::read(collector).with_context(|| format!("cannot read {}", collector.display()))?;
        images.push((binary, About::gather(*processor, tag)?));
    }
    let images: Vec<(&[u8], &About)> = images.iter().map(|(binary, about)| (binary.as_slice(), about)).collect();
    put(output, &pack(&images)?, tag)
}

/// Writes an image; what it says is for people.
fn put(output: &Path, image: &[u8], tag: &str) -> Result<String> {
    workspace::make_folder(output.parent().context("an image is a file in a folder")?)?;
    std::fs::write(output, image).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(format!("{}: {} bytes, sha256 {}, tag {tag}", output.display(), image.len(), sha256(image)))
}

/// The image's bytes, of one collector for each processor.
fn pack(collectors: &[(&[u8], &About)]) -> Result<Vec<u8>> {
    let mut images = Vec::new();
    for (binary, about) in collectors {
        images.push(archive::Image::new(&layer::with_collector(binary, about.time)?, about)?);
    }
    archive::write(&images)
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
            processor: Processor::Amd64,
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

    fn unpacked(layer: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(layer).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_same_binary_gives_the_same_bytes() {
        let binary = vec![7_u8; 3_000];
        let packed = |binary: &[u8]| pack(&[(binary, &about())]).unwrap();
        let first = packed(&binary);
        assert!(first == packed(&binary));
        assert!(first != packed(&binary[1..]));
    }

    /// Engines follow the digests from either of the two tables of contents.
    #[test]
    fn everything_is_found_by_its_digest() {
        let image = files(&pack(&[(b"binary", &about())]).unwrap());
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
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(config["config"]["User"], "65534:65534");
        assert_eq!(config["config"]["Entrypoint"][0], "/collector");
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.revision"], "abc");
        let layer = unpacked(&image[&blob(&manifest["layers"][0]["digest"])]);
        assert_eq!(format!("sha256:{}", sha256(&layer)), config["rootfs"]["diff_ids"][0]);
        let layer = files(&layer);
        assert_eq!(layer.into_iter().collect::<Vec<_>>(), [("collector".to_owned(), b"binary".to_vec())]);
    }

    /// The index names one more index, as `docker buildx` and registries have it, with an image for each processor.
    #[test]
    fn processors_have_their_own_image() {
        let arm = About { processor: Processor::Arm64, ..about() };
        let image = files(&pack(&[(b"binary", &about()), (b"other", &arm)]).unwrap());
        let json = |path: &str| serde_json::from_slice::<Value>(&image[path]).unwrap();
        let blob =
            |digest: &Value| format!("blobs/sha256/{}", digest.as_str().unwrap().strip_prefix("sha256:").unwrap());
        let [named] = json("index.json")["manifests"].as_array().unwrap().clone().try_into().unwrap();
        assert_eq!(named["mediaType"], "application/vnd.oci.image.index.v1+json");
        assert_eq!(named["annotations"]["io.containerd.image.name"], "registry.example/collector:1.2.3");
        let index = json(&blob(&named["digest"]));
        for (entry, (processor, binary)) in
            index["manifests"].as_array().unwrap().iter().zip([("amd64", "binary"), ("arm64", "other")])
        {
            assert_eq!(entry["platform"]["architecture"], processor);
            let manifest = json(&blob(&entry["digest"]));
            assert_eq!(json(&blob(&manifest["config"]["digest"]))["architecture"], processor);
            let layer = files(&unpacked(&image[&blob(&manifest["layers"][0]["digest"])]));
            assert_eq!(layer["collector"], binary.as_bytes());
        }
        let docker = json("manifest.json");
        assert_eq!(json(docker[0]["Config"].as_str().unwrap())["architecture"], "amd64");
    }

    #[test]
    fn a_tag_is_asked_for() {
        assert!(About::gather(Processor::Amd64, "registry.example:5000/collector").is_err());
        assert_eq!(About::gather(Processor::Arm64, "r:5000/collector:x").unwrap().tag, "r:5000/collector:x");
    }
}
