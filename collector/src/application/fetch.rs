//! One GET request, bounded in size and time.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONTENT_ENCODING, HOST, USER_AGENT};
use http_body_util::Empty;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::bounds::{HEAD_BYTES, HEADERS, PAGE_BYTES, PATIENCE};
use super::lanes::{Lane, Room};
use super::target::{Host, Target, TargetError, allowed};
use crate::client::single::{BodyError, Head, Memory, send};

/// No answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The host's name is not known, or has an address that is never asked.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// Nobody listens.
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    /// Not HTTP, or cut off.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// An answer that is no success; redirects are not followed.
    #[error("the answer's status is {0}")]
    Status(u16),
    /// A compressed answer, although none was asked for.
    #[error("the answer is encoded ({0:?}), which was not asked for")]
    Encoded(String),
    /// An answer that is too long.
    #[error("the answer has more than {PAGE_BYTES} bytes")]
    Long,
    /// An answer that is not UTF-8.
    #[error("the answer is not UTF-8")]
    NotText,
    /// It takes too long.
    #[error("no whole answer within {PATIENCE:?}")]
    Slow,
}

impl FetchError {
    /// Whether it took time or memory to find out.
    pub(super) fn is_costly(&self) -> bool {
        matches!(self, Self::Long | Self::Slow)
    }
}

/// A page, and the room in its lane that it has as long as it is there.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) text: String,
    _room: Room,
}

/// The room that a page has while it comes.
struct Growing<'a> {
    lane: &'a Lane,
    room: Room,
}

impl Memory for Growing<'_> {
    async fn grow(&mut self, bytes: usize) {
        self.lane.grow(&mut self.room, bytes).await;
    }
}

/// Fetches a page; all of it by this time, or within [`PATIENCE`] if that is earlier.
pub(super) async fn get(target: &Target, lane: &Lane, deadline: Instant) -> Result<Page, FetchError> {
    let deadline = deadline.min(Instant::now() + PATIENCE);
    timeout_at(deadline, request(target, lane)).await.map_err(|_| FetchError::Slow)?
}

/// The address to connect to, which is also the one that was checked.
async fn address(target: &Target) -> Result<SocketAddr, FetchError> {
    match &target.host {
        Host::Address(address) => Ok(SocketAddr::new(*address, target.port)),
        Host::Name(name) => {
            let found = lookup_host((name.as_str(), target.port)).await.map_err(FetchError::Connect)?.next();
            let found = found.ok_or_else(|| FetchError::Connect(std::io::ErrorKind::NotFound.into()))?;
            allowed(found.ip())?;
            Ok(found)
        }
    }
}

