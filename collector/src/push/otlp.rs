//! OpenTelemetry's protocol (OTLP): containers as resources, their numbers as the metrics of the semantic conventions,
//! their events as logs.

mod delta;
mod encode;
mod histograms;
mod logs;
mod resource;
mod transport;
mod values;

use std::io::Write as _;

use bytes::Bytes;
use flate2::write::GzEncoder;

use super::Compression;
use super::observe::Observed;
use super::queue::Request;

pub use encode::Style;
pub use logs::EventLogs;
pub use resource::Host;
pub use transport::{Exporter, Signal};

/// Containers in one request. A megabyte or two before it is compressed; receivers of gRPC accept four as a rule.
const CONTAINERS_PER_REQUEST: usize = 256;

/// The requests that report these containers.
pub fn requests(observed: &[Observed], host: &Host, style: Style, compression: Compression) -> Vec<Request> {
    let requests = observed.chunks(CONTAINERS_PER_REQUEST).map(|containers| encode::request(containers, host, style));
    requests.map(|request| Request { body: compressed(request.body, compression), ..request }).collect()
}

pub(super) fn compressed(body: Bytes, compression: Compression) -> Bytes {
    match compression {
        Compression::None => body,
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), flate2::Compression::fast());
            // It is written to memory.
            let written = encoder.write_all(&body).and_then(|()| encoder.finish());
            written.unwrap_or_default().into()
        }
    }
}
