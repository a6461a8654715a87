//! Times on the wire: RFC 3339 as Go writes and reads it.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::json::Quoted;
use crate::units::WallTime;

/// The zone times are written in; UTC until [`use_local_zone`] is called.
static ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Go's zero time in seconds since 1970; requests that spell it out mean "unset".
const ZERO_TIME: i64 = -62_135_596_800;

/// Writes times from now on with the offset of the process's local zone (`TZ`, `/etc/localtime`), as cAdvisor does.
/// To be called once, before the first response; in a container this is UTC as a rule.
pub fn use_local_zone() {
    ZONE.get_or_init(TimeZone::system);
}

/// A time in a response: RFC 3339 with up to nine fraction digits, trailing zeros cut. `None` is written as Go's zero
/// time, `0001-01-01T00:00:00Z`, since the wire always carries a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoTime(pub Option<WallTime>);

impl fmt::Display for GoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zero = "0001-01-01T00:00:00Z";
        let Some(time) = self.0.and_then(|at| Timestamp::from_nanosecond(at.0.into()).ok()) else {
            return f.write_str(zero);
        };
        let offset = ZONE.get().map_or(Offset::UTC, |zone| zone.to_offset(time));
        write_rfc3339(f, time, offset)
    }
}

/// The date and the time of day in the zone that times are written in; `None` for times there is no date for.
pub fn local(time: WallTime) -> Option<DateTime> {
    let time = Timestamp::from_nanosecond(time.0.into()).ok()?;
    Some(ZONE.get().map_or(Offset::UTC, |zone| zone.to_offset(time)).to_datetime(time))
}

impl JsonSchema for GoTime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

impl Serialize for GoTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `2006-01-02T15:04:05.999999999+07:00`: digit by digit, as each of many samples has one.
fn write_rfc3339(f: &mut impl fmt::Write, time: Timestamp, offset: Offset) -> fmt::Result {
    let local = offset.to_datetime(time);
    let mut text = Text { bytes: [0; 40], len: 0 };
    text.digits::<4>(local.year().unsigned_abs().into());
    for (separator, part) in [
        (b'-', local.month()),
        (b'-', local.day()),
        (b'T', local.hour()),
        (b':', local.minute()),
        (b':', local.second()),
    ] {
        text.push(separator);
        text.digits::<2>(part.unsigned_abs().into());
    }
    let fraction = local.subsec_nanosecond().unsigned_abs();
    if fraction != 0 {
        text.push(b'.');
        text.digits::<9>(fraction);
        while text.bytes[text.len - 1] == b'0' {
            text.len -= 1;
        }
    }
    match offset.seconds() {
        0 => text.push(b'Z'),
        seconds => {
            text.push(if seconds < 0 { b'-' } else { b'+' });
            let minutes = seconds.unsigned_abs() / 60;
            text.digits::<2>(minutes / 60);
            text.push(b':');
            text.digits::<2>(minutes % 60);
        }
    }
    f.write_str(str::from_utf8(&text.bytes[..text.len]).map_err(|_| fmt::Error)?)
}

/// A time of 35 characters at most.
struct Text {
    bytes: [u8; 40],
    len: usize,
}

impl Text {
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn digits<const COUNT: usize>(&mut self, mut number: u32) {
        for place in self.bytes[self.len..self.len + COUNT].iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.len += COUNT;
    }
}

/// A request's time is not RFC 3339.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("parsing time {} as \"2006-01-02T15:04:05Z07:00\": not an RFC 3339 time", Quoted(.0.as_bytes()))]
pub struct TimeError(String);

/// Reads a request's RFC 3339 time; `None` for Go's zero time, which clients send for "unset". Times before 1970 and
/// after 2554 become the first and the last moment there is.
///
/// # Errors
/// When the text is not RFC 3339.
pub fn parse(text: &str) -> Result<Option<WallTime>, TimeError> {
    let time = parse_rfc3339(text.as_bytes()).ok_or_else(|| TimeError(text.to_owned()))?;
    if time.as_second() == ZERO_TIME && time.subsec_nanosecond() == 0 {
        return Ok(None);
    }
    let nanos = time.as_nanosecond();
    Ok(Some(WallTime(if nanos < 0 { 0 } else { u64::try_from(nanos).unwrap_or(u64::MAX) })))
}

/// A moment as people and programs write it: RFC 3339, or seconds since 1970. `None` for what is neither.
pub fn moment(text: &str) -> Option<WallTime> {
    if let Ok(seconds) = text.parse::<f64>() {
        // To the millisecond, which such a number has for the next ten thousand years.
        let millis = (seconds * 1000.0).round();
        return (0.0..=1e13).contains(&millis).then(|| WallTime(millis as u64 * 1_000_000));
    }
    parse(text).ok().flatten()
}

