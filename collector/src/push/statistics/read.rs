//! How the values of a row are read from what is known of a container.

use std::borrow::Cow;

use super::Label;
use super::Number::{self, Count, Hundredths, Nanos, Signed};
use super::{Points, Seen};
use crate::sample::container::{
    Cfs, Cpu, CpuSpec, IoStat, Load, Memory, MemoryEvents, MemorySpec, Network, Pressure, PressureRow, Processes,
    Schedstat, TaskStates, Zswap,
};
use crate::sample::filesystem::Storage;
use crate::sample::hardware::PerfCount;
use crate::sample::memory_stat::ReportedStat;
use crate::sample::sockets::{MAX_CONN, TcpSockets, UdpSockets};
use crate::sample::spec::MemoryLimit;
use crate::sample::unread::Part;
use crate::units::{Bytes, Limit, Micros, WallTime};

/// OOM kills, which are counted in any case.
macro_rules! oom_kills {
    () => {
        |seen, out| {
            out.add(Count(seen.sample.oom_kills));
            Some(())
        }
    };
}

/// A value of the sample itself, which may be absent.
macro_rules! own {
    ($field:ident) => {
        |seen, out| {
            out.add(seen.sample.$field?.into());
            Some(())
        }
    };
}

/// A value that may be absent.
macro_rules! maybe {
    ($of:expr => $field:ident) => {
        |seen, out| {
            out.add($of(seen)?.$field?.into());
            Some(())
        }
    };
}

/// A value that is 0 where its part of the sample could not be read.
macro_rules! read {
    ($part:ident, $of:expr => $($field:ident).+) => {
        |seen, out| {
            seen.has(crate::sample::unread::Part::$part)?;
            out.add($of(seen)?$(.$field)+.into());
            Some(())
        }
    };
}

/// A stall time.
macro_rules! stalled {
    ($of:expr, $row:ident) => {
        |seen, out| {
            out.add($of(seen)?.$row?.total.into());
            Some(())
        }
    };
}

/// The shares of the last seconds.
macro_rules! averages {
    ($of:expr, $row:ident) => {
        |seen, out| {
            shares(out, $of(seen)?.$row?);
            Some(())
        }
    };
}

/// Pages by NUMA node.
macro_rules! nodes {
    ($scope:ident, $kind:ident) => {
        |seen, out| {
            by_node(out, &memory(seen)?.numa.as_ref()?.$scope.$kind);
            Some(())
        }
    };
}

/// A field of each entry of a list.
macro_rules! each {
    ($list:ident => $field:ident) => {
        |seen, out| $list(seen, out, |one| Optional(one.$field).number())
    };
}

/// A statistic of block devices.
macro_rules! device {
    ($stat:ident, $number:expr) => {
        |seen, out| devices(seen, out, crate::sample::container::IoStat::$stat, $number)
    };
}

/// A number of each interface.
macro_rules! traffic {
    ($direction:ident, $field:ident) => {
        |seen, out| interfaces(seen, out, |interface| interface.$direction.$field)
    };
}

/// Perf events.
macro_rules! perf {
    ($of:ident, $get:ident) => {
        |seen, out| $of(seen, out, $get)
    };
}

/// Sockets of one protocol.
macro_rules! sockets {
    ($add:ident, $field:ident) => {
        |seen, out| {
            $add(out, network(seen)?.$field?);
            Some(())
        }
    };
}

/// A limit of memory.
macro_rules! limit {
    ($field:ident) => {
        |seen, out| {
            out.add(Count(memory_limit(seen, memory_spec(seen)?.$field)?));
            Some(())
        }
    };
}

pub(super) use {averages, device, each, limit, maybe, nodes, oom_kills, own, perf, read, sockets, stalled, traffic};

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Count(count)
    }
}

impl From<Bytes> for Number {
    fn from(bytes: Bytes) -> Self {
        Count(bytes.0)
    }
}

impl From<crate::units::Nanos> for Number {
    fn from(time: crate::units::Nanos) -> Self {
        Nanos(time.0)
    }
}

