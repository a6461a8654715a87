//! What is never answered without credentials, whatever the target looks like.

use std::fs;

use axum::http::Uri;
use prometheus::Registry;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::auth::{FlagFile, Settings};

const HEALTH: &str = "health";
const SECRET: &str = "secret";

/// Routes with the health checks and everything else, below the mount.
fn routes(mount: &Mount) -> Router {
    let healthy = || async { HEALTH };
    let routes = Router::new()
        .route("/healthz", axum::routing::any(healthy))
        .route("/readyz", axum::routing::any(healthy))
        .fallback(|| async { SECRET });
    mount.clone().over(routes)
}

struct Scene {
    guarded: Guarded,
    mount: Mount,
    _folder: TempDir,
}

impl Scene {
    fn new(base: &str, metrics: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let tokens = folder.path().join("tokens");
        fs::write(&tokens, "right\n").unwrap();
        let guard = Guard::load(&Settings {
            passwords: None,
            tokens: FlagFile::given("bearer_token_file", &tokens.to_string_lossy()),
        })
        .unwrap();
        let mount = Mount::new(base, metrics);
        let metrics = ConnectionMetrics::register(&Registry::new()).unwrap();
        let guarded = Guarded::new(guard, Protected::Everything, mount.clone(), metrics);
        Self { guarded, mount, _folder: folder }
    }

    async fn ask(&self, method: &str, target: &Uri, authorization: Option<&str>) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(target.clone());
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Body::empty()).unwrap();
        let Ok(response) = self.guarded.clone().over(routes(&self.mount)).oneshot(request).await;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

/// Targets as they may come in over HTTP/1 and HTTP/2: paths, `*`, an authority alone, whole addresses.
fn targets() -> Vec<String> {
    let mut targets: Vec<String> =
        ["*", "evil.example:443", "http://evil.example", "http://evil.example/metrics"].map(str::to_owned).to_vec();
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1.3/machine", "/containers/", "/stats/summary", "/"] {
        for base in ["", "/node", "/node/", "/NODE", "/%6eode", "//node", "/node/../node"] {
            for wrapped in [
                path.to_owned(),
                format!("/{path}"),
                format!("/.{path}"),
                format!("{path}/"),
                format!("{path}/."),
                format!("{path}/../metrics"),
                format!("{path}%00"),
                format!("{path};x"),
                path.replace('h', "%68").replace('m', "%6d"),
                path.to_uppercase(),
                format!("{path}?x=/healthz"),
            ] {
                targets.push(format!("{base}{wrapped}"));
            }
        }
    }
    targets
}

#[tokio::test]
async fn only_the_health_checks_are_answered_without_credentials() {
    for (base, metrics) in [("", "/metrics"), ("/node", "/metrics"), ("/node", "/healthz/x"), ("", "/prom/")] {
        let scene = Scene::new(base, metrics);
        for target in targets() {
            let Ok(uri) = target.parse::<Uri>() else { continue };
            for method in ["GET", "OPTIONS", "CONNECT", "POST", "PRI"] {
                let (status, body) = scene.ask(method, &uri, None).await;
                let is_let_in = status != StatusCode::UNAUTHORIZED;
                // The answer to CONNECT has no body.
                let is_health = ["/healthz", "/readyz"].iter().any(|path| uri.path() == format!("{base}{path}"));
                let is_healthy = body == HEALTH || (method == "CONNECT" && body.is_empty() && is_health);
                assert!(!is_let_in || is_healthy, "{method} {target} at {base:?}: {status} {body}");
                let (status, _) = scene.ask(method, &uri, Some("Bearer right")).await;
                assert_ne!(status, StatusCode::UNAUTHORIZED, "{method} {target}");
            }
        }
        let health = format!("{base}/healthz").parse().unwrap();
        assert_eq!(scene.ask("GET", &health, None).await, (StatusCode::OK, HEALTH.to_owned()));
    }
}

#[test]
fn where_pages_alone_are_protected_what_is_no_path_is_not_open() {
    let mount = Mount::new("", "/metrics");
    for target in ["*", ""] {
        assert!(!is_open(Protected::Pages, &mount, target), "{target}");
    }
    for (path, open) in [("/metrics", true), ("/", true), ("/containers/", false), ("/%63ontainers/", false)] {
        assert_eq!(is_open(Protected::Pages, &mount, path), open, "{path}");
    }
}

proptest! {
    #[test]
    fn no_path_gets_around_the_guard(path in "[/.%a-zA-Z0-9;:@~*?#-]{0,24}", base in "(/node)?", method in "[B-GI-Z]{1,8}") {
        let Ok(uri) = format!("{base}{path}").parse::<Uri>() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (status, body) = runtime.block_on(Scene::new(&base, "/metrics").ask(&method, &uri, None));
        prop_assert!(status == StatusCode::UNAUTHORIZED || body == HEALTH, "{method} {uri}: {status} {body}");
    }
}

#[test]
fn with_tokens_alone_the_page_is_open_and_its_data_is_not() {
    let mount = Mount::new("/node", "/metrics");
    for (path, open) in [
        ("/node/", true),
        ("/node/containers/", true),
        ("/node/containers/docker/x", true),
        ("/node/docker/web", true),
        ("/node/static/containers.js", true),
        ("/node/healthz", true),
        ("/node/containers/json", false),
        ("/node/containers/%6Ason", false),
        ("/node/containers/x/stats", false),
        ("/node/v1.41/containers/json", false),
        ("/node/api/feed", false),
        ("/node/metrics", false),
        ("/node/other", false),
        ("/containers/", false),
        ("*", false),
    ] {
        assert_eq!(is_open(Protected::Data, &mount, path), open, "{path}");
    }
}
