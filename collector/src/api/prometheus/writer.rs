//! Writes families: their heads, and a line per series, into one buffer.
//!
//! Nothing is allocated for a series: a line is put together from the family's name, the pieces of the container's
//! labels, and digits.

use std::collections::BTreeMap;

use super::doubling::Doubling;
use super::head::{Head, Kind};
use super::labels::{Arena, Block, Slot, append_escaped};
use super::number::append_digits;
use super::options::{CreatedLines, Format};
use super::protobuf;
use super::snapshot::Kill;
use super::value::{Label, Text, Value, append_text, append_value};
use crate::api::wire::json::lossy;
use crate::series::{self, unit};
use crate::units::WallTime;

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
    created_lines: CreatedLines,
    sink: Sink,
    /// The time of what has none of its own, where that has to be reported.
    at: WallTime,
    arena: &'a Arena,
    family: Option<Head>,
    /// What the names of the series have behind the family's: of a histogram they have several.
    suffix: &'static str,
    head_written: bool,
    /// The row whose series come now.
    block: Block,
    timestamp: Option<WallTime>,
    /// When the row's counters were 0.
    created: Option<WallTime>,
    /// Where the labels of the line that is written began.
    labels_at: usize,
    /// The metrics of a protobuf family so far.
    metrics: Vec<u8>,
    /// `timestamp` as text with a space before it.
    timestamp_text: Vec<u8>,
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
        (format, created_lines): (Format, CreatedLines),
        at: WallTime,
        arena: &'a Arena,
    ) -> Self {
        Self {
            out,
            drain,
            format,
            created_lines,
            sink: Sink::Write,
            at,
            arena,
            family: None,
            suffix: "",
            head_written: false,
            block: Block::default(),
            timestamp: None,
            created: None,
            labels_at: 0,
            metrics: Vec::new(),
            timestamp_text: Vec::new(),
            own: Vec::new(),
            number: Vec::new(),
            series: 0,
            left_out: 0,
        }
    }

    /// From now on series are written.
    pub(super) fn write(&mut self) {
        self.sink = Sink::Write;
        (self.series, self.left_out) = (0, 0);
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
        self.end();
        self.family = Some(family);
        self.head_written = false;
    }

    /// Ends what is under way: a protobuf family is written when all of it is there.
    pub(super) fn end(&mut self) {
        if let Some(family) = self.family.filter(|_| !self.metrics.is_empty()) {
            protobuf::append_family(self.out, family.name, family.help, family.kind, &self.metrics);
            self.metrics.clear();
        }
    }

    /// The container whose series come now: its labels, the time of its sample where that is reported, and when its
    /// counters were 0.
    pub(super) fn row(&mut self, block: &Block, timestamp: Option<WallTime>, created: Option<WallTime>) {
        self.block = block.clone();
        self.created = created;
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
        self.series += 1 + usize::from(self.created_line().is_some());
        if matches!(self.sink, Sink::Count) {
            return;
        }
        if matches!(self.format, Format::RemoteWrite | Format::Protobuf) {
            self.message(&[], value.into(), &[]);
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
        // Of a histogram only the buckets have all of them.
        let is_its = |name: &&str| self.suffix.is_empty() || self.suffix == "_bucket" || *name != "le";
        debug_assert!(
            self.family.is_none_or(|family| own.iter().map(|(name, _)| *name).eq(family
                .labels
                .iter()
                .copied()
                .filter(is_its))),
            "{:?} has other labels",
            self.family
        );
        self.series += 1 + usize::from(self.created_line().is_some());
        if matches!(self.sink, Sink::Count) {
            return;
        }
        if matches!(self.format, Format::RemoteWrite | Format::Protobuf) {
            self.message(own, value.into(), &[]);
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

    /// The series of a histogram: its buckets, how many there are in all, and their sum. Its labels beside `le` are sorted by
    /// name.
    pub(super) fn histogram(&mut self, own: &[Label<'_>], histogram: Doubling<'_>) {
        let (buckets, count) = (histogram.buckets(), histogram.count());
        if (self.format, matches!(self.sink, Sink::Write)) == (Format::Protobuf, true) {
            self.drain();
            self.series += buckets.len() + 3;
            self.labels_of_metric(own);
            let pairs = buckets.iter().map(|bucket| (bucket.bound, bucket.count));
            let mut value = protobuf::histogram(pairs, count, Value::from(histogram.sum()).number(), self.created);
            protobuf::append_native(&mut value, &histogram.native());
            protobuf::append_histogram(&mut self.metrics, &mut self.own, &value, self.timestamp);
            return self.end_piece();
        }
        self.suffix = "_bucket";
        let at = own.partition_point(|(name, _)| *name < "le");
        let mut labels = own.to_vec();
        labels.insert(at, ("le", Text::Is("+Inf")));
        for bucket in buckets {
            labels[at].1 = Text::Is(bucket.text);
            self.with(&labels, bucket.count);
        }
        labels[at].1 = Text::Is("+Inf");
        self.with(&labels, count);
        self.suffix = "_sum";
        self.with(own, histogram.sum());
        self.suffix = "_count";
        self.with(own, count);
        self.suffix = "";
    }

    /// The same with an OOM kill as exemplar, where the format has exemplars.
    pub(super) fn value_with_exemplar(&mut self, value: impl Into<Value>, kill: Option<&Kill>) {
        if let (Some(kill), Sink::Write, Format::Protobuf) = (kill, &self.sink, self.format) {
            self.series += 1;
            let command = kill.command.as_deref().map(lossy).unwrap_or_default();
            let labels = [("command", command.as_bytes()), ("pid", kill.pid.to_string().as_bytes())]
                .map(|(name, value)| (name, value.to_vec()));
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_slice()));
            return self.message(&[], value.into(), &protobuf::exemplar(&labels, kill.at));
        }
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
    pub(super) fn application(&mut self, name: &str, help: &str, own: &BTreeMap<String, &str>, value: Value) {
        self.drain();
        let labels = &self.arena.text[self.block.all()];
        if self.format == Format::Protobuf {
            let (metric, mut metrics) = (&mut self.own, Vec::new());
            metric.clear();
            for (name, value) in own {
                protobuf::append_label(metric, name, value.as_bytes());
            }
            metric.extend_from_slice(labels);
            let point =
                protobuf::Point { kind: Kind::Gauge, value: value.number(), created: None, exemplar: &[], at: None };
            protobuf::append_metric(&mut metrics, metric, point);
            // One for each series: nobody looks at how many of one name there are.
            protobuf::append_family(self.out, name, help, Kind::Gauge, &metrics);
            return;
        }
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
        self.out.extend_from_slice(self.suffix.as_bytes());
        self.labels_at = self.out.len();
    }

    /// The name without suffix and the time of a `_created` line, where there is one.
    fn created_line(&self) -> Option<(&'static str, WallTime)> {
        if self.created_lines == CreatedLines::Off || self.format != Format::OpenMetrics {
            return None;
        }
        let family = self.family.filter(|family| family.kind == Kind::Counter)?;
        Some((family.name.strip_suffix("_total")?, self.created?))
    }

    fn finish(&mut self, value: Value) {
        let labels = self.labels_at..self.out.len();
        self.out.push(b' ');
        append_value(self.out, value);
        self.out.extend_from_slice(&self.timestamp_text);
        self.out.push(b'\n');
        if let Some((name, created)) = self.created_line() {
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"_created");
            self.out.extend_from_within(labels);
            append_timestamp(self.out, self.format, created);
            self.out.push(b'\n');
        }
    }

    /// A series that is pushed, or a metric of protobuf with its exemplar.
    fn message(&mut self, own: &[Label<'_>], value: Value, exemplar: &[u8]) {
        self.drain();
        let Some(family) = self.family else { return };
        if self.format == Format::Protobuf {
            return self.metric(family, own, value, exemplar);
        }
        // The series of a histogram come one container after the other, and change names each time.
        if !self.head_written || family.kind == Kind::Histogram {
            self.head_written = true;
            series::append_family(self.out, [family.name, self.suffix], family.help, family.kind.metric_type());
        }
        self.own.clear();
        for (name, text) in own {
            series::append_label(&mut self.own, name, label_bytes(text, &mut self.number));
        }
        let at = self.timestamp.unwrap_or(self.at).millis();
        let start = self.created.filter(|_| family.kind == Kind::Counter).map_or(0, WallTime::millis);
        series::append_series(self.out, self.block.all(), &self.own, value.number(), [at, start]);
    }

    fn metric(&mut self, family: Head, own: &[Label<'_>], value: Value, exemplar: &[u8]) {
        self.labels_of_metric(own);
        let (created, at) = (self.created, self.timestamp);
        let point = protobuf::Point { kind: family.kind, value: value.number(), created, exemplar, at };
        protobuf::append_metric(&mut self.metrics, &mut self.own, point);
        self.end_piece();
    }

    /// Begins a metric of protobuf: the container's labels, and those of its own among them.
    fn labels_of_metric(&mut self, own: &[Label<'_>]) {
        let metric = &mut self.own;
        metric.clear();
        let mut own = own.iter().peekable();
        for slot in Slot::ALL {
            metric.extend_from_slice(&self.arena.text[self.block.before(slot)]);
            while let Some((name, text)) = own.next_if(|(name, _)| Slot::of(name) <= slot) {
                protobuf::append_label(metric, name, label_bytes(text, &mut self.number));
            }
        }
    }

    fn end_piece(&mut self) {
        if self.metrics.len() >= PIECE {
            // The rest comes in another message of the same name, so that no family is whole in memory.
            self.end();
        }
    }

    /// Appends a family that is rendered elsewhere.
    pub(super) fn foreign(&mut self, append: impl FnOnce(&mut Vec<u8>, Format)) {
        self.end();
        append(self.out, self.format);
    }
}

/// A label's value as it is, where a line of text has it escaped.
fn label_bytes<'a>(text: &'a Text<'_>, number: &'a mut Vec<u8>) -> &'a [u8] {
    if let Text::Is(text) = text {
        return text.as_bytes();
    }
    number.clear();
    append_text(number, *text);
    number
}

/// Ends labels, each with a comma after it; of none there is not even a brace.
pub(crate) fn close(out: &mut Vec<u8>) {
    let last = out.pop();
    if last == Some(b',') {
        out.push(b'}');
    }
}

/// A space and a time: milliseconds, or in `OpenMetrics` seconds.
pub(crate) fn append_timestamp(out: &mut Vec<u8>, format: Format, at: WallTime) {
    let millis = at.millis();
    out.push(b' ');
    match format {
        // Messages have them elsewhere.
        Format::RemoteWrite | Format::Protobuf => {}
        Format::Text => append_digits(out, millis),
        Format::OpenMetrics => {
            append_digits(out, millis / 1000);
            out.push(b'.');
            let fraction = millis % 1000;
            out.extend([fraction / 100, fraction / 10 % 10, fraction % 10].map(|digit| b'0' + digit as u8));
        }
    }
}

/// `# HELP`, `# TYPE`, and in `OpenMetrics` `# UNIT` where the name ends in one.
pub(crate) fn append_head(out: &mut Vec<u8>, format: Format, name: &str, help: &str, kind: Kind) {
    // In OpenMetrics a counter's family has no suffix and its series have one. A counter that cAdvisor named without
    // it could only keep its name as a family of unknown type.
    let (family, kind, unit) = match (format, kind) {
        (Format::RemoteWrite, _) => return series::append_family(out, [name, ""], help, kind.metric_type()),
        (Format::Protobuf, _) => return,
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
