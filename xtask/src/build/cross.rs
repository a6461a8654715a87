//! Building for another processor than this machine's.
//!
//! The compiler is rustup's where it has the other processor's standard library, else Debian's with that library out of
//! Debian's package for the other processor, unpacked and not installed. The linker and the C compiler are Debian's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::apt::private::{codename, fetch_package};
use crate::processor::Processor;
use crate::{apt, shell, workspace};

/// Debian's compiler, with the standard library for what runs during a build.
const COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev"];
const RUSTC: &str = "/usr/bin/rustc";

/// Why nothing can be built for a processor on this machine, if so.
pub(crate) fn obstacle(processor: Processor) -> Result<Option<String>> {
    if processor == Processor::host()? {
        return Ok(None);
    }
    Ok(install(processor).err().map(|error| format!("nothing can be built for {}: {error:#}", processor.rpm())))
}

/// Has cargo build for a processor.
pub(super) fn set_up(command: &mut Command, processor: Processor) -> Result<()> {
    if let Some(rustc) = install(processor)? {
        command.env("RUSTC", rustc);
    }
    let name = processor.triple().to_uppercase().replace('-', "_");
    command.env(format!("CARGO_TARGET_{name}_LINKER"), format!("{}-gcc", processor.tools()));
    Ok(())
}

/// Sees to it that all tools are there. The compiler, where it is not the usual one.
fn install(processor: Processor) -> Result<Option<PathBuf>> {
    let gcc = format!("gcc-{}", processor.tools().replace('_', "-"));
    let libc = format!("libc6-dev-{}-cross", processor.debian());
    apt::ensure_installed(&[&gcc, &libc])?;
    let has_library = |sysroot: &str| Path::new(sysroot.trim()).join("lib/rustlib").join(processor.triple()).is_dir();
    let usual = shell::output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace::root()))?;
    if has_library(&usual) {
        return Ok(None);
    }
    apt::ensure_installed(&COMPILER)?;
    let version = apt::version(COMPILER[1]).context("its version is unknown")?;
    let (release, security) = (codename()?, format!("{}-security", codename()?));
    let library = format!("{}={version}", COMPILER[1]);
    let library = fetch_package(&library, &[&release, &security], processor)?;
    wrapper(processor, &library.join("usr")).map(Some)
}

/// A compiler that finds the other processor's library where it is unpacked. As one of cargo's flags, that folder would be
/// part of the names of symbols, and every clone would give another binary.
fn wrapper(processor: Processor, sysroot: &Path) -> Result<PathBuf> {
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in\n*' --target {} '*) exec {RUSTC} --sysroot '{}' \"$@\" ;;\n\
         *) exec {RUSTC} \"$@\" ;;\nesac\n",
        processor.triple(),
        sysroot.display()
    );
    let path = workspace::target().join(format!("cross/rustc-{}", processor.rpm()));
    // What is written anew is another compiler to cargo.
    if std::fs::read_to_string(&path).is_ok_and(|there| there == script) {
        return Ok(path);
    }
    let folder = path.parent().context("a script is in a folder")?;
    workspace::make_folder(folder)?;
    let write = || {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(&path, &script)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
