//! The log of container events: per kind, bounded by age and count, in all by bytes, with subscribers.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::bounds::Bound::{EventLogBytes, EventQueueBytes};
use crate::sample::event::{Event, EventData, EventKind};
use crate::steady::{Clock, Steady};
use crate::units::WallTime;

/// Events a subscriber may lag behind before it is cut off, beyond what the connection's buffers hold: a quarter of a
/// second of the fastest storm measured.
const SUBSCRIBER_QUEUE: usize = 8_192;
/// Bytes of these events: as many of them with ordinary names fit.
const SUBSCRIBER_BYTES: usize = 4 << 20;
/// Deletion events that keep their final sample, at about a kilobyte each; older ones stay in the log without it.
const FINAL_SAMPLES: usize = 4_096;

/// Age and count limits of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindLimits {
    /// Events this much older than a newly added one are dropped.
    pub age: Duration,
    /// `None` for no limit, 0 to keep none.
    pub count: Option<usize>,
}

/// Limits per kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// For kinds not in `kinds`.
    pub default: KindLimits,
    /// Exceptions.
    pub kinds: HashMap<EventKind, KindLimits>,
    /// Bytes of all events of all kinds. Beyond, the oldest of the kind that takes the most are dropped, so that a storm
    /// of one kind pushes out its own.
    pub bytes: usize,
}

impl EventLimits {
    /// Bytes of the log unless asked for otherwise: a hundred thousand ordinary events.
    pub const DEFAULT_BYTES: usize = 32 << 20;

    fn of(&self, kind: EventKind) -> KindLimits {
        self.kinds.get(&kind).copied().unwrap_or(self.default)
    }
}

/// The log. Cheap to share; every operation is short.
#[derive(Debug)]
pub struct EventLog {
    limits: EventLimits,
    inner: Mutex<LogInner>,
}

#[derive(Debug, Default)]
struct LogInner {
    kinds: HashMap<EventKind, KeptEvent>,
    bytes: usize,
    clock: Clock,
    subscribers: Vec<Subscriber>,
}

/// The events of one kind in the order of their times, whatever the clock on the wall was then, and their bytes.
#[derive(Debug, Default)]
struct KeptEvent {
    events: VecDeque<(Steady, Arc<Event>)>,
    bytes: usize,
}

impl KeptEvent {
    /// Drops the oldest; how many bytes that gives back.
    fn pop(&mut self) -> usize {
        let bytes = self.events.pop_front().map_or(0, |(_, event)| event.memory());
        self.bytes -= bytes;
        bytes
    }

    /// Exactly one event passes out of the window of [`FINAL_SAMPLES`] with each addition.
    fn forget_old_final_sample(&mut self) -> usize {
        let position = self.events.len().checked_sub(FINAL_SAMPLES + 1);
        let Some((_, event)) = position.and_then(|position| self.events.get_mut(position)) else { return 0 };
        let EventData::Deletion { final_sample: Some(_), exit } = &event.data else { return 0 };
        let before = event.memory();
        let mut stripped = Event::clone(event);
        stripped.data = EventData::Deletion { final_sample: None, exit: exit.clone() };
        *event = Arc::new(stripped);
        let bytes = before - event.memory();
        self.bytes -= bytes;
        bytes
    }
}

struct Subscriber {
    wants: Box<dyn Fn(&Event) -> bool + Send>,
    /// `None` once it was cut off.
    queue: Option<mpsc::Sender<Arc<Event>>>,
    waiting_bytes: Arc<AtomicUsize>,
    missed: Arc<Missed>,
}

/// What a subscriber that was cut off did not receive.
#[derive(Debug, Default)]
struct Missed {
    /// Events that waited when the first one found no room.
    behind: AtomicU64,
    /// That one and those after it.
    lost: AtomicU64,
}

impl Subscriber {
    /// Whether its subscription is still there.
    fn is_wanted(&self) -> bool {
        match &self.queue {
            Some(queue) => !queue.is_closed(),
            None => Arc::strong_count(&self.missed) > 1,
        }
    }

