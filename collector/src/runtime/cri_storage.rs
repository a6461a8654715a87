//! What the Kubernetes container runtime interface, version 1, reports about disks: CRI-O's, and that of containerd's
//! plugin. The runtimes count now and then by themselves, so asking costs them little.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::grpc::{Connection, Empty};
use crate::sample::filesystem::{DiskUsage, LogPlace, Measured, Method};
use crate::sample::identity::Runtime;
use crate::sample::images::{Holds, ImageStore, RuntimeLayer, RuntimeStorage};
use crate::units::{Bytes, WallTime};

const IMAGE_FS_INFO: &str = "/runtime.v1.ImageService/ImageFsInfo";
const LIST_STATS: &str = "/runtime.v1.RuntimeService/ListContainerStats";
/// The status of a container.
pub(super) const CONTAINER: &str = "/runtime.v1.RuntimeService/ContainerStatus";
/// The status of a pod's sandbox.
pub(super) const SANDBOX: &str = "/runtime.v1.RuntimeService/PodSandboxStatus";

/// `ImageFsInfoResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ImageFsInfo {
    #[prost(message, repeated, tag = "1")]
    images: Vec<FilesystemUsage>,
    /// Since 1.29: where the containers' layers are, apart from the images.
    #[prost(message, repeated, tag = "2")]
    containers: Vec<FilesystemUsage>,
}

/// `FilesystemUsage`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct FilesystemUsage {
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "1")]
    timestamp: i64,
    #[prost(message, optional, tag = "2")]
    id: Option<FilesystemIdentifier>,
    #[prost(message, optional, tag = "3")]
    used_bytes: Option<Number>,
    #[prost(message, optional, tag = "4")]
    inodes_used: Option<Number>,
}

/// `FilesystemIdentifier`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct FilesystemIdentifier {
    #[prost(string, tag = "1")]
    mount_point: String,
}

/// `UInt64Value`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Number {
    #[prost(uint64, tag = "1")]
    value: u64,
}

/// `ListContainerStatsResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Statistics {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<ContainerStats>,
}

/// `ContainerStats`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ContainerStats {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
    #[prost(message, optional, tag = "4")]
    writable_layer: Option<FilesystemUsage>,
}

/// `ContainerAttributes`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Attributes {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

/// `ContainerStatusRequest` and `PodSandboxStatusRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StatusRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

/// `ContainerStatusResponse` and `PodSandboxStatusResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
    /// What only this runtime reports; of CRI-O a JSON object called `info`.
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

/// The part of CRI-O's `info` that is looked at.
#[derive(Default, Deserialize)]
struct Info {
    #[serde(default)]
    pid: u32,
    #[serde(default, rename = "runtimeSpec")]
    specification: Specification,
}

#[derive(Default, Deserialize)]
struct Specification {
    #[serde(default)]
    linux: Linux,
}

#[derive(Default, Deserialize)]
struct Linux {
    #[serde(default, rename = "cgroupsPath")]
    cgroups_path: String,
}

/// What the status of a container or a sandbox reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// Where its log is.
    pub(super) log: Option<LogPlace>,
    /// Its first process.
    pub(super) process: Option<u32>,
    /// The cgroup that was asked for, as in a runtime specification; empty when it is not reported.
    pub(super) cgroups_path: String,
}

/// `ContainerStatus`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ContainerStatus {
    #[prost(string, tag = "15")]
    log_path: String,
}

/// What a runtime reports; what it does not answer is absent.
pub(super) async fn ask(connection: &Connection, runtime: Runtime) -> RuntimeStorage {
    let stores = match connection.call::<_, ImageFsInfo>(IMAGE_FS_INFO, Empty {}, None).await {
        Ok(info) => stores(runtime, info),
        Err(error) => {
            tracing::debug!(runtime = runtime.namespace(), %error, "the runtime does not report where its images are");
            Vec::new()
        }
    };
    let layers = match connection.call::<_, Statistics>(LIST_STATS, Empty {}, None).await {
        Ok(statistics) => layers(statistics),
        Err(error) => {
            tracing::debug!(
                runtime = runtime.namespace(), %error,
                "the runtime does not report the disk usage of its containers"
            );
            BTreeMap::new()
        }
    };
    RuntimeStorage { runtime, stores, layers }
}

/// The status of a container or a sandbox, as far as it is reported.
pub(super) async fn status(connection: &Connection, method: &'static str, id: &str) -> Status {
    let request = StatusRequest { id: id.to_owned(), verbose: true };
    let answer = connection.call::<_, StatusResponse>(method, request, None).await.unwrap_or_default();
    // A sandbox's has something else in the place of the log's path.
    let path = answer.status.filter(|_| method == CONTAINER).map(|status| status.log_path).unwrap_or_default();
    let info: Info = answer.info.get("info").and_then(|info| serde_json::from_str(info).ok()).unwrap_or_default();
    Status {
        log: log_place(&path),
        process: Some(info.pid).filter(|pid| *pid > 0),
        cgroups_path: info.specification.linux.cgroups_path,
    }
}

