//! Cgroups that nobody wants to see are not listed, and none of their files is opened.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::docker::Docker;
use crate::support::harness::{Case, Skip};
use crate::support::workload::{Plan, Work};
use crate::support::{Result, bail, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("globs::paths", paths),
    Case::new("globs::paths_with_scans_alone", paths_with_scans_alone),
    Case::new("globs::only_what_is_included", only_what_is_included),
    Case::new("globs::names_namespaces_and_labels", names_namespaces_and_labels),
];

const FLAGS: [&str; 2] = ["--housekeeping_interval=100ms", "--global_housekeeping_interval=1s"];

/// Reports every file that anybody opens in some directories.
struct Opened(OwnedFd);

impl Opened {
    fn watch(dirs: &[PathBuf]) -> Result<Self> {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        for dir in dirs {
            inotify::add_watch(&watch, dir, WatchFlags::OPEN)?;
        }
        Ok(Self(watch))
    }

    /// The files opened since the last time. The directories themselves, which a scan looks through, are none.
    fn files(&self) -> Result<Vec<String>> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut names = Vec::new();
        loop {
            match reader.next() {
                Ok(event) if !event.events().contains(ReadFlags::ISDIR) => {
                    names.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
                }
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(names),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Complains about files that were opened, unless something else on this machine looks into every cgroup.
fn none_opened(files: &[String], pid: u32) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(comm) = fs::read_to_string(entry.path().join("comm")) else { continue };
        let is_other = entry.file_name().to_string_lossy() != pid.to_string();
        if is_other && ["collector", "cadvisor", "kubelet", "below"].contains(&comm.trim_end()) {
            return Err(Skip::because(format!("{} runs here and opens files too", comm.trim_end())));
        }
    }
    bail!("files of excluded cgroups were opened: {files:?}")
}

/// The files below a cgroup's directories that a process holds open.
fn held(pid: u32, dirs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let links = fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Ok(links.filter(|path| dirs.iter().any(|dir| path.starts_with(dir))).collect())
}

fn listed(collector: &Collector, name: &str) -> Result<bool> {
    let status = collector.get(&format!("/api/v1.3/containers{name}"))?.status;
    Ok(status == 200)
}

/// Waits until a cgroup has been sampled a few times from now on.
fn sampled(collector: &Collector, name: &str) -> Result<()> {
    let newest = |collector: &Collector| -> Result<i128> {
        let container = collector.container(name)?;
        Ok(container.stats.last().map_or(0, |stats| stats.timestamp.nanos))
    };
    let began = wait::eventually(wait::seconds(10), || newest(collector))?;
    wait::eventually(wait::seconds(10), || {
        ensure!(newest(collector)? > began + 500_000_000, "{name} is not sampled");
        Ok(())
    })
}

fn paths() -> Result<()> {
    excluded_paths(&[])
}

fn paths_with_scans_alone() -> Result<()> {
    excluded_paths(&["--kernel_events=scan"])
}

fn excluded_paths(more: &[&str]) -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let (wanted, secret) = (cgroups.make("wanted")?, cgroups.make("secret-1")?);
    let below = cgroups.make("secret-1/below")?;
    let mut excluded = [secret.dirs(), below.dirs()].concat();
    let lives = [Plan::new(Work::Hold(0), &wanted).start_ready()?, Plan::new(Work::Hold(0), &below).start_ready()?];
    let opened = Opened::watch(&excluded)?;
    opened.files()?;

    let glob = format!("--exclude_path={}/secret-*", cgroups.name());
    let flags = [&FLAGS[..], &[&glob], more].concat();
    let mut collector = Collector::start(&flags)?;
    sampled(&collector, &wanted.name())?;
    // One that is made later, with a life and an end of its own.
    let later = cgroups.make("secret-2")?;
    excluded.extend(later.dirs());
    let opened_later = Opened::watch(&later.dirs())?;
    let brief = Plan::new(Work::Hold(0), &later).start_ready()?;
    // The workload itself has opened what it moved itself with.
    let own = opened_later.files()?;
    let own: Vec<String> = own.into_iter().filter(|file| file != "cgroup.procs" && file != "tasks").collect();
    sampled(&collector, &wanted.name())?;
    for name in [secret.name(), below.name(), later.name()] {
        ensure!(!listed(&collector, &name)?, "{name} is listed");
    }
    let names = collector.names_below(&cgroups.name())?;
    ensure!(names == [cgroups.name(), wanted.name()], "listed: {names:?}");
    let parent = collector.get(&format!("/api/v1.3/containers{}", cgroups.name()))?.text();
    ensure!(!parent.contains("secret"), "its parent reveals it: {parent:.300}");
    ensure!(held(collector.pid(), &excluded)?.is_empty(), "held open: {:?}", held(collector.pid(), &excluded)?);
    ensure!(!held(collector.pid(), &wanted.dirs())?.is_empty(), "nothing is held open of what is wanted");
    for life in lives.into_iter().chain([brief]) {
        life.end()?;
    }
    later.remove()?;
    sampled(&collector, &wanted.name())?;
    let events = collector.events(&cgroups.name(), &["creation_events", "deletion_events"])?;
    let about: Vec<&str> = events.iter().map(|event| event.container_name.as_str()).collect();
    ensure!(!about.iter().any(|name| name.contains("secret")), "events: {about:?}");
    collector.check_alive()?;
    // The last, because it may be a skip.
    none_opened(&[own, opened.files()?, opened_later.files()?].concat(), collector.pid())
}

