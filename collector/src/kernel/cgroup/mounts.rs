//! `/proc/<pid>/mountinfo` and `/proc/<pid>/cgroup`: what is mounted where, and which hierarchy has which number.

use std::borrow::Cow;

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{lines, number};

/// One line of `/proc/<pid>/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Field 4: the directory of the file system that is mounted, `/` for the whole.
    pub root: Cow<'a, [u8]>,
    /// Field 5: the mount point.
    pub point: Cow<'a, [u8]>,
    /// First field after the separator: `cgroup`, `cgroup2`, ...
    pub file_system: &'a [u8],
    /// Last field: the options of the file system, for cgroup v1 its controllers.
    pub super_options: &'a [u8],
}

/// The mounts of `/proc/<pid>/mountinfo`. A line of another form is noted and left out.
pub fn mounts<'a>(text: &'a [u8], odd: &'a mut OddLines) -> impl Iterator<Item = Mount<'a>> {
    lines(text).filter_map(|(line, text)| {
        let mount = mount(text);
        if mount.is_none() && !text.is_empty() {
            odd.note(line, "not a line of mountinfo", text);
        }
        mount
    })
}

fn mount(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    // Optional fields end with a lone "-".
    fields.find(|field| *field == b"-")?;
    let file_system = fields.next()?;
    let super_options = fields.nth(1)?;
    Some(Mount { root: unescaped(root), point: unescaped(point), file_system, super_options })
}

/// Replaces the kernel's octal escapes of space, tab, newline and backslash (`\040`).
fn unescaped(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [byte, after @ ..] = rest {
        rest = after;
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = (byte, after) {
            plain.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = after;
        } else {
            plain.push(*byte);
        }
    }
    Cow::Owned(plain)
}

/// One line of `/proc/<pid>/cgroup`: `4:memory:/a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership<'a> {
    /// Hierarchy id; 0 for the default one.
    pub hierarchy: u32,
    /// Controllers and `name=...`, separated by commas; empty for the default hierarchy.
    pub controller_list: &'a [u8],
    /// The process's cgroup in it.
    pub path: &'a [u8],
}

impl<'a> Membership<'a> {
    /// The parts of the list.
    pub fn controllers(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.controller_list.split(|byte| *byte == b',').filter(|name| !name.is_empty())
    }
}

/// The lines of `/proc/<pid>/cgroup`. A line of another form is noted and left out.
pub fn memberships<'a>(text: &'a [u8], odd: &'a mut OddLines) -> impl Iterator<Item = Membership<'a>> {
    lines(text).filter_map(|(line, text)| {
        let membership = membership(text);
        if membership.is_none() && !text.is_empty() {
            odd.note(line, "not \"id:controllers:path\"", text);
        }
        membership
    })
}

fn membership(line: &[u8]) -> Option<Membership<'_>> {
    let mut parts = line.splitn(3, |byte| *byte == b':');
    let hierarchy = u32::try_from(number(parts.next()?)?).ok()?;
    Some(Membership { hierarchy, controller_list: parts.next()?, path: parts.next()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mount_lines() {
        let text = b"\
36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
";
        let mut odd = OddLines::default();
        let all: Vec<_> = mounts(text, &mut odd).collect();
        assert_eq!(&*all[0].point, b"/mnt 2");
        assert_eq!(&*all[0].root, b"/mnt1");
        assert_eq!(all[0].file_system, b"ext3");
        assert_eq!(all[1].super_options, b"rw,cpu");
        let odd = [b"1 2 3\n36 35 98:0 / / rw,noatime ext3 /dev/root rw\n", text.as_slice()].concat();
        assert_eq!(mounts(&odd, &mut OddLines::default()).collect::<Vec<_>>(), all);
    }

    #[test]
    fn escapes() {
        assert_eq!(&*unescaped(b"a\\040b\\134\\011\\012"), b"a b\\\t\n");
        assert_eq!(&*unescaped(b"a\\08\\"), b"a\\08\\");
        assert_eq!(&*unescaped(b"\\777"), b"\\777");
    }

    #[test]
    fn membership_lines() {
        let text = b"9:name=systemd:/\n2:cpu,cpuacct:/a:b\n0::/init.scope\n";
        let mut odd = OddLines::default();
        let all: Vec<_> = memberships(text, &mut odd).collect();
        assert_eq!(all[1].hierarchy, 2);
        assert_eq!(all[1].controllers().collect::<Vec<_>>(), [&b"cpu"[..], b"cpuacct"]);
        assert_eq!(all[1].path, b"/a:b");
        assert_eq!(all[2].controllers().count(), 0);
        let odd = [b"x:cpu:/\n4:cpu\n", text.as_slice()].concat();
        assert_eq!(memberships(&odd, &mut OddLines::default()).collect::<Vec<_>>(), all);
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut odd = OddLines::default();
            let _ = (mounts(&text, &mut odd).count(), unescaped(&text));
            let _ = memberships(&text, &mut odd).count();
        }

        #[test]
        fn never_panics_on_likely_text(text in "[0-9a-z/:,\\\\ \n-]{0,100}") {
            let mut odd = OddLines::default();
            let _ = mounts(text.as_bytes(), &mut odd).count();
            let _ = memberships(text.as_bytes(), &mut odd).count();
        }
    }
}
