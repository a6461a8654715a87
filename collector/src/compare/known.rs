//! Differences from cAdvisor that are there on purpose. docs/migrating.md gives the reason of each by its id.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::report::{Difference, Finding};
use crate::kernel::machine::container_mounts::is_of_container;

/// Where a difference is deliberate, besides its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// cAdvisor says nothing but zeros, empty texts and empty lists: it does not know, and does not say so.
    Nothing,
    /// cAdvisor has the label without a value.
    EmptyLabel,
    /// The series is about a container and all below it.
    Hierarchy,
    /// The file system is no longer mounted, and so has no size.
    Unmounted,
    /// The container's network is the host's.
    HostNetwork,
    /// No runtime knows the container: its cgroup's name has no id in it.
    PlainCgroup,
    /// cAdvisor's series does not say which device it is about.
    Nameless,
    /// The collector's time of day is the minute after cAdvisor's.
    MinuteLater,
    /// The file system is mounted for a container or a pod alone.
    ContainersMount,
}

/// Where a deliberate difference is seen.
struct DifferencePlace {
    id: &'static str,
    difference: Difference,
    /// The resource ends with this.
    resource: &'static str,
    /// The path ends with this; with a dot at the end: it begins with this.
    path: &'static str,
    when: When,
}

const fn place(
    id: &'static str,
    difference: Difference,
    resource: &'static str,
    path: &'static str,
) -> DifferencePlace {
    DifferencePlace { id, difference, resource, path, when: When::Always }
}

const fn unknown(path: &'static str) -> DifferencePlace {
    DifferencePlace { id: "absent-not-zero", difference: Difference::Missing, resource: "", path, when: When::Nothing }
}

/// Labels of the families that begin so.
const fn empty_label(families: &'static str) -> DifferencePlace {
    let place = place("empty-labels", Difference::Missing, "/metrics", families);
    DifferencePlace { when: When::EmptyLabel, ..place }
}

/// Counters of sockets within a sample of v2.
const fn in_v2(resource: &'static str, path: &'static str) -> DifferencePlace {
    DifferencePlace { id: "v2-sockets", difference: Difference::Value, resource, path, when: When::Nothing }
}

/// Counters of the device that a container's file system is on.
const fn of_device(path: &'static str) -> DifferencePlace {
    DifferencePlace { id: "container-disks", difference: Difference::Value, resource: "", path, when: When::Nothing }
}

const fn uncounted(path: &'static str) -> DifferencePlace {
    DifferencePlace { id: "process-counts", difference: Difference::Value, resource: "", path, when: When::Nothing }
}

/// Sums over processes, which come and go between one server's samples and the other's.
const fn of_processes(path: &'static str) -> DifferencePlace {
    place("schedstat-seen", Difference::Value, "", path)
}

const fn of_containers_mount(resource: &'static str, path: &'static str) -> DifferencePlace {
    DifferencePlace {
        id: "container-mounts",
        difference: Difference::Missing,
        resource,
        path,
        when: When::ContainersMount,
    }
}

const fn of_host(difference: Difference, resource: &'static str, path: &'static str) -> DifferencePlace {
    DifferencePlace { id: "host-network", difference, resource, path, when: When::HostNetwork }
}

/// Series of a device whose name cAdvisor does not know.
const fn nameless(path: &'static str) -> DifferencePlace {
    DifferencePlace {
        id: "device-names",
        difference: Difference::Missing,
        resource: "/metrics",
        path,
        when: When::Nameless,
    }
}

