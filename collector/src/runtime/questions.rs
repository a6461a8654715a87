//! Which runtime is asked for which container, and when.
//!
//! The runtimes that may know a container are asked one after the other, who knows more first. One that is silent holds up
//! nobody: after a moment the next is asked beside it, and each has a bounded number of open questions of its own. Of a
//! container that is gone nothing is left here but the question that is open, however long a runtime is silent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answer::Answer;
use super::cgroup_names::{self, Place};
use super::cgroups_of::CgroupsOf;
use super::client::Client;
use super::error::RuntimeError;
use super::owners::{Evidence, Life, RuntimeReport, own_cgroups};
use super::shares::Shares;
use crate::sample::event::Name;
use crate::sample::identity::Runtime;

/// Questions open at once for each runtime: one that starts containers as fast as it can has little time for more.
const OPEN_QUESTIONS: usize = 8;
/// Of these at most so many about cgroups that are hardly containers of the runtime's: who is in a container can make
/// any number of them.
const OPEN_DOUBTFUL: usize = 4;
/// Such cgroups that are asked for at all, at one time.
const MOST_DOUBTFUL: usize = 4096;
/// After this long without an answer the next runtime is asked too.
const IMPATIENT: Duration = Duration::from_secs(2);
/// Wait before the second question about a container; doubled for each further one.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// Longest wait while the runtime gives errors or no answer that is understood.
const LONGEST_AFTER_ERROR: Duration = Duration::from_secs(4);
/// Wait after an answer that is too large or took too long: what it says does not get shorter soon.
const AFTER_UNUSABLE: Duration = Duration::from_secs(30);
/// Longest wait while the runtimes say that they do not know the container: it may be another runtime's.
const LONGEST_WHILE_UNKNOWN: Duration = Duration::from_secs(30);

/// A container that lives.
#[derive(Debug)]
struct WantedAnswer {
    id: Arc<str>,
    /// Whose it is, as far as its path shows.
    runtime: Option<Runtime>,
    place: Place,
    /// Distinguishes it from an earlier one of the same name.
    serial: u64,
    tries: u32,
    /// The one of those that answered that knows most.
    best: Option<usize>,
    /// What each runtime said in this round.
    round: Vec<Said>,
    /// When it is looked at next, as noted in the queue.
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Not asked.
    Nothing,
    /// It is to be asked when it has answered others, or is asked. `again`: what it knows changed since.
    Asked { since: Instant, again: Again, turn: u64 },
    /// It does not know the container.
    Unknown,
    /// It gave an error.
    Failed,
    /// What it said is too large, or took too long: it is left alone for a while.
    Unusable { until: Instant },
    /// It answered.
    Reported(Life),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    No,
    Yes,
}

#[derive(Debug)]
struct QuestionSlot {
    client: Option<Client>,
    open: usize,
    /// What it is to be asked when it has answered others, by turn.
    waiting: BTreeMap<u64, Name>,
    doubtful: BTreeMap<u64, Name>,
}

/// An answer of one runtime about one container.
#[derive(Debug)]
pub(super) struct Answered {
    slot: usize,
    name: Name,
    serial: u64,
    outcome: Result<RuntimeReport, RuntimeError>,
}

/// The state of all questions.
#[derive(Debug)]
pub(super) struct Questions {
    wanted: HashMap<Name, WantedAnswer>,
    queue: BTreeSet<(Instant, Name)>,
    slots: Vec<QuestionSlot>,
    open: JoinSet<Answered>,
    cgroups_of: CgroupsOf,
    /// Of the last container.
    serial: u64,
    /// Of the last question.
    turn: u64,
    doubtful: usize,
    shares: Shares,
}

impl Questions {
    /// None yet, for so many runtimes.
    pub(super) fn new(runtimes: usize, cgroups_of: CgroupsOf) -> Self {
        let slot = |_| QuestionSlot { client: None, open: 0, waiting: BTreeMap::new(), doubtful: BTreeMap::new() };
        Self {
            wanted: HashMap::new(),
            queue: BTreeSet::new(),
            slots: (0..runtimes).map(slot).collect(),
            open: JoinSet::new(),
            cgroups_of,
            serial: 0,
            turn: 0,
            doubtful: 0,
            shares: Shares::default(),
        }
    }

    /// A container appeared. Nothing happens if the cgroup cannot be one's.
    pub(super) fn begin(&mut self, name: &Name) {
        self.end(name);
        let Some(cgroup_names::Candidate { container, place }) = cgroup_names::candidate(name) else { return };
        if place == Place::Doubtful {
            if self.doubtful == MOST_DOUBTFUL {
                tracing::debug!(
                    container = container.id,
                    "too many cgroups inside of containers have ids in their names; no runtime is asked about this one"
                );
                return;
            }
            self.doubtful += 1;
        }
        self.serial += 1;
        let (id, runtime) = (self.shares.begin(container.id), container.runtime);
        let round = vec![Said::Nothing; self.slots.len()];
        let wanted = WantedAnswer { id, runtime, place, serial: self.serial, tries: 0, best: None, round, due: None };
        self.wanted.insert(Name::clone(name), wanted);
        self.schedule(name, Instant::now());
    }

