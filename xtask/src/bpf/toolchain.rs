//! The compilers that can build eBPF programs: rustup's nightly with its standard library's source, and Debian's
//! `rustc-web`, which comes with a ready `core` for BPF. Both link with bpf-linker, which loads the compiler's LLVM.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::record::Identity;
use crate::{apt, shell, workspace};

/// Later versions want an LLVM that neither toolchain has.
const LINKER_VERSION: &str = "0.10.2";
/// The LLVM that this bpf-linker can load.
const LINKER_LLVM: &str = "22.";
/// Debian's compiler and its `core` for BPF.
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler with its linker.
#[derive(Debug)]
pub(super) struct Toolchain {
    kind: Kind,
    /// What `rustc -vV` prints.
    version: String,
    /// Holds a link to the compiler's LLVM and nothing else.
    llvm: PathBuf,
    linker: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nightly,
    Debian,
}

impl Toolchain {
    /// The preferred toolchain of this machine: rustup's nightly where it can do it, else Debian's, installed if need
    /// be.
    pub(super) fn find() -> Result<Self> {
        let nightly = match Self::of_kind(Kind::Nightly) {
            Ok(toolchain) => return Ok(toolchain),
            Err(reason) => reason,
        };
        match Self::debian() {
            Ok(toolchain) => Ok(toolchain),
            Err(debian) => bail!("no compiler for eBPF: rustup's nightly: {nightly:#}; Debian's: {debian:#}"),
        }
    }

    /// The toolchain that a record names.
    pub(super) fn find_recorded(recorded: &Identity) -> Result<Self> {
        ensure!(recorded.linker == LINKER_VERSION, "the object was linked by bpf-linker {}", recorded.linker);
        if let Ok(nightly) = Self::of_kind(Kind::Nightly)
            && nightly.identity()? == *recorded
        {
            return Ok(nightly);
        }
        let debian = Self::debian().with_context(|| format!("recorded is {recorded}"))?;
        let found = debian.identity()?;
        ensure!(found == *recorded, "recorded is {recorded}; here is {found}");
        Ok(debian)
    }

    fn debian() -> Result<Self> {
        apt::ensure_installed(&DEBIAN_PACKAGES)?;
        Self::of_kind(Kind::Debian)
    }

    fn of_kind(kind: Kind) -> Result<Self> {
        let version = shell::output(rustc(kind).arg("-vV"))?;
        let llvm_version = field(&version, "LLVM version: ")?;
        ensure!(
            llvm_version.starts_with(LINKER_LLVM),
            "it uses LLVM {llvm_version}, bpf-linker {LINKER_VERSION} needs {LINKER_LLVM}x"
        );
        let library = match kind {
            Kind::Nightly => {
                let source = sysroot(kind)?.join("lib/rustlib/src/rust/library/core/Cargo.toml");
                ensure!(source.is_file(), "it lacks the component rust-src");
                find_llvm(&sysroot(kind)?.join("lib"))?
            }
            Kind::Debian => linked_llvm(Path::new(DEBIAN_RUSTC))?,
        };
        let llvm = workspace::target().join("bpf").join(match kind {
            Kind::Nightly => "llvm-nightly",
            Kind::Debian => "llvm-debian",
        });
        link_alone(&llvm, &library)?;
        Ok(Self { kind, version, llvm, linker: install_linker()? })
    }

    /// What decides about the object's bytes.
    pub(super) fn identity(&self) -> Result<Identity> {
        Ok(Identity {
            rustc: self.version.lines().next().unwrap_or_default().to_owned(),
            llvm: field(&self.version, "LLVM version: ")?.to_owned(),
            linker: LINKER_VERSION.to_owned(),
        })
    }

    /// Where the compiler's own libraries are.
    pub(super) fn sysroot(&self) -> Result<PathBuf> {
        sysroot(self.kind)
    }

    /// A cargo set up to build with this toolchain.
    pub(super) fn cargo(&self) -> Result<Command> {
        let mut command = match self.kind {
            Kind::Nightly => {
                let mut command = rustup("cargo");
                command.arg("-Zbuild-std=core");
                command
            }
            Kind::Debian => {
                let mut command = workspace::cargo();
                // The crate aya-ebpf enables an unstable feature, and this is a stable compiler.
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.linker.clone()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).context("PATH cannot be extended")?);
        // bpf-linker loads the first LLVM of these folders: it must be the compiler's, not some other of the machine.
        command.env("LD_LIBRARY_PATH", &self.llvm);
        Ok(command)
    }
}

