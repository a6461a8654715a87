//! Passwords that wait to be hashed: few at once, since a hash keeps a CPU busy for a tenth of a second, and each client
//! in its turn, since one who guesses must not make others wait.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use crate::auth::{Client, Hashing};
use crate::kernel::storage::idle::give_way_to_others;

/// Different passwords of one client that may wait.
const WAITING_OF_CLIENT: usize = 4;
/// Passwords of everybody that may wait.
const WAITING: usize = 256;
/// Requests that may wait for one password.
const WAITING_FOR_ONE: usize = 64;

/// Who has been wrong least lately comes first, then who came first.
type Turn = (u32, u64);

#[derive(Debug)]
struct HashJob {
    hashing: Hashing,
    client: Client,
}

#[derive(Debug, Default)]
struct HashState {
    /// Hashes that are computed now.
    running: usize,
    waiting: BTreeMap<Turn, HashJob>,
    of_client: HashMap<Client, usize>,
    /// Who wants to know, by what is hashed.
    asked: HashMap<[u8; 32], Vec<oneshot::Sender<bool>>>,
    came: u64,
}

/// See the module. Clones share one queue.
#[derive(Clone, Debug)]
pub(super) struct Hashes {
    state: Arc<Mutex<HashState>>,
    at_once: usize,
}

/// Too many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

impl Hashes {
    /// Half of the machine's CPUs at most, and two of many.
    pub(super) fn new() -> Self {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        Self { state: Arc::default(), at_once: (cpus / 2).clamp(1, 2) }
    }

    fn state(&self) -> MutexGuard<'_, HashState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a password is right; `failures` is how often the client was wrong lately.
    ///
    /// # Errors
    /// When its client, or everybody, has too many waiting.
    pub(super) async fn check(&self, hashing: Hashing, client: Client, failures: u32) -> Result<bool, Busy> {
        let (sender, answer) = oneshot::channel();
        self.enqueue(HashJob { hashing, client }, failures, sender)?;
        // It is dropped when somebody else comes first who needs the place.
        answer.await.map_err(|_| Busy)
    }

    fn enqueue(&self, job: HashJob, failures: u32, sender: oneshot::Sender<bool>) -> Result<(), Busy> {
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(others) = state.asked.get_mut(&job.hashing.key()) {
            // A browser asks for several things at once.
            if others.len() >= WAITING_FOR_ONE {
                return Err(Busy);
            }
            others.push(sender);
            return Ok(());
        }
        if state.of_client.get(&job.client).is_some_and(|waiting| *waiting >= WAITING_OF_CLIENT) {
            return Err(Busy);
        }
        let turn = (failures, state.came);
        state.came += 1;
        if state.waiting.len() >= WAITING {
            if state.waiting.last_key_value().is_none_or(|(last, _)| *last < turn) {
                return Err(Busy);
            }
            if let Some((_, last)) = state.waiting.pop_last() {
                state.asked.remove(&last.hashing.key());
                state.leave(last.client);
            }
        }
        *state.of_client.entry(job.client).or_default() += 1;
        state.asked.insert(job.hashing.key(), vec![sender]);
        state.waiting.insert(turn, job);
        if state.running < self.at_once {
            state.running += 1;
            let own = self.clone();
            // Not of the pool that reads files: it may be in use by reads that hang.
            if let Err(error) = thread::Builder::new().name("password".into()).spawn(move || own.work()) {
                tracing::error!(%error, "a password could not be checked");
                *state = HashState { came: state.came, running: state.running - 1, ..HashState::default() };
            }
        }
        Ok(())
    }

    /// Hashes until nothing waits.
    fn work(&self) {
        // Whoever guesses passwords must not take the CPU from those who are answered.
        give_way_to_others();
        while let Some(job) = self.next() {
            // One that panics is wrong, and does not keep the others waiting for ever.
            let is_right = catch_unwind(AssertUnwindSafe(|| job.hashing.is_right())).unwrap_or(false);
            let mut state = self.state();
            state.leave(job.client);
            let asked = state.asked.remove(&job.hashing.key()).unwrap_or_default();
            drop(state);
            for sender in asked {
                // The client may have left.
                let _ = sender.send(is_right);
            }
        }
    }

    fn next(&self) -> Option<HashJob> {
        let mut state = self.state();
        let next = state.waiting.pop_first().map(|(_, job)| job);
        if next.is_none() {
            state.running -= 1;
        }
        next
    }
}

impl HashState {
    fn leave(&mut self, client: Client) {
        if let Some(waiting) = self.of_client.get_mut(&client) {
            *waiting -= 1;
            if *waiting == 0 {
                self.of_client.remove(&client);
            }
        }
    }
}
