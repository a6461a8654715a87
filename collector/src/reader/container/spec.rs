//! Limits and configuration of a container.

use super::Reading;
use super::context::{CpuSource, MemorySource, Source};
use crate::kernel::cgroup::{Version, v2};
use crate::kernel::text_formats::{FormatError, Signed, limit, signed, unsigned};
use crate::sample::kinds::MetricKind;
use crate::sample::spec::{CpuSpec, MemoryLimit, MemorySpec, Spec};
use crate::sample::unread::{Part, Unread};
use crate::units::{Bytes, Limit, Micros, WallTime};

/// Reads the spec. `created` is left out.
pub(super) fn read(reading: &mut Reading<'_>, has_own_network: bool) -> Spec {
    let ctx = reading.ctx;
    let is_member = |reading: &Reading<'_>, source: Option<Source>| match source {
        Some(Source::V1(position)) => reading.hierarchy(position).is_some(),
        _ => false,
    };
    let on_v2 = ctx.sources.unified_only.is_some_and(|position| reading.hierarchy(position).is_some());
    let mut spec = Spec {
        created: None,
        cpu: match ctx.sources.cpu {
            Some(CpuSource::V2(position)) => cpu_v2(reading, position),
            _ => cpu_v1(reading),
        },
        memory: memory(reading),
        processes: processes(reading),
        has_hugetlb: is_member(reading, ctx.sources.hugetlb),
        has_network: if reading.is_root() { ctx.machine.has_network } else { has_own_network },
        has_diskio: on_v2 || is_member(reading, ctx.sources.io),
        unread: Unread::default(),
    };
    spec.unread = reading.unread;
    spec
}

fn cpu_v1(reading: &mut Reading<'_>) -> Option<CpuSpec> {
    let cpu = match reading.ctx.sources.cpu {
        Some(CpuSource::V1 { cpu, .. }) => cpu.filter(|position| reading.hierarchy(*position).is_some()),
        _ => None,
    };
    let cpuset = reading.ctx.sources.cpuset_migrate.filter(|position| reading.hierarchy(*position).is_some());
    if cpu.is_none() && cpuset.is_none() {
        return None;
    }
    let mut spec = CpuSpec::default();
    if let Some(position) = cpu {
        spec.shares = reading.once(position, "cpu.shares", unsigned);
        spec.period = reading.once(position, "cpu.cfs_period_us", unsigned).map(Micros);
        spec.quota = match reading.once(position, "cpu.cfs_quota_us", signed) {
            Some(Signed::Positive(quota)) => Some(Micros(quota)),
            Some(Signed::Negative) | None => None,
        };
    }
    spec.mask = if let Some(position) = cpuset {
        mask(reading, position, "cpuset.cpus")
    } else {
        let beside = reading.ctx.sources.cpuset_beside;
        beside.and_then(|position| mask(reading, position, "cpuset.cpus.effective"))
    };
    Some(spec)
}

fn cpu_v2(reading: &mut Reading<'_>, position: usize) -> Option<CpuSpec> {
    reading.hierarchy(position)?;
    let max = reading.once(position, "cpu.max", v2::cpu::CpuMax::parse);
    Some(CpuSpec {
        shares: shares(reading, position),
        quota: max.and_then(|max| match max.quota {
            Limit::Value(quota) => Some(Micros(quota)),
            Limit::Max => None,
        }),
        period: max.map(|max| Micros(max.period)),
        mask: mask(reading, position, "cpuset.cpus.effective").or_else(|| Some(all_cpus(reading))),
    })
}

/// The shares of a cgroup that is idle (`cpu.idle`, since 5.15; its weight is said to be 0) are the fewest there are: it
/// runs when nobody else does.
fn shares(reading: &mut Reading<'_>, position: usize) -> Option<u64> {
    shares_of_weight(reading.once(position, "cpu.weight", unsigned)?)
}

/// v1 shares (2 to 262144) that correspond to a v2 weight (1 to 10000).
fn shares_of_weight(weight: u64) -> Option<u64> {
    (0..=10_000).contains(&weight).then(|| 2 + weight.saturating_sub(1) * 262_142 / 9_999)
}

