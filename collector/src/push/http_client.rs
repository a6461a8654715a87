//! Requests to a receiver: what is posted goes in, status, headers and a bounded body come out.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::Receiver;
use super::delivery::Failure;
use crate::client::tls::{Connector, Version, connector};
use crate::client::{TlsError, Trust};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of an answer no more is read.
const ANSWER_LIMIT: usize = 64 << 10;
/// Of an answer that complains no more is logged.
const COMPLAINT_LIMIT: usize = 300;

/// A receiver's address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReceiver {
    /// Not a URL of HTTP.
    #[error("{0}")]
    Url(#[from] http::uri::InvalidUri),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Posts to one receiver.
#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    url: Uri,
    headers: HeaderMap,
}

/// What a receiver answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Those before the body and those after it.
    pub(super) headers: HeaderMap,
    /// Empty where it did not come whole.
    pub(super) body: Bytes,
}

impl HttpClient {
    /// Sends to this URL with the headers that the receiver's options name.
    ///
    /// # Errors
    /// When the receiver cannot be sent to.
    pub(super) fn new(receiver: &Receiver, url: Uri, version: Version) -> Result<Self, InvalidReceiver> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("collector/", env!("CARGO_PKG_VERSION"))));
        headers.extend(receiver.headers.iter().cloned());
        let client = Client::builder(TokioExecutor::new()).http2_only(version == Version::Http2).build(connector(
            url.scheme_str().unwrap_or_default(),
            &Trust::System,
            version,
        )?);
        Ok(Self { client, url, headers })
    }

    /// Posts a body with the headers of its format, which go before the receiver's.
    pub(super) async fn post(&self, format: &[(&'static str, &'static str)], body: Bytes) -> Result<Answer, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        *headers = self.headers.clone();
        for (name, value) in format {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| Failure::temporary(&causes(&error)))?;
            let (head, body) = response.into_parts();
            let (status, mut headers) = (head.status, head.headers);
            let body = Limited::new(body, ANSWER_LIMIT).collect().await.ok();
            headers.extend(body.as_ref().and_then(|body| body.trailers().cloned()).unwrap_or_default());
            Ok(Answer { status, headers, body: body.map(Collected::to_bytes).unwrap_or_default() })
        };
        let answered = timeout(PATIENCE, exchange).await;
        answered.unwrap_or_else(|_| Err(Failure::temporary(&format_args!("no answer within {PATIENCE:?}"))))
    }
}

impl Answer {
    /// The answer if it is a success; else whether the same request may be accepted later, as the protocol has it.
    pub(super) fn accepted(self, is_temporary: impl FnOnce(StatusCode) -> bool) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let reason = self.complaint();
        Err(if is_temporary(self.status) {
            Failure::Temporary { reason, retry_after: self.retry_after(SystemTime::now()) }
        } else {
            Failure::Permanent(reason)
        })
    }

    /// The status and the beginning of what was said beside it.
    pub(super) fn complaint(&self) -> String {
        let said = String::from_utf8_lossy(&self.body[..self.body.len().min(COMPLAINT_LIMIT)]);
        format!("{}: {}", self.status, said.trim())
    }

    /// When the receiver wants to be asked again: in so many seconds, or at a date.
    fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        let date = SystemTime::from(date);
        Some(date.duration_since(now).unwrap_or_default())
    }
}

/// An error with what it came from: only the last one says what was wrong with a certificate.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Most protocols want those requests to be sent again that the receiver had no time for, and that failed in it.
pub(super) fn busy_or_broken(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from_static(b" no ") }
    }

    #[test]
    fn what_is_tried_again() {
        for status in [429, 500, 503] {
            let failure = answer(status, "7").accepted(busy_or_broken).unwrap_err();
            assert!(
                matches!(failure, Failure::Temporary { retry_after: Some(wait), .. } if wait == Duration::from_secs(7)),
                "{failure:?}"
            );
        }
        for status in [400, 401, 404, 413] {
            let failure = answer(status, "7").accepted(busy_or_broken).unwrap_err();
            assert!(matches!(&failure, Failure::Permanent(reason) if reason.ends_with(": no")), "{failure:?}");
        }
    }

    #[test]
    fn a_receiver_may_name_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let wait = |text: &str| answer(429, text).retry_after(now);
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }
}
