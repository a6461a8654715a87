//! Asks the runtimes who a container is, until one of them knows.
//!
//! One task holds what is wanted and what was asked. A container that no runtime knows yet is asked for again, at first
//! soon and then ever less often; while a runtime is away nothing is asked of it, and when it comes back everything
//! that is still unknown is asked at once. Nothing waits for an answer: a container without one is a container all the
//! same.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::cgroup_names;
use super::client::{Client, Runtimes};
use super::endpoint::Endpoint;
use super::error::RuntimeError;
use crate::sample::event::Name;
use crate::sample::filesystem::RuntimeStorage;
use crate::sample::identity::{Identity, Runtime};

/// Questions open at once: a runtime that starts containers as fast as it can has little time for more.
const OPEN_QUESTIONS: usize = 16;
/// Wait before the second question about a container; doubled for each further one.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// Longest wait while the runtime gives errors or no answer that is understood.
const LONGEST_AFTER_ERROR: Duration = Duration::from_secs(4);
/// Longest wait while the runtimes say that they do not know the container: it may be another runtime's.
const LONGEST_WHILE_UNKNOWN: Duration = Duration::from_secs(30);
/// How often an absent runtime is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Tells the lookup which containers there are. Cheap, never waits.
#[derive(Clone, Debug)]
pub struct Requests(mpsc::UnboundedSender<Request>);

#[derive(Debug)]
enum Request {
    Begin { name: Name, id: String, runtime: Option<Runtime> },
    End { name: Name },
}

impl Requests {
    /// A cgroup appeared. Nothing happens if it is not a container's.
    pub fn begin(&self, name: &Name) {
        if let Some(container) = cgroup_names::identify(name) {
            let (id, runtime) = (container.id.to_owned(), container.runtime);
            self.send(Request::Begin { name: Name::clone(name), id, runtime });
        }
    }

    /// A cgroup is gone.
    pub fn end(&self, name: &Name) {
        if cgroup_names::identify(name).is_some() {
            self.send(Request::End { name: Name::clone(name) });
        }
    }

    fn send(&self, request: Request) {
        // Without a lookup, or after its end, nobody wants to know.
        let _ = self.0.send(request);
    }
}

/// The lookup, to be run.
#[derive(Debug)]
pub struct Lookup(mpsc::UnboundedReceiver<Request>);

/// A lookup and the handle that feeds it.
pub fn channel() -> (Requests, Lookup) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Requests(sender), Lookup(receiver))
}

impl Lookup {
    /// Runs until every [`Requests`] is gone. `found` is called with each identity as it becomes known, and again when
    /// the runtime reports that it changed, `stored` with what a runtime tells now and then about disks.
    pub async fn run(
        mut self,
        runtimes: Runtimes,
        mut found: impl FnMut(&Name, Identity),
        mut stored: impl FnMut(RuntimeStorage),
    ) {
        let (sender, mut news) = mpsc::channel(16);
        let (reporter, mut changed) = mpsc::channel(256);
        let (storage, mut reports) = mpsc::channel(16);
        let report = Report { news: sender, changed: reporter, storage };
        // Ended with this function.
        let mut watchers = JoinSet::new();
        let mut state = State { clients: vec![None; runtimes.endpoints.len()], ..State::default() };
        for (slot, (runtime, endpoint)) in runtimes.endpoints.iter().cloned().enumerate() {
            watchers.spawn(watch(slot, runtime, endpoint, runtimes.clone(), report.clone()));
        }
        loop {
            let due = state.ask_what_is_due();
            let pause = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                request = self.0.recv() => match request {
                    Some(request) => state.request(request),
                    None => return,
                },
                Some(news) = news.recv() => state.news(news),
                Some(id) = changed.recv() => state.ask_again(|wanted| wanted.id == id),
                Some(Ok(answer)) = state.open.join_next() => state.answer(answer, &mut found),
                Some(report) = reports.recv() => stored(report),
                () = pause => {}
            }
        }
    }
}

/// What a watcher reports.
#[derive(Debug)]
enum News {
    Up { slot: usize, client: Client },
    Down { slot: usize },
}

/// Where a watcher reports to.
#[derive(Clone, Debug)]
struct Report {
    news: mpsc::Sender<News>,
    /// Ids of containers of which the runtime knows something new.
    changed: mpsc::Sender<String>,
    /// What a runtime tells about disks.
    storage: mpsc::Sender<RuntimeStorage>,
}

