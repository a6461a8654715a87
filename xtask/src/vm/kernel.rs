//! Debian's kernels, fetched from the mirror that this machine already uses.
//!
//! Apt does the fetching and the verifying, with lists and state of its own below `target/vm`: the machine's
//! configuration stays as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{bytes_of, folder, make_folder};
use crate::shell;

/// The kernels that can be named.
pub(crate) const VERSIONS: [&str; 3] = ["5.10", "6.1", "6.12"];

/// The release of Debian whose kernel has the version.
const SUITES: [(&str, &str); 3] = [("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie")];

/// Drivers of the disk, in the order in which they depend on each other, and of pairs of virtual network interfaces.
/// Those that a kernel lacks are built into it.
const MODULES: [&str; 7] =
    ["virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "veth"];

/// A kernel to boot.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Distinguishes its log from those of other kernels.
    pub(super) name: String,
    /// The image that qemu loads.
    pub(super) image: PathBuf,
    /// The unpacked package with the drivers; `None` for an image alone.
    package: Option<PathBuf>,
}

impl Kernel {
    /// A kernel image without drivers.
    pub(super) fn bare(image: PathBuf) -> Result<Self> {
        ensure!(image.is_file(), "there is no kernel {}", image.display());
        Ok(Self { name: "own".to_owned(), image, package: None })
    }

    /// The drivers that the suite needs, ready to be loaded one after the other.
    pub(super) fn modules(&self) -> Result<Vec<Vec<u8>>> {
        let Some(package) = &self.package else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        find_files(package, &mut files)?;
        let mut modules = Vec::new();
        for name in MODULES {
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

/// Fetches and unpacks Debian's kernel of this version, once.
pub(super) fn fetch(version: &str) -> Result<Kernel> {
    let (_, suite) = SUITES.iter().find(|(name, _)| *name == version).context("Debian has no such kernel")?;
    let package = folder().join("kernels").join(version);
    if !package.is_dir() {
        let archive = download(suite).with_context(|| format!("cannot get Debian's kernel {version}"))?;
        let partial = package.with_extension("partial");
        make_folder(&partial)?;
        shell::run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&partial))?;
        std::fs::rename(&partial, &package).with_context(|| format!("cannot make {}", package.display()))?;
    }
    let mut files = Vec::new();
    find_files(&package, &mut files)?;
    let is_image = |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"));
    let image = files.into_iter().find(is_image);
    let image = image.with_context(|| format!("{} holds no kernel image", package.display()))?;
    Ok(Kernel { name: version.to_owned(), image, package: Some(package) })
}

/// Downloads the newest cloud kernel of a release of Debian and returns the package.
fn download(suite: &str) -> Result<PathBuf> {
    let apt = PrivateApt::new(suite)?;
    shell::run(apt.command("apt-get").args(["-q", "update"]))?;
    let description = shell::output(apt.command("apt-cache").args(["show", "linux-image-cloud-amd64"]))?;
    let package = newest_kernel(&description).with_context(|| format!("{suite} has no cloud kernel"))?;
    let cache = folder().join("cache");
    make_folder(&cache)?;
    shell::run(apt.command("apt-get").args(["-q", "download", &package]).current_dir(&cache))?;
    let mut files = Vec::new();
    find_files(&cache, &mut files)?;
    let named = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(&format!("{package}_"))
    };
    files.into_iter().filter(named).max().with_context(|| format!("apt-get downloaded no {package}"))
}

/// The package that the metapackage stands for, in what `apt-cache show` prints.
fn newest_kernel(description: &str) -> Option<String> {
    let depends = description.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let package = depends.split([',', '|']).map(str::trim).find(|name| name.starts_with("linux-image-"))?;
    Some(package.split([' ', '(']).next()?.to_owned())
}

/// Apt with its own sources and state.
struct PrivateApt {
    options: Vec<String>,
}

