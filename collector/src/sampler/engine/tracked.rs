//! A container with what is needed to sample it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::oom_tally::{Baseline, OomTally};
use super::origin::Origin;
use super::phases::Phase;
use super::{Engine, lock};
use crate::reader::container::{ContainerReader, LastReading, Member, NetworkOf};
use crate::sample::container::{Network, Sample};
use crate::store::{Container, Listed};
use crate::units::WallTime;

/// Keeps in the store which directories are the container's.
fn note_directories(container: &Container, members: &[Member]) {
    container.set_directories(members.iter().map(|member| (member.hierarchy, member.id)));
}

/// A container with what is needed to sample it.
#[derive(Debug)]
pub struct Tracked {
    pub(super) container: Arc<Container>,
    pub(super) origin: Origin,
    /// Whether nothing is left to say about when it was made.
    pub(super) is_announced: AtomicBool,
    pub(super) reader: Mutex<Reading>,
    /// What the thread that follows the kernel's events has to say to the next reading, without waiting for a
    /// reading that is under way.
    pub(super) news: Mutex<News>,
    pub(super) oom: Mutex<OomTally>,
    pub(super) ended: AtomicBool,
    /// Urgent jobs under way: the account is closed after the last of them.
    pub(super) urgent: AtomicU32,
    pub(super) doublings: AtomicU8,
    pub(super) populated: AtomicBool,
    /// Closing samples that are still to come.
    pub(super) closing: AtomicU8,
    /// What was read of it while its cgroups were removed.
    pub(super) last: Mutex<LastReading>,
    /// What the closing samples had of its network: later ones find nobody in it.
    last_network: Mutex<Option<Network>>,
    /// The process id that was reported as its first, 0 before.
    first_process: AtomicU32,
    /// When within the interval it is sampled, if it is.
    pub(super) phase: Option<Phase>,
}

#[derive(Debug)]
pub(super) struct Reading {
    pub(super) reader: ContainerReader,
    pub(super) retries: u8,
    /// When it was made by the times of its files.
    pub(super) created: Option<WallTime>,
    /// Whether limits were read since its runtime had the time to set them.
    pub(super) limits: SetLimits,
    pub(super) oom_baseline: Baseline,
}

/// A runtime sets limits after it has made the cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetLimits {
    Known,
    /// What was read may be what the kernel begins with.
    MayFollow,
}

#[derive(Debug, Default)]
pub(super) struct News {
    members: Option<Vec<Member>>,
    first_process: Option<u32>,
    /// Whether processes came, or the last one ended, whichever was last.
    pub(super) populated: Option<bool>,
}

impl News {
    /// Whether there is something to say.
    pub(super) fn is_any(&self) -> bool {
        let Self { members, first_process, populated } = self;
        members.is_some() || first_process.is_some() || populated.is_some()
    }
}

impl Tracked {
    /// A container of these cgroups that nobody has read yet.
    pub(super) fn new(container: Arc<Container>, origin: Origin, members: &[Member], phase: Option<Phase>) -> Self {
        note_directories(&container, members);
        Self {
            reader: Mutex::new(Reading {
                reader: ContainerReader::new(Arc::clone(container.name()), members),
                retries: 0,
                created: None,
                limits: if matches!(origin, Origin::Made(_)) { SetLimits::MayFollow } else { SetLimits::Known },
                // What was killed before a container was found is not known to be new.
                oom_baseline: if matches!(origin, Origin::Made(_)) { Baseline::Known } else { Baseline::Unread },
            }),
            is_announced: AtomicBool::new(container.listed() != Listed::Yes || matches!(origin, Origin::Made(_))),
            container,
            origin,
            news: Mutex::default(),
            oom: Mutex::new(OomTally::of(origin)),
            ended: AtomicBool::new(false),
            urgent: AtomicU32::new(0),
            doublings: AtomicU8::new(0),
            populated: AtomicBool::new(false),
            closing: AtomicU8::new(0),
            last: Mutex::default(),
            last_network: Mutex::default(),
            first_process: AtomicU32::new(0),
            phase,
        }
    }

    /// The container in the store.
    pub fn container(&self) -> &Arc<Container> {
        &self.container
    }

    /// How it became known.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Its processes came again: what is known of its network is no longer the last.
    pub(super) fn forget_last_network(&self) {
        *lock(&self.last_network) = None;
    }

    /// The last word about it.
    pub(super) fn closing_sample(&self) -> Option<Arc<Sample>> {
        let sample = self.container.closing_sample()?;
        match lock(&self.last_network).take() {
            Some(network) if sample.network.is_none() => {
                Some(Arc::new(Sample { network: Some(network), ..Sample::clone(&sample) }))
            }
            _ => Some(sample),
        }
    }

    /// It is now in these hierarchies.
    pub fn set_members(&self, members: Vec<Member>) {
        note_directories(&self.container, &members);
        lock(&self.last).forget_made_anew(&members);
        lock(&self.news).members = Some(members);
    }

    /// Its first process.
    pub fn set_first_process(&self, pid: u32) {
        lock(&self.news).first_process = Some(pid);
        self.first_process.store(pid, Ordering::Relaxed);
    }

    /// The process that was attached first, if it was reported.
    pub fn first_process(&self) -> Option<u32> {
        Some(self.first_process.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }
}

impl Tracked {
    /// Passes on what was said since the last reading.
    pub(super) fn deliver_news(&self, reading: &mut Reading) {
        reading.reader.set_network_owner(NetworkOf::of(self.container.who().as_ref()));
        let news = std::mem::take(&mut *lock(&self.news));
        if let Some(members) = news.members {
            reading.reader.set_members(&members);
        }
        if let Some(pid) = news.first_process {
            reading.reader.process_hint(pid);
        }
        match news.populated {
            Some(true) => reading.reader.refresh_network(),
            Some(false) => reading.reader.keep_network(),
            None => {}
        }
    }

    /// With the last closing sample the network namespace is let go, if nobody lives in the container again.
    pub(super) fn closing_sample_taken(&self, reader: &mut ContainerReader, sample: Option<&Sample>) {
        if let Some(network) = sample.and_then(|sample| sample.network.as_ref()) {
            *lock(&self.last_network) = Some(network.clone());
        }
        let count_down = |left: u8| left.checked_sub(1);
        let left = self.closing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count_down);
        if left.is_ok_and(|left| left == 1) && !self.populated.load(Ordering::Relaxed) {
            reader.leave_network();
        }
    }
}

impl Engine {
    /// Begins anew with a container that is listed now, or is not any more. What was read of it is forgotten, and its
    /// files are closed; who it is stays known. Nothing is published: it has neither begun nor ended.
    pub fn relist(&self, old: &Arc<Tracked>, members: &[Member], origin: Origin, listed: Listed) {
        old.ended.store(true, Ordering::Release);
        let name = old.container.name();
        self.begin(name, members, origin, listed);
    }
}
