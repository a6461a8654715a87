//! What a pod of Kubernetes keeps on the node beside its containers' layers: volumes, logs, and the kubelet's files
//! about it. Measured seldom, like what containers' files take.

use std::collections::BTreeMap;

use super::filesystem::{DiskUsage, Measured, Storage};
use crate::units::{Bytes, WallTime};

/// A pod's files, as last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFiles {
    /// Name and namespace as the pod's log directory has them; absent without one.
    pub name: Option<PodName>,
    /// Volumes below the kubelet's directory of the pod: those of the pod's own first, each part by name.
    pub volumes: Vec<Volume>,
    /// Log files by container: everything directly in `<log directory>/<container>` that is no directory. A directory
    /// without files is absent.
    pub logs: BTreeMap<String, Measured>,
    /// Log files directly in the pod's log directory; absent when there are none.
    pub pod_logs: Option<Measured>,
    /// The kubelet's files that containers see: `etc-hosts` and messages of containers that ended. Absent when there are
    /// none.
    pub kubelet_files: Option<Measured>,
}

/// What a pod is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

/// A volume that the kubelet has made or mounted for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The directory's name: the volume's in the pod's description, or that of the persistent volume.
    pub name: String,
    /// Whose space it takes.
    pub kind: VolumeKind,
    /// The file system it is on.
    pub filesystem: VolumeFilesystem,
    /// What is in it; where that is the same, what is used of its file system. Absent when not all of it may be read.
    pub used: Option<DiskUsage>,
    /// When this was found out.
    pub at: WallTime,
}

/// Whose space a volume takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VolumeKind {
    /// It lies on the node's disk and counts as the pod's (`emptyDir` on the default medium, `configMap`, `gitRepo`).
    LocalEphemeral,
    /// It ends with the pod and takes memory, or counts as the kubelet's (`secret`, `projected`, `emptyDir` in memory).
    Ephemeral,
    /// It has a life of its own.
    Persistent,
}

/// The size of a volume's file system: `statvfs(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeFilesystem {
    /// `f_blocks` times `f_frsize`.
    pub capacity: Bytes,
    /// `f_bavail` times `f_frsize`.
    pub available: Bytes,
    /// `f_files`; 0 where inodes are made as needed.
    pub inodes: u64,
    /// `f_ffree`.
    pub inodes_free: u64,
}

/// Log files of a container of this name: where the kubelet has them, else where the runtime says they are.
pub fn logs(files: Option<&PodFiles>, name: &str, storage: Option<&Storage>) -> Option<Measured> {
    let in_pod = files.and_then(|files| files.logs.get(name)).copied();
    in_pod.or_else(|| storage?.logs)
}

/// What a pod with these containers takes of the node's own disk, and when the newest of it was true. `None` unless all of it
/// is known: layers, logs, volumes.
pub fn ephemeral_storage<'a>(
    containers: impl IntoIterator<Item = (&'a str, Option<&'a Storage>)>,
    files: Option<&PodFiles>,
) -> Option<(DiskUsage, WallTime)> {
    let mut sum = DiskUsage { bytes: Bytes(0), inodes: Some(0) };
    let mut newest: Option<WallTime> = None;
    let mut add = |usage: DiskUsage, at: WallTime| {
        sum = sum.plus(usage);
        newest = newest.max(Some(at));
    };
    for (name, storage) in containers {
        let layer = storage?.layer?;
        add(layer.usage, layer.at);
        if let Some(logs) = logs(files, name, storage) {
            add(logs.usage, logs.at);
        }
    }
    if let Some(files) = files {
        for volume in files.volumes.iter().filter(|volume| volume.kind == VolumeKind::LocalEphemeral) {
            add(volume.used?, volume.at);
        }
        for measured in [files.pod_logs, files.kubelet_files].into_iter().flatten() {
            add(measured.usage, measured.at);
        }
    }
    Some((sum, newest?))
}
