//! Containers that come, end and are reported for a while after.

use super::ended::MAX_ENDED_SAMPLES;
use super::event_log::KindLimits;
use super::*;
use crate::sample::container::{Interface, Network, Sample};
use crate::store::history::Selection;

fn store() -> Store {
    Store::new(StoreLimits {
        history: Limits { age: Duration::from_secs(120), count: 100 },
        events: EventLimits {
            default: KindLimits { age: Duration::from_secs(10), count: None },
            kinds: std::collections::HashMap::new(),
            bytes: usize::MAX,
        },
        memory: MemoryBounds::NONE,
        ended_retention: Duration::from_secs(120),
    })
}

fn name(text: &str) -> Name {
    text.as_bytes().into()
}

#[test]
fn children_are_direct_and_prefixes_are_plain() {
    let store = store();
    for path in ["/", "/a", "/a/b", "/a/b/c", "/a-x", "/a/d", "/ab"] {
        store.begin(&name(path), Listed::Yes);
    }
    store.begin(&name("/a/m.mount"), Listed::OnlyAsChild);
    store.begin(&name("/a/secret"), Listed::Excluded);
    assert_eq!(store.children(b"/"), [name("/a"), name("/a-x"), name("/ab")]);
    assert_eq!(store.children(b"/a"), [name("/a/b"), name("/a/d"), name("/a/m.mount")]);
    assert_eq!(store.children(b"/ab"), [] as [Name; 0]);
    let names: Vec<_> =
        store.with_prefix(b"/a").iter().map(|c| String::from_utf8_lossy(c.name()).into_owned()).collect();
    assert_eq!(names, ["/a", "/a-x", "/a/b", "/a/b/c", "/a/d", "/ab"]);
    assert_eq!(store.len(), 7);
    assert!(store.get(b"/a/m.mount").is_none() && store.get(b"/a/secret").is_none());
}

#[test]
fn oom_kills_outlive_the_container_and_add_up() {
    let store = store();
    let second = |second: u64| WallTime(second * 1_000_000_000);
    let first = store.begin(&name("/x"), Listed::Yes);
    first.add_oom_kills(2);
    store.end(&first, second(1000));
    assert!(store.get(b"/x").is_none());
    assert_eq!(store.oom_counts(second(1100)), [(name("/x"), 2)].into());
    let again = store.begin(&name("/x"), Listed::Yes);
    again.add_oom_kills(1);
    assert_eq!(store.oom_counts(second(1100)), [(name("/x"), 3)].into());
    assert_eq!(store.oom_counts(second(1121)), [(name("/x"), 1)].into());
    store.end(&first, second(1121));
    assert!(store.get(b"/x").is_some(), "ending the first life does not end the second");
}

#[test]
fn an_ended_container_keeps_its_last_sample_for_a_while() {
    let store = store();
    let second = |second: u64| WallTime(second * 1_000_000_000);
    let names = |now| -> Vec<(String, Option<WallTime>)> {
        let reported = |container: &Arc<Container>| {
            let at = container.latest().map(|sample| sample.at);
            (String::from_utf8_lossy(container.name()).into_owned(), at)
        };
        store.ended(now).iter().map(reported).collect()
    };
    let container = store.begin(&name("/x"), Listed::Yes);
    for at in [999, 1000] {
        container.push(Sample { at: second(at), ..Sample::default() });
    }
    let child = store.begin(&name("/x/y.mount"), Listed::OnlyAsChild);
    store.end(&child, second(1000));
    store.end(&container, second(1001));
    container.keep_latest_only();
    assert_eq!(names(second(1121)), [("/x".to_owned(), Some(second(1000)))]);
    assert_eq!(container.samples(Selection { count: Some(5), ..Selection::default() }).len(), 0);
    assert_eq!(names(second(1122)), []);

    for number in 0..=MAX_ENDED_SAMPLES {
        let container = store.begin(&name(&format!("/{number}")), Listed::Yes);
        container.push(Sample { at: second(1000), ..Sample::default() });
        store.end(&container, second(1122));
    }
    let reported = names(second(1122));
    assert_eq!(reported.iter().filter(|(_, at)| at.is_none()).count(), 1, "the oldest one");
    assert_eq!(reported[0], ("/0".to_owned(), None));
}

