//! Waits for a CPU, and for whom: what cAdvisor does not have. Absent where the kind `runqueue` is off.

use super::doubling;
use crate::api::prometheus::family::{Family, Group, Moment, Row};
use crate::api::prometheus::value::Text;
use crate::api::prometheus::writer::{Bucket, Writer};
use crate::api::wire::json::lossy;
use crate::sample::kinds::MetricKind::RunQueue as Kind;
use crate::sample::run_queue::RunQueue;
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

fn buckets(waits: &RunQueue) -> [Bucket<'static>; doubling::REPORTED] {
    doubling::buckets(&waits.buckets, RunQueue::upper_bound, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_their_buckets() {
        let waits = RunQueue { buckets: std::array::from_fn(|bucket| bucket as u64), ..RunQueue::default() };
        let buckets = buckets(&waits);
        doubling::check(&buckets);
        assert_eq!((buckets[0].count, buckets[1].count, buckets[11].count), (0, 3, 253));
        assert_eq!(waits.count(), 276);
    }
}
