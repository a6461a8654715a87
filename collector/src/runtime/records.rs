//! Has looked at what lies on disk about containers whose paths name them: one after another, on a thread where a disk
//! that does not answer delays nobody else.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};

use super::cgroup_names;
use crate::sample::event::Name;

/// Looks at what lies on disk about the cgroup of this name, and reports it to whoever wants to know.
pub(super) type LookAtRecord = Arc<dyn Fn(&Name) + Send + Sync>;

/// Those that have not been looked at.
#[derive(Default)]
pub(super) struct Records {
    look: Option<LookAtRecord>,
    /// No more than there are.
    waiting: BTreeSet<Name>,
    job: Option<JoinHandle<()>>,
}

impl Records {
    pub(super) fn new(look: Option<LookAtRecord>) -> Self {
        Self { look, ..Self::default() }
    }

    /// A cgroup appeared.
    pub(super) fn begin(&mut self, name: &Name) {
        if self.look.is_some() && cgroup_names::named(name).is_some() {
            self.waiting.insert(Arc::clone(name));
        }
    }

    /// A cgroup is gone.
    pub(super) fn end(&mut self, name: &Name) {
        self.waiting.remove(name);
    }

    /// Has one looked at; does not return while there is none. May be dropped and called again.
    pub(super) async fn turn(&mut self) {
        if self.job.is_none() {
            let next = self.look.clone().and_then(|look| Some((look, self.waiting.pop_first()?)));
            self.job = next.map(|(look, name)| spawn_blocking(move || look(&name)));
        }
        let Some(job) = &mut self.job else { return std::future::pending().await };
        let ended = job.await;
        self.job = None;
        if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
            std::panic::resume_unwind(panic);
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn each_that_is_still_there_is_looked_at() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&seen);
        let mut records = Records::new(Some(Arc::new(move |name: &Name| note.lock().unwrap().push(Name::clone(name)))));
        let names = ["/lxc.payload.a", "/lxc.payload.b", "/lxc.payload.c", "/system.slice/x.service"];
        let names = names.map(|name| Name::from(name.as_bytes()));
        for name in &names {
            records.begin(name);
        }
        records.end(&names[1]);
        records.turn().await;
        records.turn().await;
        assert_eq!(*seen.lock().unwrap(), [Arc::clone(&names[0]), Arc::clone(&names[2])]);
        assert!(records.waiting.is_empty());
    }
}
