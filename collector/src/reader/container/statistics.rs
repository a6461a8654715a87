//! Where the numbers of a sample come from: the hierarchy of each family as the sampling code chose it, and whether the
//! file and the key are there.
//!
//! For people who ask, not for the sampling itself. Which statistics there are and what their files are called is in
//! [`list`].

mod keys;
mod list;

use std::path::PathBuf;

use super::context::{CpuSource, MemorySource, Source as Placed};
use super::network::FIRST_PROCESS;
use super::processes::{own_processes, process_hierarchy};
use super::{ContainerReader, ReaderContext, Reading, SampleError, Scratch};
use crate::kernel::cgroup::Version;
use crate::kernel::error::ReadError;
use crate::kernel::file::{FileAt, ReadBuffer};
use crate::kernel::procfs::process::ProcessDir;
use crate::kernel::text_formats::words;
use crate::sample::kinds::MetricKind;
use crate::sample::statistic::{Absence, Source, SourceFile, Statistic, Value};
use keys::{Base, Key, Keys, Within, holds, text_of};

/// What helps where a cgroup's file may not be read.
const READ_RIGHT: &str = "root or read access to /sys/fs/cgroup";
/// What helps where a process may not be looked at.
const TRACE_RIGHT: &str = "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";

/// Statistics that are found in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    CpuTime,
    PerCpu,
    CpuBandwidth,
    CpuLimits,
    CpuMask,
    Memory,
    Numa,
    OomKills,
    Io,
    Hugetlb,
    Pids,
    PidsLimit,
    Processes,
    CpusetMigrate,
    Pressure,
    Tasks,
}

impl Family {
    /// The v2 controller without which its files are not there.
    fn controller(self) -> Option<&'static str> {
        match self {
            Self::CpuBandwidth | Self::CpuLimits => Some("cpu"),
            Self::CpuMask => Some("cpuset"),
            Self::Memory | Self::Numa | Self::OomKills => Some("memory"),
            Self::Io => Some("io"),
            Self::Hugetlb => Some("hugetlb"),
            Self::Pids | Self::PidsLimit => Some("pids"),
            Self::CpuTime | Self::PerCpu | Self::Processes | Self::CpusetMigrate | Self::Pressure | Self::Tasks => None,
        }
    }
}

/// What the readers decided that the lookup has to follow.
#[derive(Clone, Copy, Debug, Default)]
struct Choices {
    /// v1 memory is not counted over the subtree.
    own_memory_only: bool,
    /// Which files have the block devices on v1.
    io_group: Option<super::io::Group>,
    /// The process whose network namespace is read.
    network_process: Option<u32>,
}

/// The statistics found so far, and what it takes to find more.
struct Rows<'a> {
    reading: Reading<'a>,
    choices: Choices,
    /// A process of this very cgroup.
    process: Option<u32>,
    rows: Vec<Statistic>,
}

impl ContainerReader {
    /// Takes a sample and tells for each of its numbers where it comes from.
    pub fn statistics(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) -> Result<Vec<Statistic>, SampleError> {
        let sample = self.sample(ctx, scratch)?;
        let mut spec = self.spec(ctx, scratch);
        spec.created = self.created_from_files(ctx, scratch, sample.at);
        let oom_kills = self.oom_kill_counter(ctx, scratch).map(|counter| counter.kills);
        let own_memory_only = self.memory.counts_own_only();
        let (io_group, network_process) = (self.io.group(), self.network.process());
        let mut reading = self.reading(ctx, &mut scratch.buffer);
        let network_process = if reading.is_root() { Some(FIRST_PROCESS) } else { network_process };
        let name = reading.name;
        let processes = process_hierarchy(&reading)
            .and_then(|hierarchy| own_processes(&mut reading, hierarchy, name)?.pids)
            .unwrap_or_default();
        let choices = Choices { own_memory_only, io_group, network_process };
        let mut rows = Rows { reading, choices, process: processes.first().copied(), rows: Vec::new() };
        list::fill(&mut rows, &sample, &spec, oom_kills);
        Ok(rows.rows)
    }
}

