//! What containers use by the runtime's word, over the container runtime interface: asked only while there is a container
//! of which the kernel sees nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::cri::{Filter, ListRequest};
use super::cri_storage::Attributes;
use super::error::RuntimeError;
use super::grpc::Connection;
use crate::bounds::Bound;
use crate::sample::identity::Runtime;
use crate::sample::runtime_usage::RuntimeUsage;
use crate::units::{Bytes, Nanos, WallTime};

const LIST_STATS: &str = "/runtime.v1.RuntimeService/ListContainerStats";

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The runtime works for us during at most one part of so many: it looks at every container for an answer.
const SHARE: u32 = 10;

/// `ListContainerStatsResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Answer {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<ContainerStats>,
}

/// `ContainerStats`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ContainerStats {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
    #[prost(message, optional, tag = "2")]
    cpu: Option<CpuUsage>,
    #[prost(message, optional, tag = "3")]
    memory: Option<MemoryUsage>,
}

/// `CpuUsage`. Times are nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct CpuUsage {
    #[prost(int64, tag = "1")]
    timestamp: i64,
    #[prost(message, optional, tag = "2")]
    usage_core_nano_seconds: Option<Number>,
}

/// `MemoryUsage`. Before containerd 1.7 there is only the working set.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct MemoryUsage {
    #[prost(int64, tag = "1")]
    timestamp: i64,
    #[prost(message, optional, tag = "2")]
    working_set_bytes: Option<Number>,
    #[prost(message, optional, tag = "4")]
    usage_bytes: Option<Number>,
    #[prost(message, optional, tag = "5")]
    rss_bytes: Option<Number>,
    #[prost(message, optional, tag = "6")]
    page_faults: Option<Number>,
    #[prost(message, optional, tag = "7")]
    major_page_faults: Option<Number>,
}

/// `UInt64Value`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Number {
    #[prost(uint64, tag = "1")]
    value: u64,
}

/// What containers use, by their ids.
pub type Usages = HashMap<String, RuntimeUsage>;

/// How often runtimes are asked what containers use, about which, and who wants to know.
#[derive(Clone)]
pub struct UsageQuestions {
    every: Duration,
    wanted: Arc<dyn Fn(Runtime) -> Vec<Arc<str>> + Send + Sync>,
    used: Arc<dyn Fn(Usages) + Send + Sync>,
}

impl fmt::Debug for UsageQuestions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageQuestions").field("every", &self.every).finish_non_exhaustive()
    }
}

impl UsageQuestions {
    /// At most so often, about the ids of a runtime's containers that `wanted` names; `used` is given the answers.
    pub fn new(
        every: Duration,
        wanted: impl Fn(Runtime) -> Vec<Arc<str>> + Send + Sync + 'static,
        used: impl Fn(Usages) + Send + Sync + 'static,
    ) -> Self {
        Self { every, wanted: Arc::new(wanted), used: Arc::new(used) }
    }

    /// Asks a runtime, now and then, for as long as it is there.
    pub(super) async fn follow(&self, runtime: Runtime, connection: &Connection) -> String {
        let mut pause = self.every;
        loop {
            sleep(pause).await;
            pause = self.every;
            let wanted = (self.wanted)(runtime);
            if wanted.is_empty() {
                continue;
            }
            let begun = Instant::now();
            match ask(connection, &wanted).await {
                Ok(usages) => (self.used)(usages),
                // containerd without its CRI plugin.
                Err(RuntimeError::Unspoken(_)) => return std::future::pending().await,
                Err(error) => tracing::debug!(
                    runtime = runtime.namespace(), %error,
                    "the runtime does not report what its containers use"
                ),
            }
            pause = pause.max(begun.elapsed() * SHARE);
        }
    }
}

/// One call for all of them.
async fn ask(connection: &Connection, wanted: &[Arc<str>]) -> Result<Usages, RuntimeError> {
    let filter = match wanted {
        [one] => Some(Filter { id: one.as_ref().to_owned() }),
        _ => None,
    };
    let call = connection.call::<_, Answer>(LIST_STATS, ListRequest { filter }, None);
    let answer = timeout(PATIENCE, call).await.unwrap_or_else(|_| {
        Bound::RuntimeAnswerTime.exceeded();
        Err(RuntimeError::TooSlow(PATIENCE))
    })?;
    let usages = answer.containers.into_iter().filter_map(usage);
    Ok(usages.filter(|(id, _)| wanted.iter().any(|wanted| **wanted == **id)).collect())
}

fn usage(stats: ContainerStats) -> Option<(String, RuntimeUsage)> {
    let ContainerStats { attributes, cpu, memory } = stats;
    let times = [cpu.map(|cpu| cpu.timestamp), memory.map(|memory| memory.timestamp)];
    let at = times.into_iter().flatten().filter_map(|at| u64::try_from(at).ok()).max().filter(|at| *at > 0)?;
    let of_memory = |get: fn(MemoryUsage) -> Option<Number>| memory.and_then(get).map(|number| number.value);
    let usage = RuntimeUsage {
        at: WallTime(at),
        cpu: cpu.and_then(|cpu| cpu.usage_core_nano_seconds).map(|number| Nanos(number.value)),
        memory: of_memory(|memory| memory.usage_bytes).map(Bytes),
        working_set: of_memory(|memory| memory.working_set_bytes).map(Bytes),
        rss: of_memory(|memory| memory.rss_bytes).map(Bytes),
        faults: of_memory(|memory| memory.page_faults),
        major_faults: of_memory(|memory| memory.major_page_faults),
    };
    Some((attributes?.id, usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn number(value: u64) -> Number {
        Number { value }
    }

    #[test]
    fn what_is_not_said_is_absent() {
        let attributes = Some(Attributes { id: "abc".to_owned() });
        let cpu = Some(CpuUsage { timestamp: 9, usage_core_nano_seconds: Some(number(12_500)) });
        // As containerd 1.6 has it.
        let memory = MemoryUsage { timestamp: 8, working_set_bytes: Some(number(4_096)), ..MemoryUsage::default() };
        let stats = ContainerStats { attributes, cpu, memory: Some(memory) };
        let expected = RuntimeUsage {
            at: WallTime(9),
            cpu: Some(Nanos(12_500)),
            working_set: Some(Bytes(4_096)),
            ..RuntimeUsage::default()
        };
        assert_eq!(usage(stats.clone()), Some(("abc".to_owned(), expected)));
        let more = MemoryUsage {
            usage_bytes: Some(number(8_192)),
            rss_bytes: Some(number(1)),
            page_faults: Some(number(2)),
            major_page_faults: Some(number(3)),
            ..memory
        };
        let (_, found) = usage(ContainerStats { memory: Some(more), ..stats.clone() }).unwrap();
        assert_eq!((found.memory, found.rss), (Some(Bytes(8_192)), Some(Bytes(1))));
        assert_eq!((found.faults, found.major_faults), (Some(2), Some(3)));
        assert_eq!(usage(ContainerStats { cpu: None, memory: None, ..stats }), None, "nothing was measured");
    }
}
