//! The memory limit of the collector's own cgroup, by which what outsiders size is bounded.

use std::path::Path;

use super::cgroup::mounts::memberships;
use super::file::{self, ReadBuffer};
use super::odd_lines::OddLines;
use super::text_formats::unsigned;

/// Where the hierarchies with the memory controller usually are, and the file of each with the limit.
const PLACES: [(&str, &str); 3] = [
    ("/sys/fs/cgroup", "memory.max"),
    ("/sys/fs/cgroup/unified", "memory.max"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
];
/// More than any machine has: cgroup v1's way to say that there is none.
const NO_LIMIT: u64 = 1 << 60;

/// The lowest memory limit of the cgroup this process is in and of those above it, in bytes; `None` without one, or
/// where its cgroup cannot be seen.
pub fn memory_limit(proc: &Path) -> Option<u64> {
    let mut buffer = ReadBuffer::new();
    let text = file::read(&proc.join("self/cgroup"), &mut buffer).map(<[u8]>::to_vec).unwrap_or_default();
    let mut odd = OddLines::default();
    let own: Vec<&[u8]> = memberships(&text, &mut odd).map(|line| line.path).collect();
    PLACES.iter().filter_map(|(mount, file)| lowest(Path::new(mount), file, &own)).min()
}

fn lowest(mount: &Path, file: &str, own: &[&[u8]]) -> Option<u64> {
    let mut buffer = ReadBuffer::new();
    let limits = own.iter().flat_map(|path| {
        // A path that leads out of the cgroup namespace is that of a cgroup which cannot be seen.
        let path = std::str::from_utf8(path).ok().filter(|path| !path.starts_with("/.."));
        path.into_iter().flat_map(|path| Path::new(path.trim_start_matches('/')).ancestors())
    });
    let limits = limits.filter_map(|below| {
        let text = file::read(&mount.join(below).join(file), &mut buffer).ok()?;
        unsigned(text).ok().filter(|limit| *limit < NO_LIMIT)
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_from_the_own_cgroup_upwards_counts() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        let write = |below: &str, text: &str| std::fs::write(root.path().join(below).join("memory.max"), text).unwrap();
        let limit = |path: &str| lowest(root.path(), "memory.max", &[path.as_bytes(), b"/gone"]);
        assert_eq!(limit("/a/b"), None);
        write("a/b", "max\n");
        write("a", "268435456\n");
        assert_eq!(limit("/a/b"), Some(268_435_456));
        write("a/b", "9223372036854771712\n");
        write("", "100\n");
        assert_eq!(limit("/a/b"), Some(100));
        assert_eq!(lowest(root.path(), "memory.max", &[b"/../a".as_slice()]), None, "it is outside of the namespace");
    }
}