impl Rows<'_> {
    /// A statistic of a family that is in one place.
    fn add<'v, T>(
        &mut self,
        name: &'static str,
        value: Option<&'v T>,
        family: Family,
        v1: impl Into<Keys>,
        v2: impl Into<Keys>,
    ) where
        Value: From<&'v T>,
    {
        self.add_value(name, value.map(Value::from), family, v1, v2);
    }

    fn add_value(
        &mut self,
        name: &'static str,
        value: Option<Value>,
        family: Family,
        v1: impl Into<Keys>,
        v2: impl Into<Keys>,
    ) {
        let source = self.place(family).and_then(|(version, position)| {
            let keys = match version {
                Version::V1 => v1.into(),
                Version::V2 => v2.into(),
            };
            self.first_there(&keys, Some((family, version, position)))
        });
        // An answer of the kernel leaves no file to look at.
        let answered = family != Family::Tasks || value.is_some();
        self.push(name, value, source.and_then(|source| if answered { Ok(source) } else { Err(Absence::NoAnswer) }));
    }

    /// A statistic of the container's processes.
    fn add_of_process(&mut self, name: &'static str, kind: MetricKind, value: Option<Value>, key: Key) {
        let source = self.when(kind).and_then(|()| match self.process {
            // Nothing was there to count, which is a value too.
            None if value.is_some() => Ok(Source { text: text_of(&[key]), files: Vec::new() }),
            _ => self.first_there(&[key].into(), None),
        });
        self.push(name, value, source);
    }

    fn push(&mut self, name: &'static str, value: Option<Value>, source: Result<Source, Absence>) {
        // Where there is no file for a limit nothing limits, but nothing says so either.
        let value = value.filter(|value| source.is_ok() || *value != Value::Unlimited);
        self.rows.push(Statistic { name, source, value });
    }

    fn when(&self, kind: MetricKind) -> Result<(), Absence> {
        if self.reading.ctx.kinds.has(kind) { Ok(()) } else { Err(Absence::KindOff(kind)) }
    }

    /// Where the sampling code reads the family: the version and the place of the hierarchy.
    fn place(&self, family: Family) -> Result<(Version, usize), Absence> {
        let sources = &self.reading.ctx.sources;
        let lacking = |kind, controller| self.when(kind).err().unwrap_or(Absence::NoController(controller));
        let placed = |source: Option<Placed>, kind, controller| match source {
            Some(Placed::V1(position)) => Ok((Version::V1, position)),
            Some(Placed::V2(position)) => Ok((Version::V2, position)),
            None => Err(lacking(kind, controller)),
        };
        let memory = |source: Option<MemorySource>| match source {
            Some(MemorySource::V1(position)) => Ok((Version::V1, position)),
            Some(MemorySource::V2(position)) => Ok((Version::V2, position)),
            None => Err(lacking(MetricKind::Memory, "memory")),
        };
        let (version, position) = match family {
            Family::PerCpu => {
                self.when(MetricKind::PerCpu)?;
                return self.place(Family::CpuTime);
            }
            Family::CpuTime | Family::CpuBandwidth | Family::CpuLimits => match sources.cpu {
                Some(CpuSource::V1 { cpu, .. }) if family == Family::CpuLimits => {
                    (Version::V1, cpu.ok_or(Absence::NoController("cpu"))?)
                }
                Some(CpuSource::V1 { cpuacct, cpu, .. }) if self.reading.hierarchy(cpuacct).is_some() => {
                    let bandwidth = || cpu.ok_or(Absence::NoController("cpu"));
                    (Version::V1, if family == Family::CpuBandwidth { bandwidth()? } else { cpuacct })
                }
                Some(CpuSource::V1 { unified, .. }) => {
                    (Version::V2, unified.ok_or(Absence::NotMember("the controller cpuacct"))?)
                }
                Some(CpuSource::V2(position)) => (Version::V2, position),
                None => return Err(lacking(MetricKind::Cpu, "cpuacct")),
            },
            Family::CpuMask => match sources.cpu {
                Some(CpuSource::V2(position)) => (Version::V2, position),
                _ => match (sources.cpuset_migrate, sources.cpuset_beside) {
                    (Some(position), _) => (Version::V1, position),
                    (None, Some(position)) => (Version::V2, position),
                    (None, None) => return Err(lacking(MetricKind::Cpuset, "cpuset")),
                },
            },
            Family::CpusetMigrate => match sources.cpuset_migrate {
                Some(position) => (Version::V1, position),
                None if sources.unified_only.or(sources.cpuset_beside).is_some() => {
                    return Err(Absence::NotInVersion("v2"));
                }
                None => return Err(lacking(MetricKind::Cpuset, "cpuset")),
            },
            Family::Numa => {
                self.when(MetricKind::MemoryNuma)?;
                memory(sources.memory)?
            }
            Family::Memory => memory(sources.memory)?,
            Family::OomKills => memory(sources.memory_unless_off())?,
            Family::Io => placed(sources.io, MetricKind::DiskIo, "blkio")?,
            Family::Hugetlb => {
                let place = placed(sources.hugetlb, MetricKind::Hugetlb, "hugetlb")?;
                if self.reading.ctx.page_sizes.is_empty() {
                    return Err(Absence::NoHugePages);
                }
                place
            }
            Family::PidsLimit if sources.unified_only.is_some() => {
                (Version::V2, sources.unified_only.unwrap_or_default())
            }
            Family::Pids | Family::PidsLimit => placed(sources.pids, MetricKind::Process, "pids")?,
            Family::Processes => {
                self.when(MetricKind::Process)?;
                let hierarchy = process_hierarchy(&self.reading);
                let id = hierarchy.map(|hierarchy| hierarchy.id).ok_or(Absence::NoController("cpu"))?;
                let position = self.reading.ctx.hierarchies.position(id).ok_or(Absence::NoController("cpu"))?;
                (hierarchy.map_or(Version::V2, |hierarchy| hierarchy.version), position)
            }
            Family::Pressure => match sources.pressure {
                Some(position) => (Version::V2, position),
                None if self.when(MetricKind::Pressure).is_err() => {
                    return Err(Absence::KindOff(MetricKind::Pressure));
                }
                None => return Err(Absence::NoCgroup2),
            },
            Family::Tasks => match sources.tasks {
                None => return Err(Absence::NotInVersion("v2")),
                Some(_) if self.reading.ctx.load.is_none() => return Err(Absence::LoadReaderOff),
                Some(position) => (Version::V1, position),
            },
        };
        match self.reading.hierarchy(position) {
            Some(_) => Ok((version, position)),
            None if version == Version::V2 => Err(Absence::NotMember("cgroup2")),
            None => Err(Absence::NotMember(family.controller().unwrap_or("its controller"))),
        }
    }

    /// The first alternative whose files are all there with their keys, or what is wrong with the very first.
    fn first_there(&mut self, keys: &Keys, place: Option<(Family, Version, usize)>) -> Result<Source, Absence> {
        let version = place.map(|(_, version, _)| if version == Version::V1 { "v1" } else { "v2" });
        let mut first = Err(Absence::NotInVersion(version.unwrap_or_default()));
        for (number, alternative) in keys.0.iter().enumerate() {
            match self.all_there(alternative, place) {
                Ok(files) => return Ok(Source { text: text_of(alternative), files }),
                Err(absence) if number == 0 => first = Err(absence),
                Err(_) => {}
            }
        }
        first
    }

    fn all_there(&mut self, keys: &[Key], place: Option<(Family, Version, usize)>) -> Result<Vec<SourceFile>, Absence> {
        let mut files = Vec::new();
        for key in keys {
            for (mount, directory, file) in self.files_of(key, place)? {
                let at = FileAt { mount: &mount, directory: &directory, file: &file };
                match there(at, key, self.reading.buffer) {
                    Ok(file) => files.push(file),
                    Err(absence) => return Err(self.explain(absence, place)),
                }
            }
        }
        Ok(files)
    }

    /// The parts of the paths of a key's files.
    fn files_of(
        &self,
        key: &Key,
        place: Option<(Family, Version, usize)>,
    ) -> Result<Vec<(PathBuf, Vec<u8>, String)>, Absence> {
        let ctx = self.reading.ctx;
        let file = key.file.to_owned();
        Ok(match key.base {
            Base::Netlink => Vec::new(),
            Base::Proc => vec![(ctx.roots.proc.clone(), b"/".to_vec(), file)],
            Base::Sys => vec![(ctx.roots.sys.clone(), b"/".to_vec(), file)],
            Base::Process => {
                let process = ProcessDir::new(self.process.ok_or(Absence::NoProcess)?);
                vec![(ctx.roots.proc.clone(), process.file(&ctx.roots.proc, "").directory.to_vec(), file)]
            }
            Base::Cgroup => {
                let hierarchy = place.and_then(|(_, _, position)| self.reading.hierarchy(position));
                let mount =
                    hierarchy.map(|hierarchy| hierarchy.mount.clone()).ok_or(Absence::NotMember("its files"))?;
                let directory = self.reading.name.to_vec();
                if file.contains("<size>") {
                    let of_size = |size: &super::context::PageSize| file.replace("<size>", &size.name);
                    ctx.page_sizes.iter().map(|size| (mount.clone(), directory.clone(), of_size(size))).collect()
                } else {
                    vec![(mount, directory, file)]
                }
            }
        })
    }

    /// What is missing on v2 because its controller is off is no matter of the kernel's version.
    fn explain(&mut self, absence: Absence, place: Option<(Family, Version, usize)>) -> Absence {
        let is_missing = matches!(absence, Absence::NoFile { .. } | Absence::NoKey { .. });
        let Some((family, Version::V2, position)) = place.filter(|_| is_missing) else { return absence };
        let Some(controller) = family.controller() else { return absence };
        let Some(hierarchy) = self.reading.hierarchy(position) else { return absence };
        match hierarchy.file(self.reading.name, "cgroup.controllers").read(self.reading.buffer) {
            Ok(text) if !words(text.trim_ascii()).any(|word| word == controller.as_bytes()) => {
                Absence::ControllerOff(controller)
            }
            _ => absence,
        }
    }
}

