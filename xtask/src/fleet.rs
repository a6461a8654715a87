//! `cargo xtask fleet`: many nodes before one receiver.
//!
//! Tens of real collectors push what they see of cgroups made here, each under a name of its own and with a part of the
//! cgroup tree that is all it sees. What some of them push is recorded and replayed by as many nodes as are asked for, each with its own name, its own time in the interval and the time of
//! day in its samples, to Debian's Prometheus and `VictoriaMetrics`, which speak remote write 1.0. Values repeat after a
//! few pushes; everything else is as from so many machines.

mod day;
mod load;
mod message;
mod node;
mod receivers;
mod recorder;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use self::load::{Churn, Load, Round};
use self::message::Push;
use self::node::Node;
use self::receivers::{Engine, Receiver};
use self::recorder::{Kind, Recorder};
use crate::bench::cgroups::{Hierarchies, Tree};
use crate::interrupt::Interrupt;
use crate::privilege::Privilege;
use crate::workspace;

/// What to try.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Nodes that push
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    nodes: u32,
    /// Real collectors, whose pushes are passed on; those of the first ones are also recorded
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=64))]
    real: u32,
    /// Cgroups of each node
    #[arg(long, default_value_t = 30)]
    containers: usize,
    /// Cgroups of the node that has too many
    #[arg(long, default_value_t = 1200)]
    bad_containers: usize,
    /// Minutes of each of the two measurements
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Seconds between two pushes of a node
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(2..))]
    interval: u64,
    /// What receives: victoria-metrics, prometheus
    #[arg(long, value_delimiter = ',', default_values = ["victoria-metrics", "prometheus"])]
    engine: Vec<Engine>,
    /// Instead: a day of pushes of one node by remote write 1.0 and 2.0, within these seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "864",
          value_parser = clap::value_parser!(u64).range(30..=86_400))]
    day: Option<u64>,
    /// The collector to run, in place of a release build
    #[arg(long, value_name = "PATH")]
    collector: Option<PathBuf>,
}

/// Pushes that are recorded of each collector; the replayed nodes repeat them.
const RECORDED: usize = 3;
/// Collectors of which they are recorded.
const RECORDED_NODES: usize = 4;
/// How many series the bad node may push.
const BUDGET: u32 = 20_000;

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    ensure!(Privilege::detect() == Privilege::Root, "making cgroups needs root: run `cargo xtask fleet` as root");
    ensure!(args.real < args.nodes, "--real={}: use fewer than --nodes={}", args.real, args.nodes);
    let interrupt = Interrupt::install()?;
    let collector = match &args.collector {
        Some(path) => path.clone(),
        None => workspace::build_release()?,
    };
    let fleet = Fleet { args, interrupt, collector, hierarchies: Hierarchies::detect()? };
    match args.day {
        Some(seconds) => fleet.day(Duration::from_secs(seconds)),
        None => fleet.run(),
    }
}

struct Fleet<'a> {
    args: &'a Args,
    interrupt: Interrupt,
    collector: PathBuf,
    hierarchies: Hierarchies,
}

