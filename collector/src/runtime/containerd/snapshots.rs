//! Where containerd keeps a container's files, and what its snapshots take.
//!
//! Of a snapshot in use containerd finds out what it takes by looking at every file, for each question and at normal
//! priority. So it is asked only where a container's layer is no directory that can be looked at from here, and not by
//! its CRI plugin, which counts for itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::Deserialize;
use tonic::metadata::{Ascii, MetadataValue};

use super::ContainerdContainer;
use crate::runtime::cri_storage;
use crate::runtime::error::RuntimeError;
use crate::runtime::grpc::{AnyMessage, Connection};
use crate::sample::filesystem::{ContainerFiles, DiskUsage, LayerPlace, LogPlace, Measured, Method};
use crate::sample::identity::Runtime;
use crate::sample::images::{Holds, ImageStore, RuntimeLayer, RuntimeStorage};
use crate::units::{Bytes, WallTime};

const MOUNTS: &str = "/containerd.services.snapshots.v1.Snapshots/Mounts";
const USAGE: &str = "/containerd.services.snapshots.v1.Snapshots/Usage";
const PLUGINS: &str = "/containerd.services.introspection.v1.Introspection/Plugins";
/// What the CRI plugin notes about a container.
const METADATA: &str = "io.cri-containerd.container.metadata";
/// Keeps what images are made of.
const CONTENT: &str = "io.containerd.content.v1";

/// `MountsRequest` and `UsageRequest` of `containerd.services.snapshots.v1`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
struct SnapshotRequest {
    #[prost(string, tag = "1")]
    snapshotter: String,
    #[prost(string, tag = "2")]
    key: String,
}

/// `MountsResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct MountsResponse {
    #[prost(message, repeated, tag = "1")]
    mounts: Vec<SnapshotMount>,
}

/// `containerd.types.Mount`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct SnapshotMount {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    source: String,
    #[prost(string, repeated, tag = "4")]
    options: Vec<String>,
}

/// `UsageResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct UsageResponse {
    #[prost(int64, tag = "1")]
    size: i64,
    #[prost(int64, tag = "2")]
    inodes: i64,
}

/// `containerd.services.introspection.v1.PluginsRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct PluginsRequest {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

/// `PluginsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct PluginsResponse {
    #[prost(message, repeated, tag = "1")]
    plugins: Vec<Plugin>,
}

/// `Plugin`.
#[derive(Clone, PartialEq, prost::Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(map = "string, string", tag = "5")]
    exports: std::collections::HashMap<String, String>,
}

/// The part of the CRI plugin's notes that is looked at.
#[derive(Deserialize)]
struct Noted {
    #[serde(rename = "Metadata")]
    metadata: SnapshotMetadata,
}

#[derive(Deserialize)]
struct SnapshotMetadata {
    #[serde(rename = "LogPath")]
    log_path: String,
}

/// A snapshot that only containerd knows about.
#[derive(Clone, Debug)]
struct AskedSnapshot {
    namespace: MetadataValue<Ascii>,
    snapshot: SnapshotRequest,
}

/// The snapshots of the containers that were asked about.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshots(Arc<Mutex<BTreeMap<String, AskedSnapshot>>>);

impl Snapshots {
    /// Where the files of a container are.
    pub(super) async fn files(
        &self,
        connection: &Connection,
        namespace: &MetadataValue<Ascii>,
        id: &str,
        container: &ContainerdContainer,
    ) -> ContainerFiles {
        let ContainerdContainer { snapshotter, snapshot_key, extensions, .. } = container;
        let log = extensions.get(METADATA).and_then(log);
        if snapshotter.is_empty() || snapshot_key.is_empty() {
            return ContainerFiles { log, ..ContainerFiles::default() };
        }
        let snapshot = SnapshotRequest { snapshotter: snapshotter.clone(), key: snapshot_key.clone() };
        let layer = match connection.call::<_, MountsResponse>(MOUNTS, snapshot.clone(), Some(namespace)).await {
            Ok(MountsResponse { mounts }) => {
                let layer = layer(&mounts);
                if layer.is_none() {
                    let asked = AskedSnapshot { namespace: namespace.clone(), snapshot };
                    self.lock().insert(id.to_owned(), asked);
                }
                layer
            }
            Err(error) => {
                tracing::debug!(container = id, %error, "containerd does not report where a container's layer is");
                None
            }
        };
        ContainerFiles { driver: Some(snapshotter.clone()), layer, runtime_directory: None, log }
    }

