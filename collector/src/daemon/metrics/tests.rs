//! Who gets which rendering, and what becomes of slow readers.

use super::*;
use crate::api::coding::Encoding;
use crate::api::prometheus::{Endpoint, Format};

fn ask_for(requests: &Requests, scrape: Scrape, sharing: Sharing) -> AskedScrape {
    ask(&requests.0, &Budget::default(), scrape, sharing, 0).unwrap()
}

fn waits(requests: &Requests, scrape: Scrape) -> oneshot::Receiver<Answer> {
    match ask_for(requests, scrape, Sharing::SameMoment) {
        AskedScrape::Waits(answered) => answered,
        AskedScrape::Answered(_) => panic!("answered at once"),
    }
}

fn rendering(text: &'static str) -> Arc<Rendering> {
    Arc::new(Rendering::new(vec![text.into()]))
}

fn text(answer: &mut oneshot::Receiver<Answer>) -> Vec<u8> {
    answer.try_recv().unwrap().unwrap().concat().unwrap()
}

const GZIP: Scrape =
    Scrape { endpoint: Endpoint::Collector, format: Format::Text, encoding: Encoding::Gzip, only: None };

#[test]
fn equal_scrapes_at_one_moment_share_one_rendering() {
    let (requests, jobs) = channel();
    let plain = Scrape::default();
    let mut waiting: Vec<_> = (0..3).map(|_| waits(&requests, plain)).collect();
    let mut other = waits(&requests, GZIP);
    let (scrape, at) = next(&jobs.0).unwrap();
    assert_eq!(scrape, plain);
    // While it is rendered.
    waiting.push(waits(&requests, plain));
    finish(&jobs.0, scrape, at, &Ok(rendering("one")));
    for answer in &mut waiting {
        assert_eq!(text(answer), b"one");
    }
    assert!(matches!(ask_for(&requests, plain, Sharing::SameMoment), AskedScrape::Answered(_)));
    assert!(other.try_recv().is_err());
    let (scrape, at) = next(&jobs.0).unwrap();
    assert_eq!(scrape, GZIP);
    finish(&jobs.0, scrape, at, &Ok(rendering("two")));
    assert_eq!(text(&mut other), b"two");
}

#[test]
fn nobody_gets_data_from_before_their_moment() {
    let (requests, jobs) = channel();
    let plain = Scrape::default();
    let mut first = waits(&requests, plain);
    let (scrape, at) = next(&jobs.0).unwrap();
    // Samples are to be taken anew for this one: what is rendered already does not do.
    let AskedScrape::Waits(mut anew) = ask_for(&requests, plain, Sharing::ToCome) else { panic!("answered at once") };
    std::thread::sleep(SAME_MOMENT + Duration::from_millis(20));
    let mut late = waits(&requests, plain);
    finish(&jobs.0, scrape, at, &Ok(rendering("old")));
    assert_eq!(text(&mut first), b"old");
    assert!(anew.try_recv().is_err() && late.try_recv().is_err());
    let (scrape, at) = next(&jobs.0).unwrap();
    finish(&jobs.0, scrape, at, &Ok(rendering("new")));
    assert_eq!((text(&mut anew), text(&mut late)), (b"new".to_vec(), b"new".to_vec()));
    std::thread::sleep(SAME_MOMENT + Duration::from_millis(20));
    assert!(matches!(ask_for(&requests, plain, Sharing::SameMoment), AskedScrape::Waits(_)));
}

#[test]
fn whoever_left_is_not_rendered_for_and_too_many_are_refused() {
    let (requests, jobs) = channel();
    drop(waits(&requests, Scrape::default()));
    let budget = Budget::default();
    let waiting: Vec<_> = (0..WAITING - 1).map(|_| waits(&requests, GZIP)).collect();
    let refused = ask(&requests.0, &budget, GZIP, Sharing::SameMoment, 0).map(drop);
    assert!(matches!(refused, Err(MetricsUnavailable::Busy(Busy::Queue))), "{refused:?}");
    assert_eq!(budget.counts().refused[0], ("queue", 1));
    assert_eq!(next(&jobs.0).unwrap().0, GZIP);
    drop((waiting, requests));
    assert!(next(&jobs.0).is_none());
}

#[test]
fn the_oldest_rendering_makes_room_for_a_new_one() {
    let (requests, jobs) = channel();
    let budget = Budget::new(4 << 20);
    let piece = |bytes: usize| budget.of_scrapes(bytes).map(|share| share.hold(vec![0; bytes]));
    let half = budget.scrape_bytes() / 2;
    let old = Arc::new(Rendering::new(vec![piece(half).unwrap()]));
    let young = Arc::new(Rendering::new(vec![piece(half).unwrap()]));
    let long_ago = Instant::now().checked_sub(LEFT_ALONE * 2).unwrap();
    {
        let mut state = jobs.0.lock();
        state.alive.push_back((long_ago, Arc::downgrade(&old)));
        state.alive.push_back((Instant::now(), Arc::downgrade(&young)));
        state.recent.push((GZIP, long_ago, Arc::new(Rendering::new(Vec::new()))));
    }
    assert!(piece(half).is_none());
    assert_eq!(make_room(&jobs.0, &budget), Ok(()), "what nobody has asked for yet goes first");
    assert!(piece(half).is_none());
    assert_eq!(make_room(&jobs.0, &budget), Ok(()));
    assert!(old.concat().is_err() && young.concat().is_ok());
    let new = piece(half);
    assert!(new.is_some());
    assert_eq!(make_room(&jobs.0, &budget), Err(Busy::Timeout), "a young one is left alone");
    drop(young);
    assert_eq!(make_room(&jobs.0, &budget), Err(Busy::Size(budget.scrape_bytes())));
    assert_eq!(budget.counts().cut_off, 1);
    drop(requests);
}
