//! Perf events of a container on each CPU, and those of the machine's other units, which the root has.

use std::path::Path;
use std::sync::Arc;

use super::Reading;
use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::file::Permit;
use crate::kernel::machine::online_cpus;
use crate::kernel::perf::{self, Count, Counted, EventCode, OpenEvent};
use crate::sample::hardware::{PerfCount, PerfEvent, UncorePerfEvent};
use crate::units::Nanos;

/// What `--perf_events_config` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerfConfig {
    /// Of each container, on each CPU.
    pub core: WantedEvents,
    /// Of the machine, on each socket.
    pub uncore: WantedEvents,
}

/// Events by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedEvents {
    /// Those of a group are on counters at the same time.
    pub groups: Vec<Vec<String>>,
    /// What names mean that are not the kernel's.
    pub custom: Vec<CustomEvent>,
}

/// An event by numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomEvent {
    /// Its name among the events.
    pub name: String,
    /// `type` of `perf_event_attr`; `None` for the unit's own, with the CPU the raw one.
    pub kind: Option<u32>,
    /// `config`, `config1`, `config2`.
    pub config: [u64; 3],
}

/// The events to be counted. Shared by all sampling threads.
#[derive(Debug)]
pub struct PerfEvents {
    cpus: Vec<u32>,
    core: Vec<Vec<CoreEvent>>,
    uncore: Vec<Vec<UnitEvent>>,
}

#[derive(Debug)]
struct CoreEvent {
    name: Arc<str>,
    code: EventCode,
}

#[derive(Clone, Debug)]
struct UnitEvent {
    name: Arc<str>,
    unit: Arc<str>,
    code: EventCode,
    cpu: u32,
    socket: u32,
}

impl PerfEvents {
    /// What this machine has of the events, and the names of those that it has not.
    ///
    /// # Errors
    /// The CPUs cannot be listed.
    pub fn find(roots: &HostRoots, wanted: &PerfConfig) -> Result<(Self, Vec<String>), ReadError> {
        let cpus = online_cpus(roots)?;
        let mut unknown = Vec::new();
        let mut core = Vec::new();
        for group in &wanted.core.groups {
            let mut events = Vec::new();
            for name in group {
                let custom = wanted.core.custom.iter().find(|custom| custom.name == *name);
                let code = match custom {
                    Some(custom) => Some(EventCode::numbers(custom.kind.unwrap_or(perf::RAW), custom.config)),
                    None => EventCode::of_core(&roots.sys, name),
                };
                match code {
                    Some(code) => events.push(CoreEvent { name: name.as_str().into(), code }),
                    None => unknown.push(name.clone()),
                }
            }
            core.extend(Some(events).filter(|events| !events.is_empty()));
        }
        let uncore = wanted.uncore.groups.iter().flat_map(|group| {
            let of_units = group.iter().map(|name| {
                let found = unit_events(&roots.sys, name, &wanted.uncore.custom);
                if found.is_empty() {
                    unknown.push(name.clone());
                }
                found
            });
            by_place(of_units.collect())
        });
        let uncore = uncore.collect();
        Ok((Self { cpus, core, uncore }, unknown))
    }
}

/// The event `<beginning of units' names>/<name>`, or `<name>` of any unit, once for each unit and socket.
fn unit_events(sys: &Path, full: &str, custom: &[CustomEvent]) -> Vec<UnitEvent> {
    let (prefix, name) = full.split_once('/').unwrap_or(("", full));
    let custom = custom.iter().find(|custom| custom.name == full);
    let mut events = Vec::new();
    for unit in perf::units(sys, prefix) {
        // Units of the CPUs are no uncore.
        let Some(cpus) = perf::unit_cpus(sys, &unit) else { continue };
        let code = match custom {
            Some(custom) => {
                custom.kind.or_else(|| perf::unit_type(sys, &unit)).map(|kind| EventCode::numbers(kind, custom.config))
            }
            None => EventCode::listed(sys, &unit, name),
        };
        let Some(code) = code else { continue };
        events.extend(cpus.into_iter().map(|cpu| UnitEvent {
            name: name.into(),
            unit: unit.as_str().into(),
            code: code.clone(),
            cpu,
            socket: socket_of(sys, cpu),
        }));
    }
    events
}

/// Events are in one group only where they are of one unit and on one CPU.
fn by_place(events: Vec<Vec<UnitEvent>>) -> Vec<Vec<UnitEvent>> {
    let mut groups: Vec<Vec<UnitEvent>> = Vec::new();
    for event in events.into_iter().flatten() {
        let same = |group: &&mut Vec<UnitEvent>| {
            group.first().is_some_and(|first| first.unit == event.unit && first.cpu == event.cpu)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(event),
            None => groups.push(vec![event]),
        }
    }
    groups
}

