//! How closely values have to agree, and what distinguishes the entries of a list.
//!
//! Two servers read the kernel at different moments. What only grows lies between the collector's samples before and
//! after cAdvisor's; what goes up and down lies near them; everything else is the same.

use serde_json::Value;

/// What an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Structure {
    /// One sample of a container or the machine.
    Sample,
    /// Limits, names, labels.
    Spec,
    /// The machine's description.
    Machine,
    /// The machine's file systems and their fill.
    Storage,
    /// Use of CPU and memory over time.
    Summary,
    /// A list of processes.
    Processes,
    /// An event.
    Event,
    /// Anything else.
    Other,
}

/// How closely two values have to agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Closeness {
    /// The type alone: it is a moment, or follows from when somebody looked.
    Type,
    /// The same.
    Same,
    /// It only grows: between the samples around, give or take what a clock tick adds.
    Growing { slack: f64 },
    /// It goes up and down: within the samples around, give or take the larger of a share of the value and an amount.
    Near { share: f64, amount: f64 },
}

/// Two clock ticks, in nanoseconds: the kernel counts user and system time in them.
const TICKS: f64 = 20e6;
const MIB: f64 = 1_048_576.0;

/// Amounts of memory.
const MEMORY: Closeness = Closeness::Near { share: 0.10, amount: 8.0 * MIB };
/// Amounts of disk space.
pub(super) const DISK: Closeness = Closeness::Near { share: 0.02, amount: 256.0 * MIB };
/// CPU use in nanoseconds a second, over two different spans that may be short: another unit is found, not another value.
const RATE: Closeness = Closeness::Near { share: 0.5, amount: 1e9 };
/// Numbers of sockets by state: the machine's own come and go by the hundreds.
const SOCKETS: Closeness = Closeness::Near { share: 0.5, amount: 128.0 };
/// Numbers of processes, descriptors and the like.
const COUNT: Closeness = Closeness::Near { share: 0.25, amount: 16.0 };
const GROWING: Closeness = Closeness::Growing { slack: 0.0 };

/// Parts of a sample, as the end of the path or, with a dot at the end, as something within it. The first that fits.
const OF_SAMPLES: [(&str, Closeness); 41] = [
    ("timestamp", Closeness::Type),
    ("cpu_inst.", RATE),
    ("usage.total", GROWING),
    ("per_cpu_usage[]", GROWING),
    ("usage.user", Closeness::Growing { slack: TICKS }),
    ("usage.system", Closeness::Growing { slack: TICKS }),
    ("cfs.", GROWING),
    ("schedstat.", GROWING),
    ("load_average", COUNT),
    ("task_stats.", COUNT),
    ("load_stats.", COUNT),
    ("io_queued[].", COUNT),
    ("[].major", Closeness::Same),
    ("[].minor", Closeness::Same),
    ("diskio.", GROWING),
    ("failcnt", GROWING),
    ("max_usage", GROWING),
    ("pgfault", GROWING),
    ("pgmajfault", GROWING),
    ("numa_stats.", Closeness::Near { share: 0.10, amount: 2048.0 }),
    ("memory.", MEMORY),
    ("hugetlb.", MEMORY),
    ("tcp_advanced.CurrEstab", SOCKETS),
    ("tcp_advanced.", GROWING),
    ("tcp.", SOCKETS),
    ("tcp6.", SOCKETS),
    ("udp.", SOCKETS),
    ("udp6.", SOCKETS),
    ("tcp_stats.", SOCKETS),
    ("udp_stats.", SOCKETS),
    ("network.", GROWING),
    ("capacity", Closeness::Same),
    ("inodes", COUNT),
    ("inodes_free", Closeness::Near { share: 0.05, amount: 4096.0 }),
    ("io_in_progress", COUNT),
    ("filesystem[].usage", DISK),
    ("filesystem[].base_usage", DISK),
    ("filesystem[].available", DISK),
    ("filesystem.", DISK),
    ("threads_max", Closeness::Same),
    ("processes.", COUNT),
];

