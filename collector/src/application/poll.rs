//! The task that reads the applications: it looks which containers ask for it, and has a task for each.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::config::{Method, Plan};
use super::{ApplicationError, LABEL, Parsed, exposition, fetch, generic};
use crate::sample::application::{MetricSpec, Round};
use crate::sample::event::Name;
use crate::sample::identity::{Address, Identity};
use crate::store::{Container, Store};
use crate::units::WallTime;

/// How often it is looked for containers that ask for it.
const LOOK: Duration = Duration::from_secs(3);
/// Endpoints that are read at once.
const AT_ONCE: usize = 8;
/// Wait before a file that could not be used is read again; doubled for each further time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Reads files inside containers.
pub trait Files: Send + Sync + 'static {
    /// Reads a file of a container as seen from one of its processes; the error is for people. It must not block the
    /// executor.
    fn read(&self, container: &Name, path: &str) -> impl Future<Output = Result<Vec<u8>, String>> + Send;
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Values were read.
    Read,
    /// They were not.
    Failed,
}

/// What the task works with.
struct Shared<F, C> {
    files: F,
    count: C,
    /// Metrics a container may have.
    limit: usize,
    turns: Semaphore,
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

/// Runs until it is dropped. `limit` is how many metrics a container may have; `count` is told what became of each
/// attempt.
pub async fn run<F: Files, C: Fn(Outcome) + Send + Sync + 'static>(
    store: Arc<Store>,
    files: F,
    limit: usize,
    count: C,
) {
    let shared = Arc::new(Shared { files, count, limit, turns: Semaphore::new(AT_ONCE) });
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

/// The collectors a container asks for, each with the path of its file.
fn labels(identity: &Identity) -> Vec<(String, String)> {
    let labels = identity.labels.iter();
    labels.filter_map(|(label, path)| Some((label.strip_prefix(LABEL)?.to_owned(), path.clone()))).collect()
}

/// One endpoint of a container.
struct Endpoint {
    plan: Plan,
    due: Instant,
    /// What it offers, by its last answer.
    specs: Vec<MetricSpec>,
}

/// Reads one container for as long as it is there.
async fn follow<F: Files, C: Fn(Outcome)>(
    shared: Arc<Shared<F, C>>,
    container: Arc<Container>,
    labels: Vec<(String, String)>,
    address: Address,
) {
    let mut wait = FIRST_RETRY;
    let mut endpoints = loop {
        match plans(&shared, container.name(), &labels, address).await {
            Ok(plans) => break plans,
            Err(error) => {
                (shared.count)(Outcome::Failed);
                tracing::debug!(container = %container.name().escape_ascii(), %error, "no application metrics");
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_RETRY);
    };
    loop {
        let Some(next) = endpoints.iter().map(|endpoint| endpoint.due).min() else { return };
        sleep_until(next).await;
        // Closed only when nobody is left to wait.
        let Ok(turn) = shared.turns.acquire().await else { return };
        let outcome = round(&mut endpoints, shared.limit).await;
        drop(turn);
        match outcome {
            Ok(round) => {
                (shared.count)(Outcome::Read);
                container.offer(round);
            }
            Err(error) => {
                (shared.count)(Outcome::Failed);
                tracing::debug!(container = %container.name().escape_ascii(), %error, "no application metrics");
            }
        }
    }
}

/// Reads the files that the labels name. As in cAdvisor all have to be right.
async fn plans<F: Files, C>(
    shared: &Shared<F, C>,
    name: &Name,
    labels: &[(String, String)],
    address: Address,
) -> Result<Vec<Endpoint>, ApplicationError> {
    let mut endpoints = Vec::new();
    for (collector, path) in labels {
        let text = shared.files.read(name, path).await;
        let text =
            text.map_err(|reason| ApplicationError::File { collector: collector.clone(), path: path.clone(), reason })?;
        let plan = Plan::parse(collector, &text, address, shared.limit);
        let plan = plan.map_err(|reason| ApplicationError::Config { collector: collector.clone(), reason })?;
        let specs = match &plan.method {
            Method::Generic(metrics) => metrics.iter().map(MetricSpec::from).collect(),
            Method::Prometheus(_) => Vec::new(),
        };
        endpoints.push(Endpoint { plan, due: Instant::now(), specs });
    }
    Ok(endpoints)
}

/// Reads the endpoints that are due. As in cAdvisor one that fails spoils it.
async fn round(endpoints: &mut [Endpoint], limit: usize) -> Result<Round, ApplicationError> {
    let mut values = std::collections::BTreeMap::new();
    let start = Instant::now();
    for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.due <= start) {
        endpoint.due = start + endpoint.plan.every;
        let Parsed { specs, values: more } = read(&endpoint.plan, limit).await?;
        endpoint.specs = specs;
        values.extend(more);
    }
    let specs: std::collections::BTreeMap<_, _> =
        endpoints.iter().flat_map(|endpoint| &endpoint.specs).map(|spec| (&spec.name, spec)).collect();
    Ok(Round { specs: specs.into_values().cloned().collect(), values })
}

async fn read(plan: &Plan, limit: usize) -> Result<Parsed, ApplicationError> {
    let url = || plan.url.clone();
    let page = fetch::get(&plan.url).await.map_err(|reason| ApplicationError::Fetch { url: url(), reason })?;
    let now = WallTime::from(SystemTime::now());
    match &plan.method {
        Method::Generic(metrics) => {
            let values = generic::read(metrics, &page, now);
            let values = values.map_err(|reason| ApplicationError::Generic { url: url(), reason })?;
            Ok(Parsed { specs: metrics.iter().map(MetricSpec::from).collect(), values })
        }
        Method::Prometheus(wanted) => exposition::read(&page, wanted, limit, now)
            .map_err(|reason| ApplicationError::Exposition { url: url(), reason }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::sample::application::Number;
    use crate::sample::container::Sample;
    use crate::sample::identity::Runtime;
    use crate::store::event_log::{EventLimits, KindLimits};
    use crate::store::history::Limits;
    use crate::store::{Listed, StoreLimits};

    fn store() -> Arc<Store> {
        Arc::new(Store::new(StoreLimits {
            history: Limits { age: Duration::from_secs(120), count: 100 },
            events: EventLimits {
                default: KindLimits { age: Duration::from_secs(10), count: None },
                kinds: HashMap::new(),
                bytes: usize::MAX,
            },
            memory: crate::store::MemoryBounds::NONE,
            // Nothing holds an ended container but who reads it.
            ended_retention: Duration::ZERO,
        }))
    }

    /// Files by path, and how often they were asked for.
    struct Fixed(Mutex<HashMap<String, String>>, Arc<AtomicUsize>);

    impl Files for Fixed {
        async fn read(&self, _: &Name, path: &str) -> Result<Vec<u8>, String> {
            self.1.fetch_add(1, Ordering::Relaxed);
            let text = self.0.lock().unwrap().get(path).cloned();
            text.map(String::into_bytes).ok_or_else(|| "not there".to_owned())
        }
    }

    /// The same for several.
    struct Handle(Arc<Fixed>);
    impl Files for Handle {
        async fn read(&self, container: &Name, path: &str) -> Result<Vec<u8>, String> {
            self.0.read(container, path).await
        }
    }

    /// Answers every request with this; where it listens.
    async fn serve(page: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{page}").as_bytes()).await;
            }
        });
        address
    }

    fn begin(store: &Store, labels: &[(&str, &str)]) -> Arc<Container> {
        let container = store.begin(&Name::from(*b"/docker/a"), Listed::Yes);
        let labels = labels.iter().map(|(collector, path)| (format!("{LABEL}{collector}"), (*path).to_owned()));
        container
            .set_identity(Identity { labels: labels.collect(), ..Identity::from_path(Runtime::Docker, "a".into()) });
        container
    }

    /// Waits until the container has a reading, and hands it over.
    async fn reading(container: &Container) -> Round {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            container.push(Sample { at: WallTime::from(SystemTime::now()), ..Sample::default() });
            if let Some((_, round)) = container.application().unwrap_or_default().rounds.back() {
                return Round::clone(round);
            }
            assert!(Instant::now() < patience, "nothing was read");
            sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn both_kinds_are_read_and_belong_together() {
        let prometheus = serve("# TYPE up gauge\nup{a=\"b\"} 1\n").await;
        let generic = serve("load: 17\n").await;
        let files = HashMap::from([
            (
                "/g".to_owned(),
                format!(
                    r#"{{"endpoint":"http://{generic}/","metrics_config":[{{"name":"load","metric_type":"gauge","units":"tasks","data_type":"int","regex":"load: (\\d+)"}}]}}"#
                ),
            ),
            ("/p".to_owned(), format!(r#"{{"endpoint":"http://{prometheus}/metrics"}}"#)),
        ]);
        let store = store();
        let container = begin(&store, &[("nginx", "/g"), ("prometheus", "/p")]);
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let count = {
            let outcomes = Arc::clone(&outcomes);
            move |outcome| outcomes.lock().unwrap().push(outcome)
        };
        let task = tokio::spawn(run(Arc::clone(&store), Fixed(Mutex::new(files), Arc::default()), 10, count));
        let Round { specs, values } = reading(&container).await;
        task.abort();
        assert_eq!(
            specs.iter().map(|spec| (&*spec.name, &*spec.kind, &*spec.units)).collect::<Vec<_>>(),
            [("load", "gauge", "tasks"), ("up", "GAUGE", "")]
        );
        assert_eq!(values["load"][0].number, Number::Integer(17));
        assert_eq!(values["up"][0].number, Number::Float(1.0));
        assert_eq!(outcomes.lock().unwrap()[0], Outcome::Read);
    }

    #[tokio::test]
    async fn a_file_that_comes_later_is_found_and_a_container_that_ends_is_left() {
        let address = serve("up 1\n").await;
        let asked = Arc::new(AtomicUsize::new(0));
        let files = Arc::new(Fixed(Mutex::default(), Arc::clone(&asked)));
        let store = store();
        let container = begin(&store, &[("prometheus", "/p")]);
        let task = tokio::spawn(run(Arc::clone(&store), Handle(Arc::clone(&files)), 10, |_| {}));
        while asked.load(Ordering::Relaxed) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(container.application(), None);
        files.0.lock().unwrap().insert("/p".to_owned(), format!(r#"{{"endpoint":"http://{address}/"}}"#));
        assert!(reading(&container).await.values.contains_key("up"));
        store.end(&container, WallTime(0));
        // Its task holds the container; without it the test does, and the store no longer.
        let patience = Instant::now() + Duration::from_secs(20);
        while Arc::strong_count(&container) > 1 {
            assert!(Instant::now() < patience, "the container is still read");
            sleep(Duration::from_millis(20)).await;
        }
        task.abort();
    }
}
