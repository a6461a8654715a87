//! The bill of materials, as `CycloneDX` 1.5: exactly what is in the binary.
//!
//! That is the crates that cargo compiles into it for its platform (no build scripts, no macros, no tests), those of the
//! eBPF object that it carries, and what is linked besides: Rust's standard library and the C library.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::About;
use crate::processor::Processor;
use crate::{apt, shell, workspace};

/// What the bill is made from.
#[derive(Debug)]
pub(super) struct Materials {
    /// `cargo tree` of the collector, then of the programs.
    trees: [String; 2],
    /// `Cargo.lock`.
    lock: String,
    /// Version of the compiler, and so of the standard library.
    rust: String,
    /// Version of the C library's package, where there are packages.
    libc: Option<String>,
}

impl Materials {
    /// Asks cargo, the compiler and the package manager.
    pub(super) fn gather(processor: Processor) -> Result<Self> {
        let triple = processor.triple();
        let tree = |arguments: &[&str]| {
            let mut command = workspace::cargo();
            command.args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "depth"]);
            shell::output(command.args(["--format", "|{p}|{l}"]).args(arguments))
        };
        let rustc = shell::output(Command::new("rustc").arg("-vV").current_dir(workspace::root()))?;
        let rust = rustc.lines().find_map(|line| line.strip_prefix("release: "));
        let lock = workspace::root().join("Cargo.lock");
        Ok(Self {
            trees: [
                tree(&["--package", "collector", "--target", &triple])?,
                tree(&["--package", "collector-ebpf", "--features", "programs", "--target", "bpfel-unknown-none"])?,
            ],
            lock: std::fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?,
            rust: rust.context("`rustc -vV` names no release")?.to_owned(),
            libc: apt::version("libc6-dev"),
        })
    }
}

/// A crate by name and version.
type Key = (String, String);

/// What is known of a crate.
#[derive(Debug, Default)]
struct Crate {
    /// An SPDX expression.
    licence: String,
    /// What it is compiled with.
    dependencies: BTreeSet<Key>,
}

/// The bill as JSON text.
pub(super) fn render(materials: &Materials, about: &About, binary_sha256: &str) -> Result<String> {
    let mut crates = BTreeMap::new();
    for tree in &materials.trees {
        read_tree(tree, &mut crates)?;
    }
    let checksums = checksums(&materials.lock)?;
    let collector = ("collector".to_owned(), about.version.clone());
    let licence = crates.remove(&collector).context("cargo's tree is not the collector's")?;
    let programs = ("collector-ebpf".to_owned(), about.version.clone());
    let components = crates.iter().map(|(key, info)| component(key, &info.licence, checksums.get(key)));
    let mut components: Vec<Value> = components.collect();
    components.push(linked("rust-std", &materials.rust, "MIT OR Apache-2.0"));
    if let Some(libc) = &materials.libc {
        components.push(linked("glibc", libc, "LGPL-2.1-or-later"));
    }
    let mut dependencies: Vec<Value> = crates.iter().map(|(key, info)| depends(key, &info.dependencies)).collect();
    let mut direct = licence.dependencies.clone();
    direct.insert(programs);
    dependencies.insert(0, depends(&collector, &direct));
    let mut described = component(&collector, &licence.licence, None);
    described["type"] = "application".into();
    described["hashes"] = json!([{ "alg": "SHA-256", "content": binary_sha256 }]);
    let bill = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "timestamp": about.time.to_string(), "component": described },
        "components": components,
        "dependencies": dependencies,
    });
    let mut text = serde_json::to_string_pretty(&bill).context("cannot write JSON")?;
    text.push('\n');
    Ok(text)
}

