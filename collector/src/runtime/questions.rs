//! Which runtime is asked for which container, and when.
//!
//! The runtimes that may know a container are asked one after the other, who knows more first. One that is silent holds up
//! nobody: after a moment the next is asked beside it, and each has a bounded number of open questions of its own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cgroup_names::Place;
use super::client::{Answer, Client};
use super::error::RuntimeError;
use super::lookup::CgroupsOf;
use super::owners::{Evidence, Life, Told, own_cgroups};
use crate::sample::event::Name;
use crate::sample::identity::Runtime;

/// Questions open at once for each runtime: one that starts containers as fast as it can has little time for more.
const OPEN_QUESTIONS: usize = 16;
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
/// Longest wait while the runtimes say that they do not know the container: it may be another runtime's.
const LONGEST_WHILE_UNKNOWN: Duration = Duration::from_secs(30);

/// A container that lives.
#[derive(Debug)]
struct Wanted {
    id: String,
    /// Whose it is, as far as its path tells.
    runtime: Option<Runtime>,
    place: Place,
    /// Tells it from an earlier one of the same name.
    serial: u64,
    tries: u32,
    /// The one of those that told that knows most.
    best: Option<usize>,
    /// What each runtime said in this round.
    round: Vec<Said>,
    /// When it is looked at next; an entry of the queue for another time is passed over.
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Not asked.
    Nothing,
    /// It is to be asked when it has answered others, or is asked. `again`: what it knows changed since.
    Asked { since: Instant, again: Again },
    /// It does not know the container.
    Unknown,
    /// It gave an error.
    Failed,
    /// It told.
    Told(Life),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    No,
    Yes,
}

#[derive(Debug)]
struct Slot {
    client: Option<Client>,
    open: usize,
    /// What it is to be asked when it has answered others.
    waiting: VecDeque<Name>,
    doubtful: VecDeque<Name>,
}

/// An answer of one runtime about one container.
#[derive(Debug)]
pub(super) struct Answered {
    slot: usize,
    name: Name,
    serial: u64,
    outcome: Result<Told, RuntimeError>,
}

/// The state of all questions.
#[derive(Debug)]
pub(super) struct Questions {
    wanted: HashMap<Name, Wanted>,
    queue: BinaryHeap<Reverse<(Instant, Name)>>,
    slots: Vec<Slot>,
    open: JoinSet<Answered>,
    cgroups_of: CgroupsOf,
    serial: u64,
    doubtful: usize,
}

impl Questions {
    /// None yet, for so many runtimes.
    pub(super) fn new(runtimes: usize, cgroups_of: CgroupsOf) -> Self {
        let slot = |_| Slot { client: None, open: 0, waiting: VecDeque::new(), doubtful: VecDeque::new() };
        Self {
            wanted: HashMap::new(),
            queue: BinaryHeap::new(),
            slots: (0..runtimes).map(slot).collect(),
            open: JoinSet::new(),
            cgroups_of,
            serial: 0,
            doubtful: 0,
        }
    }

    /// A container appeared.
    pub(super) fn begin(&mut self, name: Name, id: String, runtime: Option<Runtime>, place: Place) {
        self.end(&name);
        if place == Place::Doubtful {
            if self.doubtful == MOST_DOUBTFUL {
                tracing::debug!(
                    id,
                    "too many cgroups inside of containers have ids in their names; it is not asked for"
                );
                return;
            }
            self.doubtful += 1;
        }
        self.serial += 1;
        let round = vec![Said::Nothing; self.slots.len()];
        let wanted = Wanted { id, runtime, place, serial: self.serial, tries: 0, best: None, round, due: None };
        self.wanted.insert(Name::clone(&name), wanted);
        self.schedule(&name, Instant::now());
    }

    /// A container is gone.
    pub(super) fn end(&mut self, name: &Name) {
        if self.wanted.remove(name).is_some_and(|wanted| wanted.place == Place::Doubtful) {
            self.doubtful -= 1;
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
        let waiting: Vec<Name> = gone.waiting.drain(..).chain(gone.doubtful.drain(..)).collect();
        for name in waiting {
            if let Some(wanted) = self.wanted.get_mut(&name) {
                wanted.round[slot] = Said::Nothing;
            }
            self.schedule(&name, Instant::now());
        }
    }

    /// What is known of this container changed.
    pub(super) fn changed(&mut self, id: &str) {
        self.ask_again(|wanted| wanted.id == id);
    }

    fn ask_again(&mut self, which: impl Fn(&Wanted) -> bool) {
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
            wanted.due = Some(at);
            self.queue.push(Reverse((at, Name::clone(name))));
        }
    }

    /// Asks for what is due; when the next is.
    pub(super) fn ask_what_is_due(&mut self) -> Option<Instant> {
        loop {
            let Reverse((at, _)) = self.queue.peek()?;
            if *at > Instant::now() {
                return Some(*at);
            }
            let Reverse((at, name)) = self.queue.pop()?;
            if let Some(wanted) = self.wanted.get_mut(&name).filter(|wanted| wanted.due == Some(at)) {
                wanted.due = None;
                self.step(&name);
            }
        }
    }

