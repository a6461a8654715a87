//! The connections there may be at once, and who has them.
//!
//! Every connection is accepted. Where there is no room, one that has nothing asked is given up, of the client that has
//! the most: the one that has waited longest since its last answer, before those whose first request may be under way; no
//! client has more than its share. Where all are busy, a small reserve is left, in
//! which the health checks alone are answered: what somebody asks for is known only once it is asked.

mod bounds;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

pub(super) use self::bounds::{ConnectionLimits, Pool, Reason, Refusal};
use super::pace::{Pace, Progress};
use crate::auth::Client;
use crate::own_metrics::ConnectionMetrics;

/// How long a client may take for its first request, all of the head included.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// The same, in the reserve.
const FIRST_REQUEST_IN_RESERVE: Duration = Duration::from_secs(2);
/// How long a connection stays that asks for nothing more; in HTTP/1.1 it is less, see the server.
const IDLE: Duration = Duration::from_secs(300);
/// How often a connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Requests under way at once; one client may have half of them.
const REQUESTS: usize = 1024;
/// Bytes of all heads of requests that are under way.
const HEAD_BYTES: usize = 16 << 20;
/// How often is looked whether there is room again.
const ROOM_EVERY: Duration = Duration::from_millis(50);
/// Connections that were given up and are not closed yet; nobody is accepted beyond.
const CLOSING: usize = 16;

/// What a connection counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Ordinary,
    Reserve,
}

#[derive(Debug)]
struct ConnectionRecord {
    client: Client,
    pool: Pool,
    class: Class,
    requests: usize,
    has_asked: bool,
    /// Since when it has this number of requests.
    since: Instant,
    accepted: Instant,
    shared: Arc<SharedConnections>,
}

/// What the table and the connection share.
#[derive(Debug)]
struct SharedConnections {
    pace: Arc<Pace>,
    end: Notify,
    reason: Mutex<Option<Reason>>,
}

impl SharedConnections {
    fn end(&self, reason: Reason) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.end.notify_one();
    }
}

impl ConnectionRecord {
    fn can_be_given_up(&self) -> bool {
        self.requests == 0 && !self.shared.pace.is_waiting()
    }
}

#[derive(Debug, Default)]
struct ConnectionState {
    records: BTreeMap<u64, ConnectionRecord>,
    next: u64,
    of_client: HashMap<(Pool, Client), usize>,
    of_pool: HashMap<Pool, usize>,
    in_reserve: usize,
    /// Including those that were given up and are not closed yet.
    open: usize,
    requests: usize,
    requests_of: HashMap<Client, usize>,
    head_bytes: usize,
}

/// See the module. Clones share one table.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<ConnectionsInner>);

#[derive(Debug)]
struct ConnectionsInner {
    limits: ConnectionLimits,
    state: Mutex<ConnectionState>,
    closed: Notify,
    metrics: ConnectionMetrics,
    gauges: Gauges,
}

#[derive(Debug)]
struct Gauges {
    waiting: IntGauge,
    active: IntGauge,
    idle: IntGauge,
    reserve: IntGauge,
}

impl Gauges {
    fn of(&self, record: &ConnectionRecord) -> &IntGauge {
        match record {
            ConnectionRecord { class: Class::Reserve, .. } => &self.reserve,
            ConnectionRecord { requests: 1.., .. } => &self.active,
            ConnectionRecord { has_asked: false, .. } => &self.waiting,
            ConnectionRecord { .. } => &self.idle,
        }
    }
}

/// A place in the table; the last clone gives it back.
#[derive(Clone, Debug)]
pub(super) struct Slot(Arc<ConnectionPlace>);

