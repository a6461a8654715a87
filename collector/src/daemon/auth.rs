//! Asks clients who they are, where that matters, before they get an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tower::ServiceExt as _;

use super::current::Current;
use super::hashes::Hashes;
use super::server::Peer;
use crate::api::http::mount::Mount;
use crate::api::http::router::{Audience, audience, is_page_alone};
use crate::auth::{Attempt, Client, Decision, Failures, Guard, Presented, Standing, fingerprint};
use crate::config::Protected;
use crate::own_metrics::ConnectionMetrics;

/// When a client may come again whose passwords wait already.
const SOON: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Guarded(Arc<AuthInner>);

#[derive(Debug)]
struct AuthInner {
    rules: Current<AuthRules>,
    mount: Mount,
    began: Instant,
    failures: Failures,
    hashes: Hashes,
    metrics: ConnectionMetrics,
}

/// What is asked for, and where.
#[derive(Debug)]
struct AuthRules {
    guard: Guard,
    protected: Protected,
}

/// Why a request is not let in.
#[derive(Debug)]
enum Refused {
    /// It shows nothing that would let it in.
    Denied(Vec<String>),
    /// The client has shown too much that is wrong, or waits for too much already.
    Limited(Duration),
}

impl Guarded {
    /// Asks for what the guard knows, at the paths that are protected.
    pub(super) fn new(guard: Guard, protected: Protected, mount: Mount, metrics: ConnectionMetrics) -> Self {
        let (failures, hashes) = (Failures::default(), Hashes::new());
        let rules = Current::new(AuthRules { guard, protected });
        Self(Arc::new(AuthInner { rules, mount, began: Instant::now(), failures, hashes, metrics }))
    }

    /// From now on asks for this.
    pub(super) fn set(&self, guard: Guard, protected: Protected) {
        self.0.rules.set(AuthRules { guard, protected });
    }

    /// The routes, guarded.
    pub(super) fn over(self, routes: Router) -> Router {
        Router::new().fallback(move |request: Request<Body>| async move { self.0.answer(routes, request).await })
    }
}

/// Whether everybody may ask for a path. What is not known to be open is not: the target of `OPTIONS *` and that of
/// `CONNECT` are no paths, and outside of the prefix nothing is known.
fn is_open(protected: Protected, mount: &Mount, path: &str) -> bool {
    let audience = match mount.local(path) {
        Some(local) => audience(local),
        // Elsewhere there is nothing; that much anybody may know where the API is open.
        None if path.starts_with('/') => Audience::Programs,
        None => Audience::Readers,
    };
    match protected {
        Protected::Nothing => true,
        Protected::Pages => audience != Audience::Readers,
        Protected::Data => audience == Audience::Everybody || mount.local(path).is_some_and(is_page_alone),
        Protected::Everything => audience == Audience::Everybody,
    }
}

impl AuthInner {
    async fn answer(&self, routes: Router, request: Request<Body>) -> Response {
        let rules = self.rules.get();
        let open = is_open(rules.protected, &self.mount, request.uri().path());
        let is_known = request.extensions().get() == Some(&Peer::Certified);
        let info = if open || is_known {
            None
        } else {
            let checked = self.check(&rules.guard, &request);
            match checked.await {
                Ok(info) => info,
                Err(Refused::Denied(challenges)) => return denied(&challenges),
                Err(Refused::Limited(wait)) => return limited(wait),
            }
        };
        let Ok(mut response) = routes.oneshot(request).await;
        if let Some(info) = info.and_then(|info| HeaderValue::try_from(info).ok()) {
            response.headers_mut().insert(HeaderName::from_static("authentication-info"), info);
        }
        response
    }

    /// Judges a request; the future does not hold it. Tokens, digests and passwords that are remembered are known at once;
    /// only what has to be hashed waits for others.
    fn check<'a>(
        &'a self,
        guard: &Guard,
        request: &Request<Body>,
    ) -> impl Future<Output = Result<Option<String>, Refused>> + use<'a> {
        let client = request.extensions().get().copied().unwrap_or(Client::Local);
        let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let now = self.began.elapsed();
        let standing = self.failures.standing(client, now);
        let method = request.method().as_str();
        let attempt = Attempt { method, target: &target, authorization, now, client, standing };
        let decision = guard.check(&attempt);
        let shown = fingerprint(authorization.unwrap_or_default());
        async move {
            let (challenges, presented) = match (decision, standing) {
                (Decision::Granted { info }, _) => return Ok(info),
                (Decision::Denied { challenges, presented }, _) => (challenges, presented),
                (Decision::Hash { .. }, Standing::Exhausted(wait)) => return Err(self.limit(wait)),
                (Decision::Hash { hashing, challenges }, Standing::Good(failures)) => {
                    match self.hashes.check(hashing, client, failures).await {
                        Ok(true) => return Ok(None),
                        Ok(false) => (challenges, Presented::Wrong),
                        Err(_busy) => return Err(self.limit(SOON)),
                    }
                }
            };
            if presented == Presented::Wrong {
                self.failures.failed(client, shown, now);
                if let Standing::Exhausted(wait) = standing {
                    return Err(self.limit(wait));
                }
                self.metrics.authentication_failures.with_label_values(&["wrong"]).inc();
            }
            Err(Refused::Denied(challenges))
        }
    }

    fn limit(&self, wait: Duration) -> Refused {
        self.metrics.authentication_failures.with_label_values(&["limited"]).inc();
        Refused::Limited(wait)
    }
}

/// The answer to who was wrong too often.
fn limited(wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let headers = [(CONTENT_TYPE, "text/plain"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    let text = "429 Too Many Requests: too many wrong passwords or tokens from this address\n";
    let mut response = (StatusCode::TOO_MANY_REQUESTS, headers, text).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    response
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

#[cfg(test)]
mod tests;
