//! The command line: what was typed, and the validated configuration made of it.
//!
//! Flags have cAdvisor's names and defaults and are accepted in Go's spelling too (`-port=8080`). Each topic has a file
//! with its flags and what is made of them; a new flag goes there, and its result into [`Config`].

mod accepted;
mod access;
mod compare;
mod containers;
mod export;
mod exporters;
mod file;
mod hardware;
mod help;
mod host;
mod hosts;
mod in_force;
pub mod invocation;
mod kubelet;
mod logging;
mod metrics;
mod moment;
mod peer;
mod receivers;
mod reload;
mod report_format;
mod retention;
mod sampling;
mod server;
mod statistics;
mod storage;
#[cfg(test)]
mod tests;
mod top;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::thread::CapabilitySet;

use crate::api::prometheus::ExpositionOptions;
use crate::application::Rules;
use crate::archive;
use crate::discovery::filter::Filter;
use crate::kernel::HostRoots;
use crate::kernel::capabilities::ATTACH_TO_CGROUPS;
use crate::kernel::machine::container_mounts::ListedMounts;
use crate::push;
use crate::runtime::Runtimes;
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sampler::engine::Pace;
use crate::store::StoreLimits;

pub use access::{Access, Protected, TlsFiles};
pub use hardware::HardwareConfig;
pub use host::{CountersFrom, EbpfLog, KernelEvents};
pub use hosts::AllowedHosts;
pub use kubelet::{KubeletConfig, SecurePort, SystemCgroups};
pub use reload::ReadAgain;
pub use report_format::ReportFormat;
pub use sampling::LoadReading;
pub use statistics::StatisticsRequest;
pub use top::{SortBy, TopMode, TopRequest, Where};

// No documentation comment: it would become that of each command which takes these flags.
#[derive(Debug, clap::Args)]
struct Args {
    #[command(flatten)]
    server: server::ServerArgs,
    #[command(flatten)]
    sampling: sampling::SamplingArgs,
    #[command(flatten)]
    hardware: hardware::HardwareArgs,
    #[command(flatten)]
    retention: retention::RetentionArgs,
    #[command(flatten)]
    containers: containers::ContainersArgs,
    #[command(flatten)]
    metrics: metrics::MetricsArgs,
    #[command(flatten)]
    host: host::HostArgs,
    #[command(flatten)]
    access: access::AccessArgs,
    #[command(flatten)]
    exporters: exporters::ExporterArgs,
    #[command(flatten)]
    kubelet: kubelet::KubeletArgs,
    #[command(flatten)]
    logging: logging::LoggingArgs,
    /// TOML file with flags, by their names; a flag on the command line wins
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    config: Option<PathBuf>,
    // The last: it leaves out what the others have.
    #[command(flatten)]
    accepted: accepted::AcceptedArgs,
}

/// The validated configuration. Taken apart by the daemon; nothing below it sees the whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where Docker's API is served beside the port.
    pub docker_socket: Option<PathBuf>,
    /// The path below which everything is answered, such as `/cadvisor`; empty for the top.
    pub base_path: String,
    /// The path of the metrics, below the former.
    pub metrics_path: String,
    /// Memory that answers under way may take, in bytes.
    pub answer_buffer_bytes: usize,
    /// Authentication.
    pub access: Access,
    /// What is served in a kubelet's place.
    pub kubelet: KubeletConfig,
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
    /// Time between two measurements of a container's disk usage.
    pub disk_usage_every: Duration,
    /// Bounds of the store.
    pub store: StoreLimits,
    /// What of it is kept on disk; `None` for nothing.
    pub history: Option<archive::ArchiveOptions>,
    /// What is listed.
    pub filter: Filter,
    /// What is read.
    pub kinds: KindSet,
    /// What the applications of containers may ask for.
    pub application_metrics: Rules,
    /// How metrics are exposed.
    pub metrics: ExpositionOptions,
    /// Whether load averages are read.
    pub load_reader: LoadReading,
    /// What the processor counts.
    pub hardware: HardwareConfig,
    /// Candidates for the machine id.
    pub machine_id_files: Vec<PathBuf>,
    /// Candidates for the boot id.
    pub boot_id_files: Vec<PathBuf>,
    /// Container runtimes that may be there.
    pub runtimes: Runtimes,
    /// Which file systems are the machine's.
    pub listed_mounts: ListedMounts,
    /// Source of changes to cgroups.
    pub kernel_events: KernelEvents,
    /// Where counters of containers are read.
    pub counters: CountersFrom,
    /// Size of the kernel's event buffer.
    pub ring_buffer_bytes: u32,
    /// Log lines of the programs to forward.
    pub ebpf_log: EbpfLog,
    /// How long shutting down may take.
    pub grace: Duration,
    /// Push exporters.
    pub push: push::Options,
    /// CPUs that may be used at once; `None` for all.
    pub max_procs: Option<usize>,
    /// The log filter unless the environment sets one.
    pub log: &'static str,
    /// A line for the log about each flag that has no effect.
    pub notes: Vec<String>,
    /// How all this was given, to read it again.
    given: in_force::Given,
}

