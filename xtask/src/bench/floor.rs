//! The floor: what reading the same files costs when nothing is done with them.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::interrupt::Interrupt;

/// Descriptors that are not for cgroup files.
const RESERVED: u64 = 256;

/// What the loop needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    /// Microseconds of CPU time per container and pass; there is a pass a second.
    pub(super) micros: f64,
    /// Files read per container.
    pub(super) files: f64,
    /// How many containers' files fitted within the limit of descriptors.
    pub(super) containers: usize,
}

/// Reads the files of all containers, those kept open that fit, once a second for as long as given.
pub(super) fn measure(
    all: impl Iterator<Item = Vec<PathBuf>>,
    window: Duration,
    interrupt: &Interrupt,
) -> Result<Floor> {
    let limit = RaisedLimit::new()?;
    let mut files = Vec::new();
    let mut containers = 0;
    for paths in all {
        if (files.len() + paths.len()) as u64 + RESERVED > limit.hard {
            break;
        }
        for path in paths {
            files.push(File::open(&path).with_context(|| format!("cannot open {}", path.display()))?);
        }
        containers += 1;
    }
    ensure!(containers > 0, "the limit of descriptors leaves none for the floor");
    let mut buffer = vec![0; 64 << 10];
    // Once without counting: the kernel allocates on the first read.
    read_all(&files, &mut buffer)?;
    let mut passes = Vec::new();
    let mut next = Instant::now();
    let end = next + window;
    while next < end || passes.is_empty() {
        next += Duration::from_secs(1);
        interrupt.sleep_until(next)?;
        let before = thread_time();
        read_all(&files, &mut buffer)?;
        passes.push(thread_time().saturating_sub(before).as_secs_f64());
    }
    let micros = super::median(passes) * 1e6 / containers as f64;
    Ok(Floor { micros, files: files.len() as f64 / containers as f64, containers })
}

fn read_all(files: &[File], buffer: &mut [u8]) -> Result<()> {
    for file in files {
        rustix::io::pread(file, &mut *buffer, 0).context("cannot read a cgroup's file")?;
    }
    Ok(())
}

/// CPU time of this thread so far.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// As many descriptors as the hard limit allows, until dropped: the processes started later get the limit that we got.
struct RaisedLimit {
    before: Rlimit,
    hard: u64,
}

impl RaisedLimit {
    fn new() -> Result<Self> {
        let before = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: before.maximum, maximum: before.maximum };
        setrlimit(Resource::Nofile, raised).context("cannot raise the limit of descriptors")?;
        Ok(Self { hard: before.maximum.unwrap_or(u64::MAX), before })
    }
}

impl Drop for RaisedLimit {
    fn drop(&mut self) {
        if let Err(error) = setrlimit(Resource::Nofile, self.before) {
            eprintln!("note: the limit of descriptors stays raised: {error}");
        }
    }
}
