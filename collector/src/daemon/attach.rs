//! Loads the programs that report the kernel's events.

use tracing::info;

use super::DaemonError;
use crate::config::{Config, EbpfLog, KernelEvents};
use crate::degradations::Degradations;
use crate::kernel::probes::counters::have_last_time_read;
use crate::kernel::probes::support::{WithoutExits, WithoutLast};
use crate::kernel::probes::{EventReader, LogLevel, ProbeOptions, Probes, Unavailable};

type Attached = (Probes, EventReader);

/// Loads and attaches the programs, and notes what of it is done without.
pub(super) fn attach(config: &Config, degradations: &Degradations) -> Result<Option<Attached>, DaemonError> {
    if config.kernel_events == KernelEvents::Scan {
        info!("kernel events: scan, set by --kernel_events=scan");
        return Ok(None);
    }
    let log = match config.ebpf_log {
        EbpfLog::Off => LogLevel::Off,
        EbpfLog::Info => LogLevel::Info,
        EbpfLog::Debug => LogLevel::Debug,
    };
    let options = ProbeOptions { ring_buffer_bytes: config.ring_buffer_bytes, log };
    match Probes::load(&config.roots, &options) {
        Ok((probes, reader, last)) => {
            if let Some(unavailable) = Unavailable::without_victim(probes.victim_form()) {
                degradations.set(&unavailable.facility, &unavailable);
            }
            if let Some(unavailable) = probes.without_exits() {
                degradations.set(&WithoutExits::FACILITY, unavailable);
            }
            match last {
                Ok(readings) => {
                    if let Err(why) = have_last_time_read(readings, &config.roots) {
                        info!("the last CPU time of containers is read from files: {why}");
                    }
                }
                Err(unavailable) => degradations.set(&WithoutLast::FACILITY, &unavailable),
            }
            Ok(Some((probes, reader)))
        }
        Err(unavailable) if config.kernel_events == KernelEvents::Ebpf => {
            Err(DaemonError::EventsRequired(Box::new(unavailable)))
        }
        Err(unavailable) => {
            degradations.set(&unavailable.facility, &unavailable);
            Ok(None)
        }
    }
}
