//! What a cgroup's path shows about the container behind it. Pure.
//!
//! The outermost cgroup of a path that has a container's shape is the container. What lies below belongs to it: the
//! slices and services of a systemd in it, the `container` and `init` cgroups that runtimes make, and the containers
//! of an engine that runs inside.
//!
//! A path is a claim and no proof: anybody to whom a part of the tree is delegated can make cgroups that are called like
//! another's. Which of several claims to one id holds is decided in [`super::owners`], by what the runtime says and else
//! by [`Place`].

use std::borrow::Cow;

use super::named;
use crate::sample::identity::{Identity, PodOfPath, QosClass, Runtime};

/// Length of a runtime's container id, in hexadecimal digits.
const ID_LEN: usize = 64;
/// Cgroups that runtimes without a systemd driver make for their containers right below the root: Docker's, and
/// containerd's namespaces.
const ROOTS: [&[u8]; 4] = [b"/docker", b"/default", b"/k8s.io", b"/moby"];
/// First elements of the usual trees of pods: the kubelet's own root, kind's and k3s's.
const POD_ROOTS: [&[u8]; 6] = [b"kubepods", b"kubepods.slice", b"kubelet", b"kubelet.slice", b"system.slice", b"k3s"];

/// A container as its cgroup's path describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathIdentity<'a> {
    /// The runtime's id for it.
    pub id: &'a str,
    /// The runtime, where the path's shape is of one runtime only.
    pub runtime: Option<Runtime>,
}

/// Where a cgroup with a container's id is, the likeliest place of the container first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Where a runtime of the machine puts its containers by itself.
    Usual,
    /// Where an administrator may have configured it to (`--cgroup-parent`).
    Custom,
    /// Where a runtime of an ordinary user puts them.
    OfUser,
    /// Elsewhere in what is delegated to a user.
    CustomOfUser,
    /// Inside of another container, or with a name that no runtime gives: nobody's, unless the runtime says otherwise.
    Doubtful,
}

/// A cgroup that has the id of a container in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Whose, by its name.
    pub container: PathIdentity<'a>,
    /// Where it is.
    pub place: Place,
}

/// The container whose own cgroup this is, if its path has the shape of one and it is not inside of another: the last
/// element is an id of 64 hexadecimal digits, in one of the forms in which Docker, containerd, CRI-O and podman name
/// their cgroups (`/docker/<id>`, `/system.slice/docker-<id>.scope`, ...). A unit of systemd that is no scope may carry
/// an id and is none, nor is the cgroup of a container's monitor (conmon), nor that of a pod of podman's.
pub fn identify(path: &[u8]) -> Option<PathIdentity<'_>> {
    candidate(path).filter(|found| found.place != Place::Doubtful).map(|found| found.container)
}

/// The container that this cgroup may be the own cgroup of.
pub fn candidate(path: &[u8]) -> Option<Candidate<'_>> {
    let (container, form) = id_in(path)?;
    let place = if form == Form::Odd || enclosing(path).is_some() { Place::Doubtful } else { place(path, form) };
    Some(Candidate { container, place })
}

/// Whether this cgroup may be a container's own: one of a runtime's, or one whose path names it.
pub fn may_be_container(path: &[u8]) -> bool {
    candidate(path).is_some() || named(path).is_some()
}

/// Who a cgroup is that has the name of a container, machine or job (LXC, nspawn, libvirt, Slurm, Nomad), and is not inside
/// of another.
pub fn named(path: &[u8]) -> Option<Identity> {
    named::identify(path).filter(|_| enclosing(path).is_none())
}

/// The cgroup of the container, machine or job that this cgroup is inside of.
pub fn enclosing(path: &[u8]) -> Option<&[u8]> {
    let ends = (1..path.len()).filter(|at| path[*at] == b'/');
    let mut above = ends.map(|end| &path[..end]);
    above.find(|path| shaped_like_a_container(path))
}

/// Whether processes in this cgroup, and in those below it, are one container's, machine's or job's.
pub fn is_whole(path: &[u8]) -> bool {
    enclosing(path).is_none() && shaped_like_a_container(path)
}

