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
use crate::shell;
use crate::vm::{folder, make_folder};

/// Apt with its own sources and state.
pub(super) struct PrivateApt {
    options: Vec<String>,
}

/// A package as its suite's signed lists describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
    /// The hash of its file.
    pub(super) sha256: String,
    /// The packages it depends on, of alternatives the first.
    #[serde(skip)]
    pub(super) depends: Vec<String>,
}

impl PrivateApt {
    /// An apt that knows these suites alone, with lists fetched just now. `name` distinguishes it from others.
    pub(super) fn new(name: &str, suites: &[&str]) -> Result<Self> {
        let release = std::fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
        let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let codename = codename.context("/etc/os-release names no release")?.trim_matches('"');
        let known = read_sources()?;
        let stanzas: Vec<String> = suites
            .iter()
            .map(|suite| Ok(mirror_of(&known, codename, suite)?.for_suite(suite)))
            .collect::<Result<_>>()?;
        let root = folder().join("apt").join(name);
        for below in ["state/lists/partial", "cache/archives/partial"] {
            make_folder(&root.join(below))?;
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

    /// What the lists say about the newest version of a package.
    pub(super) fn describe(&self, package: &str) -> Result<Package> {
        let text = shell::output(self.command("apt-cache").args(["show", "--no-all-versions", package]))?;
        parse_description(&text).with_context(|| format!("apt-cache describes {package} in no known way"))
    }

    /// Downloads a package into the cache, which apt verifies, and returns its file, which we verify once more.
    pub(super) fn download(&self, package: &Package) -> Result<PathBuf> {
        let cache = cache();
        make_folder(&cache)?;
        let named = format!("{}={}", package.name, package.version);
        shell::run(self.command("apt-get").args(["-q", "download", &named]).current_dir(&cache))?;
        let file = cached(package).with_context(|| format!("apt-get downloaded no {named}"))?;
        ensure!(is_intact(package), "{} is not what Debian's lists describe", file.display());
        Ok(file)
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
        sha256: field("SHA256")?.to_owned(),
        depends: depends.filter_map(first).filter(|name| !name.is_empty()).collect(),
    })
}

/// Where downloaded packages are kept.
fn cache() -> PathBuf {
    folder().join("cache")
}

/// The downloaded file of a package. Apt writes the colon of a version as `%3a`.
pub(super) fn cached(package: &Package) -> Option<PathBuf> {
    let start = format!("{}_{}_", package.name, package.version.replace(':', "%3a"));
    let entries = std::fs::read_dir(cache()).ok()?;
    entries.flatten().find(|entry| entry.file_name().to_string_lossy().starts_with(&start)).map(|entry| entry.path())
}

/// Whether the file of a package is here and has its hash; one that has not is removed.
pub(super) fn is_intact(package: &Package) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read() {
        let text = "Package: linux-image-7.3.4+deb13-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n\
                    Depends: dracut | initramfs-tools (>= 0.1), linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)\n\
                    SHA256: 4545\n\nPackage: other\n";
        let package = parse_description(text).unwrap();
        assert_eq!((package.version.as_str(), package.sha256.as_str()), ("7.3.4-1~bpo13+1", "4545"));
        assert_eq!(package.depends, ["dracut", "linux-base-7.3.4+deb13-cloud-amd64"]);
        assert_eq!(parse_description("Package: a\n"), None);
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
