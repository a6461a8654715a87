//! Samples in, exact figures out.

use proptest::prelude::*;

use super::*;
use crate::sample::container::{Cpu, Memory};

/// A sample at so many milliseconds.
fn sample(millis: u64, cpu: u64, memory: u64) -> Sample {
    Sample {
        at: WallTime(1_700_000_000_000_000_000 + millis * 1_000_000),
        cpu: Some(Cpu { total: Nanos(cpu), ..Cpu::default() }),
        memory: Some(Memory { working_set: Bytes(memory), ..Memory::default() }),
        ..Sample::default()
    }
}

fn percentiles_of(values: &[u64]) -> Percentiles {
    percentiles(&mut values.to_vec(), |value| *value).unwrap()
}

#[test]
fn exact_percentiles() {
    let to_hundred: Vec<u64> = (1..=100).rev().collect();
    let expected = Percentiles { mean: 50, std: 29, max: 100, fifty: 50, ninety: 90, ninety_five: 95, count: 100 };
    assert_eq!(percentiles_of(&to_hundred), expected);
    // Place 0.9 * 61 = 54.9 and 0.95 * 61 = 57.95: between the 54th and the 55th value, the 57th and the 58th.
    let tens: Vec<u64> = (1..=60).map(|value| value * 10).collect();
    let expected = Percentiles { mean: 305, std: 174, max: 600, fifty: 305, ninety: 549, ninety_five: 579, count: 60 };
    assert_eq!(percentiles_of(&tens), expected);
    // At either end nothing is interpolated: cAdvisor's rule.
    let expected = Percentiles { mean: 15, std: 7, max: 20, fifty: 10, ninety: 20, ninety_five: 20, count: 2 };
    assert_eq!(percentiles_of(&[20, 10]), expected);
    let expected = Percentiles { mean: 7, std: 0, max: 7, fifty: 7, ninety: 7, ninety_five: 7, count: 1 };
    assert_eq!(percentiles_of(&[7]), expected);
    assert_eq!(percentiles::<u64>(&mut [], |value| *value), None);
    let most = percentiles_of(&[u64::MAX; 3]);
    assert_eq!((most.mean, most.max, most.fifty), (u64::MAX, u64::MAX, u64::MAX));
}

#[test]
fn the_newest_usage() {
    let mut recorder = Recorder::default();
    assert_eq!(recorder.summary(), None);
    recorder.add(&sample(0, 5_000_000, 100));
    let first = recorder.summary().unwrap();
    assert_eq!((first.cpu, first.memory, first.minute, first.hour), (None, Some(Bytes(100)), None, None));
    recorder.add(&sample(1000, 1_505_000_000, 200));
    let second = recorder.summary().unwrap();
    assert_eq!((second.cpu, second.memory), (Some(1500), Some(Bytes(200))));
    assert_eq!(second.at, sample(1000, 0, 0).at);
    // Two closing samples lie 2 ms apart.
    recorder.add(&sample(1002, 1_505_000_000, 50));
    assert_eq!(recorder.summary().unwrap(), Summary { at: sample(1002, 0, 0).at, memory: Some(Bytes(50)), ..second });
    // A reset counter gives no rate, and the next one does.
    recorder.add(&sample(2000, 0, 50));
    assert_eq!(recorder.summary().unwrap().cpu, None);
    recorder.add(&sample(3000, 10_000_000, 50));
    assert_eq!(recorder.summary().unwrap().cpu, Some(10));
}

/// Samples every second for so long; in second `n` the container uses `n % 60` hundredths of a core and `n` bytes.
fn run(recorder: &mut Recorder, seconds: std::ops::RangeInclusive<u64>) {
    let used = |second: u64| (0..=second).map(|second| second % 60 * 10_000_000).sum::<u64>();
    let mut cpu = used(*seconds.start());
    for second in seconds.clone() {
        if second > *seconds.start() {
            cpu += second % 60 * 10_000_000;
        }
        recorder.add(&sample(second * 1000, cpu, second));
    }
}

#[test]
fn a_minute_is_its_samples() {
    let mut recorder = Recorder::default();
    run(&mut recorder, 0..=60);
    assert_eq!(recorder.summary().unwrap().minute, None, "60 seconds are not more than 60 seconds");
    run(&mut recorder, 61..=61);
    let minute = recorder.summary().unwrap().minute.unwrap();
    assert_eq!(minute.percent_complete, 100);
    // 61 rates: 10, 20, ... 590, 0, 10; and 62 readings of the memory: 0 ... 61.
    let mut rates: Vec<u64> = (1..=61).map(|second| second % 60 * 10).collect();
    assert_eq!(minute.cpu, percentiles(&mut rates, |rate| *rate));
    assert_eq!(minute.cpu.unwrap().count, 61);
    let mut readings: Vec<u64> = (0..=61).collect();
    assert_eq!(minute.memory, percentiles(&mut readings, |reading| *reading));
    let summary = recorder.summary().unwrap();
    // The one minute is all there is of the hour and of the day.
    let (hour, day) = (summary.hour.unwrap(), summary.day.unwrap());
    assert_eq!((hour.percent_complete, day.percent_complete), (1, 0));
    let ninety = minute.cpu.unwrap().ninety;
    let mean = minute.cpu.unwrap().mean;
    let max = minute.cpu.unwrap().max;
    let expected = Percentiles { mean, std: 0, max, fifty: ninety, ninety, ninety_five: ninety, count: 1 };
    assert_eq!((hour.cpu, day.cpu), (Some(expected), Some(expected)));
}

