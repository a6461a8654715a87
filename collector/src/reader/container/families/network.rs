//! Network counters of a container's processes, where they live in another network namespace than the host.
//!
//! A process of the container stands for all of them: the one that its runtime reports, or else the one that looks like
//! the first (`first_process`). Its namespace is compared with the host's at every one of the first samples, since a runtime
//! makes the namespace after the process, and seldom later. The file with the counters belongs to the namespace and stays
//! open in between: finding it by the process costs more than reading it. That keeps the namespace, so it is closed when the
//! last process is reported to have ended, and at a look that finds it in another namespace, or nobody for a while.

mod looks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use looks::Looks;

use super::{Family, Mounted, Place, Reading, Rows, fields, first_process, flat, sockets};
use crate::bounds::Bound;
use crate::kernel::cgroup::{Hierarchy, children};
use crate::kernel::error::ReadError;
use crate::kernel::file::KeptFile;
use crate::kernel::odd_lines::OddLines;
use crate::kernel::procfs::network::{Counters, interfaces};
use crate::kernel::procfs::process::{NamespaceId, ProcessDir, network_namespace};
use crate::kernel::procfs::process_index::ProcessIndex;
use crate::reader::container::context::{Hints, NETWORK_KINDS, NetworkFiles, ProcessSource, ReaderContext};
use crate::reader::container::network_owner::{NetworkOf, Standing};
use crate::reader::container::processes::members;
use crate::reader::container::rows::keys::{Base, part, whole};
use crate::runtime::cgroup_names;
use crate::sample::container::{Interface, Network, Sample, Traffic};
use crate::sample::identity::NetworkSource;
use crate::sample::kinds::MetricKind;
use crate::sample::spec::Spec;
use crate::sample::statistic::{Absence, Value};

/// How old an index of the host's processes may be at the first samples, and later.
const INDEX_AGES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// Cgroups below a container's that are looked at for a process, at most.
const MOST_CGROUPS: usize = 64;
/// Interfaces of a container: it may make as many as it likes, where it may make any.
const CONTAINER_INTERFACES: usize = 256;
/// Interfaces of the machine.
const MACHINE_INTERFACES: usize = 4_096;
/// So long the file is kept where a look finds nobody.
const DESERTED_FOR: Duration = Duration::from_secs(5);
/// Stands for the whole host.
const FIRST_PROCESS: u32 = 1;

