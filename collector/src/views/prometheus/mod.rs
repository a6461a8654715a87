//! Prometheus' text format. So far the OOM kills; they are told for containers that ended, too.

use std::fmt::Write as _;

use super::json::lossy;
use crate::store::OomCounts;

/// `container_oom_events_total`, sorted by container.
pub fn oom_events(counts: &OomCounts) -> String {
    let mut text = String::from(
        "# HELP container_oom_events_total OOM kills of the container's processes, also after its end.\n\
         # TYPE container_oom_events_total counter\n",
    );
    for (name, count) in counts {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "container_oom_events_total{{id=\"{}\"}} {count}", escaped(&lossy(name)));
    }
    text
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let counts = [(b"/a\"b\\c\nd\xff".as_slice().into(), 3)].into();
        let text = oom_events(&counts);
        assert_eq!(text.lines().last(), Some("container_oom_events_total{id=\"/a\\\"b\\\\c\\nd\u{fffd}\"} 3"));
    }
}
