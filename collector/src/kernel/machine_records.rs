//! What lies on the host's disk about machines and containers that no runtime is asked for.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What is read of a record of systemd-machined, which has a few hundred bytes.
const LARGEST_RECORD: u64 = 4096;
/// Where LXC itself has its containers.
const LXC: &str = "var/lib/lxc";
/// Where those who use LXC have theirs.
const USERS_OF_LXC: [(&str, UserOfLxc); 3] = [
    ("var/lib/incus/containers", UserOfLxc::Incus),
    ("var/snap/lxd/common/lxd/containers", UserOfLxc::Lxd),
    ("var/lib/lxd/containers", UserOfLxc::Lxd),
];

/// Who made a container with LXC's library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserOfLxc {
    /// Incus.
    Incus,
    /// LXD.
    Lxd,
}

/// Records below the host's root directory.
#[derive(Clone, Debug)]
pub struct MachineRecords(PathBuf);

impl MachineRecords {
    /// Below this root directory.
    pub fn new(rootfs: &Path) -> Self {
        Self(rootfs.to_owned())
    }

    /// Who registered a machine with systemd-machined: `SERVICE` in `/run/systemd/machines/<name>`, such as
    /// `systemd-nspawn`, `libvirt-qemu`.
    pub fn service(&self, machine: &str) -> Option<String> {
        let mut text = String::new();
        let record = File::open(self.0.join("run/systemd/machines").join(plain(machine)?)).ok()?;
        record.take(LARGEST_RECORD).read_to_string(&mut text).ok()?;
        text.lines().find_map(|line| line.strip_prefix("SERVICE=")).map(|service| service.trim_matches('"').to_owned())
    }

    /// Who made a container with LXC's library; `None` for LXC itself, and where nothing is found or may be looked at.
    pub fn user_of_lxc(&self, container: &str) -> Option<UserOfLxc> {
        let container = plain(container)?;
        let is_there = |directory: &str| self.0.join(directory).join(container).symlink_metadata().is_ok();
        if is_there(LXC) {
            return None;
        }
        USERS_OF_LXC.iter().find(|(directory, _)| is_there(directory)).map(|(_, user)| *user)
    }
}

/// A name that is one element of a path.
fn plain(name: &str) -> Option<&str> {
    (!name.is_empty() && !name.starts_with('.') && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_below_a_root() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["run/systemd/machines", "var/lib/lxc/own", "var/lib/incus/containers/web"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        std::fs::create_dir_all(at("var/snap/lxd/common/lxd/containers/old")).unwrap();
        std::fs::create_dir_all(at("var/lib/incus/containers/own")).unwrap();
        let record =
            "# This is private data. Do not parse.\nNAME=web\nSCOPE=machine-web.scope\nSERVICE=systemd-nspawn\n";
        std::fs::write(at("run/systemd/machines/web"), record).unwrap();
        let records = MachineRecords::new(root.path());
        assert_eq!(records.service("web").as_deref(), Some("systemd-nspawn"));
        let of_lxc = ["web", "old", "own", "none"].map(|name| records.user_of_lxc(name));
        assert_eq!(of_lxc, [Some(UserOfLxc::Incus), Some(UserOfLxc::Lxd), None, None]);
        for odd in ["", ".", "..", "../machines/web", "none"] {
            assert_eq!((records.service(odd), records.user_of_lxc(odd)), (None, None), "{odd:?}");
        }
    }
}