    /// Hands it an event. One that has no room is cut off, and what it misses is counted from then on.
    fn send(&mut self, event: &Arc<Event>) {
        let Some(queue) = &self.queue else {
            self.missed.lost.fetch_add(1, Ordering::AcqRel);
            return;
        };
        let bytes = event.memory();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        // One event has room however large it is.
        let sent = if waiting > 0 && waiting + bytes > SUBSCRIBER_BYTES {
            EventQueueBytes.exceeded();
            Err(mpsc::error::TrySendError::Full(()))
        } else {
            queue.try_send(Arc::clone(event)).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => mpsc::error::TrySendError::Full(()),
                mpsc::error::TrySendError::Closed(_) => mpsc::error::TrySendError::Closed(()),
            })
        };
        if matches!(sent, Err(mpsc::error::TrySendError::Full(()))) {
            let behind = queue.max_capacity() - queue.capacity();
            self.missed.behind.store(behind as u64, Ordering::Release);
            self.missed.lost.store(1, Ordering::Release);
            // What waits is still taken.
            self.queue = None;
        }
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber")
            .field("room", &self.queue.as_ref().map(mpsc::Sender::capacity))
            .finish_non_exhaustive()
    }
}

/// What a subscriber receives.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// The next event.
    Event(Arc<Event>),
    /// The subscriber was too slow and was cut off; this many events were waiting for it.
    CutOff {
        /// Events it had not taken when the next one found no room.
        behind: u64,
    },
    /// The log ended.
    Ended,
}

/// A subscriber's end. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    queue: mpsc::Receiver<Arc<Event>>,
    waiting_bytes: Arc<AtomicUsize>,
    missed: Arc<Missed>,
}

impl Subscription {
    fn taken(&self, event: Arc<Event>) -> Arc<Event> {
        self.waiting_bytes.fetch_sub(event.memory(), Ordering::AcqRel);
        event
    }

    /// Waits for the next event. After [`Received::CutOff`] or [`Received::Ended`] nothing follows.
    pub async fn next(&mut self) -> Received {
        match self.queue.recv().await {
            Some(event) => Received::Event(self.taken(event)),
            None => match self.missed.behind.load(Ordering::Acquire) {
                0 => Received::Ended,
                behind => Received::CutOff { behind },
            },
        }
    }

    /// How many events wait to be taken.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// What is there already, without waiting; `None` when nothing is.
    pub fn try_receive(&mut self) -> Option<Received> {
        match self.queue.try_recv() {
            Ok(event) => Some(Received::Event(self.taken(event))),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(match self.missed.behind.load(Ordering::Acquire) {
                0 => Received::Ended,
                behind => Received::CutOff { behind },
            }),
        }
    }

    /// The next event if one is waiting already, for sending several at once.
    pub fn try_next(&mut self) -> Option<Arc<Event>> {
        self.queue.try_recv().ok().map(|event| self.taken(event))
    }
}

impl EventLog {
    /// An empty log.
    pub fn new(limits: EventLimits) -> Self {
        Self { limits, inner: Mutex::default() }
    }

    /// Adds an event and hands it to the subscribers that want it. Never waits for a subscriber: one whose queue is
    /// full is cut off.
    pub fn publish(&self, event: Event) {
        let event = Arc::new(event);
        let limits = self.limits.of(event.kind);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.subscribers.retain_mut(|subscriber| {
            let is_wanted = subscriber.is_wanted();
            if is_wanted && (subscriber.wants)(&event) {
                subscriber.send(&event);
            }
            is_wanted
        });
        if limits.count == Some(0) {
            return;
        }
        let inner = &mut *inner;
        let at = inner.clock.steady(event.at);
        let oldest = at.back(limits.age);
        let kept = inner.kinds.entry(event.kind).or_default();
        let events = &mut kept.events;
        // Containers found at start are announced with their own, older creation times.
        let position = match events.back() {
            Some((last, _)) if *last > at => events.partition_point(|(earlier, _)| *earlier <= at),
            _ => events.len(),
        };
        let bytes = event.memory();
        events.insert(position, (at, event));
        kept.bytes += bytes;
        inner.bytes += bytes;
        while let Some((first, _)) = kept.events.front()
            && (*first < oldest || limits.count.is_some_and(|count| kept.events.len() > count))
        {
            inner.bytes -= kept.pop();
        }
        inner.bytes -= kept.forget_old_final_sample();
        while inner.bytes > self.limits.bytes {
            let Some(largest) = inner.kinds.values_mut().max_by_key(|kept| kept.bytes) else { break };
            inner.bytes -= largest.pop();
            EventLogBytes.exceeded();
        }
    }

