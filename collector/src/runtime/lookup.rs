//! Asks the runtimes who a container is, until one of them knows.
//!
//! One task holds what is wanted and what was asked. A container that no runtime knows yet is asked for again, at first
//! soon and then ever less often; while a runtime is away nothing is asked of it, and when it comes back everything
//! that is still unknown is asked at once. Nothing waits for an answer: a container without one is a container all the
//! same.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::cgroups_of::CgroupsOf;
use super::client::Client;
use super::cri_usage::UsageQuestions;
use super::listeners::{Listener, Runtimes};
use super::owners::RuntimeReport;
use super::questions::Questions;
use super::reachability::{Cause, Reachability, diagnose};
use super::records::Records;
use super::requests::{Request, Requests, Waiting, list};
use crate::degradations::Degradations;
use crate::sample::event::Name;
use crate::sample::images::RuntimeStorage;

/// How often an absent runtime is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A runtime that has not answered for this long is silent.
const SILENCE: Duration = Duration::from_secs(5);

/// The lookup, to be run.
#[derive(Debug)]
pub struct Lookup {
    waiting: Waiting,
    records: Records,
    usage: Option<UsageQuestions>,
}

/// A lookup and the handle that feeds it.
pub fn channel() -> (Requests, Lookup) {
    let (requests, waiting) = list();
    (requests, Lookup { waiting, records: Records::default(), usage: None })
}

impl Lookup {
    /// With a function that looks at what lies on disk about a container whose path names it, and reports it. It is called
    /// for one after another, where it may take its time.
    #[must_use]
    pub fn with_records(self, look: impl Fn(&Name) + Send + Sync + 'static) -> Self {
        Self { records: Records::new(Some(Arc::new(look))), ..self }
    }

    /// With questions about what containers use of which the kernel sees nothing.
    #[must_use]
    pub fn with_usage(self, questions: UsageQuestions) -> Self {
        Self { usage: Some(questions), ..self }
    }

    /// Runs until every [`Requests`] is gone. `found` is called with what a runtime reports about a container, and
    /// again when that changed, `stored` with what a runtime reports now and then about disks. A runtime that cannot be
    /// asked is reported.
    pub async fn run(
        mut self,
        runtimes: Runtimes,
        cgroups_of: CgroupsOf,
        degradations: Degradations,
        mut found: impl FnMut(RuntimeReport),
        mut stored: impl FnMut(RuntimeStorage),
    ) {
        let (sender, mut news) = mpsc::channel(16);
        let (reporter, mut changed) = mpsc::channel(256);
        let (storage, mut reports) = mpsc::channel(16);
        let report = LookupReport { news: sender, changed: reporter, storage, usage: self.usage.take() };
        // Ended with this function.
        let mut watchers = JoinSet::new();
        let mut questions = Questions::new(runtimes.listeners.len(), cgroups_of);
        let mut reachability = Reachability::new(&runtimes.listeners, degradations);
        for (slot, listener) in runtimes.listeners.iter().cloned().enumerate() {
            watchers.spawn(watch(slot, listener, runtimes.clone(), report.clone()));
        }
        loop {
            let due = questions.ask_what_is_due();
            let pause = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                requests = self.waiting.next() => {
                    let Some(requests) = requests else { return };
                    // What ends first: it makes room for what begins, where there is a bound.
                    let (ended, begun): (Vec<_>, Vec<_>) =
                        requests.into_iter().partition(|(_, request)| *request == Request::End);
                    for (name, _) in &ended {
                        reachability.end(name);
                        questions.end(name);
                        self.records.end(name);
                    }
                    for (name, _) in begun {
                        reachability.begin(&name);
                        questions.begin(&name);
                        self.records.begin(&name);
                    }
                },
                Some(news) = news.recv() => match news {
                    LookupNews::Up { slot, client } => {
                        reachability.answers(slot);
                        questions.up(slot, client);
                    }
                    LookupNews::Answers { slot } => reachability.answers(slot),
                    LookupNews::Trouble { slot, cause } => reachability.trouble(slot, cause),
                    LookupNews::Down { slot } => questions.down(slot),
                },
                Some(id) = changed.recv() => questions.changed(&id),
                Some(answer) = questions.next() => if let Some((name, reported)) = questions.answer(answer) {
                    if let Some(runtime) = reported.identity.runtime.runtime() {
                        reachability.identified(&name, runtime);
                    }
                    found(reported);
                },
                Some(report) = reports.recv() => stored(report),
                // None ends by itself: a panic is this task's too.
                Some(Err(error)) = watchers.join_next() => std::panic::resume_unwind(error.into_panic()),
                () = self.records.turn() => {}
                () = pause => {}
            }
        }
    }
}

