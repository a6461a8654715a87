//! Sizes of mounted file systems, without waiting for one that hangs.
//!
//! `statfs` of a network file system whose server is gone sleeps in the kernel, where nothing can wake it. So helper
//! threads ask, and the caller stops waiting. A path that did not answer in time is not asked again while its thread
//! still waits: at most one thread is stuck per hanging mount, however often the machine is read. When
//! `MOST_STUCK` are, [`is_crowded`] says so, and whoever asks leaves out what may hang.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{major, minor};
use rustix::io::Errno;

use crate::kernel::error::ReadError;
use crate::units::Bytes;

/// The size of a mounted file system: `statvfs(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// `f_blocks` times `f_frsize`.
    pub capacity: Bytes,
    /// `f_bfree` times `f_frsize`: what root may still use.
    pub free: Bytes,
    /// `f_bavail` times `f_frsize`: what other users may still use.
    pub available: Bytes,
    /// `f_files`: inodes in all; 0 where the file system makes them as needed.
    pub inodes: u64,
    /// `f_ffree`: free inodes.
    pub inodes_free: u64,
    /// `st_dev` of the mount point, major and minor.
    pub device: (u32, u32),
}

/// Whether so many threads are stuck that only what does not hang should be asked.
pub fn is_crowded() -> bool {
    lock(&STUCK).len() >= MOST_STUCK
}

type Answer = Result<Size, ReadError>;

/// As many threads may be stuck; then nothing new is asked that may hang.
const MOST_STUCK: usize = 32;

/// Paths a thread of this process is stuck on. A static, because such a thread outlives every owner.
static STUCK: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The sizes of the file systems at these paths, in their order. Those that are not reported within the limit, and
/// those that come after them and were not reached, are answered with `ETIMEDOUT`.
pub fn sizes(paths: &[PathBuf], limit: Duration) -> Vec<Answer> {
    ask_all(paths, limit, size)
}

