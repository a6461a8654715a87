//! Files of single processes in procfs, and lists of processes.

pub mod referenced;
pub mod table;

use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fs::{FileType, RawDir, readlinkat};
use rustix::io::Errno;

use crate::kernel::error::ReadError;
use crate::kernel::file::{FileAt, ReadBuffer};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{FormatError, digits, lines, number, words};

/// The directory of a process below procfs, `/1234`, built without allocation.
#[derive(Clone, Copy, Debug)]
pub struct ProcessDir {
    text: [u8; 11],
    start: usize,
}

impl ProcessDir {
    /// The directory of this process.
    pub fn new(pid: u32) -> Self {
        let mut text = [b'0'; 11];
        let mut start = text.len();
        let mut rest = pid;
        loop {
            start -= 1;
            text[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        start -= 1;
        text[start] = b'/';
        Self { text, start }
    }

    /// The place of a file of the process.
    pub fn file<'a>(&'a self, proc: &'a Path, file: &'a str) -> FileAt<'a> {
        FileAt { mount: proc, directory: &self.text[self.start..], file }
    }
}

/// The ids of `cgroup.procs` or `cgroup.threads`, one per line; 0 for those that the reader's pid namespace has no number
/// for. A line that is none is noted and left out.
pub fn process_ids<'a>(text: &'a [u8], odd: &'a mut OddLines) -> impl Iterator<Item = u32> {
    lines(text).filter_map(|(line, text)| {
        let pid = number(text.trim_ascii()).and_then(|pid| u32::try_from(pid).ok());
        if pid.is_none() && !text.trim_ascii().is_empty() {
            odd.note(line, "not a process id", text);
        }
        pid
    })
}

/// The processes of `cgroup.procs` or threads of `cgroup.threads`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Ids in the reader's pid namespace, each once: v1 may list one twice.
    pub visible: Vec<u32>,
    /// How many there are beside them that have no id in the reader's pid namespace: cgroup v2 lists them as 0, v1 not
    /// at all.
    pub hidden: u64,
}

impl Listing {
    /// Parses the file.
    pub fn parse(text: &[u8], odd: &mut OddLines) -> Self {
        let mut listing = Self::default();
        let mut is_ascending = true;
        for pid in process_ids(text, odd) {
            if pid == 0 {
                listing.hidden += 1;
                continue;
            }
            is_ascending &= listing.visible.last().is_none_or(|last| *last < pid);
            listing.visible.push(pid);
        }
        if !is_ascending {
            let mut seen = HashSet::with_capacity(listing.visible.len());
            listing.visible.retain(|pid| seen.insert(*pid));
        }
        listing
    }

    /// All of them.
    pub fn count(&self) -> u64 {
        self.visible.len() as u64 + self.hidden
    }
}

/// The process that a thread belongs to: the line `Tgid` of `/proc/<tid>/status`.
pub fn process_of_thread(text: &[u8]) -> Result<u32, FormatError> {
    let mut rows = lines(text).filter_map(|(line, text)| Some((line, text.strip_prefix(b"Tgid:")?)));
    let (line, value) = rows.next().ok_or(FormatError::at(1, "no line \"Tgid\""))?;
    let id = number(value.trim_ascii()).and_then(|id| u32::try_from(id).ok());
    id.ok_or(FormatError::at(line, "not a process id"))
}

/// The threads of a process: the names in `/proc/<pid>/task`.
///
/// # Errors
/// The directory cannot be listed; where the process has ended it is missing.
pub fn threads(proc: &Path, pid: u32, buffer: &mut ReadBuffer) -> Result<Vec<u32>, ReadError> {
    let process = ProcessDir::new(pid);
    let place = process.file(proc, "task");
    let failed = |errno| ReadError::from_errno(&place.path(), errno);
    let directory = place.open_directory(buffer).map_err(failed)?;
    let mut ids = Vec::new();
    let mut entries = [MaybeUninit::uninit(); 4096];
    let mut reader = RawDir::new(&directory, &mut entries);
    while let Some(entry) = reader.next() {
        let entry = entry.map_err(failed)?;
        ids.extend(number(entry.file_name().to_bytes()).and_then(|id| u32::try_from(id).ok()));
    }
    Ok(ids)
}

