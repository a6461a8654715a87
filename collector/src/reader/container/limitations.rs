//! What the place the collector runs in keeps from it: each with what is lost and what would help.

use std::fmt;
use std::path::PathBuf;

use crate::kernel::cgroup::Hierarchies;
use crate::kernel::error::ReadError;

/// Something that cannot be read for want of a right or a mount. Its text is one line for an operator.
#[derive(Debug)]
pub enum Limitation {
    /// Of the cgroups only the collector's own is mounted here.
    OwnCgroupOnly(PathBuf),
    /// Neither the pid namespace nor the procfs of the host is there.
    ProcessesHidden,
    /// The host's network namespace may not be looked at, and then nobody's.
    NetworkNamespaces(ReadError),
}

impl Limitation {
    /// What is missing, as a label.
    pub fn facility(&self) -> &'static str {
        match self {
            Self::OwnCgroupOnly(_) => "host cgroups",
            Self::ProcessesHidden => "host processes",
            Self::NetworkNamespaces(_) => "network namespaces",
        }
    }
}

impl fmt::Display for Limitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facility = self.facility();
        match self {
            Self::OwnCgroupOnly(mount) => write!(
                f,
                "{facility} are not seen: {mount} shows only the collector's own cgroup; lost: every other container and \
                 the machine as a whole; to fix: mount the host's /sys/fs/cgroup at /host/sys/fs/cgroup (or at \
                 /sys/fs/cgroup), as a recursive read-only bind mount",
                mount = mount.display()
            ),
            Self::ProcessesHidden => write!(
                f,
                "{facility} are not seen: the collector has a pid namespace of its own and no procfs of the host; lost: \
                 network counters, descriptors, and on cgroup v1 the number of processes; to fix: mount the host's /proc \
                 at /host/proc, or run in the host's pid namespace"
            ),
            Self::NetworkNamespaces(error) => write!(
                f,
                "{facility} cannot be distinguished: {error}; lost: network counters of containers; to fix: grant \
                 CAP_SYS_PTRACE, and mount the host's /proc at /host/proc if it is not there"
            ),
        }
    }
}

/// What the mounted hierarchies do not show.
pub(super) fn of_cgroups(hierarchies: &Hierarchies) -> Option<Limitation> {
    let first = hierarchies.iter().next().filter(|_| hierarchies.are_own())?;
    Some(Limitation::OwnCgroupOnly(first.mount.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_the_label_the_loss_and_the_fix() {
        for limitation in [
            Limitation::OwnCgroupOnly("/sys/fs/cgroup".into()),
            Limitation::ProcessesHidden,
            Limitation::NetworkNamespaces(ReadError::Denied("/proc/1/ns/net".into())),
        ] {
            let text = limitation.to_string();
            assert_eq!(text.lines().count(), 1);
            assert!(text.starts_with(limitation.facility()), "{text}");
            assert!(text.contains("; lost: ") && text.contains("; to fix: "), "{text}");
        }
    }
}
