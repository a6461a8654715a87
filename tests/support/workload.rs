//! Processes that do something in a cgroup: this very binary, started again with a plan.

use std::ffi::CString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cgroups::Cgroup;
use super::harness::Skip;
use super::{Context as _, Result, bytes, network, process, wait};

/// First argument of a workload process.
pub(crate) const ARGUMENT: &str = "--workload";

/// Begins the line by which a workload reports that this machine cannot do it.
const IMPOSSIBLE: &str = "impossible: ";

/// What a workload does after it has joined its cgroups.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Ends at once.
    Nothing,
    /// Exits with this code.
    Exit(i32),
    /// Becomes this program.
    Become(PathBuf),
    /// Sends a process a signal, by its number, then ends.
    Signal(u32, i32),
    /// Uses a CPU for so many milliseconds of CPU time, then ends.
    Burn(u64),
    /// Uses a CPU until its parent is gone.
    Spin,
    /// Writes to so many mebibytes of memory and idles.
    Hold(u64),
    /// Takes memory a mebibyte at a time up to so many, then ends.
    Grow(u64),
    /// Starts so many idle threads and idles.
    Threads(u64),
    /// Uses a CPU in a second thread, until its parent is gone.
    SpinThread,
    /// Starts a process that ends, does not look after it, and idles.
    Zombie,
    /// Makes a network namespace with one pair of interfaces, sends so many packets through it and idles.
    Network(u64),
    /// The same in the network namespace of another process, then ends; the interfaces stay.
    NetworkOf(u32, u64),
    /// Writes so many mebibytes to a file, past the page cache, then idles.
    Write(PathBuf, u64),
    /// Reads so many blocks of 4 KiB from a file, one after the other, past the page cache, then idles.
    ReadBlocks(PathBuf, u64),
    /// Writes so many mebibytes to a file through the page cache and idles.
    Cache(PathBuf, u64),
    /// The same, has it written to the disk, and idles.
    Synced(PathBuf, u64),
    /// Moves to a network namespace without interfaces of its own and idles.
    Namespace,
    /// Moves to one, opens the sockets of [`network::open_sockets`] in it and idles.
    Sockets,
    /// Sends so many datagrams of 1000 bytes to this address, then idles.
    Datagrams(SocketAddr, u64),
    /// The same from one socket to another of its own in a network namespace of its own.
    DatagramsInside(u64),
    /// Takes datagrams at this address.
    Receive(SocketAddr),
    /// Sends so many mebibytes to whoever listens at this address, then idles.
    Stream(SocketAddr, u64),
    /// Allocates so many bytes of a file on hugetlbfs and idles.
    HugePages(PathBuf, u64),
}

/// A workload's whole plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// What to do.
    work: Work,
    /// Cgroup directories to join first.
    cgroups: Vec<PathBuf>,
    /// Command name.
    comm: Option<String>,
    /// `/proc/self/oom_score_adj`.
    oom_score_adj: Option<i32>,
    /// Whether to escape the OOM killer.
    spared: bool,
}

impl Plan {
    /// Does `work` in a cgroup, in every hierarchy of its set.
    pub(crate) fn new(work: Work, cgroup: &Cgroup<'_>) -> Self {
        Self { work, cgroups: cgroup.dirs(), comm: None, oom_score_adj: None, spared: false }
    }

    /// Does `work` where the test itself is.
    pub(crate) fn here(work: Work) -> Self {
        Self { work, cgroups: Vec::new(), comm: None, oom_score_adj: None, spared: false }
    }

    /// With a command name of up to 15 bytes.
    pub(crate) fn named(mut self, comm: impl Into<String>) -> Self {
        self.comm = Some(comm.into());
        self
    }

    /// With an OOM score adjustment: 1000 makes it the first victim.
    pub(crate) fn oom_score_adj(mut self, value: i32) -> Self {
        self.oom_score_adj = Some(value);
        self
    }

    /// Not to be killed for want of memory, where the test's rights allow that: it needs `CAP_SYS_RESOURCE`.
    pub(crate) fn spared(mut self) -> Self {
        self.spared = true;
        self
    }

