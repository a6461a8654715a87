//! What statistics of processes cost: containers with very many threads and descriptors, which are held by copies of this
//! program.

use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::cgroups::Tree;
use super::report::Report;
use super::{Bench, INTERVAL, say};

/// Containers, each with one process.
const CONTAINERS: usize = 200;
/// Of each process.
const THREADS: usize = 100;
/// Of each process, half of them sockets.
const DESCRIPTORS: usize = 500;
/// Until costs are what they stay.
const SETTLE: Duration = Duration::from_secs(30);
/// What cAdvisor leaves out by default, but for the two that are measured.
const LEFT_OUT: &str = "advtcp,cpu_topology,cpuset,hugetlb,memory_numa,referenced_memory,resctrl,tcp,udp";
/// What threads of the load need.
const STACK: usize = 32 << 10;

/// What one process of the load holds.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    /// Threads
    threads: usize,
    /// Descriptors
    descriptors: usize,
}

/// Holds threads and descriptors until standard input ends.
pub(crate) fn hold(args: &HoldArgs) -> Result<()> {
    for _ in 1..args.threads {
        std::thread::Builder::new().stack_size(STACK).spawn(|| {
            loop {
                std::thread::park();
            }
        })?;
    }
    // Beside the three that it began with.
    let wanted = args.descriptors.saturating_sub(3);
    let sockets = (0..wanted / 2).map(|_| UnixDatagram::unbound()).collect::<std::io::Result<Vec<_>>>()?;
    let files = (wanted / 2..wanted).map(|_| File::open("/dev/null")).collect::<std::io::Result<Vec<_>>>()?;
    println!("held");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop((sockets, files));
    Ok(())
}

/// Processes that end with this value.
struct Load(Vec<Child>);

impl Load {
    fn start(tree: &Tree) -> Result<Self> {
        let program = std::env::current_exe().context("this program is not known")?;
        let mut load = Self(Vec::new());
        for container in 0..tree.len() {
            let mut child = Command::new(&program)
                .args(["hold", &THREADS.to_string(), &DESCRIPTORS.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .context("cannot start a process to measure with")?;
            let said = child.stdout.take().context("standard output of the load")?;
            let pid = child.id();
            load.0.push(child);
            tree.admit(container, pid)?;
            let mut line = String::new();
            BufReader::new(said).read_line(&mut line)?;
            ensure!(line == "held\n", "a process to measure with has not got its threads and descriptors");
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Shares of a core by the kinds that are read.
pub(super) struct Shares {
    rows: Vec<(&'static str, f64)>,
    others: f64,
}

impl Bench {
    /// Measures a collector with these kinds, and without.
    pub(super) fn measure_processes(&self, binary: &Path) -> Result<Shares> {
        let mut tree = Tree::new(&self.hierarchies)?;
        tree.grow_to(CONTAINERS, &self.interrupt)?;
        say("starting the load");
        let load = Load::start(&tree)?;
        let mut report = Report::new(&self.hierarchies);
        let mut rows = Vec::new();
        for (name, left_out) in [("neither", ",process,sched"), ("process", ",sched"), ("sched", ",process")] {
            say(&format!("kinds of processes: {name}"));
            let flag = format!("--disable_metrics={LEFT_OUT}{left_out}");
            let process = self.start(binary, "collector-processes", "/readyz", INTERVAL, &[&flag])?;
            self.interrupt.sleep(SETTLE)?;
            rows.push((name, self.cpu_over_window(&process, &mut report)?));
        }
        drop(load);
        Ok(Shares { rows, others: report.others })
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{CONTAINERS} containers with {} threads and {} descriptors; everything else on the machine took up to {:.2} \
             CPUs\n\n| kind | of a core |\n| --- | ---: |",
            CONTAINERS * THREADS,
            CONTAINERS * DESCRIPTORS,
            self.others
        )?;
        self.rows.iter().try_for_each(|(name, share)| writeln!(f, "| {name} | {:.2} % |", share * 100.0))
    }
}
