//! The threads and tasks that live as long as the collector. What one of them keeps up to date would go on being served
//! after its end, ever older: so each that ends before it may is reported, whether it returned or panicked.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;

use tokio::sync::watch;
use tokio::task::JoinSet;

/// Starts them. Clones are one supervisor.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    state: watch::Sender<SupervisorState>,
    /// Who else wants to know of an end.
    above: Option<Box<Supervisor>>,
}

#[derive(Debug, Default)]
enum SupervisorState {
    #[default]
    AllRun,
    /// The first that ended.
    Ended(String),
    /// They may end.
    Released,
}

impl Supervisor {
    /// Starts a thread of this name.
    ///
    /// # Errors
    /// The system has none to give.
    pub fn thread(&self, name: impl Into<String>, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        let name = name.into();
        let (supervisor, of) = (self.clone(), name.clone());
        std::thread::Builder::new().name(name).spawn(move || {
            let _running = RunningThread { name: of, supervisor };
            work();
        })
    }

    /// Starts a task among these.
    pub fn task(
        &self,
        tasks: &mut JoinSet<()>,
        name: impl Into<String>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let (supervisor, name) = (self.clone(), name.into());
        tasks.spawn(async move {
            let _running = RunningThread { name, supervisor };
            work.await;
        });
    }

    /// A supervisor of some that may end sooner than the others: whoever ends before the part was released is reported to
    /// both.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { above: Some(Box::new(self.clone())), ..Self::default() }
    }

    /// From now on they may end.
    pub fn release(&self) {
        self.state.send_if_modified(|state| {
            let runs = matches!(state, SupervisorState::AllRun);
            if runs {
                *state = SupervisorState::Released;
            }
            runs
        });
    }

    fn note_end(&self, name: &str) {
        let ended = self.state.send_if_modified(|state| {
            let runs = matches!(state, SupervisorState::AllRun);
            if runs {
                *state = SupervisorState::Ended(name.to_owned());
            }
            runs
        });
        if let Some(above) = self.above.as_ref().filter(|_| ended) {
            above.note_end(name);
        }
    }

    /// The name of the first that ended before it might.
    pub fn ended(&self) -> Option<String> {
        match &*self.state.borrow() {
            SupervisorState::Ended(name) => Some(name.clone()),
            SupervisorState::AllRun | SupervisorState::Released => None,
        }
    }

    /// Waits for one to end before it may.
    pub async fn first_ended(&self) -> String {
        let mut changes = self.state.subscribe();
        loop {
            if let Some(name) = self.ended() {
                return name;
            }
            // Cannot fail: the sender is borrowed.
            let _ = changes.changed().await;
        }
    }
}

/// Dropped at the end, also by a panic.
struct RunningThread {
    name: String,
    supervisor: Supervisor,
}

impl Drop for RunningThread {
    fn drop(&mut self) {
        self.supervisor.note_end(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_or_returns_is_reported() {
        for work in [|| panic!("on purpose"), || ()] {
            let supervisor = Supervisor::default();
            let staying = supervisor.clone();
            let (leave, left) = std::sync::mpsc::channel::<()>();
            let stays = staying
                .thread("stays", move || {
                    let _ = left.recv();
                })
                .unwrap();
            assert_eq!(supervisor.ended(), None);
            let _ = supervisor.thread("ends", work).unwrap().join();
            assert_eq!(supervisor.ended().as_deref(), Some("ends"));
            drop(leave);
            stays.join().unwrap();
            assert_eq!(supervisor.ended().as_deref(), Some("ends"), "the first");
        }
    }

    #[tokio::test]
    async fn a_task_that_panics_is_reported() {
        let (supervisor, mut tasks) = (Supervisor::default(), JoinSet::new());
        supervisor.task(&mut tasks, "stays", std::future::pending());
        supervisor.task(&mut tasks, "ends", async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        });
        assert_eq!(supervisor.first_ended().await, "ends");
    }

    #[test]
    fn of_a_part_only_those_are_reported_that_were_not_released() {
        let supervisor = Supervisor::default();
        let part = supervisor.part();
        part.release();
        part.thread("released", || ()).unwrap().join().unwrap();
        assert_eq!(supervisor.ended(), None);
        supervisor.part().thread("ends", || ()).unwrap().join().unwrap();
        assert_eq!(supervisor.ended().as_deref(), Some("ends"));
    }

    #[tokio::test]
    async fn what_was_released_may_end() {
        let (supervisor, mut tasks) = (Supervisor::default(), JoinSet::new());
        let released = supervisor.clone();
        supervisor.task(&mut tasks, "task", async move { released.release() });
        tasks.join_next().await.unwrap().unwrap();
        supervisor.thread("thread", || ()).unwrap().join().unwrap();
        assert_eq!(supervisor.ended(), None);
    }
}
