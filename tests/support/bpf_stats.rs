//! What the kernel counts of the collector's eBPF programs while it is asked to.

use std::fs;

use super::collector::Collector;
use super::harness::Skip;
use super::{Context as _, Result};

/// Turns `kernel.bpf_stats_enabled` on for a while.
pub(crate) struct Statistics;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    /// Until it is dropped; skips the test where that is not allowed.
    pub(crate) fn on() -> Result<Self> {
        fs::write(SWITCH, "1").map_err(|error| Skip::because(format!("{SWITCH} cannot be written: {error}")))?;
        Ok(Self)
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, "0");
    }
}

/// Time and number of runs of the collector's program on this tracepoint.
pub(crate) fn runs(collector: &Collector, tracepoint: &str) -> Result<[f64; 2]> {
    let mut descriptors = Vec::new();
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", collector.pid()))? {
        // One may be closed meanwhile.
        descriptors.extend(fs::read_to_string(entry?.path()));
    }
    let value = |text: &str, key: &str| {
        text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned()))
    };
    let link = descriptors.iter().find(|text| value(text, "tp_name").as_deref() == Some(tracepoint));
    let program = link.and_then(|text| value(text, "prog_id")).with_context(|| format!("no link to {tracepoint}"))?;
    let of = |text: &&String| value(text, "run_cnt").is_some() && value(text, "prog_id").as_ref() == Some(&program);
    let text = descriptors.iter().find(of).context("the program's own descriptor is not there")?;
    let number = |key: &str| Ok::<_, anyhow::Error>(value(text, key).context("no such figure")?.parse::<f64>()?);
    Ok([number("run_time_ns")?, number("run_cnt")?])
}
