//! What the machine is: processors, memory, disks, network devices, file systems, identity.
//!
//! Read seldom (at start and every few minutes), so files are opened, read and closed. Nothing here fails as a whole:
//! a [`Survey`] notes what could not be read and the rest is kept. What the numbers mean to cAdvisor is decided by
//! the sampler and the API.

pub mod cloud;
pub mod container_mounts;
pub mod cpu_times;
pub mod cpuinfo;
pub mod disks;
pub mod diskstats;
pub mod filesystems;
pub mod identity;
pub mod memory;
pub mod mounts;
pub mod network_devices;
pub mod statfs;
pub mod tasks;
pub mod topology;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rustix::io::Errno;

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::file::{self, ReadBuffer};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::FormatError;
use crate::units::{Bytes, WallTime};

/// Reads many small files, of which any may be missing, and notes the errors worth reporting.
///
/// A missing file, a device that ended while it was read and a feature the kernel does not have are normal and not
/// noted.
#[derive(Debug, Default)]
pub struct Survey {
    errors: Vec<ReadError>,
}

impl Survey {
    /// The errors noted so far, in reading order.
    pub fn into_errors(self) -> Vec<ReadError> {
        self.errors
    }

    /// The value, or a note of the error.
    pub fn keep<T>(&mut self, result: Result<T, ReadError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(ReadError::Missing(_) | ReadError::Gone(_) | ReadError::Unsupported(_)) => None,
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    /// The file's content without white space at its ends; bytes that are no UTF-8 are replaced.
    pub fn text(&mut self, path: &Path) -> Option<String> {
        let bytes = self.keep(read(path))?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file that holds one number.
    pub fn number<T: FromStr>(&mut self, path: &Path) -> Option<T> {
        let text = self.text(path)?;
        self.keep(text.parse().map_err(|_| malformed(path, "not a number")))
    }

    /// The file, through a parser.
    pub fn parsed<T>(&mut self, path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, FormatError>) -> Option<T> {
        self.keep(read_parsed(path, parse))
    }

    /// The file, through a parser that notes what it does not understand.
    pub fn lines<T>(&mut self, path: &Path, parse: impl FnOnce(&[u8], &mut OddLines) -> T) -> Option<T> {
        let (value, odd) = self.keep(read_lines(path, parse))?;
        self.note(odd);
        Some(value)
    }

    /// Notes what was not understood of a file that was read.
    pub fn note(&mut self, odd: Option<ReadError>) {
        self.errors.extend(odd);
    }

    /// The names in a directory, sorted by their bytes.
    pub fn names(&mut self, directory: &Path) -> Option<Vec<String>> {
        self.keep(names(directory))
    }
}

/// At most [`LARGEST_FILE`](crate::kernel::file::LARGEST_FILE) of it: the mount table is as long as others make it.
fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    file::read(path, &mut ReadBuffer::default()).map(<[u8]>::to_vec)
}

fn read_parsed<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, FormatError>) -> Result<T, ReadError> {
    parse(&read(path)?).map_err(|reason| ReadError::Malformed { path: path.to_path_buf(), reason })
}

/// What a parser made of the file, and what it did not understand of it.
fn read_lines<T>(
    path: &Path,
    parse: impl FnOnce(&[u8], &mut OddLines) -> T,
) -> Result<(T, Option<ReadError>), ReadError> {
    let mut odd = OddLines::default();
    let value = parse(&read(path)?, &mut odd);
    Ok((value, ReadError::of_odd_lines(path, odd)))
}

