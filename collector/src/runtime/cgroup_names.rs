//! What a cgroup's path tells about the container behind it. Pure.
//!
//! The outermost cgroup of a path that has a container's shape is the container. What lies below belongs to it: the
//! slices and services of a systemd in it, the `container` and `init` cgroups that runtimes make, and the containers
//! of an engine that runs inside.

use std::borrow::Cow;

use crate::sample::identity::{PodOfPath, QosClass, Runtime};

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

/// The container whose own cgroup this is, if its path has the shape of one and it is not inside of another: the last
/// element holds 64 characters of `[a-z0-9]`, as Docker, containerd, CRI-O and podman name their cgroups
/// (`/docker/<id>`, `/system.slice/docker-<id>.scope`, ...). A unit of systemd that is no scope may carry an id and is
/// none, nor is the cgroup of a container's monitor (conmon), nor that of a pod of podman's.
pub fn identify(path: &[u8]) -> Option<PathIdentity<'_>> {
    let found = shaped_like_a_container(path)?;
    enclosing(path).is_none().then_some(found)
}

/// The cgroup of the container or of the machine (systemd-machined: nspawn, libvirt, rkt) that this cgroup is inside of.
pub fn enclosing(path: &[u8]) -> Option<&[u8]> {
    let ends = (1..path.len()).filter(|at| path[*at] == b'/');
    let mut above = ends.map(|end| &path[..end]);
    above.find(|path| shaped_like_a_container(path).is_some() || is_machine(path))
}

/// Whether processes in this cgroup, and in those below it, are one container's or one machine's.
pub fn is_whole(path: &[u8]) -> bool {
    enclosing(path).is_none() && (shaped_like_a_container(path).is_some() || is_machine(path))
}

/// The cgroup that the pod's containers have in common, for a cgroup directly inside of a pod's.
pub fn pod_cgroup(path: &[u8]) -> Option<&[u8]> {
    let (parent, _) = split(path);
    pod_element(split(parent).1).map(|_| parent)
}

/// The pod of Kubernetes that the cgroup belongs to or is, by the nearest element of its path that names one:
/// `pod<uid>` below `kubepods`, or the slice `kubepods-<class>-pod<uid>.slice`, whatever the kubelet's own root is.
pub fn pod(path: &[u8]) -> Option<PodOfPath> {
    // A kubelet inside of a container has pods of its own, which are not this machine's.
    let path = enclosing(path).unwrap_or(path);
    path.split(|byte| *byte == b'/').rev().find_map(pod_element)?;
    let elements = path.split(|byte| *byte == b'/');
    let (mut qos, mut below_kubepods, mut found) = (QosClass::Guaranteed, false, None);
    for element in elements {
        let words = element.strip_suffix(b".slice").unwrap_or(element);
        if let Some(pod) = pod_element(element) {
            found = Some(pod);
        }
        for word in words.split(|byte| matches!(byte, b'-' | b':')) {
            match word {
                b"kubepods" => below_kubepods = true,
                b"burstable" if below_kubepods => qos = QosClass::Burstable,
                b"besteffort" if below_kubepods => qos = QosClass::BestEffort,
                _ => {}
            }
        }
    }
    let uid = found.filter(|_| below_kubepods)?;
    Some(PodOfPath { uid: uid.into_owned(), qos })
}

/// The uid in `pod<uid>` or in `...-pod<uid>.slice`, where systemd's names have `_` for `-`.
fn pod_element(element: &[u8]) -> Option<Cow<'_, str>> {
    let is_uid =
        |uid: &&str| uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_'));
    let element = str::from_utf8(element).ok()?;
    // containerd without its systemd driver makes one cgroup of the three parts of such a name.
    let element = element.split(':').next()?;
    let (uid, in_slice) = match element.strip_suffix(".slice") {
        Some(slice) => (slice.rsplit_once("-pod")?.1, true),
        None => (element.strip_prefix("pod")?, false),
    };
    let uid = Some(uid).filter(is_uid)?;
    Some(if in_slice { uid.replace('_', "-").into() } else { uid.into() })
}

/// The path above the last element, and the last element.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let at = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    (&path[..at], path.get(at + 1..).unwrap_or_default())
}