    /// A container is gone.
    pub(super) fn end(&mut self, name: &Name) {
        let Some(wanted) = self.wanted.remove(name) else { return };
        if wanted.place == Place::Doubtful {
            self.doubtful -= 1;
        }
        self.shares.end(&wanted.id);
        if let Some(due) = wanted.due {
            self.queue.remove(&(due, Name::clone(name)));
        }
        for (slot, said) in self.slots.iter_mut().zip(&wanted.round) {
            if let Said::Asked { turn, .. } = said {
                slot.waiting.remove(turn);
                slot.doubtful.remove(turn);
            }
        }
    }

    /// A runtime answers.
    pub(super) fn up(&mut self, slot: usize, client: Client) {
        self.slots[slot].client = Some(client);
        // It may have been upgraded or restored: what it knew may have changed too.
        self.ask_again(|_| true);
    }

    /// A runtime is gone.
    pub(super) fn down(&mut self, slot: usize) {
        let gone = &mut self.slots[slot];
        gone.client = None;
        let (waiting, doubtful) = (std::mem::take(&mut gone.waiting), std::mem::take(&mut gone.doubtful));
        for name in waiting.into_values().chain(doubtful.into_values()) {
            if let Some(wanted) = self.wanted.get_mut(&name) {
                wanted.round[slot] = Said::Nothing;
            }
            self.schedule(&name, Instant::now());
        }
    }

    /// What is known of this container changed.
    pub(super) fn changed(&mut self, id: &str) {
        self.ask_again(|wanted| *wanted.id == *id);
    }

    fn ask_again(&mut self, which: impl Fn(&WantedAnswer) -> bool) {
        let mut due = Vec::new();
        for (name, wanted) in self.wanted.iter_mut().filter(|(_, wanted)| which(wanted)) {
            wanted.tries = 0;
            new_round(&mut wanted.round, Again::Yes);
            due.push(Name::clone(name));
        }
        for name in due {
            self.schedule(&name, Instant::now());
        }
    }

    fn schedule(&mut self, name: &Name, at: Instant) {
        if let Some(wanted) = self.wanted.get_mut(name) {
            if let Some(before) = wanted.due.replace(at) {
                self.queue.remove(&(before, Name::clone(name)));
            }
            self.queue.insert((at, Name::clone(name)));
        }
    }

    /// Asks for what is due; when the next is.
    pub(super) fn ask_what_is_due(&mut self) -> Option<Instant> {
        loop {
            let (at, _) = self.queue.first()?;
            if *at > Instant::now() {
                return Some(*at);
            }
            let (_, name) = self.queue.pop_first()?;
            if let Some(wanted) = self.wanted.get_mut(&name) {
                wanted.due = None;
                self.step(&name);
            }
        }
    }

    /// Asks the next runtime, or sums up what all of them said.
    fn step(&mut self, name: &Name) {
        let now = Instant::now();
        let Some(wanted) = self.wanted.get_mut(name) else { return };
        for said in &mut wanted.round {
            if matches!(said, Said::Unusable { until } if *until <= now) {
                *said = Said::Nothing;
            }
        }
        let (mut may_know, mut awaited) = (false, None);
        for slot in 0..self.slots.len() {
            let runtime = self.slots[slot].client.as_ref().map(Client::runtime);
            if runtime.is_none_or(|runtime| wanted.runtime.is_some_and(|whose| whose != runtime)) {
                if wanted.round[slot] == Said::Nothing {
                    continue;
                }
            } else {
                may_know = true;
            }
            match wanted.round[slot] {
                Said::Nothing => {
                    self.turn += 1;
                    let turn = self.turn;
                    wanted.round[slot] = Said::Asked { since: now, again: Again::No, turn };
                    let queue = match wanted.place {
                        Place::Doubtful => &mut self.slots[slot].doubtful,
                        _ => &mut self.slots[slot].waiting,
                    };
                    queue.insert(turn, Name::clone(name));
                    self.ask_waiting(slot);
                    self.schedule(name, now + IMPATIENT);
                    return;
                }
                Said::Asked { since, .. } if now < since + IMPATIENT => {
                    self.schedule(name, since + IMPATIENT);
                    return;
                }
                Said::Asked { .. } => awaited = Some(slot),
                Said::Unknown | Said::Failed | Said::Unusable { .. } => {}
                // Who comes later knows less.
                Said::Reported(_) => break,
            }
        }
        if may_know && awaited.is_none() {
            self.sum_up(name);
        }
    }

    /// Every runtime that may know the container has spoken: when to ask again.
    fn sum_up(&mut self, name: &Name) {
        let Some(wanted) = self.wanted.get_mut(name) else { return };
        let reported =
            wanted.round.iter().find_map(|said| if let Said::Reported(life) = said { Some(*life) } else { None });
        let pause = if wanted.round.contains(&Said::Failed) {
            backoff(&mut wanted.tries, LONGEST_AFTER_ERROR)
        } else if wanted.round.iter().any(|said| matches!(said, Said::Unusable { .. })) {
            AFTER_UNUSABLE
        } else {
            match reported {
                Some(Life::Running | Life::Unknown) => {
                    wanted.tries = 0;
                    return;
                }
                // Its first process comes in a moment, if it comes.
                Some(Life::Stopped) | None => backoff(&mut wanted.tries, LONGEST_WHILE_UNKNOWN),
            }
        };
        new_round(&mut wanted.round, Again::No);
        self.schedule(name, Instant::now() + pause);
    }

