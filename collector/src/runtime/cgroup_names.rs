//! What a cgroup's path tells about the container behind it. Pure.

use crate::sample::identity::Runtime;

/// Length of a runtime's container id.
const ID_LEN: usize = 64;

/// A container as its cgroup's path describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathIdentity<'a> {
    /// The runtime's id for it.
    pub id: &'a str,
    /// The runtime, where the path's shape is of one runtime only.
    pub runtime: Option<Runtime>,
}

/// The container whose own cgroup this is, if its path has the shape of one: the last element holds 64 characters of
/// `[a-z0-9]`, as Docker, containerd, CRI-O and podman name their cgroups (`/docker/<id>`,
/// `/system.slice/docker-<id>.scope`, ...). A `.mount` unit of systemd may carry an id and is none; neither is the
/// cgroup of a container's monitor (conmon).
pub fn identify(path: &[u8]) -> Option<PathIdentity<'_>> {
    if is_mount_unit(path) {
        return None;
    }
    let mut elements = path.rsplit(|byte| *byte == b'/');
    let last = elements.next()?;
    let parent = elements.next().unwrap_or_default();
    let is_id = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let at = last.windows(ID_LEN).position(|window| window.iter().all(is_id))?;
    let id = str::from_utf8(&last[at..at + ID_LEN]).ok()?;
    let prefix = &last[..at];
    if prefix.ends_with(b"conmon-") {
        return None;
    }
    let runtime = match prefix {
        b"docker-" => Some(Runtime::Docker),
        b"libpod-" => Some(Runtime::Podman),
        b"cri-containerd-" | b"nerdctl-" => Some(Runtime::Containerd),
        b"crio-" => Some(Runtime::CriO),
        b"" if parent == b"docker" => Some(Runtime::Docker),
        _ => None,
    };
    Some(PathIdentity { id, runtime })
}

/// Whether the path is systemd's cgroup of a mount unit, which never is a container.
pub fn is_mount_unit(path: &[u8]) -> bool {
    path.ends_with(b".mount")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn with_id(path: &str) -> String {
        path.replace("ID", ID)
    }

    #[test]
    fn every_runtimes_paths() {
        let shapes = [
            ("/docker/ID", Some(Runtime::Docker)),
            ("/system.slice/docker-ID.scope", Some(Runtime::Docker)),
            ("/my.parent/ID", None),
            ("/kubepods/burstable/pod1/ID", None),
            ("/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope", Some(Runtime::Containerd)),
            ("/kubepods/burstable/pod1/crio-ID", Some(Runtime::CriO)),
            ("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope", Some(Runtime::CriO)),
            ("/libpod_parent/libpod-ID", Some(Runtime::Podman)),
            ("/machine.slice/libpod-ID.scope", Some(Runtime::Podman)),
        ];
        for (path, runtime) in shapes {
            assert_eq!(identify(with_id(path).as_bytes()), Some(PathIdentity { id: ID, runtime }), "{path}");
        }
    }

    #[test]
    fn what_is_no_container() {
        let others = [
            "/",
            "/docker",
            "/docker/ID/init",
            "/docker/0123",
            "/x-ID.mount",
            "/DOCKER",
            "/machine.slice/libpod-conmon-ID.scope",
            "/kubepods/pod1/crio-conmon-ID",
        ];
        for path in others {
            assert_eq!(identify(with_id(path).as_bytes()), None, "{path}");
        }
    }
}
