//! Debian's kernels: which there are, where they come from, and what is in their packages.

mod apt;
mod sources;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use self::apt::{Package, PrivateApt};
use super::{bytes_of, folder, make_folder};
use crate::shell;

/// A kernel of Debian's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// What we call it: on the command line, in logs and in tables. It names no patch version, which changes.
    pub(crate) name: &'static str,
    /// The suites it is looked for in. The newest cloud kernel of them all is taken.
    suites: &'static [&'static str],
}

/// The name of a kernel that is not Debian's.
pub(super) const OWN: &str = "own";

/// The kernels of the matrix, oldest first.
pub(crate) const RELEASES: [Release; 5] = [
    // Without security updates, the last of which gave `mark_victim` the task: this one reports the pid alone.
    Release { name: "5.10-pid", suites: &["bullseye"] },
    Release { name: "5.10", suites: &["bullseye", "bullseye-security"] },
    Release { name: "6.1", suites: &["bookworm", "bookworm-security"] },
    Release { name: "6.12", suites: &["trixie", "trixie-security"] },
    Release { name: "7", suites: &["trixie-backports"] },
];

/// Drivers of the disk, in the order in which they depend on each other, and of pairs of virtual network interfaces.
/// Those that a kernel lacks are built into it.
const MODULES: [&str; 7] =
    ["virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "veth"];

/// A kernel to boot.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Distinguishes it from other kernels: a release's name, or [`OWN`].
    pub(super) name: String,
    /// The image that qemu loads.
    pub(super) image: PathBuf,
    /// The unpacked packages with the drivers; `None` for an image alone.
    packages: Option<PathBuf>,
}

impl Kernel {
    /// A kernel image without drivers.
    pub(super) fn bare(image: PathBuf) -> Result<Self> {
        ensure!(image.is_file(), "there is no kernel {}", image.display());
        Ok(Self { name: OWN.to_owned(), image, packages: None })
    }

    /// The drivers that the suite needs, and these, ready to be loaded one after the other.
    pub(super) fn modules(&self, more: &[&str]) -> Result<Vec<Vec<u8>>> {
        let Some(packages) = &self.packages else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        find_files(packages, &mut files)?;
        let mut modules = Vec::new();
        for name in MODULES.iter().chain(more) {
            let wanted = |file: &&PathBuf| {
                let file = file.file_name().unwrap_or_default().to_string_lossy();
                file.strip_prefix(name).is_some_and(|rest| rest == ".ko" || rest.starts_with(".ko."))
            };
            if let Some(file) = files.iter().find(wanted) {
                modules.push(read_module(file)?);
            }
        }
        Ok(modules)
    }
}

/// The packages that something was found to consist of, kept beside what they were unpacked to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    /// The suites they were looked for in.
    suites: Vec<String>,
    /// The packages.
    packages: Vec<Package>,
}

/// Fetches and unpacks a kernel: once, as long as the downloaded packages have the hashes they had then.
pub(super) fn fetch(release: Release) -> Result<Kernel> {
    let home = folder().join("kernels").join(release.name);
    let fetched = unpacked(&home, release.suites, || download(release));
    fetched.with_context(|| format!("cannot get Debian's kernel {}", release.name))?;
    let mut files = Vec::new();
    find_files(&home, &mut files)?;
    let is_image = |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"));
    let image = files.into_iter().find(is_image);
    let image = image.with_context(|| format!("{} holds no kernel image", home.display()))?;
    Ok(Kernel { name: release.name.to_owned(), image, packages: Some(home) })
}

/// Fetches a package of a suite, verified as kernels are, and unpacks it without installing it: nothing of it is
/// started. The folder it is in.
pub(crate) fn fetch_package(name: &str, suite: &str) -> Result<PathBuf> {
    let home = folder().join("packages").join(name);
    let fetched = unpacked(&home, &[suite], || {
        let apt = PrivateApt::new(name, &[suite])?;
        let package = apt.describe(name)?;
        if !apt::is_intact(&package) {
            apt.download(&package)?;
        }
        Ok(vec![package])
    });
    fetched.with_context(|| format!("cannot get Debian's package {name} of {suite}"))?;
    Ok(home)
}