    /// Of one kind the newest `count` between the two times (inclusive), oldest first.
    pub fn recent(
        &self,
        kind: EventKind,
        start: Option<WallTime>,
        end: Option<WallTime>,
        count: usize,
    ) -> Vec<Arc<Event>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = inner.kinds.get(&kind) else { return Vec::new() };
        let mut newest_first: Vec<_> = kept
            .events
            .iter()
            .rev()
            .map(|(_, event)| event)
            // In no order by these times if the clock was set meanwhile.
            .filter(|event| end.is_none_or(|end| event.at <= end) && start.is_none_or(|start| event.at >= start))
            .take(count)
            .cloned()
            .collect();
        newest_first.reverse();
        newest_first
    }

    /// Receives every event published from now on that `wants` accepts. `wants` runs under the log's lock and must be
    /// quick.
    pub fn subscribe(&self, wants: impl Fn(&Event) -> bool + Send + 'static) -> Subscription {
        let (sender, queue) = mpsc::channel(SUBSCRIBER_QUEUE);
        let missed = Arc::<Missed>::default();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let subscriber = Subscriber {
            wants: Box::new(wants),
            queue: Some(sender),
            waiting_bytes: Arc::clone(&waiting_bytes),
            missed: Arc::clone(&missed),
        };
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).subscribers.push(subscriber);
        Subscription { queue, waiting_bytes, missed }
    }

    /// Has a subscriber that received [`Received::CutOff`] receive again; how many events it missed meanwhile.
    pub fn renew(&self, subscription: &mut Subscription) -> u64 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = &subscription.missed;
        missed.behind.store(0, Ordering::Release);
        if let Some(own) = inner.subscribers.iter_mut().find(|own| Arc::ptr_eq(&own.missed, missed)) {
            let (sender, queue) = mpsc::channel(SUBSCRIBER_QUEUE);
            own.queue = Some(sender);
            own.waiting_bytes.store(0, Ordering::Release);
            subscription.queue = queue;
        }
        missed.lost.swap(0, Ordering::AcqRel)
    }

    /// Ends every subscription, once what is queued has been taken. For shutdown.
    pub fn close(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).subscribers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::container::Sample;

    fn limits(age_secs: u64, count: Option<usize>) -> EventLimits {
        let default = KindLimits { age: Duration::from_secs(age_secs), count };
        EventLimits { default, kinds: HashMap::new(), bytes: usize::MAX }
    }

    fn event(second: u64) -> Event {
        Event {
            container: b"/x".as_slice().into(),
            at: WallTime(second * 1_000_000_000),
            kind: EventKind::ContainerCreation,
            data: EventData::None,
        }
    }

    fn seconds(events: &[Arc<Event>]) -> Vec<u64> {
        events.iter().map(|event| event.at.0 / 1_000_000_000).collect()
    }

    fn all(log: &EventLog) -> Vec<u64> {
        seconds(&log.recent(EventKind::ContainerCreation, None, None, usize::MAX))
    }

    #[test]
    fn is_bounded_by_age_and_count_and_stays_sorted() {
        let log = EventLog::new(limits(100, Some(3)));
        for second in [50, 10, 60, 55] {
            log.publish(event(second));
        }
        assert_eq!(all(&log), [50, 55, 60]);
        log.publish(event(155));
        assert_eq!(all(&log), [55, 60, 155]);
        log.publish(event(157));
        assert_eq!(all(&log), [60, 155, 157]);
        log.publish(event(300));
        assert_eq!(all(&log), [300]);
    }

    #[test]
    fn a_kind_may_have_its_own_limit() {
        let mut limits = limits(100, None);
        limits.kinds.insert(EventKind::ContainerCreation, KindLimits { age: Duration::MAX, count: Some(0) });
        let log = EventLog::new(limits);
        log.publish(event(1));
        log.publish(Event { kind: EventKind::Oom, ..event(1) });
        assert_eq!(all(&log), [] as [u64; 0]);
        assert_eq!(log.recent(EventKind::Oom, None, None, usize::MAX).len(), 1);
    }

    #[test]
    fn recent_takes_the_newest_inside_the_range() {
        let log = EventLog::new(limits(1000, None));
        for second in 0..10 {
            log.publish(event(second));
        }
        let at = |second: u64| Some(WallTime(second * 1_000_000_000));
        let kind = EventKind::ContainerCreation;
        assert_eq!(seconds(&log.recent(kind, at(2), at(6), 2)), [5, 6]);
        assert_eq!(seconds(&log.recent(kind, at(8), None, 9)), [8, 9]);
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_cut_off_and_others_are_not() {
        let log = EventLog::new(limits(1000, None));
        let mut slow = log.subscribe(|_| true);
        let mut other = log.subscribe(|event| event.at == WallTime(0));
        for second in 0..=SUBSCRIBER_QUEUE as u64 {
            log.publish(event(second));
        }
        assert_eq!(other.next().await, Received::Event(Arc::new(event(0))));
        let mut received = 0;
        let end = loop {
            match slow.next().await {
                Received::Event(_) => received += 1,
                end => break end,
            }
        };
        assert_eq!(received, SUBSCRIBER_QUEUE);
        assert_eq!(end, Received::CutOff { behind: SUBSCRIBER_QUEUE as u64 });
        log.publish(event(9_998));
        assert_eq!(log.renew(&mut slow), 2, "what found no room, and what came after it");
        log.publish(event(9_999));
        assert_eq!(slow.next().await, Received::Event(Arc::new(event(9_999))));
        assert_eq!(slow.waiting_bytes.load(Ordering::Acquire), 0);
        log.close();
        assert_eq!((slow.next().await, log.renew(&mut slow)), (Received::Ended, 0));
        assert_eq!(other.next().await, Received::Ended);
    }

    fn with_path(second: u64, bytes: usize) -> Event {
        Event { container: vec![b'x'; bytes].into(), ..event(second) }
    }

    #[test]
    fn bytes_bound_all_kinds_and_a_storm_of_one_pushes_out_its_own() {
        let one = with_path(0, 4000).memory();
        let log = EventLog::new(EventLimits { bytes: 10 * one, ..limits(1000, None) });
        log.publish(Event { kind: EventKind::Oom, ..with_path(0, 4000) });
        for second in 0..9 {
            log.publish(with_path(second, 4000));
        }
        assert_eq!(all(&log).len(), 9, "at the bound");
        let before = EventLogBytes.count();
        log.publish(with_path(9, 4000));
        assert_eq!(all(&log), [1, 2, 3, 4, 5, 6, 7, 8, 9], "beyond it the oldest of the kind goes");
        assert!(EventLogBytes.count() > before);
        for second in 10..100 {
            log.publish(with_path(second, 100));
        }
        assert_eq!(log.recent(EventKind::Oom, None, None, usize::MAX).len(), 1);
        let inner = log.inner.lock().unwrap();
        assert!(inner.bytes <= 10 * one);
        assert_eq!(inner.bytes, inner.kinds.values().map(|kept| kept.bytes).sum::<usize>());
        let counted =
            inner.kinds.values().flat_map(|kept| &kept.events).map(|(_, event)| event.memory()).sum::<usize>();
        assert_eq!(inner.bytes, counted);
    }

    #[test]
    fn a_hundred_thousand_ordinary_events_fit_the_default() {
        let path =
            b"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12345678_1234_1234_1234_123456789012\
            .slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";
        assert!(100_000 * with_path(0, path.len()).memory() <= EventLimits::DEFAULT_BYTES);
    }

    #[tokio::test]
    async fn long_names_count_for_a_subscriber() {
        let log = EventLog::new(limits(1000, None));
        let mut slow = log.subscribe(|_| true);
        let mut quick = log.subscribe(|_| true);
        let fit = SUBSCRIBER_BYTES / with_path(0, 4000).memory();
        for second in 0..fit as u64 {
            log.publish(with_path(second, 4000));
            assert!(matches!(quick.next().await, Received::Event(_)));
        }
        assert_eq!(slow.waiting(), fit, "at the bound");
        log.publish(with_path(0, 4000));
        assert!(matches!(quick.next().await, Received::Event(_)));
        let mut taken = 0;
        while slow.try_next().is_some() {
            taken += 1;
        }
        assert_eq!(taken, fit);
        assert_eq!(slow.next().await, Received::CutOff { behind: fit as u64 });
        assert_eq!(quick.waiting_bytes.load(Ordering::Acquire), 0);
    }

    #[test]
    fn old_deletions_lose_their_final_sample_only() {
        let log = EventLog::new(limits(100_000, None));
        for second in 0..FINAL_SAMPLES as u64 + 10 {
            let data = EventData::Deletion { final_sample: Some(Arc::new(Sample::default())), exit: None };
            log.publish(Event { kind: EventKind::ContainerDeletion, data, ..event(second) });
        }
        let events = log.recent(EventKind::ContainerDeletion, None, None, usize::MAX);
        assert_eq!(events.len(), FINAL_SAMPLES + 10);
        let with_sample = events
            .iter()
            .filter(|event| matches!(event.data, EventData::Deletion { final_sample: Some(_), .. }))
            .count();
        assert_eq!(with_sample, FINAL_SAMPLES);
    }
}
