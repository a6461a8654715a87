//! A block device that tests may write to.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::cgroups::Cgroup;
use super::harness::Skip;
use super::{Result, bytes, settings};

/// A whole disk and a file on it.
pub(crate) struct Disk {
    major: u64,
    minor: u64,
    file: PathBuf,
    temporary: bool,
}

/// Device numbers of the whole disk of a device.
fn whole_disk(device: u64) -> Option<(u64, u64)> {
    let node = format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mut node = fs::canonicalize(node).ok()?;
    if node.join("partition").exists() {
        node.pop();
    }
    let numbers = bytes::read(node.join("dev")).ok()?;
    let (major, minor) = numbers.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

impl Disk {
    /// The disk below a folder for temporary files; inside a virtual machine a disk given to it for writing.
    pub(crate) fn find() -> Result<Self> {
        let scratch = Path::new("/dev/vda");
        if settings::in_vm() {
            let metadata = fs::metadata(scratch).map_err(|_| Skip::because("this virtual machine has no disk"))?;
            if metadata.file_type().is_block_device()
                && let Some((major, minor)) = whole_disk(metadata.rdev())
            {
                return Ok(Self { major, minor, file: scratch.into(), temporary: false });
            }
        }
        for folder in ["/var/tmp", "/tmp", "/root"] {
            let Ok(metadata) = fs::metadata(folder) else { continue };
            if let Some((major, minor)) = whole_disk(metadata.dev()) {
                let file = Path::new(folder).join(format!("collector-test-disk-{}", std::process::id()));
                return Ok(Self { major, minor, file, temporary: true });
            }
        }
        Err(Skip::because("no folder for temporary files is on a block device"))
    }

    /// What to write to.
    pub(crate) fn file(&self) -> PathBuf {
        self.file.clone()
    }

    /// Major and minor number.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        (self.major, self.minor)
    }

    /// Makes the kernel count a cgroup's I/O: cgroup v1 does so only for a disk with a throttling rule. This one is
    /// too generous to throttle.
    pub(crate) fn account(&self, cgroup: &Cgroup<'_>) -> Result<()> {
        match cgroup.v1_file("blkio", "blkio.throttle.write_bps_device") {
            Ok(file) => bytes::write(file, &format!("{}:{} {}", self.major, self.minor, bytes::MIB << 20)),
            Err(_) => Ok(()),
        }
    }

    /// Bytes a cgroup has written to the disk, as the kernel counts them; 0 if it has not touched it.
    pub(crate) fn bytes_written(&self, cgroup: &Cgroup<'_>) -> Result<u64> {
        let device = format!("{}:{} ", self.major, self.minor);
        if let Ok(file) = cgroup.v1_file("blkio", "blkio.throttle.io_service_bytes") {
            let text = bytes::read(file)?;
            let mut rows = text.lines().filter_map(|line| line.strip_prefix(&device));
            return Ok(rows.find_map(|row| row.strip_prefix("Write ")?.parse().ok()).unwrap_or(0));
        }
        let text = bytes::read(cgroup.v2_file("io.stat")?)?;
        let rows = text.lines().filter_map(|line| line.strip_prefix(&device));
        let mut fields = rows.flat_map(|row| row.split(' '));
        Ok(fields.find_map(|field| field.strip_prefix("wbytes=")?.parse().ok()).unwrap_or(0))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_file(&self.file);
        }
    }
}
