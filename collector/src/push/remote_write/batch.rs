//! Series become requests of some size: messages of the type `io.prometheus.write.v2.Request`, in which every text is
//! there once and is referred to by its number.
//!
//! Encoded by hand: a message of our own type would have to be put together from copies. The numbers of the fields are
//! those of `io/prometheus/write/v2/types.proto`, as of version 2.0-rc.4 of the specification.

use std::collections::HashMap;

use prost::encoding::{encode_varint, encoded_len_varint};

use super::Family;
use crate::push::queue::Request;
use crate::series::{self, MetricType, Series, labels};

/// Series in one request, and bytes of one before it is compressed: receivers bound what they take at once.
const SERIES_PER_REQUEST: u64 = 10_000;
const BYTES_PER_REQUEST: usize = 2 << 20;

/// `Request.symbols`: field 4, a length and so many bytes.
pub(super) const SYMBOL: u8 = 0x22;
/// `Request.timeseries`: field 5, likewise.
pub(super) const TIMESERIES: u8 = 0x2a;
/// `TimeSeries.labels_refs`: field 1, packed.
pub(super) const LABELS_REFS: u8 = 0x0a;
/// `TimeSeries.samples`: field 2.
pub(super) const SAMPLES: u8 = 0x12;
/// `TimeSeries.metadata`: field 5.
pub(super) const METADATA: u8 = 0x2a;
/// `Sample.value`: field 1, eight bytes.
pub(super) const VALUE: u8 = 0x09;
/// `Sample.timestamp`: field 2, a number.
pub(super) const TIMESTAMP: u8 = 0x10;
/// `Sample.start_timestamp`: field 3, a number.
pub(super) const START_TIMESTAMP: u8 = 0x18;
/// `Metadata.type`, `.help_ref`, `.unit_ref`: fields 1, 3, 4, numbers.
const METADATA_FIELDS: [u8; 3] = [0x08, 0x18, 0x20];

const NAME: &str = "__name__";

/// See the module.
pub(super) struct Batches<'a> {
    target: &'a [(String, String)],
    done: Vec<Request>,
    symbols: Symbols<'a>,
    series: Vec<u8>,
    points: u64,
    /// By the number of the family.
    heads: Vec<Option<Head>>,
    /// Those of the last series, and who shares them: series come container by container.
    shared: Option<(usize, Shared<'a>)>,
    /// A series' references while they are put together.
    refs: Vec<u8>,
}

/// The texts of a request.
#[derive(Default)]
struct Symbols<'a> {
    numbers: HashMap<&'a str, u32>,
    /// As they are encoded.
    text: Vec<u8>,
}

/// What all series of a family have.
struct Head {
    /// The references of `__name__` and the name.
    name: Vec<u8>,
    /// The whole field.
    metadata: Vec<u8>,
}

/// Labels that series share, with those of the target: their references.
struct Shared<'a> {
    labels: Vec<(&'a str, [u32; 2])>,
    encoded: Vec<u8>,
}

impl<'a> Symbols<'a> {
    fn number(&mut self, text: &'a str) -> u32 {
        if self.numbers.is_empty() {
            // The first one is the text of what has none.
            self.numbers.insert("", 0);
            append_bytes(&mut self.text, SYMBOL, b"");
        }
        let next = self.numbers.len() as u32;
        *self.numbers.entry(text).or_insert_with(|| {
            append_bytes(&mut self.text, SYMBOL, text.as_bytes());
            next
        })
    }

    fn pair(&mut self, name: &'a str, value: &'a str) -> [u32; 2] {
        [self.number(name), self.number(value)]
    }
}

impl<'a> Batches<'a> {
    /// Every series gets the target's labels unless it has them itself; they are sorted by name.
    pub(super) fn new(target: &'a [(String, String)]) -> Self {
        Self {
            target,
            done: Vec::new(),
            symbols: Symbols::default(),
            series: Vec::new(),
            points: 0,
            heads: Vec::new(),
            shared: None,
            refs: Vec::new(),
        }
    }

    /// What follows is from another page: its places mean something else.
    pub(super) fn next_page(&mut self) {
        self.heads.clear();
        self.shared = None;
    }

