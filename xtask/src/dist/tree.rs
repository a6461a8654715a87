//! The files of a package, as they lie on a machine that has it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{shell, workspace};

/// What the files are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'a> {
    /// The binary.
    pub(super) collector: &'a Path,
    /// The same for this machine's processor, which says what its man page and its completions are.
    pub(super) speaker: &'a Path,
    /// The bill of materials.
    pub(super) bill: &'a Path,
}

/// Where distributions differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    /// zsh's completions.
    pub(super) zsh: &'static str,
}

impl Tree<'_> {
    /// Writes the files below an empty folder.
    pub(super) fn write(self, folder: &Path, places: Places) -> Result<()> {
        let deploy = workspace::root().join("deploy");
        let said = |arguments: &[&str]| shell::output(Command::new(self.speaker).args(arguments));
        put(folder, "usr/bin/collector", &fs::read(self.collector)?, 0o755)?;
        put(folder, "usr/lib/systemd/system/collector.service", unit(&deploy)?.as_bytes(), 0o644)?;
        let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        put(folder, "etc/collector/collector.toml", &read(&deploy.join("packages/collector.toml"))?, 0o644)?;
        for (shell, place) in [
            ("bash", "usr/share/bash-completion/completions/collector"),
            ("fish", "usr/share/fish/vendor_completions.d/collector.fish"),
            ("zsh", places.zsh),
        ] {
            put(folder, place, said(&["completions", shell])?.as_bytes(), 0o644)?;
        }
        put(folder, "usr/share/man/man1/collector.1", said(&["man"])?.as_bytes(), 0o644)?;
        put(folder, "usr/share/doc/collector/collector.cdx.json", &read(self.bill)?, 0o644)?;
        put(folder, "usr/share/doc/collector/changelog", &read(&workspace::root().join("CHANGELOG.md"))?, 0o644)?;
        put(folder, "usr/share/doc/collector/copyright", copyright()?.as_bytes(), 0o644)?;
        for text in ["usr/share/man/man1/collector.1", "usr/share/doc/collector/changelog"] {
            shell::output(Command::new("gzip").args(["-9", "--no-name"]).arg(folder.join(text)))?;
        }
        Ok(())
    }
}

/// Writes one file.
pub(super) fn put(folder: &Path, place: &str, content: &[u8], mode: u32) -> Result<()> {
    let path = folder.join(place);
    fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(fs::set_permissions(&path, Permissions::from_mode(mode))?)
}

/// The unit of `deploy/`, which starts what an administrator has copied, for what a package has installed: it has a manual.
fn unit(deploy: &Path) -> Result<String> {
    let text = fs::read_to_string(deploy.join("systemd/collector.service")).context("cannot read the unit")?;
    let installed = "ExecStart=/usr/bin/collector --config=/etc/collector/collector.toml";
    let copied = text.lines().find(|line| line.starts_with("ExecStart=")).context("the unit starts nothing")?;
    let text = text.replace(copied, installed);
    // The first lines say how to copy it.
    let (head, rest) = text.split_once("[Unit]").context("no [Unit]")?;
    ensure!(head.lines().all(|line| line.starts_with('#')), "something before [Unit]");
    Ok(format!("[Unit]\nDocumentation=man:collector(1){rest}"))
}

/// Debian's form, which says the same to everybody.
fn copyright() -> Result<String> {
    let mut text = String::from(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: collector\n\nFiles: *\nCopyright: the collector's authors\nLicense: Apache-2.0 or MIT\n",
    );
    for (name, file) in [("Apache-2.0", None), ("MIT", Some("LICENSE-MIT"))] {
        text.extend(["\nLicense: ", name, "\n"]);
        let body = match file {
            None => "On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.".to_owned(),
            Some(file) => {
                fs::read_to_string(workspace::root().join(file)).with_context(|| format!("cannot read {file}"))?
            }
        };
        for line in body.lines() {
            text.extend([" ", if line.is_empty() { "." } else { line }, "\n"]);
        }
    }
    Ok(text)
}
