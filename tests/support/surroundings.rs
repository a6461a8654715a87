//! What a process runs in: its user, capabilities, limits, cgroups, namespaces, mounts and system calls.
//!
//! A process with one thread takes them on and then becomes the program, by exec.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde::{Deserialize, Serialize};

use super::cgroups::{Cgroup, Layout};
use super::{Context as _, Result, bail, bytes, ensure};

/// First argument of the process that takes them on.
pub(crate) const ARGUMENT: &str = "--become";
/// The system call `bpf` on x86-64 and on everything newer.
const BPF: i64 = if cfg!(target_arch = "x86_64") { 321 } else { 280 };

/// With what rights a process runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rights {
    /// User and group id; root when absent.
    pub(crate) uid: Option<u32>,
    /// Capabilities to keep, as bits; all when absent.
    pub(crate) capabilities: Option<u64>,
    /// Soft and hard limit of open files.
    pub(crate) open_files: Option<u64>,
}

/// What a process runs in, where that differs from what the test itself runs in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Surroundings {
    /// User, capabilities, open files.
    rights: Rights,
    /// Bytes of locked memory, soft and hard.
    locked_memory: Option<u64>,
    /// Directories of cgroups to join first.
    cgroups: Vec<PathBuf>,
    /// Whether the process has a cgroup namespace of its own, that begins at the cgroups it has joined.
    cgroup_namespace: bool,
    /// Changes in a mount namespace of its own, in this order.
    mounts: Vec<Mounting>,
    /// The errno that `bpf` is answered with by a filter.
    bpf_errno: Option<i32>,
    /// Environment variables beside those of the test.
    variables: BTreeMap<String, PathBuf>,
}

/// A change of what is mounted.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Mounting {
    /// None.
    Nothing,
    /// An empty file system over this directory.
    Hide(PathBuf),
    /// A file system of this type, with these options, in place of the one that is mounted here.
    New { kind: String, options: String, at: PathBuf },
    /// Everything that is mounted, made read-only.
    AllReadOnly,
}

impl From<&Rights> for Surroundings {
    fn from(rights: &Rights) -> Self {
        Self { rights: rights.clone(), ..Self::default() }
    }
}

impl From<&Self> for Surroundings {
    fn from(surroundings: &Self) -> Self {
        surroundings.clone()
    }
}

impl Surroundings {
    /// Those of another user who has only these capabilities.
    pub(crate) fn of_nobody(capabilities: CapabilitySet) -> Self {
        (&Rights { uid: Some(65534), capabilities: Some(capabilities.bits()), open_files: None }).into()
    }

    /// Those of root with only these capabilities.
    pub(crate) fn of_root(capabilities: CapabilitySet) -> Self {
        (&Rights { capabilities: Some(capabilities.bits()), ..Rights::default() }).into()
    }

    /// With this limit of locked memory in bytes.
    pub(crate) fn locked_memory(mut self, bytes: u64) -> Self {
        self.locked_memory = Some(bytes);
        self
    }

    /// In this cgroup, in every hierarchy of its set.
    pub(crate) fn inside(mut self, cgroup: &Cgroup<'_>) -> Self {
        self.cgroups = cgroup.dirs();
        self
    }

    /// In a cgroup namespace of its own.
    pub(crate) fn in_cgroup_namespace(mut self) -> Self {
        self.cgroup_namespace = true;
        self
    }

    /// With an empty file system over this directory, where there is such a directory.
    pub(crate) fn without(mut self, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        if directory.is_dir() {
            self.mounts.push(Mounting::Hide(directory));
        }
        self
    }

    /// With a mount namespace of its own, in which nothing is changed yet.
    pub(crate) fn in_mount_namespace(mut self) -> Self {
        self.mounts.push(Mounting::Nothing);
        self
    }

    /// With procfs mounted with other options.
    pub(crate) fn with_proc(mut self, options: &str) -> Self {
        self.mounts.push(Mounting::New { kind: "proc".into(), options: options.into(), at: "/proc".into() });
        self
    }

    /// With every cgroup hierarchy mounted anew, as its own cgroup namespace sees it.
    pub(crate) fn with_fresh_cgroup_mounts(mut self) -> Result<Self> {
        for mount in Layout::detect()?.mounts {
            let (kind, options) = match &mount.controllers {
                None => ("cgroup2", String::new()),
                Some(names) if names.iter().all(|name| name.starts_with("name=")) => {
                    ("cgroup", format!("none,{}", names.join(",")))
                }
                Some(names) => ("cgroup", names.join(",")),
            };
            self.mounts.push(Mounting::New { kind: kind.into(), options, at: mount.path });
        }
        Ok(self)
    }

    /// With nothing mounted that can be written to.
    pub(crate) fn read_only(mut self) -> Self {
        self.mounts.push(Mounting::AllReadOnly);
        self
    }

    /// With a seccomp filter that answers `bpf` with an errno.
    pub(crate) fn answering_bpf(mut self, errno: rustix::io::Errno) -> Self {
        self.bpf_errno = Some(errno.raw_os_error());
        self
    }

    /// With an environment variable that names a file.
    pub(crate) fn with_variable(mut self, name: &str, path: &Path) -> Self {
        self.variables.insert(name.to_owned(), path.to_owned());
        self
    }

