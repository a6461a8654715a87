//! Which mounts are containers' and pods' own: their root directories, shared memory, secrets and volumes.
//!
//! Runtimes and kubelets mount these below their state directories, wherever those are, in ways that have not changed for
//! years. A file system mounted at such a directory itself, such as a disk of its own for `/var/lib/docker`, is the
//! machine's.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::mounts::Mount;

/// Which file systems are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListedMounts {
    /// The machine's own.
    #[default]
    Machines,
    /// Those that are mounted for a container or a pod as well.
    All,
}

/// Drivers that mount each layer at `<driver>/<id>/merged`.
const MERGING: [&str; 3] = ["overlay", "overlay2", "fuse-overlayfs"];
/// Where other drivers mount a layer by its id.
const LAYERS: [[&str; 2]; 6] = [
    ["aufs", "mnt"],
    ["btrfs", "subvolumes"],
    ["devicemapper", "mnt"],
    ["rootfs", "overlayfs"],
    ["vfs", "dir"],
    ["zfs", "graph"],
];
/// Directories with one for each container, by id, in which its files are mounted.
const STATE: [&str; 6] =
    ["btrfs-containers", "containers", "overlay-containers", "plugins", "vfs-containers", "zfs-containers"];
/// What a pod's directory below the kubelet's has of mounts.
const OF_POD: [&str; 5] = ["containers", "plugins", "volume-subpaths", "volumeDevices", "volumes"];
/// Names that builders and unpackers give their mounts.
const TEMPORARY: [&str; 2] = ["buildkit-mount", "containerd-mount"];

/// Whether something is mounted there for one container or pod. The path is the host's.
pub fn is_of_container(mount_point: &Path) -> bool {
    let parts: Vec<&str> = mount_point.iter().map(|part| part.to_str().unwrap_or("?")).collect();
    let last = parts.last().copied().unwrap_or_default();
    let is_temporary = TEMPORARY.iter().any(|prefix| last.starts_with(prefix));
    is_temporary || (0..parts.len()).any(|at| begins_container(&parts[at..]))
}

/// Whether the rest of a path is that of something mounted for a container.
fn begins_container(rest: &[&str]) -> bool {
    match rest {
        // Sandboxes' shared memory, tasks' root directories, snapshots.
        [plugin, _, _, ..] if plugin.starts_with("io.containerd.") => true,
        [driver, _, "merged"] if MERGING.contains(driver) => true,
        [driver, layers, id, ..] if LAYERS.contains(&[driver, layers]) => is_id(id),
        [state, id, _, ..] if STATE.contains(state) && is_id(id) => true,
        ["pods", pod, what, of, ..] => OF_POD.contains(what) && (is_uid(pod) || of.contains('~')),
        // And volumes of the whole node, from where they are mounted into pods.
        ["kata-containers", "shared", _, ..] | ["plugins", "kubernetes.io", _, ..] => true,
        _ => false,
    }
}