/// The list for a sample that was not read.
#[cfg(test)]
pub(super) fn of_sample(
    ctx: &ReaderContext,
    sample: &crate::sample::container::Sample,
    spec: &crate::sample::spec::Spec,
    oom_kills: Option<u64>,
) -> Vec<Statistic> {
    let reader = ContainerReader::new((*b"/").into(), &[]);
    let mut buffer = ReadBuffer::new();
    let reading = reader.reading(ctx, &mut buffer);
    let mut rows = Rows { reading, choices: Choices::default(), process: None, rows: Vec::new() };
    list::fill(&mut rows, sample, spec, oom_kills);
    rows.rows
}

/// Whether the file can be read and holds the key.
fn there(at: FileAt<'_>, key: &Key, buffer: &mut ReadBuffer) -> Result<SourceFile, Absence> {
    let since = key.since;
    // The list of a process's descriptors is a directory.
    let opened = if key.base == Base::Process && key.file == "fd" {
        at.open_directory(buffer).map(|_| &b""[..]).map_err(|errno| ReadError::from_errno(&at.path(), errno))
    } else {
        at.read(buffer)
    };
    let path = at.path();
    let text = match opened {
        Ok(text) => text,
        Err(ReadError::Missing(_)) => return Err(Absence::NoFile { path, since }),
        Err(ReadError::Unsupported(_)) => return Err(Absence::Unsupported(path)),
        Err(ReadError::Denied(_)) => {
            let right = if key.base == Base::Process { TRACE_RIGHT } else { READ_RIGHT };
            return Err(Absence::Denied { path, right });
        }
        Err(ReadError::Gone(_)) => return Err(Absence::Ended),
        Err(error @ (ReadError::Failed { .. } | ReadError::Malformed { .. } | ReadError::OddLines { .. })) => {
            return Err(Absence::Failed { path, problem: error.to_string() });
        }
    };
    match key.within {
        Within::Key(word) if !holds(text, word) => Err(Absence::NoKey { path, key: word, since }),
        Within::Key(word) | Within::Sparse(word) => Ok(SourceFile { path, key: Some(word) }),
        Within::Whole | Within::Part(_) => Ok(SourceFile { path, key: None }),
    }
}
