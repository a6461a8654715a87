//! Threads on which answers are looked through: one for what is done quickly, one for what may not be.
//!
//! They give way to everybody and have a share of a CPU each. What a container has them do delays others of its kind at
//! most, and never who serves.

use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

use super::expressions::{Expressions, Size};

/// The last of the nice values.
const NICEST: i32 = 19;
/// After the time that a job took on its CPU the thread rests so many times as long.
const QUICK_RESTS: u32 = 1;
const SLOW_RESTS: u32 = 3;
/// A rest is no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce(&mut Expressions) + Send>;

/// The threads. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Workers {
    quick: Sender<Job>,
    slow: Sender<Job>,
}

/// Who should have done it has ended.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the thread that looks through answers has ended")]
pub struct Ended;

impl Workers {
    /// Starts them.
    pub(super) fn start() -> std::io::Result<Self> {
        Ok(Self { quick: thread("app-quick", QUICK_RESTS)?, slow: thread("app-slow", SLOW_RESTS)? })
    }

    /// Has something done; what came of it and the time on a CPU that it took.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        size: Size,
        work: impl FnOnce(&mut Expressions) -> T + Send + 'static,
    ) -> Result<(T, Duration), Ended> {
        let (answer, answered) = oneshot::channel();
        let job = move |expressions: &mut Expressions| {
            let began = cpu_time();
            let done = work(expressions);
            // Nobody waits any more for a container that ended.
            let _ = answer.send((done, cpu_time().saturating_sub(began)));
        };
        let to = match size {
            Size::Small => &self.quick,
            Size::Large => &self.slow,
        };
        to.send(Box::new(job)).map_err(|_| Ended)?;
        answered.await.map_err(|_| Ended)
    }
}

fn thread(name: &str, rests: u32) -> std::io::Result<Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let work = move || {
        // Of this thread alone: Linux has a nice value for each.
        if let Err(errno) = setpriority_process(None, NICEST) {
            tracing::debug!(error = %errno, "answers of applications are looked through without a higher nice value");
        }
        let mut expressions = Expressions::default();
        while let Ok(job) = jobs.recv() {
            let began = cpu_time();
            // A job that panics must not take the thread of all others with it; what it used of the cache is made anew.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&mut expressions))).is_err() {
                expressions = Expressions::default();
            }
            std::thread::sleep((cpu_time().saturating_sub(began) * rests).min(LONGEST_REST));
        }
    };
    std::thread::Builder::new().name(name.into()).spawn(work)?;
    Ok(sender)
}

/// The CPU time that the calling thread has used.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_slow_or_panics_is_in_nobodys_way() {
        let workers = Workers::start().unwrap();
        let (gate, opened) = mpsc::channel::<()>();
        let hold = workers.run(Size::Large, move |_| opened.recv());
        let hold = std::pin::pin!(hold);
        let quick = workers.run(Size::Small, |_| std::thread::current().name().map(str::to_owned));
        let (name, _) = tokio::select! {
            _ = hold => panic!("nothing was sent"),
            quick = quick => quick.unwrap(),
        };
        assert_eq!(name.as_deref(), Some("app-quick"));
        assert_eq!(workers.run(Size::Small, |_| panic!("on purpose")).await.map(|((), _)| ()), Err(Ended));
        assert!(workers.run(Size::Small, |_| ()).await.is_ok(), "the thread is still there");
        drop(gate);
        let policy = |_: &mut Expressions| {
            let text = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, rest) = text.rsplit_once(") ").unwrap();
            rest.split(' ').nth(19 - 3).unwrap().to_owned()
        };
        assert_eq!(workers.run(Size::Large, policy).await.unwrap().0, "19", "the nice value");
    }
}
