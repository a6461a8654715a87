//! Keeps samples as young as a kubelet's, while somebody asks for them in a kubelet's place.
//!
//! A kubelet reads even an idle container every 10 to 15 seconds, and its clients reckon with it: they ask for the samples
//! of the half a minute before, and for the CPU use of just now. So whoever asks waits for samples that are no older, and
//! for a while afterwards they are taken in that time also where nothing changes or `--housekeeping_interval` is longer.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::sample::event::Name;
use crate::sampler::engine::Engine;
use crate::store::Container;

/// A sample older than this is followed by a new one: no kubelet's are older.
pub(super) const MAX_AGE: Duration = Duration::from_secs(10);
/// How often it is looked for such.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// For so long after a request: longer than clients wait between two.
const AFTER_REQUEST: Duration = Duration::from_secs(150);

/// What was asked for lately.
#[derive(Debug, Default)]
pub(super) struct Fresh(Mutex<Option<AskedRefresh>>);

#[derive(Debug)]
struct AskedRefresh {
    at: Instant,
    /// The most that somebody asked for lately.
    names: Vec<Name>,
    names_at: Instant,
}

impl Fresh {
    /// These containers are asked for. Those of them that need a new sample are returned.
    pub(super) fn asked(self: &Arc<Self>, engine: &Arc<Engine>, names: &[Name]) -> Vec<Name> {
        let now = Instant::now();
        let mut asked = self.lock();
        if let Some(AskedRefresh { at, names: known, names_at }) = &mut *asked {
            // Of two who ask for different ones, the one who asks for more counts.
            if names.len() >= known.len() || now.saturating_duration_since(*names_at) > AFTER_REQUEST {
                (*known, *names_at) = (names.to_vec(), now);
            }
            *at = now;
        } else {
            *asked = Some(AskedRefresh { at: now, names: names.to_vec(), names_at: now });
            tokio::spawn(keep(Arc::downgrade(self), Arc::downgrade(engine)));
        }
        drop(asked);
        let store = engine.store();
        let stale = names.iter().filter(|name| store.get(name).is_some_and(|container| is_stale(&container)));
        stale.cloned().collect()
    }

    /// What to look after; `None`, and never again, when nobody has asked for long.
    fn wanted(&self) -> Option<Vec<Name>> {
        let mut asked = self.lock();
        match &*asked {
            Some(AskedRefresh { at, names, .. }) if at.elapsed() < AFTER_REQUEST => Some(names.clone()),
            _ => {
                *asked = None;
                None
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<AskedRefresh>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the newest sample is too old. A container without one gets its first anyway.
fn is_stale(container: &Container) -> bool {
    container.latest_age().is_some_and(|age| age > MAX_AGE)
}

async fn keep(fresh: Weak<Fresh>, engine: Weak<Engine>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (Some(fresh), Some(engine)) = (fresh.upgrade(), engine.upgrade()) else { return };
        let Some(names) = fresh.wanted() else { return };
        let tracked = names.iter().filter_map(|name| engine.tracked(name));
        let stale: Vec<_> = tracked.filter(|tracked| is_stale(tracked.container())).collect();
        if !stale.is_empty() {
            // Nobody waits for them.
            drop(engine.demand(stale, MAX_AGE));
        }
    }
}