impl Fleet<'_> {
    fn run(&self) -> Result<()> {
        let args = self.args;
        let mut trees = Vec::new();
        for number in 0..args.real {
            let mut tree = Tree::named(&self.hierarchies, &format!("-{number:02}"))?;
            tree.grow_to(args.containers, &self.interrupt)?;
            trees.push(tree);
        }
        say("what a node pushes");
        let recorded = self.record(&trees)?;
        println!("{} nodes, {} cgroups each, a push every {} s\n", args.nodes, args.containers, args.interval);
        println!(
            "| protocol | bytes of a node's push | series or points | bytes for each |\n| --- | ---: | ---: | ---: |"
        );
        for (name, bytes, points) in &recorded.sizes {
            println!("| {name} | {bytes} | {points} | {:.2} |", *bytes as f64 / (*points).max(1) as f64);
        }
        for engine in &args.engine {
            self.measure(*engine, &trees, &recorded)?;
        }
        Ok(())
    }

    /// Pushes of every protocol.
    fn record(&self, trees: &[Tree]) -> Result<Recorded> {
        let recorder = Recorder::start(None)?;
        let mut sizes = Vec::new();
        for (name, kind, flags) in [
            (
                "remote write 2.0",
                Kind::RemoteWrite,
                vec![recorder.remote_write("2.0"), "--remote_write_interval=2s".to_owned()],
            ),
            (
                "OTLP over HTTP, gzip",
                Kind::Otlp,
                vec![recorder.otlp(), "--otlp_protocol=http/protobuf".to_owned(), "--otlp_interval=2s".to_owned()],
            ),
        ] {
            recorder.clear();
            let node = Node::start(&self.collector, &message::name_of(0), &trees[0], &flags)?;
            let pushes = self.pushes(&recorder, kind, 2)?;
            let last = pushes.last().context("nothing was pushed")?;
            let bytes = last.iter().map(|request| request.body.len()).sum::<usize>();
            let points = match kind {
                Kind::RemoteWrite => node.metric("collector_metrics_series")?,
                // Those of all pushes so far.
                Kind::Otlp => {
                    node.metric("collector_push_sent_points_total{exporter=\"otlp\"}")?
                        / recorder.pushes(Kind::Otlp).len().max(1) as f64
                }
            };
            sizes.push((name, bytes, points as u64));
        }
        let mut all = Vec::new();
        for tree in trees.iter().take(RECORDED_NODES) {
            recorder.clear();
            let flags = [recorder.remote_write("1.0"), "--remote_write_interval=2s".to_owned()];
            let _node = Node::start(&self.collector, &message::name_of(0), tree, &flags)?;
            let mut pushes = Vec::new();
            for push in self.pushes(&recorder, Kind::RemoteWrite, RECORDED + 1)?.into_iter().skip(1) {
                pushes.push(Push::parse(push.into_iter().map(|request| request.body), tree.name())?);
            }
            all.push(pushes);
        }
        let first = &all[0][0];
        sizes.insert(0, ("remote write 1.0", first.bytes()?, first.samples()));
        Ok(Recorded { pushes: Arc::new(all), sizes })
    }

    /// So many whole pushes.
    fn pushes(&self, recorder: &Recorder, kind: Kind, count: usize) -> Result<Vec<Vec<recorder::Request>>> {
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            let mut pushes = recorder.pushes(kind);
            // The last may not be complete.
            if pushes.len() > count {
                pushes.truncate(count);
                return Ok(pushes);
            }
            ensure!(Instant::now() < end, "{} pushes came within 90 s", pushes.len());
            self.interrupt.sleep(Duration::from_millis(100))?;
        }
    }

    fn measure(&self, engine: Engine, trees: &[Tree], recorded: &Recorded) -> Result<()> {
        let args = self.args;
        let receiver = Receiver::start(engine)?;
        let recorder = Recorder::start(Some(receiver.write_url()))?;
        let (nodes, interval) = (args.nodes - args.real, Duration::from_secs(args.interval));
        let flags = [recorder.remote_write("1.0"), format!("--remote_write_interval={}s", args.interval)];
        let start = |number: usize, tree: &Tree| {
            Node::start(&self.collector, &message::name_of(args.nodes - 1 - number as u32), tree, &flags)
        };
        let mut real = Vec::new();
        for (number, tree) in trees.iter().enumerate() {
            real.push(start(number, tree)?);
        }
        for node in &real {
            let (found, made) = (node.containers()?, args.containers + 1);
            ensure!(found as usize == made, "a collector sees {found} cgroups, not the {made} of its part");
        }
        let load = Load::new(nodes, interval, Arc::clone(&recorded.pushes), receiver.write_url());
        println!("\n## {}\n", receiver.describe());

        say("one interval until every series is there");
        load.run(interval, Churn::None, &self.interrupt)?;
        let window = Duration::from_secs_f64(args.minutes * 60.0).max(interval);
        say("all nodes");
        let before = cpu_of(&real)?;
        let began = Instant::now();
        let steady = self.window(&receiver, &load, window, Churn::None)?;
        let share =
            cpu_of(&real)?.saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64() / real.len() as f64;
        let resident = real.iter().map(Node::resident_bytes).sum::<Result<u64>>()? / real.len() as u64;
        say("a tenth of the nodes with new containers at every push, and a rolling restart of the real ones");
        let before = recorder.arrivals();
        let restarts = std::thread::scope(|scope| {
            let churn = scope.spawn(|| self.window(&receiver, &load, window, Churn::Tenth));
            let mut restarted = Vec::new();
            for (number, tree) in trees.iter().enumerate() {
                drop(real.remove(0));
                restarted.push(start(number, tree));
            }
            let churn = churn.join().map_err(|_| anyhow::anyhow!("the load panicked"))?;
            let restarted = restarted.into_iter().collect::<Result<Vec<_>>>()?;
            real.extend(restarted);
            churn
        })?;
        println!("| | all nodes | a tenth churns |\n| --- | ---: | ---: |");
        for (name, of) in Figures::ROWS {
            println!("| {name} | {} | {} |", of(&steady), of(&restarts));
        }
        let gap = recorder.longest_gap(&before);
        println!(
            "| longest gap between two pushes of a collector that was restarted, s | | {:.1} |",
            gap.as_secs_f64()
        );
        println!("| one of {} real collectors: CPU, millicores | {:.1} | |", real.len(), share * 1e3);
        println!("| the same: resident memory, MiB | {:.1} | |", resident as f64 / f64::from(1 << 20));
        drop(real);
        self.bad_node(&receiver)
    }

    fn window(&self, receiver: &Receiver, load: &Load, window: Duration, churn: Churn) -> Result<Figures> {
        let (before, began) = (receiver.usage()?, Instant::now());
        let round = load.run(window, churn, &self.interrupt)?;
        let took = began.elapsed().as_secs_f64();
        let after = receiver.usage()?;
        Ok(Figures {
            nodes: self.args.nodes,
            cpu: (after.cpu.saturating_sub(before.cpu)).as_secs_f64() / took,
            resident: after.resident,
            series: receiver.series()?,
            took,
            round,
        })
    }

    /// One node has far more than it should, and a bound of its own.
    fn bad_node(&self, receiver: &Receiver) -> Result<()> {
        say("a node with too many series");
        let mut tree = Tree::named(&self.hierarchies, "-bad")?;
        tree.grow_to(self.args.bad_containers, &self.interrupt)?;
        let recorder = Recorder::start(Some(receiver.write_url()))?;
        let figures = |budget: u32| -> Result<[f64; 3]> {
            recorder.clear();
            let flags = [
                recorder.remote_write("1.0"),
                "--remote_write_interval=5s".to_owned(),
                "--disable_metrics=".to_owned(),
                "--metrics_profile=compatible".to_owned(),
                format!("--max_series={budget}"),
            ];
            let node = Node::start(&self.collector, "node-bad-00", &tree, &flags)?;
            let pushes = self.pushes(&recorder, Kind::RemoteWrite, 2)?;
            let left_out = ["families", "ended", "containers"]
                .map(|reason| format!("collector_metrics_shed_series{{reason=\"{reason}\"}}"));
            let bytes: usize = pushes.last().into_iter().flatten().map(|request| request.body.len()).sum();
            Ok([
                node.metric("collector_metrics_series")?,
                left_out.iter().filter_map(|reason| node.metric(reason).ok()).sum(),
                bytes as f64,
            ])
        };
        println!(
            "\n| a node with {} cgroups and all kinds | series | left out | bytes of a push |",
            self.args.bad_containers
        );
        println!("| --- | ---: | ---: | ---: |");
        for (name, budget) in [("without a bound", 0), ("with `--max_series=20000`", BUDGET)] {
            let [series, left_out, bytes] = figures(budget)?;
            println!("| {name} | {series} | {left_out} | {bytes} |");
        }
        Ok(())
    }
}

