//! The command line: what was typed, and the validated configuration made of it.
//!
//! Flags have cAdvisor's names and defaults and are accepted in Go's spelling too (`-port=8080`).

pub mod invocation;
mod statistics;

use std::collections::HashMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ValueEnum};

use crate::go_flags::{go_bool, go_duration};
use crate::kernel::{GivenRoots, HostRoots};
use crate::runtime::{Endpoint, Runtimes};
use crate::sample::event::EventKind;
use crate::sample::identity::Runtime;
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sampler::engine::Pace;
use crate::sampler::filter::{Filter, RawCgroups};
use crate::store::StoreLimits;
use crate::store::event_log::{EventLimits, KindLimits};
use crate::store::history::Limits;

pub use statistics::StatisticsRequest;

const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

// No documentation comment: it would become that of each command which takes these flags.
#[derive(Debug, clap::Args)]
struct Args {
    /// Address to listen on; empty for all
    #[arg(long = "listen_ip", default_value = "")]
    listen_ip: String,
    /// Port to listen on; 0 for any free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Time between two samples of a container
    #[arg(long = "housekeeping_interval", default_value = "1s", value_parser = go_duration)]
    housekeeping_interval: Duration,
    /// Longest time between two samples of a container that does not change
    #[arg(long = "max_housekeeping_interval", default_value = "1m0s", value_parser = go_duration)]
    max_housekeeping_interval: Duration,
    /// Sample containers that do not change less often
    #[arg(long = "allow_dynamic_housekeeping", default_value = "true", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    allow_dynamic_housekeeping: bool,
    /// Time between two scans that verify what the kernel's events told
    #[arg(long = "global_housekeeping_interval", default_value = "1m0s", value_parser = go_duration)]
    global_housekeeping_interval: Duration,
    /// Time between two readings of the machine's description
    #[arg(long = "update_machine_info_interval", default_value = "5m0s", value_parser = go_duration)]
    update_machine_info_interval: Duration,
    /// How long samples are kept
    #[arg(long = "storage_duration", default_value = "2m0s", value_parser = go_duration)]
    storage_duration: Duration,
    /// How long events are kept, by kind: `default=24h,oom=48h`
    #[arg(long = "event_storage_age_limit", default_value = "default=24h")]
    event_storage_age_limit: String,
    /// How many events are kept, by kind, -1 for any number: `default=100000,oom=-1`
    #[arg(long = "event_storage_event_limit", default_value = "default=100000")]
    event_storage_event_limit: String,
    /// How long the OOM kills of an ended container are still counted
    #[arg(long = "ended_container_retention", default_value = "2m0s", value_parser = go_duration)]
    ended_container_retention: Duration,
    /// List only containers of a runtime, and the root
    #[arg(long = "docker_only", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    docker_only: bool,
    /// List only those raw cgroups whose names begin with one of these, separated by commas
    #[arg(long = "raw_cgroup_prefix_whitelist", default_value = "")]
    raw_cgroup_prefix_whitelist: String,
    /// Most metrics that the application of one container may have
    #[arg(long = "application_metrics_count_limit", default_value_t = 100)]
    application_metrics_count_limit: usize,
    /// Metric kinds not to read, separated by commas; replaces the default list
    #[arg(long = "disable_metrics")]
    disable_metrics: Option<String>,
    /// If not empty, exactly these metric kinds are read
    #[arg(long = "enable_metrics", default_value = "")]
    enable_metrics: String,
    /// Read the load average of each cgroup (cgroup v1)
    #[arg(long = "enable_load_reader", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    enable_load_reader: bool,
    /// Files that may hold the machine id, separated by commas
    #[arg(long = "machine_id_file", default_value = "/etc/machine-id,/var/lib/dbus/machine-id")]
    machine_id_file: String,
    /// Files that may hold the boot id, separated by commas
    #[arg(long = "boot_id_file", default_value = "/proc/sys/kernel/random/boot_id")]
    boot_id_file: String,
    /// Where Docker listens; empty for none
    #[arg(long, default_value = "unix:///var/run/docker.sock")]
    docker: String,
    /// Where podman listens; empty for none
    #[arg(long, default_value = "unix:///var/run/podman/podman.sock")]
    podman: String,
    /// Where containerd listens; empty for none
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    containerd: String,
    /// containerd's namespaces to look for containers in, separated by commas
    #[arg(long = "containerd-namespace", default_value = "k8s.io,default,moby")]
    containerd_namespace: String,
    /// Where CRI-O listens; empty for none
    #[arg(long, default_value = "unix:///var/run/crio/crio.sock")]
    crio: String,
    /// Beginnings of the names of environment variables to show, separated by commas
    #[arg(long = "env_metadata_whitelist", default_value = "")]
    env_metadata_whitelist: String,
    /// Where changes are learnt from
    #[arg(long = "kernel_events", value_enum, default_value_t = KernelEvents::Auto)]
    kernel_events: KernelEvents,
    /// Size of the kernel's event buffer: a power of two and a multiple of the page size
    #[arg(long = "ring_buffer_bytes", default_value_t = 1 << 20)]
    ring_buffer_bytes: u32,
    /// Log lines of the eBPF programs to forward
    #[arg(long = "ebpf_log", value_enum, default_value_t = EbpfLog::Off)]
    ebpf_log: EbpfLog,
    /// How long open requests may take to finish after SIGTERM
    #[arg(long = "shutdown_grace_period", default_value = "5s", value_parser = go_duration)]
    shutdown_grace_period: Duration,
    /// The host's root directory; by default /rootfs or /host if the host's procfs is mounted below it, else /
    #[arg(long)]
    rootfs: Option<PathBuf>,
    /// The host's procfs; by default `proc` below the host's root
    #[arg(long = "proc_root")]
    proc_root: Option<PathBuf>,
    /// The host's sysfs; by default `sys` below the host's root if it is mounted there, else /sys
    #[arg(long = "sys_root")]
    sys_root: Option<PathBuf>,
    /// The directory that holds the host's cgroup mounts, or is one; by default `fs/cgroup` below a sysfs
    #[arg(long = "cgroup_root")]
    cgroup_root: Option<PathBuf>,
}

