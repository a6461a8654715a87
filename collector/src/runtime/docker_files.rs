//! Where Docker and podman keep a container's files, from what they answer about it. Pure.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::docker_answer::Inspected;
use crate::sample::filesystem::{ContainerFiles, LayerPlace, LogPlace};
use crate::sample::identity::Runtime;
use crate::units::Bytes;

/// Where the files of a container are; `root` is the directory with all that the runtime keeps.
pub(super) fn files(runtime: Runtime, id: &str, answer: &Inspected, root: Option<&Path>) -> ContainerFiles {
    let graph = answer.graph_driver.as_ref();
    let driver =
        graph.and_then(|graph| graph.name.as_deref()).filter(|name| !name.is_empty()).or(answer.driver.as_deref());
    let none = HashMap::new();
    let data = graph.and_then(|graph| graph.data.as_ref()).unwrap_or(&none);
    let runtime_directory = runtime_directory(runtime, id, answer, root, driver);
    ContainerFiles {
        layer: driver.and_then(|driver| layer(runtime, id, driver, data, root)),
        log: log(answer, runtime_directory.as_deref()),
        driver: driver.map(str::to_owned),
        runtime_directory,
    }
}

fn layer(
    runtime: Runtime,
    id: &str,
    driver: &str,
    data: &HashMap<String, String>,
    root: Option<&Path>,
) -> Option<LayerPlace> {
    let path = |key: &str| data.get(key).and_then(|path| absolute(path));
    if let Some(upper) = path("UpperDir") {
        return Some(LayerPlace::Directory(upper));
    }
    let parent = match driver {
        "zfs" => {
            return Some(LayerPlace::Dataset { name: data.get("Dataset")?.clone(), mount_point: path("Mountpoint")? });
        }
        "devicemapper" => {
            let size = data.get("DeviceSize").and_then(|size| size.parse().ok()).map(Bytes);
            let name = data.get("DeviceName").filter(|name| !name.is_empty())?;
            return Some(LayerPlace::ThinDevice { name: name.clone(), size });
        }
        "vfs" => "vfs/dir",
        "btrfs" => "btrfs/subvolumes",
        "aufs" => "aufs/diff",
        _ => return None,
    };
    // Only Docker keeps a name for the directory of each container's layer there.
    let root = root.filter(|_| runtime == Runtime::Docker)?;
    let file = root.join("image").join(driver).join("layerdb/mounts").join(id).join("mount-id");
    Some(LayerPlace::NamedIn { file, parent: root.join(parent) })
}

/// Docker's `<root>/containers/<id>`, podman's `<root>/<driver>-containers/<id>`.
fn runtime_directory(
    runtime: Runtime,
    id: &str,
    answer: &Inspected,
    root: Option<&Path>,
    driver: Option<&str>,
) -> Option<PathBuf> {
    if let Some(root) = root {
        return Some(match runtime {
            Runtime::Podman => root.join(format!("{}-containers", driver?)).join(id),
            _ => root.join("containers").join(id),
        });
    }
    // One that uses another's network has that one's files there.
    let beside = [&answer.hostname_path, &answer.resolv_conf_path, &answer.log_path].into_iter().flatten();
    let mut parents = beside.filter_map(|path| Some(absolute(path)?.parent()?.to_path_buf()));
    parents.find(|parent| parent.file_name().is_some_and(|name| name.as_encoded_bytes() == id.as_bytes()))
}

/// The log file, or for Docker's own format, which has no path in the answer, its directory.
fn log(answer: &Inspected, runtime_directory: Option<&Path>) -> Option<LogPlace> {
    if let Some(path) = answer.log_path.as_deref().and_then(absolute) {
        return Some(LogPlace::File(path));
    }
    let config = answer.host_config.as_ref()?.log_config.as_ref()?;
    let is_local = config.kind.as_deref() == Some("local");
    Some(LogPlace::Directory(runtime_directory.filter(|_| is_local)?.join("local-logs")))
}

