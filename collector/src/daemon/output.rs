//! `--storage_driver=stdout`: every sample is written to standard output, a line each.
//!
//! A thread of its own takes what is new in the store, so that a reader who is slow holds up nobody. One who stays away
//! for longer than samples are kept misses what is gone by then.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::sample::container::Sample;
use crate::sample::event::{EventData, EventKind, Name};
use crate::sample::identity::Identity;
use crate::sampler::engine::Engine;
use crate::store::event_log::Subscription;
use crate::store::history::Selection;
use crate::units::WallTime;
use crate::views::sample_line;

/// How often what is new is written.
const EVERY: Duration = Duration::from_secs(1);
/// Containers that may be gone before the list of what was written is looked through.
const MANY: usize = 1024;
/// Lines are handed to the system in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;

/// What was written of a container.
#[derive(Debug, Default)]
struct Written {
    until: WallTime,
    identity: Option<Arc<Identity>>,
}

struct Output {
    machine: String,
    written: HashMap<Name, Written>,
    lines: Vec<u8>,
}

/// Starts the thread; it ends with the engine, or when nobody reads any more.
///
/// # Errors
/// When the system has no thread to give.
pub(super) fn start(engine: &Arc<Engine>) -> io::Result<()> {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let ended = engine.store().events().subscribe(|event| event.kind == EventKind::ContainerDeletion);
    let engine = Arc::downgrade(engine);
    let output = Output { machine, written: HashMap::new(), lines: Vec::new() };
    std::thread::Builder::new().name("output".into()).spawn(move || {
        if let Err(error) = output.run(&engine, ended) {
            tracing::error!(%error, "standard output cannot be written to; --storage_driver=stdout ends");
        }
    })?;
    Ok(())
}

impl Output {
    fn run(mut self, engine: &Weak<Engine>, mut ended: Subscription) -> io::Result<()> {
        while let Some(engine) = engine.upgrade() {
            self.write_new(&engine)?;
            // Their last samples, which are not in the store any more.
            while let Some(event) = ended.try_next() {
                if let EventData::Deletion { final_sample: Some(sample) } = &event.data {
                    self.write(&event.container, None, sample)?;
                }
                self.written.remove(&event.container);
            }
            // What nobody wants to see any more has left without a word.
            if self.written.len() > 2 * engine.store().len() + MANY {
                self.written.retain(|name, _| engine.store().get(name).is_some());
            }
            self.flush()?;
            drop(engine);
            std::thread::sleep(EVERY);
        }
        Ok(())
    }

    fn write_new(&mut self, engine: &Engine) -> io::Result<()> {
        for container in engine.store().with_prefix(b"/") {
            let until = self.written.get(container.name()).map(|written| written.until);
            let start = until.map(|until| WallTime(until.0 + 1));
            for sample in container.samples(Selection { start, end: None, count: None }) {
                self.write(container.name(), container.identity(), &sample)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, name: &Name, identity: Option<Arc<Identity>>, sample: &Sample) -> io::Result<()> {
        let written = self.written.entry(Name::clone(name)).or_default();
        if sample.at <= written.until {
            return Ok(());
        }
        written.until = sample.at;
        if identity.is_some() {
            written.identity = identity;
        }
        sample_line::append(&mut self.lines, &self.machine, name, written.identity.as_deref(), sample);
        if self.lines.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.lines)?;
        self.lines.clear();
        stdout.flush()
    }
}
