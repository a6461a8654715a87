//! RFC 3339 times as the API prints them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer};

/// A moment, and how the collector wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    /// Nanoseconds since 1970.
    pub(crate) nanos: i128,
    /// As it was written, to be handed back.
    pub(crate) text: String,
}

impl Time {
    /// The moment, if the text is RFC 3339.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i128>().ok();
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let seconds_of_day = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
        let rest = text.get(19..)?;
        let zone_at = rest.find(['Z', '+', '-'])?;
        let (fraction, zone) = rest.split_at(zone_at);
        let fraction: String = fraction.trim_start_matches('.').chars().chain("000000000".chars()).take(9).collect();
        let offset = match zone.split_at(1) {
            ("Z", "") => 0,
            (sign, zone) => {
                let (hours, minutes) = zone.split_once(':')?;
                let seconds = hours.parse::<i128>().ok()? * 3600 + minutes.parse::<i128>().ok()? * 60;
                if sign == "-" { -seconds } else { seconds }
            }
        };
        // Days since 1970 of the proleptic Gregorian calendar, years counted from March.
        let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let era_days = shifted_year * 365 + shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
        let days = era_days + (shifted_month * 153 + 2) / 5 + day - 1 - 719_468;
        let seconds = days * 86_400 + seconds_of_day - offset;
        Some(Self { nanos: seconds * 1_000_000_000 + fraction.parse::<i128>().ok()?, text: text.to_owned() })
    }

    /// Nanoseconds since 1970, now.
    pub(crate) fn now_nanos() -> i128 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
    }

    /// Time since another moment; zero if that one is later.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.nanos - earlier.nanos).unwrap_or(0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("not an RFC 3339 time: {text}")))
    }
}
