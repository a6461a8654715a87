//! The thread that follows the kernel: drains the event buffer, starts scans, and takes over their results.
//!
//! Without eBPF the same thread only scans, using at most 2 % of a CPU, and on cgroup v2 watches `memory.events`, so that
//! an OOM kill is noticed when it happens.

mod messages;

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::tracker::{Gap, Tracker};
use crate::bounds::Bound;
use crate::discovery::containers::Found;
use crate::kernel::cgroup::{self, Hierarchies, Hierarchy, Version};
use crate::kernel::oom_watch::{self, OomWatch};
use crate::kernel::probes::{EventReader, Waker, load::CounterReader};
use crate::reader::container::Member;
use crate::sample::event::Name;
use crate::sampler::engine::Engine;
use crate::sampler::roster::{Admission, Roster};
use crate::supervisor::Supervisor;
use messages::Message;
pub use messages::{News, Stop};

/// A scan after a loss starts no sooner after the one before, so that a long storm does not become a storm of scans.
const SCAN_PAUSE: Duration = Duration::from_millis(100);
/// A scan that takes long starts no sooner than this many times its own duration after the last.
const SCAN_REST: u32 = 4;
/// Without events a scan starts no sooner than this many times its own duration after the last.
const SCAN_SHARE: u32 = 50;

/// Nice value of the thread that empties the ring buffer.
const HIGHEST_PRIORITY: i32 = -20;
const MEMORY_EVENTS: &str = "memory.events";

/// Where changes are learnt from.
pub enum ChangeSource {
    /// The kernel's events, repaired by scans at this interval.
    Events {
        /// The ring buffer.
        reader: Box<EventReader>,
        /// The programs' counters.
        counters: CounterReader,
        /// Scans that only verify.
        verify_every: Duration,
    },
    /// Scans alone.
    Scans {
        /// The shortest time between two.
        every: Duration,
    },
}

/// What the follower reports.
#[derive(Debug, Default)]
pub struct Progress {
    ready: AtomicBool,
}

impl Progress {
    /// Whether the first scan was taken over: from then on every cgroup of the machine is listed.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct Scan {
    found: Vec<Found>,
    /// The hierarchies that could be looked at.
    hierarchies: Vec<u32>,
    took: Duration,
    /// Directories there was no memory for.
    not_listed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanReason {
    Start,
    Lost,
    Periodic,
    Scan,
}

struct Follower {
    tracker: Tracker,
    engine: Arc<Engine>,
    progress: Arc<Progress>,
    hierarchies: Arc<Hierarchies>,
    sender: Sender<Message>,
    messages: Receiver<Message>,
    waker: Waker,
    scanning: Option<ScanReason>,
    wanted: Option<ScanReason>,
    not_before: Instant,
    next_periodic: Instant,
    every: Duration,
    periodic: ScanReason,
    lost: u64,
}

/// Starts the thread.
///
/// # Errors
/// When the system has no thread to give.
pub fn start(
    tracker: Tracker,
    engine: Arc<Engine>,
    hierarchies: Arc<Hierarchies>,
    source: ChangeSource,
    progress: Arc<Progress>,
    supervisor: &Supervisor,
) -> std::io::Result<(std::thread::JoinHandle<()>, Stop)> {
    let (sender, messages) = channel();
    let (waker, watch) = match &source {
        ChangeSource::Events { reader, .. } => (reader.waker(), None),
        ChangeSource::Scans { .. } => {
            let watch = OomWatch::new()?;
            (watch.waker(), Some(watch))
        }
    };
    let stop = Stop::new(sender.clone(), waker.clone());
    let now = Instant::now();
    let (every, periodic) = match source {
        ChangeSource::Events { verify_every, .. } => (verify_every, ScanReason::Periodic),
        ChangeSource::Scans { every } => (every, ScanReason::Scan),
    };
    let follower = Follower {
        tracker,
        engine,
        progress,
        hierarchies,
        sender,
        messages,
        waker,
        scanning: None,
        wanted: Some(ScanReason::Start),
        not_before: now,
        next_periodic: now + every,
        every,
        periodic,
        lost: 0,
    };
    let thread = supervisor.thread("follower", move || match (source, watch) {
        (ChangeSource::Events { reader, counters, .. }, _) => follower.follow_events(*reader, &counters),
        (ChangeSource::Scans { .. }, Some(watch)) => follower.follow_scans(watch),
        (ChangeSource::Scans { .. }, None) => {}
    })?;
    Ok((thread, stop))
}

impl Follower {
    fn follow_events(mut self, mut reader: EventReader, counters: &CounterReader) {
        // A ring buffer that is not emptied in time loses events; the work per event is a few microseconds.
        if let Err(errno) = rustix::process::setpriority_process(None, HIGHEST_PRIORITY) {
            tracing::debug!(error = %errno, "event thread runs at normal priority");
        }
        loop {
            if let Err(error) = reader.wait(Some(self.begin_scan_or_wait())) {
                tracing::error!(%error, "waiting for kernel events failed; no more changes are noticed");
                return;
            }
            self.drain(&mut reader);
            // Looking at the counters takes as long as an event does.
            if reader.may_have_been_full() {
                self.count_losses(counters);
            }
            while let Ok(message) = self.messages.try_recv() {
                match message {
                    Message::Stop => return,
                    Message::Identified(names) => self.tracker.identified(&names),
                    Message::Filter(filter) => self.tracker.set_filter(*filter),
                    Message::Scanned(scan) => {
                        // What the scan saw happened before this; so it is applied after what the events reported.
                        self.drain(&mut reader);
                        self.count_losses(counters);
                        self.merge(scan);
                    }
                }
            }
            if self.tracker.gap() == Gap::NeedsScan {
                self.wanted.get_or_insert(ScanReason::Lost);
            }
        }
    }