/// Reads lines such as `2|axum-core v0.5.6|MIT`; a crate that comes again, marked `(*)`, has had its own lines before.
fn read_tree(tree: &str, crates: &mut BTreeMap<Key, Crate>) -> Result<()> {
    let mut above: Vec<Key> = Vec::new();
    for line in tree.lines() {
        let mut fields = line.split('|');
        let (Some(depth), Some(package), Some(licence)) = (fields.next(), fields.next(), fields.next()) else {
            anyhow::bail!("cargo's tree has a strange line: {line}");
        };
        let depth: usize = depth.parse().with_context(|| format!("cargo's tree has a strange line: {line}"))?;
        let mut words = package.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let version = words.next().and_then(|version| version.strip_prefix('v'));
        let version = version.with_context(|| format!("cargo's tree names no version: {line}"))?.to_owned();
        let key = (name, version);
        above.truncate(depth);
        if let Some(parent) = above.last() {
            crates.entry(parent.clone()).or_default().dependencies.insert(key.clone());
        }
        // The old spelling of a choice of licences is no SPDX expression.
        let licence = licence.trim_end_matches("(*)").trim().replace('/', " OR ");
        crates.entry(key.clone()).or_default().licence = licence;
        above.push(key);
    }
    Ok(())
}

fn checksums(lock: &str) -> Result<BTreeMap<Key, String>> {
    let lock: toml::Table = lock.parse().context("Cargo.lock is not TOML")?;
    let packages = lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock has no packages")?;
    let entry = |package: &toml::Value| {
        let text = |key: &str| Some(package.get(key)?.as_str()?.to_owned());
        Some(((text("name")?, text("version")?), text("checksum")?))
    };
    Ok(packages.iter().filter_map(entry).collect())
}

fn reference((name, version): &Key) -> String {
    format!("pkg:cargo/{name}@{version}")
}

fn component(key: &Key, licence: &str, checksum: Option<&String>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(key),
        "name": key.0,
        "version": key.1,
        "licenses": [{ "expression": licence }],
        "purl": reference(key),
    });
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

/// A library that is no crate of the lock file.
fn linked(name: &str, version: &str, licence: &str) -> Value {
    json!({
        "type": "library",
        "bom-ref": format!("{name}@{version}"),
        "name": name,
        "version": version,
        "licenses": [{ "expression": licence }],
    })
}

fn depends(key: &Key, on: &BTreeSet<Key>) -> Value {
    json!({ "ref": reference(key), "dependsOn": on.iter().map(reference).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_has_every_crate_once_with_its_checksum() {
        let materials = Materials {
            trees: [
                "0|collector v1.0.0 (/here)|MIT\n1|a v2.0.0|MIT/Apache-2.0\n2|b v3.0.0|ISC\n1|c v1.0.0|MIT\n\
                 2|a v2.0.0|MIT/Apache-2.0 (*)\n"
                    .to_owned(),
                "0|collector-ebpf v1.0.0 (/here)|MIT\n1|b v3.0.1|ISC\n".to_owned(),
            ],
            lock: "[[package]]\nname = \"b\"\nversion = \"3.0.0\"\nchecksum = \"c0ffee\"\n".to_owned(),
            rust: "1.95.0".to_owned(),
            libc: None,
        };
        let about = About {
            processor: Processor::Amd64,
            version: "1.0.0".to_owned(),
            revision: None,
            time: jiff::Timestamp::UNIX_EPOCH,
            tag: "collector:1".to_owned(),
        };
        let text = render(&materials, &about, "ab").unwrap();
        assert!(!text.contains("/here"), "{text}");
        let bill: Value = serde_json::from_str(&text).unwrap();
        let names: Vec<String> =
            bill["components"].as_array().unwrap().iter().map(|c| c["bom-ref"].to_string()).collect();
        let expected = ["a@2.0.0", "b@3.0.0", "b@3.0.1", "c@1.0.0", "collector-ebpf@1.0.0"];
        let mut expected: Vec<String> = expected.iter().map(|name| format!("\"pkg:cargo/{name}\"")).collect();
        expected.push("\"rust-std@1.95.0\"".to_owned());
        assert_eq!(names, expected);
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bill["components"][1]["hashes"][0]["content"], "c0ffee");
        assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], "ab");
        let edges = json!(["pkg:cargo/a@2.0.0", "pkg:cargo/c@1.0.0", "pkg:cargo/collector-ebpf@1.0.0"]);
        assert_eq!(bill["dependencies"][0]["dependsOn"], edges);
        assert_eq!(bill["dependencies"][4]["dependsOn"], json!(["pkg:cargo/a@2.0.0"]));
    }
}