impl From<Micros> for Number {
    fn from(time: Micros) -> Self {
        Nanos(time.0.saturating_mul(1000))
    }
}

/// A field of an entry of a list, which may be absent.
pub(super) struct Optional<T>(pub(super) T);

impl Optional<Option<u64>> {
    /// What stands for no limit is none.
    pub(super) fn number(self) -> Option<u64> {
        self.0.filter(|value| *value != u64::MAX)
    }
}

impl Optional<Option<Bytes>> {
    pub(super) fn number(self) -> Option<u64> {
        self.0.map(|bytes| bytes.0)
    }
}

pub(super) fn cpu<'a>(seen: &Seen<'a>) -> Option<&'a Cpu> {
    seen.sample.cpu.as_ref()
}

pub(super) fn cfs(seen: &Seen<'_>) -> Option<Cfs> {
    cpu(seen)?.cfs
}

pub(super) fn schedstat(seen: &Seen<'_>) -> Option<Schedstat> {
    cpu(seen)?.schedstat
}

pub(super) fn load(seen: &Seen<'_>) -> Option<Load> {
    cpu(seen)?.load
}

pub(super) fn tasks(seen: &Seen<'_>) -> Option<TaskStates> {
    seen.sample.tasks
}

pub(super) fn memory<'a>(seen: &Seen<'a>) -> Option<&'a Memory> {
    seen.sample.memory.as_ref()
}

pub(super) fn stat(seen: &Seen<'_>) -> Option<ReportedStat> {
    Some(memory(seen)?.stat.reported())
}

pub(super) fn zswap(seen: &Seen<'_>) -> Option<Zswap> {
    memory(seen)?.zswap
}

pub(super) fn events(seen: &Seen<'_>) -> Option<MemoryEvents> {
    memory(seen)?.events
}

pub(super) fn cpu_pressure(seen: &Seen<'_>) -> Option<Pressure> {
    cpu(seen)?.pressure
}

pub(super) fn memory_pressure(seen: &Seen<'_>) -> Option<Pressure> {
    memory(seen)?.pressure
}

pub(super) fn io_pressure(seen: &Seen<'_>) -> Option<Pressure> {
    seen.sample.io.as_ref()?.pressure
}

pub(super) fn processes(seen: &Seen<'_>) -> Option<Processes> {
    seen.sample.processes
}

pub(super) fn network<'a>(seen: &Seen<'a>) -> Option<&'a Network> {
    seen.sample.network.as_ref()
}

pub(super) fn cpu_spec<'a>(seen: &Seen<'a>) -> Option<&'a CpuSpec> {
    seen.spec.cpu.as_ref()
}

pub(super) fn memory_spec<'a>(seen: &Seen<'a>) -> Option<&'a MemorySpec> {
    seen.spec.memory.as_ref()
}

pub(super) fn per_cpu<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    for (number, time) in cpu(seen)?.per_cpu.as_ref()?.iter().enumerate() {
        out.with(Nanos(time.0), [(Label::Cpu, number.to_string().into())]);
    }
    Some(())
}

pub(super) fn shares(out: &mut Points<'_>, row: PressureRow) {
    let PressureRow { avg10, avg60, avg300, .. } = row;
    for (window, share) in [("10s", avg10), ("60s", avg60), ("300s", avg300)] {
        out.with(Hundredths(share), [(Label::Window, window.into())]);
    }
}

/// Working set below the limit.
pub(super) fn available<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    seen.has(Part::WorkingSet)?;
    let limit = memory_limit(seen, memory_spec(seen)?.limit)?;
    out.add(Count(limit.saturating_sub(memory(seen)?.working_set.0)));
    Some(())
}

/// The kernel counts all faults; the conventions want those that are not major.
pub(super) fn minor_faults<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    seen.has(Part::AllFaults)?;
    seen.has(Part::AllMajorFaults)?;
    let faults = memory(seen)?.hierarchical_faults;
    out.add(Count(faults.pgfault.saturating_sub(faults.pgmajfault)));
    Some(())
}

