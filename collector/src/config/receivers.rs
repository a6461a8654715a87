//! What the flags of all receivers have in common: intervals, URLs, headers, secrets in files.

use std::path::Path;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderName, HeaderValue, Uri};

use super::{ConfigError, list, value_error};
use crate::auth::read_file;
use crate::push::Receiver;

/// Pushing more often than this is a load on everybody.
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// What is shown in the place of a secret.
pub(super) const SECRET: &str = "...";
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

/// A URL of HTTP. Errors leave out its query, which may be a secret.
pub(super) fn url(flag: &'static str, text: &str) -> Result<Uri, ConfigError> {
    let invalid = |problem: &dyn std::fmt::Display| value_error(flag, &without_secrets(text), problem);
    let url: Uri = text.parse().map_err(|error| invalid(&error))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err(invalid(&"not an http:// or https:// URL"));
    }
    if url.authority().is_some_and(|authority| !has_valid_port(authority)) {
        return Err(invalid(&"its port is no number up to 65535"));
    }
    Ok(url)
}

/// `host` or `host:port`.
pub(super) fn authority(flag: &'static str, text: &str) -> Result<Authority, ConfigError> {
    // Not even in a complaint.
    if text.contains('@') {
        return Err(value_error(flag, &"...", &"a user is not a part of it; use --storage_driver_user"));
    }
    let shown = if text.contains('?') { SECRET } else { text };
    let invalid = |problem: &str| value_error(flag, &shown, &problem);
    if text.contains(['/', '?', '#']) {
        return Err(invalid("a host and a port alone; TLS is switched on by --storage_driver_secure"));
    }
    let parsed = text.parse::<Authority>().ok().filter(|parsed| !parsed.host().is_empty() && has_valid_port(parsed));
    parsed.ok_or_else(|| invalid("not a host and a port, such as database:8086"))
}

/// What is behind the host is a port or nothing. A parsed address has none where it is no number.
fn has_valid_port(authority: &Authority) -> bool {
    authority.port_u16().is_some_and(|port| port > 0) || authority.as_str().ends_with(authority.host())
}

/// A URL without what may be secret: what is in front of its host, and its query. Other texts are as they are.
pub(super) fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (host, path) = rest.find('/').map_or((rest, ""), |end| rest.split_at(end));
    let host = host.rsplit_once('@').map_or_else(|| host.to_owned(), |(_, host)| format!("{SECRET}@{host}"));
    let query = query.map_or_else(String::new, |_| format!("?{SECRET}"));
    format!("{scheme}://{host}{path}{query}")
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
    let invalid = |problem: &dyn std::fmt::Display| value_error(flag, &path, problem);
    let bytes =
        read_file(Path::new(path), MAX_SECRET).map_err(|error| invalid(&format_args!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| invalid(&"cannot be read: it is not UTF-8"))?;
    match text.trim() {
        "" => Err(invalid(&"the file is empty; put the secret in it")),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_is_a_short_text_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let full = vec![b'a'; MAX_SECRET as usize];
        let longer = [&full[..], "é".as_bytes()].concat();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for (path, problem) in [
            (folder.path().to_owned(), "cannot be read: Is a directory"),
            (pipe, "cannot be read: it is no regular file"),
            ("/dev/zero".into(), "cannot be read: it is no regular file"),
            (folder.path().join("none"), "cannot be read: No such file"),
            (put("empty", b""), "the file is empty"),
            (put("blank", b" \n"), "the file is empty"),
            (put("latin", b"caf\xe9\n"), "cannot be read: it is not UTF-8"),
            (put("long", &longer), "cannot be read: it is larger than 65536 bytes"),
        ] {
            let path = path.display().to_string();
            let error = secret("otlp_headers", &path).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--otlp_headers={path}: {problem}")), "{error}");
        }
        assert_eq!(secret("x", &put("good", b"s3cret\r\n").display().to_string()).unwrap(), "s3cret");
        assert_eq!(secret("x", &put("full", &full).display().to_string()).unwrap().len(), full.len());
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_secrets() {
        for (text, problem) in [
            ("ftp://x/?token=s3cret", "--remote_write_url=ftp://x/?...: not an http:// or https:// URL"),
            ("http://x:99999/?s3cret", "--remote_write_url=http://x:99999/?...: its port is no number up to 65535"),
            ("http://x:0/", "--remote_write_url=http://x:0/: its port is no number up to 65535"),
            ("http://:80/", "--remote_write_url=http://:80/: "),
            ("x:80", "--remote_write_url=x:80: not an http:// or https:// URL"),
            ("http://a b/?s3cret", "--remote_write_url=http://a b/?...: "),
        ] {
            let error = url("remote_write_url", text).unwrap_err().to_string();
            assert!(error.starts_with(problem) && !error.contains("s3cret"), "{text}: {error}");
        }
        for text in ["http://x", "https://[::1]:8080/a", "http://[::1]/"] {
            url("remote_write_url", text).unwrap();
        }
    }

    #[test]
    fn a_database_is_named_by_host_and_port() {
        for text in ["ann:s3cret@db:1", "http://db:1", "db:1/x?s3cret", "db:99999", ":1", "", "a b:1"] {
            let error = authority("storage_driver_host", text).unwrap_err().to_string();
            assert!(error.starts_with("--storage_driver_host=") && !error.contains("s3cret"), "{text}: {error}");
        }
        for text in ["db", "db:1", "[::1]:8086", "10.0.0.1:8086"] {
            authority("storage_driver_host", text).unwrap();
        }
    }
}