    fn follow_scans(mut self, mut watch: OomWatch) {
        let mut watched = HashSet::new();
        loop {
            if let Err(error) = watch.wait(Some(self.begin_scan_or_wait())) {
                tracing::error!(%error, "waiting for changes of memory.events failed; no more changes are noticed");
                return;
            }
            let drained = watch.drain(|change| {
                let changed = match change {
                    oom_watch::Change::Modified(file) => self.name_of(file).into_iter().collect(),
                    oom_watch::Change::Overflow => watched.iter().cloned().collect::<Vec<Name>>(),
                };
                for tracked in changed.iter().filter_map(|name| self.engine.tracked(name)) {
                    self.engine.sample_soon(&tracked);
                }
            });
            if let Err(error) = drained {
                tracing::error!(
                    %error,
                    "changes of memory.events cannot be read; OOM kills are noticed with the next sample"
                );
            }
            while let Ok(message) = self.messages.try_recv() {
                match message {
                    Message::Stop => return,
                    Message::Identified(names) => self.tracker.identified(&names),
                    Message::Filter(filter) => self.tracker.set_filter(*filter),
                    Message::Scanned(scan) => {
                        let took = scan.took;
                        let found = scan.found.iter().map(|found| (found.member.hierarchy, Name::clone(&found.name)));
                        let found: Vec<_> = found.collect();
                        // Merged first: then it is known what nobody wants to see.
                        self.merge(scan);
                        self.watch(&found, &mut watch, &mut watched);
                        self.next_periodic = Instant::now() + self.every.max(took * SCAN_SHARE);
                    }
                }
            }
        }
    }

    /// The default hierarchy, where it has the memory controller.
    fn v2_memory(&self) -> Option<&Hierarchy> {
        self.hierarchies.with_controller("memory").filter(|hierarchy| hierarchy.version == Version::V2)
    }

    /// Watches `memory.events` of the cgroups that are new.
    fn watch(&self, found: &[(u32, Name)], watch: &mut OomWatch, watched: &mut HashSet<Name>) {
        let Some(hierarchy) = self.v2_memory() else { return };
        let there: HashSet<&Name> = found.iter().filter(|(id, _)| *id == hierarchy.id).map(|(_, name)| name).collect();
        // A watch ends with its file.
        watched.retain(|name| there.contains(name));
        for name in there {
            // One there is no memory for is not tracked.
            let is_tracked = self.engine.tracked(name).is_some();
            if is_tracked && !watched.contains(name) && !self.tracker.is_excluded(name) {
                match watch.add(&hierarchy.file(name, MEMORY_EVENTS).path()) {
                    Ok(()) => _ = watched.insert(Name::clone(name)),
                    // The root has none, and some cgroups have no memory controller.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => {
                        tracing::warn!(
                            %error,
                            "memory.events cannot be watched; OOM kills are noticed with the next sample"
                        );
                        return;
                    }
                }
            }
        }
    }

