//! Deadlines. Tests never sleep for a guessed time: they wait until something is so, and say what was missing.

use std::thread;
use std::time::{Duration, Instant};

use super::harness::Skip;
use super::settings::settings;
use super::{Context as _, Result, settings};

/// A duration as it is on real hardware, stretched under emulation.
pub(crate) fn scaled(duration: Duration) -> Duration {
    duration * settings().slowness
}

/// [`scaled`] seconds.
pub(crate) fn seconds(count: u64) -> Duration {
    scaled(Duration::from_secs(count))
}

/// [`scaled`] milliseconds.
pub(crate) fn millis(count: u64) -> Duration {
    scaled(Duration::from_millis(count))
}

/// Asks again and again until `probe` succeeds; after `timeout` its last complaint is the error.
pub(crate) fn eventually<T>(timeout: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut interval = Duration::from_millis(5);
    loop {
        let asked = Instant::now();
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if error.is::<Skip>() => return Err(error),
            Err(error) if asked.duration_since(start) >= timeout => {
                return Err(error).with_context(|| format!("still so after {timeout:?}"));
            }
            Err(_) => thread::sleep(interval),
        }
        interval = (interval * 2).min(Duration::from_millis(100));
    }
}

/// Lets time pass where passing time is the scenario itself: a rate of events, or the pause between a process's end
/// and the removal of its cgroup. Never to wait for a result.
pub(crate) fn pass(duration: Duration) {
    thread::sleep(duration);
}

/// The pause between the end of a process and the removal of its cgroup. A runtime leaves about 9 ms. This machine may
/// be a virtual one whose processors stand still for some milliseconds now and then; emulated ones, which several
/// machines share, do so for longer.
pub(crate) fn pause_of_a_runtime() {
    pass(if settings::in_vm() { Duration::from_millis(250) } else { Duration::from_millis(25) });
}
