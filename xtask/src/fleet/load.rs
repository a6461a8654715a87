//! Many nodes that push, each at its own time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::message::{Push, name_of};
use crate::interrupt::Interrupt;

/// Requests at once.
const SENDERS: usize = 8;

/// Which nodes have new containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Churn {
    /// None.
    None,
    /// Every tenth, at every push.
    Tenth,
}

/// What was sent.
#[derive(Debug)]
pub(super) struct Round {
    /// Samples of all pushes.
    pub(super) samples: u64,
    /// Bytes of their bodies.
    pub(super) bytes: u64,
    /// Pushes.
    pub(super) sent: usize,
    /// Those that were not accepted.
    pub(super) failed: usize,
    /// 99 of a hundred were answered within.
    pub(super) slow: Duration,
    /// How far from even the arrivals were at most, as a part of the interval.
    pub(super) uneven: f64,
}

/// Where pushes go.
pub(super) struct Target {
    agent: ureq::Agent,
    url: String,
}

impl Target {
    pub(super) fn new(url: String) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build();
        Self { agent: config.into(), url }
    }
}

/// Sends a body of remote write 1.0; what was answered.
pub(super) fn post(target: &Target, body: &[u8]) -> Result<u16> {
    let request = target
        .agent
        .post(&target.url)
        .header("Content-Type", "application/x-protobuf")
        .header("Content-Encoding", "snappy")
        .header("X-Prometheus-Remote-Write-Version", "0.1.0");
    Ok(request.send(body).context("cannot push")?.status().as_u16())
}

/// The nodes.
pub(super) struct Load {
    /// By their times in the interval, which are known from their names, as collectors know theirs from their machines' ids.
    nodes: Vec<(Duration, u32)>,
    interval: Duration,
    recorded: Arc<Vec<Vec<Push>>>,
    url: String,
    /// Of all pushes so far, the next.
    next: AtomicUsize,
    began: Instant,
}

impl Load {
    pub(super) fn new(count: u32, interval: Duration, recorded: Arc<Vec<Vec<Push>>>, url: String) -> Self {
        let mut nodes: Vec<_> = (0..count).map(|node| (offset(node, interval), node)).collect();
        nodes.sort_unstable();
        Self { nodes, interval, recorded, url, next: AtomicUsize::new(0), began: Instant::now() }
    }

    /// Pushes for so long.
    pub(super) fn run(&self, time: Duration, churn: Churn, interrupt: &Interrupt) -> Result<Round> {
        let end = Instant::now() + time;
        // Nodes that nobody pushed for meanwhile are not pushed for later.
        let elapsed = self.began.elapsed();
        let rounds = (elapsed.as_nanos() / self.interval.as_nanos()) as u32;
        let late = self.nodes.partition_point(|(offset, _)| self.interval * rounds + *offset < elapsed);
        self.next.fetch_max(rounds as usize * self.nodes.len() + late, Ordering::Relaxed);
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let senders: Vec<_> =
                (0..SENDERS).map(|_| scope.spawn(|| self.send(end, churn, interrupt, &done))).collect();
            senders
                .into_iter()
                .try_for_each(|sender| sender.join().unwrap_or_else(|_| anyhow::bail!("a sender panicked")))
        })?;
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(self.summary(&done))
    }

    fn send(&self, end: Instant, churn: Churn, interrupt: &Interrupt, done: &Mutex<Vec<Sent>>) -> Result<()> {
        let target = Target::new(self.url.clone());
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let (round, place) = (number / self.nodes.len(), number % self.nodes.len());
            let (offset, node) = self.nodes[place];
            let due = self.began + self.interval * round as u32 + offset;
            if due >= end {
                self.next.fetch_min(number, Ordering::Relaxed);
                return Ok(());
            }
            interrupt.sleep_until(due)?;
            let pushes = &self.recorded[node as usize % self.recorded.len()];
            let push = &pushes[round % pushes.len()];
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("before 1970")?;
            let generation = (churn == Churn::Tenth && node.is_multiple_of(10)).then_some(round as u32);
            let bodies = push.bodies(&name_of(node), generation, now.as_millis() as u64)?;
            let at = Instant::now();
            let answers = bodies.iter().map(|body| post(&target, body));
            let accepted = answers.filter(|answer| answer.as_ref().is_ok_and(|status| *status < 300)).count();
            let sent = Sent {
                phase: (at - self.began).as_secs_f64() / self.interval.as_secs_f64() - round as f64,
                round,
                took: at.elapsed(),
                bytes: bodies.iter().map(|body| body.len() as u64).sum(),
                samples: push.samples(),
                is_accepted: accepted == bodies.len(),
            };
            done.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        }
    }

    fn summary(&self, done: &[Sent]) -> Round {
        let mut times: Vec<Duration> = done.iter().map(|sent| sent.took).collect();
        times.sort_unstable();
        // Of whole rounds alone.
        let mut uneven = 0.0_f64;
        for round in done.iter().map(|sent| sent.round).collect::<std::collections::BTreeSet<_>>() {
            let mut phases: Vec<f64> = done.iter().filter(|sent| sent.round == round).map(|sent| sent.phase).collect();
            if phases.len() == self.nodes.len() {
                phases.sort_unstable_by(f64::total_cmp);
                let even =
                    phases.iter().enumerate().map(|(place, phase)| (phase - place as f64 / phases.len() as f64).abs());
                uneven = uneven.max(even.fold(0.0, f64::max));
            }
        }
        Round {
            samples: done.iter().map(|sent| sent.samples).sum(),
            bytes: done.iter().map(|sent| sent.bytes).sum(),
            sent: done.len(),
            failed: done.iter().filter(|sent| !sent.is_accepted).count(),
            slow: times.get(times.len() * 99 / 100).copied().unwrap_or_default(),
            uneven,
        }
    }
}

/// A push.
struct Sent {
    round: usize,
    phase: f64,
    took: Duration,
    bytes: u64,
    samples: u64,
    is_accepted: bool,
}

/// When in the interval a node pushes: by the collector's own rule.
fn offset(node: u32, interval: Duration) -> Duration {
    let digest = Sha256::digest(format!("{node:032x}"));
    let first = digest.first_chunk().copied().unwrap_or_default();
    interval.mul_f64(u64::from_le_bytes(first) as f64 / u64::MAX as f64)
}
