//! Statistics that somebody has to ask for: where they come from on this machine, or why they do not.

use tracing::warn;

use crate::config::Config;
use crate::reader::container::{Extras, PerfEvents, ResctrlReader};
use crate::sample::kinds::MetricKind;

/// Finds what is asked for; what is not there costs a line in the log.
pub(super) fn find(config: &Config) -> Extras {
    Extras { referenced_reset: config.hardware.referenced_reset, resctrl: resctrl(config), perf: perf(config) }
}

fn resctrl(config: &Config) -> Option<ResctrlReader> {
    if !config.kinds.has(MetricKind::Resctrl) {
        return None;
    }
    let reader = ResctrlReader::new(&config.roots.sys, config.hardware.resctrl_interval);
    if reader.is_none() {
        warn!("kind resctrl: there is no resctrl file system with monitoring; mount one at /sys/fs/resctrl");
    }
    reader
}

fn perf(config: &Config) -> Option<PerfEvents> {
    let wanted = config.hardware.perf_events.as_ref().filter(|_| config.kinds.has(MetricKind::PerfEvent))?;
    match PerfEvents::find(&config.roots, wanted) {
        Ok((events, unknown)) => {
            if !unknown.is_empty() {
                let names = unknown.join(", ");
                warn!(names, "--perf_events_config: no events of this machine; give their numbers as custom_events");
            }
            Some(events)
        }
        Err(error) => {
            warn!(%error, "--perf_events_config: perf events are not available");
            None
        }
    }
}
