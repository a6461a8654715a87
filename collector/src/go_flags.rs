//! Go's way of writing flags, booleans and durations, so that a unit file or a manifest written for cAdvisor keeps
//! working.

use std::collections::HashSet;
use std::ffi::OsString;
use std::time::Duration;

/// Turns `-port=8080` into `--port=8080`, and `--switch false` of a switch into `--switch=false`, which Go takes for a
/// switch that is true and the end of all flags; everything after `--` is left alone.
pub(crate) fn go_spelling(
    args: impl IntoIterator<Item = OsString>,
    switches: &HashSet<String>,
) -> impl Iterator<Item = OsString> {
    let mut flags_ended = false;
    let spelt = args.into_iter().map(move |arg| {
        flags_ended |= arg == "--";
        let Some(text) = arg.to_str() else { return arg };
        let mut letters = text.chars();
        let first = (letters.next(), letters.next());
        let (Some('-'), Some(letter), false) = (first.0, first.1, flags_ended) else { return arg };
        // The only short flags; the others of one letter, such as -v=2, are Go's.
        let short = matches!(letter, 'h' | 'V') && letters.next().is_none();
        if letter.is_ascii_alphabetic() && !short { format!("-{text}").into() } else { arg }
    });
    let mut spelt = spelt.peekable();
    std::iter::from_fn(move || {
        let mut arg = spelt.next()?;
        let is_switch =
            arg.to_str().and_then(|text| text.strip_prefix("--")).is_some_and(|name| switches.contains(name));
        if is_switch && let Some(value) = spelt.next_if(|next| next.to_str().is_some_and(|text| go_bool(text).is_ok()))
        {
            arg.push("=");
            arg.push(value);
        }
        Some(arg)
    })
}

/// Go's `strconv.ParseBool`.
///
/// # Errors
/// Naming the words that are understood.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// Go's `time.ParseDuration`, without negative durations: `300ms`, `1.5h`, `2h45m`, `0`.
///
/// # Errors
/// With an example of the right form.
pub(crate) fn go_duration(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is not a duration such as 10s, 1m30s or 500ms");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(error());
    }
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(error)?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let nanos_per_unit = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(error()),
        };
        nanos += number.parse::<f64>().map_err(|_| error())? * nanos_per_unit;
        rest = after;
    }
    // Go's durations end at 2^63 nanoseconds, about 292 years.
    if nanos <= i64::MAX as f64 { Ok(Duration::from_nanos(nanos.round() as u64)) } else { Err(error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let nanos = |text| go_duration(text).map(|duration| duration.as_nanos());
        for (text, expected) in [
            ("0", 0),
            ("10s", 10_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("500ms", 500_000_000),
            ("1h15m30.918s", 4_530_918_000_000),
            ("3us", 3_000),
            ("3µs", 3_000),
            ("7ns", 7),
            ("+2s", 2_000_000_000),
        ] {
            assert_eq!(nanos(text), Ok(expected), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1x", "1..5s", ".s", "1s2", "9999999999h", "1 s"] {
            assert!(nanos(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spelling() {
        let switches = ["s".to_owned(), "docker_only".to_owned()].into();
        let spelt = |args: &[&str]| -> Vec<String> {
            let args = args.iter().map(OsString::from);
            go_spelling(args, &switches).map(|arg| arg.into_string().unwrap()).collect()
        };
        assert_eq!(
            spelt(&["x", "-port=1", "--a", "-h", "-V", "-1", "-v=2", "-v", "3", "-docker_only", "--", "-raw"]),
            ["x", "--port=1", "--a", "-h", "-V", "-1", "--v=2", "--v", "3", "--docker_only", "--", "-raw"]
        );
        assert_eq!(spelt(&["-s", "false", "true", "--s", "-a", "-s"]), ["--s=false", "true", "--s", "--a", "--s"]);
    }

    proptest! {
        #[test]
        fn parsers_are_total(text in ".{0,20}") {
            let _ = go_duration(&text);
            let _ = go_bool(&text);
        }
    }
}