impl PrivateApt {
    fn new(suite: &str) -> Result<Self> {
        let release = std::fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
        let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let codename = codename.context("/etc/os-release names no release")?.trim_matches('"');
        let mirror = read_sources()?.into_iter().find(|source| source.suites.iter().any(|suite| suite == codename));
        let mirror = mirror.with_context(|| format!("apt has no source for {codename}"))?;
        let root = folder().join("apt").join(suite);
        for below in ["state/lists/partial", "cache/archives/partial"] {
            make_folder(&root.join(below))?;
        }
        let write = |name: &str, content: String| {
            let path = root.join(name);
            std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path.display().to_string())
        };
        let sources = write("debian.sources", mirror.for_suite(suite))?;
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
            // The project's folder may be closed to apt's own user.
            "APT::Sandbox::User=".to_owned() + if rustix::process::geteuid().is_root() { "root" } else { "" },
        ];
        Ok(Self { options: options.into() })
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

/// A place that the machine's apt gets packages from.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    /// The keys that its lists are signed with, as the file says it: a path, or the key itself over several lines.
    signed_by: Option<String>,
}

impl Source {
    /// The same place for another suite, in apt's format for `.sources` files.
    fn for_suite(&self, suite: &str) -> String {
        let key = self.signed_by.as_ref().map(|key| format!("Signed-By: {key}\n")).unwrap_or_default();
        format!("Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n{key}", self.uri)
    }
}

/// All sources of the machine.
fn read_sources() -> Result<Vec<Source>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = Path::new("/etc/apt/sources.list.d");
    if parts.is_dir() {
        find_files(parts, &mut files)?;
    }
    let mut sources = Vec::new();
    for file in files {
        // The first may be absent.
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(parse_line)),
            Some("sources") => sources.extend(text.split("\n\n").filter_map(parse_stanza)),
            _ => {}
        }
    }
    Ok(sources)
}

/// Reads `deb [signed-by=/key] uri suite component...`.
fn parse_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=")).map(str::to_owned);
    let mut words = rest.split_whitespace();
    Some(Source { uri: words.next()?.to_owned(), suites: vec![words.next()?.to_owned()], signed_by })
}

/// Reads one paragraph of a `.sources` file.
fn parse_stanza(stanza: &str) -> Option<Source> {
    let field = |name: &str| {
        let mut lines = stanza.lines().filter(|line| !line.starts_with('#'));
        let first = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim().to_owned();
        // A value goes on in the lines that start with a blank.
        Some(lines.take_while(|line| line.starts_with(' ')).fold(first, |value, line| value + "\n" + line))
    };
    if !field("Types")?.split_whitespace().any(|kind| kind == "deb") || field("Enabled").is_some_and(|on| on == "no") {
        return None;
    }
    let uri = field("URIs")?.split_whitespace().next()?.to_owned();
    let suites = field("Suites")?.split_whitespace().map(str::to_owned).collect();
    Some(Source { uri, suites, signed_by: field("Signed-By") })
}

fn find_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
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
    fn both_formats_of_sources_are_read() {
        let old = parse_line("deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian bookworm main contrib").unwrap();
        let new = "# a mirror\nTypes: deb deb-src\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
                   Components: main\nSigned-By:\n -----BEGIN\n .\n -----END";
        let new = parse_stanza(new).unwrap();
        assert_eq!((old.uri.as_str(), old.signed_by.as_deref()), ("http://mirror/debian", Some("/k.gpg")));
        assert_eq!((new.uri.as_str(), new.suites.len()), ("http://mirror/debian", 2));
        let moved = new.for_suite("trixie");
        assert!(moved.contains("Suites: trixie\n") && moved.ends_with("Signed-By: \n -----BEGIN\n .\n -----END\n"));
        assert_eq!(parse_line("# deb http://mirror/debian bookworm main"), None);
        assert_eq!(parse_stanza("Types: deb-src\nURIs: http://mirror\nSuites: a"), None);
    }

    #[test]
    fn the_metapackage_names_the_kernel() {
        let description =
            "Package: linux-image-cloud-amd64\nDepends: linux-image-6.12.9+deb13-cloud-amd64 (= 6.12.9-1)";
        assert_eq!(newest_kernel(description).as_deref(), Some("linux-image-6.12.9+deb13-cloud-amd64"));
        assert_eq!(newest_kernel("Package: a\n"), None);
    }
}