/// What the pod's containers have in common: the cgroup above them, or where there is none the beginning of their names.
pub fn pod_cgroup(path: &[u8]) -> Option<&[u8]> {
    let (parent, last) = split(path);
    if pod_element(split(parent).1).is_some() {
        return Some(parent);
    }
    // containerd without its systemd driver makes one cgroup of slice, prefix and id.
    let slice = last.iter().position(|byte| *byte == b':')?;
    pod_element(&last[..slice]).map(|_| &path[..path.len() - last.len() + slice])
}

/// Whether paths inside of containers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nested {
    /// A kubelet inside of a container has pods of its own, which are not this machine's.
    Ignored,
    /// The machine's own runtime knows the container, wherever it is.
    Known,
}

/// The pod of Kubernetes that the cgroup belongs to or is, by the nearest element of its path that names one:
/// `pod<uid>` below `kubepods`, or the slice `kubepods-<class>-pod<uid>.slice`, whatever the kubelet's own root is.
pub fn pod(path: &[u8]) -> Option<PodOfPath> {
    pod_of(path, Nested::Ignored)
}

/// The same, with a say about paths inside of containers.
pub fn pod_of(path: &[u8], nested: Nested) -> Option<PodOfPath> {
    let path = match nested {
        Nested::Ignored => enclosing(path).unwrap_or(path),
        Nested::Known => path,
    };
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

/// Where a tree of pods is, for cgroups that name one.
pub fn place_of_pods(path: &[u8]) -> Place {
    let in_usual_root = path.split(|byte| *byte == b'/').nth(1).is_some_and(|first| {
        POD_ROOTS.contains(&first) || first.starts_with(b"kubepods-") || first.starts_with(b"kubelet-kubepods-")
    });
    match (path.starts_with(b"/user.slice/"), in_usual_root) {
        (true, _) => Place::OfUser,
        (false, true) => Place::Usual,
        (false, false) => Place::Custom,
    }
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

/// How a cgroup's name holds an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The id alone, as without a systemd driver.
    Bare,
    /// A scope of systemd.
    Scope,
    /// With a runtime's prefix, yet no scope.
    Prefixed,
    /// `<slice>:<prefix>:<id>`, meant for a systemd driver that is not switched on.
    Triple,
    /// In some other way.
    Odd,
}

fn shaped_like_a_container(path: &[u8]) -> bool {
    id_in(path).is_some_and(|(_, form)| form != Form::Odd) || named::identify(path).is_some()
}

/// The id in the name of a cgroup that may be a container's, whose it is by that name, and how it is written.
fn id_in(path: &[u8]) -> Option<(PathIdentity<'_>, Form)> {
    let (above, last) = split(path);
    let parent = split(above).1;
    if last.len() < ID_LEN
        || [&b".mount"[..], b".slice", b".service", b".socket", b".swap"].iter().any(|unit| last.ends_with(unit))
    {
        return None;
    }
    let (at, after) = id_at(last)?;
    let id = str::from_utf8(&last[at..at + ID_LEN]).ok()?;
    let prefix = &last[..at];
    // A monitor's, or a pod of podman's, whose containers are inside.
    if prefix.ends_with(b"conmon-") || prefix.is_empty() && parent == b"libpod_parent" {
        return None;
    }
    let (runtime, form) = match (prefix, after) {
        (b"", b"") => ((parent == b"docker").then_some(Runtime::Docker), Form::Bare),
        (b"docker-", b".scope") => (Some(Runtime::Docker), Form::Scope),
        (b"cri-containerd-" | b"nerdctl-", b".scope") => (Some(Runtime::Containerd), Form::Scope),
        (b"libpod-" | b"libpod-payload-", b".scope") => (Some(Runtime::Podman), Form::Scope),
        (b"crio-", b".scope") => (Some(Runtime::CriO), Form::Scope),
        (b"libpod-" | b"libpod-payload-", b"") => (Some(Runtime::Podman), Form::Prefixed),
        (b"crio-", b"") => (Some(Runtime::CriO), Form::Prefixed),
        (prefix, b"") => match triple(prefix) {
            Some(runtime) => (Some(runtime), Form::Triple),
            None => (None, Form::Odd),
        },
        _ => (None, Form::Odd),
    };
    Some((PathIdentity { id, runtime }, form))
}

/// Where a run of exactly as many hexadecimal digits as an id has begins, and what comes after it.
fn id_at(name: &[u8]) -> Option<(usize, &[u8])> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut at = 0;
    for run in name.split(|byte| !is_digit(byte)) {
        let begins = at == 0 || !name[at - 1].is_ascii_alphanumeric();
        let after = &name[at + run.len()..];
        if run.len() == ID_LEN && begins && !after.first().is_some_and(u8::is_ascii_alphanumeric) {
            return Some((at, after));
        }
        at += run.len() + 1;
    }
    None
}

