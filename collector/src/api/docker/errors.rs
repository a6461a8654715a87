//! Errors in the engine's words: clients look for them.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::task::JoinError;

use super::version::{ApiVersion, NEWEST, OLDEST};
use crate::api::backend::TooManyStreams;
use crate::api::budget::Busy;
use crate::api::http::responses;
use crate::api::http::responses::ApiError;
use crate::api::wire::json;

/// Why a call is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("page not found")]
    PageNotFound,
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    #[error(
        "client version {} is too old. Minimum supported API version is {}, please upgrade your client to a newer \
         version", .0.text(), OLDEST.text()
    )]
    TooOld(ApiVersion),
    #[error("client version {} is too new. Maximum supported API version is {}", .0.text(), NEWEST.text())]
    TooNew(ApiVersion),
    #[error("invalid filter: {0}")]
    Filters(#[from] serde_json::Error),
    #[error("invalid filter '{0}': this collector does not support it")]
    UnknownFilter(String),
    #[error("invalid value for {name}: {value}")]
    Value { name: &'static str, value: String },
    #[error(transparent)]
    TooManyEvents(#[from] TooManyStreams),
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the answer could not be rendered: {0}")]
    Interrupted(#[from] JoinError),
}

#[derive(Serialize)]
struct Body {
    message: String,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::PageNotFound | Self::NoSuchContainer(_) => StatusCode::NOT_FOUND,
            Self::TooManyEvents(_) | Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Api(reason) if reason.is_busy() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Api(_) | Self::Interrupted(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut body = Vec::new();
        json::append(&mut body, &Body { message: self.to_string() });
        body.push(b'\n');
        let mut response = responses::json(body);
        *response.status_mut() = status;
        if status == StatusCode::SERVICE_UNAVAILABLE { responses::try_later(response) } else { response }
    }
}
