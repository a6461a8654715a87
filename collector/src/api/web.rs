//! The web page: what hurts, every container with its figures, a page for each, events as they happen. Its source is in
//! `collector/web`; what is built of it is committed beside it, and `cargo xtask web --check` proves that it belongs to it.
//! It asks the feed and the JSON API and nothing else.

use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};

use crate::api::http::responses;
use crate::api::wire::json::lossy;

/// Names of containers come from whoever may create cgroups, hence nothing inline and nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// Where the page says what its links are relative to.
const BASE: &str = "<base href=\"/\">";

/// The page; its links and what it asks for are below this path.
pub(super) fn page(base: &str) -> Response {
    let page = include_str!("../../web/index.html").replacen(BASE, &format!("<base href=\"{base}/\">"), 1);
    content("text/html; charset=utf-8", page)
}

/// A file the page loads.
pub(super) fn asset(name: &[u8]) -> Response {
    match name {
        b"containers.css" => content("text/css; charset=utf-8", include_str!("../../web/dist/containers.css")),
        b"containers.js" => content("text/javascript; charset=utf-8", include_str!("../../web/dist/containers.js")),
        b"icon.svg" => content("image/svg+xml", include_str!("../../web/icon.svg")),
        name => responses::error(StatusCode::NOT_FOUND, format_args!("unknown static resource \"{}\"", lossy(name))),
    }
}

fn content(kind: &'static str, text: impl IntoResponse) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // A new collector on the same port brings a new page.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
