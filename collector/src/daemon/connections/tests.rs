//! Who gets a place, and who loses it.

use prometheus::Registry;

use super::*;

fn connections(number: usize, kubelet_ports: usize) -> Connections {
    Connections::new(
        ConnectionLimits::of(number, kubelet_ports),
        ConnectionMetrics::register(&Registry::new()).unwrap(),
    )
}

fn client(number: u8) -> Client {
    Client::at([10, 0, 0, number].into())
}

fn is_ended(slot: &Slot) -> bool {
    slot.0.shared.reason.lock().unwrap().is_some()
}

impl Connections {
    /// Those there are, by state.
    fn counts(&self) -> [i64; 4] {
        let Gauges { waiting, active, idle, reserve } = &self.0.gauges;
        [waiting, active, idle, reserve].map(IntGauge::get)
    }
}

#[test]
fn one_address_has_half_and_loses_its_own_oldest() {
    // Four are the reserve.
    let connections = connections(24, 0);
    let held: Vec<Slot> = (0..30).filter_map(|_| connections.admit(client(1), Pool::Main)).collect();
    assert_eq!(held.len(), 30, "everybody is accepted");
    assert_eq!(held.iter().filter(|slot| is_ended(slot)).count(), 20);
    assert!(is_ended(&held[0]) && !is_ended(&held[29]));
    assert_eq!(connections.counts(), [10, 0, 0, 0]);
    let other = connections.admit(client(2), Pool::Main).unwrap();
    assert_eq!(held.iter().filter(|slot| is_ended(slot)).count(), 20, "there is room for others");
    drop(held);
    assert_eq!(connections.counts(), [1, 0, 0, 0]);
    drop(other);
    assert_eq!(connections.counts(), [0; 4]);
}

/// A client that opens a connection for each request is faster than its ends are noticed.
#[test]
fn answered_ones_go_before_those_whose_request_may_be_under_way() {
    let connections = connections(24, 0);
    let fresh: Vec<Slot> = (0..5).filter_map(|_| connections.admit(client(1), Pool::Main)).collect();
    let answered: Vec<Slot> = (0..5)
        .filter_map(|_| {
            let slot = connections.admit(client(1), Pool::Main)?;
            drop(slot.begin(0, false).unwrap());
            Some(slot)
        })
        .collect();
    let next: Vec<Slot> = (0..5).filter_map(|_| connections.admit(client(1), Pool::Main)).collect();
    assert!(fresh.iter().chain(&next).all(|slot| !is_ended(slot)));
    assert!(answered.iter().all(is_ended));
}

#[test]
fn where_all_are_taken_who_has_most_gives() {
    let connections = connections(24, 0);
    let few = connections.admit(client(9), Pool::Main).unwrap();
    let many: Vec<Slot> = (0..40).filter_map(|number| connections.admit(client(number % 4), Pool::Main)).collect();
    assert_eq!(many.iter().filter(|slot| is_ended(slot)).count(), 21);
    assert!(!is_ended(&few), "it has waited longest, but its client has one alone");
}

#[test]
fn busy_connections_are_kept_and_the_reserve_answers_health_checks() {
    let connections = connections(24, 0);
    let mut held = Vec::new();
    for number in 0..20 {
        let slot = connections.admit(client(number), Pool::Main).unwrap();
        held.push((slot.begin(100, false).unwrap(), slot));
    }
    assert_eq!(connections.counts(), [0, 20, 0, 0]);
    let probe = connections.admit(client(100), Pool::Main).unwrap();
    assert_eq!(connections.counts(), [0, 20, 0, 1]);
    assert_eq!(probe.begin(100, false).unwrap_err(), Refusal::Full);
    drop(probe.begin(100, true).unwrap());
    let flood: Vec<Slot> = (0..100).filter_map(|_| connections.admit(client(101), Pool::Main)).collect();
    assert!(flood.iter().filter(|slot| !is_ended(slot)).count() == 4 && is_ended(&probe));
    let probe = connections.admit(client(100), Pool::Main).unwrap();
    drop(probe.begin(100, true).unwrap());
    // What has its answer is idle, and gives way.
    let (underway, first) = held.remove(0);
    drop(underway);
    let underway = probe.begin(100, false).unwrap();
    assert!(is_ended(&first));
    assert_eq!(connections.counts()[..3], [0, 20, 0]);
    drop((underway, flood, held));
}

