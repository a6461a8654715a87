//! Writes families: their heads, and a line per series, into one buffer.
//!
//! Nothing is allocated for a series: a line is put together from the family's name, the pieces of the container's
//! labels, and digits.

use std::collections::BTreeMap;

use super::head::{Head, Kind};
use super::labels::{Arena, Block, Slot, append_escaped};
use super::number::{append_digits, append_float, append_scaled, append_signed};
use super::options::Format;
use super::snapshot::Kill;
use crate::api::wire::json::lossy;
use crate::series::{self, unit};
use crate::units::{Bytes, Micros, Nanos, WallTime};

/// A value with its unit; what is written is in the base unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// A whole number.
    Count(u64),
    /// A whole number that may be negative.
    Signed(i64),
    /// Nanoseconds, written as seconds.
    Nanos(u64),
    /// Microseconds, written as seconds.
    Micros(u64),
    /// Milliseconds, written as seconds.
    Millis(u64),
    /// Anything else.
    Float(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Self {
        Self::Count(count.into())
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Count(bytes.0)
    }
}

impl From<Nanos> for Value {
    fn from(nanos: Nanos) -> Self {
        Self::Nanos(nanos.0)
    }
}

impl From<Micros> for Value {
    fn from(micros: Micros) -> Self {
        Self::Micros(micros.0)
    }
}

impl Value {
    /// In the base unit, as a reader of the text would have it.
    fn number(self) -> f64 {
        match self {
            Self::Count(count) => count as f64,
            Self::Signed(number) => number as f64,
            Self::Nanos(nanos) => nanos as f64 / 1e9,
            Self::Micros(micros) => micros as f64 / 1e6,
            Self::Millis(millis) => millis as f64 / 1e3,
            Self::Float(number) => number,
        }
    }
}

/// The value of a label that a single family has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text<'a> {
    /// Text.
    Is(&'a str),
    /// The text in lower case; all of it is ASCII.
    Lower(&'a str),
    /// A number.
    Number(u64),
    /// A number that may be negative.
    Id(i32),
    /// `1:7`: what is 7 in 1.
    IdIn(i32, i32),
    /// `cpu00`.
    Cpu(usize),
    /// `8:16`, for a device that has no name.
    Device(u32, u32),
}

impl Text<'_> {
    /// Whether it is a label without a value, which is the same as none.
    const fn is_empty(self) -> bool {
        match self {
            Self::Is(text) | Self::Lower(text) => text.is_empty(),
            Self::Number(_) | Self::Id(_) | Self::IdIn(..) | Self::Cpu(_) | Self::Device(..) => false,
        }
    }
}

/// A label that a single family has.
pub(super) type Label<'a> = (&'static str, Text<'a>);

/// Where lines go.
#[derive(Debug)]
enum Sink {
    /// Into the buffer.
    Write,
    /// Nowhere; they are counted.
    Count,
}

/// Writes one family after the other.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Takes what is written so far, where it need not stay in one piece.
    drain: &'a mut dyn FnMut(&mut Vec<u8>),
    format: Format,
    sink: Sink,
    /// The time of what has none of its own, where that has to be reported.
    at: WallTime,
    arena: &'a Arena,
    family: Option<Head>,
    head_written: bool,
    /// The row whose series come now.
    block: Block,
    timestamp: Option<WallTime>,
    /// `timestamp` as text with a space before it.
    timestamp_text: Vec<u8>,
    /// When the row's counters began, in milliseconds since 1970; 0 where that is not known.
    start_millis: u64,
    /// The labels of its own that a pushed series has, while they are put together.
    own: Vec<u8>,
    /// The value of one of its labels likewise.
    number: Vec<u8>,
    /// Series so far.
    pub(super) series: usize,
    /// Series that a profile does without.
    pub(super) left_out: usize,
}

/// From here on the buffer is taken.
pub(super) const PIECE: usize = 128 << 10;

impl<'a> Writer<'a> {
    pub(super) fn new(
        out: &'a mut Vec<u8>,
        drain: &'a mut dyn FnMut(&mut Vec<u8>),
        format: Format,
        at: WallTime,
        arena: &'a Arena,
    ) -> Self {
        Self {
            out,
            drain,
            format,
            sink: Sink::Write,
            at,
            arena,
            family: None,
            head_written: false,
            block: Block::default(),
            timestamp: None,
            timestamp_text: Vec::new(),
            start_millis: 0,
            own: Vec::new(),
            number: Vec::new(),
            series: 0,
            left_out: 0,
        }
    }

    /// From now on series are written.
    pub(super) fn write(&mut self) {
        self.sink = Sink::Write;
        if self.format == Format::RemoteWrite {
            series::append_labels(self.out, &self.arena.text);
        }
    }

