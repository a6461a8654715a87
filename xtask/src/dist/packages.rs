//! A Debian package by dpkg-deb, an RPM package by rpmbuild.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::tree::{Places, Tree, put};
use super::{About, Effort};
use crate::{shell, workspace};

/// Asked for before the tree is written, gone afterwards.
struct Stage(PathBuf);

impl Stage {
    fn new(name: &str) -> Result<Self> {
        let folder = workspace::target().join("stage").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Who made a package, where `DEBFULLNAME` and `DEBEMAIL` are not set: there is no address to write to.
const NOBODY: (&str, &str) = ("Unattended build", "nobody@collector.invalid");
/// What Debian calls the log of changes to a package, of which there are none besides the collector's.
const CHANGES: &str = "usr/share/doc/collector/changelog.Debian";
const SUMMARY: &str = "per-node collector of container resources";
const DESCRIPTION: &str = " Reads what containers use from cgroups and kernel events, and serves
 cAdvisor's JSON API and Prometheus metrics. A drop-in successor of the
 standalone cAdvisor.
";

/// The maintainer, from the environment as Debian's own tools read it.
fn maintainer() -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let name = set("DEBFULLNAME").unwrap_or_else(|| NOBODY.0.to_owned());
    format!("{name} <{}>", set("DEBEMAIL").unwrap_or_else(|| NOBODY.1.to_owned()))
}

/// Makes `collector_<version>_<architecture>.deb` and returns it.
pub(super) fn debian(about: &About, tree: &Tree<'_>, output: &Path) -> Result<PathBuf> {
    let stage = Stage::new("deb")?;
    let folder = &stage.0;
    tree.write(folder, Places { zsh: "usr/share/zsh/vendor-completions/_collector" })?;
    let sources = workspace::root().join("deploy/packages");
    let overrides = fs::read(sources.join("collector.lintian-overrides"))?;
    put(folder, "usr/share/lintian/overrides/collector", &overrides, 0o644)?;
    let (version, architecture) = (about.version, about.processor.debian());
    let time = jiff::Timestamp::from_second(about.time).context("no time")?.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let maintainer = maintainer();
    let changes = format!(
        "collector ({version}-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {maintainer}  {time}\n",
    );
    put(folder, CHANGES, changes.as_bytes(), 0o644)?;
    shell::output(Command::new("gzip").args(["-9", "--no-name"]).arg(folder.join(CHANGES)))?;
    let control = format!(
        "Package: collector\nVersion: {version}-1\nArchitecture: {architecture}\nSection: admin\nPriority: optional\n\
         Maintainer: {maintainer}\nInstalled-Size: {}\n\
         Pre-Depends: init-system-helpers (>= 1.54~)\nDescription: {SUMMARY}\n{DESCRIPTION}",
        size(folder)? / 1024,
    );
    // Before there is anything else than what is installed.
    put(folder, "DEBIAN/md5sums", sums(folder)?.as_bytes(), 0o644)?;
    put(folder, "DEBIAN/control", control.as_bytes(), 0o644)?;
    put(folder, "DEBIAN/conffiles", b"/etc/collector/collector.toml\n", 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        put(folder, &format!("DEBIAN/{script}"), &fs::read(sources.join(script))?, 0o755)?;
    }
    let mut build = Command::new("dpkg-deb");
    if about.effort == Effort::Tests {
        build.args(["-Zgzip", "-z1"]);
    }
    build.args(["--root-owner-group", "--build"]).arg(folder);
    let package = output.join(format!("collector_{version}-1_{architecture}.deb"));
    shell::output(build.arg(&package).env("SOURCE_DATE_EPOCH", about.time.to_string()))?;
    Ok(package)
}

/// Makes `collector-<version>-1.<architecture>.rpm` and returns it.
pub(super) fn rpm(about: &About, tree: &Tree<'_>, output: &Path) -> Result<PathBuf> {
    let stage = Stage::new("rpm")?;
    let folder = stage.0.join("tree");
    tree.write(&folder, Places { zsh: "usr/share/zsh/site-functions/_collector" })?;
    let define = |name: &str, value: &str| ["--define".to_owned(), format!("{name} {value}")];
    let mut build = Command::new("rpmbuild");
    build.args(["-bb", "--quiet", "--target", about.processor.rpm()]);
    for (name, value) in [
        ("_topdir", stage.0.display().to_string()),
        ("_rpmdir", output.display().to_string()),
        ("_rpmfilename", "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm".to_owned()),
        ("collector_version", about.version.to_owned()),
        ("collector_tree", folder.display().to_string()),
        ("_buildhost", "collector".to_owned()),
        ("use_source_date_epoch_as_buildtime", "1".to_owned()),
        ("clamp_mtime_to_source_date_epoch", "1".to_owned()),
    ] {
        build.args(define(name, &value));
    }
    if about.effort == Effort::Tests {
        build.args(define("_binary_payload", "w1.gzdio"));
    }
    build.arg(workspace::root().join("deploy/packages/collector.spec"));
    shell::output(build.env("SOURCE_DATE_EPOCH", about.time.to_string()))?;
    Ok(output.join(format!("collector-{}-1.{}.rpm", about.version, about.processor.rpm())))
}

/// The sums of all files below a folder, by which `dpkg --verify` finds those that were changed.
fn sums(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    workspace::find_files(folder, &mut files)?;
    let mut command = Command::new("md5sum");
    for file in &files {
        command.arg(file.strip_prefix(folder).context("a file is elsewhere")?);
    }
    shell::output(command.current_dir(folder))
}

/// Fails when lintian finds something in a Debian package that its overrides do not explain. What it only remarks on is
/// shown: that depends on the binary's bytes, and on who stripped it.
pub(super) fn check(package: &Path) -> Result<()> {
    let mut lintian = Command::new("lintian");
    // As root it would warn about that.
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--display-info", "--tag-display-limit", "0"]);
    shell::run(lintian.arg(package)).context("lintian has found something: mend it, or explain it in its overrides")
}

/// Fails when what is in a Debian package for this machine does not run, or refuses the configuration beside it.
pub(super) fn try_out(package: &Path) -> Result<()> {
    let stage = Stage::new("try")?;
    shell::output(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&stage.0))?;
    let collector = || Command::new(stage.0.join("usr/bin/collector"));
    let version = shell::output(collector().arg("--version"))?;
    ensure!(version.contains(env!("CARGO_PKG_VERSION")), "the collector in the package is another: {version}");
    let configuration = stage.0.join("etc/collector/collector.toml");
    shell::output(collector().args(["config", "check", "--config"]).arg(configuration)).map(drop)
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        bytes += if kind.is_dir() { size(&entry.path())? } else { kind.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::processor::Processor;

    fn about(version: &'static str) -> About {
        About { effort: Effort::Tests, version, processor: Processor::Amd64, time: 1_700_000_000 }
    }

    /// Installs, upgrades, removes and purges in a root directory of its own, with the package's own scripts. A program
    /// that only prints stands in for the collector.
    #[test]
    fn a_debian_package_comes_and_goes() {
        if !rustix::process::geteuid().is_root() || !shell::is_on_path("dpkg-deb") {
            eprintln!("SKIPPED: only root can install packages, and only where dpkg is");
            return;
        }
        let stage = Stage::new("test").unwrap();
        let (output, root) = (stage.0.join("output"), stage.0.join("root"));
        fs::create_dir_all(&output).unwrap();
        fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
        fs::create_dir_all(root.join("var/lib/dpkg/updates")).unwrap();
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        let program = stage.0.join("collector");
        fs::write(&program, "#!/bin/sh\necho \"$*\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let bill = stage.0.join("bill");
        fs::write(&bill, "{}").unwrap();
        let tree = Tree { collector: &program, speaker: &program, bill: &bill };
        let file = |version: &str| output.join(format!("collector_{version}-1_amd64.deb"));
        debian(&about("1.0.0"), &tree, &output).unwrap();
        let first = fs::read(file("1.0.0")).unwrap();
        debian(&about("1.0.0"), &tree, &output).unwrap();
        assert!(first == fs::read(file("1.0.0")).unwrap(), "the same files give other bytes");
        debian(&about("1.1.0"), &tree, &output).unwrap();

        let dpkg = |arguments: &[&str]| {
            let mut command = Command::new("dpkg");
            command.arg(format!("--root={}", root.display()));
            // Nothing else is installed there, not even a shell.
            command.args(["--force-script-chrootless", "--force-depends", "--force-confdef", "--force-confold"]);
            shell::output(command.args(arguments)).unwrap()
        };
        let at = |place: &str| root.join(place);
        let config = "etc/collector/collector.toml";
        dpkg(&["--install", &file("1.0.0").display().to_string()]);
        let unit = fs::read_to_string(at("usr/lib/systemd/system/collector.service")).unwrap();
        assert!(unit.contains("\nExecStart=/usr/bin/collector --config=/etc/collector/collector.toml\n"), "{unit}");
        assert!(at("etc/systemd/system/multi-user.target.wants/collector.service").is_symlink(), "it is not enabled");
        for (place, mode) in
            [("usr/bin/collector", 0o755), (config, 0o644), ("usr/share/man/man1/collector.1.gz", 0o644)]
        {
            assert_eq!(fs::metadata(at(place)).unwrap().permissions().mode() & 0o7777, mode, "{place}");
        }
        let completions = fs::read_to_string(at("usr/share/bash-completion/completions/collector")).unwrap();
        assert_eq!(completions, "completions bash\n");
        fs::write(at(config), "port = 9\n").unwrap();
        dpkg(&["--install", &file("1.1.0").display().to_string()]);
        assert_eq!(fs::read_to_string(at(config)).unwrap(), "port = 9\n", "the administrator's word is lost");
        assert!(dpkg(&["--status", "collector"]).contains("Version: 1.1.0-1"));
        dpkg(&["--remove", "collector"]);
        assert!(!at("usr/bin/collector").exists() && at(config).exists());
        dpkg(&["--purge", "collector"]);
        assert!(
            !at(config).exists() && !at("etc/systemd/system/multi-user.target.wants/collector.service").is_symlink()
        );
    }

    /// Installs, upgrades and removes in a root directory of its own, where a shell runs the package's scripts. They find
    /// no systemd there.
    #[test]
    fn an_rpm_package_comes_and_goes() {
        if !shell::is_on_path("rpmbuild") || !rustix::process::geteuid().is_root() || !Path::new(BUSYBOX).is_file() {
            eprintln!("SKIPPED: only root can install packages, and only where rpmbuild and {BUSYBOX} are");
            return;
        }
        let stage = Stage::new("test-rpm").unwrap();
        let root = stage.0.join("root");
        put(&root, "bin/sh", &fs::read(BUSYBOX).unwrap(), 0o755).unwrap();
        let program = stage.0.join("collector");
        fs::write(&program, "#!/bin/sh\necho \"$*\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let tree = Tree { collector: &program, speaker: &program, bill: &program };
        let file = |version: &str| stage.0.join(format!("collector-{version}-1.x86_64.rpm"));
        rpm(&about("1.0.0"), &tree, &stage.0).unwrap();
        let first = fs::read(file("1.0.0")).unwrap();
        rpm(&about("1.0.0"), &tree, &stage.0).unwrap();
        assert!(first == fs::read(file("1.0.0")).unwrap(), "the same files give other bytes");
        rpm(&about("1.1.0"), &tree, &stage.0).unwrap();

        let rpm = |arguments: &[&str]| {
            let mut command = Command::new("rpm");
            command.arg("--root").arg(&root).args(arguments);
            shell::output(&mut command).unwrap()
        };
        let change = |how: &str, version: &str| {
            // Debian has other packages, no package has the shell, and the processor may be another.
            rpm(&[
                how,
                "--force-debian",
                "--nodeps",
                "--ignorearch",
                "--nosignature",
                &file(version).display().to_string(),
            ])
        };
        let at = |place: &str| root.join(place);
        let config = "etc/collector/collector.toml";
        change("--install", "1.0.0");
        assert_eq!(rpm(&["--query", "--configfiles", "collector"]), "/etc/collector/collector.toml\n");
        let unit = fs::read_to_string(at("usr/lib/systemd/system/collector.service")).unwrap();
        assert!(unit.contains("\nExecStart=/usr/bin/collector --config=/etc/collector/collector.toml\n"), "{unit}");
        assert_eq!(fs::metadata(at("usr/bin/collector")).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(rpm(&["--verify", "--nodeps", "collector"]), "");
        fs::write(at(config), "port = 9\n").unwrap();
        change("--upgrade", "1.1.0");
        assert_eq!(rpm(&["--query", "collector"]), "collector-1.1.0-1.x86_64\n");
        assert_eq!(fs::read_to_string(at(config)).unwrap(), "port = 9\n", "the administrator's word is lost");
        rpm(&["--erase", "--force-debian", "--nodeps", "collector"]);
        assert!(!at("usr/bin/collector").exists() && !at(config).exists());
        assert_eq!(fs::read_to_string(at(&format!("{config}.rpmsave"))).unwrap(), "port = 9\n");
    }

    /// What runs a package's scripts, without shared libraries.
    const BUSYBOX: &str = "/bin/busybox";
}
