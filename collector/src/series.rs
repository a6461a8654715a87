//! Series of `/metrics` on their way from who renders them to who pushes them: a page of records, one after the other.
//!
//! Labels that many series have are in the page once, and a series refers to them, so that neither side copies them: a
//! series of a container takes about thirty bytes. A page never leaves the process.

use std::ops::Range;

use prost::encoding::{decode_varint, encode_varint};

/// What a metric is, by the numbers that remote write 2.0 has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// Only grows.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// Counts by size, as series by bucket.
    Histogram = 3,
}

const LABELS: u8 = 1;
const FAMILY: u8 = 2;
const SERIES: u8 = 3;

/// A series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'a> {
    /// Where its shared labels begin in the page's labels: the same for series that share them.
    pub shared_at: usize,
    /// The labels that it shares with others, sorted by name, as [`labels`] reads them.
    pub shared: &'a [u8],
    /// Its own, sorted by name.
    pub own: &'a [u8],
    /// Its value.
    pub value: f64,
    /// When it was read, in milliseconds since 1970.
    pub millis: u64,
    /// When a counter began, likewise; 0 where it is not known or does not matter.
    pub start_millis: u64,
}

impl Series<'_> {
    /// The same number for series of a page that share labels, and for those that share none.
    pub const fn sharers(&self) -> usize {
        if self.shared.is_empty() { usize::MAX } else { self.shared_at }
    }
}

/// What a page consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record<'a> {
    /// The series that follow are of this family.
    Family {
        /// The name of its series.
        name: &'a str,
        /// What it is about.
        help: &'a str,
        /// Its type.
        kind: MetricType,
    },
    /// A series.
    Series(Series<'a>),
}

/// A page is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the page of series is broken")]
pub struct Broken;

/// Appends a label; one without a value is one that is not there.
pub fn append_label(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !value.is_empty() {
        append_bytes(out, name.as_bytes());
        append_bytes(out, value);
    }
}

/// The labels that series share come first of all, and once.
pub fn append_labels(page: &mut Vec<u8>, labels: &[u8]) {
    page.push(LABELS);
    append_bytes(page, labels);
}

/// Begins a family. The name of its series is the parts in a row.
pub fn append_family(page: &mut Vec<u8>, name: [&str; 2], help: &str, kind: MetricType) {
    page.extend([FAMILY, kind as u8]);
    encode_varint((name[0].len() + name[1].len()) as u64, page);
    page.extend_from_slice(name[0].as_bytes());
    page.extend_from_slice(name[1].as_bytes());
    append_bytes(page, help.as_bytes());
}

/// Appends a series whose shared labels are there among the page's labels.
pub fn append_series(
    page: &mut Vec<u8>,
    shared: Range<usize>,
    own: &[u8],
    value: f64,
    [millis, start_millis]: [u64; 2],
) {
    page.push(SERIES);
    encode_varint(shared.start as u64, page);
    encode_varint(shared.len() as u64, page);
    append_bytes(page, own);
    page.extend_from_slice(&value.to_le_bytes());
    encode_varint(millis, page);
    encode_varint(start_millis, page);
}

fn append_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Units that are the last word of a family's name.
const UNITS: [&str; 4] = ["bytes", "ratio", "seconds", "watts"];

/// The unit that a family's name ends in; a counter's name is without its suffix here.
pub fn unit(name: &str) -> Option<&'static str> {
    let (_, last) = name.rsplit_once('_')?;
    UNITS.into_iter().find(|unit| *unit == last)
}

/// Names and values of labels.
pub fn labels(mut rest: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || Some((text(&mut rest)?, text(&mut rest)?)))
}

/// Reads a page.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    labels: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// From its beginning.
    pub fn new(page: &'a [u8]) -> Self {
        Self { labels: &[], rest: page }
    }

    fn record(&mut self, tag: u8) -> Option<Record<'a>> {
        match tag {
            FAMILY => {
                let (kind, rest) = self.rest.split_first()?;
                self.rest = rest;
                let kind = match kind {
                    1 => MetricType::Counter,
                    2 => MetricType::Gauge,
                    3 => MetricType::Histogram,
                    _ => return None,
                };
                let (name, help) = (text(&mut self.rest)?, text(&mut self.rest)?);
                Some(Record::Family { name, help, kind })
            }
            SERIES => {
                let shared_at = number(&mut self.rest)?;
                let length = number(&mut self.rest)?;
                let shared = self.labels.get(shared_at..shared_at.checked_add(length)?)?;
                let own = bytes(&mut self.rest)?;
                let (value, rest) = self.rest.split_first_chunk()?;
                self.rest = rest;
                let value = f64::from_le_bytes(*value);
                let (millis, start_millis) = (decode_varint(&mut self.rest).ok()?, decode_varint(&mut self.rest).ok()?);
                Some(Record::Series(Series { shared_at, shared, own, value, millis, start_millis }))
            }
            _ => None,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((tag, rest)) = self.rest.split_first() {
            self.rest = rest;
            if *tag == LABELS
                && let Some(labels) = bytes(&mut self.rest)
            {
                self.labels = labels;
                continue;
            }
            let record = self.record(*tag);
            if record.is_none() {
                self.rest = &[];
            }
            return Some(record.ok_or(Broken));
        }
        None
    }
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(decode_varint(rest).ok()?).ok()
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(bytes(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let mut shared = Vec::new();
        append_label(&mut shared, "id", b"/a");
        append_label(&mut shared, "image", b"");
        let mut own = Vec::new();
        append_label(&mut own, "cpu", "größe\n".as_bytes());
        let mut page = Vec::new();
        append_labels(&mut page, &shared);
        append_family(&mut page, ["x", "_sum"], "X.", MetricType::Histogram);
        append_series(&mut page, 0..shared.len(), &own, -0.5, [1_000_000, 7]);
        append_series(&mut page, 0..0, &[], f64::INFINITY, [0, 0]);
        let records: Vec<_> = Records::new(&page).map(Result::unwrap).collect();
        let [Record::Family { name: "x_sum", help: "X.", kind: MetricType::Histogram }, first, second] = records[..]
        else {
            panic!("{records:?}")
        };
        let Record::Series(first) = first else { panic!("{first:?}") };
        assert_eq!(labels(first.shared).collect::<Vec<_>>(), [("id", "/a")]);
        assert_eq!(labels(first.own).collect::<Vec<_>>(), [("cpu", "größe\n")]);
        assert_eq!((first.value, first.millis, first.start_millis), (-0.5, 1_000_000, 7));
        let empty = Series { shared_at: 0, shared: &[], own: &[], value: f64::INFINITY, millis: 0, start_millis: 0 };
        assert_eq!(second, Record::Series(empty));
    }

    #[test]
    fn a_broken_page_ends() {
        let mut page = Vec::new();
        append_family(&mut page, ["x", ""], "", MetricType::Gauge);
        append_series(&mut page, 0..0, &[], 1.0, [1, 0]);
        for length in 1..page.len() {
            let whole = Records::new(&page[..length]).flatten().count();
            assert!(whole < 2, "{length}");
        }
        assert!(Records::new(b"plain").all(|record| record == Err(Broken)));
        assert_eq!(Records::new(&[LABELS, 0]).count(), 0);
    }
}
