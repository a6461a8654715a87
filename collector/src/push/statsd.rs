//! statsd: cAdvisor's storage driver of that name. Gauges by UDP, with its names: `namespace.container.name:value|g`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{UdpSocket, lookup_host};

use super::delivery::{Failure, Transport};
use super::observe::Observed;
use super::queue::Request;
use super::statistics::{Number, ROWS, Seen};

/// Bytes of a datagram: none is torn apart on the way.
const DATAGRAM: usize = 1400;
/// Bytes of one request.
const BYTES_PER_REQUEST: usize = 1 << 20;

/// Sends requests to one receiver. What is lost on the way nobody notices; that nobody listens may be.
#[derive(Clone, Debug)]
pub struct Exporter {
    /// Host and port.
    address: String,
}

impl Exporter {
    /// For the receiver at this address.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned() }
    }

    async fn socket(&self) -> std::io::Result<UdpSocket> {
        let mut last = std::io::ErrorKind::NotFound.into();
        for address in lookup_host(&self.address).await? {
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any).await?;
            match socket.connect(address).await {
                Ok(()) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Transport for Exporter {
    async fn send(&self, request: &Request) -> Result<u64, Failure> {
        let socket = self.socket().await.map_err(|error| Failure::temporary(&error))?;
        for datagram in datagrams(&request.body) {
            socket.send(datagram).await.map_err(|error| Failure::temporary(&error))?;
        }
        Ok(0)
    }
}

/// Whole lines, as many as fit.
fn datagrams(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if lines.is_empty() {
            return None;
        }
        let fits = lines.len().min(DATAGRAM);
        let ends_line = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
        // A line that is longer goes alone.
        let end = if lines.len() <= DATAGRAM {
            lines.len()
        } else {
            let first = || lines.iter().position(|byte| *byte == b'\n');
            ends_line(&lines[..fits]).or_else(first).map_or(lines.len(), |end| end + 1)
        };
        let (datagram, rest) = lines.split_at(end);
        lines = rest;
        Some(datagram)
    })
}

/// The requests that report the newest sample of these containers.
pub fn requests(observed: &[Observed], namespace: &str) -> Vec<Request> {
    let mut requests = Vec::new();
    let (mut lines, mut points) = (String::new(), 0);
    let mut end = |lines: &mut String, points: &mut u64| {
        requests.push(Request { body: std::mem::take(lines).into(), points: std::mem::take(points) });
    };
    for container in observed {
        points += append(&mut lines, namespace, container);
        if lines.len() > BYTES_PER_REQUEST {
            end(&mut lines, &mut points);
        }
    }
    if points > 0 {
        end(&mut lines, &mut points);
    }
    requests
}

fn append(lines: &mut String, namespace: &str, container: &Observed) -> u64 {
    let Some(sample) = container.samples.last() else { return 0 };
    let path = String::from_utf8_lossy(&container.name);
    let name = container.identity.as_deref().and_then(|identity| identity.aliases().next()).unwrap_or(&path);
    let seen = Seen {
        sample,
        spec: &container.spec,
        identity: container.identity.as_deref(),
        storage: container.storage.as_deref(),
        beside: Some(&container.beside),
        machine_memory: None,
    };
    let mut count = 0;
    for row in ROWS.iter().filter(|row| !row.statsd.is_empty()) {
        let points = row.points(&seen);
        // By interface or device; of those it has the sum, and of file systems each one too.
        let value = |number| match number {
            Number::Count(value) | Number::Nanos(value) | Number::Hundredths(value) | Number::Thousandths(value) => {
                value
            }
            Number::Signed(value) => value.cast_unsigned(),
        };
        if points.is_empty() {
            continue;
        }
        let sum = points.iter().fold(0_u64, |sum, point| sum.saturating_add(value(point.number)));
        let is_filesystem = row.statsd.starts_with("fs_");
        let whole = if is_filesystem { format!("fs_summary.{}", row.statsd) } else { row.statsd.to_owned() };
        append_line(lines, [namespace, name, &whole], sum);
        count += 1;
        for point in points.iter().filter(|_| is_filesystem) {
            let device = point.labels.first().map_or("", |(_, device)| device);
            append_line(lines, [namespace, name, &format!("{device}.{}", row.statsd)], value(point.number));
            count += 1;
        }
    }
    count
}

/// What ends a name is an underscore in one.
fn append_line(lines: &mut String, parts: [&str; 3], value: u64) {
    for (position, part) in parts.into_iter().enumerate() {
        if position > 0 {
            lines.push('.');
        }
        let safe = |letter: char| {
            if letter.is_control() || matches!(letter, ':' | '|' | '@' | '#' | ' ') { '_' } else { letter }
        };
        lines.extend(part.chars().map(safe));
    }
    for part in [":", &value.to_string(), "|g\n"] {
        lines.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::push::statistics::Beside;
    use crate::sample::container::{Cpu, Interface, Network, Sample, Traffic};
    use crate::sample::spec::Spec;
    use crate::units::Nanos;

    fn observed(path: &str) -> Observed {
        let traffic = |bytes| Traffic { bytes, ..Traffic::default() };
        let interface = |bytes| Interface { name: "eth0".into(), receive: traffic(bytes), transmit: traffic(0) };
        let sample = Sample {
            cpu: Some(Cpu { total: Nanos(5), ..Cpu::default() }),
            network: Some(Network { interfaces: vec![interface(1), interface(2)], ..Network::default() }),
            ..Sample::default()
        };
        Observed {
            name: path.as_bytes().into(),
            identity: None,
            pod: None,
            spec: Spec::default(),
            previous: None,
            samples: vec![Arc::new(sample)],
            storage: None,
            beside: Beside::default(),
        }
    }

    #[test]
    fn lines_have_cadvisors_names() {
        let [request] = requests(&[observed("/a:b|c\nd")], "cadvisor").try_into().unwrap();
        let text = String::from_utf8(request.body.to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len() as u64, request.points);
        assert!(lines.contains(&"cadvisor./a_b_c_d.cpu_cumulative_usage:5|g"), "{lines:?}");
        assert!(lines.contains(&"cadvisor./a_b_c_d.rx_bytes:3|g"), "{lines:?}");
    }

    #[test]
    fn datagrams_hold_whole_lines() {
        let lines = "number:1|g\n".repeat(500) + &"x".repeat(3000) + "\nlast\n";
        let all: Vec<&[u8]> = datagrams(lines.as_bytes()).collect();
        assert_eq!(all.concat(), lines.as_bytes());
        assert!(all.iter().all(|datagram| datagram.ends_with(b"\n")));
        assert!(all.iter().filter(|datagram| datagram.len() > DATAGRAM).count() == 1);
    }
}
