//! One GET request, bounded in size and time.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest wait for a whole answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer.
const BYTES: usize = 1 << 20;

/// No answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not a URL.
    #[error("not a URL")]
    Url,
    /// Only HTTP is spoken.
    #[error("the protocol {0:?} is not spoken, only http")]
    Protocol(String),
    /// Nobody listens.
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    /// Not HTTP, or cut off.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// An answer that is no success; redirects are not followed.
    #[error("the answer's status is {0}")]
    Status(u16),
    /// An answer that is cut off, or of more than a megabyte.
    #[error("the answer cannot be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An answer that is not UTF-8.
    #[error("the answer is not UTF-8")]
    NotText,
    /// It takes too long.
    #[error("no whole answer within {0:?}")]
    Slow(Duration),
}

/// Fetches a page.
pub(super) async fn get(url: &str) -> Result<String, FetchError> {
    within(PATIENCE, url).await
}

async fn within(patience: Duration, url: &str) -> Result<String, FetchError> {
    tokio::time::timeout(patience, request(url)).await.map_err(|_| FetchError::Slow(patience))?
}

async fn request(url: &str) -> Result<String, FetchError> {
    let uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
    match uri.scheme_str() {
        Some("http") => {}
        other => return Err(FetchError::Protocol(other.unwrap_or_default().to_owned())),
    }
    let authority = uri.authority().ok_or(FetchError::Url)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host, port)).await.map_err(FetchError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, concat!("collector/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "text/plain;version=0.0.4;q=1,*/*;q=0.1")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Url)?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        if !answer.status().is_success() {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), BYTES).collect().await.map_err(FetchError::Body)?;
        String::from_utf8(body.to_bytes().into()).map_err(|_| FetchError::NotText)
    };
    // The connection is driven here and ends with the answer: nothing is left behind.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            // What came before the connection ended is still to be taken.
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

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
        let (fetched, ()) = tokio::join!(get(&url), serve);
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
        let long = [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), vec![b'x'; BYTES + 1]].concat();
        assert!(from(long).await.unwrap_err().starts_with("the answer cannot be read"));
        assert!(from(b"SSH-2.0\r\n".to_vec()).await.unwrap_err().starts_with("no answer"));
        assert!(from(Vec::new()).await.unwrap_err().starts_with("no answer"));
    }

    #[tokio::test]
    async fn urls() {
        for (url, expected) in [
            ("http://127.0.0.1:1/x", "cannot connect"),
            ("https://127.0.0.1/x", "the protocol \"https\" is not spoken"),
            ("ftp://127.0.0.1/x", "the protocol \"ftp\" is not spoken"),
            ("file:///etc/passwd", "not a URL"),
            ("/x", "the protocol \"\" is not spoken"),
            ("http://a b", "not a URL"),
        ] {
            let error = get(url).await.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn somebody_who_never_answers_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let hold = async {
            let stream = listener.accept().await.unwrap();
            std::future::pending::<()>().await;
            drop(stream);
        };
        let error = tokio::select! { answer = within(Duration::from_millis(50), &url) => answer.unwrap_err(), () = hold => unreachable!() };
        assert!(matches!(error, FetchError::Slow(_)), "{error}");
    }
}