#[test]
fn without_retention_nothing_of_an_ended_container_is_reported() {
    let store = Store::new(StoreLimits { ended_retention: Duration::ZERO, ..store().limits });
    let container = store.begin(&name("/x"), Listed::Yes);
    container.add_oom_kills(1);
    store.end(&container, WallTime(5));
    assert!(store.ended(WallTime(5)).is_empty() && store.oom_counts(WallTime(5)).is_empty());
}

#[test]
fn the_closing_sample_has_the_last_kill() {
    let container = store().begin(&name("/x"), Listed::Yes);
    assert_eq!(container.closing_sample(), None);
    container.push(Sample { at: WallTime(5), ..Sample::default() });
    container.add_oom_kills(1);
    assert_eq!(container.closing_sample().unwrap().oom_kills, 1);
    assert_eq!(container.latest().unwrap().oom_kills, 0);
}

fn second(second: u64) -> WallTime {
    WallTime(second * 1_000_000_000)
}

#[test]
fn samples_of_all_containers_are_bounded_and_those_with_the_most_lose_theirs() {
    let memory = MemoryBounds { histories: 200_000, ..MemoryBounds::NONE };
    let store = Store::new(StoreLimits { memory, ..store().limits });
    let interfaces = |number: usize| {
        let name = |number| format!("eth{number}").as_str().into();
        (0..number).map(|number| Interface { name: name(number), ..Interface::default() }).collect()
    };
    let small: Vec<_> = (0..10).map(|number| store.begin(&name(&format!("/{number}")), Listed::Yes)).collect();
    let large = store.begin(&name("/large"), Listed::Yes);
    for at in 0..60 {
        for container in &small {
            container.push(Sample { at: second(1000 + at), ..Sample::default() });
        }
        assert!(store.budget.used() <= 200_000);
        // Another shape each time.
        let network = Network { interfaces: interfaces(50 + at as usize % 2), ..Network::default() };
        large.push(Sample { at: second(1000 + at), network: Some(network), ..Sample::default() });
        assert!(store.budget.used() <= 200_000 + 40_000, "{}", store.budget.used());
    }
    let kept = |container: &Container| container.samples(Selection::default()).len();
    assert!(small.iter().all(|container| kept(container) == 60), "{}", kept(&small[0]));
    assert!((1..60).contains(&kept(&large)), "{}", kept(&large));
    store.end(&large, second(1100));
    drop((small, large, store.ended(second(1100))));
    let used = store.budget.used();
    for number in 0..10 {
        let container = store.get(format!("/{number}").as_bytes()).unwrap();
        store.end(&container, second(5_000));
        container.keep_latest_only();
    }
    assert!(store.budget.used() < used);
}

#[test]
fn ended_containers_are_bounded_by_bytes_and_a_storm_pushes_out_its_own() {
    let memory = MemoryBounds { ended: 1 << 20, ..MemoryBounds::NONE };
    let store = Store::new(StoreLimits { memory, ..store().limits });
    let end = |path: &str| {
        let container = store.begin(&name(path), Listed::Yes);
        container.push(Sample { at: second(1000), ..Sample::default() });
        store.end(&container, second(1000));
        container.keep_latest_only();
    };
    for number in 0..50 {
        end(&format!("/kubepods/pod{number}"));
    }
    let path = "/".to_owned() + &"x".repeat(250);
    for number in 0..2_000 {
        end(&format!("/user{}/{number}", path.repeat(14)));
        assert!(lock(&store.ended).bytes() <= 1 << 20);
    }
    let ended = store.ended(second(1000));
    assert_eq!(ended.iter().filter(|ended| ended.name().starts_with(b"/kubepods/")).count(), 50);
    assert!(ended.len() > 100 && ended.len() < 400, "{}", ended.len());
    assert!(ended.last().unwrap().name().ends_with(b"/1999"), "the newest stay");
}
