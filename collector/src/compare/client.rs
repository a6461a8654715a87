//! A client of one server: plain HTTP/1.1 over a connection that is kept, every answer bounded in size and time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::Peer;

/// The largest answer that is read.
const LARGEST_ANSWER: usize = 64 << 20;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("{given} is not usable as an address: {reason}; it looks like http://127.0.0.1:8080")]
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A header cannot be used.
    #[error("{0:?} is not a header; it looks like `Authorization: Bearer ...`")]
    Header(String),
    /// There is no connection.
    #[error("cannot connect to {origin}: {source}")]
    Connect {
        /// Where to.
        origin: Origin,
        /// Why not.
        source: std::io::Error,
    },
    /// The conversation broke off.
    #[error("{url}: {source}")]
    Broken {
        /// What was asked for.
        url: String,
        /// What happened.
        source: hyper::Error,
    },
    /// The body could not be read to its end within its bounds.
    #[error("{url}: the answer cannot be read, or is larger than {} MiB: {source}", LARGEST_ANSWER >> 20)]
    Body {
        /// What was asked for.
        url: String,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request cannot be put into words.
    #[error("{url} cannot be requested: {source}")]
    Request {
        /// What was to be asked for.
        url: String,
        /// Why not.
        source: http::Error,
    },
    /// No answer in time.
    #[error("{url} gave no answer within {} s", PATIENCE.as_secs())]
    Slow {
        /// What was asked for.
        url: String,
    },
    /// The whole comparison took too long.
    #[error("the time for the comparison ran out at {url}; --timeout gives it more")]
    Deadline {
        /// What was asked for.
        url: String,
    },
    /// Who asks has to say who it is.
    #[error("{url} answers {status}: it needs credentials; {flag} sends them as a header")]
    Unauthorized {
        /// What was asked for.
        url: String,
        /// 401 or 403.
        status: u16,
        /// The flag that helps.
        flag: &'static str,
    },
    /// Something else answers there.
    #[error("{url} answers, but not like {expected}: {got}")]
    NotA {
        /// What was asked for.
        url: String,
        /// What was expected to answer.
        expected: &'static str,
        /// The beginning of what it said.
        got: String,
    },
}

/// Scheme, host, port and what comes before every path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    authority: String,
    prefix: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

impl FromStr for Origin {
    type Err = ClientError;

    fn from_str(given: &str) -> Result<Self, ClientError> {
        let wrong = |reason| ClientError::Address { given: given.to_owned(), reason };
        let uri: Uri = given.parse().map_err(|_| wrong("it is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(wrong("https is not supported")),
            _ => return Err(wrong("it does not begin with http://")),
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("names and passwords go into a header"));
        }
        if uri.query().is_some() {
            return Err(wrong("it has a query"));
        }
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            authority: format!("{}:{port}", authority.host()),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// A header to send, as `name: value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    name: HeaderName,
    value: HeaderValue,
}

impl Header {
    /// Its name.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Its value.
    pub fn value(&self) -> &HeaderValue {
        &self.value
    }
}

impl FromStr for Header {
    type Err = ClientError;

    fn from_str(given: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Header(given.to_owned());
        let (name, value) = given.split_once(':').ok_or_else(wrong)?;
        let name = name.trim().parse().map_err(|_| wrong())?;
        let value = value.trim().parse().map_err(|_| wrong())?;
        Ok(Self { name, value })
    }
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// The content type without its parameters; empty when there is none.
    pub(super) content_type: String,
    /// The body.
    pub(super) body: Bytes,
}

impl Answer {
    /// The beginning of the body, on one line.
    pub(super) fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]).into_owned();
        format!("{} {}", self.status, text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// A server and a connection to it.
pub(super) struct Client {
    origin: Origin,
    headers: Vec<Header>,
    /// The flag that sets its headers.
    flag: &'static str,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// When everything has to be done.
    end: Instant,
}

impl Client {
    pub(super) fn new(peer: &Peer, flag: &'static str, end: Instant) -> Self {
        Self { origin: peer.origin.clone(), headers: peer.headers.clone(), flag, connection: None, end }
    }

    /// The whole address of a path.
    pub(super) fn url(&self, target: &str) -> String {
        format!("{}{target}", self.origin)
    }

    /// A GET request.
    pub(super) async fn get(&mut self, target: &str) -> Result<Answer, ClientError> {
        self.ask(Method::GET, target, "").await
    }

    /// A POST request with a JSON body.
    pub(super) async fn post(&mut self, target: &str, body: &'static str) -> Result<Answer, ClientError> {
        self.ask(Method::POST, target, body).await
    }

    async fn ask(&mut self, method: Method, target: &str, body: &'static str) -> Result<Answer, ClientError> {
        let patience = Instant::now() + PATIENCE;
        let answered = timeout_at(patience.min(self.end), self.converse(&method, target, body)).await;
        let url = self.url(target);
        let Ok(answered) = answered else {
            self.connection = None;
            return Err(if patience < self.end { ClientError::Slow { url } } else { ClientError::Deadline { url } });
        };
        let answer = answered?;
        if matches!(answer.status, 401 | 403) {
            return Err(ClientError::Unauthorized { url, status: answer.status, flag: self.flag });
        }
        Ok(answer)
    }

    async fn converse(&mut self, method: &Method, target: &str, body: &'static str) -> Result<Answer, ClientError> {
        let url = self.url(target);
        // A kept connection may have been closed meanwhile, a fresh one has not.
        let kept = self.connection.take().filter(|connection| !connection.is_closed());
        let was_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut sent = Self::send(&mut connection, self.request(method, target, body)?).await;
        if was_kept && sent.is_err() {
            connection = self.connect().await?;
            sent = Self::send(&mut connection, self.request(method, target, body)?).await;
        }
        let response = sent.map_err(|source| ClientError::Broken { url: url.clone(), source })?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim().to_owned();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let body = body.map_err(|source| ClientError::Body { url, source })?.to_bytes();
        self.connection = Some(connection);
        Ok(Answer { status, content_type, body })
    }

    async fn send(
        connection: &mut SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<http::Response<hyper::body::Incoming>> {
        connection.ready().await?;
        connection.send_request(request).await
    }

    fn request(&self, method: &Method, target: &str, body: &'static str) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.origin.prefix))
            .header(HOST, &self.origin.authority);
        for Header { name, value } in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from_static(body.as_bytes())));
        request.map_err(|source| ClientError::Request { url: self.url(target), source })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let stream = TcpStream::connect(&self.origin.authority).await;
        let stream = stream.map_err(|source| ClientError::Connect { origin: self.origin.clone(), source })?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (connection, driver) =
            shaken.map_err(|source| ClientError::Broken { url: self.origin.to_string(), source })?;
        // It ends with the connection; what goes wrong is reported to whoever waits for the answer.
        tokio::spawn(async move { drop(driver.await) });
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let shown = |given: &str| given.parse::<Origin>().map(|origin| origin.to_string());
        assert_eq!(shown("http://127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(shown("http://node/cadvisor/").unwrap(), "http://node:80/cadvisor");
        assert_eq!(shown("http://[::1]:9").unwrap(), "http://[::1]:9");
        for wrong in ["", "node:8080", "https://node", "http://a:b@node", "http://node/?x=1", "http://"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_are_read() {
        assert!("Authorization: Bearer x".parse::<Header>().is_ok());
        for wrong in ["", "Authorization", "a b: c", "a: \u{1}"] {
            assert!(wrong.parse::<Header>().is_err(), "{wrong}");
        }
    }
}