/// What a watcher reports.
#[derive(Debug)]
enum LookupNews {
    Up {
        slot: usize,
        client: Client,
    },
    /// It was silent, and is not any more.
    Answers {
        slot: usize,
    },
    Trouble {
        slot: usize,
        cause: Cause,
    },
    Down {
        slot: usize,
    },
}

/// Where a watcher reports to.
#[derive(Clone, Debug)]
struct LookupReport {
    news: mpsc::Sender<LookupNews>,
    /// Ids of containers of which the runtime knows something new.
    changed: mpsc::Sender<String>,
    /// What a runtime reports about disks.
    storage: mpsc::Sender<RuntimeStorage>,
    /// What containers use.
    usage: Option<UsageQuestions>,
}

impl LookupReport {
    /// Without a receiver the lookup has ended, and soon this task with it.
    async fn news(&self, news: LookupNews) {
        let _ = self.news.send(news).await;
    }
}

/// Connects to one runtime, again and again, and passes on what it reports.
async fn watch(slot: usize, listener: Listener, runtimes: Runtimes, report: LookupReport) {
    let Listener { runtime, endpoint, .. } = &listener;
    let name = runtime.namespace();
    loop {
        let mut connecting = std::pin::pin!(Client::connect(*runtime, endpoint, &runtimes));
        let connected = if let Ok(connected) = timeout(SILENCE, &mut connecting).await {
            connected
        } else {
            report.news(LookupNews::Trouble { slot, cause: Cause::Silent }).await;
            connecting.await
        };
        match connected {
            Ok(client) => {
                tracing::info!(runtime = name, %endpoint, "connected to the runtime");
                report.news(LookupNews::Up { slot, client: client.clone() }).await;
                let reason = tokio::select! {
                    reason = client.follow(&report.changed) => reason,
                    reason = pulse(slot, &client, &report) => reason,
                    reason = follow_storage(&client, runtimes.storage_every, &report.storage) => reason,
                    reason = client.follow_usage(report.usage.as_ref()) => reason,
                };
                tracing::info!(
                    runtime = name, %endpoint, reason,
                    "disconnected from the runtime; its containers keep their names and labels"
                );
                report.news(LookupNews::Down { slot }).await;
            }
            Err(error) => {
                tracing::debug!(runtime = name, %error, "the runtime is not there; trying again every two seconds");
                report.news(LookupNews::Trouble { slot, cause: diagnose(endpoint, error).await }).await;
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Asks now and then whether the runtime still answers, and returns with what was wrong when that fails.
async fn pulse(slot: usize, client: &Client, report: &LookupReport) -> String {
    loop {
        sleep(client.pulse()).await;
        let mut question = std::pin::pin!(client.ping());
        let answered = if let Ok(answered) = timeout(SILENCE, &mut question).await {
            answered
        } else {
            report.news(LookupNews::Trouble { slot, cause: Cause::Silent }).await;
            let answered = question.await;
            if answered.is_ok() {
                report.news(LookupNews::Answers { slot }).await;
            }
            answered
        };
        if let Err(error) = answered {
            return error.to_string();
        }
    }
}

/// Passes on what a runtime reports about disks, now and then; ends when nobody listens any more.
async fn follow_storage(client: &Client, every: Option<Duration>, to: &mpsc::Sender<RuntimeStorage>) -> String {
    let Some(every) = every else { return std::future::pending().await };
    let every = client.storage_age().map_or(every, |age| every.min(age));
    while to.send(client.storage().await).await.is_ok() {
        sleep(every).await;
    }
    "nobody wants to know any more".to_owned()
}