fn size(path: &Path) -> Answer {
    let failed = |errno| ReadError::from_errno(path, errno);
    let vfs = rustix::fs::statvfs(path).map_err(failed)?;
    let stat = rustix::fs::stat(path).map_err(failed)?;
    let bytes = |blocks: u64| Bytes(blocks.saturating_mul(vfs.f_frsize));
    Ok(Size {
        capacity: bytes(vfs.f_blocks),
        free: bytes(vfs.f_bfree),
        available: bytes(vfs.f_bavail),
        inodes: vfs.f_files,
        inodes_free: vfs.f_ffree,
        device: (major(stat.st_dev), minor(stat.st_dev)),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned set or queue is still a set or queue.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the helper threads share: paths by their place, in order.
type Queue = Arc<Mutex<VecDeque<(usize, PathBuf)>>>;

/// One helper thread works through the queue; when it makes no progress for an eighth of the limit it is taken to hang
/// on its path, and another thread goes on with the rest.
fn ask_all<A: Send + 'static>(
    paths: &[PathBuf],
    limit: Duration,
    ask: fn(&Path) -> Result<A, ReadError>,
) -> Vec<Result<A, ReadError>> {
    let deadline = Instant::now() + limit;
    let timed_out = |path: &Path| Err(ReadError::from_errno(path, Errno::TIMEDOUT));
    let mut answers = paths.iter().map(|path| timed_out(path)).collect::<Vec<_>>();
    let mut open = paths.iter().cloned().enumerate().collect::<VecDeque<_>>();
    {
        let stuck = lock(&STUCK);
        open.retain(|(_, path)| !stuck.contains(path));
    }
    let mut missing = open.iter().map(|(place, _)| *place).collect::<BTreeSet<_>>();
    let queue = Arc::new(Mutex::new(open));
    let (sender, receiver) = mpsc::channel();
    let mut needs_thread = true;
    while !missing.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || (needs_thread && start_thread(&queue, &sender, ask).is_err()) {
            break;
        }
        match receiver.recv_timeout(left.min(limit / 8)) {
            Ok((place, answer)) => {
                missing.remove(&place);
                answers[place] = answer;
                needs_thread = false;
            }
            Err(RecvTimeoutError::Timeout) => needs_thread = !lock(&queue).is_empty(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // What was never begun is not stuck. The answers are given under the lock of STUCK, so that between the last one
    // taken here and the note no other can slip in.
    for (place, _) in lock(&queue).drain(..) {
        missing.remove(&place);
    }
    let mut stuck = lock(&STUCK);
    for (place, answer) in receiver.try_iter() {
        missing.remove(&place);
        answers[place] = answer;
    }
    stuck.extend(missing.into_iter().map(|place| paths[place].clone()));
    answers
}

fn start_thread<A: Send + 'static>(
    queue: &Queue,
    sender: &Sender<(usize, Result<A, ReadError>)>,
    ask: fn(&Path) -> Result<A, ReadError>,
) -> std::io::Result<()> {
    let (queue, sender) = (Arc::clone(queue), sender.clone());
    let work = move || {
        loop {
            // Taken before the question, so that the lock is free while the kernel is asked.
            let Some((place, path)) = lock(&queue).pop_front() else { return };
            let answer = ask(&path);
            let mut stuck = lock(&STUCK);
            stuck.remove(&path);
            if sender.send((place, answer)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("statfs".into()).spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What hangs hangs until this is opened.
    static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
    static HANGING: AtomicUsize = AtomicUsize::new(0);

    #[expect(clippy::unnecessary_wraps, reason = "in the place of a function that may fail")]
    fn hang_on_request(path: &Path) -> Result<usize, ReadError> {
        if path.starts_with("/hang") {
            HANGING.fetch_add(1, Ordering::SeqCst);
            let open = lock(&GATE.0);
            drop(GATE.1.wait_while(open, |open| !*open).unwrap());
        }
        Ok(path.as_os_str().len())
    }

    #[test]
    fn a_hanging_path_costs_nobody_else_and_is_not_asked_twice() {
        // While the gate is shut nothing that hangs ever answers: that this comes to an end at all is the point.
        let limit = Duration::from_secs(4);
        let paths = ["/a", "/hang/1", "/bb", "/hang/2", "/ccc"].map(PathBuf::from);
        for round in 1..=2 {
            let answers = ask_all(&paths, limit, hang_on_request);
            let lengths = answers.iter().map(|answer| answer.as_ref().ok().copied()).collect::<Vec<_>>();
            assert_eq!(lengths, [Some(2), None, Some(3), None, Some(4)], "round {round}");
            assert!(matches!(&answers[1], Err(ReadError::Failed { errno: Errno::TIMEDOUT, .. })));
            assert_eq!(HANGING.load(Ordering::SeqCst), 2, "round {round}");
        }
        // At most so many hang, however many paths there are.
        let many: Vec<PathBuf> = (0..2 * MOST_STUCK).map(|number| format!("/hang/many/{number}").into()).collect();
        let mut times = 0;
        while !is_crowded() {
            assert!(times < 20, "{} paths hang", HANGING.load(Ordering::SeqCst));
            drop(ask_all(&many, Duration::from_millis(400), hang_on_request));
            times += 1;
        }
        assert!(HANGING.load(Ordering::SeqCst) < MOST_STUCK + 16);
        // The threads come back in the end, and with them the paths.
        *lock(&GATE.0) = true;
        GATE.1.notify_all();
        let given_up = Instant::now() + Duration::from_secs(20);
        while lock(&STUCK).iter().any(|path| path.starts_with("/hang")) {
            assert!(Instant::now() < given_up, "still stuck");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!is_crowded());
    }

    #[test]
    fn real_file_systems_answer() {
        let answers = sizes(&["/".into(), "/nonexistent".into()], Duration::from_secs(2));
        assert!(answers[0].as_ref().is_ok_and(|size| size.capacity.0 > 0), "{:?}", answers[0]);
        assert!(matches!(answers[1], Err(ReadError::Missing(_))));
        assert!(sizes(&[], Duration::from_secs(2)).is_empty());
    }
}