/// Where changes are learnt from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KernelEvents {
    /// From eBPF where the kernel and the privileges allow it, else from scans
    Auto,
    /// From eBPF; without it the collector does not start
    Ebpf,
    /// From scans
    Scan,
}

/// Log lines of the eBPF programs to forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EbpfLog {
    /// None
    Off,
    /// OOM kills
    Info,
    /// And long paths and first processes
    Debug,
}

/// The validated configuration. Taken apart by the daemon; nothing below it sees the whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the host is mounted.
    pub roots: HostRoots,
    /// Base sampling interval.
    pub interval: Duration,
    /// Whether it grows for containers that do not change.
    pub pace: Pace,
    /// Time between two verifying scans.
    pub verify_every: Duration,
    /// Time between two readings of the machine's description.
    pub machine_every: Duration,
    /// Bounds of the store.
    pub store: StoreLimits,
    /// What is listed.
    pub filter: Filter,
    /// What is read.
    pub kinds: KindSet,
    /// Metrics that the application of one container may have.
    pub application_metrics: usize,
    /// Whether load averages are read.
    pub load_reader: LoadReading,
    /// Candidates for the machine id.
    pub machine_id_files: Vec<PathBuf>,
    /// Candidates for the boot id.
    pub boot_id_files: Vec<PathBuf>,
    /// Container runtimes that may be there.
    pub runtimes: Runtimes,
    /// Where changes are learnt from.
    pub kernel_events: KernelEvents,
    /// Size of the kernel's event buffer.
    pub ring_buffer_bytes: u32,
    /// Log lines of the programs to forward.
    pub ebpf_log: EbpfLog,
    /// How long shutting down may take.
    pub grace: Duration,
}

/// Whether load averages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadReading {
    /// No.
    Off,
    /// From the kernel's cgroupstats, cgroup v1 only.
    On,
}

