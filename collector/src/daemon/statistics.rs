//! `collector statistics`: one sample of one container, taken as the daemon takes it, with the source of each number.

use std::io::Write as _;
use std::sync::Arc;

use rustix::thread::CapabilitySet;

use super::{DaemonError, read_machine, reader_context, system};
use crate::api::sources;
use crate::bounds::ForTerminal;
use crate::config::{CountersFrom, KernelEvents, ReportFormat, StatisticsRequest};
use crate::discovery::find::find;
use crate::kernel::cgroup::{Hierarchies, Mode};
use crate::kernel::descriptors::DescriptorPlan;
use crate::kernel::file::{FileBudget, ReadBuffer};
use crate::kernel::machine::identity::IdentityFiles;
use crate::reader::container::{ContainerReader, Extras, Member, NetworkFiles, Scratch};
use crate::sample::statistic::Statistics;

/// Prints every statistic of the container.
///
/// # Errors
/// When there are no cgroups, or not this one.
pub fn print(request: &StatisticsRequest) -> Result<(), DaemonError> {
    let StatisticsRequest { container, format, config } = request;
    // As the daemon does; what may not be read without a right is absent from the list.
    let _ = crate::kernel::capabilities::settle(CapabilitySet::empty());
    let hierarchies = Arc::new(Hierarchies::detect(&config.roots)?);
    let cgroup = &*find(container, &hierarchies, &config.roots.proc, &config.runtimes)?;
    let mut buffer = ReadBuffer::new();
    let members: Vec<_> = hierarchies
        .iter()
        .filter_map(|hierarchy| Some(Member { hierarchy: hierarchy.id, id: hierarchy.id_of(cgroup, &mut buffer)? }))
        .collect();
    let layout = match hierarchies.mode {
        Mode::V1 => "v1",
        Mode::Hybrid => "hybrid",
        Mode::V2 => "v2",
    };
    let machine = read_machine(&config.roots, &IdentityFiles::default(), config.listed_mounts);
    let budget = FileBudget::new(DescriptorPlan::of_process().statistics);
    let (network_files, extras) = (NetworkFiles::OpenedEachTime, Extras::default());
    let context = reader_context(config, hierarchies, &machine, network_files, extras, budget);
    if config.counters == CountersFrom::Auto
        && config.kernel_events != KernelEvents::Scan
        && !context.counter_families().is_empty()
    {
        // Without them the files have the same numbers.
        let _ = super::kernel_memory::use_at_once(&context, &config.roots);
    }
    let mut reader = ContainerReader::new(cgroup.into(), &members);
    let gone = |_| DaemonError::NoCgroup(String::from_utf8_lossy(cgroup).into_owned());
    let list = reader.statistics(&context, &mut Scratch::default()).map_err(gone)?;
    let found = Statistics { cgroup: cgroup.to_vec(), layout, list };
    crate::api::wire::time::use_local_zone();
    let mut output = std::io::stdout().lock();
    let printed = match format {
        ReportFormat::Text => write!(output, "{}", ForTerminal(&sources::text(&found))),
        ReportFormat::Json => output.write_all(&sources::json(&found)).and_then(|()| output.write_all(b"\n")),
    };
    printed.map_err(system("printing"))
}