/// Connects to one runtime, again and again, and passes on what it reports.
async fn watch(slot: usize, runtime: Runtime, endpoint: Endpoint, runtimes: Runtimes, report: Report) {
    let name = runtime.namespace();
    let mut absence_told = false;
    loop {
        match Client::connect(runtime, &endpoint, &runtimes).await {
            Ok(client) => {
                tracing::info!(runtime = name, %endpoint, "connected; it tells names, labels and images");
                absence_told = false;
                if report.news.send(News::Up { slot, client: client.clone() }).await.is_err() {
                    return;
                }
                let reason = tokio::select! {
                    reason = client.follow(&report.changed) => reason,
                    reason = follow_storage(&client, runtimes.storage_every, &report.storage) => reason,
                };
                tracing::info!(runtime = name, %endpoint, reason, "disconnected; what is known of its containers stays");
                if report.news.send(News::Down { slot }).await.is_err() {
                    return;
                }
            }
            Err(error) if !absence_told => {
                absence_told = true;
                tracing::debug!(runtime = name, %error, "not there; it is looked for every two seconds");
            }
            Err(_) => {}
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Passes on what a runtime tells about disks, now and then; ends when nobody wants to know.
async fn follow_storage(client: &Client, every: Option<Duration>, to: &mpsc::Sender<RuntimeStorage>) -> String {
    let Some(every) = every else { return std::future::pending().await };
    let every = client.storage_age().map_or(every, |age| every.min(age));
    while to.send(client.storage().await).await.is_ok() {
        sleep(every).await;
    }
    "nobody wants to know any more".to_owned()
}

/// A container that lives.
#[derive(Debug)]
struct Wanted {
    id: String,
    /// Whose it is, as far as its path tells.
    runtime: Option<Runtime>,
    tries: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be asked for at the time noted in the queue.
    Waiting,
    /// No runtime that may know it is there.
    Parked,
    /// A question is open. `again`: what the runtime knows changed since it was asked.
    Asked { again: Again },
    /// Answered.
    Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    No,
    Yes,
}

#[derive(Debug)]
struct Answer {
    name: Name,
    outcome: Result<Identity, RuntimeError>,
}

#[derive(Debug, Default)]
struct State {
    wanted: HashMap<Name, Wanted>,
    /// When to ask for what; an entry whose container is not waiting any more is passed over.
    queue: BinaryHeap<Reverse<(Instant, Name)>>,
    clients: Vec<Option<Client>>,
    open: JoinSet<Answer>,
}

impl State {
    fn request(&mut self, request: Request) {
        match request {
            Request::Begin { name, id, runtime } => {
                let wanted = Wanted { id, runtime, tries: 0, stage: Stage::Waiting };
                self.wanted.insert(Name::clone(&name), wanted);
                self.queue.push(Reverse((Instant::now(), name)));
            }
            Request::End { name } => {
                self.wanted.remove(&name);
            }
        }
    }

    fn news(&mut self, news: News) {
        match news {
            News::Up { slot, client } => {
                self.clients[slot] = Some(client);
                // It may have been upgraded or restored: what it knew may have changed too.
                self.ask_again(|_| true);
            }
            News::Down { slot } => self.clients[slot] = None,
        }
    }

    fn ask_again(&mut self, which: impl Fn(&Wanted) -> bool) {
        for (name, wanted) in self.wanted.iter_mut().filter(|(_, wanted)| which(wanted)) {
            wanted.tries = 0;
            if let Stage::Asked { again } = &mut wanted.stage {
                *again = Again::Yes;
            } else {
                wanted.stage = Stage::Waiting;
                self.queue.push(Reverse((Instant::now(), Name::clone(name))));
            }
        }
    }

    /// Asks for what is due; when the next is.
    fn ask_what_is_due(&mut self) -> Option<Instant> {
        while self.open.len() < OPEN_QUESTIONS {
            let Reverse((at, _)) = self.queue.peek()?;
            if *at > Instant::now() {
                return Some(*at);
            }
            if let Some(Reverse((_, name))) = self.queue.pop() {
                self.ask(name);
            }
        }
        // An answer wakes the loop.
        None
    }

    fn ask(&mut self, name: Name) {
        let Some(wanted) = self.wanted.get_mut(&name).filter(|wanted| wanted.stage == Stage::Waiting) else { return };
        let may_know = |client: &&Client| wanted.runtime.is_none_or(|runtime| runtime == client.runtime());
        let clients: Vec<Client> = self.clients.iter().flatten().filter(may_know).cloned().collect();
        if clients.is_empty() {
            wanted.stage = Stage::Parked;
            return;
        }
        wanted.stage = Stage::Asked { again: Again::No };
        let id = wanted.id.clone();
        self.open.spawn(async move {
            let mut outcome = Err(RuntimeError::NoSuchContainer);
            for client in clients {
                match client.inspect(&id).await {
                    // Another one may know it.
                    Err(RuntimeError::NoSuchContainer) => {}
                    answer => outcome = answer,
                }
                if outcome.is_ok() {
                    break;
                }
            }
            Answer { name, outcome }
        });
    }

    fn answer(&mut self, answer: Answer, found: &mut impl FnMut(&Name, Identity)) {
        let Answer { name, outcome } = answer;
        let Some(wanted) = self.wanted.get_mut(&name) else { return };
        let Stage::Asked { again } = wanted.stage else { return };
        let pause = match outcome {
            Ok(identity) => {
                found(&name, Identity { pod: cgroup_names::pod(&name), ..identity });
                wanted.tries = 0;
                wanted.stage = Stage::Known;
                match again {
                    Again::No => return,
                    Again::Yes => Duration::ZERO,
                }
            }
            Err(RuntimeError::NoSuchContainer) => backoff(&mut wanted.tries, LONGEST_WHILE_UNKNOWN),
            Err(error) => {
                tracing::debug!(id = wanted.id, %error, "the runtime did not tell about a container; asking again");
                backoff(&mut wanted.tries, LONGEST_AFTER_ERROR)
            }
        };
        wanted.stage = Stage::Waiting;
        self.queue.push(Reverse((Instant::now() + pause, name)));
    }
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
}
