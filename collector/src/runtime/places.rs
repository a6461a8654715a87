//! The cgroup that a runtime makes for a container, by what it was asked for. Pure.

/// How a runtime makes cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// As directories.
    Cgroupfs,
    /// As scopes of systemd.
    Systemd,
}

/// The cgroup of a container of Docker's, by its `--cgroup-parent`; of all drivers where it is not known which is used.
pub(super) fn of_docker(parent: Option<&str>, driver: Option<Driver>, id: &str) -> Vec<String> {
    let parent = parent.filter(|parent| !parent.is_empty());
    let directory = || {
        let parent = parent.unwrap_or("docker").trim_matches('/');
        if parent.is_empty() { format!("/{id}") } else { format!("/{parent}/{id}") }
    };
    let scope = || Some(format!("{}/docker-{id}.scope", slice(parent.unwrap_or("system.slice"))?));
    match driver {
        Some(Driver::Cgroupfs) => vec![directory()],
        Some(Driver::Systemd) => scope().into_iter().collect(),
        None => std::iter::once(directory()).chain(scope()).collect(),
    }
}

/// The cgroups of `linux.cgroupsPath` of a runtime specification: a path, or `<slice>:<prefix>:<name>`, of which one
/// without its systemd driver makes a single directory.
pub(super) fn of_specification(path: &str) -> Vec<String> {
    let mut parts = path.split(':');
    let (Some(parent), Some(prefix), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return if path.is_empty() { Vec::new() } else { vec![format!("/{}", path.trim_matches('/'))] };
    };
    let parent = if parent.is_empty() { "system.slice" } else { parent };
    let scope = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
    let as_scope = slice(parent).map(|slice| format!("{slice}/{scope}"));
    as_scope.into_iter().chain([format!("/{}", path.trim_start_matches('/'))]).collect()
}

/// The path of a slice, whose name has those of the slices above it: `a-b.slice` is in `a.slice`.
fn slice(name: &str) -> Option<String> {
    let words = name.strip_suffix(".slice")?;
    if words == "-" {
        return Some(String::new());
    }
    if words.is_empty() || words.contains('/') || words.split('-').any(str::is_empty) {
        return None;
    }
    let ends = words.match_indices('-').map(|(at, _)| at).chain([words.len()]);
    Some(ends.flat_map(|end| ["/", &words[..end], ".slice"]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_nested_by_their_names() {
        assert_eq!(slice("system.slice").as_deref(), Some("/system.slice"));
        assert_eq!(slice("a-b-c.slice").as_deref(), Some("/a.slice/a-b.slice/a-b-c.slice"));
        assert_eq!(slice("-.slice").as_deref(), Some(""));
        for no in ["a", "/a.slice", "a--b.slice", ".slice", "-a.slice"] {
            assert_eq!(slice(no), None, "{no}");
        }
    }

    #[test]
    fn of_docker_by_parent_and_driver() {
        use Driver::{Cgroupfs, Systemd};
        for (parent, driver, expected) in [
            (None, Some(Cgroupfs), &["/docker/x"][..]),
            (Some(""), Some(Systemd), &["/system.slice/docker-x.scope"]),
            (Some("/docker/outer"), Some(Cgroupfs), &["/docker/outer/x"]),
            (Some("my-own.slice"), Some(Systemd), &["/my.slice/my-own.slice/docker-x.scope"]),
            (Some("own"), None, &["/own/x"]),
            (Some("/"), Some(Cgroupfs), &["/x"]),
            (None, None, &["/docker/x", "/system.slice/docker-x.scope"]),
        ] {
            assert_eq!(of_docker(parent, driver, "x"), expected, "{parent:?} {driver:?}");
        }
    }

    #[test]
    fn of_a_specification() {
        for (path, expected) in [
            ("", &[][..]),
            ("/docker/x", &["/docker/x"]),
            ("k8s.io/x", &["/k8s.io/x"]),
            ("system.slice:docker:x", &["/system.slice/docker-x.scope", "/system.slice:docker:x"]),
            (":nerdctl:x", &["/system.slice/nerdctl-x.scope", "/:nerdctl:x"]),
            (
                "kubepods-burstable-pod1.slice:cri-containerd:x",
                &[
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-x.scope",
                    "/kubepods-burstable-pod1.slice:cri-containerd:x",
                ],
            ),
        ] {
            assert_eq!(of_specification(path), expected, "{path}");
        }
    }
}
