//! What is read at the moment somebody asks and is no part of a container's history.

use crate::units::Nanos;

/// Beside a sample that was taken just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The machine's CPU time; absent when `/proc/stat` cannot be read.
    pub machine: Option<MachineCpu>,
    /// Threads of the container and everything below it: `pids.current`, v1 since 4.3 and v2 since 4.5; absent without
    /// the pids controller. Samples have it only where the kind `process` is switched on.
    pub tasks: Option<u64>,
}

/// How much time the machine's CPUs have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineCpu {
    /// All CPUs together, busy or idle: the first seven numbers of the line `cpu` in `/proc/stat`, which are user, nice,
    /// system, idle, iowait, irq and softirq. Time stolen by a hypervisor is not in it. Absent when that line was not
    /// understood.
    pub total: Option<Nanos>,
    /// CPUs that are switched on: lines `cpuN`.
    pub online: u32,
}
