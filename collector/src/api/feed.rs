//! What the page asks for every few seconds: all containers as short rows, and after the first answer only what changed.
//!
//! A client has a cursor from its last answer. The collector keeps one table of rows for everybody, in which each row
//! knows when it changed last; who has which cursor it does not know. A cursor of another run of the collector, or one from
//! so long ago that the table has forgotten who is gone, gets all rows.
//!
//! Figures are sent as columns of a few hundred rows each, because neighbours in a column resemble each other, which
//! compresses to a third.

mod cursor;
mod wire;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

pub use cursor::{BadCursor, Cursor};

use crate::api::backend::{Feed, Status};
use crate::api::http::openapi::parts::parameter;
use crate::api::http::responses::{self, ApiError, OPEN};
use crate::api::{coding, wire::json as writer};
use crate::sample::event::Name;
use crate::sample::identity::Identity;
use crate::sample::machine::Filesystems;
use crate::units::{Bytes, WallTime};

/// Rows of which trends can be asked for at once: more than a screen has.
const MOST_TRENDS: usize = 200;
/// What a trend takes while it is sent: two minutes of samples, one a second.
const TREND: usize = 4 << 10;

/// A container as the page lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Another number for each container that there was since the collector's start.
    pub id: u64,
    /// Who it is.
    pub subject: Arc<Subject>,
    /// When that changed last.
    pub subject_changed: u64,
    /// What it uses.
    pub figures: Figures,
    /// When that changed last.
    pub figures_changed: u64,
}

/// What changes seldom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// The cgroup's name.
    pub name: Name,
    /// What its runtime says.
    pub identity: Option<Arc<Identity>>,
    /// When it was made.
    pub created: Option<WallTime>,
    /// The CPU quota in thousandths of a core; absent without one.
    pub cpu_limit: Option<u64>,
    /// The memory limit; absent without one.
    pub memory_limit: Option<Bytes>,
    /// The limit on processes and threads; absent without one.
    pub task_limit: Option<u64>,
    /// The time of its last sample, of one that is gone.
    pub ended: Option<WallTime>,
}

/// What it uses. Rates are those between its last two samples that the table saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// CPU in thousandths of a core.
    pub cpu: Option<u64>,
    /// Of the periods of its quota those it was throttled in, in percent.
    pub throttled: Option<u64>,
    /// Working set in KiB.
    pub memory: Option<u64>,
    /// The most memory it ever used, in KiB; v1 `memory.max_usage_in_bytes`, v2 `memory.peak` since 5.19.
    pub peak: Option<u64>,
    /// Time in which something waited for the CPU, over ten seconds, in tenths of a percent.
    pub cpu_pressure: Option<u64>,
    /// The same for memory.
    pub memory_pressure: Option<u64>,
    /// The same for disks.
    pub io_pressure: Option<u64>,
    /// Bytes received per second.
    pub received: Option<u64>,
    /// Bytes sent per second.
    pub sent: Option<u64>,
    /// Bytes read from block devices per second.
    pub read: Option<u64>,
    /// Bytes written to block devices per second.
    pub written: Option<u64>,
    /// Processes and threads: `pids.current`.
    pub tasks: Option<u64>,
    /// OOM kills of its processes.
    pub oom_kills: u64,
}

/// What one client is sent.
#[derive(Clone, Debug, Default)]
pub struct Tick {
    /// What the client shows the next time.
    pub cursor: Cursor,
    /// What it showed this time; `None` when all rows are sent.
    pub since: Option<u64>,
    /// The moment.
    pub at: WallTime,
    /// The machine's name.
    pub host: String,
    /// Online CPUs.
    pub cpus: u32,
    /// The machine's memory.
    pub memory: Option<Bytes>,
    /// The kernel's release.
    pub kernel: String,
    /// The machine's file systems, where they are looked at.
    pub filesystems: Option<Arc<Filesystems>>,
    /// Rows that changed.
    pub rows: Vec<Arc<Row>>,
    /// Rows that are no more.
    pub gone: Vec<u64>,
}

/// The last two minutes of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trend {
    /// Which row.
    pub id: u64,
    /// CPU between one sample and the next, in thousandths of a core.
    pub cpu: Vec<Option<u64>>,
    /// Working set at each of these samples, in KiB.
    pub memory: Vec<Option<u64>>,
    /// When each of these samples was taken.
    pub at: Vec<WallTime>,
}

/// What `/api/feed` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Query {
    Tick(Option<Cursor>),
    Trends(Vec<u64>),
}

/// A query that is not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadQuery {
    /// The cursor is none.
    #[error("since: {0}")]
    Since(#[from] BadCursor),
    /// The rows are no numbers.
    #[error("trends: {0:?} is not the number of a row: give up to {MOST_TRENDS} of them with commas between")]
    Row(String),
    /// There are too many of them.
    #[error("trends: {0} rows are too many: {MOST_TRENDS} can be asked for at once")]
    TooMany(usize),
}

impl Query {
    fn parse(query: &str) -> Result<Self, BadQuery> {
        let mut since = None;
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "since" if value.is_empty() => {}
                "since" => since = Some(value.parse()?),
                "trends" => {
                    let number = |text: &str| text.parse().map_err(|_| BadQuery::Row(text.to_owned()));
                    let count = value.split(',').count();
                    if count > MOST_TRENDS {
                        return Err(BadQuery::TooMany(count));
                    }
                    return Ok(Self::Trends(value.split(',').map(number).collect::<Result<_, _>>()?));
                }
                _ => {}
            }
        }
        Ok(Self::Tick(since))
    }
}

/// The parameters of the query string.
pub(crate) fn parameters() -> Vec<Value> {
    let text = json!({ "type": "string" });
    vec![
        parameter("since", &text, "The cursor of the answer before: only what changed since then is sent."),
        parameter("trends", &text, "Numbers of rows with commas between: the last two minutes of these instead."),
    ]
}

/// The schema of an answer.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    wire::schema(generator)
}

/// Answers a request.
pub(crate) async fn answer<S: Feed + Status>(
    State(source): State<Arc<S>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let response = match Query::parse(request.uri().query().unwrap_or_default())? {
        Query::Tick(since) => tick(&source, since).await?,
        Query::Trends(rows) => trends(&source, rows).await?,
    };
    Ok(coding::encoded(request.headers(), source.budget(), response))
}

async fn tick<S: Feed + Status>(source: &Arc<S>, since: Option<Cursor>) -> Result<Response, ApiError> {
    // A place in the list of rows for each; the rows themselves are the table's.
    let share = source.budget().reserve(OPEN + source.listed() * 2 * size_of::<Arc<Row>>()).await?;
    let tick = source.tick(since).await;
    let collector = wire::Collector { version: source.version().to_owned(), validation: source.validation() };
    responses::pieces(share, wire::pieces(&tick, &collector)).await
}

async fn trends<S: Feed + Status>(source: &Arc<S>, rows: Vec<u64>) -> Result<Response, ApiError> {
    let share = source.budget().reserve(OPEN + rows.len() * TREND).await?;
    let trends = source.trends(rows).await;
    let mut text = b"{\"trends\":".to_vec();
    let mut elements = responses::array(trends, |out, trend| writer::append(out, &wire::Trend::from(&trend)));
    let append = move |out: &mut Vec<u8>| {
        out.append(&mut text);
        let more = elements(out);
        if more == responses::More::Ended {
            out.push(b'}');
        }
        more
    };
    responses::pieces(share, append).await
}

#[cfg(test)]
mod tests;
