//! The mount table: `/proc/<pid>/mountinfo`.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::{below, disks, read_lines};
use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::lines;

/// One line of a mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Major device number (`st_dev`); 0 for file systems without a block device.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// File system type, such as `ext4`.
    pub fs_type: String,
    /// What is mounted: a device path, or a word of the file system's choice. Bytes that are no UTF-8 are replaced.
    pub source: String,
}

/// A mount table and the directory its mount points lie below, seen from this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountTable {
    /// The mounts, in the order they were made.
    pub mounts: Vec<Mount>,
    root: PathBuf,
}

impl MountTable {
    /// Where this process finds a mount point.
    pub fn path(&self, mount_point: &Path) -> PathBuf {
        below(&self.root, mount_point)
    }
}

/// Longer mount tables than this are not read: a process may have a hundred thousand mounts with long names in a namespace
/// of its own.
const LONGEST: u64 = 4 << 20;

/// The text of `/proc/<process>/mountinfo`; `None` when it cannot be read, or is longer than any that means well.
pub(crate) fn of_process(proc: &Path, process: &str) -> Option<Vec<u8>> {
    let mut table = Vec::new();
    let file = std::fs::File::open(proc.join(process).join("mountinfo")).ok()?;
    file.take(LONGEST + 1).read_to_end(&mut table).ok()?;
    (table.len() as u64 <= LONGEST).then_some(table)
}

/// The host's mount table, and what of it was not understood.
///
/// With a root directory of its own (a container with the host's `/` mounted elsewhere) it is that of the host's first
/// process, `/proc/1/mountinfo`, and mount points lie below that directory. Where that may not be read (it takes the
/// right to trace process 1), and on the host itself, it is the own one.
///
/// # Errors
/// The own mount table cannot be read.
pub fn read(roots: &HostRoots) -> Result<(MountTable, Option<ReadError>), ReadError> {
    let on_the_host = roots.rootfs == Path::new("/");
    if !on_the_host
        && let Ok((mounts, odd)) = read_lines(&roots.proc.join("1/mountinfo"), parse)
        && !mounts.is_empty()
    {
        return Ok((MountTable { mounts, root: roots.rootfs.clone() }, odd));
    }
    let (mounts, odd) = read_lines(&roots.proc.join("self/mountinfo"), parse)?;
    Ok((MountTable { mounts, root: "/".into() }, odd))
}

/// Parses lines such as `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`. A line with
/// too few fields or without a device number is noted and left out.
pub fn parse(content: &[u8], odd: &mut OddLines) -> Vec<Mount> {
    let mounts = lines(content)
        .filter(|(_, line)| !line.is_empty())
        .filter_map(|(number, line)| parse_line(line).inspect_err(|what| odd.note(number, what, line)).ok());
    mounts.collect()
}

fn parse_line(line: &[u8]) -> Result<Mount, &'static str> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut field = || fields.next().ok_or("too few fields");
    let (_id, _parent) = (field()?, field()?);
    let (major, minor) = disks::parse_device_number(field()?).map_err(|error| error.what)?;
    let _root = field()?;
    let mount_point = PathBuf::from(OsString::from_vec(unescape(field()?)));
    // Any number of optional fields follow the mount options, up to a lone dash.
    while field()? != b"-" {}
    let fs_type = String::from_utf8_lossy(&unescape(field()?)).into_owned();
    // A file system may be mounted with an empty source: then two blanks follow each other.
    let source = String::from_utf8_lossy(&unescape(field()?)).into_owned();
    Ok(Mount { major, minor, mount_point, fs_type, source })
}

/// The kernel writes blank, tab, newline and backslash as `\` and three octal digits.
pub(crate) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        if let [b'\\', high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', after @ ..] = rest {
            bytes.push((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'));
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mount(major: u32, minor: u32, mount_point: &str, fs_type: &str, source: &str) -> Mount {
        Mount { major, minor, mount_point: mount_point.into(), fs_type: fs_type.into(), source: source.into() }
    }

    #[test]
    fn tables_that_are_too_long_are_not_read() {
        let proc = tempfile::tempdir().unwrap();
        for (process, length) in [("1", LONGEST), ("2", LONGEST + 1)] {
            std::fs::create_dir(proc.path().join(process)).unwrap();
            std::fs::write(proc.path().join(process).join("mountinfo"), vec![b'x'; length as usize]).unwrap();
        }
        assert_eq!(of_process(proc.path(), "1").map(|table| table.len() as u64), Some(LONGEST));
        assert_eq!(of_process(proc.path(), "2"), None);
        assert_eq!(of_process(proc.path(), "3"), None);
    }

    #[test]
    fn lines_of_a_table() {
        for (line, expected) in [
            (&b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard"[..], Ok(mount(254, 0, "/", "ext4", "/dev/vda"))),
            (
                b"36 35 98:0 /mnt1 /mnt2 rw master:1 propagate_from:2 - ext3 /dev/root rw",
                Ok(mount(98, 0, "/mnt2", "ext3", "/dev/root")),
            ),
            (
                br"28 27 0:25 / /a\040b\134c\011d ro - tmpfs no\040name ro",
                Ok(mount(0, 25, "/a b\\c\td", "tmpfs", "no name")),
            ),
            (b"28 27 0:25 / /x rw - tmpfs  rw", Ok(mount(0, 25, "/x", "tmpfs", ""))),
            (br"28 27 0:25 / /x\9\04 rw - tmpfs x rw", Ok(mount(0, 25, r"/x\9\04", "tmpfs", "x"))),
            (b"28 27 0:25 / /x rw", Err("too few fields")),
            (b"28 27 0:25 / /x rw - tmpfs", Err("too few fields")),
            (b"28 27 zero / /x rw - tmpfs x rw", Err("not a device number")),
        ] {
            assert_eq!(parse_line(line), expected, "{}", String::from_utf8_lossy(line));
        }
        let mut odd = OddLines::default();
        let found = parse(b"x\n27 1 254:0 / / rw - ext4 d rw\nx y z\n", &mut odd);
        assert_eq!((found, odd.count()), (vec![mount(254, 0, "/", "ext4", "d")], 2));
        assert_eq!(parse(b"", &mut odd), []);
    }

    proptest! {
        #[test]
        fn never_panics(content: Vec<u8>) {
            let _ = parse(&content, &mut OddLines::default());
        }

        #[test]
        fn never_panics_on_lines_like_its_own(
            line in r"1 1 [0-9]{1,11}:[0-9]{1,3} / /([a-z\\0-9]{0,9}) rw( -)? [a-z0-9\\ ]{0,20}"
        ) {
            let _ = parse(line.as_bytes(), &mut OddLines::default());
        }
    }
}
