//! Everything that is known of the containers, brought up to date by each answer.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::figures::timestamp;
use super::names::{self, GroupKind};
use super::wire::{Node, RowFigures, Tick, TopEvent, TopEventKind, Who};

/// How long what happened counts as having happened lately.
pub(super) const RECENT_MS: u64 = 10 * 60_000;
/// Events that are kept.
const EVENTS: usize = 500;
/// Above this share of its limit the memory of a container hurts, in percent.
const MEMORY_HURTS: u64 = 90;
/// Above this share of its periods throttling hurts, in percent.
const THROTTLING_HURTS: u64 = 25;
/// So many restarts lately are a crash loop.
const LOOPING: u64 = 3;

/// A container.
#[derive(Clone, Debug)]
pub(super) struct ContainerRow {
    pub(super) who: Who,
    pub(super) figures: RowFigures,
    pub(super) title: String,
    pub(super) group: String,
    pub(super) kind: GroupKind,
    /// Everything that is searched, in lower case.
    pub(super) text: String,
    /// The title as it sorts.
    pub(super) order: String,
    life: String,
    /// How often its runtime had started it again, and when that was first seen, in milliseconds.
    restarts_seen: Vec<(u64, u64)>,
}

/// What happened to a container lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lately {
    pub(super) kills: u64,
    pub(super) restarts: u64,
}

/// Where something hurts; the worst is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pain {
    Unhealthy,
    /// Percent of the periods.
    Throttled(u64),
    /// Percent of the limit.
    Memory(u64),
    /// Restarts.
    Looping(u64),
    /// Kills.
    OomKilled(u64),
}

impl Pain {
    /// The key for programs.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Unhealthy => "unhealthy",
            Self::Throttled(_) => "throttled",
            Self::Memory(_) => "memory",
            Self::Looping(_) => "looping",
            Self::OomKilled(_) => "oom_killed",
        }
    }

    /// In words.
    pub(super) fn words(self) -> String {
        match self {
            Self::Unhealthy => "unhealthy".to_owned(),
            Self::Throttled(percent) => format!("throttled {percent} %"),
            Self::Memory(percent) => format!("memory {percent} % of its limit"),
            Self::Looping(times) => format!("restarted {times} times in 10 min"),
            Self::OomKilled(1) => "OOM-killed".to_owned(),
            Self::OomKilled(times) => format!("OOM-killed {times} times"),
        }
    }
}

impl ContainerRow {
    fn new(who: Who, before: Option<Self>, at: u64) -> Self {
        let title = names::title(&who);
        let (group, kind) = names::group(&who);
        let text = names::searched(&who, &title, &group);
        let life = names::life_key(&who.name, &title, &group, kind);
        let (figures, mut restarts_seen) = before.map_or_else(
            // Of one that was made lately every restart was lately, too.
            || (RowFigures::default(), vec![(who.created.unwrap_or_default(), 0)]),
            |before| (before.figures, before.restarts_seen),
        );
        let counted = counted_restarts(&who);
        if restarts_seen.last().is_none_or(|(_, count)| *count != counted) {
            restarts_seen.push((at, counted));
        }
        restarts_seen.retain({
            let newest = at;
            move |(seen, _)| newest.saturating_sub(*seen) <= RECENT_MS || *seen == 0
        });
        let order = names::order(&title);
        Self { who, figures, title, group, kind, text, order, life, restarts_seen }
    }

    /// Thousandths of its memory limit.
    pub(super) fn memory_share(&self) -> Option<u64> {
        let limit = self.who.memory_limit.filter(|limit| *limit > 0)?;
        Some((u128::from(self.figures.memory?) * 1024 * 1000 / u128::from(limit)) as u64)
    }

    /// The resource that something waits for the most, and tenths of a percent of the time.
    pub(super) fn pressure(&self) -> Option<(&'static str, u64)> {
        let known = ["cpu", "mem", "io"].into_iter().zip(self.figures.pressure);
        let known = known.filter_map(|(name, share)| Some((name, share?)));
        // The first of equals.
        known.reduce(|most, one| if one.1 > most.1 { one } else { most })
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.who.ended.is_some()
    }

    pub(super) fn memory_hurts(&self) -> bool {
        !self.has_ended() && self.memory_share().is_some_and(|share| share > MEMORY_HURTS * 10)
    }

    pub(super) fn throttling_hurts(&self) -> bool {
        self.figures.throttled.is_some_and(|percent| percent > THROTTLING_HURTS)
    }

    /// Of what ended, containers stay in sight, and what was killed: bare cgroups come and go by the thousand.
    pub(super) const fn is_kept(&self) -> bool {
        self.who.container.is_some() || self.figures.oom_kills > 0
    }
}

fn counted_restarts(who: &Who) -> u64 {
    who.labels.get("restartcount").and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) rows: BTreeMap<u64, ContainerRow>,
    pub(super) node: Node,
    /// Milliseconds since 1970 by the collector's clock; 0 before the first answer.
    pub(super) at: u64,
    /// The newest first.
    pub(super) events: Vec<TopEvent>,
    lately: HashMap<String, Lately>,
}