/// What was typed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a command line: clap's words on one line, or the help text.
    #[error("{message}")]
    Usage {
        /// What to print.
        message: String,
        /// What to exit with: 0 for help and version.
        exit_code: u8,
    },
    /// A flag's value is not possible.
    #[error("error: --{flag}={value}: {problem}")]
    Value {
        /// The flag's name.
        flag: &'static str,
        /// What was typed.
        value: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

fn value_error(flag: &'static str, value: &dyn Display, problem: &dyn Display) -> ConfigError {
    ConfigError::Value { flag, value: value.to_string(), problem: problem.to_string() }
}

impl Config {
    fn from_args(args: Args) -> Result<Self, ConfigError> {
        let ip = match args.listen_ip.as_str() {
            "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ip => ip.parse().map_err(|_| value_error("listen_ip", &ip, &"not an IP address; try 127.0.0.1"))?,
        };
        let endpoints = runtimes(&args)?;
        let interval = args.housekeeping_interval;
        if interval < SHORTEST_INTERVAL {
            return Err(value_error("housekeeping_interval", &format_args!("{interval:?}"), &"use at least 10ms"));
        }
        if args.global_housekeeping_interval < Duration::from_secs(1) {
            let value = format!("{:?}", args.global_housekeeping_interval);
            return Err(value_error("global_housekeeping_interval", &value, &"use at least 1s"));
        }
        let pace = if args.allow_dynamic_housekeeping && args.max_housekeeping_interval > interval {
            Pace::Dynamic { max: args.max_housekeeping_interval }
        } else {
            Pace::Fixed
        };
        let page_size = rustix::param::page_size() as u32;
        if !args.ring_buffer_bytes.is_power_of_two() || args.ring_buffer_bytes < page_size {
            let problem = format!("not a power of two of at least the page size, {page_size}; the default is 1048576");
            return Err(value_error("ring_buffer_bytes", &args.ring_buffer_bytes, &problem));
        }
        // On-demand samples come on top of the periodic ones, so twice what the interval makes.
        let periodic = args.storage_duration.as_nanos() / interval.as_nanos();
        let count = usize::try_from(periodic * 2).unwrap_or(usize::MAX).clamp(64, 100_000);
        let store = StoreLimits {
            history: Limits { age: args.storage_duration, count },
            events: event_limits(&args.event_storage_age_limit, &args.event_storage_event_limit)?,
            ended_retention: args.ended_container_retention,
        };
        let prefixes = list(&args.raw_cgroup_prefix_whitelist).map(|prefix| prefix.as_bytes().to_vec()).collect();
        let raw = if args.docker_only { RawCgroups::Skip } else { RawCgroups::List };
        let roots = HostRoots::locate(GivenRoots {
            proc: args.proc_root,
            sys: args.sys_root,
            cgroup: args.cgroup_root,
            rootfs: args.rootfs,
        });
        Ok(Self {
            listen: SocketAddr::new(ip, args.port),
            roots,
            interval,
            pace,
            verify_every: args.global_housekeeping_interval,
            machine_every: args.update_machine_info_interval.max(Duration::from_secs(1)),
            store,
            filter: Filter { raw, prefixes },
            application_metrics: args.application_metrics_count_limit,
            kinds: kinds(args.disable_metrics.as_deref(), &args.enable_metrics)?,
            load_reader: if args.enable_load_reader { LoadReading::On } else { LoadReading::Off },
            machine_id_files: list(&args.machine_id_file).map(PathBuf::from).collect(),
            boot_id_files: list(&args.boot_id_file).map(PathBuf::from).collect(),
            runtimes: Runtimes {
                endpoints,
                containerd_namespaces: list(&args.containerd_namespace).map(str::to_owned).collect(),
                environment: list(&args.env_metadata_whitelist).map(str::to_owned).collect(),
            },
            kernel_events: args.kernel_events,
            ring_buffer_bytes: args.ring_buffer_bytes,
            ebpf_log: args.ebpf_log,
            grace: args.shutdown_grace_period,
        })
    }
}

fn runtimes(args: &Args) -> Result<Vec<(Runtime, Endpoint)>, ConfigError> {
    // Docker's containers are containerd's too: who knows more is asked first.
    let asked_for = [
        ("docker", Runtime::Docker, &args.docker),
        ("podman", Runtime::Podman, &args.podman),
        ("crio", Runtime::CriO, &args.crio),
        ("containerd", Runtime::Containerd, &args.containerd),
    ];
    let asked_for = asked_for.into_iter().filter(|(_, _, endpoint)| !endpoint.is_empty());
    let parsed = asked_for.map(|(flag, runtime, endpoint)| {
        // cAdvisor takes containerd's socket as a bare path.
        let full = if endpoint.starts_with('/') { format!("unix://{endpoint}") } else { endpoint.clone() };
        let endpoint = full.parse().map_err(|error| value_error(flag, endpoint, &error))?;
        Ok((runtime, endpoint))
    });
    parsed.collect()
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn kinds(disable: Option<&str>, enable: &str) -> Result<KindSet, ConfigError> {
    let parse = |flag: &'static str, text: &str| -> Result<Vec<MetricKind>, ConfigError> {
        list(text).map(|name| name.parse().map_err(|error| value_error(flag, &text, &error))).collect()
    };
    let enabled = parse("enable_metrics", enable)?;
    if !enabled.is_empty() {
        return Ok(KindSet::none().union(enabled));
    }
    match disable {
        None => Ok(KindSet::default()),
        Some(disable) => Ok(KindSet::all().without(parse("disable_metrics", disable)?)),
    }
}

fn event_limits(ages: &str, counts: &str) -> Result<EventLimits, ConfigError> {
    let ages = per_kind("event_storage_age_limit", ages, go_duration)?;
    let counts = per_kind("event_storage_event_limit", counts, |text| match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(count) => usize::try_from(count).map(Some).map_err(|_| format!("{text:?} is below -1")),
        Err(_) => Err(format!("{text:?} is not a whole number")),
    })?;
    let default = KindLimits {
        age: ages.get(&None).copied().unwrap_or(Duration::from_hours(24)),
        count: counts.get(&None).copied().unwrap_or(Some(100_000)),
    };
    let kinds = EventKind::ALL.into_iter().map(|kind| {
        let age = ages.get(&Some(kind)).copied().unwrap_or(default.age);
        (kind, KindLimits { age, count: counts.get(&Some(kind)).copied().unwrap_or(default.count) })
    });
    Ok(EventLimits { default, kinds: kinds.collect() })
}