fn only_what_is_included() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let (wanted, other) = (cgroups.make("wanted")?, cgroups.make("other")?);
    let below = cgroups.make("wanted/below")?;
    let glob = format!("--include_path={}/w?nted", cgroups.name());
    let collector = Collector::start(&[&FLAGS[..], &[&glob]].concat())?;
    sampled(&collector, &below.name())?;
    let names: Vec<String> = collector
        .json::<Vec<crate::support::api::Container>>("/api/v1.3/subcontainers/", None)?
        .into_iter()
        .map(|container| container.name)
        .collect();
    ensure!(names == ["/".to_owned(), wanted.name(), below.name()], "listed: {names:?}");
    ensure!(held(collector.pid(), &other.dirs())?.is_empty(), "files of what is not wanted are held open");
    Ok(())
}

/// Where a container of Docker has its cgroups here.
fn docker_dirs(id: &str) -> Result<Vec<PathBuf>> {
    let layout = crate::support::cgroups::Layout::detect()?;
    let name = format!("/docker/{id}");
    let dirs = layout.mounts.iter().map(|mount| mount.dir(std::ffi::OsStr::from_bytes(name.as_bytes())));
    Ok(dirs.filter(|dir: &PathBuf| Path::exists(dir)).collect())
}

fn names_namespaces_and_labels() -> Result<()> {
    let docker = Docker::start()?;
    let socket = format!("--docker=unix://{}", docker.socket().display());
    let web = docker.run_named("web-1", &[("team", "blue")], &[])?;
    let pause = docker.run_named("pause", &[("team", "red"), ("io.kubernetes.pod.namespace", "kube-system")], &[])?;
    let plain = docker.run_named("plain", &[], &[])?;
    let all = [&web, &pause, &plain];
    let cgroups = Cgroups::new(Set::Every)?;
    let raw = cgroups.make("raw")?;
    // For each rule, which of the three containers and the bare cgroup are listed.
    for (rule, expected) in [
        ("--exclude_name=pau*", [true, false, true, true]),
        ("--include_name=web-?", [true, false, false, false]),
        ("--exclude_label=team=*", [false, false, true, true]),
        ("--include_label=team=blue", [true, false, false, false]),
        ("--exclude_namespace=kube-system", [true, false, true, true]),
        ("--include_namespace=docker", [true, true, true, false]),
        ("--exclude_namespace=docker", [false, false, false, true]),
    ] {
        let collector = Collector::start(&[&FLAGS[..], &[rule, &socket]].concat())?;
        let state = || -> Result<[bool; 4]> {
            let mut state = [false; 4];
            for (known, id) in state.iter_mut().zip(all) {
                *known = listed(&collector, &format!("/docker/{id}"))?;
            }
            state[3] = listed(&collector, &raw.name())?;
            Ok(state)
        };
        wait::eventually(wait::seconds(10), || {
            let state = state()?;
            ensure!(state == expected, "{rule}: {state:?} are listed, not {expected:?}");
            Ok(())
        })?;
        wait::eventually(wait::seconds(10), || {
            for (id, wanted) in all.iter().zip(expected) {
                let open = held(collector.pid(), &docker_dirs(id)?)?;
                ensure!(open.is_empty() != wanted, "{rule}: of {id} these are held open: {open:?}");
            }
            Ok(())
        })?;
    }

    // A new name is a new judgement.
    let collector = Collector::start(&[&FLAGS[..], &["--include_name=web-?", &socket]].concat())?;
    let is_listed = |id: &str, expected: bool| {
        wait::eventually(wait::seconds(10), || {
            ensure!(listed(&collector, &format!("/docker/{id}"))? == expected, "{id} listed: {}", !expected);
            Ok(())
        })
    };
    is_listed(&web, true)?;
    docker.rename(&web, "db")?;
    is_listed(&web, false)?;
    docker.rename(&plain, "web-2")?;
    is_listed(&plain, true)
}