async fn request(target: &Target, lane: &Lane) -> Result<Page, FetchError> {
    let stream = TcpStream::connect(address(target).await?).await.map_err(FetchError::Connect)?;
    let request = Request::get(target.path.as_str())
        .header(HOST, target.authority())
        .header(USER_AGENT, concat!("collector/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "text/plain;version=0.0.4;q=1,*/*;q=0.1")
        .body(Empty::<Bytes>::new())
        .map_err(|_| TargetError::Path(target.path.to_string()))?;
    let mut answer = send(stream, request, Head { bytes: HEAD_BYTES, fields: HEADERS }).await?;
    if !answer.status.is_success() {
        return Err(FetchError::Status(answer.status.as_u16()));
    }
    if let Some(encoding) = answer.headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return Err(FetchError::Encoded(String::from_utf8_lossy(encoding.as_bytes()).chars().take(40).collect()));
    }
    let mut memory = Growing { lane, room: Room::default() };
    let text = answer.body.whole(PAGE_BYTES, &mut memory).await.map_err(|error| match error {
        BodyError::Long(_) => FetchError::Long,
        BodyError::Http(error) => FetchError::Http(error),
    })?;
    let text = String::from_utf8(text).map_err(|_| FetchError::NotText)?;
    Ok(Page { text, _room: memory.room })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::application::target::{Endpoint, Reach};
    use crate::sample::identity::Address;
    use std::time::Duration;

    fn target(url: &str) -> Target {
        Endpoint::Url(url.to_owned()).target(Address::Unknown, Reach::AnyUrl).unwrap()
    }

    async fn fetch(url: &str, patience: Duration) -> Result<String, FetchError> {
        get(&target(url), &Lane::new(), Instant::now() + patience).await.map(|page| page.text)
    }

    /// Fetches from somebody who says this, whatever is asked.
    async fn from(answer: Vec<u8>) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/m?x=1", listener.local_addr().unwrap());
        let serve = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /m?x=1 HTTP/1.1\r\n"));
            let _ = stream.write_all(&answer).await;
        };
        let (fetched, ()) = tokio::join!(fetch(&url, PATIENCE), serve);
        fetched.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn answers() {
        let with_length = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na 1\nb".to_vec();
        assert_eq!(from(with_length).await.unwrap(), "a 1\nb");
        assert_eq!(from(b"HTTP/1.0 200 OK\r\n\r\na 1\n".to_vec()).await.unwrap(), "a 1\n");
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na 1\r\n0\r\n\r\n".to_vec();
        assert_eq!(from(chunked).await.unwrap(), "a 1");
        assert_eq!(
            from(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()).await.unwrap_err(),
            "the answer's status is 404"
        );
        assert_eq!(from(b"HTTP/1.0 200 OK\r\n\r\n\xff".to_vec()).await.unwrap_err(), "the answer is not UTF-8");
        let of_length = |length| [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), vec![b'x'; length]].concat();
        assert_eq!(from(of_length(PAGE_BYTES)).await.unwrap().len(), PAGE_BYTES);
        assert_eq!(from(of_length(PAGE_BYTES + 1)).await.unwrap_err(), "the answer has more than 1048576 bytes");
        let announced = b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n".to_vec();
        assert_eq!(from(announced).await.unwrap_err(), "the answer has more than 1048576 bytes");
        let encoded = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx".to_vec();
        assert!(from(encoded).await.unwrap_err().starts_with("the answer is encoded (\"gzip\")"));
        let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec();
        assert_eq!(from(redirect).await.unwrap_err(), "the answer's status is 302");
        let heads = |header: &str, count| format!("HTTP/1.1 200 OK\r\n{}\r\n", header.repeat(count)).into_bytes();
        assert!(from(heads("X: y\r\n", HEADERS + 1)).await.unwrap_err().starts_with("no answer"));
        let long = format!("X: {}\r\n", "y".repeat(8 * HEAD_BYTES));
        assert!(from(heads(&long, 1)).await.unwrap_err().starts_with("no answer"));
        assert!(from(b"SSH-2.0\r\n".to_vec()).await.unwrap_err().starts_with("no answer"));
        assert!(from(Vec::new()).await.unwrap_err().starts_with("no answer"));
    }

    #[tokio::test]
    async fn names_are_looked_up_and_addresses_checked_again() {
        let error = fetch("http://127.0.0.1:1/x", PATIENCE).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot connect"), "{error}");
        // The C library takes the number for an address.
        let error = fetch("http://2852039166:1/", PATIENCE).await.unwrap_err().to_string();
        assert!(error.starts_with("169.254.169.254 is never asked"), "{error}");
    }

    /// Says this again and again, until nobody listens any more.
    async fn drip(head: &'static [u8], drop: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(head).await;
            while stream.write_all(drop).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        url
    }

    #[tokio::test]
    async fn an_answer_that_never_ends_is_given_up() {
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (head, drop) in [
            (&chunks[..], &b"1\r\nx\r\n"[..]),
            (b"", b""),
            (b"HTTP/1.1 200 OK\r\n", b"X"),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ] {
            let url = drip(head, drop).await;
            let began = Instant::now();
            let error = fetch(&url, Duration::from_millis(200)).await.unwrap_err();
            // Where it cannot become an answer any more it is given up at once.
            assert!(matches!(error, FetchError::Slow | FetchError::Http(_)), "{error}");
            assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        }
    }
}