    /// Adds a series.
    pub(super) fn add(&mut self, family: Family<'a>, series: &Series<'a>) {
        let target = self.target;
        let Self { symbols, heads, shared, refs, .. } = self;
        if heads.len() <= family.number {
            heads.resize_with(family.number + 1, || None);
        }
        let head = heads[family.number].get_or_insert_with(|| head(symbols, family));
        let sharers = series.sharers();
        let (_, shared) = match shared {
            Some(last) if last.0 == sharers => last,
            other => other.insert((sharers, shared_labels(symbols, series.shared, target))),
        };
        refs.clear();
        refs.extend_from_slice(&head.name);
        if series.own.is_empty() {
            refs.extend_from_slice(&shared.encoded);
        } else {
            // Both are sorted by name, and so has to be what comes of them; a label of its own goes before the target's.
            let mut rest = shared.labels.iter().peekable();
            for (name, value) in labels(series.own) {
                while let Some((other, pair)) = rest.next_if(|(other, _)| *other <= name) {
                    if *other != name {
                        append_refs(refs, *pair);
                    }
                }
                append_refs(refs, symbols.pair(name, value));
            }
            rest.for_each(|(_, pair)| append_refs(refs, *pair));
        }
        append_series(&mut self.series, refs, series, &head.metadata);
        self.points += 1;
        if self.points >= SERIES_PER_REQUEST || self.series.len() + self.symbols.text.len() > BYTES_PER_REQUEST {
            self.end();
        }
    }

    fn end(&mut self) {
        let mut message = std::mem::take(&mut self.symbols.text);
        message.append(&mut self.series);
        // Fails for more than 4 GiB only.
        let body = snap::raw::Encoder::new().compress_vec(&message).unwrap_or_default();
        self.done.push(Request { body: body.into(), points: self.points });
        self.points = 0;
        // Numbers are those of one request.
        self.symbols = Symbols::default();
        self.next_page();
    }

    /// All requests.
    pub(super) fn finish(mut self) -> Vec<Request> {
        if self.points > 0 {
            self.end();
        }
        self.done
    }
}

fn head<'a>(symbols: &mut Symbols<'a>, family: Family<'a>) -> Head {
    let Family { name, help, kind, .. } = family;
    let mut refs = Vec::new();
    append_refs(&mut refs, symbols.pair(NAME, name));
    let mut fields = Vec::new();
    let base = if kind == MetricType::Counter { name.strip_suffix("_total").unwrap_or(name) } else { name };
    let unit = series::unit(base).map_or(0, |unit| symbols.number(unit));
    for (field, value) in METADATA_FIELDS.into_iter().zip([kind as u32, symbols.number(help), unit]) {
        if value > 0 {
            fields.push(field);
            encode_varint(value.into(), &mut fields);
        }
    }
    let mut metadata = Vec::new();
    append_bytes(&mut metadata, METADATA, &fields);
    Head { name: refs, metadata }
}

fn shared_labels<'a>(symbols: &mut Symbols<'a>, shared: &'a [u8], target: &'a [(String, String)]) -> Shared<'a> {
    let mut all: Vec<(&str, [u32; 2])> = Vec::new();
    all.extend(labels(shared).map(|(name, value)| (name, symbols.pair(name, value))));
    for (name, value) in target {
        if let Err(place) = all.binary_search_by(|(other, _)| (*other).cmp(name)) {
            all.insert(place, (name, symbols.pair(name, value)));
        }
    }
    let mut encoded = Vec::new();
    for (_, pair) in &all {
        append_refs(&mut encoded, *pair);
    }
    Shared { labels: all, encoded }
}

fn append_refs(refs: &mut Vec<u8>, pair: [u32; 2]) {
    for number in pair {
        encode_varint(number.into(), refs);
    }
}

fn append_series(out: &mut Vec<u8>, refs: &[u8], series: &Series<'_>, metadata: &[u8]) {
    let Series { value, millis, start_millis, .. } = *series;
    // As the encoding has it, what is 0 is not there.
    let is_zero = value.to_bits() == 0;
    let number = |value: u64| if value == 0 { 0 } else { 1 + encoded_len_varint(value) };
    let sample = if is_zero { 0 } else { 1 + size_of::<f64>() } + number(millis) + number(start_millis);
    let field = |length: usize| 1 + encoded_len_varint(length as u64) + length;
    out.push(TIMESERIES);
    encode_varint((field(refs.len()) + field(sample) + metadata.len()) as u64, out);
    // Fields may be in any order. In this one the most of a series is in one piece with what another one has, too, and
    // snappy refers to that: it makes a twentieth of the bytes.
    out.push(SAMPLES);
    encode_varint(sample as u64, out);
    for (field, number) in [(TIMESTAMP, millis), (START_TIMESTAMP, start_millis)] {
        if number > 0 {
            out.push(field);
            encode_varint(number, out);
        }
    }
    if !is_zero {
        out.push(VALUE);
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.extend_from_slice(metadata);
    append_bytes(out, LABELS_REFS, refs);
}

pub(super) fn append_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