    /// What containerd reports about disks.
    pub(super) async fn storage(&self, connection: &Connection) -> RuntimeStorage {
        let mut reported = cri_storage::ask(connection, Runtime::Containerd).await;
        if reported.stores.is_empty() {
            reported.stores.extend(content(connection).await);
        }
        let asked: Vec<_> = self.lock().iter().map(|(id, asked)| (id.clone(), asked.clone())).collect();
        for (id, AskedSnapshot { namespace, snapshot }) in asked {
            if reported.layers.contains_key(&id) {
                continue;
            }
            match connection.call::<_, UsageResponse>(USAGE, snapshot, Some(&namespace)).await {
                Ok(usage) => {
                    reported.layers.insert(id, RuntimeLayer { measured: measured(usage), directory: None });
                }
                Err(RuntimeError::NoSuchContainer) => {
                    self.lock().remove(&id);
                }
                Err(error) => {
                    tracing::debug!(container = id, %error, "containerd does not report what a snapshot takes");
                }
            }
        }
        reported
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, AskedSnapshot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directory with what the container wrote, or where a snapshot is a copy of the image, with all its files.
fn layer(mounts: &[SnapshotMount]) -> Option<LayerPlace> {
    let mount = mounts.last()?;
    let path = match mount.kind.as_str() {
        "overlay" | "fuse3.fuse-overlayfs" => {
            mount.options.iter().find_map(|option| option.strip_prefix("upperdir="))?
        }
        // The snapshotter `native`, and `overlayfs` for an image without layers.
        "bind" => &mount.source,
        _ => return None,
    };
    path.starts_with('/').then(|| LayerPlace::Directory(PathBuf::from(path)))
}

fn log(noted: &AnyMessage) -> Option<LogPlace> {
    let noted = serde_json::from_slice::<Noted>(&noted.value).ok()?;
    cri_storage::log_place(&noted.metadata.log_path)
}

fn measured(UsageResponse { size, inodes }: UsageResponse) -> Measured {
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    // Snapshotters that count blocks of a device have no inodes.
    let usage = DiskUsage { bytes: Bytes(number(size)), inodes: Some(number(inodes)).filter(|inodes| *inodes > 0) };
    Measured { usage, at: WallTime::from(SystemTime::now()), by: Method::Runtime }
}

/// Where images are, without the CRI plugin.
async fn content(connection: &Connection) -> Option<ImageStore> {
    let request = PluginsRequest { filters: vec![format!("type=={CONTENT}")] };
    let plugins = connection.call::<_, PluginsResponse>(PLUGINS, request, None).await.ok()?.plugins;
    let root = plugins.iter().filter(|plugin| plugin.kind == CONTENT).find_map(|plugin| plugin.exports.get("root"))?;
    let directory = Path::new(root).parent().filter(|_| root.starts_with('/'))?.to_path_buf();
    Some(ImageStore { runtime: Runtime::Containerd, directory, holds: Holds::Images, used: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(kind: &str, source: &str, options: &[&str]) -> Option<LayerPlace> {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        layer(&[SnapshotMount { kind: kind.to_owned(), source: source.to_owned(), options }])
    }

    #[test]
    fn layers_by_their_mounts() {
        let directory = |path: &str| Some(LayerPlace::Directory(path.into()));
        let overlay = ["index=off", "workdir=/s/7/work", "upperdir=/s/7/fs", "lowerdir=/s/6/fs:/s/5/fs"];
        assert_eq!(mounted("overlay", "overlay", &overlay), directory("/s/7/fs"));
        assert_eq!(mounted("overlay", "overlay", &["lowerdir=/s/6/fs"]), None);
        assert_eq!(mounted("bind", "/s/1", &["rw", "rbind"]), directory("/s/1"));
        assert_eq!(mounted("ext4", "/dev/mapper/pool-snap-3", &[]), None);
        assert_eq!(mounted("zfs", "tank/9", &[]), None);
        assert_eq!(layer(&[]), None);
    }

    #[test]
    fn the_cri_plugins_notes() {
        let note = |text: &str| log(&AnyMessage { type_url: String::new(), value: text.as_bytes().to_vec() });
        let json = r#"{"Version":"v1","Metadata":{"ID":"x","LogPath":"/var/log/pods/a_b_c/app/3.log"}}"#;
        assert_eq!(note(json), Some(LogPlace::Directory("/var/log/pods/a_b_c/app".into())));
        assert_eq!((note("{}"), note(r#"{"Metadata":{"LogPath":""}}"#)), (None, None));
    }

    #[test]
    fn usage() {
        let usage = |size, inodes| measured(UsageResponse { size, inodes }).usage;
        assert_eq!(usage(4096, 3), DiskUsage { bytes: Bytes(4096), inodes: Some(3) });
        assert_eq!(usage(4096, 0).inodes, None);
        assert_eq!(usage(-1, -1), DiskUsage { bytes: Bytes(0), inodes: None });
    }
}
