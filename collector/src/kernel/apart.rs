//! Threads for what may hang.
//!
//! A read of a file whose file system never answers sleeps in the kernel, where nothing can wake it: a server that is
//! gone, a FUSE daemon that does not reply, a process's memory map that somebody holds. Such work is given to a thread of
//! its own. Who waits for it stops waiting after a while; the thread is left behind, counted, and there are only so many
//! of them. What hangs is not begun again until it is back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A thread that reads a file needs no more.
const STACK_BYTES: usize = 256 << 10;

/// So many threads at most. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Apart {
    name: &'static str,
    most: usize,
    running: Arc<Mutex<BTreeMap<Box<[u8]>, Instant>>>,
}

/// Why work was not begun.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotBegun {
    /// It is under way already, perhaps for long.
    #[error("the last attempt has not come back yet")]
    StillUnderWay,
    /// So many threads hang that there is none for this.
    #[error("too many reads hang")]
    Crowded,
}

/// Takes the entry away with the thread, also when it panics.
struct Entry {
    running: Arc<Mutex<BTreeMap<Box<[u8]>, Instant>>>,
    key: Box<[u8]>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned map is still a map.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Apart {
    /// Threads of this name.
    pub fn new(name: &'static str, most: usize) -> Self {
        Self { name, most, running: Arc::default() }
    }

    /// Begins something on a thread of its own, which is found under this key as long as it is under way. Its result is
    /// handed to `answer` when it is so no longer.
    ///
    /// # Errors
    /// It is under way already, or there is no thread for it.
    pub fn begin<T>(
        &self,
        key: &[u8],
        work: impl FnOnce() -> T + Send + 'static,
        answer: impl FnOnce(T) + Send + 'static,
    ) -> Result<(), NotBegun> {
        {
            let mut running = lock(&self.running);
            if running.contains_key(key) {
                return Err(NotBegun::StillUnderWay);
            }
            if running.len() >= self.most {
                return Err(NotBegun::Crowded);
            }
            running.insert(key.into(), Instant::now());
        }
        let entry = Entry { running: Arc::clone(&self.running), key: key.into() };
        let work = move || {
            let done = work();
            drop(entry);
            answer(done);
        };
        let thread = std::thread::Builder::new().name(self.name.into()).stack_size(STACK_BYTES);
        // The entry goes with the closure when there is no thread.
        thread.spawn(work).map(drop).map_err(|_| NotBegun::Crowded)
    }

    /// How many have been under way for longer than this.
    pub fn hanging(&self, longer_than: Duration) -> usize {
        lock(&self.running).values().filter(|began| began.elapsed() > longer_than).count()
    }

    /// Whether half of the threads or more are in use.
    pub fn is_half_full(&self) -> bool {
        lock(&self.running).len() * 2 >= self.most
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_hangs_is_not_begun_again_and_others_go_on() {
        let apart = Apart::new("apart-test", 2);
        let (gate, opened) = mpsc::channel::<()>();
        let hang = move || {
            let _ = opened.recv();
        };
        apart.begin(b"hangs", hang, |()| {}).unwrap();
        assert!(apart.is_half_full());
        for _ in 0..10 {
            assert_eq!(apart.begin(b"hangs", || {}, |()| {}), Err(NotBegun::StillUnderWay));
            let (done, end) = mpsc::channel();
            // The one before may not have given its place back yet.
            // Its place is free again when the answer is there.
            let answer = move |()| done.send(()).unwrap_or_default();
            apart.begin(b"other", || {}, answer).unwrap();
            end.recv().unwrap();
        }
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(apart.hanging(Duration::from_millis(20)), 1);
        assert_eq!(apart.hanging(Duration::from_secs(60)), 0);
        drop(gate);
        while apart.hanging(Duration::ZERO) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        apart.begin(b"hangs", || panic!("on purpose"), |()| {}).unwrap();
        while apart.hanging(Duration::ZERO) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn there_are_only_so_many() {
        let apart = Apart::new("apart-test", 2);
        let (gate, opened) = mpsc::channel::<()>();
        let opened = Arc::new(Mutex::new(opened));
        for key in [b"a", b"b"] {
            let opened = Arc::clone(&opened);
            let hang = move || {
                let _ = lock(&opened).recv();
            };
            apart.begin(key, hang, |()| {}).unwrap();
        }
        assert_eq!(apart.begin(b"c", || {}, |()| {}), Err(NotBegun::Crowded));
        drop(gate);
        while apart.begin(b"c", || {}, |()| {}).is_err() {
            std::thread::yield_now();
        }
    }
}