fn shaped_like_a_container(path: &[u8]) -> Option<PathIdentity<'_>> {
    let (above, last) = split(path);
    let parent = split(above).1;
    if [&b".mount"[..], b".slice", b".service", b".socket", b".swap"].iter().any(|unit| last.ends_with(unit)) {
        return None;
    }
    let is_id = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let at = last.windows(ID_LEN).position(|window| window.iter().all(is_id))?;
    let id = str::from_utf8(&last[at..at + ID_LEN]).ok()?;
    let prefix = &last[..at];
    if prefix.ends_with(b"conmon-") {
        return None;
    }
    let runtime = match prefix {
        b"docker-" => Some(Runtime::Docker),
        b"libpod-" | b"libpod-payload-" => Some(Runtime::Podman),
        b"cri-containerd-" | b"nerdctl-" => Some(Runtime::Containerd),
        b"crio-" => Some(Runtime::CriO),
        b"" => match parent {
            b"docker" => Some(Runtime::Docker),
            // A pod of podman's, whose containers are inside.
            b"libpod_parent" => return None,
            _ => None,
        },
        // `<slice>:<prefix>:<id>`, meant for a systemd driver that is not switched on.
        prefix if prefix.ends_with(b":docker:") => Some(Runtime::Docker),
        prefix if prefix.ends_with(b":cri-containerd:") || prefix.ends_with(b":nerdctl:") => Some(Runtime::Containerd),
        prefix if prefix.ends_with(b":crio:") => Some(Runtime::CriO),
        prefix if prefix.ends_with(b":libpod:") => Some(Runtime::Podman),
        _ => None,
    };
    Some(PathIdentity { id, runtime })
}

/// Whether it is a unit of systemd-machined's: `/machine.slice/machine-<name>.scope`, or `systemd-nspawn@<name>.service`.
fn is_machine(path: &[u8]) -> bool {
    let (above, last) = split(path);
    let is_scope = last.starts_with(b"machine-") && last.ends_with(b".scope");
    let is_service = last.starts_with(b"systemd-nspawn@") && last.ends_with(b".service");
    split(above).1 == b"machine.slice" && (is_scope || is_service)
}

