//! Samples that are pushed, selected and dropped.

use super::*;
use crate::sample::container::{Cpu, Interface, Memory, Network, Traffic};
use crate::sample::memory_stat::MemoryStat;
use crate::units::{Bytes, Nanos};
use proptest::prelude::*;

const LIMITS: Limits = Limits { age: Duration::from_secs(120), count: 1000 };

/// Well after the epoch, so that an age can be taken off.
fn at(second: u64) -> WallTime {
    WallTime((10_000 + second) * 1_000_000_000)
}

fn sample(second: u64, cpu: u64, usage: u64) -> Sample {
    Sample {
        at: at(second),
        cpu: Some(Cpu { total: Nanos(cpu), user: Some(Nanos(cpu / 2)), ..Cpu::default() }),
        memory: Some(Memory {
            usage: Bytes(usage),
            stat: MemoryStat { keys: ["cache".into(), "rss".into()].into(), values: vec![usage, 7] },
            ..Memory::default()
        }),
        ..Sample::default()
    }
}

#[test]
fn gives_back_what_was_pushed() {
    let mut history = History::default();
    let samples: Vec<_> = (0..100).map(|n| sample(n, n * n * 1000, 5_000 - n % 7)).collect();
    for sample in &samples {
        history.push(sample.clone(), LIMITS);
    }
    let all: Vec<_> = history.select(Selection::default(), LIMITS).iter().map(|sample| Sample::clone(sample)).collect();
    assert_eq!(all, samples);
}

#[test]
fn what_is_repeated_is_what_is_pushed_again() {
    let (mut pushed, mut repeated) = (History::default(), History::default());
    for n in 0..200 {
        let sample = sample(n, n / 50, 7);
        if n.is_multiple_of(50) {
            repeated.push(sample.clone(), LIMITS);
        } else {
            assert!(repeated.repeat(sample.at, LIMITS));
        }
        pushed.push(sample, LIMITS);
    }
    let all = |history: &History| history.select(Selection::default(), LIMITS);
    assert_eq!(all(&repeated), all(&pushed));
    assert_eq!(repeated.memory(), pushed.memory());
}

#[test]
fn what_was_corrected_is_not_repeated() {
    let mut history = History::default();
    assert!(!history.repeat(at(1), LIMITS), "there is nothing yet");
    history.push(sample(1, 10, 7), LIMITS);
    history.push(sample(2, 9, 7), LIMITS);
    assert!(!history.repeat(at(3), LIMITS));
    assert_eq!(history.latest().unwrap().at, at(2));
}

#[test]
fn age_and_count_bound_it() {
    let mut history = History::default();
    for n in 0..1000 {
        history.push(sample(n, n, n), LIMITS);
    }
    let kept = history.select(Selection::default(), LIMITS);
    assert_eq!(kept.len(), 120, "strictly newer than the newest less the age");
    assert_eq!(kept[0].at, at(880));
    assert!(history.len <= 120 + CHUNK_SAMPLES);

    let few = Limits { count: 10, ..LIMITS };
    let mut history = History::default();
    for n in 0..1000 {
        history.push(sample(n, n, n), few);
    }
    assert_eq!(history.select(Selection::default(), few).len(), 10);
    assert!(history.len <= 10 + CHUNK_SAMPLES);
}

#[test]
fn selects_range_first_then_newest() {
    let mut history = History::default();
    for n in 0..100 {
        history.push(sample(n, n, n), LIMITS);
    }
    let second = |n: u64| Some(at(n));
    let seconds = |selection| -> Vec<u64> {
        history.select(selection, LIMITS).iter().map(|sample| sample.at.0 / 1_000_000_000 - 10_000).collect()
    };
    let range = Selection { start: second(10), end: second(50), count: Some(3) };
    assert_eq!(seconds(range), [48, 49, 50]);
    assert_eq!(seconds(Selection { count: Some(1), ..Selection::default() }), [99]);
    assert_eq!(seconds(Selection { count: Some(0), ..Selection::default() }), [] as [u64; 0]);
    assert_eq!(seconds(Selection { start: second(98), end: None, count: None }), [98, 99]);
    assert_eq!(seconds(Selection { start: second(60), end: second(50), count: None }), [] as [u64; 0]);
}