/// A program of rustup's nightly, free of the settings of the toolchain that runs us.
fn rustup(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]);
    for name in ["RUSTUP_TOOLCHAIN", "RUSTC", "CARGO", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
    command
}

fn rustc(kind: Kind) -> Command {
    match kind {
        Kind::Nightly => rustup("rustc"),
        Kind::Debian => {
            let mut command = Command::new(DEBIAN_RUSTC);
            command.env_remove("LD_LIBRARY_PATH");
            command
        }
    }
}

fn sysroot(kind: Kind) -> Result<PathBuf> {
    Ok(PathBuf::from(shell::output(rustc(kind).args(["--print", "sysroot"]))?.trim()))
}

fn field<'a>(version: &'a str, name: &str) -> Result<&'a str> {
    let value = version.lines().find_map(|line| line.strip_prefix(name));
    value.with_context(|| format!("`rustc -vV` prints no `{name}`"))
}

/// The LLVM in a rustup toolchain's library folder.
fn find_llvm(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let named = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libLLVM"))
            && std::fs::metadata(path).is_ok_and(|data| data.len() > 1 << 20)
    };
    let found = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(named).min();
    found.with_context(|| format!("{} holds no LLVM", folder.display()))
}

/// The LLVM that a compiler is linked with.
fn linked_llvm(rustc: &Path) -> Result<PathBuf> {
    let listing = shell::output(Command::new("ldd").arg(rustc).env_remove("LD_LIBRARY_PATH"))?;
    llvm_in(&listing).with_context(|| format!("{} uses no shared LLVM", rustc.display()))
}

/// The LLVM in what `ldd` prints.
fn llvm_in(listing: &str) -> Option<PathBuf> {
    let line = listing.lines().map(str::trim).find(|line| line.starts_with("libLLVM"))?;
    let (_, path) = line.split_once("=> ")?;
    Some(PathBuf::from(path.split(" (").next()?))
}

/// Makes `folder` hold a link `libLLVM.so` to the library and nothing else.
fn link_alone(folder: &Path, library: &Path) -> Result<()> {
    let link = folder.join("libLLVM.so");
    if std::fs::read_link(&link).is_ok_and(|target| target == library) {
        return Ok(());
    }
    let make = || {
        std::fs::create_dir_all(folder)?;
        if link.is_symlink() {
            std::fs::remove_file(&link)?;
        }
        std::os::unix::fs::symlink(library, &link)
    };
    make().with_context(|| format!("cannot make {}", link.display()))
}

/// Installs bpf-linker under `target/` unless it is there; returns the folder that holds it.
fn install_linker() -> Result<PathBuf> {
    let folder = workspace::target().join("bpf-linker");
    let binary = folder.join("bin/bpf-linker");
    let version = shell::output(Command::new(&binary).arg("--version"));
    if version.is_ok_and(|text| text.trim().ends_with(&format!(" {LINKER_VERSION}"))) {
        return Ok(folder.join("bin"));
    }
    let mut command = workspace::cargo();
    // Its build folder is not ours to keep.
    command.env_remove("CARGO_TARGET_DIR");
    command.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force", "--root"]);
    // It links one small object; the optimizer would take minutes.
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
    shell::run(command.arg(&folder)).context("bpf-linker is needed to build eBPF programs")?;
    Ok(folder.join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_is_found_in_the_list_of_libraries() {
        let listing = "\tlinux-vdso.so.1 (0x7f)\n\tlibLLVM.so.22.1 => /lib/libLLVM.so.22.1 (0x00007f56ec400000)\n";
        assert_eq!(llvm_in(listing), Some(PathBuf::from("/lib/libLLVM.so.22.1")));
        assert_eq!(llvm_in("\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n"), None);
    }

    #[test]
    fn the_folder_ends_up_with_one_link_whatever_it_pointed_to() {
        let folder = std::env::temp_dir().join(format!("xtask-llvm-{}", std::process::id()));
        link_alone(&folder, Path::new("/a")).unwrap();
        link_alone(&folder, Path::new("/b")).unwrap();
        assert_eq!(std::fs::read_link(folder.join("libLLVM.so")).unwrap(), Path::new("/b"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
