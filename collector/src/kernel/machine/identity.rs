//! Which machine this is, and which kernel and operating system run on it.

use std::path::{Path, PathBuf};

use super::{Survey, below};
use crate::kernel::HostRoots;

/// Where the machine's ids are looked for, as paths on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// Candidates for the machine id, the best first.
    pub machine_id: Vec<PathBuf>,
    /// Candidates for the boot id.
    pub boot_id: Vec<PathBuf>,
}

impl Default for IdentityFiles {
    /// cAdvisor's defaults.
    fn default() -> Self {
        Self {
            machine_id: vec!["/etc/machine-id".into(), "/var/lib/dbus/machine-id".into()],
            boot_id: vec!["/proc/sys/kernel/random/boot_id".into()],
        }
    }
}

/// The content of the first candidate that can be read and is not empty (`/etc/machine-id` is empty in an image that
/// was prepared for cloning).
///
/// Each candidate is a path on the host: `/proc/...` is looked up in the host's procfs, a path that already begins with
/// the root directory is taken as it is, any other one lies below the root directory.
pub fn first_of(survey: &mut Survey, roots: &HostRoots, candidates: &[PathBuf]) -> Option<String> {
    candidates.iter().find_map(|candidate| {
        let path = match candidate.strip_prefix("/proc") {
            Ok(in_proc) => roots.proc.join(in_proc),
            Err(_) if candidate.starts_with(&roots.rootfs) => candidate.clone(),
            Err(_) => below(&roots.rootfs, candidate),
        };
        survey.text(&path).filter(|id| !id.is_empty())
    })
}

/// The UUID the firmware gives the machine: `/sys/class/dmi/id/product_uuid` (readable by root only), on POWER and some
/// arm64 machines the device tree's `system-id` or `vm,uuid`; where there is neither, `/etc/machine-id` stands in.
pub fn system_uuid(survey: &mut Survey, roots: &HostRoots) -> Option<String> {
    let candidates = [
        roots.sys.join("class/dmi/id/product_uuid"),
        roots.proc.join("device-tree/system-id"),
        roots.proc.join("device-tree/vm,uuid"),
        below(&roots.rootfs, Path::new("/etc/machine-id")),
    ];
    // Strings of the device tree end in a NUL byte.
    let uuids = candidates.iter().filter_map(|path| survey.text(path));
    uuids.map(|uuid| uuid.trim_end_matches('\0').trim().to_owned()).find(|uuid| !uuid.is_empty())
}

/// The running kernel's release: `uname -r`.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// An `os-release` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsRelease {
    /// `PRETTY_NAME`.
    pub pretty_name: Option<String>,
}

impl OsRelease {
    /// Parses the file.
    pub fn parse(content: &str) -> Self {
        let value = content.lines().find_map(|line| line.trim_start().strip_prefix("PRETTY_NAME="));
        Self { pretty_name: value.map(|value| value.trim().trim_matches(['"', '\'']).to_owned()) }
    }
}

/// The operating system in this directory tree: `etc/os-release`, where that is not there `usr/lib/os-release`.
pub fn os_release(survey: &mut Survey, root: &Path) -> Option<OsRelease> {
    let content =
        survey.text(&root.join("etc/os-release")).or_else(|| survey.text(&root.join("usr/lib/os-release")))?;
    Some(OsRelease::parse(&content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_names() {
        for (content, name) in [
            ("NAME=\"x\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", Some("Debian GNU/Linux 12 (bookworm)")),
            ("PRETTY_NAME=Alpine", Some("Alpine")),
            ("PRETTY_NAME='Single Quotes'\n", Some("Single Quotes")),
            ("NAME=x\n", None),
            ("", None),
        ] {
            assert_eq!(OsRelease::parse(content).pretty_name.as_deref(), name, "{content}");
        }
    }

    #[test]
    fn ids_come_from_the_host() {
        let directory = tempfile::tempdir().unwrap();
        let rootfs = directory.path().join("rootfs");
        let roots = HostRoots {
            proc: directory.path().join("proc"),
            sys: directory.path().join("sys"),
            cgroup: directory.path().join("cgroup"),
            rootfs: rootfs.clone(),
        };
        let write = |path: PathBuf, content: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        write(rootfs.join("etc/machine-id"), "\n");
        write(rootfs.join("var/lib/dbus/machine-id"), "0123\n");
        write(roots.proc.join("sys/kernel/random/boot_id"), "boot\n");
        let mut survey = Survey::default();
        let files = IdentityFiles::default();
        assert_eq!(first_of(&mut survey, &roots, &files.machine_id).as_deref(), Some("0123"));
        assert_eq!(first_of(&mut survey, &roots, &files.boot_id).as_deref(), Some("boot"));
        assert_eq!(
            first_of(&mut survey, &roots, &[rootfs.join("var/lib/dbus/machine-id")]).as_deref(),
            Some("0123"),
            "a path that names the root directory itself"
        );
        assert_eq!(first_of(&mut survey, &roots, &["/etc/none".into()]), None);
        assert_eq!(system_uuid(&mut survey, &roots), None, "an empty machine id is none");
        write(roots.proc.join("device-tree/vm,uuid"), "tree\0");
        assert_eq!(system_uuid(&mut survey, &roots).as_deref(), Some("tree"));
        write(roots.sys.join("class/dmi/id/product_uuid"), "dmi\n");
        assert_eq!(system_uuid(&mut survey, &roots).as_deref(), Some("dmi"));
        assert!(survey.into_errors().is_empty());
    }
}
