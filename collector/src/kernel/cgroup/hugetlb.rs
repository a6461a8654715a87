//! The huge page sizes of the machine, as they appear in the names of the hugetlb controller's files.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::kernel::text_formats::digits;

/// The page sizes, smallest first: `64KB`, `2MB`, `1GB`. From the directory names of
/// `<sys>/kernel/mm/hugepages/hugepages-<N>kB`; empty without huge page support.
pub fn page_sizes(sys: &Path) -> Vec<Box<str>> {
    let Ok(entries) = std::fs::read_dir(sys.join("kernel/mm/hugepages")) else { return Vec::new() };
    let mut sizes: Vec<u64> =
        entries.flatten().filter_map(|entry| kilobytes(entry.file_name().as_os_str().as_bytes())).collect();
    sizes.sort_unstable();
    sizes.into_iter().map(name).collect()
}

fn kilobytes(directory: &[u8]) -> Option<u64> {
    match digits(directory.strip_prefix(b"hugepages-")?)? {
        (size, b"kB") => Some(size),
        _ => None,
    }
}

fn name(kilobytes: u64) -> Box<str> {
    let text = match kilobytes {
        0..0x400 => format!("{kilobytes}KB"),
        0x400..0x10_0000 => format!("{}MB", kilobytes >> 10),
        _ => format!("{}GB", kilobytes >> 20),
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_sorted_and_named_as_in_cgroup_files() {
        let root = tempfile::tempdir().unwrap();
        for size in ["hugepages-1048576kB", "hugepages-2048kB", "hugepages-64kB", "hugepages-xkB", "other"] {
            std::fs::create_dir_all(root.path().join("kernel/mm/hugepages").join(size)).unwrap();
        }
        assert_eq!(page_sizes(root.path()).join(" "), "64KB 2MB 1GB");
        assert!(page_sizes(&root.path().join("none")).is_empty());
    }
}
