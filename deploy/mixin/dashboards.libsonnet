// The dashboards of deploy/dashboards, by file name: jsonnet --multi deploy/dashboards deploy/mixin/dashboards.libsonnet
local grafana = import 'grafana.libsonnet';
local dashboard = grafana.dashboard, graph = grafana.graph, stat = grafana.stat, table = grafana.table;
local q = grafana.query, many = grafana.many, one = grafana.one;

local nodes = [
  many('job', 'Job', 'label_values(container_start_time_seconds, job)'),
  many('instance', 'Node', 'label_values(container_start_time_seconds{job=~"$job"}, instance)'),
];
// Selectors: of a node, of the node as a whole, of what runtimes run there.
local node = 'job=~"$job",instance=~"$instance"';
local whole = node + ',id="/"';
local named = node + ',name!=""';
local rate(metric, selector) = 'rate(%s{%s}[$__rate_interval])' % [metric, selector];
local by(labels, expr) = 'sum by (%s) (%s)' % [labels, expr];
// What a limit is used to; 0 is no limit.
local share(used, limit) = '%s / (%s > 0)' % [used, limit];

{
  'node.json': dashboard(
    'collector-node', 'Collector / Node', 'Nodes as a whole: processors, memory, disks, network.', nodes,
    [
      stat('Nodes', 'none', [q('count(machine_cpu_cores{%s})' % node, '')]),
      stat('CPUs', 'none', [q('sum(machine_cpu_cores{%s})' % node, '')]),
      stat('CPU use', 'percentunit', [q('sum(%s) / sum(machine_cpu_cores{%s})' % [rate('container_cpu_usage_seconds_total', whole), node], '')]),
      stat('Memory', 'bytes', [q('sum(machine_memory_bytes{%s})' % node, '')]),
      stat('Working set', 'percentunit', [q('sum(container_memory_working_set_bytes{%s}) / sum(machine_memory_bytes{%s})' % [whole, node], '')]),
      stat('Containers', 'none', [q('count(container_start_time_seconds{%s})' % named, '')]),
      graph('CPU use', 'none', [
        q(by('instance', rate('container_cpu_usage_seconds_total', whole)), '{{instance}}'),
        q('sum by (instance) (machine_cpu_cores{%s})' % node, '{{instance}} CPUs'),
      ]),
      graph('Memory', 'bytes', [
        q('container_memory_working_set_bytes{%s}' % whole, '{{instance}} working set'),
        q('container_memory_usage_bytes{%s}' % whole, '{{instance}} with page cache'),
        q('machine_memory_bytes{%s}' % node, '{{instance}} total'),
      ]),
      graph('Network received', 'Bps', [q(by('instance, interface', rate('container_network_receive_bytes_total', whole)), '{{instance}} {{interface}}')]),
      graph('Network sent', 'Bps', [q(by('instance, interface', rate('container_network_transmit_bytes_total', whole)), '{{instance}} {{interface}}')]),
      graph('Network errors and drops', 'pps', [
        q(by('instance, interface', rate('container_network_receive_errors_total', whole)), '{{instance}} {{interface}} receive errors'),
        q(by('instance, interface', rate('container_network_transmit_errors_total', whole)), '{{instance}} {{interface}} transmit errors'),
        q(by('instance, interface', rate('container_network_receive_packets_dropped_total', whole)), '{{instance}} {{interface}} receive drops'),
        q(by('instance, interface', rate('container_network_transmit_packets_dropped_total', whole)), '{{instance}} {{interface}} transmit drops'),
      ]),
      graph('Disk reads and writes', 'Bps', [
        q(by('instance, device', rate('container_fs_reads_bytes_total', whole)), '{{instance}} {{device}} read'),
        q(by('instance, device', rate('container_fs_writes_bytes_total', whole)), '{{instance}} {{device}} written'),
      ]),
      graph('File systems', 'percentunit', [q(share('container_fs_usage_bytes{%s}' % whole, 'container_fs_limit_bytes{%s}' % whole), '{{instance}} {{device}}')]),
      graph('Inodes', 'percentunit', [q('1 - ' + share('container_fs_inodes_free{%s}' % whole, 'container_fs_inodes_total{%s}' % whole), '{{instance}} {{device}}')]),
      graph('Pressure', 'percentunit', [
        q(rate('container_pressure_cpu_waiting_seconds_total', whole), '{{instance}} waiting for CPU'),
        q(rate('container_pressure_memory_waiting_seconds_total', whole), '{{instance}} waiting for memory'),
        q(rate('container_pressure_io_waiting_seconds_total', whole), '{{instance}} waiting for I/O'),
      ]),
      graph('Swap', 'bytes', [
        q('container_memory_swap{%s}' % whole, '{{instance}} used'),
        q('machine_swap_bytes{%s}' % node, '{{instance}} total'),
      ]),
    ]
  ),

  'containers.json': dashboard(
    'collector-containers', 'Collector / Containers', 'What container runtimes run on a node.', nodes,
    [
      stat('Containers', 'none', [q('count(container_start_time_seconds{%s})' % named, '')]),
      stat('Started in the last hour', 'none', [q('count(container_start_time_seconds{%s} > time() - 3600)' % named, '')]),
      stat('CPU use', 'none', [q('sum(%s)' % rate('container_cpu_usage_seconds_total', named), '')]),
      stat('Working set', 'bytes', [q('sum(container_memory_working_set_bytes{%s})' % named, '')]),
      stat('OOM kills', 'none', [q('sum(container_oom_events_total{%s})' % named, '')]),
      stat('Throttled now', 'none', [q('count(%s > 0) or vector(0)' % rate('container_cpu_cfs_throttled_periods_total', named), '')]),
      graph('CPU use', 'none', [q('topk(20, %s)' % by('instance, name', rate('container_cpu_usage_seconds_total', named)), '{{name}}')]),
      graph('Working set', 'bytes', [q('topk(20, %s)' % by('instance, name', 'container_memory_working_set_bytes{%s}' % named), '{{name}}')]),
      graph('Throttled CPU periods', 'percentunit', [q('%s / %s' % [
        by('instance, name', rate('container_cpu_cfs_throttled_periods_total', named)),
        by('instance, name', rate('container_cpu_cfs_periods_total', named)),
      ], '{{name}}')]),
      graph('Working set of the limit', 'percentunit', [q(share(
        by('instance, name', 'container_memory_working_set_bytes{%s}' % named),
        by('instance, name', 'container_spec_memory_limit_bytes{%s}' % named)
      ), '{{name}}')]),
      graph('Network', 'Bps', [
        q(by('instance, name', rate('container_network_receive_bytes_total', named)), '{{name}} received'),
        q(by('instance, name', rate('container_network_transmit_bytes_total', named)), '{{name}} sent'),
      ]),
      graph('Disk reads and writes', 'Bps', [
        q(by('instance, name', rate('container_fs_reads_bytes_total', named)), '{{name}} read'),
        q(by('instance, name', rate('container_fs_writes_bytes_total', named)), '{{name}} written'),
      ]),
      table('Memory', 'bytes', 'sum by (instance, name, image) (container_memory_working_set_bytes{%s})' % named, ['instance', 'name', 'image', 'Value']),
    ]
  ),

  'container.json':
    local own = node + ',name="$name"';
    dashboard(
      'collector-container', 'Collector / Container', 'One container in detail.',
      nodes + [one('name', 'Container', 'label_values(container_start_time_seconds{%s}, name)' % named)],
      [
        stat('Runs for', 's', [q('time() - max(container_start_time_seconds{%s})' % own, '')]),
        stat('CPU use', 'none', [q('sum(%s)' % rate('container_cpu_usage_seconds_total', own), '')]),
        stat('CPU limit', 'none', [q('sum(container_spec_cpu_quota{%s}) / sum(container_spec_cpu_period{%s})' % [own, own], '')]),
        stat('Working set', 'bytes', [q('sum(container_memory_working_set_bytes{%s})' % own, '')]),
        stat('Memory limit', 'bytes', [q('sum(container_spec_memory_limit_bytes{%s}) > 0' % own, '')]),
        stat('OOM kills', 'none', [q('sum(container_oom_events_total{%s})' % own, '')]),
        graph('CPU use', 'none', [
          q('sum(%s)' % rate('container_cpu_usage_seconds_total', own), 'all'),
          q('sum(%s)' % rate('container_cpu_user_seconds_total', own), 'user'),
          q('sum(%s)' % rate('container_cpu_system_seconds_total', own), 'system'),
        ]),
        graph('Throttling', 'percentunit', [
          q('sum(%s) / sum(%s)' % [rate('container_cpu_cfs_throttled_periods_total', own), rate('container_cpu_cfs_periods_total', own)], 'periods'),
          q('sum(%s)' % rate('container_cpu_cfs_throttled_seconds_total', own), 'seconds each second'),
        ]),
        graph('Memory', 'bytes', [
          q('sum(container_memory_usage_bytes{%s})' % own, 'usage'),
          q('sum(container_memory_working_set_bytes{%s})' % own, 'working set'),
          q('sum(container_memory_rss{%s})' % own, 'RSS'),
          q('sum(container_memory_cache{%s})' % own, 'page cache'),
          q('sum(container_memory_swap{%s})' % own, 'swap'),
          q('sum(container_spec_memory_limit_bytes{%s}) > 0' % own, 'limit'),
        ]),
        graph('Page faults, and allocations that failed at the limit', 'ops', [
          q('sum by (failure_type) (%s)' % rate('container_memory_failures_total', own + ',scope="hierarchy"'), '{{failure_type}}'),
          q('sum(%s)' % rate('container_memory_failcnt', own), 'limit hit'),
        ]),
        graph('Network', 'Bps', [
          q(by('interface', rate('container_network_receive_bytes_total', own)), '{{interface}} received'),
          q(by('interface', rate('container_network_transmit_bytes_total', own)), '{{interface}} sent'),
        ]),
        graph('Disk reads and writes', 'Bps', [
          q(by('device', rate('container_fs_reads_bytes_total', own)), '{{device}} read'),
          q(by('device', rate('container_fs_writes_bytes_total', own)), '{{device}} written'),
        ]),
        graph('Files', 'bytes', [q('sum by (device) (container_fs_usage_bytes{%s})' % own, '{{device}}')]),
        graph('Pressure', 'percentunit', [
          q('sum(%s)' % rate('container_pressure_cpu_waiting_seconds_total', own), 'waiting for CPU'),
          q('sum(%s)' % rate('container_pressure_memory_waiting_seconds_total', own), 'waiting for memory'),
          q('sum(%s)' % rate('container_pressure_io_waiting_seconds_total', own), 'waiting for I/O'),
        ]),
      ]
    ),

  'pods.json':
    local pods = node + ',namespace=~"$namespace",pod=~"$pod"';
    local containers = pods + ',container!=""';
    dashboard(
      'collector-pods', 'Collector / Pods', 'Pods, from /metrics/cadvisor.',
      nodes + [
        many('namespace', 'Namespace', 'label_values(container_start_time_seconds{%s,pod!=""}, namespace)' % node),
        many('pod', 'Pod', 'label_values(container_start_time_seconds{%s,namespace=~"$namespace",pod!=""}, pod)' % node),
      ],
      [
        stat('Pods', 'none', [q('count(count by (namespace, pod) (container_start_time_seconds{%s}))' % containers, '')]),
        stat('Containers', 'none', [q('count(container_start_time_seconds{%s})' % containers, '')]),
        stat('CPU use', 'none', [q('sum(%s)' % rate('container_cpu_usage_seconds_total', containers), '')]),
        stat('Working set', 'bytes', [q('sum(container_memory_working_set_bytes{%s})' % containers, '')]),
        stat('OOM kills', 'none', [q('sum(container_oom_events_total{%s})' % containers, '')]),
        stat('Processes', 'none', [q('sum(container_processes{%s})' % containers, '')]),
        graph('CPU use by pod', 'none', [q('topk(20, %s)' % by('namespace, pod', rate('container_cpu_usage_seconds_total', containers)), '{{namespace}}/{{pod}}')]),
        graph('Working set by pod', 'bytes', [q('topk(20, %s)' % by('namespace, pod', 'container_memory_working_set_bytes{%s}' % containers), '{{namespace}}/{{pod}}')]),
        graph('CPU use by container', 'none', [q(by('namespace, pod, container', rate('container_cpu_usage_seconds_total', containers)), '{{pod}} {{container}}')]),
        graph('Working set of the limit', 'percentunit', [q(share(
          by('namespace, pod, container', 'container_memory_working_set_bytes{%s}' % containers),
          by('namespace, pod, container', 'container_spec_memory_limit_bytes{%s}' % containers)
        ), '{{pod}} {{container}}')]),
        graph('Throttled CPU periods', 'percentunit', [q('%s / %s' % [
          by('namespace, pod, container', rate('container_cpu_cfs_throttled_periods_total', containers)),
          by('namespace, pod, container', rate('container_cpu_cfs_periods_total', containers)),
        ], '{{pod}} {{container}}')]),
        graph('Network by pod', 'Bps', [
          q(by('namespace, pod', rate('container_network_receive_bytes_total', pods)), '{{namespace}}/{{pod}} received'),
          q(by('namespace, pod', rate('container_network_transmit_bytes_total', pods)), '{{namespace}}/{{pod}} sent'),
        ]),
        table('Limits of memory', 'bytes', 'sum by (namespace, pod, container) (container_spec_memory_limit_bytes{%s})' % containers, ['namespace', 'pod', 'container', 'Value']),
      ]
    ),

  'endings.json':
    local last = 'group by (instance, id, name, namespace, pod, container) (container_start_time_seconds{%s}%s)';
    dashboard(
      'collector-endings', 'Collector / OOM kills and endings', 'Containers that were killed for lack of memory, that came and that went.', nodes,
      [
        stat('OOM kills in the last hour', 'none', [q('sum(increase(container_oom_events_total{%s}[1h]))' % node, '')], 6),
        stat('Started in the last hour', 'none', [q('count(container_start_time_seconds{%s} > time() - 3600)' % named, '')], 6),
        stat('Ended in the last five minutes', 'none', [q('count(%s unless %s) or vector(0)' % [last % [named, ' offset 5m'], last % [named, '']], '')], 6),
        stat('Near their limit of memory', 'none', [q('count(container_memory_working_set_bytes{%s} / (container_spec_memory_limit_bytes{%s} > 0) > 0.9) or vector(0)' % [named, named], '')], 6),
        graph('OOM kills', 'none', [q('sum by (instance, id, name) (increase(container_oom_events_total{%s}[$__rate_interval])) > 0' % node, '{{name}} {{id}}')]),
        graph('Allocations that failed at the limit', 'ops', [q('sum by (instance, name) (%s) > 0' % rate('container_memory_failcnt', named), '{{name}}')]),
        graph('Highest use of memory of the limit', 'percentunit', [q(share('container_memory_max_usage_bytes{%s}' % named, 'container_spec_memory_limit_bytes{%s}' % named), '{{name}}')]),
        graph('Containers', 'none', [q('count by (instance) (container_start_time_seconds{%s})' % named, '{{instance}}')]),
        table('OOM kills', 'none', 'container_oom_events_total{%s} > 0' % node, ['instance', 'id', 'name', 'namespace', 'pod', 'container', 'Value'], 12),
        table('Ended in the last five minutes', 'none', '%s unless %s' % [last % [named, ' offset 5m'], last % [named, '']], ['instance', 'name', 'namespace', 'pod', 'container', 'id'], 12),
      ]
    ),

  'collector.json':
    dashboard(
      'collector-self', 'Collector / The collector itself', 'What the collectors take, what they lack and what they left out, from /metrics.',
      [
        many('job', 'Job', 'label_values(collector_containers, job)'),
        many('instance', 'Node', 'label_values(collector_containers{job=~"$job"}, instance)'),
      ],
      [
        stat('Collectors', 'none', [q('count(collector_containers{%s})' % node, '')]),
        stat('Cgroups', 'none', [q('sum(collector_containers{%s})' % node, '')]),
        stat('Something missing', 'none', [q('count(collector_degraded{%s} == 1) or vector(0)' % node, '')]),
        stat('Events lost', 'none', [q('sum(collector_events_lost_total{%s})' % node, '')]),
        stat('Cgroups not listed', 'none', [q('sum(collector_cgroups_not_listed{%s})' % node, '')]),
        stat('Series left out', 'none', [q('sum(collector_metrics_shed_series{%s,reason!="profile"}) or vector(0)' % node, '')]),
        graph('CPU use', 'none', [q(rate('process_cpu_seconds_total', node), '{{instance}}')]),
        graph('Memory', 'bytes', [
          q('process_resident_memory_bytes{%s}' % node, '{{instance}} resident'),
          q('collector_history_bytes{%s}' % node, '{{instance}} history'),
          q('collector_map_bytes{%s}' % node, '{{instance}} kernel maps'),
        ]),
        graph('Samples', 'ops', [q(by('instance, purpose', rate('collector_samples_total', node)), '{{instance}} {{purpose}}')]),
        graph('Time of a round of samples, 99th percentile', 's', [
          q('histogram_quantile(0.99, %s)' % by('instance, le', rate('collector_tick_seconds_bucket', node)), '{{instance}}'),
        ]),
        graph('Kernel events', 'ops', [
          q(by('instance, kind', rate('collector_events_received_total', node)), '{{instance}} {{kind}}'),
          q(by('instance, kind', rate('collector_events_lost_total', node)), '{{instance}} {{kind}} lost'),
        ]),
        graph('Scans and what they corrected', 'ops', [
          q(by('instance, reason', rate('collector_reconciles_total', node)), '{{instance}} {{reason}}'),
          q(by('instance, change', rate('collector_divergences_total', node)), '{{instance}} {{change}} without an event'),
        ]),
        graph('Time to render /metrics, 99th percentile', 's', [
          q('histogram_quantile(0.99, %s)' % by('instance, le', rate('collector_metrics_render_seconds_bucket', node)), '{{instance}}'),
        ]),
        graph('Series in /metrics', 'none', [q('collector_metrics_series{%s}' % node, '{{instance}}')]),
        graph('Connections', 'none', [
          q('collector_connections{%s}' % node, '{{instance}} {{state}}'),
          q('collector_connections_limit{%s,kind="ordinary"}' % node, '{{instance}} limit'),
        ]),
        graph('Answers refused, cut off, not read', 'ops', [
          q(by('instance, reason', rate('collector_answers_refused_total', node)), '{{instance}} {{reason}}'),
          q(by('instance', rate('collector_answers_cut_off_total', node)), '{{instance}} cut off'),
          q(by('instance', rate('collector_unread_answers_total', node)), '{{instance}} not read'),
        ]),
        graph('File descriptors', 'none', [
          q('process_open_fds{%s}' % node, '{{instance}} open'),
          q('collector_open_descriptors{%s}' % node, '{{instance}} kept for statistics'),
          q('process_max_fds{%s}' % node, '{{instance}} limit'),
        ]),
        graph('Kernel files that could not be read', 'ops', [q(by('instance, file', rate('collector_read_errors_total', node)), '{{instance}} {{file}}')]),
        table('Missing', 'none', 'collector_degraded{%s} == 1' % node, ['instance', 'facility', 'Value'], 12),
        table('Bounds reached', 'none', 'collector_bound_exceeded_total{%s} > 0' % node, ['instance', 'bound', 'Value'], 12),
      ]
    ),
}