impl World {
    /// Takes in an answer of the feed, and what happened since the one before.
    pub(super) fn take(&mut self, tick: Tick, events: Vec<TopEvent>) {
        if tick.full {
            self.rows.clear();
        }
        for id in &tick.gone {
            self.rows.remove(id);
        }
        for who in tick.who {
            let before = self.rows.remove(&who.id);
            self.rows.insert(who.id, ContainerRow::new(who, before, tick.at));
        }
        for columns in &tick.now {
            for (at, id) in columns.id.iter().enumerate() {
                if let Some(row) = self.rows.get_mut(id) {
                    row.figures = columns.figures(at);
                }
            }
        }
        (self.node, self.at) = (tick.node, tick.at);
        self.add(events);
        self.count_lately();
    }

    fn add(&mut self, events: Vec<TopEvent>) {
        for event in events {
            if !self.events.contains(&event) {
                self.events.push(event);
            }
        }
        self.events.sort_by_key(|event| std::cmp::Reverse(event.at));
        self.events.truncate(EVENTS);
    }

    /// The machine as a whole.
    pub(super) fn root(&self) -> Option<&ContainerRow> {
        self.rows.values().find(|row| row.who.name == "/")
    }

    /// The container of this cgroup; of several lives the one that goes on, or the newest.
    pub(super) fn named(&self, name: &str) -> Option<&ContainerRow> {
        let lives = self.rows.values().filter(|row| row.who.name == name);
        lives.max_by_key(|row| (!row.has_ended(), row.who.id))
    }

    pub(super) fn lately(&self, row: &ContainerRow) -> Lately {
        self.lately.get(&row.life).copied().unwrap_or_default()
    }

    /// As its runtime counts them, or as they were seen lately.
    pub(super) fn restarts(&self, row: &ContainerRow) -> u64 {
        counted_restarts(&row.who).max(self.lately(row).restarts)
    }

    /// Where it hurts, the worst first.
    pub(super) fn pains(&self, row: &ContainerRow) -> Vec<Pain> {
        let Lately { kills, restarts } = self.lately(row);
        let mut pains = Vec::new();
        if kills > 0 {
            pains.push(Pain::OomKilled(kills));
        }
        if restarts >= LOOPING {
            pains.push(Pain::Looping(restarts));
        }
        if row.has_ended() {
            return pains;
        }
        if row.memory_hurts() {
            pains.push(Pain::Memory(row.memory_share().unwrap_or_default() / 10));
        }
        if row.throttling_hurts() {
            pains.push(Pain::Throttled(row.figures.throttled.unwrap_or_default()));
        }
        if row.who.health.as_deref() == Some("unhealthy") {
            pains.push(Pain::Unhealthy);
        }
        pains
    }

    /// Which kill of its container in ten minutes an event is, from 1.
    pub(super) fn kill_number(&self, event: &TopEvent) -> usize {
        let since = event.at.as_millisecond() - RECENT_MS as i64;
        let is_before = |other: &&TopEvent| {
            other.name == event.name
                && matches!(other.kind, TopEventKind::Kill { .. })
                && other.at <= event.at
                && other.at.as_millisecond() >= since
        };
        self.events.iter().filter(is_before).count()
    }

    /// Containers, and the cgroups that have none below them: what is neither a part of another row nor a sum of others;
    /// of several lives of one and the same thing the one that goes on, or the last.
    pub(super) fn leaves(&self) -> Vec<&ContainerRow> {
        let mut parents: HashSet<&str> = HashSet::from(["/"]);
        let mut containers: HashSet<&str> = HashSet::new();
        for row in self.rows.values() {
            for parent in names::ancestors(&row.who.name) {
                if !parents.insert(parent) {
                    break;
                }
            }
            if row.who.container.is_some() {
                containers.insert(&row.who.name);
            }
        }
        let is_part =
            |name: &str| !containers.is_empty() && names::ancestors(name).any(|above| containers.contains(above));
        let is_leaf = |row: &&ContainerRow| {
            row.who.container.is_some() || (!parents.contains(row.who.name.as_str()) && !is_part(&row.who.name))
        };
        let mut lives: HashMap<&str, &ContainerRow> = HashMap::with_capacity(self.rows.len());
        let rank = |row: &ContainerRow| (row.who.ended.unwrap_or(u64::MAX), row.who.id);
        for row in self.rows.values().filter(is_leaf) {
            let known = lives.entry(&row.life).or_insert(row);
            if rank(row) > rank(known) {
                *known = row;
            }
        }
        lives.into_values().collect()
    }

