//! The processes of a container or of the machine, read from procfs when somebody asks.

use std::collections::HashSet;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

use super::container::{ReaderContext, Scratch, listed_members};
use crate::bounds::Bound;
use crate::kernel::error::ReadError;
use crate::kernel::file::ReadBuffer;
use crate::kernel::odd_lines::OddLines;
use crate::kernel::procfs::process::ProcessDir;
use crate::kernel::procfs::process::table;
use crate::kernel::procfs::process::table::{Stat, Status};
use crate::kernel::procfs::users::Users;
use crate::kernel::text_formats::FormatError;
use crate::sample::process::{Process, ProcessList};
use crate::units::{Bytes, Nanos, WallTime};

/// Bytes of a list of processes: each repeats its cgroup's path. Sixty thousand with ordinary paths fit.
const LIST_BYTES: usize = 16 << 20;

/// Whose processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// Everybody's.
    Machine,
    /// Those of this very cgroup, not of its descendants.
    Container(&'a [u8]),
}

/// Lists processes. One that ends meanwhile is left out; what else cannot be read is counted.
///
/// # Errors
/// Procfs cannot be listed.
pub fn list(ctx: &ReaderContext, whose: Whose<'_>, scratch: &mut Scratch) -> Result<ProcessList, ReadError> {
    let buffer = scratch.buffer();
    let proc = &ctx.roots().proc;
    let members = match whose {
        Whose::Machine => HashSet::new(),
        Whose::Container(name) => listed_members(ctx, name, buffer),
    };
    let users = Users::read(ctx.roots(), buffer).unwrap_or_else(|error| {
        ctx.errors().count("passwd", &error);
        Users::default()
    });
    let clock = Clock::now(ctx);
    let (mut processes, mut bytes) = (Vec::new(), 0);
    for pid in table::all_ids(proc, buffer)? {
        let Some(cgroup) = read_lines(ctx, pid, "cgroup", buffer, table::cgroup) else { continue };
        // A zombie is in no list of members, and where procfs is that of another pid namespace the lists are in other
        // numbers: the process's own word counts too.
        let wanted = match whose {
            Whose::Machine => true,
            Whose::Container(name) => members.contains(&pid) || *cgroup == *name,
        };
        if wanted && let Some(process) = process(ctx, pid, cgroup, &users, &clock, buffer) {
            bytes += size_of::<Process>() + process.cgroup.len() + process.user.len() + process.command.len();
            if bytes > LIST_BYTES {
                Bound::ListRows.exceeded();
                break;
            }
            processes.push(process);
        }
    }
    processes.sort_unstable_by_key(|process| process.pid);
    Ok(ProcessList { at: clock.wall, processes })
}

/// How many processes this very cgroup has; `None` where none can be seen.
pub fn count(ctx: &ReaderContext, name: &[u8], scratch: &mut Scratch) -> Option<u64> {
    let members = listed_members(ctx, name, scratch.buffer());
    (!members.is_empty()).then_some(members.len() as u64)
}

