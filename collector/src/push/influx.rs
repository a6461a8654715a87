//! `InfluxDB`'s line protocol: cAdvisor's storage driver `influxdb`, with its measurements and tags, and all the other
//! statistics in the same style. Version 1 of the API takes a database, versions 2 and 3 an organization and a bucket.

use std::borrow::Cow;

use super::delivery::{Failure, Transport};
use super::http_client::InvalidReceiver;
use super::http_client::{HttpClient, busy_or_broken};
use super::observe::Observed;
use super::otlp::compressed;
use super::queue::Request;
use super::statistics::{Detail, HISTOGRAMS, Label, Number, ROWS, Seen, Times};
use super::{Compression, Receiver};
use crate::client::tls::Version;
use crate::sample::doubling::exponent;

/// Bytes of one request before it is compressed: `InfluxDB` recommends some thousand lines.
const BYTES_PER_REQUEST: usize = 1 << 20;
/// Statistics with many values for each container that cAdvisor writes.
const CADVISORS: [&str; 2] = ["cpu_usage_per_cpu", "perf_stat"];

/// Sends requests to one receiver.
#[derive(Clone, Debug)]
pub struct Exporter(HttpClient);

impl Exporter {
    /// For this receiver; its URL says where the points go.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub fn new(receiver: &Receiver) -> Result<Self, InvalidReceiver> {
        Ok(Self(HttpClient::new(receiver, receiver.url.clone(), Version::Http1)?))
    }
}

impl Transport for Exporter {
    async fn send(&self, request: &Request) -> Result<u64, Failure> {
        let headers = [("content-type", "text/plain; charset=utf-8"), ("content-encoding", "gzip")];
        self.0.post(&headers, request.body.clone()).await?.accepted(busy_or_broken)?;
        Ok(0)
    }
}

/// The requests that report these containers, all of their samples.
pub fn requests(observed: &[Observed], machine: &str, memory: Option<u64>) -> Vec<Request> {
    let mut requests = Vec::new();
    let (mut lines, mut points) = (Vec::new(), 0);
    let mut end = |lines: &mut Vec<u8>, points: &mut u64| {
        let body = compressed(std::mem::take(lines).into(), Compression::Gzip);
        requests.push(Request { body, points: std::mem::take(points) });
    };
    for container in observed {
        let tags = tags(container, machine);
        for (position, sample) in container.samples.iter().enumerate() {
            let is_newest = position + 1 == container.samples.len();
            // What is known beside samples is of now.
            let beside = is_newest.then_some(&container.beside);
            let seen = Seen {
                sample,
                spec: &container.spec,
                identity: container.identity.as_deref(),
                storage: container.storage.as_deref(),
                beside,
                machine_memory: memory,
            };
            points += append(&mut lines, &tags, &seen);
            if lines.len() > BYTES_PER_REQUEST {
                end(&mut lines, &mut points);
            }
        }
    }
    if points > 0 {
        end(&mut lines, &mut points);
    }
    requests
}

/// Those that every point of a container has: whose it is, and its labels.
fn tags(container: &Observed, machine: &str) -> String {
    let path = String::from_utf8_lossy(&container.name);
    let identity = container.identity.as_deref();
    let name = identity.and_then(|identity| identity.aliases().next()).unwrap_or(&path);
    let mut tags = String::new();
    for (key, value) in identity.into_iter().flat_map(|identity| &identity.labels) {
        // The driver's own tags go before a label of that name.
        if key != "machine" && key != "container_name" {
            append_tag(&mut tags, key, value);
        }
    }
    append_tag(&mut tags, "machine", machine);
    append_tag(&mut tags, "container_name", name);
    tags
}

fn append(out: &mut Vec<u8>, tags: &str, seen: &Seen<'_>) -> u64 {
    let mut lines = Lines { out, tags, at: seen.sample.at.0.to_string(), count: 0 };
    let mut own = String::new();
    for row in ROWS {
        if row.influx.is_empty() || (row.detail == Detail::OnRequest && !CADVISORS.contains(&row.influx)) {
            continue;
        }
        for point in row.points(seen) {
            own.clear();
            for (key, value) in row.tags {
                append_tag(&mut own, key, value);
            }
            append_labels(&mut own, &point.labels);
            let value = match point.number {
                Number::Count(value)
                | Number::Nanos(value)
                | Number::Hundredths(value)
                | Number::Thousandths(value) => most(value),
                Number::Signed(value) => value,
            };
            lines.add(["", row.influx], &own, value);
        }
    }
    for histogram in HISTOGRAMS {
        for Times { labels, counts, sum } in seen.beside.map(|beside| histogram.times(beside)).unwrap_or_default() {
            let mut below = 0_u64;
            for (bucket, count) in counts.iter().enumerate() {
                below = below.saturating_add(*count);
                let bound = exponent(histogram.first, bucket).map(|exponent| f64::from(exponent).exp2().to_string());
                own.clear();
                append_labels(&mut own, &labels);
                append_tag(&mut own, "le", bound.as_deref().unwrap_or("+Inf"));
                lines.add([histogram.influx, "_bucket"], &own, most(below));
            }
            own.clear();
            append_labels(&mut own, &labels);
            lines.add([histogram.influx, "_sum"], &own, most(sum.0));
            lines.add([histogram.influx, "_count"], &own, most(below));
        }
    }
    lines.count
}

/// The database has no larger numbers.
fn most(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Points of one sample.
struct Lines<'a> {
    out: &'a mut Vec<u8>,
    tags: &'a str,
    at: String,
    count: u64,
}

