//! Samples of one container, one after the other: of an idle one each has the text of the one before it, but for the time.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::api::wire::json;
use crate::api::wire::time::GoTime;
use crate::api::{ContainerView, FilesystemUse};
use crate::sample::container::Sample;
use crate::units::WallTime;

/// A sample with what is shown beside it.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) previous: Option<&'a Sample>,
    pub(super) sample: &'a Sample,
    pub(super) filesystems: &'a FilesystemUse,
    pub(super) age: Age,
}

/// Whether a sample is the last one of its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Newest,
    Older,
}

/// One sample of a series.
enum SeriesEntry<T> {
    New(T),
    /// As the one before it, at another time.
    Again(WallTime),
}

/// The samples of a view, as an array. Each begins with its `timestamp`.
pub(super) struct Series<T>(Vec<SeriesEntry<T>>);

impl<T: Serialize> Series<T> {
    /// The samples after this one. What is made of a sample depends on it, on the one before it, and on what is shown
    /// beside it.
    pub(super) fn new<'a>(
        view: &'a ContainerView,
        mut previous: Option<&'a Sample>,
        wire: impl Fn(Shown<'a>) -> T,
    ) -> Self {
        let last = view.samples.len().saturating_sub(1);
        // How many in a row are the same but for the time, this one included: a rate takes two.
        let mut same = 0;
        let entry = |(at, sample): (usize, &'a Arc<Sample>)| {
            let filesystems = view.filesystem_use(at);
            let before = previous.replace(sample);
            let is_beside = at > 0 && is_shown_beside(view.filesystem_use(at - 1), filesystems);
            // Neither what is copied nor the copy may have a reading of its application.
            let is_read = |sample: &Sample| view.application.at(sample.at).is_some();
            let repeats = before
                .is_some_and(|before| before.is_same_at_another_time(sample) && !is_read(before) && !is_read(sample));
            same = if repeats { same + 1 } else { 0 };
            if same > 1 && is_beside && at < last {
                return SeriesEntry::Again(sample.at);
            }
            let age = if at == last { Age::Newest } else { Age::Older };
            SeriesEntry::New(wire(Shown { previous: before, sample, filesystems, age }))
        };
        Self(view.samples.iter().enumerate().map(entry).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends them without the array's brackets.
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        // What follows the time in the text of the last one.
        let mut rest = 0..0;
        for (at, entry) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let begin = out.len();
            match entry {
                SeriesEntry::New(stats) => {
                    json::append(out, stats);
                    let time = out[begin..].iter().position(|byte| *byte == b',').unwrap_or_default();
                    rest = begin + time..out.len();
                }
                SeriesEntry::Again(time) => {
                    out.extend_from_slice(br#"{"timestamp":"#);
                    json::append(out, &GoTime(Some(*time)));
                    let begin = out.len();
                    out.extend_from_within(rest.clone());
                    rest = begin..out.len();
                }
            }
        }
    }
}

impl<T: Serialize> Serialize for Series<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = vec![b'['];
        self.append(&mut text);
        text.push(b']');
        json::raw(&text, serializer)
    }
}

/// Whether the same is known of file systems.
fn is_shown_beside(one: &FilesystemUse, other: &FilesystemUse) -> bool {
    match (one, other) {
        (FilesystemUse::Unknown, FilesystemUse::Unknown) => true,
        (
            FilesystemUse::Container { storage, machine },
            FilesystemUse::Container { storage: other, machine: other_machine },
        ) => {
            Arc::ptr_eq(storage, other)
                && match (machine, other_machine) {
                    (Some(machine), Some(other)) => Arc::ptr_eq(machine, other),
                    (None, None) => true,
                    _ => false,
                }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::cadvisor::v1;
    use crate::sample::container::Cpu;
    use crate::units::{Bytes, Nanos};

    /// Samples of a container that used so many nanoseconds of CPU time in all.
    fn view(totals: &[u64]) -> ContainerView {
        let sample = |(at, total): (usize, &u64)| {
            let cpu = Some(Cpu { total: Nanos(*total), ..Cpu::default() });
            Arc::new(Sample { at: WallTime(1_700_000_000_000_000_000 + at as u64), cpu, ..Sample::default() })
        };
        ContainerView { samples: totals.iter().enumerate().map(sample).collect(), ..ContainerView::default() }
    }

    #[test]
    fn what_repeats_has_the_same_text() {
        let mut view = view(&[1, 1, 1, 1, 1, 2, 2, 2, 2]);
        view.identity.health = "healthy".to_owned();
        let whole: serde_json::Value = serde_json::from_slice(&v1::render(&view, Bytes(0))).unwrap();
        let stats = whole["stats"].as_array().unwrap();
        assert_eq!(stats.len(), 9);
        for (at, stats) in stats.iter().enumerate() {
            let alone = ContainerView { samples: vec![Arc::clone(&view.samples[at])], ..ContainerView::default() };
            let mut alone: serde_json::Value = serde_json::from_slice(&v1::render(&alone, Bytes(0))).unwrap();
            if at == 8 {
                alone["stats"][0]["health"]["status"] = "healthy".into();
            }
            assert_eq!(*stats, alone["stats"][0], "{at}");
        }
        let Series(entries) = Series::new(&view, None, |_| ());
        let again: Vec<_> = entries.iter().map(|entry| matches!(entry, SeriesEntry::Again(_))).collect();
        assert_eq!(again, [false, false, true, true, true, false, false, true, false]);
    }

    #[test]
    fn what_an_application_reported_is_not_repeated() {
        let mut view = view(&[1; 7]);
        let read = vec![(view.samples[3].at, Arc::default())];
        view.application = crate::store::application::Application::of_past(read);
        let Series(entries) = Series::new(&view, None, |_| ());
        let again: Vec<_> = entries.iter().map(|entry| matches!(entry, SeriesEntry::Again(_))).collect();
        assert_eq!(again, [false, false, true, false, false, false, false]);
    }

    #[test]
    fn what_is_known_beside_them_counts() {
        let mut view = view(&[1; 5]);
        let container = || FilesystemUse::Container { storage: Arc::default(), machine: None };
        let known = container();
        view.filesystems = vec![known.clone(), known.clone(), known, container(), FilesystemUse::Unknown];
        let Series(entries) = Series::new(&view, None, |_| ());
        let again: Vec<_> = entries.iter().map(|entry| matches!(entry, SeriesEntry::Again(_))).collect();
        assert_eq!(again, [false, false, true, false, false]);
    }
}
