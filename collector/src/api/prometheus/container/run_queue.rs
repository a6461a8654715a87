//! Waits for a CPU, and for whom: what cAdvisor does not have. Absent where the kind `runqueue` is off.

use crate::api::prometheus::family::{Family, Group, Moment, Row};
use crate::api::prometheus::value::{Text, Value};
use crate::api::prometheus::writer::{Bucket, Writer};
use crate::api::wire::json::lossy;
use crate::sample::kinds::MetricKind::RunQueue as Kind;
use crate::sample::run_queue::{BUCKETS, RunQueue};
use crate::units::Nanos;

pub(super) const FAMILIES: &[Family] = &[
    Family::counter(
        "container_cpu_runqueue_wait_seconds",
        "How long tasks that could run waited for a CPU, without what a quota held them back.",
        |row, _, out| {
            if let Some(waits) = row.run_queue {
                out.histogram(&buckets(waits), waits.count(), waits.waited);
            }
        },
    )
    .histogram()
    .of(Kind, Group::Tasks)
    .at(Moment::None)
    .since_start(),
    Family::counter(
        "container_cpu_runqueue_throttled_seconds_total",
        "Time that tasks were held back by the quota of their cgroup or of one above, added up.",
        |row, _, out| time(row, out, |waits| waits.throttled),
    )
    .of(Kind, Group::Tasks)
    .at(Moment::None)
    .since_start(),
    Family::counter(
        "container_cpu_runqueue_own_seconds_total",
        "Time that tasks waited while another task of the same cgroup had their CPU.",
        |row, _, out| time(row, out, |waits| waits.own),
    )
    .of(Kind, Group::Tasks)
    .at(Moment::None)
    .since_start(),
    Family::counter(
        "container_cpu_runqueue_aggressor_seconds_total",
        "Time that tasks waited while a task of another cgroup had their CPU, by that cgroup, for the five largest.",
        |row, _, out| {
            for (name, time) in row.run_queue.into_iter().flat_map(|waits| &waits.behind) {
                out.with(&[("runner", Text::Is(&lossy(name)))], *time);
            }
        },
    )
    .of(Kind, Group::Tasks)
    .at(Moment::None)
    .since_start()
    .labels(&["runner"]),
];

fn time(row: &Row<'_>, out: &mut Writer<'_>, get: impl FnOnce(&RunQueue) -> Nanos) {
    if let Some(waits) = row.run_queue {
        out.value(get(waits));
    }
}

/// Bounds that are reported, and the bucket that each is the upper bound of: every other one, four times the one before.
const BOUNDS: [(&str, usize); 12] = [
    ("1.024e-06", 0),
    ("4.096e-06", 2),
    ("1.6384e-05", 4),
    ("6.5536e-05", 6),
    ("0.000262144", 8),
    ("0.001048576", 10),
    ("0.004194304", 12),
    ("0.016777216", 14),
    ("0.067108864", 16),
    ("0.268435456", 18),
    ("1.073741824", 20),
    ("4.294967296", 22),
];

fn buckets(waits: &RunQueue) -> [Bucket<'static>; BOUNDS.len()] {
    let count = |bucket: usize| waits.buckets.iter().take(bucket + 1).sum();
    let bound = |bucket: usize| RunQueue::upper_bound(bucket.min(BUCKETS)).unwrap_or(u64::MAX);
    BOUNDS.map(|(text, bucket)| Bucket { text, bound: Value::Nanos(bound(bucket)), count: count(bucket) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_their_buckets() {
        for (text, bucket) in BOUNDS {
            let seconds = RunQueue::upper_bound(bucket).unwrap() as f64 / 1e9;
            assert_eq!(text.parse(), Ok(seconds));
        }
        let waits = RunQueue { buckets: std::array::from_fn(|bucket| bucket as u64), ..RunQueue::default() };
        let buckets = buckets(&waits);
        assert_eq!((buckets[0].count, buckets[1].count, buckets[11].count), (0, 3, 253));
        assert_eq!(waits.count(), 276);
    }
}
