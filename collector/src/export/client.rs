//! A running collector's export, copied as it comes.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::query::export::ExportQuery;
use crate::client::{Client, ClientError, Patience, Peer};

/// How long each piece may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What gives credentials.
const FLAGS: &str = "--token_file or --password_file";

/// Why there is no export, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The directory cannot be read.
    #[error("--history_dir={}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something of it could not be read.
    #[error("not everything could be read: {0}")]
    Incomplete(String),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[source] io::Error),
    /// The collector cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What it answers with cannot be waited for.
    #[error("{0}")]
    Runtime(#[source] io::Error),
    /// The collector has nothing to export, or does not want to.
    #[error("{url} answers {text}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The status code and the beginning of what it says.
        text: String,
    },
}

/// Copies what the collector there exports.
pub(super) fn copy(
    peer: &Peer,
    query: &ExportQuery,
    send: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), ExportError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ExportError::Runtime)?;
    let client = Client::new(peer, FLAGS, Patience { each: PATIENCE, end: None })?;
    let target = format!("/api/export?{}", query.to_text());
    let mut failed = None;
    let take = |piece: &[u8]| match send(piece) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    };
    let refused = runtime.block_on(client.stream(&target, take))?;
    if let Some(error) = failed {
        return Err(ExportError::Output(error));
    }
    let Some(answer) = refused else { return Ok(()) };
    Err(ExportError::Refused { url: client.url(&target), text: answer.excerpt() })
}