    /// From now on series are only counted.
    pub(super) fn count(&mut self) {
        self.sink = Sink::Count;
        self.series = 0;
    }

    /// Begins a family. Its head is written with its first series.
    pub(super) fn family(&mut self, family: Head) {
        self.family = Some(family);
        self.head_written = false;
    }

    /// The container whose series come now; its labels, the time of its sample where that is reported, and when its
    /// counters began.
    pub(super) fn row(&mut self, block: &Block, timestamp: Option<WallTime>, start: Option<WallTime>) {
        self.block = block.clone();
        self.start_millis = start.map_or(0, WallTime::millis);
        if self.timestamp != timestamp {
            self.timestamp = timestamp;
            self.timestamp_text.clear();
            if let Some(at) = timestamp {
                append_timestamp(&mut self.timestamp_text, self.format, at);
            }
        }
    }

    /// A series without labels of its own.
    pub(super) fn value(&mut self, value: impl Into<Value>) {
        self.series += 1;
        if matches!(self.sink, Sink::Count) {
            return;
        }
        if self.format == Format::RemoteWrite {
            self.message(&[], value.into());
            return;
        }
        self.name();
        let labels = &self.arena.text[self.block.all()];
        if let [labels @ .., b','] = labels {
            self.out.push(b'{');
            self.out.extend_from_slice(labels);
            self.out.push(b'}');
        }
        self.finish(value.into());
    }

    /// A series with labels of its own, which are sorted by name.
    pub(super) fn with(&mut self, own: &[Label<'_>], value: impl Into<Value>) {
        debug_assert!(
            self.family.is_none_or(|family| own.iter().map(|(name, _)| name).eq(family.labels)),
            "{:?} has other labels",
            self.family
        );
        self.series += 1;
        if matches!(self.sink, Sink::Count) {
            return;
        }
        if self.format == Format::RemoteWrite {
            self.message(own, value.into());
            return;
        }
        self.name();
        self.out.push(b'{');
        let mut own = own.iter().peekable();
        for slot in Slot::ALL {
            self.out.extend_from_slice(&self.arena.text[self.block.before(slot)]);
            while let Some((name, text)) = own.next_if(|(name, _)| Slot::of(name) <= slot) {
                if text.is_empty() {
                    continue;
                }
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(b"=\"");
                append_text(self.out, *text);
                self.out.extend_from_slice(b"\",");
            }
        }
        close(self.out);
        self.finish(value.into());
    }

    /// The same with an OOM kill as exemplar, where the format has exemplars.
    pub(super) fn value_with_exemplar(&mut self, value: impl Into<Value>, kill: Option<&Kill>) {
        self.value(value);
        let (Some(kill), Sink::Write, Format::OpenMetrics) = (kill, &self.sink, self.format) else { return };
        self.out.pop();
        self.out.extend_from_slice(b" # {");
        if let Some(command) = &kill.command {
            self.out.extend_from_slice(b"command=\"");
            append_escaped(self.out, &lossy(command));
            self.out.extend_from_slice(b"\",");
        }
        self.out.extend_from_slice(b"pid=\"");
        append_digits(self.out, kill.pid.into());
        self.out.extend_from_slice(b"\"} 1");
        append_timestamp(self.out, self.format, kill.at);
        self.out.push(b'\n');
    }

    /// A series that a container's application reports. Its labels begin with `app_`, before all of the container's.
    pub(super) fn application(&mut self, name: &str, own: &BTreeMap<String, &str>, value: Value) {
        self.drain();
        let labels = &self.arena.text[self.block.all()];
        if self.format == Format::RemoteWrite {
            self.own.clear();
            for (name, value) in own {
                series::append_label(&mut self.own, name, value.as_bytes());
            }
            series::append_series(self.out, self.block.all(), &self.own, value.number(), [self.at.millis(), 0]);
            return;
        }
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'{');
        for (name, value) in own {
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"=\"");
            append_escaped(self.out, value);
            self.out.extend_from_slice(b"\",");
        }
        self.out.extend_from_slice(labels);
        close(self.out);
        self.finish(value);
    }

    /// Before a series: one row of a family may have a hundred with long labels.
    fn drain(&mut self) {
        if self.out.len() >= PIECE {
            (self.drain)(self.out);
        }
    }

    fn name(&mut self) {
        self.drain();
        let Some(family) = self.family else { return };
        if !self.head_written {
            self.head_written = true;
            append_head(self.out, self.format, family.name, family.help, family.kind);
        }
        self.out.extend_from_slice(family.name.as_bytes());
    }

    fn finish(&mut self, value: Value) {
        self.out.push(b' ');
        append_value(self.out, value);
        self.out.extend_from_slice(&self.timestamp_text);
        self.out.push(b'\n');
    }

    /// A series that is pushed.
    fn message(&mut self, own: &[Label<'_>], value: Value) {
        self.drain();
        let Some(family) = self.family else { return };
        if !self.head_written {
            self.head_written = true;
            append_head(self.out, self.format, family.name, family.help, family.kind);
        }
        self.own.clear();
        for (name, text) in own {
            if let Text::Is(text) = text {
                // As it is, where a line of text has it escaped.
                series::append_label(&mut self.own, name, text.as_bytes());
            } else {
                self.number.clear();
                append_text(&mut self.number, *text);
                series::append_label(&mut self.own, name, &self.number);
            }
        }
        let at = self.timestamp.unwrap_or(self.at).millis();
        series::append_series(self.out, self.block.all(), &self.own, value.number(), [at, self.start_millis]);
    }

    /// Appends a family that is rendered elsewhere.
    pub(super) fn foreign(&mut self, append: impl FnOnce(&mut Vec<u8>, Format)) {
        append(self.out, self.format);
    }
}

