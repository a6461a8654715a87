//! HTTP to a runtime that speaks Docker's API. One connection per question, and nothing of an answer is believed: not
//! its length, not that it ends, not that it comes soon.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::endpoint::Endpoint;
use super::error::RuntimeError;
use super::listeners::DockerTls;
use crate::bounds::{Bound, Shown};
use crate::client::Trust;
use crate::client::single::{self, Body, BodyError, Head, Memory};
use crate::client::tls::{ClientIdentity, config};

/// Longest wait for a whole answer. A daemon that is starting up or swapping may take tens of seconds; nobody waits for
/// it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of an answer: a container with a megabyte of labels and as much of variables fits.
const LARGEST_ANSWER: usize = 4 << 20;
/// Bytes of an answer like nearly all; of larger ones few are read at once.
const ORDINARY_ANSWER: usize = 256 << 10;
/// Large answers at once.
const LARGE_ANSWERS: usize = 2;
/// Bytes of an event, which repeats the container's labels.
const LARGEST_EVENT: usize = 1 << 20;
const HEAD: Head = Head { bytes: 64 << 10, fields: 100 };
/// What of an answer that is an error is repeated.
const ERROR_TEXT: usize = 1 << 10;

/// Asks one runtime.
#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
    large: Arc<Semaphore>,
    patience: Duration,
}

/// What both kinds of sockets and TLS are.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The right to a large answer.
struct Large<'a> {
    answers: &'a Semaphore,
    permit: Option<SemaphorePermit<'a>>,
}

impl Memory for Large<'_> {
    async fn grow(&mut self, bytes: usize) {
        if self.permit.is_none() && bytes > ORDINARY_ANSWER {
            // They are never closed.
            self.permit = self.answers.acquire().await.ok();
        }
    }
}

fn transport(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Transport(error.to_string())
}

impl HttpClient {
    /// A client that has not asked anything yet.
    pub(super) fn new(endpoint: &Endpoint, tls: Option<&DockerTls>) -> Result<Self, RuntimeError> {
        let tls = tls.map(|DockerTls { certificate, key, ca }| {
            config(&Trust::File(ca.clone()), Some(ClientIdentity { certificate, key })).map_err(transport)
        });
        let tls = tls.transpose()?.map(Arc::new);
        let large = Arc::new(Semaphore::new(LARGE_ANSWERS));
        Ok(Self { endpoint: endpoint.clone(), tls, large, patience: PATIENCE })
    }

