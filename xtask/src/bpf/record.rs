//! The record beside the objects: what they were made from and by what.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

/// A SHA-256 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hash(String);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The hash over everything that the object is made from.
pub(super) type SourceHash = Hash;

/// The hash of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> Hash {
    finish(Sha256::new_with_prefix(bytes))
}

fn finish(hasher: Sha256) -> Hash {
    Hash(format!("{:x}", hasher.finalize()))
}

/// The programs that decide about the object's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// First line of `rustc -vV`.
    pub(super) rustc: String,
    /// The LLVM that the compiler and the linker use.
    pub(super) llvm: String,
    /// Version of bpf-linker.
    pub(super) linker: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, LLVM {}, bpf-linker {}", self.rustc, self.llvm, self.linker)
    }
}

/// The keys of the objects' hashes.
const OBJECT_KEYS: [&str; 5] =
    ["object-sha256", "counters-sha256", "runqueue-sha256", "networkcgroup-sha256", "blocklatency-sha256"];

/// The file `collector.bpf.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// What built the object.
    pub(super) toolchain: Identity,
    /// Hash of each object: of the programs that are attached, of those that read counters, of those of single kinds.
    pub(super) objects: [Hash; OBJECT_KEYS.len()],
    /// Hash of its source.
    pub(super) source: SourceHash,
}

impl Record {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no record of an eBPF object", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let get = |key: &str| {
            let value = table.get(key).and_then(toml::Value::as_str).with_context(|| format!("`{key}` is missing"))?;
            Ok::<_, anyhow::Error>(value.to_owned())
        };
        let toolchain = Identity { rustc: get("rustc")?, llvm: get("llvm")?, linker: get("bpf-linker")? };
        let hash = |key: &str| get(key).map(Hash);
        let [object, counters, runqueue, networkcgroup, blocklatency] = OBJECT_KEYS;
        let objects = [hash(object)?, hash(counters)?, hash(runqueue)?, hash(networkcgroup)?, hash(blocklatency)?];
        Ok(Self { toolchain, objects, source: hash("source-sha256")? })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Written by `cargo xtask bpf`: what the objects were built from, and by what.")?;
        writeln!(f, "rustc = \"{}\"", self.toolchain.rustc)?;
        writeln!(f, "llvm = \"{}\"", self.toolchain.llvm)?;
        writeln!(f, "bpf-linker = \"{}\"", self.toolchain.linker)?;
        for (key, hash) in OBJECT_KEYS.iter().zip(&self.objects) {
            writeln!(f, "{key} = \"{hash}\"")?;
        }
        writeln!(f, "source-sha256 = \"{}\"", self.source)
    }
}

/// The hash over the package's sources and manifest, the build profile, and the exact versions of its dependencies.
pub(super) fn source_hash(root: &Path) -> Result<SourceHash> {
    let package = root.join("collector-ebpf");
    let mut hasher = Sha256::new();
    let mut add = |name: &str, content: &[u8]| {
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update((content.len() as u64).to_le_bytes());
        hasher.update(content);
    };
    let mut files = vec![package.join("Cargo.toml")];
    collect_files(&package.join("src"), &mut files)?;
    files.sort();
    for file in &files {
        let content = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        add(&file.strip_prefix(root).unwrap_or(file).to_string_lossy(), &content);
    }
    let manifest: toml::Table = read_toml(&root.join("Cargo.toml"))?;
    for profile in ["release", "bpf"] {
        let settings = manifest.get("profile").and_then(|profiles| profiles.get(profile));
        let settings = settings.with_context(|| format!("the workspace has no profile `{profile}`"))?;
        add(&format!("profile.{profile}"), settings_for(settings, "collector-ebpf").to_string().as_bytes());
    }
    for line in dependency_closure(&read_toml(&root.join("Cargo.lock"))?, "collector-ebpf")? {
        add("dependency", line.as_bytes());
    }
    Ok(finish(hasher))
}

