//! `collector doctor`: what works on this machine with these rights and flags, what does not, and what to do about it.
//!
//! `kernel::survey` finds out, [`rules`] decides without looking at anything, [`text`] and [`json`] show it. A second
//! front end beside the daemon: it runs none of the daemon's parts and touches no running collector.

pub mod container;
pub mod json;
pub mod report;
pub mod rules;
pub mod runtimes;
#[cfg(test)]
mod tests;
pub mod text;

use std::ffi::OsString;
use std::io::Write as _;

use crate::bounds::ForTerminal;
use crate::config::{Config, EbpfLog, ReportFormat};
use crate::kernel::capabilities;
use crate::kernel::probes::{LogLevel, ProbeOptions};
use crate::kernel::survey::Facts;
use report::Report;
use rules::Wishes;

/// Examines this machine, and a container of it, for a collector with this configuration, prints the report, and returns the exit code: 0 when
/// everything works, 1 when something is limited, 2 when the collector cannot do its job.
pub fn run(config: &Config, format: ReportFormat, container: Option<&OsString>) -> u8 {
    // As the daemon does; what the kernel refuses is reported with the rights themselves.
    let _ = capabilities::settle(config.rights());
    let log = match config.ebpf_log {
        EbpfLog::Off => LogLevel::Off,
        EbpfLog::Info => LogLevel::Info,
        EbpfLog::Debug => LogLevel::Debug,
    };
    let options = ProbeOptions { ring_buffer_bytes: config.ring_buffer_bytes, log };
    let facts = Facts::gather(&config.roots, &options, config.listen);
    let wishes = Wishes {
        kernel_events: config.kernel_events,
        counters: config.counters,
        load_reader: config.load_reader,
        kinds: config.kinds,
    };
    let container = container.map(|given| container::gather(given, config));
    let report = rules::decide(&facts, &runtimes::gather(config), container.as_ref(), &wishes);
    print(&report, format);
    report.exit_code()
}

fn print(report: &Report, format: ReportFormat) {
    let rendered = match format {
        ReportFormat::Text => ForTerminal(&text::render(report)).to_string(),
        ReportFormat::Json => json::render(report),
    };
    // Whoever reads may have read enough; the exit code has the rest.
    let _ = std::io::stdout().write_all(rendered.as_bytes());
}