impl Lines<'_> {
    fn add(&mut self, [name, end]: [&str; 2], own: &str, value: i64) {
        for part in [name, end, self.tags, own, " value=", &value.to_string(), "i ", &self.at, "\n"] {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.count += 1;
    }
}

fn append_labels(out: &mut String, labels: &[(Label, Cow<'_, str>)]) {
    for (label, value) in labels {
        append_tag(out, label.tag(), value);
    }
}

/// Appends `,key=value`. A text ends where its escapes do: what they are made of, and ends of lines, are underscores.
fn append_tag(out: &mut String, key: &str, value: &str) {
    if key.is_empty() || value.is_empty() {
        return;
    }
    out.push(',');
    for (text, end) in [(key, "="), (value, "")] {
        for letter in text.chars() {
            match letter {
                ',' | '=' | ' ' => out.extend(['\\', letter]),
                '\\' | '\n' | '\r' => out.push('_'),
                _ => out.push(letter),
            }
        }
        out.push_str(end);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;
    use std::sync::Arc;

    use super::*;
    use crate::push::statistics::{Beside, counted};
    use crate::sample::container::{Cpu, Faults, Memory, Sample};
    use crate::sample::identity::{Identity, Runtime};
    use crate::units::{Bytes, Nanos, WallTime};

    fn observed() -> Observed {
        let mut identity = Identity::from_path(Runtime::Docker, "abc".to_owned());
        identity.name = Some("web".to_owned());
        let labels = [("a=b", "x, y\\"), ("machine", "other"), ("none", "")];
        identity.labels =
            labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect::<BTreeMap<_, _>>();
        let cpu = Cpu { total: Nanos(1_500_000_000), per_cpu: Some(vec![Nanos(7)]), ..Cpu::default() };
        let memory =
            Memory { usage: Bytes(100), own_faults: Faults { pgfault: 3, pgmajfault: 1 }, ..Memory::default() };
        let sample = Sample { at: WallTime(9), cpu: Some(cpu), memory: Some(memory), ..Sample::default() };
        Observed {
            name: b"/docker/abc".as_slice().into(),
            identity: Some(Arc::new(identity)),
            pod: None,
            spec: crate::sample::spec::Spec::default(),
            previous: None,
            samples: vec![Arc::new(sample)],
            storage: None,
            beside: Beside::default(),
        }
    }

    fn text(requests: &[Request]) -> String {
        let mut text = String::new();
        for request in requests {
            let mut part = String::new();
            flate2::read::GzDecoder::new(&*request.body).read_to_string(&mut part).unwrap();
            assert_eq!(part.lines().count() as u64, request.points);
            text.push_str(&part);
        }
        text
    }

    #[test]
    fn points_have_cadvisors_names() {
        let lines = text(&requests(&[observed()], "node 1", None));
        let whose = ",a\\=b=x\\,\\ y_,machine=node\\ 1,container_name=web";
        for line in [
            format!("cpu_usage_total{whose} value=1500000000i 9\n"),
            format!("cpu_usage_per_cpu{whose},instance=0 value=7i 9\n"),
            format!("memory_usage{whose} value=100i 9\n"),
            format!("memory_failure{whose},failure_type=pgfault,scope=container value=3i 9\n"),
            format!("memory_failure{whose},failure_type=pgmajfault,scope=container value=1i 9\n"),
        ] {
            assert!(lines.contains(&line), "{line} is not in\n{lines}");
        }
        assert!(!lines.contains("memory_swap"), "what is not known is absent: {lines}");
    }

    #[test]
    fn what_is_beside_samples_is_of_the_newest() {
        let mut one = observed();
        one.beside = counted();
        let older = Sample::clone(&one.samples[0]);
        one.samples.insert(0, Arc::new(Sample { at: WallTime(8), ..older }));
        let lines = text(&requests(&[one], "node", None));
        let of = |name: &str| lines.lines().filter(|line| line.starts_with(&format!("{name},"))).collect::<Vec<_>>();
        assert_eq!(of("cpu_usage_total").len(), 2);
        let [waits] = of("runqueue_wait_count")[..] else { panic!("{lines}") };
        assert!(waits.ends_with(" value=276i 9"), "{waits}");
        let buckets = of("blkio_device_bucket");
        assert_eq!(buckets.len(), crate::sample::doubling::BUCKETS);
        assert!(buckets[18].contains(",operation=write,device=/dev/sda,le=1 value=171i"), "{}", buckets[18]);
        assert!(buckets[23].contains(",le=+Inf value=276i"), "{}", buckets[23]);
        assert!(of("blkio_device_sum")[0].contains(" value=5000000000i"));
    }

    #[test]
    fn requests_are_bounded() {
        let mut one = observed();
        let sample = Arc::clone(&one.samples[0]);
        one.samples = vec![sample; 2000];
        let requests = requests(&[one], "node", None);
        assert!(requests.len() > 1, "{}", requests.len());
        text(&requests);
    }

    proptest::proptest! {
        #[test]
        fn a_label_makes_no_line(key in "\\PC*|[,= \\\\\n]*", value in "\\PC*|[,= \\\\\n\"]*") {
            let mut out = String::new();
            append_tag(&mut out, &key, &value);
            // As the database reads it: unescaped commas and spaces end a tag, an unescaped = its key.
            let mut letters = out.chars();
            let mut ends = 0;
            while let Some(letter) = letters.next() {
                match letter {
                    '\\' => proptest::prop_assert!(matches!(letters.next(), Some(',' | '=' | ' '))),
                    ',' | '=' | ' ' => ends += 1,
                    '\n' => proptest::prop_assert!(false, "{out:?}"),
                    _ => {}
                }
            }
            proptest::prop_assert!(ends == 2 || out.is_empty(), "{:?}", out);
        }
    }
}
