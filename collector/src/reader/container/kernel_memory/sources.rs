//! The fields of the kernel's that statistics are taken from, by the names of the statistics.

use super::{Counted, KernelMemory};
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::counters::plan::Stalled;
use crate::sample::statistic::Statistic;

/// Each statistic with its family and field, as on cgroup v1. What is a line of `memory.stat` is in arrays of `memcg_vmstats`.
const FIELDS: [(&str, CounterFamily, &str); 35] = [
    ("cpu.usage.total", CounterFamily::CpuTime, "cpuacct.cpuusage of every CPU"),
    ("cpu.usage.per_cpu", CounterFamily::CpuTime, "cpuacct.cpuusage of every CPU"),
    ("cpu.usage.user", CounterFamily::CpuTime, "cpuacct.cpustat of every CPU, cgroup.prev_cputime"),
    ("cpu.usage.system", CounterFamily::CpuTime, "cpuacct.cpustat of every CPU, cgroup.prev_cputime"),
    ("cpu.usage.total", CounterFamily::Cgroup, "cgroup.bstat.cputime.sum_exec_runtime"),
    ("cpu.usage.user", CounterFamily::Cgroup, "cgroup.bstat.cputime, cgroup.prev_cputime"),
    ("cpu.usage.system", CounterFamily::Cgroup, "cgroup.bstat.cputime, cgroup.prev_cputime"),
    ("cpu.cfs.periods", CounterFamily::Bandwidth, "task_group.cfs_bandwidth.nr_periods"),
    ("cpu.cfs.throttled_periods", CounterFamily::Bandwidth, "task_group.cfs_bandwidth.nr_throttled"),
    ("cpu.cfs.throttled_time", CounterFamily::Bandwidth, "task_group.cfs_bandwidth.throttled_time"),
    ("cpu.cfs.burst_periods", CounterFamily::Bandwidth, "task_group.cfs_bandwidth.nr_burst"),
    ("cpu.cfs.burst_time", CounterFamily::Bandwidth, "task_group.cfs_bandwidth.burst_time"),
    ("memory.usage", CounterFamily::Memory, "mem_cgroup.memory.usage"),
    ("memory.max_usage", CounterFamily::Memory, "mem_cgroup.memory.watermark"),
    ("memory.failcnt", CounterFamily::Memory, "mem_cgroup.memory.failcnt"),
    ("memory.kernel", CounterFamily::Memory, "mem_cgroup.kmem.usage"),
    ("memory.cache", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.rss", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.swap", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.mapped_file", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.working_set", CounterFamily::Memory, "mem_cgroup.memory.usage, memcg_vmstats"),
    ("memory.active_file", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.inactive_file", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.own_faults.pgfault", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.own_faults.pgmajfault", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.hierarchical_faults.pgfault", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.hierarchical_faults.pgmajfault", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.stat", CounterFamily::Memory, "memcg_vmstats, mem_cgroup.memory.max and memsw.max up to the root"),
    ("memory.file_dirty", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.file_writeback", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.workingset_refault_file", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.workingset_refault_anon", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.pgscan", CounterFamily::Memory, "memcg_vmstats"),
    ("memory.pgsteal", CounterFamily::Memory, "memcg_vmstats"),
    ("processes.threads", CounterFamily::Pids, "pids_cgroup.counter"),
];

/// Those of memory that differ on cgroup v2, which count there before the ones above.
const OF_V2: [(&str, &str); 14] = [
    ("memory.swap", "mem_cgroup.swap.usage"),
    ("memory.kernel", "memcg_vmstats"),
    ("memory.stat", "memcg_vmstats"),
    ("memory.events.low", "mem_cgroup.memory_events"),
    ("memory.events.high", "mem_cgroup.memory_events"),
    ("memory.events.max", "mem_cgroup.memory_events"),
    ("memory.events.oom", "mem_cgroup.memory_events"),
    ("memory.events.oom_kill", "mem_cgroup.memory_events"),
    ("memory.events.oom_group_kill", "mem_cgroup.memory_events"),
    ("memory.zswap.usage", "memcg_vmstats"),
    ("memory.zswap.stored", "memcg_vmstats"),
    ("memory.zswap.pages_in", "memcg_vmstats"),
    ("memory.zswap.pages_out", "memcg_vmstats"),
    ("memory.zswap.pages_written_back", "memcg_vmstats"),
];

/// Pressure, which all three files have of one structure.
const PRESSURE: [(&str, Stalled); 6] = [
    ("cpu.pressure.some", Stalled::Cpu),
    ("cpu.pressure.full", Stalled::Cpu),
    ("memory.pressure.some", Stalled::Memory),
    ("memory.pressure.full", Stalled::Memory),
    ("io.pressure.some", Stalled::Io),
    ("io.pressure.full", Stalled::Io),
];

impl KernelMemory {
    /// The field that a statistic was taken from; `None` for one of a file.
    pub(in crate::reader::container) fn field(&self, statistic: &Statistic, counted: &Counted) -> Option<&'static str> {
        let was_read = |family: CounterFamily| {
            // Without certainty about every line memory is read from files.
            let is_certain = family != CounterFamily::Memory || self.stat().is_some();
            let is_read = match family {
                CounterFamily::Cgroup => self.unified_time(counted).is_some(),
                _ => self.words(counted, family).is_some(),
            };
            is_read && is_certain
        };
        statistic.value.as_ref()?;
        let of_v2 = OF_V2.iter().find(|(name, _)| *name == statistic.name && self.is_memory_of_v2());
        if let Some((_, field)) = of_v2 {
            return was_read(CounterFamily::Memory).then_some(*field);
        }
        if let Some((_, stalled)) = PRESSURE.iter().find(|(name, _)| *name == statistic.name) {
            return self.counted_pressure(counted, *stalled).map(|_| "psi_group.total, psi_group.avg");
        }
        let found = FIELDS.iter().find(|(name, family, _)| *name == statistic.name && was_read(*family));
        found.map(|(.., field)| *field)
    }
}