    /// Starts the process.
    pub(crate) fn start(&self) -> Result<Workload> {
        self.start_with(Command::new("/proc/self/exe"))
    }

    /// Starts the process by a command that becomes this program.
    pub(crate) fn start_with(&self, mut command: Command) -> Result<Workload> {
        let mut child = command
            .args([ARGUMENT, &serde_json::to_string(self)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a workload")?;
        let output = child.stdout.take().context("standard output is a pipe")?;
        Ok(Workload { child, output: BufReader::new(output) })
    }

    /// Starts the process and waits until it has joined its cgroups and done what can be done before idling.
    pub(crate) fn start_ready(&self) -> Result<Workload> {
        let mut workload = self.start()?;
        workload.wait_ready()?;
        Ok(workload)
    }

    /// Runs the process to its end.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        self.start()?.wait()
    }
}

/// A running workload, killed when dropped.
#[derive(Debug)]
pub(crate) struct Workload {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Workload {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has joined its cgroups and done what can be done before idling.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line == "ready\n" {
            return Ok(());
        }
        if let Some(reason) = line.trim_end().strip_prefix(IMPOSSIBLE) {
            return Err(Skip::because(reason));
        }
        let status = self.wait()?;
        super::bail!("the workload did not get ready: {status}")
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        wait::eventually(wait::seconds(60), || self.child.try_wait()?.context("the workload still runs"))
    }