/// When the process began, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
pub fn start_ticks(stat: &[u8]) -> Option<u64> {
    // The name may hold anything, blanks and brackets too.
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    words(stat.get(after_name..)?).nth(19).and_then(number)
}

/// The ids of a process in its pid namespaces, from that of procfs down to its own: row `NSpid` of
/// `/proc/<pid>/status`, since kernel 4.1. Empty where there is none.
pub fn namespaced_ids(status: &[u8]) -> Vec<u32> {
    let row = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"));
    words(row.unwrap_or_default()).filter_map(number).filter_map(|id| u32::try_from(id).ok()).collect()
}

/// `/proc/<pid>/schedstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedstat {
    /// First field: nanoseconds on a CPU.
    pub run_time: u64,
    /// Second field: nanoseconds waiting for a CPU.
    pub runqueue_time: u64,
    /// Third field: times put on a CPU.
    pub run_periods: u64,
}

impl Schedstat {
    /// Parses the file: `0 56878 1`.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let mut fields = words(text.trim_ascii()).map(number);
        let mut next = || fields.next().flatten().ok_or(FormatError::at(1, "not three numbers"));
        Ok(Self { run_time: next()?, runqueue_time: next()?, run_periods: next()? })
    }
}

/// A resource limit: soft and hard, `u64::MAX` for `unlimited`.
pub type SoftAndHard = (u64, u64);

/// The row `Max open files` of `/proc/<pid>/limits`.
pub fn max_open_files(text: &[u8]) -> Result<SoftAndHard, FormatError> {
    for (line, text) in lines(text) {
        if let Some(values) = text.strip_prefix(b"Max open files") {
            let mut values = words(values).map(|word| match word {
                b"unlimited" => Some(u64::MAX),
                other => number(other),
            });
            let mut next = || values.next().flatten().ok_or(FormatError::at(line, "not two limits"));
            return Ok((next()?, next()?));
        }
    }
    Err(FormatError::at(1, "no row \"Max open files\""))
}

/// Open descriptors of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// All of them.
    pub open: u64,
    /// Sockets among them; `None` when what they are open on may not be seen.
    pub sockets: Option<u64>,
}

impl Descriptors {
    /// No descriptor at all.
    pub const NONE: Self = Self { open: 0, sockets: Some(0) };

    /// The descriptors of both; sockets are known only where they are of both.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        let sockets = self.sockets.zip(more.sockets).map(|(some, more)| some + more);
        Self { open: self.open + more.open, sockets }
    }
}

