//! `ProcessInfo`: a listing in the words of `ps`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::api::http::responses;
use crate::api::http::responses::More;
use crate::api::wire::json;
use crate::api::wire::json::{Lossy, lossy};
use crate::api::wire::time;
use crate::sample::process::{Process, ProcessList};
use crate::units::{Nanos, WallTime};

/// Whether the answer reports where each process is: only that for the root does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CgroupPaths {
    Shown,
    Blank,
}

/// A process in the words of `ps`; sizes in bytes.
#[derive(JsonSchema, Serialize)]
struct ProcessInfo<'a> {
    user: &'a str,
    pid: u32,
    parent_pid: u32,
    start_time: String,
    percent_cpu: f32,
    percent_mem: f32,
    rss: u64,
    virtual_size: u64,
    status: &'a str,
    running_time: String,
    cgroup_path: Lossy<'a>,
    #[schemars(with = "String")]
    cmd: Command<'a>,
    fd_count: u64,
    psr: u32,
}

/// The command's name; `ps` marks that of a zombie.
struct Command<'a>(&'a Process);

impl Serialize for Command<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = lossy(&self.0.command);
        let shown = if self.0.status.starts_with('Z') { Cow::Owned(format!("{name} <defunct>")) } else { name };
        serializer.serialize_str(&shown)
    }
}

impl<'a> ProcessInfo<'a> {
    fn new(process: &'a Process, now: WallTime, paths: CgroupPaths) -> Self {
        Self {
            user: &process.user,
            pid: process.pid,
            parent_pid: process.parent,
            start_time: start_time(process.started, now),
            percent_cpu: percent(process.cpu_permille),
            percent_mem: percent(process.memory_permille.unwrap_or(0)),
            rss: process.resident.0,
            virtual_size: process.virtual_size.0,
            status: &process.status,
            running_time: running_time(process.cpu_time),
            cgroup_path: Lossy(if paths == CgroupPaths::Shown { &process.cgroup } else { b"" }),
            cmd: Command(process),
            fd_count: process.descriptors.unwrap_or(0),
            psr: process.processor,
        }
    }
}

/// The schema of one.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<ProcessInfo<'_>>()
}

/// What appends a listing, a process at each call.
pub(super) fn pieces(list: ProcessList, paths: CgroupPaths) -> impl FnMut(&mut Vec<u8>) -> More + Send + 'static {
    let now = list.at;
    let append = move |out: &mut Vec<u8>, process: Process| {
        json::append(out, &ProcessInfo::new(&process, now, paths));
    };
    responses::array(list.processes, append)
}

/// What a listing takes, about.
pub(super) fn bytes(list: &ProcessList) -> usize {
    let of =
        |process: &Process| size_of::<Process>() + process.cgroup.len() + process.command.len() + process.user.len();
    list.processes.iter().map(of).sum()
}

fn percent(permille: u64) -> f32 {
    permille as f32 / 10.0
}

/// Hours and minutes of a process of today, the day of one of this year, else the year.
fn start_time(started: WallTime, now: WallTime) -> String {
    let (Some(started), Some(now)) = (time::local(started), time::local(now)) else { return String::new() };
    if started.date() == now.date() {
        format!("{:02}:{:02}", started.hour(), started.minute())
    } else if started.year() == now.year() {
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = usize::try_from(started.month() - 1).ok().and_then(|month| months.get(month));
        format!("{}{:02}", month.copied().unwrap_or_default(), started.day())
    } else {
        started.year().to_string()
    }
}

/// `HH:MM:SS`, with the days before it when there are any.
fn running_time(used: Nanos) -> String {
    let seconds = used.0 / 1_000_000_000;
    let (days, hours, minutes, seconds) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let time = format!("{hours:02}:{minutes:02}:{seconds:02}");
    if days > 0 { format!("{days}-{time}") } else { time }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-01-02 03:04:05 UTC.
    const NOW: WallTime = WallTime(1_704_164_645_000_000_000);

    #[test]
    fn times_as_ps_has_them() {
        let ago = |seconds: u64| start_time(WallTime(NOW.0 - seconds * 1_000_000_000), NOW);
        assert_eq!([ago(0), ago(3 * 3600), ago(4 * 3600), ago(2 * 86_400)], ["03:04", "00:04", "Jan01", "2023"]);
        let used = |seconds: u64| running_time(Nanos(seconds * 1_000_000_000 + 999_999_999));
        assert_eq!(
            [used(0), used(3_723), used(86_399), used(90_061)],
            ["00:00:00", "01:02:03", "23:59:59", "1-01:01:01"]
        );
    }
}
