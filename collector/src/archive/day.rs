//! A day of a thousand containers, written at full speed and read back: what it takes of the disk, and how long answers
//! take. `cargo test --release -p collector --lib -- --ignored --nocapture a_day_of_a_thousand_containers`

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use super::tests::{options, store, writer};
use super::*;
use crate::sample::container::{
    Cfs, Cpu, DeviceIo, Faults, Interface, Io, IoStat, Memory, MemoryEvents, Network, Pressure, PressureRow, Processes,
    Sample, Traffic,
};
use crate::sample::memory_stat::MemoryStat;
use crate::store::Listed;
use crate::units::{Bytes, Micros, Nanos, WallTime};

const CONTAINERS: u64 = 1_000;
const STEPS: u64 = 8_640;
const BEGIN: u64 = 1_700_000_000_000;
/// Keys of `memory.stat` on a current kernel.
const KEYS: u64 = 52;

/// What a container does: six in ten wait, three work at times, one works hard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    Waits,
    Works,
    Toils,
}

/// A container that makes its samples one after the other, always the same.
struct Made {
    habit: Habit,
    seed: u64,
    sample: Sample,
}

impl Made {
    fn new(number: u64, keys: &Arc<[Box<str>]>) -> Self {
        let habit = match number % 10 {
            0 => Habit::Toils,
            1..=3 => Habit::Works,
            _ => Habit::Waits,
        };
        let pressure = Some(Pressure { some: Some(PressureRow::default()), full: Some(PressureRow::default()) });
        let device = |stat| DeviceIo {
            stat,
            major: 8,
            minor: 0,
            device: "/dev/sda".into(),
            operations: vec![("Read", 0), ("Write", 0), ("Discard", 0)],
        };
        let mut seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let sample = Sample {
            cpu: Some(Cpu {
                user: Some(Nanos(0)),
                system: Some(Nanos(0)),
                cfs: Some(Cfs {
                    periods: Some(0),
                    throttled_periods: Some(0),
                    throttled_time: Some(Nanos(0)),
                    burst_periods: Some(0),
                    burst_time: Some(Nanos(0)),
                }),
                pressure,
                ..Cpu::default()
            }),
            memory: Some(Memory {
                usage: Bytes((random(&mut seed) % 100_000 + 5_000) * 4096),
                max_usage: Some(Bytes(500_000_000)),
                swap: Some(Bytes(0)),
                active_file: Some(Bytes(0)),
                inactive_file: Some(Bytes(random(&mut seed) % 1000 * 4096)),
                kernel: Some(Bytes(1 << 20)),
                events: Some(MemoryEvents { max: Some(0), oom: Some(0), ..MemoryEvents::default() }),
                pressure,
                stat: MemoryStat {
                    keys: Arc::clone(keys),
                    values: (0..KEYS).map(|_| random(&mut seed) % 50_000 * 4096).collect(),
                },
                ..Memory::default()
            }),
            io: Some(Io { devices: vec![device(IoStat::ServiceBytes), device(IoStat::Serviced)], pressure }),
            network: Some(Network {
                interfaces: vec![Interface { name: "eth0".into(), ..Interface::default() }],
                ..Network::default()
            }),
            processes: Some(Processes { count: Some(3), threads: Some(9), ..Processes::default() }),
            ..Sample::default()
        };
        Self { habit, seed, sample }
    }

