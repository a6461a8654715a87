//! How requests reach the receiver, and which version of the protocol it speaks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::version_1;
use crate::client::tls::Version;
use crate::push::delivery::{Failure, Transport};
use crate::push::http_client::{Answer, HttpClient, busy_or_broken};
use crate::push::queue::Request;
use crate::push::{InvalidReceiver, RemoteWriteOptions, RemoteWriteVersion};

/// Who spoke 1.0 alone is offered 2.0 again after this time: receivers are upgraded.
const ASK_AGAIN: Duration = Duration::from_secs(3600);

const SNAPPY: (&str, &str) = ("content-encoding", "snappy");
const VERSION: &str = "x-prometheus-remote-write-version";
/// Headers of the two versions.
const VERSION_1: [(&str, &str); 3] = [SNAPPY, ("content-type", "application/x-protobuf"), (VERSION, "0.1.0")];
const VERSION_2: [(&str, &str); 3] =
    [SNAPPY, ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"), (VERSION, "2.0.0")];
/// How many samples a receiver of 2.0 has written. One of 1.0 finds nothing in the message that it knows, accepts it, and
/// says nothing of the kind.
const WRITTEN: &str = "x-prometheus-remote-write-samples-written";

/// Sends requests to one receiver.
#[derive(Debug)]
pub struct Exporter {
    client: HttpClient,
    version: RemoteWriteVersion,
    spoken: Mutex<Spoken>,
}

/// What the receiver is known to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Unknown,
    Two,
    /// 1.0 alone, as was found out then.
    One(Instant),
}

impl Exporter {
    /// For this receiver.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub fn new(options: &RemoteWriteOptions) -> Result<Self, InvalidReceiver> {
        let receiver = &options.receiver;
        let client = HttpClient::new(receiver, receiver.url.clone(), Version::Http1)?;
        Ok(Self { client, version: options.version, spoken: Mutex::new(Spoken::Unknown) })
    }

    fn spoken(&self) -> Spoken {
        *self.spoken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_spoken(&self, spoken: Spoken) {
        let mut before = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_one = |spoken| matches!(spoken, Spoken::One(_));
        if spoken != *before && !(is_one(spoken) && is_one(*before)) {
            let version = if is_one(spoken) { "1.0" } else { "2.0" };
            tracing::info!(version, "the receiver of remote write speaks this version");
        }
        *before = spoken;
    }

    async fn send_1(&self, request: &Request) -> Result<u64, Failure> {
        let broken = || Failure::Permanent("a request is broken".to_owned());
        for body in version_1::requests(&request.body).ok_or_else(broken)? {
            self.client.post(&VERSION_1, body).await?.accepted(busy_or_broken)?;
        }
        Ok(0)
    }
}

/// What an answer to 2.0 means.
enum Verdict {
    /// So many samples were written.
    Written(u64),
    /// The receiver may speak 1.0.
    Other,
    /// It speaks 2.0 and did not take the request.
    Refused,
}

fn verdict(answer: &Answer, spoken: Spoken) -> Verdict {
    let written = answer.headers.get(WRITTEN).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match (answer.status.as_u16(), written) {
        // Of what was not written the receiver has complained: it will not take it later.
        (200..=299 | 400, Some(written)) => Verdict::Written(written),
        (200..=299 | 415, _) => Verdict::Other,
        // A receiver of 1.0 may find the message invalid, too.
        (400, None) if spoken != Spoken::Two => Verdict::Other,
        _ => Verdict::Refused,
    }
}

impl Transport for Exporter {
    async fn send(&self, request: &Request) -> Result<u64, Failure> {
        let spoken = self.spoken();
        let speaks_1 = matches!(spoken, Spoken::One(since) if since.elapsed() < ASK_AGAIN);
        match self.version {
            RemoteWriteVersion::One => return self.send_1(request).await,
            RemoteWriteVersion::Negotiated if speaks_1 => return self.send_1(request).await,
            RemoteWriteVersion::Negotiated | RemoteWriteVersion::Two => {}
        }
        let answer = self.client.post(&VERSION_2, request.body.clone()).await?;
        match verdict(&answer, spoken) {
            Verdict::Written(written) => {
                self.set_spoken(Spoken::Two);
                if !answer.status.is_success() {
                    tracing::warn!(reason = answer.complaint(), "the receiver did not write all samples");
                }
                Ok(request.points.saturating_sub(written))
            }
            Verdict::Other if self.version == RemoteWriteVersion::Negotiated => {
                let sent = self.send_1(request).await;
                if sent.is_ok() {
                    self.set_spoken(Spoken::One(Instant::now()));
                }
                sent
            }
            Verdict::Other if answer.status.is_success() => Err(Failure::Permanent(
                "the receiver does not say how many samples it has written: it does not speak version 2.0".to_owned(),
            )),
            Verdict::Other | Verdict::Refused => answer.accepted(busy_or_broken).map(|_| 0),
        }
    }
}
