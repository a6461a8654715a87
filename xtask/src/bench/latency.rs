//! How long an event takes from the kernel to a client of the event stream.

use std::collections::HashMap;
use std::io::BufRead as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::api::{Api, Event};
use super::cgroups::Tree;
use crate::interrupt::Interrupt;

/// How many cgroups are made, and how far apart.
const EVENTS: usize = 500;
const APART: Duration = Duration::from_millis(10);
/// How long the last event may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Measures from just before each mkdir to the receipt of its line; sorted.
pub(super) fn measure(api: &Api, tree: &mut Tree, interrupt: &Interrupt) -> Result<Vec<Duration>> {
    let mut stream = api.events()?;
    let (sender, receiver) = mpsc::channel();
    // Ends with the collector, whose answer it reads.
    std::thread::spawn(move || {
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
            if sender.send((Instant::now(), std::mem::take(&mut line))).is_err() {
                return;
            }
        }
    });
    interrupt.sleep(Duration::from_secs(1))?;
    let mut made = HashMap::new();
    let mut next = Instant::now();
    for number in 0..EVENTS {
        interrupt.sleep_until(next)?;
        next += APART;
        let name = format!("event{number}");
        let path = tree.extra(&name)?;
        let before = Instant::now();
        std::fs::create_dir(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
        made.insert(format!("{}/{name}", tree.name()), before);
    }
    let mut latencies = Vec::new();
    let end = Instant::now() + PATIENCE;
    while latencies.len() < EVENTS {
        interrupt.check()?;
        let Ok((received, line)) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) else { break };
        // Lines that are no events, such as an empty one that keeps the connection alive, are of no interest here.
        let Ok(event) = serde_json::from_str::<Event>(&line) else { continue };
        if event.event_type == "containerCreation"
            && let Some(before) = made.remove(&event.container_name)
        {
            latencies.push(received.duration_since(before));
        }
    }
    for number in 0..EVENTS {
        let path = tree.extra(&format!("event{number}"))?;
        std::fs::remove_dir(&path).with_context(|| format!("cannot remove the cgroup {}", path.display()))?;
    }
    ensure!(latencies.len() == EVENTS, "{} of {EVENTS} creations were not in the event stream", made.len());
    latencies.sort_unstable();
    Ok(latencies)
}