fn absolute(path: &str) -> Option<PathBuf> {
    path.starts_with('/').then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(runtime: Runtime, root: Option<&str>, json: &str) -> ContainerFiles {
        files(runtime, "abc", &serde_json::from_str(json).unwrap(), root.map(Path::new))
    }

    #[test]
    fn overlay() {
        let json = r#"{"GraphDriver":{"Name":"overlay2","Data":{"LowerDir":"/d/overlay2/x-init/diff:/d/overlay2/y/diff",
            "MergedDir":"/d/overlay2/x/merged","UpperDir":"/d/overlay2/x/diff","WorkDir":"/d/overlay2/x/work"}},
            "LogPath":"/d/containers/abc/abc-json.log","HostnamePath":"/d/containers/abc/hostname"}"#;
        let expected = ContainerFiles {
            driver: Some("overlay2".to_owned()),
            layer: Some(LayerPlace::Directory("/d/overlay2/x/diff".into())),
            runtime_directory: Some("/d/containers/abc".into()),
            log: Some(LogPlace::File("/d/containers/abc/abc-json.log".into())),
        };
        assert_eq!(found(Runtime::Docker, Some("/d"), json), expected);
        assert_eq!(found(Runtime::Docker, None, json), expected);
        let podman = found(Runtime::Podman, Some("/p"), json);
        assert_eq!(podman.runtime_directory, Some("/p/overlay2-containers/abc".into()));
    }

    #[test]
    fn drivers_without_a_directory_in_the_answer() {
        for (driver, parent) in [("vfs", "/d/vfs/dir"), ("btrfs", "/d/btrfs/subvolumes"), ("aufs", "/d/aufs/diff")] {
            let json = format!(r#"{{"GraphDriver":{{"Name":"{driver}","Data":null}}}}"#);
            let file = format!("/d/image/{driver}/layerdb/mounts/abc/mount-id").into();
            let named = LayerPlace::NamedIn { file, parent: parent.into() };
            assert_eq!(found(Runtime::Docker, Some("/d"), &json).layer, Some(named));
            assert_eq!(found(Runtime::Podman, Some("/d"), &json).layer, None);
            assert_eq!(found(Runtime::Docker, None, &json).layer, None);
        }
        let zfs = r#"{"GraphDriver":{"Name":"zfs","Data":{"Dataset":"tank/docker/x","Mountpoint":"/d/zfs/graph/x"}}}"#;
        let dataset = LayerPlace::Dataset { name: "tank/docker/x".to_owned(), mount_point: "/d/zfs/graph/x".into() };
        assert_eq!(found(Runtime::Docker, None, zfs).layer, Some(dataset));
        let thin = r#"{"GraphDriver":{"Name":"devicemapper","Data":{"DeviceId":"5","DeviceName":"docker-8:1-9-x",
            "DeviceSize":"10737418240"}}}"#;
        let device = LayerPlace::ThinDevice { name: "docker-8:1-9-x".to_owned(), size: Some(Bytes(10 << 30)) };
        assert_eq!(found(Runtime::Docker, None, thin).layer, Some(device));
    }

    #[test]
    fn what_is_not_reported_is_absent() {
        let none = ContainerFiles::default();
        assert_eq!(found(Runtime::Docker, None, "{}"), none);
        let other = r#"{"GraphDriver":{"Name":"overlay2","Data":{"UpperDir":"relative"}},"LogPath":"",
            "HostnamePath":"/d/containers/other/hostname"}"#;
        assert_eq!(found(Runtime::Docker, None, other), ContainerFiles { driver: Some("overlay2".to_owned()), ..none });
        let local = r#"{"HostConfig":{"LogConfig":{"Type":"local"}}}"#;
        let log = LogPlace::Directory("/d/containers/abc/local-logs".into());
        assert_eq!(found(Runtime::Docker, Some("/d"), local).log, Some(log));
        let journal = r#"{"HostConfig":{"LogConfig":{"Type":"journald"}}}"#;
        assert_eq!(found(Runtime::Docker, Some("/d"), journal).log, None);
    }
}
