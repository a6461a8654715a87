//! A client of one server: HTTP/1.1, plain or over TLS, connections that are kept, every answer bounded in size and time.
//! What those share who ask otherwise: how servers are connected to, and one request on a connection of its own.

pub(crate) mod single;
pub(crate) mod tls;

use std::error::Error;
use std::fmt;
use std::io::Read;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, timeout, timeout_at};

use self::tls::{Connector, Version, connector};
pub use self::tls::{TlsError, Trust};

/// The largest answer that is read, decoded.
const LARGEST_ANSWER: usize = 64 << 20;

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
    /// Whom to trust is not known.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no connection.
    #[error("cannot connect to {origin}: {reason}")]
    Connect {
        /// Where to.
        origin: Origin,
        /// Why not.
        reason: String,
    },
    /// The conversation broke off.
    #[error("{url}: {reason}")]
    Broken {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
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
    #[error("{url} gave no answer within {} s", patience.as_secs())]
    Slow {
        /// What was asked for.
        url: String,
        /// How long was waited.
        patience: Duration,
    },
    /// The whole comparison took too long.
    #[error("the time for the comparison ran out at {url}; --timeout gives it more")]
    Deadline {
        /// What was asked for.
        url: String,
    },
    /// Who asks has to say who it is.
    #[error("{url} answers {status}: it needs credentials; {flag} sends them")]
    Unauthorized {
        /// What was asked for.
        url: String,
        /// 401 or 403.
        status: u16,
        /// The flag that helps.
        flag: &'static str,
    },
    /// Who asks has to prove a password in a way that this client does not have.
    #[error(
        "{url} answers 401: it takes Digest authentication alone, which is not spoken here; have it take a token \
         (--bearer_token_file) or a password (--http_auth_file), and give that with {flag}"
    )]
    Digest {
        /// What was asked for.
        url: String,
        /// The flag that helps then.
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

impl ClientError {
    /// Whether it will be the same until somebody gives other credentials.
    pub(crate) const fn is_about_credentials(&self) -> bool {
        matches!(self, Self::Unauthorized { .. } | Self::Digest { .. })
    }
}

/// Scheme, host, port and what comes before every path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: &'static str,
    authority: String,
    prefix: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

impl FromStr for Origin {
    type Err = ClientError;

    fn from_str(given: &str) -> Result<Self, ClientError> {
        let wrong = |reason| ClientError::Address { given: given.to_owned(), reason };
        let uri: Uri = given.parse().map_err(|_| wrong("it is not a URL"))?;
        let (scheme, usual) = match uri.scheme_str() {
            Some("http") => ("http", 80),
            Some("https") => ("https", 443),
            _ => return Err(wrong("it does not begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("names and passwords go into a header"));
        }
        if uri.query().is_some() {
            return Err(wrong("it has a query"));
        }
        let port = authority.port_u16().unwrap_or(usual);
        Ok(Self {
            scheme,
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

impl Header {
    /// What proves who asks; it appears in no debug output.
    ///
    /// # Errors
    /// When it cannot be put into a header.
    pub fn authorization(scheme: &str, proof: &str) -> Result<Self, ClientError> {
        let value = format!("{scheme} {proof}").parse::<HeaderValue>();
        let mut value = value.map_err(|_| ClientError::Header(format!("Authorization: {scheme} ...")))?;
        value.set_sensitive(true);
        Ok(Self { name: http::header::AUTHORIZATION, value })
    }
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it listens.
    pub origin: Origin,
    /// What is sent with each request, for example an authorization.
    pub headers: Vec<Header>,
    /// Who vouches for it.
    pub trust: Trust,
}

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For one answer.
    pub(crate) each: Duration,
    /// For all of them, where there is a bound.
    pub(crate) end: Option<Instant>,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The content type without its parameters; empty when there is none.
    pub(crate) content_type: String,
    /// The body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// The beginning of the body, on one line.
    pub(crate) fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]).into_owned();
        format!("{} {}", self.status, text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// A server and the connections to it.
pub(crate) struct Client {
    origin: Origin,
    headers: Vec<Header>,
    /// The flag that sets its headers.
    flag: &'static str,
    patience: Patience,
    connections: legacy::Client<Connector, Full<Bytes>>,
}

impl Client {
    /// Connects to nobody yet. `flag` is what gives it credentials.
    pub(crate) fn new(peer: &Peer, flag: &'static str, patience: Patience) -> Result<Self, ClientError> {
        let connections = legacy::Client::builder(TokioExecutor::new()).build(connector(
            peer.origin.scheme,
            &peer.trust,
            Version::Http1,
        )?);
        Ok(Self { origin: peer.origin.clone(), headers: peer.headers.clone(), flag, patience, connections })
    }

    /// The whole address of a path.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("{}{target}", self.origin)
    }

    /// A GET request.
    pub(crate) async fn get(&self, target: &str) -> Result<Answer, ClientError> {
        self.ask(Method::GET, target, "").await
    }

    /// A POST request with a JSON body.
    pub(crate) async fn post(&self, target: &str, body: &'static str) -> Result<Answer, ClientError> {
        self.ask(Method::POST, target, body).await
    }

    async fn ask(&self, method: Method, target: &str, body: &'static str) -> Result<Answer, ClientError> {
        let Patience { each, end } = self.patience;
        let patience = Instant::now() + each;
        let limit = end.map_or(patience, |end| end.min(patience));
        let url = self.url(target);
        let answer = async {
            let response = self.send(method, &url, body).await?;
            self.authorized(&url, &response)?;
            read(response, &url).await
        };
        let Ok(answered) = timeout_at(limit, answer).await else {
            let is_last = limit < patience;
            return Err(if is_last {
                ClientError::Deadline { url }
            } else {
                ClientError::Slow { url, patience: each }
            });
        };
        answered
    }

    /// A GET request whose answer is taken piece by piece, however long it is, until somebody has enough. What is no
    /// success is given back. Each piece may take as long as another's whole answer.
    pub(crate) async fn stream(
        &self,
        target: &str,
        mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Option<Answer>, ClientError> {
        let (url, each) = (self.url(target), self.patience.each);
        let slow = |_| ClientError::Slow { url: url.clone(), patience: each };
        let response = timeout(each, self.send(Method::GET, &url, "")).await.map_err(slow)??;
        self.authorized(&url, &response)?;
        if !response.status().is_success() {
            let answer = timeout(each, read(response, &url)).await.map_err(slow)??;
            return Ok(Some(answer));
        }
        let mut body = response.into_body();
        while let Some(frame) = timeout(each, body.frame()).await.map_err(slow)? {
            let frame = frame.map_err(|error| ClientError::Broken { url: url.clone(), reason: causes(&error) })?;
            if frame.data_ref().is_some_and(|piece| take(piece).is_break()) {
                break;
            }
        }
        Ok(None)
    }

    fn authorized<B>(&self, url: &str, response: &Response<B>) -> Result<(), ClientError> {
        let (url, flag) = (url.to_owned(), self.flag);
        match response.status().as_u16() {
            401 if takes_digest_alone(response) => Err(ClientError::Digest { url, flag }),
            status @ (401 | 403) => Err(ClientError::Unauthorized { url, status, flag }),
            _ => Ok(()),
        }
    }

    async fn send(&self, method: Method, url: &str, body: &'static str) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(url);
        for Header { name, value } in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from_static(body.as_bytes())));
        let request = request.map_err(|source| ClientError::Request { url: url.to_owned(), source })?;
        self.connections.request(request).await.map_err(|error| {
            let reason = causes(&error);
            if error.is_connect() {
                ClientError::Connect { origin: self.origin.clone(), reason }
            } else {
                ClientError::Broken { url: url.to_owned(), reason }
            }
        })
    }
}

/// Reads an answer to its end.
async fn read(response: Response<Incoming>, url: &str) -> Result<Answer, ClientError> {
    let status = response.status().as_u16();
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_owned();
    let coding = text(CONTENT_ENCODING).to_owned();
    let failed = |source| ClientError::Body { url: url.to_owned(), source };
    let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.map_err(failed)?.to_bytes();
    let body = decoded(body, &coding).map_err(|error| failed(error.into()))?;
    Ok(Answer { status, content_type, body })
}

/// The innermost of what an error comes from has the system's words; the outermost says only that something failed.
fn causes(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// The body as it was before it was compressed; one that unpacks to more than is read is an error.
fn decoded(body: Bytes, coding: &str) -> std::io::Result<Bytes> {
    let mut reader: Box<dyn Read + '_> = match coding {
        "" | "identity" => return Ok(body),
        "gzip" => Box::new(flate2::read::MultiGzDecoder::new(&body[..])),
        "zstd" => Box::new(zstd::stream::read::Decoder::new(&body[..])?),
        other => return Err(std::io::Error::other(format!("its coding {other:?} was not asked for"))),
    };
    let mut text = Vec::new();
    let read = reader.by_ref().take(LARGEST_ANSWER as u64 + 1).read_to_end(&mut text)?;
    if read > LARGEST_ANSWER {
        return Err(std::io::Error::other("it unpacks to more"));
    }
    Ok(text.into())
}

/// Whether every way of authentication that is offered is Digest.
fn takes_digest_alone<B>(response: &Response<B>) -> bool {
    let mut offered = response.headers().get_all(WWW_AUTHENTICATE).iter().peekable();
    let is_digest =
        |offer: &HeaderValue| offer.as_bytes().get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"digest "));
    offered.peek().is_some() && offered.all(is_digest)
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
        assert_eq!(shown("https://node/x").unwrap(), "https://node:443/x");
        for wrong in ["", "node:8080", "ftp://node", "http://a:b@node", "http://node/?x=1", "http://"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_are_unpacked_up_to_a_bound() {
        let packed = zstd::encode_all(&b"text"[..], 1).unwrap();
        assert_eq!(decoded(packed.into(), "zstd").unwrap(), "text");
        assert_eq!(decoded(Bytes::from_static(b"text"), "").unwrap(), "text");
        assert!(decoded(Bytes::from_static(b"text"), "gzip").is_err());
        assert!(decoded(Bytes::from_static(b"text"), "br").is_err());
        let bomb = zstd::encode_all(std::io::repeat(0).take(LARGEST_ANSWER as u64 + 1), 1).unwrap();
        assert!(decoded(bomb.into(), "zstd").is_err());
    }

    #[test]
    fn a_proof_is_not_shown() {
        let header = Header::authorization("Bearer", "secret").unwrap();
        assert!(!format!("{header:?}").contains("secret"));
        assert!(Header::authorization("Bearer", "a\nb").is_err());
    }

    #[test]
    fn headers_are_read() {
        assert!("Authorization: Bearer x".parse::<Header>().is_ok());
        for wrong in ["", "Authorization", "a b: c", "a: \u{1}"] {
            assert!(wrong.parse::<Header>().is_err(), "{wrong}");
        }
    }
}