/// Reads a file of a process; `None` when it ended, or when the file cannot be read, which is counted.
fn read<T>(
    ctx: &ReaderContext,
    pid: u32,
    file: &'static str,
    buffer: &mut ReadBuffer,
    parse: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Option<T> {
    let directory = ProcessDir::new(pid);
    let at = directory.file(&ctx.roots().proc, file);
    let parsed =
        at.read(buffer).and_then(|text| parse(text).map_err(|reason| ReadError::Malformed { path: at.path(), reason }));
    match parsed {
        Ok(value) => Some(value),
        Err(ReadError::Missing(_) | ReadError::Gone(_)) => None,
        Err(error) => {
            ctx.errors().count(file, &error);
            None
        }
    }
}

/// The same for a file of which each line that is not understood costs its own key.
fn read_lines<T>(
    ctx: &ReaderContext,
    pid: u32,
    file: &'static str,
    buffer: &mut ReadBuffer,
    parse: impl FnOnce(&[u8], &mut OddLines) -> T,
) -> Option<T> {
    let mut odd = OddLines::default();
    let value = read(ctx, pid, file, buffer, |text| Ok(parse(text, &mut odd)))?;
    if odd.count() > 0 {
        let directory = ProcessDir::new(pid);
        let path = directory.file(&ctx.roots().proc, file).path();
        ReadError::of_odd_lines(&path, odd).inspect(|error| ctx.errors().count(file, error));
    }
    Some(value)
}

fn process(
    ctx: &ReaderContext,
    pid: u32,
    cgroup: Vec<u8>,
    users: &Users,
    clock: &Clock,
    buffer: &mut ReadBuffer,
) -> Option<Process> {
    let stat = read(ctx, pid, "stat", buffer, Stat::parse)?;
    let status = read_lines(ctx, pid, "status", buffer, Status::parse)?;
    let descriptors = match table::open_descriptors(&ctx.roots().proc, pid, buffer) {
        Ok(open) => Some(open),
        // A zombie has closed them all.
        Err(ReadError::Missing(_) | ReadError::Gone(_)) if stat.state == 'Z' => Some(0),
        Err(_) => None,
    };
    let cpu_time = clock.duration(stat.user_ticks.saturating_add(stat.system_ticks));
    let age = Nanos(clock.since_boot.0.saturating_sub(clock.duration(stat.start_ticks).0));
    let resident = kib(status.resident_kb);
    let memory = ctx.machine_memory();
    let named = |id| users.name(id).map_or_else(|| id.to_string(), str::to_owned);
    let user = status.effective_user.map(named);
    Some(Process {
        user: user.unwrap_or_else(|| "?".to_owned()),
        pid,
        parent: stat.parent,
        started: WallTime(clock.wall.0.saturating_sub(age.0)),
        cpu_permille: permille(cpu_time.0, age.0).unwrap_or(0),
        memory_permille: permille(resident.0, memory.0),
        resident,
        virtual_size: kib(status.size_kb),
        status: letters(pid, &stat, &status),
        cpu_time,
        cgroup: cgroup.into(),
        descriptors,
        processor: stat.processor,
        command: stat.command,
    })
}

fn kib(kib: Option<u64>) -> Bytes {
    Bytes(kib.unwrap_or(0).saturating_mul(1024))
}

fn permille(part: u64, whole: u64) -> Option<u64> {
    u64::try_from((u128::from(part) * 1000).checked_div(u128::from(whole))?).ok()
}

/// The status in `ps`' letters.
fn letters(pid: u32, stat: &Stat, status: &Status) -> String {
    let flags = [
        (stat.nice < 0, '<'),
        (stat.nice > 0, 'N'),
        (status.locked_kb.is_some_and(|locked| locked > 0), 'L'),
        (stat.session == i64::from(pid), 's'),
        (stat.threads > 1, 'l'),
        (stat.group == stat.foreground_group, '+'),
    ];
    std::iter::once(stat.state).chain(flags.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter)).collect()
}

/// One moment on the wall clock and on the clock that processes' start times are reported in.
#[derive(Clone, Copy, Debug)]
struct Clock {
    wall: WallTime,
    since_boot: Nanos,
    ticks_per_second: u64,
}

impl Clock {
    fn now(ctx: &ReaderContext) -> Self {
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
        Self {
            wall: ctx.now(),
            since_boot: Nanos(seconds * 1_000_000_000 + u64::try_from(boot.tv_nsec).unwrap_or_default()),
            ticks_per_second: clock_ticks_per_second().max(1),
        }
    }

    fn duration(&self, ticks: u64) -> Nanos {
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(self.ticks_per_second);
        Nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_letters() {
        let stat = |nice, session, threads, group| Stat {
            state: 'S',
            nice,
            session,
            threads,
            group,
            foreground_group: 9,
            ..Stat::default()
        };
        let locked = Status { locked_kb: Some(4), ..Status::default() };
        let unlocked = Status { locked_kb: Some(0), ..Status::default() };
        assert_eq!(letters(7, &stat(0, 1, 1, 1), &unlocked), "S");
        assert_eq!(letters(7, &stat(-1, 7, 2, 9), &locked), "S<Lsl+");
        assert_eq!(letters(7, &stat(5, 1, 1, 1), &Status::default()), "SN");
    }

    #[test]
    fn shares() {
        assert_eq!(permille(u64::MAX, u64::MAX), Some(1000));
        assert_eq!((permille(1, 3), permille(3, 0)), (Some(333), None));
        let clock = Clock { wall: WallTime(0), since_boot: Nanos(0), ticks_per_second: 100 };
        assert_eq!(clock.duration(250), Nanos(2_500_000_000));
        assert_eq!(clock.duration(u64::MAX), Nanos(u64::MAX));
    }
}
