//! Last samples: what was read as a container's cgroups were removed, and what fits what was known.

use super::fixture::{Host, NOW, kinds};
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::counters::cpu_time::{RawTimes, ShownTimes};
use crate::kernel::probes::events::last::{LastEvent, LastTime};
use crate::reader::container::{LastReading, LastSample, Member, ReaderContext};
use crate::sample::container::{Cfs, Cpu, Memory, Sample};
use crate::sample::kinds::MetricKind;
use crate::sample::unread::Part;
use crate::units::{Bytes, Nanos, WallTime};

const MILLIS: u64 = 1_000_000;

fn after(millis: u64) -> WallTime {
    WallTime(NOW.0 + millis * MILLIS)
}

fn time(total: u64, each: &[u64]) -> LastTime {
    LastTime { raw: RawTimes { user: 30, system: 10, total }, shown: ShownTimes::default(), each: each.into() }
}

fn event(hierarchy_id: u32, peak: Option<u64>, time: Option<LastTime>) -> LastEvent {
    LastEvent { boot_ns: 0, hierarchy_id, id: 7, memory_peak_pages: peak, time }
}

/// What is noted of these events, of a container that was in every hierarchy with a controller.
fn noted(ctx: &ReaderContext, events: &[LastEvent]) -> LastReading {
    let mut reading = LastReading::default();
    for event in events {
        ctx.note_last(&mut reading, event, after(5), &|hierarchy| hierarchy != 0);
    }
    reading
}

fn completed(sample: LastSample) -> Sample {
    match sample {
        LastSample::Completed(sample) => *sample,
        other => panic!("{other:?}"),
    }
}

/// Read at [`NOW`]: 40 ms of CPU time.
fn before() -> Sample {
    let cfs = Some(Cfs { periods: Some(3), ..Cfs::default() });
    let cpu = Cpu { total: Nanos(40 * MILLIS), user: Some(Nanos(40 * MILLIS)), cfs, ..Cpu::default() };
    let memory = Memory { usage: Bytes(4096), max_usage: Some(Bytes(8192)), ..Memory::default() };
    Sample { at: NOW, cpu: Some(cpu), memory: Some(memory), ..Sample::default() }
}

#[test]
fn the_sample_before_is_completed() {
    let host = Host::v1();
    let ctx = host.context(kinds(&[MetricKind::Cpu, MetricKind::PerCpu, MetricKind::Memory]));
    let each = [30 * MILLIS, 15 * MILLIS, 0, 0];
    let events = [event(2, Some(100), None), event(1, None, Some(time(45 * MILLIS, &each)))];
    let sample = completed(ctx.last_sample(Some(&before()), &noted(&ctx, &events), None));
    let mut expected = before();
    expected.at = after(5);
    let cpu = expected.cpu.as_mut().unwrap();
    cpu.total = Nanos(45 * MILLIS);
    // A quarter of it by ticks, shown in hundredths of a second: at least what was shown before.
    (cpu.user, cpu.system) = (Some(Nanos(40 * MILLIS)), Some(Nanos(0)));
    cpu.per_cpu = Some(each.map(Nanos).to_vec());
    expected.memory.as_mut().unwrap().max_usage = Some(Bytes(100 * 4096));
    assert_eq!(sample, expected);
}

#[test]
fn what_is_known_or_does_not_fit_changes_nothing() {
    let host = Host::v2();
    let ctx = host.context(kinds(&[]));
    let outcome = |total: Option<u64>, peak: Option<u64>| {
        let mut known = before();
        known.cpu.as_mut().unwrap().system = Some(Nanos(0));
        let event = event(0, peak, total.map(|total| time(total, &[])));
        ctx.last_sample(Some(&known), &noted(&ctx, &[event]), None)
    };
    assert_eq!(outcome(None, None), LastSample::NotRead);
    assert_eq!(outcome(Some(40 * MILLIS), Some(2)), LastSample::Known);
    // The file of v2 has whole microseconds.
    assert_eq!(outcome(Some(40 * MILLIS + 999), None), LastSample::Known);
    assert_eq!(outcome(Some(40 * MILLIS - 1), None), LastSample::Refused);
    // Four CPUs have 5 ms each, and what the clocks differ.
    assert!(matches!(outcome(Some(460 * MILLIS), None), LastSample::Completed(_)));
    assert_eq!(outcome(Some(461 * MILLIS), None), LastSample::Refused);
    // More than the machine has; as little as is known is no mistake.
    assert_eq!(outcome(None, Some(251)), LastSample::Refused);
    assert_eq!(outcome(None, Some(1)), LastSample::Known);
}

#[test]
fn one_that_was_never_sampled_has_its_cpu_time_and_nothing_else() {
    let host = Host::v2();
    let ctx = host.context(kinds(&[]));
    let reading = noted(&ctx, &[event(0, Some(3), Some(time(8 * MILLIS, &[])))]);
    let sample = completed(ctx.last_sample(None, &reading, Some(NOW)));
    let cpu = Cpu {
        total: Nanos(8 * MILLIS),
        user: Some(Nanos(6 * MILLIS)),
        system: Some(Nanos(2 * MILLIS)),
        ..Cpu::default()
    };
    assert_eq!((sample.at, sample.cpu.as_ref(), &sample.memory), (after(5), Some(&cpu), &None));
    assert!(sample.unread.has(Part::MemoryUsage) && !sample.unread.has_any(&[Part::CpuTotal, Part::CpuSplit]));
    let peak_alone = noted(&ctx, &[event(0, Some(3), None)]);
    assert_eq!(ctx.last_sample(None, &peak_alone, Some(NOW)), LastSample::NotRead);
    let impossible = noted(&ctx, &[event(0, None, Some(time(1000 * MILLIS, &[])))]);
    assert_eq!(ctx.last_sample(None, &impossible, Some(NOW)), LastSample::Refused);
}

#[test]
fn the_hierarchy_that_counts_is_the_one_whose_files_are_read() {
    let host = Host::hybrid();
    let ctx = host.context(kinds(&[MetricKind::Cpu, MetricKind::Memory]));
    let family = |reading: &LastReading| reading.time.as_ref().map(|(_, _, family, _)| *family);
    let both = [event(2, None, Some(time(1, &[1]))), event(0, None, Some(time(2, &[])))];
    assert_eq!(family(&noted(&ctx, &both)), Some(CounterFamily::CpuTime));
    let mut in_cgroup2_alone = LastReading::default();
    ctx.note_last(&mut in_cgroup2_alone, &both[1], NOW, &|hierarchy| hierarchy == 0);
    assert_eq!(family(&in_cgroup2_alone), Some(CounterFamily::Cgroup));
    // Memory has a hierarchy of its own, and neither is in that of cpu.
    let elsewhere = noted(&ctx, &[event(1, Some(5), Some(time(1, &[1]))), event(0, Some(5), None)]);
    assert!(elsewhere.time.is_none() && elsewhere.memory_peak.is_none());
    let mut made_anew = noted(&ctx, &[both[0].clone(), event(4, Some(5), None)]);
    made_anew.forget_made_anew(&[Member { hierarchy: 2, id: 9 }]);
    assert!(made_anew.time.is_none() && made_anew.memory_peak.is_some());
}

#[test]
fn files_alone_are_what_was_asked_for() {
    let host = Host::v2();
    let ctx = host.context(kinds(&[]));
    ctx.set_no_kernel_memory("--counters=files");
    assert!(noted(&ctx, &[event(0, Some(1), Some(time(1, &[])))]).time.is_none());
}