    /// Asks a runtime as much as it may be asked at once.
    fn ask_waiting(&mut self, slot: usize) {
        loop {
            let QuestionSlot { client, open, waiting, doubtful } = &mut self.slots[slot];
            if *open >= OPEN_QUESTIONS {
                return;
            }
            let next = waiting.pop_first().or_else(|| if *open < OPEN_DOUBTFUL { doubtful.pop_first() } else { None });
            let Some((_, name)) = next else { return };
            let Some(wanted) = self.wanted.get_mut(&name) else { continue };
            let Some(client) = client.clone() else { continue };
            *open += 1;
            let (id, serial, cgroups_of) = (Arc::clone(&wanted.id), wanted.serial, self.cgroups_of.clone());
            self.open.spawn(async move {
                let question = async { Ok(reported(client.inspect(&id).await?, &id, &cgroups_of).await) };
                Answered { slot, name, serial, outcome: unbroken(question).await }
            });
        }
    }

    /// The next answer; pending while there is no question.
    pub(super) async fn next(&mut self) -> Option<Answered> {
        loop {
            match self.open.join_next().await {
                Some(Ok(answer)) => return Some(answer),
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Takes an answer; what it reported, unless somebody who knows more has answered already.
    pub(super) fn answer(&mut self, answered: Answered) -> Option<(Name, RuntimeReport)> {
        let Answered { slot, name, serial, outcome } = answered;
        self.slots[slot].open -= 1;
        self.ask_waiting(slot);
        let wanted = self.wanted.get_mut(&name).filter(|wanted| wanted.serial == serial)?;
        let again = matches!(wanted.round[slot], Said::Asked { again: Again::Yes, .. });
        let is_outdone = wanted.best.is_some_and(|best| best < slot);
        let (said, reported) = match outcome {
            Ok(mut reported) => {
                wanted.best = Some(wanted.best.map_or(slot, |best| best.min(slot)));
                if !is_outdone {
                    self.shares.fit(&wanted.id, &mut reported.identity);
                }
                (Said::Reported(reported.evidence.life), Some(reported).filter(|_| !is_outdone))
            }
            Err(RuntimeError::NoSuchContainer) => (Said::Unknown, None),
            Err(error @ (RuntimeError::TooLarge(_) | RuntimeError::TooSlow(_) | RuntimeError::Unreadable)) => {
                self.shares.unusable(&wanted.id, &error);
                (Said::Unusable { until: Instant::now() + AFTER_UNUSABLE }, None)
            }
            Err(error) => {
                tracing::debug!(
                    container = &*wanted.id, %error,
                    "the runtime did not report a container; asking again"
                );
                (Said::Failed, None)
            }
        };
        wanted.round[slot] = if again { Said::Nothing } else { said };
        self.step(&name);
        reported.map(|reported| (name, reported))
    }
}

/// An answer that brings down whoever reads it is one that is not understood: its place is free again, and it is not read
/// again soon.
async fn unbroken<T>(question: impl Future<Output = Result<T, RuntimeError>>) -> Result<T, RuntimeError> {
    // What it touches is its own, and goes with it.
    AssertUnwindSafe(question).catch_unwind().await.unwrap_or(Err(RuntimeError::Unreadable))
}

/// What a runtime said before counts no more; a question that is open stays so.
fn new_round(round: &mut [Said], again: Again) {
    for said in round {
        match said {
            Said::Asked { again: open, .. } if again == Again::Yes => *open = Again::Yes,
            Said::Asked { .. } => {}
            // A new round of the others is no reason to read as much again.
            Said::Unusable { .. } if again == Again::No => {}
            _ => *said = Said::Nothing,
        }
    }
}

/// An answer, with the cgroups that the container's first process is in.
async fn reported(answer: Answer, id: &str, cgroups_of: &CgroupsOf) -> RuntimeReport {
    let Answer { identity, expected, life } = answer;
    let Some(look) = cgroups_of.look() else {
        return RuntimeReport { identity, evidence: Evidence { life, ..Evidence::default() } };
    };
    let process = identity.process;
    let paths = match process {
        // Waits for the kernel's lock of all cgroups.
        Some(pid) => tokio::task::spawn_blocking(move || look(pid)).await.unwrap_or_default(),
        None => Vec::new(),
    };
    RuntimeReport { identity, evidence: Evidence { cgroups: own_cgroups(&paths, id), expected, life } }
}

fn backoff(tries: &mut u32, longest: Duration) -> Duration {
    let pause = FIRST_RETRY.saturating_mul(1 << (*tries).min(16));
    *tries += 1;
    pause.min(longest)
}

#[cfg(test)]
mod tests;
