//! What containers' applications reported, beside their samples: few containers have it, and its names and numbers are the
//! container's own, so that it is written as JSON and its bytes are bounded apart from everything else.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::ArchiveOptions;
use crate::bounds::Bound;
use crate::sample::application::{Format, MetricSpec, Number, Round, Value as Reported};
use crate::units::WallTime;

/// What the readings of one step may take at least.
const LEAST: u64 = 16 << 10;

/// What one life of a container reported with the sample of this millisecond.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApplicationReading {
    pub(super) life: u32,
    pub(super) at: u64,
    pub(super) round: Arc<Round>,
}

impl ApplicationReading {
    /// As JSON.
    pub(super) fn describe(&self) -> Value {
        let Self { life, at, round } = self;
        let Round { specs, values } = &**round;
        let specs: Vec<_> = specs.iter().map(describe_spec).collect();
        let values: serde_json::Map<_, _> =
            values.iter().map(|(name, values)| (name.clone(), values.iter().map(describe_value).collect())).collect();
        json!({ "life": life, "at": at, "specs": specs, "values": values })
    }

    /// From such JSON.
    pub(super) fn restore(value: &Value) -> Option<Self> {
        let specs = value.get("specs")?.as_array()?.iter().filter_map(restore_spec).collect();
        let values = value.get("values")?.as_object()?.iter();
        let values = values
            .filter_map(|(name, values)| {
                Some((name.clone(), values.as_array()?.iter().filter_map(restore_value).collect()))
            })
            .collect();
        Some(Self {
            life: value.get("life")?.as_u64()?.try_into().ok()?,
            at: value.get("at")?.as_u64()?,
            round: Arc::new(Round { specs, values }),
        })
    }
}

fn describe_spec(MetricSpec { name, kind, format, units }: &MetricSpec) -> Value {
    json!([name, kind, *format == Format::Float, units])
}

fn restore_spec(value: &Value) -> Option<MetricSpec> {
    let text = |at: usize| value.get(at)?.as_str().map(str::to_owned);
    let format = if value.get(2)?.as_bool()? { Format::Float } else { Format::Integer };
    Some(MetricSpec { name: text(0)?, kind: text(1)?, format, units: text(3)? })
}

fn describe_value(Reported { at, number, labels }: &Reported) -> Value {
    let number = match number {
        Number::Integer(number) => json!(number),
        Number::Float(number) => json!(number),
    };
    match labels {
        None => json!([at.0, number]),
        Some(labels) => json!([at.0, number, labels]),
    }
}

fn restore_value(value: &Value) -> Option<Reported> {
    let number = value.get(1)?;
    let number = if number.is_f64() { Number::Float(number.as_f64()?) } else { Number::Integer(number.as_i64()?) };
    let labels = match value.get(2) {
        None => None,
        Some(labels) => {
            let pairs = labels.as_object()?.iter();
            let pairs = pairs.map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
            Some(pairs.collect::<Option<BTreeMap<_, _>>>()?)
        }
    };
    Some(Reported { at: WallTime(value.get(0)?.as_u64()?), number, labels })
}

/// What the readings of one step may take in memory: as if each step had an equal part of the disk. On disk they take less
/// than half of that.
pub(super) fn budget(options: &ArchiveOptions) -> u64 {
    let steps = options.age.as_nanos() / options.step.as_nanos().max(1);
    (options.bytes / u64::try_from(steps).unwrap_or(u64::MAX).max(1)).max(LEAST)
}

/// Keeps the smallest of these readings, as many as the budget has room for. Whoever reports much leaves the others theirs.
pub(super) fn keep_what_fits(readings: &mut Vec<ApplicationReading>, budget: u64) {
    readings.sort_by_cached_key(|reading| reading.round.bytes());
    let mut left = budget;
    let fits = readings.iter().take_while(|reading| {
        let bytes = reading.round.bytes() as u64;
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    });
    let kept = fits.count();
    Bound::HistoryApplicationBytes.exceeded_by((readings.len() - kept) as u64);
    readings.truncate(kept);
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    fn reading(life: u32, labels: Option<&BTreeMap<String, String>>) -> ApplicationReading {
        let value = |number| Reported { at: WallTime(1_700_000_000_123_456_789), number, labels: labels.cloned() };
        let numbers = [Number::Integer(i64::MIN), Number::Integer(2), Number::Float(2.0), Number::Float(1e300)];
        let spec = |name: &str, format| MetricSpec {
            name: name.to_owned(),
            kind: "gauge".to_owned(),
            format,
            units: "requests".to_owned(),
        };
        let round = Round {
            specs: [spec("a", Format::Integer), spec("b", Format::Float)].into(),
            values: [("a".to_owned(), numbers.map(value).to_vec())].into(),
        };
        ApplicationReading { life, at: 1_700_000_000_500, round: Arc::new(round) }
    }

    #[test]
    fn readings_come_back() {
        for labels in [None, Some(BTreeMap::new()), Some([("app_queue".to_owned(), "\u{fffd}".to_owned())].into())] {
            let reading = reading(7, labels.as_ref());
            let text = reading.describe().to_string();
            assert_eq!(ApplicationReading::restore(&serde_json::from_str(&text).unwrap()), Some(reading), "{text}");
        }
    }

    #[test]
    fn who_reports_much_leaves_the_others_theirs() {
        let long = |life| reading(life, Some(&[("k".to_owned(), "v".repeat(5_000))].into()));
        let mut readings = vec![long(0), reading(1, None), long(2), reading(3, None)];
        keep_what_fits(&mut readings, 25_000);
        assert_eq!(readings.iter().map(|reading| reading.life).collect::<Vec<_>>(), [1, 3, 0]);
        let options = ArchiveOptions {
            directory: PathBuf::new(),
            step: Duration::from_secs(10),
            age: Duration::from_hours(24),
            bytes: 1 << 30,
        };
        assert_eq!(budget(&options), (1 << 30) / 8640);
        assert_eq!(budget(&ArchiveOptions { bytes: 16 << 20, ..options }), LEAST);
    }
}
