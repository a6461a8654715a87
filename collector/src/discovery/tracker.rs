//! Turns kernel events and scans into containers, samples and the event log.
//!
//! Runs on the one thread that follows the kernel's events and therefore never reads a cgroup's statistics itself.

mod exits;
mod last;
mod listing;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};

use exits::Exits;

use super::filter::Filter;
use crate::bounds::{Bound, Shown};
use crate::degradations::Degradations;
use crate::discovery::containers::{Change, Discovery, Divergence, Found};
use crate::kernel::cgroup::Extent;
use crate::kernel::probes::events::{CgroupEvent, CgroupEventKind, KernelEvent, OomEvent, Task};
use crate::kernel::probes::oom_owner;
use crate::reader::container::Member;
use crate::runtime::Requests;
use crate::sample::event::{Constraint, Event, EventData, EventKind, Name, OomKill, OomParty, OomSizes};
use crate::sampler::engine::{Engine, Origin, Tracked};
use crate::store::Listed;
use crate::units::{Bytes, WallTime};

/// OOM kills that wait for the scan that finds their cgroups, at about a kilobyte each.
const MAX_UNATTRIBUTED: usize = 1_024;
/// Cgroups whose own out-of-memory situations are remembered.
const MAX_LOCAL_OOMS: usize = 65_536;
/// What is missing when there is no memory for all cgroups.
const FACILITY: &str = "cgroups";

/// The state of the following thread.
#[derive(Debug)]
pub struct Tracker {
    engine: Arc<Engine>,
    filter: Filter,
    identities: Requests,
    discovery: Discovery,
    /// Last known count of own out-of-memory situations per memory cgroup, which shows whose limit an OOM record is
    /// about.
    local_ooms: HashMap<Member, u64>,
    /// The last OOM kill and whose limit it was about: a group kill is reported victim by victim.
    last_oom: Option<(OomEvent, Option<u64>)>,
    exits: Exits,
    /// OOM kills in cgroups whose creation was lost: they wait for the scan that finds the cgroup.
    unattributed: Vec<OomEvent>,
    changes: Vec<Change>,
    page_size: u64,
    clock: BootClock,
    gap: Gap,
    degradations: Degradations,
    /// Directories there was no memory for, as of the last look.
    refused: u64,
    shortage: Shortage,
}

/// Whether there is memory for every cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shortage {
    #[default]
    None,
    Reported,
}

/// Whether the events reported everything so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gap {
    /// They did.
    #[default]
    None,
    /// Something was not reported (a path that did not fit, a cgroup nobody heard of): a scan is needed.
    NeedsScan,
}

/// Converts the kernel's boot clock to wall time.
#[derive(Clone, Copy, Debug)]
struct BootClock {
    offset_ns: i128,
}

impl BootClock {
    fn now() -> Self {
        let boot = clock_gettime(ClockId::Boottime);
        let boot = i128::from(boot.tv_sec) * 1_000_000_000 + i128::from(boot.tv_nsec);
        Self { offset_ns: i128::from(WallTime::from(SystemTime::now()).0) - boot }
    }

    fn wall(self, boot_ns: u64) -> WallTime {
        WallTime(u64::try_from(i128::from(boot_ns) + self.offset_ns).unwrap_or_default())
    }
}

impl Tracker {
    /// A tracker that knows nothing yet.
    pub fn new(engine: Arc<Engine>, filter: Filter, identities: Requests, degradations: Degradations) -> Self {
        let memory = engine.store().bounds().containers;
        Self {
            engine,
            filter,
            identities,
            discovery: Discovery::new(memory),
            local_ooms: HashMap::new(),
            last_oom: None,
            exits: Exits::default(),
            unattributed: Vec::new(),
            changes: Vec::new(),
            page_size: rustix::param::page_size() as u64,
            clock: BootClock::now(),
            gap: Gap::None,
            degradations,
            refused: 0,
            shortage: Shortage::None,
        }
    }

    /// The wall clock may be set at any time; called before each batch of events.
    pub fn synchronise_clock(&mut self) {
        self.clock = BootClock::now();
    }

