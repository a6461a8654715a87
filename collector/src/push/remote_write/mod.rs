//! Prometheus' remote write 1.0: what a scrape of `/metrics` would give, pushed.
//!
//! The text is rendered by who renders it for scrapes, so names, labels, gating and bounds are the same. A series that
//! was there and is gone gets Prometheus' staleness marker, as a scrape would have left it.

mod message;
mod text;

use std::collections::HashSet;

use bytes::Bytes;
use prost::Message as _;

use self::message::{Label, Sample, TimeSeries, WriteRequest};
use super::Receiver;
use super::delivery::{Failure, Transport};
use super::http_client::HttpClient;
use super::queue::Request;
use crate::units::WallTime;

/// Series in one request, as many as Prometheus itself sends.
const SERIES_PER_REQUEST: usize = 2000;
/// The value that ends a series: a NaN with this payload.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Makes requests of texts.
#[derive(Debug)]
pub struct Writer {
    /// Labels of every series, such as `job` and `instance`.
    target: Vec<(String, String)>,
    /// The series of the last text.
    before: HashSet<Vec<Label>>,
}

impl Writer {
    /// Every series gets these labels unless it has them itself.
    pub fn new(target: Vec<(String, String)>) -> Self {
        Self { target, before: HashSet::new() }
    }

    /// The requests that tell what a text in Prometheus' format 0.0.4 does, at this time.
    pub fn requests(&mut self, text: &str, now: WallTime) -> Vec<Request> {
        let millis = i64::try_from(now.0 / 1_000_000).unwrap_or(i64::MAX);
        let mut seen = HashSet::with_capacity(self.before.len());
        let mut series = Vec::with_capacity(self.before.len());
        for line in text::series(text) {
            let labels = self.labels(line.name, line.labels);
            let timestamp = line.timestamp.unwrap_or(millis);
            // A text that names a series twice is wrong; the receiver would refuse all of it.
            if seen.insert(labels.clone()) {
                series.push(TimeSeries { labels, samples: vec![Sample { value: line.value, timestamp }] });
            }
        }
        let gone = self.before.difference(&seen).cloned();
        series.extend(gone.map(|labels| {
            let ended = Sample { value: f64::from_bits(STALE), timestamp: millis };
            TimeSeries { labels, samples: vec![ended] }
        }));
        self.before = seen;
        series.chunks(SERIES_PER_REQUEST).map(request).collect()
    }

    /// A series' labels, its name among them, sorted by name as the protocol wants it.
    fn labels(&self, name: &str, mut own: Vec<(String, String)>) -> Vec<Label> {
        for (key, value) in &self.target {
            if own.iter().all(|(other, _)| other != key) {
                own.push((key.clone(), value.clone()));
            }
        }
        own.push(("__name__".to_owned(), name.to_owned()));
        // A label without a value is one that is not there.
        own.retain(|(_, value)| !value.is_empty());
        own.sort_unstable();
        own.dedup_by(|a, b| a.0 == b.0);
        own.into_iter().map(|(name, value)| Label { name, value }).collect()
    }
}

fn request(series: &[TimeSeries]) -> Request {
    let message = WriteRequest { timeseries: series.to_vec() }.encode_to_vec();
    // Fails for more than 4 GiB only.
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap_or_default();
    Request { body: body.into(), points: series.len() as u64 }
}

/// Sends requests to one receiver.
#[derive(Clone, Debug)]
pub struct Exporter(HttpClient);

impl Exporter {
    /// For this receiver.
    pub fn new(receiver: &Receiver) -> Self {
        let fixed = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "0.1.0"),
        ];
        Self(HttpClient::new(receiver, receiver.url.clone(), &fixed))
    }
}

impl Transport for Exporter {
    async fn send(&self, body: Bytes) -> Result<u64, Failure> {
        self.0.post(body).await.map(|_| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer {
        Writer::new(vec![("instance".to_owned(), "node".to_owned()), ("job".to_owned(), "collector".to_owned())])
    }

    fn decoded(requests: Vec<Request>) -> Vec<(String, f64, i64)> {
        let mut all = Vec::new();
        for request in requests {
            let raw = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
            let message = WriteRequest::decode(&*raw).unwrap();
            assert_eq!(request.points, message.timeseries.len() as u64);
            for series in message.timeseries {
                let labels: Vec<_> =
                    series.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect();
                let [sample] = series.samples.as_slice() else { panic!("{series:?}") };
                all.push((labels.join(","), sample.value, sample.timestamp));
            }
        }
        all
    }

    #[test]
    fn a_text_is_pushed_as_it_would_be_scraped() {
        let text =
            "# HELP a b\n# TYPE a counter\na{z=\"1\",b=\"x\\n\"} 5\na{instance=\"own\"} 1.5e3 77\nb{empty=\"\"} +Inf\n";
        let now = WallTime(1_000_000_000_000);
        assert_eq!(
            decoded(writer().requests(text, now)),
            [
                ("__name__=a,b=x\n,instance=node,job=collector,z=1".to_owned(), 5.0, 1_000_000),
                ("__name__=a,instance=own,job=collector".to_owned(), 1500.0, 77),
                ("__name__=b,instance=node,job=collector".to_owned(), f64::INFINITY, 1_000_000),
            ]
        );
    }

    #[test]
    fn a_series_that_is_gone_ends() {
        let mut writer = writer();
        writer.requests("a 1\nb 2\n", WallTime(1_000_000));
        let second = decoded(writer.requests("a 3\na 4\n", WallTime(2_000_000)));
        assert_eq!(second.len(), 2, "a twice is told once: {second:?}");
        assert_eq!(
            (second[1].0.as_str(), second[1].1.to_bits(), second[1].2),
            ("__name__=b,instance=node,job=collector", STALE, 2)
        );
        assert_eq!(decoded(writer.requests("a 5\n", WallTime(3_000_000))).len(), 1);
    }

    #[test]
    fn long_texts_are_several_requests() {
        use std::fmt::Write as _;
        let mut text = String::new();
        for number in 0..4001 {
            writeln!(text, "a{{n=\"{number}\"}} 1").unwrap();
        }
        let requests = writer().requests(&text, WallTime(1));
        assert_eq!(requests.iter().map(|request| request.points).collect::<Vec<_>>(), [2000, 2000, 1]);
    }
}
