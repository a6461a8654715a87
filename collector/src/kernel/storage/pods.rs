//! The directories in which a kubelet keeps what belongs to pods, by their names alone.
//!
//! ```text
//! <kubelet>/pods/<uid>/volumes/<plugin>/<volume>     plugin: kubernetes.io~empty-dir, ...
//! <kubelet>/pods/<uid>/etc-hosts
//! <kubelet>/pods/<uid>/containers/<container>/<run>  the container's last words
//! <logs>/<namespace>_<name>_<uid>/<container>/<run>.log
//! ```

use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, OFlags, RawDir, statat};
use rustix::io::Errno;

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::storage::place;
use crate::kernel::storage::walk::{BLOCK, Tree};
use crate::units::Bytes;

/// Entries of a directory that are looked at, at most.
const MOST: usize = 10_000;

/// A volume's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeDirectory {
    /// The volume plugin, as the directory above has it: `kubernetes.io~empty-dir`.
    pub plugin: String,
    /// The directory's name.
    pub name: String,
    /// The volume's root.
    pub path: PathBuf,
}

/// The directories in a directory, sorted. A name that is not UTF-8 is none that a kubelet gives.
///
/// # Errors
/// The directory is not there, or may not be read.
pub fn directories(roots: &HostRoots, directory: &Path) -> Result<Vec<String>, ReadError> {
    let failed = |errno| ReadError::from_errno(directory, errno);
    let open = place::open(roots, directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut buffer = vec![MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&open, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name == c"." || name == c".." || names.len() >= MOST {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not report it.
            FileType::Unknown => match statat(&open, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(failed(errno)),
            },
            kind => kind,
        };
        if kind == FileType::Directory
            && let Ok(name) = OsString::from_vec(name.to_bytes().to_vec()).into_string()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The volumes in a pod's directory, by plugin and name.
///
/// # Errors
/// A directory may not be read. A pod without volumes is no error.
pub fn volumes(roots: &HostRoots, pod: &Path) -> Result<Vec<VolumeDirectory>, ReadError> {
    let all = pod.join("volumes");
    let mut found = Vec::new();
    for plugin in present(directories(roots, &all))? {
        for name in present(directories(roots, &all.join(&plugin)))? {
            let path = all.join(&plugin).join(&name);
            // What CSI drivers mount has a description beside it.
            let path = if plugin == "kubernetes.io~csi" { path.join("mount") } else { path };
            found.push(VolumeDirectory { plugin: plugin.clone(), name, path });
        }
    }
    Ok(found)
}

/// The kubelet's files in a pod's directory that the pod's containers see; `None` when there are none.
///
/// # Errors
/// A directory may not be read.
pub fn kubelet_files(roots: &HostRoots, pod: &Path) -> Result<Option<Tree>, ReadError> {
    let mut sum = None;
    let mut add = |tree: Option<Tree>| {
        if let Some(Tree { bytes, inodes }) = tree {
            let all: Tree = sum.unwrap_or_default();
            let bytes = Bytes(all.bytes.0.saturating_add(bytes.0));
            sum = Some(Tree { bytes, inodes: all.inodes.saturating_add(inodes) });
        }
    };
    add(file(roots, &pod.join("etc-hosts"))?);
    let containers = pod.join("containers");
    for name in present(directories(roots, &containers))? {
        match super::logs::in_directory(roots, &containers.join(name)) {
            Ok(tree) => add(tree),
            Err(ReadError::Missing(_) | ReadError::Gone(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

/// What one file takes; `None` when it is not there.
fn file(roots: &HostRoots, path: &Path) -> Result<Option<Tree>, ReadError> {
    match place::open(roots, path, OFlags::PATH) {
        Ok(open) => {
            let stat = rustix::fs::fstat(&open).map_err(|errno| ReadError::from_errno(path, errno))?;
            let bytes = Bytes(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK));
            Ok(Some(Tree { bytes, inodes: 1 }))
        }
        Err(ReadError::Missing(_) | ReadError::Gone(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is not there is empty.
fn present(found: Result<Vec<String>, ReadError>) -> Result<Vec<String>, ReadError> {
    match found {
        Err(ReadError::Missing(_) | ReadError::Gone(_)) => Ok(Vec::new()),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_pods_directory() {
        let directory = tempfile::tempdir().unwrap();
        let pod = directory.path().join("pods/u1");
        let roots = HostRoots::default();
        assert_eq!(volumes(&roots, &pod).unwrap(), []);
        assert_eq!(kubelet_files(&roots, &pod).unwrap(), None);
        for path in ["volumes/kubernetes.io~empty-dir/cache", "volumes/kubernetes.io~csi/pv-1/mount", "containers/app"]
        {
            fs::create_dir_all(pod.join(path)).unwrap();
        }
        fs::write(pod.join("volumes/not-a-plugin"), "").unwrap();
        fs::write(pod.join("etc-hosts"), vec![b'x'; 5000]).unwrap();
        fs::write(pod.join("containers/app/1a2b"), vec![b'x'; 5000]).unwrap();
        let found = volumes(&roots, &pod).unwrap();
        let names: Vec<_> = found.iter().map(|volume| (volume.plugin.as_str(), volume.name.as_str())).collect();
        assert_eq!(names, [("kubernetes.io~csi", "pv-1"), ("kubernetes.io~empty-dir", "cache")]);
        assert!(found[0].path.ends_with("pv-1/mount") && found[1].path.ends_with("cache"));
        let files = kubelet_files(&roots, &pod).unwrap().unwrap();
        assert_eq!(files.inodes, 2);
        assert!(files.bytes.0 >= 10_000, "{files:?}");
        assert_eq!(directories(&roots, &directory.path().join("pods")).unwrap(), ["u1"]);
        assert!(matches!(directories(&roots, &pod.join("x")), Err(ReadError::Missing(_))));
    }
}
