//! Questions to runtimes that are silent, and answers that cannot be used.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::runtime::endpoint::Endpoint;
use crate::runtime::listeners::Runtimes;

#[test]
fn pauses_grow_to_their_bound() {
    let mut tries = 0;
    let pauses: Vec<_> = (0..9).map(|_| backoff(&mut tries, LONGEST_AFTER_ERROR).as_millis()).collect();
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 4000, 4000]);
}

fn nested(number: usize) -> Name {
    format!("/docker/{:064x}/{number:064x}", 0).into_bytes().into()
}

fn usual(number: usize) -> Name {
    format!("/docker/{number:064x}").into_bytes().into()
}

/// A Docker that reports its version and then nothing more.
async fn silent() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::Tcp(listener.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let length = stream.read(&mut head).await.unwrap_or(0);
            if head[..length].starts_with(b"GET /version") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"ApiVersion\":\"1.41\"}").await;
            } else {
                open.push(stream);
            }
        }
    });
    let runtimes = Runtimes {
        listeners: Vec::new(),
        docker_tls: None,
        containerd_namespaces: Vec::new(),
        environment: Arc::default(),
        storage_every: None,
    };
    Client::connect(Runtime::Docker, &endpoint, &runtimes).await.unwrap()
}

#[tokio::test]
async fn cgroups_in_containers_are_asked_for_within_bounds() {
    let mut questions = Questions::new(1, CgroupsOf::default());
    for number in 0..=MOST_DOUBTFUL {
        questions.begin(&nested(number));
    }
    assert_eq!(questions.wanted.len(), MOST_DOUBTFUL);
    questions.begin(&usual(1));
    questions.end(&nested(0));
    questions.begin(&nested(0));
    assert_eq!((questions.wanted.len(), questions.doubtful), (MOST_DOUBTFUL + 1, MOST_DOUBTFUL));
}

#[tokio::test]
async fn a_storm_leaves_nothing_beside_a_silent_runtime_but_its_open_questions() {
    let mut questions = Questions::new(2, CgroupsOf::default());
    questions.up(0, silent().await);
    for number in 0..1_000 {
        for name in [nested(number), usual(number)] {
            questions.begin(&name);
            questions.ask_what_is_due();
        }
    }
    assert_eq!(questions.slots[0].open, OPEN_QUESTIONS);
    assert_eq!(questions.slots[0].waiting.len() + questions.slots[0].doubtful.len(), 2_000 - OPEN_QUESTIONS);
    for number in 0..1_000 {
        questions.end(&nested(number));
        questions.end(&usual(number));
    }
    let Questions { wanted, queue, slots, shares, .. } = &questions;
    assert!(wanted.is_empty() && queue.is_empty() && slots[0].waiting.is_empty() && slots[0].doubtful.is_empty());
    assert!(shares.is_empty());
}

#[tokio::test]
async fn one_whose_answer_is_too_large_is_left_alone_for_a_while() {
    let mut questions = Questions::new(2, CgroupsOf::default());
    for slot in 0..2 {
        questions.up(slot, silent().await);
    }
    let name = usual(1);
    questions.begin(&name);
    questions.ask_what_is_due();
    let answer = |outcome, slot| Answered { slot, name: Name::clone(&name), serial: 1, outcome };
    questions.answer(answer(Err(RuntimeError::TooLarge(1)), 0));
    let round = |questions: &Questions| questions.wanted[&name].round.clone();
    assert!(matches!(round(&questions)[..], [Said::Unusable { .. }, Said::Asked { .. }]), "the next is asked");
    let unknown = Err(RuntimeError::Transport("no".to_owned()));
    questions.answer(answer(unknown, 1));
    assert!(matches!(round(&questions)[..], [Said::Unusable { .. }, Said::Nothing]), "only the other is asked soon");
    tokio::time::sleep(2 * FIRST_RETRY).await;
    questions.ask_what_is_due();
    questions.answer(answer(Err(RuntimeError::NoSuchContainer), 1));
    let due = questions.wanted[&name].due.unwrap();
    assert!(due > Instant::now() + AFTER_UNUSABLE / 2, "both are asked later");
    questions.wanted.get_mut(&name).unwrap().round[0] = Said::Unusable { until: Instant::now() };
    questions.step(&name);
    assert!(matches!(round(&questions)[0], Said::Asked { .. }), "its time is over");
    questions.answer(answer(Err(RuntimeError::TooSlow(FIRST_RETRY)), 0));
    questions.changed(&format!("{:064x}", 1));
    questions.ask_what_is_due();
    assert!(matches!(round(&questions)[0], Said::Asked { .. }), "what it says may be less now");
}

#[tokio::test]
async fn an_answer_that_breaks_its_reader_is_an_answer() {
    let broken = unbroken(async { if true { panic!("odd") } else { Ok(()) } }).await;
    assert!(matches!(broken, Err(RuntimeError::Unreadable)), "{broken:?}");
}
