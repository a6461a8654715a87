//! Debian's kernels: which there are, where they come from, and what is in their packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{bytes_of, folder};
use crate::apt::private::{Package, PrivateApt, unpacked};
use crate::processor::Processor;
use crate::workspace::find_files;

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

/// Fetches and unpacks a kernel: once, as long as the downloaded packages have the hashes they had then.
pub(super) fn fetch(release: Release, processor: Processor) -> Result<Kernel> {
    let name = match processor {
        Processor::Amd64 => release.name.to_owned(),
        Processor::Arm64 => format!("{}-{}", release.name, processor.debian()),
    };
    let home = folder().join("kernels").join(&name);
    let fetched = unpacked(&home, release.suites, || download(release, processor, &name));
    fetched.with_context(|| format!("cannot get Debian's kernel {name}"))?;
    let mut files = Vec::new();
    find_files(&home, &mut files)?;
    let is_image = |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"));
    let image = files.into_iter().find(is_image);
    let image = image.with_context(|| format!("{} holds no kernel image", home.display()))?;
    Ok(Kernel { name: release.name.to_owned(), image, packages: Some(home) })
}

/// Downloads the newest cloud kernel of a release's suites.
fn download(release: Release, processor: Processor, name: &str) -> Result<Vec<Package>> {
    let apt = PrivateApt::new(name, release.suites, processor)?;
    let newest = apt.describe(&format!("linux-image-cloud-{}", processor.debian()))?;
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
        apt.fetch(&package)?;
        wanted.extend(package.depends.iter().filter(|name| is_part(name, version)).cloned());
        packages.push(package);
    }
    Ok(packages)
}

/// Whether a package belongs to the kernel of this version.
fn is_part(package: &str, version: &str) -> bool {
    package.strip_suffix(version).is_some_and(|kind| kind.starts_with("linux-") && kind.ends_with('-'))
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
    fn names_of_releases_are_unique() {
        for (number, release) in RELEASES.iter().enumerate() {
            assert!(RELEASES[..number].iter().all(|other| other.name != release.name), "{}", release.name);
        }
    }
}
