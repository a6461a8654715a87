//! Whether a sample repeats another.

use super::container::Sample;

impl Sample {
    /// Whether it is the other in everything but the time.
    pub fn is_same_at_another_time(&self, other: &Self) -> bool {
        let Self {
            at: _,
            cpu,
            memory,
            io,
            processes,
            hugetlb,
            network,
            cpuset_memory_migrate,
            misc,
            tasks,
            referenced,
            resctrl,
            perf,
            perf_uncore,
            oom_kills,
            unread,
        } = self;
        // What changes most often first.
        *cpu == other.cpu
            && *memory == other.memory
            && *io == other.io
            && *network == other.network
            && *processes == other.processes
            && *oom_kills == other.oom_kills
            && *unread == other.unread
            && *hugetlb == other.hugetlb
            && *cpuset_memory_migrate == other.cpuset_memory_migrate
            && *misc == other.misc
            && *tasks == other.tasks
            && *referenced == other.referenced
            && *resctrl == other.resctrl
            && *perf == other.perf
            && *perf_uncore == other.perf_uncore
    }
}