const PLACES: &[DifferencePlace] = &[
    unknown("cpu"),
    unknown("diskio"),
    unknown("memory"),
    unknown("network"),
    unknown("processes"),
    unknown("process_count"),
    unknown("fd_count"),
    unknown("socket_count"),
    unknown("container_network_advance_tcp_stats_total[]"),
    unknown("container_cpu_user_seconds_total[]"),
    unknown("container_cpu_system_seconds_total[]"),
    unknown("container_cpu_load_average_10s[]"),
    unknown("container_cpu_load_d_average_10s[]"),
    unknown("container_memory_usage_bytes[]"),
    unknown("container_memory_working_set_bytes[]"),
    unknown("container_memory_rss[]"),
    unknown("container_memory_cache[]"),
    unknown("container_memory_swap[]"),
    unknown("container_memory_mapped_file[]"),
    unknown("container_memory_max_usage_bytes[]"),
    unknown("container_memory_kernel_usage[]"),
    unknown("container_memory_total_active_file_bytes[]"),
    unknown("container_memory_total_inactive_file_bytes[]"),
    unknown("container_memory_failcnt[]"),
    unknown("container_memory_failures_total[]"),
    unknown("container_memory_file_dirty_bytes[]"),
    unknown("container_memory_file_writeback_bytes[]"),
    unknown("container_memory_events_high_total[]"),
    unknown("container_memory_events_max_total[]"),
    unknown("container_memory_pgscan_total[]"),
    unknown("container_memory_pgsteal_total[]"),
    unknown("container_memory_workingset_refault_anon_total[]"),
    unknown("container_memory_workingset_refault_file_total[]"),
    unknown("container_pressure_cpu_waiting_seconds_total[]"),
    unknown("container_pressure_cpu_stalled_seconds_total[]"),
    unknown("container_pressure_memory_waiting_seconds_total[]"),
    unknown("container_pressure_memory_stalled_seconds_total[]"),
    unknown("container_network_tcp_usage_total[]"),
    unknown("container_network_tcp6_usage_total[]"),
    unknown("container_network_udp_usage_total[]"),
    unknown("container_network_udp6_usage_total[]"),
    empty_label("cadvisor_."),
    empty_label("container_."),
    empty_label("machine_."),
    place("whole-sums", Difference::Missing, "/metrics", "container_sockets[]"),
    place("whole-sums", Difference::Missing, "", "processes.socket_count"),
    uncounted("processes.process_count"),
    uncounted("processes.fd_count"),
    uncounted("processes.socket_count"),
    uncounted("container_processes[]"),
    uncounted("container_threads[]"),
    uncounted("container_file_descriptors[]"),
    uncounted("container_sockets[]"),
    place("version", Difference::Missing, "/metrics", "cadvisor_version_info[]"),
    place("version", Difference::Missing, "/metrics", "cadvisor_version_info.cadvisorRevision"),
    place("version", Difference::Missing, "/metrics", "cadvisor_version_info.dockerVersion"),
    place("version", Difference::Value, "/version", ""),
    place("version", Difference::Value, "", "cadvisor_version"),
    place("version", Difference::Value, "", "docker_version"),
    place("version", Difference::Value, "", "docker_api_version"),
    // The machine's file systems on devices that cAdvisor takes for no disks, such as loop devices.
    DifferencePlace { resource: "/machinestats", ..of_device("filesystem[].inline.") },
    of_device("filesystem[].reads_completed"),
    of_device("filesystem[].reads_merged"),
    of_device("filesystem[].sectors_read"),
    of_device("filesystem[].read_time"),
    of_device("filesystem[].writes_completed"),
    of_device("filesystem[].writes_merged"),
    of_device("filesystem[].sectors_written"),
    of_device("filesystem[].write_time"),
    of_device("filesystem[].io_in_progress"),
    of_device("filesystem[].io_time"),
    of_device("filesystem[].weighted_io_time"),
    of_device("container_fs_reads_total[]"),
    of_device("container_fs_reads_merged_total[]"),
    of_device("container_fs_sector_reads_total[]"),
    of_device("container_fs_writes_total[]"),
    of_device("container_fs_writes_merged_total[]"),
    of_device("container_fs_sector_writes_total[]"),
    of_processes("schedstat.run_time"),
    of_processes("schedstat.runqueue_time"),
    of_processes("schedstat.run_periods"),
    of_processes("container_cpu_schedstat_run_seconds_total[]"),
    of_processes("container_cpu_schedstat_runqueue_seconds_total[]"),
    of_processes("container_cpu_schedstat_run_periods_total[]"),
    place("cores-of-all-sockets", Difference::Value, "", "num_physical_cores"),
    place("cores-of-all-sockets", Difference::Value, "/metrics", "machine_cpu_physical_cores[]"),
    DifferencePlace {
        id: "device-names",
        difference: Difference::Value,
        resource: "",
        path: "device",
        when: When::Nothing,
    },
    nameless("container_fs_."),
    nameless("container_blkio_device_usage_total."),
    place("cloud", Difference::Value, "", "cloud_provider"),
    place("cloud", Difference::Value, "", "instance_type"),
    place("cloud", Difference::Value, "", "instance_id"),
    place("udp-queues", Difference::Value, "", "udp.RxQueued"),
    place("udp-queues", Difference::Value, "", "udp.TxQueued"),
    place("udp-queues", Difference::Value, "", "udp6.RxQueued"),
    place("udp-queues", Difference::Value, "", "udp6.TxQueued"),
    in_v2("/v2.0/stats", "network.udp."),
    // All of TCP: v2.0 has the interfaces' counters alone.
    in_v2("/v2.0/stats", "network.tcp."),
    in_v2("/v2.1/stats", "stats.network.udp."),
    in_v2("/v2.1/stats", "stats.network.tcp_advanced."),
    in_v2("/machinestats", "network.udp."),
    in_v2("/machinestats", "network.tcp_advanced."),
    place("metric-kinds", Difference::Missing, "", "spec.cpu.mask"),
    place("metric-kinds", Difference::Missing, "/spec", "cpu.mask"),
    place("metric-kinds", Difference::Missing, "", "processes.limit"),
    place("metric-kinds", Difference::Value, "", "has_processes"),
    DifferencePlace {
        when: When::PlainCgroup,
        ..place("creation-time", Difference::Value, "/metrics", "container_start_time_seconds[]")
    },
    DifferencePlace {
        when: When::Hierarchy,
        ..place("hierarchical-faults", Difference::Value, "/metrics", "container_memory_failures_total[]")
    },
    DifferencePlace { when: When::PlainCgroup, ..place("creation-time", Difference::Value, "", "creation_time") },
    place("hierarchical-faults", Difference::Value, "", "hierarchical_data.pgfault"),
    place("hierarchical-faults", Difference::Value, "", "hierarchical_data.pgmajfault"),
    of_host(Difference::Missing, "", "network"),
    of_host(Difference::Missing, "", "network.interfaces"),
    of_host(Difference::Value, "", "has_network"),
    of_host(Difference::Missing, "/metrics", "container_network_."),
    DifferencePlace { when: When::Unmounted, ..place("gone-file-systems", Difference::Missing, "/storage", "[]") },
    of_containers_mount("", "filesystems[]"),
    of_containers_mount("", "filesystem[]"),
    of_containers_mount("/storage", "[]"),
    of_containers_mount("/metrics", "container_fs_."),
    place("storage-labels", Difference::Type, "/storage", "labels"),
    place("parts-by-sample", Difference::Value, "/v2.0/stats", "has_hugetlb"),
    place("ps", Difference::Value, "/ps", "cgroup_path"),
    place("ps", Difference::Value, "/ps", "cmd"),
    place("ps", Difference::Value, "/ps", "user"),
    DifferencePlace { when: When::MinuteLater, ..place("ps", Difference::Value, "/ps", "start_time") },
    place("error-texts", Difference::Value, "", "error"),
    place("diskstats-seconds", Difference::Value, "/metrics", "container_fs_io_time_seconds_total[]"),
    place("diskstats-seconds", Difference::Value, "/metrics", "container_fs_io_time_weighted_seconds_total[]"),
    place("diskstats-seconds", Difference::Value, "/metrics", "container_fs_read_seconds_total[]"),
    place("diskstats-seconds", Difference::Value, "/metrics", "container_fs_write_seconds_total[]"),
    place("self-metrics", Difference::Missing, "/metrics", "go_."),
];

