//! Waits for a CPU, and for whom: what cAdvisor does not have. Absent where the kind `runqueue` is off.

use crate::api::prometheus::doubling::Doubling;
use crate::api::prometheus::family::{Family, Group, Moment, Row};
use crate::api::prometheus::value::Text;
use crate::api::prometheus::writer::Writer;
use crate::api::wire::json::lossy;
use crate::sample::kinds::MetricKind::RunQueue as Kind;
use crate::sample::run_queue::{FIRST_EXPONENT, RunQueue};
use crate::units::Nanos;

pub(super) const FAMILIES: &[Family] = &[
    Family::counter(
        "container_cpu_runqueue_wait_seconds",
        "How long tasks that could run waited for a CPU, without what a quota held them back.",
        |row, _, out| {
            if let Some(waits) = row.run_queue {
                out.histogram(&[], Doubling { counts: &waits.buckets, first: FIRST_EXPONENT, sum: waits.waited });
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
