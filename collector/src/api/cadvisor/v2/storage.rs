//! v2 `FsInfo`: the machine's file systems and how full they are.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::http::openapi::parts::parameter;
use crate::api::wire::json::{Quoted, to_bytes};
use crate::api::wire::time::GoTime;
use crate::sample::identity::Runtime;
use crate::sample::machine::{Filesystem, FilesystemRole, Filesystems};
use crate::units::WallTime;

/// Which file systems are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    Labelled(String),
    /// Answered with an object, where the others are answered with a list.
    WithUuid(String),
}

impl Wanted {
    /// Reads a query string; an id goes before a label.
    pub(super) fn parse(query: &str) -> Self {
        let value = |key: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            let (_, value) = pairs.find(|(name, _)| name == key)?;
            (!value.is_empty()).then(|| value.into_owned())
        };
        let labelled = || value("label").map_or(Self::All, Self::Labelled);
        value("uuid").map_or_else(labelled, Self::WithUuid)
    }
}

/// There is no such file system, in cAdvisor's words.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StorageError {
    /// No file system has the label.
    #[error("non-existent label {}", Quoted(.0.as_bytes()))]
    Label(String),
    /// No file system has the id.
    #[error("cadvisor: no such device")]
    Uuid,
}

/// The parameters, for the API's description.
pub(crate) fn parameters() -> Vec<Value> {
    let text = json!({ "type": "string" });
    vec![
        parameter("label", &text, "File systems with this label, such as `root`."),
        parameter("uuid", &text, "The file system with this id, as one object; goes before the label."),
    ]
}

/// The schema of an answer: a list, or one file system where its id was asked for.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<FsInfo<'_>>();
    json_schema!({ "anyOf": [{ "type": "array", "items": one }, one] })
}

/// A file system of the machine and how full it is, in bytes.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "v2.FsInfo")]
struct FsInfo<'a> {
    timestamp: GoTime,
    device: &'a str,
    mountpoint: &'a str,
    capacity: u64,
    available: u64,
    usage: u64,
    /// `null` when there are none.
    labels: Option<Vec<&'static str>>,
    inodes: u64,
    inodes_free: u64,
}

/// What a file system is known as. cAdvisor has labels for Docker and CRI-O only.
fn labels(filesystem: &Filesystem) -> impl Iterator<Item = &'static str> {
    filesystem.roles.iter().map(|role| match role {
        FilesystemRole::Root => "root",
        FilesystemRole::Images(Runtime::Docker) => "docker-images",
        FilesystemRole::Images(Runtime::Podman) => "podman-images",
        FilesystemRole::Images(Runtime::Containerd) => "containerd-images",
        FilesystemRole::Images(Runtime::CriO) => "crio-images",
        FilesystemRole::Containers(Runtime::Docker) => "docker-containers",
        FilesystemRole::Containers(Runtime::Podman) => "podman-containers",
        FilesystemRole::Containers(Runtime::Containerd) => "containerd-containers",
        FilesystemRole::Containers(Runtime::CriO) => "crio-containers",
    })
}

impl<'a> FsInfo<'a> {
    fn new(filesystem: &'a Filesystem, at: WallTime) -> Self {
        Self {
            timestamp: GoTime(Some(at)),
            device: &filesystem.device,
            mountpoint: &filesystem.mount_point,
            capacity: filesystem.capacity.0,
            available: filesystem.available.0,
            usage: filesystem.usage.0,
            labels: Some(labels(filesystem).collect::<Vec<_>>()).filter(|labels| !labels.is_empty()),
            inodes: filesystem.inodes,
            inodes_free: filesystem.inodes_free,
        }
    }
}

/// Renders the file systems that are wanted.
pub(super) fn render(filesystems: &Filesystems, wanted: &Wanted) -> Result<bytes::Bytes, StorageError> {
    let Filesystems { at, list, .. } = filesystems;
    match wanted {
        Wanted::All => Ok(to_bytes(&list.iter().map(|fs| FsInfo::new(fs, *at)).collect::<Vec<_>>())),
        Wanted::Labelled(wanted) => {
            let labelled = list.iter().filter(|fs| labels(fs).any(|label| label == wanted));
            let labelled: Vec<_> = labelled.map(|fs| FsInfo::new(fs, *at)).collect();
            if labelled.is_empty() { Err(StorageError::Label(wanted.clone())) } else { Ok(to_bytes(&labelled)) }
        }
        Wanted::WithUuid(wanted) => {
            let found = list.iter().find(|fs| fs.uuid.as_ref() == Some(wanted)).ok_or(StorageError::Uuid)?;
            Ok(to_bytes(&FsInfo::new(found, *at)))
        }
    }
}
