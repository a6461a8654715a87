//! The command line: what was typed, and the validated configuration made of it.
//!
//! Flags have cAdvisor's names and defaults and are accepted in Go's spelling too (`-port=8080`). Each topic has a file
//! with its flags and what is made of them; a new flag goes there, and its result into [`Config`].

mod containers;
mod exporters;
mod host;
pub mod invocation;
mod retention;
mod sampling;
mod server;
mod statistics;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::kernel::HostRoots;
use crate::push::Options;
use crate::runtime::Runtimes;
use crate::sample::kinds::KindSet;
use crate::sampler::engine::Pace;
use crate::sampler::filter::Filter;
use crate::store::StoreLimits;

pub use host::{EbpfLog, KernelEvents};
pub use sampling::LoadReading;
pub use statistics::StatisticsRequest;

// No documentation comment: it would become that of each command which takes these flags.
#[derive(Debug, clap::Args)]
struct Args {
    #[command(flatten)]
    server: server::ServerArgs,
    #[command(flatten)]
    sampling: sampling::SamplingArgs,
    #[command(flatten)]
    retention: retention::RetentionArgs,
    #[command(flatten)]
    containers: containers::ContainersArgs,
    #[command(flatten)]
    host: host::HostArgs,
    #[command(flatten)]
    exporters: exporters::ExporterArgs,
}

/// The validated configuration. Taken apart by the daemon; nothing below it sees the whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where Docker's API is served beside the port.
    pub docker_socket: Option<PathBuf>,
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
    /// What is sent to whom.
    pub push: Options,
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
        let Args { server, sampling, retention, containers, host, exporters } = args;
        let interval = sampling.interval()?;
        let [machine_id_files, boot_id_files] = sampling.id_files();
        Ok(Self {
            listen: server.listen()?,
            docker_socket: server.docker_socket(),
            runtimes: containers.runtimes()?,
            interval,
            pace: sampling.pace(),
            verify_every: sampling.verify_every()?,
            machine_every: sampling.update_machine_info_interval.max(Duration::from_secs(1)),
            store: retention.limits(interval)?,
            filter: containers.filter(),
            kinds: sampling.kinds()?,
            load_reader: sampling.load_reader(),
            machine_id_files,
            boot_id_files,
            kernel_events: host.kernel_events,
            ring_buffer_bytes: host.ring_buffer_bytes()?,
            ebpf_log: host.ebpf_log,
            roots: host.roots(),
            grace: server.shutdown_grace_period,
            push: exporters.options(retention.storage_duration)?,
        })
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Clap's message without the usage, on one line.
fn on_one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    lines.collect::<Vec<_>>().join("; ")
}