/// The ids of all deliberate differences.
pub fn ids() -> Vec<&'static str> {
    let mut ids: Vec<_> = PLACES.iter().map(|place| place.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The id of the deliberate difference that a finding is. `theirs` is cAdvisor's value where it has one; the containers
/// are those whose network is the host's.
pub(super) fn explanation(
    finding: &Finding,
    theirs: Option<&Value>,
    on_host_network: &BTreeSet<String>,
) -> Option<&'static str> {
    let pattern = finding.pattern();
    let fits = |place: &&DifferencePlace| {
        place.difference == finding.difference
            && finding.resource.ends_with(place.resource)
            && is_at(&pattern, place.path)
            && match place.when {
                When::Always => true,
                When::Nothing => theirs.is_some_and(says_nothing),
                When::EmptyLabel => theirs.and_then(Value::as_str) == Some(""),
                When::Hierarchy => finding.path.contains("scope=hierarchy"),
                When::Nameless => finding.path.contains('[') && !finding.path.contains("device="),
                When::Unmounted => theirs.and_then(|theirs| theirs.get("capacity")).is_some_and(says_nothing),
                When::HostNetwork => {
                    finding.container.as_ref().is_some_and(|container| on_host_network.contains(container))
                }
                When::ContainersMount => is_containers_mount(&finding.path, theirs),
                When::MinuteLater => is_minute_later(&finding.theirs, &finding.ours),
                When::PlainCgroup => !finding.container.as_deref().is_some_and(names_an_id),
            }
    };
    PLACES.iter().find(fits).map(|place| place.id)
}