    /// Counts kills and restarts of the last ten minutes.
    fn count_lately(&mut self) {
        let since = self.at.saturating_sub(RECENT_MS);
        let since_then = timestamp(since);
        let by_name: HashMap<&str, &ContainerRow> =
            self.rows.values().map(|row| (row.who.name.as_str(), row)).collect();
        let key = |name: &str| by_name.get(name).map_or_else(|| name.to_owned(), |row| row.life.clone());
        let mut lately: HashMap<String, Lately> = HashMap::new();
        let mut starts: HashMap<String, u64> = HashMap::new();
        for event in self.events.iter().filter(|event| event.at >= since_then) {
            match event.kind {
                TopEventKind::Kill { .. } => lately.entry(key(&event.name)).or_default().kills += 1,
                TopEventKind::Start => *starts.entry(key(&event.name)).or_default() += 1,
                TopEventKind::End(_) => {}
            }
        }
        // Lives under other names, such as those of a pod's container, of which there may be no event any more.
        let mut lives: HashMap<&str, u64> = HashMap::new();
        for row in self.rows.values() {
            if row.who.created.is_some_and(|created| created >= since) {
                *lives.entry(&row.life).or_default() += 1;
            }
            if let [(_, first), .., (_, last)] = row.restarts_seen[..]
                && last > first
            {
                let known = lately.entry(row.life.clone()).or_default();
                known.restarts = known.restarts.max(last - first);
            }
        }
        for (life, count) in starts.iter().map(|(life, count)| (life.as_str(), *count)).chain(lives) {
            if count > 1 {
                let known = lately.entry(life.to_owned()).or_default();
                known.restarts = known.restarts.max(count - 1);
            }
        }
        self.lately = lately;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::top::wire;

    /// An answer of this form, with the golden one's node.
    pub(in crate::top) fn world(who: &str, now: &str, events: Vec<TopEvent>) -> World {
        let golden = include_str!("../api/golden/feed.json");
        let mut tick: Tick = wire::read(golden.as_bytes()).unwrap();
        tick.at = 1_000_000_000;
        tick.who = wire::read(who.as_bytes()).unwrap();
        tick.now = wire::read(now.as_bytes()).unwrap();
        let mut world = World::default();
        world.take(tick, events);
        world
    }

    fn event(second: i64, name: &str, kind: TopEventKind) -> TopEvent {
        TopEvent { at: jiff::Timestamp::from_second(second).unwrap(), name: name.to_owned(), kind }
    }

    #[test]
    fn leaves_are_neither_sums_nor_parts() {
        let who = r#"[{"id":1,"name":"/"},{"id":2,"name":"/docker"},{"id":3,"name":"/docker/a","container":"a"},
            {"id":4,"name":"/docker/a/part"},{"id":5,"name":"/x/y"},{"id":6,"name":"/docker/a","container":"a","ended":5}]"#;
        let world = world(who, "[]", Vec::new());
        let mut names: Vec<_> = world.leaves().iter().map(|row| (row.who.name.as_str(), row.who.id)).collect();
        names.sort_unstable();
        assert_eq!(names, [("/docker/a", 3), ("/x/y", 5)]);
        assert_eq!(world.named("/docker/a").unwrap().who.id, 3);
        assert_eq!(world.root().unwrap().who.id, 1);
    }

    #[test]
    fn what_hurts() {
        let who = r#"[{"id":1,"name":"/a","memory_limit":1048576},{"id":2,"name":"/b","ended":9,"memory_limit":1024},
            {"id":3,"name":"/c","labels":{"restartcount":"4"},"created":999999000}]"#;
        let now = r#"[{"id":[1,2,3],"memory":[930,10,null],"throttled":[26,null,25],"oom_kills":[0,1,0]}]"#;
        let kill = |pid| TopEventKind::Kill { process: "dd".into(), pid, limit: None };
        let old = event(10, "/b", kill(1));
        let kills = [event(999_999, "/b", kill(2)), event(999_990, "/b", kill(3)), event(999_999, "/b", kill(2))];
        let world = world(who, now, kills.into_iter().chain([old]).collect());
        assert_eq!(world.events.len(), 3, "the same event twice is one");
        let of = |id: u64| world.pains(&world.rows[&id]);
        assert_eq!(of(1), [Pain::Memory(90), Pain::Throttled(26)]);
        assert_eq!(of(2), [Pain::OomKilled(2)]);
        assert_eq!(of(3), [Pain::Looping(4)]);
        assert_eq!(world.kill_number(&world.events[0]), 2);
        assert_eq!(world.rows[&1].pressure(), None);
    }

    #[test]
    fn what_is_not_known_is_not_kept_from_before() {
        let mut world = world(r#"[{"id":1,"name":"/a","image":"x"}]"#, r#"[{"id":[1],"cpu":[5]}]"#, Vec::new());
        let mut tick: Tick = wire::read(include_bytes!("../api/golden/feed.json")).unwrap();
        (tick.full, tick.now) = (false, Vec::new());
        tick.who = wire::read(br#"[{"id":1,"name":"/a"}]"#).unwrap();
        world.take(tick, Vec::new());
        assert_eq!((world.rows[&1].who.image.as_deref(), world.rows[&1].figures.cpu), (None, Some(5)));
    }
}
