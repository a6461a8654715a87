//! The file systems of the machine, and how big they are.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::container_mounts::{ListedMounts, without_containers};
use super::{Survey, mounts, statfs};
use crate::kernel::HostRoots;
use crate::kernel::machine::mounts::Mount;

/// How long all file systems together may take to report their size.
const LIMIT: Duration = Duration::from_secs(2);

/// Types that are listed, beside those that begin with `ext` or `nfs`. cAdvisor's list: what stores files for good, and
/// what containers use as their root or scratch space.
const LISTED_TYPES: [&str; 18] = [
    "btrfs",
    "devicemapper",
    "exfat",
    "f2fs",
    "fat",
    "hfs",
    "hfsplus",
    "iso9660",
    "jfs",
    "msdos",
    "ntfs",
    "overlay",
    "reiserfs",
    "squashfs",
    "tmpfs",
    "udf",
    "vfat",
    "xfs",
];

/// A file system of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What distinguishes it from the others: the mount's source; for a tmpfs its mount point, and for an overlay
    /// `<source>_<major>-<minor>`, because the source of these is a mere word.
    pub device: String,
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The kernel's name of its type.
    pub fs_type: String,
}

impl Partition {
    fn of(mount: &Mount, device: String) -> Self {
        let Mount { major, minor, mount_point, fs_type, .. } = mount.clone();
        Self { device, major, minor, mount_point, fs_type }
    }

    /// Whether asking for its size may wait for another machine.
    fn is_remote(&self) -> bool {
        self.fs_type.starts_with("nfs")
    }

    /// Whether files on it have another `st_dev` than the mount table says: every btrfs subvolume has its own.
    fn has_own_device_numbers(&self) -> bool {
        self.fs_type == "btrfs"
    }
}

/// Whether file systems of this type are listed.
fn is_listed(fs_type: &str) -> bool {
    fs_type.starts_with("ext") || fs_type.starts_with("nfs") || fs_type == "zfs" || LISTED_TYPES.contains(&fs_type)
}

/// The file systems in a mount table, in the order of their first mount.
///
/// A source that is mounted again (a bind mount) counts once, at its first mount point, but the root directory's mount
/// goes before any other. An overlay as root directory is there twice: under its made-up name like every overlay, and
/// under its plain source, which is what clients look up for the root directory.
pub fn partitions<'a>(mounts: impl IntoIterator<Item = &'a Mount>) -> Vec<Partition> {
    let mounts: Vec<&Mount> = mounts.into_iter().collect();
    let mut partitions = Vec::<Partition>::new();
    let mut seen = HashSet::new();
    for mount in mounts.iter().filter(|mount| is_listed(&mount.fs_type)) {
        let device = match mount.fs_type.as_str() {
            "tmpfs" => mount.mount_point.to_string_lossy().into_owned(),
            "overlay" => format!("{}_{}-{}", mount.source, mount.major, mount.minor),
            _ => mount.source.clone(),
        };
        if seen.insert(device.clone()) {
            partitions.push(Partition::of(mount, device));
        } else if mount.fs_type == "tmpfs" {
            // The same mount point: the later mount hides the earlier one.
            replace(&mut partitions, Partition::of(mount, device));
        }
    }
    // Of several mounts on the root directory the last one is what is seen.
    let root = mounts.iter().rfind(|mount| mount.mount_point.as_os_str() == "/");
    if let Some(root) = root.filter(|root| is_listed(&root.fs_type)) {
        replace(&mut partitions, Partition::of(root, root.source.clone()));
    }
    partitions
}

/// Puts the partition in the place of the one with its device, or at the end.
fn replace(partitions: &mut Vec<Partition>, partition: Partition) {
    match partitions.iter_mut().find(|other| other.device == partition.device) {
        Some(other) => *other = partition,
        None => partitions.push(partition),
    }
}

/// A file system and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Which one. The device number of a btrfs is that of its files, not the mount table's.
    pub partition: Partition,
    /// Its size.
    pub size: statfs::Size,
}

/// The machine's file systems that report their size within two seconds together; those on other machines are asked
/// last.
///
/// One that is hidden below another mount, or not visible to this process, is left out: what would be measured is
/// another file system.
pub fn filesystems(survey: &mut Survey, roots: &HostRoots, listed: ListedMounts) -> Vec<Filesystem> {
    let Some((table, odd)) = survey.keep(mounts::read(roots)) else { return Vec::new() };
    survey.note(odd);
    let mut partitions = match listed {
        ListedMounts::All => partitions(&table.mounts),
        ListedMounts::Machines => partitions(without_containers(&table.mounts, &roots.rootfs)),
    };
    partitions.sort_by_key(Partition::is_remote);
    partitions.retain(|partition| !(statfs::is_crowded() && partition.is_remote()));
    let paths = partitions.iter().map(|partition| table.path(&partition.mount_point)).collect::<Vec<_>>();
    let sizes = statfs::sizes(&paths, LIMIT);
    let measured = partitions.into_iter().zip(sizes).filter_map(|(mut partition, size)| {
        let size = survey.keep(size)?;
        if partition.has_own_device_numbers() {
            (partition.major, partition.minor) = size.device;
        }
        ((partition.major, partition.minor) == size.device).then_some(Filesystem { partition, size })
    });
    measured.collect()
}

