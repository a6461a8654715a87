//! The writable layer of a process's root directory, from mount tables: needs no runtime.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::kernel::HostRoots;
use crate::kernel::machine::mounts::{self, unescape};

/// The upper directory of the overlay that is the process's root directory; `None` when its root is something else, when
/// nobody on the host has it mounted, when the directory was not given with its whole path, and when the process is gone.
///
/// Only *which* overlay it is comes from the process: the device number in its mount table, which is the kernel's word.
/// *Where* that is comes from the host's own mount table, that of process 1 or of the collector, in which runtimes mount
/// the roots of their containers. In a mount namespace of its own a container could put an overlay with any path as upper
/// directory on its root; that path would be one of its own, and on the host somebody else's.
pub fn upper_directory(roots: &HostRoots, pid: u32) -> Option<PathBuf> {
    let device = root_device(&mounts::of_process(&roots.proc, &pid.to_string())?)?.to_vec();
    let of = |process: &str| upper(&mounts::of_process(&roots.proc, process)?, &device);
    of("1").or_else(|| of("self"))
}

fn rows(table: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    table.split(|byte| *byte == b'\n')
}

/// The device number (`0:50`) of the overlay that is the root directory in this table.
fn root_device(table: &[u8]) -> Option<&[u8]> {
    let field = |row: &'_ [u8], number| row.split(|byte| *byte == b' ').nth(number).map(<[u8]>::to_vec);
    // What is mounted there last is what is seen.
    let root = rows(table).rfind(|row| field(row, 4).as_deref() == Some(b"/"))?;
    overlay_options(root)?;
    root.split(|byte| *byte == b' ').nth(2)
}

/// The upper directory of the overlay with this device number in this table.
fn upper(table: &[u8], device: &[u8]) -> Option<PathBuf> {
    let row = rows(table).find(|row| row.split(|byte| *byte == b' ').nth(2) == Some(device))?;
    let upper =
        overlay_options(row)?.split(|byte| *byte == b',').find_map(|option| option.strip_prefix(b"upperdir="))?;
    let upper = PathBuf::from(OsString::from_vec(unescape(upper)));
    upper.starts_with(Path::new("/")).then_some(upper)
}

/// The file system's own options, if it is an overlay.
fn overlay_options(row: &[u8]) -> Option<&[u8]> {
    let mut fields = row.split(|byte| *byte == b' ').skip_while(|field| *field != b"-");
    let (_dash, kind, _source) = (fields.next()?, fields.next()?, fields.next()?);
    if kind == b"overlay" { fields.next() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: &[u8] = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
        7 1 0:50 / /run/x/rootfs rw,relatime - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/o/x\\040y/diff,workdir=/o/w\n\
        8 1 0:52 / /m rw - overlay overlay rw,upperdir=relative/diff\n\
        9 1 0:53 / /n rw - overlay overlay rw,lowerdir=/l\n";

    fn parse(table: &[u8]) -> Option<PathBuf> {
        upper(HOST, root_device(table)?)
    }

    #[test]
    fn the_roots_upper_directory() {
        let table =
            b"1 0 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/o/x\\040y/diff,workdir=/o/w\n\
            2 1 0:51 / /proc rw - proc proc rw\n\
            3 1 0:52 / /mnt rw - overlay overlay rw,upperdir=/other\n";
        assert_eq!(parse(table), Some("/o/x y/diff".into()));
        assert_eq!(parse(b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"), None);
        assert_eq!(parse(b"1 0 0:53 / / rw - overlay overlay rw,lowerdir=/l\n"), None);
        assert_eq!(parse(b"1 0 0:52 / / rw - overlay overlay rw,upperdir=relative/diff\n"), None);
        let hidden = b"1 0 0:50 / / rw - overlay o rw,upperdir=/a\n5 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        assert_eq!(parse(hidden), None);
        assert_eq!((parse(b""), parse(b"1 0 0:50 / / rw -")), (None, None));
    }

    #[test]
    fn a_container_does_not_say_which_folder_of_the_host_is_its_layer() {
        // What it mounted itself, on its root or beside it, the host does not have.
        let own = b"1 0 0:50 / / rw - overlay overlay rw,upperdir=/o/x/diff\n\
            9 1 0:77 / / rw - overlay overlay rw,lowerdir=/tmp/l,upperdir=/etc,workdir=/tmp/w\n";
        assert_eq!(parse(own), None);
        // And of what the host has, the host's word counts.
        let lying = b"1 0 0:50 / / rw - overlay overlay rw,upperdir=/etc\n";
        assert_eq!(parse(lying), Some("/o/x y/diff".into()));
        assert_eq!(parse(b"1 0 8:1 / / rw - overlay overlay rw,upperdir=/etc\n"), None);
    }

    proptest! {
        #[test]
        fn never_panics(table in "[0-9 /\\\\a-z=,\\-\n]{0,80}") {
            let _ = parse(table.as_bytes());
            let _ = upper(table.as_bytes(), b"0:50");
        }
    }
}
