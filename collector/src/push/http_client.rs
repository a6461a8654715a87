//! HTTP/1.1 requests to a receiver.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::Receiver;
use super::connector::{Connector, InvalidReceiver, Version, connector};
use super::delivery::Failure;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of an answer no more is read.
const ANSWER_LIMIT: usize = 64 << 10;
/// Of an answer that complains no more is logged.
const COMPLAINT_LIMIT: usize = 300;

/// Posts to one receiver.
#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    url: Uri,
    headers: HeaderMap,
}

impl HttpClient {
    /// `fixed` are the headers of the format; what the receiver's options name goes before them.
    ///
    /// # Errors
    /// When the receiver cannot be sent to.
    pub(super) fn new(
        receiver: &Receiver,
        url: Uri,
        fixed: &[(&'static str, &'static str)],
    ) -> Result<Self, InvalidReceiver> {
        let mut headers = HeaderMap::new();
        for (name, value) in fixed {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("collector/", env!("CARGO_PKG_VERSION"))));
        headers.extend(receiver.headers.iter().cloned());
        debug_assert!(headers.contains_key(CONTENT_TYPE), "each format has its own");
        let client = Client::builder(TokioExecutor::new()).build(connector(&url, Version::Http1)?);
        Ok(Self { client, url, headers })
    }

    /// Posts a body; the body of the answer if that is a success.
    pub(super) async fn post(&self, body: Bytes) -> Result<Bytes, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| Failure::temporary(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT).collect().await;
            let body = body.map(Collected::to_bytes);
            if head.status.is_success() {
                return Ok(body.unwrap_or_default());
            }
            let said = body.unwrap_or_default();
            let said = String::from_utf8_lossy(&said[..said.len().min(COMPLAINT_LIMIT)]).trim().to_owned();
            Err(refused(head.status, &head.headers, &said))
        };
        let answered = timeout(PATIENCE, exchange).await;
        answered.unwrap_or_else(|_| Err(Failure::temporary(&format_args!("no answer within {PATIENCE:?}"))))
    }
}

/// Of what is refused only that is sent again which the receiver may take later.
fn refused(status: StatusCode, headers: &HeaderMap, said: &str) -> Failure {
    let reason = format!("{status}: {said}");
    if status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Failure::Temporary { reason, retry_after: seconds.map(Duration::from_secs) }
    } else {
        Failure::Permanent(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_again() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        for status in [429, 500, 503] {
            let failure = refused(StatusCode::from_u16(status).unwrap(), &headers, "busy");
            assert!(
                matches!(failure, Failure::Temporary { retry_after: Some(wait), .. } if wait == Duration::from_secs(7)),
                "{failure:?}"
            );
        }
        for status in [400, 401, 404, 413] {
            let failure = refused(StatusCode::from_u16(status).unwrap(), &headers, "no");
            assert!(matches!(failure, Failure::Permanent(_)), "{failure:?}");
        }
    }
}