/// Parts of the other structures.
const OF_OTHERS: [(Structure, &str, Closeness); 20] = [
    (Structure::Machine, "timestamp", Closeness::Type),
    // It may follow the load.
    (Structure::Machine, "cpu_frequency_khz", Closeness::Near { share: 0.5, amount: 0.0 }),
    // Some file systems make inodes as they need them.
    (Structure::Machine, "inodes", Closeness::Near { share: 0.05, amount: 4096.0 }),
    (Structure::Storage, "timestamp", Closeness::Type),
    (Structure::Storage, "available", DISK),
    (Structure::Storage, "usage", DISK),
    (Structure::Storage, "inodes", Closeness::Near { share: 0.05, amount: 4096.0 }),
    (Structure::Storage, "inodes_free", Closeness::Near { share: 0.05, amount: 4096.0 }),
    (Structure::Summary, "timestamp", Closeness::Type),
    (Structure::Summary, "latest_usage.memory", MEMORY),
    // Thousandths of a processor.
    (Structure::Summary, "latest_usage.cpu", Closeness::Near { share: 0.5, amount: 1000.0 }),
    // They began at different times.
    (Structure::Summary, "_usage.", Closeness::Type),
    (Structure::Processes, "percent_cpu", Closeness::Near { share: 0.25, amount: 5.0 }),
    (Structure::Processes, "percent_mem", Closeness::Near { share: 0.25, amount: 1.0 }),
    (Structure::Processes, "rss", MEMORY),
    (Structure::Processes, "virtual_size", MEMORY),
    (Structure::Processes, "fd_count", COUNT),
    (Structure::Processes, "status", Closeness::Type),
    (Structure::Processes, "running_time", Closeness::Type),
    (Structure::Processes, "psr", Closeness::Type),
];

/// How closely the values at this place have to agree.
pub(super) fn closeness(structure: Structure, pattern: &str) -> Closeness {
    let fits = |place: &str| match place.strip_suffix('.') {
        Some(_) => pattern.contains(place),
        None => ends_with_name(pattern, place),
    };
    match structure {
        Structure::Event => Closeness::Type,
        Structure::Sample => {
            let rule = OF_SAMPLES.iter().find(|(place, _)| fits(place));
            // Names and labels are the same, counters of file systems grow.
            rule.map_or(GROWING, |(_, closeness)| *closeness)
        }
        _ => {
            let rule = OF_OTHERS.iter().find(|(of, place, _)| *of == structure && fits(place));
            rule.map_or(Closeness::Same, |(.., closeness)| *closeness)
        }
    }
}

/// Whether a path ends with these names, whole ones unless they begin with an underscore or a bracket.
fn ends_with_name(pattern: &str, place: &str) -> bool {
    let Some(before) = pattern.strip_suffix(place) else { return false };
    before.is_empty() || before.ends_with('.') || place.starts_with('[')
}

/// What distinguishes entries; of these the first that an entry has.
const KEYS: [&[&str]; 11] = [
    &["major", "minor"],
    &["pid"],
    &["device", "mountpoint"],
    &["device"],
    &["node_id"],
    &["core_id", "socket_id"],
    &["core_id"],
    &["page_size"],
    &["level", "type"],
    &["name"],
    &["label"],
];

/// The name of an entry of a list, by which its counterpart is found; none where the place in the list counts.
pub(super) fn entry_name(entry: &Value) -> Option<String> {
    match entry {
        Value::Object(entry) => KEYS.iter().find_map(|names| {
            let parts: Option<Vec<String>> = names.iter().map(|name| entry.get(*name).and_then(word)).collect();
            parts.map(|parts| parts.join(":"))
        }),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_have_their_closeness() {
        let sample = |pattern| closeness(Structure::Sample, pattern);
        assert_eq!(sample("stats.cpu.usage.total"), GROWING);
        assert_eq!(sample("stats.cpu_inst.usage.total"), RATE);
        assert_eq!(sample("stats.memory.usage"), MEMORY);
        assert_eq!(sample("stats.memory.max_usage"), GROWING);
        assert_eq!(sample("stats.memory.container_data.pgmajfault"), GROWING);
        assert_eq!(sample("stats.diskio.io_queued[].stats.Read"), COUNT);
        assert_eq!(sample("stats.diskio.io_serviced[].major"), Closeness::Same);
        assert_eq!(sample("stats.network.tcp6.Listen"), SOCKETS);
        assert_eq!(sample("stats.filesystem[].inodes"), COUNT);
        assert_eq!(sample("stats.filesystem[].reads_completed"), GROWING);
        assert_eq!(closeness(Structure::Spec, "spec.memory.limit"), Closeness::Same);
        assert_eq!(closeness(Structure::Summary, "minute_usage.cpu.mean"), Closeness::Type);
        assert_eq!(closeness(Structure::Machine, "filesystems[].has_inodes"), Closeness::Same);
    }

    #[test]
    fn entries_are_distinguished_by_what_they_have() {
        assert_eq!(entry_name(&json!({"device": "/dev/sda", "major": 8, "minor": 0})), Some("8:0".to_owned()));
        assert_eq!(entry_name(&json!({"name": "eth0", "rx_bytes": 1})), Some("eth0".to_owned()));
        assert_eq!(entry_name(&json!({"level": 2, "type": "Unified", "size": 1})), Some("2:Unified".to_owned()));
        assert_eq!(entry_name(&json!("a")), Some("a".to_owned()));
        assert_eq!(entry_name(&json!(5)), None);
        assert_eq!(entry_name(&json!({"x": 5})), None);
    }
}