pub(super) fn memory_stat<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    let stat = &memory(seen)?.stat;
    for (key, value) in stat.keys.iter().zip(&stat.values) {
        out.with(Count(*value), [(Label::Key, Cow::Borrowed(&**key))]);
    }
    Some(())
}

pub(super) fn by_node(out: &mut Points<'_>, pages: &[(u32, u64)]) {
    for (node, pages) in pages {
        out.with(Count(*pages), [(Label::Node, node.to_string().into())]);
    }
}

pub(super) fn pages<'a>(
    seen: &Seen<'a>,
    out: &mut Points<'a>,
    get: fn(&crate::sample::container::Hugetlb) -> Option<u64>,
) -> Option<()> {
    for size in seen.sample.hugetlb.as_ref()? {
        if let Some(value) = get(size) {
            out.with(Count(value), [(Label::PageSize, Cow::Borrowed(&*size.page_size))]);
        }
    }
    Some(())
}

/// By device and operation, but for the sum of the others.
pub(super) fn devices<'a>(
    seen: &Seen<'a>,
    out: &mut Points<'a>,
    stat: IoStat,
    number: fn(u64) -> Number,
) -> Option<()> {
    for device in seen.sample.io.as_ref()?.devices.iter().filter(|device| device.stat == stat) {
        let name: Cow<'a, str> = match &*device.device {
            "" => format!("{}:{}", device.major, device.minor).into(),
            name => name.into(),
        };
        for (operation, value) in &device.operations {
            let mut labels = vec![(Label::Device, name.clone())];
            match *operation {
                "Total" => continue,
                "Count" => {}
                operation => labels.insert(0, (Label::Operation, operation.to_ascii_lowercase().into())),
            }
            out.with(number(*value), labels);
        }
    }
    Some(())
}

pub(super) fn micros(value: u64) -> Number {
    Micros(value).into()
}

pub(super) fn millis(value: u64) -> Number {
    Nanos(value.saturating_mul(1_000_000))
}

pub(super) fn resources<'a>(
    seen: &Seen<'a>,
    out: &mut Points<'a>,
    get: fn(&crate::sample::container::Misc) -> Option<u64>,
) -> Option<()> {
    for misc in seen.sample.misc.as_ref()? {
        if let Some(value) = get(misc) {
            out.with(Count(value), [(Label::Resource, Cow::Borrowed(&*misc.resource))]);
        }
    }
    Some(())
}

pub(super) fn misc_current<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    resources(seen, out, |misc| Some(misc.current))
}

pub(super) fn open_files<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    let (soft, hard) = processes(seen)?.max_open_files?;
    for (kind, limit) in [("soft", soft), ("hard", hard)] {
        if limit != u64::MAX {
            out.with(Count(limit), [(Label::Key, kind.into())]);
        }
    }
    Some(())
}

pub(super) fn interfaces<'a>(
    seen: &Seen<'a>,
    out: &mut Points<'a>,
    get: fn(&crate::sample::container::Interface) -> u64,
) -> Option<()> {
    for interface in &network(seen)?.interfaces {
        out.with(Count(get(interface)), [(Label::Interface, Cow::Borrowed(&*interface.name))]);
    }
    Some(())
}

/// By state, in the conventions' words.
pub(super) fn connections(out: &mut Points<'_>, mut sockets: TcpSockets) {
    const STATES: [&str; 11] = [
        "established",
        "syn_sent",
        "syn_received",
        "fin_wait_1",
        "fin_wait_2",
        "time_wait",
        "closed",
        "close_wait",
        "last_ack",
        "listen",
        "closing",
    ];
    for (state, count) in STATES.into_iter().zip(sockets.counts_mut()) {
        out.with(Count(*count), [(Label::ConnectionState, state.into())]);
    }
}

