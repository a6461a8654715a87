//! A running collector's export, copied as it comes.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::api::query::export::ExportQuery;
use crate::compare::{Header, Origin};

/// What of an answer that is no export is shown.
const SHOWN: usize = 300;

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
    /// There is no connection.
    #[error("cannot connect to {origin}: {source}")]
    Connect {
        /// Where to.
        origin: String,
        /// Why not.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("{url}: {source}")]
    Broken {
        /// What was asked for.
        url: String,
        /// What happened.
        source: hyper::Error,
    },
    /// The collector has nothing to export, or does not want to.
    #[error("{url} answers {status}: {text}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The status code.
        status: u16,
        /// The beginning of what it says.
        text: String,
    },
    /// The request cannot be put into words.
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
}

/// Copies what the collector there exports.
pub(super) fn copy(
    origin: &Origin,
    headers: &[Header],
    query: &ExportQuery,
    send: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), ExportError> {
    let connect = |source| ExportError::Connect { origin: origin.to_string(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(connect)?;
    runtime.block_on(copied(origin, headers, query, send))
}

async fn copied(
    origin: &Origin,
    headers: &[Header],
    query: &ExportQuery,
    send: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), ExportError> {
    let url = format!("{origin}/api/export?{}", query.to_text());
    let broken = |source| ExportError::Broken { url: url.clone(), source };
    let uri: Uri = url.parse().map_err(http::Error::from)?;
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let stream = TcpStream::connect(&authority).await;
    let stream = stream.map_err(|source| ExportError::Connect { origin: origin.to_string(), source })?;
    let (mut connection, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the connection; what goes wrong is reported to whoever waits for the answer.
    tokio::spawn(async move { drop(driver.await) });
    let target = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let mut request = Request::builder().uri(target).header(HOST, &authority);
    for header in headers {
        request = request.header(header.name(), header.value());
    }
    let answer = connection.send_request(request.body(Empty::<Bytes>::new())?).await.map_err(broken)?;
    let status = answer.status();
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
        if status.is_success() {
            send(&piece).map_err(ExportError::Output)?;
        } else if text.len() < SHOWN {
            text.extend_from_slice(&piece[..piece.len().min(SHOWN)]);
        }
    }
    if status.is_success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&text).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(ExportError::Refused { url, status: status.as_u16(), text })
}
