//! OpenTelemetry's protocol (OTLP): containers as resources, their numbers as the metrics of the semantic conventions.

mod encode;
mod transport;

use super::observe::Observed;
use super::queue::Request;

pub use encode::Host;
pub use transport::Exporter;

/// Containers in one request. Half a megabyte at most; receivers of gRPC accept four as a rule.
const CONTAINERS_PER_REQUEST: usize = 256;

/// The requests that report these containers.
pub fn requests(observed: &[Observed], host: &Host) -> Vec<Request> {
    observed.chunks(CONTAINERS_PER_REQUEST).map(|containers| encode::request(containers, host)).collect()
}