fn is_at(pattern: &str, path: &str) -> bool {
    if path.is_empty() {
        return pattern.is_empty();
    }
    if let Some(start) = path.strip_suffix('.') {
        return pattern.starts_with(start);
    }
    pattern.strip_suffix(path).is_some_and(|before| before.is_empty() || before.ends_with(['.', ']']))
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(entries) => entries.iter().all(says_nothing),
        Value::Object(entries) => entries.values().all(says_nothing),
    }
}

/// Whether a file system is a container's or a pod's alone: by where it is mounted, which for a tmpfs is its name, or as
/// an overlay under the name that cAdvisor makes up for it.
fn is_containers_mount(path: &str, theirs: Option<&Value>) -> bool {
    let reported = ["mountpoint", "device"].iter().filter_map(|key| theirs?.get(key)?.as_str());
    let named = path.split(['[', ']', ',', ':', '"', ' ']).map(|part| part.strip_prefix("device=").unwrap_or(part));
    let is_made_up = |name: &str| {
        let numbers = name.strip_prefix("overlay_").and_then(|rest| rest.split_once('-'));
        numbers.is_some_and(|(major, minor)| [major, minor].iter().all(|number| number.parse::<u32>().is_ok()))
    };
    reported.chain(named).any(|name| is_made_up(name) || name.starts_with('/') && is_of_container(Path::new(name)))
}

/// Whether both are times of day in quotation marks, `"23:59"`, and the second is the minute after the first.
fn is_minute_later(theirs: &str, ours: &str) -> bool {
    let minute = |shown: &str| {
        let (hour, minute) = shown.trim_matches('"').split_once(':')?;
        Some(hour.parse::<u16>().ok()?.checked_mul(60)?.checked_add(minute.parse().ok()?)? % 1440)
    };
    minute(theirs).is_some_and(|theirs| minute(ours) == Some((theirs + 1) % 1440))
}

