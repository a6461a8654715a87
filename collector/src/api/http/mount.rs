//! Where the paths of the router are for clients: below a prefix, the metrics at a path of their own.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{Request, StatusCode, Uri};
use axum::response::Response;
use tower::ServiceExt as _;

use super::responses;

/// The router's own path of the metrics.
const METRICS: &str = "/metrics";

/// Where the paths of the router are for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    base: Arc<str>,
    metrics: Arc<str>,
}

/// The prefix below which a request came in, for what leads elsewhere: in each request's extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Base(pub(crate) Option<Arc<str>>);

impl Base {
    /// The prefix as text; empty at the top.
    pub(crate) fn path(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Mount {
    /// Below `base`, which is empty or begins with a slash and ends without one, and with the metrics at this path below
    /// it.
    pub fn new(base: &str, metrics: &str) -> Self {
        Self { base: base.into(), metrics: metrics.into() }
    }

    /// The path as the router knows it; `None` outside of the prefix.
    pub fn local<'a>(&self, path: &'a str) -> Option<&'a str> {
        let below = path.strip_prefix(&*self.base).filter(|below| below.starts_with('/'))?;
        let is_metrics = below == &*self.metrics || self.metrics.ends_with('/') && below.starts_with(&*self.metrics);
        Some(match below {
            _ if is_metrics => METRICS,
            // Not there when it is elsewhere: what is unknown leads to the page.
            METRICS => "/",
            below => below,
        })
    }

    /// The routes, there.
    pub fn over(self, routes: Router) -> Router {
        if self.base.is_empty() && &*self.metrics == METRICS {
            return routes;
        }
        Router::new().fallback(move |request: Request<Body>| self.answer(routes, request))
    }

    async fn answer(self, routes: Router, mut request: Request<Body>) -> Response {
        let path = request.uri().path();
        if !self.base.is_empty() && path == &*self.base {
            return responses::redirect(StatusCode::MOVED_PERMANENTLY, &format!("{}/", self.base));
        }
        let local = self.local(path).and_then(|local| with_path(request.uri(), local));
        let Some(local) = local else { return responses::error(StatusCode::NOT_FOUND, "404 page not found") };
        *request.uri_mut() = local;
        request.extensions_mut().insert(Base(Some(self.base)));
        let Ok(response) = routes.oneshot(request).await;
        response
    }
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let target = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_below_the_prefix() {
        let top = Mount::new("", "/metrics");
        assert_eq!(top.local("/api/v1.3/machine"), Some("/api/v1.3/machine"));
        assert_eq!(top.local("/metrics"), Some("/metrics"));
        let mount = Mount::new("/a/b", "/prom/");
        for (path, expected) in [
            ("/a/b/healthz", Some("/healthz")),
            ("/a/b/", Some("/")),
            ("/a/b", None),
            ("/a/bc", None),
            ("/healthz", None),
            ("/a/b/prom/", Some("/metrics")),
            ("/a/b/prom/x", Some("/metrics")),
            ("/a/b/metrics", Some("/")),
            ("/a/b/metrics/cadvisor", Some("/metrics/cadvisor")),
        ] {
            assert_eq!(mount.local(path), expected, "{path}");
        }
    }
}