    fn next(&mut self, step: u64) -> Sample {
        let mut below = |most: u64| random(&mut self.seed) % most;
        let sample = &mut self.sample;
        // Samples are taken within some milliseconds of the step.
        sample.at = WallTime((BEGIN + step * 10_000 - below(40)) * 1_000_000);
        let works = match self.habit {
            Habit::Waits => false,
            Habit::Works => (step / 30).is_multiple_of(4),
            Habit::Toils => true,
        };
        let (Some(cpu), Some(memory), Some(io), Some(network)) =
            (&mut sample.cpu, &mut sample.memory, &mut sample.io, &mut sample.network)
        else {
            return sample.clone();
        };
        let add = |value: &mut Option<u64>, by: u64| *value = value.map(|value| value + by);
        if !works {
            // It wakes up for its timers, and now and then something is written back.
            let used = below(400) * 1_000;
            cpu.total.0 += used;
            cpu.system = cpu.system.map(|time| Nanos(time.0 + used));
            if below(30) == 0 {
                let pages = below(8) * 4096;
                memory.usage.0 += pages;
                memory.working_set.0 = memory.usage.0;
                memory.stat.values[1] += pages;
                network.interfaces[0].receive.bytes += 66;
                network.interfaces[0].receive.packets += 1;
            }
            return sample.clone();
        }
        let user = below(4_000_000) * 1_000;
        let system = below(900_000) * 1_000;
        cpu.total.0 += user + system;
        cpu.user = cpu.user.map(|time| Nanos(time.0 + user));
        cpu.system = cpu.system.map(|time| Nanos(time.0 + system));
        if let Some(cfs) = &mut cpu.cfs {
            add(&mut cfs.periods, 100);
            let throttled = if self.habit == Habit::Toils { below(40) } else { 0 };
            add(&mut cfs.throttled_periods, throttled);
            cfs.throttled_time =
                cfs.throttled_time.map(|time| Nanos(time.0 + throttled * (20_000 + below(9_000)) * 1_000));
        }
        for (position, row) in [&mut cpu.pressure, &mut memory.pressure, &mut io.pressure].into_iter().enumerate() {
            let waits = position == 0 || self.habit == Habit::Toils && below(4) == 0;
            if let Some(row) = row.as_mut().and_then(|row| row.some.as_mut()).filter(|_| waits) {
                let waited = below(300_000);
                row.total = Micros(row.total.0 + waited);
                row.avg10 = waited / 1_000;
                row.avg60 = (row.avg60 * 5 + row.avg10) / 6;
                row.avg300 = (row.avg300 * 29 + row.avg10) / 30;
            }
        }
        let pages = below(2_000) * 4096;
        memory.usage.0 = (memory.usage.0 + pages).saturating_sub(below(2_000) * 4096).max(1 << 20);
        memory.inactive_file =
            Some(Bytes(memory.inactive_file.map_or(0, |file| file.0 % (64 << 20)) + below(64) * 4096));
        memory.working_set = Bytes(memory.usage.0.saturating_sub(memory.inactive_file.map_or(0, |file| file.0)));
        memory.rss = Bytes(memory.usage.0 / 3 * 2);
        memory.cache = Bytes(memory.usage.0 - memory.rss.0);
        let faults = below(20_000);
        for of in [&mut memory.own_faults, &mut memory.hierarchical_faults] {
            *of = Faults { pgfault: of.pgfault + faults, ..*of };
        }
        // Of `memory.stat` a third moves; some of it is what is named above.
        let values = &mut memory.stat.values;
        (values[0], values[1], values[2]) = (memory.rss.0, memory.cache.0, memory.rss.0);
        values[3] += faults;
        for value in &mut values[4..16] {
            *value = (*value + below(128) * 4096).saturating_sub(below(128) * 4096);
        }
        let (received, sent) = (below(3_000_000), below(9_000_000));
        let interface = &mut network.interfaces[0];
        let moved = |traffic: &mut Traffic, bytes: u64| {
            traffic.bytes += bytes;
            traffic.packets += bytes / 1_200;
        };
        moved(&mut interface.receive, received);
        moved(&mut interface.transmit, sent);
        let written = below(500) * 4096;
        io.devices[0].operations[1].1 += written;
        io.devices[1].operations[1].1 += written / 16_384;
        if let Some(processes) = &mut sample.processes {
            processes.threads = Some(9 + below(4));
        }
        sample.clone()
    }
}

/// What this thread used.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed >> 11
}

#[test]
#[ignore = "half a minute with optimization: what docs/history.md says of the cost"]
fn a_day_of_a_thousand_containers() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = ArchiveOptions { bytes: 4 << 30, age: Duration::from_hours(25), ..options(directory.path()) };
    let (store, (mut writer, archive)) = (store(), writer(bounds.clone()));
    let keys: Arc<[Box<str>]> = (0..KEYS).map(|key| format!("statistic_{key}").into()).collect();
    let name = |number: u64| format!("/kubepods/burstable/pod{number}/{:064x}", number * 0x1234_5678_9abc);
    let containers: Vec<_> =
        (0..CONTAINERS).map(|number| store.begin(&name(number).as_bytes().into(), Listed::Yes)).collect();
    let mut made: Vec<_> = (0..CONTAINERS).map(|number| Made::new(number, &keys)).collect();
    let (mut took, mut slowest) = (Duration::ZERO, Duration::ZERO);
    for step in 0..STEPS {
        for (made, container) in made.iter_mut().zip(&containers) {
            container.push(made.next(step));
        }
        let begun = cpu_time();
        writer.step(&store, WallTime((BEGIN + step * 10_000) * 1_000_000));
        let step = cpu_time().saturating_sub(begun);
        took += step;
        slowest = slowest.max(step);
    }
    writer.roll(WallTime((BEGIN + STEPS * 10_000) * 1_000_000)).unwrap();
    drop(writer);
    let bytes = archive.measure();
    println!(
        "{CONTAINERS} containers, {STEPS} steps: {:.1} MB on disk, {:.1} bytes a sample; a step takes {:.1} ms of CPU, the slowest {:.0} ms",
        bytes as f64 / 1e6,
        bytes as f64 / (CONTAINERS * STEPS) as f64,
        took.as_secs_f64() * 1e3 / STEPS as f64,
        slowest.as_secs_f64() * 1e3,
    );
    drop(archive);

    let archive = Archive::open(bounds, Degradations::default()).unwrap();
    let at = |step: u64| WallTime((BEGIN + step * 10_000) * 1_000_000);
    for step in [3, 3_333, STEPS - 1] {
        let begun = Instant::now();
        let rows = archive.moment(at(step), 2);
        println!(
            "the list as it was at step {step}: {} rows after {:.0} ms",
            rows.len(),
            begun.elapsed().as_secs_f64() * 1e3
        );
        assert_eq!(rows.len() as u64, CONTAINERS);
    }
    for number in (0..CONTAINERS).step_by(37) {
        let mut expected = Made::new(number, &keys);
        let begun = Instant::now();
        let wanted = WantedSamples { from: at(0).back(Duration::from_secs(1)), to: at(STEPS), newest: usize::MAX };
        let samples = archive.samples(name(number).as_bytes(), wanted);
        let took = begun.elapsed();
        assert_eq!(samples.len() as u64, STEPS);
        assert!((0..STEPS).zip(&samples).all(|(step, sample)| **sample == expected.next(step)), "{number}");
        if number == 0 {
            println!("a day of one container: {} samples after {:.0} ms", samples.len(), took.as_secs_f64() * 1e3);
        }
    }
    assert_eq!(archive.counts().damaged, 0);
    assert!(bytes < 300_000_000, "{bytes}");
}