/// The ids of file systems by their block devices' names, from the links in `/dev/disk/by-uuid`, which udev makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uuids {
    dev: PathBuf,
    by_name: HashMap<String, String>,
}

impl Uuids {
    /// Reads the links.
    pub fn read(survey: &mut Survey, roots: &HostRoots) -> Self {
        let dev = roots.rootfs.join("dev");
        let directory = dev.join("disk/by-uuid");
        let named = survey.names(&directory).into_iter().flatten();
        let by_name = named.filter_map(|uuid| Some((link_target(&directory.join(&uuid))?, uuid))).collect();
        Self { dev, by_name }
    }

    /// The id of the file system on a device such as `/dev/sda1`, or `/dev/mapper/root`, which is a link itself.
    pub fn of(&self, device: &str) -> Option<&str> {
        let name = device.strip_prefix("/dev/")?;
        let target = link_target(&self.dev.join(name));
        self.by_name.get(target.as_deref().unwrap_or(name)).map(String::as_str)
    }
}

/// The last part of what a link points to.
fn link_target(link: &Path) -> Option<String> {
    Some(std::fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::odd_lines::OddLines;

    fn table(lines: &[&str]) -> Vec<(String, u32, u32, String)> {
        let mounts = mounts::parse(lines.join("\n").as_bytes(), &mut OddLines::default());
        let partitions = partitions(&mounts);
        partitions.into_iter().map(|p| (p.device, p.major, p.minor, p.mount_point.display().to_string())).collect()
    }

    fn entry(device: &str, major: u32, minor: u32, mount_point: &str) -> (String, u32, u32, String) {
        (device.into(), major, minor, mount_point.into())
    }

    #[test]
    fn bind_mounts_count_once_and_pseudo_file_systems_not_at_all() {
        let lines = [
            "22 27 0:21 / /proc rw - proc proc rw",
            "27 1 254:0 / / rw - ext4 /dev/vda rw",
            "28 27 254:0 /var /srv/var rw - ext4 /dev/vda rw",
            "29 27 8:1 / /boot rw - vfat /dev/sda1 rw",
            "30 27 0:40 / /net rw - nfs4 server:/export rw",
            "31 27 0:41 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            "32 27 0:42 / /tank rw - zfs tank rw",
            "33 27 0:43 / /fuse rw - fuse.sshfs user@host: rw",
        ];
        assert_eq!(
            table(&lines),
            [
                entry("/dev/vda", 254, 0, "/"),
                entry("/dev/sda1", 8, 1, "/boot"),
                entry("server:/export", 0, 40, "/net"),
                entry("tank", 0, 42, "/tank"),
            ]
        );
    }

    #[test]
    fn every_tmpfs_is_its_own_and_the_later_of_two_on_a_mount_point_counts() {
        let lines = [
            "25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw",
            "26 24 0:24 / /run rw - tmpfs tmpfs rw",
            "30 25 0:27 / /dev/shm rw - tmpfs tmpfs rw",
        ];
        assert_eq!(table(&lines), [entry("/dev/shm", 0, 27, "/dev/shm"), entry("/run", 0, 24, "/run")]);
    }

    #[test]
    fn ids_by_device() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("dev/disk/by-uuid");
        let roots = HostRoots { rootfs: root.path().into(), ..HostRoots::default() };
        assert_eq!(Uuids::read(&mut Survey::default(), &roots).of("/dev/sda1"), None);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::create_dir_all(root.path().join("dev/mapper")).unwrap();
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, root.path().join(name)).unwrap();
        link("../../sda1", "dev/disk/by-uuid/1234-ABCD");
        link("../../dm-0", "dev/disk/by-uuid/fefe");
        link("../dm-0", "dev/mapper/root");
        std::fs::write(directory.join("not-a-link"), "").unwrap();
        let uuids = Uuids::read(&mut Survey::default(), &roots);
        assert_eq!((uuids.of("/dev/sda1"), uuids.of("/dev/mapper/root")), (Some("1234-ABCD"), Some("fefe")));
        assert_eq!((uuids.of("/dev/sda2"), uuids.of("overlay")), (None, None));
    }

    #[test]
    fn an_overlay_root_is_listed_under_both_names() {
        let lines = [
            "27 1 0:30 / / rw - overlay overlay rw",
            "28 27 0:31 / /c/merged rw - overlay overlay rw",
            "29 27 0:31 / /bind rw - overlay overlay rw",
        ];
        assert_eq!(
            table(&lines),
            [
                entry("overlay_0-30", 0, 30, "/"),
                entry("overlay_0-31", 0, 31, "/c/merged"),
                entry("overlay", 0, 30, "/"),
            ]
        );
    }

    #[test]
    fn the_root_mount_goes_before_an_earlier_mount_of_its_device() {
        let lines = ["26 27 8:2 /boot /boot rw - btrfs /dev/sda2 rw", "27 1 8:2 / / rw - btrfs /dev/sda2 rw"];
        assert_eq!(table(&lines), [entry("/dev/sda2", 8, 2, "/")]);
        assert_eq!(table(&["27 1 0:2 / / rw - rootfs rootfs rw"]), []);
    }
}
