//! The statistics that the processor counts.

use super::super::Rows;
use crate::sample::hardware::{PerfCount, PerfEvent, Resctrl, ResctrlDomain, UncorePerfEvent};
use crate::sample::kinds::MetricKind;
use crate::sample::statistic::{Absence, Source, Value};

pub(super) fn fill_resctrl(rows: &mut Rows<'_>, resctrl: Option<&Resctrl>) {
    let mut values = [const { Vec::<(String, Value)>::new() }; 3];
    for ResctrlDomain { id, total, local, occupancy } in resctrl.into_iter().flat_map(|resctrl| &resctrl.domains) {
        for (values, value) in values.iter_mut().zip([total, local, occupancy]) {
            values.extend(value.as_ref().map(|value| (id.to_string(), value.into())));
        }
    }
    let names = [
        ("resctrl.memory_bandwidth.total", "mbm_total_bytes"),
        ("resctrl.memory_bandwidth.local", "mbm_local_bytes"),
        ("resctrl.cache_occupancy", "llc_occupancy"),
    ];
    for ((name, file), values) in names.into_iter().zip(values) {
        let source = rows.when(MetricKind::Resctrl).and_then(|()| match resctrl {
            Some(_) => Ok(Source { text: format!("mon_data/mon_L3_<id>/{file}"), files: Vec::new() }),
            None => Err(Absence::NoResctrl),
        });
        rows.push(name, Some(Value::Named(values)).filter(|_| resctrl.is_some()), source);
    }
}

pub(super) fn fill_perf(rows: &mut Rows<'_>, core: Option<&[PerfEvent]>, uncore: Option<&[UncorePerfEvent]>) {
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