    /// Asks the next runtime, or sums up what all of them said.
    fn step(&mut self, name: &Name) {
        let now = Instant::now();
        let Some(wanted) = self.wanted.get_mut(name) else { return };
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
                    wanted.round[slot] = Said::Asked { since: now, again: Again::No };
                    let queue = match wanted.place {
                        Place::Doubtful => &mut self.slots[slot].doubtful,
                        _ => &mut self.slots[slot].waiting,
                    };
                    queue.push_back(Name::clone(name));
                    self.ask_waiting(slot);
                    self.schedule(name, now + IMPATIENT);
                    return;
                }
                Said::Asked { since, .. } if now < since + IMPATIENT => {
                    self.schedule(name, since + IMPATIENT);
                    return;
                }
                Said::Asked { .. } => awaited = Some(slot),
                Said::Unknown | Said::Failed => {}
                // Who comes later knows less.
                Said::Told(_) => break,
            }
        }
        if may_know && awaited.is_none() {
            self.sum_up(name);
        }
    }

    /// Every runtime that may know the container has spoken: when to ask again.
    fn sum_up(&mut self, name: &Name) {
        let Some(wanted) = self.wanted.get_mut(name) else { return };
        let told = wanted.round.iter().find_map(|said| if let Said::Told(life) = said { Some(*life) } else { None });
        let longest = if wanted.round.contains(&Said::Failed) {
            LONGEST_AFTER_ERROR
        } else {
            match told {
                Some(Life::Running | Life::Unknown) => {
                    wanted.tries = 0;
                    return;
                }
                // Its first process comes in a moment, if it comes.
                Some(Life::Stopped) | None => LONGEST_WHILE_UNKNOWN,
            }
        };
        let pause = backoff(&mut wanted.tries, longest);
        new_round(&mut wanted.round, Again::No);
        self.schedule(name, Instant::now() + pause);
    }

    /// Asks a runtime as much as it may be asked at once.
    fn ask_waiting(&mut self, slot: usize) {
        loop {
            let Slot { client, open, waiting, doubtful } = &mut self.slots[slot];
            if *open >= OPEN_QUESTIONS {
                return;
            }
            let next = waiting.pop_front().or_else(|| if *open < OPEN_DOUBTFUL { doubtful.pop_front() } else { None });
            let Some(name) = next else { return };
            // Gone meanwhile, or asked for anew.
            let Some(wanted) = self.wanted.get_mut(&name) else { continue };
            let Some(client) = client.clone() else { continue };
            *open += 1;
            let (id, serial, cgroups_of) = (wanted.id.clone(), wanted.serial, self.cgroups_of.clone());
            self.open.spawn(async move {
                let outcome = match client.inspect(&id).await {
                    Ok(answer) => Ok(told(answer, &id, &cgroups_of).await),
                    Err(error) => Err(error),
                };
                Answered { slot, name, serial, outcome }
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

    /// Takes an answer; what it told, unless somebody who knows more has told already.
    pub(super) fn answer(&mut self, answered: Answered) -> Option<(Name, Told)> {
        let Answered { slot, name, serial, outcome } = answered;
        self.slots[slot].open -= 1;
        self.ask_waiting(slot);
        let wanted = self.wanted.get_mut(&name).filter(|wanted| wanted.serial == serial)?;
        let again = matches!(wanted.round[slot], Said::Asked { again: Again::Yes, .. });
        let is_outdone = wanted.best.is_some_and(|best| best < slot);
        let (said, told) = match outcome {
            Ok(told) => {
                wanted.best = Some(wanted.best.map_or(slot, |best| best.min(slot)));
                (Said::Told(told.evidence.life), Some(told).filter(|_| !is_outdone))
            }
            Err(RuntimeError::NoSuchContainer) => (Said::Unknown, None),
            Err(error) => {
                tracing::debug!(id = wanted.id, %error, "the runtime did not tell about a container; asking again");
                (Said::Failed, None)
            }
        };
        wanted.round[slot] = if again { Said::Nothing } else { said };
        self.step(&name);
        told.map(|told| (name, told))
    }
}

/// What a runtime said before counts no more; a question that is open stays so.
fn new_round(round: &mut [Said], again: Again) {
    for said in round {
        match said {
            Said::Asked { again: open, .. } if again == Again::Yes => *open = Again::Yes,
            Said::Asked { .. } => {}
            _ => *said = Said::Nothing,
        }
    }
}

/// An answer, with the cgroups that the container's first process is in.
async fn told(answer: Answer, id: &str, cgroups_of: &CgroupsOf) -> Told {
    let Answer { identity, expected, life } = answer;
    let Some(look) = cgroups_of.look() else {
        return Told { identity, evidence: Evidence { life, ..Evidence::default() } };
    };
    let process = identity.process;
    let paths = match process {
        // Waits for the kernel's lock of all cgroups.
        Some(pid) => tokio::task::spawn_blocking(move || look(pid)).await.unwrap_or_default(),
        None => Vec::new(),
    };
    Told { identity, evidence: Evidence { cgroups: own_cgroups(&paths, id), expected, life } }
}

fn backoff(tries: &mut u32, longest: Duration) -> Duration {
    let pause = FIRST_RETRY.saturating_mul(1 << (*tries).min(16));
    *tries += 1;
    pause.min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        let mut tries = 0;
        let pauses: Vec<_> = (0..9).map(|_| backoff(&mut tries, LONGEST_AFTER_ERROR).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 4000, 4000]);
    }

    #[tokio::test]
    async fn cgroups_in_containers_are_asked_for_within_bounds() {
        let mut questions = Questions::new(1, CgroupsOf::default());
        let name = |number: usize| -> Name { format!("/docker/x/{number}").into_bytes().into() };
        for number in 0..=MOST_DOUBTFUL {
            questions.begin(name(number), "a".into(), None, Place::Doubtful);
        }
        assert_eq!(questions.wanted.len(), MOST_DOUBTFUL);
        questions.begin(name(MOST_DOUBTFUL + 1), "a".into(), None, Place::Usual);
        questions.end(&name(0));
        questions.begin(name(0), "a".into(), None, Place::Doubtful);
        assert_eq!((questions.wanted.len(), questions.doubtful), (MOST_DOUBTFUL + 1, MOST_DOUBTFUL));
    }
}
