//! The task that reads the applications: it looks which containers ask for it, and has a task for each.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::bounds::{
    ALL_CONFIGS_BYTES, COLLECTOR_BYTES, COLLECTORS, CONFIGS_BYTES, EXPRESSIONS_TIME, LARGE_ROUNDS_BYTES, PATH_BYTES,
    PATIENCE_WITH_ALL, QUICK_PAGE_BYTES, QUICK_TIME, REST, ROUND_BYTES, SHARES_BYTES,
};
use super::budget::{Budget, Taken};
use super::config::{Asking, Method, Plan};
use super::exposition::Most;
use super::expressions::{Expressions, Size};
use super::fetch::{self, FetchError, Page};
use super::lanes::{Known, Lane, Lanes};
use super::target::Reach;
use super::workers::Workers;
use super::{ApplicationError, LABEL, Parsed, exposition, generic};
use crate::sample::application::{MetricSpec, Round};
use crate::sample::event::Name;
use crate::sample::identity::{Address, Identity};
use crate::store::{Container, Store};
use crate::units::WallTime;

/// How often it is looked for containers that ask for it.
const LOOK: Duration = Duration::from_secs(3);
/// Wait before what could not be used is read again; doubled for each further time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest such wait, for files and for what took much time or memory, and for endpoints that failed at once.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
const LONGEST_CHEAP_RETRY: Duration = Duration::from_secs(10);
/// An answer that comes so soon came quickly.
const SOON: Duration = Duration::from_secs(1);

/// Reads files inside containers.
pub trait Files: Send + Sync + 'static {
    /// Reads a file of a container as seen from one of its processes; the error is for people. It must not block the
    /// executor, and come to an end although the file never answers.
    fn read(&self, container: &Name, path: &str) -> impl Future<Output = Result<Vec<u8>, String>> + Send;
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Values were read.
    Read {
        /// As many others were beyond the bounds.
        left_out: usize,
    },
    /// They were not.
    Failed,
    /// The container asks for more than it may have.
    Refused,
    /// The answer took so much time on a CPU that the next one is put off.
    Delayed,
}

/// What containers may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Metrics a container may have.
    pub limit: usize,
    /// Endpoints it may name.
    pub reach: Reach,
}

/// What the task works with.
struct PollShared<F, C> {
    files: F,
    count: C,
    rules: Rules,
    lanes: Lanes,
    workers: Workers,
    /// Files that say where metrics are.
    configs: Budget,
    /// Readings that are larger than an equal share.
    large_rounds: Budget,
    /// Containers that are read.
    followed: AtomicUsize,
}

impl<F, C> PollShared<F, C> {
    /// Bytes that the readings of each container may take.
    fn share(&self) -> usize {
        SHARES_BYTES / self.followed.load(Ordering::Relaxed).max(1)
    }
}

