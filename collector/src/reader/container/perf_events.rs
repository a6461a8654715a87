//! Which perf events are wanted, and what this machine has of them.

use std::path::Path;
use std::sync::Arc;

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::machine::online_cpus;
use crate::kernel::perf::{self, EventCode};

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
    pub(super) cpus: Vec<u32>,
    pub(super) core: Vec<Vec<CoreEvent>>,
    pub(super) uncore: Vec<Vec<UnitEvent>>,
}

#[derive(Debug)]
pub(super) struct CoreEvent {
    pub(super) name: Arc<str>,
    pub(super) code: EventCode,
}

#[derive(Clone, Debug)]
pub(super) struct UnitEvent {
    pub(super) name: Arc<str>,
    pub(super) unit: Arc<str>,
    pub(super) code: EventCode,
    pub(super) cpu: u32,
    pub(super) socket: u32,
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