/// CPU time of collectors.
fn cpu_of(nodes: &[Node]) -> Result<Duration> {
    nodes.iter().map(Node::cpu).sum()
}

/// What was recorded.
struct Recorded {
    /// Of each real collector, by remote write 1.0.
    pushes: Arc<Vec<Vec<Push>>>,
    /// By protocol: bytes and series or points.
    sizes: Vec<(&'static str, usize, u64)>,
}

/// What was measured of one load.
struct Figures {
    nodes: u32,
    /// CPU seconds in a second.
    cpu: f64,
    resident: u64,
    series: f64,
    took: f64,
    round: Round,
}

type Column = fn(&Figures) -> String;

impl Figures {
    const ROWS: [(&'static str, Column); 10] = [
        ("series", |of| format!("{:.0}", of.series)),
        ("samples/s", |of| format!("{:.0}", of.round.samples as f64 / of.took)),
        ("bytes/s", |of| format!("{:.0}", of.round.bytes as f64 / of.took)),
        ("bytes/s of a node", |of| format!("{:.0}", of.round.bytes as f64 / of.took / f64::from(of.nodes))),
        ("CPU of the receiver, cores", |of| format!("{:.3}", of.cpu)),
        ("the same of a node, millicores", |of| format!("{:.2}", of.cpu * 1e3 / f64::from(of.nodes))),
        ("resident memory of the receiver, MiB", |of| format!("{}", of.resident >> 20)),
        ("the same of a node, KiB", |of| format!("{:.0}", of.resident as f64 / 1024.0 / f64::from(of.nodes))),
        ("arrivals: most that one is from even, of the interval", |of| format!("{:.1} %", of.round.uneven * 100.0)),
        ("pushes: failed / sent; 99 % answered within", |of| {
            format!("{} / {}; {:.0} ms", of.round.failed, of.round.sent, of.round.slow.as_secs_f64() * 1e3)
        }),
    ];
}

/// Progress, on standard error: the report is the output.
fn say(what: &str) {
    eprintln!("fleet: {what}");
}
