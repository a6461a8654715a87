//! What `ps` reads: every process of procfs, with its `stat`, `status` and `cgroup` files.

use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fs::RawDir;

use super::ProcessDir;
use crate::kernel::cgroup::mounts::{Membership, memberships};
use crate::kernel::error::ReadError;
use crate::kernel::file::{FileAt, ReadBuffer};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{FormatError, lines, number, words};

/// The ids of all processes, threads not among them, in procfs' order.
///
/// # Errors
/// Procfs cannot be listed.
pub fn all_ids(proc: &Path, buffer: &mut ReadBuffer) -> Result<Vec<u32>, ReadError> {
    let place = FileAt { mount: proc, directory: b"/", file: "" };
    let failed = |errno| ReadError::from_errno(proc, errno);
    let directory = place.open_directory(buffer).map_err(failed)?;
    let mut ids = Vec::new();
    let mut entries = [MaybeUninit::uninit(); 8192];
    let mut reader = RawDir::new(&directory, &mut entries);
    while let Some(entry) = reader.next() {
        let entry = entry.map_err(failed)?;
        ids.extend(number(entry.file_name().to_bytes()).and_then(|id| u32::try_from(id).ok()));
    }
    Ok(ids)
}

/// How many descriptors a process has open: the entries of `/proc/<pid>/fd`.
///
/// # Errors
/// The directory cannot be listed; that of another user's process needs the right to trace it, and a zombie has none.
pub fn open_descriptors(proc: &Path, pid: u32, buffer: &mut ReadBuffer) -> Result<u64, ReadError> {
    let process = ProcessDir::new(pid);
    let place = process.file(proc, "fd");
    let failed = |errno| ReadError::from_errno(&place.path(), errno);
    let directory = place.open_directory(buffer).map_err(failed)?;
    let mut entries = [MaybeUninit::uninit(); 4096];
    let mut reader = RawDir::new(&directory, &mut entries);
    let mut open = 0;
    while let Some(entry) = reader.next() {
        let name = entry.map_err(failed)?.file_name().to_bytes().first().copied();
        open += u64::from(name.is_some_and(|first| first.is_ascii_digit()));
    }
    Ok(open)
}

/// `/proc/<pid>/stat`, as far as it is of use here. The numbers of the fields are those of proc(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// 2: the command name between the parentheses; it may hold any byte, parentheses too.
    pub command: Box<[u8]>,
    /// 3: `R`, `S`, `D`, `Z`, `T`, `t`, `I`, `X`.
    pub state: char,
    /// 4: parent; 0 for what the kernel started.
    pub parent: u32,
    /// 5: process group.
    pub group: i64,
    /// 6: session.
    pub session: i64,
    /// 8: the foreground process group of its terminal; -1 without one.
    pub foreground_group: i64,
    /// 14: user time in clock ticks.
    pub user_ticks: u64,
    /// 15: system time in clock ticks.
    pub system_ticks: u64,
    /// 19: nice value.
    pub nice: i64,
    /// 20: threads.
    pub threads: u64,
    /// 22: when it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// 39: the CPU it last ran on.
    pub processor: u32,
}

impl Stat {
    /// Parses the file: `1 (init) S 0 1 1 0 -1 ...`.
    ///
    /// # Errors
    /// There are no parentheses, too few fields, or one of those above that is not a number.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let wrong = || FormatError::at(1, "not \"pid (command) state numbers...\"");
        // The command may hold parentheses and line breaks; nothing after it does.
        let open = text.iter().position(|byte| *byte == b'(').ok_or_else(wrong)?;
        let close = text.iter().rposition(|byte| *byte == b')').ok_or_else(wrong)?;
        let command = text.get(open + 1..close).ok_or_else(wrong)?;
        let mut fields = words(text.get(close + 1..).unwrap_or_default().trim_ascii());
        let state = fields.next().and_then(|state| state.first()).ok_or_else(wrong)?;
        let fields: Vec<&[u8]> = fields.collect();
        // The first of the rest is field 4. What is of no use here may be anything.
        let field = |number: usize| fields.get(number - 4).and_then(|field| self::signed(field)).ok_or_else(wrong);
        let unsigned = |number| field(number).map(|value| u64::try_from(value).unwrap_or_default());
        let narrow = |number| field(number).map(|value| u32::try_from(value).unwrap_or_default());
        let signed = |number| field(number).map(|value| i64::try_from(value).unwrap_or_default());
        Ok(Self {
            command: command.into(),
            state: char::from(*state),
            parent: narrow(4)?,
            group: signed(5)?,
            session: signed(6)?,
            foreground_group: signed(8)?,
            user_ticks: unsigned(14)?,
            system_ticks: unsigned(15)?,
            nice: signed(19)?,
            threads: unsigned(20)?,
            start_ticks: unsigned(22)?,
            processor: narrow(39)?,
        })
    }
}

