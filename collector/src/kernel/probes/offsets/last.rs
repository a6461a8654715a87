//! Where a cgroup has what is read of it while it is being removed.

use collector_ebpf::Offset;

use crate::kernel::probes::btf::Btf;
use crate::kernel::probes::counters::cpu_time::is_order_known;

/// What each CPU counts of cgroup v2 is in the first of these that the kernel has: since 6.16, and before.
const COUNTERS_OF_CPU: [&str; 2] = ["cgroup_rstat_base_cpu", "cgroup_rstat_cpu"];

/// Looks everything up. What is not there is not read.
pub(super) fn set(btf: &Btf<'_>, set: &mut impl FnMut(Offset, Option<u32>)) {
    let controller = |name| {
        let number = btf.enumerator("cgroup_subsys_id", name)?;
        btf.field_offset("cgroup", &format!("subsys[{number}]"))
    };
    // From the controller's state, which the cgroup points to.
    let in_state = |structure, field| {
        let state = btf.field_offset(structure, "css")?;
        btf.field_offset(structure, field)?.checked_sub(state)
    };
    set(Offset::CgroupMemory, controller("memory_cgrp_id"));
    set(Offset::MemoryPeak, in_state("mem_cgroup", "memory.watermark"));
    set(Offset::CgroupCpuacct, controller("cpuacct_cgrp_id"));
    // Two counters for each CPU before 5.17.
    let has_one_counter = btf.field_offset("cpuacct_usage", "usages").is_none();
    set(Offset::CpuacctUsage, in_state("cpuacct", "cpuusage").filter(|_| has_one_counter && is_order_known(btf)));
    set(Offset::CpuacctStat, in_state("cpuacct", "cpustat"));
    set(Offset::CgroupTime, time(btf, "cgroup", "bstat"));
    let of_cpu = |field| COUNTERS_OF_CPU.iter().find_map(|structure| time(btf, structure, field));
    set(Offset::CpuTime, of_cpu("bstat"));
    set(Offset::CpuTimeAddedUp, of_cpu("last_bstat"));
}

/// `struct task_cputime` within a field of the type `cgroup_base_stat`, if its members are in the order that is read.
fn time(btf: &Btf<'_>, structure: &str, field: &str) -> Option<u32> {
    let member = |name| btf.field_offset(structure, &format!("{field}.cputime.{name}"));
    let first = member("stime")?;
    (member("utime")? == first + 8 && member("sum_exec_runtime")? == first + 16).then_some(first)
}
