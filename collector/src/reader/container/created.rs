//! When a container was made, as its files report.

use super::reading::Reading;
use crate::kernel::cgroup::Version;
use crate::units::WallTime;

/// The earliest time of the container's directories and of a file in each that nobody writes, raised to the boot time.
pub(super) fn from_files(reading: &mut Reading<'_>, now: WallTime) -> Option<WallTime> {
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
