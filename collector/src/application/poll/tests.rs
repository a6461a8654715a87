//! The task over applications that are made up.

use std::fmt::Write as _;
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

const RULES: Rules = Rules { limit: 10, reach: Reach::AnyUrl };

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
    begin_as(store, "/docker/a", labels)
}

fn begin_as(store: &Store, name: &str, labels: &[(&str, &str)]) -> Arc<Container> {
    let container = store.begin(&Name::from(name.as_bytes()), Listed::Yes);
    let labels = labels.iter().map(|(collector, path)| (format!("{LABEL}{collector}"), (*path).to_owned()));
    container.set_identity(Identity { labels: labels.collect(), ..Identity::from_path(Runtime::Docker, "a".into()) });
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
    let task = tokio::spawn(run(Arc::clone(&store), Fixed(Mutex::new(files), Arc::default()), RULES, count));
    let Round { specs, values } = reading(&container).await;
    task.abort();
    assert_eq!(
        specs.iter().map(|spec| (&*spec.name, &*spec.kind, &*spec.units)).collect::<Vec<_>>(),
        [("load", "gauge", "tasks"), ("up", "GAUGE", "")]
    );
    assert_eq!(values["load"][0].number, Number::Integer(17));
    assert_eq!(values["up"][0].number, Number::Float(1.0));
    assert_eq!(outcomes.lock().unwrap()[0], Outcome::Read { left_out: 0 });
}

#[tokio::test]
async fn a_file_that_comes_later_is_found_and_a_container_that_ends_is_left() {
    let address = serve("up 1\n").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let files = Arc::new(Fixed(Mutex::default(), Arc::clone(&asked)));
    let store = store();
    let container = begin(&store, &[("prometheus", "/p")]);
    let task = tokio::spawn(run(Arc::clone(&store), Handle(Arc::clone(&files)), RULES, |_| {}));
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

#[tokio::test]
async fn who_asks_for_too_much_is_refused_and_others_are_read() {
    let honest = serve("up 1\n").await;
    let mut large = String::new();
    for at in 0..9000 {
        let _ = writeln!(large, "m{{x=\"{at}\",y=\"{}\"}} 1", "A".repeat(90));
    }
    let large: &'static str = Box::leak(large.into_boxed_str());
    let large = serve(large).await;
    let at = |address: &str| format!(r#"{{"endpoint":"http://{address}/"}}"#);
    let padded = |bytes: usize| {
        let text = at(&honest);
        format!("{text}{}", " ".repeat(bytes - text.len()))
    };
    let files = HashMap::from([
        ("/honest".to_owned(), at(&honest)),
        ("/large".to_owned(), at(&large)),
        ("/half".to_owned(), padded(CONFIGS_BYTES / 2)),
        ("/byte".to_owned(), padded(CONFIGS_BYTES / 2 + 1)),
    ]);
    let store = store();
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let count = {
        let outcomes = Arc::clone(&outcomes);
        move |outcome| outcomes.lock().unwrap().push(outcome)
    };
    let collectors: Vec<String> = (0..=COLLECTORS).map(|at| format!("prometheus{at:02}")).collect();
    let labels: Vec<_> = collectors.iter().map(|collector| (&**collector, "/honest")).collect();
    let named = |name: &str, labels: &[(&str, &str)]| begin_as(&store, name, labels);
    let just = named("/docker/b", &labels[..COLLECTORS]);
    let halves = named("/docker/d", &[("prometheus1", "/half"), ("prometheus2", "/half")]);
    let refused = [
        named("/docker/c", &labels),
        named("/docker/e", &[("prometheus1", "/half"), ("prometheus2", "/byte")]),
        named("/docker/f", &[(&*"prometheus".repeat(26), "/honest")]),
    ];
    let largest = [named("/docker/g", &[("prometheus", "/large")]), named("/docker/h", &[("prometheus", "/large")])];
    let task = tokio::spawn(run(Arc::clone(&store), Fixed(Mutex::new(files), Arc::default()), RULES, count));
    assert_eq!(reading(&just).await.values["up"].len(), 1);
    assert!(reading(&halves).await.values.contains_key("up"));
    let patience = Instant::now() + Duration::from_secs(20);
    while outcomes.lock().unwrap().iter().filter(|outcome| **outcome == Outcome::Refused).count() < 4 {
        assert!(Instant::now() < patience, "{:?}", outcomes.lock().unwrap());
        sleep(Duration::from_millis(20)).await;
    }
    assert!(refused.iter().all(|container| container.application().is_none()));
    let taken: usize = largest.iter().map(|container| container.application().map_or(0, |_| 1)).sum();
    assert!(taken <= 1, "both are larger than what is left for such");
    task.abort();
}

/// What containers share, without anybody who reads.
fn shared(files: HashMap<String, String>, followed: usize) -> PollShared<Fixed, fn(Outcome)> {
    PollShared {
        files: Fixed(Mutex::new(files), Arc::default()),
        count: drop,
        rules: RULES,
        lanes: Lanes::new(),
        workers: Workers::start().unwrap(),
        configs: Budget::new(ALL_CONFIGS_BYTES),
        large_rounds: Budget::new(LARGE_ROUNDS_BYTES),
        followed: AtomicUsize::new(followed),
    }
}

#[tokio::test]
async fn the_files_of_all_containers_are_bounded_together() {
    let text = r#"{"endpoint":"http://127.0.0.1:1/"}"#;
    let file = format!("{text}{}", " ".repeat(CONFIGS_BYTES - text.len()));
    let shared = shared(HashMap::from([("/f".to_owned(), file), ("/byte".to_owned(), text.to_owned())]), 1);
    let label = |path: &str| [("prometheus".to_owned(), path.to_owned())];
    let address = Address::default();
    let name: Name = b"/docker/a".as_slice().into();
    let mut held = Vec::new();
    for _ in 0..ALL_CONFIGS_BYTES / CONFIGS_BYTES {
        held.push(plans(&shared, &name, &label("/f"), address).await.unwrap());
    }
    let Err(error) = plans(&shared, &name, &label("/byte"), address).await else { panic!("beyond the bound") };
    assert!(matches!(error, ApplicationError::ManyFiles) && error.is_beyond_bounds(), "{error}");
    held.pop();
    assert!(plans(&shared, &name, &label("/f"), address).await.is_ok(), "there is room again");
}

#[test]
fn readings_are_bounded_alone_and_together() {
    let shared = shared(HashMap::new(), 100);
    let state = || PollState { known: Known::New, size: Size::Small, failures: 0, spent: Duration::ZERO, room: None };
    let share = SHARES_BYTES / 100;
    let (mut one, mut other) = (state(), state());
    one.admit(&shared, share).unwrap();
    assert!(one.room.is_none(), "an equal share takes nothing of what is for larger ones");
    one.admit(&shared, ROUND_BYTES).unwrap();
    for bytes in [share + 1, ROUND_BYTES, ROUND_BYTES + 1] {
        let error = other.admit(&shared, bytes).unwrap_err();
        assert!(error.is_beyond_bounds(), "{error}");
    }
    other.admit(&shared, share).unwrap();
    // The next reading of the first is smaller.
    one.admit(&shared, ROUND_BYTES - 1024).unwrap();
    one.admit(&shared, share).unwrap();
    other.admit(&shared, ROUND_BYTES).unwrap();
    drop(other);
    one.admit(&shared, ROUND_BYTES + 1).unwrap_err();
    one.admit(&shared, ROUND_BYTES).unwrap();
}
