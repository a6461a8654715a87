//! The monitoring group of a container, and what it counted.
//!
//! A container whose group somebody else made for it, under its id, is read there; else the collector makes one for it
//! within the control group that its first process is in, and removes it when the container ends.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Family, Mounted, Place, Reading, Rows};
use crate::kernel::cgroup::Version;
use crate::kernel::procfs::process::Listing;
use crate::kernel::resctrl::{Domain, Groups, PREFIX, add_tasks, domains, remove};
use crate::reader::container::processes::{own_processes, parsed_lines, process_hierarchy};
use crate::reader::container::resctrl_reader::ResctrlReader;
use crate::runtime::cgroup_names;
use crate::sample::container::Sample;
use crate::sample::hardware;
use crate::sample::kinds::MetricKind;
use crate::sample::statistic::{Absence, Source, Value};
use crate::units::Bytes;

/// After how long a group is looked for again that could not be made: the container had no process yet, or the processor
/// no more groups.
const RETRY: Duration = Duration::from_secs(10);
/// Longest name of a group without the hash that reports cut names apart.
const LONGEST_NAME: usize = 200;

#[derive(Debug, Default)]
pub(in crate::reader::container) struct ResctrlState {
    group: Option<Group>,
    looked: Option<Instant>,
}

#[derive(Debug)]
enum Group {
    /// Somebody else's.
    Found(PathBuf),
    /// Removed when dropped.
    Made(PathBuf),
}

impl Group {
    fn path(&self) -> &std::path::Path {
        let (Self::Found(path) | Self::Made(path)) = self;
        path
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Self::Made(path) = self {
            remove(path);
        }
    }
}

impl Family for ResctrlState {
    fn place(&self, _: &Mounted<'_>) -> Option<Place> {
        None
    }

    fn read_beside(&mut self, _: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        sample.resctrl = self.sample(reading);
    }

    fn explain(&self, _: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        explain(rows, sample.resctrl.as_ref());
    }
}

impl ResctrlState {
    fn sample(&mut self, reading: &mut Reading<'_>) -> Option<hardware::Resctrl> {
        let reader = reading.ctx.resctrl.as_ref()?;
        if reading.is_root() {
            return read(reading, reader.resctrl.root());
        }
        let now = Instant::now();
        let age = self.looked.map(|at| now.saturating_duration_since(at));
        let due = match (&self.group, age) {
            (_, None) => true,
            (None, Some(age)) => age >= RETRY,
            (Some(Group::Made(_)), Some(age)) => !reader.update_every.is_zero() && age >= reader.update_every,
            (Some(Group::Found(_)), _) => false,
        };
        if due {
            self.looked = Some(now);
            self.look(reading, reader);
        }
        let group = self.group.as_ref()?;
        let found = read(reading, group.path());
        if found.is_none() {
            // It is not there any more.
            self.group = None;
        }
        found
    }

    fn look(&mut self, reading: &mut Reading<'_>, reader: &ResctrlReader) -> Option<()> {
        let hierarchy = process_hierarchy(reading)?;
        if self.group.is_none() {
            let first = *own_processes(reading, hierarchy, reading.name)?.pids?.first()?;
            let groups = Groups::of(&reading.ctx.roots.proc, first, reading.buffer);
            let groups = groups.inspect_err(|error| reading.ctx.errors.count("cpu_resctrl_groups", error)).ok()?;
            let id = cgroup_names::identify(reading.name).map(|container| container.id);
            let named = |name: &String| id.is_some_and(|id| name.contains(id));
            let group = if named(&groups.control) || named(&groups.monitoring) {
                Group::Found(reader.resctrl.directory(&groups))
            } else if groups.monitoring.is_empty() || groups.monitoring.starts_with(PREFIX) {
                let made = reader.resctrl.make(&groups.control, &group_name(reading.name));
                Group::Made(made.inspect_err(|error| reading.ctx.errors.count("mon_groups", error)).ok()?)
            } else {
                // Taking tasks out of another's group would make that one's numbers wrong.
                return None;
            };
            self.group = Some(group);
        }
        if let Some(Group::Made(path)) = &self.group {
            // A process is put there thread by thread.
            let threads = if hierarchy.version == Version::V1 { "tasks" } else { "cgroup.threads" };
            let tasks = parsed_lines(reading, hierarchy.file(reading.name, threads), threads, Listing::parse)?;
            let added = add_tasks(path, &tasks.visible);
            added.inspect_err(|error| reading.ctx.errors.count("resctrl tasks", error)).ok()?;
        }
        Some(())
    }
}

fn read(reading: &Reading<'_>, group: &std::path::Path) -> Option<hardware::Resctrl> {
    let found = domains(group).inspect_err(|error| reading.ctx.errors.count("mon_data", error)).ok()?;
    let domain = |Domain { id, mbm_total_bytes, mbm_local_bytes, llc_occupancy }| hardware::ResctrlDomain {
        id,
        total: mbm_total_bytes.map(Bytes),
        local: mbm_local_bytes.map(Bytes),
        occupancy: llc_occupancy.map(Bytes),
    };
    Some(hardware::Resctrl { domains: found.into_iter().map(domain).collect() })
}

/// The cgroup's name without slashes; a long one is cut, and a hash reports it from others.
fn group_name(cgroup: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let text = String::from_utf8_lossy(cgroup).trim_start_matches('/').replace('/', "-");
    if text.len() <= LONGEST_NAME && str::from_utf8(cgroup).is_ok() {
        return format!("{PREFIX}{text}");
    }
    let mut hasher = DefaultHasher::new();
    cgroup.hash(&mut hasher);
    let end: String = text.chars().rev().take(LONGEST_NAME / 4).collect();
    let end: String = end.chars().rev().collect();
    format!("{PREFIX}{:016x}-{end}", hasher.finish())
}

fn explain(rows: &mut Rows<'_>, resctrl: Option<&hardware::Resctrl>) {
    let mut values = [const { Vec::<(String, Value)>::new() }; 3];
    for hardware::ResctrlDomain { id, total, local, occupancy } in
        resctrl.into_iter().flat_map(|resctrl| &resctrl.domains)
    {
        for (values, value) in values.iter_mut().zip([total, local, occupancy]) {
            values.extend(value.as_ref().map(|value| (id.to_string(), value.into())));
        }
    }
    let names = [
        ("resctrl.memory_bandwidth.total", "mbm_total_bytes"),
        ("resctrl.memory_bandwidth.local", "mbm_local_bytes"),
        ("resctrl.cache_occupancy", "llc_occupancy"),
    ];
    for ((name, file), values) in names.into_iter().zip(values) {
        let source = rows.when(MetricKind::Resctrl).and_then(|()| match resctrl {
            Some(_) => Ok(Source { text: format!("mon_data/mon_L3_<id>/{file}"), files: Vec::new() }),
            None => Err(Absence::NoResctrl),
        });
        rows.push(name, Some(Value::Named(values)).filter(|_| resctrl.is_some()), source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_groups() {
        assert_eq!(group_name(b"/docker/abc"), "collector-docker-abc");
        let long = [b"/x".repeat(300), b"/end".to_vec()].concat();
        let name = group_name(&long);
        assert!(name.len() < 255 && name.ends_with("-end"), "{name}");
        assert_ne!(group_name(b"/a/\xff"), group_name(b"/a/\xfe"));
    }
}
