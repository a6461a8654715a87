//! Prometheus' remote write: what a scrape of `/metrics` would give, pushed. Version 2.0 of the protocol, and 1.0 to who
//! does not speak that.
//!
//! The series are rendered by who renders them for scrapes, so names, labels, gating and bounds are the same. A series
//! that was there and is gone gets Prometheus' staleness marker, as a scrape would have left it.

mod batch;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod message;
mod transport;
mod version_1;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};

use batch::Batches;
pub use transport::Exporter;

use super::queue::Request;
use crate::series::{Broken, MetricType, Record, Records, Series};
use crate::units::WallTime;

/// The value that ends a series: a NaN with this payload.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Makes requests of rendered series.
pub struct Writer {
    /// Labels of every series, such as `job` and `instance`, by name.
    target: Vec<(String, String)>,
    /// The last page, and which series were in it.
    before: Vec<u8>,
    known: Identities,
    /// Distinguishes series by their labels. Of a million series two are mistaken for one in one of forty million
    /// cases; a marker is missing then.
    hasher: RandomState,
}

/// Series of a container with the same number here are encoded in the same fields. One after the other, more of each is in
/// one piece with what was just before, to which snappy refers: that makes an eighth of the bytes.
fn shape(family: Family<'_>, series: &Series<'_>) -> u8 {
    let is_zero = series.value.to_bits() == 0;
    let facts = [is_zero, series.start_millis > 0, family.kind == MetricType::Counter];
    facts.into_iter().fold(0, |shape, fact| (shape << 1) | u8::from(fact))
}

type Identities = HashSet<u64, BuildHasherDefault<Hashed>>;

/// Keys that are hashes already, or small numbers.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn write_usize(&mut self, key: usize) {
        // The upper bits are what a table tells keys apart by first.
        self.0 = (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A family as a page has it.
#[derive(Clone, Copy, Debug)]
struct Family<'a> {
    /// Counts those of the page.
    number: usize,
    name: &'a str,
    help: &'a str,
    kind: MetricType,
}

impl Writer {
    /// Every series gets these labels unless it has them itself.
    pub fn new(mut target: Vec<(String, String)>) -> Self {
        target.retain(|(_, value)| !value.is_empty());
        target.sort_unstable();
        Self { target, before: Vec::new(), known: Identities::default(), hasher: RandomState::new() }
    }

    /// The requests that report the series of this page, and of those that ended since the last one.
    ///
    /// # Errors
    /// When it is no such page.
    pub fn requests(&mut self, page: Vec<u8>, now: WallTime) -> Result<Vec<Request>, Broken> {
        let mut seen = Identities::with_capacity_and_hasher(self.known.len(), BuildHasherDefault::default());
        let mut batches = Batches::new(&self.target);
        // A receiver refuses a request that has a series twice.
        self.add(&mut batches, &page, |identity, series| seen.insert(identity).then_some(series))?;
        if self.known.iter().any(|identity| !seen.contains(identity)) {
            let (value, millis) = (f64::from_bits(STALE), now.millis());
            let end = |series| Series { value, millis, start_millis: 0, ..series };
            self.add(&mut batches, &self.before, |identity, series| {
                (!seen.contains(&identity)).then_some(end(series))
            })?;
        }
        let requests = batches.finish();
        (self.before, self.known) = (page, seen);
        Ok(requests)
    }

    /// Adds the series of a page that are wanted, container by container, so that a container's labels are in one request: the
    /// page has them family by family.
    fn add<'a>(
        &self,
        batches: &mut Batches<'a>,
        page: &'a [u8],
        mut wanted: impl FnMut(u64, Series<'a>) -> Option<Series<'a>>,
    ) -> Result<(), Broken> {
        let (mut all, mut order) = (Vec::with_capacity(self.known.len()), Vec::with_capacity(self.known.len()));
        self.each(page, |identity, family, series| {
            if let Some(series) = wanted(identity, *series) {
                order.push((series.sharers(), shape(family, &series), all.len()));
                all.push((family, series));
            }
        })?;
        order.sort_unstable();
        for (.., place) in order {
            let (family, series) = &all[place];
            batches.add(*family, series);
        }
        batches.next_page();
        Ok(())
    }

    /// Looks at each series of a page, with what stands for it: that is the same while its labels are.
    fn each<'a>(&self, page: &'a [u8], mut look: impl FnMut(u64, Family<'a>, &Series<'a>)) -> Result<(), Broken> {
        let mut family = None;
        let mut family_hash = 0;
        let mut number = 0;
        let mut shared: HashMap<usize, u64, BuildHasherDefault<Hashed>> = HashMap::default();
        for record in Records::new(page) {
            match record? {
                Record::Family { name, help, kind } => {
                    family = Some(Family { number, name, help, kind });
                    family_hash = self.hasher.hash_one(name);
                    number += 1;
                }
                Record::Series(series) => {
                    let shared = match series.shared {
                        [] => 0,
                        labels => *shared.entry(series.shared_at).or_insert_with(|| self.hasher.hash_one(labels)),
                    };
                    let own = if series.own.is_empty() { 0 } else { self.hasher.hash_one(series.own) };
                    let identity = family_hash.rotate_left(1) ^ shared.rotate_left(2) ^ own;
                    look(identity, family.ok_or(Broken)?, &series);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