    /// Takes note of one event.
    pub fn handle(&mut self, event: KernelEvent) {
        match event {
            KernelEvent::Cgroup(event) => self.cgroup(event),
            KernelEvent::Attach(event) => {
                let member = Member { hierarchy: event.hierarchy_id, id: event.id };
                if let Some(tracked) = self.discovery.name(member).and_then(|name| self.engine.tracked(name)) {
                    tracked.set_first_process(event.pid);
                }
            }
            KernelEvent::Oom(event) => self.oom(*event),
            KernelEvent::Exit(event) => self.exit(&event),
            KernelEvent::Last(event) => self.removing(&event),
        }
    }

    fn cgroup(&mut self, event: CgroupEvent) {
        let Some(event) = self.in_sight(event) else { return };
        let member = Member { hierarchy: event.hierarchy_id, id: event.id };
        let at = self.clock.wall(event.boot_ns);
        let mut changes = std::mem::take(&mut self.changes);
        match event.kind {
            CgroupEventKind::Mkdir | CgroupEventKind::Rename if event.path_truncated => self.gap = Gap::NeedsScan,
            CgroupEventKind::Mkdir => self.discovery.made(member, &event.path.into(), Some(at), &mut changes),
            CgroupEventKind::Rename => self.discovery.renamed(member, &event.path.into(), Some(at), &mut changes),
            CgroupEventKind::Rmdir => self.discovery.removed(member, &mut changes),
            CgroupEventKind::Populated => {
                if let Some(populated) = event.populated {
                    self.discovery.populated(member, populated, &mut changes);
                }
            }
            CgroupEventKind::Release => {
                self.local_ooms.remove(&member);
            }
        }
        self.apply(&mut changes, at);
        self.changes = changes;
        if self.shortage == Shortage::None && self.discovery.refused() > self.refused {
            self.report_shortage();
        }
    }

    /// The event as it concerns the cgroups in sight: none of a hierarchy that is not mounted here, and where only a
    /// part of one is, with a name like those of the files there.
    fn in_sight(&self, mut event: CgroupEvent) -> Option<CgroupEvent> {
        let hierarchy = self.engine.context().hierarchies().get(event.hierarchy_id)?;
        if hierarchy.extent != Extent::Whole && matches!(event.kind, CgroupEventKind::Mkdir | CgroupEventKind::Rename) {
            // Events name cgroups from the hierarchy's root, whose way down to here is not known.
            let parent = Member { hierarchy: event.hierarchy_id, id: event.parent_id? };
            let parent = self.discovery.name(parent)?;
            let own_name = event.path.rsplit(|byte| *byte == b'/').next()?;
            event.path = [parent.strip_suffix(b"/").unwrap_or(parent), b"/", own_name].concat().into();
        }
        Some(event)
    }

    /// From now on events take precedence over the scan that starts now.
    pub fn scan_begins(&mut self) {
        self.gap = Gap::None;
        self.discovery.scan_begins();
    }

    /// The directories a scan has to find whatever there is memory for.
    pub fn known(&self) -> HashSet<Member> {
        self.discovery.members_known()
    }

    /// How many directories there was no memory for so far.
    pub fn refused(&self) -> u64 {
        self.discovery.refused()
    }

    fn report_shortage(&mut self) {
        self.shortage = Shortage::Reported;
        self.refused = self.discovery.refused();
        let limit = self.engine.store().bounds().containers;
        let payer = self.discovery.heaviest();
        let reason = format!(
            "not every cgroup below {} is listed: the {limit} bytes there are for cgroups are used up, most of them by \
             that subtree; give the collector more with --container_memory_limit (and a larger memory limit), or have \
             fewer cgroups made there (cgroup.max.descendants)",
            Shown(&payer)
        );
        self.degradations.set(&FACILITY, &reason);
    }