/// Sees to it that packages are unpacked in a folder.
fn unpacked(home: &Path, suites: &[&str], download: impl FnOnce() -> Result<Vec<Package>>) -> Result<()> {
    let record = beside(home, "json");
    let known = std::fs::read(&record).ok().and_then(|text| serde_json::from_slice::<Contents>(&text).ok());
    let current = |contents: &Contents| contents.suites == suites && contents.packages.iter().all(apt::is_intact);
    if home.is_dir() && known.is_some_and(|contents| current(&contents)) {
        return Ok(());
    }
    // Until it is whole again there is no record of it.
    drop(std::fs::remove_file(&record));
    let suites = suites.iter().map(|&suite| suite.to_owned()).collect();
    let contents = Contents { suites, packages: download()? };
    unpack(&contents, home)?;
    let text = serde_json::to_vec_pretty(&contents).context("cannot describe packages")?;
    std::fs::write(&record, text).with_context(|| format!("cannot write {}", record.display()))
}

/// The path with an ending of its own. A kernel's name has a dot in it and so something like an ending already.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Downloads the newest cloud kernel of a release's suites.
fn download(release: Release) -> Result<Vec<Package>> {
    let apt = PrivateApt::new(release.name, release.suites)?;
    let newest = apt.describe("linux-image-cloud-amd64")?;
    let image = newest.depends.iter().find(|name| name.starts_with("linux-image-"));
    let image = image.with_context(|| format!("{} depends on no kernel", newest.name))?;
    // Since 6.17 or so the image and its modules are packages of their own, named after the same version.
    let version = image.trim_start_matches("linux-image-");
    let mut wanted = vec![image.clone()];
    let mut packages: Vec<Package> = Vec::new();
    while let Some(name) = wanted.pop() {
        if packages.iter().any(|package| package.name == name) {
            continue;
        }
        let package = apt.describe(&name)?;
        if !apt::is_intact(&package) {
            apt.download(&package)?;
        }
        wanted.extend(package.depends.iter().filter(|name| is_part(name, version)).cloned());
        packages.push(package);
    }
    Ok(packages)
}

/// Whether a package belongs to the kernel of this version.
fn is_part(package: &str, version: &str) -> bool {
    package.strip_suffix(version).is_some_and(|kind| kind.starts_with("linux-") && kind.ends_with('-'))
}

/// Unpacks the downloaded packages into one folder, in place of what is there.
fn unpack(contents: &Contents, home: &Path) -> Result<()> {
    let partial = beside(home, "partial");
    for old in [&partial, &home.to_path_buf()] {
        if old.exists() {
            std::fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    make_folder(&partial)?;
    for package in &contents.packages {
        let archive = apt::cached(package).with_context(|| format!("{} has vanished", package.name))?;
        shell::run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&partial))?;
    }
    std::fs::rename(&partial, home).with_context(|| format!("cannot make {}", home.display()))
}

pub(super) fn find_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.with_context(|| format!("cannot list {}", folder.display()))?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.is_symlink() { find_files(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// A driver as the kernel loads it.
fn read_module(file: &Path) -> Result<Vec<u8>> {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("xz") => bytes_of(Command::new("xz").args(["--decompress", "--stdout"]).arg(file)),
        _ => std::fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_kernel_carry_its_version() {
        let version = "7.3.4+deb13-cloud-amd64";
        assert!(is_part("linux-binary-7.3.4+deb13-cloud-amd64", version));
        assert!(!is_part("linux-base", version));
        assert!(!is_part("linux-base-cloud-amd64", version));
    }

    #[test]
    fn what_is_beside_a_kernel_belongs_to_it_alone() {
        assert_eq!(beside(Path::new("k/6.12"), "json"), Path::new("k/6.12.json"));
    }

    #[test]
    fn names_of_releases_are_unique() {
        for (number, release) in RELEASES.iter().enumerate() {
            assert!(RELEASES[..number].iter().all(|other| other.name != release.name), "{}", release.name);
        }
    }
}