#[derive(Debug, Default)]
pub(in crate::reader::container) struct NetworkState {
    hint: Option<u32>,
    looks: Looks,
    own: Option<OwnNamespace>,
    /// `net/dev` of that namespace.
    devices: KeptFile,
    /// The last process has ended: there is none to look for.
    is_empty: bool,
    /// Since when looks find nobody.
    deserted: Option<Instant>,
    /// Processes were reported, which may not be listed yet.
    is_expecting: bool,
    /// The process last looked at, where processes are looked up in an index.
    looked_at: Option<u32>,
    /// The hierarchy in which processes were found, or the one to ask next.
    position: usize,
    /// The interfaces' names, kept so that samples share them.
    names: Vec<Arc<str>>,
    /// The names of TCP's counters, in the same way.
    counters: Arc<[&'static str]>,
    owner: NetworkOf,
    /// The process that was found to stand for all of the cgroup's.
    chosen: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct OwnNamespace {
    id: NamespaceId,
    pid: u32,
}

impl Family for NetworkState {
    fn place(&self, _: &Mounted<'_>) -> Option<Place> {
        None
    }

    fn read_beside(&mut self, _: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        sample.network = self.sample(reading);
    }

    fn limits(&mut self, _: Option<Place>, reading: &mut Reading<'_>, spec: &mut Spec) {
        spec.has_network = if reading.is_root() { reading.ctx.machine.has_network } else { self.own.is_some() };
    }

    fn explain(&self, _: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        // The process whose namespace the last sample was read from.
        let process = if rows.reading.is_root() { Some(FIRST_PROCESS) } else { self.own.map(|own| own.pid) };
        explain(process, rows, sample.network.as_ref());
    }
}

impl NetworkState {
    pub(in crate::reader::container) fn hint(&mut self, pid: u32) {
        self.hint = Some(pid);
        self.is_expecting = true;
        self.looks.is_vacant = false;
    }

    fn is_looked_for(&self, ctx: &ReaderContext) -> bool {
        NETWORK_KINDS.into_iter().any(|kind| ctx.kinds.has(kind))
            && self.owner.source != NetworkSource::Nowhere
            && !matches!(ctx.processes, ProcessSource::Hidden)
    }

    /// Whether the last sample had no network and the next one would not look for any.
    pub(in crate::reader::container) fn is_quiet(&self, ctx: &ReaderContext) -> bool {
        let is_due = || self.hint.is_some() || self.looks.is_due(Instant::now());
        self.own.is_none() && !(self.is_looked_for(ctx) && is_due())
    }

    /// A sample was stored without asking.
    pub(in crate::reader::container) fn passed_over(&mut self) {
        self.looks.count();
    }

    pub(in crate::reader::container) fn refresh(&mut self) {
        self.is_empty = false;
        self.is_expecting = true;
        self.looks = Looks::default();
    }

    /// Whose the counters are, as far as the container's runtime reported.
    pub(in crate::reader::container) fn set_owner(&mut self, owner: NetworkOf) {
        let before = std::mem::replace(&mut self.owner, owner);
        if before.source != owner.source {
            self.leave();
        } else if before != owner && self.own.map(|own| own.pid) != owner.process {
            // Looked for anew; what is found may be what is there already.
            self.looks = Looks::default();
        }
    }

    /// Nobody lives in it any more; what is open is read as it is.
    pub(in crate::reader::container) fn keep(&mut self) {
        self.is_empty = true;
        self.is_expecting = false;
    }

    /// Lets go of the namespace.
    pub(in crate::reader::container) fn leave(&mut self) {
        self.own = None;
        self.hint = None;
        self.devices.close();
        self.refresh();
        self.is_expecting = false;
    }

    /// The file that is kept open, which belongs to no cgroup.
    pub(in crate::reader::container) fn namespace_file(&mut self) -> &mut KeptFile {
        &mut self.devices
    }

    fn sample(&mut self, reading: &mut Reading<'_>) -> Option<Network> {
        if !self.is_looked_for(reading.ctx) {
            return None;
        }
        if reading.is_root() {
            return self.read(reading, FIRST_PROCESS);
        }
        let due = self.looks.due() && !(self.is_empty && self.devices.is_kept());
        if due || !self.stays(reading) {
            // Without a live process or the right to look at it nothing is known; an empty container is not looked at
            // again before it is due.
            if !due && self.own.is_none() {
                return None;
            }
            let before = self.own;
            self.own = self.find(reading);
            if self.devices.is_kept() && self.deserted.is_some_and(|since| since.elapsed() < DESERTED_FOR) {
                (self.own, self.looks.is_vacant) = (before, false);
            } else if before.map(|own| own.id) != self.own.map(|own| own.id) {
                self.devices.close();
            }
        }
        let own = self.own?;
        self.read(reading, own.pid)
    }

    /// Whether what is read belongs to the container without looking for a process: an open file does. Otherwise the
    /// process has to be still alive and in the namespace; its number may be another's by now.
    fn stays(&self, reading: &mut Reading<'_>) -> bool {
        let from_file = reading.ctx.kinds.has(MetricKind::Network) && !sockets::are_wanted(reading.ctx.kinds);
        self.own.is_some_and(|own| {
            (from_file && self.devices.is_kept())
                || network_namespace(&reading.ctx.roots.proc, own.pid, reading.buffer).is_ok_and(|id| id == own.id)
        })
    }

    /// Finds a process, and its namespace unless that is the host's.
    fn find(&mut self, reading: &mut Reading<'_>) -> Option<OwnNamespace> {
        let host = reading.ctx.host_network?;
        let hint = self.hint.take();
        let first = self.first_of_runtime(reading);
        let found = match &reading.ctx.processes {
            ProcessSource::Hidden => None,
            _ if first.is_some() => first,
            ProcessSource::Listed(hints) => {
                let hint = hint.filter(|_| *hints == Hints::Taken);
                let hinted = hint.and_then(|pid| Some((pid, namespace_of(pid, reading)?)));
                hinted.or_else(|| {
                    let found = self.find_process(reading).or_else(|| self.elsewhere(reading));
                    // Of a pod's other containers nothing is reported here.
                    let may_be_vacant = found.is_none()
                        && !self.is_expecting
                        && reading.ctx.network_files == NetworkFiles::Kept
                        && self.owner.source != NetworkSource::Pod;
                    // Before it is left alone for long, every hierarchy is asked.
                    let mut all = reading.live_positions();
                    let found =
                        if may_be_vacant { all.find_map(|position| self.ask(reading, position)) } else { found };
                    self.looks.is_vacant = may_be_vacant && found.is_none();
                    let pid = found?;
                    Some((pid, namespace_of(pid, reading)?))
                })
            }
            ProcessSource::Indexed(index) => {
                self.looked_at = self.indexed(hint, index, reading).or_else(|| self.elsewhere(reading));
                self.looked_at.and_then(|pid| Some((pid, namespace_of(pid, reading)?)))
            }
        };
        self.deserted = if found.is_some() { None } else { self.deserted.or_else(|| Some(Instant::now())) };
        let (pid, id) = found.filter(|(_, id)| *id != host)?;
        // What is inside of a container belongs to it, and so does its traffic.
        let outer = cgroup_names::enclosing(reading.name).filter(|_| self.owner.standing == Standing::Unknown);
        let is_repeated = outer.is_some_and(|outer| {
            let of_outer = self.first_below(reading, outer).and_then(|pid| namespace_of(pid, reading));
            of_outer.is_none_or(|of_outer| of_outer == id)
        });
        (!is_repeated).then_some(OwnNamespace { id, pid })
    }

    /// The container's first process, as its runtime reported, and its namespace: if it still is the container's. Its id may
    /// be another's by now, or one of another pid namespace.
    fn first_of_runtime(&self, reading: &mut Reading<'_>) -> Option<(u32, NamespaceId)> {
        let pid = self.owner.process?;
        let id = cgroup_names::candidate(reading.name)?.container.id.as_bytes();
        let process = ProcessDir::new(pid);
        let text = process.file(&reading.ctx.roots.proc, "cgroup").read(reading.buffer).ok()?;
        let is_in_it = text.windows(id.len()).any(|part| part == id);
        if is_in_it { Some((pid, namespace_of(pid, reading)?)) } else { None }
    }

    /// A process of the container that is not in its very cgroup: in one below, as with a systemd inside, or of a
    /// sandbox that has none in another container of its pod.
    fn elsewhere(&self, reading: &mut Reading<'_>) -> Option<u32> {
        let name = reading.name;
        if self.owner.source == NetworkSource::Pod
            && let Some(pod) = cgroup_names::pod_cgroup(name)
        {
            return self.first_below(reading, pod);
        }
        let is_whole = self.owner.standing == Standing::Container || cgroup_names::is_whole(name);
        if is_whole { self.first_below(reading, name) } else { None }
    }

    /// The first process in or below this cgroup, the nearest first.
    fn first_below(&self, reading: &mut Reading<'_>, top: &[u8]) -> Option<u32> {
        let likely = reading.ctx.sources.likely_processes;
        likely.into_iter().flatten().find_map(|position| {
            let hierarchy = reading.ctx.hierarchies.at(position)?;
            let mut level = vec![top.to_vec()];
            let mut looked_at = 0;
            while !level.is_empty() {
                let mut below = Vec::new();
                for cgroup in level {
                    if looked_at == MOST_CGROUPS {
                        return None;
                    }
                    looked_at += 1;
                    if let Some(pid) = self.first_in(reading, hierarchy, &cgroup) {
                        return Some(pid);
                    }
                    let inner = children(hierarchy, &cgroup).into_iter().take(MOST_CGROUPS);
                    below.extend(inner.map(|child| [&cgroup, &b"/"[..], &child].concat()));
                }
                level = below;
            }
            None
        })
    }

    fn first_in(&self, reading: &mut Reading<'_>, hierarchy: &Hierarchy, cgroup: &[u8]) -> Option<u32> {
        match &reading.ctx.processes {
            ProcessSource::Hidden => None,
            ProcessSource::Listed(_) => {
                let pids = members(reading, hierarchy, cgroup)?;
                first_process::first(reading, &pids)
            }
            ProcessSource::Indexed(index) => {
                let mut pids = index.processes(hierarchy.id, cgroup, self.index_age());
                pids.retain(|pid| index.belongs(*pid, cgroup, reading.buffer));
                first_process::first(reading, &pids)
            }
        }
    }

    fn index_age(&self) -> Duration {
        let [settling, later] = INDEX_AGES;
        if self.looks.is_settling() { settling } else { later }
    }

    /// A process that is in the container now: the one an event reported, the one of before, or one of the index.
    fn indexed(&self, hint: Option<u32>, index: &ProcessIndex, reading: &mut Reading<'_>) -> Option<u32> {
        let name = reading.name;
        let known = [self.looked_at, hint].into_iter().flatten().find(|pid| index.belongs(*pid, name, reading.buffer));
        known.or_else(|| {
            let oldest = self.index_age();
            let likely = reading.ctx.sources.likely_processes.into_iter().flatten();
            let mut hierarchies =
                likely.filter_map(|position| reading.hierarchy(position)).collect::<Vec<_>>().into_iter();
            hierarchies.find_map(|hierarchy| {
                let mut pids = index.processes(hierarchy.id, name, oldest);
                pids.retain(|pid| index.belongs(*pid, name, reading.buffer));
                first_process::first(reading, &pids)
            })
        })
    }

    /// A process of the container. At first the hierarchies are asked in which runtimes put processes; later one each
    /// time, the one that had some or else the next, since most cgroups without processes stay so.
    fn find_process(&mut self, reading: &mut Reading<'_>) -> Option<u32> {
        if self.looks.is_first() {
            let likely = reading.ctx.sources.likely_processes;
            return likely.into_iter().flatten().find_map(|position| self.ask(reading, position));
        }
        let mut later = reading.live_positions().filter(|position| *position >= self.position);
        let position = later.next().or_else(|| reading.live_positions().next())?;
        let found = self.ask(reading, position);
        if found.is_none() {
            self.position = position + 1;
        }
        found
    }

    fn ask(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<u32> {
        let (hierarchy, name) = (reading.hierarchy(position)?, reading.name);
        let pids = members(reading, hierarchy, name)?;
        let chosen = self.chosen.filter(|pid| pids.contains(pid)).or_else(|| first_process::first(reading, &pids));
        self.chosen = chosen;
        let pid = chosen?;
        self.position = position;
        Some(pid)
    }

    fn read(&mut self, reading: &mut Reading<'_>, pid: u32) -> Option<Network> {
        let mut network = Network::default();
        if reading.ctx.kinds.has(MetricKind::Network) {
            network = self.read_devices(reading, pid)?;
        }
        sockets::read(reading, pid, &mut network, &mut self.counters);
        Some(network)
    }

    fn read_devices(&mut self, reading: &mut Reading<'_>, pid: u32) -> Option<Network> {
        let process = ProcessDir::new(pid);
        let at = process.file(&reading.ctx.roots.proc, "net/dev");
        let most = if reading.name == b"/" { MACHINE_INTERFACES } else { CONTAINER_INTERFACES };
        let mut devices = std::mem::take(&mut self.devices);
        let mut odd = OddLines::default();
        let result = match devices.read_to_end(at, &reading.ctx.network_budget, reading.buffer) {
            Ok(Some(text)) => Ok(self.network(text, most, &mut odd)),
            Ok(None) => Err(ReadError::Missing(at.path())),
            Err(error) => Err(error),
        };
        match result {
            Ok(network) => {
                if odd.count() > 0 {
                    reading.note(at, "net/dev", odd);
                }
                self.devices = devices;
                Some(network)
            }
            Err(error) => {
                // Closed by dropping it: the next sample looks by the process again.
                reading.ctx.errors.count("net/dev", &error);
                None
            }
        }
    }

    fn network(&mut self, text: &[u8], most: usize, odd: &mut OddLines) -> Network {
        let mut network = Network { interfaces: Vec::with_capacity(self.names.len()), ..Network::default() };
        for line in interfaces(text, odd) {
            // A namespace has each name once.
            let is_reported = |interface: &Interface| interface.name.as_bytes() == line.name;
            if line.is_ignored() || network.interfaces.iter().any(is_reported) {
                continue;
            }
            let index = network.interfaces.len();
            if index == most {
                Bound::ListRows.exceeded();
                break;
            }
            if self.names.get(index).is_none_or(|name| name.as_bytes() != line.name) {
                self.names.truncate(index);
                self.names.push(String::from_utf8_lossy(line.name).into());
            }
            let Some(name) = self.names.get(index).cloned() else { continue };
            network.interfaces.push(Interface {
                name,
                receive: traffic(line.receive),
                transmit: traffic(line.transmit),
            });
        }
        network
    }
}

fn namespace_of(pid: u32, reading: &mut Reading<'_>) -> Option<NamespaceId> {
    let id = network_namespace(&reading.ctx.roots.proc, pid, reading.buffer);
    id.inspect_err(|error| reading.ctx.errors.count("ns/net", error)).ok()
}

fn traffic(counters: Counters) -> Traffic {
    let Counters { bytes, packets, errs, drop } = counters;
    Traffic { bytes, packets, errors: errs, dropped: drop }
}

fn explain(process: Option<u32>, rows: &mut Rows<'_>, network: Option<&Network>) {
    let mut values = [const { Vec::<(String, Value)>::new() }; 8];
    fields!(network => Network { interfaces, tcp, tcp6, udp, udp6, tcp_advanced });
    for Interface { name, receive, transmit } in interfaces.into_iter().flatten() {
        for (direction, traffic) in [receive, transmit].into_iter().enumerate() {
            let Traffic { bytes, packets, errors, dropped } = *traffic;
            let traffic = [Value::Bytes(bytes), Value::Count(packets), Value::Count(errors), Value::Count(dropped)];
            for (number, value) in traffic.into_iter().enumerate() {
                values[direction * 4 + number].push((name.to_string(), value));
            }
        }
    }
    let columns = [
        ("network.rx_bytes", "receive bytes"),
        ("network.rx_packets", "receive packets"),
        ("network.rx_errors", "receive errs"),
        ("network.rx_dropped", "receive drop"),
        ("network.tx_bytes", "transmit bytes"),
        ("network.tx_packets", "transmit packets"),
        ("network.tx_errors", "transmit errs"),
        ("network.tx_dropped", "transmit drop"),
    ];
    let absence = if rows.process.is_none() { Absence::NoProcess } else { Absence::SharedNetwork };
    let is_nowhere = process.is_none() && network.is_none();
    for ((name, column), values) in columns.into_iter().zip(values) {
        let row = part("net/dev", column).of(Base::Process);
        if is_nowhere && rows.when(MetricKind::Network).is_ok() {
            rows.push(name, None, Err(absence.clone()));
        } else {
            rows.add_of(process, name, MetricKind::Network, network.map(|_| Value::Named(values)), row);
        }
    }
    for (name, kind, value, file) in [
        ("network.tcp", MetricKind::Tcp, flat(tcp).map(Value::from), "net/tcp"),
        ("network.tcp6", MetricKind::Tcp, flat(tcp6).map(Value::from), "net/tcp6"),
        ("network.udp", MetricKind::Udp, flat(udp).map(Value::from), "net/udp"),
        ("network.udp6", MetricKind::Udp, flat(udp6).map(Value::from), "net/udp6"),
        ("network.tcp_advanced", MetricKind::AdvTcp, flat(tcp_advanced).map(Value::from), "net/netstat"),
    ] {
        if is_nowhere && rows.when(kind).is_ok() {
            rows.push(name, None, Err(absence.clone()));
        } else {
            rows.add_of(process, name, kind, value, whole(file).of(Base::Process));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn interfaces_at_and_beyond_the_bound() {
        let text = |interfaces: usize| {
            let mut text = "head\nhead\n".to_owned();
            for number in 0..interfaces {
                let _ = writeln!(text, "eth{number}: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0");
            }
            text
        };
        let read = |interfaces: usize| {
            let mut state = NetworkState::default();
            state.network(text(interfaces).as_bytes(), CONTAINER_INTERFACES, &mut OddLines::default()).interfaces
        };
        assert_eq!(read(CONTAINER_INTERFACES).len(), CONTAINER_INTERFACES);
        let before = Bound::ListRows.count();
        let cut = read(10_000);
        assert_eq!((cut.len(), &*cut[255].name), (CONTAINER_INTERFACES, "eth255"));
        assert!(Bound::ListRows.count() > before);
    }
}
