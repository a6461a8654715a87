//! What the flags of all receivers have in common: intervals, URLs, headers, secrets in files.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::{ConfigError, list, value_error};
use crate::push::Receiver;

/// Pushing more often than this is a load on everybody.
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// A secret is a short text.
const MAX_SECRET: u64 = 64 << 10;

pub(super) fn interval(flag: &'static str, every: Duration) -> Result<(), ConfigError> {
    if every < SHORTEST_INTERVAL {
        return Err(value_error(flag, &format_args!("{every:?}"), &"use at least 100ms"));
    }
    Ok(())
}

pub(super) fn receiver(
    flags: [&'static str; 3],
    [url, headers]: [&String; 2],
    every: Duration,
    queue_size: usize,
) -> Result<Option<Receiver>, ConfigError> {
    if url.is_empty() {
        return Ok(None);
    }
    interval(flags[2], every)?;
    // Not even in a complaint.
    if url.contains('@') {
        let problem = format!("a user in a URL is not sent; use --{}=Authorization=...", flags[1]);
        return Err(value_error(flags[0], &"...", &problem));
    }
    let url = self::url(flags[0], url)?;
    let headers = list(headers).map(|pair| header(flags[1], pair));
    Ok(Some(Receiver { url, headers: headers.collect::<Result<_, _>>()?, interval: every, queue_size }))
}

/// A URL of HTTP.
pub(super) fn url(flag: &'static str, text: &str) -> Result<Uri, ConfigError> {
    let url: Uri = text.parse().map_err(|error| value_error(flag, &text, &error))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
        return Err(value_error(flag, &text, &"not an http:// or https:// URL"));
    }
    Ok(url)
}

/// `name=value`, or `name=@file` for what is in a file. Errors leave out the value, which may be a secret.
fn header(flag: &'static str, pair: &str) -> Result<(HeaderName, HeaderValue), ConfigError> {
    let invalid = |problem: String| value_error(flag, &"...", &problem);
    let (name, value) =
        pair.split_once('=').ok_or_else(|| invalid("a header is not of the form name=value".to_owned()))?;
    let parsed = name.trim().parse().map_err(|_| invalid(format!("{name:?} is no header's name")))?;
    let value = match value.trim().strip_prefix('@') {
        Some(path) => secret(flag, path)?,
        None => value.trim().to_owned(),
    };
    let mut value = HeaderValue::from_str(&value).map_err(|_| invalid(format!("{name:?} has no valid value")))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// What is in a file, without the end of its line.
pub(super) fn secret(flag: &'static str, path: &str) -> Result<String, ConfigError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_SECRET).read_to_string(&mut text));
    read.map_err(|error| value_error(flag, &path, &format!("cannot be read: {error}")))?;
    Ok(text.trim().to_owned())
}