fn mask(reading: &mut Reading<'_>, position: usize, file: &'static str) -> Option<String> {
    let list = reading.once(position, file, |text| {
        let text = std::str::from_utf8(text.trim_ascii()).map_err(|_| FormatError::at(1, "a list that is not text"))?;
        Ok(text.to_owned())
    })?;
    Some(if list.is_empty() { all_cpus(reading) } else { list })
}

fn all_cpus(reading: &Reading<'_>) -> String {
    match reading.ctx.machine.cpus {
        0 | 1 => "0".to_owned(),
        cpus => format!("0-{}", cpus - 1),
    }
}

fn memory(reading: &mut Reading<'_>) -> Option<MemorySpec> {
    let read = match reading.ctx.sources.memory {
        Some(MemorySource::V1(position)) => reading.hierarchy(position).map(|_| MemorySpec {
            limit: memory_limit(reading, position, "memory.limit_in_bytes"),
            reservation: memory_limit(reading, position, "memory.soft_limit_in_bytes"),
            swap_limit: memory_limit(reading, position, "memory.memsw.limit_in_bytes"),
        }),
        Some(MemorySource::V2(position)) => {
            let spec = MemorySpec {
                limit: memory_limit(reading, position, "memory.max"),
                reservation: memory_limit(reading, position, "memory.min"),
                swap_limit: memory_limit(reading, position, "memory.swap.max"),
            };
            // Without any of them the controller is off.
            let parts = [Part::MemoryLimit, Part::MemoryReservation, Part::SwapLimit];
            (spec != MemorySpec::default() || reading.unread.has_any(&parts)).then_some(spec)
        }
        None => None,
    };
    if !reading.is_root() {
        return read;
    }
    // The root has what the machine has.
    let machine = reading.ctx.machine;
    Some(MemorySpec {
        limit: Some(MemoryLimit::Bytes(machine.memory)),
        swap_limit: Some(MemoryLimit::Bytes(machine.swap)),
        ..read.unwrap_or_default()
    })
}

fn memory_limit(reading: &mut Reading<'_>, position: usize, file: &'static str) -> Option<MemoryLimit> {
    reading.once(position, file, limit).map(|limit| match limit {
        Limit::Max => MemoryLimit::Max,
        Limit::Value(bytes) => MemoryLimit::Bytes(Bytes(bytes)),
    })
}

fn processes(reading: &mut Reading<'_>) -> Option<Limit> {
    if let Some(position) = reading.ctx.sources.unified_only {
        reading.hierarchy(position)?;
        // Without the controller, and at the root, nothing limits the number.
        let max = reading.once(position, "pids.max", limit);
        return max.or((!reading.unread.has(Part::PidsMax)).then_some(Limit::Max));
    }
    let (Source::V1(position) | Source::V2(position)) = reading.ctx.sources.pids?;
    if !reading.ctx.kinds.has(MetricKind::Process) {
        return None;
    }
    reading.once(position, "pids.max", limit)
}

/// The earliest time of the container's directories and of a file in each that nobody writes, raised to the boot time.
pub(super) fn created_from_files(reading: &mut Reading<'_>, now: WallTime) -> Option<WallTime> {
    let mut earliest = now;
    for position in reading.live_positions() {
        let Some(hierarchy) = reading.hierarchy(position) else { continue };
        let file = match hierarchy.version {
            Version::V1 => "cgroup.clone_children",
            Version::V2 => "cgroup.events",
        };
        for at in [hierarchy.file(reading.name, ""), hierarchy.file(reading.name, file)] {
            if let Ok(stat) = at.stat(reading.buffer) {
                let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
                let modified = seconds.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec);
                earliest = earliest.min(WallTime(modified));
            }
        }
    }
    (earliest < now).then(|| earliest.max(reading.ctx.machine.booted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_become_shares() {
        assert_eq!(shares_of_weight(1), Some(2));
        assert_eq!(shares_of_weight(100), Some(2597));
        assert_eq!(shares_of_weight(10_000), Some(262_144));
        assert_eq!(shares_of_weight(0), Some(2), "cpu.idle");
        assert_eq!(shares_of_weight(10_001), None);
    }
}
