//! What one open tab of the page costs the collector, the network and the browser.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::cgroups::Tree;
use super::report::{Bar, Report};
use super::{Bench, INTERVAL, SETTLE, say};
use crate::{apt, web, workspace};

/// Cgroups that the page lists, and that many again while it is open.
const MANY: usize = 3000;
/// What it is looked at with.
const BROWSER: &str = "/usr/bin/chromium";

impl Bench {
    /// Measures with and without the tab; a table of figures and bars.
    pub(super) fn measure_page(&self, collector: &Path) -> Result<Vec<Bar>> {
        apt::ensure_installed(&["chromium"])?;
        web::install()?;
        let none = ["--docker=", "--podman=", "--containerd=", "--crio="];
        let process = self.start(collector, "collector", "/readyz", INTERVAL, &none)?;
        let mut report = Report::new(&self.hierarchies);
        let mut tree = Tree::new(&self.hierarchies)?;
        tree.grow_to(MANY, &self.interrupt)?;
        say(&format!("{MANY} cgroups without the page"));
        self.interrupt.sleep(SETTLE)?;
        let without = self.cpu_over_window(&process, &mut report)?;
        let mut tab = Tab::open(process.api.url())?;
        let opened = tab.ask("open")?;
        say(&format!("{MANY} cgroups with the page"));
        self.interrupt.sleep(SETTLE)?;
        let before = tab.ask(&format!("listed {MANY}"))?["listed"].as_u64().unwrap_or_default();
        tab.ask("begin")?;
        let with = self.cpu_over_window(&process, &mut report)?;
        let figures = tab.ask("end")?;
        say(&format!("{MANY} more while the page is open"));
        let started = Instant::now();
        tree.grow_to(2 * MANY, &self.interrupt)?;
        let made = Instant::now();
        tab.ask(&format!("listed {}", before + MANY as u64))?;
        let listed = made.elapsed();
        say(&format!("made in {:.1} s", made.duration_since(started).as_secs_f64()));
        let sizes: Vec<f64> = figures["bytes"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        ensure!(!sizes.is_empty(), "the page asked for nothing: {figures}");
        let largest = sizes.iter().copied().fold(0.0, f64::max);
        let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        Ok(vec![
            Bar::new("collector's CPU without the page", without * 100.0, f64::INFINITY, "% of a core"),
            Bar::new("more with one tab", (with - without) * 100.0, 2.0, "% of a core"),
            Bar::new("a tick on the wire, mean", mean / 1e3, 100.0, "kB"),
            Bar::new("a tick on the wire, largest", largest / 1e3, 100.0, "kB"),
            Bar::new("main thread, for each tick", number(&figures["milliseconds"]), 60.0, "ms"),
            Bar::new("first paint", number(&opened["paint"]), 1000.0, "ms"),
            Bar::new("bundle, compressed", web::compressed()? as f64 / 1e3, 150.0, "kB"),
            Bar::new("3,000 new cgroups, until all are listed", listed.as_secs_f64(), 2.0, "s"),
            Bar::new("everything else on the machine, at most", report.others * 100.0, f64::INFINITY, "% of a core"),
        ])
    }
}

/// A browser with the page.
struct Tab {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Tab {
    fn open(url: &str) -> Result<Self> {
        let mut child = Command::new("node")
            .arg("tests/bench.mjs")
            .current_dir(workspace::root().join("collector/web"))
            .env("PAGE_URL", url)
            .env("PAGE_BROWSER", BROWSER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start node")?;
        let answers = BufReader::new(child.stdout.take().context("node has no output")?);
        Ok(Self { questions: child.stdin.take(), child, answers })
    }

    fn ask(&mut self, question: &str) -> Result<Value> {
        let questions = self.questions.as_mut().context("the tab is closed")?;
        writeln!(questions, "{question}").context("the browser has ended")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line).with_context(|| format!("{question}: no answer"))?;
        if let Some(error) = answer["error"].as_str() {
            bail!("{question}: {error}");
        }
        Ok(answer)
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        // At the end of its questions it closes the browser.
        drop(self.questions.take());
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