/// The runtime of `<slice>:<prefix>:`.
fn triple(prefix: &[u8]) -> Option<Runtime> {
    let mut parts = prefix.strip_suffix(b":")?.split(|byte| *byte == b':');
    let (slice, name) = (parts.next()?, parts.next()?);
    if parts.next().is_some() || !(slice.is_empty() || slice.ends_with(b".slice")) {
        return None;
    }
    match name {
        b"docker" => Some(Runtime::Docker),
        b"cri-containerd" | b"nerdctl" => Some(Runtime::Containerd),
        b"crio" => Some(Runtime::CriO),
        b"libpod" => Some(Runtime::Podman),
        _ => None,
    }
}

fn place(path: &[u8], form: Form) -> Place {
    let above = split(path).0;
    // What systemd delegates to a user's own manager: `/user.slice/user-1000.slice/user@1000.service`.
    let of_user = above.strip_prefix(b"/user.slice");
    let managed = of_user.map_or(Some(above), |rest| {
        let mut elements = rest.splitn(4, |byte| *byte == b'/').skip(1);
        let (slice, manager) = (elements.next()?, elements.next()?);
        let is_manager = slice.ends_with(b".slice") && manager.starts_with(b"user@") && manager.ends_with(b".service");
        is_manager.then(|| &rest[(slice.len() + manager.len() + 2).min(rest.len())..])
    });
    let is_usual = managed.is_some_and(|managed| is_usual(managed, path, form));
    match (of_user, is_usual) {
        (None, true) => Place::Usual,
        (None, false) => Place::Custom,
        (Some(_), true) => Place::OfUser,
        (Some(_), false) => Place::CustomOfUser,
    }
}

/// Whether a runtime puts a cgroup of this form there by itself.
fn is_usual(above: &[u8], path: &[u8], form: Form) -> bool {
    let parent = split(above).1;
    let in_slices = || above.split(|byte| *byte == b'/').skip(1).all(|element| element.ends_with(b".slice"));
    if pod(path).is_some() {
        return place_of_pods(path) != Place::Custom;
    }
    match form {
        Form::Bare => ROOTS.contains(&above),
        Form::Scope => above.is_empty() || in_slices(),
        // podman's, where all of a service's containers share its cgroup (quadlet).
        Form::Prefixed => {
            above == b"/libpod_parent" || split(above).0 == b"/libpod_parent" || parent.ends_with(b".service")
        }
        Form::Triple => true,
        Form::Odd => false,
    }
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
            ("/system.slice/web.service/libpod-payload-ID", Some(Podman)),
            ("/kubepods-podU_I_D.slice:crio:ID", Some(CriO)),
            ("/system.slice/k3s.service/kubepods/burstable/podUID/ID", None),
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
    fn what_is_named_is_whole() {
        for path in [
            "/machine.slice/machine-rkt\\x2dd7ea9b6c.scope",
            "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope",
            "/machine.slice/systemd-nspawn@web.service",
            "/lxc.payload.web",
            "/system.slice/slurmstepd.scope/job_42",
        ] {
            assert_eq!(identify(path.as_bytes()), None, "{path}");
            assert!(is_whole(path.as_bytes()), "{path}");
            let below = full(&format!("{path}/payload/system.slice/docker-ID.scope"));
            assert_eq!((identify(below.as_bytes()), enclosing(below.as_bytes())), (None, Some(path.as_bytes())));
            assert!(
                named(path.as_bytes()).is_some()
                    && named(&[path, "/lxc.payload.inner"].concat().into_bytes()).is_none()
            );
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