/// Counts `/proc/<pid>/fd`. The links of another user's process can only be read with the right to trace it.
pub fn descriptors(proc: &Path, pid: u32, buffer: &mut ReadBuffer) -> Result<Descriptors, ReadError> {
    let process = ProcessDir::new(pid);
    let place = process.file(proc, "fd");
    let failed = |errno| ReadError::from_errno(&place.path(), errno);
    let directory = place.open_directory(buffer).map_err(failed)?;
    let mut counts = Descriptors::NONE;
    let mut entries = [MaybeUninit::uninit(); 4096];
    let mut reader = RawDir::new(&directory, &mut entries);
    let mut target = [MaybeUninit::<u8>::uninit(); 64];
    while let Some(entry) = reader.next() {
        let entry = entry.map_err(failed)?;
        if !matches!(entry.file_type(), FileType::Symlink | FileType::Unknown) {
            continue;
        }
        counts.open += 1;
        match rustix::fs::readlinkat_raw(&directory, entry.file_name(), &mut target) {
            Ok((link, _)) if link.starts_with(b"socket") => counts.sockets = counts.sockets.map(|count| count + 1),
            Err(Errno::ACCESS | Errno::PERM) => counts.sockets = None,
            // Something else, or closed since it was listed, when it counted as open.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(counts)
}

/// How many descriptors are open, by the size of `/proc/<pid>/fd`, which is their number since kernel 6.2 and 0 before.
/// What they are open on it does not show.
///
/// # Errors
/// There is no such process, or it may not be looked at.
pub fn reported_descriptors(proc: &Path, pid: u32, buffer: &mut ReadBuffer) -> Result<Descriptors, ReadError> {
    let process = ProcessDir::new(pid);
    let place = process.file(proc, "fd");
    let stat = place.stat(buffer).map_err(|errno| ReadError::from_errno(&place.path(), errno))?;
    Ok(Descriptors { open: u64::try_from(stat.st_size).unwrap_or(0), sockets: None })
}

/// Which namespace: the device and inode number of `/proc/<pid>/ns/<kind>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceId {
    /// Device number of nsfs.
    pub device: u64,
    /// Inode number there.
    pub inode: u64,
}

/// The network namespace of a process. Needs the right to trace it.
pub fn network_namespace(proc: &Path, pid: u32, buffer: &mut ReadBuffer) -> Result<NamespaceId, ReadError> {
    let process = ProcessDir::new(pid);
    match namespace(process.file(proc, "ns/net"), buffer) {
        // The kernel says the same of a process that ended between the two steps of following the link.
        Err(ReadError::Denied(path)) if process.file(proc, "stat").stat(buffer).is_err() => Err(ReadError::Gone(path)),
        found => found,
    }
}

/// The network namespace of the host: that of its process 1, or where a security module protects that one the kernel's
/// own threads'. The collector's own cannot stand for it, since in a container it may be another.
pub fn host_network_namespace(proc: &Path, buffer: &mut ReadBuffer) -> Result<NamespaceId, ReadError> {
    const THREADS_PARENT: u32 = 2;
    network_namespace(proc, 1, buffer).or_else(|error| {
        let comm = ProcessDir::new(THREADS_PARENT);
        match comm.file(proc, "comm").read(buffer) {
            Ok(b"kthreadd\n") => network_namespace(proc, THREADS_PARENT, buffer),
            _ => Err(error),
        }
    })
}

fn namespace(place: FileAt<'_>, buffer: &mut ReadBuffer) -> Result<NamespaceId, ReadError> {
    let stat = place.stat(buffer).map_err(|errno| ReadError::from_errno(&place.path(), errno))?;
    Ok(NamespaceId { device: stat.st_dev, inode: stat.st_ino })
}

/// Swap of the machine from `/proc/meminfo`, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineSwap {
    /// `SwapTotal`.
    pub total: u64,
    /// `SwapFree`.
    pub free: u64,
}

impl MachineSwap {
    /// Parses `/proc/meminfo`: `SwapTotal:       0 kB`.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let mut total = None;
        let mut free = None;
        for (line, text) in lines(text) {
            let (field, value) = match (text.strip_prefix(b"SwapTotal:"), text.strip_prefix(b"SwapFree:")) {
                (Some(value), _) => (&mut total, value),
                (_, Some(value)) => (&mut free, value),
                _ => continue,
            };
            let (kilobytes, _) = digits(value.trim_ascii()).ok_or(FormatError::at(line, "not a number"))?;
            *field = Some(kilobytes.saturating_mul(1024));
        }
        let missing = FormatError::at(1, "no SwapTotal or no SwapFree");
        Ok(Self { total: total.ok_or(missing.clone())?, free: free.ok_or(missing)? })
    }
}

