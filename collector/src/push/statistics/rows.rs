//! The rows, in the order of `collector statistics`. Those of one metric of OTLP follow each other.

use super::Kind::{Counter, Gauge, UpDownCounter};
use super::Number::{Count, Nanos};
use super::Row;
use super::read::{
    Optional, available, averages, by_node, caches, cfs, connections, cpu, cpu_mask, cpu_pressure, cpu_spec, created,
    datagrams, device, devices, each, events, filesystem_capacity, filesystem_usage, interfaces, io_pressure, limit,
    load, maybe, memory, memory_limit, memory_pressure, memory_spec, memory_stat, micros, millis, minor_faults,
    misc_current, network, nodes, oom_kills, open_files, own, pages, per_cpu, perf_core, perf_uncore, process_limit,
    processes, read, resources, schedstat, shares, sockets, stalled, stat, swap_limit, tasks, tcp_advanced, traffic,
    zswap,
};

const USER: &[(&str, &str)] = &[("cpu.mode", "user")];
const SYSTEM: &[(&str, &str)] = &[("cpu.mode", "system")];
const SOME: &[(&str, &str)] = &[("pressure.type", "some")];
const FULL: &[(&str, &str)] = &[("pressure.type", "full")];
const MAJOR: &[(&str, &str)] = &[("system.paging.fault.type", "major")];
const MINOR: &[(&str, &str)] = &[("system.paging.fault.type", "minor")];
const RECEIVE: &[(&str, &str)] = &[("network.io.direction", "receive")];
const TRANSMIT: &[(&str, &str)] = &[("network.io.direction", "transmit")];
const TCP4: &[(&str, &str)] = &[("network.transport", "tcp"), ("network.type", "ipv4")];
const TCP6: &[(&str, &str)] = &[("network.transport", "tcp"), ("network.type", "ipv6")];
const UDP4: &[(&str, &str)] = &[("network.transport", "udp"), ("network.type", "ipv4")];
const UDP6: &[(&str, &str)] = &[("network.transport", "udp"), ("network.type", "ipv6")];
const FILE: &[(&str, &str)] = &[("memory.type", "file")];
const ANON: &[(&str, &str)] = &[("memory.type", "anon")];
const UNEVICTABLE: &[(&str, &str)] = &[("memory.type", "unevictable")];
// cAdvisor's tags.
const PGFAULT_OWN: &[(&str, &str)] = &[("failure_type", "pgfault"), ("scope", "container")];
const PGMAJFAULT_OWN: &[(&str, &str)] = &[("failure_type", "pgmajfault"), ("scope", "container")];
const PGFAULT_ALL: &[(&str, &str)] = &[("failure_type", "pgfault"), ("scope", "hierarchical")];
const PGMAJFAULT_ALL: &[(&str, &str)] = &[("failure_type", "pgmajfault"), ("scope", "hierarchical")];
const USAGE: &[(&str, &str)] = &[("type", "usage")];
const LIMIT: &[(&str, &str)] = &[("type", "limit")];

