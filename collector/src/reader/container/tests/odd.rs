//! Lines, files and controllers that are not as usual: each costs itself.

use std::sync::Arc;

use super::fixture::{Host, kinds};
use super::legacy::write_v1;
use super::unified::write_v2;
use crate::kernel::file::FileBudget;
use crate::reader::container::ReaderContext;
use crate::sample::container::{IoStat, Sample};
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::spec::MemoryLimit;
use crate::sample::unread::{Part, Unread};
use crate::units::{Bytes, Limit, Nanos};

fn sample(host: &mut Host, ctx: &ReaderContext) -> Sample {
    Host::reader(ctx, "/a").sample(ctx, &mut host.scratch).unwrap()
}

fn edit(host: &Host, file: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(host.path(file)).unwrap();
    assert!(text.contains(from), "{file}: {text}");
    host.write(file, &text.replacen(from, to, 1));
}

#[test]
fn a_value_of_memory_below_zero_is_zero_and_all_others_stay() {
    for (mut host, file) in [(Host::v1(), "cgroup/memory/a/memory.stat"), (Host::v2(), "cgroup/a/memory.stat")] {
        if file.contains("/memory/") {
            write_v1(&host, "/a");
        } else {
            write_v2(&host, "cgroup/a");
        }
        let ctx = host.context(KindSet::default());
        let before = sample(&mut host, &ctx).memory.unwrap();
        let text = std::fs::read_to_string(host.path(file)).unwrap();
        let key = if text.contains("total_swap ") { "total_swap" } else { "sock" };
        let line = text.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap().to_owned();
        edit(&host, file, &format!("\n{line}\n"), &format!("\n{key} -4096\n"));
        let after = sample(&mut host, &ctx);
        let memory = after.memory.unwrap();
        assert_eq!(memory.stat.get(key), Some(0));
        assert_eq!((memory.usage, memory.working_set, memory.rss), (before.usage, before.working_set, before.rss));
        assert_eq!(memory.stat.keys, before.stat.keys);
        assert_eq!(after.unread, Unread::default());
        assert!(host.error_counts().is_empty());
    }
}

#[test]
fn an_odd_line_costs_its_key() {
    let mut host = Host::v2();
    write_v2(&host, "cgroup/a");
    let ctx = host.context(KindSet::default());
    let before = sample(&mut host, &ctx);
    edit(&host, "cgroup/a/memory.stat", "anon 1048576", "anon 18446744073709551616");
    edit(&host, "cgroup/a/memory.stat", "kernel 524288", "kernel");
    edit(&host, "cgroup/a/memory.events", "high 2", "high two");
    edit(&host, "cgroup/a/cpu.stat", "usage_usec 5000", "usage_usec odd");
    edit(&host, "cgroup/a/cpu.stat", "nr_periods 10", "nr_periods -1");
    edit(&host, "cgroup/a/io.stat", "8:0 ", "(unknown) rbytes=7 wbytes=8\n8:0 ");
    edit(&host, "cgroup/a/memory.pressure", "some avg10=1.00", "some avg10=1,00");
    let after = sample(&mut host, &ctx);
    let (memory, was) = (after.memory.unwrap(), before.memory.unwrap());
    assert_eq!((memory.usage, memory.working_set, memory.cache), (was.usage, was.working_set, was.cache));
    assert_eq!((memory.rss, memory.kernel), (Bytes(0), None));
    for part in [Part::Rss, Part::MemoryStat, Part::MemoryEvents, Part::MemoryPressure, Part::Io, Part::CpuStat] {
        assert!(after.unread.has(part), "{part:?}");
    }
    for part in [Part::Cache, Part::MemoryUsage, Part::WorkingSet, Part::OwnFaults, Part::CpuTotal] {
        assert!(!after.unread.has(part), "{part:?}");
    }
    let events = memory.events.unwrap();
    assert_eq!((events.high, events.max, events.oom), (None, Some(3), Some(4)));
    let pressure = memory.pressure.unwrap();
    assert_eq!((pressure.some, pressure.full), (None, was.pressure.unwrap().full));
    let cpu = after.cpu.unwrap();
    assert_eq!(cpu.total, Nanos(5_000_000), "the sum of its parts");
    assert_eq!((cpu.cfs.unwrap().periods, cpu.cfs.unwrap().throttled_periods), (None, Some(4)));
    assert_eq!(after.io.unwrap().devices, before.io.unwrap().devices);
    let counts: Vec<_> = host.error_counts();
    assert_eq!(
        counts,
        [("cpu.stat", 2), ("memory.stat", 2), ("memory.events", 1), ("memory.pressure", 1), ("io.stat", 1)]
    );
}

#[test]
fn a_file_costs_itself() {
    let mut host = Host::v2();
    write_v2(&host, "cgroup/a");
    let ctx = host.context(kinds(&[MetricKind::Process]));
    let before = sample(&mut host, &ctx).memory.unwrap();
    for file in ["memory.current", "memory.peak", "memory.swap.current", "pids.max"] {
        host.write(&format!("cgroup/a/{file}"), "odd\n");
    }
    let after = sample(&mut host, &ctx);
    let memory = after.memory.unwrap();
    assert_eq!((memory.rss, memory.cache, memory.stat.clone()), (before.rss, before.cache, before.stat));
    assert_eq!((memory.usage, memory.max_usage, memory.swap), (Bytes(0), None, None));
    for part in [Part::MemoryUsage, Part::WorkingSet, Part::MemoryPeak, Part::Swap, Part::PidsMax] {
        assert!(after.unread.has(part), "{part:?}");
    }
    assert!(!after.unread.has(Part::Rss));
    // The other way around.
    write_v2(&host, "cgroup/a");
    host.remove("cgroup/a/memory.stat");
    std::fs::create_dir(host.path("cgroup/a/memory.stat")).unwrap();
    let after = sample(&mut host, &ctx);
    let memory = after.memory.unwrap();
    assert_eq!((memory.usage, memory.max_usage), (before.usage, before.max_usage));
    assert!(after.unread.has(Part::WorkingSet) && after.unread.has(Part::Rss) && after.unread.has(Part::AllFaults));
    assert_eq!(host.error_counts().iter().find(|(file, _)| *file == "memory.stat"), Some(&("memory.stat", 1)));
}

