//! The task that reads applications, over the collector's parts: on a thread of its own.

use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::apart::Pools;
use crate::application::{self, CONFIG_BYTES, Files, Outcome, Rules};
use crate::own_metrics::OwnMetrics;
use crate::reader::container::{Risk, Scratch, read_inside};
use crate::sample::event::Name;
use crate::sampler::engine::Engine;
use crate::supervisor::Supervisor;

/// Threads that look up hosts' names, where containers may name any.
const LOOKUPS: usize = 4;

/// Files inside containers, for as long as there is an engine.
struct ContainerFiles {
    engine: Weak<Engine>,
    pools: Arc<Pools>,
}

impl Files for ContainerFiles {
    async fn read(&self, container: &Name, path: &str) -> Result<Vec<u8>, String> {
        let engine = self.engine.upgrade().ok_or("the collector is ending")?;
        let files = &self.pools.files;
        let risk = if files.is_half_full() { Risk::MustNotHang } else { Risk::MayHang };
        let (name, path) = (Name::clone(container), path.to_owned());
        let read = move || {
            read_inside(engine.context(), &name, &path, CONFIG_BYTES, risk, &mut Scratch::default())
                .map_err(|error| error.to_string())
        };
        // One file of a container at once: if it hangs, the others most likely do.
        files.run(container, read).await.map_err(|error| error.to_string())?
    }
}

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Applications {
    _stop: oneshot::Sender<()>,
}

/// Starts it.
pub(super) fn start(
    engine: &Arc<Engine>,
    rules: Rules,
    metrics: &OwnMetrics,
    pools: Arc<Pools>,
    supervisor: &Supervisor,
) -> std::io::Result<Applications> {
    let files = ContainerFiles { engine: Arc::downgrade(engine), pools };
    let (polls, values_left_out) = (metrics.application(), metrics.left_out_values());
    let count = move |outcome| {
        let result = match outcome {
            Outcome::Read { left_out } => {
                values_left_out.inc_by(left_out as u64);
                "read"
            }
            Outcome::Failed => "failed",
            Outcome::Refused => "refused",
            Outcome::Delayed => "delayed",
        };
        polls.with_label_values(&[result]).inc();
    };
    let store = Arc::clone(engine.store());
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(LOOKUPS)
        .build()?;
    let work = move || {
        runtime.block_on(async {
            tokio::select! {
                ended = application::run(store, files, rules, count) => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the applications in containers are not read");
                    }
                }
                // Closed when nobody holds the other end.
                _ = stopped => {}
            }
        });
        // A name that is being looked up may take long.
        runtime.shutdown_background();
    };
    supervisor.thread("applications", work)?;
    Ok(Applications { _stop: stop })
}