    /// The command that takes them on and becomes a program, whose arguments can follow.
    pub(crate) fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new("/proc/self/exe");
        command.args([ARGUMENT, &serde_json::to_string(self)?]).arg(program).envs(&self.variables);
        Ok(command)
    }

    fn take_on(&self) -> Result<()> {
        for directory in &self.cgroups {
            bytes::write(directory.join("cgroup.procs"), "0")?;
        }
        if self.cgroup_namespace {
            unshare(UnshareFlags::NEWCGROUP)?;
        }
        if !self.mounts.is_empty() {
            unshare(UnshareFlags::NEWNS)?;
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).context("make all mounts private")?;
        }
        for mounting in &self.mounts {
            mounting.take_on().with_context(|| format!("{mounting:?}"))?;
        }
        let limits = [(Resource::Nofile, self.rights.open_files), (Resource::Memlock, self.locked_memory)];
        for (resource, limit) in limits.into_iter().filter(|(_, limit)| limit.is_some()) {
            rustix::process::setrlimit(resource, Rlimit { current: limit, maximum: limit })?;
        }
        let keep = self.rights.capabilities.map_or(CapabilitySet::all(), CapabilitySet::from_bits_retain);
        if self.rights.capabilities.is_some() {
            for capability in CapabilitySet::all().difference(keep).iter() {
                if rustix::thread::capability_is_in_bounding_set(capability).unwrap_or(false) {
                    rustix::thread::remove_capability_from_bounding_set(capability)?;
                }
            }
        }
        if let Some(uid) = self.rights.uid {
            take_user(uid, if self.rights.capabilities.is_some() { keep } else { CapabilitySet::empty() })?;
        }
        if let Some(errno) = self.bpf_errno {
            seccompiler::apply_filter(&refusing_bpf(errno)?).context("set the seccomp filter")?;
        }
        Ok(())
    }
}

impl Mounting {
    fn take_on(&self) -> Result<()> {
        let none = MountFlags::empty();
        match self {
            Self::Nothing => Ok(()),
            Self::Hide(directory) => Ok(rustix::mount::mount("none", directory, "tmpfs", none, Some(c"mode=755"))?),
            Self::New { kind, options, at } => {
                // The same file system twice in one place is refused.
                rustix::mount::unmount(at, UnmountFlags::DETACH)?;
                let options = std::ffi::CString::new(options.as_str())?;
                Ok(rustix::mount::mount("none", at, kind.as_str(), none, Some(options.as_c_str()))?)
            }
            Self::AllReadOnly => make_all_read_only(),
        }
    }
}

fn make_all_read_only() -> Result<()> {
    let table = bytes::read("/proc/self/mountinfo")?;
    for line in table.lines() {
        let point = line.split(' ').nth(4).context("a mount point")?.replace("\\040", " ");
        // What is hidden below another mount cannot be reached, nor can the collector reach it.
        let _ = rustix::mount::mount_remount(&point, MountFlags::BIND | MountFlags::RDONLY, c"");
    }
    for place in ["/", "/tmp", "/run", "/dev/shm"].map(Path::new).into_iter().filter(|place| place.is_dir()) {
        let created = File::create_new(place.join("collector-test-read-only"));
        let refused = created.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ReadOnlyFilesystem);
        ensure!(refused, "{} is not read-only: {created:?}", place.display());
    }
    Ok(())
}

/// Gives this process, which has one thread, namespaces of its own.
#[expect(deprecated, reason = "the replacement is unsafe because of UnshareFlags::FILES, which is not used here")]
pub(crate) fn unshare(what: UnshareFlags) -> Result<()> {
    rustix::thread::unshare(what).with_context(|| format!("unshare {what:?}"))
}

fn refusing_bpf(errno: i32) -> Result<BpfProgram> {
    let rules = BTreeMap::from([(BPF, Vec::new())]);
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

/// Takes on surroundings and becomes a program: `arguments` are the surroundings as JSON, the program, its arguments.
pub(crate) fn exec(arguments: &[String]) -> Result<()> {
    let [surroundings, program, arguments @ ..] = arguments else { bail!("nothing to become") };
    let surroundings: Surroundings = serde_json::from_str(surroundings)?;
    // Opened with full rights: another user may not be able to reach it by its path.
    let opened = File::open(program).with_context(|| format!("open {program}"))?;
    surroundings.take_on()?;
    // Not beyond the test, however that ends.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut command = match surroundings.rights.uid {
        None => Command::new(program),
        Some(_) => Command::new(format!("/proc/self/fd/{}", opened.as_raw_fd())),
    };
    Err(command.arg0(program).args(arguments).exec()).with_context(|| format!("exec {program}"))
}

/// Becomes another user but keeps some capabilities, across exec too.
fn take_user(uid: u32, keep: CapabilitySet) -> Result<()> {
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_groups(&[])?;
    let gid = rustix::process::Gid::from_raw(uid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    let uid = rustix::process::Uid::from_raw(uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_capabilities(None, CapabilitySets { effective: keep, permitted: keep, inheritable: keep })?;
    for capability in keep.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}
