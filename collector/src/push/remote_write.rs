//! Prometheus' remote write 1.0: what a scrape of `/metrics` would give, pushed.
//!
//! The series are rendered by who renders them for scrapes, so names, labels, gating and bounds are the same, and come
//! compressed: those of a thousand containers are never in memory at once. A series that was there and is gone gets
//! Prometheus' staleness marker, as a scrape would have left it.

#[cfg(test)]
mod message;
mod series;

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufReader};

use bytes::Bytes;
use prost::encoding::encode_varint;

use super::delivery::{Failure, Transport};
use super::http_client::HttpClient;
use super::queue::Request;
use super::{InvalidReceiver, Receiver};
use crate::units::WallTime;

/// Series in one request, as many as Prometheus itself sends.
const SERIES_PER_REQUEST: u64 = 2000;
/// The value that ends a series: a NaN with this payload.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Makes requests of rendered series.
pub struct Writer {
    /// Labels of every series, such as `job` and `instance`, encoded, by name.
    target: Vec<(String, Vec<u8>)>,
    /// The series of the last page, compressed, and which these are.
    before: Vec<u8>,
    known: HashSet<u64>,
    /// Distinguishes series by their labels. Of a million series two are mistaken for one in one of forty million
    /// cases; a marker is missing then.
    hasher: RandomState,
}

impl Writer {
    /// Every series gets these labels unless it has them itself.
    pub fn new(mut target: Vec<(String, String)>) -> Self {
        target.sort_unstable();
        let encoded = |(name, value): (String, String)| {
            let label = series::label(&name, &value);
            (name, label)
        };
        let target = target.into_iter().filter(|(_, value)| !value.is_empty()).map(encoded).collect();
        Self { target, before: Vec::new(), known: HashSet::new(), hasher: RandomState::new() }
    }

    /// The requests that report these series, which are a zstd-compressed `prometheus.WriteRequest`, and of those that
    /// ended since the last time.
    ///
    /// # Errors
    /// When it is not such a message.
    pub fn requests(&mut self, page: Vec<u8>, now: WallTime) -> io::Result<Vec<Request>> {
        let mut batches = Batches::default();
        let mut seen = HashSet::with_capacity(self.known.len());
        each(&page, |one| {
            // A receiver refuses a request that has a series twice.
            if seen.insert(self.identity(one)) {
                batches.add(|out| {
                    let sample = series::append_labels(out, one, &self.target);
                    out.extend_from_slice(sample);
                });
            }
        })?;
        if self.known.iter().any(|identity| !seen.contains(identity)) {
            let marker = marker(now);
            each(&self.before, |one| {
                if !seen.contains(&self.identity(one)) {
                    batches.add(|out| {
                        series::append_labels(out, one, &self.target);
                        out.extend_from_slice(&marker);
                    });
                }
            })?;
        }
        (self.before, self.known) = (page, seen);
        Ok(batches.finish())
    }

    /// What stands for a series: it is the same while its labels are.
    fn identity(&self, one: &[u8]) -> u64 {
        self.hasher.hash_one(series::labels(one))
    }
}

/// Looks at each series of a compressed page.
fn each(page: &[u8], mut look: impl FnMut(&[u8])) -> io::Result<()> {
    if page.is_empty() {
        return Ok(());
    }
    let mut message = BufReader::with_capacity(64 << 10, zstd::stream::read::Decoder::with_buffer(page)?);
    let mut one = Vec::new();
    while series::read(&mut message, &mut one)? {
        look(&one);
    }
    Ok(())
}

/// The sample that ends a series.
fn marker(now: WallTime) -> Vec<u8> {
    let mut sample = vec![0x09];
    sample.extend_from_slice(&STALE.to_le_bytes());
    sample.push(0x10);
    encode_varint(now.millis(), &mut sample);
    // `TimeSeries.samples`.
    let mut field = vec![0x12];
    encode_varint(sample.len() as u64, &mut field);
    field.append(&mut sample);
    field
}

/// Series become requests of some size.
#[derive(Default)]
struct Batches {
    done: Vec<Request>,
    message: Vec<u8>,
    series: Vec<u8>,
    points: u64,
}

impl Batches {
    fn add(&mut self, make: impl FnOnce(&mut Vec<u8>)) {
        self.series.clear();
        make(&mut self.series);
        series::append_to_message(&mut self.message, &self.series);
        self.points += 1;
        if self.points == SERIES_PER_REQUEST {
            self.end();
        }
    }