/// Ends labels, each with a comma after it; of none there is not even a brace.
pub(crate) fn close(out: &mut Vec<u8>) {
    let last = out.pop();
    if last == Some(b',') {
        out.push(b'}');
    }
}

fn append_value(out: &mut Vec<u8>, value: Value) {
    match value {
        Value::Count(count) => append_scaled(out, count, 0),
        Value::Signed(number) => append_signed(out, number),
        Value::Nanos(nanos) => append_scaled(out, nanos, 9),
        Value::Micros(micros) => append_scaled(out, micros, 6),
        Value::Millis(millis) => append_scaled(out, millis, 3),
        Value::Float(number) => append_float(out, number),
    }
}

/// A space and a time: milliseconds, or in `OpenMetrics` seconds.
pub(crate) fn append_timestamp(out: &mut Vec<u8>, format: Format, at: WallTime) {
    let millis = at.millis();
    out.push(b' ');
    match format {
        // Pushed series have them elsewhere.
        Format::RemoteWrite => {}
        Format::Text => append_digits(out, millis),
        Format::OpenMetrics => {
            append_digits(out, millis / 1000);
            out.push(b'.');
            let fraction = millis % 1000;
            out.extend([fraction / 100, fraction / 10 % 10, fraction % 10].map(|digit| b'0' + digit as u8));
        }
    }
}

fn append_id(out: &mut Vec<u8>, id: i32) {
    if id < 0 {
        out.push(b'-');
    }
    append_digits(out, id.unsigned_abs().into());
}

fn append_text(out: &mut Vec<u8>, text: Text<'_>) {
    match text {
        Text::Is(text) => append_escaped(out, text),
        Text::Lower(text) => out.extend(text.bytes().map(|byte| byte.to_ascii_lowercase())),
        Text::Number(number) => append_digits(out, number),
        Text::Id(id) => append_id(out, id),
        Text::IdIn(outer, id) => {
            append_id(out, outer);
            out.push(b':');
            append_id(out, id);
        }
        Text::Cpu(number) => {
            out.extend_from_slice(if number < 10 { b"cpu0" } else { b"cpu" });
            append_digits(out, number as u64);
        }
        Text::Device(major, minor) => {
            append_digits(out, major.into());
            out.push(b':');
            append_digits(out, minor.into());
        }
    }
}

/// `# HELP`, `# TYPE`, and in `OpenMetrics` `# UNIT` where the name ends in one.
pub(crate) fn append_head(out: &mut Vec<u8>, format: Format, name: &str, help: &str, kind: Kind) {
    // In OpenMetrics a counter's family has no suffix and its series have one. A counter that cAdvisor named without
    // it could only keep its name as a family of unknown type.
    let (family, kind, unit) = match (format, kind) {
        (Format::RemoteWrite, _) => return series::append_family(out, [name, ""], help, kind.metric_type()),
        (Format::Text, _) => (name, kind.name(), None),
        (Format::OpenMetrics, Kind::Counter) => match name.strip_suffix("_total") {
            Some(family) => (family, kind.name(), unit(family)),
            None => (name, "unknown", unit(name)),
        },
        (Format::OpenMetrics, Kind::Gauge | Kind::Histogram) => (name, kind.name(), unit(name)),
    };
    let mut line = |word: &str, text: &str| {
        for part in ["# ", word, " ", family, " ", text, "\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    };
    line("HELP", help);
    line("TYPE", kind);
    if let Some(unit) = unit {
        line("UNIT", unit);
    }
}
