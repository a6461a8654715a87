//! How a container ended, in an event and in v2's `spec`. cAdvisor has nothing like it; what is not known is left out.

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::wire::json::Lossy;
use crate::sample::exit::{Exit, Rank, RuntimeOrInit, Sender, SentSignal, SignalName, Status};

/// How a container's process ended.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ExitEventData")]
pub(in crate::api::cadvisor) struct WireExit<'a> {
    /// `completed`, `error`, `crash`, `signal` or `oom`.
    reason: &'static str,
    /// A line for people.
    text: String,
    /// As in a shell: 128 and the signal's number where a signal ended it.
    exit_code: i32,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    core_dumped: bool,
    /// In the initial pid namespace.
    pid: u32,
    process_name: Lossy<'a>,
    /// Whether it was the container's first process; else it is the one that ran longest.
    first_process: bool,
    /// How long it ran, in seconds.
    lasted_seconds: f64,
    /// The signal that ended it, or the last one that had asked it to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<WireSignal<'a>>,
}

/// A signal, and who sent it.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "SentSignal")]
struct WireSignal<'a> {
    signal: String,
    /// How long before the end.
    seconds_before: f64,
    /// `process`, `itself`, `kernel` or `oom`.
    sender: &'static str,
    /// The process that sent it, in the initial pid namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_name: Option<Lossy<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    /// The container it was in, or its cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    container_name: Option<Lossy<'a>>,
    /// The runtime that it acted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'static str>,
    /// Of the OOM killer: the cgroup whose limit was hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_container_name: Option<Lossy<'a>>,
}

impl<'a> WireExit<'a> {
    /// The exit of the container with this name.
    pub(in crate::api::cadvisor) fn new(exit: &'a Exit, of: &[u8]) -> Self {
        Self {
            reason: exit.reason().name(),
            text: exit.in_words(of),
            exit_code: exit.code(),
            signal: exit.deadly_signal().map(|number| SignalName(number).to_string()),
            core_dumped: matches!(exit.status, Status::Signal { core_dumped: true, .. }),
            pid: exit.pid,
            process_name: Lossy(&exit.command),
            first_process: exit.rank == Rank::First,
            lasted_seconds: exit.lasted.0 as f64 / 1e9,
            sent: exit.signal.as_ref().map(|signal| WireSignal::new(signal, exit)),
        }
    }
}

impl<'a> WireSignal<'a> {
    fn new(SentSignal { number, before, sender }: &'a SentSignal, exit: &'a Exit) -> Self {
        let by = |sender| Self {
            signal: SignalName(*number).to_string(),
            seconds_before: before.0 as f64 / 1e9,
            sender,
            pid: None,
            process_name: None,
            uid: None,
            container_name: None,
            runtime: None,
            limit_container_name: exit.oom.as_ref().and_then(|kill| kill.limit_owner.as_deref()).map(Lossy),
        };
        match sender {
            Sender::Itself => by("itself"),
            Sender::Kernel => by("kernel"),
            Sender::OomKiller => by("oom"),
            Sender::Process { pid, command, uid, cgroup, runtime } => Self {
                pid: Some(*pid),
                process_name: Some(Lossy(command)),
                uid: Some(*uid),
                container_name: cgroup.as_deref().map(Lossy),
                runtime: runtime.map(RuntimeOrInit::name),
                ..by("process")
            },
        }
    }
}
