//! Debian packages that a command needs.

pub(crate) mod private;
mod sources;

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::privilege::Privilege;
use crate::shell;

/// Sees to it that these packages are installed, as root on Debian; otherwise the error says what to install.
pub(crate) fn ensure_installed(packages: &[&str]) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = missing.join(" ");
    let apt = || {
        let mut command = Privilege::detect().command("env")?;
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]);
        Some(command)
    };
    let Some(mut install) = apt() else {
        bail!("these Debian packages are missing and only root can install them: apt-get install {wanted}");
    };
    install.args(["install", "--yes", "--no-install-recommends"]).args(&missing);
    // The lists are fetched only when the installation fails without: they may be fresh, or absent on a new machine.
    if shell::run(&mut install).is_err() {
        let mut update = apt().context("root was lost meanwhile")?;
        shell::run(update.arg("update"))?;
        shell::run(&mut install).with_context(|| format!("cannot install {wanted}"))?;
    }
    let missing = self::missing(packages)?;
    ensure!(missing.is_empty(), "apt-get installed nothing for: {}", missing.join(" "));
    Ok(())
}

/// The packages of the list that are not installed.
fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    if !shell::is_on_path("dpkg-query") {
        bail!("this is no Debian; needed are the equivalents of its packages {}", packages.join(" "));
    }
    Ok(packages.iter().copied().filter(|package| version(package).is_none()).collect())
}

/// The installed version of a package.
pub(crate) fn version(package: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Abbrev}${Version}", package]);
    shell::output(&mut query).ok()?.strip_prefix("ii ").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_package_that_does_not_exist_has_no_version() {
        assert_eq!(super::version("no-such-package-anywhere"), None);
    }
}
