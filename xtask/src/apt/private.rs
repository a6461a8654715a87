//! Packages from the mirrors that this machine already uses, of other releases of Debian.
//!
//! Apt does the fetching and the verifying, with lists and state of its own below `target/vm`: the machine's
//! configuration stays as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::sources::{Source, read_sources};
use crate::processor::Processor;
use crate::{shell, workspace};

/// Apt with its own sources and state.
pub(crate) struct PrivateApt {
    options: Vec<String>,
}

/// A package as its suite's signed lists describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// The processor it is for, or `all`.
    architecture: String,
    /// The hash of its file.
    sha256: String,
    /// The packages it depends on, of alternatives the first.
    #[serde(skip)]
    pub(crate) depends: Vec<String>,
}

impl PrivateApt {
    /// An apt that knows these suites alone, for machines with this processor, with lists fetched just now. `name`
    /// distinguishes it from others.
    pub(crate) fn new(name: &str, suites: &[&str], processor: Processor) -> Result<Self> {
        let codename = codename()?;
        let known = read_sources()?;
        let stanzas: Vec<String> = suites
            .iter()
            .map(|suite| Ok(mirror_of(&known, &codename, suite)?.for_suite(suite)))
            .collect::<Result<_>>()?;
        let root = folder().join("apt").join(name);
        for below in ["state/lists/partial", "cache/archives/partial"] {
            workspace::make_folder(&root.join(below))?;
        }
        let write = |name: &str, content: String| {
            let path = root.join(name);
            std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path.display().to_string())
        };
        let sources = write("debian.sources", stanzas.join("\n"))?;
        // Nothing is installed as far as this apt knows.
        let status = write("status", String::new())?;
        let options = [
            format!("Dir::Etc::sourcelist={sources}"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State={}", root.join("state").display()),
            format!("Dir::State::status={status}"),
            format!("Dir::Cache={}", root.join("cache").display()),
            format!("APT::Architecture={}", processor.debian()),
            format!("APT::Architectures={}", processor.debian()),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // The lists of a release that has ended are not signed anew; the signature itself is still verified.
            "Acquire::Check-Valid-Until=false".to_owned(),
            // The project's folder may be closed to apt's own user.
            "APT::Sandbox::User=".to_owned() + if rustix::process::geteuid().is_root() { "root" } else { "" },
        ];
        let apt = Self { options: options.into() };
        shell::run(apt.command("apt-get").args(["-q", "update"]))?;
        Ok(apt)
    }

    /// What the lists say about the newest version of a package, or about the version after a `=`.
    pub(crate) fn describe(&self, package: &str) -> Result<Package> {
        let text = shell::output(self.command("apt-cache").args(["show", "--no-all-versions", package]))?;
        parse_description(&text).with_context(|| format!("apt-cache describes {package} in no known way"))
    }

    /// Sees to it that a package is in the cache: apt verifies what it downloads, and so do we once more.
    pub(crate) fn fetch(&self, package: &Package) -> Result<()> {
        if is_intact(package) {
            return Ok(());
        }
        let cache = cache();
        workspace::make_folder(&cache)?;
        let named = format!("{}={}", package.name, package.version);
        shell::run(self.command("apt-get").args(["-q", "download", &named]).current_dir(&cache))?;
        let file = cached(package).with_context(|| format!("apt-get downloaded no {named}"))?;
        ensure!(is_intact(package), "{} is not what Debian's lists describe", file.display());
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C");
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}

/// The name of the machine's own release of Debian.
pub(crate) fn codename() -> Result<String> {
    let release = std::fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(codename.context("/etc/os-release names no release")?.trim_matches('"').to_owned())
}

/// The place that has the suite: of the machine's own sources the one for its release, or for its security updates.
fn mirror_of<'a>(known: &'a [Source], codename: &str, suite: &str) -> Result<&'a Source> {
    let own = if suite.ends_with("-security") { format!("{codename}-security") } else { codename.to_owned() };
    let mirror = known.iter().find(|source| source.suites.contains(&own));
    mirror.with_context(|| format!("apt has no source for {own}, in whose place {suite} would be"))
}

/// Reads the first paragraph of what `apt-cache show` prints.
fn parse_description(text: &str) -> Option<Package> {
    let paragraph = text.split("\n\n").next()?;
    let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let depends = field("Depends").unwrap_or_default().split(',');
    let first = |dependency: &str| dependency.split(['|', '(']).next().map(|name| name.trim().to_owned());
    Some(Package {
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        architecture: field("Architecture")?.to_owned(),
        sha256: field("SHA256")?.to_owned(),
        depends: depends.filter_map(first).filter(|name| !name.is_empty()).collect(),
    })
}

/// Where what is fetched is kept.
fn folder() -> PathBuf {
    workspace::target().join("vm")
}

/// Where downloaded packages are kept.
fn cache() -> PathBuf {
    folder().join("cache")
}