/// Whether the last part of a cgroup's name has the id of a container in it: 64 hexadecimal digits.
fn names_an_id(cgroup: &str) -> bool {
    let last = cgroup.rsplit('/').next().unwrap_or(cgroup);
    last.split(|letter: char| !letter.is_ascii_hexdigit()).any(|part| part.len() == 64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn explained(resource: &str, path: &str, difference: Difference, theirs: &Value) -> Option<&'static str> {
        let finding = Finding {
            resource: resource.to_owned(),
            container: Some("/a".to_owned()),
            path: path.to_owned(),
            difference,
            theirs: String::new(),
            ours: String::new(),
            known: None,
        };
        explanation(&finding, Some(theirs), &BTreeSet::from(["/host".to_owned()]))
    }

    #[test]
    fn zeros_for_what_is_not_known_are_no_loss() {
        let missing = |theirs: &Value| explained("/x", "stats.diskio", Difference::Missing, theirs);
        assert_eq!(missing(&json!({"io_serviced": [], "a": {"b": 0, "c": ""}})), Some("absent-not-zero"));
        assert_eq!(missing(&json!({"a": {"b": 1}})), None);
        assert_eq!(explained("/x", "stats.filesystem", Difference::Missing, &json!([])), None);
    }

    #[test]
    fn a_difference_is_known_in_its_place_alone() {
        let value = |resource, path| explained(resource, path, Difference::Value, &json!("x"));
        assert_eq!(value("/api/v2.0/version", ""), Some("version"));
        assert_eq!(value("/api/v2.0/machine", ""), None);
        assert_eq!(value("/api/v2.0/ps", "[7].cmd"), Some("ps"));
        assert_eq!(value("/api/v2.0/ps", "[7].ppid"), None);
        assert_eq!(value("/x", "spec.creation_time"), Some("creation-time"));
        let sockets =
            |resource, theirs| explained(resource, "network.tcp.TimeWait", Difference::Value, &Value::from(theirs));
        assert_eq!(sockets("/api/v2.0/stats", 0), Some("v2-sockets"));
        assert_eq!(sockets("/api/v2.0/stats", 1), None);
        assert_eq!(sockets("/api/v2.1/stats", 0), None);
    }

    /// Loop devices with I/O of their own, as every machine with snaps has them.
    #[test]
    fn devices_without_a_name() {
        let name = |theirs: &Value| explained("/x", "stats.diskio.io_serviced[7:0].device", Difference::Value, theirs);
        assert_eq!(name(&json!("")), Some("device-names"));
        assert_eq!(name(&json!("/dev/sda")), None);
        let missing = |path| explained("/metrics", path, Difference::Missing, &json!(5.0));
        assert_eq!(missing("container_fs_writes_total[id=/]"), Some("device-names"));
        assert_eq!(missing("container_fs_writes_total[device=/dev/sda,id=/]"), None);
        assert_eq!(missing("container_fs_writes_total"), None);
        let blkio = "container_blkio_device_usage_total[id=/,major=7,minor=0,operation=Read]";
        assert_eq!(missing(blkio), Some("device-names"));
        let counted = |theirs: u64| {
            let path = "filesystem[/].inline.writes_completed";
            explained("/api/v2.1/machinestats", path, Difference::Value, &json!(theirs))
        };
        assert_eq!((counted(0), counted(1)), (Some("container-disks"), None));
    }

    #[test]
    fn a_file_system_without_a_size_is_gone() {
        let missing = |theirs: &Value| explained("/api/v2.0/storage", "[x]", Difference::Missing, theirs);
        assert_eq!(missing(&json!({"device": "x", "capacity": 0})), Some("gone-file-systems"));
        assert_eq!(missing(&json!({"device": "x", "capacity": 1})), None);
    }

    #[test]
    fn containers_mounts_are_none_of_the_machines() {
        let shm = format!("/run/containerd/io.containerd.grpc.v1.cri/sandboxes/{}/shm", "a1".repeat(32));
        let missing = |resource, path: &str, theirs: &Value| {
            explained(resource, path, Difference::Missing, theirs) == Some("container-mounts")
        };
        let none = json!(null);
        assert!(missing("/api/v1.3/machine", &format!("filesystems[{shm}]"), &none));
        assert!(missing("/api/v2.0/storage", "[overlay_0-52 /x]", &none));
        assert!(missing("/metrics", &format!("container_fs_limit_bytes[device={shm},id=/]"), &none));
        assert!(missing("/api/v2.1/machinestats", "filesystem[x]", &json!({ "device": "overlay_0-52" })));
        for path in ["filesystems[/dev/vda1]", "filesystems[/run/user/1000]", "filesystems[overlay_x]"] {
            assert!(!missing("/api/v1.3/machine", path, &none), "{path}");
        }
    }

    #[test]
    fn the_minute_after_is_found_across_midnight() {
        assert!(is_minute_later("\"22:44\"", "\"22:45\"") && is_minute_later("\"23:59\"", "\"00:00\""));
        for (theirs, ours) in [("22:45", "22:44"), ("22:44", "22:46"), ("Nov21", "22:45"), ("22:44", "99999:9")] {
            assert!(!is_minute_later(theirs, ours), "{theirs} {ours}");
        }
    }

    #[test]
    fn ids_are_found_in_names() {
        let id = "a1".repeat(32);
        assert!(names_an_id(&format!("/docker/{id}")) && names_an_id(&format!("/system.slice/docker-{id}.scope")));
        assert!(!names_an_id("/docker") && !names_an_id(&format!("/docker/{id}/nested")));
    }

    /// docs/migrating.md has a row for each.
    #[test]
    fn every_difference_is_documented() {
        let document = include_str!("../../../docs/migrating.md");
        for id in ids() {
            assert!(document.contains(&format!("| `{id}` |")), "{id} is not in the table of differences");
        }
        let named = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let mut seen = std::collections::BTreeSet::new();
        for (id, _) in named.filter(|(_, rest)| rest.starts_with("deliberate |") || rest.starts_with("– |")) {
            assert!(seen.insert(id), "{id} has two rows");
        }
        let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | deliberate |"));
        for (id, _) in rows {
            assert!(ids().contains(&id), "{id} is in the table, but no difference");
        }
    }
}
