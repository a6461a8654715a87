//! Asks clients who they are, where that matters, before they get an answer.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::server::Peer;
use crate::access::{Attempt, Decision, Guard};
use crate::config::Protected;
use crate::views::mount::Mount;
use crate::views::router::{Audience, audience};

/// Passwords checked at once: a hash keeps a CPU busy for a tenth of a second, and answers need threads too.
const CHECKS: usize = 2;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Guarded(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    guard: Arc<Guard>,
    protected: Protected,
    mount: Mount,
    began: Instant,
    checks: Semaphore,
}

impl Guarded {
    /// Asks for what the guard knows, at the paths that are protected.
    pub(super) fn new(guard: Guard, protected: Protected, mount: Mount) -> Self {
        let checks = Semaphore::new(CHECKS);
        Self(Arc::new(Inner { guard: Arc::new(guard), protected, mount, began: Instant::now(), checks }))
    }

    /// The routes, guarded.
    pub(super) fn over(self, routes: Router) -> Router {
        if self.0.protected == Protected::Nothing {
            return routes;
        }
        Router::new().fallback(move |request: Request<Body>| async move { self.0.answer(routes, request).await })
    }
}

impl Inner {
    async fn answer(&self, routes: Router, request: Request<Body>) -> Response {
        // Outside of the prefix there is nothing to protect.
        let audience = self.mount.local(request.uri().path()).map_or(Audience::Everybody, audience);
        let open = match self.protected {
            Protected::Nothing => true,
            Protected::Pages => audience != Audience::Readers,
            Protected::Everything => audience == Audience::Everybody,
        };
        let is_known = request.extensions().get() == Some(&Peer::Certified);
        let info = if open || is_known {
            None
        } else {
            let checked = self.check(&request);
            match checked.await {
                Some(Decision::Granted { info }) => info,
                Some(Decision::Denied { challenges }) => return denied(&challenges),
                None => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        };
        let Ok(mut response) = routes.oneshot(request).await;
        if let Some(info) = info.and_then(|info| HeaderValue::try_from(info).ok()) {
            response.headers_mut().insert(HeaderName::from_static("authentication-info"), info);
        }
        response
    }

    /// Judges a request; the future does not hold it.
    fn check(&self, request: &Request<Body>) -> impl Future<Output = Option<Decision>> + use<'_> {
        let guard = Arc::clone(&self.guard);
        let method = request.method().to_string();
        let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let authorization = header.map(str::to_owned);
        let now = self.began.elapsed();
        let check = move || {
            guard.check(&Attempt { method: &method, target: &target, authorization: authorization.as_deref(), now })
        };
        async move {
            let _turn = self.checks.acquire().await.ok()?;
            let checked = tokio::task::spawn_blocking(check).await;
            checked.inspect_err(|error| tracing::error!(%error, "a password could not be checked")).ok()
        }
    }
}

/// The answer to who is not let in, as cAdvisor has it.
fn denied(challenges: &[String]) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    let mut response = (StatusCode::UNAUTHORIZED, headers, "401 Unauthorized\n").into_response();
    for challenge in challenges.iter().filter_map(|challenge| HeaderValue::try_from(challenge).ok()) {
        response.headers_mut().append(WWW_AUTHENTICATE, challenge);
    }
    response
}
