//! What was added to counters since they were pushed before.

use super::resource::Host;
use crate::push::observe::{Before, Observed};
use crate::push::statistics::{Extent, Number, Point};

/// What the increase of counters is counted from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Base<'a> {
    /// What was pushed before.
    Previous(&'a Before),
    /// Nothing: all of it was since the cgroup was made.
    Creation,
    /// Not known: it was there before the exporter.
    Unknown,
}

impl<'a> Base<'a> {
    pub(super) fn of(observed: &'a Observed, host: &Host) -> Self {
        let created = observed.spec.created.unwrap_or_default();
        match &observed.previous {
            Some(before) if created <= before.sample.at => Self::Previous(before),
            // Made anew under its name.
            Some(_) => Self::Creation,
            None if created >= host.since => Self::Creation,
            None => Self::Unknown,
        }
    }
}

/// What was added to counters. One that is less than before began anew.
pub(super) fn increases<'a>(points: Vec<Point<'a>>, before: &[Point<'_>], extent: Extent) -> Vec<Point<'a>> {
    let increase = |(position, point): (usize, Point<'a>)| {
        let same = before.get(position).filter(|other| other.is_same(&point));
        let same = same.or_else(|| before.iter().find(|other| other.is_same(&point)));
        let number = match (point.number, same.map(|other| other.number)) {
            (Number::Count(now), Some(Number::Count(then))) if now >= then => Number::Count(now - then),
            (Number::Nanos(now), Some(Number::Nanos(then))) if now >= then => Number::Nanos(now - then),
            // How much of it was pushed when it was among the largest the last time, nobody knows any more.
            (_, None) if extent == Extent::Largest => return None,
            (number, _) => number,
        };
        Some(Point { number, ..point })
    };
    points.into_iter().enumerate().filter_map(increase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::statistics::Label;

    fn point(number: u64, label: Label, value: &'static str) -> Point<'static> {
        Point { number: Number::Count(number), labels: vec![(label, value.into())] }
    }

    #[test]
    fn one_that_is_new_among_the_largest_adds_nothing_yet() {
        let before = [point(5, Label::Runner, "/a")];
        let now = || vec![point(7, Label::Runner, "/a"), point(90, Label::Runner, "/b")];
        assert_eq!(increases(now(), &before, Extent::Largest), [point(2, Label::Runner, "/a")]);
        assert_eq!(increases(now(), &before, Extent::Every)[1], point(90, Label::Runner, "/b"));
    }

    #[test]
    fn what_is_better_known_is_no_other_value() {
        let before = [Point { number: Number::Count(5), labels: Vec::new() }];
        let now = vec![point(7, Label::NetworkNamespace, "host")];
        assert_eq!(increases(now, &before, Extent::Every), [point(2, Label::NetworkNamespace, "host")]);
    }
}