/// `default=A,oom=B`, with `None` for the default.
fn per_kind<T>(
    flag: &'static str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<HashMap<Option<EventKind>, T>, ConfigError> {
    let kind_names = || EventKind::ALL.map(EventKind::name).join(", ");
    list(text)
        .map(|part| {
            let (kind, value) = part
                .split_once('=')
                .ok_or_else(|| value_error(flag, &text, &format_args!("{part:?} is not of the form kind=limit")))?;
            let kind = match kind {
                "default" => None,
                name => Some(EventKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
                    value_error(flag, &text, &format_args!("unknown kind {name:?}; use default, {}", kind_names()))
                })?),
            };
            Ok((kind, parse(value).map_err(|problem| value_error(flag, &text, &problem))?))
        })
        .collect()
}

/// Clap's message without the usage, on one line.
fn on_one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[&str]) -> Result<Config, String> {
        let args = std::iter::once("collector").chain(flags.iter().copied()).map(Into::into);
        match invocation::Invocation::from_command_line(args).map_err(|error| error.to_string())? {
            invocation::Invocation::Run(config) => Ok(*config),
            command => panic!("flags alone are {command:?}"),
        }
    }

    #[test]
    fn the_defaults_are_cadvisors() {
        let config = config(&[]).unwrap();
        assert_eq!(config.listen.port(), 8080);
        assert!(config.listen.ip().is_unspecified());
        assert_eq!(config.interval, Duration::from_secs(1));
        assert_eq!(config.pace, Pace::Dynamic { max: Duration::from_secs(60) });
        assert_eq!(config.store.history.age, Duration::from_secs(120));
        assert_eq!(config.store.events.default.age, Duration::from_secs(86_400));
        assert_eq!(config.store.events.default.count, Some(100_000));
        assert_eq!(config.kinds, KindSet::default());
        assert_eq!(config.application_metrics, 100);
        assert_eq!(config.filter, Filter::default());
    }

    #[test]
    fn both_spellings_are_understood() {
        for flags in [
            ["-port=9", "-docker_only", "-listen_ip", "127.0.0.1", "-housekeeping_interval=1m30s"],
            ["--port=9", "--docker_only=true", "--listen_ip", "127.0.0.1", "--housekeeping_interval=90s"],
        ] {
            let config = config(&flags).unwrap();
            assert_eq!(config.listen, "127.0.0.1:9".parse().unwrap());
            assert_eq!(config.filter.raw, RawCgroups::Skip);
            assert_eq!(config.interval, Duration::from_secs(90));
        }
    }

    #[test]
    fn metric_kinds_replace_the_default() {
        let kinds = |flags: &[&str]| config(flags).map(|config| config.kinds.to_string());
        assert_eq!(kinds(&["--disable_metrics="]).unwrap(), KindSet::all().to_string());
        let all_but_two = KindSet::all().without([MetricKind::Cpu, MetricKind::Sched]).to_string();
        assert_eq!(kinds(&["--disable_metrics=cpu,sched"]).unwrap(), all_but_two);
        assert_eq!(kinds(&["--disable_metrics=cpu", "--enable_metrics=memory,cpu"]).unwrap(), "cpu,memory");
    }

    #[test]
    fn event_limits_are_per_kind() {
        let config = config(&["--event_storage_event_limit=default=5,oom=-1,containerCreation=0"]).unwrap();
        let count = |kind| config.store.events.kinds[&kind].count;
        assert_eq!(count(EventKind::Oom), None);
        assert_eq!(count(EventKind::OomKill), Some(5));
        assert_eq!(count(EventKind::ContainerCreation), Some(0));
    }

    #[test]
    fn mistakes_are_named_on_one_line() {
        for (flags, expected) in [
            (&["--prot=1"][..], "error: unexpected argument '--prot' found; tip: a similar argument exists: '--port'"),
            (&["-port=x"], "error: invalid value 'x' for '--port <PORT>': invalid digit found in string"),
            (&["--port=70000"], "error: invalid value '70000' for '--port <PORT>': 70000 is not in 0..=65535"),
            (&["--listen_ip=localhost"], "error: --listen_ip=localhost: not an IP address; try 127.0.0.1"),
            (&["--housekeeping_interval=1ms"], "error: --housekeeping_interval=1ms: use at least 10ms"),
            (
                &["--event_storage_age_limit=oom=x"],
                "error: --event_storage_age_limit=oom=x: \"x\" is not a duration such as 10s, 1m30s or 500ms",
            ),
            (
                &["--event_storage_age_limit=foo=1s"],
                "error: --event_storage_age_limit=foo=1s: unknown kind \"foo\"; use default, oom, oomKill, \
                 containerCreation, containerDeletion",
            ),
            (
                &["--ring_buffer_bytes=1000"],
                "error: --ring_buffer_bytes=1000: not a power of two of at least the page size, 4096; the default is \
                 1048576",
            ),
        ] {
            assert_eq!(config(flags).unwrap_err(), expected);
        }
        let error = config(&["--enable_metrics=cpux"]).unwrap_err();
        assert!(
            error.starts_with("error: --enable_metrics=cpux: unknown metric kind \"cpux\"; the kinds are"),
            "{error}"
        );
        for flags in [&["--prot=1"][..], &["--enable_metrics=x"], &["--kernel_events=maybe"]] {
            let error = config(flags).unwrap_err();
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