    /// The answer to a question, read from JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, RuntimeError> {
        let whole = async {
            let mut body = self.send(target).await?;
            self.read(&mut body, LARGEST_ANSWER, |bytes| serde_json::from_slice(bytes)).await?.map_err(transport)
        };
        timeout(self.patience, whole).await.unwrap_or_else(|_| Err(self.too_slow()))
    }

    /// Asks a question of which only matters that it is answered.
    pub(super) async fn ping(&self, target: &str) -> Result<(), RuntimeError> {
        let answer = timeout(self.patience, self.send(target)).await;
        answer.unwrap_or_else(|_| Err(self.too_slow())).map(drop)
    }

    /// An answer that comes line by line and has no end.
    pub(super) async fn lines(&self, target: &str) -> Result<Lines, RuntimeError> {
        let body = timeout(self.patience, self.send(target)).await.unwrap_or_else(|_| Err(self.too_slow()))?;
        Ok(Lines { body, buffer: BytesMut::new(), skipping: Skipping::No })
    }

    fn too_slow(&self) -> RuntimeError {
        Bound::RuntimeAnswerTime.exceeded();
        RuntimeError::TooSlow(self.patience)
    }

    /// Reads a body that is not too large. Large ones are read and used up by a few at a time.
    async fn read<T>(
        &self,
        body: &mut Body,
        limit: usize,
        consume: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, RuntimeError> {
        let mut memory = Large { answers: &self.large, permit: None };
        let bytes = body.whole(limit, &mut memory).await.map_err(|error| match error {
            BodyError::Long(limit) => {
                Bound::RuntimeAnswerBytes.exceeded();
                RuntimeError::TooLarge(limit)
            }
            BodyError::Http(error) => transport(error),
        })?;
        let consumed = consume(&bytes);
        drop((bytes, memory));
        Ok(consumed)
    }

    async fn send(&self, target: &str) -> Result<Body, RuntimeError> {
        let stream = self.connect().await?;
        let host = match &self.endpoint {
            Endpoint::Unix(_) => "localhost",
            Endpoint::Tcp(address) => address,
        };
        let request = Request::get(target).header(header::HOST, host).body(Empty::<Bytes>::new());
        let answer = single::send(stream, request.map_err(transport)?, HEAD).await.map_err(transport)?;
        let mut body = answer.body;
        match answer.status {
            StatusCode::OK => Ok(body),
            StatusCode::NOT_FOUND => Err(RuntimeError::NoSuchContainer),
            status => {
                let said = self.read(&mut body, ERROR_TEXT, reason).await;
                Err(RuntimeError::Refused(status, said.unwrap_or_default()))
            }
        }
    }

    async fn connect(&self) -> Result<Box<dyn Duplex>, RuntimeError> {
        let unreachable = |error| RuntimeError::Unreachable(self.endpoint.clone(), error);
        let stream = match &self.endpoint {
            Endpoint::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await.map_err(unreachable)?)),
            Endpoint::Tcp(address) => TcpStream::connect(address).await.map_err(unreachable)?,
        };
        let (Some(tls), Endpoint::Tcp(address)) = (&self.tls, &self.endpoint) else { return Ok(Box::new(stream)) };
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(transport)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(unreachable)?;
        Ok(Box::new(stream))
    }
}

/// Why Docker says no; other programs do not say it in JSON.
fn reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct HttpReason {
        message: String,
    }
    match serde_json::from_slice(body) {
        Ok(HttpReason { message }) => Shown(message.trim().as_bytes()).to_string(),
        Err(_) => Shown(body.trim_ascii()).to_string(),
    }
}

/// The lines of an answer without end. One that is too long is passed over.
#[derive(Debug)]
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    skipping: Skipping,
}

/// Whether what comes belongs to a line that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skipping {
    No,
    Yes,
}

