//! Moments of the past, as people write them.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::go_flags::go_duration;
use crate::units::WallTime;

/// Reads `03:00` as the last time that it was three o'clock, `yesterday 03:00`, a date with a time, RFC 3339, seconds
/// since 1970, or `-90m`.
///
/// # Errors
/// With the forms that are understood; and when the moment is yet to come.
pub(super) fn past(text: &str, now: Timestamp, zone: &TimeZone) -> Result<WallTime, String> {
    let moment = read(text.trim(), now, zone).ok_or_else(|| {
        "it is no moment; write 03:00, 'yesterday 03:00', '2026-11-29 03:00', 2026-11-29T03:00:00Z, seconds since \
         1970, or -90m"
            .to_owned()
    })?;
    if moment > now {
        return Err(format!("it is yet to come: now it is {}", now.to_zoned(zone.clone()).strftime("%F %T %:z")));
    }
    let nanos = u64::try_from(moment.as_nanosecond()).map_err(|_| "it is before 1970".to_owned())?;
    Ok(WallTime(nanos))
}

fn read(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    if let Some(back) = text.strip_prefix('-') {
        return now.checked_sub(go_duration(back).ok()?).ok();
    }
    if text.len() > 6 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Timestamp::from_second(text.parse().ok()?).ok();
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    let day = |back: i64| now.to_zoned(zone.clone()).date().checked_sub(Span::new().days(back)).ok();
    let at =
        |day: jiff::civil::Date, time: Time| day.to_datetime(time).to_zoned(zone.clone()).ok().map(|at| at.timestamp());
    if let Some(time) = text.strip_prefix("yesterday") {
        return at(day(1)?, clock(time.trim())?);
    }
    if let Some(time) = clock(text) {
        let today = at(day(0)?, time)?;
        return if today <= now { Some(today) } else { at(day(1)?, time) };
    }
    let written: DateTime = text.parse().ok()?;
    Some(written.to_zoned(zone.clone()).ok()?.timestamp())
}

/// `3:00`, `03:00`, `03:00:30`.
fn clock(text: &str) -> Option<Time> {
    let parts: Vec<i8> = text.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    match parts[..] {
        [hour, minute] => Time::new(hour, minute, 0, 0).ok(),
        [hour, minute, second] => Time::new(hour, minute, second, 0).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Result<String, String> {
        let now = "2026-11-30T05:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        past(text, now, &zone).map(|at| Timestamp::from_nanosecond(at.0.into()).unwrap().to_string())
    }

    #[test]
    fn moments_are_in_the_past() {
        for (text, expected) in [
            ("03:00", "2026-11-30T02:00:00Z"),
            ("3:00:30", "2026-11-30T02:00:30Z"),
            ("07:00", "2026-11-29T06:00:00Z"),
            ("yesterday 03:00", "2026-11-29T02:00:00Z"),
            ("2026-11-29 03:00", "2026-11-29T02:00:00Z"),
            ("2026-11-29T03:00:00Z", "2026-11-29T03:00:00Z"),
            ("1796000000", "2026-11-30T00:53:20Z"),
            ("-90m", "2026-11-30T03:30:00Z"),
        ] {
            assert_eq!(seen(text).as_deref(), Ok(expected), "{text}");
        }
        for wrong in ["", "noon", "25:00", "3", "-x", "03:00:00:00"] {
            assert!(seen(wrong).unwrap_err().contains("write 03:00"), "{wrong}");
        }
        assert!(seen("2026-12-01 00:00").unwrap_err().starts_with("it is yet to come: now it is 2026-11-30 06:00:00"));
    }
}
