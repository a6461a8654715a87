//! What the history on disk and `collector top` cost, over a thousand cgroups.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::cgroups::Tree;
use super::report::{Bar, Report};
use super::{Bench, INTERVAL, REFERENCE, SETTLE, process, say};

/// The runtimes of this machine are left alone.
const NO_RUNTIMES: [&str; 4] = ["--docker=", "--podman=", "--containerd=", "--crio="];
/// From one sample of a container on disk to the next, by default.
const STEP: Duration = Duration::from_secs(10);
/// Steps of a second, so that what is done once in a quarter of an hour is done in time: compressing blocks.
const FAST_STEP: &str = "--history_step=1s";
/// Until each container has a block, of which the longest have 121 samples.
const BLOCKS: Duration = Duration::from_secs(130);
/// The screen that `collector top` draws on.
const SCREEN: &str = "stty rows 50 cols 160";

impl Bench {
    /// Measures the thread that writes the history beside everything else that the collector does.
    pub(super) fn measure_look_back(&self, collector: &Path) -> Result<Vec<Bar>> {
        let directory = self.logs.join("history");
        if directory.exists() {
            std::fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        let history = format!("--history_dir={}", directory.display());
        let flags = [&NO_RUNTIMES[..], &[&history, FAST_STEP]].concat();
        let process = self.start(collector, "collector", "/readyz", INTERVAL, &flags)?;
        let mut tree = Tree::new(&self.hierarchies)?;
        tree.grow_to(REFERENCE, &self.interrupt)?;
        say(&format!("{REFERENCE} cgroups, until blocks are written"));
        self.interrupt.sleep(BLOCKS)?;
        say("the history");
        let used = || -> Result<[f64; 2]> {
            Ok([process.cpu_of(None)?, process.cpu_of(Some("history"))?].map(|time| time.as_secs_f64()))
        };
        let (before, machine, began) = (used()?, process::machine_busy()?, Instant::now());
        self.interrupt.sleep(self.window)?;
        let (after, seconds) = (used()?, began.elapsed().as_secs_f64());
        let [all, history] = [0, 1].map(|of| (after[of] - before[of]) / seconds);
        let others = (process::machine_busy()?.saturating_sub(machine).as_secs_f64() / seconds - all) * 100.0;
        // A step a second was measured.
        let added = history / STEP.as_secs_f64();
        Ok(vec![
            Bar::new("collector's CPU without its history", (all - history) * 100.0, f64::INFINITY, "% of a core"),
            Bar::new("a step of the history", history * 1e3, f64::INFINITY, "ms"),
            Bar::new("more with a step each 10 s", added / (all - history) * 100.0, 5.0, "%"),
            Bar::new("everything else on the machine", others, f64::INFINITY, "% of a core"),
        ])
    }

    /// Measures `collector top` on a terminal, and what its questions cost the collector.
    pub(super) fn measure_top(&self, collector: &Path) -> Result<Vec<Bar>> {
        let process = self.start(collector, "collector", "/readyz", INTERVAL, &NO_RUNTIMES)?;
        let mut report = Report::new(&self.hierarchies);
        let mut tree = Tree::new(&self.hierarchies)?;
        tree.grow_to(REFERENCE, &self.interrupt)?;
        say(&format!("{REFERENCE} cgroups without top"));
        self.interrupt.sleep(SETTLE)?;
        let without = self.cpu_over_window(&process, &mut report)?;
        let top = Top::open(collector, process.api.url(), &self.logs)?;
        say("top");
        self.interrupt.sleep(SETTLE)?;
        let (before, began) = (top.cpu()?, Instant::now());
        let with = self.cpu_over_window(&process, &mut report)?;
        let used = (top.cpu()?.saturating_sub(before)).as_secs_f64() / began.elapsed().as_secs_f64();
        Ok(vec![
            Bar::new("collector top", used * 100.0, 1.0, "% of a core"),
            Bar::new("more for the collector that it asks", (with - without) * 100.0, f64::INFINITY, "% of a core"),
            Bar::new("everything else on the machine, at most", report.others * 100.0, f64::INFINITY, "% of a core"),
        ])
    }
}

/// `collector top` on a terminal of its own.
struct Top {
    terminal: Child,
    pid: PathBuf,
}

impl Top {
    fn open(collector: &Path, url: &str, logs: &Path) -> Result<Self> {
        let pid = logs.join("top.pid");
        drop(std::fs::remove_file(&pid));
        let run = format!("{SCREEN}; echo $$ > '{}'; exec '{}' top --url={url}", pid.display(), collector.display());
        let terminal = Command::new("script")
            .args(["--quiet", "--flush", "--command", &run, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            // Its end would be a key.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start script, which has terminals")?;
        Ok(Self { terminal, pid })
    }

    fn process(&self) -> Result<u32> {
        let text = std::fs::read_to_string(&self.pid).context("top has not begun")?;
        text.trim().parse().with_context(|| format!("{text:?} is no process"))
    }

    fn cpu(&self) -> Result<Duration> {
        process::cpu_of(self.process()?, None)
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // Its terminal ends with it.
        let pid = self.process().ok().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            // It may have ended.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        std::thread::sleep(Duration::from_millis(300));
        drop(self.terminal.kill());
        drop(self.terminal.wait());
    }
}