#[test]
fn a_device_row_of_v1_costs_its_device() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    let file = "blkio.throttle.io_service_bytes_recursive";
    host.write("cgroup/blkio/a/blkio.throttle.io_serviced_recursive", "8:0 Read 3\nTotal 3\n");
    host.write(
        &format!("cgroup/blkio/a/{file}"),
        "(unknown) Read 7\n8:0 Read 4096\n8:0 Read 4096\n8:16 Write x\nTotal 1\n",
    );
    let ctx = host.context(KindSet::default());
    let after = sample(&mut host, &ctx);
    let devices = after.io.unwrap().devices;
    let bytes: Vec<_> = devices.iter().filter(|device| device.stat == IoStat::ServiceBytes).collect();
    assert_eq!(bytes.len(), 1);
    assert_eq!((bytes[0].major, bytes[0].minor, &*bytes[0].operations), (8, 0, &[("Read", 4096)][..]));
    assert!(after.unread.has(Part::Io));
    assert_eq!(host.error_counts(), [(file, 2)]);
}

const LATE: [(&str, &str); 9] = [
    ("memory.current", "4096\n"),
    ("memory.stat", "anon 1\nfile 2\n"),
    ("memory.max", "8192\n"),
    ("memory.peak", "5000\n"),
    ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
    ("pids.current", "3\n"),
    ("pids.max", "10\n"),
    ("hugetlb.2MB.current", "0\n"),
    ("hugetlb.2MB.events", "max 0\n"),
];

#[test]
fn a_controller_that_comes_late_goes_and_comes_back_is_seen_with_the_next_sample() {
    let mut host = Host::v2();
    // A file that is kept open is not closed by the kernel when it is removed here.
    host.budget = Arc::new(FileBudget::new(0));
    host.write_all("cgroup/a", &[("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\n"), ("cgroup.procs", "")]);
    let ctx = host.context(kinds(&[MetricKind::Process, MetricKind::DiskIo, MetricKind::Hugetlb]));
    let mut reader = Host::reader(&ctx, "/a");
    for turn in 0..3 {
        for _ in 0..70 {
            let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
            assert_eq!((sample.memory, sample.io, sample.hugetlb), (None, None, None));
            assert_eq!(sample.unread, Unread::default());
        }
        assert_eq!(reader.take_news_of_controllers(), turn > 0, "without controllers in turn {turn}");
        let spec = reader.spec(&ctx, &mut host.scratch);
        assert_eq!((spec.memory, spec.processes), (None, Some(Limit::Max)));
        host.write_all("cgroup/a", &LATE);
        let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
        let memory = sample.memory.unwrap();
        assert_eq!((memory.usage, memory.max_usage), (Bytes(4096), Some(Bytes(5000))));
        assert_eq!(sample.io.unwrap().devices.len(), 2);
        let processes = sample.processes.unwrap();
        assert_eq!((processes.threads, processes.threads_max), (Some(3), Some(10)));
        assert_eq!(sample.hugetlb.unwrap().len(), 1);
        assert!(reader.take_news_of_controllers(), "limits are looked at at once in turn {turn}");
        let spec = reader.spec(&ctx, &mut host.scratch);
        assert_eq!(spec.memory.unwrap().limit, Some(MemoryLimit::Bytes(Bytes(8192))));
        assert_eq!(spec.processes, Some(Limit::Value(10)));
        for (file, _) in LATE {
            host.remove(&format!("cgroup/a/{file}"));
        }
    }
}

#[test]
fn cpus_that_may_come_but_are_not_there_are_left_out() {
    let mut host = Host::v1();
    write_v1(&host, "/a");
    let ctx = host.context(KindSet::default());
    let per_cpu = |host: &mut Host, text: &str| {
        host.write("cgroup/cpu,cpuacct/a/cpuacct.usage_percpu", text);
        let cpu = sample(host, &ctx).cpu.unwrap();
        (cpu.total.0, cpu.per_cpu.map(|list| list.iter().map(|time| time.0).collect::<Vec<_>>()))
    };
    assert_eq!(per_cpu(&mut host, "7 0 8 0 0 0 0 0 \n"), (15, Some(vec![7, 0, 8, 0])));
    assert_eq!(per_cpu(&mut host, "7 0 \n"), (7, Some(vec![7, 0])));
    // Used before it was taken away.
    assert_eq!(per_cpu(&mut host, "7 0 8 0 0 9 0 0 \n"), (24, Some(vec![7, 0, 8, 0, 0, 9])));
    // Without the list the sum is still there.
    host.write("cgroup/cpu,cpuacct/a/cpuacct.usage", "99\n");
    assert_eq!(per_cpu(&mut host, "7 x\n"), (99, None));
}
