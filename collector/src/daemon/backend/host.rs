//! The machine around the containers.

use std::sync::Arc;
use std::time::SystemTime;

use super::Backend;
use crate::api::backend::{Host, ProcessesOf, ProcessesUnavailable};
use crate::reader::container::Scratch;
use crate::reader::processes::{self, Whose};
use crate::sample::machine::{Filesystems, Machine};
use crate::sample::process::ProcessList;
use crate::units::{Nanos, WallTime};

/// File systems asked this recently are not asked again.
const FILESYSTEMS: Nanos = Nanos(1_000_000_000);

impl Host for Backend {
    fn machine(&self) -> Arc<Machine> {
        self.current_machine()
    }

    async fn filesystems(&self) -> Arc<Filesystems> {
        let mut kept = self.filesystems.lock().await;
        let now = WallTime::from(SystemTime::now());
        if kept.at <= now && now.since(kept.at) < FILESYSTEMS {
            return Arc::clone(&kept);
        }
        let engine = Arc::clone(&self.engine);
        let read = move || {
            let stores = engine.store().image_stores();
            let (context, now) = (engine.context(), WallTime::from(SystemTime::now()));
            crate::reader::machine::filesystems(context.roots(), context.listed_mounts(), stores, now)
        };
        match self.pools.requests.run(b"file systems", read).await {
            Ok(filesystems) => {
                *kept = Arc::new(filesystems);
                self.engine.store().set_filesystems(Arc::clone(&kept));
            }
            // One of them hangs: what is known of all of them stays, with its time.
            Err(error) => tracing::debug!(%error, "file systems could not be read"),
        }
        Arc::clone(&kept)
    }

    async fn processes(&self, of: ProcessesOf) -> Result<ProcessList, ProcessesUnavailable> {
        let engine = Arc::clone(&self.engine);
        let list = move || {
            let whose = match &of {
                ProcessesOf::Machine => Whose::Machine,
                ProcessesOf::Container(name) => Whose::Container(name),
            };
            processes::list(engine.context(), whose, &mut Scratch::default())
        };
        // Nothing of a process's memory is read, whose lock somebody may hold for ever.
        let listed = tokio::task::spawn_blocking(list).await;
        let listed = listed.map_err(|error| ProcessesUnavailable(error.to_string()))?;
        listed.map_err(|error| ProcessesUnavailable(error.to_string()))
    }
}