/// What was typed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a command line: clap's message on one line, or the help text.
    #[error("{message}")]
    Usage {
        /// What to print.
        message: String,
        /// What to exit with: 0 for help and version.
        exit_code: u8,
    },
    /// A flag's value is not possible.
    #[error("--{flag}={value}: {problem}")]
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
        let Args {
            server,
            sampling,
            hardware,
            retention,
            containers,
            metrics,
            host,
            access,
            exporters,
            kubelet,
            logging,
            // Read before the command line was taken apart.
            config: _,
            accepted,
        } = args;
        let interval = sampling.interval()?;
        let kinds = sampling.kinds()?;
        let disk_usage_every = sampling.disk_usage_interval.max(Duration::from_secs(1));
        let [machine_id_files, boot_id_files] = sampling.id_files();
        let (push, mut notes) = exporters.options(retention.storage_duration)?;
        notes.extend(sampling.notes());
        notes.extend(accepted.notes());
        notes.extend(containers.notes());
        let listen = server.listen()?;
        let (kernel_events, ring_buffer_bytes, ebpf_log) =
            (host.kernel_events, host.ring_buffer_bytes()?, host.ebpf_log);
        let counters = host.counters;
        let listed_mounts = host.listed_mounts();
        let roots = host.roots()?;
        let access = access.access()?;
        Ok(Self {
            docker_socket: server.docker_socket(),
            kubelet: kubelet.config(listen.ip(), access.tls.as_ref(), access.settings.tokens.as_ref())?,
            listen,
            base_path: server.base_path()?,
            metrics_path: server.metrics_path()?,
            answer_buffer_bytes: server.answer_buffer_bytes()?,
            access,
            runtimes: containers.runtimes(&roots.rootfs, kinds.has(MetricKind::Disk).then_some(disk_usage_every))?,
            interval,
            pace: sampling.pace(),
            verify_every: sampling.verify_every()?,
            machine_every: sampling.update_machine_info_interval.max(Duration::from_secs(1)),
            store: retention.limits(interval, &roots)?,
            history: retention.history()?,
            filter: containers.filter()?,
            application_metrics: sampling.application_rules(),
            disk_usage_every,
            kinds,
            metrics: metrics.options(kinds, sampling.kubelet_kinds(kinds))?,
            load_reader: sampling.load_reader(),
            hardware: HardwareConfig::from_args(hardware)?,
            machine_id_files,
            boot_id_files,
            listed_mounts,
            kernel_events,
            counters,
            ring_buffer_bytes,
            ebpf_log,
            roots,
            grace: server.shutdown_grace_period,
            push,
            max_procs: sampling.max_procs(),
            log: logging.filter(),
            notes,
            given: in_force::Given::default(),
        })
    }

    /// The rights that only some of what can be asked for uses, as far as it is.
    pub fn rights(&self) -> CapabilitySet {
        if self.kinds.has(MetricKind::NetworkCgroup) { ATTACH_TO_CGROUPS } else { CapabilitySet::empty() }
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Clap's message without the usage and without its prefix, on one line.
fn on_one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let line = lines.collect::<Vec<_>>().join("; ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}