    /// The cgroup a watched file belongs to.
    fn name_of(&self, file: &Path) -> Option<Name> {
        let hierarchy = self.v2_memory()?;
        let below = file.strip_prefix(&hierarchy.mount).ok()?.parent()?.as_os_str().as_bytes();
        Some(if below.is_empty() {
            hierarchy.top_name().into()
        } else {
            [&*hierarchy.top, b"/", below].concat().into()
        })
    }

    fn drain(&mut self, reader: &mut EventReader) {
        let tracker = &mut self.tracker;
        tracker.synchronise_clock();
        let mut malformed = 0u64;
        reader.drain(|event| match event {
            Ok(event) => tracker.handle(event),
            Err(error) => {
                malformed += 1;
                tracing::error!(%error, "kernel event could not be read");
            }
        });
        if malformed > 0 {
            self.wanted.get_or_insert(ScanReason::Lost);
        }
    }

    fn count_losses(&mut self, counters: &CounterReader) {
        // Records that a scan makes up for are only lost while the buffer is full, so there is much to drain after a loss,
        // and looking then misses none.
        match counters.read() {
            Ok(counts) => {
                let lost = counts.lost_to_scan();
                if lost > self.lost {
                    tracing::warn!(lost = lost - self.lost, "kernel events were lost; looking at every cgroup again");
                    self.lost = lost;
                    self.tracker.events_were_lost();
                    self.wanted = Some(ScanReason::Lost);
                }
            }
            Err(error) => tracing::error!(%error, "the programs' counters could not be read"),
        }
    }

    /// Starts a scan if one is due and none runs; returns how long to wait at most.
    fn begin_scan_or_wait(&mut self) -> Duration {
        let now = Instant::now();
        if self.scanning.is_none() {
            if self.wanted.is_none() && now >= self.next_periodic {
                self.wanted = Some(self.periodic);
            }
            if let Some(reason) = self.wanted
                && now >= self.not_before
            {
                self.wanted = None;
                self.scan(reason);
            }
        }
        let deadline = match (self.scanning, self.wanted) {
            (Some(_), _) => now + Duration::from_secs(1),
            (None, Some(_)) => self.not_before,
            (None, None) => self.next_periodic,
        };
        deadline.saturating_duration_since(now)
    }

    /// Scans on a thread of its own: it may take a while, and the ring buffer must be emptied meanwhile.
    fn scan(&mut self, reason: ScanReason) {
        self.tracker.scan_begins();
        let hierarchies = Arc::clone(&self.hierarchies);
        let sender = self.sender.clone();
        let waker = self.waker.clone();
        let known = self.tracker.known();
        let memory = self.engine.store().bounds().containers;
        let spawned = std::thread::Builder::new().name("scanner".into()).spawn(move || {
            let began = Instant::now();
            let mut finding = ScanFinding::new(known, Roster::new(memory));
            let mut scanned = Vec::new();
            for hierarchy in hierarchies.iter() {
                let complete = cgroup::scan(hierarchy, cgroup::LONGEST_PATH, |name, id| {
                    finding.add(Member { hierarchy: hierarchy.id, id }, name);
                });
                match complete {
                    Ok(too_long) => {
                        scanned.push(hierarchy.id);
                        Bound::CgroupPathBytes.exceeded_by(too_long);
                    }
                    Err(error) => {
                        tracing::error!(%error, "a hierarchy could not be scanned; what is known of it stays");
                    }
                }
            }
            let not_listed = finding.not_listed;
            let scan = Scan { found: finding.into_found(), hierarchies: scanned, took: began.elapsed(), not_listed };
            // The follower may have been stopped.
            let _ = sender.send(Message::Scanned(scan));
            waker.wake();
        });
        match spawned {
            Ok(_) => self.scanning = Some(reason),
            Err(error) => {
                tracing::error!(%error, "no thread for a scan; trying again");
                self.wanted = Some(reason);
                self.not_before = Instant::now() + Duration::from_secs(1);
            }
        }
    }