/// The kubelet names a log after the number of the run, `<pod>/<container>/0.log`, and counts everything in its
/// directory, which holds those of earlier runs too. A log of another name may share its directory with others.
pub(super) fn log_place(path: &str) -> Option<LogPlace> {
    let (file, path) = (Path::new(path), path.starts_with('/').then_some(path)?);
    let run = file.file_name()?.to_str()?.strip_suffix(".log");
    let is_kubelets = run.is_some_and(|run| !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_digit()));
    let directory = file.parent().filter(|_| is_kubelets).map(Path::to_path_buf);
    Some(directory.map_or_else(|| LogPlace::File(path.into()), LogPlace::Directory))
}

fn stores(runtime: Runtime, info: ImageFsInfo) -> Vec<ImageStore> {
    let ImageFsInfo { images, containers } = info;
    let store = |holds| {
        move |usage: FilesystemUsage| {
            let used = measured(&usage);
            Some(ImageStore { runtime, directory: directory(usage)?, holds, used })
        }
    };
    let images: Vec<_> = images.into_iter().filter_map(store(Holds::Images)).collect();
    // The same place again where they are together.
    let apart = |store: &ImageStore| images.iter().all(|images| images.directory != store.directory);
    let containers: Vec<_> = containers.into_iter().filter_map(store(Holds::Containers)).filter(apart).collect();
    images.into_iter().chain(containers).collect()
}

fn layers(statistics: Statistics) -> BTreeMap<String, RuntimeLayer> {
    let layer = |stats: ContainerStats| {
        let usage = stats.writable_layer?;
        let measured = measured(&usage)?;
        Some((stats.attributes?.id, RuntimeLayer { measured, directory: directory(usage) }))
    };
    statistics.containers.into_iter().filter_map(layer).collect()
}

fn measured(usage: &FilesystemUsage) -> Option<Measured> {
    let at = u64::try_from(usage.timestamp).ok().filter(|at| *at > 0)?;
    let disk =
        DiskUsage { bytes: Bytes(usage.used_bytes?.value), inodes: usage.inodes_used.map(|inodes| inodes.value) };
    Some(Measured { usage: disk, at: WallTime(at), by: Method::Runtime })
}

fn directory(usage: FilesystemUsage) -> Option<PathBuf> {
    usage.id.map(|id| id.mount_point).filter(|path| path.starts_with('/')).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(timestamp: i64, path: &str, bytes: u64) -> FilesystemUsage {
        FilesystemUsage {
            timestamp,
            id: Some(FilesystemIdentifier { mount_point: path.to_owned() }),
            used_bytes: Some(Number { value: bytes }),
            inodes_used: None,
        }
    }

    #[test]
    fn containers_apart_from_images() {
        let info = ImageFsInfo {
            images: vec![usage(5, "/var/lib/containers/storage/overlay-images", 7)],
            containers: vec![usage(5, "/var/lib/containers/storage/overlay-containers", 1)],
        };
        let found = stores(Runtime::CriO, info.clone());
        let holds: Vec<_> = found.iter().map(|store| store.holds).collect();
        assert_eq!(holds, [Holds::Images, Holds::Containers]);
        assert_eq!(found[0].used.unwrap().usage.bytes, Bytes(7));
        let together = ImageFsInfo { containers: info.images.clone(), ..info };
        assert_eq!(stores(Runtime::CriO, together).len(), 1);
        let nowhere = ImageFsInfo { images: vec![usage(5, "", 7)], containers: Vec::new() };
        assert_eq!(stores(Runtime::CriO, nowhere), []);
    }

    #[test]
    fn what_was_not_counted_yet_is_absent() {
        let stats = |id: &str, writable_layer| ContainerStats {
            attributes: Some(Attributes { id: id.to_owned() }),
            writable_layer,
        };
        let uncounted = FilesystemUsage { used_bytes: None, ..usage(9, "/x", 0) };
        let containers = vec![
            stats("a", Some(usage(9, "/x", 4096))),
            stats("b", Some(uncounted)),
            stats("c", None),
            stats("d", Some(usage(0, "/x", 0))),
        ];
        let found = layers(Statistics { containers });
        let at = WallTime(9);
        let usage = DiskUsage { bytes: Bytes(4096), inodes: None };
        let expected =
            RuntimeLayer { measured: Measured { usage, at, by: Method::Runtime }, directory: Some("/x".into()) };
        assert_eq!(found, BTreeMap::from([("a".to_owned(), expected)]));
    }

    #[test]
    fn logs_of_all_runs() {
        let directory = Some(LogPlace::Directory("/var/log/pods/ns_pod_uid/app".into()));
        assert_eq!(log_place("/var/log/pods/ns_pod_uid/app/0.log"), directory);
        assert_eq!(log_place("/logs/app.log"), Some(LogPlace::File("/logs/app.log".into())));
        assert_eq!((log_place(""), log_place("x/0.log"), log_place("/")), (None, None, None));
    }
}