pub(super) fn datagrams(out: &mut Points<'_>, sockets: UdpSockets) {
    let UdpSockets { sockets, dropped, receive_queue, transmit_queue } = sockets;
    let values =
        [("sockets", sockets), ("dropped", dropped), ("rx_queued", receive_queue.0), ("tx_queued", transmit_queue.0)];
    for (key, value) in values {
        out.with(Count(value), [(Label::Key, key.into())]);
    }
}

pub(super) fn tcp_advanced<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    for (key, value) in network(seen)?.tcp_advanced.as_ref()?.iter() {
        let number = if key == MAX_CONN { Signed(value.cast_signed()) } else { Count(value) };
        out.with(number, [(Label::Key, key.into())]);
    }
    Some(())
}

pub(super) fn caches<'a>(
    seen: &Seen<'a>,
    out: &mut Points<'a>,
    get: fn(&crate::sample::hardware::ResctrlDomain) -> Option<u64>,
) -> Option<()> {
    for domain in &seen.sample.resctrl.as_ref()?.domains {
        if let Some(value) = get(domain) {
            out.with(Count(value), [(Label::Cache, domain.id.to_string().into())]);
        }
    }
    Some(())
}

/// Perf events by CPU.
pub(super) fn perf_core<'a>(seen: &Seen<'a>, out: &mut Points<'a>, get: fn(PerfCount) -> Number) -> Option<()> {
    for event in seen.sample.perf.as_ref()? {
        let cpu = (Label::Cpu, event.cpu.to_string().into());
        out.with(get(event.count), [(Label::Event, Cow::Borrowed(&*event.name)), cpu]);
    }
    Some(())
}

/// Those outside of the cores.
pub(super) fn perf_uncore<'a>(seen: &Seen<'a>, out: &mut Points<'a>, get: fn(PerfCount) -> Number) -> Option<()> {
    for event in seen.sample.perf_uncore.as_ref()? {
        let (name, pmu) = (Cow::Borrowed(&*event.name), Cow::Borrowed(&*event.pmu));
        let socket = (Label::Socket, event.socket.to_string().into());
        out.with(get(event.count), [(Label::Event, name), (Label::Pmu, pmu), socket]);
    }
    Some(())
}

pub(super) fn scaled(count: PerfCount) -> Number {
    Count(count.scaled())
}

/// Which share of the time an event was on a counter.
pub(super) fn scaling_ratio(count: PerfCount) -> Number {
    Hundredths((count.scaling_ratio() * 10_000.0) as u64)
}

/// The device that a container's own files are on.
pub(super) fn filesystem_of_layer(storage: &Storage) -> Option<Cow<'_, str>> {
    Some(Cow::Borrowed(storage.filesystem.as_ref()?.device.as_str()))
}

pub(super) fn created<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    out.add(Nanos(seen.spec.created.filter(|created| *created > WallTime::default())?.0));
    Some(())
}

pub(super) fn cpu_mask<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    out.with(Count(1), [(Label::Key, Cow::Borrowed(cpu_spec(seen)?.mask.as_deref()?))]);
    Some(())
}

/// A limit that is one: of v1 a number stands for none, and more than the machine has is none.
pub(super) fn memory_limit(seen: &Seen<'_>, limit: Option<MemoryLimit>) -> Option<u64> {
    const UNLIMITED: u64 = 1 << 62;
    match limit? {
        MemoryLimit::Bytes(Bytes(limit)) if limit <= seen.machine_memory.unwrap_or(UNLIMITED) => Some(limit),
        MemoryLimit::Bytes(_) | MemoryLimit::Max => None,
    }
}

/// On v1 of memory and swap together: it may be more than the machine's memory.
pub(super) fn swap_limit<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    let limit = memory_limit(&Seen { machine_memory: None, ..*seen }, memory_spec(seen)?.swap_limit)?;
    out.add(Count(limit));
    Some(())
}

pub(super) fn process_limit<'a>(seen: &Seen<'a>, out: &mut Points<'a>) -> Option<()> {
    let Limit::Value(limit) = seen.spec.processes? else { return None };
    out.add(Count(limit));
    Some(())
}