fn socket_of(sys: &Path, cpu: u32) -> u32 {
    let file = sys.join(format!("devices/system/cpu/cpu{cpu}/topology/physical_package_id"));
    std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// A container's open events.
#[derive(Debug, Default)]
pub(super) struct PerfState {
    core: Opened<(Arc<str>, u32)>,
    uncore: Opened<(Arc<str>, Arc<str>, u32)>,
}

/// Events with what tells them apart; opened at the first sample, all of them or none.
#[derive(Debug, Default)]
enum Opened<T> {
    #[default]
    NotYet,
    Failed,
    Counting(Vec<(T, OpenEvent, Permit)>),
}

impl PerfState {
    /// Ends to count.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    pub(super) fn sample_core(&mut self, reading: &mut Reading<'_>) -> Option<Vec<PerfEvent>> {
        let wanted = reading.ctx.perf.as_ref().filter(|wanted| !wanted.core.is_empty())?;
        if matches!(self.core, Opened::NotYet) {
            let hierarchy = reading.hierarchy(reading.ctx.sources.perf?)?;
            let directory = hierarchy.file(reading.name, "").open_directory(reading.buffer).ok()?;
            let directory = perf::directory(directory);
            self.core = open(
                reading,
                wanted.core.iter().flat_map(|group| {
                    wanted.cpus.iter().map(move |cpu| {
                        let event = |event: &CoreEvent| ((Arc::clone(&event.name), *cpu), event.code.clone(), *cpu);
                        group.iter().map(event).collect::<Vec<_>>()
                    })
                }),
                &Counted::Cgroup(&directory),
            );
        }
        let events = read(reading, &mut self.core)?;
        let event = |((name, cpu), count)| PerfEvent { name, cpu, count };
        Some(events.into_iter().map(event).collect())
    }

    pub(super) fn sample_uncore(&mut self, reading: &mut Reading<'_>) -> Option<Vec<UncorePerfEvent>> {
        let wanted = reading.ctx.perf.as_ref().filter(|wanted| reading.is_root() && !wanted.uncore.is_empty())?;
        if matches!(self.uncore, Opened::NotYet) {
            let groups = wanted.uncore.iter().map(|group| {
                let event = |UnitEvent { name, unit, code, cpu, socket }: &UnitEvent| {
                    ((Arc::clone(name), Arc::clone(unit), *socket), code.clone(), *cpu)
                };
                group.iter().map(event).collect::<Vec<_>>()
            });
            self.uncore = open(reading, groups, &Counted::Machine);
        }
        let events = read(reading, &mut self.uncore)?;
        let event = |((name, pmu, socket), count)| UncorePerfEvent { name, pmu, socket, count };
        Some(events.into_iter().map(event).collect())
    }
}

/// Opens groups of events; the first of a group leads it.
fn open<T>(
    reading: &Reading<'_>,
    groups: impl Iterator<Item = Vec<(T, EventCode, u32)>>,
    what: &Counted<'_>,
) -> Opened<T> {
    let mut opened: Vec<(T, OpenEvent, Permit)> = Vec::new();
    for group in groups {
        let leader = opened.len();
        for (tag, code, cpu) in group {
            // Without the leave to keep another descriptor there are no perf events.
            let Some(permit) = reading.ctx.budget.permit() else { return Opened::Failed };
            let leader = opened.get_mut(leader).map(|(_, leader, _)| leader);
            match OpenEvent::open(&code, what, cpu, leader) {
                Ok(event) => opened.push((tag, event, permit)),
                Err(error) => {
                    count_error(reading, &error);
                    return Opened::Failed;
                }
            }
        }
    }
    Opened::Counting(opened)
}

fn read<T: Clone>(reading: &Reading<'_>, opened: &mut Opened<T>) -> Option<Vec<(T, PerfCount)>> {
    let Opened::Counting(events) = opened else { return None };
    let mut counts = Vec::with_capacity(events.len());
    for (tag, event, _) in events {
        let Count { value, enabled, running } = event.read().inspect_err(|error| count_error(reading, error)).ok()?;
        let nanos = |time: std::time::Duration| Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        counts.push((tag.clone(), PerfCount { counted: value, enabled: nanos(enabled), running: nanos(running) }));
    }
    Some(counts)
}

fn count_error(reading: &Reading<'_>, error: &std::io::Error) {
    let errno = rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO);
    reading.ctx.errors.count("perf_event_open", &ReadError::Failed { path: "perf_event_open".into(), errno });
}
