//! Where the host's file systems are: as given, or where containers usually have them.

use std::path::{Path, PathBuf};

use crate::kernel::cgroup::Hierarchies;

/// `statfs.f_type` of procfs (`PROC_SUPER_MAGIC`).
const PROC_MAGIC: i64 = 0x9fa0;
/// `statfs.f_type` of sysfs (`SYSFS_MAGIC`).
const SYSFS_MAGIC: i64 = 0x6265_6572;
/// Where containers have the host's root directory, or parts of it: cAdvisor's place first.
const USUAL_ROOTS: [&str; 2] = ["/rootfs", "/host"];
/// Where cgroups are below a sysfs.
const CGROUPS_IN_SYSFS: &str = "fs/cgroup";

/// Where the host's file systems are mounted, which in a container may be elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRoots {
    /// procfs of the host's pid namespace.
    pub proc: PathBuf,
    /// sysfs.
    pub sys: PathBuf,
    /// The directory that holds the cgroup mounts, or is the cgroup2 mount.
    pub cgroup: PathBuf,
    /// The host's root directory.
    pub rootfs: PathBuf,
}

impl Default for HostRoots {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into(), cgroup: "/sys/fs/cgroup".into(), rootfs: "/".into() }
    }
}

/// The places an operator has given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenRoots {
    /// procfs.
    pub proc: Option<PathBuf>,
    /// sysfs.
    pub sys: Option<PathBuf>,
    /// The cgroup mounts.
    pub cgroup: Option<PathBuf>,
    /// The root directory.
    pub rootfs: Option<PathBuf>,
}

impl HostRoots {
    /// Completes what was given with what is mounted: the host's procfs or sysfs below `/rootfs` or `/host` makes that
    /// the root directory; sysfs and the cgroups are looked for below it first, because those of the container's own
    /// show only the container's network devices and cgroup.
    pub fn locate(given: GivenRoots) -> Self {
        let has_procfs = |root: &Path| is_mounted(&root.join("proc"), PROC_MAGIC);
        let has_sysfs = |root: &Path| is_mounted(&root.join("sys"), SYSFS_MAGIC);
        let usual = || {
            let mut roots = USUAL_ROOTS.map(PathBuf::from).into_iter();
            roots.find(|root| has_procfs(root) || has_sysfs(root)).unwrap_or_else(|| "/".into())
        };
        let is_given = given.rootfs.is_some();
        let rootfs = given.rootfs.unwrap_or_else(usual);
        let proc = given.proc.unwrap_or_else(|| {
            // With a root directory that was given, a missing procfs is reported rather than replaced by the
            // container's.
            if is_given || has_procfs(&rootfs) { rootfs.join("proc") } else { "/proc".into() }
        });
        let sys = given.sys.unwrap_or_else(|| if has_sysfs(&rootfs) { rootfs.join("sys") } else { "/sys".into() });
        let roots = Self { cgroup: sys.join(CGROUPS_IN_SYSFS), proc, sys, rootfs };
        match given.cgroup {
            Some(cgroup) => Self { cgroup, ..roots },
            None => roots.with_cgroups(),
        }
    }

    /// With the first place that has whole hierarchies, or else the first that has any.
    fn with_cgroups(self) -> Self {
        let usual = USUAL_ROOTS.map(|root| Path::new(root).join("sys"));
        let sysfs = [self.sys.clone(), self.rootfs.join("sys")].into_iter().chain(usual).chain(["/sys".into()]);
        let mut found = sysfs.filter_map(|sysfs| {
            let roots = Self { cgroup: sysfs.join(CGROUPS_IN_SYSFS), ..self.clone() };
            let hierarchies = Hierarchies::detect(&roots).ok()?;
            Some((roots, hierarchies.are_whole()))
        });
        match found.next() {
            None => self.clone(),
            Some((first, true)) => first,
            Some((first, false)) => found.find(|(_, whole)| *whole).map_or(first, |(whole, _)| whole),
        }
    }
}

fn is_mounted(place: &Path, magic: i64) -> bool {
    rustix::fs::statfs(place).is_ok_and(|file_system| file_system.f_type == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_taken() {
        let given = GivenRoots {
            proc: Some("/p".into()),
            sys: Some("/s".into()),
            cgroup: Some("/c".into()),
            rootfs: Some("/r".into()),
        };
        let roots = HostRoots { proc: "/p".into(), sys: "/s".into(), cgroup: "/c".into(), rootfs: "/r".into() };
        assert_eq!(HostRoots::locate(given), roots);
    }

    #[test]
    fn an_empty_root_has_the_own_sysfs() {
        let directory = tempfile::tempdir().unwrap();
        let given = GivenRoots { rootfs: Some(directory.path().into()), ..GivenRoots::default() };
        let roots = HostRoots::locate(given);
        assert_eq!(roots.proc, directory.path().join("proc"));
        assert_eq!(roots.sys, Path::new("/sys"));
        assert_eq!(roots.cgroup, Path::new("/sys/fs/cgroup"));
    }
}