    /// Takes over what a scan found, and how many directories it left out for want of memory.
    pub fn merge(&mut self, found: Vec<Found>, scanned: &[u32], not_listed: u64) -> Divergence {
        if self.discovery.scan_is_void() {
            self.gap = Gap::NeedsScan;
        }
        let mut changes = std::mem::take(&mut self.changes);
        let divergence = self.discovery.merge(found, scanned, &mut changes);
        self.apply(&mut changes, WallTime::from(SystemTime::now()));
        self.changes = changes;
        if self.discovery.refused() > self.refused || not_listed > 0 {
            self.report_shortage();
        } else if self.shortage == Shortage::Reported {
            self.shortage = Shortage::None;
            self.degradations.clear(&FACILITY);
        }
        for event in std::mem::take(&mut self.unattributed) {
            // A victim that the scan has not found either is out of sight, or its cgroup is gone.
            if self.engine.context().hierarchies().are_whole() || self.victim_name(&event).is_some() {
                self.publish_oom(event);
            }
        }
        divergence
    }

    /// Events were lost: what is known of populated cgroups may be out of date.
    pub fn events_were_lost(&mut self) {
        self.discovery.forget_populated();
    }

    /// Whether a scan is needed.
    pub fn gap(&self) -> Gap {
        self.gap
    }

    fn apply(&mut self, changes: &mut Vec<Change>, at: WallTime) {
        for change in changes.drain(..) {
            match change {
                Change::Began { name, made } => self.begin(&name, made),
                Change::Members { name } => {
                    if let Some(tracked) = self.engine.tracked(&name) {
                        tracked.set_members(self.discovery.members(&name));
                    }
                }
                Change::Ended { name } => {
                    self.identities.end(&name);
                    if let Some(tracked) = self.engine.tracked(&name) {
                        self.exits_end(&tracked);
                        self.engine.end(&tracked, at);
                    }
                    let changed = self.engine.disclaim(&name);
                    self.identified(&changed);
                }
                Change::PushedOut { name } => {
                    self.identities.end(&name);
                    self.exits.forget(&name);
                    if let Some(tracked) = self.engine.tracked(&name) {
                        self.engine.forget(&tracked);
                    }
                }
                Change::Populated { name } => {
                    if let Some(tracked) = self.listed(&name) {
                        self.exits_begin(&tracked);
                        self.engine.populated(&tracked);
                    }
                }
                Change::Emptied { name } => {
                    if let Some(tracked) = self.listed(&name) {
                        self.exits_end(&tracked);
                        self.engine.emptied(&tracked);
                    }
                }
            }
        }
    }

    fn listed(&self, name: &[u8]) -> Option<Arc<Tracked>> {
        self.engine.tracked(name).filter(|tracked| tracked.container().listed() == Listed::Yes)
    }

    /// Whether the user does not want to see it.
    pub fn is_excluded(&self, name: &[u8]) -> bool {
        self.engine.tracked(name).is_some_and(|tracked| tracked.container().listed() == Listed::Excluded)
    }

    fn begin(&mut self, name: &Name, made: Option<WallTime>) {
        let members = self.discovery.members(name);
        // The path shows whose container it is; what else there is to know the runtimes are asked for.
        let changed = self.engine.claim(name);
        self.identified(&changed);
        let listed = self.is_listed(name);
        let origin = made.map_or(Origin::Found, Origin::Made);
        self.announce(name, origin, listed);
        self.engine.begin(name, &members, origin, listed);
        // One that is not listed may be, when it is known who it is.
        if self.filter.rules.want_path(name) {
            self.identities.begin(name);
        }
    }

    fn victim_name(&self, event: &OomEvent) -> Option<&Name> {
        self.discovery.name(memory_member(event, event.victim.as_ref()?)?)
    }

    fn oom(&mut self, event: OomEvent) {
        let victim = event.victim.as_ref().and_then(|victim| memory_member(&event, victim));
        if victim.is_some() && self.victim_name(&event).is_none() {
            self.gap = Gap::NeedsScan;
            if self.unattributed.len() < MAX_UNATTRIBUTED {
                self.unattributed.push(event);
                return;
            }
            Bound::UnattributedOoms.exceeded();
        }
        self.publish_oom(event);
    }

