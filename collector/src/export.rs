//! What the history has, written out: by `collector export`, and by the daemon for whoever asks it.
//!
//! It goes through the history block by block and never has more of it in memory than one.

mod client;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use crate::api::export::{self, Exported};
use crate::api::query::export::ExportQuery;
use crate::archive::{self, Archive, ArchivedSubject};
use crate::client::Peer;
use crate::degradations::Degradations;

pub use client::ExportError;

/// What is sent at once.
const PIECE: usize = 64 << 10;

/// Where the history is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistorySource {
    /// In this directory.
    Directory(PathBuf),
    /// With the collector that answers there.
    Server(Peer),
}

/// What `collector export` was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// Where the history is.
    pub source: HistorySource,
    /// What of it.
    pub query: ExportQuery,
}

/// Writes what is asked for to standard output.
///
/// # Errors
/// It cannot be read, or not be written. A reader that has read enough is no error.
pub fn run(request: &ExportRequest) -> Result<(), ExportError> {
    let mut out = io::stdout().lock();
    let mut send = |piece: &[u8]| out.write_all(piece);
    let done = match &request.source {
        HistorySource::Directory(directory) => {
            let options = archive::ArchiveOptions {
                directory: directory.clone(),
                // Of no meaning to who only reads.
                step: Duration::from_secs(10),
                age: Duration::MAX,
                bytes: u64::MAX,
            };
            let degradations = Degradations::default();
            let archive = Archive::open(options, degradations.clone());
            let archive = archive.map_err(|source| ExportError::Directory { path: directory.clone(), source })?;
            let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let written = write(&archive, &request.query, &machine, |piece| {
                send(piece)?;
                piece.clear();
                Ok(())
            });
            // What could not be read was reported to the log; whoever uses the output has to know.
            let complaints = degradations.reasons();
            if written.is_ok() && !complaints.is_empty() {
                return Err(ExportError::Incomplete(complaints.join("; ")));
            }
            written.map_err(ExportError::Output)
        }
        HistorySource::Server(peer) => client::copy(peer, &request.query, &mut send),
    };
    match done {
        Err(ExportError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.and_then(|()| out.flush().map_err(ExportError::Output)),
    }
}

/// Hands out piece after piece of what is asked for, until that fails; who takes one empties it.
///
/// # Errors
/// What `send` says.
pub fn write<E>(
    archive: &Archive,
    query: &ExportQuery,
    machine: &str,
    mut send: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let ExportQuery { from, to, format, container } = query;
    let is_wanted = |subject: &ArchivedSubject| {
        container.as_ref().is_none_or(|wanted| {
            *subject.name == *wanted.as_bytes()
                || subject.identity.as_ref().is_some_and(|identity| identity.aliases().any(|alias| alias == wanted))
        })
    };
    let mut out = Vec::new();
    for round in 0..format.rounds() {
        export::begin(&mut out, *format, round);
        archive.walk(*from, *to, |subject, samples| {
            if !is_wanted(subject) {
                return Ok(());
            }
            let of = Exported { machine, name: &subject.name, identity: subject.identity.as_deref() };
            export::samples(&mut out, *format, round, &of, samples);
            if out.len() < PIECE { Ok(()) } else { send(&mut out) }
        })?;
    }
    let mut failed = None;
    archive.events(*from, *to, |event| {
        let is_wanted = container.as_ref().is_none_or(|wanted| *event.container == *wanted.as_bytes());
        if failed.is_none() && is_wanted {
            export::event(&mut out, *format, &event);
            if out.len() >= PIECE {
                failed = send(&mut out).err();
            }
        }
    });
    if let Some(failed) = failed {
        return Err(failed);
    }
    export::end(&mut out, *format);
    if out.is_empty() { Ok(()) } else { send(&mut out) }
}