impl Lines {
    /// The next line; an error when the other side ended it.
    pub(super) async fn next(&mut self) -> Result<Bytes, RuntimeError> {
        let mut looked_at = 0;
        loop {
            if let Some(end) = self.buffer[looked_at..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(looked_at + end + 1).freeze();
                looked_at = 0;
                if std::mem::replace(&mut self.skipping, Skipping::No) == Skipping::No && !line.trim_ascii().is_empty()
                {
                    return Ok(line);
                }
                continue;
            }
            if self.buffer.len() > LARGEST_EVENT || self.skipping == Skipping::Yes {
                if self.skipping == Skipping::No {
                    Bound::RuntimeAnswerBytes.exceeded();
                }
                self.skipping = Skipping::Yes;
                self.buffer.clear();
            }
            looked_at = self.buffer.len();
            let data = self.body.next().await;
            let data = data.ok_or_else(|| RuntimeError::Transport("it closed the connection".to_owned()))?;
            self.buffer.extend_from_slice(&data.map_err(transport)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers one question after the other with these pieces, the last again and again where it has no end.
    async fn serve(pieces: Vec<Vec<u8>>, last: Last) -> HttpClient {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                for piece in &pieces {
                    let _ = stream.write_all(piece).await;
                }
                let endless = pieces.last().filter(|_| last == Last::Endless);
                while let Some(piece) = endless {
                    if stream.write_all(piece).await.is_err() {
                        break;
                    }
                }
                if last == Last::Hangs {
                    std::future::pending::<()>().await;
                }
            }
        });
        let client = HttpClient::new(&Endpoint::Tcp(address), None).unwrap();
        HttpClient { patience: Duration::from_secs(5), ..client }
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Last {
        Closes,
        Endless,
        Hangs,
    }

    const HEAD_WITHOUT_LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

    #[tokio::test]
    async fn an_answer_at_the_bound_is_read_and_one_beyond_is_not() {
        let text = |bytes: usize| [b"\"", vec![b'x'; bytes - 2].as_slice(), b"\""].concat();
        let client = serve(vec![HEAD_WITHOUT_LENGTH.to_vec(), text(LARGEST_ANSWER)], Last::Closes).await;
        assert_eq!(client.get::<String>("/").await.unwrap().len(), LARGEST_ANSWER - 2);
        let client = serve(vec![HEAD_WITHOUT_LENGTH.to_vec(), text(LARGEST_ANSWER + 1)], Last::Closes).await;
        let before = Bound::RuntimeAnswerBytes.count();
        assert!(matches!(client.get::<String>("/").await, Err(RuntimeError::TooLarge(LARGEST_ANSWER))));
        assert!(Bound::RuntimeAnswerBytes.count() > before);
    }

    #[tokio::test]
    async fn an_answer_without_end_ends_at_the_bound() {
        let client = serve(vec![HEAD_WITHOUT_LENGTH.to_vec(), vec![b' '; 65_536]], Last::Endless).await;
        assert!(matches!(client.get::<String>("/").await, Err(RuntimeError::TooLarge(_))));
        let client = serve(vec![b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; 4096]], Last::Endless).await;
        assert!(matches!(client.get::<String>("/").await, Err(RuntimeError::Transport(_))), "a head without end");
        let client = serve(vec![b"HTTP/1.1 500 X\r\n\r\n".to_vec(), vec![b'y'; 4096]], Last::Endless).await;
        assert!(client.get::<String>("/").await.unwrap_err().to_string().starts_with("500"));
    }

    #[tokio::test]
    async fn an_answer_that_drips_is_given_up() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n\"".to_vec();
        let client = serve(vec![head], Last::Hangs).await;
        let client = HttpClient { patience: Duration::from_millis(200), ..client };
        assert!(matches!(client.get::<String>("/").await, Err(RuntimeError::TooSlow(_))));
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_costs_itself() {
        let long = [vec![b'x'; 2 * LARGEST_EVENT].as_slice(), b"\n"].concat();
        let at = [vec![b'y'; LARGEST_EVENT - 1].as_slice(), b"\n"].concat();
        let pieces = vec![HEAD_WITHOUT_LENGTH.to_vec(), b"a\n\nb\n".to_vec(), long, at, b"c\n".to_vec()];
        let client = serve(pieces, Last::Closes).await;
        let mut lines = client.lines("/").await.unwrap();
        assert_eq!(lines.next().await.unwrap(), "a\n");
        assert_eq!(lines.next().await.unwrap(), "b\n");
        assert_eq!(lines.next().await.unwrap().len(), LARGEST_EVENT);
        assert_eq!(lines.next().await.unwrap(), "c\n");
        assert!(lines.next().await.is_err());
    }

    #[tokio::test]
    async fn what_is_not_there() {
        let client = serve(vec![b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}".to_vec()], Last::Closes).await;
        assert!(matches!(client.get::<String>("/").await, Err(RuntimeError::NoSuchContainer)));
    }

    #[tokio::test]
    async fn a_ping_waits_for_no_body() {
        let client = serve(vec![HEAD_WITHOUT_LENGTH.to_vec(), vec![b'x'; 65_536]], Last::Endless).await;
        client.ping("/_ping").await.unwrap();
        let client = serve(Vec::new(), Last::Hangs).await;
        let client = HttpClient { patience: Duration::from_millis(200), ..client };
        assert!(matches!(client.ping("/_ping").await, Err(RuntimeError::TooSlow(_))));
    }

    #[test]
    fn why_it_says_no() {
        assert_eq!(reason(br#"{"message":"client version 1.99 is too new\n"}"#), "client version 1.99 is too new");
        assert_eq!(reason(b"page not found\n"), "page not found");
    }
}
