//! Containers' files in a temporary directory.

use std::fs;

use super::super::pace::Budget;
use super::*;
use crate::kernel::machine::container_mounts::ListedMounts;
use crate::reader::machine;
use crate::sample::machine::Filesystems;

fn filesystems() -> Filesystems {
    machine::filesystems(&HostRoots::default(), ListedMounts::All, Vec::new(), WallTime(1))
}

struct Looked {
    storage: Storage,
    errors: Vec<ReadError>,
}

fn look_below(rootfs: &Path, files: &ContainerFiles, reported: Option<&RuntimeLayer>) -> Looked {
    let roots = HostRoots { rootfs: rootfs.into(), ..HostRoots::default() };
    let filesystems = filesystems();
    let mut pace = Pace::new(Budget::new());
    let mut survey = Survey { roots: &roots, pace: &mut pace, errors: Vec::new() };
    let known = Known { files, reported, filesystems: &filesystems.list, inodes: None };
    let storage = survey.storage(known, files.layer.clone());
    Looked { storage, errors: survey.errors }
}

fn look(files: &ContainerFiles) -> Storage {
    let Looked { storage, errors } = look_below(Path::new("/"), files, None);
    assert!(errors.is_empty(), "{errors:?}");
    storage
}

fn reported(bytes: u64, directory: Option<&Path>) -> RuntimeLayer {
    let measured = measured(Bytes(bytes), Some(3), Method::Runtime);
    RuntimeLayer { measured, directory: directory.map(Path::to_path_buf) }
}

#[test]
fn a_docker_container() {
    let root = tempfile::tempdir().unwrap();
    let (layer, own) = (root.path().join("overlay2/x/diff"), root.path().join("containers/abc"));
    fs::create_dir_all(&layer).unwrap();
    fs::create_dir_all(&own).unwrap();
    let log = own.join("abc-json.log");
    fs::write(&log, vec![1; 300_000]).unwrap();
    fs::write(own.join("hostname"), "x").unwrap();
    let files = ContainerFiles {
        driver: Some("overlay2".to_owned()),
        layer: Some(LayerPlace::Directory(layer.clone())),
        runtime_directory: Some(own),
        log: Some(LogPlace::File(log)),
    };
    let before = look(&files);
    fs::write(layer.join("data"), vec![1; 5 << 20]).unwrap();
    let after = look(&files);
    let (one, two) = (before.layer.unwrap(), after.layer.unwrap());
    assert_eq!((one.by, two.usage.inodes), (Method::Walk, one.usage.inodes.map(|inodes| inodes + 1)));
    let grown = two.usage.bytes.0 - one.usage.bytes.0;
    assert!((5 << 20..(5 << 20) + 65_536).contains(&grown), "{grown}");
    let (logs, beside) = (after.logs.unwrap().usage, after.runtime_files.unwrap().usage);
    assert_eq!((logs.inodes, beside.inodes), (Some(1), Some(3)));
    assert!(logs.bytes.0 >= 300_000 && beside.bytes > logs.bytes, "{logs:?} {beside:?}");
    let total = after.total().unwrap();
    assert_eq!(total.bytes.0, two.usage.bytes.0 + beside.bytes.0, "logs are not counted twice");
    assert_eq!(after.at(), after.logs.map(|logs| logs.at));
    // Whatever file system the temporary directory is on: its device is the list's.
    if let Some(found) = filesystem_of(&HostRoots::default(), &layer, &filesystems().list) {
        let on = after.filesystem.unwrap();
        assert_eq!((&on.device, on.capacity), (&found.device, found.capacity));
    }
}

#[test]
fn a_layer_that_has_its_name_in_a_file() {
    let root = tempfile::tempdir().unwrap();
    let parent = root.path().join("vfs/dir");
    fs::create_dir_all(parent.join("layer1")).unwrap();
    fs::write(parent.join("layer1/x"), "x").unwrap();
    let file = root.path().join("mount-id");
    let place = LayerPlace::NamedIn { file: file.clone(), parent };
    let files = ContainerFiles { driver: Some("vfs".to_owned()), layer: Some(place), ..ContainerFiles::default() };
    assert_eq!(look(&files), Storage::default(), "no such file");
    for (name, inodes) in [("layer1\n", Some(2)), ("gone", None), ("../..", None), ("..", None), ("", None)] {
        fs::write(&file, name).unwrap();
        assert_eq!(look(&files).layer.and_then(|layer| layer.usage.inodes), inodes, "{name:?}");
    }
}

#[test]
fn paths_are_the_hosts() {
    let rootfs = tempfile::tempdir().unwrap();
    fs::create_dir_all(rootfs.path().join("var/lib/x/diff")).unwrap();
    let layer = Some(LayerPlace::Directory("/var/lib/x/diff".into()));
    let files = ContainerFiles { layer, ..ContainerFiles::default() };
    let found = look_below(rootfs.path(), &files, None).storage;
    assert_eq!(found.layer.unwrap().usage.inodes, Some(1));
    assert_eq!(look(&files).layer, None, "not the same path of the own root");
}

#[test]
fn what_the_runtime_counts_is_not_counted_again() {
    let root = tempfile::tempdir().unwrap();
    let layer = Some(LayerPlace::Directory(root.path().into()));
    let files = ContainerFiles { layer, ..ContainerFiles::default() };
    let reported_about = reported(4096, Some(root.path()));
    let found = look_below(Path::new("/"), &files, Some(&reported_about)).storage;
    assert_eq!(found.layer, Some(reported_about.measured));
    // And it is all that is known where the files cannot be seen.
    let elsewhere = look_below(root.path(), &files, Some(&reported(4096, None)));
    assert_eq!(elsewhere.storage.layer.unwrap().by, Method::Runtime);
    assert!(elsewhere.errors.is_empty() && elsewhere.storage.filesystem.is_none());
}

#[test]
fn file_systems_by_path() {
    let filesystem = |device: &str, mount_point: &str, fs_type: &str| Filesystem {
        device: device.to_owned(),
        mount_point: mount_point.to_owned(),
        fs_type: fs_type.to_owned(),
        major: 999,
        ..Filesystem::default()
    };
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).display().to_string();
    fs::create_dir_all(root.path().join("pool/a/b")).unwrap();
    std::os::unix::fs::symlink("pool", root.path().join("link")).unwrap();
    let list = [
        filesystem("/dev/sda1", "/", "ext4"),
        filesystem("/dev/sdb1", &at(""), "btrfs"),
        filesystem("/dev/sdc1", &at("pool"), "btrfs"),
        filesystem("/dev/sdd1", &at("pool/a"), "ext4"),
    ];
    let found = |path: &str| {
        let found = filesystem_of(&HostRoots::default(), &root.path().join(path), &list);
        found.map(|filesystem| filesystem.device.as_str())
    };
    // No number is that of the temporary directory: only a btrfs, whose subvolumes have others, is known by its path.
    assert_eq!(found("link/a/b"), Some("/dev/sdc1"));
    assert_eq!(found("none"), None);
    assert_eq!(filesystem_of(&HostRoots::default(), Path::new("/proc/self"), &list[2..]), None);
}
