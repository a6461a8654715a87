//! How much of a hierarchy a mount shows, and what the cgroup at its top is called.

use std::path::Path;

use crate::kernel::namespaces::{CgroupNamespace, Place, Surroundings};

/// The name of the collector's own cgroup where that is all it sees and its name on the host is not known. No runtime
/// makes cgroups with brackets in their names.
const UNNAMED: &[u8] = b"/[own]";
/// How much of a hierarchy is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// The part that a container sees which is the machine for those who use it, such as a node of a test cluster.
    Node,
    /// The collector's own cgroup and what is below it.
    Own,
}

/// What mounts mean depends on who looks at them.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// In which namespaces.
    pub(super) surroundings: Surroundings,
    /// Whether the root of a hierarchy is mounted at this place.
    pub(super) is_root: &'a dyn Fn(&Path) -> bool,
}

/// How much of a hierarchy a mount shows, and the name of the cgroup that is mounted. In a cgroup namespace the mounted
/// directory is given relative to the namespace's root, so that `/` may be any cgroup and the hierarchy's root is
/// something like `/../..`.
pub(super) fn extent(mounted: &[u8], place: &Path, view: View<'_>) -> (Extent, Box<[u8]>) {
    let below = mounted.strip_suffix(b"/").unwrap_or(mounted);
    let Surroundings { cgroups, place: surrounding, .. } = view.surroundings;
    match (cgroups, surrounding) {
        (CgroupNamespace::Initial, _) if below.is_empty() => (Extent::Whole, [].into()),
        (CgroupNamespace::Initial, _) => (Extent::Own, below.into()),
        (CgroupNamespace::Private, _) if (view.is_root)(place) => (Extent::Whole, [].into()),
        (CgroupNamespace::Private, _) if mounted.starts_with(b"/..") => (Extent::Node, [].into()),
        (CgroupNamespace::Private, Place::Machine) => (Extent::Node, below.into()),
        (CgroupNamespace::Private, Place::OwnContainer) => (Extent::Own, [UNNAMED, below].concat().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::cgroup::Hierarchies;
    use crate::kernel::cgroup::mounts::{memberships, mounts};
    use crate::kernel::odd_lines::OddLines;

    #[test]
    fn a_cgroup_namespace_hides_what_is_whole() {
        use CgroupNamespace::{Initial, Private};
        const HOST: &str = "/host/sys/fs/cgroup/memory";
        const TEXT: &[u8] = b"\
1 1 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
2 1 0:32 /../.. /host/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
3 1 0:32 /docker/1 /part/memory rw - cgroup cgroup rw,memory
";
        let (mut odd, mut odd_memberships) = (OddLines::default(), OddLines::default());
        let mounted: Vec<_> = mounts(TEXT, &mut odd).collect();
        let known: Vec<_> = memberships(b"4:memory:/a\n", &mut odd_memberships).collect();
        let look = |cgroups, place, root: &str, whole: &'static str| {
            let initial = Surroundings::look(Path::new("/nonexistent"));
            let surroundings = Surroundings { cgroups, place, ..initial };
            let is_root = |place: &Path| place == Path::new(whole);
            let view = View { surroundings, is_root: &is_root };
            let found = Hierarchies::from_mounts(Path::new(root), &mounted, &known, view).unwrap();
            let memory = found.get(4).unwrap();
            (memory.extent, String::from_utf8_lossy(&memory.top).into_owned(), memory.levels_above)
        };
        let own = |name: &str| (Extent::Own, name.to_owned(), 0);
        assert_eq!(look(Initial, Place::Machine, "/sys/fs/cgroup", ""), (Extent::Whole, String::new(), 0));
        assert_eq!(look(Initial, Place::OwnContainer, "/part", ""), own("/docker/1"));
        assert_eq!(look(Private, Place::OwnContainer, "/host/sys/fs/cgroup", HOST), (Extent::Whole, String::new(), 2));
        // The host is a container itself, such as a node of a test cluster.
        assert_eq!(look(Private, Place::OwnContainer, "/host/sys/fs/cgroup", ""), (Extent::Node, String::new(), 2));
        assert_eq!(look(Private, Place::Machine, "/sys/fs/cgroup", ""), (Extent::Node, String::new(), 0));
        assert_eq!(look(Private, Place::OwnContainer, "/sys/fs/cgroup", ""), own("/[own]"));
    }
}