/// Wide enough for any u64 and i64 alike.
fn signed(word: &[u8]) -> Option<i128> {
    match word.strip_prefix(b"-") {
        Some(magnitude) => number(magnitude).map(|value| -i128::from(value)),
        None => number(word).map(i128::from),
    }
}

/// `/proc/<pid>/status`, as far as it is of use here. Kernel threads and zombies have no memory and no lines about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `Uid`, second number: the effective user.
    pub effective_user: Option<u32>,
    /// `VmSize` in KiB.
    pub size_kb: Option<u64>,
    /// `VmLck` in KiB.
    pub locked_kb: Option<u64>,
    /// `VmRSS` in KiB.
    pub resident_kb: Option<u64>,
}

impl Status {
    /// Parses lines such as `VmRSS:      3712 kB`, and `Uid:` with four numbers and tabs between them. A line of these
    /// without its number is noted and left out.
    pub fn parse(text: &[u8], odd: &mut OddLines) -> Self {
        let mut status = Self::default();
        for (line, text) in lines(text) {
            let Some(colon) = text.iter().position(|byte| *byte == b':') else { continue };
            let (key, value) = (&text[..colon], text[colon + 1..].trim_ascii());
            let is_understood = match key {
                b"Uid" => {
                    let user = words(value).nth(1).and_then(number).and_then(|id| u32::try_from(id).ok());
                    status.effective_user = user.or(status.effective_user);
                    user.is_some()
                }
                b"VmSize" => set(&mut status.size_kb, value),
                b"VmLck" => set(&mut status.locked_kb, value),
                b"VmRSS" => set(&mut status.resident_kb, value),
                _ => continue,
            };
            if !is_understood {
                odd.note(line, "not a number", text);
            }
        }
        status
    }
}

fn set(slot: &mut Option<u64>, value: &[u8]) -> bool {
    let kb = words(value).next().and_then(number);
    *slot = kb.or(*slot);
    kb.is_some()
}