/// What a long answer asks for piece by piece is what a short one gets at once.
#[test]
fn stretches_are_the_selection_in_parts() {
    let mut history = History::default();
    for n in 0..100 {
        history.push(sample(n, n, n), LIMITS);
    }
    let second = |second| Some(at(second));
    let counts = [Some(0), Some(1), Some(40), Some(64), None];
    let ranges =
        [(None, None), (second(20), None), (None, second(70)), (second(33), second(34)), (second(60), second(50))];
    for (start, end) in ranges {
        for count in counts {
            let selection = Selection { start, end, count };
            let stretches = history.stretches(selection, LIMITS);
            assert!(stretches.iter().all(|stretch| stretch.len() <= CHUNK_SAMPLES && !stretch.is_empty()));
            let parts: Vec<_> = stretches.iter().flat_map(|stretch| history.stretch(*stretch)).collect();
            assert_eq!(parts, history.select(selection, LIMITS), "{selection:?}");
        }
    }
}

#[test]
fn a_stretch_names_the_same_samples_until_they_are_dropped() {
    let limits = Limits { count: 70, ..LIMITS };
    let mut history = History::default();
    let seconds = |samples: Vec<Arc<Sample>>| -> Vec<u64> {
        samples.iter().map(|sample| sample.at.0 / 1_000_000_000 - 10_000).collect()
    };
    for n in 0..70 {
        history.push(sample(n, n, n), limits);
    }
    let selection = Selection { count: Some(50), ..Selection::default() };
    let stretches = history.stretches(selection, limits);
    let before: Vec<_> = stretches.iter().map(|stretch| seconds(history.stretch(*stretch))).collect();
    assert_eq!(before.concat(), (20..70).collect::<Vec<_>>());
    for n in 70..105 {
        history.push(sample(n, n, n), limits);
    }
    let after: Vec<_> = stretches.iter().map(|stretch| seconds(history.stretch(*stretch))).collect();
    assert_eq!(after[0], [] as [u64; 0], "dropped");
    assert_eq!(after[1..], before[1..], "as they were");
    let mut anew = History::default();
    anew.push(sample(0, 0, 0), limits);
    assert!(stretches.iter().all(|stretch| anew.stretch(*stretch).is_empty()), "another's");
}

#[test]
fn an_idle_container_is_cheap() {
    let mut history = History::default();
    for n in 0..120 {
        let pushed = history.push(sample(n, 5, 5), LIMITS);
        assert_eq!(pushed.unchanged, n > 0);
    }
    let bytes: usize = history.chunks.iter().map(|chunk| chunk.deltas.len()).sum();
    assert!(bytes <= 120 * 8, "{bytes} bytes for 120 unchanged samples");
}

#[test]
fn a_torn_counter_is_corrected_and_a_reset_is_followed() {
    let mut history = History::default();
    history.push(sample(0, 1000, 5), LIMITS);
    assert_eq!(history.push(sample(1, 400, 5), LIMITS).regressions, 1);
    assert_eq!(history.latest().unwrap().cpu.as_ref().unwrap().total, Nanos(1000));
    assert_eq!(history.push(sample(2, 1100, 5), LIMITS).regressions, 0);
    for n in 3..=6 {
        history.push(sample(n, 10 + n, 5), LIMITS);
    }
    assert_eq!(history.latest().unwrap().cpu.as_ref().unwrap().total, Nanos(16), "the counter was really reset");
}

#[test]
fn a_new_shape_starts_a_new_chunk() {
    let mut history = History::default();
    history.push(sample(0, 1, 1), LIMITS);
    let mut with_network = sample(1, 2, 2);
    with_network.network = Some(Network {
        interfaces: vec![Interface {
            name: "eth0".into(),
            receive: Traffic { bytes: 9, ..Traffic::default() },
            ..Interface::default()
        }],
        ..Network::default()
    });
    history.push(with_network.clone(), LIMITS);
    history.push(sample(2, 3, 3), LIMITS);
    let all = history.select(Selection::default(), LIMITS);
    assert_eq!(all.len(), 3);
    assert_eq!(*all[1], with_network);
    assert_eq!(all[2].network, None);
}

proptest! {
    #[test]
    fn any_numbers_round_trip(rows in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 1..80)) {
        // User time and memory are gauges, so any sequence is kept as it is.
        let mut history = History::default();
        let limits = Limits { age: Duration::MAX, count: 1000 };
        let samples: Vec<_> = rows.iter().map(|&(at, user, usage)| {
            let mut sample = sample(0, 0, usage);
            sample.at = WallTime(at.max(1));
            sample.cpu.as_mut().unwrap().user = Some(Nanos(user));
            sample
        }).collect();
        for sample in &samples {
            history.push(sample.clone(), limits);
        }
        let all: Vec<_> = history.select(Selection::default(), limits).iter().map(|s| Sample::clone(s)).collect();
        prop_assert_eq!(all, samples);
    }

    #[test]
    fn decoding_is_total(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut numbers = [0; 20];
        let mut at = 0;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() && read_delta(&mut rest, &mut at, &mut numbers).is_some() {}
    }
}