/// Whether it is an id of a runtime's: 64 hexadecimal digits, or 25 letters and digits of Docker's builder, and perhaps
/// `-init`.
fn is_id(text: &str) -> bool {
    let id = text.strip_suffix("-init").unwrap_or(text);
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        || id.len() == 25 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether it is a pod's uid; of a static pod it is a hash without dashes.
fn is_uid(text: &str) -> bool {
    matches!(text.len(), 32 | 36) && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// The mounts without those of containers and pods.
///
/// A disk that is mounted elsewhere, too, stays with its other mounts. An overlay is a container's wherever else it may
/// be mounted, unless it is the root directory. `rootfs` is what mount points have before the host's path, if anything.
pub fn without_containers<'a>(mounts: &'a [Mount], rootfs: &Path) -> Vec<&'a Mount> {
    let on_host = |mount: &'a Mount| {
        let path = mount.mount_point.as_path();
        path.strip_prefix(rootfs)
            .map_or(path, |below| if below.as_os_str().is_empty() { Path::new("/") } else { below })
    };
    let is_root = |mount: &Mount| mount.mount_point == Path::new("/") || mount.mount_point == rootfs;
    let is_overlay = |mount: &Mount| mount.fs_type == "overlay";
    // A bundle's root directory, whoever made it.
    let is_bundle = |mount: &'a Mount| {
        let name = mount.mount_point.file_name().map(OsStrExt::as_bytes);
        is_overlay(mount) && matches!(name, Some(b"merged" | b"rootfs"))
    };
    let is_own = |mount: &'a Mount| !is_root(mount) && (is_of_container(on_host(mount)) || is_bundle(mount));
    let device = |mount: &Mount| (mount.major, mount.minor);
    let roots: HashSet<_> = mounts.iter().filter(|mount| is_root(mount)).map(device).collect();
    let overlays: HashSet<_> = mounts.iter().filter(|mount| is_overlay(mount) && is_own(mount)).map(device).collect();
    let is_containers = |mount: &&'a Mount| {
        is_own(mount) || is_overlay(mount) && overlays.contains(&device(mount)) && !roots.contains(&device(mount))
    };
    mounts.iter().filter(|mount| !is_containers(mount)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::mounts::parse;
    use super::*;
    use crate::kernel::odd_lines::OddLines;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "3f2a8a52-7c1f-4c58-9a54-0123456789ab";

    #[test]
    fn what_runtimes_and_kubelets_mount() {
        for path in [
            format!("/var/lib/docker/overlay2/{ID}/merged"),
            format!("/data/docker/overlay2/{ID}-init/merged"),
            "/var/lib/docker/overlay2/0yws1rvfpvcvrsrqlv5f3s9n2/merged".to_owned(),
            format!("/var/lib/docker/containers/{ID}/mounts/shm"),
            format!("/var/lib/docker/containers/{ID}/shm"),
            format!("/var/lib/docker/rootfs/overlayfs/{ID}"),
            format!("/var/lib/docker/devicemapper/mnt/{ID}"),
            format!("/var/lib/docker/zfs/graph/{ID}"),
            format!("/var/lib/docker/plugins/{ID}/rootfs"),
            format!("/run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/rootfs"),
            format!("/run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes/{ID}/shm"),
            "/var/lib/containerd/tmpmounts/containerd-mount123".to_owned(),
            format!("/var/lib/containers/storage/overlay/{ID}/merged"),
            format!("/run/containers/storage/overlay-containers/{ID}/userdata/shm"),
            format!("/var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~projected/kube-api-access-x"),
            format!("/var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~csi/pvc-1/mount"),
            format!("/var/lib/kubelet/pods/{UID}/volume-subpaths/config/app/0"),
            "/mnt/kubelet/pods/0123456789abcdef0123456789abcdef/volumes/kubernetes.io~empty-dir/tmp".to_owned(),
            "/var/lib/kubelet/plugins/kubernetes.io/csi/x/globalmount".to_owned(),
        ] {
            assert!(is_of_container(Path::new(&path)), "{path}");
        }
    }

    #[test]
    fn what_is_the_machines() {
        for path in [
            "/",
            "/boot/efi",
            "/run/user/1000",
            "/var/lib/docker",
            "/var/lib/docker/overlay2",
            "/var/lib/docker/volumes",
            "/var/lib/containerd",
            "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs",
            "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots",
            "/var/lib/containers/storage/overlay",
            "/var/lib/kubelet",
            "/var/lib/kubelet/pods",
            "/srv/pods/one/volumes/two",
            "/home/containers/alice/merged",
        ] {
            assert!(!is_of_container(Path::new(path)), "{path}");
        }
    }

    fn kept(lines: &[String], rootfs: &str) -> Vec<String> {
        let mounts = parse(lines.join("\n").as_bytes(), &mut OddLines::default());
        let kept = without_containers(&mounts, Path::new(rootfs));
        kept.into_iter().map(|mount| mount.mount_point.display().to_string()).collect()
    }

    #[test]
    fn a_disk_stays_with_its_other_mounts_and_an_overlay_goes_with_all() {
        let lines = [
            "27 1 254:0 / / rw - ext4 /dev/vda rw".to_owned(),
            "28 27 8:1 / /srv/data rw - ext4 /dev/sda1 rw".to_owned(),
            format!(
                "29 27 8:1 / /var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~local-volume/x rw - ext4 /dev/sda1 rw"
            ),
            format!("30 27 8:16 / /var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~csi/y/mount rw - ext4 /dev/sdb rw"),
            format!("31 27 0:50 / /var/lib/docker/overlay2/{ID}/merged rw - overlay overlay rw"),
            "32 27 0:50 / /somewhere/else rw - overlay overlay rw".to_owned(),
            "33 27 0:51 / /etc/cni rw - overlay overlay rw".to_owned(),
            "34 27 0:52 / /var/garden/depot/one/rootfs rw - overlay overlay rw".to_owned(),
            format!("35 27 0:53 / /run/containerd/io.containerd.grpc.v1.cri/sandboxes/{ID}/shm rw - tmpfs shm rw"),
            "36 27 0:54 / /run rw - tmpfs tmpfs rw".to_owned(),
        ];
        assert_eq!(kept(&lines, "/"), ["/", "/srv/data", "/etc/cni", "/run"]);
    }

    #[test]
    fn a_root_directory_on_an_overlay_and_a_host_below_another_directory() {
        let lines = [
            "27 1 0:50 / / rw - overlay overlay rw".to_owned(),
            "28 27 0:50 / /rootfs rw - overlay overlay rw".to_owned(),
            format!("29 27 0:60 / /rootfs/var/lib/docker/overlay2/{ID}/merged rw - overlay overlay rw"),
            "30 27 254:0 / /rootfs/var/lib/docker rw - ext4 /dev/vda rw".to_owned(),
        ];
        assert_eq!(kept(&lines, "/rootfs"), ["/", "/rootfs", "/rootfs/var/lib/docker"]);
    }
}
