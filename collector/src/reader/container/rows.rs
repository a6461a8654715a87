//! Rows of the list of statistics: the value of each number beside where it comes from, and whether that file and key
//! are there.
//!
//! For people who ask, not for the sampling itself.

pub(super) mod keys;

use std::path::PathBuf;

use super::context::PageSize;
use super::places::Place;
use super::reading::Reading;
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

/// The cgroup's directory in one hierarchy.
#[derive(Clone, Copy, Debug)]
struct Directory {
    version: Version,
    position: usize,
    /// The v2 controller without which the files are not there.
    controller: Option<&'static str>,
}

/// Numbers that are found in one place, or the reason why that place is not there.
#[derive(Clone, Debug)]
pub(super) struct Section {
    directory: Result<Directory, Absence>,
    /// They are asked of the kernel, whose answer leaves no file to look at.
    is_asked: bool,
}

impl Section {
    /// None of them is there.
    pub(super) fn absent(absence: Absence) -> Self {
        Self { directory: Err(absence), is_asked: false }
    }

    /// Whether they are in files of v1.
    pub(super) fn is_v1(&self) -> bool {
        self.directory.as_ref().is_ok_and(|directory| directory.version == Version::V1)
    }
}

/// The statistics found so far, and what it takes to find more.
pub(super) struct Rows<'a> {
    pub(super) reading: Reading<'a>,
    /// A process of this very cgroup.
    pub(super) process: Option<u32>,
    /// OOM kills as the kernel counts them.
    pub(super) oom_kills: Option<u64>,
    pub(super) rows: Vec<Statistic>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(reading: Reading<'a>, process: Option<u32>, oom_kills: Option<u64>) -> Self {
        Self { reading, process, oom_kills, rows: Vec::new() }
    }

    /// The numbers of a place. Without one the kind is off, or no hierarchy has the controller of this v1 name.
    pub(super) fn section(
        &self,
        place: Option<Place>,
        kind: impl Into<Option<MetricKind>>,
        v1: &'static str,
        v2: Option<&'static str>,
    ) -> Section {
        match place {
            Some(Place::V1(position)) => self.at(Version::V1, position, v2),
            Some(Place::V2(position)) => self.at(Version::V2, position, v2),
            Some(Place::Kernel(position)) => {
                Section { is_asked: true, ..self.at(self.version_of(position), position, v2) }
            }
            None => {
                let off = kind.into().and_then(|kind| self.when(kind).err());
                Section::absent(off.unwrap_or(Absence::NoController(v1)))
            }
        }
    }

    /// The numbers in the cgroup's files of the hierarchy at this place, which this v2 controller brings.
    pub(super) fn at(&self, version: Version, position: usize, controller: Option<&'static str>) -> Section {
        let directory = match self.reading.hierarchy(position) {
            Some(_) => Ok(Directory { version, position, controller }),
            None if version == Version::V2 => Err(Absence::NotMember("cgroup2")),
            None => Err(Absence::NotMember(controller.unwrap_or("its controller"))),
        };
        Section { directory, is_asked: false }
    }

    fn version_of(&self, position: usize) -> Version {
        self.reading.ctx.hierarchies.at(position).map_or(Version::V2, |hierarchy| hierarchy.version)
    }

    /// A statistic that is found in one place.
    pub(super) fn add<'v, T>(
        &mut self,
        name: &'static str,
        value: Option<&'v T>,
        section: &Section,
        v1: impl Into<Keys>,
        v2: impl Into<Keys>,
    ) where
        Value: From<&'v T>,
    {
        self.add_value(name, value.map(Value::from), section, v1, v2);
    }

    pub(super) fn add_value(
        &mut self,
        name: &'static str,
        value: Option<Value>,
        section: &Section,
        v1: impl Into<Keys>,
        v2: impl Into<Keys>,
    ) {
        let source = section.directory.clone().and_then(|directory| {
            let keys = match directory.version {
                Version::V1 => v1.into(),
                Version::V2 => v2.into(),
            };
            self.first_there(&keys, Some(directory))
        });
        // A list without entries is a value only where there is a file that could have some.
        let is_empty = matches!(&value, Some(Value::Named(names)) if names.is_empty());
        let value = value.filter(|_| source.is_ok() || !is_empty);
        let answered = !section.is_asked || value.is_some();
        self.push(name, value, source.and_then(|source| if answered { Ok(source) } else { Err(Absence::NoAnswer) }));
    }

    /// A statistic of the container's processes.
    pub(super) fn add_of_process(&mut self, name: &'static str, kind: MetricKind, value: Option<Value>, key: Key) {
        self.add_of(self.process, name, kind, value, key);
    }

    /// The same of a process that stands for all of them.
    pub(super) fn add_of(
        &mut self,
        process: Option<u32>,
        name: &'static str,
        kind: MetricKind,
        value: Option<Value>,
        key: Key,
    ) {
        let any = std::mem::replace(&mut self.process, process);
        let source = self.when(kind).and_then(|()| match self.process {
            // Nothing was there to count, which is a value too.
            None if value.is_some() => Ok(Source { text: text_of(&[key]), files: Vec::new() }),
            _ => self.first_there(&[key].into(), None),
        });
        self.process = any;
        self.push(name, value, source);
    }

    /// A statistic that is in no file.
    pub(super) fn add_reported(&mut self, name: &'static str, value: Option<Value>, text: impl Into<String>) {
        self.push(name, value, Ok(Source { text: text.into(), files: Vec::new() }));
    }

    /// A statistic with where it is or why it is not.
    pub(super) fn push(&mut self, name: &'static str, value: Option<Value>, source: Result<Source, Absence>) {
        // Where there is no file for a limit nothing limits, but nothing says so either.
        let value = value.filter(|value| source.is_ok() || *value != Value::Unlimited);
        self.rows.push(Statistic { name, source, value, kernel_memory: None });
    }

    /// Whether a kind is on.
    pub(super) fn when(&self, kind: MetricKind) -> Result<(), Absence> {
        if self.reading.ctx.kinds.has(kind) { Ok(()) } else { Err(Absence::KindOff(kind)) }
    }

    /// The first alternative whose files are all there with their keys, or what is wrong with the very first.
    fn first_there(&mut self, keys: &Keys, at: Option<Directory>) -> Result<Source, Absence> {
        let version = at.map(|at| if at.version == Version::V1 { "v1" } else { "v2" });
        let mut first = Err(Absence::NotInVersion(version.unwrap_or_default()));
        for (number, alternative) in keys.0.iter().enumerate() {
            match self.all_there(alternative, at) {
                Ok(files) => return Ok(Source { text: text_of(alternative), files }),
                Err(absence) if number == 0 => first = Err(absence),
                Err(_) => {}
            }
        }
        first
    }

    fn all_there(&mut self, keys: &[Key], at: Option<Directory>) -> Result<Vec<SourceFile>, Absence> {
        let mut files = Vec::new();
        for key in keys {
            for (mount, directory, file) in self.files_of(key, at)? {
                let file_at = FileAt { mount: &mount, directory: &directory, file: &file };
                match there(file_at, key, self.reading.buffer) {
                    Ok(file) => files.push(file),
                    Err(absence) => return Err(self.explain(absence, at)),
                }
            }
        }
        Ok(files)
    }

    /// The parts of the paths of a key's files.
    fn files_of(&self, key: &Key, at: Option<Directory>) -> Result<Vec<(PathBuf, Vec<u8>, String)>, Absence> {
        let ctx = self.reading.ctx;
        let file = key.file.to_owned();
        Ok(match key.base {
            Base::Kernel => Vec::new(),
            Base::Proc => vec![(ctx.roots.proc.clone(), b"/".to_vec(), file)],
            Base::Sys => vec![(ctx.roots.sys.clone(), b"/".to_vec(), file)],
            Base::Process => {
                let process = ProcessDir::new(self.process.ok_or(Absence::NoProcess)?);
                vec![(ctx.roots.proc.clone(), process.file(&ctx.roots.proc, "").directory.to_vec(), file)]
            }
            Base::Cgroup => {
                let hierarchy = at.and_then(|at| self.reading.hierarchy(at.position));
                let mount =
                    hierarchy.map(|hierarchy| hierarchy.mount.clone()).ok_or(Absence::NotMember("its files"))?;
                let directory = self.reading.name.to_vec();
                if file.contains("<size>") {
                    let of_size = |size: &PageSize| file.replace("<size>", &size.name);
                    ctx.page_sizes.iter().map(|size| (mount.clone(), directory.clone(), of_size(size))).collect()
                } else {
                    vec![(mount, directory, file)]
                }
            }
        })
    }

    /// What is missing on v2 because its controller is off is no matter of the kernel's version.
    fn explain(&mut self, absence: Absence, at: Option<Directory>) -> Absence {
        let is_missing = matches!(absence, Absence::NoFile { .. } | Absence::NoKey { .. });
        let Some(at) = at.filter(|at| is_missing && at.version == Version::V2) else { return absence };
        let Some(controller) = at.controller else { return absence };
        let Some(hierarchy) = self.reading.hierarchy(at.position) else { return absence };
        match hierarchy.file(self.reading.name, "cgroup.controllers").read(self.reading.buffer) {
            Ok(text) if !words(text.trim_ascii()).any(|word| word == controller.as_bytes()) => {
                Absence::ControllerOff(controller)
            }
            _ => absence,
        }
    }
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