    /// Waits for its end without polling, so that its end is seen at once.
    pub(crate) fn wait_blocking(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Kills and reaps it.
    pub(crate) fn end(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The workload process itself.
pub(crate) fn main(plan: &str) -> Result<()> {
    let plan: Plan = serde_json::from_str(plan)?;
    if let Some(comm) = &plan.comm {
        rustix::thread::set_name(&CString::new(comm.as_str())?)?;
    }
    if let Some(value) = plan.oom_score_adj {
        bytes::write("/proc/self/oom_score_adj", &value.to_string())?;
    }
    if plan.spared
        && let Err(error) = bytes::write("/proc/self/oom_score_adj", "-1000")
    {
        let denied = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        super::ensure!(denied == Some(std::io::ErrorKind::PermissionDenied), "cannot be spared: {error:#}");
    }
    for dir in &plan.cgroups {
        bytes::write(dir.join("cgroup.procs"), "0")?;
    }
    match plan.work {
        Work::Nothing => Ok(()),
        Work::Exit(code) => std::process::exit(code),
        Work::Become(program) => Err(Command::new(program).exec().into()),
        Work::Signal(pid, number) => {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).context("a process id")?;
            let signal = rustix::process::Signal::from_named_raw(number).context("a signal")?;
            Ok(rustix::process::kill_process(pid, signal)?)
        }
        Work::Burn(millis) => {
            burn_until(process::thread_cpu_time() + Duration::from_millis(millis));
            Ok(())
        }
        Work::Spin => {
            ready()?;
            let parent = rustix::process::getppid();
            while rustix::process::getppid() == parent {
                burn_until(process::thread_cpu_time() + Duration::from_millis(1));
            }
            Ok(())
        }
        Work::Hold(mebibytes) => {
            // Small pages: what is held is then exactly what is charged, and it is given back bit by bit.
            rustix::thread::disable_transparent_huge_pages(true)?;
            let memory = vec![1_u8; (mebibytes * bytes::MIB) as usize];
            idle()?;
            drop(std::hint::black_box(memory));
            Ok(())
        }
        Work::Grow(mebibytes) => {
            ready()?;
            let mut memory = Vec::new();
            for _ in 0..mebibytes {
                memory.push(std::hint::black_box(vec![1_u8; bytes::MIB as usize]));
            }
            Ok(())
        }
        Work::SpinThread => {
            std::thread::spawn(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
            idle()
        }
        Work::Threads(count) => {
            for _ in 0..count {
                std::thread::spawn(|| {
                    loop {
                        std::thread::park();
                    }
                });
            }
            idle()
        }
        Work::Zombie => {
            let mut child = Command::new("/proc/self/exe").arg("--list").stdout(Stdio::piped()).spawn()?;
            let mut output = child.stdout.take().context("standard output is a pipe")?;
            std::mem::forget(child);
            // The end of its output is the end of it, or as good as.
            output.read_to_end(&mut Vec::new())?;
            idle()
        }
        Work::Network(packets) => {
            network::new_namespace()?;
            send(packets)?;
            idle()
        }
        Work::NetworkOf(pid, packets) => {
            network::join_namespace(pid)?;
            send(packets)?;
            ready()
        }
        Work::Write(path, mebibytes) => {
            write_directly(&path, mebibytes)?;
            idle()
        }
        Work::ReadBlocks(path, count) => {
            read_directly(&path, count)?;
            idle()
        }
        Work::Cache(path, mebibytes) => {
            // With its last descriptor a block device loses what is cached of it.
            let _file = write_cached(&path, mebibytes)?;
            idle()
        }
        Work::Synced(path, mebibytes) => {
            write_cached(&path, mebibytes)?.sync_all()?;
            idle()
        }
        Work::Namespace => {
            network::new_namespace()?;
            idle()
        }
        Work::Sockets => {
            network::new_namespace()?;
            network::loopback_up()?;
            let sockets = network::open_sockets()?;
            idle()?;
            drop(std::hint::black_box(sockets));
            Ok(())
        }
        Work::Datagrams(address, count) => {
            network::send_datagrams(address, count)?;
            idle()
        }
        Work::DatagramsInside(count) => {
            network::new_namespace()?;
            network::loopback_up()?;
            let receiver = network::receive_at("127.0.0.1:0".parse()?)?;
            network::send_datagrams(receiver, count)?;
            idle()
        }
        Work::Receive(address) => {
            network::receive_at(address)?;
            idle()
        }
        Work::Stream(address, mebibytes) => {
            let mut stream = TcpStream::connect(address)?;
            for _ in 0..mebibytes {
                stream.write_all(&vec![0x5a_u8; bytes::MIB as usize])?;
            }
            idle()
        }
        Work::HugePages(path, size) => {
            let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?;
            idle()
        }
    }
}

/// Sends packets through a new pair of interfaces; says so where the kernel makes none.
fn send(packets: u64) -> Result<()> {
    let sent = network::send_through_pair(packets);
    if let Err(error) = &sent
        && error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error)
            == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error())
    {
        println!("{IMPOSSIBLE}this kernel cannot make network interfaces: {error:#}");
    }
    sent
}

fn burn_until(end: Duration) {
    let mut value = 1_u64;
    while process::thread_cpu_time() < end {
        for _ in 0..1000 {
            value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

fn ready() -> Result<()> {
    let mut output = std::io::stdout();
    output.write_all(b"ready\n")?;
    Ok(output.flush()?)
}

/// Says that everything is done, then waits for the parent to close the other end.
fn idle() -> Result<()> {
    ready()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Writes past the page cache, so that the I/O is charged to the writer's own cgroup.
/// What is read and written past the page cache begins at multiples of this.
const ALIGNMENT: usize = 4096;

/// From the beginning on, and again from there after a mebibyte.
fn read_directly(path: &PathBuf, count: u64) -> Result<()> {
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut memory = vec![0_u8; 2 * ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let block = memory.get_mut(start..start + ALIGNMENT).context("an aligned block")?;
    for number in 0..count {
        file.read_exact_at(block, number * ALIGNMENT as u64 % bytes::MIB)?;
    }
    Ok(())
}

fn write_cached(path: &Path, mebibytes: u64) -> Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    for number in 0..mebibytes {
        file.write_all_at(&vec![0x5a_u8; bytes::MIB as usize], number * bytes::MIB)?;
    }
    Ok(file)
}

fn write_directly(path: &PathBuf, mebibytes: u64) -> Result<()> {
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).custom_flags(flags).open(path)?;
    let memory = vec![0x5a_u8; bytes::MIB as usize + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let block = memory.get(start..start + bytes::MIB as usize).context("an aligned block")?;
    for number in 0..mebibytes {
        file.write_all_at(block, number * bytes::MIB)?;
    }
    file.sync_all()?;
    Ok(())
}
