//! When this machine stood still: a virtual CPU that its host did not let run, or one that was not given up for longer
//! than a fast runtime takes to remove a cgroup. Nothing in the machine can keep a deadline of milliseconds then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;

use super::{Context as _, Error, Result};

/// How often each CPU is looked at.
const STEP: Duration = Duration::from_micros(500);
/// A sleep that ends this much too late is a stall.
const TOO_LATE: Duration = Duration::from_millis(2);

/// A stretch of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

impl Span {
    fn overlaps(&self, other: &Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// Looks at every CPU, from a thread of the highest priority on each.
#[derive(Debug)]
pub(crate) struct StallWatch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Span>>>,
}

impl StallWatch {
    /// Begins to look.
    pub(crate) fn start() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let allowed = rustix::thread::sched_getaffinity(None).context("the CPUs of this process")?;
        let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        let watch = |cpu: usize| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut here = CpuSet::new();
                here.set(cpu);
                // Without these rights it sees more stalls than there are for a thread that has them.
                let _ = rustix::thread::sched_setaffinity(None, &here);
                let _ = rustix::process::setpriority_process(None, -20);
                look(&stop)
            })
        };
        let threads = cpus.map(watch).collect();
        Ok(Self { stop, threads })
    }

    /// Ends, and reports when a CPU stood still.
    pub(crate) fn finish(self) -> Result<Stalls> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in self.threads {
            all.extend(thread.join().map_err(|_| Error::msg("a thread that looks for stalls panicked"))?);
        }
        Ok(Stalls(all))
    }
}

fn look(stop: &AtomicBool) -> Vec<Span> {
    let mut stalls = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let from = Instant::now();
        thread::sleep(STEP);
        let to = Instant::now();
        if to - from > STEP + TOO_LATE {
            stalls.push(Span { from, to });
        }
    }
    stalls
}

/// When some CPU stood still.
#[derive(Debug)]
pub(crate) struct Stalls(Vec<Span>);

impl Stalls {
    /// Whether one did so during this span.
    pub(crate) fn during(&self, span: Span) -> bool {
        self.0.iter().any(|stall| stall.overlaps(&span))
    }

    /// How many there were, and how long the longest was.
    pub(crate) fn summary(&self) -> String {
        let longest = self.0.iter().map(|stall| stall.to - stall.from).max().unwrap_or_default();
        format!("{} stalls, the longest {longest:?}", self.0.len())
    }
}