/// Ends a minute in which the container used so many thousandths of a core and as many bytes.
fn minute(recorder: &mut Recorder, value: u64) {
    let of = |value| Some(Percentiles { mean: value, max: value + 1, ninety: value, ..Percentiles::default() });
    recorder.minute_ended(Usage { percent_complete: 100, cpu: of(value), memory: of(value * 10) });
}

#[test]
fn an_hour_is_sixty_minutes_and_a_day_all_of_it() {
    let mut recorder = Recorder::default();
    recorder.add(&sample(0, 0, 0));
    for value in 1..=60 {
        minute(&mut recorder, value);
    }
    let summary = recorder.summary().unwrap();
    let (hour, day) = (summary.hour.unwrap(), summary.day.unwrap());
    let expected = Percentiles { max: 61, ..percentiles_of(&(1..=60).collect::<Vec<_>>()) };
    assert_eq!((hour.percent_complete, hour.cpu), (100, Some(expected)));
    assert_eq!((day.percent_complete, day.cpu), (4, Some(expected)), "as in cAdvisor");
    assert_eq!(day.memory.unwrap().max, 601);

    for value in 61..=75 {
        minute(&mut recorder, value);
    }
    let summary = recorder.summary().unwrap();
    assert_eq!(summary.hour.unwrap().cpu.unwrap().fifty, 45, "of 16 to 75, cut");
    // Half hours of 1..=30 and 31..=60, and 61..=75: their 90th percentiles are 27.9, 57.9 and 74.4.
    let day = summary.day.unwrap();
    let cpu = day.cpu.unwrap();
    assert_eq!((day.percent_complete, cpu.count, cpu.max), (5, 3, 76));
    assert_eq!((cpu.fifty, cpu.ninety, cpu.mean), (57, 74, (15 + 45 + 68) / 3));

    for value in 76..=5000 {
        minute(&mut recorder, value);
    }
    let day = recorder.summary().unwrap().day.unwrap();
    assert_eq!((day.percent_complete, day.cpu.unwrap().count), (100, 49));
    assert_eq!(day.cpu.unwrap().max, 5001);
}

#[test]
fn what_is_not_known_is_absent() {
    let mut recorder = Recorder::default();
    for second in 0..=61 {
        let sample = Sample { memory: None, ..sample(second * 1000, second, 0) };
        recorder.add(&sample);
    }
    let summary = recorder.summary().unwrap();
    assert_eq!((summary.memory, summary.minute.unwrap().memory, summary.hour.unwrap().memory), (None, None, None));
    assert!(summary.minute.unwrap().cpu.is_some());
}

#[test]
fn a_clock_set_back_starts_over() {
    let mut recorder = Recorder::default();
    run(&mut recorder, 100..=130);
    run(&mut recorder, 0..=61);
    let minute = recorder.summary().unwrap().minute.unwrap();
    assert_eq!(minute.memory.unwrap().max, 61);
}

#[test]
fn memory_is_bounded_whatever_the_interval() {
    let mut recorder = Recorder::default();
    for tick in 0..60_000 {
        recorder.add(&sample(tick * 7, tick, tick));
    }
    assert!(recorder.memory() < 4096, "{} bytes after seven minutes at 7 ms", recorder.memory());
    for value in 0..3000 {
        minute(&mut recorder, value);
    }
    assert!(recorder.memory() <= MAX_BYTES, "{} bytes after two days", recorder.memory());
    let mut young = Recorder::default();
    run(&mut young, 0..=120);
    assert!(young.memory() <= 1536, "{} bytes after two minutes", young.memory());
}

proptest! {
    #[test]
    fn any_samples_are_taken(samples in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 1..100)) {
        let mut recorder = Recorder::default();
        for (at, cpu, memory) in samples {
            let sample = sample(0, cpu, memory);
            recorder.add(&Sample { at: WallTime(at), ..sample });
        }
        prop_assert!(recorder.summary().is_some());
    }

    #[test]
    fn percentiles_lie_among_the_values(mut values in prop::collection::vec(0..1u64 << 50, 1..200)) {
        let all = percentiles(&mut values, |value| *value).unwrap();
        prop_assert!(values[0] <= all.fifty && all.fifty <= all.ninety && all.ninety <= all.ninety_five);
        prop_assert!(all.ninety_five <= all.max && all.mean <= all.max && all.mean >= values[0]);
    }
}