#[derive(Debug)]
struct ConnectionPlace {
    id: u64,
    connections: Connections,
    shared: Arc<SharedConnections>,
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Underway {
    slot: Slot,
    client: Client,
    head_bytes: usize,
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits, metrics: ConnectionMetrics) -> Self {
        let gauge = |state| metrics.connections.with_label_values(&[state]);
        let gauges = Gauges {
            waiting: gauge("waiting"),
            active: gauge("active"),
            idle: gauge("idle"),
            reserve: gauge("reserve"),
        };
        for (kind, limit) in [("ordinary", limits.main), ("kubelet", limits.kubelet), ("reserve", limits.reserve)] {
            metrics.limit.with_label_values(&[kind]).set(limit as i64);
        }
        Self(Arc::new(ConnectionsInner { limits, state: Mutex::default(), closed: Notify::new(), metrics, gauges }))
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until connections that were given up are closed, of which there are not many at any time.
    pub(super) async fn room(&self) {
        while self.state().open >= self.0.limits.all() + CLOSING {
            // Of several who wait one alone is woken.
            let _ = timeout(ROOM_EVERY, self.0.closed.notified()).await;
        }
    }

    /// A place for a connection of this client; `None` if there is none even in the reserve.
    pub(super) fn admit(&self, client: Client, pool: Pool) -> Option<Slot> {
        let inner = &*self.0;
        let mut state = self.state();
        inner.metrics.accepted.inc();
        let class = if inner.make_room(&mut state, client, pool).is_ok() {
            Class::Ordinary
        } else if state.in_reserve >= inner.limits.reserve && !inner.give_up_in_reserve(&mut state) {
            self.count_end(Reason::Full);
            return None;
        } else {
            Class::Reserve
        };
        let pace = Arc::new(Pace::new(Progress::Writes, &inner.metrics));
        let shared = Arc::new(SharedConnections { pace, end: Notify::new(), reason: Mutex::default() });
        let (id, now) = (state.next, Instant::now());
        state.next += 1;
        state.open += 1;
        let record = ConnectionRecord {
            client,
            pool,
            class,
            requests: 0,
            has_asked: false,
            since: now,
            accepted: now,
            shared: Arc::clone(&shared),
        };
        ConnectionsInner::count(&mut state, &record);
        inner.gauges.of(&record).inc();
        state.records.insert(id, record);
        Some(Slot(Arc::new(ConnectionPlace { id, connections: self.clone(), shared })))
    }

    /// Gives up the connection that has been of no use for longest, whoever has it: its descriptor is needed. Whether
    /// there was one.
    pub(super) fn give_up_oldest(&self) -> bool {
        let mut state = self.state();
        self.0.give_up(&mut state, |_| true)
    }

    fn count_end(&self, reason: Reason) {
        self.0.metrics.closed.with_label_values(&[reason.name()]).inc();
    }
}

impl ConnectionsInner {
    fn count(state: &mut ConnectionState, record: &ConnectionRecord) {
        match record.class {
            Class::Ordinary => {
                *state.of_client.entry((record.pool, record.client)).or_default() += 1;
                *state.of_pool.entry(record.pool).or_default() += 1;
            }
            Class::Reserve => state.in_reserve += 1,
        }
    }

    fn uncount(state: &mut ConnectionState, record: &ConnectionRecord) {
        match record.class {
            Class::Ordinary => {
                decrement(&mut state.of_client, &(record.pool, record.client));
                decrement(&mut state.of_pool, &record.pool);
            }
            Class::Reserve => state.in_reserve = state.in_reserve.saturating_sub(1),
        }
    }

    /// Sees to it that there is an ordinary place.
    fn make_room(&self, state: &mut ConnectionState, client: Client, pool: Pool) -> Result<(), Refusal> {
        let own = state.of_client.get(&(pool, client)).copied().unwrap_or(0);
        if own >= self.limits.share(pool, client) {
            let is_own = |record: &ConnectionRecord| record.client == client && record.pool == pool;
            return if self.give_up(state, is_own) { Ok(()) } else { Err(Refusal::Address(client)) };
        }
        if state.of_pool.get(&pool).copied().unwrap_or(0) < self.limits.pool(pool) {
            return Ok(());
        }
        if self.give_up(state, |record| record.pool == pool) { Ok(()) } else { Err(Refusal::Full) }
    }

    /// Gives up one of these connections that has no request, of the client that has the most; of them the one that has
    /// none for longest. One that has been answered goes first: a client that uses each connection once has closed it
    /// already, while its next one may have sent a request that is not read yet. Whether there was one.
    fn give_up(&self, state: &mut ConnectionState, which: impl Fn(&ConnectionRecord) -> bool) -> bool {
        let candidates = state
            .records
            .iter()
            .filter(|(_, record)| record.class == Class::Ordinary && which(record) && record.can_be_given_up());
        let rank = |record: &ConnectionRecord| {
            let of_client = state.of_client.get(&(record.pool, record.client)).copied().unwrap_or(0);
            (of_client, record.has_asked, std::cmp::Reverse(record.since))
        };
        let oldest = candidates.max_by_key(|(_, record)| rank(record)).map(|(id, _)| *id);
        self.remove(state, oldest)
    }

    fn give_up_in_reserve(&self, state: &mut ConnectionState) -> bool {
        let candidates =
            state.records.iter().filter(|(_, record)| record.class == Class::Reserve && record.can_be_given_up());
        // Numbers are given in the order of arrival.
        let oldest = candidates.max_by_key(|(id, record)| (record.has_asked, std::cmp::Reverse(**id)));
        let oldest = oldest.map(|(id, _)| *id);
        self.remove(state, oldest)
    }