/// Every row.
#[rustfmt::skip]
pub(in crate::push) const ROWS: &[Row] = &[
    Row::new(Counter, ["cpu.usage.total", "container.cpu.time", "s"], ["container_cpu_usage_seconds_total", "cpu_usage_total", "cpu.usage.total"], read!(CpuTotal, cpu => total)).statsd("cpu_cumulative_usage"),
    Row::new(Counter, ["cpu.usage.per_cpu", "container.cpu.logical.time", "s"], ["container_cpu_usage_seconds_total", "cpu_usage_per_cpu", "cpu.usage.per_cpu_usage"], per_cpu).detail(),
    Row::new(Counter, ["cpu.usage.user", "container.cpu.mode.time", "s"], ["container_cpu_user_seconds_total", "cpu_usage_user", "cpu.usage.user"], maybe!(cpu => user)).attributes(USER).statsd("cpu_usage_user"),
    Row::new(Counter, ["cpu.usage.system", "container.cpu.mode.time", "s"], ["container_cpu_system_seconds_total", "cpu_usage_system", "cpu.usage.system"], maybe!(cpu => system)).attributes(SYSTEM).statsd("cpu_usage_system"),
    Row::new(Counter, ["cpu.cfs.periods", "container.cpu.throttling.periods", "{period}"], ["container_cpu_cfs_periods_total", "cpu_cfs_periods", "cpu.cfs.periods"], maybe!(cfs => periods)),
    Row::new(Counter, ["cpu.cfs.throttled_periods", "container.cpu.throttling.throttled_periods", "{period}"], ["container_cpu_cfs_throttled_periods_total", "cpu_cfs_throttled_periods", "cpu.cfs.throttled_periods"], maybe!(cfs => throttled_periods)),
    Row::new(Counter, ["cpu.cfs.throttled_time", "container.cpu.throttling.time", "s"], ["container_cpu_cfs_throttled_seconds_total", "cpu_cfs_throttled_time", "cpu.cfs.throttled_time"], maybe!(cfs => throttled_time)),
    Row::new(Counter, ["cpu.cfs.burst_periods", "container.cpu.burst.periods", "{period}"], ["container_cpu_cfs_burst_periods_total", "cpu_cfs_burst_periods", "cpu.cfs.bursts_periods"], maybe!(cfs => burst_periods)),
    Row::new(Counter, ["cpu.cfs.burst_time", "container.cpu.burst.time", "s"], ["container_cpu_cfs_burst_seconds_total", "cpu_cfs_burst_time", "cpu.cfs.burst_time"], maybe!(cfs => burst_time)),
    Row::new(Counter, ["cpu.pressure.some", "container.cpu.pressure.time", "s"], ["container_pressure_cpu_waiting_seconds_total", "cpu_pressure_some", "cpu.psi.some.total"], stalled!(cpu_pressure, some)).attributes(SOME),
    Row::new(Counter, ["cpu.pressure.full", "container.cpu.pressure.time", "s"], ["container_pressure_cpu_stalled_seconds_total", "cpu_pressure_full", "cpu.psi.full.total"], stalled!(cpu_pressure, full)).attributes(FULL),
    Row::new(Gauge, ["cpu.pressure.some", "container.cpu.pressure.average", "1"], ["", "cpu_pressure_some_average", "cpu.psi.some.avg10"], averages!(cpu_pressure, some)).attributes(SOME).detail(),
    Row::new(Gauge, ["cpu.pressure.full", "container.cpu.pressure.average", "1"], ["", "cpu_pressure_full_average", "cpu.psi.full.avg10"], averages!(cpu_pressure, full)).attributes(FULL).detail(),
    Row::new(Counter, ["cpu.schedstat.run_time", "container.cpu.schedule.run.time", "s"], ["container_cpu_schedstat_run_seconds_total", "cpu_schedstat_run_time", "cpu.schedstat.run_time"], read!(Schedstat, schedstat => run_time)),
    Row::new(Counter, ["cpu.schedstat.runqueue_time", "container.cpu.schedule.wait.time", "s"], ["container_cpu_schedstat_runqueue_seconds_total", "cpu_schedstat_runqueue_time", "cpu.schedstat.runqueue_time"], read!(Schedstat, schedstat => runqueue_time)),
    Row::new(Counter, ["cpu.schedstat.run_periods", "container.cpu.schedule.run.count", "{run}"], ["container_cpu_schedstat_run_periods_total", "cpu_schedstat_run_periods", "cpu.schedstat.run_periods"], read!(Schedstat, schedstat => run_periods)),
    Row::new(Gauge, ["cpu.load.running_milli", "container.cpu.load.running", "m{task}"], ["container_cpu_load_average_10s", "load_average", "cpu.load_average"], read!(Tasks, load => running_milli)).statsd("cpu_load_average"),
    Row::new(Gauge, ["cpu.load.uninterruptible_milli", "container.cpu.load.uninterruptible", "m{task}"], ["container_cpu_load_d_average_10s", "load_d_average", "cpu.load_d_average"], read!(Tasks, load => uninterruptible_milli)),
    Row::new(UpDownCounter, ["tasks.sleeping", "container.task.count", "{task}"], ["container_tasks_state", "tasks_sleeping", "task_stats.nr_sleeping"], read!(Tasks, tasks => sleeping)).attributes(&[("process.state", "sleeping")]),
    Row::new(UpDownCounter, ["tasks.running", "container.task.count", "{task}"], ["container_tasks_state", "tasks_running", "task_stats.nr_running"], read!(Tasks, tasks => running)).attributes(&[("process.state", "running")]),
    Row::new(UpDownCounter, ["tasks.stopped", "container.task.count", "{task}"], ["container_tasks_state", "tasks_stopped", "task_stats.nr_stopped"], read!(Tasks, tasks => stopped)).attributes(&[("process.state", "stopped")]),
    Row::new(UpDownCounter, ["tasks.uninterruptible", "container.task.count", "{task}"], ["container_tasks_state", "tasks_uninterruptible", "task_stats.nr_uninterruptible"], read!(Tasks, tasks => uninterruptible)).attributes(&[("process.state", "uninterruptible")]),
    Row::new(UpDownCounter, ["tasks.io_wait", "container.task.count", "{task}"], ["container_tasks_state", "tasks_io_wait", "task_stats.nr_io_wait"], read!(Tasks, tasks => io_wait)).attributes(&[("process.state", "io_wait")]),
    Row::new(Gauge, ["cpuset.memory_migrate", "container.cpuset.memory_migrate", "1"], ["container_memory_migrate", "memory_migrate", "cpuset.memory_migrate"], own!(cpuset_memory_migrate)),
    Row::new(UpDownCounter, ["memory.usage", "container.memory.usage", "By"], ["container_memory_usage_bytes", "memory_usage", "memory.usage"], read!(MemoryUsage, memory => usage)).statsd("memory_usage"),
    Row::new(Gauge, ["memory.max_usage", "container.memory.usage.max", "By"], ["container_memory_max_usage_bytes", "memory_max_usage", "memory.max_usage"], maybe!(memory => max_usage)),
    Row::new(UpDownCounter, ["memory.cache", "container.memory.cache", "By"], ["container_memory_cache", "memory_cache", "memory.cache"], read!(Cache, memory => cache)),
    Row::new(UpDownCounter, ["memory.rss", "container.memory.rss", "By"], ["container_memory_rss", "memory_rss", "memory.rss"], read!(Rss, memory => rss)).statsd("memory_rss"),
    Row::new(UpDownCounter, ["memory.swap", "container.memory.swap.usage", "By"], ["container_memory_swap", "memory_swap", "memory.swap"], maybe!(memory => swap)),
    Row::new(UpDownCounter, ["memory.mapped_file", "container.memory.mapped_file", "By"], ["container_memory_mapped_file", "memory_mapped_file", "memory.mapped_file"], read!(MappedFile, memory => mapped_file)).statsd("memory_mapped_file"),
    Row::new(UpDownCounter, ["memory.working_set", "container.memory.working_set", "By"], ["container_memory_working_set_bytes", "memory_working_set", "memory.working_set"], read!(WorkingSet, memory => working_set)).statsd("memory_working_set"),
    Row::new(UpDownCounter, ["", "container.memory.available", "By"], ["", "memory_available", ""], available),
    Row::new(UpDownCounter, ["memory.active_file", "container.memory.active_file", "By"], ["container_memory_total_active_file_bytes", "memory_active_file", "memory.total_active_file"], maybe!(memory => active_file)),
    Row::new(UpDownCounter, ["memory.inactive_file", "container.memory.inactive_file", "By"], ["container_memory_total_inactive_file_bytes", "memory_inactive_file", "memory.total_inactive_file"], maybe!(memory => inactive_file)),
    Row::new(Counter, ["memory.failcnt", "container.memory.limit_hits", "{hit}"], ["container_memory_failcnt", "memory_failcnt", "memory.failcnt"], maybe!(memory => failcnt)),
    Row::new(UpDownCounter, ["memory.kernel", "container.memory.kernel", "By"], ["container_memory_kernel_usage", "memory_kernel", "memory.kernel"], maybe!(memory => kernel)),
    Row::new(UpDownCounter, ["memory.zswap.usage", "container.memory.zswap.usage", "By"], ["container_memory_zswap_bytes", "memory_zswap_usage", "zswap.usage"], maybe!(zswap => usage)),
    Row::new(UpDownCounter, ["memory.zswap.stored", "container.memory.zswap.stored", "By"], ["container_memory_zswapped_bytes", "memory_zswap_stored", "zswap.stored"], maybe!(zswap => stored)),
    Row::new(Counter, ["memory.zswap.pages_in", "container.memory.zswap.operations", "{page}"], ["container_memory_zswap_pages_total", "memory_zswap_pages_in", "zswap.pages_in"], maybe!(zswap => pages_in)).attributes(&[("zswap.operation", "in")]),
    Row::new(Counter, ["memory.zswap.pages_out", "container.memory.zswap.operations", "{page}"], ["container_memory_zswap_pages_total", "memory_zswap_pages_out", "zswap.pages_out"], maybe!(zswap => pages_out)).attributes(&[("zswap.operation", "out")]),
    Row::new(Counter, ["memory.zswap.pages_written_back", "container.memory.zswap.operations", "{page}"], ["container_memory_zswap_pages_total", "memory_zswap_pages_written_back", "zswap.pages_written_back"], maybe!(zswap => pages_written_back)).attributes(&[("zswap.operation", "writeback")]),
    Row::new(Counter, ["memory.own_faults.pgfault", "container.paging.own_faults", "{fault}"], ["container_memory_failures_total", "memory_failure", "memory.container_data.pgfault"], read!(OwnFaults, memory => own_faults.pgfault)).attributes(&[("system.paging.fault.type", "all")]).tags(PGFAULT_OWN),
    Row::new(Counter, ["memory.own_faults.pgmajfault", "container.paging.own_faults", "{fault}"], ["container_memory_failures_total", "memory_failure", "memory.container_data.pgmajfault"], read!(OwnMajorFaults, memory => own_faults.pgmajfault)).attributes(MAJOR).tags(PGMAJFAULT_OWN),
    Row::new(Counter, ["memory.hierarchical_faults.pgmajfault", "container.paging.faults", "{fault}"], ["container_memory_failures_total", "memory_failure", "memory.hierarchical_data.pgmajfault"], read!(AllMajorFaults, memory => hierarchical_faults.pgmajfault)).attributes(MAJOR).tags(PGMAJFAULT_ALL),
    Row::new(Counter, ["memory.hierarchical_faults.pgfault", "container.paging.faults", "{fault}"], ["container_memory_failures_total", "", "memory.hierarchical_data.pgfault"], minor_faults).attributes(MINOR),
    Row::new(Counter, ["memory.hierarchical_faults.pgfault", "", "{fault}"], ["container_memory_failures_total", "memory_failure", "memory.hierarchical_data.pgfault"], read!(AllFaults, memory => hierarchical_faults.pgfault)).tags(PGFAULT_ALL),
    Row::new(Counter, ["memory.events.low", "container.memory.events", "{event}"], ["", "memory_events_low", ""], maybe!(events => low)).attributes(&[("memory.event", "low")]),
    Row::new(Counter, ["memory.events.high", "container.memory.events", "{event}"], ["container_memory_events_high_total", "memory_events_high", "memory.events.high"], maybe!(events => high)).attributes(&[("memory.event", "high")]),
    Row::new(Counter, ["memory.events.max", "container.memory.events", "{event}"], ["container_memory_events_max_total", "memory_events_max", "memory.events.max"], maybe!(events => max)).attributes(&[("memory.event", "max")]),
    Row::new(Counter, ["memory.events.oom", "container.memory.events", "{event}"], ["", "memory_events_oom", ""], maybe!(events => oom)).attributes(&[("memory.event", "oom")]),
    Row::new(Counter, ["memory.events.oom_kill", "container.memory.events", "{event}"], ["", "memory_events_oom_kill", ""], maybe!(events => oom_kill)).attributes(&[("memory.event", "oom_kill")]),
    Row::new(Counter, ["memory.events.oom_group_kill", "container.memory.events", "{event}"], ["", "memory_events_oom_group_kill", ""], maybe!(events => oom_group_kill)).attributes(&[("memory.event", "oom_group_kill")]),
    Row::new(Counter, ["memory.pressure.some", "container.memory.pressure.time", "s"], ["container_pressure_memory_waiting_seconds_total", "memory_pressure_some", "memory.psi.some.total"], stalled!(memory_pressure, some)).attributes(SOME),
    Row::new(Counter, ["memory.pressure.full", "container.memory.pressure.time", "s"], ["container_pressure_memory_stalled_seconds_total", "memory_pressure_full", "memory.psi.full.total"], stalled!(memory_pressure, full)).attributes(FULL),
    Row::new(Gauge, ["memory.pressure.some", "container.memory.pressure.average", "1"], ["", "memory_pressure_some_average", "memory.psi.some.avg10"], averages!(memory_pressure, some)).attributes(SOME).detail(),
    Row::new(Gauge, ["memory.pressure.full", "container.memory.pressure.average", "1"], ["", "memory_pressure_full_average", "memory.psi.full.avg10"], averages!(memory_pressure, full)).attributes(FULL).detail(),
    Row::new(Gauge, ["memory.stat", "container.memory.stat", "1"], ["", "memory_stat", ""], memory_stat).detail(),
    Row::new(UpDownCounter, ["memory.file_dirty", "container.memory.file_dirty", "By"], ["container_memory_file_dirty_bytes", "memory_file_dirty", "memory.file_dirty"], maybe!(stat => file_dirty)),
    Row::new(UpDownCounter, ["memory.file_writeback", "container.memory.file_writeback", "By"], ["container_memory_file_writeback_bytes", "memory_file_writeback", "memory.file_writeback"], maybe!(stat => file_writeback)),
    Row::new(Counter, ["memory.pgscan", "container.memory.reclaim.scanned", "{page}"], ["container_memory_pgscan_total", "memory_pgscan", "memory.pgscan"], maybe!(stat => pgscan)),
    Row::new(Counter, ["memory.pgsteal", "container.memory.reclaim.reclaimed", "{page}"], ["container_memory_pgsteal_total", "memory_pgsteal", "memory.pgsteal"], maybe!(stat => pgsteal)),
    Row::new(Counter, ["memory.workingset_refault_file", "container.memory.refaults", "{page}"], ["container_memory_workingset_refault_file_total", "memory_workingset_refault_file", "memory.workingset_refault_file"], maybe!(stat => workingset_refault_file)).attributes(FILE),
    Row::new(Counter, ["memory.workingset_refault_anon", "container.memory.refaults", "{page}"], ["container_memory_workingset_refault_anon_total", "memory_workingset_refault_anon", "memory.workingset_refault_anon"], maybe!(stat => workingset_refault_anon)).attributes(ANON),
    Row::new(UpDownCounter, ["memory.numa.own.file", "container.memory.numa.own_pages", "{page}"], ["container_memory_numa_pages", "memory_numa_own_file", "memory.container_data.numa_stats.file"], nodes!(own, file)).attributes(FILE).detail(),
    Row::new(UpDownCounter, ["memory.numa.own.anon", "container.memory.numa.own_pages", "{page}"], ["container_memory_numa_pages", "memory_numa_own_anon", "memory.container_data.numa_stats.anon"], nodes!(own, anon)).attributes(ANON).detail(),
    Row::new(UpDownCounter, ["memory.numa.own.unevictable", "container.memory.numa.own_pages", "{page}"], ["container_memory_numa_pages", "memory_numa_own_unevictable", "memory.container_data.numa_stats.unevictable"], nodes!(own, unevictable)).attributes(UNEVICTABLE).detail(),
    Row::new(UpDownCounter, ["memory.numa.hierarchical.file", "container.memory.numa.pages", "{page}"], ["container_memory_numa_pages", "memory_numa_file", "memory.hierarchical_data.numa_stats.file"], nodes!(hierarchical, file)).attributes(FILE).detail(),
    Row::new(UpDownCounter, ["memory.numa.hierarchical.anon", "container.memory.numa.pages", "{page}"], ["container_memory_numa_pages", "memory_numa_anon", "memory.hierarchical_data.numa_stats.anon"], nodes!(hierarchical, anon)).attributes(ANON).detail(),
    Row::new(UpDownCounter, ["memory.numa.hierarchical.unevictable", "container.memory.numa.pages", "{page}"], ["container_memory_numa_pages", "memory_numa_unevictable", "memory.hierarchical_data.numa_stats.unevictable"], nodes!(hierarchical, unevictable)).attributes(UNEVICTABLE).detail(),
    Row::new(Counter, ["oom_kills", "container.memory.oom_kills", "{kill}"], ["container_oom_events_total", "oom_events", "oom_events"], oom_kills!()),
    Row::new(UpDownCounter, ["hugetlb.usage", "container.hugetlb.usage", "By"], ["container_hugetlb_usage_bytes", "hugetlb_usage", "hugetlb.usage"], each!(pages => usage)),
    Row::new(Gauge, ["hugetlb.max_usage", "container.hugetlb.usage.max", "By"], ["container_hugetlb_max_usage_bytes", "hugetlb_max_usage", "hugetlb.max_usage"], each!(pages => max_usage)),
    Row::new(Counter, ["hugetlb.failcnt", "container.hugetlb.limit_hits", "{hit}"], ["container_hugetlb_failcnt", "hugetlb_failcnt", "hugetlb.failcnt"], each!(pages => failcnt)),
    Row::new(Counter, ["io.service_bytes", "container.disk.io", "By"], ["container_fs_reads_bytes_total", "io_service_bytes", "diskio.io_service_bytes"], device!(ServiceBytes, Count)),
    Row::new(Counter, ["io.serviced", "container.disk.operations", "{operation}"], ["container_fs_reads_total", "io_serviced", "diskio.io_serviced"], device!(Serviced, Count)),
    Row::new(UpDownCounter, ["io.queued", "container.disk.queued", "{operation}"], ["container_fs_io_current", "io_queued", "diskio.io_queued"], device!(Queued, Count)),
    Row::new(Counter, ["io.sectors", "container.disk.sectors", "{sector}"], ["container_fs_sector_reads_total", "io_sectors", "diskio.sectors"], device!(Sectors, Count)),
    Row::new(Counter, ["io.service_time", "container.disk.service.time", "s"], ["container_fs_read_seconds_total", "io_service_time", "diskio.io_service_time"], device!(ServiceTime, Nanos)),
    Row::new(Counter, ["io.wait_time", "container.disk.wait.time", "s"], ["container_fs_io_time_weighted_seconds_total", "io_wait_time", "diskio.io_wait_time"], device!(WaitTime, Nanos)),
    Row::new(Counter, ["io.merged", "container.disk.merged", "{operation}"], ["container_fs_reads_merged_total", "io_merged", "diskio.io_merged"], device!(Merged, Count)),
    Row::new(Counter, ["io.time", "container.disk.io.time", "s"], ["container_fs_io_time_seconds_total", "io_time", "diskio.io_time"], device!(Time, millis)),
    Row::new(Counter, ["io.cost.usage", "container.disk.cost.usage", "s"], ["container_fs_io_cost_usage_seconds_total", "io_cost_usage", "diskio.io_cost_usage"], device!(CostUsage, micros)),
    Row::new(Counter, ["io.cost.wait", "container.disk.cost.wait", "s"], ["container_fs_io_cost_wait_seconds_total", "io_cost_wait", "diskio.io_cost_wait"], device!(CostWait, micros)),
    Row::new(Counter, ["io.cost.indebt", "container.disk.cost.indebt", "s"], ["container_fs_io_cost_indebt_seconds_total", "io_cost_indebt", "diskio.io_cost_indebt"], device!(CostIndebt, micros)),
    Row::new(Counter, ["io.cost.indelay", "container.disk.cost.indelay", "s"], ["container_fs_io_cost_indelay_seconds_total", "io_cost_indelay", "diskio.io_cost_indelay"], device!(CostIndelay, micros)),
    Row::new(Counter, ["io.pressure.some", "container.disk.pressure.time", "s"], ["container_pressure_io_waiting_seconds_total", "io_pressure_some", "diskio.psi.some.total"], stalled!(io_pressure, some)).attributes(SOME),
    Row::new(Counter, ["io.pressure.full", "container.disk.pressure.time", "s"], ["container_pressure_io_stalled_seconds_total", "io_pressure_full", "diskio.psi.full.total"], stalled!(io_pressure, full)).attributes(FULL),
    Row::new(Gauge, ["io.pressure.some", "container.disk.pressure.average", "1"], ["", "io_pressure_some_average", "diskio.psi.some.avg10"], averages!(io_pressure, some)).attributes(SOME).detail(),
    Row::new(Gauge, ["io.pressure.full", "container.disk.pressure.average", "1"], ["", "io_pressure_full_average", "diskio.psi.full.avg10"], averages!(io_pressure, full)).attributes(FULL).detail(),
    Row::new(UpDownCounter, ["misc.current", "container.misc.usage", "1"], ["container_misc_usage", "misc_current", "misc.current"], misc_current),
    Row::new(UpDownCounter, ["misc.max", "container.misc.limit", "1"], ["container_misc_limit", "misc_max", "misc.max"], each!(resources => max)),
    Row::new(Gauge, ["misc.peak", "container.misc.usage.max", "1"], ["container_misc_peak", "misc_peak", "misc.peak"], each!(resources => peak)),
    Row::new(Counter, ["misc.limit_hits", "container.misc.limit_hits", "{hit}"], ["container_misc_limit_hits_total", "misc_limit_hits", "misc.limit_hits"], each!(resources => limit_hits)),
    Row::new(UpDownCounter, ["processes.count", "container.process.count", "{process}"], ["container_processes", "processes", "processes.process_count"], maybe!(processes => count)),
    Row::new(UpDownCounter, ["processes.descriptors", "container.file_descriptor.count", "{file_descriptor}"], ["container_file_descriptors", "file_descriptors", "processes.fd_count"], maybe!(processes => descriptors)),
    Row::new(UpDownCounter, ["processes.sockets", "container.socket.count", "{socket}"], ["container_sockets", "sockets", "processes.socket_count"], maybe!(processes => sockets)),
    Row::new(UpDownCounter, ["processes.threads", "container.thread.count", "{thread}"], ["container_threads", "threads", "processes.threads_current"], maybe!(processes => threads)),
    Row::new(UpDownCounter, ["processes.threads_max", "container.thread.limit", "{thread}"], ["container_threads_max", "threads_max", "processes.threads_max"], maybe!(processes => threads_max)),
    Row::new(Gauge, ["processes.max_open_files", "container.file_descriptor.limit", "{file_descriptor}"], ["container_ulimits_soft", "max_open_files", "processes.ulimits.soft_limit"], open_files),
    Row::new(Counter, ["network.rx_bytes", "container.network.io", "By"], ["container_network_receive_bytes_total", "rx_bytes", "network.rx_bytes"], traffic!(receive, bytes)).attributes(RECEIVE).statsd("rx_bytes"),
    Row::new(Counter, ["network.tx_bytes", "container.network.io", "By"], ["container_network_transmit_bytes_total", "tx_bytes", "network.tx_bytes"], traffic!(transmit, bytes)).attributes(TRANSMIT).statsd("tx_bytes"),
    Row::new(Counter, ["network.rx_packets", "container.network.packets", "{packet}"], ["container_network_receive_packets_total", "rx_packets", "network.rx_packets"], traffic!(receive, packets)).attributes(RECEIVE),
    Row::new(Counter, ["network.tx_packets", "container.network.packets", "{packet}"], ["container_network_transmit_packets_total", "tx_packets", "network.tx_packets"], traffic!(transmit, packets)).attributes(TRANSMIT),
    Row::new(Counter, ["network.rx_errors", "container.network.errors", "{error}"], ["container_network_receive_errors_total", "rx_errors", "network.rx_errors"], traffic!(receive, errors)).attributes(RECEIVE).statsd("rx_errors"),
    Row::new(Counter, ["network.tx_errors", "container.network.errors", "{error}"], ["container_network_transmit_errors_total", "tx_errors", "network.tx_errors"], traffic!(transmit, errors)).attributes(TRANSMIT).statsd("tx_errors"),
    Row::new(Counter, ["network.rx_dropped", "container.network.dropped", "{packet}"], ["container_network_receive_packets_dropped_total", "rx_dropped", "network.rx_dropped"], traffic!(receive, dropped)).attributes(RECEIVE),
    Row::new(Counter, ["network.tx_dropped", "container.network.dropped", "{packet}"], ["container_network_transmit_packets_dropped_total", "tx_dropped", "network.tx_dropped"], traffic!(transmit, dropped)).attributes(TRANSMIT),
    Row::new(UpDownCounter, ["network.tcp", "container.network.connection.count", "{connection}"], ["container_network_tcp_usage_total", "tcp", "network.tcp"], sockets!(connections, tcp)).attributes(TCP4),
    Row::new(UpDownCounter, ["network.tcp6", "container.network.connection.count", "{connection}"], ["container_network_tcp6_usage_total", "tcp6", "network.tcp6"], sockets!(connections, tcp6)).attributes(TCP6),
    Row::new(Gauge, ["network.udp", "container.network.udp", "1"], ["container_network_udp_usage_total", "udp", "network.udp"], sockets!(datagrams, udp)).attributes(UDP4),
    Row::new(Gauge, ["network.udp6", "container.network.udp", "1"], ["container_network_udp6_usage_total", "udp6", "network.udp6"], sockets!(datagrams, udp6)).attributes(UDP6),
    Row::new(Gauge, ["network.tcp_advanced", "container.network.tcp.stat", "1"], ["container_network_advance_tcp_stats_total", "tcp_advanced", "network.tcp_advanced"], tcp_advanced).detail(),
    Row::new(UpDownCounter, ["memory.referenced", "container.memory.referenced", "By"], ["container_referenced_bytes", "referenced_memory", "referenced_memory"], own!(referenced)),
    Row::new(Counter, ["resctrl.memory_bandwidth.total", "container.memory.bandwidth", "By"], ["container_memory_bandwidth_bytes", "resctrl_memory_bandwidth_total", "resctrl.memory_bandwidth.mbm_total_bytes"], each!(caches => total)),
    Row::new(Counter, ["resctrl.memory_bandwidth.local", "container.memory.local_bandwidth", "By"], ["container_memory_bandwidth_local_bytes", "resctrl_memory_bandwidth_local", "resctrl.memory_bandwidth.mbm_local_bytes"], each!(caches => local)),
    Row::new(UpDownCounter, ["resctrl.cache_occupancy", "container.cache.occupancy", "By"], ["container_llc_occupancy_bytes", "resctrl_llc_occupancy", "resctrl.cache.llc_occupancy"], each!(caches => occupancy)),
    Row::new(Counter, ["perf.core", "container.perf.events", "{event}"], ["container_perf_events_total", "perf_stat", "perf_stats.value"], perf_core).detail(),
    Row::new(Counter, ["perf.uncore", "container.perf.uncore_events", "{event}"], ["container_perf_uncore_events_total", "perf_uncore_stat", "perf_uncore_stats.value"], perf_uncore).detail(),
    Row::new(UpDownCounter, ["", "container.filesystem.usage", "By"], ["container_fs_usage_bytes", "fs_usage", "filesystem.usage"], filesystem_usage).tags(USAGE).statsd("fs_usage"),
    Row::new(UpDownCounter, ["", "container.filesystem.capacity", "By"], ["container_fs_limit_bytes", "fs_limit", "filesystem.capacity"], filesystem_capacity).tags(LIMIT).statsd("fs_limit"),
    Row::new(Gauge, ["spec.creation_time", "container.creation_time", "s"], ["container_creation_time_seconds", "creation_time", "spec.creation_time"], created),
    Row::new(Gauge, ["spec.cpu.shares", "container.cpu.shares", "1"], ["container_spec_cpu_shares", "spec_cpu_shares", "spec.cpu.limit"], maybe!(cpu_spec => shares)),
    Row::new(UpDownCounter, ["spec.cpu.quota", "container.cpu.limit.quota", "s"], ["container_spec_cpu_quota", "spec_cpu_quota", "spec.cpu.quota"], maybe!(cpu_spec => quota)),
    Row::new(Gauge, ["spec.cpu.period", "container.cpu.limit.period", "s"], ["container_spec_cpu_period", "spec_cpu_period", "spec.cpu.period"], maybe!(cpu_spec => period)),
    Row::new(Gauge, ["spec.cpu.mask", "container.cpu.allowed", "1"], ["", "spec_cpu_mask", "spec.cpu.mask"], cpu_mask).detail(),
    Row::new(UpDownCounter, ["spec.memory.limit", "container.memory.limit", "By"], ["container_spec_memory_limit_bytes", "spec_memory_limit", "spec.memory.limit"], limit!(limit)),
    Row::new(UpDownCounter, ["spec.memory.reservation", "container.memory.request", "By"], ["container_spec_memory_reservation_limit_bytes", "spec_memory_reservation", "spec.memory.reservation"], limit!(reservation)),
    Row::new(UpDownCounter, ["spec.memory.swap_limit", "container.memory.swap.limit", "By"], ["container_spec_memory_swap_limit_bytes", "spec_memory_swap_limit", "spec.memory.swap_limit"], swap_limit),
    Row::new(UpDownCounter, ["spec.memory.zswap_limit", "container.memory.zswap.limit", "By"], ["container_spec_memory_zswap_limit_bytes", "spec_memory_zswap_limit", "zswap.limit"], limit!(zswap_limit)),
    Row::new(UpDownCounter, ["spec.processes.limit", "container.process.limit", "{process}"], ["container_threads_max", "spec_processes_limit", "spec.processes.limit"], process_limit),
];
