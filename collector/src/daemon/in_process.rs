//! The HTTP API for who is in the same process: the same routes and answers, without a port.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::backend::Backend;
use crate::api::http::router::router;

/// Answers requests.
#[derive(Clone, Debug)]
pub(crate) struct InProcess(Router);

impl InProcess {
    pub(crate) fn new(answers: &Arc<Backend>) -> Self {
        Self(router(Arc::clone(answers)))
    }

    /// The status and the body of a GET request; 400 for what is no path, 500 for an answer that breaks off.
    pub(crate) async fn get(&self, target: &str) -> (u16, Bytes) {
        let Ok(request) = Request::get(target).body(Body::empty()) else {
            return (StatusCode::BAD_REQUEST.as_u16(), Bytes::from_static(b"this is not a path"));
        };
        let response = match self.0.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status().as_u16();
        match response.into_body().collect().await {
            Ok(body) => (status, body.to_bytes()),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR.as_u16(), error.to_string().into()),
        }
    }
}