/// A name that is no UTF-8 is left out: sysfs has none.
fn names(directory: &Path) -> Result<Vec<String>, ReadError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| io_error(directory, &error))? {
        let entry = entry.map_err(|error| io_error(directory, &error))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// An error without an errno comes from the standard library itself, not from the kernel: `EIO` stands for it.
fn io_error(path: &Path, error: &std::io::Error) -> ReadError {
    ReadError::from_errno(path, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

fn malformed(path: &Path, what: &'static str) -> ReadError {
    ReadError::Malformed { path: path.to_path_buf(), reason: FormatError { line: 1, what } }
}

/// The path below another root directory; `..` does not occur in the paths this is used for.
fn below(root: &Path, path: &Path) -> PathBuf {
    let relative = path.as_os_str().as_bytes();
    let start = relative.iter().position(|byte| *byte != b'/').unwrap_or(relative.len());
    root.join(Path::new(std::ffi::OsStr::from_bytes(&relative[start..])))
}

/// The number in a name made of a prefix, a decimal number and a suffix, such as `cpu12` or `hugepages-2048kB`.
fn numbered<T: FromStr>(name: &str, prefix: &str, suffix: &str) -> Option<T> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Installed memory less what the kernel reserved at boot: `/proc/meminfo` `MemTotal`.
///
/// # Errors
/// The file cannot be read or has no such line.
pub fn memory_capacity(roots: &HostRoots) -> Result<Bytes, ReadError> {
    let path = roots.proc.join("meminfo");
    let (mem_info, _) = read_lines(&path, memory::MemInfo::parse)?;
    mem_info.mem_total_kb.map(kilobytes).ok_or_else(|| malformed(&path, "no MemTotal line"))
}

/// The CPUs that are switched on, ascending: `/sys/devices/system/cpu/online`.
///
/// # Errors
/// The file cannot be read, or is not a list of CPUs. It is missing where the kernel cannot switch CPUs off.
pub fn online_cpus(roots: &HostRoots) -> Result<Vec<u32>, ReadError> {
    read_parsed(&roots.sys.join("devices/system/cpu/online"), topology::parse_cpu_list)
}

/// The CPUs that are there, switched on or not, ascending: `/sys/devices/system/cpu/present`.
///
/// # Errors
/// The file cannot be read, or is not a list of CPUs.
pub fn present_cpus(roots: &HostRoots) -> Result<Vec<u32>, ReadError> {
    read_parsed(&roots.sys.join("devices/system/cpu/present"), topology::parse_cpu_list)
}

/// How many CPUs there may ever be, where they are numbered without a gap: `/sys/devices/system/cpu/possible`.
///
/// # Errors
/// The file cannot be read, or is not such a list of CPUs.
pub fn possible_cpus(roots: &HostRoots) -> Result<usize, ReadError> {
    let path = roots.sys.join("devices/system/cpu/possible");
    let list: Vec<u32> = read_parsed(&path, topology::parse_cpu_list)?;
    let has_no_gap = list.iter().enumerate().all(|(number, cpu)| number == *cpu as usize);
    if has_no_gap { Ok(list.len()) } else { Err(malformed(&path, "CPUs with a gap in their numbers")) }
}

/// When the machine started: `now` less the uptime (`/proc/uptime`, first field), cut to the minute, because uptime and
/// wall clock drift apart and creation times are compared with it.
///
/// # Errors
/// The file cannot be read or does not begin with seconds.
pub fn boot_time(roots: &HostRoots, now: WallTime) -> Result<WallTime, ReadError> {
    const MINUTE: u64 = 60 * 1_000_000_000;
    let uptime = read_parsed(&roots.proc.join("uptime"), parse_uptime)?;
    let boot = now.back(uptime);
    Ok(WallTime(boot.0 - boot.0 % MINUTE))
}

/// When the machine was started, to the second: `btime` of `/proc/stat`, or where that is not there (some sandboxes) the
/// uptime before `now`. It is the wall clock's idea, which changes when that is set.
///
/// # Errors
/// Neither `/proc/stat` nor `/proc/uptime` has it.
pub fn boot_second(roots: &HostRoots, now: WallTime) -> Result<WallTime, ReadError> {
    const SECOND: u64 = 1_000_000_000;
    if let Ok(Some(boot)) = read_parsed(&roots.proc.join("stat"), |text| Ok(parse_btime(text))) {
        return Ok(WallTime(boot.saturating_mul(SECOND)));
    }
    let uptime = read_parsed(&roots.proc.join("uptime"), parse_uptime)?;
    let boot = now.back(uptime);
    Ok(WallTime(boot.0 - boot.0 % SECOND))
}

/// The line `btime` of `/proc/stat`, in seconds since 1970.
fn parse_btime(text: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"btime "))?;
    str::from_utf8(line).ok()?.trim().parse().ok().filter(|seconds| *seconds > 0)
}

/// Kernel files say kB and mean KiB.
fn kilobytes(kb: u64) -> Bytes {
    Bytes(kb.saturating_mul(1024))
}

fn parse_uptime(content: &[u8]) -> Result<Duration, FormatError> {
    std::str::from_utf8(content)
        .ok()
        .and_then(|text| text.split_ascii_whitespace().next())
        .and_then(|field| field.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or(FormatError { line: 1, what: "does not begin with seconds" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots_in(directory: &Path) -> HostRoots {
        HostRoots {
            proc: directory.join("proc"),
            sys: directory.join("sys"),
            cgroup: directory.join("cgroup"),
            rootfs: directory.into(),
        }
    }

    #[test]
    fn paths_are_moved_below_a_root() {
        for (root, path, moved) in [
            ("/rootfs", "/etc/machine-id", "/rootfs/etc/machine-id"),
            ("/", "/etc/machine-id", "/etc/machine-id"),
            ("/rootfs", "etc", "/rootfs/etc"),
            ("/rootfs", "//x", "/rootfs/x"),
            ("/rootfs", "/", "/rootfs/"),
        ] {
            assert_eq!(below(Path::new(root), Path::new(path)), Path::new(moved));
        }
    }

    #[test]
    fn boot_time_is_cut_to_the_minute() {
        let directory = tempfile::tempdir().unwrap();
        let roots = roots_in(directory.path());
        std::fs::create_dir_all(&roots.proc).unwrap();
        std::fs::write(roots.proc.join("uptime"), "61.50 100.00\n").unwrap();
        assert_eq!(boot_time(&roots, WallTime(200_000_000_000)).unwrap(), WallTime(120_000_000_000));
        for broken in ["", "x", "-5", "NaN 1", "1e400"] {
            std::fs::write(roots.proc.join("uptime"), broken).unwrap();
            assert!(matches!(boot_time(&roots, WallTime(0)), Err(ReadError::Malformed { .. })), "{broken:?}");
        }
    }

    #[test]
    fn boot_time_to_the_second() {
        let directory = tempfile::tempdir().unwrap();
        let roots = roots_in(directory.path());
        std::fs::create_dir_all(&roots.proc).unwrap();
        assert!(boot_second(&roots, WallTime(0)).is_err());
        std::fs::write(roots.proc.join("uptime"), "61.50 100.00\n").unwrap();
        assert_eq!(boot_second(&roots, WallTime(200_000_000_000)).unwrap(), WallTime(138_000_000_000));
        std::fs::write(roots.proc.join("stat"), "cpu  1 2\nbtime x\n").unwrap();
        assert_eq!(boot_second(&roots, WallTime(200_000_000_000)).unwrap(), WallTime(138_000_000_000));
        std::fs::write(roots.proc.join("stat"), "cpu  1 2\nctxt 5\nbtime 1764424799\nprocesses 9\n").unwrap();
        assert_eq!(boot_second(&roots, WallTime(0)).unwrap(), WallTime(1_764_424_799_000_000_000));
    }

    #[test]
    fn normal_absences_are_not_noted() {
        let mut survey = Survey::default();
        let path = PathBuf::from("/x");
        assert_eq!(survey.text(Path::new("/nonexistent/file")), None);
        assert_eq!(survey.keep::<()>(Err(ReadError::Gone(path.clone()))), None);
        assert_eq!(survey.keep::<()>(Err(ReadError::Unsupported(path.clone()))), None);
        assert_eq!(survey.keep::<()>(Err(ReadError::Denied(path))), None);
        assert_eq!(survey.into_errors().len(), 1);
    }
}
