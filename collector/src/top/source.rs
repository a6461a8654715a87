//! Who is asked: a collector that runs, or one that is started here, within this process and on no port.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::error::Category;

use super::wire::{self, Answer, Tick};
use crate::client::{Client, ClientError, Patience, Peer};
use crate::config::{TopRequest, Where};
use crate::embedded::daemon::Collector;
use crate::sample::kinds::MetricKind;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the collector within is waited for until it knows all containers.
const START: Duration = Duration::from_secs(10);
/// What gives credentials.
const FLAGS: &str = "--token_file or --password_file";

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// Nobody answers.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An answer that is no success.
    #[error("{target} answers {status}: {said}")]
    Status {
        /// What was asked for.
        target: String,
        /// The status.
        status: u16,
        /// The beginning of what was said.
        said: String,
    },
    /// An answer that is not understood.
    #[error("{target} answers, but not like a collector of this version: {reason}")]
    NotACollector {
        /// What was asked for.
        target: String,
        /// Why.
        reason: serde_json::Error,
    },
    /// A thread of the collector within is gone.
    #[error("the thread {0} of the collector within this process ended; start it again")]
    Ended(String),
    /// There is no past.
    #[error("{0} keeps no history of that moment: run it with --history_dir")]
    NoHistory(String),
    /// The same, with nobody to ask.
    #[error("there is no past to show: {0}, and only a collector with --history_dir has one; name it with --url")]
    NobodyRemembers(String),
    /// It cannot be started.
    #[error("no collector answers ({asked}), and cgroups cannot be read without one: {source}")]
    Start {
        /// What became of the question.
        asked: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// See the module.
#[derive(Clone)]
pub(super) enum AnswerSource {
    Remote(Arc<Client>),
    /// With what became of the question for a running one.
    Within(Arc<Collector>, String),
}

impl AnswerSource {
    /// A collector that was named, or that answers where one is supposed, or one that is started here.
    pub(super) async fn find(request: &TopRequest) -> Result<Self, SourceError> {
        let mut peer: Peer = request.peer.clone();
        peer.headers.extend("Accept-Encoding: zstd, gzip".parse());
        let client = Client::new(&peer, FLAGS, Patience { each: PATIENCE, end: None })?;
        let remote = Self::Remote(Arc::new(client));
        if request.whence == Where::Given {
            return Ok(remote);
        }
        let reason = match remote.get::<Tick>("/api/feed").await {
            Ok(_) => return Ok(remote),
            Err(SourceError::Client(error)) if error.is_about_credentials() => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        if request.at.is_some() {
            return Err(SourceError::NobodyRemembers(reason));
        }
        // What files take and what applications say is not shown, and the first is work for the disk.
        let kinds = request.config.kinds.without([MetricKind::Disk, MetricKind::App]);
        let mut config = request.config.clone();
        config.kinds = kinds;
        let started = Collector::start(&config);
        let collector =
            started.map_err(|source| SourceError::Start { asked: reason.clone(), source: Box::new(source) })?;
        let end = Instant::now() + START;
        while !collector.is_ready() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self::Within(Arc::new(collector), reason))
    }

    /// An answer of the API.
    pub(super) async fn get<T: Answer>(&self, target: &str) -> Result<T, SourceError> {
        let (status, body) = match self {
            Self::Remote(client) => {
                let answer = client.get(target).await?;
                (answer.status, answer.body)
            }
            Self::Within(collector, _) => {
                if let Some(thread) = collector.ended_thread() {
                    return Err(SourceError::Ended(thread));
                }
                collector.get(target).await
            }
        };
        let target = || match self {
            Self::Remote(client) => client.url(target.split('?').next().unwrap_or_default()),
            Self::Within(..) => target.to_owned(),
        };
        if !(200..300).contains(&status) {
            let said = String::from_utf8_lossy(&body[..body.len().min(300)]);
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            return Err(SourceError::Status { target: target(), status, said });
        }
        wire::read(&body).map_err(|reason| SourceError::NotACollector { target: target(), reason })
    }

    /// Where the answers come from.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Remote(client) => client.url(""),
            Self::Within(..) => "this process".to_owned(),
        }
    }
}

impl SourceError {
    /// Whether asking again may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoHistory(_) | Self::NobodyRemembers(_) => false,
            Self::Client(error) => !error.is_about_credentials(),
            Self::NotACollector { reason, .. } => reason.classify() == Category::Eof,
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 429),
            Self::Ended(_) | Self::Start { .. } => true,
        }
    }
}