    fn remove(&self, state: &mut ConnectionState, id: Option<u64>) -> bool {
        let Some(record) = id.and_then(|id| state.records.remove(&id)) else { return false };
        self.gauges.of(&record).dec();
        ConnectionsInner::uncount(state, &record);
        record.shared.end(Reason::GivenUp);
        true
    }
}

fn decrement<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Slot {
    /// How the client gets on with what is written to it.
    pub(super) fn pace(&self) -> &Arc<Pace> {
        &self.0.shared.pace
    }

    /// Ends the connection.
    pub(super) fn end(&self, reason: Reason) {
        self.0.shared.end(reason);
    }

    /// Waits until the connection has to end, and counts why.
    pub(super) async fn ended(&self) -> Reason {
        let reason = loop {
            tokio::select! {
                () = self.0.shared.end.notified() => {
                    let reason = *self.0.shared.reason.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(reason) = reason {
                        break reason;
                    }
                }
                () = sleep(LOOK_EVERY) => if let Some(reason) = self.overdue(Instant::now()) {
                    break reason;
                }
            }
        };
        let connections = &self.0.connections;
        connections.count_end(reason);
        if reason == Reason::SlowReader {
            connections.0.metrics.cut_off.inc();
        }
        reason
    }

    fn overdue(&self, now: Instant) -> Option<Reason> {
        if self.pace().is_too_slow() {
            return Some(Reason::SlowReader);
        }
        let state = self.0.connections.state();
        let record = state.records.get(&self.0.id)?;
        let first = match record.class {
            Class::Ordinary => FIRST_REQUEST,
            Class::Reserve => FIRST_REQUEST_IN_RESERVE,
        };
        if !record.has_asked && now.saturating_duration_since(record.accepted) > first {
            return Some(Reason::Head);
        }
        let is_idle = record.requests == 0 && now.saturating_duration_since(record.since) > IDLE;
        is_idle.then_some(Reason::Idle)
    }

    /// A request has come, whose head takes so many bytes. Health checks are always answered.
    ///
    /// # Errors
    /// When it should not be answered.
    pub(super) fn begin(&self, head_bytes: usize, is_health_check: bool) -> Result<Underway, Refusal> {
        let inner = &*self.0.connections.0;
        let mut guard = self.0.connections.state();
        let state = &mut *guard;
        let Some(mut record) = state.records.remove(&self.0.id) else {
            // It was given up a moment ago; nobody will read the answer.
            return Err(Refusal::Full);
        };
        inner.gauges.of(&record).dec();
        let client = record.client;
        let allowed = inner.allow(state, &mut record, head_bytes);
        record.has_asked = true;
        let begun = match allowed {
            Err(refusal) if !is_health_check => Err(refusal),
            Ok(()) | Err(_) => {
                record.requests += 1;
                record.since = Instant::now();
                state.requests += 1;
                state.head_bytes += head_bytes;
                *state.requests_of.entry(client).or_default() += 1;
                Ok(Underway { slot: self.clone(), client, head_bytes })
            }
        };
        inner.gauges.of(&record).inc();
        state.records.insert(self.0.id, record);
        begun
    }
}

impl ConnectionsInner {
    /// Whether a request may be answered; one in the reserve needs a place, which may be there by now.
    fn allow(
        &self,
        state: &mut ConnectionState,
        record: &mut ConnectionRecord,
        head_bytes: usize,
    ) -> Result<(), Refusal> {
        if record.class == Class::Reserve {
            self.make_room(state, record.client, record.pool)?;
            ConnectionsInner::uncount(state, record);
            record.class = Class::Ordinary;
            ConnectionsInner::count(state, record);
        }
        if state.requests_of.get(&record.client).copied().unwrap_or(0) >= REQUESTS / 2 {
            return Err(Refusal::Address(record.client));
        }
        if state.requests >= REQUESTS {
            return Err(Refusal::Full);
        }
        if state.head_bytes + head_bytes > HEAD_BYTES {
            return Err(Refusal::Heads);
        }
        Ok(())
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let ConnectionPlace { id, connections, .. } = &*self.slot.0;
        let mut guard = connections.state();
        let state = &mut *guard;
        state.requests = state.requests.saturating_sub(1);
        state.head_bytes = state.head_bytes.saturating_sub(self.head_bytes);
        decrement(&mut state.requests_of, &self.client);
        if let Some(record) = state.records.get_mut(id) {
            connections.0.gauges.of(record).dec();
            record.requests = record.requests.saturating_sub(1);
            record.since = Instant::now();
            connections.0.gauges.of(record).inc();
        }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let inner = &*self.connections.0;
        let mut guard = self.connections.state();
        let state = &mut *guard;
        state.open = state.open.saturating_sub(1);
        if let Some(record) = state.records.remove(&self.id) {
            inner.gauges.of(&record).dec();
            ConnectionsInner::uncount(state, &record);
        }
        inner.closed.notify_one();
    }
}

#[cfg(test)]
mod tests;
