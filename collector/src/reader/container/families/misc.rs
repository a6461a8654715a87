//! The controller `misc`: resources that are counted and have no controller of their own, on both versions since 5.13.

use std::sync::Arc;

use super::{Family, Mounted, Place, Reading, Rows};
use crate::kernel::file::KeptFile;
use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{flat_keyed, limit, lines, words};
use crate::reader::container::rows::keys::{part, whole};
use crate::sample::container::{Misc, Sample};
use crate::sample::statistic::Value;
use crate::units::Limit;

#[derive(Debug, Default)]
pub(in crate::reader::container) struct MiscFiles {
    current: KeptFile,
    max: KeptFile,
    peak: KeptFile,
    events: KeptFile,
    /// The resources' names, kept so that samples share them.
    names: Vec<Arc<str>>,
}

impl Family for MiscFiles {
    fn place(&self, mounted: &Mounted<'_>) -> Option<Place> {
        mounted.controller("misc")
    }

    fn each(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        let Self { current, max, peak, events, names: _ } = self;
        [current, max, peak, events].into_iter().for_each(each);
    }

    fn read(&mut self, place: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        if let Some(Place::V1(position) | Place::V2(position)) = place {
            sample.misc = self.resources(position, reading);
        }
    }

    fn explain(&self, place: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        let section = rows.section(place, None, "misc", Some("misc"));
        let misc = sample.misc.as_deref();
        let named = |get: fn(&Misc) -> Option<Value>| {
            let values =
                |misc: &[Misc]| misc.iter().filter_map(|of| Some((of.resource.to_string(), get(of)?))).collect();
            misc.map(|misc| Value::Named(values(misc)))
        };
        let current = named(|of| Some(Value::Count(of.current)));
        let max = named(|of| of.max.map(limit_value));
        let peak = named(|of| of.peak.map(Value::Count));
        let limit_hits = named(|of| of.limit_hits.map(Value::Count));
        for (name, value, key) in [
            ("misc.current", current, whole("misc.current").since("5.13")),
            ("misc.max", max, whole("misc.max").since("5.13")),
            ("misc.peak", peak, whole("misc.peak").since("6.11")),
            ("misc.limit_hits", limit_hits, part("misc.events", "max").since("5.16")),
        ] {
            rows.add_value(name, value, &section, [key], [key]);
        }
    }
}

fn limit_value(max: u64) -> Value {
    if max == u64::MAX { Value::Unlimited } else { Value::Count(max) }
}

impl MiscFiles {
    /// `None` where the controller is not on; the root has no limits, and before 6.6 nothing.
    fn resources(&mut self, position: usize, reading: &mut Reading<'_>) -> Option<Vec<Misc>> {
        let names = &mut self.names;
        let mut resources = reading.kept_lines(position, "misc.current", &mut self.current, |text, odd| {
            let counted = flat_keyed(text, odd).enumerate();
            let of_line = |(index, (name, current)): (usize, (&[u8], u64))| Misc {
                resource: shared(names, index, name),
                current,
                max: None,
                peak: None,
                limit_hits: None,
            };
            counted.map(of_line).collect::<Vec<_>>()
        })?;
        // Nothing else has a line for a resource that this machine does not have.
        if resources.is_empty() {
            return Some(resources);
        }
        let all = &mut resources;
        reading.kept_lines(position, "misc.max", &mut self.max, |text, odd| {
            limits(text, odd, |name, max| of(all, name).for_each(|misc| misc.max = Some(max)));
        });
        let all = &mut resources;
        reading.kept_lines(position, "misc.peak", &mut self.peak, |text, odd| {
            flat_keyed(text, odd).for_each(|(name, peak)| of(all, name).for_each(|misc| misc.peak = Some(peak)));
        });
        let all = &mut resources;
        reading.kept_lines(position, "misc.events", &mut self.events, |text, odd| {
            for (key, hits) in flat_keyed(text, odd) {
                let name = key.strip_suffix(b".max").unwrap_or_default();
                of(all, name).for_each(|misc| misc.limit_hits = Some(hits));
            }
        });
        Some(resources)
    }
}

/// The name as it was shared before, if it is in the same place.
fn shared(names: &mut Vec<Arc<str>>, index: usize, name: &[u8]) -> Arc<str> {
    if names.get(index).is_none_or(|known| known.as_bytes() != name) {
        names.truncate(index);
        names.push(String::from_utf8_lossy(name).into());
    }
    names.get(index).cloned().unwrap_or_default()
}

fn of<'a>(resources: &'a mut [Misc], name: &[u8]) -> impl Iterator<Item = &'a mut Misc> {
    resources.iter_mut().filter(move |misc| misc.resource.as_bytes() == name)
}

/// Lines of `resource limit`; the limit is a number or `max`, which is `u64::MAX`.
fn limits(text: &[u8], odd: &mut OddLines, mut each: impl FnMut(&[u8], u64)) {
    for (number, line) in lines(text) {
        let mut parts = words(line);
        match (parts.next(), parts.next().map(limit), parts.next()) {
            (Some(name), Some(Ok(Limit::Value(max))), None) => each(name, max),
            (Some(name), Some(Ok(Limit::Max)), None) => each(name, u64::MAX),
            (None, ..) => {}
            _ => odd.note(number, "not \"resource limit\"", line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_by_resource() {
        let mut odd = OddLines::default();
        let mut found = Vec::new();
        limits(b"sev max\nsev_es 4\n\ntdx\nsev 1 2\nsev x\n", &mut odd, |name, max| found.push((name.to_vec(), max)));
        assert_eq!(found, [(b"sev".to_vec(), u64::MAX), (b"sev_es".to_vec(), 4)]);
        assert_eq!(odd.count(), 3);
    }

    #[test]
    fn names_are_shared_between_samples() {
        let mut names = Vec::new();
        let first = shared(&mut names, 0, b"sev");
        assert!(Arc::ptr_eq(&first, &shared(&mut names, 0, b"sev")));
        assert_eq!(&*shared(&mut names, 0, b"tdx"), "tdx");
    }
}