/// The settings of a profile without what it says of packages other than this one.
fn settings_for(profile: &toml::Value, package: &str) -> toml::Value {
    let mut settings = profile.clone();
    if let Some(table) = settings.as_table_mut() {
        let own = table.remove("package").and_then(|mut packages| packages.as_table_mut()?.remove(package));
        if let Some(own) = own {
            table.insert("package".to_owned(), own);
        }
    }
    settings
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_dir() { collect_files(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

fn read_toml(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("cannot parse {}", path.display()))
}

/// Everything a package of `Cargo.lock` depends on, as `name version checksum`, in order.
fn dependency_closure(lock: &toml::Table, package: &str) -> Result<BTreeSet<String>> {
    let field = |entry: &toml::Value, key: &str| entry.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let packages = lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock lists no packages")?;
    let mut closure = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut todo = vec![package.to_owned()];
    while let Some(wanted) = todo.pop() {
        if !seen.insert(wanted.clone()) {
            continue;
        }
        // An entry reads `name`, or `name version` where several versions exist.
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let mut matches = packages.iter().filter(|entry| {
            field(entry, "name").as_deref() == Some(name)
                && version.is_none_or(|version| field(entry, "version").as_deref() == Some(version))
        });
        let entry = matches.next().with_context(|| format!("Cargo.lock lacks `{wanted}`"))?;
        ensure!(matches.next().is_none(), "Cargo.lock has several packages `{wanted}`");
        if wanted != package {
            let checksum = field(entry, "checksum").unwrap_or_default();
            closure.insert(format!("{name} {} {checksum}", field(entry, "version").unwrap_or_default()));
        }
        let dependencies = entry.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
        todo.extend(dependencies.filter_map(toml::Value::as_str).map(str::to_owned));
    }
    Ok(closure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_written() {
        let record = Record {
            toolchain: Identity {
                rustc: "rustc 1.96.0 (abc 2026-05-25)".to_owned(),
                llvm: "22.1.8".to_owned(),
                linker: "0.10.2".to_owned(),
            },
            objects: [b"object".as_slice(), b"counters", b"runqueue", b"networkcgroup", b"blocklatency"].map(sha256),
            source: sha256(b""),
        };
        assert_eq!(Record::parse(&record.to_string()).unwrap(), record);
        assert!(record.to_string().contains("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    }

    #[test]
    fn a_record_without_a_hash_is_refused_by_name() {
        let error = Record::parse("rustc = \"r\"\nllvm = \"22\"\nbpf-linker = \"1\"\n").unwrap_err();
        assert!(error.to_string().contains("object-sha256"));
    }

    #[test]
    fn a_profile_counts_without_what_it_says_of_other_packages() {
        let parse = |text: &str| toml::Value::Table(text.parse().unwrap());
        let plain = parse("lto = true");
        let others = parse("lto = true\n[package.tests]\nopt-level = 1");
        let own = parse("lto = true\n[package.programs]\nopt-level = 1");
        assert_eq!(settings_for(&others, "programs"), plain);
        assert_ne!(settings_for(&own, "programs"), plain);
    }

    #[test]
    fn the_closure_follows_versions_and_leaves_the_rest_out() {
        let lock: toml::Table = r#"
            [[package]]
            name = "collector-ebpf"
            version = "0.1.0"
            dependencies = ["a"]
            [[package]]
            name = "a"
            version = "1.0.0"
            checksum = "aa"
            dependencies = ["b 2.0.0", "a"]
            [[package]]
            name = "b"
            version = "1.0.0"
            [[package]]
            name = "b"
            version = "2.0.0"
            checksum = "b2"
            [[package]]
            name = "unrelated"
            version = "3.0.0"
        "#
        .parse()
        .unwrap();
        let closure: Vec<_> = dependency_closure(&lock, "collector-ebpf").unwrap().into_iter().collect();
        assert_eq!(closure, ["a 1.0.0 aa", "b 2.0.0 b2"]);
    }
}
