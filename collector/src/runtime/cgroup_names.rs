//! What a cgroup's path tells about the container behind it. Pure.

/// Length of a runtime's container id.
const ID_LEN: usize = 64;

/// The container id in the last element of a path: 64 characters of `[a-z0-9]`, as Docker, containerd, CRI-O and
/// podman name their cgroups (`/docker/<id>`, `/system.slice/docker-<id>.scope`, ...). A `.mount` unit of systemd may
/// carry an id and is none.
pub fn container_id(path: &[u8]) -> Option<&[u8]> {
    let last = path.rsplit(|byte| *byte == b'/').next()?;
    if is_mount_unit(path) {
        return None;
    }
    last.windows(ID_LEN).find(|window| window.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')))
}

/// Whether the path is systemd's cgroup of a mount unit, which never is a container.
pub fn is_mount_unit(path: &[u8]) -> bool {
    path.ends_with(b".mount")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_the_last_element_only() {
        let id = "0123456789abcdef".repeat(4);
        let found = |path: &str| container_id(path.replace("ID", &id).as_bytes()).is_some();
        for path in ["/docker/ID", "/system.slice/docker-ID.scope", "/kubepods/burstable/pod1/crio-ID"] {
            assert!(found(path), "{path}");
        }
        for path in ["/", "/docker", "/docker/ID/init", "/docker/0123", "/x-ID.mount", "/DOCKER"] {
            assert!(!found(path), "{path}");
        }
    }
}
