//! What the handlers ask for. The daemon implements these traits over its store; nothing here knows how.

pub(crate) mod docker;
pub mod feed;
pub(crate) mod kubelet;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use self::docker::ContainerEngine;
pub use self::feed::Feed;
use self::feed::NoHistory;
pub use self::kubelet::Kubelet;
use super::ContainerView;
use super::budget::{Budget, Busy};
use super::prometheus::{EncodingError, Failed, Scrape};
use super::rendering::{CutOff, Rendering};
use crate::api::query::events::EventQuery;
use crate::api::query::export::ExportQuery;
use crate::api::query::{Portion, StatsQuery};
use crate::api::wire::json::Quoted;
use crate::sample::event::{Event, Name};
use crate::sample::identity::Runtime;
use crate::sample::machine::{Filesystems, Machine};
use crate::sample::process::ProcessList;
use crate::store::summary::Summary;
use crate::units;

/// The containers.
pub trait Containers: Send + Sync + 'static {
    /// The container of this full name, with the samples the query selects. It may wait for files to be read; it must
    /// not block the executor.
    fn container(
        &self,
        name: &[u8],
        query: &StatsQuery,
        limits: LimitsAge,
    ) -> impl Future<Output = Result<ContainerView, Unavailable>> + Send;

    /// The samples that the query selects, oldest first, in parts that are small enough to be in memory: the query is
    /// asked once for each. Empty where the samples are few enough to be asked for at once.
    fn parts(&self, _name: &[u8], _query: &StatsQuery) -> impl Future<Output = Vec<Portion>> + Send {
        std::future::ready(Vec::new())
    }

    /// The containers that are no more, of which the history on disk has samples of the query's time.
    fn ended(&self, _who: EndedOf<'_>, _query: &StatsQuery) -> impl Future<Output = Vec<Name>> + Send {
        std::future::ready(Vec::new())
    }

    /// The names, sorted, of all containers whose name starts with these bytes: as cAdvisor has it, a plain prefix
    /// without regard to path boundaries. The views are then fetched one by one and sent in pieces, so that the samples
    /// of a thousand containers are never in memory at once.
    fn names_with_prefix(&self, prefix: &[u8]) -> Vec<Name>;

    /// The containers of a runtime: all of them, or the one that has this alias, or, if no alias is that, the one with an
    /// alias that begins so. Sorted by name.
    ///
    /// # Errors
    /// When an alias is asked for and fits none, or several.
    fn of_runtime(&self, runtime: Runtime, alias: Option<&[u8]>) -> Result<Vec<Name>, NoSuchAlias>;

    /// Whether there is a container of this full name.
    fn is_known(&self, name: &[u8]) -> bool;

    /// Takes new samples of those of the containers whose newest is older than this, and waits for them for a while.
    /// What is not read by then is shown as it is; its time shows that.
    fn refresh(&self, names: &[Name], max_age: Duration) -> impl Future<Output = ()> + Send;

    /// What a container used lately; `None` when it has no sample. Called where blocking is allowed.
    fn summary(&self, name: &[u8]) -> Option<Summary>;

    /// The machine's memory capacity, shown in place of a memory limit of 0.
    fn machine_memory(&self) -> units::Bytes;
}

/// Containers that are asked for together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedOf<'a> {
    /// Those whose names begin so.
    Prefix(&'a [u8]),
    /// Those of a runtime, all of them or the one with this alias.
    Runtime(Runtime, Option<&'a [u8]>),
}

/// Writes out what the history on disk has.
pub trait Exporting: Send + Sync + 'static {
    /// The pieces of an answer, as fast as they are taken.
    ///
    /// # Errors
    /// There is no history, or it is written out for somebody else at the moment.
    fn export(&self, _query: ExportQuery) -> Result<mpsc::Receiver<Bytes>, NoHistory> {
        Err(NoHistory::Off)
    }
}

/// The machine around the containers.
pub trait Host: Send + Sync + 'static {
    /// The machine, as of a few minutes ago at most.
    fn machine(&self) -> Arc<Machine>;

    /// The machine's file systems, as of a second ago at most. It may wait for them to answer; it must not block the
    /// executor.
    fn filesystems(&self) -> impl Future<Output = Arc<Filesystems>> + Send;

    /// The processes that run now. It may wait for files to be read; it must not block the executor.
    fn processes(&self, of: ProcessesOf) -> impl Future<Output = Result<ProcessList, ProcessesUnavailable>> + Send;
}

/// Whose processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessesOf {
    /// Everybody's.
    Machine,
    /// Those of this very container.
    Container(Name),
}

/// Processes cannot be listed; the reason is for people.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ProcessesUnavailable(pub String);

/// Everything that the handlers ask for.
pub trait Node: Containers + ContainerEngine + EventSource + Exporting + Feed + Host + Kubelet + Status {}