fn parse_rfc3339(text: &[u8]) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(19)?;
    let [y0, y1, y2, y3, b'-', mo0, mo1, b'-', d0, d1, b'T', h0, h1, b':', mi0, mi1, b':', s0, s1] = *date else {
        return None;
    };
    let year = number(&[y0, y1, y2, y3])?;
    let [month, day] = [number(&[mo0, mo1])?, number(&[d0, d1])?];
    let [hour, minute, second] = [number(&[h0, h1])?, number(&[mi0, mi1])?, number(&[s0, s1])?];
    let (nanos, zone) = match rest {
        [b'.' | b',', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (fraction, zone) = rest.split_at_checked(digits)?;
            // Digits beyond the nanosecond are read over.
            let nanos =
                (0..9).fold(0, |nanos, at| nanos * 10 + fraction.get(at).map_or(0, |digit| i32::from(digit - b'0')));
            (nanos, (digits > 0).then_some(zone)?)
        }
        zone => (0, zone),
    };
    let offset = match *zone {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (number(&[h0, h1])?, number(&[m0, m1])?);
            let seconds = (hours < 24 && minutes < 60).then_some((hours * 60 + minutes) * 60)?;
            if sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let part = |value: i32| i8::try_from(value).ok();
    let local = DateTime::new(
        i16::try_from(year).ok()?,
        part(month)?,
        part(day)?,
        part(hour)?,
        part(minute)?,
        part(second)?,
        nanos,
    );
    Offset::from_seconds(offset).ok()?.to_timestamp(local.ok()?).ok()
}

fn number(digits: &[u8]) -> Option<i32> {
    digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEW_YEAR_2024: u64 = 1_704_067_200_000_000_000;

    #[test]
    fn fractions_are_trimmed() {
        let cases = [
            (NEW_YEAR_2024, "2024-01-01T00:00:00Z"),
            (NEW_YEAR_2024 + 120_000_000, "2024-01-01T00:00:00.12Z"),
            (NEW_YEAR_2024 + 1, "2024-01-01T00:00:00.000000001Z"),
            (0, "1970-01-01T00:00:00Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(GoTime(Some(WallTime(nanos))).to_string(), expected);
        }
        assert_eq!(GoTime(None).to_string(), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn offsets_are_written_with_their_sign() {
        let time = Timestamp::from_second(1_704_067_200).unwrap();
        let write = |seconds| {
            let mut out = String::new();
            write_rfc3339(&mut out, time, Offset::from_seconds(seconds).unwrap()).unwrap();
            out
        };
        assert_eq!(write(19_800), "2024-01-01T05:30:00+05:30");
        assert_eq!(write(-12_600), "2023-12-31T20:30:00-03:30");
    }

    #[test]
    fn request_times() {
        let cases = [
            ("2024-01-01T00:00:00Z", Ok(Some(NEW_YEAR_2024))),
            ("2024-01-01T05:30:00.12+05:30", Ok(Some(NEW_YEAR_2024 + 120_000_000))),
            ("2024-01-01T00:00:00.1234567899Z", Ok(Some(NEW_YEAR_2024 + 123_456_789))),
            ("0001-01-01T00:00:00Z", Ok(None)),
            ("0001-01-01T01:00:00+01:00", Ok(None)),
            ("1969-12-31T23:59:59Z", Ok(Some(0))),
            ("9999-01-01T00:00:00Z", Ok(Some(u64::MAX))),
            ("1704067200", Err(())),
            ("", Err(())),
            ("2024-01-01", Err(())),
            ("2024-13-01T00:00:00Z", Err(())),
            ("2024-02-30T00:00:00Z", Err(())),
            ("2024-01-01T24:00:00Z", Err(())),
            ("2024-01-01T00:00:60Z", Err(())),
            ("2024-01-01 00:00:00Z", Err(())),
            ("2024-01-01T00:00:00", Err(())),
            ("2024-01-01T00:00:00.Z", Err(())),
            ("2024-01-01T00:00:00 05:30", Err(())),
            ("2024-01-01T00:00:00+0530", Err(())),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).map_err(|_| ()), expected.map(|time| time.map(WallTime)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn written_times_are_read_back(nanos in any::<u64>()) {
            let text = GoTime(Some(WallTime(nanos))).to_string();
            prop_assert_eq!(parse(&text), Ok(Some(WallTime(nanos))));
        }
    }
}