/// The downloaded file of a package. Apt writes the colon of a version as `%3a`.
fn cached(package: &Package) -> Option<PathBuf> {
    let Package { name, version, architecture, .. } = package;
    let file = cache().join(format!("{name}_{}_{architecture}.deb", version.replace(':', "%3a")));
    file.is_file().then_some(file)
}

/// Whether the file of a package is here and has its hash; one that has not is removed.
fn is_intact(package: &Package) -> bool {
    let Some(file) = cached(package) else { return false };
    let intact = hash_of(&file).is_ok_and(|hash| hash == package.sha256);
    if !intact {
        eprintln!("note: {} is damaged, and fetched again", file.display());
        drop(std::fs::remove_file(&file));
    }
    intact
}

fn hash_of(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut hasher).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// The packages that something was found to consist of, kept beside what they were unpacked to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    /// Where they were looked for.
    origin: Vec<String>,
    /// The packages.
    packages: Vec<Package>,
}

/// Sees to it that packages are unpacked in a folder: once, as long as the downloaded ones have the hashes they had then
/// and come from the same origin.
pub(crate) fn unpacked(home: &Path, origin: &[&str], download: impl FnOnce() -> Result<Vec<Package>>) -> Result<()> {
    let record = beside(home, "json");
    let known = std::fs::read(&record).ok().and_then(|text| serde_json::from_slice::<Contents>(&text).ok());
    let current = |contents: &Contents| contents.origin == origin && contents.packages.iter().all(is_intact);
    if home.is_dir() && known.is_some_and(|contents| current(&contents)) {
        return Ok(());
    }
    // Until it is whole again there is no record of it.
    drop(std::fs::remove_file(&record));
    let origin = origin.iter().map(|&suite| suite.to_owned()).collect();
    let contents = Contents { origin, packages: download()? };
    unpack(&contents, home)?;
    let text = serde_json::to_vec_pretty(&contents).context("cannot describe packages")?;
    std::fs::write(&record, text).with_context(|| format!("cannot write {}", record.display()))
}

/// Fetches a package for a processor, verified, and unpacks it without installing it: nothing of it is started. The folder
/// it is in. `named` is its name, perhaps with a `=` and a version.
pub(crate) fn fetch_package(named: &str, suites: &[&str], processor: Processor) -> Result<PathBuf> {
    let name = named.split('=').next().unwrap_or_default();
    let folder_name = match processor {
        Processor::Amd64 => name.to_owned(),
        Processor::Arm64 => format!("{name}-{}", processor.debian()),
    };
    let home = folder().join("packages").join(&folder_name);
    let origin: Vec<&str> = suites.iter().copied().chain([named]).collect();
    let fetched = unpacked(&home, &origin, || {
        let apt = PrivateApt::new(&folder_name, suites, processor)?;
        let package = apt.describe(named)?;
        apt.fetch(&package)?;
        Ok(vec![package])
    });
    fetched.with_context(|| format!("cannot get Debian's package {named} for {}", processor.debian()))?;
    Ok(home)
}

/// The path with an ending of its own. A kernel's name has a dot in it and so something like an ending already.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Unpacks the downloaded packages into one folder, in place of what is there.
fn unpack(contents: &Contents, home: &Path) -> Result<()> {
    let partial = beside(home, "partial");
    for old in [&partial, &home.to_path_buf()] {
        if old.exists() {
            std::fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    workspace::make_folder(&partial)?;
    for package in &contents.packages {
        let archive = cached(package).with_context(|| format!("{} has vanished", package.name))?;
        shell::run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&partial))?;
    }
    std::fs::rename(&partial, home).with_context(|| format!("cannot make {}", home.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read() {
        let text = "Package: linux-image-7.3.4+deb13-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n\
                    Architecture: amd64\nDepends: dracut | initramfs-tools (>= 0.1), linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)\n\
                    SHA256: 4545\n\nPackage: other\n";
        let package = parse_description(text).unwrap();
        assert_eq!((package.version.as_str(), package.sha256.as_str()), ("7.3.4-1~bpo13+1", "4545"));
        assert_eq!(package.depends, ["dracut", "linux-base-7.3.4+deb13-cloud-amd64"]);
        assert_eq!(parse_description("Package: a\n"), None);
    }

    #[test]
    fn what_is_beside_a_kernel_belongs_to_it_alone() {
        assert_eq!(beside(Path::new("k/6.12"), "json"), Path::new("k/6.12.json"));
    }

    #[test]
    fn security_updates_come_from_their_own_place() {
        let source = |uri: &str, suite: &str| {
            let text = format!("Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main");
            super::super::sources::parse_stanza(&text).unwrap()
        };
        let known = [source("http://a/debian", "bookworm"), source("http://b/security", "bookworm-security")];
        let place = |suite| mirror_of(&known, "bookworm", suite).unwrap().for_suite(suite);
        assert!(place("trixie-backports").contains("http://a/debian"));
        assert!(place("bullseye-security").contains("http://b/security\nSuites: bullseye-security\n"));
        assert!(mirror_of(&known[..1], "bookworm", "trixie-security").is_err());
    }
}