#[test]
fn a_busy_address_is_refused_and_others_are_not() {
    let connections = connections(24, 0);
    let busy: Vec<_> = (0..10)
        .map(|_| {
            let slot = connections.admit(client(1), Pool::Main).unwrap();
            (slot.begin(0, false).unwrap(), slot)
        })
        .collect();
    let one_more = connections.admit(client(1), Pool::Main).unwrap();
    assert_eq!(one_more.begin(0, false).unwrap_err(), Refusal::Address(client(1)));
    let other = connections.admit(client(2), Pool::Main).unwrap();
    assert!(other.begin(0, false).is_ok());
    drop(busy);
    assert!(one_more.begin(0, false).is_ok(), "there is room by now");
}

#[test]
fn the_kubelets_ports_have_their_own() {
    let connections = connections(64, 1);
    let flood: Vec<Slot> = (0..=255).filter_map(|number| connections.admit(client(number), Pool::Main)).collect();
    let kubelet: Vec<Slot> = (0..4).filter_map(|_| connections.admit(client(1), Pool::Kubelet)).collect();
    assert_eq!(kubelet.len(), 4);
    assert!(kubelet.iter().all(|slot| !is_ended(slot)));
    let more: Vec<Slot> = (0..=255).filter_map(|number| connections.admit(client(number), Pool::Main)).collect();
    assert!(kubelet.iter().all(|slot| !is_ended(slot)));
    assert_eq!(flood.iter().chain(&more).chain(&kubelet).filter(|slot| !is_ended(slot)).count(), 64 - 4 - 8 + 4);
}

#[test]
fn requests_and_their_heads_are_bounded_over_all_connections() {
    let connections = connections(448, 0);
    let slots: Vec<Slot> = (0..4).filter_map(|number| connections.admit(client(number), Pool::Main)).collect();
    let many: Vec<_> = (0..REQUESTS / 2).map(|_| slots[0].begin(1, false).unwrap()).collect();
    assert_eq!(slots[0].begin(1, false).unwrap_err(), Refusal::Address(client(0)));
    let others: Vec<_> = (0..REQUESTS / 2).map(|_| slots[1].begin(1, false).unwrap()).collect();
    assert_eq!(slots[2].begin(1, false).unwrap_err(), Refusal::Full);
    assert!(slots[2].begin(1, true).is_ok(), "health checks are answered");
    drop((many, others));
    let long = slots[0].begin(HEAD_BYTES, false).unwrap();
    assert_eq!(slots[2].begin(1, false).unwrap_err(), Refusal::Heads);
    drop(long);
    assert!(slots[2].begin(HEAD_BYTES, false).is_ok());
}

#[test]
fn who_asks_for_nothing_has_a_deadline() {
    let connections = connections(24, 0);
    let slot = connections.admit(client(1), Pool::Main).unwrap();
    let now = Instant::now();
    assert_eq!(slot.overdue(now + FIRST_REQUEST.saturating_sub(LOOK_EVERY)), None);
    assert_eq!(slot.overdue(now + FIRST_REQUEST + LOOK_EVERY), Some(Reason::Head));
    let underway = slot.begin(0, false).unwrap();
    assert_eq!(slot.overdue(now + IDLE * 100), None, "a stream of events may be quiet for days");
    drop(underway);
    assert_eq!(slot.overdue(now + IDLE.saturating_sub(LOOK_EVERY)), None);
    assert_eq!(slot.overdue(now + IDLE * 2), Some(Reason::Idle));
}