    /// The cgroup that is known among those the victim was in, from its own upwards.
    fn nearest_known(&self, event: &OomEvent) -> Option<Name> {
        let hierarchy = event.memory_hierarchy_id?;
        let known = |id| self.discovery.name(Member { hierarchy, id });
        event.levels.iter().find_map(|level| known(level.id)).cloned()
    }

    fn publish_oom(&mut self, event: OomEvent) {
        let owner_id = self.limit_owner(&event);
        let party = |task: &Task| OomParty {
            pid: Some(task.pid),
            comm: Some(task.comm.as_bytes().into()),
            container: memory_member(&event, task).and_then(|member| self.discovery.name(member)).cloned(),
        };
        // A kernel that does not let the victim be looked at still reports its thread.
        let unknown = || OomParty { pid: Some(event.victim_tid), ..OomParty::default() };
        let limit_owner = owner_id
            .zip(event.memory_hierarchy_id)
            .and_then(|(id, hierarchy)| self.discovery.name(Member { hierarchy, id }))
            .cloned();
        let sizes = event.sizes.as_ref().map(|sizes| OomSizes {
            total_vm: Bytes(sizes.total_vm_pages * self.page_size),
            anon_rss: Bytes(sizes.anon_pages * self.page_size),
            file_rss: Bytes(sizes.file_pages * self.page_size),
            shmem_rss: Bytes(sizes.shmem_pages * self.page_size),
        });
        let root: Name = b"/".as_slice().into();
        let kill = Arc::new(OomKill {
            victim: event.victim.as_ref().map_or_else(unknown, party),
            trigger: event.trigger.as_ref().map(party).unwrap_or_default(),
            constraint: if owner_id.is_some() { Constraint::Memcg } else { Constraint::Unknown },
            limit_owner: limit_owner.clone(),
            uid: event.uid,
            oom_score_adj: event.oom_score_adj,
            sizes,
            page_tables: event.pgtables_bytes.map(Bytes),
        });
        if let Some(pid) = kill.victim.pid {
            self.exits.killed(pid, event.boot_ns, &kill);
        }
        let victim = kill.victim.container.clone().or_else(|| self.nearest_known(&event));
        let victim = victim.unwrap_or_else(|| Arc::clone(&root));
        if let Some(tracked) = self.engine.tracked(&victim)
            && tracked.container().listed() != Listed::Excluded
        {
            self.engine.oom_killed(&tracked, event.boot_ns);
        }
        let at = self.clock.wall(event.boot_ns);
        for (container, kind) in [(victim, EventKind::Oom), (limit_owner.unwrap_or(root), EventKind::OomKill)] {
            if self.is_excluded(&container) {
                continue;
            }
            self.engine.store().events().publish(Event {
                container,
                at,
                kind,
                data: EventData::Oom(Arc::clone(&kill)),
            });
        }
        for level in &event.levels {
            if let (Some(hierarchy), Some(local_ooms)) = (event.memory_hierarchy_id, level.local_ooms) {
                let member = Member { hierarchy, id: level.id };
                if self.local_ooms.len() < MAX_LOCAL_OOMS || self.local_ooms.contains_key(&member) {
                    self.local_ooms.insert(member, local_ooms);
                }
            }
        }
        self.last_oom = Some((event, owner_id));
    }

    fn limit_owner(&self, event: &OomEvent) -> Option<u64> {
        if let Some((before, owner)) = &self.last_oom
            && oom_owner::same_situation(before, event)
        {
            return *owner;
        }
        let hierarchy = event.memory_hierarchy_id?;
        oom_owner::limit_owner(&event.levels, |id| {
            let member = Member { hierarchy, id };
            let made = || {
                let tracked = self.discovery.name(member).and_then(|name| self.engine.tracked(name));
                tracked.is_some_and(|tracked| matches!(tracked.origin(), Origin::Made(_)))
            };
            self.local_ooms.get(&member).copied().or_else(|| made().then_some(0))
        })
    }
}

/// Where a task of an OOM event is in the memory controller's hierarchy.
fn memory_member(event: &OomEvent, task: &Task) -> Option<Member> {
    Some(Member { hierarchy: event.memory_hierarchy_id?, id: task.memory_cgroup? })
}
