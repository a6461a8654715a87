//! What the machine as a whole offers: pressure, inotify, clocks.

use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::file::{self, ReadBuffer};
use crate::kernel::machine::identity::kernel_release;
use crate::kernel::text_formats::unsigned;

/// Pressure stall information (since 4.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// `/proc/pressure/cpu`.
    pub state: PressureState,
    /// What the kernel's configuration says, where `/boot` has it.
    pub built_in: BuiltIn,
}

/// Whether the kernel measures pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PressureState {
    /// It does.
    On,
    /// It does not; older kernels have the file then, newer ones do not.
    Off,
    /// The file is there and may not be read.
    Denied,
}

/// What `/boot/config-<release>` says about an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// `=y`.
    Yes,
    /// Not set.
    No,
    /// The file is not there.
    Unknown,
}

/// Limits of inotify per user; `None` where they cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InotifyLimits {
    /// `fs.inotify.max_user_watches`.
    pub watches: Option<u64>,
    /// `fs.inotify.max_user_instances`.
    pub instances: Option<u64>,
}

/// Clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970 by the wall clock.
    pub wall_seconds: i64,
    /// By how many seconds a time namespace (since 5.6) shifts the time since boot.
    pub boot_shift: i64,
}

/// Reads `/proc/pressure/cpu`.
pub(super) fn pressure(roots: &HostRoots) -> Pressure {
    let mut buffer = ReadBuffer::new();
    let state = match file::read(&roots.proc.join("pressure/cpu"), &mut buffer) {
        Ok(_) => PressureState::On,
        Err(ReadError::Denied(_)) => PressureState::Denied,
        Err(_) => PressureState::Off,
    };
    let config = std::fs::read(roots.rootfs.join(format!("boot/config-{}", kernel_release())));
    let built_in = match config {
        Ok(text) if text.split(|byte| *byte == b'\n').any(|line| line == b"CONFIG_PSI=y") => BuiltIn::Yes,
        Ok(_) => BuiltIn::No,
        Err(_) => BuiltIn::Unknown,
    };
    Pressure { state, built_in }
}

/// Reads the limits.
pub(super) fn inotify_limits(roots: &HostRoots) -> InotifyLimits {
    let limit = |name: &str| {
        let mut buffer = ReadBuffer::new();
        let text = file::read(&roots.proc.join("sys/fs/inotify").join(name), &mut buffer).ok()?;
        unsigned(text).ok()
    };
    InotifyLimits { watches: limit("max_user_watches"), instances: limit("max_user_instances") }
}

/// Reads the clocks.
pub(super) fn clock() -> Clock {
    // This process' own namespace, whichever procfs the host's files are read from.
    let offsets = std::fs::read_to_string(Path::new("/proc/self/timens_offsets")).unwrap_or_default();
    Clock { wall_seconds: clock_gettime(ClockId::Realtime).tv_sec, boot_shift: boot_shift(&offsets) }
}

/// `timens_offsets`: a row of name, seconds and nanoseconds for each clock. 0 where the kernel has no time namespaces.
fn boot_shift(offsets: &str) -> i64 {
    let row = offsets.lines().find_map(|line| line.strip_prefix("boottime"));
    row.and_then(|row| row.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_of_time_namespaces() {
        assert_eq!(boot_shift("monotonic           0         0\nboottime        -3600         0\n"), -3600);
        assert_eq!(boot_shift("monotonic 1 0\n"), 0);
        assert_eq!(boot_shift("boottime x"), 0);
    }

    #[test]
    fn limits_and_pressure_come_from_the_hosts_procfs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let roots = HostRoots { proc: path.join("proc"), rootfs: path.into(), ..HostRoots::default() };
        assert_eq!(inotify_limits(&roots), InotifyLimits { watches: None, instances: None });
        assert_eq!(pressure(&roots), Pressure { state: PressureState::Off, built_in: BuiltIn::Unknown });
        let write = |name: String, text: &str| {
            let place = path.join(name);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, text).unwrap();
        };
        write("proc/sys/fs/inotify/max_user_watches".into(), "100\n");
        write("proc/pressure/cpu".into(), "some avg10=0.00\n");
        write(format!("boot/config-{}", kernel_release()), "# CONFIG_X is not set\nCONFIG_PSI=y\n");
        assert_eq!(inotify_limits(&roots), InotifyLimits { watches: Some(100), instances: None });
        assert_eq!(pressure(&roots), Pressure { state: PressureState::On, built_in: BuiltIn::Yes });
    }
}
