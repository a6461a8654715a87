//! Numbers for people. What is not known is a dash and never 0.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What is not known.
pub(super) const UNKNOWN: &str = "-";

/// Bytes with three digits: `3.42G`, `12.5M`, `873K`; the letters are powers of 1024.
pub(super) fn bytes(value: Option<u64>) -> String {
    let Some(value) = value else { return UNKNOWN.to_owned() };
    let (mut number, mut unit) = (value as f64, 0);
    while number >= 999.5 && unit < 5 {
        number /= 1024.0;
        unit += 1;
    }
    let decimals = match number {
        _ if unit == 0 => 0,
        number if number >= 99.95 => 0,
        number if number >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}{}", ["B", "K", "M", "G", "T", "P"][unit])
}

/// Of a number of KiB.
pub(super) fn kib(value: Option<u64>) -> String {
    bytes(value.map(|kib| kib.saturating_mul(1024)))
}

/// Bytes per second; nothing at all is a plain 0.
pub(super) fn rate(value: Option<u64>) -> String {
    if value == Some(0) { "0".to_owned() } else { bytes(value) }
}

/// Thousandths of a core as percent of one core, without the sign.
pub(super) fn cpu(milli: Option<u64>) -> String {
    milli.map_or(UNKNOWN.to_owned(), tenths)
}

/// Tenths of a percent, without the sign.
pub(super) fn tenths(value: u64) -> String {
    if value >= 1000 { format!("{}", (value + 5) / 10) } else { format!("{}.{}", value / 10, value % 10) }
}

/// A whole number.
pub(super) fn count(value: Option<u64>) -> String {
    value.map_or(UNKNOWN.to_owned(), |value| value.to_string())
}

/// A span of milliseconds in its greatest unit: `3d`, `12m`.
pub(super) fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        86400.. => format!("{}d", seconds / 86400),
        3600.. => format!("{}h", seconds / 3600),
        60.. => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// The time of day here.
pub(super) fn clock(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%T").to_string()
}

/// The day and the time here.
pub(super) fn moment(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%F %T %:z").to_string()
}

/// Milliseconds since 1970 as a moment.
pub(super) fn timestamp(millis: u64) -> Timestamp {
    i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown =
            [0, 999, 1000, 1024, 10_240, 102_400, 1_048_576, 52_428_800, u64::MAX].map(|value| bytes(Some(value)));
        assert_eq!(shown, ["0B", "999B", "0.98K", "1.00K", "10.0K", "100K", "1.00M", "50.0M", "16384P"]);
        assert_eq!([None, Some(0), Some(2048)].map(rate), ["-", "0", "2.00K"]);
        assert_eq!([None, Some(0), Some(199), Some(999), Some(12_345)].map(cpu), ["-", "0.0", "19.9", "99.9", "1235"]);
        assert_eq!([0, 59_999, 60_000, 7_200_000, 200_000_000].map(span), ["0s", "59s", "1m", "2h", "2d"]);
    }
}
