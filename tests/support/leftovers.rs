//! What tests left that did not get to their end, in this run or an earlier one: processes, cgroups, mounts, folders,
//! sockets. All of it is named after the process of its test.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;
use rustix::process::Signal;

use super::{bytes, cgroups, engine, process};

/// Everything that tests make in folders for temporary files begins with this; the test's process id follows somewhere.
const PREFIX: &str = "collector-test-";
/// Where they make it.
const FOLDERS: [&str; 2] = ["/tmp", "/var/tmp"];

/// Removes it.
pub(crate) fn remove() {
    let files = files();
    for (file, _) in &files {
        end_processes(file);
    }
    cgroups::remove_leftovers();
    // Engines' folders say which cgroups are theirs, too.
    engine::remove_leftovers();
    for (file, is_folder) in files {
        unmount_below(&file);
        let removed = if is_folder { fs::remove_dir_all(&file) } else { fs::remove_file(&file) };
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("left behind: {}: {error}", file.display());
        }
    }
}

/// Files and folders whose test has ended, and which of them are folders.
fn files() -> Vec<(PathBuf, bool)> {
    let mut found = Vec::new();
    for folder in FOLDERS.map(Path::new).into_iter().chain([&*std::env::temp_dir()]) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_over = entry.file_name().to_str().and_then(owner).is_some_and(|owner| !process::is_test(owner));
            let is_new = !found.iter().any(|(path, _)| *path == entry.path());
            if is_over
                && is_new
                && let Ok(kind) = entry.file_type()
            {
                found.push((entry.path(), kind.is_dir()));
            }
        }
    }
    found
}

/// The process id in a name of ours.
pub(crate) fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split(['-', '.']).find_map(|part| part.parse().ok())
}

/// Kills what was started with this path on its command line, such as an engine with its data there.
fn end_processes(path: &Path) {
    let Some(path) = path.to_str() else { return };
    for pid in process::all() {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&arguments).contains(path) && pid != std::process::id() {
            let _ = process::signal(pid, Signal::KILL);
        }
    }
}

/// Unmounts what is mounted at a path and below it.
pub(crate) fn unmount_below(path: &Path) {
    let mounts = bytes::read("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let below: Vec<&str> = points.filter(|point| Path::new(point).starts_with(path)).collect();
    for point in below.iter().rev() {
        let _ = rustix::mount::unmount(*point, UnmountFlags::DETACH);
    }
}