/// A container that is read.
struct Followed {
    container: Arc<Container>,
    labels: Vec<(String, String)>,
    address: Address,
    task: AbortHandle,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs until it is dropped. `count` is called with the result of each attempt.
///
/// # Errors
/// The system has no thread to give.
pub async fn run<F: Files, C: Fn(Outcome) + Send + Sync + 'static>(
    store: Arc<Store>,
    files: F,
    rules: Rules,
    count: C,
) -> std::io::Result<()> {
    let shared = Arc::new(PollShared {
        files,
        count,
        rules,
        lanes: Lanes::new(),
        workers: Workers::start()?,
        configs: Budget::new(ALL_CONFIGS_BYTES),
        large_rounds: Budget::new(LARGE_ROUNDS_BYTES),
        followed: AtomicUsize::new(0),
    });
    let mut followed: HashMap<Name, Followed> = HashMap::new();
    // Ended with this function.
    let mut tasks = JoinSet::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let asking: HashMap<_, _> = store
            .labelled(LABEL)
            .into_iter()
            .map(|(container, who)| (Arc::clone(container.name()), (container, who)))
            .collect();
        shared.followed.store(asking.len(), Ordering::Relaxed);
        followed.retain(|name, followed| {
            asking.get(name).is_some_and(|(container, identity)| {
                Arc::ptr_eq(container, &followed.container)
                    && labels(identity) == followed.labels
                    && identity.address == followed.address
            })
        });
        for (name, (container, identity)) in asking {
            followed.entry(name).or_insert_with(|| {
                let (labels, address) = (labels(&identity), identity.address);
                let follow = follow(Arc::clone(&shared), Arc::clone(&container), labels.clone(), address);
                Followed { container, labels, address, task: tasks.spawn(follow) }
            });
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// The collectors a container asks for, each with the path of its file: as many as it may have, and one more if it has
/// more, cut where they are too long.
fn labels(identity: &Identity) -> Vec<(String, String)> {
    let named = identity.labels.iter().filter_map(|(label, path)| Some((label.strip_prefix(LABEL)?, path)));
    let cut = |text: &str, most: usize| text.chars().take(most + 1).collect();
    named.take(COLLECTORS + 1).map(|(label, path)| (cut(label, COLLECTOR_BYTES), cut(path, PATH_BYTES))).collect()
}

/// One endpoint of a container.
struct PolledEndpoint {
    plan: Arc<Plan>,
    due: Instant,
    /// What it offers, by its last answer.
    specs: Vec<MetricSpec>,
}

/// What is known of a container from when it was read before.
struct PollState {
    known: Known,
    /// How long looking through its answers may take.
    size: Size,
    failures: u32,
    /// Time on a CPU that its last answers took.
    spent: Duration,
    /// Room for a reading that is larger than an equal share.
    room: Option<Taken>,
}

impl PollState {
    /// Sees to it that there is room for a reading of so many bytes.
    fn admit<F, C>(&mut self, shared: &PollShared<F, C>, bytes: usize) -> Result<(), ApplicationError> {
        self.room = None;
        let share = shared.share();
        if bytes > share {
            let room = (bytes <= ROUND_BYTES).then(|| shared.large_rounds.take(bytes.saturating_mul(2))).flatten();
            self.room = Some(room.ok_or(ApplicationError::LargeRound { bytes, most: share })?);
        }
        Ok(())
    }
}

/// Reads one container for as long as it is there.
async fn follow<F: Files, C: Fn(Outcome)>(
    shared: Arc<PollShared<F, C>>,
    container: Arc<Container>,
    labels: Vec<(String, String)>,
    address: Address,
) {
    let mut wait = FIRST_RETRY;
    let (mut endpoints, _configs) = loop {
        match plans(&shared, container.name(), &labels, address).await {
            Ok(plans) => break plans,
            Err(error) => failed(&shared, &container, &error),
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_RETRY);
    };
    let size = endpoints.iter().map(|endpoint| endpoint.plan.size).max().unwrap_or(Size::Small);
    let mut state = PollState { known: Known::New, size, failures: 0, spent: Duration::ZERO, room: None };
    loop {
        let Some(next) = endpoints.iter().map(|endpoint| endpoint.due).min() else { return };
        sleep_until(next).await;
        let known = if state.size == Size::Large { Known::Slow } else { state.known };
        let lane = shared.lanes.of(known);
        let turn = lane.turn().await;
        let began = Instant::now();
        state.spent = Duration::ZERO;
        let polled = round(&shared, &mut endpoints, &mut state, lane).await;
        drop(turn);
        match polled {
            Ok(Polled { round, bytes, left_out }) => {
                state.failures = 0;
                state.known = if began.elapsed() < SOON { Known::Quick } else { Known::Slow };
                (shared.count)(Outcome::Read { left_out });
                container.offer(round, bytes, shared.share());
            }
            Err(error) => {
                failed(&shared, &container, &error);
                let longest = if error.is_costly() {
                    state.known = Known::Slow;
                    LONGEST_RETRY
                } else {
                    LONGEST_CHEAP_RETRY
                };
                put_off(&mut endpoints, FIRST_RETRY.saturating_mul(1 << state.failures.min(6)).min(longest));
                state.failures = state.failures.saturating_add(1);
            }
        }
        if state.spent > QUICK_TIME {
            (shared.count)(Outcome::Delayed);
            put_off(&mut endpoints, state.spent * REST);
        }
    }
}

/// Reads none of them before so long.
fn put_off(endpoints: &mut [PolledEndpoint], wait: Duration) {
    let earliest = Instant::now() + wait;
    for endpoint in endpoints {
        endpoint.due = endpoint.due.max(earliest);
    }
}

fn failed<F, C: Fn(Outcome)>(shared: &PollShared<F, C>, container: &Container, error: &ApplicationError) {
    (shared.count)(if error.is_beyond_bounds() { Outcome::Refused } else { Outcome::Failed });
    tracing::debug!(cgroup = %container.name().escape_ascii(), %error, "no application metrics");
}

/// Reads the files that the labels name. As in cAdvisor all have to be right.
async fn plans<F: Files, C>(
    shared: &PollShared<F, C>,
    name: &Name,
    labels: &[(String, String)],
    address: Address,
) -> Result<(Vec<PolledEndpoint>, Vec<Taken>), ApplicationError> {
    let is_long = |(collector, path): &(String, String)| collector.len() > COLLECTOR_BYTES || path.len() > PATH_BYTES;
    if labels.len() > COLLECTORS || labels.iter().any(is_long) {
        return Err(ApplicationError::Labels);
    }
    let (mut endpoints, mut room, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (collector, path) in labels {
        let text = shared.files.read(name, path).await;
        let text =
            text.map_err(|reason| ApplicationError::File { collector: collector.clone(), path: path.clone(), reason })?;
        bytes += text.len();
        if bytes > CONFIGS_BYTES {
            return Err(ApplicationError::LargeFiles);
        }
        room.push(shared.configs.take(text.len()).ok_or(ApplicationError::ManyFiles)?);
        let (own, Rules { limit, reach }) = (collector.clone(), shared.rules);
        let parse = move |_: &mut _| Plan::parse(Asking { collector: &own, address, reach, limit }, &text);
        let (plan, _) = shared.workers.run(Size::Large, parse).await?;
        let plan = plan.map_err(|reason| ApplicationError::Config { collector: collector.clone(), reason })?;
        let specs = match &plan.method {
            Method::Generic(metrics) => metrics.iter().map(MetricSpec::from).collect(),
            Method::Prometheus(_) => Vec::new(),
        };
        endpoints.push(PolledEndpoint { plan: Arc::new(plan), due: Instant::now(), specs });
    }
    Ok((endpoints, room))
}

/// What the endpoints that are due said.
struct Polled {
    round: Round,
    bytes: usize,
    /// Values that are beyond the bounds.
    left_out: usize,
}

/// Reads the endpoints that are due. As in cAdvisor one that fails spoils it.
async fn round<F, C>(
    shared: &PollShared<F, C>,
    endpoints: &mut [PolledEndpoint],
    state: &mut PollState,
    lane: &Lane,
) -> Result<Polled, ApplicationError> {
    let (mut values, mut bytes, mut left_out) = (BTreeMap::new(), 0, 0);
    let start = Instant::now();
    let deadline = start + PATIENCE_WITH_ALL;
    for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.due <= start) {
        endpoint.due = start + endpoint.plan.every;
        let page = match fetch::get(&endpoint.plan.target, lane, deadline).await {
            Err(FetchError::Slow) if Instant::now() >= deadline => return Err(ApplicationError::SlowEndpoints),
            Err(reason) => return Err(ApplicationError::Fetch { url: endpoint.plan.target.to_string(), reason }),
            Ok(page) => page,
        };
        let is_quick = page.text.len() <= QUICK_PAGE_BYTES || matches!(endpoint.plan.method, Method::Prometheus(_));
        let size = if is_quick { state.size } else { Size::Large };
        let plan = Arc::clone(&endpoint.plan);
        let most = Most { metrics: shared.rules.limit, bytes: ROUND_BYTES.saturating_sub(bytes) };
        let (parsed, took) =
            shared.workers.run(size, move |expressions| parse(&plan, &page, most, size, expressions)).await?;
        state.spent += took;
        if took > QUICK_TIME && matches!(endpoint.plan.method, Method::Generic(_)) {
            state.size = Size::Large;
        }
        let Parsed { specs, values: more, left_out: others } = parsed?;
        endpoint.specs = specs;
        let more = Round { values: more, ..Round::default() };
        bytes += more.bytes();
        // Before the next endpoint is waited for.
        state.admit(shared, bytes)?;
        values.extend(more.values);
        left_out += others;
    }
    let specs: BTreeMap<_, _> =
        endpoints.iter().flat_map(|endpoint| &endpoint.specs).map(|spec| (&spec.name, spec)).collect();
    let round = Round { specs: specs.into_values().cloned().collect(), values };
    let bytes = round.bytes();
    state.admit(shared, bytes)?;
    Ok(Polled { round, bytes, left_out })
}

/// Looks through an answer, on a thread for that.
fn parse(
    plan: &Plan,
    page: &Page,
    most: Most,
    size: Size,
    expressions: &mut Expressions,
) -> Result<Parsed, ApplicationError> {
    let url = || plan.target.to_string();
    let now = WallTime::from(SystemTime::now());
    match &plan.method {
        Method::Generic(metrics) => {
            let most = if size == Size::Small { QUICK_TIME } else { EXPRESSIONS_TIME };
            let values = generic::read(metrics, &page.text, now, expressions, most);
            let values = values.map_err(|reason| ApplicationError::Generic { url: url(), reason })?;
            Ok(Parsed { specs: metrics.iter().map(MetricSpec::from).collect(), values, left_out: 0 })
        }
        Method::Prometheus(wanted) => exposition::read(&page.text, wanted, most, now)
            .map_err(|reason| ApplicationError::Exposition { url: url(), reason }),
    }
}

#[cfg(test)]
mod tests;