    fn merge(&mut self, scan: Scan) {
        let reason = self.scanning.take();
        let directories = scan.found.len();
        let refused = self.tracker.refused();
        let divergence = self.tracker.merge(scan.found, &scan.hierarchies, scan.not_listed);
        self.engine.metrics().not_listed(scan.not_listed + self.tracker.refused() - refused);
        let now = Instant::now();
        self.not_before = now + SCAN_PAUSE.max(scan.took * SCAN_REST);
        self.next_periodic = now + self.every;
        tracing::debug!(?reason, directories, took = ?scan.took, ?divergence, "scanned");
        match reason {
            Some(ScanReason::Lost) => self.engine.metrics().reconciled("lost", divergence.added, divergence.removed),
            Some(ScanReason::Periodic) => {
                self.engine.metrics().reconciled("periodic", divergence.added, divergence.removed);
            }
            Some(ScanReason::Start | ScanReason::Scan) | None => {}
        }
        self.progress.ready.store(true, Ordering::Release);
    }
}

/// What a scan has found so far. It takes no more memory than the cgroups may that are listed: those that are known are
/// found in any case, of the others as many as there is memory for.
struct ScanFinding {
    known: HashSet<Member>,
    roster: Roster,
    found: Vec<Found>,
    /// What is no longer wanted is dropped when there are so many: a container has an entry in every hierarchy.
    most: usize,
    not_listed: u64,
}

impl ScanFinding {
    /// So many entries are not worth looking through.
    const SLACK: usize = 4_096;

    fn new(known: HashSet<Member>, roster: Roster) -> Self {
        Self { known, roster, found: Vec::new(), most: Self::SLACK, not_listed: 0 }
    }

    fn add(&mut self, member: Member, name: &[u8]) {
        if self.known.contains(&member) {
            return self.found.push(Found { member, name: name.into() });
        }
        let name: Name = self.roster.kept(name).map_or_else(|| name.into(), Name::clone);
        match self.roster.admit(&name) {
            Admission::Listed => {}
            Admission::InsteadOf(others) => self.not_listed += others.len() as u64,
            Admission::Refused => {
                self.not_listed += 1;
                return;
            }
        }
        self.found.push(Found { member, name });
        if self.found.len() > self.most {
            self.drop_pushed_out();
            // At least half of what is looked through next time is new since: that is a fixed cost for each entry.
            self.most = 2 * self.found.len() + Self::SLACK;
        }
    }

    fn drop_pushed_out(&mut self) {
        let Self { known, roster, found, .. } = self;
        found.retain(|found| known.contains(&found.member) || roster.has(&found.name));
    }

    fn into_found(mut self) -> Vec<Found> {
        self.drop_pushed_out();
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(known: &[u64], memory: usize) -> ScanFinding {
        let known = known.iter().map(|id| Member { hierarchy: 1, id: *id }).collect();
        ScanFinding::new(known, Roster::new(memory))
    }

    #[test]
    fn a_scan_finds_what_is_known_and_honest_whatever_else_there_is() {
        let mut finding = finding(&[1, 2], 100 * 20_000);
        finding.add(Member { hierarchy: 1, id: 1 }, b"/");
        for number in 0..100_000 {
            finding.add(Member { hierarchy: 1, id: 1_000 + number }, format!("/user/evil/{number}").as_bytes());
        }
        for number in 0..40 {
            finding.add(Member { hierarchy: 1, id: 10 + number }, format!("/pods/{number}").as_bytes());
        }
        finding.add(Member { hierarchy: 1, id: 2 }, b"/user/evil/known");
        assert!(finding.not_listed > 99_000);
        let found = finding.into_found();
        assert!(found.len() < 200, "{}", found.len());
        let honest = found.iter().filter(|found| found.name.starts_with(b"/pods/")).count();
        assert_eq!(honest, 40);
        assert!(found.iter().any(|found| &*found.name == b"/user/evil/known"));
    }

    #[test]
    fn containers_in_many_hierarchies_are_looked_through_seldom() {
        let mut finding = finding(&[], usize::MAX);
        let mut passes = 0;
        for hierarchy in 0..9 {
            for number in 0..5_000 {
                let most = finding.most;
                finding.add(Member { hierarchy, id: number }, format!("/pods/{number}").as_bytes());
                passes += u32::from(most != finding.most);
            }
        }
        assert!(passes < 5, "{passes} passes over what was found");
        assert_eq!(finding.into_found().len(), 45_000);
    }
}
