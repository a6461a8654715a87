//! The task that reads applications, over the collector's parts.

use std::sync::{Arc, Weak};

use prometheus::IntCounterVec;

use crate::application::{self, CONFIG_BYTES, Files, Outcome};
use crate::sample::event::Name;
use crate::sampler::container::{Scratch, read_inside};
use crate::sampler::engine::Engine;

/// Files inside containers, for as long as there is an engine.
struct ContainerFiles(Weak<Engine>);

impl Files for ContainerFiles {
    async fn read(&self, container: &Name, path: &str) -> Result<Vec<u8>, String> {
        let engine = self.0.upgrade().ok_or("the collector is ending")?;
        let (container, path) = (Name::clone(container), path.to_owned());
        let read = move || read_inside(engine.context(), &container, &path, CONFIG_BYTES, &mut Scratch::default());
        let text = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
        text.map_err(|error| error.to_string())
    }
}

/// Starts it. `limit` is how many metrics a container may have.
pub(super) fn start(engine: &Arc<Engine>, limit: usize, polls: IntCounterVec) {
    let files = ContainerFiles(Arc::downgrade(engine));
    let count = move |outcome| {
        let result = match outcome {
            Outcome::Read => "read",
            Outcome::Failed => "failed",
        };
        polls.with_label_values(&[result]).inc();
    };
    tokio::spawn(application::run(Arc::clone(engine.store()), files, limit, count));
}
