//! Perf events of a container on each CPU, and those of the machine's other units, which the root has.

use std::sync::Arc;

use super::{Family, Mounted, Place, Reading, Rows};
use crate::kernel::error::ReadError;
use crate::kernel::file::Permit;
use crate::kernel::perf::{self, Count, Counted, EventCode, OpenEvent};
use crate::reader::container::perf_events::{CoreEvent, UnitEvent};
use crate::sample::container::Sample;
use crate::sample::hardware::{PerfCount, PerfEvent, UncorePerfEvent};
use crate::sample::kinds::MetricKind;
use crate::sample::statistic::{Absence, Source, Value};
use crate::units::Nanos;

/// A container's open events.
#[derive(Debug, Default)]
pub(in crate::reader::container) struct PerfState {
    core: Opened<(Arc<str>, u32)>,
    uncore: Opened<(Arc<str>, Arc<str>, u32)>,
}

/// Events with what reports them apart; opened at the first sample, all of them or none.
#[derive(Debug, Default)]
enum Opened<T> {
    #[default]
    NotYet,
    Failed,
    Counting(Vec<(T, OpenEvent, Permit)>),
}

impl Family for PerfState {
    /// On cgroup v2 the controller is always there.
    fn place(&self, mounted: &Mounted<'_>) -> Option<Place> {
        mounted.v1("perf_event").or(mounted.unified()).map(Place::Kernel)
    }

    fn close(&mut self) {
        *self = Self::default();
    }

    fn read_beside(&mut self, place: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        sample.perf = self.sample_core(place, reading);
        sample.perf_uncore = self.sample_uncore(reading);
    }

    fn explain(&self, _: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        explain(rows, sample.perf.as_deref(), sample.perf_uncore.as_deref());
    }
}

impl PerfState {
    fn sample_core(&mut self, place: Option<Place>, reading: &mut Reading<'_>) -> Option<Vec<PerfEvent>> {
        let wanted = reading.ctx.perf.as_ref().filter(|wanted| !wanted.core.is_empty())?;
        if matches!(self.core, Opened::NotYet) {
            let hierarchy = reading.hierarchy(place?.hierarchy())?;
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

    fn sample_uncore(&mut self, reading: &mut Reading<'_>) -> Option<Vec<UncorePerfEvent>> {
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

fn explain(rows: &mut Rows<'_>, core: Option<&[PerfEvent]>, uncore: Option<&[UncorePerfEvent]>) {
    let core = core.map(|events| {
        let named = |PerfEvent { name, cpu, count }: &PerfEvent| (format!("{name} on CPU {cpu}"), count.into());
        Value::Named(events.iter().map(named).collect())
    });
    let uncore = uncore.map(|events| {
        let named = |UncorePerfEvent { name, pmu, socket, count }: &UncorePerfEvent| {
            (format!("{name} of {pmu} on socket {socket}"), count.into())
        };
        Value::Named(events.iter().map(named).collect())
    });
    for (name, value) in [("perf.core", core), ("perf.uncore", uncore)] {
        let source = rows.when(MetricKind::PerfEvent).and_then(|()| match value {
            Some(_) => Ok(Source { text: "perf_event_open".to_owned(), files: Vec::new() }),
            None => Err(Absence::NoPerfEvents),
        });
        rows.push(name, value, source);
    }
}

impl From<&PerfCount> for Value {
    fn from(PerfCount { counted, enabled, running }: &PerfCount) -> Self {
        let values: [(&str, Self); 3] =
            [("counted", counted.into()), ("enabled", enabled.into()), ("running", running.into())];
        Self::Named(values.map(|(name, value)| (name.to_owned(), value)).to_vec())
    }
}