/// The cgroup that a process is said to be in, from `/proc/<pid>/cgroup`: that of the memory controller, else of cpu;
/// and where these are not there or the root, that of cgroup2. A zombie has left its v1 cgroups, but not that of cgroup2.
/// A line that is none of this file is noted and left out.
pub fn cgroup(text: &[u8], odd: &mut OddLines) -> Vec<u8> {
    let (mut of_memory, mut of_cpu, mut unified) = (None, None, None);
    for line in memberships(text, odd) {
        let line: Membership<'_> = line;
        let has = |controller: &[u8]| line.controllers().any(|name| name == controller);
        if has(b"memory") {
            of_memory = Some(line.path);
        } else if has(b"cpu") {
            of_cpu = Some(line.path);
        } else if line.controller_list.is_empty() {
            unified = Some(line.path);
        }
    }
    let legacy = of_memory.or(of_cpu).filter(|path| *path != b"/");
    legacy.or(unified).unwrap_or(b"/").to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;

    #[test]
    fn stat_with_any_command() {
        let rest = b" S 1 77 78 34816 79 4194560 100 200 0 3 11 12 4 5 20 -5 3 0 9876 1024000 555 \
                     18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        for command in [&b"init"[..], b"a b", b"(sd-pam)", b"x) S 1 (y", b"", b"two\nlines)"] {
            let text = [b"42 (", command, b")", rest].concat();
            let expected = Stat {
                command: command.into(),
                state: 'S',
                parent: 1,
                group: 77,
                session: 78,
                foreground_group: 79,
                user_ticks: 11,
                system_ticks: 12,
                nice: -5,
                threads: 3,
                start_ticks: 9876,
                processor: 1,
            };
            assert_eq!(Stat::parse(&text), Ok(expected));
        }
        for text in [&b""[..], b"1 (a", b"1 a) S", b")(", b"1 (a) S 1 2 3", b"1 (a) "] {
            assert!(Stat::parse(text).is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn status_lines() {
        let text = b"Name:\tcat\nUmask:\t0022\nUid:\t1000\t33\t1000\t1000\nVmSize:\t    5492 kB\nVmLck:\t       0 kB\n\
                     VmRSS:\t     936 kB\nThreads:\t1\n";
        let expected =
            Status { effective_user: Some(33), size_kb: Some(5492), locked_kb: Some(0), resident_kb: Some(936) };
        let parse = |text: &[u8]| without_odd_lines(text, Status::parse);
        assert_eq!(parse(text), Ok(expected));
        let thread = b"Name:\tkthreadd\nUid:\t0\t0\t0\t0\n";
        assert_eq!(parse(thread), Ok(Status { effective_user: Some(0), ..Status::default() }));
        assert_eq!(parse(b"Name:\tcat\n"), Ok(Status::default()));
        assert!(parse(b"Uid:\t1\n").is_err());
        let odd = Status::parse(b"Uid:\t1\t1\nVmSize:\tx\nVmRSS:\t9 kB\n", &mut OddLines::default());
        assert_eq!(odd, Status { effective_user: Some(1), resident_kb: Some(9), ..Status::default() });
    }

    #[test]
    fn the_cgroup_shown() {
        let cases: [(&[u8], &[u8]); 7] = [
            (b"0::/a/b\n", b"/a/b"),
            (b"9:memory:/m\n3:cpu,cpuacct:/c\n0::/u\n", b"/m"),
            (b"3:cpu,cpuacct:/c\n0::/u\n", b"/c"),
            (b"9:memory:/\n3:cpu,cpuacct:/\n1:name=systemd:/s\n0::/u\n", b"/u"),
            (b"9:memory:/\n0::/\n", b"/"),
            (b"9:cpuset:/x\n", b"/"),
            (b"", b"/"),
        ];
        for (text, expected) in cases {
            assert_eq!(cgroup(text, &mut OddLines::default()), expected, "{}", text.escape_ascii());
        }
        assert_eq!(cgroup(b"x\n9:memory:/m\n", &mut OddLines::default()), b"/m");
    }

    #[test]
    fn this_process() {
        let mut buffer = ReadBuffer::new();
        let proc = Path::new("/proc");
        let own = std::process::id();
        assert!(all_ids(proc, &mut buffer).unwrap().contains(&own));
        assert!(open_descriptors(proc, own, &mut buffer).unwrap() > 2);
        let process = ProcessDir::new(own);
        let stat = Stat::parse(process.file(proc, "stat").read(&mut buffer).unwrap()).unwrap();
        assert_eq!(stat.parent, std::os::unix::process::parent_id());
        let status = Status::parse(process.file(proc, "status").read(&mut buffer).unwrap(), &mut OddLines::default());
        assert_eq!(status.effective_user, Some(rustix::process::geteuid().as_raw()));
        assert!(status.resident_kb > Some(0));
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut odd = OddLines::default();
            let _ = (Stat::parse(&text), Status::parse(&text, &mut odd), cgroup(&text, &mut odd));
        }

        #[test]
        fn never_panics_on_likely_text(text in "[0-9]{1,3} \\([a-z )]{0,5}\\) [RSZ]( -?[0-9]{1,20}){0,40}", lines in "(Uid|VmRSS|0):[\t0-9:a-z ]{0,9}\n") {
            let mut odd = OddLines::default();
            let _ = (Stat::parse(text.as_bytes()), Status::parse(lines.as_bytes(), &mut odd), cgroup(lines.as_bytes(), &mut odd));
        }
    }
}
