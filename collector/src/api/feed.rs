//! What the page asks for every few seconds: all containers as short rows, and after the first answer only what changed.
//!
//! A client has a cursor from its last answer. The collector keeps one table of rows for everybody, in which each row
//! knows when it changed last; who has which cursor it does not know. A cursor of another run of the collector, or one from
//! so long ago that the table has forgotten who is gone, gets all rows.
//!
//! Figures are sent as columns of a few hundred rows each, because neighbours in a column resemble each other, which
//! compresses to a third.

mod wire;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::api::backend::Status;
use crate::api::backend::feed::{Cursor, Feed, FeedRow};
use crate::api::http::openapi::parts::parameter;
use crate::api::http::responses::{self, ApiError, OPEN};
use crate::api::query::feed::Query;
use crate::api::{coding, wire::json as writer};
use crate::units::WallTime;

/// What the points of a span take, with the samples they are made of and the text.
const SERIES: usize = 1 << 20;
/// What a row of the past takes while it is sent, about: who it was, and two samples.
const PAST_ROW: usize = 6 << 10;
/// What a trend takes while it is sent: two minutes of samples, one a second.
const TREND: usize = 4 << 10;

/// The parameters of the query string.
pub(crate) fn parameters() -> Vec<Value> {
    let text = json!({ "type": "string" });
    vec![
        parameter("since", &text, "The cursor of the answer before: only what changed since then is sent."),
        parameter("trends", &text, "Numbers of rows with commas between: the last two minutes of these instead."),
        parameter(
            "at",
            &text,
            "A moment, as RFC 3339 or seconds since 1970: all rows as they were then, from --history_dir; 404 without it.",
        ),
        parameter(
            "series",
            &text,
            "A cgroup's name: what it used between `from` and `at`, as at most 720 points, instead of rows.",
        ),
        parameter("from", &text, "Where the span of `series` begins, in the forms of `at`."),
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
        Query::Trends(rows) => trends(&source, rows, None).await?,
        Query::Moment(at) => moment(&source, at).await?,
        Query::TrendsAt(rows, at) => trends(&source, rows, Some(at)).await?,
        Query::Series { name, from, to } => {
            let share = source.budget().reserve(SERIES).await?;
            let points = source.series(name.into_bytes().into(), from, to).await?;
            let text = writer::to_bytes(&wire::Series::of(&points));
            drop(share);
            responses::json(text)
        }
    };
    Ok(coding::encoded(request.headers(), source.budget(), response))
}

async fn tick<S: Feed + Status>(source: &Arc<S>, since: Option<Cursor>) -> Result<Response, ApiError> {
    // A place in the list of rows for each; the rows themselves are the table's.
    let share = source.budget().reserve(OPEN + source.listed() * 2 * size_of::<Arc<FeedRow>>()).await?;
    let tick = source.tick(since).await;
    let collector = wire::Collector { version: source.version().to_owned(), validation: source.validation() };
    responses::pieces(share, wire::pieces(&tick, &collector)).await
}

async fn moment<S: Feed + Status>(source: &Arc<S>, at: WallTime) -> Result<Response, ApiError> {
    // As many as there are now, with two samples of each while they are made.
    let mut share = source.budget().reserve(OPEN + source.listed() * PAST_ROW).await?;
    let tick = source.moment(at).await?;
    source.budget().grow(&mut share, OPEN + tick.rows.len() * PAST_ROW).await?;
    let collector = wire::Collector { version: source.version().to_owned(), validation: source.validation() };
    responses::pieces(share, wire::pieces(&tick, &collector)).await
}

async fn trends<S: Feed + Status>(source: &Arc<S>, rows: Vec<u64>, at: Option<WallTime>) -> Result<Response, ApiError> {
    let share = source.budget().reserve(OPEN + rows.len() * TREND).await?;
    let trends = match at {
        Some(at) => source.trends_at(rows, at).await?,
        None => source.trends(rows).await,
    };
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
