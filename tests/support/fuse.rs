//! A file system in user space with one file that can be opened and never be read.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::engine::Home;
use super::harness::Skip;
use super::{Context as _, Result};

/// The file in it.
pub(crate) const FILE: &str = "metrics.json";

/// Longer than any request: the kernel wants room for its largest write.
const LONGEST: usize = 256 << 10;
const ROOT: u64 = 1;
const NODE: u64 = 2;

/// A mounted one. Whoever reads its file waits until it is dropped, or until the test's process ends.
#[derive(Debug)]
pub(crate) struct SilentFiles {
    place: PathBuf,
    _home: Home,
}

impl SilentFiles {
    /// Mounts it; skips the test where the kernel has no FUSE.
    pub(crate) fn mount() -> Result<Self> {
        let home = Home::new("fuse", &[])?;
        let place = home.path("silent");
        fs::create_dir_all(&place)?;
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.map_err(|error| Skip::because(format!("/dev/fuse: {error}")))?;
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let data = std::ffi::CString::new(data)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("collector-test", &place, "fuse", flags, Some(data.as_c_str()))
            .context("mount a file system in user space")?;
        // It ends when the mount does, and the kernel ends the connection with the process.
        std::thread::spawn(move || serve(device));
        Ok(Self { place, _home: home })
    }

    /// Where it is mounted.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }
}

impl Drop for SilentFiles {
    fn drop(&mut self) {
        // This fails every request that waits. Without, whoever waits could not even be killed.
        let _ = rustix::mount::unmount(&self.place, UnmountFlags::FORCE | UnmountFlags::DETACH);
    }
}

fn serve(mut device: File) {
    let mut buffer = vec![0; LONGEST];
    loop {
        let request = match device.read(&mut buffer) {
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            // The request was given up before it was read.
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::NotFound) => continue,
            Err(_) => return,
        };
        if let Some(answer) = answer(request) {
            // Nobody waits for an answer that comes too late.
            let _ = device.write(&answer);
        }
    }
}

/// The answer to a request, if there is to be one.
fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let at = |start: usize, length: usize| {
        let bytes = request.get(start..start + length).unwrap_or_default();
        bytes.iter().rev().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte))
    };
    let (opcode, unique, node) = (at(4, 4), at(8, 8), at(16, 8));
    let name = || request.get(40..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
    let result = match opcode {
        // FORGET, INTERRUPT and BATCH_FORGET are not answered; nor is READ, which is what this is all about.
        2 | 36 | 42 | 15 => return None,
        // LOOKUP
        1 if name() == FILE.as_bytes() => Ok(numbers(&[(NODE, 8), (0, 8), (0, 8), (0, 8), (0, 4), (0, 4)], NODE)),
        1 => Err(Errno::NOENT),
        // GETATTR
        3 => Ok(numbers(&[(0, 8), (0, 4), (0, 4)], node)),
        // OPEN and OPENDIR
        14 | 27 => Ok(vec![0; 16]),
        // STATFS
        17 => Ok(vec![0; 80]),
        // RELEASE, FLUSH, RELEASEDIR, ACCESS; READDIR: nothing.
        18 | 25 | 28 | 29 | 34 => Ok(Vec::new()),
        // INIT: version 7.31 as nearly all kernels, one mebibyte at most, no options.
        26 => {
            let mut answer = fields(&[(7, 4), (31, 4), (0, 4), (0, 4), (0, 2), (0, 2), (128 << 10, 4), (1, 4)]);
            answer.resize(64, 0);
            Ok(answer)
        }
        _ => Err(Errno::NOSYS),
    };
    let (error, body) = match result {
        Ok(body) => (0, body),
        Err(errno) => (-errno.raw_os_error(), Vec::new()),
    };
    let length = 16 + body.len() as u64;
    let mut answer = fields(&[(length, 4), (u64::from(error.cast_unsigned()), 4), (unique, 8)]);
    answer.extend(body);
    Some(answer)
}

/// These numbers, and then the attributes of a node.
fn numbers(first: &[(u64, usize)], node: u64) -> Vec<u8> {
    let (mode, links, size) = if node == ROOT { (0o040_755, 2, 0) } else { (0o100_644, 1, 100) };
    let mut all = fields(first);
    // Number, size, blocks; three times; nanoseconds of them.
    all.extend(fields(&[(node, 8), (size, 8), (1, 8), (0, 8), (0, 8), (0, 8), (0, 4), (0, 4), (0, 4)]));
    // Mode, links, user, group, device, block size, flags.
    all.extend(fields(&[(mode, 4), (links, 4), (0, 4), (0, 4), (0, 4), (4096, 4), (0, 4)]));
    all
}

/// Numbers of so many bytes each, as this machine has them.
fn fields(numbers: &[(u64, usize)]) -> Vec<u8> {
    numbers.iter().flat_map(|(number, width)| number.to_le_bytes().into_iter().take(*width)).collect()
}
