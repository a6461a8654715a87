//! The image as one archive, readable both as an OCI layout (`index.json`) and by `docker load` of any age
//! (`manifest.json`). The layer is compressed as registries keep it. Images for several processors are below an index of
//! their own, which has the name; a `docker load` that reads `manifest.json` gets the first one.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::{Builder, EntryType};

use super::{About, layer, sha256};

/// The user of processes that own nothing: `nobody` on every distribution that has one.
const USER: &str = "65534:65534";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The image for one processor.
#[derive(Debug)]
pub(super) struct Image<'a> {
    about: &'a About,
    layer: Vec<u8>,
    config: String,
    manifest: String,
}

impl<'a> Image<'a> {
    /// The image with this layer.
    pub(super) fn new(layer: &[u8], about: &'a About) -> Result<Self> {
        // The one goes by the layer as it is unpacked, the other by what is stored of it.
        let config = text(&config(&digest(layer), about))?;
        let layer = compressed(layer)?;
        let manifest = text(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config.as_bytes()),
            "layers": [descriptor(LAYER, &layer)],
        }))?;
        Ok(Self { about, layer, config, manifest })
    }

    fn descriptor(&self) -> Value {
        let mut entry = descriptor(MANIFEST, self.manifest.as_bytes());
        entry["platform"] = json!({ "architecture": self.about.processor.debian(), "os": "linux" });
        entry
    }
}

/// The bytes of an archive with these images.
pub(super) fn write(images: &[Image<'_>]) -> Result<Vec<u8>> {
    let first = images.first().context("no image")?;
    let (about, tag) = (first.about, &first.about.tag);
    let several = text(&json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": images.iter().map(Image::descriptor).collect::<Vec<_>>(),
    }))?;
    let is_one = images.len() == 1;
    let mut named = if is_one { first.descriptor() } else { descriptor(INDEX, several.as_bytes()) };
    named["annotations"] = json!({
        "io.containerd.image.name": full_name(tag),
        "org.opencontainers.image.ref.name": tag.rsplit(':').next(),
    });
    let index = text(&json!({ "schemaVersion": 2, "manifests": [named] }))?;
    let docker = text(&json!([{
        "Config": blob(first.config.as_bytes()),
        "RepoTags": [tag],
        "Layers": [blob(&first.layer)],
    }]))?;
    let mut files: Vec<(String, &[u8])> = vec![
        ("index.json".to_owned(), index.as_bytes()),
        ("manifest.json".to_owned(), docker.as_bytes()),
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#),
    ];
    for Image { layer, config, manifest, .. } in images {
        for bytes in [config.as_bytes(), manifest.as_bytes(), layer] {
            files.push((blob(bytes), bytes));
        }
    }
    if !is_one {
        files.push((blob(several.as_bytes()), several.as_bytes()));
    }
    files.sort();
    let mut archive = Builder::new(Vec::new());
    for folder in ["blobs/", "blobs/sha256/"] {
        layer::append(&mut archive, folder, EntryType::Directory, 0o755, &[], about.time)?;
    }
    for (path, content) in files {
        layer::append(&mut archive, &path, EntryType::Regular, 0o644, content, about.time)?;
    }
    archive.into_inner().context("cannot finish the image")
}

/// The same bytes on every machine: gzip's header has no time here, and the encoder is one of the locked dependencies.
fn compressed(layer: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(layer).context("cannot compress the layer")?;
    encoder.finish().context("cannot compress the layer")
}

/// How the program is run, and labels for those who find the image somewhere.
fn config(layer_digest: &str, about: &About) -> Value {
    let mut labels = json!({
        "org.opencontainers.image.title": "collector",
        "org.opencontainers.image.description":
            "A per-node collector of container resources, kernel-assisted, speaking cAdvisor's API",
        "org.opencontainers.image.version": about.version,
        "org.opencontainers.image.licenses": "Apache-2.0 OR MIT",
        "org.opencontainers.image.created": about.time.to_string(),
    });
    if let Some(revision) = &about.revision {
        labels["org.opencontainers.image.revision"] = revision.as_str().into();
    }
    json!({
        "architecture": about.processor.debian(),
        "os": "linux",
        "created": about.time.to_string(),
        "config": {
            "User": USER,
            "ExposedPorts": { "8080/tcp": {} },
            "Entrypoint": [format!("/{}", layer::BINARY)],
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        "history": [{ "created": about.time.to_string(), "created_by": "cargo xtask image" }],
    })
}

/// The name with its registry, which containerd wants spelt out.
fn full_name(tag: &str) -> String {
    match tag.split_once('/') {
        Some((registry, _)) if registry.contains(['.', ':']) || registry == "localhost" => tag.to_owned(),
        Some(_) => format!("docker.io/{tag}"),
        None => format!("docker.io/library/{tag}"),
    }
}

fn text(value: &Value) -> Result<String> {
    serde_json::to_string(value).context("cannot write JSON")
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", sha256(bytes))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_spelt_out_for_containerd() {
        for (tag, expected) in [
            ("collector:1", "docker.io/library/collector:1"),
            ("me/collector:1", "docker.io/me/collector:1"),
            ("localhost/collector:1", "localhost/collector:1"),
            ("r.example:5000/a/b:1", "r.example:5000/a/b:1"),
        ] {
            assert_eq!(super::full_name(tag), expected);
        }
    }
}
