//! `InfluxDB`'s line protocol: cAdvisor's storage driver `influxdb`, with its measurements and tags, and all the other
//! statistics in the same style. Version 1 of the API takes a database, versions 2 and 3 an organization and a bucket.

use super::delivery::{Failure, Transport};
use super::http_client::InvalidReceiver;
use super::http_client::{HttpClient, busy_or_broken};
use super::observe::Observed;
use super::otlp::compressed;
use super::queue::Request;
use super::statistics::{Detail, Number, ROWS, Seen};
use super::{Compression, Receiver};
use crate::client::tls::Version;
use crate::sample::container::Sample;

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
        for sample in &container.samples {
            points += append(&mut lines, &tags, container, sample, memory);
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

fn append(out: &mut Vec<u8>, tags: &str, container: &Observed, sample: &Sample, memory: Option<u64>) -> u64 {
    let seen = Seen { sample, spec: &container.spec, storage: container.storage.as_deref(), machine_memory: memory };
    let mut count = 0;
    let mut own = String::new();
    for row in ROWS {
        if row.influx.is_empty() || (row.detail == Detail::OnRequest && !CADVISORS.contains(&row.influx)) {
            continue;
        }
        for point in row.points(&seen) {
            own.clear();
            for (key, value) in row.tags {
                append_tag(&mut own, key, value);
            }
            for (label, value) in &point.labels {
                append_tag(&mut own, label.tag(), value);
            }
            let value = match point.number {
                // The database has no larger numbers.
                Number::Count(value) | Number::Nanos(value) | Number::Hundredths(value) => {
                    i64::try_from(value).unwrap_or(i64::MAX)
                }
                Number::Signed(value) => value,
            };
            for part in [row.influx, tags, &own, " value=", &value.to_string(), "i ", &sample.at.0.to_string(), "\n"] {
                out.extend_from_slice(part.as_bytes());
            }
            count += 1;
        }
    }
    count
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
    use crate::push::statistics::Kinds;
    use crate::sample::container::{Cpu, Faults, Memory};
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
            kinds: Kinds::default(),
            previous_kinds: None,
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