/// The name of the block device with this number, from the link `<sys>/dev/block/MAJ:MIN`.
pub fn block_device_name(sys: &Path, major: u32, minor: u32) -> Option<String> {
    let link = readlinkat(rustix::fs::CWD, sys.join(format!("dev/block/{major}:{minor}")), Vec::new()).ok()?;
    let target = link.to_bytes();
    let name = target.rsplit(|byte| *byte == b'/').next().filter(|name| !name.is_empty())?;
    // sysfs writes "!" for the "/" of a device in a sub-directory of /dev.
    Some(String::from_utf8_lossy(name).replace('!', "/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn age_and_namespaces() {
        let stat = b"42 (a) b (c) S 1 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987 1000 5 18446744073709551615";
        assert_eq!(start_ticks(stat), Some(987));
        assert_eq!((start_ticks(b"42 (a) S 1"), start_ticks(b"42"), start_ticks(b"42 (a)")), (None, None, None));
        assert_eq!(namespaced_ids(b"Name:\tx\nNSpid:\t27780\t24\t1\nNSpgid:\t1\n"), [27780, 24, 1]);
        assert_eq!(namespaced_ids(b"Name:\tNSpid: 1 2\n"), Vec::<u32>::new());
    }

    #[test]
    fn process_directories() {
        for pid in [1, 42, 1_234_567, u32::MAX, 0] {
            let directory = ProcessDir::new(pid);
            assert_eq!(directory.file(Path::new("/proc"), "stat").path(), Path::new(&format!("/proc/{pid}/stat")));
        }
    }

    #[test]
    fn lists_and_rows() {
        let mut odd = OddLines::default();
        assert_eq!(process_ids(b"12\n0\nx\n-1\n3456\n", &mut odd).collect::<Vec<_>>(), [12, 0, 3456]);
        assert_eq!(odd.count(), 2);
        let listing = Listing::parse(b"12\n0\n3456\n0\n0\n", &mut odd);
        assert_eq!(listing, Listing { visible: vec![12, 3456], hidden: 3 });
        assert_eq!((listing.count(), Listing::parse(b"", &mut odd).count()), (5, 0));
        assert_eq!(Listing::parse(b"8\n1\nx\n1\n\n8\n9", &mut odd).visible, [8, 1, 9]);
        assert_eq!(process_of_thread(b"Name:\tTgid: 3\nTgid:\t7\nPid:\t9\n"), Ok(7));
        assert!(process_of_thread(b"Name:\tx\n").is_err() && process_of_thread(b"Tgid:\tx\n").is_err());
        let schedstat = Schedstat { run_time: 5, runqueue_time: 56_878, run_periods: 1 };
        assert_eq!(Schedstat::parse(b"5 56878 1\n"), Ok(schedstat));
        assert!(Schedstat::parse(b"0 1\n").is_err());
        let limits = b"\
Limit                     Soft Limit           Hard Limit           Units     \n\
Max processes             96365                96365                processes \n\
Max open files            1024                 unlimited            files     \n";
        assert_eq!(max_open_files(limits), Ok((1024, u64::MAX)));
        assert!(max_open_files(b"Max open files 1\n").is_err());
        assert!(max_open_files(b"").is_err());
        let meminfo = b"MemTotal:       24689440 kB\nSwapTotal:       1024 kB\nSwapFree:         24 kB\n";
        assert_eq!(MachineSwap::parse(meminfo), Ok(MachineSwap { total: 1024 * 1024, free: 24 * 1024 }));
        assert!(MachineSwap::parse(b"SwapTotal: 1 kB\n").is_err());
    }

    #[test]
    fn this_process() {
        let mut buffer = ReadBuffer::new();
        let proc = Path::new("/proc");
        let own = std::process::id();
        let before = descriptors(proc, own, &mut buffer).unwrap();
        let _socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let after = descriptors(proc, own, &mut buffer).unwrap();
        assert!(after.open >= 1 && after.sockets >= Some(1), "{before:?} {after:?}");
        let reported = reported_descriptors(proc, own, &mut buffer).unwrap();
        assert!(reported.open == 0 || reported.open >= after.sockets.unwrap(), "{reported:?} {after:?}");
        assert!(network_namespace(proc, own, &mut buffer).is_ok());
        assert!(matches!(network_namespace(proc, u32::MAX, &mut buffer), Err(ReadError::Missing(_))));
    }

    #[test]
    fn a_process_without_namespaces_has_ended() {
        let error = ReadError::from_errno(Path::new("/proc/7/net/dev"), rustix::io::Errno::NXIO);
        assert!(matches!(error, ReadError::Gone(_)), "{error}");
    }

    #[test]
    fn device_names() {
        let root = tempfile::tempdir().unwrap();
        let block = root.path().join("dev/block");
        std::fs::create_dir_all(&block).unwrap();
        std::os::unix::fs::symlink("../../devices/pci0/virtio1/block/vda", block.join("254:0")).unwrap();
        std::os::unix::fs::symlink("../../devices/pci0/block/cciss!c0d0", block.join("104:0")).unwrap();
        assert_eq!(block_device_name(root.path(), 254, 0).as_deref(), Some("vda"));
        assert_eq!(block_device_name(root.path(), 104, 0).as_deref(), Some("cciss/c0d0"));
        assert_eq!(block_device_name(root.path(), 8, 0), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200), likely in "(Max open files|SwapTotal:|SwapFree:)[0-9a-z \n]{0,60}") {
            let mut odd = OddLines::default();
            let _ = (Listing::parse(&text, &mut odd), Schedstat::parse(&text), max_open_files(&text));
            let _ = process_of_thread(&text);
            let _ = (MachineSwap::parse(&text), max_open_files(likely.as_bytes()), MachineSwap::parse(likely.as_bytes()));
        }
    }
}