impl<T: Containers + ContainerEngine + EventSource + Exporting + Feed + Host + Kubelet + Status> Node for T {}

/// How old the limits in an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitsAge {
    /// As they are now: read for the request.
    Current,
    /// As they were a moment ago: of a thousand containers listed every second, not all files are read each time.
    Recent,
}

/// Why a container cannot be shown.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unavailable {
    /// No container has this name.
    #[error("unknown container {}", Quoted(.0))]
    Unknown(Name),
    /// It has no sample yet.
    #[error("unable to find data in memory cache")]
    NoSample,
}

/// An alias that is not one container's.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoSuchAlias {
    /// It is nobody's.
    #[error("unable to find container {} in {:?} namespace", Quoted(.0), .1.namespace())]
    Unknown(Vec<u8>, Runtime),
    /// Several begin so.
    #[error("unable to find container in {:?} namespace. Container {} is not unique", .1.namespace(), Quoted(.0))]
    NotUnique(Vec<u8>, Runtime),
}

/// The event log.
pub trait EventSource: Send + Sync + 'static {
    /// Receives events to come.
    type Subscription: Subscription;

    /// The logged events a query selects, oldest first; [`crate::api::cadvisor::events::select`] has the rules. Called where blocking
    /// is allowed.
    fn history(&self, query: &EventQuery) -> Vec<Arc<Event>>;

    /// Receives the events that match from now on; [`crate::api::cadvisor::events::matches`] has the rules.
    ///
    /// # Errors
    /// When no more streams are allowed.
    fn subscribe(&self, query: EventQuery) -> Result<Self::Subscription, TooManyStreams>;
}

/// The limit on event streams is reached.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} event streams are open already, and more are not allowed")]
pub struct TooManyStreams(pub usize);

/// Events as they happen, for one client.
pub trait Subscription: Send + 'static {
    /// Waits for the next item; `None` when the collector shuts down.
    fn next(&mut self) -> impl Future<Output = Option<StreamItem>> + Send;

    /// The next item if it is there already, so that a burst is sent in one piece.
    fn try_next(&mut self) -> Option<StreamItem>;
}

/// What a subscription delivers.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamItem {
    /// Something happened.
    Event(Arc<Event>),
    /// The client did not keep up; nothing follows.
    Lagged {
        /// How many events it is behind.
        missed: u64,
    },
}

/// How the collector itself is.
pub trait Status: Send + Sync + 'static {
    /// The collector's version.
    fn version(&self) -> &str;

    /// A report for people: what works, what does not, and what would fix it.
    fn health_report(&self) -> String;

    /// What the machine offers.
    fn validation(&self) -> Validation;

    /// The configuration in force, as TOML without secrets.
    fn configuration(&self) -> Arc<String> {
        Arc::default()
    }

    /// Whether the first scan is done and every container is listed.
    fn readiness(&self) -> Readiness;

    /// How many containers are listed.
    fn listed(&self) -> usize;

    /// The memory that answers may take.
    fn budget(&self) -> &Budget;

    /// Everything as metrics. It is rendered from memory, however long reading a file of the kernel takes at the moment,
    /// and off the executor.
    fn metrics(
        &self,
        scrape: Scrape,
        sharing: Sharing,
    ) -> impl Future<Output = Result<Arc<Rendering>, MetricsUnavailable>> + Send;
}

/// Whether a scrape may be answered with what was rendered for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// If that was asked for at the same moment.
    SameMoment,
    /// Only with what is still to be rendered: the client said how old the samples may be.
    ToCome,
}

/// Metrics could not be rendered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MetricsUnavailable {
    /// They could not be compressed.
    #[error(transparent)]
    Encoding(Arc<EncodingError>),
    /// Nobody is there to render them: the collector is shutting down.
    #[error("the collector is shutting down")]
    Stopping,
    /// There is no room for them.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// They were taken away before they were read.
    #[error(transparent)]
    CutOff(#[from] CutOff),
}

impl From<EncodingError> for MetricsUnavailable {
    fn from(error: EncodingError) -> Self {
        Self::Encoding(Arc::new(error))
    }
}

impl From<Failed> for MetricsUnavailable {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Encoding(error) => error.into(),
            Failed::Busy(busy) => Self::Busy(busy),
        }
    }
}

/// What the machine offers and what the collector makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Which cgroup hierarchies there are.
    pub hierarchies: &'static str,
    /// Where the news of cgroups come from.
    pub kernel_events: &'static str,
    /// What the collector has to do without, a line each.
    pub shortcomings: Vec<String>,
    /// Containers listed.
    pub containers: usize,
    /// Kernel events that could not be delivered since the start; absent without kernel events.
    pub lost_events: Option<u64>,
}

/// Whether requests get complete answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They do.
    Ready,
    /// Not yet, with the reason.
    NotReady(String),
}