    fn end(&mut self) {
        // Fails for more than 4 GiB only.
        let body = snap::raw::Encoder::new().compress_vec(&self.message).unwrap_or_default();
        self.done.push(Request { body: body.into(), points: self.points });
        self.message.clear();
        self.points = 0;
    }

    fn finish(mut self) -> Vec<Request> {
        if self.points > 0 {
            self.end();
        }
        self.done
    }
}

/// Sends requests to one receiver.
#[derive(Clone, Debug)]
pub struct Exporter(HttpClient);

impl Exporter {
    /// For this receiver.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub fn new(receiver: &Receiver) -> Result<Self, InvalidReceiver> {
        let fixed = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "0.1.0"),
        ];
        Ok(Self(HttpClient::new(receiver, receiver.url.clone(), &fixed)?))
    }
}

impl Transport for Exporter {
    async fn send(&self, body: Bytes) -> Result<u64, Failure> {
        self.0.post(body).await.map(|_| 0)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::message::{Label, Sample, TimeSeries, WriteRequest};
    use super::*;

    fn writer() -> Writer {
        Writer::new(vec![("job".to_owned(), "collector".to_owned()), ("instance".to_owned(), "node".to_owned())])
    }

    /// A page as it is rendered: `a,b=x` stands for the labels.
    fn page(series: &[(&str, f64, i64)]) -> Vec<u8> {
        let label = |text: &str| {
            let (name, value) = text.split_once('=').unwrap_or(("__name__", text));
            Label { name: name.to_owned(), value: value.to_owned() }
        };
        let one = |&(labels, value, timestamp): &(&str, f64, i64)| TimeSeries {
            labels: labels.split(',').map(label).collect(),
            samples: vec![Sample { value, timestamp }],
        };
        let message = WriteRequest { timeseries: series.iter().map(one).collect() };
        zstd::encode_all(&*message.encode_to_vec(), 1).unwrap()
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
    fn every_series_reports_whose_it_is() {
        let page = page(&[
            ("a,b=x\n,z=1", 5.0, 1_000_000),
            ("a,id=/,image=i,interface=eth0,name=n", 1500.0, 77),
            ("b", f64::INFINITY, -1),
            ("c,instance=own", 0.0, 1),
        ]);
        assert_eq!(
            decoded(writer().requests(page, WallTime(1)).unwrap()),
            [
                ("__name__=a,b=x\n,instance=node,job=collector,z=1".to_owned(), 5.0, 1_000_000),
                ("__name__=a,id=/,image=i,instance=node,interface=eth0,job=collector,name=n".to_owned(), 1500.0, 77),
                ("__name__=b,instance=node,job=collector".to_owned(), f64::INFINITY, -1),
                ("__name__=c,instance=own,job=collector".to_owned(), 0.0, 1),
            ]
        );
    }

    #[test]
    fn a_series_that_is_gone_ends() {
        let mut writer = writer();
        writer.requests(page(&[("a", 1.0, 1), ("b", 2.0, 1)]), WallTime(1_000_000)).unwrap();
        let second = page(&[("a", 3.0, 2), ("a", 4.0, 2)]);
        let second = decoded(writer.requests(second, WallTime(2_000_000)).unwrap());
        assert_eq!(second.len(), 2, "a twice is reported once: {second:?}");
        assert_eq!(
            (second[1].0.as_str(), second[1].1.to_bits(), second[1].2),
            ("__name__=b,instance=node,job=collector", STALE, 2)
        );
        assert_eq!(decoded(writer.requests(page(&[("a", 5.0, 3)]), WallTime(3_000_000)).unwrap()).len(), 1);
    }

    #[test]
    fn many_series_are_several_requests() {
        let labels: Vec<String> = (0..4001).map(|number| format!("a,n={number}")).collect();
        let series: Vec<_> = labels.iter().map(|labels| (labels.as_str(), 1.0, 1)).collect();
        let requests = writer().requests(page(&series), WallTime(1)).unwrap();
        assert_eq!(requests.iter().map(|request| request.points).collect::<Vec<_>>(), [2000, 2000, 1]);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let whole = zstd::encode_all(&[0x0a, 5, 0x0a, 3][..], 1).unwrap();
        for page in [&b"plain"[..], &whole, &whole[..whole.len() - 2]] {
            assert!(writer().requests(page.to_vec(), WallTime(1)).is_err());
        }
    }
}
