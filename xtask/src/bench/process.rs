//! A process under measurement.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::api::Api;

/// A running collector or cAdvisor. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    /// Where it answers.
    pub(super) api: Api,
}

/// CPU time that a process has used.
#[derive(Clone, Debug)]
pub(super) struct CpuTime {
    /// Nanoseconds by thread.
    threads: BTreeMap<u64, u64>,
    /// Of the whole process, ended threads included, but counted in ticks of the clock.
    ticks: Duration,
}

impl CpuTime {
    /// The time used since an earlier reading: to the nanosecond, unless a thread took its share with it.
    pub(super) fn since(&self, earlier: &Self) -> Duration {
        if earlier.threads.keys().any(|thread| !self.threads.contains_key(thread)) {
            return self.ticks.saturating_sub(earlier.ticks);
        }
        let used = self
            .threads
            .iter()
            .map(|(thread, now)| now.saturating_sub(earlier.threads.get(thread).copied().unwrap_or(0)));
        Duration::from_nanos(used.sum())
    }
}

impl Process {
    /// Starts a program with the flags that both know and these, on a free port, its messages going to a file.
    pub(super) fn start(binary: &Path, log: &Path, interval: &str, flags: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let messages = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = Command::new(binary)
            .arg("--listen_ip=127.0.0.1")
            .arg(format!("--port={port}"))
            .arg(format!("--housekeeping_interval={interval}"))
            .arg("--allow_dynamic_housekeeping=false")
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(messages)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Self { child, log: log.to_path_buf(), api: Api::new(port) })
    }

    /// Fails when the process has ended.
    pub(super) fn ensure_running(&self) -> Result<()> {
        let stat = self.proc_file("stat")?;
        // The state follows the name in parentheses; Z is a process that ended.
        if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')) {
            bail!("it ended by itself; its messages are in {}", self.log.display());
        }
        Ok(())
    }

    /// CPU time that all threads, or those of one name, have used so far.
    pub(super) fn cpu_of(&self, name: Option<&str>) -> Result<Duration> {
        cpu_of(self.child.id(), name)
    }

    /// Whether a thread has this name.
    pub(super) fn has_thread(&self, name: &str) -> Result<bool> {
        let is = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        Ok(self.tasks()?.iter().any(is))
    }

    fn tasks(&self) -> Result<Vec<PathBuf>> {
        tasks_of(self.child.id())
    }

    /// CPU time used so far.
    pub(super) fn cpu(&self) -> Result<CpuTime> {
        self.ensure_running()?;
        let mut threads = BTreeMap::new();
        for task in self.tasks()? {
            let thread = task.file_name().and_then(|name| name.to_str()?.parse().ok());
            if let (Some(nanos), Some(thread)) = (run_nanos(&task), thread) {
                threads.insert(thread, nanos);
            }
        }
        Ok(CpuTime { threads, ticks: cpu_ticks(&self.proc_file("stat")?)? })
    }

    /// Resident memory.
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        resident_bytes(self.child.id())
    }

    /// Stops the process until the value is dropped.
    pub(super) fn stop(&self) -> Result<Stopped> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).context("cannot stop the collector")?;
        Ok(Stopped(pid))
    }

    fn proc_file(&self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A process that stands still.
pub(super) struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = kill_process(self.0, Signal::CONT) {
            eprintln!("note: the collector cannot be continued: {error}");
        }
    }
}

fn tasks_of(pid: u32) -> Result<Vec<PathBuf>> {
    let folder = PathBuf::from(format!("/proc/{pid}/task"));
    let tasks = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(tasks.flatten().map(|task| task.path()).collect())
}

/// CPU time that all threads of a process, or those of one name, have used so far.
pub(super) fn cpu_of(pid: u32, name: Option<&str>) -> Result<Duration> {
    let mut nanos = 0;
    for task in tasks_of(pid)? {
        let of_name = |name| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        if name.is_none_or(of_name) {
            nanos += run_nanos(&task).unwrap_or(0);
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// Resident memory of a process.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status =
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}: the process has ended"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no resident memory is said")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("cannot read the resident memory")?;
    Ok(kib * 1024)
}

/// CPU time of a thread; `None` when it ended meanwhile.
fn run_nanos(task: &Path) -> Option<u64> {
    std::fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}

/// User and system time of a `/proc/<pid>/stat`.
pub(crate) fn cpu_ticks(stat: &str) -> Result<Duration> {
    let (_, rest) = stat.rsplit_once(") ").context("this is no process status")?;
    // The first field here is the third of the file; utime is the 14th, stime the 15th.
    let ticks: u64 = rest.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// CPU time that everything on the machine has used, interrupts included.
pub(super) fn machine_busy() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    busy_ticks(&stat)
}

/// The busy time in the first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq ...`.
fn busy_ticks(stat: &str) -> Result<Duration> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu  ")).context("/proc/stat has no total")?;
    let fields: Vec<u64> = line.split(' ').filter_map(|field| field.parse().ok()).collect();
    let ticks: u64 = [0, 1, 2, 5, 6].iter().filter_map(|&index| fields.get(index)).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
    Ok(listener.local_addr().context("the port is not known")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        let expected = 200.0 / rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(cpu_ticks(stat).unwrap(), Duration::from_secs_f64(expected));
    }

    #[test]
    fn idle_time_is_not_busy() {
        let expected = 126.0 / rustix::param::clock_ticks_per_second() as f64;
        let busy = busy_ticks("cpu  100 10 10 5000 60 5 1 0 0 0\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!(busy, Duration::from_secs_f64(expected));
        assert!(busy_ticks("").is_err());
    }

    #[test]
    fn threads_count_exactly_until_one_ends() {
        let reading = |threads: &[(u64, u64)], ticks| CpuTime {
            threads: threads.iter().copied().collect(),
            ticks: Duration::from_millis(ticks),
        };
        let before = reading(&[(1, 100), (2, 50)], 0);
        assert_eq!(reading(&[(1, 160), (2, 50), (3, 5)], 10).since(&before), Duration::from_nanos(65));
        assert_eq!(reading(&[(1, 160)], 10).since(&before), Duration::from_millis(10));
    }
}
