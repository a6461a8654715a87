//! The writable layer of a process's root directory, from its mount table: needs no runtime to tell.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::kernel::HostRoots;
use crate::kernel::file::{self, ReadBuffer};
use crate::kernel::machine::mounts::unescape;

/// The upper directory of the overlay that is the process's root directory; `None` when its root is something else, when
/// the directory was not given with its whole path, and when the process is gone.
///
/// The path is what it was for whoever mounted it: for a runtime on the host, the host's.
pub fn upper_directory(roots: &HostRoots, pid: u32) -> Option<PathBuf> {
    let mut buffer = ReadBuffer::new();
    parse(file::read(&roots.proc.join(pid.to_string()).join("mountinfo"), &mut buffer).ok()?)
}

fn parse(table: &[u8]) -> Option<PathBuf> {
    // What is mounted there last is what is seen.
    let root =
        table.split(|byte| *byte == b'\n').rfind(|line| line.split(|byte| *byte == b' ').nth(4) == Some(b"/"))?;
    let mut fields = root.split(|byte| *byte == b' ').skip_while(|field| *field != b"-");
    let (_dash, kind, _source) = (fields.next()?, fields.next()?, fields.next()?);
    if kind != b"overlay" {
        return None;
    }
    let upper = fields.next()?.split(|byte| *byte == b',').find_map(|option| option.strip_prefix(b"upperdir="))?;
    let upper = PathBuf::from(OsString::from_vec(unescape(upper)));
    upper.starts_with(Path::new("/")).then_some(upper)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_roots_upper_directory() {
        let table =
            b"1 0 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/o/x\\040y/diff,workdir=/o/w\n\
            2 1 0:51 / /proc rw - proc proc rw\n\
            3 1 0:52 / /mnt rw - overlay overlay rw,upperdir=/other\n";
        assert_eq!(parse(table), Some("/o/x y/diff".into()));
        assert_eq!(parse(b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"), None);
        assert_eq!(parse(b"1 0 0:50 / / rw - overlay overlay rw,lowerdir=/l\n"), None);
        assert_eq!(parse(b"1 0 0:50 / / rw - overlay overlay rw,upperdir=x/diff\n"), None);
        let hidden = b"1 0 0:50 / / rw - overlay o rw,upperdir=/a\n5 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        assert_eq!(parse(hidden), None);
        assert_eq!((parse(b""), parse(b"1 0 0:50 / / rw -")), (None, None));
    }

    proptest! {
        #[test]
        fn never_panics(table in "[0-9 /\\\\a-z=,\\-\n]{0,80}") {
            let _ = parse(table.as_bytes());
        }
    }
}
