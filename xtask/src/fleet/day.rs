//! What a day of pushes leaves in a collector's memory: everything that has to do with time is a hundredth of what it is in
//! a day, so that 8,640 pushes ten seconds apart take a quarter of an hour.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::node::Node;
use super::receivers::{Engine, Receiver};
use super::recorder::Recorder;
use super::{Fleet, message, say};
use crate::bench::cgroups::Tree;

/// How much faster than the day it is.
const SPEED: u32 = 100;
/// Cgroups that come and go together.
const PASSING: usize = 5;
/// How often they do: every 200 seconds of the day.
const CHANGE: Duration = Duration::from_secs(200);
/// A collector may have this much more at the end than after a tenth of the day, in hundredths.
const TOLERANCE: u64 = 10;

impl Fleet<'_> {
    /// One node before a receiver of 1.0, and one before a receiver of 2.0; their memory over the day.
    pub(super) fn day(&self, length: Duration) -> Result<()> {
        let mut tree = Tree::named(&self.hierarchies, "-day")?;
        tree.grow_to(self.args.containers, &self.interrupt)?;
        let mut passing = Passing::new(self)?;
        // Dropped before the cgroup that it is in.
        let mut worker = Worker::start()?;
        let (engine, recorder) = (Receiver::start(Engine::VictoriaMetrics)?, Recorder::start(None)?);
        let every = |of_day: u64| Duration::from_secs(of_day) / SPEED;
        let millis = |of_day: u64| format!("{}ms", every(of_day).as_millis());
        let flags = [
            format!("--remote_write_interval={}", millis(10)),
            format!("--housekeeping_interval={}", millis(10)),
            format!("--storage_duration={}", millis(120)),
            format!("--ended_container_retention={}", millis(120)),
            // It is bounded by itself, and would take the day to be full.
            "--event_storage_event_limit=default=500".to_owned(),
            format!("--include_path={}", passing.glob()),
        ];
        let start = |name: &str, receiver: String| {
            Node::start(&self.collector, name, &tree, &[&flags[..], &[receiver]].concat())
        };
        let nodes = [
            (
                "1.0, VictoriaMetrics",
                start(&message::name_of(1), format!("--remote_write_url={}", engine.write_url()))?,
            ),
            ("2.0", start(&message::name_of(2), recorder.remote_write("2.0"))?),
        ];
        say("a day of pushes");
        let began = Instant::now();
        let mut memory: Vec<[u64; 2]> = Vec::new();
        while memory.len() < 10 {
            let tenth = began + length * (memory.len() as u32 + 1) / 10;
            while Instant::now() < tenth {
                passing.change()?;
                worker.work_in(&tree)?;
                recorder.clear();
                self.interrupt.sleep_until(tenth.min(Instant::now() + CHANGE / SPEED))?;
            }
            memory.push([nodes[0].1.resident_bytes()?, nodes[1].1.resident_bytes()?]);
            say(&format!("{} % of the day", memory.len() * 10));
        }
        println!("| resident memory, MiB | {} | {} |\n| --- | ---: | ---: |", nodes[0].0, nodes[1].0);
        let row = |name: &str, of: &dyn Fn(usize) -> String| println!("| {name} | {} | {} |", of(0), of(1));
        for (part, after) in memory.iter().enumerate() {
            row(&format!("after {} %", (part + 1) * 10), &|node| {
                format!("{:.1}", after[node] as f64 / f64::from(1 << 20))
            });
        }
        for (name, metric) in [
            ("series of a push", "collector_metrics_series".to_owned()),
            ("samples pushed", of_exporter("collector_push_sent_points_total", "")),
            (
                "dropped: the queue was full",
                of_exporter("collector_push_dropped_points_total", ",reason=\"queue_full\""),
            ),
            ("dropped: rejected", of_exporter("collector_push_dropped_points_total", ",reason=\"rejected\"")),
        ] {
            let values = nodes.iter().map(|(_, node)| node.metric(&metric)).collect::<Result<Vec<_>>>()?;
            row(name, &|node| format!("{}", values[node]));
        }
        println!("\n{} cgroups; {PASSING} more came and went {} times", tree.len(), passing.changes);
        for (node, (name, _)) in nodes.iter().enumerate() {
            let (early, late) = (memory[0][node], memory[9][node]);
            ensure!(late * 100 <= early * (100 + TOLERANCE), "{name}: memory grew from {early} to {late} bytes");
        }
        Ok(())
    }
}

fn of_exporter(metric: &str, more: &str) -> String {
    format!("{metric}{{exporter=\"remote_write\"{more}}}")
}

/// Cgroups that come and go, each time under other names.
struct Passing<'a> {
    fleet: &'a Fleet<'a>,
    tree: Tree,
    changes: usize,
}

impl<'a> Passing<'a> {
    fn new(fleet: &'a Fleet<'a>) -> Result<Self> {
        Ok(Self { fleet, tree: Self::tree(fleet, 0)?, changes: 0 })
    }

    fn tree(fleet: &Fleet<'_>, number: usize) -> Result<Tree> {
        let mut tree = Tree::named(&fleet.hierarchies, &format!("-pass-{number}"))?;
        tree.grow_to(PASSING, &fleet.interrupt)?;
        Ok(tree)
    }

    /// What fits all their names.
    fn glob(&self) -> String {
        format!("{}*", self.tree.name().trim_end_matches('0'))
    }

    fn change(&mut self) -> Result<()> {
        self.changes += 1;
        // The old ones are removed with the value.
        self.tree = Self::tree(self.fleet, self.changes)?;
        Ok(())
    }
}

/// A process that now and then has something to do, each time in another cgroup.
struct Worker {
    child: Child,
    moves: usize,
}

impl Worker {
    fn start() -> Result<Self> {
        // A burst of some tens of milliseconds for each line, without processes of its own.
        let script = "while read -r line; do i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; done";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Self { child: command.spawn().context("cannot start a shell")?, moves: 0 })
    }

    fn work_in(&mut self, tree: &Tree) -> Result<()> {
        tree.admit(self.moves % tree.len(), self.child.id())?;
        self.moves += 1;
        let input = self.child.stdin.as_mut().context("the shell has no input")?;
        input.write_all(b"\n").context("the shell has ended")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