/// Whether the path is systemd's cgroup of a mount unit, which never is a container.
pub fn is_mount_unit(path: &[u8]) -> bool {
    path.ends_with(b".mount")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    const UID: &str = "3f2a8a52-7c1f-4c58-9a54-0123456789ab";
    /// Of a static pod.
    const HASH: &str = "0123456789abcdef0123456789abcdef";

    fn full(path: &str) -> String {
        let in_slice = UID.replace('-', "_");
        path.replace("OTHER", OTHER)
            .replace("U_I_D", &in_slice)
            .replace("UID", UID)
            .replace("HASH", HASH)
            .replace("ID", ID)
    }

    #[test]
    fn every_runtimes_paths() {
        use Runtime::{Containerd, CriO, Docker, Podman};
        let shapes = [
            ("/docker/ID", Some(Docker)),
            ("/system.slice/docker-ID.scope", Some(Docker)),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope", Some(Docker)),
            ("/my.parent/ID", None),
            ("/my.slice/docker-ID.scope", Some(Docker)),
            ("/kubepods/burstable/podUID/ID", None),
            ("/kubepods/podHASH/ID", None),
            ("/kubepods.slice/kubepods-podU_I_D.slice/cri-containerd-ID.scope", Some(Containerd)),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice/cri-containerd-ID.scope",
                Some(Containerd),
            ),
            ("/system.slice/containerd.service/kubepods-besteffort-podU_I_D.slice:cri-containerd:ID", Some(Containerd)),
            ("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_I_D.slice/docker-ID.scope", Some(Docker)),
            ("/system.slice/nerdctl-ID.scope", Some(Containerd)),
            ("/default/ID", None),
            ("/kubepods/burstable/podUID/crio-ID", Some(CriO)),
            ("/kubepods.slice/kubepods-podU_I_D.slice/crio-ID.scope", Some(CriO)),
            ("/libpod_parent/libpod-ID", Some(Podman)),
            ("/libpod_parent/OTHER/libpod-ID", Some(Podman)),
            ("/machine.slice/libpod-ID.scope", Some(Podman)),
            ("/machine.slice/machine-libpod_pod_OTHER.slice/libpod-ID.scope", Some(Podman)),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope", Some(Podman)),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_OTHER.slice/libpod-ID.scope",
                Some(Podman),
            ),
            ("/libpod_parent/libpod-payload-ID", Some(Podman)),
        ];
        for (path, runtime) in shapes {
            let path = full(path);
            assert_eq!(identify(path.as_bytes()), Some(PathIdentity { id: ID, runtime }), "{path}");
            assert!(is_whole(path.as_bytes()), "{path}");
            // Whatever is inside belongs to it.
            for below in ["init", "container", "init.scope", "system.slice/ssh.service", "docker/OTHER", "x/y/z"] {
                let below = full(&format!("{path}/{below}"));
                assert_eq!(identify(below.as_bytes()), None, "{below}");
                assert_eq!(enclosing(below.as_bytes()), Some(path.as_bytes()), "{below}");
                assert!(!is_whole(below.as_bytes()), "{below}");
            }
        }
    }

    #[test]
    fn what_is_no_container() {
        let others = [
            "/",
            "/docker",
            "/docker/0123",
            "/DOCKER",
            "/system.slice",
            "/system.slice/ssh.service",
            "/user.slice/user-1000.slice/session-3.scope",
            "/x-ID.mount",
            "/system.slice/x-ID.service",
            "/machine.slice/libpod-conmon-ID.scope",
            "/machine.slice/machine-libpod_pod_ID.slice",
            "/libpod_parent/ID",
            "/libpod_parent/conmon",
            "/kubepods/podUID",
            "/kubepods/podUID/crio-conmon-ID",
            "/kubepods.slice/kubepods-podU_I_D.slice/crio-conmon-ID.scope",
        ];
        for path in others {
            let path = full(path);
            assert_eq!(identify(path.as_bytes()), None, "{path}");
            assert_eq!(enclosing(path.as_bytes()), None, "{path}");
            assert!(!is_whole(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn machines_of_systemd() {
        for path in [
            "/machine.slice/machine-rkt\\x2dd7ea9b6c.scope",
            "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope",
            "/machine.slice/systemd-nspawn@web.service",
        ] {
            assert_eq!(identify(path.as_bytes()), None, "{path}");
            assert!(is_whole(path.as_bytes()), "{path}");
            let below = full(&format!("{path}/payload/system.slice/docker-ID.scope"));
            assert_eq!((identify(below.as_bytes()), enclosing(below.as_bytes())), (None, Some(path.as_bytes())));
        }
        assert!(!is_whole(b"/system.slice/machine-x.scope") && !is_whole(b"/machine.slice"));
    }

    #[test]
    fn pods_by_both_drivers() {
        use QosClass::{BestEffort, Burstable, Guaranteed};
        for (path, expected) in [
            ("/kubepods/podUID/ID", Some((UID, Guaranteed))),
            ("/kubepods/podUID", Some((UID, Guaranteed))),
            ("/kubepods/burstable/podUID/crio-ID", Some((UID, Burstable))),
            ("/kubepods/besteffort/podHASH/ID", Some((HASH, BestEffort))),
            ("/kubepods.slice/kubepods-podU_I_D.slice/crio-ID.scope", Some((UID, Guaranteed))),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice/cri-containerd-ID.scope/init",
                Some((UID, Burstable)),
            ),
            ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podHASH.slice", Some((HASH, BestEffort))),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podU_I_D.slice/ID",
                Some((UID, Burstable)),
            ),
            (
                "/system.slice/containerd.service/kubepods-besteffort-podU_I_D.slice:cri-containerd:ID",
                Some((UID, BestEffort)),
            ),
            ("/kubepods/burstable", None),
            ("/podUID/ID", None),
            ("/kubepods/podium/ID", None),
            ("/docker/ID", None),
            // kind: the pod inside is not this machine's.
            ("/docker/OTHER/kubelet/kubepods/burstable/podUID/ID", None),
        ] {
            let path = full(path);
            let expected = expected.map(|(uid, qos)| PodOfPath { uid: uid.to_owned(), qos });
            assert_eq!(pod(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn the_cgroup_of_a_pod() {
        let path = full("/kubepods/burstable/podUID/ID");
        assert_eq!(pod_cgroup(path.as_bytes()), Some(full("/kubepods/burstable/podUID").as_bytes()));
        let path = full("/kubepods.slice/kubepods-podU_I_D.slice/crio-ID.scope");
        assert_eq!(pod_cgroup(path.as_bytes()), Some(full("/kubepods.slice/kubepods-podU_I_D.slice").as_bytes()));
        for path in ["/", "/a", "/docker/ID", "/kubepods/podUID", "/kubepods/podUID/ID/init"] {
            assert_eq!(pod_cgroup(full(path).as_bytes()), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(path in proptest::collection::vec(any::<u8>(), 0..200), likely in "(/|pod|[a-f0-9-]{30,70}|kubepods|:|-|\\.slice|machine-)*") {
            for path in [path.as_slice(), likely.as_bytes()] {
                let _ = (identify(path), enclosing(path), is_whole(path), pod(path), pod_cgroup(path));
            }
        }
    }
}
